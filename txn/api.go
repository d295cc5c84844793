package txn

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Sender delivers a batch to the range that holds its keys. It resolves
// RetryRouting errors by itself; what it returns is an answer, any other class, or the end of ctx.
// The batch's RangeID is filled in by the sender. Batches whose keys lie in
// several ranges are refused with CodeRangeMismatch; use Ranges to cut them. (routing.Sender implements it.)
type Sender interface {
	Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error)
	// Ranges cuts spans at range bounds, by the cache: a hint, checked at the range.
	// Each Part's spans lie in one range, in the order of the input (reverse: from the end).
	Ranges(ctx context.Context, spans []keys.Span, reverse bool) ([]Part, error)
}

// Part is the share of some spans that lies in one range.
type Part = kv.Part

// Options of a transaction.
type Options struct {
	Isolation kv.Isolation
	ReadOnly  bool
	// ReadAsOf reads the past; such a transaction is read-only. Empty: now.
	ReadAsOf hlc.Timestamp
	// LockTimeout bounds each wait for a lock, until SetLockTimeout (LockTimer) changes it; 0 means for ever.
	LockTimeout time.Duration
	// Session is the process id of the SQL session, which the transaction's id then names; 0 for none.
	Session int32
}

// ScanOptions of Txn.Scan.
type ScanOptions struct {
	Reverse  bool
	Lock     kv.LockStrength
	Wait     kv.WaitPolicy
	Pushdown kv.Pushdown
	// MaxRows is the most rows wanted in all, 0 = all. TargetBytes is a page size hint.
	MaxRows     int64
	TargetBytes int64
	// FirstBytes, if not 0, is the size of the first page. Each page is four times as large as the one before, up to TargetBytes: for who may want only a few rows.
	FirstBytes int64
	// Parallel allows pages of different ranges to arrive out of order and to be
	// fetched at the same time (aggregates, unordered scans).
	Parallel bool
	// Latest reads the transaction's own writes up to now, those of the running statement too
	// (uniqueness checks). Without it a statement does not see what it writes itself.
	Latest bool
	// Firm: what is read, and what is not there, must still be so at commit under every isolation level, as everything must
	// under SERIALIZABLE. Foreign keys rest on it.
	Firm bool
	// Loose, of a read without locks: nothing rests on what it finds, nor on what it does not find. Who makes something of it reads that again.
	Loose bool
	// LooseIf, of a Get or GetMany without locks, is Loose for the keys that are there and for whose values it is true. It may be called by several goroutines.
	LooseIf func(key keys.Key, value []byte) bool
	// Existence, of a locking GetMany: only that the keys are there must still be so at commit. Their values may change.
	Existence bool
	// IfAbsent, of a locking Get or GetMany, says by the place of a key whether it is locked only if it is not there. What is there is then read
	// without a lock, at its latest, once nobody is about to remove it; it is as any other read, or with Loose as none at all.
	IfAbsent []bool
}

// rests reports whether something rests on an answer that left no lock.
func (o *ScanOptions) rests(key keys.Key, value []byte, exists bool) bool {
	return !o.Loose && (o.LooseIf == nil || !exists || !o.LooseIf(key, value))
}

// ifAbsent reports whether the key at place i is locked only if it is not there.
func (o *ScanOptions) ifAbsent(i int) bool { return i < len(o.IfAbsent) && o.IfAbsent[i] }

// Page is one step of a scan: raw rows, or the result of the pushdown on one piece of the spans.
type Page struct {
	Rows   kv.Rows
	Result kv.Result
}

// Scanner iterates pages. Next returns ok=false at the end. Close always.
type Scanner interface {
	Next(ctx context.Context) (page Page, ok bool, err error)
	Close()
}

// Txn is one transaction. It is used by one goroutine at a time, except Scanners
// of Parallel scans, which coordinate by themselves. The errors it
// returns are *kv.Error; after one of class RetryTxn the transaction must be rolled back or restarted.
type Txn interface {
	ID() kv.TxnID
	ReadTimestamp() hlc.Timestamp
	// StepStatement marks a statement boundary: what was written before becomes
	// visible to the reads after; READ COMMITTED takes a new snapshot.
	StepStatement(ctx context.Context) error

	// Get reads one key, own writes included; lock as in kv.Get.
	Get(ctx context.Context, key keys.Key, opts ScanOptions) (value []byte, exists bool, err error)
	// GetMany reads keys, in parallel where they lie in several ranges. Results are in
	// the order of the keys; a nil value means that the key does not exist.
	// With WaitSkip, keys locked by others come back as if they did not exist.
	GetMany(ctx context.Context, ks []keys.Key, opts ScanOptions) (values [][]byte, err error)
	Scan(ctx context.Context, spans []keys.Span, opts ScanOptions) Scanner

	// Put, Insert and Delete buffer a write. Insert asserts at commit that no live
	// row has the key, unless the transaction has read or locked the key itself before.
	Put(key keys.Key, value []byte) error
	Insert(key keys.Key, value []byte) error
	Delete(key keys.Key) error

	// Savepoint returns a mark; RollbackTo undoes the writes made since (locks stay).
	Savepoint() Mark
	RollbackTo(Mark)

	// Commit makes the writes durable and visible, all or nothing. After an error of class RetryTxn
	// nothing was written. CodeUnknownOutcome is returned only when ctx ended
	// before the outcome could be learned; Outcome then tells later.
	Commit(ctx context.Context) (hlc.Timestamp, error)
	// Rollback releases the locks. Harmless after Commit.
	Rollback(ctx context.Context)
	// Restart prepares the same Txn for another attempt with a later read timestamp, after an error of class
	// RetryTxn. Locks are kept, for fairness, unless the failed attempt may have left more than locks behind: then
	// the next one has a new id. Its age, which decides who is the victim of a deadlock, stays.
	Restart(ctx context.Context, cause error) error
	// Retryable reports whether an implicit or a replayable transaction may be restarted after err.
	Retryable(err error) bool
	// Writes reports whether anything is buffered.
	HasWrites() bool
	// OnCommit registers a function to run once after a successful commit (catalog cache, notices).
	OnCommit(func(commitTS hlc.Timestamp))
}

// Deadliner is implemented by a Txn whose commit can be bounded. After SetDeadline, a commit timestamp above ts is refused
// with an error of class RetryTxn, and nothing is written: what the transaction relies on is known to hold until then only.
// The bound ends with the attempt (Restart); the empty timestamp lifts it. It may be put off while Commit is under way.
type Deadliner interface {
	SetDeadline(ts hlc.Timestamp)
	// MissedDeadline reports whether an attempt was refused for its deadline: the next one may take as long, and had better do without.
	MissedDeadline() bool
}

// LockTimer is implemented by a Txn whose Options.LockTimeout may change while it runs: the waits that begin after SetLockTimeout, COMMIT's too, obey it.
type LockTimer interface {
	SetLockTimeout(d time.Duration)
}

// Buffered is implemented by a Txn that can tell what it is going to write, without asking a range.
type Buffered interface {
	// Wrote reports whether a write of the key is in the buffer.
	Wrote(key keys.Key) bool
	// WriteBytes is about how large a commit of everything written so far is.
	WriteBytes() int64
	// MakeRoom sends what was written ahead of the commit if it has outgrown the transaction's memory. Who writes in
	// bulk calls it now and then. After an error the transaction must be rolled back, to a savepoint from before the
	// writes or altogether.
	MakeRoom(ctx context.Context) error
}

// StatementRestarter is implemented by a Txn that can run the latest statement of a READ COMMITTED transaction again, with a
// new snapshot and without the statements before it. m is a savepoint from before the statement. It returns false, and has done
// nothing, if only a Restart of the whole helps after cause.
type StatementRestarter interface {
	RestartStatement(m Mark, cause error) bool
}

// SnapshotFixer is implemented by a Txn that can see to it that its snapshot stays where it is, nearly always: who is about to show what was read,
// so that it cannot be read again, and then reads on calls FixSnapshot first. It costs a round to the nearby nodes, once a snapshot. After an error
// of class RetryTxn, what has been read has changed.
type SnapshotFixer interface {
	FixSnapshot(ctx context.Context) error
}

// Mark is a savepoint.
type Mark int

// ClockAwaiter is implemented by a Gateway that may, for a while, not be able to say what time it is (a process that has slept). Transactions wait for
// that by themselves before they choose a snapshot; who chooses by the snapshot what to read waits first.
type ClockAwaiter interface {
	// AwaitClock returns nil when the clock is believed, which is at once nearly always, and an error if it has not been for seconds.
	AwaitClock(ctx context.Context) error
}

// Gateway starts transactions. One per node. (Coordinator implements it.)
type Gateway interface {
	Begin(ctx context.Context, opts Options) Txn
	Clock() *hlc.Clock
}
