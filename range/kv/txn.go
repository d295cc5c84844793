package kv

import (
	"encoding/binary"
	"encoding/hex"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
)

// TxnID identifies a transaction for ever. Its first 8 bytes are the wall
// time at which it began (big endian, ns), so ids sort by age and a range can
// forget old ones by time; the other 8 are random, or 4 of them name the SQL session
// that runs it (with the highest bit clear), so that whoever meets a lock can say whose it is.
type TxnID [16]byte

// MakeTxnID builds an id from the start time and 64 random bits.
func MakeTxnID(start hlc.Timestamp, random uint64) TxnID {
	var id TxnID
	binary.BigEndian.PutUint64(id[:8], uint64(start.WallTime))
	binary.BigEndian.PutUint64(id[8:], random)
	return id
}

// MakeSessionTxnID builds an id that names a session: a process id, which is positive and unique in the cluster. With
// session 0 it is MakeTxnID.
func MakeSessionTxnID(start hlc.Timestamp, session int32, random uint64) TxnID {
	if session <= 0 {
		return MakeTxnID(start, random|1<<63)
	}
	return MakeTxnID(start, uint64(session)<<32|random&0xffffffff)
}

// Session returns the process id of the session that runs the transaction, 0 if the id names none.
func (id TxnID) Session() int32 {
	return max(int32(binary.BigEndian.Uint32(id[8:12])), 0)
}

// IsZero reports whether there is no transaction.
func (id TxnID) IsZero() bool { return id == TxnID{} }

// Start returns the wall time at which the transaction began, in ns.
func (id TxnID) Start() int64 { return int64(binary.BigEndian.Uint64(id[:8])) }

// String prints the id in hexadecimal.
func (id TxnID) String() string { return hex.EncodeToString(id[:]) }

// Isolation is a transaction's isolation level.
type Isolation uint8

const (
	Serializable Isolation = iota
	RepeatableRead
	ReadCommitted
)

// TxnMeta is what a range must know of a transaction that talks to it.
type TxnMeta struct {
	ID TxnID
	// Anchor is the key whose range holds the transaction record: the first
	// key locked or written. Empty until there is one.
	Anchor keys.Key
	// Gateway is the node that runs the coordinator, and Incarnation that
	// process's start time (ns), so that a restarted gateway is not taken for its predecessor.
	Gateway     NodeID
	Incarnation int64
	// ReadTS is the snapshot the transaction reads.
	ReadTS hlc.Timestamp
	// UncertaintyLimit is start + max offset: a value in (ReadTS, limit] may
	// have been committed before the transaction began.
	UncertaintyLimit hlc.Timestamp
	// Observed, if not empty, is the receiving node's own clock as first seen
	// by this transaction. Values written later than that on that node cannot be
	// from before the transaction began. The range uses max(Observed, start of its leadership).
	Observed  hlc.Timestamp
	Isolation Isolation
}

// LockStrength of a read or of a held lock, in PostgreSQL's terms.
type LockStrength uint8

const (
	LockNone LockStrength = iota
	LockKeyShare
	LockShare
	LockNoKeyUpdate
	LockUpdate
)

// Conflicts reports whether two transactions cannot hold a and b on one key
// at the same time (PostgreSQL, "Row-Level Locks", table 13.3).
func (a LockStrength) Conflicts(b LockStrength) bool {
	if a == LockNone || b == LockNone {
		return false
	}
	if a > b {
		a, b = b, a
	}
	switch b {
	case LockUpdate:
		return true
	case LockNoKeyUpdate:
		return a != LockKeyShare
	}
	return false // the two share locks
}

// WaitPolicy says what a request does when it meets a conflicting lock.
type WaitPolicy uint8

const (
	WaitBlock WaitPolicy = iota
	WaitError            // NOWAIT: fail with CodeLockNotAvailable
	WaitSkip             // SKIP LOCKED: leave the row out
)

// TxnStatus of a transaction record.
type TxnStatus uint8

const (
	TxnUnknown   TxnStatus = iota // no record
	TxnStaging                    // committed if and only if every listed key is prepared at or below the staged timestamp
	TxnCommitted                  // at CommitTS
	TxnAborted
)

// TxnRecord is the replicated coordinator record, in the anchor's range.
type TxnRecord struct {
	Meta   TxnMeta
	Status TxnStatus
	// CommitTS is the commit timestamp, or the staged one.
	CommitTS hlc.Timestamp
	// Prepared lists every key with a prepared write, in all ranges.
	Prepared []keys.Key
}

// LockRecord is the value in the lock table: one prepared write.
type LockRecord struct {
	Txn TxnMeta // ReadTS etc. as of the prepare
	// TS is the timestamp the write was prepared at; the commit is at TS or later.
	TS      hlc.Timestamp
	Deleted bool
	Value   []byte // nil if Deleted
}

// HolderState is what a gateway knows of one of its transactions, for those that wait for it.
type HolderState struct {
	// Alive: the gateway runs, is the same process, and the transaction has neither
	// ended nor been given up. False means that nobody will release its unreplicated locks.
	Alive bool
	// Status and CommitTS: the outcome, where the gateway knows one (TxnCommitted, TxnAborted).
	// TxnCommitted only once the record says so: a lock that is resolved while the record is still
	// STAGING would look like a missing prepare to recovery.
	Status   TxnStatus
	CommitTS hlc.Timestamp
	// Since is when the transaction began, its earlier attempts included (wall ns): of a cycle the youngest aborts.
	Since int64
	// WaitingFor are the transactions that it waits for just now, in any range, and WaitingAt the keys at which it does.
	WaitingFor []TxnMeta
	WaitingAt  []keys.Key
}

// NodeClock is a reading of a node's clock.
type NodeClock struct {
	Node NodeID
	TS   hlc.Timestamp
}
