package replica

import (
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// A replica that is quiet holds no more memory than it must: there may be tens of thousands of them on a store. What Raft keeps of a
// follower is all on disk, but for whom it follows, which the replica itself remembers; so Raft's member is let go, and made
// anew by whatever is next to be processed, as it would be after a restart (the promises of package liveness are the replica's and its
// store's, and stay). A leader's knowledge of its followers is nowhere else: it keeps its member.

// putAway lets go what a quiet replica does not need. raftMu is held; Raft has nothing to do.
func (r *Replica) putAway() {
	if !r.quiet.Load() || r.hasReady {
		return
	}
	if len(r.pending) == 0 {
		r.pending = nil
	}
	if len(r.out) == 0 {
		r.out = nil
	}
	r.round = nil
	if len(r.late.msgs) == 0 {
		r.late.msgs = nil
	}
	if r.role != raft.StateFollower || r.staged != nil || r.splitting || r.watch != nil || r.candidacy.wait > 0 || len(r.pending) > 0 {
		return
	}
	st, s := r.raft.BasicStatus(), r.snapshotState()
	if st.RaftState != raft.StateFollower || st.Applied != st.GetCommit() || st.Applied != s.applied.AppliedIndex || st.GetTerm() != r.term ||
		st.GetTerm() != r.raftLog.HardState().GetTerm() || kv.ReplicaID(st.Lead) != r.lead || s.stopped != nil {
		return
	}
	r.raft = nil
	r.locks.Rest(errAway)
	r.tscache.Rest(hlc.Max)
}

// errAway is what the lock table of a follower that is put away says: little.
var errAway = kv.Errorf(kv.CodeNotLeader, "this replica does not lead its range")

// idleReads is how old the latest read of a range must be for its timestamp cache to be let go. Who writes later than that is above
// it anyhow, unless its transaction is older still.
const idleReads = 10 * time.Second

// Idle gives back what only requests need, if there have not been any for a while, and reports whether it did.
func (r *Replica) Idle() bool {
	r.DropKeySamples()
	if r.meter.sources.Load() != nil {
		r.meter.sources.Store(nil)
	}
	r.locks.Rest(nil)
	return r.tscache.Rest(r.deps.Clock.Now().Add(-idleReads))
}

// takeOut is the reverse. raftMu is held.
func (r *Replica) takeOut() error {
	rn, err := r.newRaft(r.snapshotState().applied.AppliedIndex)
	if err != nil {
		return err
	}
	r.raft = rn
	if r.lead == 0 {
		return nil
	}
	// As if its leader had just said that it is there. The answer does no harm.
	return rn.Step(&pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(r.lead)), To: new(uint64(r.rid)), Term: new(r.term), Commit: new(rn.BasicStatus().GetCommit())})
}
