package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/tracker"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/kv"
)

// Status of a replica, from what it publishes.
type Status struct {
	ID            kv.RangeID
	Desc          *kv.RangeDescriptor
	Me            kv.Replica
	Closed        hlc.Timestamp // up to which this replica may serve reads of the past
	Leader        bool
	Serving       bool
	Quiet         bool
	LeaderReplica kv.Replica
	LeaseEnd      hlc.Timestamp
	Stopped       string
	Term          uint64
	Applied       mvcc.AppliedState
	// FirstIndex and LastIndex are of the log, as of the last processing.
	FirstIndex, LastIndex uint64
	LogBytes              int64
	Requests, Writes      int64
}

// Status returns the replica's status.
func (r *Replica) Status() Status {
	s := r.snapshotState()
	st := Status{
		ID: r.id, Desc: s.desc, Me: r.Me(), Leader: s.lead == r.rid && s.lead != 0, Quiet: r.quiet.Load(), Term: s.term,
		Applied: s.applied, LogBytes: r.raftLog.Bytes(), Requests: r.requests.Load(), Writes: r.writes.Load(),
	}
	st.FirstIndex, st.LastIndex = r.raftLog.Bounds()
	st.Closed = r.closedHere(&s)
	if s.stopped != nil {
		st.Stopped = s.stopped.Error()
	}
	if s.desc != nil && s.lead != 0 {
		st.LeaderReplica, _ = s.desc.ReplicaByID(s.lead)
	}
	if s.serving && s.stopped == nil && s.frozen == nil {
		now := r.deps.Clock.Peek()
		st.LeaseEnd = r.leaseEnd(s.desc, s.term, now.Add(r.deps.Clock.MaxOffset()))
		st.Serving = !s.transferring && now.Add(r.deps.Clock.MaxOffset()).Less(st.LeaseEnd)
	}
	return st
}

// Follower is the leader's view of another replica.
type Follower struct {
	Replica  kv.Replica
	Match    uint64
	State    string
	Support  hlc.Timestamp
	Active   bool
	Snapshot uint64
}

// Followers returns the leader's view of the others; nothing if this replica does not lead.
func (r *Replica) Followers() []Follower {
	if s := r.snapshotState(); s.lead != r.rid {
		return nil // and is not to be woken up for that
	}
	var out []Follower
	err := r.Call(func() error {
		if r.role != raft.StateLeader {
			return nil
		}
		r.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			if id == uint64(r.rid) {
				return
			}
			p, ok := r.peers.get(kv.ReplicaID(id))
			if !ok {
				return
			}
			_, until := r.deps.Support.SupportFrom(p.StoreID)
			out = append(out, Follower{
				Replica: p, Match: pr.Match, State: pr.State.String(), Support: until, Active: pr.RecentActive, Snapshot: pr.PendingSnapshot,
			})
		})
		return nil
	})
	if err != nil {
		return nil // it has stopped: nobody follows it
	}
	return out
}

// Inflight returns the bytes of proposals whose outcome is open.
func (r *Replica) Inflight() int64 { return r.inflight.Load() }
