package exec

import (
	"context"

	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

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
	// first is the left side's first batch, read before the table is built: without one there is nothing to build it for. The joins that show right rows
	// without a partner want them all the same.
	first *types.Batch
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
	if j.pair.wantsRight() {
		return j.right.open(ctx)
	}
	return j.left.open(ctx)
}

func (j *hashJoin) release() {
	j.acct.close()
	j.table, j.batch, j.first = nil, nil, nil
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
		if some, err := j.readRight(ctx); err != nil || !some {
			j.state = joinDone
			return err
		}
	}
	if j.rparts == nil {
		j.table.index(j.pair.wantsRight())
		if st := j.in.stats(j.n); st != nil {
			st.Memory = max(st.Memory, j.acct.held)
		}
		j.state, j.batch, j.rest = joinProbe, nil, 0
		return nil
	}
	// Too large: divide the left side the same way, and go through the files.
	j.lparts = newPartitions(j.in, j.pair.lts, j.depth)
	if j.depth == 0 {
		if j.first != nil {
			if err := j.takeLeft(j.first); err != nil {
				return err
			}
			j.first = nil
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

func (j *hashJoin) readRight(ctx context.Context) (some bool, err error) {
	j.first, some, err = j.pair.readRight(ctx, j.left, j.right, j.takeRight, func() bool { return j.rparts == nil && j.table.rows.N == 0 })
	return some, err
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
	if j.first != nil {
		b := j.first
		j.first = nil
		return b, nil
	}
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
