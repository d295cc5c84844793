package mvcc

import (
	"bytes"
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/keys"
)

// Scan iterates over the keys of a span that are visible at a timestamp. It allocates nothing per row.
//
//	s := r.Scan(span, false, ts, window)
//	for s.Next() { use s.Key(), s.Value() }
//	err := s.Err()
type Scan struct {
	it      *pebble.Iterator
	ts      hlc.Timestamp
	window  Window
	reverse bool
	started bool
	err     error

	prefix []byte // the current key and its 0x00
	value  []byte
	valBuf []byte // backs value in reverse scans
	cur    hlc.Timestamp
	newest hlc.Timestamp
	seek   []byte
	upper  []byte
	head   head
}

// head is what a forward scan has passed before the first key that is more than a tombstone.
type head struct {
	wanted bool // and not at its end yet
	ended  bool
	gone   int
	last   hlc.Timestamp // the latest of the tombstones
	end    keys.Key      // nil: all of the span
}

// stepsBeforeSeek is how many versions of one key a scan walks over before it seeks: a step
// within a block costs about a tenth of a seek.
const stepsBeforeSeek = 5

func (s *Scan) reset() {
	s.it, s.err, s.value = nil, nil, nil
	s.started, s.head = false, head{}
	if cap(s.valBuf) > 1<<20 {
		s.valBuf = nil
	}
}

// Scan starts a scan of span at ts. An uncertain version ends it with kv.CodeUncertain. A Reader has
// one Scan: the last one ends when the next begins, or when another method reads versions.
func (r *Reader) Scan(span keys.Span, reverse bool, ts hlc.Timestamp, w Window) *Scan {
	s := &r.scan
	s.reset()
	s.ts, s.window, s.reverse = ts, w, reverse
	it, err := r.dataIter()
	if err != nil {
		s.err = err
		return s
	}
	s.seek = engine.AppendKey(s.seek[:0], span.Start)
	if span.IsPoint() {
		s.upper = engine.AppendKey(append(s.upper[:0], span.Start...), keys.Key{0})
	} else {
		s.upper = engine.AppendKey(s.upper[:0], span.End)
	}
	it.SetBounds(s.seek, s.upper)
	s.it = it
	return s
}

// Key returns the row's key, valid until Next.
func (s *Scan) Key() keys.Key { return s.prefix[: len(s.prefix)-1 : len(s.prefix)-1] }

// Value returns the row's value, valid until Next.
func (s *Scan) Value() []byte { return s.value }

// TS returns the timestamp of the row's version.
func (s *Scan) TS() hlc.Timestamp { return s.cur }

// Newest returns the timestamp of the newest version of the row's key, which is later than TS
// if the row has been overwritten or deleted since.
func (s *Scan) Newest() hlc.Timestamp { return s.newest }

// WatchHead makes a scan that has not begun note what Head returns.
func (s *Scan) WatchHead() { s.head.wanted = !s.reverse }

// Head returns how many keys the scan has passed whose newest version is a tombstone at or below its timestamp, and the latest of these, before the first key of which that is not
// true; end is that key, nil if there is none in the span. ok is false if the scan has not got so far.
func (s *Scan) Head() (gone int, last hlc.Timestamp, end keys.Key, ok bool) {
	return s.head.gone, s.head.last, s.head.end, s.head.ended
}

// endHead: the current key is more than a tombstone.
func (s *Scan) endHead() {
	if s.head.wanted {
		s.head.wanted, s.head.ended, s.head.end = false, true, s.Key().Clone()
	}
}

// Err returns what ended the scan, nil at its end.
func (s *Scan) Err() error { return s.err }

// Close ends the scan before its end and lets the Reader read points again without bounds.
func (s *Scan) Close() {
	if s.it != nil {
		s.it.SetBounds(nil, nil)
		s.it = nil
	}
}

// Next moves to the next visible row; false at the end or on an error.
func (s *Scan) Next() bool {
	if s.it == nil || s.err != nil {
		return false
	}
	var ok bool
	if s.reverse {
		ok = s.prev()
	} else {
		ok = s.next()
	}
	if !ok {
		if s.err == nil {
			s.err = engine.Classify(s.it.Error())
		}
		if s.err == nil && s.head.wanted {
			s.head.wanted, s.head.ended = false, true
		}
		s.Close()
	}
	return ok
}

// split cuts the current Pebble key into prefix and timestamp.
func (s *Scan) split() (prefix []byte, ts hlc.Timestamp, ok bool) {
	k := s.it.Key()
	n := len(k)
	switch {
	case n > 10 && k[n-1] == 9:
		return k[: n-9 : n-9], hlc.Timestamp{WallTime: int64(binary.BigEndian.Uint64(k[n-9:]))}, true
	case n > 14 && k[n-1] == 13:
		return k[: n-13 : n-13], hlc.Timestamp{WallTime: int64(binary.BigEndian.Uint64(k[n-13:])), Logical: binary.BigEndian.Uint32(k[n-5:])}, true
	}
	s.err = corrupt("version key", k)
	return nil, ts, false
}

// load decodes the current value into s.value, which aliases Pebble's memory.
func (s *Scan) load() (deleted, ok bool) {
	b, err := s.it.ValueAndErr()
	if err != nil {
		s.err = engine.Classify(err)
		return false, false
	}
	if deleted, s.value, err = decodeValue(b, nil); err != nil {
		s.err = err
		return false, false
	}
	return deleted, true
}

func (s *Scan) next() bool {
	var valid bool
	if !s.started {
		s.started = true
		s.prefix = s.prefix[:0]
		valid = s.it.First()
	} else {
		valid = s.it.Next()
	}
	for valid {
		prefix, ts, ok := s.split()
		if !ok {
			return false
		}
		if bytes.Equal(prefix, s.prefix) {
			// An older version of a row that was dealt with. One more is likely after it.
			valid = s.it.NextPrefix()
			continue
		}
		s.prefix = append(s.prefix[:0], prefix...)
		s.newest = ts
		if s.ts.Less(ts) {
			s.endHead()
			if ts, ok = s.older(ts); !ok {
				if s.err != nil {
					return false
				}
				valid = s.it.Valid() // it stands on the next key
				continue
			}
		}
		deleted, ok := s.load()
		if !ok {
			return false
		}
		if !deleted {
			s.endHead()
			s.cur = ts
			return true
		}
		if s.head.wanted {
			s.head.gone++
			s.head.last = s.head.last.Forward(ts)
		}
		valid = s.it.Next()
	}
	return false
}

// tooNew handles a version later than the read: it reports whether it may be passed over.
func (s *Scan) tooNew(ts hlc.Timestamp) bool {
	if s.window.Global.Less(ts) {
		return true
	}
	local := ts
	b, err := s.it.ValueAndErr()
	if err == nil {
		_, _, err = decodeValue(b, &local)
	}
	if err != nil {
		s.err = engine.Classify(err)
		return false
	}
	if s.window.uncertain(ts, local) {
		s.err = uncertain(s.Key(), ts)
		return false
	}
	return true
}

// older moves from a version that is too new to the newest visible one of the same key. If there
// is none it leaves the iterator on the next key.
func (s *Scan) older(ts hlc.Timestamp) (hlc.Timestamp, bool) {
	for i := 0; ; i++ {
		if !s.tooNew(ts) {
			return ts, false
		}
		// Versions inside the window must be looked at one by one; those above it can be jumped over.
		top := s.ts.Forward(s.window.Global)
		var valid bool
		if i >= stepsBeforeSeek && top.Less(ts) {
			s.seek = engine.AppendVersionSuffix(append(s.seek[:0], s.prefix...), top)
			valid = s.it.SeekGE(s.seek)
		} else {
			valid = s.it.Next()
		}
		if !valid {
			return ts, false
		}
		prefix, t, ok := s.split()
		if !ok || !bytes.Equal(prefix, s.prefix) {
			return ts, false
		}
		if t.LessEq(s.ts) {
			return t, true
		}
		ts = t
	}
}

func (s *Scan) prev() bool {
	var valid bool
	if !s.started {
		s.started = true
		valid = s.it.Last()
	} else {
		valid = s.it.Valid()
	}
	for valid {
		// The iterator stands on the oldest version of a key. Walk to its newest, keeping the last visible value.
		prefix, ts, ok := s.split()
		if !ok {
			return false
		}
		s.prefix = append(s.prefix[:0], prefix...)
		found, deleted, same := false, false, true
		for i := 0; valid && same; i++ {
			if i == stepsBeforeSeek {
				if found, deleted, ok = s.fromNewest(); !ok {
					return false
				}
				valid = s.it.SeekLT(s.prefix)
				break
			}
			s.newest = ts
			switch {
			case ts.LessEq(s.ts):
				if deleted, ok = s.load(); !ok {
					return false
				}
				s.valBuf = append(s.valBuf[:0], s.value...)
				found, s.cur = true, ts
			case !s.tooNew(ts):
				return false
			}
			if valid = s.it.Prev(); valid {
				if prefix, ts, ok = s.split(); !ok {
					return false
				}
				same = bytes.Equal(prefix, s.prefix)
			}
		}
		if found && !deleted {
			if !valid {
				if s.err = engine.Classify(s.it.Error()); s.err != nil {
					return false
				}
			}
			s.value = s.valBuf
			return true
		}
	}
	return false
}

// fromNewest finds the visible version of the current key from its newest version on, for keys with many versions.
func (s *Scan) fromNewest() (found, deleted, ok bool) {
	if !s.it.SeekGE(s.prefix) {
		s.err = engine.Classify(s.it.Error())
		if s.err == nil {
			s.err = corrupt("iterator lost key", s.prefix)
		}
		return false, false, false
	}
	_, ts, ok := s.split()
	if !ok {
		return false, false, false
	}
	s.newest = ts
	if s.ts.Less(ts) {
		if ts, ok = s.older(ts); !ok {
			return false, false, s.err == nil
		}
	}
	if deleted, ok = s.load(); !ok {
		return false, false, false
	}
	s.valBuf = append(s.valBuf[:0], s.value...)
	s.cur = ts
	return true, deleted, true
}
