package exec

import (
	"bytes"
	"context"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// backfillBytes bounds what a call of Backfill writes, about.
const backfillBytes = 1 << 20

// Backfill writes the entries of an index for at most limit rows of its table, from a key of the primary index on (nil: the first).
// The transaction must be a serializable one of its own: a row that changes meanwhile makes its commit fail. With locked
// it locks the rows instead, and their writers wait. next is where to go on; nil at the end.
//
// All writers know the index already. So an entry may be there before the backfill comes to its row, and rows
// that are done stay done. Doing it again does no harm.
func Backfill(ctx context.Context, rt *Runtime, t *catalog.Table, ix *catalog.Index, from keys.Key, limit int, locked bool) (next keys.Key, rows int, err error) {
	next, rows, err = backfill(ctx, rt, t, ix, from, limit, locked)
	return next, rows, translate(rt, err)
}

func backfill(ctx context.Context, rt *Runtime, t *catalog.Table, ix *catalog.Index, from keys.Key, limit int, locked bool) (next keys.Key, rows int, err error) {
	primary, err := rowenc.ForIndex(t, t.Primary())
	if err != nil {
		return nil, 0, err
	}
	index, err := rowenc.ForIndex(t, ix)
	if err != nil {
		return nil, 0, err
	}
	pred, err := newPredicate(t, ix)
	if err != nil {
		return nil, 0, err
	}
	columns := backfillColumns(t, ix, pred)
	spec, err := rowenc.NewSpec(primary, columns)
	if err != nil {
		return nil, 0, err
	}
	span := primary.Span()
	if from != nil {
		span.Start = from
	}
	opts := txn.ScanOptions{MaxRows: int64(limit), TargetBytes: backfillBytes}
	if locked {
		opts.Lock = kv.LockShare
	}
	sc := rt.Txn.Scan(ctx, []keys.Span{span}, opts)
	defer sc.Close()

	f := &filler{t: t, index: index, primary: primary, columns: columns, pred: pred, er: expr.Runtime{Ctx: rt.Ctx}, row: make(rowenc.Row, len(t.Columns)), dec: spec.NewDecoder(false), batch: spec.NewBatch(1)}
	for i := range f.row {
		f.row[i] = types.NullDatum
	}
	var last keys.Key
	for rows < limit {
		page, ok, err := sc.Next(ctx)
		if err != nil {
			return nil, 0, err
		}
		if !ok {
			return nil, rows, f.write(ctx, rt)
		}
		for rows < limit {
			k, v, ok, err := page.Rows.Next()
			if err != nil {
				return nil, 0, err
			}
			if !ok {
				break
			}
			if err := f.add(k, v); err != nil {
				return nil, 0, err
			}
			last = k
			rows++
		}
		if f.bytes >= backfillBytes {
			break
		}
	}
	if last == nil {
		return nil, 0, f.write(ctx, rt)
	}
	return last.Next(), rows, f.write(ctx, rt)
}

// backfillColumns lists the columns that an index's entries are made of.
func backfillColumns(t *catalog.Table, ix *catalog.Index, pred *predicate) []int {
	wanted := map[catalog.ColumnID]bool{}
	if pred != nil {
		for _, c := range pred.used {
			wanted[t.Columns[c].ID] = true
		}
	}
	for _, c := range ix.Columns {
		wanted[c.Column] = true
	}
	for _, c := range t.Primary().Columns {
		wanted[c.Column] = true
	}
	for _, id := range ix.Include {
		wanted[id] = true
	}
	var out []int
	for i := range t.Columns {
		if wanted[t.Columns[i].ID] {
			out = append(out, i)
		}
	}
	return out
}

// filler makes entries of rows, and writes them.
type filler struct {
	t              *catalog.Table
	index, primary *rowenc.Index
	pred           *predicate // nil: all rows have an entry
	er             expr.Runtime
	columns        []int
	row            rowenc.Row
	dec            *rowenc.Decoder
	batch          *types.Batch
	mem            chunk
	bytes          int

	plain    []kv.Write // keys that no other row can have
	distinct []kv.Write
	of       []keys.Key // the rows of distinct
}

func (f *filler) add(key keys.Key, value []byte) error {
	f.batch.Reset()
	if err := f.dec.Decode(key, value, f.batch.Cols); err != nil {
		return err
	}
	for i, pos := range f.columns {
		f.row[pos] = f.batch.Cols[i].Get(0)
	}
	if f.pred != nil {
		if ok, err := f.pred.holds(&f.er, f.row); err != nil || !ok {
			return err
		}
	}
	k, distinct, err := f.index.AppendKey(f.mem.room(), f.row)
	if err != nil {
		return err
	}
	k = f.mem.keep(k)
	v, err := f.index.AppendTuple(f.mem.room(), f.row, distinct)
	if err != nil {
		return err
	}
	v = f.mem.keep(v)
	f.bytes += len(k) + len(v) + 32
	if !distinct {
		f.plain = append(f.plain, kv.Write{Key: k, Value: v})
		return nil
	}
	f.distinct, f.of = append(f.distinct, kv.Write{Key: k, Value: v}), append(f.of, key.Clone())
	return nil
}

func (f *filler) write(ctx context.Context, rt *Runtime) error {
	for i := range f.plain {
		if err := rt.Txn.Put(f.plain[i].Key, f.plain[i].Value); err != nil {
			return err
		}
	}
	if len(f.distinct) == 0 {
		return nil
	}
	ks := make([]keys.Key, len(f.distinct))
	own := make(map[string]struct{}, len(ks))
	for i := range f.distinct {
		ks[i] = f.distinct[i].Key
		if _, twice := own[string(ks[i])]; twice {
			return f.duplicate(rt, ks[i])
		}
		own[string(ks[i])] = struct{}{}
	}
	there, err := rt.Txn.GetMany(ctx, ks, txn.ScanOptions{})
	if err != nil {
		return err
	}
	for i, w := range f.distinct {
		if there[i] != nil {
			of, err := f.index.PrimaryKeyOf(nil, f.primary, w.Key, there[i])
			if err != nil {
				return err
			}
			if !bytes.Equal(of, f.of[i]) {
				return f.duplicate(rt, w.Key)
			}
			if bytes.Equal(there[i], w.Value) {
				continue
			}
		}
		if err := rt.Txn.Put(w.Key, w.Value); err != nil {
			return err
		}
	}
	return nil
}

func (f *filler) duplicate(rt *Runtime, key keys.Key) error {
	return DuplicateInIndex(rt.Catalog, f.t, f.index.Desc, key)
}

// DuplicateInIndex is the error of an index build that finds two rows with the same key. key nil: it is not known which.
func DuplicateInIndex(cat catalog.Snapshot, t *catalog.Table, ix *catalog.Index, key keys.Key) error {
	e := pgerr.New(pgerr.UniqueViolation, "could not create unique index \"%s\"", ix.Name)
	e.Table, e.Constraint, e.Schema = t.Name, ix.Name, schemaName(cat, t)
	if key == nil {
		return e
	}
	if names, vals, ok := keyText(t, ix, key); ok {
		e.Detail = "Key (" + names + ")=(" + vals + ") is duplicated."
	}
	return e
}
