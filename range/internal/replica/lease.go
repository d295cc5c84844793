package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/kv"
)

// campaignTransfer is Raft's mark on votes that a leadership transfer asks for.
const campaignTransfer = "CampaignTransfer"

// gate is rule R3 and R5 of package liveness: it reports whether the vote that m asks for must
// be dropped. raftMu is held.
func (r *Replica) gate(m *raftlog.Message) (drop bool) {
	switch m.Raft.GetType() {
	case pb.MsgVote, pb.MsgPreVote:
	default:
		return false
	}
	if string(m.Raft.Context) == campaignTransfer {
		return false
	}
	if !r.deps.Support.MayVote() {
		return true
	}
	f := &r.following
	if f.epoch == 0 && f.replica != m.From.ReplicaID && f.replica == r.lead && r.deps.Support.SupportEpoch(f.store) == 0 {
		// Support for the leader was withdrawn, and it has been heard since: it does not know yet, or hears nobody. Raft would wait for as long as
		// an election may take after the last that it has heard.
		r.forgetLeader()
	}
	if f.epoch == 0 || f.term > m.Raft.GetTerm() {
		return false // Raft refuses a vote for an older term by itself
	}
	if f.replica == m.From.ReplicaID && f.term < m.Raft.GetTerm() {
		// The leader itself asks: it has given up its term. Raft would wait for its own timeout.
		r.forgetLeader()
		return false
	}
	return r.deps.Support.Supports(f.store, f.epoch)
}

// follow notes that the replica follows whoever sent m, which Raft has just accepted. raftMu is held.
func (r *Replica) follow(m *raftlog.Message) {
	switch m.Raft.GetType() {
	case pb.MsgApp, pb.MsgHeartbeat, pb.MsgSnap:
	default:
		return
	}
	f := &r.following
	term := m.Raft.GetTerm()
	if f.replica != m.From.ReplicaID || f.term != term {
		if s := r.raft.BasicStatus(); s.GetTerm() != term || s.Lead != uint64(m.From.ReplicaID) {
			return // from a leader of the past
		}
		*f = following{replica: m.From.ReplicaID, store: m.From.StoreID, term: term}
	}
	if f.replica == r.resigned.replica && term <= r.resigned.term {
		f.epoch = 0 // a message that was overtaken by the news that its sender has stopped
		return
	}
	f.epoch = r.deps.Support.SupportEpoch(f.store)
}

// stamp returns the epoch for a message that is about to be sent. raftMu is held.
func (r *Replica) stamp(m *pb.Message) uint64 {
	switch m.GetType() {
	case pb.MsgAppResp, pb.MsgHeartbeatResp:
		if f := &r.following; m.GetTo() == uint64(f.replica) && m.GetTerm() == f.term {
			return f.epoch
		}
	}
	return 0
}

// acknowledged notes a stamped acknowledgement.
func (r *Replica) acknowledged(m *raftlog.Message) {
	if m.Epoch == 0 {
		return
	}
	a := ack{from: m.From.ReplicaID, term: m.Raft.GetTerm(), epoch: m.Epoch}
	r.acksMu.Lock()
	i := slices.IndexFunc(r.acks, func(x ack) bool { return x.from == a.from })
	switch {
	case i < 0:
		r.acks = append(slices.Grow(r.acks, 1), a)
	case r.acks[i].term < a.term || r.acks[i].term == a.term && r.acks[i].epoch < a.epoch:
		r.acks[i] = a
	}
	r.acksMu.Unlock()
}

// sayResigned tells the others that this replica has stopped, or is gone. Its store lives, so their promises to it would keep
// them from electing another leader. raftMu is held.
func (r *Replica) sayResigned() {
	if r.term == 0 {
		return
	}
	now := r.deps.Clock.Now()
	for _, p := range r.peers {
		if p.ReplicaID != r.rid {
			r.deps.Owner.SendRaft(p, []*raftlog.Message{{
				RangeID: r.id, To: p, Now: now, Resigned: r.term,
				From: kv.Replica{NodeID: r.deps.Node, StoreID: r.deps.Store, ReplicaID: r.rid},
			}})
		}
	}
}

// askLeader lets the leader's store say if the leader is gone: if its last word was lost, nothing else would ever tell, since its
// store lives and is supported. A leader that is there takes it for an answer to a heartbeat. raftMu is held.
func (r *Replica) askLeader() {
	r.send(&pb.Message{Type: pb.MsgHeartbeatResp.Enum(), From: new(uint64(r.rid)), To: new(uint64(r.lead)), Term: new(r.term)})
}

// forgetLeader makes Raft forget whom it follows, so that it does not wait before it votes. raftMu is held.
func (r *Replica) forgetLeader() {
	if r.role == raft.StateFollower {
		if err := r.raft.ForgetLeader(); err != nil {
			r.logger().Warn("cannot forget the leader", "err", err)
			return
		}
		// Raft tells of a change only if there is one between two Readys: a member that has just been taken out (takeOut) knew of no leader before.
		r.mu.Lock()
		r.lead, r.state.lead = 0, 0
		r.mu.Unlock()
	}
}

// leaseEnd returns how far the support of a leader of term reaches, at least if it reaches past want.
func (r *Replica) leaseEnd(desc *kv.RangeDescriptor, term uint64, want hlc.Timestamp) hlc.Timestamp {
	if l := r.lease.Load(); l != nil && l.term == term && want.Less(l.end) {
		return l.end
	}
	end := r.computeLease(desc, term)
	r.lease.Store(&lease{term: term, end: end})
	return end
}

// computeLease is rule R6 of package liveness.
func (r *Replica) computeLease(desc *kv.RangeDescriptor, term uint64) hlc.Timestamp {
	var buf [2][8]hlc.Timestamp
	old, cur := buf[0][:0], buf[1][:0]
	r.acksMu.Lock()
	for _, p := range desc.Replicas {
		if !p.VotesOld() && !p.VotesNew() {
			continue
		}
		var until hlc.Timestamp
		if p.ReplicaID == r.rid {
			until = hlc.Max
		} else if a := r.ackOf(p.ReplicaID); a.term == term {
			if epoch, t := r.deps.Support.SupportFrom(p.StoreID); epoch == a.epoch {
				until = t
			}
		}
		if p.VotesOld() {
			old = append(old, until)
		}
		if p.VotesNew() {
			cur = append(cur, until)
		}
	}
	r.acksMu.Unlock()
	end := quorumEnd(cur)
	if desc.InJoint() {
		if o := quorumEnd(old); o.Less(end) {
			end = o
		}
	}
	return end
}

// quorumEnd returns the largest time that a majority of ends reaches.
func quorumEnd(ends []hlc.Timestamp) hlc.Timestamp {
	if len(ends) == 0 {
		return hlc.Timestamp{}
	}
	slices.SortFunc(ends, func(a, b hlc.Timestamp) int { return b.Compare(a) })
	return ends[len(ends)/2]
}

// mayServe is rule R7 of package liveness: it reports whether the leader with the state s may
// answer a request at ts.
func (r *Replica) mayServe(s *state, ts hlc.Timestamp) *kv.Error {
	if s.stopped != nil {
		return elsewhere(s.stopped)
	}
	if !s.serving || s.transferring {
		if !s.serving && r.quiet.Load() {
			r.Asked() // whom the sender took for the leader may be gone; before it is quiet again, the replica asks (askLeader)
		}
		return r.notLeaderIn(s)
	}
	clock := r.deps.Clock
	now := clock.Now()
	if now.Less(ts) {
		// The clock must be past everything that was read: R4 and R8 rest on it.
		if ts.WallTime-now.WallTime > int64(clock.MaxOffset()) {
			return kv.Errorf(kv.CodeBadRequest, "timestamp %s is more than the maximum clock offset ahead of %s", ts, now)
		}
		clock.Update(ts)
		now = ts
	}
	if err := r.deps.Support.MayServe(now); err != nil {
		if r.quiet.Load() && r.deps.Support.Fenced() {
			r.Wake() // to step down: somebody wants something of the range
		}
		return err
	}
	limit := now.Add(clock.MaxOffset())
	if !limit.Less(r.leaseEnd(s.desc, s.term, limit)) {
		r.deps.Metrics.LeaseMisses.Add(1)
		if r.quiet.Load() {
			r.Wake() // to be acknowledged again, or to find out that nobody follows
		}
		e := r.notLeaderIn(s)
		e.Message = "the leader's support has run out"
		return e
	}
	return nil
}
