package exec

import (
	"context"

	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// window computes window functions: rows are sorted by partition and order, and each partition is
// held in memory while its functions are computed. The frame is SQL's default: from the partition's first row to
// the last peer of the current one.
type window struct {
	in    *instance
	n     *plan.Window
	src   operator
	sort  *sorter
	calls []*windowCall
	npart int
	acct  account

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

// windowFunc computes a call over a partition. args[i] has a value per row; peers[i] is the first row of row i's peer group
// and ends[i] the row after its last.
type windowFunc func(w *windowPart, args []*types.Vec, out *types.Vec) error

type windowPart struct {
	n           int
	peers, ends []int32
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
	wp := &windowPart{n: p.N, peers: make([]int32, p.N), ends: make([]int32, p.N)}
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

// running computes an aggregate up to the end of each row's peer group.
func (c *windowCall) running(er *expr.Runtime, w *windowPart, input *types.Batch, out *types.Vec) error {
	c.agg.reset()
	for lo := 0; lo < w.n; {
		hi := int(w.ends[lo])
		sel := make([]int32, 0, hi-lo)
		for i := lo; i < hi; i++ {
			sel = append(sel, int32(i))
		}
		if err := c.agg.add(er, &types.Batch{N: w.n, Cols: input.Cols, Sel: sel}); err != nil {
			return err
		}
		one := types.NewVec(c.n.T, 1)
		if err := c.agg.calls[0].acc.Result(er.Ctx, 0, 1, one); err != nil {
			return err
		}
		for range hi - lo {
			out.AppendFrom(one, 0)
		}
		lo = hi
	}
	return nil
}

var windowFuncs = map[string]windowFunc{
	"row_number": func(w *windowPart, _ []*types.Vec, out *types.Vec) error {
		for i := range w.n {
			out.AppendDatum(types.NewInt(int64(i + 1)))
		}
		return nil
	},
	"rank": func(w *windowPart, _ []*types.Vec, out *types.Vec) error {
		for i := range w.n {
			out.AppendDatum(types.NewInt(int64(w.peers[i]) + 1))
		}
		return nil
	},
	"dense_rank": func(w *windowPart, _ []*types.Vec, out *types.Vec) error {
		rank := int64(0)
		for i := range w.n {
			if int(w.peers[i]) == i {
				rank++
			}
			out.AppendDatum(types.NewInt(rank))
		}
		return nil
	},
	"percent_rank": func(w *windowPart, _ []*types.Vec, out *types.Vec) error {
		for i := range w.n {
			f := 0.0
			if w.n > 1 {
				f = float64(w.peers[i]) / float64(w.n-1)
			}
			out.AppendDatum(types.NewFloat(f))
		}
		return nil
	},
	"cume_dist": func(w *windowPart, _ []*types.Vec, out *types.Vec) error {
		for i := range w.n {
			out.AppendDatum(types.NewFloat(float64(w.ends[i]) / float64(w.n)))
		}
		return nil
	},
	"ntile": func(w *windowPart, args []*types.Vec, out *types.Vec) error {
		if args[0].IsNull(0) {
			for range w.n {
				out.AppendNull()
			}
			return nil
		}
		k := args[0].Ints[0]
		if k <= 0 {
			return pgerr.New("22014", "argument of ntile must be greater than zero")
		}
		size, extra := int64(w.n)/k, int64(w.n)%k
		for i := range int64(w.n) {
			tile := int64(0)
			if first := extra * (size + 1); i < first {
				tile = i / (size + 1)
			} else {
				tile = extra + (i-first)/size
			}
			out.AppendDatum(types.NewInt(tile + 1))
		}
		return nil
	},
	"lag":  func(w *windowPart, args []*types.Vec, out *types.Vec) error { return shifted(w, args, out, -1) },
	"lead": func(w *windowPart, args []*types.Vec, out *types.Vec) error { return shifted(w, args, out, 1) },
	"first_value": func(w *windowPart, args []*types.Vec, out *types.Vec) error {
		for range w.n {
			out.AppendFrom(args[0], 0)
		}
		return nil
	},
	"last_value": func(w *windowPart, args []*types.Vec, out *types.Vec) error {
		for i := range w.n {
			out.AppendFrom(args[0], int(w.ends[i])-1)
		}
		return nil
	},
	"nth_value": func(w *windowPart, args []*types.Vec, out *types.Vec) error {
		for i := range w.n {
			if args[1].IsNull(i) {
				out.AppendNull()
				continue
			}
			k := args[1].Ints[i]
			if k <= 0 {
				return pgerr.New("22016", "argument of nth_value must be greater than zero")
			}
			if k > int64(w.ends[i]) {
				out.AppendNull()
			} else {
				out.AppendFrom(args[0], int(k-1))
			}
		}
		return nil
	},
}

// shifted is lag and lead: value, distance (1), default (NULL).
func shifted(w *windowPart, args []*types.Vec, out *types.Vec, sign int64) error {
	for i := range w.n {
		by := int64(1)
		if len(args) > 1 {
			if args[1].IsNull(i) {
				out.AppendNull()
				continue
			}
			by = args[1].Ints[i]
		}
		at := int64(i) + sign*by
		switch {
		case at >= 0 && at < int64(w.n):
			out.AppendFrom(args[0], int(at))
		case len(args) > 2:
			out.AppendFrom(args[2], i)
		default:
			out.AppendNull()
		}
	}
	return nil
}
