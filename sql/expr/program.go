package expr

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/types"
)

// Runtime is what evaluation may refer to.
type Runtime struct {
	Ctx    *builtin.Context
	Params []types.Datum
	// Outer are the slots for values of enclosing queries.
	Outer []types.Datum
	// Subplan runs e's plan once, after its Args have been put into Outer from Slot on, and yields the rows'
	// only column (SubExists: one bool). limit is how many rows matter (0 = all).
	Subplan func(e *Subplan, limit int) ([]types.Datum, error)
}

// Program is a compiled expression. It belongs to one goroutine.
type Program struct{}

// Compile makes a program. The expression is folded first.
func Compile(e Expr) (*Program, error) { return nil, pending("expression") }

// Eval computes the expression over the rows of in that count. The result has in.N values, of which only those rows'
// are meaningful; it is valid until the next Eval of this program and may be a column of in.
func (p *Program) Eval(rt *Runtime, in *types.Batch) (*types.Vec, error) { return nil, pending("Eval") }

// EvalRow computes the expression over row i of in (nil in: no columns). The result is valid as for Eval.
func (p *Program) EvalRow(rt *Runtime, in *types.Batch, i int) (types.Datum, error) {
	return types.Datum{}, pending("EvalRow")
}

// FilterSel appends to dst the rows of in that count and for which the boolean program is true.
func (p *Program) FilterSel(rt *Runtime, in *types.Batch, dst []int32) ([]int32, error) {
	return nil, pending("FilterSel")
}

// Type is the result's type.
func (p *Program) Type() types.Type { return types.Type{} }

// EvalConst computes an expression without columns once.
func EvalConst(e Expr, rt *Runtime) (types.Datum, error) { return types.Datum{}, pending("EvalConst") }

// Fold replaces immutable subexpressions over constants by their values. What fails stays as it is, so that the error
// comes when (and only if) the row needs it.
func Fold(e Expr) Expr { return e }

// IsConst reports whether e can be computed before any row: no columns, subplans or volatile functions; parameters, outer values and stable functions may be in it.
func IsConst(e Expr) bool { return false }

// Volatility is the worst of e's functions: 'i', 's' or 'v'.
func Volatility(e Expr) byte { return 'i' }

// AppendWire appends the wire form; a tree with Subplans has none (an error).
func AppendWire(dst []byte, e Expr) ([]byte, error) { return nil, pending("wire form") }

// DecodeExpr reads a wire form and returns what follows it.
func DecodeExpr(b []byte) (Expr, []byte, error) { return nil, nil, pending("wire form") }

// String deparses e as PostgreSQL's EXPLAIN and pg_get_expr do.
func String(e Expr) string { return "" }

// Children returns the direct subexpressions.
func Children(e Expr) []Expr { return nil }

// Rewrite rebuilds e bottom-up: f sees each node after its children were rewritten and returns its replacement. Nodes are copied only where something changed.
func Rewrite(e Expr, f func(Expr) Expr) Expr { return e }

// Walk visits e and, while f returns true, its descendants.
func Walk(e Expr, f func(Expr) bool) {}

// ColumnsUsed appends the distinct indexes of the columns in e, ascending.
func ColumnsUsed(dst []int, e Expr) []int { return dst }

// ShiftColumns adds delta to every column index; MapColumns replaces each by m[index].
func ShiftColumns(e Expr, delta int) Expr { return e }
func MapColumns(e Expr, m []int) Expr     { return e }

// Equal reports whether two expressions are the same computation.
func Equal(a, b Expr) bool { return false }
