package mvcc

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Newest describes the newest version of a key before a write, for the statistics.
type Newest struct {
	Exists  bool
	Deleted bool
	TS      hlc.Timestamp
	// ValueLen is the length of the value, 0 for a tombstone.
	ValueLen int
}

// Describe returns what a Writer must know of the result of Reader.Newest.
func Describe(v Version, ok bool) Newest {
	return Newest{Exists: ok, Deleted: v.Deleted, TS: v.TS, ValueLen: len(v.Value)}
}

// versionOverhead is what a version counts in kv.Stats.Bytes besides its key and value.
const versionOverhead = hlc.EncodedLen

// Writer puts versions, locks and records into Batch, and adds to Stats what they change.
type Writer struct {
	Batch *pebble.Batch
	Stats kv.Stats
	// Watch, if not nil, is told of every key that is going to have a new version or a lock.
	Watch Watch
	buf   []byte
}

// Watch is told of writes.
type Watch interface{ Wrote(key keys.Key) }

// Put writes a version of key, newer than all others; prev is the newest so far.
func (w *Writer) Put(key keys.Key, ts hlc.Timestamp, deleted bool, value []byte, prev Newest) error {
	return w.put(key, ts, ts, deleted, value, prev)
}

func (w *Writer) put(key keys.Key, ts, local hlc.Timestamp, deleted bool, value []byte, prev Newest) error {
	if prev.Exists && ts.LessEq(prev.TS) {
		return kv.Errorf(kv.CodeInternal, "version of %s at %s would be below the newest, at %s", keys.Pretty(key), ts, prev.TS)
	}
	if w.Watch != nil {
		w.Watch.Wrote(key)
	}
	if deleted {
		value = nil
	}
	// Built in the batch's own memory: no copy of key and value on the way.
	kind, head := byte(kindValue), 1
	if deleted {
		kind = kindTombstone
	}
	if local != ts {
		kind |= flagLocal
		head += hlc.EncodedLen
	}
	op := w.Batch.SetDeferred(engine.VersionLen(key, ts), head+len(value))
	engine.AppendVersion(op.Key[:0], key, ts)
	op.Value[0] = kind
	if local != ts {
		local.Append(op.Value[1:1])
	}
	copy(op.Value[head:], value)
	if err := op.Finish(); err != nil {
		return engine.Classify(err)
	}
	if prev.Exists && !prev.Deleted {
		w.Stats.LiveRows--
		w.Stats.LiveBytes -= int64(len(key) + prev.ValueLen)
	}
	if !deleted {
		w.Stats.LiveRows++
		w.Stats.LiveBytes += int64(len(key) + len(value))
	}
	w.Stats.Versions++
	w.Stats.Bytes += int64(len(key) + versionOverhead + len(value))
	return nil
}

// PutLock lays or replaces the transaction's lock on key; had says that it replaces one.
func (w *Writer) PutLock(key keys.Key, l *kv.LockRecord, had bool) error {
	if w.Watch != nil {
		w.Watch.Wrote(key)
	}
	w.buf = engine.AppendLock(w.buf[:0], key, kv.LockUpdate, l.Txn.ID)
	n := len(w.buf)
	w.buf = l.AppendWire(w.buf)
	if err := w.Batch.Set(w.buf[:n], w.buf[n:], nil); err != nil {
		return engine.Classify(err)
	}
	if !had {
		w.Stats.Locks++
	}
	return nil
}

// ClearLock removes the transaction's lock on key, which must be there.
func (w *Writer) ClearLock(key keys.Key, id kv.TxnID) error {
	w.buf = engine.AppendLock(w.buf[:0], key, kv.LockUpdate, id)
	if err := w.Batch.Delete(w.buf, nil); err != nil {
		return engine.Classify(err)
	}
	w.Stats.Locks--
	return nil
}

// ResolveLock turns the lock l on key into a version at commitTS, or removes it.
func (w *Writer) ResolveLock(key keys.Key, l *kv.LockRecord, commit bool, commitTS hlc.Timestamp, prev Newest) error {
	if err := w.ClearLock(key, l.Txn.ID); err != nil || !commit {
		return err
	}
	return w.put(key, commitTS, l.TS, l.Deleted, l.Value, prev)
}

// PurgeVersion removes a version of key whose value has valueLen bytes, and which is not the newest live one.
func (w *Writer) PurgeVersion(key keys.Key, ts hlc.Timestamp, valueLen int) error {
	w.buf = engine.AppendVersion(w.buf[:0], key, ts)
	if err := w.Batch.Delete(w.buf, nil); err != nil {
		return engine.Classify(err)
	}
	w.Stats.Versions--
	w.Stats.Bytes -= int64(len(key) + versionOverhead + valueLen)
	return nil
}

// PutTxnRecord writes a transaction record.
func (w *Writer) PutTxnRecord(rec *kv.TxnRecord) error {
	w.buf = engine.AppendKey(w.buf[:0], keys.TxnRecord(rec.Meta.Anchor, rec.Meta.ID))
	n := len(w.buf)
	w.buf = rec.AppendWire(w.buf)
	return engine.Classify(w.Batch.Set(w.buf[:n], w.buf[n:], nil))
}

// ClearTxnRecord removes a transaction record.
func (w *Writer) ClearTxnRecord(anchor keys.Key, id kv.TxnID) error {
	w.buf = engine.AppendKey(w.buf[:0], keys.TxnRecord(anchor, id))
	return engine.Classify(w.Batch.Delete(w.buf, nil))
}
