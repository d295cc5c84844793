package differential

// driven is a join whose first table is read by a key or an index, and whose others are looked up by one: ordered or grouped by what the first was read by. These are the
// plans that do without sorting and hashing, if each part keeps the order that it says it keeps.
func (g *gen) driven() *query {
	first := g.relation(pick(g.r, g.tables...))
	indexOf := func(t *table) index {
		if len(t.indexes) > 0 && g.one(2) {
			return pick(g.r, t.indexes...)
		}
		return index{cols: t.key, desc: make([]bool, len(t.key))}
	}
	x := indexOf(first.table)
	from := sql(first.table.name, " ", first.alias)
	scope := append([]scopeColumn(nil), first.cols...)
	for range pick(g.r, 1, 1, 1, 2) {
		rel := g.relation(pick(g.r, g.tables...))
		var on []*tree
		for _, c := range indexOf(rel.table).cols {
			l, ok := g.column(scope, rel.cols[c].kind)
			if !ok || len(on) > 0 && g.one(2) {
				break
			}
			on = append(on, sql(l.text, " = ", rel.cols[c].text))
		}
		if len(on) == 0 {
			continue
		}
		from = sql(from, pick(g.r, " join ", " left join ", " left join "), rel.table.name, " ", rel.alias, " on ", list(" and ", on), sql(" and ", g.cond(rel.cols, 0)).or(""))
		scope = append(scope, rel.cols...)
	}
	lead := first.cols[x.cols[0]]
	where := sql("")
	switch g.r.IntN(4) {
	case 0:
		where = sql(" where ", lead.text, pick(g.r, " < ", " > ", " >= "), g.near(lead))
	case 1:
		where = sql(" where ", lead.text, " in (", g.near(lead), ", ", g.near(lead), ", ", g.near(lead), ", ", g.near(lead), ")")
	case 2:
		where = sql(" where ", g.cond(first.cols, 1))
	}
	where = where.or("")
	cols := x.cols[:1+g.r.IntN(len(x.cols))]
	q := &query{}
	var outs []output
	var by, groups []*tree
	back := g.one(2)
	for i, c := range cols {
		outs = append(outs, output{sql(first.cols[c].text), first.cols[c].kind})
		by = append(by, sql(first.cols[c].text, direction(x.desc[i] != back)))
		groups = append(groups, sql(first.cols[c].text))
	}
	form := g.r.IntN(5)
	switch {
	case form == 0:
		outs = append(outs, output{sql("count(*)"), kBig}, output{g.aggregate(scope, 0, kInt), kInt})
	case form > 1:
		outs = append(outs, g.outputs(nil, scope, 0)...)
	}
	for i, o := range outs {
		q.kinds = append(q.kinds, o.kind)
		if i < len(cols) {
			q.keys = append(q.keys, i)
		}
	}
	head := "select "
	if form == 1 {
		head = "select distinct "
	}
	q.tree = sql(head, selectList(outs), " from ", from, where)
	if form == 0 {
		q.tree = sql(q.tree, " group by ", list(", ", groups))
	}
	if form <= 1 && g.one(2) {
		q.keys = nil // in any order: groups and duplicates must still come together
		return q
	}
	q.tree = sql(q.tree, " order by ", list(", ", by))
	if g.one(3) {
		q.total = form <= 1
		q.tree = sql(q.tree, g.limit(q))
	}
	return q
}
