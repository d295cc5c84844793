package eval

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Env is what an evaluation may see of its range and node.
type Env struct {
	// Reader is the replica's state: the engine itself, or a snapshot of it.
	Reader pebble.Reader
	Desc   *kv.RangeDescriptor
	Clock  *hlc.Clock
	Node   kv.NodeID
	// LeaderSince is a timestamp at or after which this leadership began to
	// serve; observed timestamps before it prove nothing (see kv.TxnMeta.Observed).
	LeaderSince hlc.Timestamp
	// Stats, GCThreshold and Outcomes are those of the applied state, read after the latches were taken and, if
	// Reader is a snapshot, after the snapshot was. Stats.Locks
	// is the number of prepared locks on disk: at zero nobody need look for one.
	// ClosedTS, on a leader, is the highest timestamp it has promised to close, applied or
	// not: every write lands above it. On a follower it is that of the applied state.
	Stats       kv.Stats
	GCThreshold hlc.Timestamp
	Outcomes    mvcc.Outcomes
	ClosedTS    hlc.Timestamp
	Locks       Locks
	TSCache     TimestampCache
	Numbers     Numbers
	Floors      *LockFloors // nil: every look for a lock looks at all of its key
	Gaps        *Gaps       // nil: scans walk over everything
	// Follower: this replica is not the leader and serves a read at or below the closed
	// timestamp; there is neither Locks nor TSCache nor Numbers nor Floors nor Gaps.
	Follower bool
	// Undecided are transactions that had not committed when this request asked after them: NOWAIT fails at their prepared locks, SKIP LOCKED
	// leaves the rows out. At another's, which may have committed and may have been acknowledged, both stop with a ConflictError.
	Undecided map[kv.TxnID]struct{}
	// AskFirst: SKIP LOCKED leaves no row out for a lock in memory before it has been asked whether its holder has ended (AskError). Undecided counts
	// there, too.
	AskFirst bool
	// Ahead: Reader shows the effects of resolutions that will be applied with those of this evaluation, if these are proposed. So nothing is learned from it.
	Ahead bool
	// NewBatch makes the batch for effects.
	NewBatch func() *pebble.Batch
	Planted  Planted
}

// Learned is what a leader has learned about its range while it leads. It is to be that of the state that is evaluated, not one of before a leader, split or merge in between, nor
// one of after it: who believed the former would not see what others have written, and who told the latter would tell it what is over.
type Learned struct {
	Floors LockFloors
	Gaps   Gaps
}

// Locks is the evaluation's view of the in-memory lock table.
type Locks interface {
	// TryLock takes an unreplicated lock, or returns who holds or waits ahead for
	// a conflicting one. Taking what is held already is a success.
	TryLock(txn *kv.TxnMeta, key keys.Key, s kv.LockStrength) (holder *kv.TxnMeta, ok bool)
	// Blocker is TryLock without taking the lock.
	Blocker(txn *kv.TxnMeta, key keys.Key, s kv.LockStrength) (holder *kv.TxnMeta, ok bool)
	// Holds reports whether the transaction holds a lock on the key.
	Holds(id kv.TxnID, key keys.Key) bool
	// Outcome tells what is known of a transaction: TxnCommitted and when; TxnAborted; or TxnUnknown, and a timestamp,
	// if not empty, later than which it will commit if it does.
	Outcome(id kv.TxnID) (kv.TxnStatus, hlc.Timestamp)
	// Left reports whether the transaction has committed, and its record says so, and whoever writes where its locks are takes
	// their resolution along; and when it has committed.
	Left(id kv.TxnID) (hlc.Timestamp, bool)
}

// TimestampCache remembers the highest timestamp at which each key was read.
type TimestampCache interface {
	// Add records a read of span at ts by the transaction (zero: by nobody in
	// particular, which pushes everybody).
	Add(span keys.Span, ts hlc.Timestamp, txn kv.TxnID)
	// Get returns the highest timestamp of a read of any key of span, not
	// counting reads at that very timestamp by txn alone.
	Get(span keys.Span, txn kv.TxnID) hlc.Timestamp
}

// Effects of an evaluation, to be replicated.
type Effects struct {
	// Batch is nil if nothing is written.
	Batch *pebble.Batch
	Stats kv.Stats // delta
	// Prepared and Resolved are for the leader's lock table, after application.
	Prepared []PreparedLock
	Opened   []OpenedLocks
	Resolved []ResolvedLock
	// GCThreshold, if not empty, is the new threshold.
	GCThreshold hlc.Timestamp
	// TurnOutcomes, if not empty, turns the outcomes of commits over (mvcc.Outcomes.Turn). Nothing else is to be done then.
	TurnOutcomes hlc.Timestamp
	// MaxWriteTS is the highest timestamp of any version written.
	MaxWriteTS hlc.Timestamp
}

// PreparedLock says that a replicated lock was laid.
type PreparedLock struct {
	Key keys.Key
	Txn kv.TxnMeta
	TS  hlc.Timestamp
}

// OpenedLocks says that open locks were laid. There may be very many: the lock table need not know them.
type OpenedLocks struct {
	Txn  kv.TxnMeta
	Keys []keys.Key
	TS   hlc.Timestamp
}

// ResolvedLock says that a transaction's locks on Keys are gone: committed at CommitTS, or dropped.
// Without Keys it means all of the transaction's locks in this range.
type ResolvedLock struct {
	Txn      kv.TxnID
	Keys     []keys.Key
	Commit   bool
	CommitTS hlc.Timestamp
	// Unreplicated: only the unreplicated ones; what the transaction has prepared stays.
	Unreplicated bool
	// Large: the transaction has many locks; it is worth remembering what became of it.
	Large bool
}

// Conflict is a lock that stands in the way.
type Conflict struct {
	Key    keys.Key
	Holder kv.TxnMeta
	// Replicated: found on disk, prepared at TS.
	Replicated bool
	TS         hlc.Timestamp
	// Want is the lock that the request wants there, LockNone if it only reads, whatever it locks elsewhere.
	Want kv.LockStrength
	// Open: its transaction still ran when it laid the lock. At is the timestamp at which a read ran into it.
	Open bool
	At   hlc.Timestamp
}

// StrengthOf a write is the lock that it amounts to: whether it changes the key columns only the SQL layer knows, and it
// said so by the lock that it took before.
func StrengthOf(w *kv.Write) kv.LockStrength {
	if w.Deleted {
		return kv.LockUpdate
	}
	return kv.LockNoKeyUpdate
}

// ConflictError stops an evaluation: it must wait for these locks. Package
// concurrency handles it; it never leaves the range.
type ConflictError struct{ Conflicts []Conflict }

func (e *ConflictError) Error() string {
	return "eval: lock conflict on " + keys.Pretty(e.Conflicts[0].Key)
}

// AskError stops an evaluation that would leave rows out because of locks in memory: whether their holders have ended is to be asked first.
type AskError struct{ Holders []kv.TxnMeta }

func (e *AskError) Error() string { return "eval: rows are locked by transactions that may have ended" }

// Access of a latch.
type Access uint8

const (
	Read  Access = iota // shares with reads; a write at a later timestamp need not wait for it
	Write               // conflicts with everything but reads at an earlier timestamp
)

// Latch is a span that a batch must hold while it is evaluated and applied.
// TS is empty for "at every timestamp".
type Latch struct {
	Span   keys.Span
	Access Access
	TS     hlc.Timestamp
}
