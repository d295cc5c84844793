package replica

import (
	"fmt"
	"math/bits"
	"runtime/debug"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/kv"
)

// maxInboxMessages bounds the Raft messages that wait for a replica; more are dropped.
const maxInboxMessages = 4096

// Deliver puts a Raft message into the inbox, and sees to it that it is taken out. The caller has moved the clock past m.Now.
func (r *Replica) Deliver(m *raftlog.Message) {
	if r.Receive(m) {
		r.deps.Owner.Signal(r)
	}
}

// Receive puts a Raft message into the inbox and reports whether it has: the caller then signals the replica, with others that have received some.
func (r *Replica) Receive(m *raftlog.Message) bool {
	r.inboxMu.Lock()
	defer r.inboxMu.Unlock()
	if len(r.messages) >= maxInboxMessages || r.shutErr != nil {
		return false
	}
	r.messages = append(r.messages, m)
	return true
}

// Tick advances Raft's clock, unless the group is quiet. It reports whether it was not.
func (r *Replica) Tick() bool {
	if r.quiet.Load() {
		return false
	}
	r.inboxMu.Lock()
	r.ticks++
	r.inboxMu.Unlock()
	r.deps.Owner.Signal(r)
	return true
}

// Wake ends the group's quiet: somebody must hear from it.
func (r *Replica) Wake() {
	r.post(func(err error) {
		if err != nil || r.raft == nil {
			return
		}
		r.wake()
		if r.role == raft.StateLeader {
			// A beat at once: the follower that it is for may not know that there is a leader. (MsgBeat is
			// local; RawNode takes it if it seems to come from a local thread.)
			if err := r.raft.Step(&pb.Message{Type: pb.MsgBeat.Enum(), From: new(uint64(raft.LocalAppendThread))}); err != nil {
				r.logger().Debug("beat", "err", err)
			}
		}
	})
}

func (r *Replica) wake() {
	r.idleTicks = 0
	r.quiet.Store(false)
	r.stir()
	r.Need(CareTicks)
}

// begin takes the inbox, steps Raft, and puts what must be written into b. It reports
// whether there is something to do after b has been committed, and whether b must be synced. raftMu is held.
func (r *Replica) begin(b *pebble.Batch) (more, sync bool) {
	r.inboxMu.Lock()
	msgs, props, calls, ticks := r.messages, r.proposals, r.calls, r.ticks
	r.messages, r.proposals, r.calls, r.ticks = nil, nil, nil, 0
	r.inboxMu.Unlock()

	stopped := r.snapshotState().stopped
	if stopped != nil {
		for _, f := range calls {
			f(stopped)
		}
		for _, p := range props {
			if p.closed != nil {
				r.closed.end(p.closed)
			}
			r.end(p, r.notLeader())
		}
		return false, false
	}
	if r.round == nil {
		r.round = new(round)
	}
	if r.raft == nil {
		if err := r.takeOut(); err != nil {
			r.stop(err)
			return false, false
		}
	}
	for _, m := range msgs {
		r.step(m)
	}
	// Calls come after the messages: some of them are about what a message before them said.
	for _, f := range calls {
		f(nil)
	}
	if ticks > 0 {
		// One, however many there have been since the replica was last processed: its patience with others is counted in ticks, and what it hears of them
		// comes by processing. Where it takes seconds until the next time, for it and for them, nobody would ever wait for an answer, and no leader would be elected.
		r.tick()
	}
	for _, p := range props {
		r.propose(p)
	}
	if !r.raft.HasReady() {
		r.settleSnapshot()
		r.putAway()
		return false, false
	}
	r.rd, r.hasReady = r.raft.Ready(), true
	sync = r.prepare(b)
	r.settleSnapshot()
	return true, sync
}

func (r *Replica) step(m *raftlog.Message) {
	r.deps.Metrics.RaftReceived.Add(1)
	if r.gate(m) {
		r.deps.Metrics.GateDropped.Add(1)
		if r.quiet.Load() {
			r.wake() // somebody knows of no leader: to ask ours whether it is there
		}
		return
	}
	if r.quiet.Load() {
		switch m.Raft.GetType() {
		case pb.MsgHeartbeat, pb.MsgHeartbeatResp:
			if r.fresh {
				r.wake() // it was not quiet under a leader, so it has to see what there is
			}
		default:
			r.wake()
		}
	}
	if m.Raft.GetType() == pb.MsgApp && len(m.Raft.GetEntries()) > 0 && r.deps.Engine.NoRoom() {
		return // as if it were lost: whoever leads sends it again
	}
	if m.Raft.GetType() == pb.MsgSnap && (r.staged == nil || r.staged.Index != m.Raft.Snapshot.GetMetadata().GetIndex()) {
		return // its data did not come with it
	}
	if _, ok := r.peers.get(m.From.ReplicaID); !ok {
		r.peers = append(r.peers, m.From) // not in our descriptor (yet): to be able to answer
	}
	if err := r.raft.Step(m.Raft); err != nil {
		if err != raft.ErrProposalDropped && err != raft.ErrStepPeerNotFound {
			r.logger().Debug("step", "type", m.Raft.GetType().String(), "err", err)
		}
		return
	}
	switch m.Raft.GetType() {
	case pb.MsgAppResp, pb.MsgHeartbeatResp:
		r.acknowledged(m)
	case pb.MsgVote, pb.MsgPreVote:
		r.heardCandidate(m)
	default:
		r.follow(m)
	}
}

func (r *Replica) tick() {
	r.tickElection()
	switch r.role {
	case raft.StateLeader:
		if r.snapshotState().transferring && r.raft.BasicStatus().LeadTransferee == 0 {
			r.resign() // the target did not win in time, and this term is over for us
			return
		}
		if len(r.peers) > 1 && r.deps.Support.Fenced() {
			r.resign() // nobody is asked for support any more: let somebody lead who can serve
			return
		}
		if r.deps.Support.Deaf() && r.needsOthers() {
			r.resign() // it can serve nothing, and what it says keeps others from electing somebody
			return
		}
		if r.maySleep() && r.rest() {
			r.quiet.Store(true)
			r.raftLog.DropCache()
			return
		}
	default:
		r.askAround()
		if r.deps.Support.Deaf() && r.needsOthers() {
			r.checkPending()
			return // it could not win, and those who could would wait for it
		}
		if !r.mayCampaign() {
			r.followOn(r.following.replica == r.lead && r.deps.Support.MayVote())
			return
		}
		if !r.votes() {
			r.followOn(false) // no election will ever tell it that the leader is gone
		}
	}
	r.raft.Tick()
	r.checkPending()
}

// votes reports whether this replica is a voter, as far as it knows.
func (r *Replica) votes() bool {
	desc := r.snapshotState().desc
	if desc == nil {
		return true // nothing is known
	}
	p, ok := desc.ReplicaByID(r.rid)
	return ok && (p.VotesOld() || p.VotesNew())
}

// followOn is a tick of a replica that follows, or that cannot campaign. When it has heard nothing for a while, it asks. The follower of a leader that its
// store supports needs no election clock: it asks a last time and may be quiet, if it has been told that the range is at rest as it knows it. Until it is it
// watches for that, and has it said again: there may have been no such replica when it was. Who may not be quiet goes on asking. raftMu is held.
func (r *Replica) followOn(mayRest bool) {
	quiet := int32(r.deps.Knobs.QuietTicks)
	if r.idleTicks++; r.idleTicks <= quiet || len(r.pending) > 0 || r.lead == 0 {
		return
	}
	first := r.idleTicks == quiet+1
	switch {
	case r.behind():
		r.idleTicks = 0
		r.ask(r.lead)
		return
	case mayRest && r.covered():
		r.askLeader()
		r.idleTicks = 0
		r.quiet.Store(true)
		r.raftLog.DropCache()
		return
	case first:
		r.askLeader()
	case r.idleTicks > 4*quiet:
		r.ask(r.lead)
	}
	if !mayRest || r.idleTicks > 4*quiet {
		r.idleTicks = 0
	}
}

// askAround asks the other replicas, from time to time, when there is no leader: a replica that was removed while
// it was away may be one that cannot campaign, and so would never learn. raftMu is held.
func (r *Replica) askAround() {
	nothing := r.snapshotState().desc == nil // whoever it hears of may have removed it since
	if r.lead != 0 && !nothing {
		r.leaderless = 0
		return
	}
	period := int32(3 * r.deps.Knobs.ElectionTicks)
	if r.leaderless++; r.leaderless%period != 0 {
		return
	}
	if nothing && bits.OnesCount(uint(r.leaderless/period)) != 1 {
		return // to look for a range by its number costs more: less and less often
	}
	r.deps.Owner.Leaderless(r)
	for _, p := range r.peers {
		if p.ReplicaID != r.rid {
			r.ask(p.ReplicaID)
		}
	}
}

// ask has another replica, if it leads, say that it does, and all that it says with it.
func (r *Replica) ask(id kv.ReplicaID) {
	if p, ok := r.peers.get(id); ok {
		r.deps.Owner.SendRaft(p, []*raftlog.Message{{
			RangeID: r.id, To: p, Now: r.deps.Clock.Now(), Ask: true,
			From: kv.Replica{NodeID: r.deps.Node, StoreID: r.deps.Store, ReplicaID: r.rid},
		}})
	}
}

// maySleep reports whether a leader's group has been idle long enough and everybody has everything,
// under support that its followers have acknowledged.
func (r *Replica) maySleep() bool {
	s := r.snapshotState()
	r.idleTicks++
	if int(r.idleTicks) <= r.deps.Knobs.QuietTicks || !s.serving || s.transferring || len(r.pending) > 0 || s.desc.InJoint() {
		return false
	}
	last := r.raftLog.Last().Index
	if s.applied.AppliedIndex != last {
		return false
	}
	all := true
	r.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
		if id != uint64(r.rid) && (pr.Match != last || !pr.RecentActive) {
			all = false
		}
	})
	if !all {
		return false
	}
	// Everybody must count for the lease, or it would depend on fewer than it could.
	r.acksMu.Lock()
	defer r.acksMu.Unlock()
	for _, p := range s.desc.Replicas {
		if p.ReplicaID == r.rid {
			continue
		}
		if a := r.ackOf(p.ReplicaID); a.term != s.term {
			return false
		} else if epoch, _ := r.deps.Support.SupportFrom(p.StoreID); epoch != a.epoch {
			return false
		}
	}
	return true
}

// propose hands a proposal to Raft. raftMu is held.
func (r *Replica) propose(p *proposal) {
	r.wake()
	if p.closed != nil {
		r.closed.end(p.closed)
	}
	s := r.snapshotState()
	if r.role != raft.StateLeader || r.term != p.term || s.transferring {
		r.end(p, r.notLeader())
		return
	}
	var err error
	if p.conf != nil {
		p.conf.Context = p.data
		err = r.raft.ProposeConfChange(p.conf)
	} else {
		err = r.raft.Propose(p.data)
	}
	if err != nil {
		e := r.notLeader()
		if err == raft.ErrProposalDropped && r.role == raft.StateLeader && !s.transferring {
			e = kv.Errorf(kv.CodeOverloaded, "range %d has too much in flight", r.id)
		}
		r.end(p, e)
		return
	}
	r.deps.Metrics.Proposals.Add(1)
	if r.pending == nil {
		r.pending = make(map[uint64]*proposal)
	}
	r.pending[p.id] = p
}

// checkPending gives up waiting (not hoping) for proposals of a leader that was deposed
// or is cut off, so that its clients can ask elsewhere.
func (r *Replica) checkPending() {
	if len(r.pending) == 0 {
		r.pendingAt = 0
		return
	}
	r.pendingAt++
	limit := 5 * r.deps.Knobs.ElectionTicks
	if r.role != raft.StateLeader {
		limit = r.deps.Knobs.ElectionTicks
	}
	if int(r.pendingAt) < limit {
		return
	}
	r.pendingAt = 0
	for _, p := range r.pending {
		p.giveUp()
	}
}

// prepare handles the part of the Ready that comes before the disk: it publishes changes of
// role, sends what need not wait, and puts entries and hard state into b. It reports whether b must be synced.
func (r *Replica) prepare(b *pebble.Batch) (sync bool) {
	rd := &r.rd
	if !raft.IsEmptyHardState(rd.HardState) && rd.HardState.GetTerm() != r.term {
		r.term = rd.HardState.GetTerm()
	}
	if rd.SoftState != nil {
		r.roleChanged(rd.SoftState)
	}
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := r.applySnapshot(rd.Snapshot); err != nil {
			r.stop(err)
			return false
		}
	}
	r.held = r.held[:0]
	for _, m := range rd.Messages {
		switch m.GetType() {
		case pb.MsgAppResp, pb.MsgVoteResp, pb.MsgPreVoteResp:
			r.held = append(r.held, m) // they speak of what must be on disk
		case pb.MsgSnap:
			to, _ := r.peers.get(kv.ReplicaID(m.GetTo()))
			r.deps.Owner.SnapshotWanted(r, to)
		case pb.MsgApp:
			r.sendAppend(m)
		default:
			r.send(m)
		}
	}
	if len(rd.Entries) > 0 {
		if err := r.raftLog.Append(b, rd.Entries); err != nil {
			r.stop(err)
			return false
		}
		r.deps.Metrics.Appended.Add(int64(len(rd.Entries)))
		small := int64(0)
		for _, e := range rd.Entries {
			if len(e.Data) < smallEntry {
				small++
			}
		}
		r.deps.Metrics.AppendedSmall.Add(small)
		r.needForLog()
	}
	// A commit index alone is not worth a write (SetHardState): restart takes the applied index for it.
	if !raft.IsEmptyHardState(rd.HardState) && rd.MustSync {
		if err := r.raftLog.SetHardState(b, rd.HardState); err != nil {
			r.stop(err)
			return false
		}
	}
	return rd.MustSync
}

// applyEarly applies the committed entries that were in the log before this Ready, so that
// their clients need not wait for the fsync of what comes after.
func (r *Replica) applyEarly() {
	if !r.hasReady {
		return
	}
	ents := r.rd.CommittedEntries
	if len(ents) == 0 {
		return
	}
	n := len(ents)
	if len(r.rd.Entries) > 0 {
		first := r.rd.Entries[0].GetIndex()
		n = 0
		for n < len(ents) && ents[n].GetIndex() < first {
			n++
		}
	}
	if n > 0 {
		r.apply(ents[:n])
		r.rd.CommittedEntries = ents[n:]
	}
}

// sendHeld sends what had to wait for the sync.
func (r *Replica) sendHeld() {
	if !r.hasReady {
		return
	}
	for i, m := range r.held {
		r.send(m)
		r.held[i] = nil
	}
	r.held = r.held[:0]
}

// finish handles the rest of what comes after the sync. It reports whether Raft has more to do.
func (r *Replica) finish() (more bool) {
	if !r.hasReady {
		return false
	}
	if len(r.rd.CommittedEntries) > 0 {
		r.apply(r.rd.CommittedEntries)
	}
	if !r.hasReady { // stopped
		return false
	}
	r.hasReady = false
	rd := r.rd
	r.rd = raft.Ready{}
	r.raft.Advance(rd)
	if r.raft.HasReady() {
		return true
	}
	r.putAway()
	return false
}

func (r *Replica) roleChanged(s *raft.SoftState) {
	old := r.role
	r.role, r.lead = s.RaftState, kv.ReplicaID(s.Lead)
	if r.role != raft.StateLeader {
		r.stir()
	}
	r.mu.Lock()
	r.state.lead = r.lead
	was := r.state.serving
	if r.state.serving && (s.RaftState != raft.StateLeader || r.state.term != r.term) {
		r.state.serving = false
	}
	if s.RaftState != raft.StateLeader {
		r.state.transferring = false
	}
	r.mu.Unlock()
	if was && s.RaftState != raft.StateLeader || old == raft.StateLeader && s.RaftState != raft.StateLeader {
		r.logger().Info("leadership ended", "term", r.term)
		r.locks.Clear(r.notLeader())
		r.pendingAt = 0
	} else if r.lead != 0 && s.RaftState != raft.StateLeader {
		r.locks.Clear(r.notLeader()) // of a right side that came with its split
	}
	if r.lead != 0 && r.lead != r.rid {
		r.adminMu.disinherit()
	}
	if s.RaftState == raft.StateLeader && old != raft.StateLeader {
		r.wake()
		r.candidacy = candidacy{}
		// Whoever was followed before has lost its leadership for good. Remembering it would keep this replica from
		// standing again when its own ends, while the others wait for just that.
		r.following = following{}
		if r.deps.Hooks.ServeEarly {
			r.startServing(r.term, 0)
		}
	}
}

// startServing begins the leadership's service: an entry of its own term has been applied, at index. raftMu is held.
func (r *Replica) startServing(term, index uint64) {
	now := r.deps.Clock.Now()
	if !r.takeOver(index) {
		r.tscache.SetFloor(now)
	}
	r.locks.Open()
	r.mu.Lock()
	r.state.serving, r.state.term, r.state.since, r.state.transferring = true, term, now, false
	r.mu.Unlock()
	r.Need(careOfLeaders) // not before: who visits a replica that does not serve has nothing to do there, and does not come again
	r.deps.Metrics.Leaderships.Add(1)
	r.logger().Info("leadership began", "term", term, "applied", r.snapshotState().applied.AppliedIndex)
	r.deps.Owner.LeadershipBegan(r)
}

// needForLog asks for care if the log is worth being cut.
func (r *Replica) needForLog() {
	if r.raftLog.Bytes() >= r.deps.Knobs.LogTruncateBytes {
		r.Need(CareLog)
	}
}

func (r *Replica) send(m *pb.Message) {
	to, ok := r.peers.get(kv.ReplicaID(m.GetTo()))
	if !ok {
		return // of a replica that is gone
	}
	r.deps.Metrics.RaftSent.Add(1)
	r.out = append(r.out, &raftlog.Message{
		RangeID: r.id, To: to, Epoch: r.stamp(m), Raft: m,
		From: kv.Replica{NodeID: r.deps.Node, StoreID: r.deps.Store, ReplicaID: r.rid},
	})
}

// guarded runs f; a panic (Raft's way to report what must not be) stops the replica.
func (r *Replica) guarded(f func()) {
	defer func() {
		if p := recover(); p != nil {
			r.hasReady = false
			r.stop(fmt.Errorf("%v\n%s", p, debug.Stack()))
		}
	}()
	f()
}
