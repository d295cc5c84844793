package exec

import (
	"github.com/pamirdb/pamir/sql/types"
)

// groupTable numbers distinct rows of some columns: NULLs are not distinct, values are compared as their
// type's equality does.
type groupTable struct {
	cols   []*types.Vec // the groups' values
	n      int
	hashes []uint64 // of the groups
	slots  []int32  // group + 1; the length is a power of two
	rowH   []uint64 // scratch: hashes of a batch's rows
	bytes  int64    // of variable-length values
}

func newGroupTable(ts []types.Type) *groupTable {
	g := &groupTable{cols: make([]*types.Vec, len(ts)), slots: make([]int32, 64)}
	for i, t := range ts {
		g.cols[i] = types.NewVec(t, 0)
	}
	return g
}

func (g *groupTable) reset() {
	for _, c := range g.cols {
		c.ResetSame()
	}
	g.n, g.bytes = 0, 0
	g.hashes = g.hashes[:0]
	if len(g.slots) > 4096 {
		g.slots = make([]int32, 64)
	} else {
		clear(g.slots)
	}
}

// memory estimates the bytes in use.
func (g *groupTable) memory() int64 {
	n := g.bytes + int64(len(g.slots))*4 + int64(cap(g.hashes))*8
	for _, c := range g.cols {
		n += int64(c.N) * width(c)
	}
	return n
}

// width is how many bytes a value takes in its vector.
func width(v *types.Vec) int64 {
	switch v.Repr {
	case types.ReprInt, types.ReprFloat:
		return 9
	case types.ReprBytes:
		return 25
	case types.ReprDecimal:
		return 41
	case types.ReprInterval, types.ReprAny:
		return 17
	}
	return 17
}

// variable estimates the bytes that value i holds outside of its vector.
func variable(v *types.Vec, i int) int64 {
	switch v.Repr {
	case types.ReprBytes:
		return int64(len(v.Bytes[i]))
	case types.ReprAny:
		return v.Get(i).MemSize()
	}
	return 0
}

// find writes the group of every counting row to groups[row], making new groups.
func (g *groupTable) find(cols []*types.Vec, n int, sel []int32, groups []int32) {
	if cap(g.rowH) < n {
		g.rowH = make([]uint64, max(n, types.BatchSize))
	}
	h := g.rowH[:n]
	clear(h)
	for _, c := range cols {
		types.HashVec(c, n, sel, h)
	}
	if sel == nil {
		for i := range n {
			groups[i] = g.lookup(cols, i, h[i], true)
		}
		return
	}
	for _, i := range sel {
		groups[i] = g.lookup(cols, int(i), h[i], true)
	}
}

// lookup returns the group equal to a row, or -1 (a new one, if add).
func (g *groupTable) lookup(cols []*types.Vec, row int, h uint64, add bool) int32 {
	mask := uint64(len(g.slots) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		s := g.slots[at]
		if s == 0 {
			if !add {
				return -1
			}
			g.slots[at] = int32(g.n + 1)
			g.hashes = append(g.hashes, h)
			for i, c := range g.cols {
				c.AppendFrom(cols[i], row)
				g.bytes += variable(cols[i], row)
			}
			g.n++
			if g.n*4 > len(g.slots)*3 {
				g.grow()
			}
			return int32(g.n - 1)
		}
		if g.hashes[s-1] == h && g.equal(cols, row, int(s-1)) {
			return s - 1
		}
	}
}

func (g *groupTable) equal(cols []*types.Vec, row, group int) bool {
	for i, c := range g.cols {
		if !types.EqualVec(c, group, cols[i], row) {
			return false
		}
	}
	return true
}

func (g *groupTable) grow() {
	g.slots = make([]int32, 2*len(g.slots))
	mask := uint64(len(g.slots) - 1)
	for i, h := range g.hashes {
		at := h & mask
		for g.slots[at] != 0 {
			at = (at + 1) & mask
		}
		g.slots[at] = int32(i + 1)
	}
}
