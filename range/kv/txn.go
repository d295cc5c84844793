package kv

import (
	"bytes"
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

// Less reports whether id comes before o: transactions that began earlier come first.
func (id TxnID) Less(o TxnID) bool { return bytes.Compare(id[:], o[:]) < 0 }

// Prev returns the id before, of no transaction in particular.
func (id TxnID) Prev() TxnID {
	for i := len(id) - 1; i >= 0; i-- {
		id[i]--
		if id[i] != 0xff {
			break
		}
	}
	return id
}

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
	TxnPrepared // every key is prepared; only COMMIT PREPARED and ROLLBACK PREPARED decide, at CommitTS; recovery leaves it
	TxnOpen     // the transaction runs, and has open locks (Prepare.Seqs): without this record it is aborted, for ever
)

// TxnRecord is the replicated coordinator record, in the anchor's range.
type TxnRecord struct {
	Meta   TxnMeta
	Status TxnStatus
	// CommitTS is the commit timestamp, or the staged one; of an OPEN record, StageTxn's.
	CommitTS hlc.Timestamp
	// Prepared lists every key with a prepared write, in all ranges.
	Prepared []keys.Key
	// Spans cover the keys of a transaction that laid too many locks to list. It is never STAGING.
	Spans []keys.Span
	// Held: it was PREPARED before. Whoever has decided removes it, and nobody else: he may ask again at any time.
	Held bool
}

// LockRecord is the value in the lock table: one prepared write.
type LockRecord struct {
	Txn TxnMeta // ReadTS etc. as of the prepare
	// TS is the timestamp the write was prepared at; the commit is at TS or later.
	TS      hlc.Timestamp
	Deleted bool
	Value   []byte // nil if Deleted

	// The rest is that of an open lock, laid while its transaction still runs (Prepare.Seqs).

	// Seq is the number of the write that Deleted and Value are; 0 in a lock that is not open, and
	// where nothing is left of what was written.
	Seq int32
	// Older are earlier writes of the key that may be asked for yet, oldest first.
	Older []LockVersion
	// Undone: writes with numbers up to here that are not listed have been taken back, or were never here; a
	// late copy of one changes nothing.
	Undone int32
}

// LockVersion is one write of an open lock.
type LockVersion struct {
	Seq     int32
	Deleted bool
	Value   []byte // nil if Deleted
}

// Open reports whether the lock was laid while its transaction still ran.
func (l *LockRecord) Open() bool { return l.Seq > 0 || l.Undone > 0 }

// Void reports whether everything that was written under the lock has been taken back: resolving it leaves nothing.
func (l *LockRecord) Void() bool { return l.Seq == 0 && l.Undone > 0 }

// Before returns the latest write of an open lock with a number below seq.
func (l *LockRecord) Before(seq int32) (v LockVersion, ok bool) {
	if l.Seq > 0 && l.Seq < seq {
		return LockVersion{Seq: l.Seq, Deleted: l.Deleted, Value: l.Value}, true
	}
	for i := len(l.Older) - 1; i >= 0; i-- {
		if l.Older[i].Seq < seq {
			return l.Older[i], true
		}
	}
	return v, false
}

// Write puts a write on top of an open lock, or of none, and drops what nobody at keep or later can ask for. It
// reports false where the write is a late copy of one that is known.
func (l *LockRecord) Write(w LockVersion, keep int32) bool {
	if w.Seq <= l.Seq || w.Seq <= l.Undone {
		return false
	}
	if l.Seq > 0 {
		l.Older = append(l.Older, LockVersion{Seq: l.Seq, Deleted: l.Deleted, Value: l.Value})
	}
	l.Seq, l.Deleted, l.Value = w.Seq, w.Deleted, w.Value
	for len(l.Older) > 0 {
		next := l.Seq
		if len(l.Older) > 1 {
			next = l.Older[1].Seq
		}
		if next >= keep {
			break
		}
		l.Older = l.Older[1:] // the next one is what readers at keep see
	}
	return true
}

// Undo takes back the writes with numbers in [from, to]. It reports whether that changed the lock.
func (l *LockRecord) Undo(from, to int32) bool {
	all := l.Older
	if l.Seq > 0 {
		all = append(all[:len(all):len(all)], LockVersion{Seq: l.Seq, Deleted: l.Deleted, Value: l.Value})
	}
	var kept []LockVersion
	for _, v := range all {
		if v.Seq < from || v.Seq > to {
			kept = append(kept, v)
		}
	}
	if len(kept) == len(all) && l.Undone >= to {
		return false
	}
	l.Undone = max(l.Undone, to)
	l.Seq, l.Deleted, l.Value, l.Older = 0, false, nil, nil
	if n := len(kept); n > 0 {
		l.Seq, l.Deleted, l.Value, l.Older = kept[n-1].Seq, kept[n-1].Deleted, kept[n-1].Value, kept[:n-1]
	}
	return true
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
	// After, if not empty, is a promise of a transaction with open locks: if it commits, then later than that. Reads up to
	// there need not wait for it.
	After hlc.Timestamp
}

// NodeClock is a reading of a node's clock.
type NodeClock struct {
	Node NodeID
	TS   hlc.Timestamp
}
