package replica

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Split cuts the range at key; newID allocates the id of the right side. For pinned see kv.AdminSplit.
func (r *Replica) Split(ctx context.Context, key keys.Key, pinned int64, newID func(context.Context) (kv.RangeID, error)) (left, right *kv.RangeDescriptor, err error) {
	s, release, err := r.adminBesideFilling(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer release()
	if key.Equal(s.desc.StartKey) {
		d := s.desc
		if pinned != 0 && max(pinned, 0) != d.Pinned {
			next := d.Clone()
			next.Pinned = max(pinned, 0)
			if d, err = r.changeDesc(ctx, s.term, next, nil); err != nil {
				return nil, nil, err
			}
		}
		return d, d, nil
	}
	if !s.desc.Contains(key) {
		return nil, nil, &kv.Error{Code: kv.CodeRangeMismatch, Key: key, Descriptors: []kv.RangeDescriptor{*s.desc}}
	}
	if r.id == kv.MetaRangeID {
		return nil, nil, kv.Errorf(kv.CodeBadRequest, "the meta range is never split")
	}
	if s.desc.InJoint() {
		return nil, nil, kv.Errorf(kv.CodeUnavailable, "range %d is changing its replicas", r.id)
	}
	id, err := newID(ctx)
	if err != nil {
		return nil, nil, err
	}
	cmd := command{id: nextProposalID(), desc: s.desc.Clone(), right: s.desc.Clone()}
	cmd.desc.EndKey, cmd.right.StartKey = key.Clone(), key.Clone()
	cmd.right.RangeID = id
	cmd.desc.Generation++
	cmd.right.Generation++
	cmd.right.Pinned = max(pinned, 0)
	count, err := r.countRight(ctx, cmd.right)
	if err != nil {
		return nil, nil, err
	}
	defer count.close()
	// Everything before is applied, nothing begins until the split is applied: no read is served on the
	// right side by a leader that has proposed the split, and the statistics are exact.
	g, err := r.locks.Sequence(ctx, &kv.BatchRequest{RangeID: r.id}, wholeRange)
	if err != nil {
		return nil, nil, err
	}
	stood := time.Now()
	fail := func(err error) (*kv.RangeDescriptor, *kv.RangeDescriptor, error) {
		g.Finish()
		return nil, nil, err
	}
	s2 := r.snapshotState()
	if err := r.mayServe(&s2, s2.since); err != nil {
		return fail(err)
	}
	if s2.desc.Generation != s.desc.Generation || s2.term != s.term {
		return fail(kv.Errorf(kv.CodeUnavailable, "range %d changed", r.id))
	}
	if cmd.rightStats, err = count.finish(ctx); err != nil {
		return fail(err)
	}
	left, right = cmd.desc, cmd.right
	p, err := r.newProposal(&cmd, nil, s.term)
	if err != nil {
		return fail(err)
	}
	done := make(outcome, 1)
	p.finish = func(err *kv.Error) {
		g.Finish()
		done.tell(err)
	}
	p.giveUp = func() { done.tell(unknown("the split has made no progress")) }
	r.submit(p, true)
	select {
	case e := <-done:
		if e != nil {
			return nil, nil, e
		}
		d := time.Since(stood)
		r.deps.Metrics.SplitStallNanos.Add(int64(d))
		r.logger().Info("split done", "at", keys.Pretty(key), "stood_still", d)
		return left, right, nil
	case <-r.deps.Fatal:
		return nil, nil, unknown("the store has failed")
	case <-ctx.Done():
		return nil, nil, unknown("ended before the outcome was known: " + ctx.Err().Error())
	}
}

// TransferLeader hands leadership to the replica on the store, and waits until it is known to lead, or not. A change of replicas that is waiting for its
// learners comes to nothing.
func (r *Replica) TransferLeader(ctx context.Context, q *kv.AdminTransferLeader) error {
	s, release, err := r.adminBesideFilling(ctx)
	if err != nil {
		return err
	}
	defer release()
	target := q.Target
	switch {
	case q.Generation != 0 && q.Generation != s.desc.Generation:
		return r.changed(s.desc, q.Generation)
	case q.From != 0 && q.From != r.deps.Store:
		return kv.Errorf(kv.CodeDescriptorChanged, "range %d is led by store %d, not %d", r.id, r.deps.Store, q.From)
	}
	to, ok := s.desc.ReplicaOn(target)
	if !ok || !to.VotesNew() {
		return kv.Errorf(kv.CodeBadRequest, "store %d has no voting replica of range %d", target, r.id)
	}
	if to.ReplicaID == r.rid {
		return nil
	}
	if err := r.beginTransfer(ctx, &s, to); err != nil {
		return err
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		s := r.snapshotState()
		switch {
		case s.lead == to.ReplicaID:
			return nil
		case s.lead != 0 && s.lead != r.rid, s.serving && !s.transferring, s.stopped != nil:
			return kv.Errorf(kv.CodeUnavailable, "the replica on store %d did not win", target)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return kv.Errorf(kv.CodeCanceled, "canceled while leadership moves: %v", ctx.Err())
		}
	}
}

// resign makes a leader whose transfer failed step down, and stand again in a new term. raftMu is held.
func (r *Replica) resign() {
	// The others' promises are to the store, which lives: without a word they would let nobody but this replica win.
	r.sayResigned()
	// Any answer of a later term makes Raft follow nobody; this one is from ourselves.
	m := &pb.Message{Type: pb.MsgHeartbeatResp.Enum(), From: new(uint64(r.rid)), To: new(uint64(r.rid)), Term: new(r.term + 1)}
	if err := r.raft.Step(m); err != nil {
		r.logger().Warn("resign", "err", err)
		return
	}
	r.candidacy = candidacy{wait: 1}
}

// changed refuses what was meant for another generation.
func (r *Replica) changed(desc *kv.RangeDescriptor, generation int64) *kv.Error {
	return &kv.Error{Code: kv.CodeDescriptorChanged, Descriptors: []kv.RangeDescriptor{*desc},
		Message: fmt.Sprintf("range %d is at generation %d, not %d", r.id, desc.Generation, generation)}
}

// ChangeReplicas brings the replicas of the range to the wanted ones, guarded by generation. It gives up if a store that
// is to get a replica is gone meanwhile. The range may be split while its learners are brought up: the change is that of the left side then,
// and the right side has one of its own like it (Inherited). It ends with the leadership: the next leader removes the learners (Tidy).
func (r *Replica) ChangeReplicas(ctx context.Context, q *kv.AdminChangeReplicas, gone func(kv.StoreID) bool) (*kv.RangeDescriptor, error) {
	if d := r.Desc(); d != nil && r.adminMu.filling() != nil {
		// After minutes of waiting the range would be another than was meant.
		if d.Generation != q.Generation {
			return nil, r.changed(d, q.Generation)
		}
		return nil, kv.NotNow(kv.NotNowReplicas, "the replicas of range %d are being changed already", r.id)
	}
	s, release, err := r.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	desc := s.desc
	if desc.Generation != q.Generation {
		return nil, r.changed(desc, q.Generation)
	}
	if desc, err = r.leaveJoint(ctx, s.term, desc); err != nil {
		return nil, err
	}
	f := &filling{gentle: q.Gentle}
	for _, p := range q.Remove {
		have, ok := desc.ReplicaOn(p.StoreID)
		if !ok {
			return nil, kv.Errorf(kv.CodeBadRequest, "store %d has no replica of range %d", p.StoreID, r.id)
		}
		if have.ReplicaID == r.rid {
			return nil, kv.Errorf(kv.CodeBadRequest, "the leader cannot remove itself: transfer leadership first")
		}
		f.leave = append(f.leave, have.ReplicaID)
	}
	voters := 0
	for _, p := range desc.Replicas {
		if p.Type == kv.Voter && !slices.Contains(f.leave, p.ReplicaID) {
			voters++
		}
	}
	for i, p := range q.Add {
		if _, ok := desc.ReplicaOn(p.StoreID); ok {
			return nil, kv.Errorf(kv.CodeBadRequest, "store %d has a replica of range %d already", p.StoreID, r.id)
		}
		l := kv.Replica{NodeID: p.NodeID, StoreID: p.StoreID, ReplicaID: desc.NextReplicaID + kv.ReplicaID(i), Type: kv.Voter}
		if p.Type == kv.NonVoter {
			l.Type = kv.NonVoter
		} else {
			voters++
		}
		f.learners = append(f.learners, l)
	}
	if voters < 1 {
		return nil, kv.Errorf(kv.CodeBadRequest, "a range needs a voter")
	}
	defer r.adminMu.fill(f)()
	for _, p := range f.learners {
		next := desc.Clone()
		next.NextReplicaID = p.ReplicaID + 1
		p.Type = kv.Learner
		next.Replicas = append(next.Replicas, p)
		cc := &pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: pb.ConfChangeAddLearnerNode.Enum(), NodeId: new(uint64(p.ReplicaID))}}}
		if desc, err = r.changeDesc(ctx, s.term, next, cc); err != nil {
			return nil, r.emptied(ctx, s.term, err)
		}
	}
	return r.filled(ctx, s.term, f, gone)
}

// waitMajority waits until a majority of the voters that a range is to have supports this leader, as one of those that it has does, and has nearly everything. Without
// it the change could not come to its end, nor be taken back: whoever removes a replica that lives while another one is dead, or is waiting for a snapshot, would
// take the range from its clients, for as long as that takes.
func (r *Replica) waitMajority(ctx context.Context, term uint64, next *kv.RangeDescriptor) error {
	ctx, cancel := context.WithTimeout(ctx, majorityTimeout)
	defer cancel()
	tick := time.NewTicker(catchUpLook)
	defer tick.Stop()
	var w lookout
	for {
		voters, near := 0, 0
		for _, p := range next.Replicas {
			if p.VotesNew() {
				voters++
			}
		}
		err := r.look(&w, term, func(id kv.ReplicaID, _, close bool) {
			if p, ok := next.ReplicaByID(id); ok && p.VotesNew() && close {
				near++
			}
		})
		if err != nil {
			return err
		}
		supported := r.deps.Clock.Now().Add(r.deps.Clock.MaxOffset()).Less(r.computeLease(next, term))
		if supported && 2*near > voters {
			return nil
		}
		if s := r.snapshotState(); !s.serving || s.term != term {
			return r.notLeaderIn(&s)
		}
		if r.quiet.Load() {
			r.Wake() // to be acknowledged again
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			what := "answer"
			if supported {
				what = "have caught up"
			}
			return kv.NotNow(kv.NotNowReplicas, "range %d would be without a majority: of the voters that it was to have, too few %s", r.id, what)
		}
	}
}

func without(rs []kv.Replica, ids []kv.ReplicaID) []kv.Replica {
	out := rs[:0]
	for _, p := range rs {
		keep := true
		for _, id := range ids {
			keep = keep && p.ReplicaID != id
		}
		if keep {
			out = append(out, p)
		}
	}
	return out
}

// Tidy finishes what an earlier leader began: it leaves a joint configuration and removes learners
// that nobody is bringing up any more.
func (r *Replica) Tidy(ctx context.Context) error {
	d := r.Desc()
	busy := false
	for _, p := range d.Replicas {
		busy = busy || p.Type == kv.Learner
	}
	if f := r.adminMu.filling(); !busy && !d.InJoint() || f != nil && !f.inherited {
		return nil // or somebody is at it; who fails at it asks for this again
	}
	s, release, err := r.admin(ctx)
	if err != nil {
		return err
	}
	defer release()
	desc, err := r.leaveJoint(ctx, s.term, s.desc)
	if err == nil {
		_, err = r.dropLearners(ctx, s.term, desc)
	}
	return err
}

// leaveJoint finishes a change: the incoming voters are voters, the outgoing ones are gone.
func (r *Replica) leaveJoint(ctx context.Context, term uint64, desc *kv.RangeDescriptor) (*kv.RangeDescriptor, error) {
	if !desc.InJoint() {
		return desc, nil
	}
	next := desc.Clone()
	var gone []kv.ReplicaID
	for i := range next.Replicas {
		switch p := &next.Replicas[i]; p.Type {
		case kv.VoterIncoming:
			p.Type = kv.Voter
		case kv.VoterDemoting:
			p.Type = kv.Learner
		case kv.VoterOutgoing:
			gone = append(gone, p.ReplicaID)
		}
	}
	next.Replicas = without(next.Replicas, gone)
	return r.changeDesc(ctx, term, next, &pb.ConfChangeV2{})
}

func (r *Replica) dropLearners(ctx context.Context, term uint64, desc *kv.RangeDescriptor) (*kv.RangeDescriptor, error) {
	for _, p := range desc.Replicas {
		if p.Type != kv.Learner {
			continue
		}
		next := desc.Clone()
		next.Replicas = without(next.Replicas, []kv.ReplicaID{p.ReplicaID})
		cc := &pb.ConfChangeV2{Changes: []*pb.ConfChangeSingle{{Type: pb.ConfChangeRemoveNode.Enum(), NodeId: new(uint64(p.ReplicaID))}}}
		var err error
		if desc, err = r.changeDesc(ctx, term, next, cc); err != nil {
			return desc, err
		}
	}
	return desc, nil
}

// changeDesc replicates a new descriptor, whose generation it raises.
func (r *Replica) changeDesc(ctx context.Context, term uint64, next *kv.RangeDescriptor, cc *pb.ConfChangeV2) (*kv.RangeDescriptor, error) {
	next.Generation++
	cmd := command{id: nextProposalID(), desc: next}
	if err := r.proposeAndWait(ctx, &cmd, nil, cc, term); err != nil {
		return nil, err
	}
	return next, nil
}

const (
	// catchUpTimeout bounds how long a learner may take, snapshot included.
	catchUpTimeout = 10 * time.Minute
	// catchUpLook is the time between two looks at how far it is. mostBehind is how many looks ago it may have been where the leader was then: half a second, which is
	// what the range may stand still for when its vote counts. It is a time and not a number of entries: those of a load are of a megabyte each, and over a long
	// way hundreds of small ones are under way at any moment.
	catchUpLook = 20 * time.Millisecond
	mostBehind  = 25
	// majorityTimeout bounds how long a store that has just been given a replica may take until it supports the leader's.
	majorityTimeout = 5 * time.Second
)

// waitCaughtUp waits until a learner of a leader of term has nearly everything. adminMu is held, and is lent meanwhile.
func (r *Replica) waitCaughtUp(ctx context.Context, term uint64, id kv.ReplicaID, gone func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	mu := r.adminMu.state()
	tick := time.NewTicker(catchUpLook)
	defer tick.Stop()
	var w lookout
	for {
		ready, there := false, false
		err := r.look(&w, term, func(p kv.ReplicaID, goesByLog, close bool) {
			if p == id {
				there, ready = true, goesByLog && close
			}
		})
		if err != nil || ready {
			return err
		}
		if !there {
			return kv.Errorf(kv.CodeUnavailable, "replica %d of range %d is none any more", id, r.id)
		}
		if gone() {
			return kv.Errorf(kv.CodeUnavailable, "replica %d of range %d is not brought up: its store is gone", id, r.id)
		}
		select {
		case <-tick.C:
		case mu.lent <- struct{}{}:
			<-mu.back
		case <-ctx.Done():
			return kv.Errorf(kv.CodeUnavailable, "replica %d of range %d did not catch up: %v", id, r.id, ctx.Err())
		}
	}
}

// lookout is how far the leader was at its latest looks at its followers, in turns.
type lookout struct {
	n   int
	was [mostBehind]uint64
}

// look calls f for each replica, this one included, with whether it is sent the log as it grows, and whether it has what the leader had mostBehind looks ago. It fails
// if the replica does not lead in term.
func (r *Replica) look(w *lookout, term uint64, f func(id kv.ReplicaID, goesByLog, close bool)) error {
	return r.Call(func() error {
		if r.role != raft.StateLeader || r.term != term {
			return r.notLeader()
		}
		applied := r.snapshotState().applied.AppliedIndex
		least := applied
		if w.n >= mostBehind {
			least = w.was[w.n%mostBehind]
		}
		w.was[w.n%mostBehind] = applied
		w.n++
		r.raft.WithProgress(func(id uint64, _ raft.ProgressType, pr tracker.Progress) {
			f(kv.ReplicaID(id), pr.State == tracker.StateReplicate, pr.Match >= least)
		})
		return nil
	})
}

// Checksum makes every replica compute a checksum at one log position (Owner.Checksum); announce is told
// the id of the command before any of them can.
func (r *Replica) Checksum(ctx context.Context, announce func(id uint64)) error {
	s := r.snapshotState()
	if s.desc == nil {
		return r.notLeaderIn(&s)
	}
	if err := r.mayServe(&s, s.since); err != nil {
		return err
	}
	cmd := command{id: nextProposalID(), checksum: true}
	announce(cmd.id)
	return r.proposeAndWait(ctx, &cmd, nil, nil, s.term)
}
