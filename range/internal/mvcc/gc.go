package mvcc

import (
	"bytes"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// versionsIn iterates over the versions of the keys in span, the newest of a key first.
func versionsIn(r pebble.Reader, span keys.Span) (*pebble.Iterator, error) {
	it, err := r.NewIter(&pebble.IterOptions{
		KeyTypes:   pebble.IterKeyTypePointsOnly,
		LowerBound: engine.EncodeKey(span.Start),
		UpperBound: engine.EncodeKey(span.EndKey()),
	})
	return it, engine.Classify(err)
}

// PurgeShadowed removes versions in span that no read at or after threshold can see: those that a newer version
// at or below threshold shadows, and tombstones at or below it. It stops after about limit removals, or when it has looked at
// about as many versions as scan says, and returns the key to go on from; nil if it is done.
func PurgeShadowed(r pebble.Reader, w *Writer, span keys.Span, threshold hlc.Timestamp, limit, scan int64) (removed int64, next keys.Key, err error) {
	it, err := versionsIn(r, span)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
	var key keys.Key
	shadowed := false           // a version of key at or below threshold has been seen
	var tombstone hlc.Timestamp // ... and it is a tombstone, to be removed after all that it hides
	endKey := func() error {
		if tombstone.IsEmpty() {
			return nil
		}
		removed++
		err := w.PurgeVersion(key, tombstone, 0)
		tombstone = hlc.Timestamp{}
		return err
	}
	for it.First(); it.Valid(); it.Next() {
		k, ts, ok := engine.DecodeVersion(it.Key())
		if !ok {
			return removed, nil, corrupt("version key", it.Key())
		}
		if !bytes.Equal(k, key) {
			if err := endKey(); err != nil {
				return removed, nil, err
			}
			if scan <= 0 || removed >= limit {
				return removed, keys.Key(bytes.Clone(k)), nil
			}
			key, shadowed = append(key[:0], k...), false
		}
		if removed >= limit {
			// Within a key: its tombstone stays, for it hides what is left.
			return removed, key.Clone(), nil
		}
		scan--
		if threshold.Less(ts) {
			continue
		}
		b, err := it.ValueAndErr()
		if err != nil {
			return removed, nil, engine.Classify(err)
		}
		deleted, value, err := decodeValue(b, nil)
		switch {
		case err != nil:
			return removed, nil, err
		case shadowed:
			removed++
			if err := w.PurgeVersion(key, ts, len(value)); err != nil {
				return removed, nil, err
			}
		default:
			shadowed = true
			if deleted {
				tombstone = ts
			}
		}
	}
	if err := it.Error(); err != nil {
		return removed, nil, engine.Classify(err)
	}
	err = endKey()
	return removed, nil, err
}

// PurgeDropped removes all versions of the keys in span that have none above threshold, a run of such keys at a time: whatever was in the span was dropped at
// or below threshold. A key with a later version was written to by somebody who came late; it stays until that is below the threshold, too. It stops when
// it has looked at about as many versions as scan says, and returns the key to go on from; nil if it is done.
//
// Nobody may write to the span meanwhile: what is removed is counted here. Locks are let be; one that is resolved later leaves a version for the next time.
func PurgeDropped(r pebble.Reader, w *Writer, span keys.Span, threshold hlc.Timestamp, scan int64) (removed int64, next keys.Key, err error) {
	it, err := versionsIn(r, span)
	if err != nil {
		return 0, nil, err
	}
	defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
	var run counter // of the keys from start on
	start := span.Start
	endRun := func(end keys.Key) error {
		if run.Versions == 0 {
			return nil
		}
		removed += run.Versions
		w.Stats.Sub(run.Stats)
		run = counter{last: run.last}
		return engine.Classify(w.Batch.DeleteRange(engine.EncodeKey(start), engine.EncodeKey(end), nil))
	}
	var late keys.Key // the last key that stays
	for it.First(); it.Valid(); it.Next() {
		k, ts, ok := engine.DecodeVersion(it.Key())
		if !ok {
			return removed, nil, corrupt("version key", it.Key())
		}
		if late != nil && bytes.Equal(k, late) {
			scan--
			continue
		}
		if scan <= 0 && !bytes.Equal(k, run.last) {
			next = keys.Key(bytes.Clone(k))
			return removed, next, endRun(next)
		}
		scan--
		if threshold.Less(ts) { // its newest version, which comes first
			if err := endRun(keys.Key(k)); err != nil {
				return removed, nil, err
			}
			late = append(late[:0], k...)
			start = late.Next()
			continue
		}
		b, err := it.ValueAndErr()
		if err != nil {
			return removed, nil, engine.Classify(err)
		}
		if err := run.version(it.Key(), b); err != nil {
			return removed, nil, err
		}
	}
	if err := it.Error(); err != nil {
		return removed, nil, engine.Classify(err)
	}
	return removed, nil, endRun(span.EndKey())
}

// HasVersions reports whether there is any version of any key in span.
func HasVersions(r pebble.Reader, span keys.Span) (bool, error) {
	return some(r, keys.Span{Start: span.Start, End: span.EndKey()})
}

// PurgeTxnRecords removes the ABORTED records decided before threshold, at most limit. Such a record is a
// fence: it keeps a late StageTxn of the transaction from succeeding. A message that is as old as
// the threshold cannot stage any more, since it would stage below the threshold, which is refused too.
func PurgeTxnRecords(r pebble.Reader, w *Writer, span keys.Span, threshold hlc.Timestamp, limit int64) (removed int64, err error) {
	err = eachRecord(r, span, func(rec kv.TxnRecord, _ []byte) (more bool, err error) {
		if rec.Status == kv.TxnAborted && rec.CommitTS.Less(threshold) {
			removed++
			err = w.ClearTxnRecord(rec.Meta.Anchor, rec.Meta.ID)
		}
		return removed < limit, err
	})
	return removed, err
}

// LeftRecords returns records written before threshold whose gateways may have left them, at most limit, in order, from the record key from on if
// there is one. COMMITTED: whoever was to remove them has not come back, and they may go when all their locks are resolved; those that do not say
// where these are stay, and those that others remove. OPEN and STAGING: nobody has decided.
func LeftRecords(r pebble.Reader, span keys.Span, from keys.Key, threshold hlc.Timestamp, limit int) (out []kv.TxnRecord, err error) {
	in := keys.TxnRecordSpan(span.Start, span.EndKey())
	if in.Contains(from) {
		in.Start = from
	}
	err = eachRecordIn(r, in, func(rec kv.TxnRecord, b []byte) (more bool, err error) {
		left := false
		switch rec.Status {
		case kv.TxnCommitted:
			left = !rec.Held && len(rec.Prepared)+len(rec.Spans) > 0
		case kv.TxnOpen, kv.TxnStaging:
			left = true
		}
		if left && rec.CommitTS.Less(threshold) {
			if rec, err = kv.DecodeTxnRecord(bytes.Clone(b)); err != nil { // the other one aliases what the iterator overwrites
				return false, corrupt("transaction record", b)
			}
			out = append(out, rec)
		}
		return len(out) < limit, nil
	})
	return out, err
}

// eachRecord calls f with the transaction records of a span, and what they are read from, while it wants more. Both are good until f returns.
func eachRecord(r pebble.Reader, span keys.Span, f func(rec kv.TxnRecord, b []byte) (more bool, err error)) error {
	return eachRecordIn(r, keys.TxnRecordSpan(span.Start, span.EndKey()), f)
}

// eachRecordIn is eachRecord with the span of the records' own keys.
func eachRecordIn(r pebble.Reader, in keys.Span, f func(rec kv.TxnRecord, b []byte) (more bool, err error)) error {
	return eachIn(r, in, func(_, b []byte) (bool, error) {
		rec, err := kv.DecodeTxnRecord(b)
		if err != nil {
			return false, corrupt("transaction record", b)
		}
		return f(rec, b)
	})
}

// eachIn calls f with the encoded keys of a span, and their values, while it wants more. Both are good until f returns.
func eachIn(r pebble.Reader, s keys.Span, f func(k, v []byte) (more bool, err error)) (err error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: engine.EncodeKey(s.Start), UpperBound: engine.EncodeKey(s.End)})
	if err != nil {
		return engine.Classify(err)
	}
	defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
	for it.First(); it.Valid(); it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return engine.Classify(err)
		}
		if more, err := f(it.Key(), v); err != nil || !more {
			return err
		}
	}
	return engine.Classify(it.Error())
}

// Collectable reports whether the range holds anything that may be garbage, or become it without being written to: versions that are not live,
// outcomes of merges, transaction records. It looks at no more than a key of each kind. (Outcomes of commits go another way: Outcomes.Turn.)
func Collectable(r pebble.Reader, d *kv.RangeDescriptor, st kv.Stats) (bool, error) {
	if st.Versions != st.LiveRows {
		return true, nil
	}
	return some(r, keys.OutcomeSpan(MergeShelf, d.StartKey, d.EndKey), keys.TxnRecordSpan(d.StartKey, d.EndKey))
}
