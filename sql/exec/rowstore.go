package exec

import (
	"github.com/pamirdb/pamir/sql/types"
)

// rowStore keeps rows to be read once or more, in memory as far as the budget goes and in a file beyond it.
type rowStore struct {
	in    *instance
	ts    []types.Type
	mem   []*types.Batch
	bytes int64
	acct  account
	file  *spillFile
	rows  int64
}

func newRowStore(in *instance, ts []types.Type) *rowStore { return &rowStore{in: in, ts: ts} }

func (r *rowStore) reset() {
	r.close()
	r.acct.b = r.in.budget
}

func (r *rowStore) close() {
	r.file.close()
	r.file, r.mem, r.bytes, r.rows = nil, nil, 0, 0
	r.acct.close()
}

func batchSize(b *types.Batch) int64 {
	var n int64
	for _, c := range b.Cols {
		n += int64(b.Len()) * width(c)
		if c.Repr == types.ReprBytes || c.Repr == types.ReprAny {
			for i := range b.Len() {
				n += variable(c, b.Row(i))
			}
		}
	}
	return n
}

func (r *rowStore) add(b *types.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	r.rows += int64(b.Len())
	if r.file != nil {
		return r.file.write(b)
	}
	n := batchSize(b)
	if !r.acct.try(r.bytes + n) {
		if r.in.rt.TempDir == "" {
			return r.acct.set(r.bytes + n)
		}
		var err error
		if r.file, err = newSpillFile(r.in.rt.TempDir); err != nil {
			return err
		}
		return r.file.write(b)
	}
	r.bytes += n
	last := len(r.mem) - 1
	if last < 0 || r.mem[last].N+b.Len() > types.BatchSize {
		r.mem = append(r.mem, types.NewBatch(r.ts, 0))
		last++
	}
	appendBatch(r.mem[last], &types.Batch{N: b.N, Sel: b.Sel, Cols: b.Cols[:len(r.ts)]})
	return nil
}

// rowReader reads a store from its beginning. No rows may be added while one is in use, and a store that
// went to a file has one reader at a time.
type rowReader struct {
	r  *rowStore
	at int
	sr *spillReader
}

func (r *rowStore) reader() (*rowReader, error) {
	rr := &rowReader{r: r}
	if r.file != nil {
		var err error
		if rr.sr, err = r.file.reader(); err != nil {
			return nil, err
		}
	}
	return rr, nil
}

// next returns a batch that nobody may change, or nil.
func (rr *rowReader) next() (*types.Batch, error) {
	if rr.at < len(rr.r.mem) {
		rr.at++
		return rr.r.mem[rr.at-1], nil
	}
	if rr.sr != nil {
		return rr.sr.next()
	}
	return nil, nil
}
