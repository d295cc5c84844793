package replica

import (
	"sync"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/rest"
)

// closedTracker finds the closed timestamp: one at or below which nothing that is
// being evaluated, or will be, writes. Every write registers before it is evaluated
// and is given a floor above which it must write; the closed timestamp is the lowest floor of those that
// have not been proposed yet.
type closedTracker struct {
	mu      sync.Mutex
	buckets []*closedBucket
	least   hlc.Timestamp // what floors are not below, whatever the target
}

type closedBucket struct {
	floor hlc.Timestamp
	n     int
}

// bucketStep is how much floors of neighbouring buckets differ at least: it bounds their number.
const bucketStep = 100 * time.Millisecond

// begin registers a write; target is what the floor should be. The caller calls end when
// the write has been proposed or dropped.
func (t *closedTracker) begin(target hlc.Timestamp) *closedBucket {
	t.mu.Lock()
	defer t.mu.Unlock()
	target = target.Forward(t.least)
	if n := len(t.buckets); n == 0 || t.buckets[n-1].floor.Add(bucketStep).Less(target) || t.buckets[n-1].floor.Less(t.least) {
		t.buckets = append(t.buckets, &closedBucket{floor: target})
	}
	b := t.buckets[len(t.buckets)-1]
	b.n++
	return b
}

func (t *closedTracker) end(b *closedBucket) {
	t.mu.Lock()
	b.n--
	t.mu.Unlock()
}

// closed returns the closed timestamp: every write that is not in the log yet lands above it.
func (t *closedTracker) closed() hlc.Timestamp {
	t.mu.Lock()
	defer t.mu.Unlock()
	for len(t.buckets) > 1 && t.buckets[0].n == 0 {
		t.buckets = t.buckets[1:]
	}
	if len(t.buckets) == 0 {
		return hlc.Timestamp{}
	}
	return t.buckets[0].floor
}

// raise makes floors from now on no lower than ts.
func (t *closedTracker) raise(ts hlc.Timestamp) {
	t.mu.Lock()
	t.least = t.least.Forward(ts)
	t.mu.Unlock()
}

// told returns the highest raise.
func (t *closedTracker) told() hlc.Timestamp {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.least
}

// idle reports whether nothing is being evaluated.
func (t *closedTracker) idle() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.buckets {
		if b.n > 0 {
			return false
		}
	}
	return true
}

// A leader whose range has come to rest lets its store say what is closed (package rest): until it is stirred, everything that may ever
// be written lands above what the store says. Whoever is about to write stirs it first.

// rest puts the range, which is led here and about to become quiet, into its store's set, and reports whether it did. raftMu is held.
func (r *Replica) rest() bool {
	s := r.snapshotState()
	return r.deps.Owner.Rest(r, s.applied.AppliedIndex, func() bool {
		// A write that began before it could see this looks again after it has registered (beginWrite).
		r.resting.Store(true)
		if r.closed.idle() && r.inflight.Load() == 0 {
			return true
		}
		r.resting.Store(false)
		return false
	})
}

// stir takes the range out of the set.
func (r *Replica) stir() {
	if r.resting.Load() {
		r.deps.Owner.Stir(r)
	}
}

// Stirred is told, under the set's lock, that the range was taken out of it. What is written from now on lands above told, the latest
// that was said of it.
func (r *Replica) Stirred(told hlc.Timestamp) {
	r.closed.raise(told)
	r.resting.Store(false)
}

// beginWrite registers a write.
func (r *Replica) beginWrite(s *state) *closedBucket {
	for {
		r.stir()
		b := r.closed.begin(r.closedTarget(s))
		if !r.resting.Load() {
			return b
		}
		r.closed.end(b) // it came to rest meanwhile
	}
}

// Outlasts reports whether the support of this leader's range reaches beyond ts. It is for ranges at rest.
func (r *Replica) Outlasts(ts hlc.Timestamp) bool {
	s := r.snapshotState()
	return s.serving && !s.transferring && s.stopped == nil && s.desc != nil && ts.Less(r.computeLease(s.desc, s.term))
}

// heardClosed is what the leader's store has said: ts, or what cov says, holds for whoever has applied index.
type heardClosed struct {
	index uint64
	ts    hlc.Timestamp
	cov   *rest.Coverage // nil if the range has been stirred since
}

// Cover takes what the store of the range's leader says of the range: see rest.Covered.
func (r *Replica) Cover(index uint64, c *rest.Coverage) {
	r.heard.Store(&heardClosed{index: index, cov: c})
	if r.behind() {
		r.Wake()
	}
}

// behind reports whether the range is at rest and there is something that this replica has not applied. It has the entries, or its leader would not
// rest; that they are committed it was told by messages that were lost, and no more will come.
func (r *Replica) behind() bool {
	h, s := r.heard.Load(), r.snapshotState()
	return h != nil && h.cov != nil && s.desc != nil && s.applied.AppliedIndex < h.index
}

// covered reports whether the leader's store has said that the range is at rest where this replica is. That is said again until it is heard, and of a replica
// that is no more to nobody: one that was taken out unheard, of a range that has been merged away since, goes on asking until it is told.
func (r *Replica) covered() bool {
	h, s := r.heard.Load(), r.snapshotState()
	return s.desc == nil || h != nil && h.cov != nil && h.index == s.applied.AppliedIndex
}

// Uncover: see Cover.
func (r *Replica) Uncover(c *rest.Coverage) {
	if old := r.heard.Load(); old != nil && old.cov == c {
		r.heard.Store(&heardClosed{index: old.index, ts: c.TS()})
	}
}

// closedHere returns the timestamp up to which this replica's state s is complete.
func (r *Replica) closedHere(s *state) hlc.Timestamp {
	ts := s.applied.ClosedTS
	if h := r.heard.Load(); h != nil && h.index <= s.applied.AppliedIndex {
		ts = ts.Forward(h.ts)
		if h.cov != nil {
			ts = ts.Forward(h.cov.TS())
		}
	}
	return ts
}
