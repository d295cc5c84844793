package plan

import (
	"slices"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// A partial index has entries for those rows only for which its predicate is true. It serves a query whose conditions cannot be true where the predicate is not.

// IndexPredicate binds the predicate of a partial index, over all of t.Columns. It rests on nothing but the table's columns: what is in it is immutable.
func IndexPredicate(t *catalog.Table, ix *catalog.Index) (e expr.Expr, err error) {
	b := newBinder(nil, &Env{})
	defer b.catch(&err)
	ids := make([]colID, len(t.Columns))
	for i := range t.Columns {
		c := &t.Columns[i]
		ids[i] = b.newCol(colMeta{name: c.Name, typ: c.Type, table: t, ord: i})
	}
	x := b.predicate(t, ids, ix.Predicate)
	if expr.Volatility(x) != 'i' {
		return nil, errNotImmutable()
	}
	return (&physical{b: b, stmt: &Statement{}}).final(x, ids), nil
}

func errNotImmutable() error {
	return pgerr.New(pgerr.InvalidObjectDefinition, "functions in index predicate must be marked IMMUTABLE").
		WithHint("What depends on settings, as constants of date and time types do, cannot be in a predicate either.")
}

// CheckPredicate says what is wrong with the predicate of a new index, if anything is.
func CheckPredicate(cat catalog.Snapshot, env *Env, t *catalog.Table, e ast.Expr) (err error) {
	b := newBinder(cat, env)
	defer b.catch(&err)
	ids := make([]colID, len(t.Columns))
	for i := range t.Columns {
		c := &t.Columns[i]
		ids[i] = b.newCol(colMeta{name: c.Name, typ: c.Type, table: t, ord: i})
	}
	if x := b.boolean(&query{items: rowOf(t, ids), clause: clPredicate}, e, "WHERE"); expr.Volatility(expr.Fold(x)) != 'i' {
		return errNotImmutable()
	}
	return nil
}

// rowOf is a row of a table as names see it.
func rowOf(t *catalog.Table, ids []colID) []*nsItem {
	it := &nsItem{name: t.Name, relVisible: true, colsVisible: true, table: t}
	for i := range t.Columns {
		if !t.Columns[i].Dropped {
			it.cols = append(it.cols, nsCol{name: t.Columns[i].Name, id: ids[i]})
		}
	}
	return []*nsItem{it}
}

// predicate binds a condition on a row of the table.
func (b *binder) predicate(t *catalog.Table, ids []colID, text string) expr.Expr {
	e, err := parse.Expr(text)
	b.check(err, 0)
	pos := b.pos
	x := b.stored(rowOf(t, ids), e, clPredicate)
	b.pos = pos
	x, err = expr.ToBool(x, "WHERE")
	b.check(err, 0)
	return expr.Fold(x)
}

// partial is what the conditions of a scan mean for a partial index: ok if its entries are all that fulfil them. used are those that say no more than its predicate; share is
// that of the table's rows which are in the index.
func (p *physical) partial(r *scanRel, ix *catalog.Index) (used []int, share float64, ok bool) {
	if ix.Predicate == "" {
		return nil, 1, true
	}
	share = 1
	for _, q := range conjuncts(nil, p.b.predicate(r.table, r.cols, ix.Predicate)) {
		at := slices.IndexFunc(r.filter, func(f expr.Expr) bool { return expr.Equal(f, q) })
		if at >= 0 {
			used = append(used, at)
		} else if !p.impliedBy(r, r.filter, q) {
			return nil, 0, false
		}
		share *= p.selectivity(q, r)
	}
	if r.lock != kv.LockNone {
		used = nil // a row may have changed since its entry was read
	}
	return used, share, true
}

// impliedBy reports whether q is true wherever all the conditions are.
func (p *physical) impliedBy(r *scanRel, conds []expr.Expr, q expr.Expr) bool {
	switch x := q.(type) {
	case *expr.And:
		return !slices.ContainsFunc(x.Args, func(a expr.Expr) bool { return !p.impliedBy(r, conds, a) })
	case *expr.Or:
		if slices.ContainsFunc(x.Args, func(a expr.Expr) bool { return p.impliedBy(r, conds, a) }) {
			return true
		}
	}
	for _, f := range conds {
		for _, c := range conjuncts(nil, expr.Fold(f)) {
			if p.implies(r, c, q) {
				return true
			}
		}
	}
	return false
}

// implies reports whether q is true wherever c is.
func (p *physical) implies(r *scanRel, c, q expr.Expr) bool {
	if expr.Equal(c, q) {
		return true
	}
	if or, ok := c.(*expr.Or); ok && !slices.ContainsFunc(or.Args, func(a expr.Expr) bool { return !p.impliedBy(r, []expr.Expr{a}, q) }) {
		return true
	}
	if n, ok := q.(*expr.IsNull); ok && n.Not {
		col, ok := n.Arg.(*expr.Column)
		return ok && rejectsNull(c, setOf(col.Index))
	}
	ord, want, ok := p.onColumn(r, q)
	if !ok {
		return false
	}
	of, have, ok := p.onColumn(r, c)
	if !ok || of != ord {
		return false
	}
	if want.kind == 'n' {
		return have.kind == 'n'
	}
	typ := r.table.Columns[ord].Type.OID
	if x, ok := have.value.(*expr.Param); ok && have.kind == '=' {
		have.value = p.peekFor(typ, x, want)
	}
	return within(typ, have, want)
}

// onColumn reads a condition that compares one column with constants.
func (p *physical) onColumn(r *scanRel, e expr.Expr) (ord int, c constraint, ok bool) {
	a := newAnalysis(p.constant)
	p.analyzeOne(a, r, scanOrds(r), e, 0, true)
	if len(a.cols) != 1 {
		return 0, c, false
	}
	for o, cs := range a.cols {
		if len(cs) != 1 || !cs[0].exact {
			return 0, c, false
		}
		ord, c = o, cs[0]
	}
	return ord, c, true
}

// within reports whether each value of the column that have allows is allowed by want.
func within(column types.OID, have, want constraint) bool {
	hs, hok := values(column, have.value)
	ws, wok := values(column, want.value)
	if !hok || !wok {
		return false
	}
	all := func(f func(types.Datum) bool) bool {
		return !slices.ContainsFunc(hs, func(d types.Datum) bool { return !f(d) })
	}
	points := have.kind == '=' || have.kind == 'i'
	switch want.kind {
	case '=', 'i':
		return points && all(func(h types.Datum) bool {
			return slices.ContainsFunc(ws, func(w types.Datum) bool { return types.Compare(column, h, w) == 0 })
		})
	case '<', '>':
		if !points && have.kind != want.kind {
			return false
		}
		return all(func(h types.Datum) bool {
			d := types.Compare(column, h, ws[0])
			if want.kind == '>' {
				d = -d
			}
			return d < 0 || d == 0 && (want.incl || !points && !have.incl)
		})
	}
	return false
}

// values are the constants of a comparison, none of them NULL, if they are of the column's own type.
func values(column types.OID, e expr.Expr) ([]types.Datum, bool) {
	one := func(e expr.Expr) (types.Datum, bool) {
		k, ok := expr.Fold(e).(*expr.Const)
		if !ok || k.Value.Null || k.T.OID != column && !(ordering(k.T.OID) == ordering(column) && types.ReprOf(k.T.OID) == types.ReprOf(column) && types.ReprOf(column) != types.ReprFloat) {
			return types.Datum{}, false
		}
		return k.Value, true
	}
	if e == nil {
		return nil, false
	}
	var elems []expr.Expr
	switch x := expr.Fold(e).(type) {
	case *expr.ArrayCtor:
		elems = x.Elems
	case *expr.Const:
		a, ok := x.Value.A.(*types.Array)
		if !ok || x.Value.Null {
			elems = []expr.Expr{x}
			break
		}
		for _, d := range a.Elems {
			elems = append(elems, &expr.Const{T: types.Of(types.ElemOf(x.T.OID)), Value: d})
		}
	default:
		return nil, false
	}
	var out []types.Datum
	for _, x := range elems {
		d, ok := one(x)
		if !ok {
			return nil, false
		}
		out = append(out, d)
	}
	return out, len(out) > 0
}

// peekFor returns the value of a parameter that a column is compared with, if it is known, and notes that the plan is another one for the values
// that the predicate of an index compares the column with.
func (p *physical) peekFor(column types.OID, x *expr.Param, want constraint) expr.Expr {
	vs, ok := values(column, want.value)
	if !ok || want.kind != '=' && want.kind != 'i' || !hashesAlike(column, x.Type().OID) {
		return x
	}
	k := Peek{Param: x.Index, column: column, values: vs}
	if !slices.ContainsFunc(p.stmt.Peeks, func(o Peek) bool {
		return o.Param == k.Param && o.column == k.column && slices.EqualFunc(o.values, k.values, func(a, b types.Datum) bool { return types.Compare(column, a, b) == 0 })
	}) {
		p.stmt.Peeks = append(p.stmt.Peeks, k)
	}
	if x.Index < len(p.b.env.Peek) {
		return &expr.Const{T: x.Type(), Value: p.b.env.Peek[x.Index]}
	}
	return x
}
