package replica

import (
	"sync"
	"time"

	"github.com/pamirdb/pamir/hlc"
)

// closedTracker finds the closed timestamp: one at or below which nothing that is
// being evaluated, or will be, writes. Every write registers before it is evaluated
// and is given a floor above which it must write; the closed timestamp is the lowest floor of those that
// have not been proposed yet.
type closedTracker struct {
	mu      sync.Mutex
	buckets []*closedBucket
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
	if n := len(t.buckets); n == 0 || t.buckets[n-1].floor.Add(bucketStep).Less(target) {
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

// heardClosed is a closed timestamp that came with a store heartbeat: it holds for whoever has applied index.
type heardClosed struct {
	index uint64
	ts    hlc.Timestamp
}

// QuietClosed returns a closed timestamp of a group that is led here and is quiet, and the log position that it
// holds from; ok is false if there is none to tell.
func (r *Replica) QuietClosed() (index uint64, ts hlc.Timestamp, ok bool) {
	s := r.snapshotState()
	if !r.quiet.Load() || !s.serving {
		return 0, ts, false
	}
	if err := r.mayServe(&s, hlc.Timestamp{}); err != nil {
		return 0, ts, false
	}
	r.closed.end(r.closed.begin(r.closedTarget(&s)))
	ts = r.closed.closed()
	// The order matters: a write at or below ts was proposed before closed looked; it is counted in flight
	// until it has been applied, and then the index that is read below covers it.
	if r.inflight.Load() != 0 {
		return 0, ts, false
	}
	s = r.snapshotState()
	return s.applied.AppliedIndex, ts, s.serving
}

// HeardClosed takes what QuietClosed returned on the leader.
func (r *Replica) HeardClosed(index uint64, ts hlc.Timestamp) {
	if old := r.heard.Load(); old == nil || old.ts.Less(ts) {
		r.heard.Store(&heardClosed{index: index, ts: ts})
	}
}

// closedHere returns the timestamp up to which this replica's state s is complete.
func (r *Replica) closedHere(s *state) hlc.Timestamp {
	ts := s.applied.ClosedTS
	if h := r.heard.Load(); h != nil && h.index <= s.applied.AppliedIndex {
		ts = ts.Forward(h.ts)
	}
	return ts
}
