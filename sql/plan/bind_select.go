package plan

import (
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// target is an item of a select list.
type target struct {
	name string
	e    expr.Expr
	pos  int
	id   colID
}

// topSelect binds a statement's query.
func (b *binder) topSelect(s *ast.Select) (rel, []outCol) {
	return b.selectQuery(&query{}, s, true)
}

// selectQuery binds any query in q, a fresh level. With resolve, columns of unknown type become text.
func (b *binder) selectQuery(q *query, s *ast.Select, resolve bool) (rel, []outCol) {
	if s.Into != nil {
		b.fail(s.Pos, pgerr.SyntaxError, "SELECT ... INTO is not allowed here")
	}
	defs := b.with(q, s.With)
	var r rel
	var cols []outCol
	switch {
	case s.SetOp != 0:
		r, cols = b.setOperation(q, s)
	case s.Values != nil:
		r, cols = b.values(q, s, resolve)
	default:
		r, cols = b.simpleSelect(q, s, resolve)
	}
	return wrapWith(r, defs), cols
}

// simpleSelect binds SELECT ... FROM ... and its tail.
func (b *binder) simpleSelect(q *query, s *ast.Select, resolve bool) (rel, []outCol) {
	q.clause = clFrom
	r := b.from(q, s.From)
	if s.Where != nil {
		q.clause = clWhere
		if conds := conjuncts(nil, b.boolean(q, s.Where, "WHERE")); len(conds) > 0 {
			r = &filterRel{in: r, conds: conds}
		}
	}
	b.windowClause(q, s.Windows)
	q.clause = clSelect
	targets := b.targetList(q, s.Targets, resolve)
	visible := len(targets)
	groups := b.groupBy(q, s, &targets)
	var having expr.Expr
	if s.Having != nil {
		q.clause = clHaving
		having = b.boolean(q, s.Having, "HAVING")
	}
	q.clause = clOrderBy
	keys := b.orderBy(q, s.OrderBy, &targets, s.Distinct && s.DistinctOn == nil)
	on := b.distinctOn(q, s, &targets, keys)
	b.lockable(q, s)
	if len(q.aggs) > 0 || groups != nil || having != nil {
		r = b.aggregate(q, r, groups, having, targets)
	}
	r = b.windows(q, r)
	if len(q.srfs) > 0 {
		p := &projectRel{in: r, set: true, items: passThrough(b, r)}
		p.items = append(p.items, q.srfs...)
		r = p
	}
	proj := &projectRel{in: r}
	have, below := colSet{}, setOf(r.outs()...)
	for i := range targets {
		t := &targets[i]
		// A column of an enclosing query gets a number of its own here: this query makes it.
		if c, ok := t.e.(*expr.Column); ok && below.has(c.Index) {
			t.id = c.Index
		} else {
			t.id = b.newCol(colMeta{name: t.name, typ: t.e.Type()})
		}
		if !have.has(t.id) {
			have.add(t.id)
			proj.items = append(proj.items, projItem{t.id, t.e})
		}
	}
	r = proj
	cols := make([]outCol, visible)
	for i := range cols {
		cols[i] = outCol{targets[i].name, targets[i].id, targets[i].pos}
	}
	sort := func() {
		if len(keys) == 0 {
			return
		}
		sr := &sortRel{in: r}
		for _, k := range keys {
			sr.keys = append(sr.keys, SortKey{Expr: b.col(targets[k.target].id), Desc: k.desc, NullsFirst: k.nullsFirst})
		}
		r = sr
	}
	if s.Distinct && s.DistinctOn == nil {
		for _, t := range targets[:visible] {
			b.needEquality(t.e, t.pos)
		}
		r = &distinctRel{in: r}
		sort()
	} else if s.DistinctOn != nil {
		// The first row of each group in the requested order.
		sort()
		d := &distinctRel{in: r}
		for _, i := range on {
			d.on = append(d.on, targets[i].id)
		}
		r = d
	} else {
		sort()
	}
	r = b.locking(q, s, r)
	return b.limit(q, s, r), cols
}

// passThrough lists r's columns as themselves.
func passThrough(b *binder, r rel) []projItem {
	var items []projItem
	for _, id := range r.outs() {
		items = append(items, projItem{id, b.col(id)})
	}
	return items
}

func (b *binder) targetList(q *query, list []*ast.Target, resolve bool) []target {
	var out []target
	for _, t := range list {
		if c, ok := t.Expr.(*ast.ColumnRef); ok && c.Star {
			out = b.star(q, c, out)
			continue
		}
		if ind, ok := t.Expr.(*ast.Indirection); ok && len(ind.Steps) > 0 && ind.Steps[len(ind.Steps)-1].Star {
			b.unsupported(t.Pos, "expanding a composite value")
		}
		e := b.expr(q, t.Expr)
		if resolve && e.Type().OID == types.UnknownOID {
			c, err := expr.Coerce(e, types.Of(types.TextOID), 'i')
			b.check(err, t.Pos)
			e = c
		}
		name := t.Name
		if name == "" {
			name = figureName(t.Expr)
		}
		out = append(out, target{name: name, e: e, pos: startPos(t.Expr)})
	}
	return out
}

// star expands * and t.*.
func (b *binder) star(q *query, c *ast.ColumnRef, out []target) []target {
	add := func(it *nsItem) {
		for _, col := range it.cols {
			if !col.hidden {
				out = append(out, target{name: col.name, e: b.ref(col, c.Pos), pos: c.Pos})
			}
		}
	}
	if len(c.Names) > 0 {
		add(b.itemOf(q, c.Names, c.Pos))
		return out
	}
	n := 0
	for _, it := range q.items {
		if it.colsVisible {
			add(it)
			n++
		}
	}
	if n == 0 {
		b.fail(c.Pos, pgerr.SyntaxError, "SELECT * with no tables specified is not valid")
	}
	return out
}

// orderKey is a sort key over a target.
type orderKey struct {
	target           int
	desc, nullsFirst bool
}

// orderBy binds ORDER BY: names and numbers of output columns first, then expressions, which become hidden targets.
func (b *binder) orderBy(q *query, list []*ast.SortBy, targets *[]target, distinct bool) []orderKey {
	var keys []orderKey
	visible := len(*targets)
	for _, s := range list {
		k := orderKey{target: b.findTarget(q, s.Expr, targets, true)}
		if distinct && k.target >= visible {
			b.fail(startPos(s.Expr), pgerr.InvalidColumnReference, "for SELECT DISTINCT, ORDER BY expressions must appear in select list")
		}
		t := &(*targets)[k.target]
		if t.e.Type().OID == types.UnknownOID {
			e, err := expr.Coerce(t.e, types.Of(types.TextOID), 'i')
			b.check(err, t.pos)
			t.e = e
		}
		k.desc, k.nullsFirst = b.sortDirection(s, t.e)
		keys = append(keys, k)
	}
	return keys
}

// sortDirection reads ASC, DESC, USING and NULLS, and checks that the type has an order.
func (b *binder) sortDirection(s *ast.SortBy, e expr.Expr) (desc, nullsFirst bool) {
	b.needOrder(e, startPos(s.Expr))
	desc = s.Desc
	if len(s.Using) > 0 {
		switch s.Using[len(s.Using)-1] {
		case "<":
		case ">":
			desc = true
		default:
			b.throw(pgerr.New(pgerr.WrongObjectType, "operator %s is not a valid ordering operator", s.Using[len(s.Using)-1]).
				At(s.Pos).WithHint("Ordering operators must be \"<\" or \">\" members of btree operator families."))
		}
	}
	nullsFirst = desc
	if s.Nulls != 0 {
		nullsFirst = s.Nulls == 'f'
	}
	return desc, nullsFirst
}

func (b *binder) needOrder(e expr.Expr, pos int) {
	t := e.Type()
	if t.OID == types.UnknownOID || t.OID == types.RecordOID {
		return
	}
	if c, ok := builtin.TypeComparators(t.OID); !ok || c.Lt == nil {
		b.throw(pgerr.New(pgerr.UndefinedFunction, "could not identify an ordering operator for type %s", types.FormatType(t)).At(pos).
			WithHint("Use an explicit ordering operator or modify the query."))
	}
}

func (b *binder) needEquality(e expr.Expr, pos int) {
	t := e.Type()
	if t.OID == types.UnknownOID || t.OID == types.RecordOID {
		return
	}
	if c, ok := builtin.TypeComparators(t.OID); !ok || c.Eq == nil {
		b.fail(pos, pgerr.UndefinedFunction, "could not identify an equality operator for type %s", types.FormatType(t))
	}
}

// findTarget finds or adds the target that an item of ORDER BY, GROUP BY or DISTINCT ON means. Output
// names win over columns if names is set (ORDER BY), columns win otherwise (GROUP BY).
func (b *binder) findTarget(q *query, e ast.Expr, targets *[]target, names bool) int {
	list := *targets
	switch x := e.(type) {
	case *ast.ColumnRef:
		if len(x.Names) == 1 && !x.Star {
			if !names {
				if b.columnHere(q, x.Names[0]) {
					break
				}
			}
			found := -1
			for i := range list {
				if list[i].name != x.Names[0] || list[i].id == hiddenTarget {
					continue
				}
				if found >= 0 && !expr.Equal(list[found].e, list[i].e) {
					b.fail(x.Pos, pgerr.AmbiguousColumn, "%s \"%s\" is ambiguous", q.clause, x.Names[0])
				}
				if found < 0 {
					found = i
				}
			}
			if found >= 0 {
				return found
			}
		}
	case *ast.Literal:
		if x.Kind == ast.IntLiteral {
			if x.Int < 1 || int(x.Int) > countVisible(list) {
				b.fail(x.Pos, pgerr.InvalidColumnReference, "%s position %d is not in select list", q.clause, x.Int)
			}
			return int(x.Int) - 1
		}
		if x.Kind != ast.NullLiteral {
			b.fail(x.Pos, pgerr.SyntaxError, "non-integer constant in %s", q.clause)
		}
	}
	bound := b.expr(q, e)
	for i := range list {
		if expr.Equal(list[i].e, bound) {
			return i
		}
	}
	*targets = append(list, target{name: "?column?", e: bound, pos: startPos(e), id: hiddenTarget})
	return len(list)
}

// hiddenTarget marks targets that are not part of the result until they get their number.
const hiddenTarget = -1

func countVisible(list []target) int {
	n := 0
	for i := range list {
		if list[i].id != hiddenTarget {
			n++
		}
	}
	return n
}

// columnHere reports whether an unqualified name is a column of q's own FROM.
func (b *binder) columnHere(q *query, name string) bool {
	for _, it := range q.items {
		if it.colsVisible {
			for _, c := range it.cols {
				if c.name == name {
					return true
				}
			}
		}
	}
	return false
}

// distinctOn binds DISTINCT ON; its expressions must lead the ORDER BY.
func (b *binder) distinctOn(q *query, s *ast.Select, targets *[]target, keys []orderKey) []int {
	var on []int
	for _, e := range s.DistinctOn {
		i := b.findTarget(q, e, targets, true)
		b.needEquality((*targets)[i].e, startPos(e))
		dup := false
		for _, o := range on {
			dup = dup || o == i
		}
		if !dup {
			on = append(on, i)
		}
	}
	seen := map[int]bool{}
	for _, i := range on {
		seen[i] = true
	}
	matched := map[int]bool{}
	for _, k := range keys {
		if seen[k.target] {
			matched[k.target] = true
			continue
		}
		if len(matched) < len(on) && on != nil {
			b.fail((*targets)[k.target].pos, pgerr.InvalidColumnReference, "SELECT DISTINCT ON expressions must match initial ORDER BY expressions")
		}
		break
	}
	return on
}

// limit binds LIMIT and OFFSET.
func (b *binder) limit(q *query, s *ast.Select, r rel) rel {
	if s.Limit == nil && s.Offset == nil {
		return r
	}
	if s.WithTies {
		b.unsupported(startPos(s.Limit), "FETCH FIRST ... WITH TIES")
	}
	count, offset := b.limitExpr(q, s.Limit, "LIMIT"), b.limitExpr(q, s.Offset, "OFFSET")
	if count == nil && offset == nil {
		return r
	}
	return &limitRel{in: r, count: count, offset: offset}
}

func (b *binder) limitExpr(q *query, e ast.Expr, what string) expr.Expr {
	if e == nil {
		return nil
	}
	if l, ok := e.(*ast.Literal); ok && l.Kind == ast.NullLiteral {
		return nil
	}
	q.clause = clLimit
	items := q.items
	hidden := q.hidden
	x := b.expr(q, e)
	q.items, q.hidden = items, hidden
	for _, id := range expr.ColumnsUsed(nil, x) {
		if b.cols[id].level == q {
			b.fail(startPos(e), pgerr.InvalidColumnReference, "argument of %s must not contain variables", what)
		}
	}
	if x.Type().OID != types.Int8OID && x.Type().OID != types.UnknownOID && !expr.CanCoerce(x.Type().OID, types.Int8OID, 'a') {
		b.fail(startPos(e), pgerr.DatatypeMismatch, "argument of %s must be type bigint, not type %s", what, types.FormatType(x.Type()))
	}
	out, err := expr.Coerce(x, types.Of(types.Int8OID), 'a')
	b.check(err, startPos(e))
	return out
}
