package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/sql/verb"
)

func printJSON(w io.Writer, b []byte) error {
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(b), "", "  "); err != nil {
		return fmt.Errorf("the answer is not JSON: %w", err)
	}
	out.WriteByte('\n')
	_, err := w.Write(out.Bytes())
	return err
}

// keyColumns are columns with keys, or lists of names, which may be long: in a table they are shortened, to as much as tells them apart most of the time.
var keyColumns = []string{"start", "end", "start_key", "end_key", "tables"}

// maxKey is how many characters of a key a table shows; a third of them are its last ones.
const maxKey = 48

func shortKey(key string) string {
	rs := []rune(key)
	if len(rs) <= maxKey {
		return key
	}
	const last = maxKey / 3
	return string(rs[:maxKey-last-3]) + "..." + string(rs[len(rs)-last:])
}

// proseColumns are columns with sentences, which may be long: in a table they come last.
var proseColumns = []string{"why", "problems", "error", "stopped"}

// printTable prints rows by their columns; columns that nothing is in are left out. Sentences are cut off where a line
// of that width ends, if it is not 0: the whole is in the JSON, and where one thing is shown.
func printTable(w io.Writer, cols []verb.Column, items []any, width int) error {
	var shown []*verb.Column
	texts := make([][]string, len(items))
	cols = slices.Clone(cols)
	slices.SortStableFunc(cols, func(a, b verb.Column) int {
		return slices.Index(proseColumns, a.Name) - slices.Index(proseColumns, b.Name)
	})
	for i := range cols {
		c := &cols[i]
		if c.Apart {
			continue
		}
		column := make([]string, len(items))
		some := false
		for r, item := range items {
			column[r] = forPeople(admin.Value(item, c), c.As)
			if slices.Contains(keyColumns, c.Name) {
				column[r] = shortKey(column[r])
			}
			if column[r] == "0" && (strings.HasSuffix(c.Name, "_id") || c.Name == "leader") {
				column[r] = "" // nobody
			}
			some = some || column[r] != ""
		}
		if !some {
			continue
		}
		shown = append(shown, c)
		for r := range items {
			texts[r] = append(texts[r], column[r])
		}
	}
	if len(items) == 0 {
		_, err := fmt.Fprintln(w, "none")
		return err
	}
	var table bytes.Buffer
	tw := tabwriter.NewWriter(&table, 0, 4, 2, ' ', 0)
	for i, c := range shown {
		if i > 0 {
			fmt.Fprint(tw, "\t")
		}
		title := c.Title
		if title == "" {
			title = strings.ReplaceAll(strings.TrimSuffix(c.Name, "_bytes"), "_", " ")
		}
		fmt.Fprint(tw, strings.ToUpper(title))
	}
	fmt.Fprintln(tw)
	for _, row := range texts {
		for i := range row {
			if row[i] == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(tw, strings.Join(row, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	limit := 0
	if prose := slices.IndexFunc(shown, func(c *verb.Column) bool { return slices.Contains(proseColumns, c.Name) }); prose >= 0 && width > 0 {
		const least = 24 // characters of a sentence
		header, _, _ := strings.Cut(table.String(), "\n")
		limit = max(width, strings.LastIndex(header, strings.ToUpper(shown[prose].Name))+least)
	}
	for line := range strings.Lines(table.String()) {
		if line = strings.TrimRight(line, " \n"); limit > 0 {
			line = fitting(line, limit)
		}
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

// fitting is as much of a line as a terminal of that width has room for.
func fitting(line string, width int) string {
	if rs := []rune(line); len(rs) > width && width > 4 {
		return string(rs[:width-3]) + "..."
	}
	return line
}

// widthOf is how wide the terminal is that is written to; 0 if it is none.
func widthOf(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 0
}

// forPeople writes a JSON value.
func forPeople(x any, as string) string {
	switch y := x.(type) {
	case nil:
		return ""
	case string:
		if as == "time" {
			if t, err := time.Parse(time.RFC3339Nano, y); err == nil {
				return t.Local().Format("2006-01-02 15:04:05")
			}
		}
		return printable(y)
	case bool:
		if y {
			return "yes"
		}
		return "no"
	case json.Number:
		f, err := y.Float64()
		if err != nil {
			return y.String()
		}
		switch as {
		case "bytes":
			return admin.Size(f)
		case "percent":
			return strconv.Itoa(int(f*100)) + "%"
		case "seconds":
			return time.Duration(f * float64(time.Second)).String()
		case "ns":
			return time.Duration(f).Round(time.Microsecond).String()
		case "rate":
			return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(f, 'f', 2, 64), "0"), ".")
		}
		return y.String()
	case []any:
		parts := make([]string, 0, len(y))
		for _, e := range y {
			parts = append(parts, forPeople(e, as))
		}
		return admin.Joined(parts)
	case map[string]any:
		parts := make([]string, 0, len(y))
		for k, e := range y {
			parts = append(parts, strings.ReplaceAll(k, "_", " ")+" "+forPeople(e, ""))
		}
		slices.Sort(parts)
		return strings.Join(parts, "; ")
	}
	return fmt.Sprint(x)
}

// printable is a text as a line can have it. Keys and names are whatever somebody has written: a tab or the end of a line would break a table, and an escape sequence is an order to
// the terminal of whoever looks.
func printable(text string) string {
	if !strings.ContainsFunc(text, unprintable) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if unprintable(r) {
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

func unprintable(r rune) bool { return !unicode.IsPrint(r) }

// field is one of an object's, in the order in which they were written.
type field struct {
	name  string
	value any // []field for an object
}

// ordered decodes JSON and keeps the order of fields.
func ordered(dec *json.Decoder) (any, error) {
	t, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch t {
	case json.Delim('{'):
		out := []field{}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return nil, err
			}
			v, err := ordered(dec)
			if err != nil {
				return nil, err
			}
			out = append(out, field{fmt.Sprint(name), v})
		}
		_, err := dec.Token()
		return out, err
	case json.Delim('['):
		out := []any{}
		for dec.More() {
			v, err := ordered(dec)
			if err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		_, err := dec.Token()
		return out, err
	}
	return t, nil
}

// printObject prints one thing, a field a line.
func printObject(w io.Writer, b []byte) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	v, err := ordered(dec)
	if err != nil {
		return err
	}
	fields, _ := v.([]field)
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	printFields(tw, "", fields)
	return tw.Flush()
}

// mostListed is how many of a list are shown: the whole is in the JSON.
const mostListed = 10

func printFields(w io.Writer, indent string, fields []field) {
	for _, f := range fields {
		name := strings.TrimSuffix(strings.ReplaceAll(f.name, "_", " "), " ns")
		switch v := f.value.(type) {
		case []field:
			fmt.Fprintf(w, "%s%s\n", indent, name)
			printFields(w, indent+"  ", v)
		case []any:
			if len(v) == 0 {
				fmt.Fprintf(w, "%s%s\t-\n", indent, name)
				continue
			}
			if text, ok := v[0].(string); ok && strings.Contains(text, " ") { // sentences
				for k, e := range v {
					if k == 1 {
						name = ""
					}
					fmt.Fprintf(w, "%s%s\t%s\n", indent, name, forPeople(e, ""))
				}
				continue
			}
			if _, objects := v[0].([]field); !objects {
				fmt.Fprintf(w, "%s%s\t%s\n", indent, name, forPeople(v, ""))
				continue
			}
			fmt.Fprintf(w, "%s%s (%d)\n", indent, name, len(v))
			if len(v) > mostListed { // the newest come last where there are many
				fmt.Fprintf(w, "%s  ...\n", indent)
				v = v[len(v)-mostListed:]
			}
			for _, e := range v {
				fmt.Fprintf(w, "%s  %s\n", indent, line(e))
			}
		default:
			fmt.Fprintf(w, "%s%s\t%s\n", indent, name, forPeople(v, styleOf(f.name)))
		}
	}
}

// line writes an object in one line: "range 4: why", or "r4 g7: +n3 -n1: why, started ..., error ...".
func line(v any) string {
	fields, ok := v.([]field)
	if !ok {
		return forPeople(v, "")
	}
	var parts []string
	rangeID, said, started := "", "", ""
	for _, f := range fields {
		switch x := f.value.(type) {
		case []field:
			parts = append(parts, line(x))
			continue
		case []any:
			continue // too much for a line: the whole is in the JSON
		}
		text := forPeople(f.value, styleOf(f.name))
		switch {
		case text == "":
		case f.name == "range_id":
			rangeID = text
		case f.name == "text":
			said = text
			parts = append(parts, text)
		case f.name == "why" && said != "" && strings.HasSuffix(said, ": "+text):
			// The text has it.
		case f.name == "why":
			parts = append(parts, text)
		case f.name == "at" && text == started:
			// It took less than a second.
		default:
			if f.name == "started" {
				started = text
			}
			parts = append(parts, strings.ReplaceAll(f.name, "_", " ")+" "+text)
		}
	}
	all := strings.Join(parts, ", ")
	if rangeID == "" || strings.HasPrefix(said, "r"+rangeID+" ") {
		return all
	}
	return "range " + rangeID + ": " + all
}

func styleOf(name string) string {
	switch {
	case strings.HasSuffix(name, "bytes"):
		return "bytes"
	case strings.HasSuffix(name, "_ns"):
		return "ns"
	case strings.HasSuffix(name, "_seconds"):
		return "seconds"
	case name == "progress":
		return "percent"
	case slices.Contains([]string{"at", "started", "finished", "since", "done", "last_plan"}, name):
		return "time"
	case slices.Contains([]string{"requests", "writes", "cpu"}, name):
		return "rate"
	}
	return ""
}

// printOutcome says in a line how an operation stands.
func printOutcome(w io.Writer, op *admin.Operation) error {
	text := fmt.Sprintf("operation %d: %s %s", op.ID, op.Verb, op.State)
	result := maps.Clone(op.Result)
	warnings, _ := result[admin.WarningsField].([]any)
	delete(result, admin.WarningsField)
	if len(result) > 0 {
		b, err := json.Marshal(result)
		if err != nil {
			return err
		}
		dec := json.NewDecoder(bytes.NewReader(b))
		dec.UseNumber()
		var x any
		if err := dec.Decode(&x); err != nil {
			return err
		}
		text += ": " + forPeople(x, "")
	}
	for _, x := range warnings {
		text += "\nwarning: " + forPeople(x, "")
	}
	_, err := fmt.Fprintln(w, text)
	return err
}

// progress shows how far an operation is: in place on a terminal, else a line for whatever else it is at, and now and then one for figures that have changed.
type progress struct {
	w    io.Writer
	live bool
	last string
	open bool // the line on the terminal has not ended
	at   string
	then time.Time // of the last line
}

// figuresEvery is how often a line is written of which only figures differ from the last one.
const figuresEvery = 10 * time.Second

func newProgress(w io.Writer) *progress {
	f, ok := w.(*os.File)
	return &progress{w: w, live: ok && term.IsTerminal(int(f.Fd()))}
}

func (p *progress) operation(op *admin.Operation) {
	text := fmt.Sprintf("operation %d: %s %3.0f%%", op.ID, op.Verb, op.Progress*100)
	if op.State == admin.Canceling {
		text = fmt.Sprintf("operation %d: %s is being cancelled", op.ID, op.Verb)
	}
	if op.LeftSeconds != nil {
		text += fmt.Sprintf(", about %s left", time.Duration(*op.LeftSeconds*float64(time.Second)))
	}
	if op.Why != "" {
		text += ": " + printable(op.Why)
	}
	switch {
	case text == p.last:
	case p.live:
		// One line, however narrow the terminal is.
		fmt.Fprintf(p.w, "\r\x1b[K%s", fitting(text, widthOf(p.w)-1))
		p.open = true
	default:
		at := fmt.Sprintf("%s %.0f %s", op.State, op.Progress*10, withoutFigures(op.Why))
		if at == p.at && time.Since(p.then) < figuresEvery {
			return
		}
		p.at, p.then = at, time.Now()
		fmt.Fprintln(p.w, text)
	}
	p.last = text
}

// withoutFigures leaves numbers, and the times that they are part of, out of a text.
func withoutFigures(text string) string {
	words := strings.Fields(text)
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return strings.ContainsAny(w[:1], "(0123456789") }), " ")
}

func (p *progress) end() {
	if p.open {
		fmt.Fprint(p.w, "\r\x1b[K")
		p.open = false
	}
}
