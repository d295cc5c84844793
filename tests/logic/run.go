package logic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// answer is what a server said to one statement.
type answer struct {
	stmt statement
	text string
}

// runner runs a script over connections made by dial.
type runner struct {
	dial  func(ctx context.Context, notice func(*pgconn.Notice)) (*pgconn.PgConn, error)
	conns map[string]*client
}

type client struct {
	c       *pgconn.PgConn
	notices []string
	pending chan string
}

func (r *runner) close() {
	for _, c := range r.conns {
		_ = c.c.Close(context.Background())
	}
}

func (r *runner) client(ctx context.Context, name string) (*client, error) {
	if c := r.conns[name]; c != nil {
		return c, nil
	}
	c := &client{}
	pc, err := r.dial(ctx, func(n *pgconn.Notice) {
		c.notices = append(c.notices, describeError((*pgconn.PgError)(n)))
	})
	if err != nil {
		return nil, err
	}
	c.c = pc
	if r.conns == nil {
		r.conns = map[string]*client{}
	}
	r.conns[name] = c
	return c, nil
}

// run executes the statements and returns the answers.
func (r *runner) run(ctx context.Context, stmts []statement, pamir bool) ([]answer, error) {
	var out []answer
	for _, st := range stmts {
		if pamir && st.skip != "" {
			continue
		}
		c, err := r.client(ctx, st.conn)
		if err != nil {
			return out, err
		}
		if pamir && st.pamir != "" {
			if _, err := c.c.Exec(ctx, st.pamir).ReadAll(); err != nil {
				return out, fmt.Errorf("line %d: %s: %w", st.line, st.pamir, err)
			}
		}
		text := ""
		if c.pending != nil {
			select {
			case text = <-c.pending:
				text = "(background) " + text
			case <-time.After(20 * time.Second):
				return out, fmt.Errorf("line %d: the statement in the background does not end", st.line)
			}
			c.pending = nil
		}
		if st.background {
			c.pending = make(chan string, 1)
			go func() { c.pending <- c.exec(ctx, st) }()
			time.Sleep(300 * time.Millisecond)
			out = append(out, answer{st, text})
			continue
		}
		sctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		text += c.exec(sctx, st)
		cancel()
		if c.c.IsClosed() {
			text += "(connection closed)\n"
			delete(r.conns, st.conn)
		}
		out = append(out, answer{st, text})
	}
	return out, nil
}

var copyOut = regexp.MustCompile(`(?is)^\s*copy\s.*\sto\s+stdout`)
var copyIn = regexp.MustCompile(`(?is)^\s*copy\s.*\sfrom\s+stdin`)

// exec runs one statement and describes the answer. COPY FROM STDIN takes its data from the
// statement's text, after a line that says DATA.
func (c *client) exec(ctx context.Context, st statement) string {
	c.notices = nil
	var b strings.Builder
	flush := func() {
		for _, n := range c.notices {
			b.WriteString(n)
		}
		c.notices = nil
	}
	text, data, isCopy := strings.Cut(st.text, "\nDATA\n")
	switch {
	case isCopy && copyIn.MatchString(text):
		tag, err := c.c.CopyFrom(ctx, strings.NewReader(data+"\n"), text)
		flush()
		if err != nil {
			b.WriteString(describe(err))
		} else {
			b.WriteString(tag.String() + "\n")
		}
		return b.String()
	case copyOut.MatchString(st.text):
		var buf bytes.Buffer
		tag, err := c.c.CopyTo(ctx, &buf, st.text)
		flush()
		b.Write(buf.Bytes())
		if err != nil {
			b.WriteString(describe(err))
		} else {
			b.WriteString(tag.String() + "\n")
		}
		return b.String()
	}
	if st.extended {
		b.WriteString(c.extended(ctx, st))
		flush()
		return b.String()
	}
	res := c.c.Exec(ctx, st.text)
	for res.NextResult() {
		r := res.ResultReader()
		fields := r.FieldDescriptions()
		head := ""
		if len(fields) > 0 {
			names := make([]string, len(fields))
			for i, f := range fields {
				names[i] = fmt.Sprintf("%s:%d", f.Name, f.DataTypeOID)
				if f.TypeModifier != -1 {
					names[i] += fmt.Sprintf("/%d", f.TypeModifier)
				}
			}
			head = strings.Join(names, " | ") + "\n"
		}
		var rows []string
		for r.NextRow() {
			vals := make([]string, len(fields))
			for i, v := range r.Values() {
				if v == nil {
					vals[i] = "NULL"
				} else {
					vals[i] = strings.ReplaceAll(string(v), "\n", "\n  ")
				}
			}
			rows = append(rows, "  "+strings.Join(vals, " | ")+"\n")
		}
		if st.unordered {
			sort.Strings(rows)
		}
		tag, err := r.Close()
		// Whether an error comes before or after the columns depends on what the planner computes.
		if err == nil || len(rows) > 0 {
			b.WriteString(head)
		}
		for _, row := range rows {
			b.WriteString(row)
		}
		flush()
		if err != nil {
			break // described below
		}
		b.WriteString(tag.String() + "\n")
	}
	if err := res.Close(); err != nil {
		flush()
		b.WriteString(describe(err))
	}
	flush()
	return b.String()
}

// extended runs a statement by the extended protocol.
func (c *client) extended(ctx context.Context, st statement) string {
	var b strings.Builder
	sd, err := c.c.Prepare(ctx, "", st.text, nil)
	if err != nil {
		return describe(err)
	}
	fmt.Fprintf(&b, "parameters: %v\n", sd.ParamOIDs)
	for _, f := range sd.Fields {
		fmt.Fprintf(&b, "column: %s %d %d/%d\n", f.Name, f.DataTypeOID, f.DataTypeSize, f.TypeModifier)
	}
	args := make([][]byte, len(st.args))
	for i, a := range st.args {
		if a != "NULL" {
			args[i] = []byte(a)
		}
	}
	r := c.c.ExecPrepared(ctx, "", args, nil, []int16{1}).Read()
	for _, row := range r.Rows {
		for i, v := range row {
			if i > 0 {
				b.WriteString(" ")
			}
			if v == nil {
				b.WriteString("NULL")
			} else {
				fmt.Fprintf(&b, "\\x%x", v)
			}
		}
		b.WriteString("\n")
	}
	if r.Err != nil {
		return b.String() + describe(r.Err)
	}
	return b.String() + r.CommandTag.String() + "\n"
}

func describe(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return describeError(e)
	}
	return "CLIENT ERROR: " + err.Error() + "\n"
}

func describeError(e *pgconn.PgError) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n", e.Severity, e.Code, e.Message)
	field := func(name, v string) {
		if v != "" {
			fmt.Fprintf(&b, "  %s: %s\n", name, v)
		}
	}
	field("DETAIL", e.Detail)
	field("HINT", e.Hint)
	if e.Position > 0 {
		field("POSITION", fmt.Sprint(e.Position))
	}
	if e.Code[:2] == "23" {
		field("CONSTRAINT", e.ConstraintName)
		field("COLUMN", e.ColumnName)
		field("TABLE", e.TableName)
	}
	if strings.HasPrefix(e.Where, "COPY") {
		field("CONTEXT", e.Where)
	}
	return b.String()
}

// format is the contents of an .out file.
func format(as []answer) string {
	var b strings.Builder
	for _, a := range as {
		if a.stmt.conn != "main" {
			b.WriteString("[" + a.stmt.conn + "] ")
		}
		b.WriteString(a.stmt.text + ";\n")
		for _, l := range strings.Split(strings.TrimSuffix(a.text, "\n"), "\n") {
			b.WriteString("    " + l + "\n")
		}
		b.WriteString("\n")
	}
	return b.String()
}
