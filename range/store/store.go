package store

import (
	"context"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/liveness"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// RaftMessage is what replicas send each other. Its codec is RaftMessage.Append and DecodeRaftMessage.
type RaftMessage = raftlog.Message

// Heartbeat is what stores send each other. Its codec is Heartbeat.Append and DecodeHeartbeat.
type Heartbeat = liveness.Heartbeat

// DecodeRaftMessage reads the wire form of a RaftMessage; the message aliases b.
func DecodeRaftMessage(b []byte) (*RaftMessage, error) { return raftlog.DecodeMessage(b) }

// DecodeHeartbeat reads the wire form of a Heartbeat.
func DecodeHeartbeat(b []byte) (*Heartbeat, error) { return liveness.DecodeHeartbeat(b) }

// Transport carries what a store sends to others. Its methods other than
// SendSnapshot never block: what cannot be queued is dropped, which is always safe.
type Transport interface {
	// SendRaft queues messages, all to the store To names (the same in all of them).
	// The slice and messages are the transport's from then on.
	SendRaft(to kv.NodeID, msgs []*RaftMessage)
	// SendHeartbeat queues a heartbeat. It must not wait behind Raft messages.
	SendHeartbeat(to kv.NodeID, h *Heartbeat)
	// SendSnapshot opens a stream to the store, calls write with a function that
	// sends one frame (at most MaxSnapshotFrame bytes; the frame is the caller's again when send
	// returns), closes the stream and waits for the receiver's verdict: nil if
	// Store.HandleSnapshot there returned nil.
	SendSnapshot(ctx context.Context, to kv.NodeID, store kv.StoreID, write func(send func(frame []byte) error) error) error
	// Suspect is told of a node whose store has lost this one's support: if nothing else is heard of it either, whoever waits for it should not.
	Suspect(node kv.NodeID)
}

// MaxSnapshotFrame bounds a frame of a snapshot stream.
const MaxSnapshotFrame = 1 << 20

// Sender sends a batch to whichever store leads the range of its keys (routing implements it).
type Sender interface {
	Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error)
}

// Config of a store. Fields without a comment saying otherwise must be set.
type Config struct {
	Dir string
	// FS is the file system; nil is the operating system's.
	FS vfs.FS
	// CacheBytes is the memory for cached blocks; 0 is 128 MiB. Two memtables come on top.
	CacheBytes int64
	// Cores are the processors that this process has; 0 is as many as goroutines run at a time (GOMAXPROCS).
	Cores int

	Clock     *hlc.Clock
	Transport Transport
	// Sender is used to keep the meta range up to date and to allocate range ids.
	// It may be set later, by SetSender, but before Start.
	Sender Sender
	// Holders and Recoverer are asked about transactions whose locks stand in the way; nil for none.
	Holders Holders
	// Retention says how long old versions of a span are kept; nil for Knobs.GCAfter everywhere.
	Retention func(keys.Span) Retention
	Recoverer Recoverer
	// Near says whether a node is so near that SKIP LOCKED waits for what it says of its transactions; nil: all are.
	Near func(kv.NodeID) bool
	// FinishRecord resolves all locks of a committed transaction, whose record has been left over, and then removes that; nil for never.
	FinishRecord func(context.Context, kv.TxnRecord) error
	// OnFatal is told, once, that the store cannot go on (engine.Config.OnFatal): by default the process exits.
	OnFatal func(error)
	// Logger; nil is slog.Default().
	Logger *slog.Logger

	Knobs Knobs
}

// Retention of old versions.
type Retention struct {
	// After is how old a version must be before it may go; 0 for Knobs.GCAfter.
	After time.Duration
	// Protected, if not empty, is a timestamp at which everything must stay readable: a backup or a long transaction reads there.
	Protected hlc.Timestamp
	// AsOf, if not empty, is when this was known: what is protected later is not in it. After counts from it, not from now, so that
	// who protects a timestamp later than now - After need ask nobody.
	AsOf hlc.Timestamp
	// Unknown: nothing may be collected now.
	Unknown bool
	// Dropped are the parts of the span that were dropped, tables and indexes: nobody reads or writes there at a timestamp above Since.
	Dropped []Dropped
}

// Dropped is a span of which nothing is needed but by those who read at Since or below.
type Dropped struct {
	Span  keys.Span
	Since hlc.Timestamp
}

// Knobs are the settings that tests, and rarely operators, change. Zero values mean the defaults.
type Knobs struct {
	// HeartbeatInterval between stores, 200 ms; SupportDuration is how long a promise lasts, the clocks' bound and 750 ms: a
	// leader serves until the bound before its end.
	HeartbeatInterval, SupportDuration time.Duration
	// TickInterval of Raft groups that are not quiet, 100 ms.
	TickInterval time.Duration
	// LogMaxBytes: a log that has grown beyond it is truncated even if that cuts off a follower that is not up to date and whose store is
	// silent, 64 MiB; a log that is 16 times as large, even if the store is not. LogTruncateBytes: below it nothing is truncated, 1 MiB.
	LogMaxBytes, LogTruncateBytes int64
	// MaxProposalBytes bounds one write, 32 MiB; InflightBytes those in flight in one range, 64 MiB.
	MaxProposalBytes, InflightBytes int64
	// SnapshotBytesPerSecond is the most that all outgoing snapshots take together, 128 MiB/s, and all incoming ones. How much it is at a time
	// goes by what clients notice: see package pacing.
	SnapshotBytesPerSecond int64
	// SnapshotTimeout bounds the sending of one snapshot, 5 min.
	SnapshotTimeout time.Duration
	// Workers of the Raft scheduler, 4.
	Workers int
	// MemTableBytes and MaxOpenFiles: see engine.Config.
	MemTableBytes uint64
	MaxOpenFiles  int
	// ClosedLag is how far the closed timestamp trails the clock, 3 s.
	ClosedLag time.Duration
	// DeferResolve is how long the resolution of a committed transaction's locks waits, at most, for another write of its range to go along
	// with, 80 ms (and half of that at the least, so that those that have to go alone go together); negative: it does not.
	DeferResolve time.Duration
	// GCAfter is how long old versions are kept, 1 h; GCInterval is the pause
	// between two collections of one range, 10 min.
	GCAfter, GCInterval time.Duration
	// OutcomesAfter is for how long at the least a range remembers what became of a commit, for a gateway that was not answered: 2 min. It
	// takes up to twice that, and a fifth of GCInterval (each of two turns may be that much late by half), until it is forgotten.
	OutcomesAfter time.Duration
	// SplitBytes is the size from which on a range is split, 64 MiB; negative for never. A range that is asked for more than
	// SplitRequests a second, 20,000, or takes more than SplitCPU cores, 0.75, for SplitLoadFor, 10 s, is split if that divides
	// its load; negative for never. SplitInterval is the pause between two looks at the ranges, 1 s.
	SplitBytes                  int64
	SplitRequests, SplitCPU     float64
	SplitLoadFor, SplitInterval time.Duration
	// SweepInterval is the pause between two looks for abandoned prepared locks, 3 s.
	SweepInterval time.Duration
	// GatewayDeadAfter is how long a gateway must be out of reach before its locks are dropped, or its transactions
	// finished by others, 1 s. Both are safe at any time. The node goes by it, too, when it answers for a gateway that does not.
	GatewayDeadAfter time.Duration

	// turns is how many ranges at rest are woken at a time by what becomes of a store: maxTurns, but in tests.
	turns int

	// Planted bugs, for the tests of the tests.
	serveEarly, ignorePromises bool
	Planted                    Planted
}

// Identity of a store.
type Identity = engine.Identity

// What the lock tables ask of the node: see package concurrency.
type (
	HolderState = concurrency.HolderState
	Holders     = concurrency.Holders
	Recoverer   = concurrency.Recoverer
)

// RangeStatus describes one replica of this store.
type RangeStatus struct {
	RangeID kv.RangeID
	// Descriptor is nil for a replica that waits for its first snapshot. It must not be changed.
	Descriptor *kv.RangeDescriptor
	Replica    kv.Replica
	Leader     bool
	// LeaderReplica is who this replica believes to lead; zero if nobody.
	LeaderReplica kv.Replica
	// LeaseEnd, on the leader, is how far its support reaches. hlc.Max if it needs nobody else's.
	LeaseEnd hlc.Timestamp
	// Serving: leader, has applied an entry of its own term, lease good.
	Serving bool
	Quiet   bool
	Stopped string // why the replica stopped, if it did
	Term    uint64
	Applied uint64
	// LogBytes is the approximate size of the Raft log on disk.
	FirstIndex, LastIndex uint64
	LogBytes              int64
	Stats                 kv.Stats
	GCThreshold, ClosedTS hlc.Timestamp
	// Closed is the timestamp up to which this replica serves reads of the past: ClosedTS, or later if the leader has said so since.
	Closed hlc.Timestamp
	// Followers, on the leader, in RangeDetail.
	Followers []FollowerStatus
	// Requests and writes answered since the replica was opened.
	Requests, Writes int64
}

// FollowerStatus is the leader's view of another replica.
type FollowerStatus struct {
	Replica  kv.Replica
	Match    uint64
	State    string // probe, replicate, snapshot
	Support  hlc.Timestamp
	Active   bool
	Snapshot uint64 // index of the snapshot under way, 0 if none
}
