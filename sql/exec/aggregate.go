package exec

import (
	"context"

	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// aggregate is GROUP BY, in memory. Beyond the budget the input's rows are divided by the hash of their group over spill files,
// and each file is aggregated by itself afterwards.
type aggregate struct {
	in    *instance
	n     *plan.Aggregate
	src   operator
	agg   *aggregator
	acct  account
	read  bool
	at    int
	out   *types.Batch
	inTs  []types.Type
	parts *partitions
	todo  []*spillFile
	depth int
	level []int // depth of each file in todo
}

func newAggregate(in *instance, n *plan.Aggregate) (operator, error) {
	src, err := in.build(n.Input)
	if err != nil {
		return nil, err
	}
	agg, err := newAggregator(n.GroupBy, n.Calls)
	if err != nil {
		return nil, err
	}
	var outTs []types.Type
	for _, e := range n.GroupBy {
		outTs = append(outTs, e.Type())
	}
	for i := range n.Calls {
		outTs = append(outTs, n.Calls[i].T)
	}
	a := &aggregate{in: in, n: n, src: src, agg: agg, out: types.NewBatch(outTs, 0)}
	a.inTs = fieldTypes(n.Input.Fields())
	if n.Final { // group columns, then states, whatever the scan's fields say
		a.inTs = nil
		for _, e := range n.GroupBy {
			a.inTs = append(a.inTs, e.Type())
		}
		for range n.Calls {
			a.inTs = append(a.inTs, types.Of(types.ByteaOID))
		}
	}
	return a, nil
}

func (a *aggregate) open(ctx context.Context) error {
	a.closeFiles()
	a.agg.reset()
	a.acct.close()
	a.acct.b = a.in.budget
	a.read, a.at, a.depth = false, 0, 0
	return a.src.open(ctx)
}

func (a *aggregate) closeFiles() {
	if a.parts != nil {
		a.parts.close()
		a.parts = nil
	}
	for _, f := range a.todo {
		f.close()
	}
	a.todo, a.level = nil, nil
}

func (a *aggregate) close() {
	a.closeFiles()
	a.src.close()
	a.agg.reset()
	a.acct.close()
}

// take adds a batch, to the groups in memory or to the files.
func (a *aggregate) take(b *types.Batch) error {
	if a.parts != nil {
		return a.divide(b)
	}
	var err error
	if a.n.Final {
		err = a.agg.merge(&a.in.er, b)
	} else {
		err = a.agg.add(&a.in.er, b)
	}
	if err != nil {
		return err
	}
	if a.acct.try(a.agg.memory()) {
		return nil
	}
	// What has been aggregated stays; rows of groups that are not here yet go to files from now on.
	if a.in.rt.TempDir == "" || a.agg.table == nil || a.depth >= maxSpillDepth {
		return a.acct.set(a.agg.memory())
	}
	a.parts = newPartitions(a.in, a.inTs, a.depth)
	return nil
}

// divide sends rows of known groups to them and the others to files.
func (a *aggregate) divide(b *types.Batch) error {
	keys := a.agg.keys
	if a.n.Final {
		copy(keys, b.Cols)
	} else if err := a.agg.groupBy.eval(&a.in.er, b, keys); err != nil {
		return err
	}
	h := make([]uint64, b.N)
	for _, k := range keys {
		types.HashVec(k, b.N, b.Sel, h)
	}
	known := make([]int32, 0, b.Len())
	for i := range b.Len() {
		row := b.Row(i)
		if a.agg.table.lookup(keys, row, h[row], false) >= 0 {
			known = append(known, int32(row))
			continue
		}
		if err := a.parts.add(b, row, h[row]); err != nil {
			return err
		}
	}
	if len(known) == 0 {
		return nil
	}
	some := &types.Batch{N: b.N, Cols: b.Cols, Sel: known}
	if a.n.Final {
		return a.agg.merge(&a.in.er, some)
	}
	return a.agg.add(&a.in.er, some)
}

// endInput is called when all rows of one source have been taken.
func (a *aggregate) endInput() error {
	if a.parts != nil {
		files, err := a.parts.finish()
		if st := a.in.stats(a.n); st != nil {
			for _, f := range files {
				st.Spilled += f.bytes
			}
		}
		a.parts = nil
		a.todo = append(a.todo, files...)
		for range files {
			a.level = append(a.level, a.depth+1)
		}
		if err != nil {
			return err
		}
	}
	a.at = 0
	return a.agg.finish(&a.in.er)
}

func (a *aggregate) next(ctx context.Context) (*types.Batch, error) {
	if !a.read {
		a.read = true
		if err := drain(ctx, a.src, a.take); err != nil {
			return nil, err
		}
		a.src.close()
		if err := a.endInput(); err != nil {
			return nil, err
		}
		if st := a.in.stats(a.n); st != nil {
			st.Memory = max(st.Memory, a.acct.held)
		}
	}
	for {
		if n := a.agg.size(); a.at < n {
			hi := min(a.at+types.BatchSize, n)
			a.out.Reset()
			if err := a.agg.results(&a.in.er, a.at, hi, a.out); err != nil {
				return nil, err
			}
			a.at = hi
			return a.out, nil
		}
		if len(a.todo) == 0 {
			return nil, nil
		}
		if err := a.nextFile(ctx); err != nil {
			return nil, err
		}
	}
}

func (a *aggregate) nextFile(ctx context.Context) error {
	last := len(a.todo) - 1
	f := a.todo[last]
	a.depth = a.level[last]
	a.todo, a.level = a.todo[:last], a.level[:last]
	defer f.close()
	a.agg.reset()
	a.acct.close()
	r, err := f.reader()
	if err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := r.next()
		if err != nil {
			return err
		}
		if b == nil {
			return a.endInput()
		}
		if err := a.take(b); err != nil {
			return err
		}
	}
}

// maxSpillDepth is how often rows are divided again before memory is taken whatever the budget says
// (and the statement fails if there is none): rows of one group, or of one join key, cannot be divided.
const maxSpillDepth = 4

const spillFanOut = 16

// partitions divides rows over files by four bits of their hash, other ones at each depth.
type partitions struct {
	in    *instance
	shift int
	files [spillFanOut]*spillFile
	bufs  [spillFanOut]*types.Batch
	ts    []types.Type
}

func newPartitions(in *instance, ts []types.Type, depth int) *partitions {
	return &partitions{in: in, ts: ts, shift: 60 - 4*depth}
}

func (p *partitions) add(b *types.Batch, row int, h uint64) error {
	i := h >> p.shift & (spillFanOut - 1)
	if p.files[i] == nil {
		f, err := newSpillFile(p.in.rt.TempDir)
		if err != nil {
			return err
		}
		p.files[i] = f
		p.bufs[i] = types.NewBatch(p.ts, 0)
	}
	appendRow(p.bufs[i], &types.Batch{N: b.N, Cols: b.Cols[:len(p.ts)]}, row)
	if p.bufs[i].N >= 256 {
		err := p.files[i].write(p.bufs[i])
		p.bufs[i].Reset()
		return err
	}
	return nil
}

// finish returns the files that have rows; the partitions are not used afterwards.
func (p *partitions) finish() ([]*spillFile, error) {
	var files []*spillFile
	var err error
	for i, f := range p.files {
		if f == nil {
			continue
		}
		if err == nil && p.bufs[i].N > 0 {
			err = f.write(p.bufs[i])
		}
		files = append(files, f)
	}
	p.files = [spillFanOut]*spillFile{}
	return files, err
}

// file writes what is buffered and returns the file of partition i, nil if it has no rows.
func (p *partitions) file(i int) (*spillFile, error) {
	f := p.files[i]
	if f == nil {
		return nil, nil
	}
	if p.bufs[i].N > 0 {
		if err := f.write(p.bufs[i]); err != nil {
			return nil, err
		}
		p.bufs[i].Reset()
	}
	p.files[i] = nil
	return f, nil
}

func (p *partitions) close() {
	for i, f := range p.files {
		f.close()
		p.files[i] = nil
	}
}

// distinct removes equal rows. Beyond the budget it goes on like aggregate.
type distinct struct {
	in     *instance
	n      *plan.Distinct
	src    operator
	on     []int
	table  *groupTable
	acct   account
	groups []int32
	sel    []int32
	out    types.Batch
	ts     []types.Type
	parts  *partitions
	files  []*spillFile
	levels []int
	depth  int
	reader *spillReader
	cur    *spillFile
	cols   []*types.Vec
	sorted bool
}

func newDistinct(in *instance, n *plan.Distinct) (operator, error) {
	src, err := in.build(n.Input)
	if err != nil {
		return nil, err
	}
	return newDistinctOver(in, n, src, fieldTypes(n.Input.Fields())), nil
}

func newDistinctOver(in *instance, n *plan.Distinct, src operator, ts []types.Type) *distinct {
	d := &distinct{in: in, n: n, src: src, on: n.On, ts: ts, sel: []int32{}, sorted: n.Sorted}
	if d.on == nil {
		for i := range d.ts {
			d.on = append(d.on, i)
		}
	}
	kts := make([]types.Type, len(d.on))
	for i, c := range d.on {
		kts[i] = d.ts[c]
	}
	d.table = newGroupTable(kts)
	d.cols = make([]*types.Vec, len(d.on))
	return d
}

func (d *distinct) open(ctx context.Context) error {
	d.release()
	d.acct.b = d.in.budget
	return d.src.open(ctx)
}

func (d *distinct) release() {
	d.table.reset()
	d.acct.close()
	if d.parts != nil {
		d.parts.close()
		d.parts = nil
	}
	for _, f := range d.files {
		f.close()
	}
	d.cur.close()
	d.files, d.levels, d.depth, d.reader, d.cur = nil, nil, 0, nil, nil
}

func (d *distinct) close() { d.release(); d.src.close() }

func (d *distinct) input(ctx context.Context) (*types.Batch, error) {
	if d.reader != nil {
		return d.reader.next()
	}
	return d.src.next(ctx)
}

func (d *distinct) next(ctx context.Context) (*types.Batch, error) {
	for {
		b, err := d.input(ctx)
		if err != nil {
			return nil, err
		}
		if b == nil {
			more, err := d.nextFile()
			if err != nil || !more {
				return nil, err
			}
			continue
		}
		for i, c := range d.on {
			d.cols[i] = b.Cols[c]
		}
		if err := d.pick(b); err != nil {
			return nil, err
		}
		if len(d.sel) > 0 {
			d.out = types.Batch{N: b.N, Cols: b.Cols, Sel: d.sel}
			return &d.out, nil
		}
	}
}

// pick finds the rows of b that are new.
func (d *distinct) pick(b *types.Batch) error {
	d.sel = d.sel[:0]
	if d.parts == nil {
		if cap(d.groups) < b.N {
			d.groups = make([]int32, max(b.N, types.BatchSize))
		}
		groups := d.groups[:b.N]
		seen := int32(d.table.n)
		if d.sorted && d.table.n > 1 { // only the last group can come again
			d.keepLast()
			seen = 1
		}
		d.table.find(d.cols, b.N, b.Sel, groups)
		for i := range b.Len() {
			row := b.Row(i)
			if groups[row] >= seen {
				seen = groups[row] + 1
				d.sel = append(d.sel, int32(row))
			}
		}
		if d.acct.try(d.table.memory()) {
			return nil
		}
		if d.in.rt.TempDir == "" || d.depth >= maxSpillDepth {
			return d.acct.set(d.table.memory())
		}
		d.parts = newPartitions(d.in, d.ts, d.depth)
		return nil
	}
	h := make([]uint64, b.N)
	for _, c := range d.cols {
		types.HashVec(c, b.N, b.Sel, h)
	}
	for i := range b.Len() {
		row := b.Row(i)
		if d.table.lookup(d.cols, row, h[row], false) < 0 {
			if err := d.parts.add(b, row, h[row]); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepLast forgets all groups but the last one seen.
func (d *distinct) keepLast() {
	t := d.table
	last := make([]*types.Vec, len(t.cols))
	for i, c := range t.cols {
		last[i] = types.NewVec(c.Type, 1)
		last[i].AppendFrom(c, t.n-1)
	}
	t.reset()
	var g [1]int32
	t.find(last, 1, nil, g[:])
}

func (d *distinct) nextFile() (bool, error) {
	d.cur.close()
	d.cur, d.reader = nil, nil
	if d.parts != nil {
		files, err := d.parts.finish()
		d.parts = nil
		d.files = append(d.files, files...)
		for range files {
			d.levels = append(d.levels, d.depth+1)
		}
		if err != nil {
			return false, err
		}
	}
	if len(d.files) == 0 {
		return false, nil
	}
	i := len(d.files) - 1
	d.cur, d.depth = d.files[i], d.levels[i]
	d.files, d.levels = d.files[:i], d.levels[:i]
	d.table.reset()
	d.acct.close()
	var err error
	d.reader, err = d.cur.reader()
	return err == nil, err
}
