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

// joinTable is the hash table over the right rows.
type joinTable struct {
	rows   *types.Batch
	keys   []*types.Vec
	hashes []uint64
	heads  []int32 // row + 1
	links  []int32
	match  []bool
	bytes  int64
}

func newJoinTable(ts, keyTs []types.Type) *joinTable {
	t := &joinTable{rows: types.NewBatch(ts, 0)}
	for _, k := range keyTs {
		t.keys = append(t.keys, types.NewVec(k, 0))
	}
	return t
}

func (t *joinTable) add(b *types.Batch, keys []*types.Vec, hashes []uint64) {
	n := b.Len()
	appendBatch(t.rows, b)
	for i, k := range t.keys {
		k.AppendVec(keys[i], b.Sel)
		if k.N != t.rows.N { // the vector was longer than the batch
			k.Resize(t.rows.N)
		}
	}
	for i := range n {
		t.hashes = append(t.hashes, hashes[b.Row(i)])
	}
	t.bytes += batchSize(b) + int64(n)*24
	for _, k := range keys {
		t.bytes += int64(n) * width(k)
	}
}

func (t *joinTable) memory() int64 { return t.bytes + int64(len(t.heads))*4 }

// index builds the chains; rows with a NULL key are in none.
func (t *joinTable) index(needMatch bool) {
	size := 64
	for size < 2*t.rows.N {
		size *= 2
	}
	t.heads = make([]int32, size)
	t.links = make([]int32, t.rows.N)
	mask := uint64(size - 1)
	for i := t.rows.N - 1; i >= 0; i-- { // backwards, so that chains are in row order
		if anyNull(t.keys, i) {
			continue
		}
		at := t.hashes[i] & mask
		t.links[i] = t.heads[at]
		t.heads[at] = int32(i + 1)
	}
	if needMatch {
		t.match = make([]bool, t.rows.N)
	}
}

func anyNull(vs []*types.Vec, i int) bool {
	for _, v := range vs {
		if v.IsNull(i) {
			return true
		}
	}
	return false
}

func (t *joinTable) equal(row int, keys []*types.Vec, i int) bool {
	for k, v := range t.keys {
		if !types.EqualVec(v, row, keys[k], i) {
			return false
		}
	}
	return true
}

// hashJoin. When the right side is larger than the budget both sides are divided over files by the hash of
// their keys, and the pairs of files are joined one after the other.
type hashJoin struct {
	in    *instance
	n     *plan.HashJoin
	left  operator
	right operator
	lkeys programs
	rkeys programs
	keyTs []types.Type
	pair  *pairing
	lv    []*types.Vec
	rv    []*types.Vec
	hash  []uint64

	acct  account
	table *joinTable
	state int
	// probing
	batch *types.Batch
	row   int   // position among the batch's rows
	chain int32 // next candidate of that row + 1
	rest  int   // next right row to show
	// spilling
	lparts, rparts *partitions
	todo           []joinFiles
	lread, rread   *spillReader
	cur            joinFiles
	depth          int
}

type joinFiles struct {
	left, right *spillFile
	depth       int
}

const (
	joinBuild = iota
	joinProbe
	joinRest
	joinDone
)

func newHashJoin(in *instance, n *plan.HashJoin) (operator, error) {
	j := &hashJoin{in: in, n: n}
	ops, err := in.buildAll(n.Left, n.Right)
	if err != nil {
		return nil, err
	}
	j.left, j.right = ops[0], ops[1]
	if j.lkeys, err = compileAll(n.LeftKeys); err != nil {
		return nil, err
	}
	if j.rkeys, err = compileAll(n.RightKeys); err != nil {
		return nil, err
	}
	for _, e := range n.RightKeys {
		j.keyTs = append(j.keyTs, e.Type())
	}
	j.lv, j.rv = make([]*types.Vec, len(n.LeftKeys)), make([]*types.Vec, len(n.RightKeys))
	j.pair, err = newPairing(in, n.Type, fieldTypes(n.Left.Fields()), fieldTypes(n.Right.Fields()), n.Cond)
	return j, err
}

func (j *hashJoin) open(ctx context.Context) error {
	j.release()
	j.acct.b = j.in.budget
	j.state, j.depth = joinBuild, 0
	j.table = newJoinTable(j.pair.rts, j.keyTs)
	return j.right.open(ctx)
}

func (j *hashJoin) release() {
	j.acct.close()
	j.table, j.batch = nil, nil
	if j.lparts != nil {
		j.lparts.close()
	}
	if j.rparts != nil {
		j.rparts.close()
	}
	j.lparts, j.rparts = nil, nil
	for _, f := range append(j.todo, j.cur) {
		f.left.close()
		f.right.close()
	}
	j.todo, j.cur, j.lread, j.rread = nil, joinFiles{}, nil, nil
}

func (j *hashJoin) close() {
	j.release()
	j.left.close()
	j.right.close()
}

func (j *hashJoin) hashes(ps programs, vs []*types.Vec, b *types.Batch) error {
	if err := ps.eval(&j.in.er, b, vs); err != nil {
		return err
	}
	if cap(j.hash) < b.N {
		j.hash = make([]uint64, max(b.N, types.BatchSize))
	}
	j.hash = j.hash[:b.N]
	clear(j.hash)
	for _, v := range vs {
		types.HashVec(v, b.N, b.Sel, j.hash)
	}
	return nil
}

// takeRight adds a batch to the table or, once the budget is used up, to the files.
func (j *hashJoin) takeRight(b *types.Batch) error {
	if err := j.hashes(j.rkeys, j.rv, b); err != nil {
		return err
	}
	if j.rparts == nil {
		j.table.add(b, j.rv, j.hash)
		if j.acct.try(j.table.memory()) {
			return nil
		}
		if j.in.rt.TempDir == "" || j.depth >= maxSpillDepth {
			return j.acct.set(j.table.memory())
		}
		j.rparts = newPartitions(j.in, j.pair.rts, j.depth)
		t := j.table
		for i := range t.rows.N {
			if err := j.rparts.add(t.rows, i, t.hashes[i]); err != nil {
				return err
			}
		}
		j.table = newJoinTable(j.pair.rts, j.keyTs)
		j.acct.close()
		return nil
	}
	for i := range b.Len() {
		row := b.Row(i)
		if err := j.rparts.add(b, row, j.hash[row]); err != nil {
			return err
		}
	}
	return nil
}

func (j *hashJoin) takeLeft(b *types.Batch) error {
	if err := j.hashes(j.lkeys, j.lv, b); err != nil {
		return err
	}
	for i := range b.Len() {
		row := b.Row(i)
		if err := j.lparts.add(b, row, j.hash[row]); err != nil {
			return err
		}
	}
	return nil
}

func (j *hashJoin) build(ctx context.Context) error {
	if j.rread != nil {
		if err := drainReader(ctx, j.rread, j.takeRight); err != nil {
			return err
		}
	} else if j.depth == 0 {
		if err := drain(ctx, j.right, j.takeRight); err != nil {
			return err
		}
		j.right.close()
	}
	if j.rparts == nil {
		j.table.index(j.pair.wantsRight())
		if st := j.in.stats(j.n); st != nil {
			st.Memory = max(st.Memory, j.acct.held)
		}
		if j.depth == 0 {
			if err := j.left.open(ctx); err != nil {
				return err
			}
		}
		j.state, j.batch, j.rest = joinProbe, nil, 0
		return nil
	}
	// Too large: divide the left side the same way, and go through the files.
	j.lparts = newPartitions(j.in, j.pair.lts, j.depth)
	if j.depth == 0 {
		if err := j.left.open(ctx); err != nil {
			return err
		}
		if err := drain(ctx, j.left, j.takeLeft); err != nil {
			return err
		}
		j.left.close()
	} else if j.lread != nil {
		if err := drainReader(ctx, j.lread, j.takeLeft); err != nil {
			return err
		}
	}
	for i := range spillFanOut {
		l, err := j.lparts.file(i)
		if err != nil {
			return err
		}
		r, err := j.rparts.file(i)
		if err != nil {
			l.close()
			return err
		}
		if l == nil && r == nil {
			continue
		}
		if st := j.in.stats(j.n); st != nil {
			for _, f := range []*spillFile{l, r} {
				if f != nil {
					st.Spilled += f.bytes
				}
			}
		}
		j.todo = append(j.todo, joinFiles{left: l, right: r, depth: j.depth + 1})
	}
	j.lparts, j.rparts = nil, nil
	return j.nextFiles()
}

func drainReader(ctx context.Context, r *spillReader, f func(*types.Batch) error) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := r.next()
		if err != nil || b == nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
	}
}

func (j *hashJoin) nextFiles() error {
	j.cur.left.close()
	j.cur.right.close()
	j.cur, j.lread, j.rread = joinFiles{}, nil, nil
	if len(j.todo) == 0 {
		j.state = joinDone
		return nil
	}
	last := len(j.todo) - 1
	j.cur = j.todo[last]
	j.todo = j.todo[:last]
	j.depth = j.cur.depth
	j.table = newJoinTable(j.pair.rts, j.keyTs)
	j.acct.close()
	j.state = joinBuild
	var err error
	if j.cur.left != nil {
		if j.lread, err = j.cur.left.reader(); err != nil {
			return err
		}
	}
	if j.cur.right != nil {
		j.rread, err = j.cur.right.reader()
	}
	return err
}

func (j *hashJoin) nextLeft(ctx context.Context) (*types.Batch, error) {
	if j.depth == 0 {
		return j.left.next(ctx)
	}
	if j.lread == nil {
		return nil, nil
	}
	return j.lread.next()
}

func (j *hashJoin) next(ctx context.Context) (*types.Batch, error) {
	for {
		switch j.state {
		case joinBuild:
			if err := j.build(ctx); err != nil {
				return nil, err
			}
		case joinProbe:
			out, err := j.probe(ctx)
			if err != nil || out != nil {
				return out, err
			}
		case joinRest:
			if j.pair.wantsRight() {
				for j.rest < j.table.rows.N {
					lo := j.rest
					j.rest = min(lo+types.BatchSize, j.table.rows.N)
					if b := j.pair.rightRest(j.table.rows, j.table.match, lo, j.rest); b != nil {
						return b, nil
					}
				}
			}
			if err := j.nextFiles(); err != nil {
				return nil, err
			}
		case joinDone:
			return nil, nil
		}
	}
}

// probe goes on with the left batch; nil, nil means: call again.
func (j *hashJoin) probe(ctx context.Context) (*types.Batch, error) {
	if j.batch == nil {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := j.nextLeft(ctx)
		if err != nil {
			return nil, err
		}
		if b == nil {
			j.state = joinRest
			return nil, nil
		}
		if err := j.hashes(j.lkeys, j.lv, b); err != nil {
			return nil, err
		}
		j.batch, j.row, j.chain = b, 0, -1
		j.pair.begin(b)
	}
	t, b := j.table, j.batch
	mask := uint64(len(t.heads) - 1)
	early := j.pair.onlyL && j.pair.cond == nil // one partner is enough
	for ; j.row < b.Len(); j.row++ {
		row := b.Row(j.row)
		if j.chain < 0 {
			j.chain = 0
			if !anyNull(j.lv, row) {
				j.chain = t.heads[j.hash[row]&mask]
			}
		}
		for j.chain != 0 {
			r := j.chain - 1
			j.chain = t.links[r]
			if t.hashes[r] != j.hash[row] || !t.equal(int(r), j.lv, row) {
				continue
			}
			j.pair.add(int32(row), r)
			if early {
				break
			}
			if len(j.pair.nl) >= types.BatchSize {
				out, err := j.pair.emit(b, t.rows, t.match)
				if err != nil || out != nil {
					return out, err
				}
			}
		}
		j.chain = -1
	}
	out, err := j.pair.emit(b, t.rows, t.match)
	if err != nil || out != nil {
		return out, err // called again, the pairs are gone and the batch ends
	}
	out = j.pair.end(b)
	j.batch = nil
	return out, nil
}
