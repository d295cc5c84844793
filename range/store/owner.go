package store

import (
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// owner is the store as its replicas see it (replica.Owner).
type owner Store

var _ replica.Owner = (*owner)(nil)

func (o *owner) store() *Store { return (*Store)(o) }

func (o *owner) SendRaft(to kv.Replica, msgs []*raftlog.Message) {
	o.cfg.Transport.SendRaft(to.NodeID, msgs)
}

func (o *owner) Need(r *replica.Replica, c replica.Care) { o.lists.add(r, c) }

func (o *owner) Signal(r *replica.Replica) { o.sched.Signal(r) }
func (o *owner) Gather(r *replica.Replica) { o.sched.Gather(r) }

// lateReplicas have followers that are to be told of a commit.
type lateReplicas struct {
	mu   sync.Mutex
	list []*replica.Replica // guarded by mu
}

func (o *owner) Late(r *replica.Replica) {
	l := &o.late
	l.mu.Lock()
	l.list = append(l.list, r)
	first := len(l.list) == 1
	l.mu.Unlock()
	if first {
		time.AfterFunc(replica.LateBy, o.store().sendLate)
	}
}

// sendLate has all of them processed, together as far as the scheduler takes them together.
func (s *Store) sendLate() {
	l := &s.late
	l.mu.Lock()
	rs := l.list
	l.list = nil
	l.mu.Unlock()
	if s.closed.Load() != nil {
		return
	}
	for _, r := range rs {
		r.PostLate()
	}
	s.sched.SignalAll(rs)
}

func (o *owner) SnapshotWanted(r *replica.Replica, to kv.Replica) { o.store().sendSnapshot(r, to) }

func (o *owner) DescriptorChanged(r *replica.Replica, _ *kv.RangeDescriptor) {
	o.peers.note(r.Desc())
	o.store().dropAbsorbed(r)
	if _, ok := r.Serving(); ok {
		o.work.push(job{kind: jobMeta, rng: r.ID()})
	}
}

func (o *owner) LeadershipBegan(r *replica.Replica) {
	// Whoever led before may have died between a change and its entry in the meta range.
	o.work.push(job{kind: jobMeta, rng: r.ID()})
	o.work.push(job{kind: jobTidy, rng: r.ID()})
	if r.Frozen() != nil {
		o.work.push(job{kind: jobThaw, rng: r.ID()})
	}
}

func (o *owner) Removed(r *replica.Replica, below kv.ReplicaID) {
	o.work.push(job{kind: jobRemove, rng: r.ID(), below: below})
}

func (o *owner) Leaderless(r *replica.Replica) {
	if r.ID() != kv.MetaRangeID { // where one would look
		o.work.push(job{kind: jobLookUp, rng: r.ID()})
	}
}

// SplitRight holds creating, so that no replica of the right range comes or goes until SplitDone.
func (o *owner) SplitRight(left *replica.Replica, right *kv.RangeDescriptor) (*replica.Replica, bool, error) {
	s := o.store()
	s.creating.Lock()
	me, ok := right.ReplicaOn(s.id.StoreID)
	if !ok {
		return nil, true, nil
	}
	// A snapshot of the left range itself, from before the split, is out of date: the log has come first, and Raft will not want it.
	if other, ok := s.receivingFor(right); ok && other != left.ID() {
		s.creating.Unlock()
		return nil, false, fmt.Errorf("a snapshot of range %d is being received over %s, which the split makes", other, right)
	}
	r := s.replica(right.RangeID)
	if r != nil {
		switch {
		case r.ReplicaID() < me.ReplicaID:
			s.creating.Unlock()
			return nil, false, fmt.Errorf("range %d: replica %d is here, and the split makes %d", right.RangeID, r.ReplicaID(), me.ReplicaID)
		case r.ReplicaID() > me.ReplicaID:
			return nil, true, nil // removed and added again since: its state will come by snapshot
		}
		r.LockForSplit()
		if r.Desc() != nil {
			r.UnlockAfterSplit()
			s.creating.Unlock()
			return nil, false, fmt.Errorf("range %d is initialised before its split", right.RangeID)
		}
		return r, false, nil
	}
	below, err := raftlog.ReadTombstone(s.eng.DB(), right.RangeID)
	if err != nil {
		s.creating.Unlock()
		return nil, false, err
	}
	return nil, me.ReplicaID < below, nil
}

func (o *owner) SplitDone(left, right *replica.Replica, desc *kv.RangeDescriptor) {
	s := o.store()
	defer s.creating.Unlock()
	s.mu.Lock()
	if sp, ok := s.receiving[left.ID()]; ok && left.Desc().EndKey.Less(sp.End) {
		s.receiving[left.ID()] = left.Desc().Span() // see SplitRight
	}
	s.mu.Unlock()
	if existing := s.replica(desc.RangeID); existing != nil && existing.LockedForSplit() {
		existing.UnlockAfterSplit()
	} else if right != nil {
		s.mu.Lock()
		s.replicas[desc.RangeID] = right
		s.mu.Unlock()
		right.Begin()
	}
	if right == nil {
		return
	}
	s.peers.note(desc)
	for _, m := range s.early.take(desc.RangeID) {
		if m.To.ReplicaID == right.ReplicaID() {
			right.Deliver(m)
		}
	}
	if h := s.splitsDue.take(desc.RangeID); h != nil && h.Message.To.ReplicaID == right.ReplicaID() {
		right.SayPosition(h)
	}
	// The left side's leader is where the right side's data is hot: its store takes the lead at once. The others wait
	// for their election timeout.
	if _, ok := left.Serving(); ok {
		right.Campaign()
	} else {
		s.sched.Signal(right)
	}
}

// HandleRaftMessages takes messages from another store. It does not block on disks.
func (s *Store) HandleRaftMessages(msgs []*RaftMessage) {
	if !s.started.Load() || s.closed.Load() != nil {
		return
	}
	// What comes together is processed together: one write to the log, and one answer to the sender.
	var few [16]*replica.Replica
	got := few[:0]
	for _, m := range msgs {
		if m.To.StoreID != s.id.StoreID || !s.observe(m.Now) {
			continue // for another store that was at this address, or from a clock that is out of bounds
		}
		if r := s.receiver(m, false); r != nil && r.Receive(m) {
			got = append(got, r)
		}
	}
	s.sched.SignalAll(got)
}

// handleRaft takes one message that has waited for its range (see early).
func (s *Store) handleRaft(m *RaftMessage) {
	if r := s.receiver(m, true); r != nil {
		r.Deliver(m)
	}
}

// receiver returns the replica that takes the message, nil if it was for the store, or for nobody. late is one that has waited for its range.
func (s *Store) receiver(m *RaftMessage, late bool) *replica.Replica {
	r := s.replica(m.RangeID)
	if m.RemovedBelow != 0 {
		// That a range was merged away is said to replicas that have nothing; others may still have to be absorbed.
		if r != nil && r.ReplicaID() < m.RemovedBelow && (m.RemovedBelow != replica.NoReplica || r.Desc() == nil) {
			s.work.push(job{kind: jobRemove, rng: m.RangeID, below: m.RemovedBelow})
		}
		return nil
	}
	switch {
	case m.ChecksumID != 0:
		s.handleChecksum(m, r)
		return nil
	case m.Ask:
		s.handleAsk(m, r)
		return nil
	case m.Resigned != 0:
		if r != nil && r.ReplicaID() == m.To.ReplicaID {
			r.Resigned(m)
		}
		return nil
	}
	if r == nil && !late && s.early.keep(m) {
		return nil
	}
	if r == nil || r.ReplicaID() != m.To.ReplicaID {
		if r = s.replicaFor(m, r); r == nil {
			return nil
		}
	}
	switch m.Raft.GetType() {
	case pb.MsgVote, pb.MsgPreVote, pb.MsgHeartbeatResp:
		if gone(r, m.From) { // it was removed while it was away, and still asks for votes, or whether its leader is there (Replica.askLeader)
			s.sayRemoved(m)
			return nil
		}
	case pb.MsgSnap:
		return nil // snapshots come by HandleSnapshot
	}
	return r
}

// replicaFor returns the replica that m is for, and creates it if it may be created; nil if not. have
// is another replica of the range that is here.
func (s *Store) replicaFor(m *RaftMessage, have *replica.Replica) *replica.Replica {
	if have != nil && have.ReplicaID() > m.To.ReplicaID { // for a replica that was here before
		if gone(have, m.From) {
			s.sayRemoved(m)
		} else {
			s.sayGone(m)
		}
		return nil
	}
	if have != nil {
		// The replica here was removed, and the range has a new one for this store.
		s.work.push(job{kind: jobRemove, rng: m.RangeID, below: m.To.ReplicaID})
		return nil
	}
	switch m.Raft.GetType() {
	case pb.MsgApp, pb.MsgHeartbeat, pb.MsgVote, pb.MsgPreVote, pb.MsgSnap:
	case pb.MsgAppResp, pb.MsgHeartbeatResp: // an answer to somebody who has led
		if below, err := raftlog.ReadTombstone(s.eng.DB(), m.RangeID); err != nil {
			s.log.Error("cannot read a tombstone", "range", int64(m.RangeID), "err", err)
		} else if m.To.ReplicaID < below {
			s.sayGone(m)
		}
		return nil
	default:
		return nil
	}
	s.creating.Lock()
	defer s.creating.Unlock()
	if r := s.replica(m.RangeID); r != nil {
		if r.ReplicaID() == m.To.ReplicaID {
			return r
		}
		return nil
	}
	below, err := raftlog.ReadTombstone(s.eng.DB(), m.RangeID)
	if err != nil {
		s.log.Error("cannot read a tombstone", "range", int64(m.RangeID), "err", err)
		return nil
	}
	if m.To.ReplicaID < below {
		return nil // it was removed; the sender will learn that by its own means
	}
	b := s.eng.DB().NewBatch()
	defer func() { _ = b.Close() }() // committed or not, there is nothing left to report
	if err = raftlog.WriteReplica(b, m.RangeID, m.To.ReplicaID); err == nil {
		// Not synced: whatever the replica promises is, later in the same write-ahead log.
		err = b.Commit(pebble.NoSync)
	}
	if err != nil {
		s.log.Error("cannot create a replica", "range", int64(m.RangeID), "err", err)
		return nil
	}
	r, err := replica.New(&s.deps, m.RangeID, m.To.ReplicaID)
	if err != nil {
		s.log.Error("cannot create a replica", "range", int64(m.RangeID), "err", err)
		return nil
	}
	s.mu.Lock()
	s.replicas[m.RangeID] = r
	s.mu.Unlock()
	r.Begin()
	return r
}

// gone reports whether p was removed from the range, as r knows it: ids are never used again.
func gone(r *replica.Replica, p kv.Replica) bool {
	d := r.Desc()
	if d == nil || p.ReplicaID >= d.NextReplicaID {
		return false
	}
	_, ok := d.ReplicaByID(p.ReplicaID)
	return !ok
}

// handleAsk answers a replica that has not heard of a leader.
func (s *Store) handleAsk(m *RaftMessage, r *replica.Replica) {
	if r == nil {
		if m.To.ReplicaID == 0 { // it asks the store
			s.sayMerged(m)
		}
		return
	}
	if gone(r, m.From) {
		s.sayRemoved(m)
	} else if _, leads := r.Serving(); leads || r.Quiet() && r.LeaderStore() == 0 {
		r.Wake() // a quiet leader that it has not heard of, or one who has led, and has slept since the start
	}
}

// sayRemoved tells the sender of m that it was removed.
func (s *Store) sayRemoved(m *RaftMessage) {
	s.cfg.Transport.SendRaft(m.From.NodeID, []*RaftMessage{{
		RangeID: m.RangeID, From: m.To, To: m.From, Now: s.clock.Now(), RemovedBelow: m.From.ReplicaID + 1,
	}})
}

// sayGone tells the sender of m that the replica that it is for was here once and will not lead again. If the sender follows it, it has no
// other way to learn that there is no leader: this store lives, and is supported.
func (s *Store) sayGone(m *RaftMessage) {
	s.cfg.Transport.SendRaft(m.From.NodeID, []*RaftMessage{{
		RangeID: m.RangeID, From: m.To, To: m.From, Now: s.clock.Now(), Resigned: m.Raft.GetTerm(),
	}})
}

// removeReplica deletes a replica that was removed from its range, and leaves a tombstone. What is another
// range's by now stays (dropAbsorbed).
func (s *Store) removeReplica(id kv.RangeID, below kv.ReplicaID) error {
	r := s.replica(id)
	if r == nil || r.ReplicaID() >= below {
		return nil
	}
	return s.destroy(r, id, below)
}

// destroy deletes a replica, once: several peers may say at the same time that it was removed, and in the place of what the first of them has deleted
// there may be a new replica of the range by now, with the same keys.
func (s *Store) destroy(r *replica.Replica, id kv.RangeID, below kv.ReplicaID) error {
	deleted := false
	err := r.Destroy(func(desc *kv.RangeDescriptor) error {
		// A split takes the locks in this order, too: the replica's, then creating.
		s.creating.Lock()
		defer s.creating.Unlock()
		if s.replica(id) != r {
			return nil
		}
		b := s.eng.DB().NewBatch()
		defer func() { _ = b.Close() }() // committed or not, there is nothing left to report
		if desc != nil {
			if err := replica.DeleteData(b, id, s.unshared(id, desc.Span())); err != nil {
				return err
			}
		}
		if err := raftlog.Remove(b, id, below); err != nil {
			return err
		}
		if err := b.Commit(pebble.Sync); err != nil {
			return engine.Classify(err)
		}
		s.mu.Lock()
		delete(s.replicas, id)
		s.mu.Unlock()
		deleted = true
		return nil
	})
	if err != nil || !deleted {
		return err
	}
	s.peers.old.Store(true)
	s.log.Info("replica removed", "range", int64(id), "replica", int(r.ReplicaID()))
	return nil
}

// overlapping returns an initialised replica, or the bounds of a snapshot under way, that overlaps the range and is
// of another, which it has not absorbed.
func (s *Store) overlapping(by *kv.RangeDescriptor) (kv.RangeID, bool) {
	id, span := by.RangeID, by.Span()
	s.mu.RLock()
	defer s.mu.RUnlock()
	for other, r := range s.replicas {
		if d := r.Desc(); other != id && d != nil && d.Span().Overlaps(span) && !s.absorbable(r, d, by) {
			return other, true
		}
	}
	return s.receivingOver(id, span)
}

// receivingFor returns the range, if there is one, of which a snapshot is being received that overlaps d, of another range.
func (s *Store) receivingFor(d *kv.RangeDescriptor) (kv.RangeID, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.receivingOver(d.RangeID, d.Span())
}

// receivingOver: see receivingFor. s.mu is held.
func (s *Store) receivingOver(id kv.RangeID, span keys.Span) (kv.RangeID, bool) {
	for other, sp := range s.receiving {
		if other != id && sp.Overlaps(span) {
			return other, true
		}
	}
	return 0, false
}
