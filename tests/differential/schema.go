package differential

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

type column struct {
	name    string
	kind    kind
	notNull bool
}

type index struct {
	name   string
	cols   []int
	desc   []bool
	unique bool
	// of a partial index: a condition on one column, which is %s in it
	where string
	of    int
}

// condition of a partial index on a column by that name.
func (x *index) condition(column string) string { return strings.ReplaceAll(x.where, "%s", column) }

type table struct {
	name    string
	cols    []column
	key     []int // of the primary key
	indexes []index
	rows    int
	refs    map[string]*table // columns that are foreign keys, and to what
}

// unique reports whether a change of the column could break a unique index or the primary key.
func (t *table) unique(col int) bool {
	for _, k := range t.key {
		if k == col {
			return true
		}
	}
	for _, x := range t.indexes {
		for _, c := range x.cols {
			if c == col && x.unique {
				return true
			}
		}
		if x.unique && x.where != "" && x.of == col {
			return true
		}
	}
	return false
}

// The columns that a table may have beside its key. The names are the same in all tables, for USING.
var pool = []column{
	{"i", kInt, false}, {"j", kInt, false}, {"b", kBig, false}, {"s", kText, false}, {"u", kText, false}, {"n", kNum, false}, {"o", kBool, false},
	{"ts", kTime, false}, {"d", kDate, false}, {"f", kFloat, false}, {"js", kJSON, false}, {"ar", kInts, false},
}

func pick[T any](r *rand.Rand, of ...T) T { return of[r.IntN(len(of))] }

func newTable(r *rand.Rand, name string, small bool) *table {
	t := &table{name: name}
	keyKind := pick(r, kInt, kInt, kInt, kInt, kBig, kText, kNum, kTime)
	t.cols = append(t.cols, column{"k", keyKind, true})
	t.key = []int{0}
	if r.IntN(3) == 0 {
		t.cols = append(t.cols, column{"k2", pick(r, kInt, kInt, kText, kDate), true})
		t.key = []int{0, 1}
		if r.IntN(4) == 0 {
			t.key = []int{1, 0}
		}
	}
	n := 3 + r.IntN(len(pool)-3)
	for _, i := range r.Perm(len(pool))[:n] {
		c := pool[i]
		c.notNull = r.IntN(6) == 0
		t.cols = append(t.cols, c)
	}
	if r.IntN(5) == 0 { // the key's columns need not come first
		last := len(t.cols) - 1
		t.cols[0], t.cols[last] = t.cols[last], t.cols[0]
		for i := range t.key {
			if t.key[i] == 0 {
				t.key[i] = last
			}
		}
	}
	switch d := r.IntN(10); {
	case d < 2:
		t.rows = r.IntN(12)
	case d < 7 || small:
		t.rows = 30 + r.IntN(90)
	case d < 9 || r.IntN(2) == 0:
		t.rows = 150 + r.IntN(200)
	default:
		t.rows = 1000 + r.IntN(1000)
	}
	return t
}

func (t *table) newIndex(r *rand.Rand, n int) index {
	x := index{name: fmt.Sprintf("%s_x%d", t.name, n)}
	for _, i := range r.Perm(len(t.cols)) {
		if k := t.cols[i].kind; k == kJSON || k == kInts || k == kBool && len(x.cols) == 0 {
			continue
		}
		x.cols = append(x.cols, i)
		x.desc = append(x.desc, r.IntN(4) == 0)
		if len(x.cols) > r.IntN(3) {
			break
		}
	}
	if r.IntN(3) == 0 {
		x.of = r.IntN(len(t.cols))
		x.where = pick(r, "%s is null", "%s is not null", "%s is not null")
		switch k := t.cols[x.of].kind; k {
		case kInt, kBig, kText:
			lit := func() string {
				if k == kText {
					return "'" + strings.ReplaceAll(draw(r, k).text, "'", "''") + "'"
				}
				return draw(r, k).text
			}
			x.where = pick(r, x.where, "%s > "+lit(), "%s <= "+lit(), "%s = "+lit(), "%s in ("+lit()+", "+lit()+", "+lit()+")", "%s < "+lit()+" or %s is null", "%s is not null and %s <> "+lit())
		case kBool:
			x.where = pick(r, x.where, "%s", "not %s", "%s is not true")
		}
	}
	return x
}

func (t *table) indexSQL(r *rand.Rand, x index) string {
	cols := make([]string, len(x.cols))
	for i, c := range x.cols {
		cols[i] = t.cols[c].name
		if x.desc[i] {
			cols[i] += " desc"
		}
		switch r.IntN(8) {
		case 0:
			cols[i] += " nulls first"
		case 1:
			cols[i] += " nulls last"
		}
	}
	s := fmt.Sprintf("create index %s on %s (%s)", x.name, t.name, strings.Join(cols, ", "))
	if x.unique {
		s = strings.Replace(s, "create", "create unique", 1)
	}
	if r.IntN(4) == 0 {
		var inc []string
		for i, c := range t.cols {
			if !contains(x.cols, i) && r.IntN(3) == 0 {
				inc = append(inc, c.name)
			}
		}
		if len(inc) > 0 {
			s += " include (" + strings.Join(inc, ", ") + ")"
		}
	}
	if x.where != "" {
		s += " where " + x.condition(t.cols[x.of].name)
	}
	return s
}

func contains(s []int, v int) bool {
	for _, e := range s {
		if e == v {
			return true
		}
	}
	return false
}

// create returns the statements that make a table and fill it. Foreign keys refer to single-column keys of earlier tables.
func (t *table) create(r *rand.Rand, earlier []*table) []string {
	var defs []string
	for i, c := range t.cols {
		d := c.name + " " + columnTypes[c.kind]
		if c.notNull && !contains(t.key, i) {
			d += " not null"
		}
		defs = append(defs, d)
	}
	key := make([]string, len(t.key))
	for i, k := range t.key {
		key[i] = t.cols[k].name
	}
	defs = append(defs, "primary key ("+strings.Join(key, ", ")+")")
	for _, e := range earlier {
		if len(e.key) > 1 || len(t.refs) > 0 || e.rows == 0 || r.IntN(2) == 0 {
			continue
		}
		kk := e.cols[e.key[0]].kind
		for i, c := range t.cols {
			if c.kind == kk && kk == kInt && !c.notNull && !contains(t.key, i) {
				t.refs = map[string]*table{c.name: e}
				defs = append(defs, fmt.Sprintf("foreign key (%s) references %s (%s) %s", c.name, e.name, e.cols[e.key[0]].name,
					pick(r, "", "on delete cascade", "on delete set null", "on delete cascade on update cascade", "deferrable initially deferred")))
				break
			}
		}
	}
	out := []string{fmt.Sprintf("create table %s (%s)", t.name, strings.Join(defs, ", "))}
	late := r.IntN(2) == 0 // indexes made on a table with rows are made another way
	var indexes []string
	for n := range r.IntN(4) {
		x := t.newIndex(r, n)
		if len(x.cols) == 0 {
			continue
		}
		if !contains(x.cols, t.key[0]) && r.IntN(4) != 0 {
			x.unique = false
		} else if len(t.key) == 1 && contains(x.cols, t.key[0]) {
			x.unique = r.IntN(2) == 0
		}
		t.indexes = append(t.indexes, x)
		indexes = append(indexes, t.indexSQL(r, x))
	}
	if !late {
		out = append(out, indexes...)
	}
	nulls := make([]int, len(t.cols)) // of ten
	for i := range nulls {
		nulls[i] = pick(r, 0, 1, 2, 5, 9)
	}
	names := make([]string, len(t.cols))
	for i, c := range t.cols {
		names[i] = c.name
	}
	seen := map[string]bool{}
	var rows []string
	flush := func() {
		if len(rows) > 0 {
			verb := fmt.Sprintf("insert into %s (%s) select * from (values %s) v(%s)", t.name, strings.Join(names, ", "), strings.Join(rows, ", "), strings.Join(names, ", "))
			if len(t.refs) > 0 { // references to rows that are not there become NULL
				verb = t.withReferences(verb)
			}
			out = append(out, verb)
			rows = rows[:0]
		}
	}
	for range t.rows {
		vals := make([]string, len(t.cols))
		id := ""
		for i, c := range t.cols {
			var v *value
			switch {
			case contains(t.key, i) && c.name == "k" && len(t.key) == 1:
				v = drawKey(r, c.kind, t.rows)
			case contains(t.key, i) && c.name == "k":
				v = drawKey(r, c.kind, t.rows/4+1)
			default:
				v = draw(r, c.kind)
			}
			if !c.notNull && !contains(t.key, i) && r.IntN(10) < nulls[i] {
				v = &value{kind: c.kind, null: true}
			}
			vals[i] = v.literal()
			if contains(t.key, i) {
				id += vals[i] + "|"
			}
		}
		if seen[id] {
			continue
		}
		seen[id] = true
		rows = append(rows, "("+strings.Join(vals, ", ")+")")
		if len(rows) == 500 {
			flush()
		}
	}
	flush()
	if late {
		out = append(out, indexes...)
	}
	return out
}

// withReferences makes references to rows that are there.
func (t *table) withReferences(insert string) string {
	head, from, _ := strings.Cut(insert, " select * ")
	sel := make([]string, len(t.cols))
	for i, c := range t.cols {
		sel[i] = c.name
		if to := t.refs[c.name]; to != nil {
			sel[i] = fmt.Sprintf("(select max(e.k) from %s e where e.k <= v.%s * 7)", to.name, c.name)
		}
	}
	return head + " select " + strings.Join(sel, ", ") + " " + from
}
