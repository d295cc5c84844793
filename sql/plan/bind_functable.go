package plan

import (
	"slices"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// funcTable binds functions in FROM.
func (b *binder) funcTable(q *query, t *ast.FuncTable) (rel, []*nsItem) {
	if len(t.Columns) > 0 || slices.ContainsFunc(t.Funcs, func(f ast.FuncItem) bool { return len(f.Columns) > 0 }) {
		b.unsupported(t.Pos, "a column definition list")
	}
	if calls := together(t); len(calls) > 1 {
		return b.rowsFrom(q, t, calls)
	}
	// Functions in FROM are implicitly lateral.
	sub := &query{parent: q, ctesFrom: q, clause: clFrom}
	var fn *builtin.Function
	var args []expr.Expr
	var rt types.Type
	name := "?column?"
	switch call := t.Funcs[0].Call.(type) {
	case *ast.FuncCall:
		name = call.Name[len(call.Name)-1]
		fn, args, rt = b.callInFrom(sub, call)
	default:
		// CURRENT_DATE and the like: one row.
		e := b.expr(sub, t.Funcs[0].Call)
		name = figureName(t.Funcs[0].Call)
		if t.Ordinality {
			b.unsupported(t.Pos, "WITH ORDINALITY of this expression")
		}
		id := b.newCol(colMeta{name: name, typ: e.Type(), level: q})
		it := b.itemFor(t.Alias, []outCol{{name: name, id: id}})
		it.kind = funcItem
		if it.name == "" {
			it.name = name
		}
		return &projectRel{in: &oneRowRel{}, items: []projItem{{id, e}}}, []*nsItem{it}
	}
	names, ts := []string{name}, []types.Type{rt}
	if fn.ReturnsSet {
		argTypes := make([]types.Type, len(args))
		for i, a := range args {
			argTypes[i] = a.Type()
		}
		k, ns, cts := builtin.SetReturning(fn, argTypes, rt)
		if k == nil {
			b.unsupported(t.Pos, "function %s", name)
		}
		if len(cts) > 0 {
			names, ts = append([]string(nil), ns...), cts
		}
		if len(ts) == 1 {
			// A scalar function's column is named like the function, or like the alias.
			if len(ns) == 0 || ns[0] == "" {
				names = []string{name}
			}
			if t.Alias != nil && (len(ns) == 0 || ns[0] == "" || ns[0] == fn.Name) {
				names = []string{t.Alias.Name}
			}
		}
	} else if t.Alias != nil {
		names = []string{t.Alias.Name}
	}
	r := &funcRel{fn: fn, args: args, ordinality: t.Ordinality}
	if t.Ordinality {
		names, ts = append(names, "ordinality"), append(append([]types.Type(nil), ts...), types.Of(types.Int8OID))
	}
	var cols []outCol
	for i := range ts {
		id := b.newCol(colMeta{name: names[i], typ: ts[i], level: q, alias: name})
		r.cols = append(r.cols, id)
		cols = append(cols, outCol{name: names[i], id: id})
	}
	it := b.itemFor(t.Alias, cols)
	it.kind = funcItem
	if it.name == "" {
		it.name = name
	}
	return r, []*nsItem{it}
}

// callInFrom resolves a function in FROM.
func (b *binder) callInFrom(sub *query, call *ast.FuncCall) (*builtin.Function, []expr.Expr, types.Type) {
	if call.Over != nil || call.Filter != nil || call.Distinct || call.OrderBy != nil || call.Star {
		b.fail(call.Pos, pgerr.SyntaxError, "functions in FROM can be plain calls only")
	}
	fn, args, rt := b.resolveCall(sub, call)
	if fn.Kind == 'a' {
		b.fail(call.Pos, pgerr.GroupingError, "aggregate functions are not allowed in functions in FROM")
	}
	if fn.Kind == 'w' {
		b.fail(call.Pos, pgerr.WindowingError, "window functions are not allowed in functions in FROM")
	}
	return fn, args, rt
}

// together are the calls whose rows are put side by side: those of ROWS FROM, and an unnest for each array of unnest(a, b, ...).
func together(t *ast.FuncTable) []ast.Expr {
	var out []ast.Expr
	for _, f := range t.Funcs {
		c, ok := f.Call.(*ast.FuncCall)
		if !ok || len(c.Args) < 2 || c.Name[len(c.Name)-1] != "unnest" {
			out = append(out, f.Call)
			continue
		}
		for i := range c.Args {
			one := *c
			one.Args = c.Args[i : i+1]
			out = append(out, &one)
		}
	}
	return out
}

// rowsFrom puts the rows of several functions side by side. A set that has ended yields NULLs as long as another one goes on.
func (b *binder) rowsFrom(q *query, t *ast.FuncTable, calls []ast.Expr) (rel, []*nsItem) {
	sub := &query{parent: q, ctesFrom: q, clause: clFrom}
	proj := &projectRel{in: &oneRowRel{}, set: true}
	var cols []outCol
	first := ""
	for _, c := range calls {
		call, ok := c.(*ast.FuncCall)
		if !ok {
			b.unsupported(t.Pos, "ROWS FROM with an expression that is no function call")
		}
		name := call.Name[len(call.Name)-1]
		fn, args, rt := b.callInFrom(sub, call)
		if !fn.ReturnsSet {
			b.unsupported(call.Pos, "ROWS FROM with several functions of which one, %s, returns no set", name)
		}
		argTypes := make([]types.Type, len(args))
		for i, a := range args {
			argTypes[i] = a.Type()
		}
		k, ns, cts := builtin.SetReturning(fn, argTypes, rt)
		if k == nil {
			b.unsupported(call.Pos, "function %s", name)
		}
		if len(cts) > 1 {
			b.unsupported(call.Pos, "ROWS FROM with several functions of which one, %s, returns several columns", name)
		}
		if len(ns) > 0 && ns[0] != "" {
			name = ns[0]
		}
		if first == "" {
			first = call.Name[len(call.Name)-1]
		}
		id := b.newCol(colMeta{name: name, typ: rt, level: q, alias: first})
		proj.items = append(proj.items, projItem{id, expr.NewCall(fn, rt, args...)})
		cols = append(cols, outCol{name: name, id: id})
	}
	var r rel = proj
	if t.Ordinality {
		fn, _, rt, err := expr.ResolveCall("", "row_number", nil, expr.CallOptions{})
		b.check(err, t.Pos)
		id := b.newCol(colMeta{name: "ordinality", typ: rt, level: q, alias: first})
		r = &windowRel{in: proj, calls: []aggCall{{id, AggCall{Fn: fn, T: rt}}}}
		cols = append(cols, outCol{name: "ordinality", id: id})
	}
	it := b.itemFor(t.Alias, cols)
	it.kind = funcItem
	if it.name == "" {
		it.name = first
	}
	return r, []*nsItem{it}
}
