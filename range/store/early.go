package store

import (
	"sync"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/kv"
)

// early are messages of ranges that a split is about to make here. The store that led the left side applies the split first, and its
// right side stands for leadership at once: followers hear of the range before they have it. To make an empty replica for
// it would be right, and cost a snapshot of what is here already. So what looks like the first messages of a range waits a little; if
// the split does not come (the replica here is behind, or the range is to get a new one here), they are taken as they are.
type early struct {
	mu     sync.Mutex
	ranges map[kv.RangeID]*earlyRange // guarded by mu
}

type earlyRange struct {
	age  int // ticks
	msgs []*RaftMessage
}

const (
	// earlyTicks is how many ticks they wait at least.
	earlyTicks = 2
	// maxEarly bounds the ranges, maxEarlyOf the messages of one. More than that are not kept back.
	maxEarly   = 1024
	maxEarlyOf = 32
)

// keep takes m in if it is early, and reports whether it did.
func (e *early) keep(m *RaftMessage) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.ranges[m.RangeID]
	if x == nil {
		if !replica.OfNewRange(m) || len(e.ranges) >= maxEarly {
			return false
		}
		if e.ranges == nil {
			e.ranges = make(map[kv.RangeID]*earlyRange)
		}
		x = &earlyRange{}
		e.ranges[m.RangeID] = x
	}
	switch m.Raft.GetType() {
	case pb.MsgApp, pb.MsgHeartbeat, pb.MsgVote, pb.MsgPreVote:
		if len(x.msgs) < maxEarlyOf {
			x.msgs = append(x.msgs, m)
		}
	}
	return true // what is dropped will be said again
}

// take returns the messages of a range that is here now, or will be.
func (e *early) take(id kv.RangeID) []*RaftMessage {
	e.mu.Lock()
	defer e.mu.Unlock()
	x := e.ranges[id]
	if x == nil {
		return nil
	}
	delete(e.ranges, id)
	return x.msgs
}

// tick returns the messages that have waited long enough.
func (e *early) tick() (msgs []*RaftMessage) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for id, x := range e.ranges {
		if x.age++; x.age > earlyTicks {
			delete(e.ranges, id)
			msgs = append(msgs, x.msgs...)
		}
	}
	return msgs
}
