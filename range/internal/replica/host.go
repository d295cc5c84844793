package replica

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/kv"
)

// Support is the store's side of package liveness, safe for concurrent use.
type Support interface {
	// Supports: see liveness.Machine.Supports.
	Supports(s kv.StoreID, epoch uint64) bool
	SupportEpoch(s kv.StoreID) uint64
	SupportFrom(s kv.StoreID) (epoch uint64, until hlc.Timestamp)
	MayVote() bool
	// MayServe returns an error if the store must not serve at now: it has
	// fenced itself, its clock's ceiling is not persisted far enough, or it is closing.
	MayServe(now hlc.Timestamp) *kv.Error
	// MayLead returns an error if the store should not take leadership where another can: it
	// may not serve, or is being drained.
	MayLead() *kv.Error
	// Fenced reports whether the store's clock is off, so that it must give leadership up.
	Fenced() bool
	// Deaf reports whether the store hears no other, so that it can lead only what needs no other.
	Deaf() bool
}

// Owner is what a replica asks of the store that holds it. Its methods are called by the
// goroutine that processes the replica, and must neither block nor process replicas.
type Owner interface {
	// SendRaft takes messages, all to one store.
	SendRaft(to kv.Replica, msgs []*raftlog.Message)
	// Signal puts the replica into the scheduler's queue.
	Signal(r *Replica)
	// Gather is Signal, for one that comes with others.
	Gather(r *Replica)
	// Late has PostLate called, and the replica signalled, after LateBy.
	Late(r *Replica)
	// SnapshotWanted is told that Raft wants to send a snapshot to the replica.
	SnapshotWanted(r *Replica, to kv.Replica)
	// SplitRight prepares for the application of a split of left: it returns the
	// replica of the right range that is here already, uninitialised, or nil; drop is true if a
	// later replica of the right range was here, so that the right side's data must go.
	// The call and SplitDone bracket the application.
	SplitRight(left *Replica, right *kv.RangeDescriptor) (r *Replica, drop bool, err error)
	// SplitDone hands over the new replica after the split was applied; it is nil if it was dropped, or if the
	// application failed.
	SplitDone(left, right *Replica, desc *kv.RangeDescriptor)
	// MergeRight returns the replica of the right range of a merge that is about to be applied, MergeDone is told when it was: it has been
	// shut, and nothing is left of it.
	MergeRight(left *Replica, right *kv.RangeDescriptor) (*Replica, error)
	MergeDone(left, right *Replica)
	// Confirm says, to whoever waits for it, that the command with that id was applied, and is on disk.
	Confirm(r *Replica, id uint64)
	// DescriptorChanged is told after a change of bounds or replicas was applied, LeadershipBegan after the
	// replica has begun to serve, Removed that the replica was removed from its range.
	DescriptorChanged(r *Replica, desc *kv.RangeDescriptor)
	LeadershipBegan(r *Replica)
	Removed(r *Replica, below kv.ReplicaID)
	// Leaderless is told, from time to time, that the replica has heard of no leader for a while.
	Leaderless(r *Replica)
	// Need puts the replica on the lists of who gives it this care. It may be called with any lock held.
	Need(r *Replica, c Care)
	// Rest puts a range that is led here and quiet into the set of those at rest, if ok, called under the set's lock, says so. Stir takes
	// it out, and calls Stirred under the lock.
	Rest(r *Replica, index uint64, ok func() bool) bool
	Stir(r *Replica)
	// Checksum computes a checksum in the background.
	Checksum(r *Replica, id uint64)
}

// Deps are the parts that all replicas of a store share.
type Deps struct {
	Node    kv.NodeID
	Store   kv.StoreID
	Engine  *engine.Engine
	Clock   *hlc.Clock
	Support Support
	Owner   Owner
	// Run processes an idle replica on the caller's goroutine, or signals it.
	Run    func(r *Replica)
	Budget *raftlog.Budget
	Locks  *concurrency.Config
	Log    *slog.Logger

	// Large carries out one of many requests of a large transaction in the range, when it is its turn, and returns when the next one may come; nil if nothing is to be held up.
	// Requests that are large themselves (kv.BatchRequest.IsLarge) have had their turn.
	Large func(ctx context.Context, id kv.RangeID, do func() error) error

	// Fatal is closed when the store cannot go on: whoever waits for it need not any more.
	Fatal <-chan struct{}

	Metrics *Metrics
	Knobs   Knobs
	// Hooks plant bugs, for the tests of the tests.
	Hooks   Hooks
	Planted Planted
}

// Knobs: see store.Knobs.
type Knobs struct {
	ElectionTicks, HeartbeatTicks int
	QuietTicks                    int
	MaxProposalBytes              int64
	InflightBytes                 int64
	// LogTruncateBytes is the size from which on a log needs care.
	LogTruncateBytes int64
	ClosedLag        time.Duration
	// DeferResolve: see store.Knobs.
	DeferResolve time.Duration
}

// Hooks plant bugs that tests must catch.
type Hooks struct {
	// ServeEarly: a new leader serves before it has applied an entry of its own term.
	ServeEarly bool
}

// MergeRefusals counts merges that were asked for and could not be, by reason: those of kv.CodeNotNow; Changed, the ranges were no longer what
// who asked knew; Never, these two are not merged whatever happens.
type MergeRefusals struct {
	Replicas, Leader, Retention, Behind, Failed, Changed, Never atomic.Int64
}

// smallEntry: see Metrics.AppendedSmall.
const smallEntry = 8 << 10

// Metrics counts, for all replicas of a store.
type Metrics struct {
	Fsyncs        atomic.Int64 // synced commits of the Raft log
	FsyncNanos    atomic.Int64 // how long they took together
	Rounds        atomic.Int64 // passes of the processor
	SharedRounds  atomic.Int64 // fsyncs that served more than one range
	Appended      atomic.Int64 // entries
	AppendedBytes atomic.Int64
	AppendedSmall atomic.Int64 // entries of less than smallEntry: what large transactions write is larger
	Proposals     atomic.Int64
	Applied       atomic.Int64 // entries
	RaftSent      atomic.Int64
	RaftReceived  atomic.Int64
	GateDropped   atomic.Int64 // votes that the gate dropped
	Campaigns     atomic.Int64
	Leaderships   atomic.Int64
	Requests      atomic.Int64
	Writes        atomic.Int64
	LeaseMisses   atomic.Int64 // requests refused since support had run out
	Overloaded    atomic.Int64
	Lost          atomic.Int64 // proposals that were lost, and said so
	Unknown       atomic.Int64 // proposals whose outcome could not be told
	Stopped       atomic.Int64 // replicas stopped by an inconsistency
	Splits        atomic.Int64
	Merges        atomic.Int64
	MergesRefused MergeRefusals // asked for, and could not be
	// MergesUndone were given up after the right side had been frozen.
	MergesUndone atomic.Int64
	// MergeStallNanos is for how long right sides served nothing.
	MergeStallNanos atomic.Int64
	// SplitsBySize, SplitsByLoad and SplitsByCommand are those that this store led, by reason; SplitsRefused were wanted, and no
	// key would have helped; SplitsFailed are tried again.
	SplitsBySize, SplitsByLoad, SplitsByCommand, SplitsRefused, SplitsFailed atomic.Int64
	// SplitStallNanos is for how long ranges stood still while they were being split.
	SplitStallNanos atomic.Int64
	ReplicaMoves    atomic.Int64
	SnapshotsOut    atomic.Int64
	SnapshotsIn     atomic.Int64
	Truncations     atomic.Int64
	FollowerReads   atomic.Int64
	// HandOvers of leadership; the locks that went with them, and those that did not, being too many.
	HandOvers, LocksHandedOver, LocksLeftBehind atomic.Int64

	Swept atomic.Int64 // transactions whose abandoned locks were settled

	// Ridden are resolutions that went along with another write.
	Ridden atomic.Int64

	Collected atomic.Int64 // versions, records and outcomes of merges removed by garbage collection
}

// background is the context of work that no client waits for.
var background = context.Background()
