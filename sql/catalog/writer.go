package catalog

import (
	"context"
	"encoding/binary"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/txn"
)

// Writer changes the catalog inside a transaction. Schema changes exclude each other: the first one of a transaction
// locks the version row until the transaction ends.
type Writer struct {
	s    *Store
	t    txn.Txn
	snap *snapshot
	// version that this change makes, and the keys of what it has changed so far.
	version uint64
	changed [][]byte
}

// Writer begins a schema change. Snapshot shows the catalog that it starts from, this transaction's earlier changes
// included, and not the changes made through the Writer itself. used is what the transaction's earlier statements have relied on, nil for nothing: from its
// first change on no other can change what they rely on, and before its commit (BeforeCommit) nobody looks at it again.
func (s *Store) Writer(ctx context.Context, t txn.Txn, used *Uses) (*Writer, error) {
	val, ok, err := t.Get(ctx, versionKey, txn.ScanOptions{Latest: true, Lock: kv.LockUpdate})
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, pgerr.New(pgerr.CannotConnectNow, "the database is not initialised yet")
	}
	row, err := decodeVersionRow(val)
	if err != nil {
		return nil, err
	}
	w := &Writer{s: s, t: t}
	if w.snap, err = s.load(ctx, t, row, latest); err != nil {
		return nil, err
	}
	if used != nil && row.writer != t.ID() && !s.times.held(used, w.snap) {
		return nil, errChanged()
	}
	w.version = row.version + 1
	if err := w.begin(); err != nil {
		return nil, err
	}
	next := versionRow{version: w.version, writer: t.ID()}
	return w, t.Put(versionKey, next.encode())
}

// Snapshot: see Store.Writer.
func (w *Writer) Snapshot() Snapshot { return w.snap }

// NewObjectID returns an OID that nothing has had.
func (w *Writer) NewObjectID(ctx context.Context) (uint32, error) {
	n, err := w.s.opts.Counters.Increment(ctx, objectCounter, 1)
	if err != nil {
		return 0, err
	}
	id := FirstObjectID - 1 + n
	if id <= 0 || id >= 1<<32 {
		return 0, pgerr.New(pgerr.ProgramLimitExceeded, "no object ids are left")
	}
	return uint32(id), nil
}

// NewDataID returns a number for a table's keys under which nothing was ever written.
func (w *Writer) NewDataID(ctx context.Context) (uint64, error) {
	n, err := w.s.opts.Counters.Increment(ctx, dataCounter, 1)
	if err != nil {
		return 0, err
	}
	return uint64(keys.FirstUserTable - 1 + n), nil
}

// CreateTable writes the descriptor of a new relation.
func (w *Writer) CreateTable(ctx context.Context, t *Table) error {
	if err := w.claim(ctx, t.Schema, t.Name, t.ID); err != nil {
		return err
	}
	return w.put(idKey(descriptorTable, uint64(t.ID)), t)
}

// ReplaceTable writes the next version of a relation; before is what is stored now.
func (w *Writer) ReplaceTable(ctx context.Context, before, after *Table) error {
	if before.Name != after.Name || before.Schema != after.Schema {
		if err := w.claim(ctx, after.Schema, after.Name, after.ID); err != nil {
			return err
		}
		if err := w.t.Delete(nameKey(before.Schema, before.Name)); err != nil {
			return err
		}
	}
	if before.DataID != after.DataID {
		if err := w.discard(before.DataID); err != nil {
			return err
		}
	}
	after.Version, after.Shape = before.Version+1, 0
	if sameShape(before, after) {
		after.Shape = before.shape()
	}
	return w.put(idKey(descriptorTable, uint64(after.ID)), after)
}

// DropTable removes a relation. Its rows are left to the garbage collector.
func (w *Writer) DropTable(t *Table) error {
	if err := w.t.Delete(nameKey(t.Schema, t.Name)); err != nil {
		return err
	}
	if err := w.delete(idKey(statsTable, uint64(t.ID))); err != nil {
		return err
	}
	if err := w.discard(t.DataID); err != nil {
		return err
	}
	return w.delete(idKey(descriptorTable, uint64(t.ID)))
}

// discard notes that nothing refers to the keys of a data id any more.
func (w *Writer) discard(data uint64) error {
	if data == 0 {
		return nil
	}
	b := binary.BigEndian.AppendUint64(nil, uint64(w.t.ReadTimestamp().WallTime))
	return w.t.Put(idKey(garbageTable, data), b)
}

// claim takes a name for an object; indexes share the name space of relations and are claimed the same way.
func (w *Writer) claim(ctx context.Context, schema SchemaID, name string, id TableID) error {
	k := nameKey(schema, name)
	if _, taken, err := w.t.Get(ctx, k, latest); err != nil {
		return err
	} else if taken {
		return pgerr.New(pgerr.DuplicateTable, "relation \"%s\" already exists", name)
	}
	return w.t.Put(k, binary.BigEndian.AppendUint32(nil, uint32(id)))
}

// ClaimName and ReleaseName keep the names of indexes.
func (w *Writer) ClaimName(ctx context.Context, schema SchemaID, name string, id uint32) error {
	return w.claim(ctx, schema, name, TableID(id))
}

// ReleaseName: see ClaimName.
func (w *Writer) ReleaseName(schema SchemaID, name string) error {
	return w.t.Delete(nameKey(schema, name))
}

// NameTaken reports whether a relation or index has the name.
func (w *Writer) NameTaken(ctx context.Context, schema SchemaID, name string) (bool, error) {
	_, taken, err := w.t.Get(ctx, nameKey(schema, name), latest)
	return taken, err
}

// PutSchema writes a schema, DropSchema removes one.
func (w *Writer) PutSchema(s *Schema) error { return w.put(idKey(schemaTable, uint64(s.ID)), s) }

// DropSchema: see PutSchema.
func (w *Writer) DropSchema(s *Schema) error { return w.delete(idKey(schemaTable, uint64(s.ID))) }

// PutStats writes a table's statistics.
func (w *Writer) PutStats(id TableID, st TableStats) error {
	return w.put(idKey(statsTable, uint64(id)), &storedStats{Table: id, Stats: st})
}

func (w *Writer) put(k keys.Key, o any) error {
	b, err := encodeObject(o)
	if err != nil {
		return err
	}
	if err := w.note(k); err != nil {
		return err
	}
	return w.t.Put(k, b)
}

func (w *Writer) delete(k keys.Key) error {
	if err := w.note(k); err != nil {
		return err
	}
	return w.t.Delete(k)
}

// DiscardIndex notes that nothing refers to the keys of one index any more.
func (w *Writer) DiscardIndex(data uint64, index IndexID) error {
	b := binary.BigEndian.AppendUint64(nil, uint64(w.t.ReadTimestamp().WallTime))
	return w.t.Put(keys.AppendUvarint(idKey(garbageTable, data), uint64(index)), b)
}
