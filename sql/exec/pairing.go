package exec

import (
	"context"

	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// pairing turns pairs of rows into output batches, for every kind of join: it applies the
// join condition, remembers which rows found a partner, and adds the rows without one where the join wants them.
type pairing struct {
	in     *instance
	kind   plan.JoinType
	cond   *expr.Program
	lts    []types.Type
	rts    []types.Type
	nl     []int32 // pairs: row of the left batch, row of the right one
	nr     []int32
	out    *types.Batch // left and right columns
	sel    []int32
	view   types.Batch
	onlyL  bool // semi and anti joins show the left columns
	lmatch []bool
	// none, if not 0, is the right row of NULLs + 1, with which a left row is paired after all its partners: it is shown if none of them was, in
	// its place among the others. Otherwise end shows rows without a partner.
	none int32
	real []int32
}

func newPairing(in *instance, kind plan.JoinType, left, right []types.Type, cond expr.Expr) (*pairing, error) {
	p := &pairing{in: in, kind: kind, lts: left, rts: right, sel: []int32{}}
	p.onlyL = kind == plan.SemiJoin || kind == plan.AntiJoin
	p.out = types.NewBatch(append(append([]types.Type{}, left...), right...), 0)
	var err error
	p.cond, err = compileOpt(cond)
	return p, err
}

// begin starts on a left batch.
func (p *pairing) begin(left *types.Batch) {
	if cap(p.lmatch) < left.N {
		p.lmatch = make([]bool, max(left.N, types.BatchSize))
	}
	p.lmatch = p.lmatch[:left.N]
	clear(p.lmatch)
	p.nl, p.nr = p.nl[:0], p.nr[:0]
}

func (p *pairing) add(l, r int32) { p.nl, p.nr = append(p.nl, l), append(p.nr, r) }

// last ends the partners of a left row; found says that there were some.
func (p *pairing) last(l int32, found bool) {
	if p.none != 0 && (p.cond != nil || !found) {
		p.add(l, p.none-1)
	}
}

func gatherInto(dst *types.Vec, src *types.Vec, rows []int32) {
	dst.ResetSame()
	dst.AppendVec(src, rows)
}

// emit makes a batch of the collected pairs that fulfil the condition; nil if there is nothing to show. rmatch, if not nil,
// is told about right rows with a partner.
func (p *pairing) emit(left, right *types.Batch, rmatch []bool) (*types.Batch, error) {
	n := len(p.nl)
	if n == 0 {
		return nil, nil
	}
	if p.cond != nil || !p.onlyL {
		for i := range p.lts {
			gatherInto(p.out.Cols[i], left.Cols[i], p.nl)
		}
		for i := range p.rts {
			gatherInto(p.out.Cols[len(p.lts)+i], right.Cols[i], p.nr)
		}
	}
	p.out.N, p.out.Sel = n, nil
	p.view = types.Batch{N: n, Cols: p.out.Cols}
	if p.cond != nil {
		if err := p.filter(); err != nil {
			return nil, err
		}
		for _, i := range p.sel {
			p.lmatch[p.nl[i]] = true
			if rmatch != nil {
				rmatch[p.nr[i]] = true
			}
		}
		p.view.Sel = p.sel
	} else {
		for i := range n {
			p.lmatch[p.nl[i]] = true
			if rmatch != nil {
				rmatch[p.nr[i]] = true
			}
		}
	}
	p.nl, p.nr = p.nl[:0], p.nr[:0]
	if p.onlyL || p.view.Len() == 0 {
		return nil, nil
	}
	return &p.view, nil
}

// filter chooses the pairs that fulfil the condition, and those with the row of NULLs that none before them was chosen for.
func (p *pairing) filter() error {
	var err error
	if p.none == 0 {
		p.sel, err = p.cond.FilterSel(&p.in.er, p.out, p.sel[:0])
		return err
	}
	p.real = p.real[:0]
	for i, r := range p.nr {
		if r != p.none-1 {
			p.real = append(p.real, int32(i))
		}
	}
	if len(p.real) > 0 {
		p.out.Sel = p.real
		p.real, err = p.cond.FilterSel(&p.in.er, p.out, make([]int32, 0, len(p.real)))
		p.out.Sel = nil
		if err != nil {
			return err
		}
	}
	p.sel = p.sel[:0]
	at := 0
	for i, r := range p.nr {
		switch {
		case at < len(p.real) && p.real[at] == int32(i):
			at++
			p.lmatch[p.nl[i]] = true
		case r != p.none-1 || p.lmatch[p.nl[i]]:
			continue
		}
		p.sel = append(p.sel, int32(i))
	}
	return nil
}

// end finishes a left batch: the rows that a left, semi or anti join shows now; nil if there are none.
func (p *pairing) end(left *types.Batch) *types.Batch {
	want := false
	switch p.kind {
	case plan.LeftJoin, plan.FullJoin, plan.AntiJoin:
		if p.none != 0 {
			return nil
		}
	case plan.SemiJoin:
		want = true
	default:
		return nil
	}
	p.sel = p.sel[:0]
	for i := range left.Len() {
		if row := left.Row(i); p.lmatch[row] == want {
			p.sel = append(p.sel, int32(row))
		}
	}
	if len(p.sel) == 0 {
		return nil
	}
	if p.onlyL {
		p.view = types.Batch{N: left.N, Cols: left.Cols, Sel: p.sel}
		return &p.view
	}
	for i := range p.lts {
		gatherInto(p.out.Cols[i], left.Cols[i], p.sel)
	}
	for i := range p.rts {
		p.out.Cols[len(p.lts)+i].Fill(types.NullDatum, len(p.sel))
	}
	p.view = types.Batch{N: len(p.sel), Cols: p.out.Cols}
	return &p.view
}

// rightRest shows right rows lo..hi-1 without a partner; nil if there are none.
func (p *pairing) rightRest(right *types.Batch, rmatch []bool, lo, hi int) *types.Batch {
	p.sel = p.sel[:0]
	for i := lo; i < hi; i++ {
		if !rmatch[i] {
			p.sel = append(p.sel, int32(i))
		}
	}
	if len(p.sel) == 0 {
		return nil
	}
	for i := range p.lts {
		p.out.Cols[i].Fill(types.NullDatum, len(p.sel))
	}
	for i := range p.rts {
		gatherInto(p.out.Cols[len(p.lts)+i], right.Cols[i], p.sel)
	}
	p.view = types.Batch{N: len(p.sel), Cols: p.out.Cols}
	return &p.view
}

func (p *pairing) wantsRight() bool { return p.kind == plan.RightJoin || p.kind == plan.FullJoin }

// wantsLeft reports whether left rows without a partner are shown.
func (p *pairing) wantsLeft() bool {
	return p.kind == plan.LeftJoin || p.kind == plan.FullJoin || p.kind == plan.AntiJoin
}

// readRight has take given the whole right side, and leaves the left one open; empty says whether that was nothing. first is the left side's first batch, if
// that was read before. some is false if it is settled that the join has no rows.
func (p *pairing) readRight(ctx context.Context, left, right operator, take func(*types.Batch) error, empty func() bool) (first *types.Batch, some bool, err error) {
	if !p.wantsRight() {
		if first, err = left.next(ctx); err != nil || first == nil {
			left.close()
			return nil, false, err
		}
		if err := right.open(ctx); err != nil {
			return first, false, err
		}
	}
	if err := drain(ctx, right, take); err != nil {
		return first, false, err
	}
	right.close()
	if empty() && !p.wantsLeft() {
		left.close()
		return first, false, nil
	}
	if p.wantsRight() {
		return first, true, left.open(ctx)
	}
	return first, true, nil
}
