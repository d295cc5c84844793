package builtin

import "github.com/pamirdb/pamir/sql/types"

// Accumulator computes one aggregate over many groups. It belongs to one goroutine. Groups are numbered from 0; Grow makes room.
type Accumulator interface {
	// Grow makes groups 0..n-1 exist.
	Grow(n int)
	// Add takes the rows sel (nil = 0..n-1) of the arguments; row i goes to groups[i] (nil = all to group 0).
	// Strict transition functions skip rows with a NULL themselves.
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

// NewAccumulator makes one for an aggregate; args and result are the call's concrete types. nil if Pamir cannot compute it (0A000 at bind).
func NewAccumulator(fn *Function, args []types.Type, result types.Type) Accumulator { return nil }

// CanAggregate reports whether NewAccumulator would make one; CanPartial whether its states can travel
// (array_agg and string_agg depend on row order and do not).
func CanAggregate(fn *Function) bool { return false }
func CanPartial(fn *Function) bool   { return false }
