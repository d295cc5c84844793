package expr

import (
	"strings"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// CallOptions are the parts of a function call beyond its arguments.
type CallOptions struct {
	// Names of the trailing arguments given as name => value; nil for none.
	Names []string
	// Variadic: the last argument was marked VARIADIC.
	Variadic bool
}

// ParamTypes collects the types that uses of parameters imply. Types[i] is 0 while unknown. A Param of type
// unknown with Infer set gets its type at its first coercion; a different one later is 42P08.
type ParamTypes struct{ Types []types.OID }

func oids(es []Expr) []types.OID {
	ts := make([]types.OID, len(es))
	for i, e := range es {
		ts[i] = typeOf(e)
	}
	return ts
}

// typeOf is e's type, with what is known of an untyped parameter by now.
func typeOf(e Expr) types.OID {
	if p, ok := e.(*Param); ok && p.T.OID == types.UnknownOID && p.Infer != nil && p.Index < len(p.Infer.Types) {
		if t := p.Infer.Types[p.Index]; t != 0 {
			return t
		}
	}
	return e.Type().OID
}

func textOf(t types.OID) string { return types.FormatType(types.Of(t)) }

// MakeOp resolves an operator and coerces its operands; left is nil for a prefix operator. Row constructors
// on both sides are compared field by field. Errors: 42883, 42725, or those of parsing a literal.
func MakeOp(name string, left, right Expr) (Expr, error) {
	if l, ok := left.(*RowCtor); ok {
		if r, ok := right.(*RowCtor); ok {
			return makeRowOp(name, l.Fields, r.Fields)
		}
	}
	lt := types.OID(0)
	if left != nil {
		lt = typeOf(left)
	}
	r, err := builtin.ResolveOperator(name, lt, typeOf(right))
	if err != nil {
		return nil, err
	}
	args := []Expr{right}
	if left != nil {
		args = []Expr{left, right}
	}
	if err := coerceArgs(args, r.Args); err != nil {
		return nil, err
	}
	c := &Call{T: types.Of(r.Result), Fn: r.Fn, Args: args, Op: name}
	return c, checkKernel(c)
}

func checkKernel(c *Call) error {
	if c.Fn.Kernel != nil || c.Fn.ReturnsSet {
		return nil
	}
	what := "function " + c.Fn.Name
	if c.Op != "" {
		ts := make([]string, len(c.Fn.Args))
		for i, a := range c.Fn.Args {
			ts[i] = textOf(a)
		}
		what = "operator " + strings.Join(ts, " "+c.Op+" ")
		if len(ts) == 1 {
			what = "operator " + c.Op + " " + ts[0]
		}
	} else {
		ts := make([]string, len(c.Fn.Args))
		for i, a := range c.Fn.Args {
			ts[i] = textOf(a)
		}
		what += "(" + strings.Join(ts, ", ") + ")"
	}
	return pgerr.Unsupported(what, "")
}

// coerceArgs coerces in place, implicitly.
func coerceArgs(args []Expr, to []types.OID) error {
	for i := range args {
		if to[i] == types.AnyOID {
			continue
		}
		a, err := Coerce(args[i], types.Of(to[i]), 'i')
		if err != nil {
			return err
		}
		args[i] = a
	}
	return nil
}

func makeRowOp(name string, l, r []Expr) (Expr, error) {
	if len(l) != len(r) {
		return nil, pgerr.New(pgerr.SyntaxError, "unequal number of entries in row expressions")
	}
	if len(l) == 0 {
		return nil, pgerr.New(pgerr.FeatureNotSupported, "cannot compare rows of zero length")
	}
	pair := func(op string, i int) (Expr, error) { return MakeOp(op, l[i], r[i]) }
	switch name {
	case "=", "<>":
		var es []Expr
		for i := range l {
			e, err := pair(name, i)
			if err != nil {
				return nil, err
			}
			es = append(es, e)
		}
		if len(es) == 1 {
			return es[0], nil
		}
		if name == "=" {
			return &And{Args: es}, nil
		}
		return &Or{Args: es}, nil
	case "<", "<=", ">", ">=":
		e, err := pair(name, len(l)-1)
		if err != nil {
			return nil, err
		}
		for i := len(l) - 2; i >= 0; i-- {
			strict, err := pair(name[:1], i)
			if err != nil {
				return nil, err
			}
			eq, err := pair("=", i)
			if err != nil {
				return nil, err
			}
			e = &Or{Args: []Expr{strict, &And{Args: []Expr{eq, e}}}}
		}
		return e, nil
	}
	return nil, pgerr.New(pgerr.FeatureNotSupported, "could not determine interpretation of row comparison operator %s", name).
		WithHint("Row comparison operators must be associated with btree operator families.")
}

// MakeCall resolves a function (or a cast written like one) and coerces its arguments.
// Aggregates, window functions and procedures are refused: the binder takes ResolveCall for them.
func MakeCall(schema, name string, args []Expr, opt CallOptions) (Expr, error) {
	if len(args) == 1 && opt.Names == nil && !opt.Variadic {
		// A call of a type's name may be a cast.
		r, err := builtin.ResolveFunction(schema, name, oids(args), nil, false)
		if err == nil && r.Cast {
			return Coerce(args[0], types.Of(r.Result), 'e')
		}
	}
	fn, cargs, t, err := ResolveCall(schema, name, args, opt)
	if err != nil {
		return nil, err
	}
	switch fn.Kind {
	case 'a':
		return nil, pgerr.New(pgerr.GroupingError, "aggregate functions are not allowed here")
	case 'w':
		return nil, pgerr.New(pgerr.WrongObjectType, "window function %s requires an OVER clause", name)
	case 'p':
		return nil, pgerr.New(pgerr.WrongObjectType, "%s is a procedure", name).WithHint("To call a procedure, use CALL.")
	}
	c := &Call{T: t, Fn: fn, Args: cargs}
	return c, checkKernel(c)
}

// ResolveCall resolves a function of any kind. It returns the coerced arguments, defaults filled in and
// variadic ones collected into an array, and the result type.
func ResolveCall(schema, name string, args []Expr, opt CallOptions) (*builtin.Function, []Expr, types.Type, error) {
	fail := func(err error) (*builtin.Function, []Expr, types.Type, error) { return nil, nil, types.Type{}, err }
	r, err := builtin.ResolveFunction(schema, name, oids(args), opt.Names, opt.Variadic)
	if err != nil {
		return fail(err)
	}
	if r.Cast {
		return fail(pgerr.New(pgerr.WrongObjectType, "%s is a type, not a function", name))
	}
	given := append([]Expr(nil), args...)
	if err := coerceArgs(given, r.Args[:len(given)]); err != nil {
		return fail(err)
	}
	fn := r.Fn
	out := given
	if r.Order != nil {
		out = make([]Expr, len(r.Order))
		for i, o := range r.Order {
			if o >= 0 {
				out[i] = given[o]
			}
		}
	}
	if r.Expand >= 0 {
		rest := append([]Expr(nil), out[r.Expand:]...)
		et := r.Args[len(r.Args)-1]
		at := types.ArrayOf(et)
		if at == 0 {
			return fail(pgerr.New(pgerr.UndefinedObject, "could not find array type for data type %s", textOf(et)))
		}
		out = append(append([]Expr(nil), out[:r.Expand]...), &ArrayCtor{T: types.Of(at), Elems: rest})
	} else if opt.Variadic && fn.Variadic == types.AnyOID {
		return fail(pgerr.Unsupported("VARIADIC with function "+fn.Name, ""))
	} else if fn.Variadic != types.AnyOID {
		for len(out) < len(fn.Args) {
			out = append(out, nil)
		}
		for i := range out {
			if out[i] == nil {
				k := i - (len(fn.Args) - len(fn.DefaultText))
				d, err := defaultArg(fn.DefaultText[k], fn.Args[i])
				if err != nil {
					return fail(err)
				}
				out[i] = d
			}
		}
	}
	return fn, out, types.Of(r.Result), nil
}

// defaultArg makes a constant of a default's text, which is a literal, perhaps with a cast.
func defaultArg(text string, t types.OID) (Expr, error) {
	s, _, _ := strings.Cut(text, "::")
	if s == "NULL" {
		return &Const{T: types.Of(t), Value: types.NullDatum}, nil
	}
	s = strings.Trim(s, "'")
	d, err := types.ParseText(types.Of(t), []byte(s), types.DefaultEnv)
	return &Const{T: types.Of(t), Value: d}, err
}

// NewCall makes a call of a resolved function whose arguments are coerced already.
func NewCall(fn *builtin.Function, t types.Type, args ...Expr) *Call {
	return &Call{T: t, Fn: fn, Args: args}
}

// Unknown makes a string literal of yet unknown type, NullConst a NULL of unknown type.
func Unknown(s string) *Const {
	return &Const{T: types.Of(types.UnknownOID), Value: types.NewString(s)}
}
func NullConst() *Const { return &Const{T: types.Of(types.UnknownOID), Value: types.NullDatum} }

// ToBool coerces a condition; context names it in the error ("WHERE", "AND", "CASE/WHEN"):
// 42804 "argument of WHERE must be type boolean, not type integer".
func ToBool(e Expr, context string) (Expr, error) {
	if t := typeOf(e); t != types.BoolOID && t != types.UnknownOID {
		if !builtin.CanCoerce(t, types.BoolOID, 'a') {
			return nil, pgerr.New(pgerr.DatatypeMismatch, "argument of %s must be type boolean, not type %s", context, textOf(t))
		}
	}
	return Coerce(e, types.Of(types.BoolOID), 'a')
}

// CommonType is PostgreSQL's rule for UNION, CASE, COALESCE, VALUES, IN, ARRAY, GREATEST: the type
// that all of es become, and es coerced. context names the construct in errors ("CASE", "UNION").
func CommonType(context string, es []Expr) ([]Expr, types.Type, error) {
	oid, err := builtin.SelectCommonType(context, oids(es))
	if err != nil {
		return nil, types.Type{}, err
	}
	t := types.Of(oid)
	// The modifier survives if all agree on it.
	mod := int32(-1)
	for i, e := range es {
		et := e.Type()
		if et.OID != oid || i > 0 && et.Mod != mod {
			mod = -1
			break
		}
		mod = et.Mod
	}
	t.Mod = mod
	out := make([]Expr, len(es))
	for i, e := range es {
		if et := typeOf(e); et != oid && !builtin.CanCoerce(et, oid, 'i') {
			return nil, types.Type{}, pgerr.New(pgerr.CannotCoerce, "%s could not convert type %s to %s", context, textOf(et), textOf(oid))
		}
		if out[i], err = Coerce(e, types.Of(oid), 'i'); err != nil {
			return nil, types.Type{}, err
		}
	}
	return out, t, nil
}

// MakeCase unifies the result types and checks conditions.
func MakeCase(whens []When, els Expr) (Expr, error) {
	// PostgreSQL lets the ELSE result vote first.
	e := els
	if e == nil {
		e = NullConst()
	}
	results := []Expr{e}
	out := make([]When, len(whens))
	for i, w := range whens {
		c, err := ToBool(w.Cond, "CASE/WHEN")
		if err != nil {
			return nil, err
		}
		out[i].Cond = c
		results = append(results, w.Then)
	}
	results, t, err := CommonType("CASE", results)
	if err != nil {
		return nil, err
	}
	for i := range out {
		out[i].Then = results[i+1]
	}
	c := &Case{T: t, Whens: out}
	if els != nil {
		c.Else = results[0]
	}
	return c, nil
}

// MakeCoalesce is COALESCE.
func MakeCoalesce(args []Expr) (Expr, error) {
	args, t, err := CommonType("COALESCE", args)
	if err != nil {
		return nil, err
	}
	return &Coalesce{T: t, Args: args}, nil
}

// MakeMinMax is GREATEST or LEAST.
func MakeMinMax(args []Expr, least bool) (Expr, error) {
	name := "GREATEST"
	if least {
		name = "LEAST"
	}
	args, t, err := CommonType(name, args)
	if err != nil {
		return nil, err
	}
	cmp, ok := builtin.TypeComparators(t.OID)
	if !ok {
		return nil, pgerr.New(pgerr.UndefinedFunction, "could not identify a comparison function for type %s", textOf(t.OID))
	}
	return &MinMax{T: t, Args: args, Less: cmp.Lt, Least: least}, nil
}

// MakeArray is ARRAY[...]: of values, or of arrays that become the rows of one with a dimension more.
func MakeArray(elems []Expr) (Expr, error) {
	if len(elems) == 0 {
		return nil, pgerr.New(pgerr.IndeterminateDatatype, "cannot determine type of empty array").
			WithHint("Explicitly cast to the desired type, for example ARRAY[]::integer[].")
	}
	elems, t, err := CommonType("ARRAY", elems)
	if err != nil {
		return nil, err
	}
	if types.ElemOf(t.OID) != 0 && t.OID != types.Int2VectorOID && t.OID != types.OidVectorOID {
		return &ArrayCtor{T: types.Of(t.OID), Elems: elems}, nil
	}
	at := types.ArrayOf(t.OID)
	if at == 0 {
		return nil, pgerr.New(pgerr.UndefinedObject, "could not find array type for data type %s", textOf(t.OID))
	}
	return &ArrayCtor{T: types.Type{OID: at, Mod: t.Mod}, Elems: elems}, nil
}

// MakeArrayOf is ARRAY[...]::type[]: the elements are cast one by one. Nested constructors come as ArrayCtor made by it.
func MakeArrayOf(elems []Expr, array types.Type) (Expr, error) {
	et := types.Type{OID: types.ElemOf(array.OID), Mod: array.Mod}
	out := make([]Expr, len(elems))
	for i, e := range elems {
		to := et
		if types.ElemOf(typeOf(e)) != 0 {
			to = array
		}
		c, err := Coerce(e, to, 'e')
		if err != nil {
			return nil, err
		}
		out[i] = c
	}
	return &ArrayCtor{T: array, Elems: out}, nil
}

// MakeNullIf is NULLIF(a, b): a, unless it equals b. a is computed twice, so it should not be volatile.
func MakeNullIf(a, b Expr) (Expr, error) {
	eq, err := MakeOp("=", a, b)
	if err != nil {
		return nil, err
	}
	if eq.Type().OID != types.BoolOID {
		return nil, pgerr.New(pgerr.DatatypeMismatch, "NULLIF requires = operator to yield boolean")
	}
	// The result has the type that a was compared as.
	first := a
	if c, ok := eq.(*Call); ok {
		first = c.Args[0]
	}
	t := first.Type()
	return &Case{T: t, Whens: []When{{Cond: eq, Then: &Const{T: t, Value: types.NullDatum}}}, Else: first}, nil
}

// MakeDistinct is "left IS [NOT] DISTINCT FROM right".
func MakeDistinct(left, right Expr, not bool) (Expr, error) {
	if l, ok := left.(*RowCtor); ok {
		if r, ok := right.(*RowCtor); ok {
			if len(l.Fields) != len(r.Fields) {
				return nil, pgerr.New(pgerr.SyntaxError, "unequal number of entries in row expressions")
			}
			var es []Expr
			for i := range l.Fields {
				e, err := MakeDistinct(l.Fields[i], r.Fields[i], not)
				if err != nil {
					return nil, err
				}
				es = append(es, e)
			}
			if not {
				return &And{Args: es}, nil
			}
			return &Or{Args: es}, nil
		}
	}
	// A NULL on one side makes it a test for NULL.
	if c, ok := right.(*Const); ok && c.Value.Null {
		return &IsNull{Arg: left, Not: !not}, nil
	}
	if c, ok := left.(*Const); ok && c.Value.Null {
		return &IsNull{Arg: right, Not: !not}, nil
	}
	e, err := MakeOp("=", left, right)
	if err != nil {
		return nil, err
	}
	c, ok := e.(*Call)
	if !ok || c.T.OID != types.BoolOID {
		return nil, pgerr.New(pgerr.DatatypeMismatch, "IS DISTINCT FROM requires = operator to yield boolean")
	}
	return &Distinct{Left: c.Args[0], Right: c.Args[1], Fn: c.Fn, Not: not}, nil
}

// MakeAny is "left op ANY/ALL (array)".
func MakeAny(op string, left, array Expr, all bool) (Expr, error) {
	at := typeOf(array)
	et := types.OID(types.UnknownOID)
	if at != types.UnknownOID {
		if et = types.ElemOf(at); et == 0 {
			return nil, pgerr.New(pgerr.WrongObjectType, "op ANY/ALL (array) requires array on right side")
		}
	}
	r, err := builtin.ResolveOperator(op, typeOf(left), et)
	if err != nil {
		return nil, err
	}
	if r.Result != types.BoolOID {
		return nil, pgerr.New(pgerr.WrongObjectType, "op ANY/ALL (array) requires operator to yield boolean")
	}
	l, err := Coerce(left, types.Of(r.Args[0]), 'i')
	if err != nil {
		return nil, err
	}
	want := types.ArrayOf(r.Args[1])
	if want == 0 {
		return nil, pgerr.New(pgerr.UndefinedObject, "could not find array type for data type %s", textOf(r.Args[1]))
	}
	a, err := Coerce(array, types.Of(want), 'i')
	if err != nil {
		return nil, err
	}
	if r.Fn.Kernel == nil {
		return nil, pgerr.Unsupported("operator "+op+" ANY over "+textOf(want), "")
	}
	return &Any{Left: l, Array: Fold(a), Fn: r.Fn, Op: op, All: all}, nil
}

// MakeIn is "left [NOT] IN (list)".
func MakeIn(left Expr, list []Expr, not bool) (Expr, error) {
	op := "="
	if not {
		op = "<>"
	}
	_, row := left.(*RowCtor)
	if !row && len(list) > 1 {
		oid, err := builtin.SelectCommonType("IN", append(oids(list), typeOf(left)))
		if err == nil && types.ArrayOf(oid) != 0 && types.ElemOf(oid) == 0 {
			ok := true
			for _, e := range list {
				ok = ok && builtin.CanCoerce(typeOf(e), oid, 'i')
			}
			if ok {
				elems := make([]Expr, len(list))
				for i, e := range list {
					if elems[i], err = Coerce(e, types.Of(oid), 'i'); err != nil {
						return nil, err
					}
				}
				return MakeAny(op, left, &ArrayCtor{T: types.Of(types.ArrayOf(oid)), Elems: elems}, not)
			}
		}
	}
	var es []Expr
	for _, x := range list {
		e, err := MakeOp(op, left, x)
		if err != nil {
			return nil, err
		}
		es = append(es, e)
	}
	switch {
	case len(es) == 1:
		return es[0], nil
	case not:
		return &And{Args: es}, nil
	}
	return &Or{Args: es}, nil
}
