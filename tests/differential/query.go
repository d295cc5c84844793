package differential

import (
	"fmt"
	"strconv"
	"strings"
)

// query is a SELECT, and what may be said of its answer.
type query struct {
	*tree
	kinds []kind // of what it shows
	// keys are the output columns by which it is ordered. total: nothing of the order is left open. limited: which rows are shown depends on the order.
	keys           []int
	total, limited bool
}

// output is one column of a SELECT list.
type output struct {
	*tree
	kind kind
}

// from makes a FROM clause of up to four relations, most of them joined by equalities.
func (g *gen) from(outer []scopeColumn, depth int) (*tree, []*relation, []scopeColumn) {
	first, t := g.item(depth, nil)
	rels := []*relation{first}
	scope := append([]scopeColumn(nil), first.cols...)
	joins := pick(g.r, 0, 0, 0, 1, 1, 1, 2, 2, 3)
	if depth <= 0 {
		joins = pick(g.r, 0, 0, 0, 1)
	}
	for range joins {
		lateral := g.one(7) && depth > 0
		var visible []scopeColumn
		if lateral {
			visible = scope
		}
		rel, item := g.item(depth-1, visible)
		if lateral && rel.table == nil {
			if g.one(2) {
				t = sql(t, " cross join lateral ", item).orEach(t)
			} else {
				t = sql(t, " left join lateral ", item, " on ", sql(g.cond(append(scope, rel.cols...), 0)).or("true"))
			}
			rels, scope = append(rels, rel), append(scope, rel.cols...)
			continue
		}
		on, using := g.joinCondition(scope, rel)
		if on == nil {
			continue
		}
		kind := pick(g.r, " join ", " join ", " join ", " left join ", " left join ", " right join ", " full join ")
		all := append(append([]scopeColumn(nil), scope...), rel.cols...)
		switch {
		case using != "" && g.one(3):
			t = sql(t, kind, item, " using (", using, ")")
		case kind == " full join ":
			t = sql(t, kind, item, " on ", on)
		case g.one(3):
			t = sql(t, kind, item, " on ", on, sql(" and ", g.cond(all, depth-1)).or(""))
		case kind == " join " && g.one(4): // with a comma
			t = sql("(", t, " cross join ", item, ")", "")
			t = sql(t, " join (values (1)) ", g.name("v"), "(one) on ", on)
		default:
			t = sql(t, kind, item, " on ", on)
		}
		rels, scope = append(rels, rel), all
	}
	return t, rels, scope
}

// item is a table or a subquery in FROM.
func (g *gen) item(depth int, outer []scopeColumn) (*relation, *tree) {
	if outer == nil && (depth <= 0 || !g.one(7)) {
		t := pick(g.r, g.tables...)
		rel := g.relation(t)
		return rel, sql(t.name, " ", rel.alias)
	}
	if outer == nil && g.one(8) {
		rel := &relation{alias: g.name("g")}
		rel.cols = []scopeColumn{{rel.alias + ".x", kInt, rel, -1}}
		return rel, sql("generate_series(", strconv.Itoa(g.r.IntN(3)), ", ", strconv.Itoa(g.r.IntN(60)), ") ", rel.alias, "(x)")
	}
	g.within++
	q := g.query(outer, depth-1)
	g.within--
	rel := &relation{alias: g.name("q")}
	var names []string
	for i, k := range q.kinds {
		names = append(names, "c"+strconv.Itoa(i))
		rel.cols = append(rel.cols, scopeColumn{fmt.Sprintf("%s.c%d", rel.alias, i), k, rel, -1})
	}
	return rel, sql("(", q.tree, ") ", rel.alias, "("+strings.Join(names, ", ")+")")
}

// joinCondition is an equality of one or two pairs of columns, seldom something else. using is the name of a column that both sides have once.
func (g *gen) joinCondition(scope []scopeColumn, rel *relation) (on *tree, using string) {
	pair := func() (l, r scopeColumn, ok bool) {
		for range 12 {
			r = pick(g.r, rel.cols...)
			if rel.table != nil && g.one(2) { // by a key or an index
				key := rel.table.key
				if len(rel.table.indexes) > 0 && g.one(2) {
					key = pick(g.r, rel.table.indexes...).cols
				}
				r = rel.cols[key[0]]
			}
			if r.kind == kJSON || r.kind == kBool || r.kind == kInts {
				continue
			}
			if l, ok = g.column(scope, r.kind); ok {
				return l, r, true
			}
		}
		return l, r, false
	}
	l, r, ok := pair()
	if !ok {
		return nil, ""
	}
	on = sql(l.text, " = ", r.text)
	_, ln, _ := strings.Cut(l.text, ".")
	if _, rn, _ := strings.Cut(r.text, "."); ln == rn {
		n := 0
		for _, c := range scope {
			if strings.HasSuffix(c.text, "."+ln) {
				n++
			}
		}
		if n == 1 {
			using = ln
		}
	}
	if g.one(3) {
		if l, r, ok := pair(); ok {
			on = sql(on, " and ", l.text, " = ", r.text).orEach(on)
			using = ""
		}
	}
	return on, using
}

var groupable = []kind{kInt, kInt, kBig, kText, kText, kNum, kBool, kTime, kDate, kFloat}
var shown = []kind{kInt, kInt, kBig, kText, kText, kNum, kBool, kTime, kDate, kFloat, kJSON, kInts}

// query makes a SELECT of any form for FROM, WITH or the top.
func (g *gen) query(outer []scopeColumn, depth int) *query {
	switch d := g.r.IntN(12); {
	case d < 2 && depth > 0:
		return g.setOperation(outer, depth)
	case d < 5:
		return g.grouped(outer, depth)
	case d == 5:
		return g.windowed(outer, depth)
	}
	return g.plain(outer, depth, nil, false)
}

// top makes a whole statement.
func (g *gen) top() *query {
	depth := pick(g.r, 0, 1, 1, 2, 2, 3)
	switch d := g.r.IntN(8); {
	case d == 0:
		return g.with(depth)
	case d < 3:
		return g.driven()
	}
	return g.query(nil, depth)
}

func (g *gen) outputs(want []kind, scope []scopeColumn, depth int) []output {
	var out []output
	if want == nil {
		for range 1 + g.r.IntN(4) {
			if len(scope) > 0 && !g.one(4) {
				c := pick(g.r, scope...)
				out = append(out, output{sql(c.text), c.kind})
				continue
			}
			k := pick(g.r, shown...)
			out = append(out, output{g.expr(k, scope, depth), k})
		}
		return out
	}
	for _, k := range want {
		out = append(out, output{g.expr(k, scope, depth), k})
	}
	return out
}

// plain is SELECT ... FROM ... WHERE, with DISTINCT, DISTINCT ON, ORDER BY, LIMIT or a lock. within: as a subquery of an expression, without an order.
func (g *gen) plain(outer []scopeColumn, depth int, want []kind, within bool) *query {
	from, rels, scope := g.from(outer, depth)
	all := append(append([]scopeColumn(nil), scope...), outer...)
	q := &query{}
	var outs []output
	var order *tree
	// In the order of a key or an index of one table, often in reverse: what plans like to do without sorting.
	if rel := rels[0]; want == nil && !within && rel.table != nil && g.one(3) {
		key, desc := rel.table.key, make([]bool, 3)
		if len(rel.table.indexes) > 0 && g.one(2) {
			x := pick(g.r, rel.table.indexes...)
			key, desc = x.cols, x.desc
		} else {
			q.total = len(rels) == 1
		}
		if g.one(4) && len(key) > 1 {
			key, q.total = key[:len(key)-1], false
		}
		back := g.one(2)
		var by []*tree
		for i, k := range key {
			outs = append(outs, output{sql(rel.cols[k].text), rel.cols[k].kind})
			q.keys = append(q.keys, i)
			by = append(by, sql(rel.cols[k].text, direction(desc[i] != back)))
		}
		order = list(", ", by)
	}
	outs = append(outs, g.outputs(want, all, depth-1)...)
	where := sql("")
	if !g.one(4) {
		where = sql(" where ", g.cond(all, depth)).or("")
	}
	for _, o := range outs {
		q.kinds = append(q.kinds, o.kind)
	}
	distinct := ""
	if order == nil && want == nil && g.one(6) {
		distinct = "distinct "
		for _, o := range outs {
			if o.kind == kJSON {
				distinct = ""
			}
		}
	}
	lock := sql("")
	if order == nil && distinct == "" && !within && outer == nil && depth >= 3 && g.one(2) && len(rels) == 1 && rels[0].table != nil {
		lock = sql(pick(g.r, " for update", " for share", " for no key update", " for key share")).or("")
	}
	q.tree = sql("select ", distinct, selectList(outs), " from ", from, where)
	switch {
	case within:
	case order != nil:
		q.tree = sql(q.tree, " order by ", order)
		if g.one(2) {
			q.tree = sql(q.tree, g.limit(q))
		}
	case distinct == "" && want == nil && g.one(8):
		g.distinctOn(q, outs, from, where)
	default:
		g.order(q, outs, distinct != "")
	}
	q.tree = sql(q.tree, lock)
	if want == nil && within && g.one(6) {
		q.tree = sql(q.tree, " limit ", strconv.Itoa(g.r.IntN(3)))
	}
	return q
}

func direction(desc bool) string {
	if desc {
		return " desc"
	}
	return ""
}

func selectList(outs []output) *tree {
	var ts []*tree
	for i, o := range outs {
		ts = append(ts, sql(sql(o.tree).or("NULL::"+typeNames[o.kind]), " as c"+strconv.Itoa(i)))
	}
	return list(", ", ts)
}

// limit adds LIMIT and OFFSET; within another query only where that leaves nothing open.
func (g *gen) limit(q *query) *tree {
	if g.within > 0 && !q.total {
		return sql("")
	}
	q.limited = true
	t := sql(" limit ", &value{kind: kBig, text: strconv.Itoa(pick(g.r, 0, 1, 1, 2, 5, 10, 10, 50, 1500))})
	if g.one(3) {
		t = sql(t, " offset ", &value{kind: kBig, text: strconv.Itoa(pick(g.r, 0, 1, 3, 20, 200, 2000))})
	}
	return t
}

// order adds ORDER BY and LIMIT, sometimes.
func (g *gen) order(q *query, outs []output, byNumber bool) {
	if g.one(3) {
		return
	}
	var by []*tree
	keys := g.r.Perm(len(outs))[:1+g.r.IntN(len(outs))]
	add := func(i int) {
		e := sql(strconv.Itoa(i + 1))
		if !byNumber {
			switch g.r.IntN(3) {
			case 0:
				if text, _ := outs[i].text(false); !strings.HasPrefix(text, "'") && strings.ContainsAny(text, ".(") { // not a constant, nor a position
					e = outs[i].tree
				}
			case 1:
				e = sql("c" + strconv.Itoa(i))
			}
		}
		by = append(by, sql(e, pick(g.r, "", "", " desc", " asc"), pick(g.r, "", "", "", " nulls first", " nulls last")))
		q.keys = append(q.keys, i)
	}
	for _, i := range keys {
		add(i)
	}
	limit := g.one(2)
	if limit && !g.one(4) || len(q.keys) == len(outs) {
		for i := range outs {
			if !contains(q.keys, i) {
				add(i)
			}
		}
		q.total = true
	}
	q.tree = sql(q.tree, " order by ", list(", ", by))
	if limit {
		q.tree = sql(q.tree, g.limit(q))
	}
}

// distinctOn makes DISTINCT ON by some of what is shown, ordered by all of it.
func (g *gen) distinctOn(q *query, outs []output, from, where *tree) {
	n := 1 + g.r.IntN(len(outs))
	var on, by []*tree
	for i := range outs {
		e := sql(strconv.Itoa(i + 1))
		if i < n {
			on = append(on, e)
		}
		by = append(by, sql(e, pick(g.r, "", "", " desc", " nulls first")))
		q.keys = append(q.keys, i)
	}
	q.total = true
	q.tree = sql("select distinct on (", list(", ", on), ") ", selectList(outs), " from ", from, where, " order by ", list(", ", by))
	if g.one(3) {
		q.tree = sql(q.tree, g.limit(q))
	}
}
