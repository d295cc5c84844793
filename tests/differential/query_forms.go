package differential

import (
	"fmt"
	"strconv"
	"strings"
)

// aggregate makes a call, and the kind of its result.
func (g *gen) aggregate(scope []scopeColumn, depth int, want kind) *tree {
	filter := sql("")
	if g.one(5) {
		filter = sql(" filter (where ", g.cond(scope, depth), ")").or("")
	}
	distinct := sql(pick(g.r, "", "", "", "distinct ")).or("")
	e := func(k kind) *tree { return g.expr(k, scope, depth) }
	switch want {
	case kBig:
		switch g.r.IntN(5) {
		case 0, 1:
			return sql("count(*)", filter)
		case 2:
			k := pick(g.r, groupable...)
			return sql("count(", distinct, e(k), ")", filter)
		}
		return sql("sum(", distinct, e(kInt), ")", filter)
	case kNum:
		return sql(pick(g.r, "sum(", "min(", "max("), e(kNum), ")", filter)
	case kFloat:
		switch g.r.IntN(3) {
		case 0:
			return sql("avg(", distinct, e(kInt), ")", "::float8") // with its own scale as a numeric
		case 1:
			return sql("sum(", e(kFloat), ")", filter)
		}
		return sql(pick(g.r, "min(", "max(", "avg("), e(kFloat), ")", filter)
	case kBool:
		return sql(pick(g.r, "bool_and(", "bool_or("), g.cond(scope, depth), ")", filter)
	case kText:
		if g.one(2) {
			k := g.simple(kText, scope)
			return sql("string_agg(", distinct, k, ", ',' order by ", k, ")", filter)
		}
		return sql(pick(g.r, "min(", "max("), e(kText), ")", filter)
	case kInts:
		k := g.simple(kInt, scope)
		return sql("array_agg(", distinct, k, " order by ", k, ")", filter)
	case kJSON:
		k := g.simple(kInt, scope)
		return sql("jsonb_agg(", distinct, k, " order by ", k, ")", filter)
	}
	return sql(pick(g.r, "min(", "max("), e(want), ")", filter)
}

// simple is an expression that may be written twice: PostgreSQL knows that two subqueries are the same, Pamir does not.
func (g *gen) simple(k kind, scope []scopeColumn) *tree { return g.expr(k, scope, 0) }

// grouped is GROUP BY, or aggregates over everything.
func (g *gen) grouped(outer []scopeColumn, depth int) *query {
	from, rels, scope := g.from(outer, depth)
	all := append(append([]scopeColumn(nil), scope...), outer...)
	q := &query{}
	var outs []output
	var by []*tree
	for range pick(g.r, 0, 1, 1, 1, 2, 2, 3) {
		k := pick(g.r, groupable...)
		e := g.expr(k, scope, depth-2)
		if c := pick(g.r, scope...); g.one(2) && c.kind != kJSON {
			e, k = sql(c.text), c.kind
		}
		if rel := rels[0]; rel.table != nil && g.one(4) { // the front of a key
			c := rel.cols[rel.table.key[0]]
			e, k = sql(c.text), c.kind
		}
		if text, _ := e.text(false); !strings.Contains(text, ".") {
			continue // a constant
		}
		outs = append(outs, output{e, k})
		by = append(by, sql(strconv.Itoa(len(outs))))
	}
	n := len(outs)
	for range 1 + g.r.IntN(3) {
		k := pick(g.r, kBig, kBig, kBig, kInt, kText, kNum, kFloat, kBool, kDate, kTime, kInts, kJSON)
		outs = append(outs, output{g.aggregate(all, depth-1, k), k})
	}
	for _, o := range outs {
		q.kinds = append(q.kinds, o.kind)
	}
	where := sql("")
	if g.one(2) {
		where = sql(" where ", g.cond(all, depth-1)).or("")
	}
	q.tree = sql("select ", selectList(outs), " from ", from, where)
	if n > 0 {
		clause := list(", ", by)
		if g.one(40) {
			clause = sql(pick(g.r, "rollup(", "cube("), clause, ")")
		}
		q.tree = sql(q.tree, " group by ", clause)
	}
	if g.one(4) {
		q.tree = sql(q.tree, sql(" having ", sql(pick(g.r, "count(*) > ", "max(length("+g.textOf(scope)+")) > ", "count(*) < "), strconv.Itoa(g.r.IntN(5)))).or(""))
	}
	g.order(q, outs, true)
	return q
}

func (g *gen) textOf(scope []scopeColumn) string {
	if c, ok := g.column(scope, kText); ok {
		return c.text
	}
	return "'abc'"
}

// windowed has window functions whose answer does not depend on the order of ties.
func (g *gen) windowed(outer []scopeColumn, depth int) *query {
	from, rels, scope := g.from(outer, depth)
	all := append(append([]scopeColumn(nil), scope...), outer...)
	q := &query{}
	outs := g.outputs(nil, all, 0)
	over := func(total bool) (*tree, bool) {
		var part, by []*tree
		for range g.r.IntN(3) {
			if c := pick(g.r, scope...); c.kind != kJSON {
				part = append(part, sql(c.text))
			}
		}
		for range g.r.IntN(3) {
			if c := pick(g.r, scope...); c.kind != kJSON {
				by = append(by, sql(c.text, pick(g.r, "", " desc", " nulls first")))
			}
		}
		if total {
			if len(rels) > 1 || rels[0].table == nil {
				return nil, false
			}
			for _, k := range rels[0].table.key {
				by = append(by, sql(rels[0].cols[k].text, pick(g.r, "", " desc")))
			}
		}
		w := sql("")
		if len(part) > 0 {
			w = sql("partition by ", list(", ", part)).or("")
		}
		if len(by) > 0 {
			w = sql(w, " order by ", list(", ", by))
		}
		return sql(" over (", w, ")"), true
	}
	for range 1 + g.r.IntN(2) {
		if w, ok := over(true); ok && g.one(2) {
			c := pick(g.r, scope...)
			switch g.r.IntN(4) {
			case 0:
				outs = append(outs, output{sql("row_number()", w), kBig})
			case 1:
				outs = append(outs, output{sql(pick(g.r, "lag(", "lead("), c.text, pick(g.r, "", ", 2"), ")", w), c.kind})
			case 2:
				outs = append(outs, output{sql(pick(g.r, "first_value(", "last_value("), c.text, ")", w), c.kind})
			default:
				outs = append(outs, output{sql("ntile(3)", w, "::int4"), kInt})
			}
			continue
		}
		w, _ := over(false)
		if g.one(2) {
			outs = append(outs, output{sql(pick(g.r, "rank()", "dense_rank()"), w), kBig})
			continue
		}
		k := pick(g.r, kBig, kBig, kText, kNum, kDate, kInt)
		e := g.expr(k, scope, 0)
		switch k {
		case kBig:
			outs = append(outs, output{sql(pick(g.r, "count(*)", "sum("+g.intOf(scope)+")"), w), kBig})
		default:
			outs = append(outs, output{sql(pick(g.r, "min(", "max("), e, ")", w), k})
		}
	}
	for _, o := range outs {
		q.kinds = append(q.kinds, o.kind)
	}
	where := sql("")
	if g.one(2) {
		where = sql(" where ", g.cond(all, depth-1)).or("")
	}
	q.tree = sql("select ", selectList(outs), " from ", from, where)
	g.order(q, outs, true)
	return q
}

func (g *gen) intOf(scope []scopeColumn) string {
	if c, ok := g.column(scope, kInt); ok {
		return c.text
	}
	return "1"
}

// setOperation is UNION, INTERSECT or EXCEPT of two or three.
func (g *gen) setOperation(outer []scopeColumn, depth int) *query {
	var want []kind
	for range 1 + g.r.IntN(3) {
		want = append(want, pick(g.r, kInt, kInt, kBig, kText, kText, kNum, kBool, kTime, kDate, kFloat, kInts))
	}
	q := &query{kinds: want}
	part := func() *tree {
		p := g.plain(outer, depth-1, want, true)
		return sql("(", p.tree, ")")
	}
	q.tree = part()
	for range pick(g.r, 1, 1, 2) {
		next := part()
		q.tree = sql("(", q.tree, pick(g.r, " union ", " union all ", " union all ", " intersect ", " intersect all ", " except ", " except all "), next, ")").orEach(q.tree, next)
	}
	outs := make([]output, len(want))
	for i, k := range want {
		outs[i] = output{sql("?"), k}
	}
	g.order(q, outs, true)
	return q
}

// with puts one or two queries into WITH, used once or twice; seldom it is recursive.
func (g *gen) with(depth int) *query {
	if g.one(6) {
		t := pick(g.r, g.tables...)
		rel := g.relation(t)
		c, ok := g.column(rel.cols, kInt)
		if ok {
			n := strconv.Itoa(3 + g.r.IntN(30))
			q := &query{kinds: []kind{kInt, kBig}, keys: []int{0, 1}, total: true}
			q.tree = sql("with recursive w(x) as (select 0 union ", pick(g.r, "", "all "), "select x + 1 from w where x < ", n, ") select w.x as c0, count(", c.text, ") as c1 from w left join ",
				t.name, " ", rel.alias, " on ", c.text, " = w.x", sql(" where ", g.cond(rel.cols, 1)).or(""), " group by 1 order by 1, 2")
			return q
		}
	}
	g.within++
	inner := g.query(nil, depth-1)
	g.within--
	name := g.name("w")
	rel := func() *relation {
		rel := &relation{alias: g.name("q")}
		for i, k := range inner.kinds {
			rel.cols = append(rel.cols, scopeColumn{fmt.Sprintf("%s.c%d", rel.alias, i), k, rel, -1})
		}
		return rel
	}
	var names []string
	for i := range inner.kinds {
		names = append(names, "c"+strconv.Itoa(i))
	}
	a := rel()
	from, scope := sql(name, " ", a.alias), append([]scopeColumn(nil), a.cols...)
	if g.one(2) {
		b := rel()
		if on, _ := g.joinCondition(scope, b); on != nil && !inner.limited {
			from = sql(from, pick(g.r, " join ", " left join "), name, " ", b.alias, " on ", on)
			scope = append(scope, b.cols...)
		}
	} else if b, item := g.item(0, nil); true {
		if on, _ := g.joinCondition(scope, b); on != nil {
			from = sql(from, pick(g.r, " join ", " left join ", " right join "), item, " on ", on)
			scope = append(scope, b.cols...)
		}
	}
	q := &query{}
	outs := g.outputs(nil, scope, depth-1)
	for _, o := range outs {
		q.kinds = append(q.kinds, o.kind)
	}
	q.tree = sql("with ", name, "("+strings.Join(names, ", ")+") as ", pick(g.r, "", "", "materialized ", "not materialized "), "(", inner.tree, ") select ", selectList(outs), " from ", from,
		sql(" where ", g.cond(scope, depth-1)).or(""))
	g.order(q, outs, false)
	return q
}
