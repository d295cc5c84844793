package plan

import (
	"math"
	"strings"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// constraint is what one condition says of one column.
type constraint struct {
	kind  byte // '=', '<', '>' (with incl), 'n' IS NULL, 'v' IS NOT NULL, 'i' IN array
	incl  bool
	value expr.Expr
	// cond is the condition's place in the filter; exact ones need not be tested again.
	cond  int
	exact bool
}

// analysis is a scan's conditions by column.
type analysis struct {
	cols map[int][]constraint
	// known reports whether a value can be computed before the scan starts.
	known func(expr.Expr) bool
	// planned are the values with subqueries in them that were made final: each is planned once, whichever index it turns out to serve.
	planned map[expr.Expr]expr.Expr
}

func newAnalysis(known func(expr.Expr) bool) *analysis {
	return &analysis{cols: map[int][]constraint{}, known: known}
}

// analyze reads what a scan's filter says of single columns.
func (p *physical) analyze(r *scanRel) *analysis {
	a := newAnalysis(p.constant)
	ords := scanOrds(r)
	for i, c := range r.filter {
		for _, x := range conjuncts(nil, c) {
			p.analyzeOne(a, r, ords, x, i, true)
		}
	}
	return a
}

// analyzeSubqueries reads comparisons of a column with a subquery's value, or with an array of its rows, as in
// id = (SELECT ...), where the subquery does not look at the scan's rows: it runs once, before the scan starts. The comparison must be the whole
// condition, which the span then stands for: a subquery that locks or calls random() must not run a second time for the filter.
func (p *physical) analyzeSubqueries(a *analysis, r *scanRel) {
	a.known = p.early
	for i, c := range r.filter {
		switch c.(type) {
		case *expr.Any, *expr.Call:
			if hasSubplan(c) && expr.Volatility(c) != 'v' {
				p.analyzeOne(a, r, scanOrds(r), c, i, true)
			}
		}
	}
}

// early reports whether e, with the subqueries in it, can be computed before the scan starts: none of it looks at rows but those of enclosing queries, and what
// subqueries yield is one value.
func (p *physical) early(e expr.Expr) bool {
	ok := true
	expr.Walk(e, func(x expr.Expr) bool {
		if s, is := x.(*expr.Subplan); is && s.Kind != expr.SubScalar && s.Kind != expr.SubArray {
			ok = false
		}
		return ok
	})
	return ok && p.outerOnly(e)
}

// value makes what a column is compared with final.
func (a *analysis) value(p *physical, e expr.Expr) expr.Expr {
	if !hasSubplan(e) {
		return p.final(e, nil)
	}
	f, ok := a.planned[e]
	if !ok {
		if a.planned == nil {
			a.planned = map[expr.Expr]expr.Expr{}
		}
		f = p.final(e, nil)
		a.planned[e] = f
	}
	return f
}

// columnOf sees through relabelling, and casts that keep number and order, to a column of the scan; -1 if e is none.
func columnOf(e expr.Expr, ords map[colID]int) int {
	for {
		if c, ok := e.(*expr.Convert); ok && c.Via == 'r' && c.T.OID == types.TextOID {
			e = c.Arg
			continue
		}
		if c, ok := e.(*expr.Call); ok && c.Cast && len(c.Args) == 1 && widening(c.Args[0].Type().OID, c.T.OID) {
			e = c.Args[0]
			continue
		}
		break
	}
	if c, ok := e.(*expr.Column); ok {
		if ord, ok := ords[c.Index]; ok {
			return ord
		}
	}
	return -1
}

// ordering is the class of types whose index keys compare with one another as their values do.
func ordering(t types.OID) types.OID {
	switch t {
	case types.Int2OID, types.Int4OID, types.Int8OID:
		return types.Int8OID
	case types.Float4OID, types.Float8OID:
		return types.Float8OID
	case types.TextOID, types.VarcharOID:
		return types.TextOID
	}
	return t
}

// widening reports whether a cast between two types keeps every value.
func widening(from, to types.OID) bool {
	switch from {
	case types.Int2OID:
		return to == types.Int4OID || to == types.Int8OID
	case types.Int4OID:
		return to == types.Int8OID
	case types.Float4OID:
		return to == types.Float8OID
	}
	return false
}

func (p *physical) analyzeOne(a *analysis, r *scanRel, ords map[colID]int, e expr.Expr, cond int, exact bool) {
	add := func(ord int, c constraint) {
		c.cond = cond
		a.cols[ord] = append(a.cols[ord], c)
	}
	compatible := func(ord int, t types.OID) bool {
		return ordering(r.table.Columns[ord].Type.OID) == ordering(t)
	}
	switch x := e.(type) {
	case *expr.Column:
		if ord := columnOf(x, ords); ord >= 0 && x.T.OID == types.BoolOID {
			add(ord, constraint{kind: '=', value: boolConst(true), exact: exact})
		}
	case *expr.Not:
		if ord := columnOf(x.Arg, ords); ord >= 0 {
			add(ord, constraint{kind: '=', value: boolConst(false), exact: exact})
		}
	case *expr.IsNull:
		if ord := columnOf(x.Arg, ords); ord >= 0 && !x.Not {
			add(ord, constraint{kind: 'n', exact: exact})
		} else if ord >= 0 {
			add(ord, constraint{kind: 'v', exact: exact})
		}
	case *expr.Any:
		ord := columnOf(x.Left, ords)
		if ord < 0 || x.All || x.Op != "=" || !a.known(x.Array) || !compatible(ord, types.ElemOf(x.Array.Type().OID)) {
			return
		}
		add(ord, constraint{kind: 'i', value: x.Array, exact: exact})
	case *expr.Or:
		p.analyzeOr(a, r, ords, x, cond, exact)
	case *expr.Call:
		if len(x.Args) != 2 {
			return
		}
		if x.Op == "~~" {
			p.analyzeLike(r, ords, x, add)
			return
		}
		op, l, v := x.Op, x.Args[0], x.Args[1]
		ord := columnOf(l, ords)
		if ord < 0 {
			op, l, v = commuted(op), x.Args[1], x.Args[0]
			ord = columnOf(l, ords)
		}
		if ord < 0 || !a.known(v) || !compatible(ord, v.Type().OID) {
			return
		}
		switch op {
		case "=":
			add(ord, constraint{kind: '=', value: v, exact: exact})
		case "<", "<=":
			add(ord, constraint{kind: '<', incl: op == "<=", value: v, exact: exact})
		case ">", ">=":
			add(ord, constraint{kind: '>', incl: op == ">=", value: v, exact: exact})
		}
	}
}

func boolConst(v bool) expr.Expr {
	return &expr.Const{T: types.Of(types.BoolOID), Value: types.NewBool(v)}
}

// analyzeOr reads a = 1 OR a = 2 as an IN list, and the first column of a row comparison (a < 1 OR a = 1 AND ...) as a bound.
func (p *physical) analyzeOr(a *analysis, r *scanRel, ords map[colID]int, x *expr.Or, cond int, exact bool) {
	sub := newAnalysis(a.known)
	ord, equal := -1, true
	var elems []expr.Expr
	for _, arg := range x.Args {
		one := newAnalysis(a.known)
		p.analyzeOne(one, r, ords, arg, cond, true)
		if len(one.cols) != 1 {
			equal = false
			break
		}
		for o, cs := range one.cols {
			if ord >= 0 && o != ord || len(cs) != 1 || cs[0].kind != '=' {
				equal = false
				break
			}
			ord = o
			elems = append(elems, cs[0].value)
		}
	}
	if equal && ord >= 0 {
		if es, t, err := expr.CommonType("IN", elems); err == nil && types.ArrayOf(t.OID) != 0 {
			a.cols[ord] = append(a.cols[ord], constraint{kind: 'i', cond: cond, exact: exact,
				value: &expr.ArrayCtor{T: types.Of(types.ArrayOf(t.OID)), Elems: es}})
		}
		return
	}
	if len(x.Args) != 2 {
		return
	}
	and, ok := x.Args[1].(*expr.And)
	if !ok {
		return
	}
	p.analyzeOne(sub, r, ords, x.Args[0], cond, false)
	for _, arg := range and.Args {
		p.analyzeOne(sub, r, ords, arg, cond, false)
	}
	for o, cs := range sub.cols {
		if len(cs) == 2 && (cs[0].kind == '<' || cs[0].kind == '>') && cs[1].kind == '=' && expr.Equal(cs[0].value, cs[1].value) {
			a.cols[o] = append(a.cols[o], constraint{kind: cs[0].kind, incl: true, value: cs[0].value, cond: cond})
		}
	}
}

// analyzeLike turns the constant beginning of a LIKE pattern into a range. Text keys are in byte order.
func (p *physical) analyzeLike(r *scanRel, ords map[colID]int, x *expr.Call, add func(int, constraint)) {
	ord := columnOf(x.Args[0], ords)
	k, ok := x.Args[1].(*expr.Const)
	if ord < 0 || !ok || k.Value.Null || ordering(r.table.Columns[ord].Type.OID) != types.TextOID {
		return
	}
	pattern := string(k.Value.B)
	var prefix strings.Builder
	whole := true
	for i := 0; i < len(pattern); i++ {
		c := pattern[i]
		if c == '%' || c == '_' {
			whole = false
			break
		}
		if c == '\\' {
			if i++; i >= len(pattern) {
				return
			}
			c = pattern[i]
		}
		prefix.WriteByte(c)
	}
	text := func(s string) expr.Expr {
		return &expr.Const{T: types.Of(types.TextOID), Value: types.NewString(s)}
	}
	pre := prefix.String()
	if whole {
		add(ord, constraint{kind: '=', value: text(pre)})
		return
	}
	if pre == "" {
		return
	}
	add(ord, constraint{kind: '>', incl: true, value: text(pre)})
	if next := successor(pre); next != "" {
		add(ord, constraint{kind: '<', value: text(next)})
	}
}

// successor is the least byte string above all that start with s; "" if there is none.
func successor(s string) string {
	b := []byte(s)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1])
		}
	}
	return ""
}

// match is how an index serves the conditions.
type match struct {
	spans []ScanSpan
	// used conditions need no test any more.
	used map[int]bool
	// eq is how many leading columns are fixed; fixed are their ordinals.
	eq    int
	fixed map[int]bool
	// ordered: the spans yield rows in index order.
	ordered bool
	sel     float64
	// points is how many spans there will be; exact: each holds at most one row.
	points float64
	exact  bool
}

// match finds the spans of an index: equalities on its first columns, then an IN list or a range.
func (a *analysis) match(p *physical, r *scanRel, ix *catalog.Index) *match {
	m := &match{used: map[int]bool{}, fixed: map[int]bool{}, ordered: true, sel: 1, points: 1}
	var span ScanSpan
	var isNull []bool
	nulls := false
	use := func(c constraint) {
		if c.exact {
			m.used[c.cond] = m.onlyCond(a, c)
		}
	}
	for _, kc := range ix.Columns {
		ord := r.table.ColumnByID(kc.Column)
		cs := a.cols[ord]
		if span.InArray {
			m.bounds(p, a, r, &span, cs, ord, use) // one list, then a range at most
			break
		}
		if c := pick(cs, '='); c != nil {
			span.Eq, isNull = append(span.Eq, a.value(p, c.value)), append(isNull, false)
			use(*c)
		} else if c := pick(cs, 'n'); c != nil {
			span.Eq, isNull = append(span.Eq, &expr.Const{T: r.table.Columns[ord].Type, Value: types.NullDatum}), append(isNull, true)
			nulls = true
			use(*c)
			m.eq++
			m.fixed[ord] = true
			m.sel *= 0.01
			continue
		} else if c := pick(cs, 'i'); c != nil {
			span.Eq, isNull, span.InArray = append(span.Eq, a.value(p, c.value)), append(isNull, false), true
			use(*c)
			m.points *= arrayLen(c.value)
			m.sel *= p.listSelectivity(r.table, ord, expr.Fold(c.value))
			m.exact = (ix.Unique || ix.Primary) && len(span.Eq) == len(ix.Columns) && !nulls
			continue
		} else {
			m.bounds(p, a, r, &span, cs, ord, use)
			break
		}
		m.eq++
		m.fixed[ord] = true
		m.sel *= p.eqSelectivity(r.table, ord, span.Eq[len(span.Eq)-1])
	}
	if m.eq == len(ix.Columns) && (ix.Unique || ix.Primary) && !nulls {
		m.exact = true
		for i := range r.cols {
			m.fixed[i] = true // one row
		}
	}
	if nulls {
		span.IsNull = isNull
	}
	if len(span.Eq) > 0 || span.Low != nil || span.High != nil || span.NotNull {
		m.spans = []ScanSpan{span}
	}
	return m
}

// onlyCond reports whether the whole filter condition is this constraint: one part of an AND inside a condition is not.
func (m *match) onlyCond(a *analysis, c constraint) bool {
	n := 0
	for _, cs := range a.cols {
		for _, o := range cs {
			if o.cond == c.cond {
				n++
			}
		}
	}
	return n == 1
}

// bounds reads a range on one column.
func (m *match) bounds(p *physical, a *analysis, r *scanRel, span *ScanSpan, cs []constraint, ord int, use func(constraint)) {
	for _, c := range cs {
		switch {
		case c.kind == 'v': // a bound says as much
			span.NotNull = true
			m.exact = false
			use(c)
			m.sel *= 0.99
			continue
		case c.kind == '>' && span.Low == nil:
			span.Low = &Bound{Value: a.value(p, c.value), Inclusive: c.incl}
		case c.kind == '<' && span.High == nil:
			span.High = &Bound{Value: a.value(p, c.value), Inclusive: c.incl}
		default:
			continue
		}
		use(c)
		m.sel *= 0.33
		m.exact = false
	}
	if span.Low == nil || span.High == nil {
		return
	}
	m.sel *= 0.05 // PostgreSQL's guess for a range closed on both sides: 0.005
	lo, ok1 := span.Low.Value.(*expr.Const)
	hi, ok2 := span.High.Value.(*expr.Const)
	if ok1 && ok2 && ordering(lo.T.OID) == types.Int8OID && ordering(hi.T.OID) == types.Int8OID && !lo.Value.Null && !hi.Value.Null {
		// Integers between two constants: no more values than that.
		if n := float64(hi.Value.I) - float64(lo.Value.I) + 1; n < p.distinctOf(r.table, ord) {
			m.sel = m.sel / (0.33 * 0.33 * 0.05) * math.Max(n, 1) * p.eqSelectivity(r.table, ord, nil)
		}
	}
}

func pick(cs []constraint, kind byte) *constraint {
	for i := range cs {
		if cs[i].kind == kind {
			return &cs[i]
		}
	}
	return nil
}

func arrayLen(e expr.Expr) float64 {
	switch x := e.(type) {
	case *expr.ArrayCtor:
		return math.Max(1, float64(len(x.Elems)))
	case *expr.Const:
		if a, ok := x.Value.A.(*types.Array); ok {
			return math.Max(1, float64(len(a.Elems)))
		}
	}
	return 10
}
