package exec

import (
	"math"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// frame says which rows of a partition a call sees from each row: lo[i] up to hi[i], without what exclude takes out.
type frame struct {
	mode               byte
	start, end         ast.FrameBound
	startProg, endProg *expr.Program
	startBy, endBy     int64
	exclude            byte
	lo, hi             []int32
	sel                []int32
}

func newFrame(n *plan.WindowFrame) (*frame, error) {
	f := &frame{mode: 'v', start: ast.UnboundedPreceding, end: ast.CurrentRow}
	if n == nil {
		return f, nil
	}
	f.mode, f.start, f.end, f.exclude = n.Mode, n.Start, n.End, n.Exclude
	if f.mode == 'v' && (n.StartOffset != nil || n.EndOffset != nil) {
		return nil, pgerr.Unsupported("RANGE with offset PRECEDING/FOLLOWING", "")
	}
	var err error
	if f.startProg, err = compileOpt(n.StartOffset); err != nil {
		return nil, err
	}
	f.endProg, err = compileOpt(n.EndOffset)
	return f, err
}

// begin computes the offsets, which are the same for all rows.
func (f *frame) begin(er *expr.Runtime) error {
	for _, o := range []struct {
		p    *expr.Program
		to   *int64
		what string
	}{{f.startProg, &f.startBy, "starting"}, {f.endProg, &f.endBy, "ending"}} {
		if o.p == nil {
			continue
		}
		d, err := o.p.EvalRow(er, nil, 0)
		if err != nil {
			return err
		}
		if d.Null {
			return pgerr.New(pgerr.NullValueNotAllowed, "frame %s offset must not be null", o.what)
		}
		if d.I < 0 {
			return pgerr.New("22013", "frame %s offset must not be negative", o.what)
		}
		*o.to = min(d.I, math.MaxInt32)
	}
	return nil
}

// lay computes the bounds for a partition.
func (f *frame) lay(w *windowPart) {
	f.lo, f.hi = make([]int32, w.n), make([]int32, w.n)
	var first []int32 // of each peer group
	group := make([]int32, w.n)
	for i := range w.n {
		if int(w.peers[i]) == i {
			first = append(first, int32(i))
		}
		group[i] = int32(len(first) - 1)
	}
	clip := func(x int64) int32 { return int32(max(0, min(x, int64(w.n)))) }
	// at is the first row of the bound; with after, the row behind its last.
	at := func(i int, b ast.FrameBound, by int64, after bool) int32 {
		switch b {
		case ast.UnboundedPreceding:
			return 0
		case ast.UnboundedFollowing:
			return int32(w.n)
		case ast.OffsetPreceding:
			by = -by
		case ast.CurrentRow:
			by = 0
		}
		if f.mode == 'r' {
			x := int64(i) + by
			if after {
				x++
			}
			return clip(x)
		}
		g := int64(group[i]) + by
		switch {
		case g < 0:
			return 0
		case g >= int64(len(first)):
			return int32(w.n)
		case after:
			return w.ends[first[g]]
		}
		return first[g]
	}
	for i := range w.n {
		f.lo[i] = at(i, f.start, f.startBy, false)
		f.hi[i] = max(f.lo[i], at(i, f.end, f.endBy, true))
	}
}

// excluded reports whether row j is taken out of row i's frame.
func (f *frame) excluded(w *windowPart, i, j int) bool {
	switch f.exclude {
	case 'c':
		return i == j
	case 'g':
		return w.peers[i] == w.peers[j]
	case 't':
		return i != j && w.peers[i] == w.peers[j]
	}
	return false
}

// rows lists the rows of row i's frame from lo on; the list is valid until the next call.
func (f *frame) rows(w *windowPart, i int, lo int32) []int32 {
	f.sel = f.sel[:0]
	if f.sel == nil {
		f.sel = []int32{}
	}
	for j := lo; j < f.hi[i]; j++ {
		if f.exclude == 0 || !f.excluded(w, i, int(j)) {
			f.sel = append(f.sel, j)
		}
	}
	return f.sel
}

// pick takes the value at the k-th row of each frame, counted from its end if k is -1; NULL if k is 0 or there is none.
func (w *windowPart) pick(src, out *types.Vec, nth func(i int) (int64, error)) error {
	f := w.frame
	for i := range w.n {
		k, err := nth(i)
		if err != nil {
			return err
		}
		at := int64(-1)
		switch {
		case f.exclude != 0:
			rows := f.rows(w, i, f.lo[i])
			if k == -1 {
				k = int64(len(rows))
			}
			if k > 0 && k <= int64(len(rows)) {
				at = int64(rows[k-1])
			}
		case k == -1 && f.lo[i] < f.hi[i]:
			at = int64(f.hi[i]) - 1
		case k > 0 && k <= int64(f.hi[i]-f.lo[i]):
			at = int64(f.lo[i]) + k - 1
		}
		if at < 0 {
			out.AppendNull()
		} else {
			out.AppendFrom(src, int(at))
		}
	}
	return nil
}

// running computes an aggregate over each row's frame. While frames only grow at their end, rows are added to
// what is there; otherwise each frame is computed anew.
func (c *windowCall) running(er *expr.Runtime, w *windowPart, input *types.Batch, out *types.Vec) error {
	f := w.frame
	one := types.NewVec(c.n.T, 1)
	c.agg.reset()
	var lo, hi int32 // what has been added
	fresh := true
	for i := range w.n {
		if fresh || f.exclude != 0 || f.lo[i] != lo || f.hi[i] != hi {
			from := hi
			if f.exclude != 0 || f.lo[i] != lo || f.hi[i] < hi {
				c.agg.reset()
				from = f.lo[i]
			}
			sel := f.rows(w, i, from)
			if len(sel) > 0 {
				if err := c.agg.add(er, &types.Batch{N: w.n, Cols: input.Cols, Sel: sel}); err != nil {
					return err
				}
			}
			lo, hi, fresh = f.lo[i], f.hi[i], false
			one.ResetSame()
			if err := c.agg.calls[0].acc.Result(er.Ctx, 0, 1, one); err != nil {
				return err
			}
		}
		out.AppendFrom(one, 0)
	}
	return nil
}
