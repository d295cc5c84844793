package plan

import (
	"strconv"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

func startPos(e ast.Expr) int { return ast.Start(e) }

// boolean binds a condition; context names it in errors.
func (b *binder) boolean(q *query, e ast.Expr, context string) expr.Expr {
	x := b.expr(q, e)
	out, err := expr.ToBool(x, context)
	b.check(err, startPos(e))
	return out
}

func (b *binder) exprs(q *query, es []ast.Expr) []expr.Expr {
	out := make([]expr.Expr, len(es))
	for i, e := range es {
		out[i] = b.expr(q, e)
	}
	return out
}

// made passes a helper's result on, its error placed.
func (b *binder) made(e expr.Expr, err error, pos int, args ...expr.Expr) expr.Expr {
	if err != nil {
		// A literal that does not parse as the type it is coerced to: the position is the literal's.
		if code := pgerr.Code(err); len(code) == 5 && code[:2] == "22" {
			for _, a := range args {
				if c, ok := a.(*expr.Const); ok && c.T.OID == types.UnknownOID && !c.Value.Null {
					b.check(err, b.pos[a])
				}
			}
		}
		b.check(err, pos)
	}
	return e
}

// mismatch is where the first argument stands whose type does not go with those before it; pos if there is none.
func (b *binder) mismatch(context string, args []expr.Expr, from []ast.Expr, pos int) int {
	for i := 1; i < len(args); i++ {
		ts := make([]types.OID, i+1)
		for k := range ts {
			ts[k] = args[k].Type().OID
		}
		if _, err := builtin.SelectCommonType(context, ts); err != nil {
			return startPos(from[i])
		}
	}
	return pos
}

// expr binds a scalar expression.
func (b *binder) expr(q *query, e ast.Expr) expr.Expr {
	switch e := e.(type) {
	case *ast.Literal:
		return b.literal(e)
	case *ast.ColumnRef:
		return b.columnRef(q, e)
	case *ast.Param:
		return b.param(e.Number, e.Pos)
	case *ast.Op:
		return b.operator(q, e)
	case *ast.Bool:
		return b.boolOp(q, e)
	case *ast.Cast:
		return b.cast(q, e)
	case *ast.FuncCall:
		return b.funcCall(q, e)
	case *ast.NullTest:
		return b.nullTest(b.expr(q, e.Arg), e)
	case *ast.BoolTest:
		names := map[byte]string{'t': "IS TRUE", 'f': "IS FALSE", 'u': "IS UNKNOWN"}
		context := names[e.Want]
		if e.Not {
			context = "IS NOT" + context[2:]
		}
		return &expr.BoolTest{Arg: b.boolean(q, e.Arg, context), Want: e.Want, Not: e.Not}
	case *ast.Case:
		return b.caseExpr(q, e)
	case *ast.Coalesce:
		args := b.exprs(q, e.Args)
		x, err := expr.MakeCoalesce(args)
		return b.made(x, err, b.mismatch("COALESCE", args, e.Args, e.Pos), args...)
	case *ast.MinMax:
		args := b.exprs(q, e.Args)
		x, err := expr.MakeMinMax(args, e.Least)
		return b.made(x, err, b.mismatch("GREATEST", args, e.Args, e.Pos), args...)
	case *ast.NullIf:
		l, r := b.expr(q, e.Left), b.expr(q, e.Right)
		x, err := expr.MakeNullIf(l, r)
		return b.made(x, err, e.Pos, l, r)
	case *ast.DistinctFrom:
		return b.distinctFrom(q, e)
	case *ast.In:
		return b.in(q, e)
	case *ast.Between:
		return b.between(q, e)
	case *ast.AnyAll:
		l, a := b.expr(q, e.Left), b.expr(q, e.Array)
		x, err := expr.MakeAny(b.opName(e.Op, e.Pos), l, a, e.All)
		return b.made(x, err, e.Pos, l, a)
	case *ast.Sublink:
		return b.sublink(q, e)
	case *ast.Array:
		elems := b.exprs(q, e.Elems)
		x, err := expr.MakeArray(elems)
		return b.made(x, err, b.mismatch("ARRAY", elems, e.Elems, e.Pos), elems...)
	case *ast.Row:
		return b.row(q, e)
	case *ast.Indirection:
		return b.indirection(q, e)
	case *ast.SQLValue:
		return b.sqlValue(e)
	case *ast.Collate:
		x := b.expr(q, e.Arg)
		switch t := x.Type(); t.OID {
		case types.TextOID, types.VarcharOID, types.BpcharOID, types.NameOID, types.UnknownOID:
		default:
			if elem := types.ElemOf(t.OID); elem != types.TextOID && elem != types.VarcharOID && elem != types.BpcharOID {
				b.fail(e.Pos, pgerr.DatatypeMismatch, "collations are not supported by type %s", types.FormatType(t))
			}
		}
		switch name := e.Name[len(e.Name)-1]; name {
		case "C", "POSIX", "default", "ucs_basic":
			return x
		default:
			b.fail(e.Pos, pgerr.UndefinedObject, "collation \"%s\" for encoding \"UTF8\" does not exist", name)
		}
	case *ast.Default:
		b.fail(e.Pos, pgerr.SyntaxError, "DEFAULT is not allowed in this context")
	case *ast.Grouping:
		b.unsupported(e.Pos, "GROUPING")
	case *ast.CurrentOf:
		b.throw(pgerr.Unsupported("WHERE CURRENT OF", "Name the row by its primary key; FOR UPDATE in the cursor's query locks it.").At(e.Pos))
	case *ast.NamedArg:
		b.fail(e.Pos, pgerr.SyntaxError, "named argument notation is not allowed here")
	}
	b.unsupported(e.Position(), "this expression")
	return nil
}

func (b *binder) literal(l *ast.Literal) expr.Expr {
	var e expr.Expr
	switch l.Kind {
	case ast.NullLiteral:
		e = expr.NullConst()
	case ast.IntLiteral:
		e = &expr.Const{T: types.Of(types.Int4OID), Value: types.NewInt(int64(l.Int))}
	case ast.BoolLiteral:
		e = &expr.Const{T: types.Of(types.BoolOID), Value: types.NewBool(l.Bool)}
	case ast.NumericLiteral:
		if i, err := strconv.ParseInt(l.Text, 10, 64); err == nil {
			e = &expr.Const{T: types.Of(types.Int8OID), Value: types.NewInt(i)}
			break
		}
		d, err := types.ParseText(types.Of(types.NumericOID), []byte(l.Text), types.DefaultEnv)
		b.check(err, l.Pos)
		e = &expr.Const{T: types.Of(types.NumericOID), Value: d}
	case ast.BitLiteral:
		x, err := expr.Coerce(expr.Unknown(l.Text), types.Of(1560), 'e')
		b.check(err, l.Pos)
		return x
	default:
		e = expr.Unknown(l.Text)
	}
	b.pos[e] = l.Pos
	return e
}

func (b *binder) columnRef(q *query, c *ast.ColumnRef) expr.Expr {
	if c.Star {
		if len(c.Names) == 0 {
			b.fail(c.Pos, pgerr.SyntaxError, "row expansion via \"*\" is not supported here")
		}
		return b.wholeRow(b.itemOf(q, c.Names, c.Pos), c.Pos)
	}
	if len(c.Names) > 1 {
		return b.qualified(q, c.Names, c.Pos)
	}
	if e := b.column(q, c.Names[0], c.Pos); e != nil {
		return e
	}
	if it := b.item(q, "", c.Names[0], c.Pos); it != nil {
		return b.wholeRow(it, c.Pos)
	}
	for at := q; at != nil; at = at.parent {
		for _, it := range at.items {
			if it.colsVisible {
				if e := b.systemColumn(it, c.Names[0]); e != nil {
					return e
				}
			}
		}
	}
	b.missingColumn(q, c.Names[0], c.Pos)
	return nil
}

// wholeRow is a table's row as a value. A function's single column is its own row.
func (b *binder) wholeRow(it *nsItem, pos int) expr.Expr {
	if it.table == nil && len(it.cols) == 1 && it.cols[0].name == it.name {
		return b.ref(it.cols[0], pos)
	}
	r := &expr.RowCtor{T: types.Of(types.RecordOID)}
	for _, c := range it.cols {
		r.Fields = append(r.Fields, b.ref(c, pos))
	}
	return r
}

func (b *binder) opName(name []string, pos int) string {
	if len(name) > 1 && !isPgCatalog(name[0]) {
		b.fail(pos, pgerr.UndefinedFunction, "operator does not exist: %s", joinNames(name))
	}
	return name[len(name)-1]
}

func (b *binder) operator(q *query, e *ast.Op) expr.Expr {
	name := b.opName(e.Name, e.Pos)
	if e.Left == nil {
		r := b.expr(q, e.Right)
		x, err := expr.MakeOp(name, nil, r)
		return b.made(x, err, e.Pos, r)
	}
	if e.Right == nil {
		b.fail(e.Pos, pgerr.SyntaxError, "postfix operators are not supported")
	}
	lr, ok1 := e.Left.(*ast.Row)
	rr, ok2 := e.Right.(*ast.Row)
	if ok1 && ok2 {
		return b.rowCompare(name, b.exprs(q, lr.Args), b.exprs(q, rr.Args), e.Pos)
	}
	if ok1 {
		if s, ok := e.Right.(*ast.Sublink); ok && s.Kind == ast.ScalarSublink {
			mismatch := "subquery has too few columns"
			if len(s.Query.Targets) > len(lr.Args) {
				mismatch = "subquery has too many columns"
			}
			return b.rowCompare(name, b.exprs(q, lr.Args), b.rowSubquery(q, s, len(lr.Args), mismatch), e.Pos)
		}
	}
	l, r := b.expr(q, e.Left), b.expr(q, e.Right)
	x, err := expr.MakeOp(name, l, r)
	return b.made(x, err, e.Pos, l, r)
}

// rowCompare is (a, b) op (c, d): column by column for = and <>, from the left for < and its kin.
func (b *binder) rowCompare(op string, l, r []expr.Expr, pos int) expr.Expr {
	if len(l) != len(r) {
		b.fail(pos, pgerr.SyntaxError, "unequal number of entries in row expressions")
	}
	if len(l) == 0 {
		b.fail(pos, pgerr.FeatureNotSupported, "cannot compare rows of zero length")
	}
	pair := func(op string, i int) expr.Expr {
		x, err := expr.MakeOp(op, l[i], r[i])
		return b.made(x, err, pos, l[i], r[i])
	}
	switch op {
	case "=", "<>":
		out := make([]expr.Expr, len(l))
		for i := range l {
			out[i] = pair(op, i)
		}
		if len(out) == 1 {
			return out[0]
		}
		if op == "=" {
			return &expr.And{Args: out}
		}
		return &expr.Or{Args: out}
	case "<", "<=", ">", ">=":
		strict := op[:1]
		out := pair(op, len(l)-1)
		for i := len(l) - 2; i >= 0; i-- {
			out = &expr.Or{Args: []expr.Expr{pair(strict, i), &expr.And{Args: []expr.Expr{pair("=", i), out}}}}
		}
		return out
	}
	b.throw(pgerr.New(pgerr.FeatureNotSupported, "could not determine interpretation of row comparison operator %s", op).At(pos).
		WithHint("Row comparison operators must be associated with btree operator families."))
	return nil
}

func (b *binder) boolOp(q *query, e *ast.Bool) expr.Expr {
	name := map[byte]string{'&': "AND", '|': "OR", '!': "NOT"}[e.Op]
	args := make([]expr.Expr, len(e.Args))
	for i, a := range e.Args {
		args[i] = b.boolean(q, a, name)
	}
	switch e.Op {
	case '&':
		return &expr.And{Args: args}
	case '|':
		return &expr.Or{Args: args}
	}
	return negate(args[0])
}

// negate is NOT e, pushed into tests that have a negative of their own.
func negate(e expr.Expr) expr.Expr {
	switch x := e.(type) {
	case *expr.Not:
		return x.Arg
	case *expr.IsNull:
		return &expr.IsNull{Arg: x.Arg, Not: !x.Not}
	case *expr.BoolTest:
		return &expr.BoolTest{Arg: x.Arg, Want: x.Want, Not: !x.Not}
	}
	return &expr.Not{Arg: e}
}

func (b *binder) nullTest(arg expr.Expr, e *ast.NullTest) expr.Expr {
	if r, ok := arg.(*expr.RowCtor); ok {
		out := make([]expr.Expr, len(r.Fields))
		for i, f := range r.Fields {
			out[i] = &expr.IsNull{Arg: f, Not: e.Not}
		}
		if len(out) == 1 {
			return out[0]
		}
		return &expr.And{Args: out}
	}
	if arg.Type().OID == types.UnknownOID {
		x, err := expr.Coerce(arg, types.Of(types.TextOID), 'i')
		b.check(err, startPos(e.Arg))
		arg = x
	}
	return &expr.IsNull{Arg: arg, Not: e.Not}
}

func (b *binder) cast(q *query, e *ast.Cast) expr.Expr {
	t := b.typeName(e.Type)
	if a, ok := e.Arg.(*ast.Array); ok && types.ElemOf(t.OID) != 0 {
		return b.arrayCast(q, a, t)
	}
	arg := b.expr(q, e.Arg)
	x, err := expr.Coerce(arg, t, 'e')
	return b.made(x, err, e.Pos, arg)
}

// arrayCast is ARRAY[...]::type[]: the elements are cast, which lets an array be empty.
func (b *binder) arrayCast(q *query, a *ast.Array, t types.Type) expr.Expr {
	elem := types.Type{OID: types.ElemOf(t.OID), Mod: t.Mod}
	out := &expr.ArrayCtor{T: t}
	for _, x := range a.Elems {
		if inner, ok := x.(*ast.Array); ok {
			out.Elems = append(out.Elems, b.arrayCast(q, inner, t))
			continue
		}
		v := b.expr(q, x)
		c, err := expr.Coerce(v, elem, 'e')
		out.Elems = append(out.Elems, b.made(c, err, startPos(x), v))
	}
	return out
}

func (b *binder) caseExpr(q *query, e *ast.Case) expr.Expr {
	var arg expr.Expr
	if e.Arg != nil {
		arg = b.expr(q, e.Arg)
		if arg.Type().OID == types.UnknownOID {
			x, err := expr.Coerce(arg, types.Of(types.TextOID), 'i')
			arg = b.made(x, err, startPos(e.Arg), arg)
		}
	}
	whens := make([]expr.When, len(e.Whens))
	var all []expr.Expr
	for i, w := range e.Whens {
		if arg == nil {
			whens[i].Cond = b.boolean(q, w.Cond, "CASE/WHEN")
		} else {
			c := b.expr(q, w.Cond)
			x, err := expr.MakeOp("=", arg, c)
			whens[i].Cond = b.made(x, err, startPos(w.Cond), c)
		}
		whens[i].Then = b.expr(q, w.Then)
		all = append(all, whens[i].Then)
	}
	var els expr.Expr
	if e.Else != nil {
		els = b.expr(q, e.Else)
		all = append(all, els)
	}
	x, err := expr.MakeCase(whens, els)
	return b.made(x, err, e.Pos, all...)
}

func (b *binder) distinctFrom(q *query, e *ast.DistinctFrom) expr.Expr {
	lr, ok1 := e.Left.(*ast.Row)
	rr, ok2 := e.Right.(*ast.Row)
	if ok1 && ok2 {
		if len(lr.Args) != len(rr.Args) {
			b.fail(e.Pos, pgerr.SyntaxError, "unequal number of entries in row expressions")
		}
		out := make([]expr.Expr, len(lr.Args))
		for i := range out {
			l, r := b.expr(q, lr.Args[i]), b.expr(q, rr.Args[i])
			x, err := expr.MakeDistinct(l, r, e.Not)
			out[i] = b.made(x, err, e.Pos, l, r)
		}
		if e.Not {
			return &expr.And{Args: out}
		}
		return &expr.Or{Args: out}
	}
	l, r := b.expr(q, e.Left), b.expr(q, e.Right)
	x, err := expr.MakeDistinct(l, r, e.Not)
	return b.made(x, err, e.Pos, l, r)
}

func (b *binder) in(q *query, e *ast.In) expr.Expr {
	if lr, ok := e.Left.(*ast.Row); ok {
		l := b.exprs(q, lr.Args)
		var out []expr.Expr
		for _, item := range e.List {
			rr, ok := item.(*ast.Row)
			if !ok {
				x := b.expr(q, item)
				b.throw(pgerr.New(pgerr.UndefinedFunction, "operator does not exist: record = %s", types.FormatType(x.Type())).At(e.Pos).
					WithHint("No operator matches the given name and argument types. You might need to add explicit type casts."))
			}
			out = append(out, b.rowCompare("=", l, b.exprs(q, rr.Args), e.Pos))
		}
		var x expr.Expr = &expr.Or{Args: out}
		if len(out) == 1 {
			x = out[0]
		}
		if e.Not {
			return negate(x)
		}
		return x
	}
	l := b.expr(q, e.Left)
	list := b.exprs(q, e.List)
	x, err := expr.MakeIn(l, list, e.Not)
	return b.made(x, err, e.Pos, append([]expr.Expr{l}, list...)...)
}

func (b *binder) between(q *query, e *ast.Between) expr.Expr {
	arg, lo, hi := b.expr(q, e.Arg), b.expr(q, e.Low), b.expr(q, e.High)
	op := func(name string, l, r expr.Expr) expr.Expr {
		x, err := expr.MakeOp(name, l, r)
		return b.made(x, err, e.Pos, l, r)
	}
	both := func(lo, hi expr.Expr) expr.Expr {
		if e.Not {
			return &expr.Or{Args: []expr.Expr{op("<", arg, lo), op(">", arg, hi)}}
		}
		return &expr.And{Args: []expr.Expr{op(">=", arg, lo), op("<=", arg, hi)}}
	}
	if !e.Symmetric {
		return both(lo, hi)
	}
	if e.Not {
		return &expr.And{Args: []expr.Expr{both(lo, hi), both(hi, lo)}}
	}
	return &expr.Or{Args: []expr.Expr{both(lo, hi), both(hi, lo)}}
}

func (b *binder) row(q *query, e *ast.Row) expr.Expr {
	r := &expr.RowCtor{T: types.Of(types.RecordOID)}
	for _, a := range e.Args {
		if c, ok := a.(*ast.ColumnRef); ok && c.Star {
			for _, t := range b.star(q, c, nil) {
				r.Fields = append(r.Fields, t.e)
			}
			continue
		}
		x := b.expr(q, a)
		if x.Type().OID == types.UnknownOID {
			t, err := expr.Coerce(x, types.Of(types.TextOID), 'i')
			x = b.made(t, err, startPos(a), x)
		}
		r.Fields = append(r.Fields, x)
	}
	return r
}

func (b *binder) indirection(q *query, e *ast.Indirection) expr.Expr {
	x := b.expr(q, e.Arg)
	var index, lower []expr.Expr
	slice := false
	for _, s := range e.Steps {
		switch {
		case s.Star:
			b.unsupported(e.Pos, "expanding a composite value")
		case s.Field != "":
			b.fail(e.Pos, pgerr.WrongObjectType, "column notation .%s applied to type %s, which is not a composite type",
				s.Field, types.FormatType(x.Type()))
		}
		slice = slice || s.Slice
		var lo, hi expr.Expr
		if s.Lower != nil {
			lo = b.expr(q, s.Lower)
		} else if !s.Slice {
			// Beside slices a single subscript n stands for 1:n.
			lo = &expr.Const{T: types.Of(types.Int4OID), Value: types.NewInt(1)}
		}
		if s.Upper != nil {
			hi = b.expr(q, s.Upper)
		}
		lower, index = append(lower, lo), append(index, hi)
	}
	if slice {
		out, err := expr.MakeSlice(x, lower, index)
		return b.made(out, err, e.Pos)
	}
	out, err := expr.MakeSubscript(x, index)
	return b.made(out, err, e.Pos, index...)
}

// sqlValue is CURRENT_DATE and its kin in terms of ordinary functions.
func (b *binder) sqlValue(e *ast.SQLValue) expr.Expr {
	call := func(name string) expr.Expr {
		x, err := expr.MakeCall("pg_catalog", name, nil, expr.CallOptions{})
		b.check(err, e.Pos)
		return x
	}
	to := func(t types.OID) expr.Expr {
		x, err := expr.Coerce(call("now"), types.Type{OID: t, Mod: e.Mod}, 'e')
		b.check(err, e.Pos)
		return x
	}
	switch e.Name {
	case "current_date":
		return to(types.DateOID)
	case "current_time":
		return to(types.TimetzOID)
	case "current_timestamp":
		return to(types.TimestamptzOID)
	case "localtime":
		return to(types.TimeOID)
	case "localtimestamp":
		return to(types.TimestampOID)
	case "current_role", "user":
		return call("current_user")
	case "current_catalog":
		return call("current_database")
	}
	return call(e.Name) // current_user, session_user, current_schema
}
