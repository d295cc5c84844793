package plan

import (
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// splitName takes a function's schema off.
func (b *binder) splitName(name []string, pos int) (schema, fn string) {
	switch len(name) {
	case 1:
		return "", name[0]
	case 2:
		return name[0], name[1]
	case 3:
		if name[0] == b.env.Database {
			return name[1], name[2]
		}
	}
	b.fail(pos, pgerr.FeatureNotSupported, "cross-database references are not implemented: %s", joinNames(name))
	return "", ""
}

// kinds tells what a function name can mean.
func kinds(name string) (agg, win, set bool) {
	for _, f := range builtin.FunctionsByName(name) {
		agg = agg || f.Kind == 'a'
		win = win || f.Kind == 'w'
		set = set || f.ReturnsSet
	}
	return
}

// callArgs binds a call's arguments and their notation.
func (b *binder) callArgs(q *query, e *ast.FuncCall) ([]expr.Expr, expr.CallOptions) {
	opt := expr.CallOptions{Variadic: e.Variadic}
	args := make([]expr.Expr, len(e.Args))
	named := false
	for i, a := range e.Args {
		name := ""
		if n, ok := a.(*ast.NamedArg); ok {
			named, name, a = true, n.Name, n.Arg
		} else if named {
			b.fail(a.Position(), pgerr.SyntaxError, "positional argument cannot follow named argument")
		}
		args[i] = b.expr(q, a)
		if name != "" {
			opt.Names = append(opt.Names, name)
		}
	}
	return args, opt
}

// resolveCall binds arguments and finds the function, of whatever kind.
func (b *binder) resolveCall(q *query, e *ast.FuncCall) (*builtin.Function, []expr.Expr, types.Type) {
	args, opt := b.callArgs(q, e)
	schema, name := b.splitName(e.Name, e.Pos)
	fn, out, t, err := expr.ResolveCall(schema, name, args, opt)
	if err != nil {
		b.made(nil, err, e.Pos, args...)
	}
	return fn, out, t
}

// funcCall binds a call: plain, aggregate, window or set-returning.
func (b *binder) funcCall(q *query, e *ast.FuncCall) expr.Expr {
	schema, name := b.splitName(e.Name, e.Pos)
	agg, win, set := kinds(name)
	if !agg && !win && !set {
		args, opt := b.callArgs(q, e)
		x, err := expr.MakeCall(schema, name, args, opt)
		x = b.made(x, err, e.Pos, args...)
		switch {
		case e.Star:
			b.throw(pgerr.New(pgerr.WrongObjectType, "%s(*) specified, but %s is not an aggregate function", name, name).At(e.Pos))
		case e.Distinct:
			b.throw(pgerr.New(pgerr.WrongObjectType, "DISTINCT specified, but %s is not an aggregate function", name).At(e.Pos))
		case e.WithinGroup:
			b.throw(pgerr.New(pgerr.WrongObjectType, "WITHIN GROUP specified, but %s is not an aggregate function", name).At(e.Pos))
		case e.OrderBy != nil:
			b.throw(pgerr.New(pgerr.WrongObjectType, "ORDER BY specified, but %s is not an aggregate function", name).At(e.Pos))
		case e.Filter != nil:
			b.throw(pgerr.New(pgerr.WrongObjectType, "FILTER specified, but %s is not an aggregate function", name).At(e.Pos))
		case e.Over != nil:
			b.throw(pgerr.New(pgerr.WrongObjectType, "OVER specified, but %s is not a window function nor an aggregate function", name).At(e.Pos))
		}
		return x
	}
	if (agg || win) && !set {
		if e.Over != nil {
			return b.windowCall(q, e)
		}
		return b.aggregateCall(q, e)
	}
	fn, args, t := b.resolveCall(q, e)
	if fn.Kind == 'a' {
		return b.aggregateCall(q, e)
	}
	if !fn.ReturnsSet {
		return expr.NewCall(fn, t, args...)
	}
	switch q.clause {
	case clSelect, clOrderBy:
	default:
		b.fail(e.Pos, pgerr.FeatureNotSupported, "set-returning functions are not allowed in %s", q.clause)
	}
	if q.insideAgg {
		b.fail(e.Pos, pgerr.FeatureNotSupported, "aggregate function calls cannot contain set-returning function calls")
	}
	for _, a := range args {
		for _, id := range expr.ColumnsUsed(nil, a) {
			for _, s := range q.srfs {
				if s.id == id {
					b.unsupported(e.Pos, "a set-returning function inside another in a select list")
				}
			}
		}
	}
	id := b.newCol(colMeta{name: fn.Name, typ: t})
	q.srfs = append(q.srfs, projItem{id, expr.NewCall(fn, t, args...)})
	return b.col(id)
}

// aggregateCall collects an aggregate at the level it belongs to and yields the column of its result.
func (b *binder) aggregateCall(q *query, e *ast.FuncCall) expr.Expr {
	name := e.Name[len(e.Name)-1]
	if q.insideAgg {
		b.fail(e.Pos, pgerr.GroupingError, "aggregate function calls cannot be nested")
	}
	if e.WithinGroup {
		b.unsupported(e.Pos, "WITHIN GROUP")
	}
	if len(e.Args) == 0 && !e.Star && name == "count" {
		b.throw(pgerr.New(pgerr.WrongObjectType, "count(*) must be used to call a parameterless aggregate function").At(e.Pos))
	}
	q.insideAgg = true
	call := AggCall{Distinct: e.Distinct}
	var fn *builtin.Function
	fn, call.Args, call.T = b.resolveCall(q, e)
	call.Fn = fn
	if fn.Kind == 'w' {
		b.fail(e.Pos, pgerr.WrongObjectType, "window function %s requires an OVER clause", name)
	}
	if !builtin.CanAggregate(fn) {
		b.unsupported(e.Pos, "aggregate function %s", name)
	}
	if e.Filter != nil {
		call.Filter = b.boolean(q, e.Filter, "FILTER")
	}
	for _, s := range e.OrderBy {
		x := b.expr(q, s.Expr)
		if x.Type().OID == types.UnknownOID {
			c, err := expr.Coerce(x, types.Of(types.TextOID), 'i')
			x = b.made(c, err, startPos(s.Expr), x)
		}
		desc, nf := b.sortDirection(s, x)
		call.OrderBy = append(call.OrderBy, SortKey{Expr: x, Desc: desc, NullsFirst: nf})
	}
	q.insideAgg = false
	if e.Distinct {
		for _, a := range call.Args {
			b.needEquality(a, e.Pos)
		}
		for i, k := range call.OrderBy {
			found := false
			for _, a := range call.Args {
				found = found || expr.Equal(a, k.Expr)
			}
			if !found {
				b.fail(startPos(e.OrderBy[i].Expr), pgerr.InvalidColumnReference, "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list")
			}
		}
	}
	// The aggregate belongs to the innermost level whose columns it uses; without columns, to its own.
	home := b.aggregateHome(q, call)
	switch home.clause {
	case clSelect, clHaving, clOrderBy:
	case clJoinOn:
		b.fail(e.Pos, pgerr.GroupingError, "aggregate functions are not allowed in JOIN conditions")
	case clFrom:
		b.fail(e.Pos, pgerr.GroupingError, "aggregate functions are not allowed in functions in FROM")
	default:
		b.fail(e.Pos, pgerr.GroupingError, "aggregate functions are not allowed in %s", home.clause)
	}
	for _, a := range home.aggs {
		if equalAgg(a.call, call) {
			return b.col(a.id)
		}
	}
	id := b.newCol(colMeta{name: fn.Name, typ: call.T, notNull: fn.Name == "count"})
	home.aggs = append(home.aggs, aggCall{id, call})
	return b.col(id)
}

func (b *binder) aggregateHome(q *query, call AggCall) *query {
	levels := map[*query]bool{}
	note := func(x expr.Expr) {
		if x == nil {
			return
		}
		for _, id := range expr.ColumnsUsed(nil, x) {
			if l := b.cols[id].level; l != nil {
				levels[l] = true
			}
		}
	}
	for _, a := range call.Args {
		note(a)
	}
	note(call.Filter)
	for _, k := range call.OrderBy {
		note(k.Expr)
	}
	if len(levels) == 0 {
		return q
	}
	for at := q; at != nil; at = at.parent {
		if levels[at] {
			return at
		}
	}
	return q
}

func equalAgg(a, c AggCall) bool {
	if a.Fn != c.Fn || a.Distinct != c.Distinct || len(a.Args) != len(c.Args) || len(a.OrderBy) != len(c.OrderBy) || (a.Filter == nil) != (c.Filter == nil) {
		return false
	}
	for i := range a.Args {
		if !expr.Equal(a.Args[i], c.Args[i]) || expr.Volatility(a.Args[i]) == 'v' {
			return false
		}
	}
	for i := range a.OrderBy {
		if a.OrderBy[i].Desc != c.OrderBy[i].Desc || a.OrderBy[i].NullsFirst != c.OrderBy[i].NullsFirst || !expr.Equal(a.OrderBy[i].Expr, c.OrderBy[i].Expr) {
			return false
		}
	}
	return a.Filter == nil || expr.Equal(a.Filter, c.Filter)
}

// groupBy binds GROUP BY; nil means that there is none. GROUP BY () is an empty, non-nil list.
func (b *binder) groupBy(q *query, s *ast.Select, targets *[]target) []projItem {
	if len(s.GroupBy) == 0 {
		return nil
	}
	if s.GroupDist {
		b.unsupported(s.GroupBy[0].Pos, "GROUP BY DISTINCT")
	}
	groups := []projItem{}
	q.clause = clGroupBy
	add := func(e ast.Expr) {
		n := len(*targets)
		i := b.findTarget(q, e, targets, false)
		t := (*targets)[i]
		if i >= n {
			*targets = (*targets)[:n] // a grouping expression of its own needs no place in the result
		}
		if t.e.Type().OID == types.UnknownOID {
			x, err := expr.Coerce(t.e, types.Of(types.TextOID), 'i')
			t.e = b.made(x, err, startPos(e), t.e)
		}
		for _, a := range q.aggs {
			if usesColumn(t.e, a.id) {
				b.fail(startPos(e), pgerr.GroupingError, "aggregate functions are not allowed in GROUP BY")
			}
		}
		for _, w := range q.wins {
			if usesColumn(t.e, w.id) {
				b.fail(startPos(e), pgerr.WindowingError, "window functions are not allowed in GROUP BY")
			}
		}
		b.needEquality(t.e, startPos(e))
		for _, g := range groups {
			if expr.Equal(g.e, t.e) {
				return
			}
		}
		if c, ok := t.e.(*expr.Column); ok {
			id := c.Index
			if b.cols[id].level != q {
				id = b.newCol(b.cols[id]) // of an enclosing query: constant here
			}
			groups = append(groups, projItem{id, c})
			return
		}
		groups = append(groups, projItem{b.newCol(colMeta{name: t.name, typ: t.e.Type()}), t.e})
	}
	for _, g := range s.GroupBy {
		if g.Set == 'e' {
			continue
		}
		if g.Set != 0 {
			b.unsupported(g.Pos, "GROUPING SETS, ROLLUP or CUBE")
		}
		if r, ok := g.Expr.(*ast.Row); ok && !r.Explicit {
			for _, a := range r.Args {
				add(a)
			}
			continue
		}
		add(g.Expr)
	}
	return groups
}

func usesColumn(e expr.Expr, id colID) bool {
	for _, c := range expr.ColumnsUsed(nil, e) {
		if c == id {
			return true
		}
	}
	return false
}

// aggregate puts the grouping above r and rewrites what is computed above it in terms of its columns.
func (b *binder) aggregate(q *query, r rel, groups []projItem, having expr.Expr, targets []target) rel {
	g := &grouper{b: b, q: q, out: &aggRel{in: r, groups: groups, calls: q.aggs}}
	for _, a := range q.aggs {
		g.made = append(g.made, a.id)
	}
	for _, w := range q.wins {
		g.made = append(g.made, w.id)
	}
	for _, s := range q.srfs {
		g.made = append(g.made, s.id)
	}
	for i := range targets {
		targets[i].e = g.rewrite(targets[i].e)
	}
	for _, w := range q.wins {
		g.window(w)
	}
	for i := range q.srfs {
		q.srfs[i].e = g.rewrite(q.srfs[i].e)
	}
	if having != nil {
		having = g.rewrite(having)
	}
	var out rel = g.out
	if having != nil {
		if conds := conjuncts(nil, having); len(conds) > 0 {
			out = &filterRel{in: out, conds: conds}
		}
	}
	return out
}

// grouper checks and rewrites expressions above a grouping.
type grouper struct {
	b    *binder
	q    *query
	out  *aggRel
	made []colID
}

func (g *grouper) rewrite(e expr.Expr) expr.Expr {
	for _, it := range g.out.groups {
		if _, plain := it.e.(*expr.Column); !plain && expr.Equal(it.e, e) {
			return g.b.col(it.id)
		}
	}
	switch x := e.(type) {
	case *expr.Column:
		return g.column(x, false)
	case *expr.Subplan:
		for _, a := range x.Args {
			g.column(a.(*expr.Column), true)
		}
		if x.Left != nil {
			c := *x
			c.Left = g.rewrite(x.Left)
			return &c
		}
		return x
	}
	if len(expr.Children(e)) == 0 {
		return e
	}
	return rewriteChildren(e, g.rewrite)
}

func (g *grouper) column(x *expr.Column, inSubquery bool) expr.Expr {
	b := g.b
	m := &b.cols[x.Index]
	if m.level != g.q {
		return x // of an enclosing query, or made above the grouping
	}
	for _, id := range g.made {
		if id == x.Index {
			return x
		}
	}
	for _, it := range g.out.groups {
		if it.id == x.Index {
			return x
		}
	}
	if g.determined(m) {
		g.out.groups = append(g.out.groups, projItem{x.Index, x})
		return x
	}
	name := m.name
	if m.alias != "" {
		name = m.alias + "." + name
	}
	if inSubquery {
		b.fail(b.pos[x], pgerr.GroupingError, "subquery uses ungrouped column \"%s\" from outer query", name)
	}
	b.fail(b.pos[x], pgerr.GroupingError, "column \"%s\" must appear in the GROUP BY clause or be used in an aggregate function", name)
	return nil
}

// determined reports whether a column follows from the grouping columns: they hold its table's whole primary key.
func (g *grouper) determined(m *colMeta) bool {
	if m.table == nil || m.table.Kind == 'v' || m.derived {
		return false
	}
	pk := m.table.Primary()
	if pk == nil || len(pk.Columns) == 0 {
		return false
	}
	for _, kc := range pk.Columns {
		ord := m.table.ColumnByID(kc.Column)
		if ord < 0 || m.table.Columns[ord].Hidden {
			return false
		}
		found := false
		for _, it := range g.out.groups {
			o := &g.b.cols[it.id]
			found = found || o.level == m.level && o.table == m.table && o.alias == m.alias && o.ord == ord
		}
		if !found {
			return false
		}
	}
	return true
}

// rewriteChildren rebuilds a node with f applied to its direct children.
func rewriteChildren(e expr.Expr, f func(expr.Expr) expr.Expr) expr.Expr {
	kids := expr.Children(e)
	if len(kids) == 0 {
		return e
	}
	return expr.WithChildren(e, mapExprs(kids, f))
}

func mapExprs(es []expr.Expr, f func(expr.Expr) expr.Expr) []expr.Expr {
	out := make([]expr.Expr, len(es))
	for i, e := range es {
		out[i] = f(e)
	}
	return out
}

// hasVolatile reports whether any of the expressions of a query tree is volatile.
func hasVolatile(r rel) bool {
	bad := false
	visitExprs(r, func(e expr.Expr) { bad = bad || expr.Volatility(e) == 'v' })
	if f, ok := r.(*funcRel); ok {
		bad = bad || f.fn.Volatility == 'v'
	}
	for _, in := range inputs(r) {
		bad = bad || hasVolatile(in)
	}
	if _, ok := r.(*dmlRel); ok {
		return true
	}
	return bad
}

// quoteIdent quotes a name for messages and EXPLAIN if it needs quotes.
func quoteIdent(s string) string {
	plain := s != ""
	for i := 0; i < len(s) && plain; i++ {
		c := s[i]
		plain = c == '_' || c >= 'a' && c <= 'z' || i > 0 && (c >= '0' && c <= '9' || c == '$')
	}
	if plain {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}
