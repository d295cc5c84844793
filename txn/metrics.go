package txn

import "sync/atomic"

// Metrics counts what the coordinator did. All fields only grow.
type Metrics struct {
	Begins, Rollbacks atomic.Int64

	// Commits by how they were done: without writes; in one range and one round of consensus; in several ranges
	// and one round; the same with a second round because a prepare was pushed; with too many keys for a staged record.
	CommitsReadOnly, CommitsSingleRange, CommitsOneRound, CommitsTwoRounds, CommitsExplicit atomic.Int64
	CommitsFailed                                                                           atomic.Int64
	// Transactions too large for memory: how often, and how many bytes of, writes were sent ahead; and commits of such.
	SendAheads, SentAheadBytes, CommitsOpen atomic.Int64

	RefreshesOK, RefreshesFailed, RefreshSpans atomic.Int64

	// StatementRestarts are statements of READ COMMITTED transactions that were run again alone.
	StatementRestarts atomic.Int64
	// Restarts by cause.
	RestartsWriteTooOld, RestartsUncertain, RestartsRefresh, RestartsAborted, RestartsLockLost, RestartsOther atomic.Int64

	Recoveries, RecoveredCommitted, RecoveredAborted atomic.Int64
	Held                                             atomic.Int64 // transactions prepared for a decision by their client
	UnknownOutcomes, UnknownToClient                 atomic.Int64

	BackgroundInline, BackgroundFailed atomic.Int64
	Active                             atomic.Int64 // gauge
}
