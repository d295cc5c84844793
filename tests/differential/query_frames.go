package differential

import (
	"fmt"
	"strconv"
	"strings"
)

// framed has window functions over frames of all kinds, filtered, grouped below and looked at from above.
func (g *gen) framed() *query {
	if g.one(6) {
		return g.framedGroups()
	}
	from, rels, scope := g.from(nil, pick(g.r, 0, 0, 1))
	f := &framer{gen: g, scope: scope}
	if len(rels) == 1 && rels[0].table != nil {
		for _, k := range rels[0].table.key {
			f.key = append(f.key, rels[0].cols[k])
		}
	}
	var outs []output
	for range 1 + g.r.IntN(3) {
		c := pick(g.r, scope...)
		outs = append(outs, output{sql(c.text), c.kind})
	}
	for range 1 + g.r.IntN(3) {
		outs = append(outs, f.call())
	}
	where := sql("")
	if g.one(2) {
		where = sql(" where ", g.cond(scope, 1)).or("")
	}
	q := &query{}
	for _, o := range outs {
		q.kinds = append(q.kinds, o.kind)
	}
	q.tree = sql("select ", selectList(outs), " from ", from, where, f.clause())
	if g.one(3) { // conditions that may, or may not, be looked at before the functions are computed
		rel := &relation{alias: g.name("q")}
		var stars []output
		for i, k := range q.kinds {
			rel.cols = append(rel.cols, scopeColumn{fmt.Sprintf("%s.c%d", rel.alias, i), k, rel, -1})
			stars = append(stars, output{sql(rel.cols[i].text), k})
		}
		q.tree = sql("select ", selectList(stars), " from (", q.tree, ") ", rel.alias, " where ", g.cond(rel.cols, 1))
		outs = stars
	}
	g.order(q, outs, true)
	return q
}

// framedGroups has window functions over groups.
func (g *gen) framedGroups() *query {
	from, _, scope := g.from(nil, 0)
	var by scopeColumn
	for by = pick(g.r, scope...); by.kind == kJSON; {
		by = pick(g.r, scope...)
	}
	frame := func() *tree {
		return sql(" over (order by ", pick(g.r, "", "count(*) desc, "), by.text, (&framer{gen: g}).frame(true, true), ")")
	}
	outs := []output{{sql(by.text), by.kind}, {sql("count(*)"), kBig}, {sql("sum(count(*))", frame(), "::int8"), kBig}, {sql(pick(g.r, "lag(", "lead(", "first_value(", "last_value("), "max(", g.intOf(scope), "))", frame()), kInt}}
	q := &query{kinds: []kind{by.kind, kBig, kBig, kInt}}
	q.tree = sql("select ", selectList(outs), " from ", from, sql(" where ", g.cond(scope, 0)).or(""), " group by ", by.text)
	g.order(q, outs, true)
	return q
}

// framer makes calls over the rows of scope.
type framer struct {
	*gen
	scope []scopeColumn
	key   []scopeColumn // of the one table that there is
	named []*tree       // windows w0, w1, ...
}

func (f *framer) clause() *tree {
	if len(f.named) == 0 {
		return sql("")
	}
	var all []*tree
	for i, w := range f.named {
		all = append(all, sql("w"+strconv.Itoa(i), " as (", w, ")"))
	}
	return sql(" window ", list(", ", all))
}

// over is a window whose order, if it is total, leaves nothing open.
func (f *framer) over(total bool) *tree {
	var part, by []*tree
	comparable := func() (scopeColumn, bool) {
		c := pick(f.r, f.scope...)
		return c, c.kind != kJSON
	}
	for range pick(f.r, 0, 1, 1, 2) {
		if c, ok := comparable(); ok {
			part = append(part, sql(c.text))
		}
	}
	for range f.r.IntN(3) {
		if c, ok := comparable(); ok {
			by = append(by, sql(c.text, pick(f.r, "", "", " desc", " nulls first", " desc nulls last")))
		}
	}
	if total {
		for _, c := range f.key {
			by = append(by, sql(c.text, pick(f.r, "", " desc")))
		}
	}
	order := sql("")
	if len(by) > 0 {
		order = sql(" order by ", list(", ", by))
	}
	w := sql("")
	if len(part) > 0 {
		w = sql("partition by ", list(", ", part)).or("")
	}
	frame := f.frame(total, len(by) > 0).or("")
	if f.one(4) {
		f.named = append(f.named, w)
		return sql(" over (w", strconv.Itoa(len(f.named)-1), order, frame, ")")
	}
	return sql(" over (", w, order, frame, ")")
}

// frame is a frame clause; one of ROWS only where the order is total.
func (f *framer) frame(total, ordered bool) *tree {
	modes := []string{"range"}
	if ordered {
		modes = append(modes, "groups")
	}
	if total {
		modes = append(modes, "rows", "rows")
	}
	if f.one(4) {
		return sql("")
	}
	mode := pick(f.r, modes...)
	n := func() string { return pick(f.r, "0", "1", "1", "2", "3", "20", "100000") }
	bounds := []string{"unbounded preceding", "", "current row", "", "unbounded following"}
	if mode == "range" {
		bounds = []string{"unbounded preceding", "current row", "unbounded following"}
	}
	from := f.r.IntN(len(bounds) - 1)
	to := from + f.r.IntN(len(bounds)-from)
	if to == 0 {
		to = len(bounds) / 2
	}
	text := func(i int) string {
		switch {
		case bounds[i] != "":
			return bounds[i]
		case i == 1:
			return n() + " preceding"
		}
		return n() + " following"
	}
	clause := " " + mode + " between " + text(from) + " and " + text(to)
	if from <= len(bounds)/2 && f.one(5) {
		clause = " " + mode + " " + text(from) // up to the current row
	}
	return sql(clause, pick(f.r, "", "", "", " exclude current row", " exclude group", " exclude ties", " exclude no others"))
}

// call is one with OVER.
func (f *framer) call() output {
	c := pick(f.r, f.scope...)
	if len(f.key) > 0 && f.one(2) {
		w := f.over(true)
		switch f.r.IntN(8) {
		case 0:
			return output{sql("row_number()", w), kBig}
		case 1:
			return output{sql(pick(f.r, "lag(", "lead("), c.text, pick(f.r, "", ", 2", ", 0", ", -1", ", null", ", "+f.intOf(f.scope)), ")", w), c.kind}
		case 2:
			d := pick(f.r, f.scope...)
			for d.kind != c.kind {
				d = pick(f.r, f.scope...)
			}
			return output{sql(pick(f.r, "lag(", "lead("), c.text, ", ", pick(f.r, "1", "3", "1000"), ", ", d.text, ")", w), c.kind}
		case 3:
			return output{sql(pick(f.r, "first_value(", "last_value("), c.text, ")", w), c.kind}
		case 4:
			return output{sql("nth_value(", c.text, ", ", pick(f.r, "1", "2", "5", "null"), ")", w), c.kind}
		case 5:
			return output{sql("ntile(", pick(f.r, "1", "3", "7", "1000", "nullif(abs("+f.intOf(f.scope)+"::int8 % 5)::int4, 0)"), ")", w, "::int4"), kInt}
		case 6:
			if c, ok := f.column(f.scope, kText); ok {
				return output{sql("string_agg(", c.text, ", '.')", f.filter(), w), kText}
			}
		}
		return output{sql("array_agg(", f.intOf(f.scope), ")", f.filter(), w), kInts}
	}
	w := f.over(false)
	switch f.r.IntN(5) {
	case 0:
		return output{sql(pick(f.r, "rank()", "dense_rank()"), w), kBig}
	case 1:
		return output{sql(pick(f.r, "percent_rank()", "cume_dist()"), w), kFloat}
	case 2:
		return output{sql(pick(f.r, "count(*)", "count("+c.text+")", "sum("+f.intOf(f.scope)+")"), f.filter(), w), kBig}
	}
	k := pick(f.r, kInt, kText, kNum, kDate, kTime)
	return output{sql(pick(f.r, "min(", "max("), f.expr(k, f.scope, 0), ")", f.filter(), w), k}
}

func (f *framer) filter() *tree {
	if !f.one(4) {
		return sql("")
	}
	return sql(" filter (where ", f.cond(f.scope, 0), ")").or("")
}

func (p *program) asks() *query {
	if !p.frames || p.r.IntN(5) == 0 {
		return p.g.top()
	}
	q := p.g.framed()
	for text, _ := q.text(false); strings.Count(text, " over ") == 0; text, _ = q.text(false) {
		q = p.g.framed()
	}
	return q
}
