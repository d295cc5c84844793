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
	// Local is when the version was written as the leader of then saw it: TS, or the timestamp of the
	// lock that became the version if the transaction committed later than it had prepared here.
	Local hlc.Timestamp
}

// Window says which versions later than a read's timestamp are uncertain: those at or below
// Global that were written here (Version.Local) at or below Local. The zero Window is empty.
//
// The two differ when the transaction has seen this leader's clock before (kv.TxnMeta.Observed): whatever
// is written here after that cannot be from before the transaction began. A version's own timestamp
// does not tell when it was written: a transaction that prepared here at 5 and commits at 7 because of
// another range may be acknowledged before this leader's clock has passed 7.
type Window struct{ Local, Global hlc.Timestamp }

func (w Window) uncertain(ts, local hlc.Timestamp) bool {
	return ts.LessEq(w.Global) && local.LessEq(w.Local)
}

// The first byte of a stored version.
const (
	kindValue     = 1
	kindTombstone = 2
	// flagLocal: 12 bytes of Version.Local follow. Without it, Local is the version's timestamp.
	flagLocal = 0x10
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
// it is a tombstone. An uncertain version makes it fail with kv.CodeUncertain at that version's timestamp.
func (r *Reader) Get(key keys.Key, ts hlc.Timestamp, w Window) (v Version, ok bool, err error) {
	if v, ok, err = r.at(key, ts.Forward(w.Global)); err != nil || !ok {
		return Version{}, false, err
	}
	for ts.Less(v.TS) {
		if w.uncertain(v.TS, v.Local) {
			return Version{}, false, uncertain(key, v.TS)
		}
		if !r.data.Next() { // still within the key: the seek was by prefix
			return Version{}, false, engine.Classify(r.data.Error())
		}
		if v, err = r.current(len(key)); err != nil {
			return Version{}, false, err
		}
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
	v, err = r.current(len(key))
	return v, err == nil, err
}

// current decodes the version that the data iterator stands on.
func (r *Reader) current(keyLen int) (v Version, err error) {
	k := r.data.Key()
	var ok bool
	if v.TS, ok = engine.DecodeVersionSuffix(k[keyLen+1:]); !ok {
		return v, corrupt("version key", k)
	}
	val, err := r.data.ValueAndErr()
	if err != nil {
		return v, engine.Classify(err)
	}
	v.Local = v.TS
	v.Deleted, v.Value, err = decodeValue(val, &v.Local)
	return v, err
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

// LockFrom is Lock for a key on which no lock of a transaction with an id below least stands. It does not look past where those are: entries of locks that
// have gone stay in the engine for a while, the newest transactions' first, and stepping over them takes time. steps is how many it stepped over.
func (r *Reader) LockFrom(key keys.Key, least kv.TxnID) (l *kv.LockRecord, steps int, err error) {
	it, err := r.lockIter()
	if err != nil {
		return nil, 0, err
	}
	r.buf = engine.AppendLockKey(r.buf[:0], key)
	if !least.IsZero() {
		r.buf2 = engine.AppendLock(r.buf2[:0], key, kv.LockUpdate, least.Prev())
		it.SetBounds(nil, r.buf2)
		defer it.SetBounds(nil, nil)
	}
	before := it.Stats().ForwardStepCount[pebble.InternalIterCall]
	if !it.SeekPrefixGE(r.buf) {
		return nil, it.Stats().ForwardStepCount[pebble.InternalIterCall] - before, engine.Classify(it.Error())
	}
	l, err = lockAt(it)
	return l, it.Stats().ForwardStepCount[pebble.InternalIterCall] - before, err
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

// decodeValue takes a stored version apart; it sets *local only if the version says so.
func decodeValue(b []byte, local *hlc.Timestamp) (deleted bool, value []byte, err error) {
	if len(b) == 0 {
		return false, nil, corrupt("version value", b)
	}
	kind, rest := b[0], b[1:]
	if kind == kindValue { // nearly all
		return false, rest, nil
	}
	if kind&flagLocal != 0 {
		var l hlc.Timestamp
		if l, rest, err = hlc.Decode(rest); err != nil {
			return false, nil, corrupt("version value", b)
		}
		if local != nil {
			*local = l
		}
	}
	switch kind &^ flagLocal {
	case kindValue:
		return false, rest, nil
	case kindTombstone:
		if len(rest) == 0 {
			return true, nil, nil
		}
	}
	return false, nil, corrupt("version value", b)
}

func uncertain(key keys.Key, ts hlc.Timestamp) error {
	return &kv.Error{Code: kv.CodeUncertain, Key: key.Clone(), TS: ts}
}
