package differential

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Wide programs are interleaved programs with what sessions have besides queries and changes: cursors that stay open across the commits of others, COPY, statements that were prepared
// before, changes of the schema, prepared transactions, advisory locks, and reads of the past.

// The kinds of statements that are not judged by what they show alone.
const (
	kindFetch    = "FETCH" // and MOVE
	kindDeclare  = "DECLARE"
	kindAdvisory = "advisory lock"
	kindPrepare  = "prepare transaction"
	kindFinish   = "finish prepared" // COMMIT PREPARED, ROLLBACK PREPARED
	kindNote     = "note"            // keeps a time or a snapshot
	kindPast     = "past"            // reads as of one
	kindTimeout  = "SET LOCAL"       // of a timeout
)

// How a statement is sent.
const (
	plainly   = iota
	unnamed   // in the extended protocol, with its numbers as parameters
	named     // so, and prepared once in the session
	bySQL     // PREPARE and EXECUTE
	copyingTo // COPY TO STDOUT
	copyingIn // COPY FROM STDIN
)

// newWide makes a program whose last session finishes prepared transactions and looks at the clock, and never waits.
func newWide(seed uint64) *interleaved {
	r := rand.New(rand.NewPCG(seed, 9))
	p := newInterleaved(seed) // for its tables
	p.wide = true
	one := pick(r, append(isolationLevels, "")...)
	n := 2 + r.IntN(2)
	p.levels, p.turns = nil, nil
	w := &wideProgram{r: r, p: p, of: map[string]string{}}
	queues := make([][]*stmt, n+1)
	for i := range n {
		level := one
		if level == "" {
			level = pick(r, isolationLevels...)
		}
		p.levels = append(p.levels, level)
		queues[i] = w.session(i, level)
	}
	p.levels = append(p.levels, "read committed")
	queues[n] = w.finisher()
	p.weave(r, queues)
	return p
}

// wideProgram makes the sessions of one.
type wideProgram struct {
	r        *rand.Rand
	p        *interleaved
	prepared int // transactions
	notes    int
	cursors  int
	of       map[string]string // the tables of cursors
}

func (w *wideProgram) gid(i int) string { return fmt.Sprintf("i%d-%d", w.p.seed, i) }

func (w *wideProgram) finisher() (out []*stmt) {
	for range w.r.IntN(3) {
		out = append(out, w.note("select clock_timestamp() from pg_sleep(0.002)"))
	}
	for i := range w.prepared {
		gid := w.gid(i)
		text := pick(w.r, "commit", "commit", "rollback") + " prepared '" + gid + "'"
		for range 1 + w.r.IntN(2) { // the first may come too early
			out = append(out, &stmt{kind: kindFinish, text: text, name: gid})
		}
	}
	w.r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func (w *wideProgram) note(text string) *stmt {
	w.notes++
	return &stmt{kind: kindNote, text: text, name: strconv.Itoa(w.notes - 1)}
}

// session makes the statements of one.
func (w *wideProgram) session(i int, level string) (out []*stmt) {
	r := w.r
	var hold []string // cursors that are there after their blocks
	for range 1 + r.IntN(3) {
		switch r.IntN(12) {
		case 0:
			out = append(out, sent(r, drawStmt(r, w.p.onDelete)))
			continue
		case 1:
			out = append(out, w.schemaChange())
			continue
		case 2:
			out = append(out, w.pastBlock()...)
			continue
		}
		out = append(out, control("begin", "begin isolation level "+level))
		if r.IntN(8) == 0 {
			out = append(out, &stmt{kind: kindTimeout, text: "set local " + pick(r, "lock_timeout = '20ms'", "statement_timeout = '60ms'"), check: func(*view, *answer, string) string { return "" }})
		}
		saved, open := false, []string(nil)
		for range 2 + few(r, 5) {
			switch d := r.IntN(32); {
			case d == 0:
				out = append(out, control("savepoint", "savepoint s"))
				saved = true
			case d == 1 && saved:
				out = append(out, control("rollback to", "rollback to s"))
			case d == 2 && saved:
				out = append(out, control("release", "release s"))
				saved = false
			case d == 3:
				out = append(out, w.schemaChange())
			case d == 4:
				out = append(out, w.advisory())
			case d == 5:
				out = append(out, w.note("select pg_export_snapshot()"))
			case d < 10:
				c := w.declare()
				if open = append(open, c.name); strings.Contains(c.text, " with hold ") {
					hold = append(hold, c.name)
				}
				out = append(out, c)
			case d < 16 && len(open)+len(hold) > 0:
				out = append(out, w.fetch(pick(r, append(slices.Clone(hold), open...)...)))
			case d < 18 && len(open) > 0:
				out = append(out, w.currentOf(pick(r, open...)))
			case d == 18:
				out = append(out, drawCopyOut(r))
			case d == 19:
				out = append(out, drawCopyIn(r))
			default:
				out = append(out, sent(r, drawStmt(r, w.p.onDelete)))
			}
		}
		switch r.IntN(10) {
		case 0:
			out = append(out, control("rollback", "rollback"))
		case 1, 2:
			out = append(out, &stmt{kind: kindPrepare, text: "prepare transaction '" + w.gid(w.prepared) + "'", name: w.gid(w.prepared)})
			w.prepared++
		default:
			out = append(out, control("commit", "commit"))
		}
		if len(hold) > 0 && r.IntN(2) == 0 {
			out = append(out, w.fetch(pick(r, hold...)))
		}
	}
	return out
}

// pastBlock reads as of a time, or with a snapshot, that another statement of the program has kept, if it has by then.
func (w *wideProgram) pastBlock() []*stmt {
	i := strconv.Itoa(w.r.IntN(w.notes + 2))
	out := []*stmt{control("begin", "begin isolation level "+pick(w.r, "repeatable read", "serializable")+" read only"), {kind: kindPast, name: i}}
	for range 1 + few(w.r, 3) {
		out = append(out, sent(w.r, drawSelect(w.r, pick(w.r, "a", "b", "c"))))
	}
	return append(out, control("commit", "commit"))
}

// pastText is how a block is told to read as of what was noted.
func pastText(note string) string {
	switch {
	case note == "":
		return "select 1"
	case strings.Contains(note, ":"): // a time
		return "set local pamir.read_as_of = '" + note + "'"
	}
	return "set transaction snapshot '" + note + "'"
}

// schemaChange is something that changes what tables are, and none of what the program reads of them; but for TRUNCATE.
func (w *wideProgram) schemaChange() *stmt {
	t := pick(w.r, "a", "b", "c")
	nothing := func(*view, *answer, string) string { return "" }
	switch w.r.IntN(6) {
	case 0:
		return &stmt{kind: "CREATE INDEX", text: fmt.Sprintf("create index if not exists extra_%s on %s (%s)", t, t, pick(w.r, "v", "w, v", "v desc")), check: nothing}
	case 1:
		return &stmt{kind: "DROP INDEX", text: "drop index if exists extra_" + t, check: nothing}
	case 2:
		return &stmt{kind: "ADD COLUMN", text: "alter table " + t + " add column if not exists x int" + pick(w.r, "", " default 7", " not null default 7"), check: nothing}
	case 3:
		return &stmt{kind: "DROP COLUMN", text: "alter table " + t + " drop column if exists x", check: nothing}
	}
	tables := pick(w.r, []string{"b"}, []string{"c"}, []string{"a", "c"})
	return &stmt{kind: "TRUNCATE", text: "truncate " + strings.Join(tables, ", "), check: func(v *view, a *answer, _ string) string {
		if a.state == "" {
			for _, t := range tables {
				v.truncate(t)
			}
		}
		return ""
	}}
}

func (w *wideProgram) advisory() *stmt {
	call := pick(w.r, "pg_advisory_xact_lock", "pg_advisory_xact_lock", "pg_try_advisory_xact_lock", "pg_advisory_xact_lock_shared")
	n := w.r.IntN(2)
	return &stmt{kind: kindAdvisory, text: fmt.Sprintf("select %s(%d, %d)", call, w.p.seed%(1<<30), n), name: fmt.Sprint(n, strings.HasSuffix(call, "shared"))}
}

// standing is where a cursor stands: before the first row at 0, behind the last at len(ks)+1.
type standing struct {
	table string
	ks    []int
	rows  [][]string
	at    int
}

func (w *wideProgram) declare() *stmt {
	r := w.r
	table, p := pick(r, "a", "a", "b", "c"), drawPredicate(r)
	if r.IntN(2) == 0 {
		p = predicate{"true", func(int, rowValue) bool { return true }}
	}
	w.cursors++
	name := "c" + strconv.Itoa(w.cursors)
	w.of[name] = table
	text := "declare " + name + pick(r, "", " scroll", " no scroll") + " cursor" + pick(r, " ", " ", " with hold ") + "for select k, v, w from " + table + " where " + p.text + " order by k"
	return &stmt{kind: kindDeclare, name: name, text: text, check: func(v *view, a *answer, _ string) string {
		if a.state != "" {
			return ""
		}
		ks := v.rows(table, p.of)
		v.cursors[name] = &standing{table: table, ks: ks, rows: rowsOf(v, table, ks)}
		return expect(a, nil, "DECLARE CURSOR")
	}}
}

func (w *wideProgram) fetch(name string) *stmt {
	how := pick(w.r, "1", "1", "2", "3", "all", "prior", "first", "absolute 2")
	verb := pick(w.r, "fetch", "fetch", "fetch", "move")
	return &stmt{kind: kindFetch, name: name, text: verb + " " + how + " from " + name, check: func(v *view, a *answer, _ string) string {
		c := v.cursors[name]
		if a.state != "" {
			return ""
		}
		if c == nil {
			return "there is no such cursor"
		}
		next := *c
		from, to := 0, 0 // rows that are shown
		n, end := 0, len(c.ks)+1
		if _, err := fmt.Sscan(how, &n); err == nil || how == "all" {
			if how == "all" {
				n = end
			}
			from, to = c.at+1, min(c.at+n, len(c.ks))
			next.at = min(c.at+n, end)
		} else {
			switch how {
			case "prior":
				next.at = max(0, c.at-1)
			case "first":
				next.at = min(1, end)
			default:
				next.at = min(2, end)
			}
			from, to = next.at, next.at
			if next.at == 0 || next.at == end {
				to = from - 1
			}
		}
		v.cursors[name] = &next
		rows := [][]string{}
		for i := from; i <= to; i++ {
			rows = append(rows, c.rows[i-1])
		}
		if verb == "move" {
			return expect(a, nil, fmt.Sprintf("MOVE %d", len(rows)))
		}
		return expect(a, rows, fmt.Sprintf("FETCH %d", len(rows)))
	}}
}

// currentOf changes or removes the row on which a cursor stands.
func (w *wideProgram) currentOf(name string) *stmt {
	remove := w.r.IntN(3) == 0
	text := "update " + w.of[name] + " set v = v + 1"
	if remove {
		text = "delete from " + w.of[name]
	}
	return &stmt{kind: "CURRENT OF", text: text + " where current of " + name, check: func(v *view, a *answer, _ string) string {
		if a.state != "" {
			return ""
		}
		c := v.cursors[name]
		if c == nil || c.at == 0 || c.at > len(c.ks) {
			return "the cursor is on no row"
		}
		at := rowKey{c.table, c.ks[c.at-1]}
		n := 0
		if x, ok := v.get(at); ok {
			n = 1
			if remove {
				removeRows(v, c.table, []int{at.k}, w.p.onDelete)
			} else {
				v.put(at, rowValue{x.v + 1, x.w})
			}
		}
		return expect(a, nil, fmt.Sprintf("%s %d", map[bool]string{true: "DELETE", false: "UPDATE"}[remove], n))
	}}
}

func drawCopyOut(r *rand.Rand) *stmt {
	table, p := pick(r, "a", "b", "c"), drawPredicate(r)
	return &stmt{kind: "COPY TO", how: copyingTo, text: fmt.Sprintf("copy (select k, v, w from %s where %s) to stdout", table, p.text), check: func(v *view, a *answer, _ string) string {
		if a.state != "" {
			return ""
		}
		rows := rowsOf(v, table, v.rows(table, p.of))
		for i, row := range rows {
			if row[2] == null {
				row[2] = `\N`
			}
			rows[i] = []string{strings.Join(row, "\t")}
		}
		return expect(a, rows, fmt.Sprintf("COPY %d", len(rows)))
	}}
}

func drawCopyIn(r *rand.Rand) *stmt {
	table := pick(r, "a", "b", "c")
	var data strings.Builder
	in := map[int]rowValue{}
	for range 1 + r.IntN(3) {
		k, x, w := r.IntN(keyDomain), rowValue{r.IntN(keyDomain), none}, `\N`
		if _, twice := in[k]; twice {
			continue
		}
		if r.IntN(3) == 0 {
			x.w = r.IntN(keyDomain)
			w = strconv.Itoa(x.w)
		}
		in[k] = x
		fmt.Fprintf(&data, "%d\t%d\t%s\n", k, x.v, w)
	}
	return &stmt{kind: "COPY FROM", how: copyingIn, rows: data.String(), text: "copy " + table + " (k, v, w) from stdin", check: func(v *view, a *answer, level string) string {
		state := ""
		for k, x := range in {
			if _, there := v.get(rowKey{table, k}); there {
				state = "23505"
			} else if s := broken(v, table, k, x); s != "" {
				state = s
			}
			for o, y := range in {
				if table == "b" && o != k && x.w != none && x.w == y.w {
					state = "23505"
				}
			}
		}
		if why, over := refused(a, level, state, "a row is in the way, or what it refers to is missing"); over {
			return why
		}
		for k, x := range in {
			v.put(rowKey{table, k}, x)
		}
		return expect(a, nil, fmt.Sprintf("COPY %d", len(in)))
	}}
}

var numbers = regexp.MustCompile(`\b[0-9]+\b`)

// sent chooses how a statement is sent: in one piece, or prepared, with its numbers as parameters.
func sent(r *rand.Rand, st *stmt) *stmt {
	out := *st
	out.how = pick(r, plainly, plainly, unnamed, named, bySQL)
	return &out
}

// parameters puts parameters into the places of numbers.
func parameters(text string) (with string, values []string) {
	text, order, _ := strings.Cut(text, " order by ")
	with = numbers.ReplaceAllStringFunc(text, func(n string) string {
		values = append(values, n)
		return "$" + strconv.Itoa(len(values))
	})
	if order != "" {
		with += " order by " + order
	}
	return with, values
}
