package mvcc

import (
	"bytes"
	"context"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// SplitKey returns a key that leaves about the fraction at of the bytes in the span to its left, with at least one key on either
// side; nil if there is none. total is what the span holds, as kv.Stats counts it; it may be out of date. The scan begins
// at the nearer end, and reads no more than it must.
//
// A row is one key, so no key is in the middle of one. If the span has several indexes, and one of them begins in the middle half,
// then that is where to cut: what belongs together stays together.
func SplitKey(ctx context.Context, r pebble.Reader, span keys.Span, total int64, at float64) (keys.Key, error) {
	if at > 0.5 {
		return splitFromEnd(ctx, r, span, int64(float64(total)*(1-at)))
	}
	return splitFromStart(ctx, r, span, total, at)
}

// splitter keeps the boundary between two keys that is nearest to the aim.
type splitter struct {
	aim  int64
	best keys.Key
	off  int64 // how far best is from the aim
}

// offer proposes to cut where bytes lie on the side that the scan comes from.
func (s *splitter) offer(k keys.Key, bytes int64) {
	off := bytes - s.aim
	if off < 0 {
		off = -off
	}
	if s.best == nil || off < s.off {
		s.best, s.off = append(s.best[:0], k...), off
	}
}

func splitFromStart(ctx context.Context, r pebble.Reader, span keys.Span, total int64, at float64) (_ keys.Key, err error) {
	it, err := dataIter(r, span)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
	several := false
	if at == 0.5 {
		if several, err = severalIndexes(it); err != nil {
			return nil, err
		}
	}
	aim := int64(float64(total) * at)
	rows, seams := splitter{aim: aim}, splitter{aim: aim}
	lo, hi := total/4, total*3/4
	err = boundaries(ctx, it, it.First, it.Next, func(last, key keys.Key, passed int64) (done bool) {
		rows.offer(key, passed)
		if several && passed >= lo && passed <= hi {
			if p := indexPrefix(key); p != nil && !bytes.HasPrefix(last, p) {
				seams.offer(p, passed)
			}
		}
		return passed >= aim && (!several || passed > hi)
	})
	if err != nil {
		return nil, err
	}
	if seams.best != nil && !span.Start.Equal(seams.best) {
		return seams.best, nil
	}
	return rows.best, nil
}

func splitFromEnd(ctx context.Context, r pebble.Reader, span keys.Span, aim int64) (_ keys.Key, err error) {
	it, err := dataIter(r, span)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engine.Classify(it.Close())) }()
	s := splitter{aim: aim}
	err = boundaries(ctx, it, it.Last, it.Prev, func(last, _ keys.Key, passed int64) (done bool) {
		s.offer(last, passed) // a key lies to the left of last
		return passed >= aim
	})
	return s.best, err
}

// boundaries walks over all versions and calls f between two keys, with the bytes that it has passed, until f says that it is done. The keys are
// f's until it returns.
func boundaries(ctx context.Context, it *pebble.Iterator, begin, next func() bool, f func(last, key keys.Key, passed int64) (done bool)) error {
	var last keys.Key
	var c counter
	n := 0
	for ok := begin(); ok; ok = next() {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return &kv.Error{Code: kv.CodeCanceled, Message: ctx.Err().Error()}
		}
		key, _, ok := engine.DecodeVersion(it.Key())
		if !ok {
			return corrupt("version key", it.Key())
		}
		if !bytes.Equal(key, last) {
			if last != nil && f(last, key, c.Bytes) {
				return nil
			}
			last = append(last[:0], key...)
		}
		v, err := it.ValueAndErr()
		if err != nil {
			return engine.Classify(err)
		}
		if err := c.version(it.Key(), v); err != nil {
			return err
		}
	}
	return engine.Classify(it.Error())
}

func dataIter(r pebble.Reader, span keys.Span) (*pebble.Iterator, error) {
	it, err := r.NewIter(&pebble.IterOptions{
		KeyTypes: pebble.IterKeyTypePointsOnly, LowerBound: engine.EncodeKey(span.Start), UpperBound: engine.EncodeKey(span.End),
	})
	return it, engine.Classify(err)
}

// severalIndexes reports whether the first and the last key are of different indexes. It moves the iterator.
func severalIndexes(it *pebble.Iterator) (bool, error) {
	prefix := func(ok bool) keys.Key {
		if !ok {
			return nil
		}
		k, _, ok := engine.DecodeVersion(it.Key())
		if !ok {
			return nil
		}
		return indexPrefix(k)
	}
	first := prefix(it.First())
	last := prefix(it.Last())
	return first != nil && last != nil && !first.Equal(last), engine.Classify(it.Error())
}

// indexPrefix returns what all keys of k's index begin with; nil if k is of none.
func indexPrefix(k keys.Key) keys.Key {
	table, index, _, err := keys.DecodeIndex(k)
	if err != nil {
		return nil
	}
	return keys.Index(table, index)
}
