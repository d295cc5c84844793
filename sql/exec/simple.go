package exec

import (
	"context"
	"sort"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// values yields rows of expressions.
type values struct {
	in    *instance
	lists []programs
	ts    []types.Type
	at    int
	out   *types.Batch
}

func newValues(in *instance, n *plan.Values) (operator, error) {
	v := &values{in: in, ts: fieldTypes(n.Out)}
	for _, l := range n.Lists {
		ps, err := compileAll(l)
		if err != nil {
			return nil, err
		}
		v.lists = append(v.lists, ps)
	}
	v.out = types.NewBatch(v.ts, min(len(n.Lists), types.BatchSize))
	return v, nil
}

func (v *values) open(context.Context) error { v.at = 0; return nil }

func (v *values) next(context.Context) (*types.Batch, error) {
	if v.at == len(v.lists) {
		return nil, nil
	}
	v.out.Reset()
	for ; v.at < len(v.lists) && v.out.N < types.BatchSize; v.at++ {
		for i, p := range v.lists[v.at] {
			d, err := p.EvalRow(&v.in.er, nil, 0)
			if err != nil {
				return nil, err
			}
			v.out.Cols[i].AppendDatum(d)
		}
		v.out.N++
	}
	return v.out, nil
}

func (v *values) close() {}

// filter keeps the rows for which a condition is true.
type filter struct {
	in   *instance
	src  operator
	cond *expr.Program
	out  types.Batch
	sel  []int32
}

func newFilter(in *instance, n *plan.Filter) (operator, error) {
	src, err := in.build(n.Input)
	if err != nil {
		return nil, err
	}
	cond, err := expr.Compile(n.Cond)
	return &filter{in: in, src: src, cond: cond, sel: make([]int32, 0, 16)}, err
}

func (f *filter) open(ctx context.Context) error { return f.src.open(ctx) }
func (f *filter) close()                         { f.src.close() }

func (f *filter) next(ctx context.Context) (*types.Batch, error) {
	for {
		b, err := f.src.next(ctx)
		if err != nil || b == nil {
			return nil, err
		}
		if f.sel, err = f.cond.FilterSel(&f.in.er, b, f.sel[:0]); err != nil {
			return nil, err
		}
		if len(f.sel) > 0 {
			f.out = types.Batch{N: b.N, Cols: b.Cols, Sel: f.sel}
			return &f.out, nil
		}
	}
}

// project computes expressions. Where one fails for a row, the rows before it come first: their reader may want no more.
type project struct {
	in  *instance
	src operator
	ps  programs
	out types.Batch
	// again: computing a row twice is the same as computing it once.
	again  bool
	failed error // of the row after those that have been shown
	sel    []int32
}

func newProject(in *instance, n *plan.Project) (operator, error) {
	src, err := in.build(n.Input)
	if err != nil {
		return nil, err
	}
	for _, e := range n.Exprs {
		if c, ok := e.(*expr.Call); ok && c.Fn.ReturnsSet {
			return newProjectSet(in, n, src)
		}
	}
	ps, err := compileAll(n.Exprs)
	again := true
	for _, e := range n.Exprs {
		again = again && expr.Volatility(e) != 'v'
		expr.Walk(e, func(e expr.Expr) bool {
			if _, sub := e.(*expr.Subplan); sub {
				again = false
			}
			return again
		})
	}
	return &project{in: in, src: src, ps: ps, out: types.Batch{Cols: make([]*types.Vec, len(ps))}, again: again}, err
}

func (p *project) open(ctx context.Context) error {
	p.failed = nil
	return p.src.open(ctx)
}

func (p *project) close() { p.src.close() }

func (p *project) next(ctx context.Context) (*types.Batch, error) {
	if p.failed != nil {
		return nil, p.failed
	}
	b, err := p.src.next(ctx)
	if err != nil || b == nil {
		return nil, err
	}
	if err := p.ps.eval(&p.in.er, b, p.out.Cols); err != nil {
		if _, ok := pgerr.As(err); !ok || !p.again || ctx.Err() != nil {
			return nil, err
		}
		return p.upTo(b, err)
	}
	p.out.N, p.out.Sel = b.N, b.Sel
	return &p.out, nil
}

// upTo returns the rows of b before the first one that fails.
func (p *project) upTo(b *types.Batch, failed error) (*types.Batch, error) {
	p.sel = p.sel[:0]
	for i := range b.Len() {
		p.sel = append(p.sel, int32(b.Row(i)))
	}
	part := types.Batch{N: b.N, Cols: b.Cols}
	n := sort.Search(len(p.sel), func(n int) bool {
		part.Sel = p.sel[:n+1]
		return p.ps.eval(&p.in.er, &part, p.out.Cols) != nil
	})
	if n == 0 {
		return nil, failed
	}
	part.Sel = p.sel[:n]
	if err := p.ps.eval(&p.in.er, &part, p.out.Cols); err != nil {
		return nil, err
	}
	p.failed = failed
	p.out.N, p.out.Sel = b.N, part.Sel
	return &p.out, nil
}

// limit passes a run of rows.
type limit struct {
	in            *instance
	src           operator
	count, offset *expr.Program
	skip, left    int64
	all           bool
	out           types.Batch
	sel           []int32
}

func newLimit(in *instance, n *plan.Limit) (operator, error) {
	src, err := in.build(n.Input)
	if err != nil {
		return nil, err
	}
	l := &limit{in: in, src: src}
	if l.count, err = compileOpt(n.Count); err != nil {
		return nil, err
	}
	l.offset, err = compileOpt(n.Offset)
	return l, err
}

// rowCount evaluates a LIMIT or OFFSET; ok is false for NULL.
func rowCount(er *expr.Runtime, p *expr.Program, what, code string) (n int64, ok bool, err error) {
	d, err := p.EvalRow(er, nil, 0)
	if err != nil || d.Null {
		return 0, false, err
	}
	if d.I < 0 {
		return 0, false, pgerr.New(code, "%s must not be negative", what)
	}
	return d.I, true, nil
}

func (l *limit) open(ctx context.Context) error {
	l.skip, l.left, l.all = 0, 0, true
	if l.count != nil {
		n, ok, err := rowCount(&l.in.er, l.count, "LIMIT", "2201W")
		if err != nil {
			return err
		}
		l.left, l.all = n, !ok
	}
	if l.offset != nil {
		n, _, err := rowCount(&l.in.er, l.offset, "OFFSET", "2201X")
		if err != nil {
			return err
		}
		l.skip = n
	}
	return l.src.open(ctx)
}

func (l *limit) close() { l.src.close() }

func (l *limit) next(ctx context.Context) (*types.Batch, error) {
	for l.all || l.left > 0 {
		b, err := l.src.next(ctx)
		if err != nil || b == nil {
			return nil, err
		}
		n := int64(b.Len())
		if l.skip >= n {
			l.skip -= n
			continue
		}
		from, to := l.skip, n
		l.skip = 0
		if !l.all {
			to = min(to, from+l.left)
			l.left -= to - from
		}
		if from == 0 && to == n {
			return b, nil
		}
		l.out = types.Batch{N: b.N, Cols: b.Cols}
		if b.Sel != nil {
			l.out.Sel = b.Sel[from:to]
		} else {
			l.sel = l.sel[:0]
			for i := from; i < to; i++ {
				l.sel = append(l.sel, int32(i))
			}
			l.out.Sel = l.sel
		}
		return &l.out, nil
	}
	return nil, nil
}

// appendOp yields the rows of all inputs, one input after the other.
type appendOp struct {
	srcs  []operator
	at    int
	open_ bool
}

func newAppend(in *instance, n *plan.Append) (operator, error) {
	srcs, err := in.buildAll(n.Inputs...)
	return &appendOp{srcs: srcs}, err
}

func (a *appendOp) open(context.Context) error { a.at, a.open_ = 0, false; return nil }

func (a *appendOp) next(ctx context.Context) (*types.Batch, error) {
	for a.at < len(a.srcs) {
		if !a.open_ {
			if err := a.srcs[a.at].open(ctx); err != nil {
				return nil, err
			}
			a.open_ = true
		}
		b, err := a.srcs[a.at].next(ctx)
		if err != nil || b != nil {
			return b, err
		}
		a.srcs[a.at].close()
		a.at, a.open_ = a.at+1, false
	}
	return nil, nil
}

func (a *appendOp) close() {
	for _, s := range a.srcs {
		s.close()
	}
}

// virtualScan reads a virtual table.
type virtualScan struct {
	in   *instance
	n    *plan.VirtualScan
	eq   []*expr.Program
	cond *expr.Program
	rows VirtualRows
	out  *types.Batch
	res  types.Batch
	sel  []int32
}

func newVirtualScan(in *instance, n *plan.VirtualScan) (operator, error) {
	v := &virtualScan{in: in, n: n, out: types.NewBatch(columnTypes(n.Table.Columns, n.Columns), 0), sel: []int32{}}
	for _, e := range n.Eq {
		p, err := expr.Compile(e.Value)
		if err != nil {
			return nil, err
		}
		v.eq = append(v.eq, p)
	}
	var err error
	v.cond, err = compileOpt(n.Filter)
	return v, err
}

func (v *virtualScan) open(ctx context.Context) error {
	if v.in.rt.Virtual == nil {
		return pgerr.New(pgerr.FeatureNotSupported, "relation \"%s\" cannot be read here", v.n.Table.Name)
	}
	eq := make([]VirtualEq, len(v.eq))
	for i, p := range v.eq {
		d, err := p.EvalRow(&v.in.er, nil, 0)
		if err != nil {
			return err
		}
		eq[i] = VirtualEq{Column: v.n.Eq[i].Column, Value: d}
	}
	var err error
	v.rows, err = v.in.rt.Virtual.Rows(ctx, v.in.rt, v.n.Table, v.n.Columns, eq)
	return err
}

func (v *virtualScan) close() { v.rows = nil }

func (v *virtualScan) next(ctx context.Context) (*types.Batch, error) {
	for {
		v.out.Reset()
		n, err := v.rows.Next(ctx, v.out.Cols, types.BatchSize)
		if err != nil || n == 0 {
			return nil, err
		}
		v.out.N = n
		if v.cond == nil {
			return v.out, nil
		}
		if v.sel, err = v.cond.FilterSel(&v.in.er, v.out, v.sel[:0]); err != nil {
			return nil, err
		}
		if len(v.sel) > 0 {
			v.res = types.Batch{N: n, Cols: v.out.Cols, Sel: v.sel}
			return &v.res, nil
		}
	}
}

// functionScan is a set-returning function in FROM; a function that returns no set gives one row.
type functionScan struct {
	in         *instance
	n          *plan.FunctionScan
	kernel     builtin.SetKernel
	args       programs
	scalar     *expr.Program
	rows       builtin.RowSource
	out        *types.Batch
	done       bool
	ordinality int64
}

func newFunctionScan(in *instance, n *plan.FunctionScan) (operator, error) {
	f := &functionScan{in: in, n: n, out: types.NewBatch(fieldTypes(n.Out), 0)}
	args, err := compileAll(n.Args)
	if err != nil {
		return nil, err
	}
	f.args = args
	ts := make([]types.Type, len(n.Args))
	for i, a := range n.Args {
		ts[i] = a.Type()
	}
	cols := len(n.Out)
	if n.Ordinality {
		cols--
	}
	if !n.Fn.ReturnsSet {
		f.scalar, err = expr.Compile(expr.NewCall(n.Fn, n.Out[0].Type, n.Args...))
		return f, err
	}
	result := types.Of(n.Fn.Result)
	if cols == 1 {
		result = n.Out[0].Type
	}
	f.kernel, _, _ = builtin.SetReturning(n.Fn, ts, result)
	if f.kernel == nil {
		return nil, pgerr.Unsupported("function "+n.Fn.Name, "")
	}
	return f, nil
}

func (f *functionScan) open(context.Context) error {
	f.done, f.ordinality, f.rows = false, 0, nil
	if f.scalar != nil {
		return nil
	}
	var err error
	f.rows, err = startSet(&f.in.er, f.n.Fn, f.kernel, f.args, f.n.Args, nil, 0)
	f.done = f.rows == nil
	return err
}

// startSet evaluates the arguments on a row and starts the function; nil if a strict one has a NULL argument.
func startSet(er *expr.Runtime, fn *builtin.Function, k builtin.SetKernel, args programs, es []expr.Expr, b *types.Batch, row int) (builtin.RowSource, error) {
	ds, ts := make([]types.Datum, len(args)), make([]types.Type, len(args))
	for i, p := range args {
		d, err := p.EvalRow(er, b, row)
		if err != nil {
			return nil, err
		}
		if d.Null && fn.Strict {
			return nil, nil
		}
		ds[i], ts[i] = d.Clone(), es[i].Type()
	}
	return k(er.Ctx, ds, ts)
}

func (f *functionScan) close() { f.rows = nil }

func (f *functionScan) next(context.Context) (*types.Batch, error) {
	if f.done {
		return nil, nil
	}
	f.out.Reset()
	cols := f.out.Cols
	if f.n.Ordinality {
		cols = cols[:len(cols)-1]
	}
	n := 1
	if f.scalar != nil {
		f.done = true
		d, err := f.scalar.EvalRow(&f.in.er, nil, 0)
		if err != nil {
			return nil, err
		}
		cols[0].AppendDatum(d)
	} else {
		var err error
		n, err = f.rows.Next(f.in.er.Ctx, cols, types.BatchSize)
		if err != nil || n == 0 {
			f.done = true
			return nil, err
		}
	}
	f.out.N = n
	if f.n.Ordinality {
		for range n {
			f.ordinality++
			f.out.Cols[len(cols)].AppendDatum(types.NewInt(f.ordinality))
		}
	}
	return f.out, nil
}
