package builtin

import "github.com/pamirdb/pamir/sql/types"

// Accumulator computes one aggregate over many groups. It belongs to one goroutine. Groups are numbered
// from 0; Grow makes room.
type Accumulator interface {
	// Grow makes groups 0..n-1 exist.
	Grow(n int)
	// Add takes the rows sel (nil = 0..n-1) of the arguments; row i goes to groups[i] (nil = all to group 0).
	// Rows with a NULL are skipped where the aggregate skips them.
	Add(ctx *Context, groups []int32, args []*types.Vec, n int, sel []int32) error
	// AppendState appends group g's state in a form for MergeState.
	AppendState(dst []byte, g int) ([]byte, error)
	// MergeState adds a state made by AppendState to group g.
	MergeState(ctx *Context, g int, state []byte) error
	// Result appends the results of groups lo..hi-1 to out.
	Result(ctx *Context, lo, hi int, out *types.Vec) error
	// MemSize estimates the bytes in use.
	MemSize() int64
	// Reset forgets all groups.
	Reset()
}

// aggMaker makes an accumulator for the call's concrete types.
type aggMaker struct {
	make func(args []types.Type, result types.Type) Accumulator
	// ordered: the result depends on the order of rows, so partial states do not travel.
	ordered bool
}

// aggregates by "name(type,type)".
var aggregates = make(map[string]aggMaker, 160)

// RegisterAggregate gives an aggregate ("name(type)") its accumulator, for packages above. Call it from init.
func RegisterAggregate(source string, ordered bool, mk func(args []types.Type, result types.Type) Accumulator) {
	aggregates[source] = aggMaker{make: mk, ordered: ordered}
}

// NewAccumulator makes one for an aggregate; args and result are the call's concrete types. nil if Pamir
// cannot compute it (0A000 at bind).
func NewAccumulator(fn *Function, args []types.Type, result types.Type) Accumulator {
	m, ok := aggregates[fn.Source]
	if !ok {
		return nil
	}
	return m.make(args, result)
}

// CanAggregate reports whether NewAccumulator would make one.
func CanAggregate(fn *Function) bool {
	_, ok := aggregates[fn.Source]
	return ok
}

// CanPartial reports whether the aggregate's states can travel: array_agg and string_agg depend on row order and do not.
func CanPartial(fn *Function) bool {
	m, ok := aggregates[fn.Source]
	return ok && !m.ordered
}

// eachGroup calls f with every selected row and its group.
func eachGroup(groups []int32, n int, sel []int32, f func(g, i int) error) error {
	g := 0
	if sel == nil {
		for i := 0; i < n; i++ {
			if groups != nil {
				g = int(groups[i])
			}
			if err := f(g, i); err != nil {
				return err
			}
		}
		return nil
	}
	for _, i := range sel {
		if groups != nil {
			g = int(groups[i])
		}
		if err := f(g, int(i)); err != nil {
			return err
		}
	}
	return nil
}

// growTo makes s n long; new entries are zero.
func growTo[T any](s []T, n int) []T {
	if n <= len(s) {
		return s
	}
	if n > cap(s) {
		t := make([]T, len(s), max(n, 2*cap(s)))
		copy(t, s)
		s = t
	}
	old := len(s)
	s = s[:n]
	clear(s[old:])
	return s
}
