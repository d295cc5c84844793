package mvcc

import (
	"bytes"
	"errors"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Version of a key. Value aliases the Reader's memory until its next call.
type Version struct {
	TS      hlc.Timestamp
	Deleted bool
	Value   []byte
}

const (
	kindValue     = 1
	kindTombstone = 2
)

// Reader reads versions and locks. It keeps one Pebble iterator per key space for
// all the reads of a request, so it sees one state of the engine per key space, that
// of its first read there. Not for concurrent use. Close gives it back to a pool.
type Reader struct {
	src   pebble.Reader
	data  *pebble.Iterator
	locks *pebble.Iterator
	opts  pebble.IterOptions
	buf   []byte // seek keys
	buf2  []byte
	scan  Scan
}

var readers = sync.Pool{New: func() any { return new(Reader) }}

// NewReader returns a Reader of src, which must stay open until Close.
func NewReader(src pebble.Reader) *Reader {
	r := readers.Get().(*Reader)
	r.src = src
	return r
}

// Close ends the reads. Nothing the Reader returned may be used afterwards.
func (r *Reader) Close() error {
	var err error
	if r.data != nil {
		err = r.data.Close()
	}
	if r.locks != nil {
		err = errors.Join(err, r.locks.Close())
	}
	r.src, r.data, r.locks = nil, nil, nil
	r.scan.reset()
	readers.Put(r)
	return engine.Classify(err)
}

func (r *Reader) dataIter() (*pebble.Iterator, error) {
	if r.data == nil {
		r.opts = pebble.IterOptions{KeyTypes: pebble.IterKeyTypePointsOnly}
		it, err := r.src.NewIter(&r.opts)
		if err != nil {
			return nil, engine.Classify(err)
		}
		r.data = it
	}
	return r.data, nil
}

func (r *Reader) lockIter() (*pebble.Iterator, error) {
	if r.locks == nil {
		r.opts = pebble.IterOptions{KeyTypes: pebble.IterKeyTypePointsOnly}
		it, err := r.src.NewIter(&r.opts)
		if err != nil {
			return nil, engine.Classify(err)
		}
		r.locks = it
	}
	return r.locks, nil
}

// Get returns the version of key that is visible at ts; ok is false if there is none or if
// it is a tombstone. If limit is later than ts, a version in (ts, limit] makes it fail with
// kv.CodeUncertain at that version's timestamp.
func (r *Reader) Get(key keys.Key, ts, limit hlc.Timestamp) (v Version, ok bool, err error) {
	v, ok, err = r.at(key, ts.Forward(limit))
	if err != nil || !ok {
		return Version{}, false, err
	}
	if ts.Less(v.TS) {
		return Version{}, false, uncertain(key, v.TS)
	}
	return v, !v.Deleted, nil
}

// Newest returns the newest version of key, tombstone or not; ok is false if there is none.
func (r *Reader) Newest(key keys.Key) (v Version, ok bool, err error) {
	return r.at(key, hlc.Max)
}

// at returns the newest version of key at or below ts, tombstone or not.
func (r *Reader) at(key keys.Key, ts hlc.Timestamp) (v Version, ok bool, err error) {
	it, err := r.dataIter()
	if err != nil {
		return v, false, err
	}
	r.scan.Close()
	r.buf = engine.AppendKey(r.buf[:0], key)
	if ts != hlc.Max {
		r.buf = engine.AppendVersionSuffix(r.buf, ts)
	}
	// The prefix seek lets bloom filters answer for keys that are not there.
	if !it.SeekPrefixGE(r.buf) {
		return v, false, engine.Classify(it.Error())
	}
	k := it.Key()
	if v.TS, ok = engine.DecodeVersionSuffix(k[len(key)+1:]); !ok {
		return v, false, corrupt("version key", k)
	}
	val, err := it.ValueAndErr()
	if err != nil {
		return v, false, engine.Classify(err)
	}
	v.Deleted, v.Value, err = decodeValue(val)
	return v, err == nil, err
}

// Changed looks for a version in (after, upTo] in span, tombstones included, and returns the first it finds.
func (r *Reader) Changed(span keys.Span, after, upTo hlc.Timestamp) (key keys.Key, ts hlc.Timestamp, found bool, err error) {
	if !after.Less(upTo) {
		return nil, ts, false, nil
	}
	if span.IsPoint() {
		v, ok, err := r.at(span.Start, upTo)
		if err != nil || !ok || v.TS.LessEq(after) {
			return nil, ts, false, err
		}
		return span.Start, v.TS, true, nil
	}
	// Most blocks hold nothing so new: skip them by their time interval.
	filters := make([]pebble.BlockPropertyFilter, 1, 2)
	filters[0] = engine.NewTimeFilter(after, upTo)
	it, err := r.src.NewIter(&pebble.IterOptions{
		KeyTypes:        pebble.IterKeyTypePointsOnly,
		LowerBound:      engine.EncodeKey(span.Start),
		UpperBound:      engine.EncodeKey(span.End),
		PointKeyFilters: filters,
	})
	if err != nil {
		return nil, ts, false, engine.Classify(err)
	}
	defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
	for it.First(); it.Valid(); it.Next() {
		k, vts, ok := engine.DecodeVersion(it.Key())
		if !ok {
			return nil, ts, false, corrupt("version key", it.Key())
		}
		if after.Less(vts) && vts.LessEq(upTo) {
			return k.Clone(), vts, true, nil
		}
	}
	return nil, ts, false, engine.Classify(it.Error())
}

// Lock returns the lock on key; nil if there is none. It shares nothing.
func (r *Reader) Lock(key keys.Key) (*kv.LockRecord, error) {
	it, err := r.lockIter()
	if err != nil {
		return nil, err
	}
	r.buf = engine.AppendLockKey(r.buf[:0], key)
	if !it.SeekPrefixGE(r.buf) {
		return nil, engine.Classify(it.Error())
	}
	return lockAt(it)
}

// Locks calls fn for every lock on a key of span, in key order, until it returns false. The arguments share nothing.
func (r *Reader) Locks(span keys.Span, fn func(key keys.Key, l *kv.LockRecord) bool) error {
	if span.IsPoint() {
		l, err := r.Lock(span.Start)
		if err == nil && l != nil {
			fn(span.Start, l)
		}
		return err
	}
	it, err := r.lockIter()
	if err != nil {
		return err
	}
	r.buf = engine.AppendLockKey(r.buf[:0], span.Start)
	r.buf2 = engine.AppendLockKey(r.buf2[:0], span.End)
	it.SetBounds(r.buf, r.buf2)
	defer it.SetBounds(nil, nil)
	for it.First(); it.Valid(); it.Next() {
		key, _, _, ok := engine.DecodeLock(it.Key())
		if !ok {
			return corrupt("lock key", it.Key())
		}
		l, err := lockAt(it)
		if err != nil {
			return err
		}
		if !fn(key.Clone(), l) {
			return nil
		}
	}
	return engine.Classify(it.Error())
}

func lockAt(it *pebble.Iterator) (*kv.LockRecord, error) {
	_, _, id, ok := engine.DecodeLock(it.Key())
	if !ok {
		return nil, corrupt("lock key", it.Key())
	}
	b, err := it.ValueAndErr()
	if err != nil {
		return nil, engine.Classify(err)
	}
	l, err := kv.DecodeLockRecord(bytes.Clone(b))
	if err != nil || l.Txn.ID != id {
		return nil, corrupt("lock", b)
	}
	return &l, nil
}

// TxnRecord returns the record of the transaction anchored at anchor; nil if there is none.
func (r *Reader) TxnRecord(anchor keys.Key, id kv.TxnID) (*kv.TxnRecord, error) {
	b, ok, err := load(r.src, engine.EncodeKey(keys.TxnRecord(anchor, id)))
	if err != nil || !ok {
		return nil, err
	}
	rec, err := kv.DecodeTxnRecord(b)
	if err != nil || rec.Meta.ID != id {
		return nil, corrupt("transaction record", b)
	}
	return &rec, nil
}

// CommitOutcome: see LoadCommitOutcome.
func (r *Reader) CommitOutcome(rng kv.RangeID, id kv.TxnID) (CommitOutcome, bool, error) {
	return LoadCommitOutcome(r.src, rng, id)
}

func decodeValue(b []byte) (deleted bool, value []byte, err error) {
	if len(b) > 0 {
		switch b[0] {
		case kindValue:
			return false, b[1:], nil
		case kindTombstone:
			if len(b) == 1 {
				return true, nil, nil
			}
		}
	}
	return false, nil, corrupt("version value", b)
}

func uncertain(key keys.Key, ts hlc.Timestamp) error {
	return &kv.Error{Code: kv.CodeUncertain, Key: key.Clone(), TS: ts}
}
