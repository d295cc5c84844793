package expr

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/types"
)

// Expr is a typed expression.
type Expr interface {
	Type() types.Type
}

type (
	// Const is a literal or folded constant.
	Const struct {
		T     types.Type
		Value types.Datum
	}
	// Column is column Index of the input batch.
	Column struct {
		T     types.Type
		Index int
		Name  string // for EXPLAIN
	}
	// Param is statement parameter $Index+1.
	Param struct {
		T     types.Type
		Index int
		// Infer, for a Param of unknown type, learns the type when the tree is built.
		Infer *ParamTypes
	}
	// Outer is a value of an enclosing query's current row, put into slot Index of
	// the run time by whoever runs the subplan.
	Outer struct {
		T     types.Type
		Index int
	}
	// Call is a resolved function, operator or cast function.
	Call struct {
		T    types.Type
		Fn   *builtin.Function
		Args []Expr
		// Op is the operator's name if it was written as one, and Cast is set for a cast: for EXPLAIN and deparsing.
		Op   string
		Cast bool
	}
	// Convert is a cast without a function: binary-coercible relabelling (Via "r"), through the types'
	// text forms (Via "i"), or length coercion to T.Mod (Via "m").
	Convert struct {
		T   types.Type
		Arg Expr
		Via byte
		// Fn casts the elements of an array one by one (Via "a"); nil relabels them.
		Fn *builtin.Function
		// Explicit casts truncate where implicit ones fail.
		Explicit bool
	}
	And struct{ Args []Expr }
	Or  struct{ Args []Expr }
	Not struct{ Arg Expr }
	// IsNull is IS NULL (IS NOT NULL with Not).
	IsNull struct {
		Arg Expr
		Not bool
	}
	// BoolTest is IS [NOT] TRUE/FALSE/UNKNOWN; Want is 't', 'f' or 'u'.
	BoolTest struct {
		Arg  Expr
		Want byte
		Not  bool
	}
	// Case; the binder has turned "CASE x WHEN y" into "CASE WHEN x = y".
	Case struct {
		T     types.Type
		Whens []When
		Else  Expr // nil means NULL
	}
	Coalesce struct {
		T    types.Type
		Args []Expr
	}
	// Any is "Left op ANY (array)" or, with All, ALL; IN lists become this. Fn is the operator's function.
	Any struct {
		Left, Array Expr
		Fn          *builtin.Function
		Op          string
		All         bool
	}
	// ArrayCtor is ARRAY[...].
	ArrayCtor struct {
		T     types.Type
		Elems []Expr
	}
	// RowCtor is ROW(...).
	RowCtor struct {
		T      types.Type
		Fields []Expr
	}
	// Distinct is IS [NOT] DISTINCT FROM; Fn is the equality.
	Distinct struct {
		Left, Right Expr
		Fn          *builtin.Function
		Not         bool
	}
	// MinMax is GREATEST / LEAST; Less is the "<" of the type.
	MinMax struct {
		T     types.Type
		Args  []Expr
		Less  *builtin.Function
		Least bool
	}
	// Subplan is a subquery: Plan indexes the statement's subplans. Args are evaluated on the current row and
	// put into the Outer slots from Slot on before it runs; without Args it runs once.
	Subplan struct {
		T    types.Type
		Plan int
		// Twin is the Plan of the first subquery that means the same, so that one written twice is equal to itself; it is Plan if there is none.
		Twin int
		Slot int
		Args []Expr
		Kind SubplanKind
		// Left, Fn: for IN/ANY/ALL: Left op each row of the subquery.
		Left Expr
		Fn   *builtin.Function
	}
)

// When is one arm of a Case.
type When struct{ Cond, Then Expr }

// SubplanKind says what a subquery yields.
type SubplanKind uint8

const (
	SubScalar SubplanKind = iota // the only row's only column; NULL if none; 21000 if more
	SubExists
	SubAny
	SubAll
	SubArray
)

func (e *Const) Type() types.Type     { return e.T }
func (e *Column) Type() types.Type    { return e.T }
func (e *Param) Type() types.Type     { return e.T }
func (e *Outer) Type() types.Type     { return e.T }
func (e *Call) Type() types.Type      { return e.T }
func (e *Convert) Type() types.Type   { return e.T }
func (e *And) Type() types.Type       { return types.Of(types.BoolOID) }
func (e *Or) Type() types.Type        { return types.Of(types.BoolOID) }
func (e *Not) Type() types.Type       { return types.Of(types.BoolOID) }
func (e *IsNull) Type() types.Type    { return types.Of(types.BoolOID) }
func (e *BoolTest) Type() types.Type  { return types.Of(types.BoolOID) }
func (e *Case) Type() types.Type      { return e.T }
func (e *Coalesce) Type() types.Type  { return e.T }
func (e *Any) Type() types.Type       { return types.Of(types.BoolOID) }
func (e *ArrayCtor) Type() types.Type { return e.T }
func (e *RowCtor) Type() types.Type   { return e.T }
func (e *Distinct) Type() types.Type  { return types.Of(types.BoolOID) }
func (e *MinMax) Type() types.Type    { return e.T }
func (e *Subplan) Type() types.Type   { return e.T }
