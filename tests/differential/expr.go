package differential

import (
	"fmt"
	"math/rand/v2"
	"strconv"
)

// scopeColumn is a column that an expression may name.
type scopeColumn struct {
	text string
	kind kind
	rel  *relation
	col  int // of rel.table, if there is one
}

// relation is something in FROM.
type relation struct {
	alias string
	table *table // nil: a subquery
	cols  []scopeColumn
}

// gen makes the statements of a program.
type gen struct {
	r      *rand.Rand
	tables []*table
	names  int
	within int // in a subquery, whose rows must be determined
}

func (g *gen) one(n int) bool { return g.r.IntN(n) == 0 }

func (g *gen) name(prefix string) string {
	g.names++
	return prefix + strconv.Itoa(g.names)
}

// column picks a column of a kind.
func (g *gen) column(scope []scopeColumn, k kind) (scopeColumn, bool) {
	var of []scopeColumn
	for _, c := range scope {
		if c.kind == k {
			of = append(of, c)
		}
	}
	if len(of) == 0 {
		return scopeColumn{}, false
	}
	return pick(g.r, of...), true
}

func (g *gen) literal(k kind) *tree {
	v := draw(g.r, k)
	if g.one(25) {
		v.null = true
	}
	return sql(v)
}

// near draws a literal that has a chance to be among the column's values.
func (g *gen) near(c scopeColumn) *tree {
	if c.rel != nil && c.rel.table != nil && contains(c.rel.table.key, c.col) && c.rel.table.cols[c.col].name == "k" && !g.one(5) {
		rows := c.rel.table.rows
		if len(c.rel.table.key) > 1 {
			rows = rows/4 + 1
		}
		return sql(drawKey(g.r, c.kind, rows))
	}
	return g.literal(c.kind)
}

// expr makes an expression of a kind.
func (g *gen) expr(k kind, scope []scopeColumn, depth int) *tree {
	c, ok := g.column(scope, k)
	leaf := func() *tree {
		if ok && !g.one(6) {
			return sql(c.text)
		}
		return g.literal(k)
	}
	if depth <= 0 || ok && !g.one(3) {
		return leaf()
	}
	e := func(k kind) *tree { return g.expr(k, scope, depth-1) }
	small := leaf()
	t := func() *tree {
		switch g.r.IntN(8) {
		case 0:
			a, b := e(k), e(k)
			return sql("coalesce(", a, ", ", b, ")").orEach(a, b)
		case 1:
			a, b := e(k), e(k)
			return sql("case when ", g.cond(scope, depth-1), " then ", a, " else ", b, " end").orEach(a, b)
		case 2:
			if k == kJSON || k == kNum { // numerics that differ in their scale only
				break
			}
			a, b := e(k), e(k)
			return sql(pick(g.r, "greatest(", "least(", "nullif("), a, ", ", b, ")").orEach(a, b)
		case 3:
			if sub := g.scalar(k, scope, depth-1); sub != nil {
				return sub
			}
		}
		switch k {
		case kInt:
			switch g.r.IntN(7) {
			case 0:
				return sql("(", e(kInt), pick(g.r, " + ", " - "), strconv.Itoa(g.r.IntN(9)), ")")
			case 1:
				return sql("(", e(kInt), " % ", strconv.Itoa(2+g.r.IntN(7)), ")")
			case 2:
				return sql("abs(", e(kInt), ")")
			case 3:
				return sql("length(", e(kText), ")")
			case 4:
				return sql("extract(", pick(g.r, "day", "month", "dow"), " from ", e(pick(g.r, kTime, kDate)), ")::int4")
			case 5:
				return sql("cardinality(", e(kInts), ")")
			default:
				return sql("(-", e(kInt), ")")
			}
		case kBig:
			switch g.r.IntN(3) {
			case 0:
				return sql("(", e(kBig), " + ", e(kInt), ")")
			case 1:
				return sql(e(kInt), "::int8")
			default:
				return sql("(", e(kInt), "::int8 * ", strconv.Itoa(g.r.IntN(5)), ")")
			}
		case kText:
			switch g.r.IntN(9) {
			case 0:
				return sql(pick(g.r, "initcap(md5(", "reverse((", "btrim(("), e(kText), "))") // upper(): the C locale of PostgreSQL knows ASCII only
			case 1:
				return sql("(", e(kText), " || ", e(kText), ")")
			case 2:
				return sql("substr(", e(kText), ", 1, ", strconv.Itoa(g.r.IntN(4)), ")")
			case 3:
				return sql(e(pick(g.r, kInt, kBig, kBool, kDate)), "::text")
			case 4:
				return sql("(", e(kJSON), pick(g.r, " ->> 'a'", " ->> 'b'", " ->> 0"), ")")
			case 5:
				return sql("replace(", e(kText), ", 'a', 'xy')")
			case 6:
				return sql("md5(", e(kText), ")")
			case 7:
				return sql("to_char(", e(pick(g.r, kTime, kDate)), ", 'YYYY-MM-DD')")
			default:
				return sql("lpad(", e(kText), ", 3, '-')")
			}
		case kNum:
			return sql("(", e(kNum), pick(g.r, " + ", " - "), e(kNum), ")")
		case kBool:
			return sql("(", g.cond(scope, depth-1), ")")
		case kTime:
			if g.one(2) {
				return sql("date_trunc('", pick(g.r, "day", "month", "hour"), "', ", e(kTime), ")")
			}
			return sql("(", e(kTime), " + interval '", pick(g.r, "1 day", "90 minutes", "1 month"), "')")
		case kDate:
			if g.one(2) {
				return sql(e(kTime), "::date")
			}
			return sql("(", e(kDate), " + ", strconv.Itoa(g.r.IntN(5)), ")")
		case kFloat:
			if g.one(2) {
				return sql(e(kInt), "::float8")
			}
			return sql("(", e(kFloat), " * 0.5)")
		case kJSON:
			switch g.r.IntN(3) {
			case 0:
				return sql("(", e(kJSON), pick(g.r, " -> 'a'", " -> 'b'", " -> 0"), ")")
			case 1:
				return sql("jsonb_build_object('x', ", e(kInt), ", 'y', ", e(kText), ")")
			default:
				return sql("to_jsonb(", e(pick(g.r, kInt, kText, kBool)), ")")
			}
		case kInts:
			switch g.r.IntN(3) {
			case 0:
				return sql("array[", e(kInt), ", ", e(kInt), "]")
			case 1:
				return sql("(", e(kInts), " || ", e(kInt), ")")
			default:
				return sql("array_remove(", e(kInts), ", 1)")
			}
		}
		return leaf()
	}()
	if t.smaller == nil {
		t.orEach(small)
	}
	return t
}

// cond makes a condition.
func (g *gen) cond(scope []scopeColumn, depth int) *tree {
	c := g.condition(scope, depth).or("true").or("false")
	if p := g.indexed(scope); p != "" {
		return sql("(", c, ") and (", p, ")").orEach(c, sql(p))
	}
	return c
}

// indexed is now and then the condition of a partial index of one of the tables in scope.
func (g *gen) indexed(scope []scopeColumn) string {
	if len(scope) == 0 || !g.one(2) {
		return ""
	}
	rel := pick(g.r, scope...).rel
	if rel == nil || rel.table == nil {
		return ""
	}
	for _, x := range rel.table.indexes {
		if x.where != "" && len(rel.cols) == len(rel.table.cols) && g.one(2) {
			return x.condition(rel.cols[x.of].text)
		}
	}
	return ""
}

func (g *gen) condition(scope []scopeColumn, depth int) *tree {
	if depth > 0 && g.one(3) {
		a, b := g.cond(scope, depth-1), g.cond(scope, depth-1)
		switch g.r.IntN(5) {
		case 0:
			return sql("not (", a, ")").orEach(a)
		case 1, 2:
			return sql("(", a, " or ", b, ")").orEach(a, b)
		default:
			return sql("(", a, " and ", b, ")").orEach(a, b)
		}
	}
	if depth > 0 && g.one(6) {
		if s := g.subqueryCondition(scope, depth-1); s != nil {
			return s
		}
	}
	if len(scope) == 0 {
		return sql(g.literal(kBool))
	}
	c := pick(g.r, scope...)
	op := pick(g.r, " = ", " = ", " = ", " < ", " > ", " <= ", " >= ", " <> ")
	switch g.r.IntN(14) {
	case 0:
		return sql(c.text, pick(g.r, " is null", " is not null", " is not null"))
	case 1:
		var in []*tree
		for range 1 + g.r.IntN(6) {
			in = append(in, g.near(c))
		}
		return sql(c.text, pick(g.r, " in (", " in (", " in (", " not in ("), list(", ", in), ")").orEach(sql(c.text, " = ", in[0]))
	case 2:
		if c.kind == kJSON {
			break
		}
		return sql(c.text, pick(g.r, " between ", " between ", " not between ", " between symmetric "), g.near(c), " and ", g.near(c))
	case 3:
		t, ok := g.column(scope, kText)
		if !ok {
			break
		}
		return sql(t.text, pick(g.r, " like ", " like ", " not like ", " ilike "), "'", pick(g.r, "a%", "%b", "_b%", "", "%", "A%", "ab%", "%é%", `a\%b`, "k1%"), "'")
	case 4:
		return sql(c.text, pick(g.r, " is distinct from ", " is not distinct from "), g.near(c))
	case 5: // a row
		d := pick(g.r, scope...)
		if g.one(3) {
			return sql("(", c.text, ", ", d.text, ") in ((", g.near(c), ", ", g.near(d), "), (", g.near(c), ", ", g.near(d), "))")
		}
		return sql("(", c.text, ", ", d.text, ")", op, "(", g.near(c), ", ", g.near(d), ")")
	case 6:
		if i, ok := g.column(scope, kInt); ok {
			if a, ok := g.column(scope, kInts); ok && g.one(2) {
				return sql(i.text, pick(g.r, " = any(", " <> all(", " < any("), a.text, ")")
			}
			return sql(i.text, pick(g.r, " = any('{", " <> all('{"), fmt.Sprintf("%d,%d,NULL,%d", few(g.r, 40), few(g.r, 40), few(g.r, 400)), "}'::int4[])")
		}
	case 7:
		if b, ok := g.column(scope, kBool); ok {
			return sql(b.text, pick(g.r, "", " is true", " is not true", " is unknown", " is false"))
		}
	case 8:
		if a, ok := g.column(scope, kInts); ok {
			return sql(a.text, pick(g.r, " @> ", " && ", " <@ ", " = "), "'{", pick(g.r, "1", "1,2", "3", ""), "}'::int4[]")
		}
		if j, ok := g.column(scope, kJSON); ok {
			return sql(j.text, pick(g.r, ` @> '{"a": 1}'`, " ? 'a'", ` <@ '{"a": 1, "b": 2}'`, " = '1'"))
		}
	case 9: // two columns
		if d, ok := g.column(scope, c.kind); ok {
			return sql(c.text, op, d.text)
		}
	case 10:
		a, b := g.expr(c.kind, scope, depth), g.expr(c.kind, scope, depth)
		return sql(a, op, b)
	case 11: // other integers than the column's
		if c.kind == kInt || c.kind == kBig {
			return sql(c.text, op, pick(g.r, "5::int8", "7::int2", "2.5", "3000000000", "4.0", "1e1", "-1"))
		}
		if c.kind == kDate {
			return sql(c.text, op, "timestamptz '2024-01-12 00:00:00+00'")
		}
	}
	return sql(c.text, op, g.near(c))
}

// subqueryCondition is EXISTS, IN, NOT IN, ANY or ALL.
func (g *gen) subqueryCondition(scope []scopeColumn, depth int) *tree {
	switch g.r.IntN(3) {
	case 0:
		q := g.plain(scope, depth, nil, true)
		return sql(pick(g.r, "exists (", "exists (", "not exists ("), q.tree, ")")
	default:
		if len(scope) == 0 {
			return nil
		}
		c := pick(g.r, scope...)
		if c.kind == kJSON {
			return nil
		}
		outer := scope
		if g.one(2) {
			outer = nil
		}
		q := g.plain(outer, depth, []kind{c.kind}, true)
		return sql(c.text, pick(g.r, " in (", " in (", " not in (", " not in (", " = any (", " > all (", " <= any (", " <> all ("), q.tree, ")")
	}
}

// scalar is a subquery with one value.
func (g *gen) scalar(k kind, scope []scopeColumn, depth int) *tree {
	if k == kJSON || k == kInts || k == kBool || depth <= 0 {
		return nil
	}
	t := pick(g.r, g.tables...)
	rel := g.relation(t)
	c, ok := g.column(rel.cols, k)
	if !ok {
		return nil
	}
	where := g.cond(rel.cols, depth-1)
	if len(scope) > 0 && !g.one(3) {
		o := pick(g.r, scope...)
		if in, ok := g.column(rel.cols, o.kind); ok && o.kind != kJSON {
			where = sql(in.text, " = ", o.text, sql(" and ", where).or(""))
		}
	}
	if g.one(3) {
		return sql("(select ", c.text, " from ", t.name, " ", rel.alias, " where ", where, " order by ", c.text, pick(g.r, "", " desc"), " limit 1)")
	}
	return sql("(select ", pick(g.r, "max(", "min("), c.text, ") from ", t.name, " ", rel.alias, " where ", where, ")")
}

// relation names a table.
func (g *gen) relation(t *table) *relation {
	rel := &relation{alias: g.name("r"), table: t}
	for i, c := range t.cols {
		rel.cols = append(rel.cols, scopeColumn{rel.alias + "." + c.name, c.kind, rel, i})
	}
	return rel
}
