package node

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// syncTime is how long a sync of the log takes on this node's disk, smoothed like the rates of ranges.
type syncTime struct {
	mu           sync.Mutex
	at           time.Time // of the last reading; guarded by mu, like the rest
	syncs, nanos int64
	rate, took   float64 // a second: syncs, and nanoseconds of them
}

// update takes a reading of the counters. It may be called at any time.
func (s *syncTime) update(now time.Time, syncs, nanos int64) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sec := now.Sub(s.at).Seconds(); s.at.IsZero() {
		s.at, s.syncs, s.nanos = now, syncs, nanos
	} else if sec >= 0.1 {
		a := 1 - math.Exp(-sec/rateTime.Seconds())
		s.rate += a * (float64(syncs-s.syncs)/sec - s.rate)
		s.took += a * (float64(nanos-s.nanos)/sec - s.took)
		s.at, s.syncs, s.nanos = now, syncs, nanos
	}
	const few = 0.05 // a second: what they took says nothing about now
	if s.rate < few {
		return 0
	}
	return time.Duration(s.took / s.rate)
}

// slowDisks tells which disks have become slow: their syncs take ten times as long as those of the others, and longer than any disk should, for a while.
// It forgets that only some time after it was so last, so that leaders do not come and go with every compaction.
type slowDisks struct {
	since map[kv.NodeID]time.Time // of those that are slow now
	last  map[kv.NodeID]time.Time // when those were slow last that have been so for slowAfter
}

const (
	slowSync      = 100 * time.Millisecond
	slowTimes     = 10
	slowAfter     = 10 * time.Second
	slowRemembers = 2 * time.Minute
)

// suspect reports whether a disk is slow now, and perhaps not for long: nothing should go there, and nothing need leave yet. A new driver, too, knows that at once.
func (d *slowDisks) suspect(id kv.NodeID) bool {
	_, slow := d.since[id]
	return slow
}

// update is told how long syncs take, 0 where nobody knows, and returns the slow ones. If half of the disks are slow, or more, none is: there is nowhere to go.
func (d *slowDisks) update(now time.Time, syncs map[kv.NodeID]time.Duration) map[kv.NodeID]bool {
	if d.since == nil {
		d.since, d.last = map[kv.NodeID]time.Time{}, map[kv.NodeID]time.Time{}
	}
	var all []time.Duration
	for _, t := range syncs {
		if t > 0 {
			all = append(all, t)
		}
	}
	slices.Sort(all)
	for id, t := range syncs {
		// Among the others is the one in the middle, the quicker of two.
		if len(all) < 2 || t < slowSync || t < slowTimes*all[(len(all)-2)/2] {
			delete(d.since, id)
			continue
		}
		if _, ok := d.since[id]; !ok {
			d.since[id] = now
		}
		if now.Sub(d.since[id]) >= slowAfter {
			d.last[id] = now
		}
	}
	out := map[kv.NodeID]bool{}
	for id, t := range d.last {
		if _, there := syncs[id]; !there || now.Sub(t) >= slowRemembers {
			delete(d.last, id)
			continue
		}
		out[id] = true
	}
	if 2*len(out) >= len(syncs) {
		return nil
	}
	return out
}
