package plan

import (
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// WindowFrame is which rows of the partition a window call sees; nil means RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW.
type WindowFrame struct {
	Mode                   byte // 'r' rows, 'v' range, 'g' groups
	Start, End             ast.FrameBound
	StartOffset, EndOffset expr.Expr
	Exclude                byte // 0, 'c', 'g', 't'
}

// windowDef is a bound window specification.
type windowDef struct {
	part  []expr.Expr
	order []SortKey
	frame *WindowFrame
}

// windowUse is a call with OVER.
type windowUse struct {
	id   colID
	call AggCall
	def  *windowDef
}

// windowClause binds WINDOW name AS (...).
func (b *binder) windowClause(q *query, ws []*ast.Window) {
	for _, w := range ws {
		if q.windows == nil {
			q.windows = map[string]*windowDef{}
		}
		if q.windows[w.Name] != nil {
			b.fail(w.Pos, pgerr.WindowingError, "window \"%s\" is already defined", w.Name)
		}
		q.windows[w.Name] = b.windowDef(q, w)
	}
}

func (b *binder) windowDef(q *query, w *ast.Window) *windowDef {
	var base *windowDef
	if w.Ref != "" {
		if base = q.windows[w.Ref]; base == nil {
			b.fail(w.Pos, pgerr.UndefinedObject, "window \"%s\" does not exist", w.Ref)
		}
		if w.Bare {
			return base
		}
	}
	old := q.clause
	q.clause = clWindow
	defer func() { q.clause = old }()
	d := &windowDef{}
	if base != nil {
		if len(w.PartitionBy) > 0 {
			b.fail(w.Pos, pgerr.WindowingError, "cannot override PARTITION BY clause of window \"%s\"", w.Ref)
		}
		if len(w.OrderBy) > 0 && len(base.order) > 0 {
			b.fail(w.Pos, pgerr.WindowingError, "cannot override ORDER BY clause of window \"%s\"", w.Ref)
		}
		if base.frame != nil {
			b.fail(w.Pos, pgerr.WindowingError, "cannot copy window \"%s\" because it has a frame clause", w.Ref)
		}
		d.part, d.order = base.part, base.order
	}
	// Aggregates are allowed in here: the grouping happens first.
	q.clause = clSelect
	for _, e := range w.PartitionBy {
		x := b.known(b.expr(q, e), startPos(e))
		b.needEquality(x, startPos(e))
		d.part = append(d.part, x)
	}
	for _, s := range w.OrderBy {
		x := b.known(b.expr(q, s.Expr), startPos(s.Expr))
		desc, nf := b.sortDirection(s, x)
		d.order = append(d.order, SortKey{Expr: x, Desc: desc, NullsFirst: nf})
	}
	q.clause = clWindow
	if f := w.Frame; f != nil {
		d.frame = &WindowFrame{Mode: f.Mode, Start: f.Start, End: f.End, Exclude: f.Exclude}
		if f.Mode == 'g' && len(d.order) == 0 {
			b.fail(w.Pos, pgerr.WindowingError, "GROUPS mode requires an ORDER BY clause")
		}
		d.frame.StartOffset = b.frameOffset(q, f, f.StartOffset, d)
		d.frame.EndOffset = b.frameOffset(q, f, f.EndOffset, d)
	}
	return d
}

// known gives an expression of unknown type the type text.
func (b *binder) known(e expr.Expr, pos int) expr.Expr {
	if e.Type().OID != types.UnknownOID {
		return e
	}
	x, err := expr.Coerce(e, types.Of(types.TextOID), 'i')
	return b.made(x, err, pos, e)
}

func (b *binder) frameOffset(q *query, f *ast.Frame, e ast.Expr, d *windowDef) expr.Expr {
	if e == nil {
		return nil
	}
	x := b.expr(q, e)
	name := map[byte]string{'r': "ROWS", 'v': "RANGE", 'g': "GROUPS"}[f.Mode]
	for _, id := range expr.ColumnsUsed(nil, x) {
		if b.cols[id].level == q {
			b.fail(startPos(e), pgerr.InvalidColumnReference, "argument of %s must not contain variables", name)
		}
	}
	if f.Mode == 'v' {
		if len(d.order) != 1 {
			b.fail(startPos(e), pgerr.WindowingError, "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column")
		}
		b.unsupported(startPos(e), "RANGE with offset PRECEDING/FOLLOWING")
	}
	if x.Type().OID != types.UnknownOID && !expr.CanCoerce(x.Type().OID, types.Int8OID, 'i') {
		b.fail(startPos(e), pgerr.DatatypeMismatch, "argument of %s must be type bigint, not type %s", name, types.FormatType(x.Type()))
	}
	c, err := expr.Coerce(x, types.Of(types.Int8OID), 'i')
	return b.made(c, err, startPos(e), x)
}

// windowCall collects a call with OVER and yields the column of its result.
func (b *binder) windowCall(q *query, e *ast.FuncCall) expr.Expr {
	name := e.Name[len(e.Name)-1]
	switch q.clause {
	case clSelect, clOrderBy:
	case clJoinOn:
		b.fail(e.Pos, pgerr.WindowingError, "window functions are not allowed in JOIN conditions")
	case clFrom:
		b.fail(e.Pos, pgerr.WindowingError, "window functions are not allowed in functions in FROM")
	default:
		b.fail(e.Pos, pgerr.WindowingError, "window functions are not allowed in %s", q.clause)
	}
	if q.insideAgg {
		b.fail(e.Pos, pgerr.GroupingError, "aggregate function calls cannot contain window function calls")
	}
	if e.Distinct {
		b.fail(e.Pos, pgerr.FeatureNotSupported, "DISTINCT is not implemented for window functions")
	}
	if len(e.OrderBy) > 0 {
		b.fail(e.Pos, pgerr.FeatureNotSupported, "aggregate ORDER BY is not implemented for window functions")
	}
	fn, args, t := b.resolveCall(q, e)
	for _, a := range args {
		for _, w := range q.wins {
			if usesColumn(a, w.id) {
				b.fail(e.Pos, pgerr.WindowingError, "window function calls cannot be nested")
			}
		}
	}
	if fn.Kind != 'w' && fn.Kind != 'a' {
		b.throw(pgerr.New(pgerr.WrongObjectType, "OVER specified, but %s is not a window function nor an aggregate function", name).At(e.Pos))
	}
	if fn.Kind == 'a' && !builtin.CanAggregate(fn) {
		b.unsupported(e.Pos, "aggregate function %s", name)
	}
	call := AggCall{Fn: fn, T: t, Args: args}
	if e.Filter != nil {
		if fn.Kind == 'w' {
			b.fail(e.Pos, pgerr.FeatureNotSupported, "FILTER is not implemented for non-aggregate window functions")
		}
		call.Filter = b.boolean(q, e.Filter, "FILTER")
	}
	id := b.newCol(colMeta{name: fn.Name, typ: t})
	q.wins = append(q.wins, &windowUse{id: id, call: call, def: b.windowDef(q, e.Over)})
	return b.col(id)
}

// window rewrites a window call above a grouping.
func (g *grouper) window(w *windowUse) {
	w.call.Args = mapExprs(w.call.Args, g.rewrite)
	if w.call.Filter != nil {
		w.call.Filter = g.rewrite(w.call.Filter)
	}
	d := *w.def
	d.part = mapExprs(d.part, g.rewrite)
	d.order = append([]SortKey(nil), d.order...)
	for i := range d.order {
		d.order[i].Expr = g.rewrite(d.order[i].Expr)
	}
	w.def = &d
}

// windows puts the window computations above r, one node for each distinct specification.
func (b *binder) windows(q *query, r rel) rel {
	left := append([]*windowUse(nil), q.wins...)
	for len(left) > 0 {
		first := left[0]
		w := &windowRel{in: r, part: first.def.part, order: first.def.order, frame: first.def.frame}
		rest := left[:0:0]
		for _, u := range left {
			if sameWindow(u.def, first.def) {
				w.calls = append(w.calls, aggCall{u.id, u.call})
			} else {
				rest = append(rest, u)
			}
		}
		r, left = w, rest
	}
	return r
}

func sameWindow(a, c *windowDef) bool {
	if a == c {
		return true
	}
	if len(a.part) != len(c.part) || len(a.order) != len(c.order) || (a.frame == nil) != (c.frame == nil) {
		return false
	}
	for i := range a.part {
		if !expr.Equal(a.part[i], c.part[i]) {
			return false
		}
	}
	for i := range a.order {
		if a.order[i].Desc != c.order[i].Desc || a.order[i].NullsFirst != c.order[i].NullsFirst || !expr.Equal(a.order[i].Expr, c.order[i].Expr) {
			return false
		}
	}
	if a.frame == nil {
		return true
	}
	x, y := a.frame, c.frame
	if x.Mode != y.Mode || x.Start != y.Start || x.End != y.End || x.Exclude != y.Exclude {
		return false
	}
	same := func(p, q expr.Expr) bool { return p == nil && q == nil || p != nil && q != nil && expr.Equal(p, q) }
	return same(x.StartOffset, y.StartOffset) && same(x.EndOffset, y.EndOffset)
}
