package exec

import (
	"context"
	"slices"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// lookupJoin reads the right rows of each left batch through an index: the batch's distinct keys become spans of one
// scan, and the rows that come back are matched with the batch by a hash table over the index columns. The rows come in the order of the left ones, those
// without a partner among them.
type lookupJoin struct {
	in    *instance
	n     *plan.LookupJoin
	left  operator
	scan  *scan
	keys  programs
	vecs  []*types.Vec
	cols  []int // where the index columns are among the scan's columns
	nout  int   // columns of the right side that the join shows
	pair  *pairing
	batch *types.Batch
	table *joinTable
	acct  account
	hash  []uint64
	row   int
	chain int32
	found bool // the row has a partner
}

func newLookupJoin(in *instance, n *plan.LookupJoin) (operator, error) {
	if n.Type == plan.RightJoin || n.Type == plan.FullJoin {
		return nil, pgerr.New(pgerr.InternalError, "lookup join cannot keep right rows")
	}
	left, err := in.build(n.Left)
	if err != nil {
		return nil, err
	}
	j := &lookupJoin{in: in, n: n, left: left, nout: len(n.Right.Columns)}
	// The scan must show the index columns too.
	inner := *n.Right
	inner.Spans, inner.Limit, inner.Ordered = nil, nil, false
	inner.Columns = slices.Clone(n.Right.Columns)
	if len(n.Keys) > len(n.Right.Index.Columns) {
		return nil, pgerr.New(pgerr.InternalError, "lookup join with %d keys on %d columns", len(n.Keys), len(n.Right.Index.Columns))
	}
	for i := range n.Keys {
		pos := n.Right.Table.ColumnByID(n.Right.Index.Columns[i].Column)
		at := slices.Index(inner.Columns, pos)
		if at < 0 {
			at = len(inner.Columns)
			inner.Columns = append(inner.Columns, pos)
		}
		j.cols = append(j.cols, at)
	}
	op, err := newScan(in, &inner)
	if err != nil {
		return nil, err
	}
	j.scan = op.(*scan)
	if j.keys, err = compileAll(n.Keys); err != nil {
		return nil, err
	}
	j.vecs = make([]*types.Vec, len(n.Keys))
	rts := columnTypes(n.Right.Table.Columns, n.Right.Columns)
	j.pair, err = newPairing(in, n.Type, fieldTypes(n.Left.Fields()), rts, n.Cond)
	return j, err
}

func (j *lookupJoin) open(ctx context.Context) error {
	j.batch, j.table = nil, nil
	j.acct.close()
	j.acct.b = j.in.budget
	return j.left.open(ctx)
}

func (j *lookupJoin) close() {
	j.left.close()
	j.scan.close()
	j.acct.close()
	j.table, j.batch = nil, nil
}

// fetch reads the right rows for a left batch.
func (j *lookupJoin) fetch(ctx context.Context, b *types.Batch) error {
	if err := j.keys.eval(&j.in.er, b, j.vecs); err != nil {
		return err
	}
	if cap(j.hash) < b.N {
		j.hash = make([]uint64, max(b.N, types.BatchSize))
	}
	j.hash = j.hash[:b.N]
	clear(j.hash)
	for _, v := range j.vecs {
		types.HashVec(v, b.N, b.Sel, j.hash)
	}
	x := j.scan.index
	var spans []keys.Span
	points := len(j.keys) == x.KeyColumns() && (x.Desc.Primary || x.Desc.Unique)
	for i := range b.Len() {
		row := b.Row(i)
		if anyNull(j.vecs, row) {
			continue
		}
		k := append(make(keys.Key, 0, len(x.Prefix())+16), x.Prefix()...)
		for c, v := range j.vecs {
			var err error
			if k, err = x.AppendColumn(k, c, v.Get(row)); err != nil {
				return err
			}
		}
		if points {
			spans = append(spans, keys.Span{Start: k})
		} else {
			spans = append(spans, keys.Span{Start: k, End: k.PrefixEnd()})
		}
	}
	keyTs := make([]types.Type, len(j.vecs))
	for i, v := range j.vecs {
		keyTs[i] = v.Type
	}
	rts := columnTypes(j.n.Right.Table.Columns, j.scan.n.Columns)
	j.table = newJoinTable(rts, keyTs)
	j.acct.close()
	if len(spans) > 0 {
		spans = normalise(spans)
		if err := j.scan.openSpans(ctx, spans, points); err != nil {
			return err
		}
		kv := make([]*types.Vec, len(j.cols))
		err := drain(ctx, j.scan, func(rb *types.Batch) error {
			for i, c := range j.cols {
				kv[i] = rb.Cols[c]
			}
			h := make([]uint64, rb.N)
			for _, v := range kv {
				types.HashVec(v, rb.N, rb.Sel, h)
			}
			j.table.add(rb, kv, h)
			return j.acct.set(j.table.memory())
		})
		j.scan.close()
		if err != nil {
			return err
		}
	}
	j.table.index(false)
	if j.n.Type == plan.LeftJoin {
		for _, c := range j.table.rows.Cols {
			c.AppendNull()
		}
		j.table.rows.N++ // in no chain
		j.pair.none = int32(j.table.rows.N)
	}
	return nil
}

func (j *lookupJoin) next(ctx context.Context) (*types.Batch, error) {
	for {
		if j.batch == nil {
			b, err := j.left.next(ctx)
			if err != nil || b == nil {
				return nil, err
			}
			if err := j.fetch(ctx, b); err != nil {
				return nil, err
			}
			j.batch, j.row, j.chain = b, 0, -1
			j.pair.begin(b)
		}
		out, err := j.probe()
		if err != nil || out != nil {
			return out, err
		}
	}
}

func (j *lookupJoin) probe() (*types.Batch, error) {
	t, b := j.table, j.batch
	mask := uint64(len(t.heads) - 1)
	for j.row < b.Len() {
		row := b.Row(j.row)
		if j.chain < 0 {
			j.chain, j.found = 0, false
			if !anyNull(j.vecs, row) {
				j.chain = t.heads[j.hash[row]&mask]
			}
		}
		for j.chain != 0 {
			r := j.chain - 1
			j.chain = t.links[r]
			if t.hashes[r] != j.hash[row] || !t.equal(int(r), j.vecs, row) {
				continue
			}
			j.pair.add(int32(row), r)
			j.found = true
			if len(j.pair.nl) >= types.BatchSize {
				out, err := j.pair.emit(b, t.rows, nil)
				if err != nil || out != nil {
					return out, err
				}
			}
		}
		j.pair.last(int32(row), j.found)
		j.row, j.chain = j.row+1, -1
		if len(j.pair.nl) >= types.BatchSize {
			out, err := j.pair.emit(b, t.rows, nil)
			if err != nil || out != nil {
				return out, err
			}
		}
	}
	out, err := j.pair.emit(b, t.rows, nil)
	if err != nil || out != nil {
		return out, err
	}
	out = j.pair.end(b)
	j.batch = nil
	return out, nil
}
