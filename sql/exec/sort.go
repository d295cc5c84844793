package exec

import (
	"container/heap"
	"context"
	"slices"

	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// sortColumn is a column to order by.
type sortColumn struct {
	vec              *types.Vec
	desc, nullsFirst bool
}

func (c *sortColumn) compare(i, j int) int {
	v := c.vec
	if v.HasNulls && (v.Nulls[i] || v.Nulls[j]) {
		return types.CompareVec(v, i, v, j, c.nullsFirst)
	}
	r := types.CompareVec(v, i, v, j, false)
	if c.desc {
		return -r
	}
	return r
}

// sortPermutation returns the order of n rows. It is stable.
func sortPermutation(cols []sortColumn, n int) []int32 {
	perm := make([]int32, n)
	for i := range perm {
		perm[i] = int32(i)
	}
	if len(cols) == 1 && !cols[0].vec.HasNulls && cols[0].vec.Repr == types.ReprInt && cols[0].vec.Type.OID != types.CharOID {
		xs, desc := cols[0].vec.Ints, cols[0].desc
		slices.SortStableFunc(perm, func(a, b int32) int {
			x, y := xs[a], xs[b]
			if desc {
				x, y = y, x
			}
			switch {
			case x < y:
				return -1
			case x > y:
				return 1
			}
			return 0
		})
		return perm
	}
	compare := func(a, b int32) int {
		for i := range cols {
			if c := cols[i].compare(int(a), int(b)); c != 0 {
				return c
			}
		}
		return 0
	}
	if !slices.IsSortedFunc(perm, compare) { // rows often come in order, from an index
		slices.SortStableFunc(perm, compare)
	}
	return perm
}

// compareRows orders rows of two batches by key columns at these positions.
func compareRows(keys []plan.SortKey, base int, a *types.Batch, i int, b *types.Batch, j int) int {
	for k := range keys {
		x, y := a.Cols[base+k], b.Cols[base+k]
		if x.IsNull(i) || y.IsNull(j) {
			if c := types.CompareVec(x, i, y, j, keys[k].NullsFirst); c != 0 {
				return c
			}
			continue
		}
		c := types.CompareVec(x, i, y, j, false)
		if keys[k].Desc {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}

// sorter orders rows within a budget: rows are collected in memory; when the budget says no, they are sorted and
// written out as a run; at the end the runs are merged.
type sorter struct {
	in   *instance
	keys []plan.SortKey
	ps   programs
	n    int // columns of the input; the keys come after them
	ts   []types.Type
	kv   []*types.Vec
	top  int64 // rows wanted, -1 = all

	rows  *types.Batch
	bytes int64
	acct  account
	runs  []*spillFile
	perm  []int32
	at    int
	merge *merger
	out   *types.Batch
	spilt int64
}

func newSorter(in *instance, ts []types.Type, ks []plan.SortKey) (*sorter, error) {
	s := &sorter{in: in, keys: ks, n: len(ts), ts: slices.Clone(ts), top: -1}
	for i := range ks {
		p, err := expr.Compile(ks[i].Expr)
		if err != nil {
			return nil, err
		}
		s.ps = append(s.ps, p)
		s.ts = append(s.ts, ks[i].Expr.Type())
	}
	s.kv = make([]*types.Vec, len(ks))
	return s, nil
}

func (s *sorter) reset() {
	s.close()
	s.acct.b = s.in.budget
	s.rows = types.NewBatch(s.ts, 0)
	s.perm, s.at, s.spilt, s.bytes = nil, 0, 0, 0
	s.out = nil
}

func (s *sorter) close() {
	for _, r := range s.runs {
		r.close()
	}
	s.runs, s.merge, s.rows, s.perm, s.out = nil, nil, nil, nil, nil
	s.acct.close()
}

// add takes rows.
func (s *sorter) add(b *types.Batch) error {
	if err := s.ps.eval(&s.in.er, b, s.kv); err != nil {
		return err
	}
	full := types.Batch{N: b.N, Sel: b.Sel, Cols: append(append(make([]*types.Vec, 0, len(s.ts)), b.Cols[:s.n]...), s.kv...)}
	appendBatch(s.rows, &full)
	var size int64
	for _, c := range full.Cols {
		size += width(c) * int64(b.Len())
		if c.Repr == types.ReprBytes || c.Repr == types.ReprAny {
			for i := range b.Len() {
				size += variable(c, b.Row(i))
			}
		}
	}
	s.bytes += size + int64(b.Len())*4
	if s.top >= 0 && int64(s.rows.N) > 2*s.top+types.BatchSize {
		s.cut()
	}
	if s.acct.try(s.bytes) {
		return nil
	}
	if s.in.rt.TempDir == "" {
		return s.acct.set(s.bytes)
	}
	if err := s.spill(); err != nil {
		return err
	}
	return nil
}

// cut keeps the first top rows.
func (s *sorter) cut() {
	perm := s.order()
	if int64(len(perm)) > s.top {
		perm = perm[:s.top]
	}
	kept := types.NewBatch(s.ts, len(perm))
	before := max(s.rows.N, 1)
	appendBatch(kept, &types.Batch{N: s.rows.N, Cols: s.rows.Cols, Sel: perm})
	s.rows = kept
	s.bytes = s.bytes * int64(len(perm)) / int64(before)
}

func (s *sorter) order() []int32 {
	cols := make([]sortColumn, len(s.keys))
	for i := range cols {
		cols[i] = sortColumn{vec: s.rows.Cols[s.n+i], desc: s.keys[i].Desc, nullsFirst: s.keys[i].NullsFirst}
	}
	return sortPermutation(cols, s.rows.N)
}

func (s *sorter) spill() error {
	if s.rows.N == 0 {
		return nil
	}
	perm := s.order()
	f, err := newSpillFile(s.in.rt.TempDir)
	if err != nil {
		return err
	}
	s.runs = append(s.runs, f)
	for lo := 0; lo < len(perm); lo += types.BatchSize {
		hi := min(lo+types.BatchSize, len(perm))
		if err := f.write(&types.Batch{N: s.rows.N, Cols: s.rows.Cols, Sel: perm[lo:hi]}); err != nil {
			return err
		}
	}
	s.spilt += f.bytes
	s.rows = types.NewBatch(s.ts, 0)
	s.bytes = 0
	s.acct.close()
	return nil
}

// maxFanIn bounds how many runs are merged at a time: each takes a buffer.
const maxFanIn = 64

// finish ends the input.
func (s *sorter) finish() error {
	if len(s.runs) == 0 {
		s.perm = s.order()
		return nil
	}
	if err := s.spill(); err != nil {
		return err
	}
	for len(s.runs) > maxFanIn {
		group := s.runs[:maxFanIn]
		m, err := newMerger(s.keys, s.n, group)
		if err != nil {
			return err
		}
		f, err := newSpillFile(s.in.rt.TempDir)
		if err != nil {
			return err
		}
		for {
			b := types.NewBatch(s.ts, types.BatchSize)
			if err := m.fill(b); err != nil {
				f.close()
				return err
			}
			if b.N == 0 {
				break
			}
			if err := f.write(b); err != nil {
				f.close()
				return err
			}
		}
		for _, g := range group {
			g.close()
		}
		s.runs = append(slices.Clone(s.runs[maxFanIn:]), f)
	}
	var err error
	s.merge, err = newMerger(s.keys, s.n, s.runs)
	return err
}

// next returns the next rows in order, keys included, or nil.
func (s *sorter) next() (*types.Batch, error) {
	if s.out == nil {
		s.out = types.NewBatch(s.ts, 0)
	}
	s.out.Reset()
	if s.merge != nil {
		if err := s.merge.fill(s.out); err != nil || s.out.N == 0 {
			return nil, err
		}
		return s.out, nil
	}
	if s.at >= len(s.perm) {
		return nil, nil
	}
	hi := min(s.at+types.BatchSize, len(s.perm))
	appendBatch(s.out, &types.Batch{N: s.rows.N, Cols: s.rows.Cols, Sel: s.perm[s.at:hi]})
	s.at = hi
	return s.out, nil
}

// merger merges sorted runs. Equal rows come in the order of the runs.
type merger struct {
	keys []plan.SortKey
	base int
	src  []*mergeSource
}

type mergeSource struct {
	r     *spillReader
	b     *types.Batch
	row   int
	index int
}

func newMerger(keys []plan.SortKey, base int, runs []*spillFile) (*merger, error) {
	m := &merger{keys: keys, base: base}
	for i, f := range runs {
		r, err := f.reader()
		if err != nil {
			return nil, err
		}
		b, err := r.next()
		if err != nil {
			return nil, err
		}
		if b != nil && b.N > 0 {
			m.src = append(m.src, &mergeSource{r: r, b: b, index: i})
		}
	}
	heap.Init(m)
	return m, nil
}

func (m *merger) Len() int { return len(m.src) }
func (m *merger) Less(i, j int) bool {
	a, b := m.src[i], m.src[j]
	if c := compareRows(m.keys, m.base, a.b, a.row, b.b, b.row); c != 0 {
		return c < 0
	}
	return a.index < b.index
}
func (m *merger) Swap(i, j int) { m.src[i], m.src[j] = m.src[j], m.src[i] }
func (m *merger) Push(x any)    { m.src = append(m.src, x.(*mergeSource)) }
func (m *merger) Pop() any {
	x := m.src[len(m.src)-1]
	m.src = m.src[:len(m.src)-1]
	return x
}

func (m *merger) fill(out *types.Batch) error {
	for out.N < types.BatchSize && len(m.src) > 0 {
		s := m.src[0]
		appendRow(out, s.b, s.row)
		if s.row++; s.row == s.b.N {
			b, err := s.r.next()
			if err != nil {
				return err
			}
			if b == nil || b.N == 0 {
				heap.Pop(m)
				continue
			}
			s.b, s.row = b, 0
		}
		heap.Fix(m, 0)
	}
	return nil
}

// sortOp is ORDER BY.
type sortOp struct {
	in   *instance
	n    *plan.Sort
	src  operator
	s    *sorter
	topN *expr.Program
	read bool
	left int64
	out  types.Batch
}

func newSort(in *instance, n *plan.Sort) (operator, error) {
	src, err := in.build(n.Input)
	if err != nil {
		return nil, err
	}
	o := &sortOp{in: in, n: n, src: src}
	if o.s, err = newSorter(in, fieldTypes(n.Input.Fields()), n.Keys); err != nil {
		return nil, err
	}
	o.topN, err = compileOpt(n.TopN)
	return o, err
}

func (o *sortOp) open(ctx context.Context) error {
	o.s.reset()
	o.s.top, o.left, o.read = -1, -1, false
	if o.topN != nil {
		n, ok, err := rowCount(&o.in.er, o.topN, "LIMIT", "2201W")
		if err != nil {
			return err
		}
		if ok {
			o.s.top, o.left = n, n
		}
	}
	return o.src.open(ctx)
}

func (o *sortOp) close() { o.s.close(); o.src.close() }

func (o *sortOp) next(ctx context.Context) (*types.Batch, error) {
	if !o.read {
		o.read = true
		if err := drain(ctx, o.src, o.s.add); err != nil {
			return nil, err
		}
		o.src.close()
		if err := o.s.finish(); err != nil {
			return nil, err
		}
		if st := o.in.stats(o.n); st != nil {
			st.Spilled += o.s.spilt
			st.Memory = max(st.Memory, o.s.acct.held)
		}
	}
	if o.left == 0 {
		return nil, nil
	}
	b, err := o.s.next()
	if err != nil || b == nil {
		return nil, err
	}
	o.out = types.Batch{N: b.N, Cols: b.Cols[:o.s.n]}
	if o.left >= 0 {
		o.out.N = int(min(int64(o.out.N), o.left))
		o.left -= int64(o.out.N)
		if o.out.N < b.N {
			truncate(b, o.out.N)
		}
	}
	return &o.out, nil
}
