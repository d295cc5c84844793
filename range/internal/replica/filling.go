package replica

import (
	"context"
	"slices"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/range/kv"
)

// filling is a change of replicas that brings up its learners. It is not changed once others can see it.
//
// A range may be split meanwhile (adminMutex). Then the right side has the same learners, and the same to lose when they are there; what they have
// got of the left side is theirs as soon as they apply the split. So the change goes on for both: the replica that the split makes on the leader's
// store has it from the left side's, and that store, which nearly always leads the right side, too, carries it on when it does (CarryOn). If
// another leads it, nobody knows there what the learners were for, and they go (Tidy). So they do when leadership moves or the leader dies: at once, on either side.
type filling struct {
	learners []kv.Replica   // by what they are to become: kv.Voter or kv.NonVoter
	leave    []kv.ReplicaID // who goes when they are there
	gentle   bool
	// inherited: it came with a split, and nobody carries it on yet.
	inherited bool
}

// disinherit is for a replica that follows another one, which has removed the learners, or will: they are not what this one is to wait for when it leads.
func (m *adminMutex) disinherit() {
	if f := m.filling(); f != nil && f.inherited {
		m.state().filling.CompareAndSwap(f, nil)
	}
}

// fill makes the change known; done is called at its end. adminMu is held.
func (m *adminMutex) fill(f *filling) (done func()) {
	t := m.state()
	t.filling.Store(f)
	return func() { t.filling.CompareAndSwap(f, nil) }
}

// filling returns the change that is under way, or waits to be carried on; nil if there is none.
func (m *adminMutex) filling() *filling {
	if t := m.made.Load(); t != nil {
		return t.filling.Load()
	}
	return nil
}

// inherit is for the right side of a split: the change that was under way on the left side.
func (m *adminMutex) inherit(f *filling) {
	if f == nil || len(f.learners) == 0 {
		return
	}
	own := *f
	own.inherited = true
	m.state().filling.Store(&own)
}

// Gentle reports whether the replica is brought up for a change that nobody waits for. All others that lack something do so because something went wrong, or are waited for.
func (r *Replica) Gentle(id kv.ReplicaID) bool {
	f := r.adminMu.filling()
	return f != nil && f.gentle && slices.ContainsFunc(f.learners, func(p kv.Replica) bool { return p.ReplicaID == id })
}

// Inherited reports whether a change of replicas came with the split that made the range, and waits for its leader to carry it on.
func (r *Replica) Inherited() bool {
	f := r.adminMu.filling()
	return f != nil && f.inherited
}

// CarryOn carries on the change that the range has inherited, to its end; it is ChangeReplicas but for its beginning. If it comes to nothing, the learners go.
// While the replica may not serve it cannot begin: then it fails, and the change is still to be carried on.
func (r *Replica) CarryOn(ctx context.Context, gone func(kv.StoreID) bool) error {
	s, release, err := r.admin(ctx)
	if err != nil {
		return err
	}
	defer release()
	f := r.adminMu.filling()
	if f == nil || !f.inherited {
		return nil // somebody else did
	}
	own := *f
	own.inherited = false
	defer r.adminMu.fill(&own)()
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	_, err = r.filled(ctx, s.term, &own, gone)
	return err
}

// filled waits until the learners are there, and makes of them what they are to be. adminMu is held.
func (r *Replica) filled(ctx context.Context, term uint64, f *filling, gone func(kv.StoreID) bool) (*kv.RangeDescriptor, error) {
	for _, p := range f.learners {
		if err := r.waitCaughtUp(ctx, term, p.ReplicaID, func() bool { return gone(p.StoreID) }); err != nil {
			return nil, r.emptied(ctx, term, err)
		}
	}
	desc := r.Desc() // the range may have been split
	next := desc.Clone()
	cc := &pb.ConfChangeV2{Transition: pb.ConfChangeTransitionJointExplicit.Enum()}
	for _, l := range f.learners {
		i := slices.IndexFunc(next.Replicas, func(p kv.Replica) bool { return p.ReplicaID == l.ReplicaID && p.Type == kv.Learner })
		switch {
		case i < 0:
			return nil, r.emptied(ctx, term, kv.Errorf(kv.CodeUnavailable, "replica %d of range %d is no learner any more", l.ReplicaID, r.id))
		case l.Type == kv.NonVoter: // Raft goes on to call it a learner
			next.Replicas[i].Type = kv.NonVoter
		default:
			next.Replicas[i].Type = kv.VoterIncoming
			cc.Changes = append(cc.Changes, &pb.ConfChangeSingle{Type: pb.ConfChangeAddNode.Enum(), NodeId: new(uint64(l.ReplicaID))})
		}
	}
	var leaving []kv.ReplicaID // learners: they simply go
	for i := range next.Replicas {
		p := &next.Replicas[i]
		if !slices.Contains(f.leave, p.ReplicaID) {
			continue
		}
		if p.Type == kv.Voter {
			p.Type = kv.VoterOutgoing
		} else {
			leaving = append(leaving, p.ReplicaID)
		}
		cc.Changes = append(cc.Changes, &pb.ConfChangeSingle{Type: pb.ConfChangeRemoveNode.Enum(), NodeId: new(uint64(p.ReplicaID))})
	}
	next.Replicas = without(next.Replicas, leaving)
	switch {
	case len(cc.Changes) == 0 && len(f.learners) == 0:
		return desc, nil
	case len(cc.Changes) == 0:
		cc = nil
	case !next.InJoint(): // only learners go
		cc.Transition = pb.ConfChangeTransitionAuto.Enum()
		if len(cc.Changes) > 1 {
			return nil, r.emptied(ctx, term, kv.Errorf(kv.CodeBadRequest, "remove learners one at a time"))
		}
	}
	if next.InJoint() {
		if err := r.waitMajority(ctx, term, next); err != nil {
			return nil, r.emptied(ctx, term, err)
		}
	}
	desc, err := r.changeDesc(ctx, term, next, cc)
	if err != nil {
		return nil, r.emptied(ctx, term, err)
	}
	return r.leaveJoint(ctx, term, desc)
}

// emptied removes learners that did not come up, and returns why. adminMu is held. A leader of a later term does so when it begins.
func (r *Replica) emptied(ctx context.Context, term uint64, cause error) error {
	if now, ok := r.Serving(); !ok || now != term {
		return cause
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := r.dropLearners(ctx, term, r.Desc()); err != nil {
		r.logger().Warn("cannot remove learners", "err", err)
	}
	return cause
}
