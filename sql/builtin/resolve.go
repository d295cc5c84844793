package builtin

import (
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Resolved is a function chosen for given argument types.
type Resolved struct {
	Fn *Function
	// Args are the types the arguments are to be coerced to, polymorphic ones made concrete: for a variadic function one per
	// actual argument, or the array type if Expand is false.
	Args   []types.OID
	Result types.OID
	// Expand: arguments from this index on are collected into an array of type Fn's last argument; -1 for no.
	Expand int
	// Order[i] says which actual argument is declared argument i; -1 = default. nil = in order.
	Order []int
	// Cast: the call is a cast written as a function; Fn may be nil (Result then says to what).
	Cast bool
}

// ResolveOperator finds the operator for operand types (left 0 for a prefix operator, 705 for literals and NULL). nil path = pg_catalog.
func ResolveOperator(name string, left, right types.OID) (*Resolved, error) {
	return nil, pgerr.Unsupported("operator "+name, "")
}

// ResolveFunction finds a function by chapter 10's rules. names are of the trailing named arguments.
func ResolveFunction(schema, name string, args []types.OID, names []string, variadic bool) (*Resolved, error) {
	return nil, pgerr.Unsupported("function "+name, "")
}

// CastPath says how a type becomes another.
type CastPath struct {
	// Method: 'f' function, 'r' relabel (binary compatible), 'i' text input/output, 'a' element by element over arrays, '=' nothing to do.
	Method byte
	Fn     *Function
}

// ResolveCast finds a cast allowed in context 'i', 'a' or 'e'.
func ResolveCast(from, to types.OID, ctx byte) (CastPath, bool) { return CastPath{}, false }

// SelectCommonType is the rule for UNION, CASE and so on; context is for the error.
func SelectCommonType(context string, ts []types.OID) (types.OID, error) {
	return 0, pgerr.Unsupported(context, "")
}

// Comparators of a type: its default btree operator class. Fns are nil where it has none.
type Comparators struct {
	Eq, Ne, Lt, Le, Gt, Ge *Function
	EqOp, LtOp, GtOp       uint32
}

// TypeComparators returns the functions of "=", "<" ... for a type (arrays and binary-compatible types go to those of their base).
func TypeComparators(t types.OID) (Comparators, bool) { return Comparators{}, false }

// OperatorRow is a row of pg_operator.
type OperatorRow struct {
	OID, Com, Negate    uint32
	Name                string
	Kind                byte
	Left, Right, Result types.OID
	CanMerge, CanHash   bool
	Fn                  *Function
	Rest, Join          uint32
}

// OperatorByFn finds the operator behind a function called as one (for commutators and negators); nil if none.
func OperatorByFn(fn *Function) *OperatorRow { return nil }

// OperatorByOID and FunctionByOID look rows up; nil if there is none.
func OperatorByOID(oid uint32) *OperatorRow   { return nil }
func FunctionByOID(oid uint32) *Function      { return nil }
func FunctionsByName(name string) []*Function { return nil }

// TypeRow is the part of pg_type that resolution needs.
type TypeRow struct {
	OID         types.OID
	Name        string
	Schema      string
	Length      int16
	Type        byte // typtype
	Category    byte
	Preferred   bool
	Elem, Array types.OID
	Base        types.OID
}

// TypeByOID and TypeByName look types up; nil if there is none.
func TypeByOID(oid types.OID) *TypeRow        { return nil }
func TypeByName(schema, name string) *TypeRow { return nil }

// Catalog returns the rows of a generated system catalog ("pg_proc") in their text forms; nil means NULL. Reg* columns are numbers.
// The result is shared: do not change it.
func Catalog(name string) (columns []string, rows [][]*string, ok bool) { return nil, nil, false }

// RegisterKernel gives the functions with a pg_proc.prosrc their kernel, for packages above this one (call it from init).
func RegisterKernel(source string, k Kernel) {}
