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
