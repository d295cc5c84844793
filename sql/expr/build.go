package expr

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// CallOptions are the parts of a function call beyond its arguments.
type CallOptions struct {
	// Names of the trailing arguments given as name => value ("" = by position); nil for none.
	Names []string
	// Variadic: the last argument was marked VARIADIC.
	Variadic bool
	// SearchPath for names without a schema; nil means pg_catalog alone.
	SearchPath []string
}

func pending(what string) error { return pgerr.Unsupported(what, "") }

// MakeOp resolves an operator and coerces its operands; left is nil for a prefix operator.
// Errors: 42883, 42725, or those of parsing a literal.
func MakeOp(name string, left, right Expr) (Expr, error) { return nil, pending("operator " + name) }

// MakeCall resolves a function (or a cast written like one) and coerces its arguments.
// Aggregates and window functions are refused here (42803): the binder takes ResolveCall for them.
func MakeCall(schema, name string, args []Expr, opt CallOptions) (Expr, error) {
	return nil, pending("function " + name)
}

// ResolveCall resolves a function of any kind. It returns the coerced arguments, defaults filled in
// and variadic ones collected into an array, and the result type.
func ResolveCall(schema, name string, args []Expr, opt CallOptions) (*builtin.Function, []Expr, types.Type, error) {
	return nil, nil, types.Type{}, pending("function " + name)
}

// NewCall makes a call of a resolved function whose arguments are coerced already.
func NewCall(fn *builtin.Function, t types.Type, args ...Expr) *Call {
	return &Call{T: t, Fn: fn, Args: args}
}

// Coerce converts e to a type in a context: 'i' implicit, 'a' assignment, 'e' explicit. Unknown
// literals are parsed here (22P02 and friends); a Param of unknown type gets its type.
// What cannot be cast is 42846 ("cannot cast type ... to ..."); the binder words
// assignment failures (42804) itself, see CanCoerce.
func Coerce(e Expr, to types.Type, ctx byte) (Expr, error) { return nil, pending("coercion") }

// CanCoerce reports whether Coerce would find a way from a type to another.
func CanCoerce(from, to types.OID, ctx byte) bool { return false }

// CommonType is PostgreSQL's rule for UNION, CASE, COALESCE, VALUES, IN, ARRAY, GREATEST: the type that all of es
// become, and es coerced. context names the construct in errors ("CASE", "UNION").
func CommonType(context string, es []Expr) ([]Expr, types.Type, error) {
	return nil, types.Type{}, pending("common type")
}

// MakeAny is "left op ANY/ALL (array)".
func MakeAny(op string, left, array Expr, all bool) (Expr, error) { return nil, pending("ANY") }

// MakeIn is "left [NOT] IN (list)".
func MakeIn(left Expr, list []Expr, not bool) (Expr, error) { return nil, pending("IN") }

// MakeDistinct is "left IS [NOT] DISTINCT FROM right".
func MakeDistinct(left, right Expr, not bool) (Expr, error) { return nil, pending("DISTINCT") }

// MakeCase unifies the result types and checks conditions. An arm's Cond is a boolean.
func MakeCase(whens []When, els Expr) (Expr, error) { return nil, pending("CASE") }

// MakeCoalesce, MakeMinMax (GREATEST, LEAST) and MakeArray (ARRAY[...]) unify their arguments' types.
func MakeCoalesce(args []Expr) (Expr, error)           { return nil, pending("COALESCE") }
func MakeMinMax(args []Expr, least bool) (Expr, error) { return nil, pending("GREATEST") }
func MakeArray(elems []Expr) (Expr, error)             { return nil, pending("ARRAY") }

// MakeNullIf is NULLIF(a, b).
func MakeNullIf(a, b Expr) (Expr, error) { return nil, pending("NULLIF") }

// MakeSubscript is array[index].
func MakeSubscript(array Expr, index []Expr) (Expr, error) { return nil, pending("subscripts") }

// ToBool coerces a condition; context names it in the error ("WHERE", "AND", "CASE/WHEN"): 42804
// "argument of WHERE must be type boolean, not type integer".
func ToBool(e Expr, context string) (Expr, error) { return nil, pending("condition") }

// Unknown makes a string literal of yet unknown type, NullConst a NULL of unknown type.
func Unknown(s string) *Const {
	return &Const{T: types.Of(types.UnknownOID), Value: types.NewString(s)}
}
func NullConst() *Const { return &Const{T: types.Of(types.UnknownOID), Value: types.NullDatum} }

// ParamTypes collects the types that uses of parameters imply. Types[i] is 0 while unknown.
// A Param of type unknown with Infer set gets its type at its first coercion; a different one later is 42P08.
type ParamTypes struct{ Types []types.OID }
