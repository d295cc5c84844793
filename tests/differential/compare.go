package differential

import (
	"fmt"
	"slices"
	"strings"
)

// answer is what a server said to a statement.
type answer struct {
	state, message string // of an error
	tag            string
	rows           [][]string // null for NULL
}

const null = "\x00"

// How rows are compared.
type comparison struct {
	kinds []kind
	keys  []int
	// total: rows are compared position by position. limited and not total: only the keys are compared.
	total, limited bool
}

// differ says how two answers differ; "" if they do not.
func (c *comparison) differ(pg, pamir *answer) string {
	switch {
	case pg.state != pamir.state:
		return fmt.Sprintf("PostgreSQL: %s, Pamir: %s", pg.outcome(), pamir.outcome())
	case pg.state != "":
		return ""
	case pg.tag != pamir.tag:
		return fmt.Sprintf("PostgreSQL: %s, Pamir: %s", pg.tag, pamir.tag)
	case len(pg.rows) != len(pamir.rows):
		return fmt.Sprintf("PostgreSQL has %d rows, Pamir %d%s", len(pg.rows), len(pamir.rows), c.onlyIn(pg, pamir))
	}
	a, b := c.lines(pg.rows, nil), c.lines(pamir.rows, nil)
	if c.total {
		return position("row", a, b)
	}
	if len(c.keys) > 0 {
		if d := position("sort key", c.lines(pg.rows, c.keys), c.lines(pamir.rows, c.keys)); d != "" {
			return d
		}
	}
	if c.limited {
		return ""
	}
	slices.Sort(a)
	slices.Sort(b)
	if slices.Equal(a, b) {
		return ""
	}
	return "other rows" + c.onlyIn(pg, pamir)
}

func (a *answer) outcome() string {
	if a.state == "" {
		return a.tag
	}
	return "ERROR " + a.state + " " + a.message
}

func position(what string, a, b []string) string {
	for i := range a {
		if a[i] != b[i] {
			return fmt.Sprintf("%s %d of %d is %s in PostgreSQL, %s in Pamir", what, i+1, len(a), show(a[i]), show(b[i]))
		}
	}
	return ""
}

func show(line string) string {
	return "(" + strings.ReplaceAll(strings.ReplaceAll(line, null, "NULL"), "\x01", ", ") + ")"
}

// lines makes each row, or some of its columns, one string that is equal where the values are: numerics without the zeros at their end.
func (c *comparison) lines(rows [][]string, cols []int) []string {
	out := make([]string, len(rows))
	var b strings.Builder
	for i, row := range rows {
		b.Reset()
		put := func(col int) {
			v := row[col]
			if col < len(c.kinds) && c.kinds[col] == kNum && strings.Contains(v, ".") {
				v = strings.TrimRight(strings.TrimRight(v, "0"), ".")
			}
			b.WriteString(v)
			b.WriteByte(1)
		}
		if cols == nil {
			for col := range row {
				put(col)
			}
		}
		for _, col := range cols {
			put(col)
		}
		out[i] = strings.TrimSuffix(b.String(), "\x01")
	}
	return out
}

// onlyIn lists a few rows that one of the two has more often.
func (c *comparison) onlyIn(pg, pamir *answer) string {
	count := map[string]int{}
	for _, l := range c.lines(pg.rows, nil) {
		count[l]++
	}
	for _, l := range c.lines(pamir.rows, nil) {
		count[l]--
	}
	var ls []string
	for l, n := range count {
		if n > 0 {
			ls = append(ls, fmt.Sprintf("\n    only in PostgreSQL (%d): %s", n, show(l)))
		}
		if n < 0 {
			ls = append(ls, fmt.Sprintf("\n    only in Pamir (%d): %s", -n, show(l)))
		}
	}
	slices.Sort(ls)
	if len(ls) > 8 {
		ls = append(ls[:4], ls[len(ls)-4:]...)
	}
	return strings.Join(ls, "")
}
