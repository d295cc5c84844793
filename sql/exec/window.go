package exec

import (
	"context"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// window computes window functions: rows are sorted by partition and order, and each partition is
// held in memory while its functions are computed.
type window struct {
	in    *instance
	n     *plan.Window
	src   operator
	sort  *sorter
	calls []*windowCall
	npart int
	acct  account

	frame *frame
	read  bool
	rest  *types.Batch // sorted rows not yet in a partition
	at    int
	part  *types.Batch
	res   []*types.Vec
	shown int
	out   *types.Batch
}

type windowCall struct {
	n    *plan.AggCall
	args programs
	// fn computes a function that is no aggregate.
	fn  windowFunc
	agg *aggregator
}

// windowFunc computes a call over a partition; args[i] has a value per row.
type windowFunc func(w *windowPart, args []*types.Vec, out *types.Vec) error

// windowPart is a partition of n rows: peers[i] is the first row of row i's peer group and ends[i] the row after its last.
type windowPart struct {
	n           int
	peers, ends []int32
	frame       *frame
}

func newWindow(in *instance, n *plan.Window) (operator, error) {
	src, err := in.build(n.Input)
	if err != nil {
		return nil, err
	}
	w := &window{in: in, n: n, src: src, npart: len(n.PartitionBy)}
	var ks []plan.SortKey
	for _, e := range n.PartitionBy {
		ks = append(ks, plan.SortKey{Expr: e})
	}
	ks = append(ks, n.OrderBy...)
	ts := fieldTypes(n.Input.Fields())
	if w.sort, err = newSorter(in, ts, ks); err != nil {
		return nil, err
	}
	if w.frame, err = newFrame(n.Frame); err != nil {
		return nil, err
	}
	outTs := ts
	for i := range n.Calls {
		c := &windowCall{n: &n.Calls[i]}
		outTs = append(outTs, c.n.T)
		if c.args, err = compileAll(c.n.Args); err != nil {
			return nil, err
		}
		if c.n.Fn.Kind == 'w' {
			if c.fn = windowFuncs[c.n.Fn.Name]; c.fn == nil {
				return nil, pgerr.Unsupported("window function "+c.n.Fn.Name, "")
			}
		} else if c.agg, err = newAggregator(nil, n.Calls[i:i+1]); err != nil {
			return nil, err
		}
		w.calls = append(w.calls, c)
	}
	w.out = types.NewBatch(outTs, 0)
	return w, nil
}

func (w *window) open(ctx context.Context) error {
	w.sort.reset()
	w.acct.close()
	w.acct.b = w.in.budget
	w.read, w.rest, w.part, w.shown = false, nil, nil, 0
	if err := w.frame.begin(&w.in.er); err != nil {
		return err
	}
	return w.src.open(ctx)
}

func (w *window) close() {
	w.sort.close()
	w.acct.close()
	w.src.close()
	w.part, w.rest = nil, nil
}

func (w *window) next(ctx context.Context) (*types.Batch, error) {
	if !w.read {
		w.read = true
		if err := drain(ctx, w.src, w.sort.add); err != nil {
			return nil, err
		}
		w.src.close()
		if err := w.sort.finish(); err != nil {
			return nil, err
		}
	}
	if w.part == nil || w.shown == w.part.N {
		ok, err := w.nextPartition(ctx)
		if err != nil || !ok {
			return nil, err
		}
	}
	hi := min(w.shown+types.BatchSize, w.part.N)
	w.out.Reset()
	for i := range w.sort.n {
		s := w.part.Cols[i].Slice(w.shown, hi)
		w.out.Cols[i].AppendVec(&s, nil)
	}
	for i, r := range w.res {
		s := r.Slice(w.shown, hi)
		w.out.Cols[w.sort.n+i].AppendVec(&s, nil)
	}
	w.out.N = hi - w.shown
	w.shown = hi
	return w.out, nil
}

// same reports whether two sorted rows agree in the first k keys.
func (w *window) same(a *types.Batch, i int, b *types.Batch, j, k int) bool {
	for c := range k {
		if !types.EqualVec(a.Cols[w.sort.n+c], i, b.Cols[w.sort.n+c], j) {
			return false
		}
	}
	return true
}

func (w *window) nextPartition(ctx context.Context) (bool, error) {
	p := types.NewBatch(w.sort.ts, 0)
	for {
		if w.rest == nil || w.at == w.rest.N {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			var err error
			if w.rest, err = w.sort.next(); err != nil {
				return false, err
			}
			w.at = 0
			if w.rest == nil {
				break
			}
		}
		if p.N > 0 && !w.same(p, p.N-1, w.rest, w.at, w.npart) {
			break
		}
		appendRow(p, w.rest, w.at)
		w.at++
		if p.N%types.BatchSize == 0 {
			if err := w.acct.set(batchSize(p)); err != nil {
				return false, err
			}
		}
	}
	if p.N == 0 {
		return false, nil
	}
	w.part, w.shown = p, 0
	return true, w.compute()
}

func (w *window) compute() error {
	p := w.part
	wp := &windowPart{n: p.N, peers: make([]int32, p.N), ends: make([]int32, p.N), frame: w.frame}
	all := w.npart + len(w.n.OrderBy)
	for i := 1; i < p.N; i++ {
		wp.peers[i] = wp.peers[i-1]
		if len(w.n.OrderBy) > 0 && !w.same(p, i-1, p, i, all) {
			wp.peers[i] = int32(i)
		}
	}
	end := int32(p.N)
	for i := p.N - 1; i >= 0; i-- {
		wp.ends[i] = end
		if int(wp.peers[i]) == i {
			end = int32(i)
		}
	}
	w.frame.lay(wp)
	input := &types.Batch{N: p.N, Cols: p.Cols[:w.sort.n]}
	w.res = w.res[:0]
	for _, c := range w.calls {
		out := types.NewVec(c.n.T, p.N)
		if c.agg != nil {
			if err := c.running(&w.in.er, wp, input, out); err != nil {
				return err
			}
		} else {
			args := make([]*types.Vec, len(c.args))
			if err := c.args.eval(&w.in.er, input, args); err != nil {
				return err
			}
			if err := c.fn(wp, args, out); err != nil {
				return err
			}
		}
		w.res = append(w.res, out)
	}
	return w.acct.set(batchSize(p))
}
