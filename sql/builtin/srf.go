package builtin

import "github.com/pamirdb/pamir/sql/types"

// RowSource yields the rows of a set-returning function, batch by batch: columns in out (already Reset),
// n = 0 at the end.
type RowSource interface {
	Next(ctx *Context, out []*types.Vec, limit int) (n int, err error)
}

// SetKernel starts a set-returning function on one row of arguments (a strict one with a NULL argument yields
// no rows and is not called).
type SetKernel func(ctx *Context, args []types.Datum, argTypes []types.Type) (RowSource, error)

type setEntry struct {
	start   SetKernel
	names   []string
	columns []types.Type
}

var setKernels = map[string]setEntry{}

// RegisterSetKernel is RegisterKernel for set-returning functions; nil columns means those of the function's OUT
// parameters, or one column of the result type, named like the function.
func RegisterSetKernel(source string, k SetKernel, names []string, columns []types.Type) {
	setKernels[source] = setEntry{k, names, columns}
}

// SetReturning returns the kernel of a set-returning function and its column names and types; a nil kernel if Pamir has none.
func SetReturning(fn *Function, argTypes []types.Type, result types.Type) (SetKernel, []string, []types.Type) {
	e, ok := setKernels[fn.Source]
	if !ok {
		return nil, nil, nil
	}
	if e.columns != nil {
		return e.start, e.names, e.columns
	}
	if len(fn.OutTypes) > 0 {
		ts := make([]types.Type, len(fn.OutTypes))
		for i, t := range fn.OutTypes {
			if IsPolymorphic(t) {
				t = result.OID
			}
			ts[i] = types.Of(t)
		}
		return e.start, fn.OutNames, ts
	}
	return e.start, []string{fn.Name}, []types.Type{result}
}

// funcSource yields values until next says stop.
type funcSource func(ctx *Context) (d types.Datum, ok bool, err error)

func (f funcSource) Next(ctx *Context, out []*types.Vec, limit int) (int, error) {
	for n := 0; n < limit; n++ {
		d, ok, err := f(ctx)
		if err != nil {
			return 0, err
		}
		if !ok {
			return n, nil
		}
		out[0].AppendDatum(d)
	}
	return limit, nil
}

// sliceSource yields rows that exist already.
type sliceSource struct{ rows [][]types.Datum }

func (s *sliceSource) Next(_ *Context, out []*types.Vec, limit int) (int, error) {
	n := min(limit, len(s.rows))
	for _, r := range s.rows[:n] {
		for k, d := range r {
			out[k].AppendDatum(d)
		}
	}
	s.rows = s.rows[n:]
	return n, nil
}

// RowsSource makes a RowSource of rows.
func RowsSource(rows [][]types.Datum) RowSource { return &sliceSource{rows} }
