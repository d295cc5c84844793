package replica

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/internal/tscache"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// done is a proposal whose entry is in the batch that is about to be applied.
type done struct {
	p   *proposal
	err *kv.Error
}

// commitsSplit reports whether a split is among the entries that are about to be applied. raftMu is held.
func (r *Replica) commitsSplit() bool {
	for _, e := range r.rd.CommittedEntries {
		if len(e.Data) > 1 && e.GetType() == pb.EntryNormal && e.Data[1]&cmdSplit != 0 {
			return true
		}
	}
	return false
}

// apply applies committed entries. raftMu is held.
func (r *Replica) apply(ents []*pb.Entry) {
	st := r.snapshotState()
	as := st.applied
	db := r.deps.Engine.DB()
	b := db.NewBatch()
	defer func() { b.Close() }()
	var sub pebble.Batch
	var finished []done
	var checksum uint64

	// commit writes what has been collected, publishes it, and answers.
	commit := func() error {
		if as.AppliedIndex == r.snapshotState().applied.AppliedIndex {
			return nil
		}
		if err := b.Set(mvcc.AppliedStateKey(r.id), mvcc.AppendAppliedState(nil, &as), nil); err != nil {
			return err
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return engine.Classify(err)
		}
		b.Reset()
		r.mu.Lock()
		r.state.applied = as
		r.mu.Unlock()
		if as.Stats.Locks != 0 {
			r.Need(CarePrepared)
		}
		for i, d := range finished {
			r.end(d.p, d.err)
			finished[i] = done{}
		}
		finished = finished[:0]
		return nil
	}
	for _, e := range ents {
		if e.GetIndex() != as.AppliedIndex+1 {
			r.stop(fmt.Errorf("entry %d to be applied after %d", e.GetIndex(), as.AppliedIndex))
			return
		}
		var cc *pb.ConfChangeV2
		data := e.Data
		if e.GetType() != pb.EntryNormal {
			cc = &pb.ConfChangeV2{}
			if err := proto.Unmarshal(e.Data, cc); err != nil {
				r.stop(fmt.Errorf("entry %d: %w", e.GetIndex(), err))
				return
			}
			data = cc.Context
		}
		cmd := &r.cmd
		*cmd = command{}
		if len(data) > 0 {
			if err := cmd.decode(data); err != nil {
				r.stop(fmt.Errorf("entry %d: %w", e.GetIndex(), err))
				return
			}
		}
		special := cmd.desc != nil || cc != nil
		if special {
			// What came before must be readable.
			if err := commit(); err != nil {
				r.stop(err)
				return
			}
		}
		newTerm := e.GetTerm() > as.AppliedTerm
		as.AppliedIndex, as.AppliedTerm = e.GetIndex(), e.GetTerm()
		var verdict *kv.Error
		desc := st.desc
		if special && !r.fits(cmd, &st) {
			verdict = kv.Errorf(kv.CodeDescriptorChanged, "range %d is at generation %d", r.id, desc.Generation)
			verdict.Descriptors = []kv.RangeDescriptor{*desc}
			special = false
		}
		if verdict == nil {
			switch {
			case cmd.handOver:
				r.handed = &handed{index: e.GetIndex(), data: bytes.Clone(cmd.batch)}
			case cmd.freeze || cmd.thaw || cmd.merge || cmd.confirm: // no batch
			case !cmd.turn.IsEmpty():
				if err := as.Outcomes.Turn(b, st.desc, cmd.turn); err != nil {
					r.stop(fmt.Errorf("entry %d: %w", e.GetIndex(), err))
					return
				}
			case len(cmd.batch) > 0:
				if err := sub.SetRepr(cmd.batch); err != nil {
					r.stop(fmt.Errorf("entry %d: %w", e.GetIndex(), err))
					return
				}
				if r.watch != nil {
					r.watch.wrote(&sub)
				}
				if err := b.Apply(&sub, nil); err != nil {
					r.stop(fmt.Errorf("entry %d: %w", e.GetIndex(), err))
					return
				}
			}
			as.Stats.Add(cmd.stats)
			as.GCThreshold = as.GCThreshold.Forward(cmd.gc)
			as.ClosedTS = as.ClosedTS.Forward(cmd.closed)
		}
		if p := r.pending[cmd.id]; p != nil && cmd.id != 0 {
			delete(r.pending, cmd.id)
			finished = append(finished, done{p, verdict})
			r.pendingAt = 0
		}
		if cmd.checksum {
			checksum = cmd.id
		}
		var err error
		switch {
		case special && cmd.merge:
			err = r.applyMerge(b, cmd, &as, commit)
		case special && (cmd.freeze || cmd.thaw):
			err = r.applyFreeze(b, cmd, commit)
		case special && cmd.right != nil:
			err = r.applySplit(b, cmd, &as, commit)
		case special:
			err = r.applyReplicaChange(b, cmd.desc, cc, commit)
		case cmd.confirm:
			id := cmd.id
			if err = commit(); err == nil {
				r.deps.Owner.Confirm(r, id)
			}
		case checksum != 0:
			if err = commit(); err == nil {
				r.deps.Owner.Checksum(r, checksum)
				checksum = 0
			}
		}
		if err != nil {
			r.stop(fmt.Errorf("entry %d: %w", e.GetIndex(), err))
			return
		}
		if special || cmd.confirm || cmd.checksum {
			r.hurry() // others wait for it, or take part in what comes next only when they have applied it
		}
		if special {
			st = r.snapshotState()
		}
		if newTerm {
			r.loseBefore(e.GetTerm(), &finished)
		}
		r.deps.Metrics.Applied.Add(1)
		if r.role == raft.StateLeader && e.GetTerm() == r.term && !st.serving {
			// An entry of our own term: whatever our predecessors committed is below it.
			if err := commit(); err != nil {
				r.stop(err)
				return
			}
			if s := r.snapshotState(); !s.serving {
				r.startServing(r.term, e.GetIndex())
			}
			st = r.snapshotState()
		}
		if r.handed != nil && r.handed.index < e.GetIndex() {
			r.handed = nil // for somebody else
		}
	}
	if err := commit(); err != nil {
		r.stop(err)
	}
}

// fits reports whether a command that changes the descriptor was made for the state that the range is in.
func (r *Replica) fits(cmd *command, st *state) bool {
	switch {
	case cmd.desc == nil || cmd.desc.RangeID != r.id || (st.frozen != nil) != cmd.thaw:
		return false
	case cmd.merge: // to a generation beyond those of both sides
		return st.desc.Generation == cmd.of.Base && st.desc.Generation < cmd.desc.Generation
	}
	return st.desc.Generation+1 == cmd.desc.Generation
}

// loseBefore ends the proposals of terms before the one of an entry that was just applied: if they were
// not in the log before it, they never will be.
func (r *Replica) loseBefore(term uint64, finished *[]done) {
	for id, p := range r.pending {
		if p.term < term {
			delete(r.pending, id)
			r.deps.Metrics.Lost.Add(1)
			*finished = append(*finished, done{p, r.notLeader()})
		}
	}
}

// applyReplicaChange applies a command that changes the replicas. raftMu is held.
func (r *Replica) applyReplicaChange(b *pebble.Batch, desc *kv.RangeDescriptor, cc *pb.ConfChangeV2, commit func() error) error {
	if err := b.Set(mvcc.DescriptorKey(r.id), desc.AppendWire(nil), nil); err != nil {
		return err
	}
	if cc != nil {
		r.raft.ApplyConfChange(cc)
	}
	// The new descriptor is published before anybody is answered.
	r.publishDesc(desc)
	if err := commit(); err != nil {
		return err
	}
	r.deps.Metrics.ReplicaMoves.Add(1)
	r.logger().Info("replicas changed", "desc", desc.String())
	r.deps.Owner.DescriptorChanged(r, desc)
	if _, ok := desc.ReplicaByID(r.rid); !ok {
		r.markRemoved()
		r.deps.Owner.Removed(r, r.rid+1)
	}
	return nil
}

func (r *Replica) publishDesc(desc *kv.RangeDescriptor) {
	r.mu.Lock()
	r.state.desc = desc
	r.mu.Unlock()
	old := r.peers
	r.setPeers(desc)
	// A leader may still owe an answer to those that have just gone.
	for _, p := range old {
		if _, ok := r.peers.get(p.ReplicaID); !ok {
			r.peers = append(r.peers, p)
		}
	}
	r.lease.Store(nil) // it was of the old configuration
}

func (r *Replica) markRemoved() {
	r.mu.Lock()
	r.state.removed, r.state.serving = true, false
	r.mu.Unlock()
}

// initialPosition is where the log of every range that a split or the bootstrap makes begins.
var initialPosition = raftlog.Position{Index: 10, Term: 5}

// OfNewRange reports whether m looks as if it came from a replica of a range that has just been made: its log begins there.
func OfNewRange(m *raftlog.Message) bool {
	switch m.Raft.GetType() {
	case pb.MsgVote, pb.MsgPreVote, pb.MsgApp:
		return m.Raft.GetIndex() == initialPosition.Index && m.Raft.GetLogTerm() == initialPosition.Term
	}
	return false
}

// InitialState writes the replicated and the Raft state of a new range into b. hs, if not
// nil, is what an uninitialised replica has promised already.
func InitialState(b *pebble.Batch, desc *kv.RangeDescriptor, rid kv.ReplicaID, st mvcc.AppliedState, hs *pb.HardState) error {
	st.AppliedIndex, st.AppliedTerm = initialPosition.Index, initialPosition.Term
	term, vote, commit := initialPosition.Term, uint64(0), initialPosition.Index
	if hs != nil && hs.GetTerm() >= term {
		term, vote = hs.GetTerm(), hs.GetVote()
	}
	for _, err := range [3]error{
		b.Set(mvcc.DescriptorKey(desc.RangeID), desc.AppendWire(nil), nil),
		b.Set(mvcc.AppliedStateKey(desc.RangeID), mvcc.AppendAppliedState(nil, &st), nil),
		raftlog.WriteInitial(b, desc.RangeID, rid, initialPosition, &pb.HardState{Term: &term, Vote: &vote, Commit: &commit}),
	} {
		if err != nil {
			return err
		}
	}
	return nil
}

// dataSpans returns the spans of Pebble keys that belong to a range with these bounds, in key order. The first
// is that of the range id, the last that of its data, the others go by its keys, too.
func dataSpans(id kv.RangeID, start, end keys.Key) []pebble.KeyRange {
	all := mvcc.ReplicatedSpans(&kv.RangeDescriptor{RangeID: id, StartKey: start, EndKey: end})
	out := make([]pebble.KeyRange, len(all))
	for i, s := range all {
		out[i] = pebble.KeyRange{Start: engine.EncodeKey(s.Start), End: engine.EncodeKey(s.End)}
	}
	return out
}

// applySplit applies a split. raftMu is held, and the leader holds latches over the whole range.
func (r *Replica) applySplit(b *pebble.Batch, cmd *command, as *mvcc.AppliedState, commit func() error) error {
	left, right := cmd.desc.Clone(), cmd.right.Clone()
	me, ok := right.ReplicaOn(r.deps.Store)
	if !ok {
		return fmt.Errorf("split without a replica of the right side on store %d", r.deps.Store)
	}
	existing, drop, err := r.deps.Owner.SplitRight(r, right)
	if err != nil {
		return err
	}
	var rr *Replica
	defer func() { r.deps.Owner.SplitDone(r, rr, right) }()
	as.Stats.Sub(cmd.rightStats)
	if err := b.Set(mvcc.DescriptorKey(r.id), left.AppendWire(nil), nil); err != nil {
		return err
	}
	if drop {
		// The replica that the split would make here was removed since. What it would have held must go.
		for _, s := range dataSpans(right.RangeID, right.StartKey, right.EndKey)[1:] {
			if err := b.DeleteRange(s.Start, s.End, nil); err != nil {
				return err
			}
		}
	} else {
		var hs *pb.HardState
		if existing != nil {
			hs = existing.raftLog.HardState() // its raftMu is held by SplitRight
		}
		rs := mvcc.AppliedState{Stats: cmd.rightStats, ClosedTS: as.ClosedTS, GCThreshold: as.GCThreshold, Outcomes: as.Outcomes}
		if r.deps.Planted.SplitForgetsGC {
			rs.GCThreshold = hlc.Timestamp{}
		}
		if err := InitialState(b, right, me.ReplicaID, rs, hs); err != nil {
			return err
		}
	}
	r.publishDesc(left)
	// The lock table and the timestamp cache are divided before the latches go.
	serving := r.snapshotState().serving
	rightLocks := r.locks.SplitAt(right.StartKey)
	rightReads := r.tscache.SplitAt(right.StartKey)
	if r.deps.Planted.SplitForgetsReads {
		rightReads = tscache.New(hlc.Timestamp{})
	}
	if err := commit(); err != nil {
		return err
	}
	switch {
	case drop:
	case existing != nil:
		// The table carries the locks over, so that they hold if the right side's leader is
		// here, as it nearly always is.
		rr = existing
		rr.locks = rightLocks
		err = rr.load()
	default:
		rr, err = newReplica(r.deps, right.RangeID, me.ReplicaID, rightLocks)
	}
	if err != nil {
		return err
	}
	if rr != nil {
		rr.tscache, rr.inherited = rightReads, serving
		if serving {
			rr.adminMu.inherit(r.adminMu.filling())
		} else {
			rr.locks.Clear(rr.notLeader())
		}
	}
	if r.role == raft.StateLeader {
		r.hurry()
		var out outbox
		out.take(r)
		out.flush(r.deps) // before the right side says a word, so that others have it when they hear of it
	}
	r.deps.Metrics.Splits.Add(1)
	r.logger().Info("split", "left", left.String(), "right", right.String())
	r.deps.Owner.DescriptorChanged(r, left)
	return nil
}

// snapshotForRaft names the state that a snapshot would have now. What is sent is taken later, from
// the engine, and may be newer.
func (r *Replica) snapshotForRaft() (*pb.Snapshot, error) {
	s := r.snapshotState()
	if s.desc == nil {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
		ConfState: confState(s.desc), Index: new(s.applied.AppliedIndex), Term: new(s.applied.AppliedTerm),
	}}, nil
}

// ClosedTarget is the closed timestamp that the leader aims at.
func (r *Replica) closedTarget(s *state) hlc.Timestamp {
	now := r.deps.Clock.Peek()
	return hlc.Timestamp{WallTime: now.WallTime - int64(r.deps.Knobs.ClosedLag)}.Forward(s.applied.ClosedTS)
}

// LockForSplit keeps the replica from being processed while a split initialises it, until UnlockAfterSplit.
func (r *Replica) LockForSplit() {
	r.raftMu.Lock()
	r.splitting = true
}

// LockedForSplit is for whoever called LockForSplit, or holds off those who might.
func (r *Replica) LockedForSplit() bool { return r.splitting }

// UnlockAfterSplit: see LockForSplit.
func (r *Replica) UnlockAfterSplit() {
	r.splitting = false
	r.raftMu.Unlock()
}

// Destroy ends the replica; remove deletes its data. desc is nil if it was never initialised.
func (r *Replica) Destroy(remove func(desc *kv.RangeDescriptor) error) error {
	r.raftMu.Lock()
	defer r.raftMu.Unlock()
	desc := r.snapshotState().desc
	r.markRemoved()
	if r.raft != nil && r.following.term != r.term {
		r.sayResigned() // it led, and committed its own removal: the others have not heard of that yet
	}
	r.shut(kv.Errorf(kv.CodeRangeNotFound, "replica %d of range %d was removed", r.rid, r.id))
	r.hasReady = false
	return remove(desc)
}

// DeleteData writes into b what deletes a replica's own state and what is in these parts of its keys.
func DeleteData(b *pebble.Batch, id kv.RangeID, parts []keys.Span) error {
	own := keys.RangeReplicatedSpan(int64(id))
	if err := b.DeleteRange(engine.EncodeKey(own.Start), engine.EncodeKey(own.End), nil); err != nil {
		return err
	}
	for _, p := range parts {
		for _, s := range dataSpans(id, p.Start, p.End)[1:] {
			if err := b.DeleteRange(s.Start, s.End, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
