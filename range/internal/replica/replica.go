package replica

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/internal/scheduler"
	"github.com/pamirdb/pamir/range/internal/tscache"
	"github.com/pamirdb/pamir/range/kv"
)

// Raft options, and why.
const (
	// maxSizePerMsg: an append larger than the bandwidth-delay product of a fast network gains nothing, and
	// smaller ones let followers sync while more is on the way.
	maxSizePerMsg = 1 << 20
	// maxCommittedPerReady bounds what is applied while others of the batch wait.
	maxCommittedPerReady = 16 << 20
	// maxInflightMsgs and maxInflightBytes let a follower 50 ms away take more than 1 GB/s,
	// and bound what is sent in vain to one that is gone.
	maxInflightMsgs  = 256
	maxInflightBytes = 64 << 20
)

// Replica is one replica of a range. Its methods may be called by several goroutines,
// except where they say otherwise.
//
// A store has tens of thousands, nearly all at rest, and the allocator has no size between 768 and 896 bytes, 8 of which are its own: what only few
// need is behind a pointer, and small things stand together.
type Replica struct {
	scheduler.Item
	rid  kv.ReplicaID
	deps *Deps
	id   kv.RangeID

	locks   *concurrency.Table
	tscache *tscache.Cache
	numbers numbers
	care    atomic.Uint32 // the kinds of Care whose lists the replica is on

	// The inbox: what waits for the processor.
	inboxMu   sync.Mutex
	ticks     int32
	messages  []*raftlog.Message
	proposals []*proposal
	calls     []func(err error)
	shutErr   *kv.Error    // set by shut: nothing is taken in any more
	inflight  atomic.Int64 // bytes of proposals not finished

	// raftMu is held by whoever processes the replica. It guards the fields down to mu.
	raftMu     sync.Mutex
	raft       *raft.RawNode // nil while a follower is put away: begin makes it anew
	raftLog    *raftlog.Log
	*round     // nil while the replica is quiet: begin makes it anew
	hasReady   bool
	fresh      bool  // nothing has been heard of a leader since the start
	splitting  bool  // guarded by the store, too: see LockForSplit
	inherited  bool  // locks and tscache came with a split, from the leader of the left side
	lateArmed  bool  // see lateCommits
	pendingAt  int16 // ticks since the oldest pending proposal made no progress
	idleTicks  int32
	leaderless int32                // ticks without a leader
	pending    map[uint64]*proposal // nil if there is none
	role       raft.StateType
	term       uint64
	following  following
	resigned   resigned
	candidacy  candidacy
	lead       kv.ReplicaID
	peers      peers
	staged     *StagedSnapshot
	out        []*raftlog.Message // to be sent; guarded by raftMu
	late       lateCommits
	watch      *splitWatch // nil unless a split is being prepared
	handed     *handed     // what the leader of the last term handed over; nil if it did not

	// mu guards state, which is replaced as a whole.
	mu    sync.RWMutex
	state state

	acksMu sync.Mutex
	acks   []ack // one of each
	lease  atomic.Pointer[lease]

	// dataEpoch is raised before the replica's data is replaced or removed: a read that
	// began before must not be answered.
	dataEpoch atomic.Uint64
	quiet     atomic.Bool
	resting   atomic.Bool // in the set of package rest; written by the store
	adminMu   adminMutex

	closed closedTracker
	heard  atomic.Pointer[heardClosed]

	requests, writes atomic.Int64 // see Writes
	meter            loadMeter
}

// round is what a replica needs while it is processed, and has for as long as it is not quiet.
type round struct {
	rd   raft.Ready    // if hasReady
	held []*pb.Message // to be sent after the sync
	cmd  command       // scratch
}

// state is what requests see.
type state struct {
	// desc is nil until the replica is initialised. It is never changed in place.
	desc    *kv.RangeDescriptor
	applied mvcc.AppliedState
	lead    kv.ReplicaID
	removed bool
	// serving: this replica leads term and has applied an entry of it. since is when that began.
	serving bool
	// transferring: it has asked another replica to take over, and never serves again in this term.
	transferring bool
	term         uint64
	since        hlc.Timestamp
	stopped      *kv.Error
	// frozen, if not nil, says for which merge the range stands still: see merge.go. It is never changed.
	frozen *mvcc.Freeze
}

// following is what the replica remembers for rule R3 of package liveness.
type following struct {
	replica kv.ReplicaID
	store   kv.StoreID
	term    uint64
	epoch   uint64
}

// resigned is a replica that has stopped, and the last term it may have led.
type resigned struct {
	replica kv.ReplicaID
	term    uint64
}

// ack is a follower's latest stamped acknowledgement.
type ack struct {
	from        kv.ReplicaID
	term, epoch uint64
}

// ackOf returns the latest of a follower. acksMu is held.
func (r *Replica) ackOf(id kv.ReplicaID) ack {
	for i := range r.acks {
		if r.acks[i].from == id {
			return r.acks[i]
		}
	}
	return ack{}
}

// peers are the replicas of a range that this one knows how to address; few.
type peers []kv.Replica

func (p peers) get(id kv.ReplicaID) (kv.Replica, bool) {
	for _, x := range p {
		if x.ReplicaID == id {
			return x, true
		}
	}
	return kv.Replica{}, false
}

// lease is how far support was last known to reach in a term.
type lease struct {
	term uint64
	end  hlc.Timestamp
}

// proposal is a command on its way through the log.
type proposal struct {
	id     uint64
	data   []byte
	conf   *pb.ConfChangeV2
	term   uint64
	size   int64
	closed *closedBucket
	// finish is called once, by the processor, when the outcome is known: nil for applied.
	finish func(err *kv.Error)
	// giveUp is called when the outcome cannot be known soon; finish follows later.
	giveUp func()
	riders []rider // that go along
}

// proposalIDs are random in their upper half, so that ids of different processes do not meet. (They are drawn when the first is
// needed: a simulation has seeded its random numbers by then.)
var proposalIDs = sync.OnceValue(func() *atomic.Uint64 {
	var a atomic.Uint64
	a.Store(rand.Uint64()<<32 | 1)
	return &a
})

// nextProposalID never returns 0.
func nextProposalID() uint64 {
	for {
		if id := proposalIDs().Add(1); id != 0 {
			return id
		}
	}
}

// New returns the replica rid of the range, with what the disk knows of it; desc is nil for an uninitialised one.
func New(deps *Deps, id kv.RangeID, rid kv.ReplicaID) (*Replica, error) {
	r, err := newReplica(deps, id, rid, concurrency.NewShared(deps.Locks))
	if err == nil {
		r.locks.Clear(r.notLeader())
	}
	return r, err
}

func newReplica(deps *Deps, id kv.RangeID, rid kv.ReplicaID, locks *concurrency.Table) (*Replica, error) {
	r := &Replica{
		locks: locks,
		deps:  deps, id: id, rid: rid,
	}
	r.tscache = tscache.New(hlc.Timestamp{})
	r.care.Store(notYet)
	r.raftMu.Lock()
	defer r.raftMu.Unlock()
	return r, r.load()
}

// load reads the replica's state from disk and starts Raft over it. raftMu is held.
func (r *Replica) load() error {
	db := r.deps.Engine.DB()
	desc, err := mvcc.LoadDescriptor(db, r.id)
	if err != nil {
		return err
	}
	applied, ok, err := mvcc.LoadAppliedState(db, r.id)
	if err != nil {
		return err
	}
	frozen, err := mvcc.LoadFreeze(db, r.id)
	if err != nil {
		return err
	}
	if ok != (desc != nil) {
		return kv.Errorf(kv.CodeCorruption, "range %d has a descriptor or an applied state, but not both", r.id)
	}
	if r.raftLog == nil {
		r.raftLog, err = raftlog.Open(db, r.id, r.deps.Budget)
	} else {
		err = r.raftLog.Reload()
	}
	if err != nil {
		return err
	}
	if desc != nil {
		if me, ok := desc.ReplicaOn(r.deps.Store); ok && me.ReplicaID != r.rid {
			return kv.Errorf(kv.CodeCorruption, "range %d: replica %d here, but the descriptor says %d", r.id, r.rid, me.ReplicaID)
		}
	}
	if t := r.raftLog.Truncated().Index; applied.AppliedIndex < t || applied.AppliedIndex > r.raftLog.Last().Index {
		return kv.Errorf(kv.CodeCorruption, "range %d: applied to %d, but the log is (%d, %d]",
			r.id, applied.AppliedIndex, t, r.raftLog.Last().Index)
	}
	r.mu.Lock()
	r.state.desc, r.state.applied, r.state.frozen = desc, applied, frozen
	r.mu.Unlock()
	r.setPeers(desc)
	return r.startRaft(applied.AppliedIndex)
}

// startRaft begins the replica's part in Raft, after a start or when its state has been replaced.
func (r *Replica) startRaft(applied uint64) error {
	rn, err := r.newRaft(applied)
	if err != nil {
		return err
	}
	r.raft, r.term, r.role, r.lead = rn, r.raftLog.HardState().GetTerm(), raft.StateFollower, 0
	r.hasReady = false
	r.fresh = true
	r.wake()
	r.needForLog()
	return nil
}

// newRaft makes a member of the group from what is on disk.
func (r *Replica) newRaft(applied uint64) (*raft.RawNode, error) {
	r.raftLog.Committed(applied)
	r.raftLog.Machine = machine{r}
	cfg := &raft.Config{
		ID: uint64(r.rid), Storage: r.raftLog, Applied: applied,
		ElectionTick: r.deps.Knobs.ElectionTicks, HeartbeatTick: r.deps.Knobs.HeartbeatTicks,
		MaxSizePerMsg:             maxSizePerMsg,
		MaxCommittedSizePerReady:  maxCommittedPerReady,
		MaxUncommittedEntriesSize: uint64(2 * r.deps.Knobs.InflightBytes), // our own bound on proposals is hit before
		MaxInflightMsgs:           maxInflightMsgs, MaxInflightBytes: maxInflightBytes,
		// PreVote: a replica that was cut off must not raise the term, and so depose the
		// leader, when it comes back. CheckQuorum: a leader that hears from no quorum must stop
		// taking proposals. StepDownOnRemoval: a removed leader must not go on counting itself.
		PreVote: true, CheckQuorum: true, StepDownOnRemoval: true,
		// A proposal is the result of an evaluation by this leader at this term; nobody else may propose it.
		DisableProposalForwarding: true,
		// Configuration changes are guarded by the descriptor's generation, when they are
		// proposed and when they are applied; Raft's own check would turn them into empty entries.
		DisableConfChangeValidation: true,
		Logger:                      raftLogger{r},
	}
	return raft.NewRawNode(cfg)
}

// machine is the replica as Raft's log asks it.
type machine struct{ r *Replica }

func (m machine) ConfState() *pb.ConfState { return confState(m.r.snapshotState().desc) }

func (m machine) Snapshot() (*pb.Snapshot, error) { return m.r.snapshotForRaft() }

func confState(d *kv.RangeDescriptor) *pb.ConfState {
	cs := &pb.ConfState{AutoLeave: new(false)}
	if d == nil {
		return cs
	}
	joint := d.InJoint()
	for _, p := range d.Replicas {
		id := uint64(p.ReplicaID)
		if p.VotesNew() {
			cs.Voters = append(cs.Voters, id)
		}
		if joint && p.VotesOld() {
			cs.VotersOutgoing = append(cs.VotersOutgoing, id)
		}
		switch p.Type {
		case kv.Learner, kv.NonVoter:
			cs.Learners = append(cs.Learners, id)
		case kv.VoterDemoting:
			cs.LearnersNext = append(cs.LearnersNext, id)
		}
	}
	return cs
}

func (r *Replica) setPeers(desc *kv.RangeDescriptor) {
	if desc == nil {
		return
	}
	r.peers = slices.Clip(peers(desc.Replicas)) // which never change: what is added to peers, is added to a copy
}

// logger is made when something is to be said: few replicas say anything.
func (r *Replica) logger() *slog.Logger {
	return r.deps.Log.With("range", int64(r.id), "replica", int(r.rid))
}

// ID returns the range's id, ReplicaID the replica's.
func (r *Replica) ID() kv.RangeID { return r.id }

// ReplicaID: see ID.
func (r *Replica) ReplicaID() kv.ReplicaID { return r.rid }

// Desc returns the descriptor as applied here; nil if the replica is not initialised. It must not be changed.
func (r *Replica) Desc() *kv.RangeDescriptor { return r.snapshotState().desc }

// Applied returns the applied state.
func (r *Replica) Applied() mvcc.AppliedState { return r.snapshotState().applied }

// Me returns this replica as the descriptor has it, or without a type if it does not.
func (r *Replica) Me() kv.Replica {
	if d := r.Desc(); d != nil {
		if p, ok := d.ReplicaByID(r.rid); ok {
			return p
		}
	}
	return kv.Replica{NodeID: r.deps.Node, StoreID: r.deps.Store, ReplicaID: r.rid, Type: kv.Learner}
}

// Locks returns the lock table, for views and for resolution of waits.
func (r *Replica) Locks() *concurrency.Table { return r.locks }

func (r *Replica) snapshotState() state {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.state
}

// Serving reports whether the replica leads and serves, and in which term.
func (r *Replica) Serving() (term uint64, ok bool) {
	s := r.snapshotState()
	return s.term, s.serving && !s.transferring && s.stopped == nil
}

// LeaderStore returns the store of the leader that the replica knows; 0 if it knows none.
func (r *Replica) LeaderStore() kv.StoreID {
	s := r.snapshotState()
	if s.desc == nil || s.lead == 0 {
		return 0
	}
	p, _ := s.desc.ReplicaByID(s.lead)
	return p.StoreID
}

// Quiet reports whether the group is asleep as far as this replica is concerned.
func (r *Replica) Quiet() bool { return r.quiet.Load() }

func (r *Replica) notLeader() *kv.Error {
	s := r.snapshotState()
	return r.notLeaderIn(&s)
}

func (r *Replica) notLeaderIn(s *state) *kv.Error {
	e := &kv.Error{Code: kv.CodeNotLeader, Message: fmt.Sprintf("replica %d of range %d does not lead", r.rid, r.id)}
	if s.desc != nil {
		e.Descriptors = []kv.RangeDescriptor{*s.desc}
		if s.lead != 0 && s.lead != r.rid {
			e.Leader, _ = s.desc.ReplicaByID(s.lead)
		}
	}
	return e
}

// stop ends the replica's part in its range after an inconsistency or a disk error. raftMu is held.
func (r *Replica) stop(err error) {
	ke := kv.AsError(err)
	if ke.Code != kv.CodeCorruption && ke.Code != kv.CodeDiskFull && ke.Code != kv.CodeUnavailable {
		ke = kv.Errorf(kv.CodeCorruption, "range %d, replica %d stopped: %v", r.id, r.rid, err)
	}
	r.mu.Lock()
	first := r.state.stopped == nil
	if first {
		r.state.stopped = ke
	}
	r.state.serving, r.state.lead = false, 0
	r.mu.Unlock()
	if !first {
		return
	}
	r.stir()
	r.hasReady = false
	r.deps.Metrics.Stopped.Add(1)
	r.logger().Error("replica stopped", "err", err)
	r.sayResigned()
	r.locks.Clear(elsewhere(ke))
	r.failAll(kv.Errorf(kv.CodeUnknownOutcome, "the replica stopped: %v", err))
}

// elsewhere is what requests to a stopped replica are told: another replica may be well.
func elsewhere(why *kv.Error) *kv.Error {
	if why.Code.Class() == kv.RetryRouting {
		return why
	}
	return kv.Errorf(kv.CodeUnavailable, "this replica has stopped: %v", why)
}

// Close ends the replica: what is pending gets "outcome unknown". The scheduler must not run any more.
func (r *Replica) Close() {
	r.raftMu.Lock()
	defer r.raftMu.Unlock()
	r.shut(kv.Errorf(kv.CodeUnavailable, "the store is closing"))
}

// StopForTest stops the replica as an inconsistency would.
func (r *Replica) StopForTest() {
	r.raftMu.Lock()
	defer r.raftMu.Unlock()
	r.stop(fmt.Errorf("stopped by a test"))
}

// shut makes the replica refuse everything from now on. raftMu is held.
func (r *Replica) shut(why *kv.Error) {
	r.inboxMu.Lock()
	r.shutErr = why
	calls := r.calls
	r.calls, r.messages = nil, nil
	r.inboxMu.Unlock()
	for _, f := range calls {
		f(why)
	}
	r.dataEpoch.Add(1)
	r.quiet.Store(true) // for good
	r.stir()
	r.mu.Lock()
	r.state.serving = false
	if r.state.stopped == nil {
		r.state.stopped = why
	}
	r.mu.Unlock()
	r.locks.Clear(why)
	r.failAll(kv.Errorf(kv.CodeUnknownOutcome, "%s", why.Message))
	r.raftLog.DropCache()
}

// failAll ends every proposal: those that were proposed with err, those that were not with "not the leader".
func (r *Replica) failAll(err *kv.Error) {
	r.inboxMu.Lock()
	waiting := r.proposals
	r.proposals = nil
	r.inboxMu.Unlock()
	for _, p := range waiting {
		r.end(p, r.notLeader())
	}
	for id, p := range r.pending {
		delete(r.pending, id)
		if err.Code == kv.CodeUnknownOutcome {
			r.deps.Metrics.Unknown.Add(1)
		}
		r.end(p, err)
	}
}

// end tells a proposal's outcome.
func (r *Replica) end(p *proposal, err *kv.Error) {
	r.inflight.Add(-p.size)
	p.finish(err)
}

// Call runs f on the goroutine that processes the replica, soon, and waits for it.
func (r *Replica) Call(f func() error) error {
	done := make(chan error, 1)
	r.post(func(err error) {
		if err == nil {
			err = f()
		}
		done <- err
	})
	return <-done
}

// post queues f for the processor, which calls it with nil, or with an error if the replica has been shut.
func (r *Replica) post(f func(err error)) {
	if r.put(f) {
		r.deps.Owner.Signal(r)
	}
}

// put is post for one who signals the replica himself, if it reports true.
func (r *Replica) put(f func(err error)) bool {
	r.inboxMu.Lock()
	if e := r.shutErr; e != nil {
		r.inboxMu.Unlock()
		f(e)
		return false
	}
	r.calls = append(r.calls, f)
	r.inboxMu.Unlock()
	return true
}

// raftLogger lets Raft's warnings and errors through; its notes go to the debug level.
type raftLogger struct{ r *Replica }

func (l raftLogger) Debug(v ...any)              {}
func (l raftLogger) Debugf(f string, v ...any)   {}
func (l raftLogger) Info(v ...any)               {}
func (l raftLogger) Infof(f string, v ...any)    {}
func (l raftLogger) Warning(v ...any)            { l.r.logger().Debug(fmt.Sprint(v...)) }
func (l raftLogger) Warningf(f string, v ...any) { l.r.logger().Debug(fmt.Sprintf(f, v...)) }
func (l raftLogger) Error(v ...any)              { l.r.logger().Error(fmt.Sprint(v...)) }
func (l raftLogger) Errorf(f string, v ...any)   { l.r.logger().Error(fmt.Sprintf(f, v...)) }
func (l raftLogger) Fatal(v ...any)              { panic(fmt.Sprint(v...)) }
func (l raftLogger) Fatalf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }
func (l raftLogger) Panic(v ...any)              { panic(fmt.Sprint(v...)) }
func (l raftLogger) Panicf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }
