package builtin

import "github.com/pamirdb/pamir/sql/types"

// RowSource yields the rows of a set-returning function, batch by batch: columns in out (already Reset), n = 0 at the end.
type RowSource interface {
	Next(ctx *Context, out []*types.Vec, limit int) (n int, err error)
}

// SetKernel starts a set-returning function on one row of arguments (a strict one with a NULL argument yields no rows and is not called).
type SetKernel func(ctx *Context, args []types.Datum, argTypes []types.Type) (RowSource, error)

// SetReturning returns the kernel of a set-returning function and its column names and types; nil if Pamir has none.
func SetReturning(fn *Function, argTypes []types.Type, result types.Type) (SetKernel, []string, []types.Type) {
	return nil, nil, nil
}

// RegisterSetKernel is RegisterKernel for set-returning functions; columns nil means one column of the result type, named like the function.
func RegisterSetKernel(source string, k SetKernel, names []string, columns []types.Type) {}
