package differential

import (
	"fmt"
	"strconv"
	"strings"
)

// change is an INSERT, UPDATE or DELETE. Its RETURNING is compared as a multiset.
type change struct {
	*tree
	kind  string
	table *table
	kinds []kind
}

func (g *gen) returning(rel *relation) (*tree, []kind) {
	if g.one(2) {
		return sql(""), nil
	}
	outs := g.outputs(nil, rel.cols, 1)
	var kinds []kind
	for _, o := range outs {
		kinds = append(kinds, o.kind)
	}
	return sql(" returning ", selectList(outs)).or(""), kinds
}

func (g *gen) change() *change {
	t := pick(g.r, g.tables...)
	switch d := g.r.IntN(10); {
	case d < 3:
		return g.insert(t)
	case d < 5:
		return g.insertSelect(t)
	case d < 8:
		return g.update(t)
	}
	return g.remove(t)
}

// self is a table under its own name.
func self(t *table) *relation {
	rel := &relation{alias: t.name, table: t}
	for i, c := range t.cols {
		rel.cols = append(rel.cols, scopeColumn{t.name + "." + c.name, c.kind, rel, i})
	}
	return rel
}

func names(t *table, cols []int) string {
	var s []string
	for _, c := range cols {
		s = append(s, t.cols[c].name)
	}
	return strings.Join(s, ", ")
}

// written are the columns that an INSERT names: the key, those that are NOT NULL, and some others.
func (g *gen) written(t *table) (cols []int) {
	for i, c := range t.cols {
		if contains(t.key, i) || c.notNull && !g.one(100) || !g.one(5) {
			cols = append(cols, i)
		}
	}
	return cols
}

func (g *gen) insert(t *table) *change {
	cols := g.written(t)
	var rows []*tree
	for range 1 + few(g.r, 8) {
		var vals []*tree
		for _, c := range cols {
			col := t.cols[c]
			switch {
			case contains(t.key, c) && col.name == "k":
				vals = append(vals, sql(drawKey(g.r, col.kind, t.rows)))
			case col.notNull || contains(t.key, c):
				vals = append(vals, sql(draw(g.r, col.kind)))
			case t.refs[col.name] != nil && !g.one(6):
				vals = append(vals, sql(fmt.Sprintf("(select max(k) from %s where k <= %d)", t.refs[col.name].name, g.r.IntN(2*t.rows+10))))
			default:
				vals = append(vals, g.literal(col.kind))
			}
		}
		rows = append(rows, sql("(", list(", ", vals), ")"))
	}
	ret, kinds := g.returning(self(t))
	return &change{sql("insert into ", t.name, " (", names(t, cols), ") values ", list(", ", rows), g.onConflict(t, cols), ret), "INSERT", t, kinds}
}

func (g *gen) onConflict(t *table, cols []int) *tree {
	switch g.r.IntN(5) {
	case 0, 1:
		return sql("")
	case 2:
		return sql(" on conflict do nothing")
	case 3:
		return sql(" on conflict (", names(t, t.key), ") do nothing")
	}
	target := names(t, t.key)
	for _, x := range t.indexes {
		if x.unique && x.where != "" && g.one(2) {
			target = names(t, x.cols) + ") where (" + x.condition(t.cols[x.of].name)
		}
	}
	var set []*tree
	for _, c := range cols {
		if t.unique(c) || t.refs[t.cols[c].name] != nil || g.one(2) {
			continue
		}
		n := t.cols[c].name
		if k := t.cols[c].kind; k == kInt || k == kBig || k == kNum {
			set = append(set, sql(n, " = ", pick(g.r, "excluded."+n, t.name+"."+n, "coalesce("+t.name+"."+n+", 0) + 1", "excluded."+n+" - 1")))
			continue
		}
		set = append(set, sql(n, " = excluded.", n))
	}
	if len(set) == 0 {
		return sql(" on conflict (", names(t, t.key), ") do nothing")
	}
	where := sql("")
	if g.one(3) {
		where = sql(" where ", g.cond(self(t).cols, 0)).or("")
	}
	return sql(" on conflict (", target, ") do update set ", list(", ", set), where)
}

// insertSelect inserts rows of another table, or of this one, or a series, in a definite order.
func (g *gen) insertSelect(t *table) *change {
	cols := g.written(t)
	source := g.relation(pick(g.r, g.tables...))
	series := g.one(3)
	var scope []scopeColumn
	if !series {
		scope = source.cols
	}
	n := g.r.IntN(2*t.rows + 10)
	var vals []*tree
	for _, c := range cols {
		col := t.cols[c]
		at := fmt.Sprintf("(row_number() over (order by %s) + %d)", keyOf(source), n)
		if series {
			at = fmt.Sprintf("(x + %d)", n)
		}
		switch {
		case contains(t.key, c) && col.name == "k":
			vals = append(vals, map[kind]*tree{
				kInt: sql(at, "::int4"), kBig: sql(at, "::int8"), kText: sql("'k' || ", at), kNum: sql(at, " / 4.0"),
				kTime: sql("timestamptz '2024-02-01 00:00:00+00' + ", at, " * interval '1 hour'"),
			}[col.kind])
		case t.refs[col.name] != nil && !g.one(6):
			vals = append(vals, sql(fmt.Sprintf("(select max(k) from %s where k <= %d)", t.refs[col.name].name, g.r.IntN(2*t.rows+10))))
		case col.notNull || contains(t.key, c):
			vals = append(vals, sql("coalesce(", g.expr(col.kind, scope, 1), ", ", draw(g.r, col.kind), ")"))
		default:
			vals = append(vals, g.expr(col.kind, scope, 1))
		}
	}
	from := fmt.Sprintf("generate_series(1, %d) x", pick(g.r, 3, 40, 40, 1500))
	tail := sql("")
	if !series {
		from = source.table.name + " " + source.alias
		tail = sql(" where ", g.cond(scope, 1), " order by ", keyOf(source), pick(g.r, "", " limit 30"))
	}
	ret, kinds := g.returning(self(t))
	return &change{sql("insert into ", t.name, " (", names(t, cols), ") select ", list(", ", vals), " from ", from, tail, g.onConflict(t, cols), ret), "INSERT ... SELECT", t, kinds}
}

func keyOf(rel *relation) string {
	var s []string
	for _, k := range rel.table.key {
		s = append(s, rel.cols[k].text)
	}
	return strings.Join(s, ", ")
}

// update changes columns that no unique index has, or one row. FROM gives at most one row for each of the table's.
func (g *gen) update(t *table) *change {
	me := self(t)
	scope := me.cols
	from := sql("")
	where := g.cond(me.cols, 2)
	if g.one(3) {
		o := pick(g.r, g.tables...)
		other := g.relation(o)
		on := []*tree{}
		for _, k := range o.key {
			if c, ok := g.column(me.cols, o.cols[k].kind); ok {
				on = append(on, sql(other.cols[k].text, " = ", c.text))
			}
		}
		if len(on) == len(o.key) {
			from = sql(" from ", o.name, " ", other.alias)
			scope = append(append([]scopeColumn(nil), me.cols...), other.cols...)
			where = sql(list(" and ", on), sql(" and ", g.cond(scope, 1)).or(""))
		}
	}
	one := g.one(6)
	if one {
		from, scope = sql(""), me.cols
		var eq []*tree
		for _, k := range t.key {
			eq = append(eq, sql(me.cols[k].text, " = ", g.near(me.cols[k])))
		}
		where = list(" and ", eq)
	}
	var set []*tree
	for i, c := range t.cols {
		if t.unique(i) && !one || t.refs[c.name] != nil && !g.one(5) || c.name == "k" && !g.one(3) || !g.one(3) {
			continue
		}
		e := g.expr(c.kind, scope, 1)
		if c.notNull || contains(t.key, i) {
			e = sql("coalesce(", e, ", ", draw(g.r, c.kind), ")")
		}
		set = append(set, sql(c.name, " = ", e))
	}
	if len(set) == 0 {
		return g.remove(t)
	}
	ret, kinds := g.returning(me)
	return &change{sql("update ", t.name, " set ", list(", ", set), from, " where ", where, ret), "UPDATE", t, kinds}
}

// remove deletes some rows, seldom all.
func (g *gen) remove(t *table) *change {
	me := self(t)
	where := g.cond(me.cols, 1)
	if !g.one(6) {
		c := pick(g.r, me.cols...)
		if i, ok := g.column(me.cols, kInt); ok {
			where = sql(g.cond(me.cols, 1), " and ", i.text, " % ", strconv.Itoa(3+g.r.IntN(6)), " = 1")
		} else {
			where = sql(g.cond(me.cols, 1), " and length(", c.text, "::text) = ", strconv.Itoa(g.r.IntN(6)))
		}
	}
	using := sql("")
	if g.one(4) {
		other := g.relation(pick(g.r, g.tables...))
		if on, _ := g.joinCondition(me.cols, other); on != nil {
			using = sql(" using ", other.table.name, " ", other.alias)
			where = sql(on, " and ", where)
		}
	}
	ret, kinds := g.returning(me)
	return &change{sql("delete from ", t.name, using, " where ", where, ret), "DELETE", t, kinds}
}
