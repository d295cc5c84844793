package store

import (
	"context"
	"fmt"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// The protocol, and why it is safe: range/internal/replica/merge.go.

// mergeTimeout bounds a merge. Its right side serves nothing for a part of that (replica.freezeTimeout).
const mergeTimeout = 10 * time.Second

// merge merges the range with its right neighbour, which begins at q.At.
func (s *Store) merge(ctx context.Context, left *replica.Replica, q *kv.AdminMerge) (*kv.RangeDescriptor, error) {
	ctx, cancel := context.WithTimeout(ctx, mergeTimeout)
	defer cancel()
	d := left.Desc()
	if d == nil || !d.Contains(q.Key) {
		return nil, &kv.Error{Code: kv.CodeRangeMismatch, Key: q.Key, Message: "the range was split or merged"}
	}
	if _, ok := left.Serving(); ok && d.Contains(q.At) {
		return d, nil
	}
	right := s.rightOf(d)
	if right == nil || !right.Desc().StartKey.Equal(q.At) {
		return nil, kv.Errorf(kv.CodeBadRequest, "range %d has no right neighbour on store %d that begins there", left.ID(), s.id.StoreID)
	}
	if err := replica.Mergeable(d, right.Desc()); err != nil {
		return nil, err
	}
	want := [2]int64{q.Left, q.Right}
	if err := s.fetchLeader(ctx, right); err != nil {
		return nil, err
	}
	next, err := left.Merge(ctx, right, want, s.confirmed, func() error { return s.keepsEnough(left, right) })
	if err != nil {
		if right.Frozen() != nil {
			s.work.push(job{kind: jobThaw, rng: right.ID()})
		}
		if e := kv.AsError(err); e.Code == kv.CodeUnavailable || e.Code == kv.CodeUnknownOutcome {
			// Nobody shall try again and again what makes a range stand still.
			return nil, kv.NotNow(kv.NotNowFailed, "%s", e.Message)
		}
		return nil, err
	}
	if err := s.writeMeta(ctx, next); err != nil {
		s.log.Info("the meta range will be brought up to date later", "range", int64(left.ID()), "err", err)
		s.work.push(job{kind: jobMeta, rng: left.ID()})
	}
	return next, nil
}

// mergeRefused counts a merge that was asked for and could not be.
func (s *Store) mergeRefused(err error) {
	n := &s.metrics.MergesRefused
	e := kv.AsError(err)
	reason := &n.Failed
	switch e.Code {
	case kv.CodeBadRequest:
		reason = &n.Never
	case kv.CodeDescriptorChanged, kv.CodeRangeMismatch, kv.CodeNotLeader:
		reason = &n.Changed
	case kv.CodeNotNow:
		switch string(e.Detail) {
		case kv.NotNowReplicas:
			reason = &n.Replicas
		case kv.NotNowLeader:
			reason = &n.Leader
		case kv.NotNowRetention:
			reason = &n.Retention
		case kv.NotNowBehind:
			reason = &n.Behind
		}
	}
	reason.Add(1)
}

// fetchLeader makes this store the leader of the right side: both must be led here, so that what its leader has in memory goes over in memory.
func (s *Store) fetchLeader(ctx context.Context, right *replica.Replica) error {
	if _, ok := right.Serving(); ok {
		return nil
	}
	_, err := s.sendRouted(ctx, &kv.BatchRequest{RangeID: right.ID(), Requests: []kv.Request{&kv.AdminTransferLeader{Target: s.id.StoreID}}})
	if err != nil {
		return kv.NotNow(kv.NotNowLeader, "the right neighbour is not led by store %d: %v", s.id.StoreID, err)
	}
	for _, ok := right.Serving(); !ok; _, ok = right.Serving() {
		select {
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return kv.NotNow(kv.NotNowLeader, "the right neighbour is not led by store %d", s.id.StoreID)
		}
	}
	return nil
}

// keepsEnough refuses a merge by which either side would lose versions that it has to keep: the range that comes of it has one GC threshold, the later
// of the two. A timestamp that is protected
// after what is known here was read is above all thresholds that pass, as for collection: internal/node/retention.go.
func (s *Store) keepsEnough(left, right *replica.Replica) error {
	threshold := left.Applied().GCThreshold.Forward(right.Applied().GCThreshold)
	for _, r := range [2]*replica.Replica{left, right} {
		keep := s.retention(r)
		if keep.Unknown {
			return kv.NotNow(kv.NotNowRetention, "it is not known how long range %d has to keep old versions", r.ID())
		}
		if p := keep.Protected; !p.IsEmpty() && p.Less(threshold) {
			return kv.NotNow(kv.NotNowRetention, "range %d has a protected timestamp that its neighbour has collected beyond", r.ID())
		}
		asOf := keep.AsOf
		if asOf.IsEmpty() {
			asOf = s.clock.Now()
		}
		if asOf.Add(-keep.After).Less(threshold) && r.Applied().GCThreshold.Less(threshold) {
			return kv.NotNow(kv.NotNowRetention, "range %d keeps old versions for longer than its neighbour", r.ID())
		}
	}
	return nil
}

// confirmed implements replica.Confirmed.
func (s *Store) confirmed(ctx context.Context, r *replica.Replica, propose func(announce func(uint64)) error) error {
	replicas := r.Desc().Replicas
	var id uint64
	var answers chan sumOf
	defer func() { s.sums.forget(id) }()
	err := propose(func(cmd uint64) { id, answers = cmd, s.sums.expect(cmd, 2*len(replicas)) })
	if err != nil {
		return err
	}
	missing := make(map[kv.StoreID]struct{}, len(replicas))
	for _, p := range replicas {
		missing[p.StoreID] = struct{}{}
	}
	for len(missing) > 0 {
		select {
		case a := <-answers:
			delete(missing, a.store)
		case <-ctx.Done():
			for st := range missing {
				return kv.NotNow(kv.NotNowBehind, "the replica of range %d on store %d has not caught up", r.ID(), st)
			}
		}
	}
	return nil
}

// Confirm implements replica.Owner. (Application is not synced; this is the same write-ahead log, later.)
func (o *owner) Confirm(r *replica.Replica, id uint64) {
	s, desc := o.store(), r.Desc()
	s.goLoop(func() {
		if err := s.eng.DB().LogData(nil, pebble.Sync); err != nil {
			s.log.Error("cannot confirm what was applied", "range", int64(desc.RangeID), "err", err)
			return
		}
		s.tellSum(r, desc, id, "confirmed")
	})
}

// rightOf returns the replica here of the range that begins where d ends; nil if there is none.
func (s *Store) rightOf(d *kv.RangeDescriptor) (right *replica.Replica) {
	s.each(func(r *replica.Replica) bool {
		if rd := r.Desc(); rd != nil && rd.StartKey.Equal(d.EndKey) {
			right = r
		}
		return right == nil
	})
	return right
}

// thaw lets a frozen range serve again, unless its left neighbour has absorbed it.
func (s *Store) thaw(ctx context.Context, r *replica.Replica) error {
	of := r.Frozen()
	if of == nil {
		return nil
	}
	resp, err := s.sendRouted(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminEndMerge{Key: of.Start, ID: of.ID, Left: of.Left, Base: of.Base}}})
	if err != nil {
		return err
	}
	if resp.Responses[0].(*kv.AdminEndMergeResponse).Merged {
		return nil // the left side's replica here will absorb it; if there is none: maintainFrozen
	}
	s.log.Info("a merge came to nothing", "range", int64(r.ID()))
	return r.Thaw(ctx, of)
}

// maintainFrozen looks after a frozen replica: a merge takes milliseconds, unless something has gone wrong. It is called about once a second.
func (s *Store) maintainFrozen(r *replica.Replica) {
	of := r.Frozen()
	if of == nil || s.clock.Now().WallTime-of.ID.Start() < int64(2*mergeTimeout) {
		return
	}
	if _, ok := r.Serving(); ok {
		s.work.push(job{kind: jobThaw, rng: r.ID()})
	}
	s.work.push(job{kind: jobLookUp, rng: r.ID()})
}

// MergeRight implements replica.Owner.
func (o *owner) MergeRight(_ *replica.Replica, right *kv.RangeDescriptor) (*replica.Replica, error) {
	r := o.store().replica(right.RangeID)
	if r == nil {
		return nil, fmt.Errorf("merge with %s, which is not here", right)
	}
	return r, nil
}

// MergeDone implements replica.Owner.
func (o *owner) MergeDone(_, right *replica.Replica) {
	s := o.store()
	s.mu.Lock()
	if s.replicas[right.ID()] == right {
		delete(s.replicas, right.ID())
	}
	s.mu.Unlock()
}

// awaited reports whether a replica here is still to apply the merge that r is frozen for, other than by the snapshot of range by (0 for none): its left
// side's, at the generation that can. s.mu is held.
func (s *Store) awaited(r *replica.Replica, by kv.RangeID) bool {
	of := r.Frozen()
	if of == nil || of.Left == by {
		return false
	}
	left := s.replicas[of.Left]
	if left == nil {
		return false
	}
	d := left.Desc()
	return d != nil && d.Generation <= of.Base
}

// absorbable reports whether the frozen replica r, whose descriptor is d, may give way to range by: whether its range was merged away. A range keeps the
// key it begins at for as long as it lives, so that is so if a later range holds that key. One that only overlaps d may have been split from it,
// after the merge was given up and before this replica has heard of that. s.mu is held.
func (s *Store) absorbable(r *replica.Replica, d, by *kv.RangeDescriptor) bool {
	return r.Frozen() != nil && by.RangeID != d.RangeID && by.Generation > d.Generation && by.Contains(d.StartKey) && !s.awaited(r, by.RangeID)
}

// noteFrozen remembers a replica that may be frozen. mu is held.
func (s *Store) noteFrozen(r *replica.Replica) {
	if r.Frozen() != nil {
		s.frozen[r.ID()] = r
	}
}

// dropAbsorbed removes frozen replicas of ranges that r's, by a snapshot, turns out to have taken the place of; also r, if it has just been frozen and another has
// taken its place since it might be. It is called for every change of a descriptor, and looks at no replica but frozen ones, unless r is one: there are few.
func (s *Store) dropAbsorbed(r *replica.Replica) {
	by := r.Desc()
	if by == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noteFrozen(r)
	for id, other := range s.frozen {
		if other.Frozen() == nil || s.replicas[id] != other {
			delete(s.frozen, id)
		} else if d := other.Desc(); other != r && d != nil && s.absorbable(other, d, by) {
			s.work.push(job{kind: jobRemove, rng: id, below: replica.NoReplica})
		}
	}
	if s.frozen[r.ID()] == r {
		s.dropIfAbsorbed(r)
	}
}

// dropIfAbsorbed removes a frozen replica if there is one here of a range that has taken its place. mu is held.
func (s *Store) dropIfAbsorbed(r *replica.Replica) {
	for _, by := range s.replicas {
		if d, x := r.Desc(), by.Desc(); by != r && d != nil && x != nil && s.absorbable(r, d, x) {
			s.work.push(job{kind: jobRemove, rng: r.ID(), below: replica.NoReplica})
			return
		}
	}
}

// orphan reports whether a frozen replica, of the range mine, is of no use to anybody: there is a later range now where it was, and nothing
// here is going to absorb it.
func (s *Store) orphan(r *replica.Replica, mine, now *kv.RangeDescriptor) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.absorbable(r, mine, now) && !s.awaited(r, 0)
}

// leftBehind reports whether a replica of the range mine, which is not frozen, has missed that the range has given it up and was merged away later. A range
// keeps the key it begins at for as long as it lives, so if a later range holds that key it lives no more; and all replicas that it had
// in the end were frozen before that, and on disk.
func leftBehind(r *replica.Replica, mine, now *kv.RangeDescriptor) bool {
	return now.RangeID != mine.RangeID && now.Generation > mine.Generation && now.Contains(mine.StartKey) && r.Frozen() == nil
}

// askMerged asks the other stores whether the range of r, which has never got a snapshot and which the meta range does not know, was merged away. That the meta
// range does not know it is not enough: it may be told of a new one later.
func (s *Store) askMerged(r *replica.Replica) {
	s.support.mu.Lock()
	peers := s.support.machine.Peers()
	s.support.mu.Unlock()
	for _, p := range peers {
		s.cfg.Transport.SendRaft(p.Node, []*RaftMessage{{
			RangeID: r.ID(), From: r.Me(), To: kv.Replica{NodeID: p.Node, StoreID: p.Store}, Now: s.clock.Now(), Ask: true,
		}})
	}
}

// sayMerged answers askMerged, if that is so. All replicas that the range had in the end were frozen before it was merged away, so one that has nothing
// had been removed from it. Those that have something are told nothing here: they may still have to be absorbed.
func (s *Store) sayMerged(m *RaftMessage) {
	below, err := raftlog.ReadTombstone(s.eng.DB(), m.RangeID)
	if err != nil {
		s.log.Error("cannot read a tombstone", "range", int64(m.RangeID), "err", err)
		return
	}
	if below == replica.NoReplica {
		s.cfg.Transport.SendRaft(m.From.NodeID, []*RaftMessage{{
			RangeID: m.RangeID, From: m.To, To: m.From, Now: s.clock.Now(), RemovedBelow: replica.NoReplica,
		}})
	}
}

// unshared returns the parts of the span that are not of any other initialised replica here, nor of a snapshot that is being received: what may be
// deleted with the replica of the range. s.creating is held.
func (s *Store) unshared(id kv.RangeID, span keys.Span) []keys.Span {
	s.mu.RLock()
	defer s.mu.RUnlock()
	left := []keys.Span{span}
	for other, r := range s.replicas {
		if d := r.Desc(); other != id && d != nil {
			left = less(left, d.Span())
		}
	}
	for other, sp := range s.receiving {
		if other != id {
			left = less(left, sp)
		}
	}
	return left
}

// less takes a span out of some others.
func less(from []keys.Span, sp keys.Span) (out []keys.Span) {
	for _, f := range from {
		if !f.Overlaps(sp) {
			out = append(out, f)
			continue
		}
		if f.Start.Less(sp.Start) {
			out = append(out, keys.Span{Start: f.Start, End: sp.Start})
		}
		if sp.End.Less(f.End) {
			out = append(out, keys.Span{Start: sp.End, End: f.End})
		}
	}
	return out
}
