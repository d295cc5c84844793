package eval

import (
	"sort"
	"sync"
	"sync/atomic"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
)

// Gaps remembers spans whose rows have all been deleted: every key of a gap has no version, or a tombstone at or below its timestamp as the newest, and no prepared lock.
//
// Why: what is deleted stays, for reads of the past, until it is older than the GC threshold. Whoever takes the first row of a queue steps over all that were taken from
// it in the last hour, and once more when the read is validated.
//
// When it may be believed:
//
//  1. A locking scan, or a loose one, notes a gap where it has just walked over one. Its latches are at every timestamp, so no write of the span is between its evaluation and its application: what the
//     scan saw is all there is, and all that can come has to be evaluated after it.
//  2. Every write of a version or a lock cuts the gap that it falls into, when it is evaluated, under its latch and before it is proposed (mvcc.Writer.Watch). What is collected
//     as garbage makes no gap wrong.
//  3. So a gap holds of every state from when it was noted until it is cut. Who reads remembers where the count of notes stood before he opened an iterator, and does not
//     believe later ones.
//  4. A write may be on its way, its gap be cut or not, while somebody reads: if it can land at or below what he reads, one of the two has waited for the other's latch. Otherwise
//     it is later than all that he looks at.
//  5. A read at ts that comes after the gap's timestamp finds nothing in it, neither at ts nor uncertain: nothing there is newer. Nor has anything changed there since ts.
//  6. A gap belongs to one leadership, between splits and merges, as floors do (see LockFloors): others write there without this leader.
//
// The zero value has none. It may be used by many goroutines.
type Gaps struct {
	n   atomic.Int32  // of all: most ranges have none
	now atomic.Uint64 // counts notes
	mu  sync.Mutex
	all []gap // in order, disjoint
	few int   // tests: instead of fewGone
}

type gap struct {
	start, end keys.Key // never changed in place
	last       hlc.Timestamp
	noted      uint64
}

const (
	// maxGaps bounds those of one range. Beyond it neighbours become one, the oldest first; what is left apart says more exactly when rows went.
	maxGaps = 64
	// fewGone deleted keys are not worth a note.
	fewGone = 8
)

var _ mvcc.Watch = (*Gaps)(nil)

// Now is the count of notes so far.
func (g *Gaps) Now() uint64 { return g.now.Load() }

// Past returns the first key at or after from that is in no gap, for whoever began at the count at and looks at nothing at or before ts.
func (g *Gaps) Past(from keys.Key, ts hlc.Timestamp, at uint64) keys.Key {
	if g.n.Load() == 0 {
		return from
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := g.after(from); i < len(g.all); i++ {
		x := &g.all[i]
		if from.Less(x.start) || at < x.noted || ts.Less(x.last) {
			break
		}
		from = x.end
	}
	return from
}

// after returns the index of the first gap that ends after key.
func (g *Gaps) after(key keys.Key) int {
	return sort.Search(len(g.all), func(i int) bool { return key.Less(g.all[i].end) })
}

// Note: whoever has latched the span at every timestamp has found it empty of locks, and nothing newer in it than tombstones, gone of them, at last or before. The keys are copied.
func (g *Gaps) Note(span keys.Span, gone int, last hlc.Timestamp) {
	few := fewGone
	if g.few > 0 {
		few = g.few
	}
	if gone < few || !span.Start.Less(span.End) {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.after(span.Start)
	if i < len(g.all) && !span.Start.Less(g.all[i].start) { // what is known already stays as it is
		if span.Start = g.all[i].end; !span.Start.Less(span.End) {
			return
		}
		i++
	}
	j := i
	for j < len(g.all) && !span.End.Less(g.all[j].end) {
		j++
	}
	if j < len(g.all) && g.all[j].start.Less(span.End) {
		if span.End = g.all[j].start; !span.Start.Less(span.End) {
			return
		}
	}
	x := gap{start: span.Start.Clone(), end: span.End.Clone(), last: last, noted: g.now.Load() + 1}
	all := make([]gap, 0, len(g.all)+1)
	all = append(append(append(all, g.all[:i]...), x), g.all[j:]...)
	if len(all) > maxGaps {
		all = fewer(all)
	}
	g.all = all
	g.n.Store(int32(len(all)))
	g.now.Store(x.noted)
}

// fewer makes one of the first two neighbours, or drops the oldest.
func fewer(all []gap) []gap {
	oldest := 0
	for i := range all {
		if all[i].noted < all[oldest].noted {
			oldest = i
		}
		if i+1 < len(all) && all[i].end.Equal(all[i+1].start) {
			all[i].end, all[i].last, all[i].noted = all[i+1].end, all[i].last.Forward(all[i+1].last), max(all[i].noted, all[i+1].noted)
			return append(all[:i+1], all[i+2:]...)
		}
	}
	return append(all[:oldest], all[oldest+1:]...)
}

// Wrote cuts the gap that key is in: from it on the gap is none.
func (g *Gaps) Wrote(key keys.Key) {
	if g.n.Load() == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	i := g.after(key)
	if i == len(g.all) || key.Less(g.all[i].start) {
		return
	}
	if g.all[i].start.Less(key) {
		g.all[i].end = key.Clone()
		return
	}
	g.all = append(g.all[:i], g.all[i+1:]...)
	g.n.Store(int32(len(g.all)))
}

// pastGaps returns what is left of a span for somebody who looks at nothing at or before ts; not Valid if nothing is.
func (e *evaluation) pastGaps(span keys.Span, ts hlc.Timestamp) keys.Span {
	if e.env.Gaps != nil && !span.IsPoint() {
		span.Start = e.env.Gaps.Past(span.Start, ts, e.gapsAt)
	}
	return span
}

// noteGap notes the gap at the beginning of a span that a locking or loose scan has walked over.
func (s *scanState) noteGap(walked keys.Span, it *mvcc.Scan) {
	gone, last, end, ok := it.Head()
	if !ok {
		return
	}
	if end == nil {
		end = walked.End
	}
	if w := s.walk; w != nil && w.first != nil && w.first.Less(end) {
		end = w.first
	}
	s.env.Gaps.Note(keys.Span{Start: walked.Start, End: end}, gone, last)
}
