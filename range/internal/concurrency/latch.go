package concurrency

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/tidwall/btree"

	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
)

// latches of a range. A request's latches are entered all at once, in the order of
// arrival, and it waits until those that were there before and conflict are gone.
type latches struct {
	mu     sync.Mutex
	seq    uint64
	points *btree.BTreeG[*latch] // by key, then seq and index; nil before the first
	spans  []*latch              // few: in-flight requests over intervals

	contended *atomic.Int64
}

type latch struct {
	eval.Latch
	set   *latchSet
	index int // in latches.spans; for points: breaks ties within one set
}

// latchSet is what one request holds or waits for, between two releases.
type latchSet struct {
	seq      uint64
	inline   [3]latch
	items    []latch
	released atomic.Bool
	done     chan struct{} // made by the first that waits for the set; guarded by latches.mu
}

// newPoints makes the tree, when the first point is latched.
func newPoints() *btree.BTreeG[*latch] {
	t := btree.NewBTreeGOptions(func(a, b *latch) bool {
		if c := a.Span.Start.Compare(b.Span.Start); c != 0 {
			return c < 0
		}
		if a.set.seq != b.set.seq {
			return a.set.seq < b.set.seq
		}
		return a.index < b.index
	}, btree.Options{NoLocks: true, Degree: 16})
	// One entry beyond every key, so that the tree keeps its root node when nothing is held.
	t.Set(&latch{Latch: eval.Latch{Span: keys.Span{Start: keys.Key{0xff, 0xff, 0xff, 0xff}}}, set: &zeroSet})
	return t
}

// rest gives back the memory of latches that nobody holds.
func (l *latches) rest() {
	l.mu.Lock()
	if l.points != nil && l.points.Len() == 1 {
		l.points = nil
	}
	if len(l.spans) == 0 {
		l.spans = nil
	}
	l.mu.Unlock()
}

// conflicts: two reads never; two writes always; a read and a write unless the write is later.
func conflicts(a, b *eval.Latch) bool {
	if a.Access == eval.Read {
		if b.Access == eval.Read {
			return false
		}
		a, b = b, a
	}
	if b.Access == eval.Write || a.TS.IsEmpty() || b.TS.IsEmpty() {
		return true
	}
	return a.TS.LessEq(b.TS) // the write a is at or before the read b
}

// acquire enters the latches into set, which is new, and waits until they are held.
func (l *latches) acquire(ctx context.Context, set *latchSet, want []eval.Latch) error {
	set.fill(want)
	l.mu.Lock()
	ahead := l.ahead(set)
	l.enter(set)
	for _, o := range ahead {
		if o.done == nil {
			o.done = make(chan struct{})
		}
	}
	l.mu.Unlock()
	if len(ahead) == 0 {
		return nil
	}

	l.contended.Add(1)
	// The latest first: in a chain of writers, it goes last, and so each release wakes one.
	slices.SortFunc(ahead, func(a, b *latchSet) int { return int(int64(b.seq) - int64(a.seq)) })
	for _, o := range ahead {
		if o.released.Load() {
			continue
		}
		select {
		case <-o.done:
		case <-ctx.Done():
			l.release(set)
			return ctx.Err()
		}
	}
	return nil
}

// tryAcquire is acquire for one who does not wait: it reports whether the latches are held. If not, it has left no trace.
func (l *latches) tryAcquire(set *latchSet, want []eval.Latch) bool {
	set.fill(want)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ahead(set)) > 0 {
		return false
	}
	l.enter(set)
	return true
}

// tryBeside is tryAcquire for latches that are free but for one set, which is held, and for those who wait for it anyway.
func (l *latches) tryBeside(set *latchSet, want []eval.Latch, held *latchSet) bool {
	set.fill(want)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.ahead(set) {
		if o != held && (o.seq < held.seq || !o.waitsFor(held)) {
			return false
		}
	}
	l.enter(set)
	return true
}

// waitsFor reports whether a set that came later waits for one that came before, or has done so.
func (s *latchSet) waitsFor(before *latchSet) bool {
	for i := range s.items {
		for j := range before.items {
			a, b := &s.items[i].Latch, &before.items[j].Latch
			if conflicts(a, b) && (a.Span.Overlaps(b.Span) || a.Span.Start.Equal(b.Span.Start)) {
				return true
			}
		}
	}
	return false
}

func (s *latchSet) fill(want []eval.Latch) {
	if len(want) <= len(s.inline) {
		s.items = s.inline[:len(want)]
	} else {
		s.items = make([]latch, len(want))
	}
	for i := range want {
		s.items[i] = latch{Latch: want[i], set: s, index: i}
	}
}

// ahead returns the sets that the new set must wait for, and gives it its number; l.mu is held.
func (l *latches) ahead(set *latchSet) (ahead []*latchSet) {
	l.seq++
	set.seq = l.seq
	for i := range set.items {
		ahead = l.collect(&set.items[i], ahead)
	}
	return ahead
}

// enter makes others wait for the set; l.mu is held.
func (l *latches) enter(set *latchSet) {
	for i := range set.items {
		it := &set.items[i]
		if it.Span.IsPoint() {
			if l.points == nil {
				l.points = newPoints()
			}
			l.points.Set(it)
		} else {
			it.index = len(l.spans)
			l.spans = append(l.spans, it)
		}
	}
}

// collect appends the sets that it conflicts with; l.mu is held.
func (l *latches) collect(it *latch, ahead []*latchSet) []*latchSet {
	add := func(o *latch) {
		if o.set != it.set && conflicts(&it.Latch, &o.Latch) && (len(ahead) == 0 || ahead[len(ahead)-1] != o.set) {
			ahead = append(ahead, o.set)
		}
	}
	if l.points != nil && l.points.Len() > 1 {
		pivot := latch{Latch: eval.Latch{Span: keys.Span{Start: it.Span.Start}}, set: &zeroSet}
		point := it.Span.IsPoint()
		l.points.Ascend(&pivot, func(o *latch) bool {
			if point {
				if !o.Span.Start.Equal(it.Span.Start) {
					return false
				}
			} else if !o.Span.Start.Less(it.Span.End) {
				return false
			}
			add(o)
			return true
		})
	}
	for _, o := range l.spans {
		if o.Span.Overlaps(it.Span) {
			add(o)
		}
	}
	return ahead
}

var zeroSet latchSet

// release takes the set's latches away and wakes who waits for it.
func (l *latches) release(set *latchSet) {
	l.mu.Lock()
	for i := range set.items {
		it := &set.items[i]
		if it.Span.IsPoint() {
			l.points.Delete(it)
			continue
		}
		last := l.spans[len(l.spans)-1]
		l.spans[it.index] = last
		last.index = it.index
		l.spans[len(l.spans)-1] = nil
		l.spans = l.spans[:len(l.spans)-1]
	}
	set.released.Store(true)
	if set.done != nil {
		close(set.done)
	}
	l.mu.Unlock()
}
