package exec

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// aggregator computes aggregates over groups. The same code runs beside the data (partial states), above it (final), and
// alone.
type aggregator struct {
	groupBy programs
	calls   []aggCall
	table   *groupTable // nil without GROUP BY
	keys    []*types.Vec
	groups  []int32
	// plain: nothing but count(*): rows need not be decoded.
	plain bool
}

type aggCall struct {
	acc      builtin.Accumulator
	args     programs
	vecs     []*types.Vec
	filter   *expr.Program
	sel      []int32
	distinct *groupTable // over (group, args...)
	dvecs    []*types.Vec
	gvec     *types.Vec
	dgroups  []int32
	ordered  *orderedArgs
	result   types.Type
}

func newAggregator(groupBy []expr.Expr, calls []plan.AggCall) (*aggregator, error) {
	a := &aggregator{plain: len(groupBy) == 0}
	var err error
	if a.groupBy, err = compileAll(groupBy); err != nil {
		return nil, err
	}
	if len(groupBy) > 0 {
		ts := make([]types.Type, len(groupBy))
		for i, e := range groupBy {
			ts[i] = e.Type()
		}
		a.table = newGroupTable(ts)
		a.keys = make([]*types.Vec, len(groupBy))
	}
	for i := range calls {
		c, err := newAggCall(&calls[i])
		if err != nil {
			return nil, err
		}
		if len(c.args) > 0 || c.filter != nil {
			a.plain = false
		}
		a.calls = append(a.calls, c)
	}
	return a, nil
}

func newAggCall(n *plan.AggCall) (aggCall, error) {
	var c aggCall
	ts := make([]types.Type, len(n.Args))
	for i, e := range n.Args {
		ts[i] = e.Type()
	}
	c.result = n.T
	if c.acc = builtin.NewAccumulator(n.Fn, ts, n.T); c.acc == nil {
		return c, pgerr.Unsupported("aggregate function "+n.Fn.Name, "")
	}
	var err error
	if c.args, err = compileAll(n.Args); err != nil {
		return c, err
	}
	c.vecs = make([]*types.Vec, len(n.Args))
	if c.filter, err = compileOpt(n.Filter); err != nil {
		return c, err
	}
	c.sel = []int32{}
	if n.Distinct {
		c.gvec = types.NewVec(types.Of(types.Int8OID), 0)
		c.distinct = newGroupTable(append([]types.Type{types.Of(types.Int8OID)}, ts...))
		c.dvecs = make([]*types.Vec, len(ts)+1)
	}
	if len(n.OrderBy) > 0 {
		c.ordered, err = newOrderedArgs(ts, n.OrderBy)
	}
	return c, err
}

// reset forgets all rows. Without GROUP BY there is a group from the start.
func (a *aggregator) reset() {
	if a.table != nil {
		a.table.reset()
	}
	for i := range a.calls {
		c := &a.calls[i]
		c.acc.Reset()
		if a.table == nil {
			c.acc.Grow(1)
		}
		if c.distinct != nil {
			c.distinct.reset()
		}
		if c.ordered != nil {
			c.ordered.reset()
		}
	}
}

func (a *aggregator) size() int {
	if a.table == nil {
		return 1
	}
	return a.table.n
}

func (a *aggregator) memory() int64 {
	var n int64
	if a.table != nil {
		n = a.table.memory()
	}
	for i := range a.calls {
		c := &a.calls[i]
		n += c.acc.MemSize()
		if c.distinct != nil {
			n += c.distinct.memory()
		}
		if c.ordered != nil {
			n += c.ordered.memory()
		}
	}
	return n
}

// count adds n rows of which nothing is known; for plain aggregators.
func (a *aggregator) count(ctx *builtin.Context, n int) error {
	for i := range a.calls {
		if err := a.calls[i].acc.Add(ctx, nil, nil, n, nil); err != nil {
			return err
		}
	}
	return nil
}

// assign finds the groups of a batch's rows; nil without GROUP BY.
func (a *aggregator) assign(er *expr.Runtime, b *types.Batch) ([]int32, error) {
	if a.table == nil {
		return nil, nil
	}
	if err := a.groupBy.eval(er, b, a.keys); err != nil {
		return nil, err
	}
	if cap(a.groups) < b.N {
		a.groups = make([]int32, max(b.N, types.BatchSize))
	}
	groups := a.groups[:b.N]
	before := a.table.n
	a.table.find(a.keys, b.N, b.Sel, groups)
	if a.table.n != before {
		for i := range a.calls {
			a.calls[i].acc.Grow(a.table.n)
		}
	}
	return groups, nil
}

// add takes a batch of input rows.
func (a *aggregator) add(er *expr.Runtime, b *types.Batch) error {
	groups, err := a.assign(er, b)
	if err != nil {
		return err
	}
	for i := range a.calls {
		if err := a.calls[i].add(er, b, groups); err != nil {
			return err
		}
	}
	return nil
}

func (c *aggCall) add(er *expr.Runtime, b *types.Batch, groups []int32) error {
	sel := b.Sel
	if c.filter != nil {
		var err error
		if c.sel, err = c.filter.FilterSel(er, b, c.sel[:0]); err != nil {
			return err
		}
		sel = c.sel
	}
	in := b
	if c.filter != nil {
		in = &types.Batch{N: b.N, Cols: b.Cols, Sel: sel}
	}
	if err := c.args.eval(er, in, c.vecs); err != nil {
		return err
	}
	if c.distinct != nil {
		sel = c.firsts(b.N, sel, groups)
	}
	if c.ordered != nil {
		return c.ordered.add(er, in, c.vecs, sel, groups)
	}
	return c.acc.Add(er.Ctx, groups, c.vecs, b.N, sel)
}

// firsts returns the rows whose arguments their group has not had before.
func (c *aggCall) firsts(n int, sel []int32, groups []int32) []int32 {
	c.gvec.ResetSame()
	c.gvec.Resize(n)
	for i := range n {
		c.gvec.Ints[i] = 0
		if groups != nil {
			c.gvec.Ints[i] = int64(groups[i])
		}
	}
	c.dvecs[0] = c.gvec
	copy(c.dvecs[1:], c.vecs)
	if cap(c.dgroups) < n {
		c.dgroups = make([]int32, max(n, types.BatchSize))
	}
	dg := c.dgroups[:n]
	seen := int32(c.distinct.n)
	c.distinct.find(c.dvecs, n, sel, dg)
	out := make([]int32, 0, n)
	take := func(i int32) {
		if dg[i] >= seen { // new, and the first of its kind: groups are numbered as they come
			out = append(out, i)
			seen = dg[i] + 1
		}
	}
	if sel == nil {
		for i := range n {
			take(int32(i))
		}
	} else {
		for _, i := range sel {
			take(i)
		}
	}
	return out
}

// merge takes a batch of partial results: group columns, then states.
func (a *aggregator) merge(er *expr.Runtime, b *types.Batch) error {
	k := len(a.groupBy)
	var groups []int32
	if a.table != nil {
		if cap(a.groups) < b.N {
			a.groups = make([]int32, max(b.N, types.BatchSize))
		}
		groups = a.groups[:b.N]
		before := a.table.n
		a.table.find(b.Cols[:k], b.N, b.Sel, groups)
		if a.table.n != before {
			for i := range a.calls {
				a.calls[i].acc.Grow(a.table.n)
			}
		}
	}
	for i := range a.calls {
		states := b.Cols[k+i]
		for j := range b.Len() {
			row := b.Row(j)
			g := 0
			if groups != nil {
				g = int(groups[row])
			}
			if err := a.calls[i].acc.MergeState(er.Ctx, g, states.Bytes[row]); err != nil {
				return err
			}
		}
	}
	return nil
}

// partial appends the states of groups lo..hi-1 to a batch of group columns and byte columns.
func (a *aggregator) partial(lo, hi int, out *types.Batch) error {
	k := len(a.groupBy)
	for i := range k {
		s := a.table.cols[i].Slice(lo, hi)
		out.Cols[i].AppendVec(&s, nil)
	}
	for i := range a.calls {
		for g := lo; g < hi; g++ {
			st, err := a.calls[i].acc.AppendState(nil, g)
			if err != nil {
				return err
			}
			if st == nil {
				st = []byte{}
			}
			out.Cols[k+i].AppendDatum(types.NewBytes(st))
		}
	}
	out.N += hi - lo
	return nil
}

// finish is to be called once, after the last row and before results.
func (a *aggregator) finish(er *expr.Runtime) error {
	for i := range a.calls {
		if c := &a.calls[i]; c.ordered != nil {
			if err := c.ordered.feed(er.Ctx, c.acc); err != nil {
				return err
			}
		}
	}
	return nil
}

// results appends groups lo..hi-1 to a batch of group columns and results.
func (a *aggregator) results(er *expr.Runtime, lo, hi int, out *types.Batch) error {
	k := len(a.groupBy)
	for i := range k {
		s := a.table.cols[i].Slice(lo, hi)
		out.Cols[i].AppendVec(&s, nil)
	}
	for i := range a.calls {
		if err := a.calls[i].acc.Result(er.Ctx, lo, hi, out.Cols[k+i]); err != nil {
			return err
		}
	}
	out.N += hi - lo
	return nil
}

// orderedArgs keeps the arguments of an aggregate with ORDER BY until all rows are there.
type orderedArgs struct {
	nargs int
	keys  programs
	sort  []plan.SortKey
	rows  *types.Batch // group, args..., keys...
	kvecs []*types.Vec
	bytes int64
}

func newOrderedArgs(args []types.Type, by []plan.SortKey) (*orderedArgs, error) {
	o := &orderedArgs{nargs: len(args), sort: by, kvecs: make([]*types.Vec, len(by))}
	ts := append([]types.Type{types.Of(types.Int8OID)}, args...)
	for _, k := range by {
		p, err := expr.Compile(k.Expr)
		if err != nil {
			return nil, err
		}
		o.keys = append(o.keys, p)
		ts = append(ts, k.Expr.Type())
	}
	o.rows = types.NewBatch(ts, 0)
	return o, nil
}

func (o *orderedArgs) reset()        { o.rows.Reset(); o.bytes = 0 }
func (o *orderedArgs) memory() int64 { return o.bytes }

func (o *orderedArgs) add(er *expr.Runtime, b *types.Batch, args []*types.Vec, sel, groups []int32) error {
	in := &types.Batch{N: b.N, Cols: b.Cols, Sel: sel}
	if err := o.keys.eval(er, in, o.kvecs); err != nil {
		return err
	}
	for j := range in.Len() {
		row := in.Row(j)
		g := int64(0)
		if groups != nil {
			g = int64(groups[row])
		}
		o.rows.Cols[0].AppendDatum(types.NewInt(g))
		for i, v := range args {
			o.rows.Cols[1+i].AppendFrom(v, row)
			o.bytes += width(v) + variable(v, row)
		}
		for i, v := range o.kvecs {
			o.rows.Cols[1+o.nargs+i].AppendFrom(v, row)
			o.bytes += width(v) + variable(v, row)
		}
		o.rows.N++
		o.bytes += 12
	}
	return nil
}

func (o *orderedArgs) feed(ctx *builtin.Context, acc builtin.Accumulator) error {
	if o.rows.N == 0 {
		return nil
	}
	cmp := make([]sortColumn, len(o.sort))
	for i, k := range o.sort {
		cmp[i] = sortColumn{vec: o.rows.Cols[1+o.nargs+i], desc: k.Desc, nullsFirst: k.NullsFirst}
	}
	perm := sortPermutation(cmp, o.rows.N)
	groups := make([]int32, o.rows.N)
	args := make([]*types.Vec, o.nargs)
	for i := range args {
		args[i] = types.NewVec(o.rows.Cols[1+i].Type, 0)
		args[i].CopyFrom(o.rows.Cols[1+i], perm)
	}
	for i, r := range perm {
		groups[i] = int32(o.rows.Cols[0].Ints[r])
	}
	return acc.Add(ctx, groups, args, o.rows.N, nil)
}
