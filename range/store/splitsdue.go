package store

import (
	"sync"

	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/kv"
)

// splitsDue are the snapshots that were refused because the split that makes their range has not been applied here. Their senders ask again only after a
// pause, and ask nothing else meanwhile; so when the split comes, they are told how far its right side is, which goes on by the log. Otherwise
// a store that was away while a table was cut into thousands of ranges, each of what the last cut had left, would have them one pause after another.
type splitsDue struct {
	mu     sync.Mutex
	ranges map[kv.RangeID]*replica.SnapshotHeader // guarded by mu
}

// maxSplitsDue bounds the ranges. Those that are still due are asked for again, so none need be kept.
const maxSplitsDue = 4096

func (a *splitsDue) keep(h *replica.SnapshotHeader) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ranges == nil || len(a.ranges) >= maxSplitsDue {
		a.ranges = make(map[kv.RangeID]*replica.SnapshotHeader)
	}
	a.ranges[h.Desc.RangeID] = h
}

// take returns what a snapshot of the range said that was refused last, nil if none was.
func (a *splitsDue) take(id kv.RangeID) *replica.SnapshotHeader {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.ranges[id]
	delete(a.ranges, id)
	return h
}
