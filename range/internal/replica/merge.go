package replica

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A merge makes one range of two neighbours, L and R, that have replicas on the same stores and are led by the same store. Two logs
// take part, and there is no transaction over both; this is how they agree all the same.
//
//  0. Every replica of both, on every store, says that it is there and has caught up.
//  1. Freeze. R's leader waits for all that is being executed, and writes into R's log: frozen, for this merge. A replica of R that has applied it
//     serves nothing any more, neither as a leader nor from the past, and changes no descriptor but to thaw. Frozen is replicated
//     state, so whoever leads R later is bound by it, too.
//  2. Wait. Every replica of R, on every store, says that it has applied the freeze, and has that on disk.
//  3. Merge. L's leader writes into L's log: L's bounds are now those of both. The command names the generation that L had before the freeze was
//     proposed (Base), and has no effect at another. A store that applies it makes, in one batch, R's data L's: they are there already. With the same
//     batch L learns the merge's ID as that of a commit.
//  4. The meta range is told, and R's entry there goes.
//
// If the merge is not heard of any more after 1, whoever leads R asks the range that holds L's first key (AdminEndMerge): has it happened? It has, if the
// ID is known there as a commit: it is kept under L's first key, and goes wherever that goes, whatever
// becomes of L. Else, if L is at Base, it raises its generation by a command of its own, so that the merge can never happen. Else it is
// beyond Base without having merged. In the last two cases R thaws. Ids are forgotten by garbage collection, after a day at the least (mvcc.MergesKept): a
// question about one that old is answered by an error, and R stays frozen rather than alive twice.
//
// # Why that is safe
//
//   - M1. Between freeze and thaw R's user data does not change, and nobody reads it by way of R.
//   - M2. The merge command takes effect at most once, and only if L is at Base. A thaw is proposed only after L has been seen beyond Base, or to be no
//     more, without the ID. Generations never go back. So either the merge takes effect, and R is never thawed, or R is thawed, and the merge has
//     no effect on any replica.
//   - M3. The generation of the thaw is one above that of the freeze, so a thaw that comes late does nothing to a later freeze.
//   - M4. A store that applies the merge has applied R's freeze (step 2), and keeps that over a crash: it has said so after
//     a sync. R's replicas cannot have moved since, being frozen; and a store gives up a frozen replica for another reason than the merge only if its
//     replica of L is beyond Base, or is gone, which by step 0 it can only be by a change of L's replicas, beyond Base (range/store/merge.go).
//   - M5. Everything R's leader served was before the freeze was proposed, and its clock was past all of that. L's leader on the same store keeps writers
//     from going below its clock in R's keys; any other leader of L has applied the freeze on its store, so its clock, where its timestamp cache begins, is later.
//   - M6. Closed timestamps: whoever has applied the merge has all of R. L writes in R's keys above both L's closed timestamp and, by M5, whatever R had
//     promised.
//   - M7. A snapshot of L, or of what was split off it, from after the merge holds R's data, or a part. A store takes it over a frozen replica of R, which
//     is of no use from then on, unless L's replica there is still to apply the merge.
//
// # A crash at every step
//
//   - Before the freeze is in R's log: nothing has happened.
//   - After 1 or 2, of the store that leads both: R's next leader finds R frozen, asks L's next leader, and thaws.
//   - In 3, before the command is on a quorum of L: the same; the command is lost or will be void, by M2.
//   - After 3: L's next leader has the command in its log and applies it before it serves. Whoever leads what is left of R is told that it has happened,
//     and waits for the left side on its store to absorb it.
//   - After 3, before 4: whoever leads L next writes the meta range.
//   - Of a store while it applies: the batch is there or not.
//
// Locks and the timestamp cache of R go over in memory if the leader of L applies the merge itself; else it is as if R's leader had died: commits
// validate what they had locked.

// Frozen says for which merge the range stands still; nil if it does not.
func (r *Replica) Frozen() *mvcc.Freeze { return r.snapshotState().frozen }

func (r *Replica) frozenErr() *kv.Error {
	return kv.Errorf(kv.CodeUnavailable, "range %d is being merged into its left neighbour", r.id)
}

// Mergeable refuses ranges that cannot be merged, as they are.
func Mergeable(l, r *kv.RangeDescriptor) error {
	switch {
	case !l.EndKey.Equal(r.StartKey):
		return kv.Errorf(kv.CodeDescriptorChanged, "range %d is not the right neighbour of range %d", r.RangeID, l.RangeID)
	case l.RangeID == kv.MetaRangeID:
		return kv.Errorf(kv.CodeBadRequest, "the meta range is never merged")
	case l.RangeID == kv.CatalogRangeID && !r.StartKey.Less(keys.Table(keys.FirstUserTable)):
		return kv.Errorf(kv.CodeBadRequest, "the catalog's range is not merged with those of tables")
	}
	for _, d := range [2]*kv.RangeDescriptor{l, r} {
		for _, p := range d.Replicas {
			if p.Type != kv.Voter && p.Type != kv.NonVoter {
				return kv.NotNow(kv.NotNowReplicas, "range %d is changing its replicas", d.RangeID)
			}
		}
	}
	same := len(l.Replicas) == len(r.Replicas)
	for _, p := range l.Replicas {
		q, ok := r.ReplicaOn(p.StoreID)
		same = same && ok && q.Type == p.Type
	}
	if !same {
		return kv.NotNow(kv.NotNowReplicas, "ranges %d and %d have replicas on different stores", l.RangeID, r.RangeID)
	}
	return nil
}

// freezeTimeout bounds how long the right side stands still for one attempt.
const freezeTimeout = 3 * time.Second

// Confirmed carries out propose, which proposes a command to the range of r and calls announce with its id before any replica can answer it
// (Owner.Confirm), and waits until all replicas have answered.
type Confirmed func(ctx context.Context, r *Replica, propose func(announce func(id uint64)) error) error

// Merge absorbs the right neighbour, which this store leads, too. want are the generations that the two must be at, 0 for any. agreed refuses it for reasons that are not the ranges' own; it is asked twice. If the merge
// fails, right may be left frozen.
func (r *Replica) Merge(ctx context.Context, right *Replica, want [2]int64, confirmed Confirmed, agreed func() error) (*kv.RangeDescriptor, error) {
	s, release, err := r.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer release()
	rs, releaseRight, err := right.admin(ctx) // from left to right: no cycle
	if err != nil {
		return nil, err
	}
	defer releaseRight()
	if err := Mergeable(s.desc, rs.desc); err != nil {
		return nil, err
	}
	if want[0] != 0 && want[0] != s.desc.Generation {
		return nil, r.changed(s.desc, want[0])
	}
	if want[1] != 0 && want[1] != rs.desc.Generation {
		return nil, right.changed(rs.desc, want[1])
	}
	if err := agreed(); err != nil {
		return nil, err
	}
	// Before anything stands still: all replicas of both are there and have caught up. From now on a store without a replica of L has had one, and lost it.
	for _, x := range [2]*Replica{r, right} {
		st := &s
		if x == right {
			st = &rs
		}
		err := confirmed(ctx, x, func(announce func(uint64)) error {
			cmd := &command{id: nextProposalID(), confirm: true}
			announce(cmd.id)
			return x.proposeAndWait(ctx, cmd, nil, nil, st.term)
		})
		if err != nil {
			return nil, err
		}
	}
	of := &mvcc.Freeze{ID: kv.MakeTxnID(r.deps.Clock.Now(), rand.Uint64()), Left: r.id, Base: s.desc.Generation, Start: s.desc.StartKey}
	frozen := rs.desc.Clone()
	frozen.Generation++
	ctx, cancel := context.WithTimeout(ctx, freezeTimeout)
	defer cancel()
	var stats kv.Stats
	var stood time.Time
	defer func() {
		if !stood.IsZero() {
			r.deps.Metrics.MergeStallNanos.Add(int64(time.Since(stood)))
		}
	}()
	err = confirmed(ctx, right, func(announce func(uint64)) error {
		return right.standing(ctx, &rs, func() (*command, error) {
			stats, stood = right.Applied().Stats, time.Now()
			cmd := &command{id: nextProposalID(), desc: frozen, freeze: true, of: of}
			announce(cmd.id)
			return cmd, nil
		})
	})
	if err != nil {
		return nil, err
	}
	next := s.desc.Clone()
	next.EndKey = frozen.EndKey.Clone()
	next.Generation = max(s.desc.Generation, frozen.Generation) + 1
	err = r.standing(ctx, &s, func() (*command, error) {
		// Nothing is being collected on either side now.
		return &command{id: nextProposalID(), desc: next, right: frozen, rightStats: stats, merge: true, of: of,
			maxWrite: r.deps.Clock.Now().Add(2 * r.deps.Clock.MaxOffset())}, agreed()
	})
	if err != nil {
		return nil, err
	}
	r.logger().Info("merge done", "right", int64(right.id), "stood_still", time.Since(stood))
	return next, nil
}

// standing proposes a command while nothing else is executed in the range, which must be as it was at s, and waits until it is applied. adminMu is held.
func (r *Replica) standing(ctx context.Context, s *state, build func() (*command, error)) error {
	g, err := r.locks.Sequence(ctx, &kv.BatchRequest{RangeID: r.id}, wholeRange)
	if err != nil {
		return err
	}
	now := r.snapshotState()
	if e := r.mayServe(&now, now.since); e != nil {
		g.Finish()
		return e
	}
	if now.desc.Generation != s.desc.Generation || now.term != s.term {
		g.Finish()
		return kv.Errorf(kv.CodeUnavailable, "range %d changed", r.id)
	}
	cmd, err := build()
	if err != nil {
		g.Finish()
		return err
	}
	p, err := r.newProposal(cmd, nil, s.term)
	if err != nil {
		g.Finish()
		return err
	}
	done := newOutcome()
	p.finish = func(err *kv.Error) {
		g.Finish()
		done.tell(err)
	}
	p.giveUp = func() { done.tell(unknown("the merge has made no progress")) }
	r.submit(p, true)
	select {
	case e := <-done:
		if e != nil {
			return e
		}
		return nil
	case <-r.deps.Fatal:
		return unknown("the store has failed")
	case <-ctx.Done():
		return unknown("ended before the outcome was known: " + ctx.Err().Error())
	}
}

func newOutcome() outcome { return make(outcome, 1) }

// EndMerge tells whether a merge has happened, and if not, sees to it that it never will.
func (r *Replica) EndMerge(ctx context.Context, q *kv.AdminEndMerge) (merged bool, err error) {
	s, release, err := r.adminBesideFilling(ctx)
	if err != nil {
		return false, err
	}
	defer release()
	if !s.desc.Contains(q.Key) { // another range has to say
		return false, &kv.Error{Code: kv.CodeRangeMismatch, Key: q.Key, Descriptors: []kv.RangeDescriptor{*s.desc}}
	}
	// The generation and what is known of the merge must be of one moment: a merge may be in flight that nobody waits for any more.
	var known bool
	err = r.Call(func() error {
		s = r.snapshotState()
		o, _, err := mvcc.LoadCommitOutcome(r.deps.Engine.DB(), mvcc.MergeShelf, q.Key, q.ID)
		known = o.Committed
		return err
	})
	switch {
	case err != nil:
		return false, err
	case known:
		return true, nil
	case r.id == q.Left && s.desc.Generation == q.Base:
		_, err = r.changeDesc(ctx, s.term, s.desc.Clone(), nil)
		return false, err
	case r.id == q.Left && s.desc.Generation < q.Base:
		return false, kv.Errorf(kv.CodeCorruption, "range %d is at generation %d, and was at %d", r.id, s.desc.Generation, q.Base)
	case q.ID.Start() <= s.applied.GCThreshold.Add(-mvcc.MergesKept).WallTime:
		return false, &kv.Error{Code: kv.CodeReadBelowGC, TS: s.applied.GCThreshold, Message: "what became of a merge as old as that is forgotten"}
	}
	return false, nil
}

// Thaw ends a freeze, after EndMerge has said that there will be no merge.
func (r *Replica) Thaw(ctx context.Context, of *mvcc.Freeze) error {
	s := r.snapshotState()
	if s.frozen != of {
		return nil
	}
	if e := r.mayServe(&s, s.since); e != nil {
		return e
	}
	next := s.desc.Clone()
	next.Generation++
	if err := r.proposeAndWait(ctx, &command{id: nextProposalID(), desc: next, thaw: true}, nil, nil, s.term); err != nil {
		return err
	}
	r.deps.Metrics.MergesUndone.Add(1)
	return nil
}

// applyFreeze applies a freeze or a thaw. raftMu is held.
func (r *Replica) applyFreeze(b *pebble.Batch, cmd *command, commit func() error) error {
	key := mvcc.FrozenKey(r.id)
	err := b.Delete(key, nil)
	if cmd.freeze {
		err = b.Set(key, cmd.of.Append(nil), nil)
	}
	if err != nil {
		return err
	}
	of, id := cmd.of, cmd.id
	// Published before anybody is answered, as the descriptor is.
	r.mu.Lock()
	r.state.frozen = of
	r.mu.Unlock()
	r.Need(CareLog)
	if err := r.applyReplicaChange(b, cmd.desc, nil, commit); err != nil || of == nil {
		return err
	}
	r.deps.Owner.Confirm(r, id)
	return nil
}

// applyMerge applies a merge to the left side. raftMu is held, and the leader holds latches over the whole range.
func (r *Replica) applyMerge(b *pebble.Batch, cmd *command, as *mvcc.AppliedState, commit func() error) error {
	left := cmd.desc.Clone()
	right, err := r.deps.Owner.MergeRight(r, cmd.right)
	if err != nil {
		return err
	}
	right.raftMu.Lock()
	defer right.raftMu.Unlock()
	rs := right.snapshotState()
	if rs.frozen == nil || rs.frozen.ID != cmd.of.ID || rs.removed || rs.stopped != nil {
		return fmt.Errorf("merge of %s, which is here as %s, frozen %t, removed %t, stopped %v", cmd.right, rs.desc, rs.frozen != nil, rs.removed, rs.stopped)
	}
	as.Stats.Add(cmd.rightStats)
	as.GCThreshold = as.GCThreshold.Forward(rs.applied.GCThreshold)
	if err := b.Set(mvcc.DescriptorKey(r.id), left.AppendWire(nil), nil); err != nil {
		return err
	}
	as.Outcomes = as.Outcomes.Merged(rs.applied.Outcomes, cmd.maxWrite)
	// Whoever asks for an id that may be collected is told so (EndMerge): it goes by the same timestamp.
	known := mvcc.CommitOutcome{Committed: true, CommitTS: hlc.Timestamp{WallTime: cmd.of.ID.Start()}}
	if err := b.Set(engine.EncodeKey(keys.Outcome(mvcc.MergeShelf, cmd.of.Start, cmd.of.ID)), mvcc.AppendCommitOutcome(nil, known), nil); err != nil {
		return err
	}
	own := keys.RangeReplicatedSpan(int64(right.id))
	if err := b.DeleteRange(engine.EncodeKey(own.Start), engine.EncodeKey(own.End), nil); err != nil {
		return err
	}
	if err := raftlog.Remove(b, right.id, NoReplica); err != nil {
		return err
	}
	r.publishDesc(left)
	if r.snapshotState().serving {
		r.tscache.Add(cmd.right.Span(), r.deps.Clock.Now(), kv.TxnID{}) // M5
		r.locks.Absorb(right.locks)
	}
	if err := commit(); err != nil {
		return err
	}
	r.writes.Add(1)       // what was written there may become garbage here
	r.Need(careOfLeaders) // for what the right side's leader cared for
	right.markRemoved()
	right.shut(&kv.Error{Code: kv.CodeRangeMismatch, Message: "the range was merged into its left neighbour", Descriptors: []kv.RangeDescriptor{*left}})
	right.hasReady = false
	r.deps.Metrics.Merges.Add(1)
	r.logger().Info("merged", "desc", left.String(), "right", int64(right.id))
	r.deps.Owner.MergeDone(r, right)
	r.deps.Owner.DescriptorChanged(r, left)
	return nil
}

// NoReplica is a tombstone that lets no replica of a range in any more: the range is gone for good.
const NoReplica kv.ReplicaID = math.MaxInt32
