package mvcc

import (
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// sampledLocks are enough to guess what the others hold.
const sampledLocks = 64

// lockBytes is what a prepared lock adds to kv.Stats.Bytes once its transaction has committed.
func lockBytes(key keys.Key, record []byte) (int64, error) {
	l, err := kv.DecodeLockRecord(record)
	if err != nil {
		return 0, corrupt("lock", record)
	}
	return int64(len(key) + versionOverhead + len(l.Value)), nil
}

// GuessLocks returns about what so many prepared locks in the span add to kv.Stats.Bytes once their transactions have committed: by the last few of them, for those of
// a large transaction are resolved from the first one on, and leave tombstones.
func GuessLocks(r pebble.Reader, span keys.Span, locks int64) (guess int64, err error) {
	it, err := dataIter(r, keys.LockSpan(span.Start, span.End))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
	n, sum := int64(0), int64(0)
	for ok := it.Last(); ok && n < sampledLocks; ok = it.Prev() {
		bytes, err := sizeOfLockAt(it, nil)
		if err != nil {
			return 0, err
		}
		n, sum = n+1, sum+bytes
	}
	if n == 0 {
		return 0, engine.Classify(it.Error())
	}
	return sum * locks / n, engine.Classify(it.Error())
}

// sizeOfLockAt returns the bytes of the lock that the iterator is at, and appends the key that it locks to key, if that is not nil.
func sizeOfLockAt(it *pebble.Iterator, key *keys.Key) (int64, error) {
	k, _, _, ok := engine.DecodeLock(it.Key())
	if !ok {
		return 0, corrupt("lock key", it.Key())
	}
	v, err := it.ValueAndErr()
	if err != nil {
		return 0, engine.Classify(err)
	}
	if key != nil {
		*key = append((*key)[:0], k...)
	}
	return lockBytes(k, v)
}

// SplitKeyByLocks counts what the prepared locks in the span add to kv.Stats.Bytes once their transactions have committed, and returns a key that leaves about the fraction at
// of that to its left, with at least one lock on either side; nil if there is none. guess is about how much that is.
func SplitKeyByLocks(ctx context.Context, r pebble.Reader, span keys.Span, guess int64, at float64) (_ keys.Key, bytes int64, err error) {
	it, err := dataIter(r, keys.LockSpan(span.Start, span.End))
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
	// What the fraction is of is known at the end only. Until then one remembers a key for every 256th of the guess.
	type mark struct {
		key    keys.Key
		passed int64
	}
	var marks []mark
	var key keys.Key
	step, next, n := max(guess/256, 1), int64(0), 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return nil, 0, &kv.Error{Code: kv.CodeCanceled, Message: ctx.Err().Error()}
		}
		size, err := sizeOfLockAt(it, &key)
		if err != nil {
			return nil, 0, err
		}
		if n > 1 && bytes >= next && span.Start.Less(key) {
			marks = append(marks, mark{key.Clone(), bytes})
			next = bytes + step
		}
		bytes += size
	}
	if err := it.Error(); err != nil {
		return nil, 0, engine.Classify(err)
	}
	s := splitter{aim: int64(float64(bytes) * at)}
	for _, m := range marks {
		s.offer(m.key, m.passed)
	}
	return s.best, bytes, nil
}
