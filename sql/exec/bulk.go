package exec

import (
	"bytes"
	"context"
	"sync"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// Bulk writes go around the transaction's buffer: pairs are written at once, in pieces of bounded size, at the
// transaction's read timestamp, under keys that no committed descriptor refers to. What makes that safe:
//
//  1. The keys are fresh: data ids and the ids of indexes built later come from counters outside of transactions, and are never
//     used again, whether or not the transaction commits.
//  2. Nobody reads them before the descriptor that names them is committed; the descriptor commits at a later timestamp than that
//     of the rows, so whoever sees it sees all of them.
//  3. A transaction that does not commit leaves garbage that no descriptor will ever name.
//  4. They cannot be undone by ROLLBACK TO SAVEPOINT: they are not used while a savepoint is open (Runtime.Savepoint).

const (
	// bulkPiece is how many bytes of pairs go into one call of BulkWriter.Write.
	bulkPiece = 512 << 10
	// bulkFlight is how many such calls run at a time.
	bulkFlight = 4
)

// bulkBuffer collects pairs for a BulkWriter, in key order, and writes them in the background. flush waits for all of them, and
// must be called whatever happens.
type bulkBuffer struct {
	rt    *Runtime
	pairs []kv.Write
	bytes int
	slots chan struct{}
	wg    sync.WaitGroup
	mu    sync.Mutex
	err   error // the first; guarded by mu
}

func (b *bulkBuffer) add(ctx context.Context, key, value []byte) error {
	b.pairs = append(b.pairs, kv.Write{Key: key, Value: value})
	b.bytes += len(key) + len(value) + 16
	if b.bytes >= bulkPiece {
		return b.send(ctx)
	}
	return nil
}

// send hands the collected pairs on.
func (b *bulkBuffer) send(ctx context.Context) error {
	if len(b.pairs) == 0 {
		return b.failed()
	}
	pairs := b.pairs
	b.pairs, b.bytes = make([]kv.Write, 0, len(pairs)), 0
	if b.rt.Bulk == nil || b.rt.Savepoint {
		for i := range pairs {
			if err := b.rt.Txn.Insert(pairs[i].Key, pairs[i].Value); err != nil {
				return err
			}
		}
		return makeRoom(ctx, b.rt)
	}
	if b.slots == nil {
		b.slots = make(chan struct{}, bulkFlight)
	}
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := b.failed(); err != nil {
		<-b.slots
		return err
	}
	at := b.rt.Txn.ReadTimestamp()
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		if err := b.rt.Bulk.Write(ctx, at, pairs); err != nil {
			b.mu.Lock()
			if b.err == nil {
				b.err = err
			}
			b.mu.Unlock()
		}
		<-b.slots
	}()
	return nil
}

func (b *bulkBuffer) failed() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

// flush writes what is left and waits.
func (b *bulkBuffer) flush(ctx context.Context) error {
	err := b.send(ctx)
	b.wg.Wait()
	if err != nil {
		return err
	}
	return b.failed()
}

// wait lets what is under way end, after a failure.
func (b *bulkBuffer) wait() { b.wg.Wait() }

// Source of the rows for Rebuild.
type Source struct {
	// Plan yields rows; Columns are the positions in the new table's Columns that its columns go to. With a nil Plan the rows are those of
	// Table, unchanged.
	Plan    *plan.Statement
	Columns []int
	Table   *catalog.Table
	// Set computes columns of the new rows, over all of the new table's Columns as they came from the source.
	Set []plan.SetClause
}

// Rebuild writes the entries of some indexes of a table (all, if only is nil) for the rows of a source. The keys of these indexes
// must be fresh. It fails with 23505 if a unique index would have duplicates, and with 23502 for NULLs in columns that may not be.
func Rebuild(ctx context.Context, rt *Runtime, src Source, t *catalog.Table, only []catalog.IndexID) (rows int64, err error) {
	r, err := newRebuild(rt, src, t, only)
	if err != nil {
		return 0, translate(rt, err)
	}
	defer r.close()
	rows, err = r.run(ctx)
	return rows, translate(rt, err)
}

type rebuild struct {
	in      *instance
	rt      *Runtime
	t       *catalog.Table
	src     operator
	columns []int
	indexes []*rowenc.Index
	full    *types.Batch
	set     []int
	ps      programs
	vals    []*types.Vec
	sort    *sorter
	rowid   int
	pairs   *types.Batch
	w       *rowWriter
	n       int64
}

func newRebuild(rt *Runtime, src Source, t *catalog.Table, only []catalog.IndexID) (*rebuild, error) {
	stmt := src.Plan
	if stmt == nil {
		scan := &plan.Scan{Table: src.Table, Index: src.Table.Primary(), Ordered: true}
		for i := range src.Table.Columns {
			if c := &src.Table.Columns[i]; !c.Dropped {
				scan.Columns = append(scan.Columns, i)
				scan.Out = append(scan.Out, plan.Field{Name: c.Name, Type: c.Type})
			}
		}
		src.Columns = scan.Columns
		stmt = &plan.Statement{Root: scan}
	}
	in, err := newInstance(stmt)
	if err != nil {
		return nil, err
	}
	in.begin(rt)
	r := &rebuild{in: in, rt: rt, t: t, src: in.root, rowid: -1, full: types.NewBatch(allColumns(t), 0)}
	r.columns = append(r.columns, src.Columns...) // columns that the change drops have no place any more
	if r.w, err = newRowWriter(t, nil); err != nil {
		return nil, err
	}
	r.w.begin(rt, &in.er, in.budget)
	r.rowid = r.w.rowid
	all := append([]*rowenc.Index{r.w.tab.Primary}, r.w.tab.Secondary...)
	for _, x := range all {
		if only == nil || contains(only, x.Desc.ID) {
			r.indexes = append(r.indexes, x)
		}
	}
	if r.set, r.ps, err = compileSet(src.Set); err != nil {
		return nil, err
	}
	r.vals = make([]*types.Vec, len(r.ps))
	bytea := types.Of(types.ByteaOID)
	r.pairs = types.NewBatch([]types.Type{bytea, bytea}, 0)
	key := &expr.Column{T: bytea, Index: 0}
	r.sort, err = newSorter(in, []types.Type{bytea, bytea}, []plan.SortKey{{Expr: key}})
	if err != nil {
		return nil, err
	}
	r.sort.reset()
	return r, nil
}

func contains(ids []catalog.IndexID, id catalog.IndexID) bool {
	for _, x := range ids {
		if x == id {
			return true
		}
	}
	return false
}

func (r *rebuild) close() {
	r.sort.close()
	r.w.end()
	r.in.end()
}

func (r *rebuild) run(ctx context.Context) (int64, error) {
	r.in.ctx = ctx
	if err := r.src.open(ctx); err != nil {
		return 0, err
	}
	if err := drain(ctx, r.src, r.take); err != nil {
		return 0, err
	}
	if err := r.give(); err != nil {
		return 0, err
	}
	if err := r.sort.finish(); err != nil {
		return 0, err
	}
	out := &bulkBuffer{rt: r.rt}
	defer out.wait()
	var last []byte
	for {
		b, err := r.sort.next()
		if err != nil {
			return 0, err
		}
		if b == nil {
			break
		}
		for i := range b.N {
			k, v := b.Cols[0].Bytes[i], b.Cols[1].Bytes[i]
			if bytes.Equal(k, last) {
				return 0, r.duplicate(k)
			}
			last = k
			if err := out.add(ctx, k, v); err != nil {
				return 0, err
			}
		}
		if err := ctx.Err(); err != nil {
			return 0, err
		}
	}
	return r.n, out.flush(ctx)
}

func (r *rebuild) take(b *types.Batch) error {
	wholeRows(r.full, b, r.columns)
	if len(r.ps) > 0 {
		if err := r.ps.eval(&r.in.er, r.full, r.vals); err != nil {
			return err
		}
		for i, c := range r.set {
			v := r.full.Cols[c]
			v.ResetSame()
			v.CopyFrom(r.vals[i], nil)
		}
	}
	for c := range r.t.Columns {
		col := &r.t.Columns[c]
		if col.NotNull && !col.Dropped && !col.Hidden && r.full.Cols[c].HasNulls {
			for i := range r.full.N {
				if r.full.Cols[c].Nulls[i] {
					e := pgerr.New(pgerr.NotNullViolation, "column \"%s\" of relation \"%s\" contains null values", col.Name, r.t.Name)
					e.Table, e.Column, e.Schema = r.t.Name, col.Name, schemaName(r.rt.Catalog, r.t)
					return e
				}
			}
		}
	}
	if r.rowid >= 0 {
		r.w.fillRowIDs(r.full)
	}
	row := make(rowenc.Row, len(r.full.Cols))
	for i := range r.full.N {
		loadRow(row, r.full, i)
		for _, x := range r.indexes {
			k, v, _, err := r.w.entry(x, row)
			if err != nil {
				return err
			}
			if k == nil {
				continue
			}
			r.pairs.Cols[0].AppendDatum(types.NewBytes(k))
			r.pairs.Cols[1].AppendDatum(types.NewBytes(v))
			if r.pairs.N++; r.pairs.N == types.BatchSize {
				if err := r.give(); err != nil {
					return err
				}
			}
		}
	}
	r.n += int64(r.full.N)
	return nil
}

func (r *rebuild) give() error {
	if r.pairs.N == 0 {
		return nil
	}
	err := r.sort.add(r.pairs)
	r.pairs.Reset()
	return err
}

func (r *rebuild) duplicate(key keys.Key) error {
	_, id, _, err := keys.DecodeIndex(key)
	if err != nil {
		return err
	}
	for _, x := range r.indexes {
		if uint64(x.Desc.ID) != id {
			continue
		}
		return DuplicateInIndex(r.rt.Catalog, r.t, x.Desc, key)
	}
	return pgerr.New(pgerr.InternalError, "duplicate key %s", keys.Pretty(key))
}
