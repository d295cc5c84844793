package kv

import (
	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
)

// BatchRequest is a set of requests to one range.
type BatchRequest struct {
	RangeID RangeID
	// Generation is that of the descriptor the sender routed by. A replica
	// checks the keys against its bounds, not the generation; it is for diagnostics.
	Generation int64
	// Now is a clock reading of the sender's node.
	Now hlc.Timestamp
	// Txn is nil for non-transactional batches.
	Txn *TxnMeta
	// Timestamp is the read timestamp of a batch without Txn; empty means the leader's clock.
	Timestamp hlc.Timestamp
	// CanMoveReadTS: nothing has been read before in this transaction, so the
	// leader may raise the read timestamp by itself when it meets an
	// uncertain or too new value. It returns the timestamp it used.
	CanMoveReadTS bool
	// AnyReplica: a replica that is not the leader may answer if the read timestamp is closed there.
	AnyReplica bool
	// Wait says what to do at conflicting locks; LockTimeout (ns) bounds the wait, 0 = no bound.
	Wait        WaitPolicy
	LockTimeout int64
	// MaxRows and TargetBytes bound all Scans of the batch together; 0 = no
	// bound. At least one row is returned, whatever TargetBytes says.
	MaxRows     int64
	TargetBytes int64
	// OwnSeq makes the reads see the transaction's own open locks, the writes with numbers below OwnSeq of them: it
	// has sent writes ahead of its commit (Prepare.Seqs). 0: it has none.
	OwnSeq int32

	Requests []Request

	// observed: the clocks that the transaction has seen. It stays at the gateway (see ForNode).
	observed  []NodeClock
	delivered bool
	// repeated: see Repeated.
	repeated bool
}

// Repeated reports whether a sender has delivered the batch more than once, or had somebody do it who may have: whatever it was answered in the end, an
// earlier copy may have had an effect.
func (b *BatchRequest) Repeated() bool { return b.repeated }

// SetRepeated: see Repeated.
func (b *BatchRequest) SetRepeated() { b.repeated = true }

// IsLarge reports whether the batch is one of many of a large transaction: writes that are sent ahead of its commit, or the resolution, or the taking back, of its locks in a
// span. Each is up to a thousand keys.
func (b *BatchRequest) IsLarge() bool {
	if len(b.Requests) != 1 {
		return false
	}
	switch q := b.Requests[0].(type) {
	case *ResolveSpan, *UndoSpan:
		return true
	case *Prepare:
		return len(q.Seqs) > 0
	}
	return false
}

// SetObserved tells the batch which nodes' clocks its transaction has seen. The slice must not be changed afterwards.
func (b *BatchRequest) SetObserved(clocks []NodeClock) { b.observed = clocks }

// ForNode returns the batch as it should go to the node: with Txn.Observed set to what the transaction has seen
// of that node's clock. A sender calls it for each delivery. The first call changes the batch in place; later
// ones, when an earlier receiver may still look at it, return a copy.
func (b *BatchRequest) ForNode(n NodeID) *BatchRequest {
	if b.Txn == nil {
		return b
	}
	var seen hlc.Timestamp
	for i := range b.observed {
		if b.observed[i].Node == n {
			seen = b.observed[i].TS
			break
		}
	}
	first := !b.delivered
	b.delivered = true
	if b.Txn.Observed == seen {
		return b
	}
	if first {
		b.Txn.Observed = seen
		return b
	}
	c, m := *b, *b.Txn
	m.Observed = seen
	c.Txn = &m
	return &c
}

// BatchResponse answers a BatchRequest with one Response per Request, in order.
type BatchResponse struct {
	// Now is a clock reading of the answering node, taken after evaluation;
	// ServedBy says which node that was (for TxnMeta.Observed).
	Now      hlc.Timestamp
	ServedBy NodeID
	// ReadTS is the timestamp that the reads used: the request's, or a later
	// one if CanMoveReadTS.
	ReadTS    hlc.Timestamp
	Responses []Response
}

// Request is one of the request types below; each has its Response.
type Request interface{ request() }

// Response is one of the response types below.
type Response interface{ response() }

type (
	// Get reads one key. With Lock, it takes an unreplicated lock for the
	// transaction before it reads, whether the key exists or not; with IfAbsent only if it does not exist. IfAbsent waits
	// for those who may remove a key that is there (as FOR KEY SHARE does), and leaves no lock on it.
	Get struct {
		Key      keys.Key
		Lock     LockStrength
		IfAbsent bool
	}
	GetResponse struct {
		Exists bool
		Value  []byte        // shared with nobody
		TS     hlc.Timestamp // of the version
	}

	// Scan reads spans, in the order given, within one range. Reverse reads
	// each span backwards. With Lock, every row that is returned (after Pushdown) is
	// locked first. With Pushdown the rows go through it.
	Scan struct {
		Spans    []keys.Span
		Reverse  bool
		Lock     LockStrength
		Pushdown Pushdown
		// Loose: nothing rests on what is found. It waits for writes of its spans that are under way at whatever timestamp, as with Lock, and so may note where all has
		// been deleted.
		Loose bool
	}
	ScanResponse struct {
		Rows   Rows   // without Pushdown
		Result Result // with Pushdown
		// Locked lists the keys locked, if Scan.Lock is set.
		Locked []keys.Key
		// Resume lists what is left when a bound stopped the scan.
		Resume []keys.Span
	}

	// Refresh succeeds if no key of the spans has a version or a prepared lock of
	// another transaction in (From, To]. It moves the timestamp cache to To.
	// With Existence (ReadSpan.Existence) versions and locks that leave a row there are none.
	Refresh struct {
		Spans     []keys.Span
		From, To  hlc.Timestamp
		Existence bool
	}
	RefreshResponse struct{}

	// Put, Delete and Increment write without a transaction, at the leader's
	// clock. They wait for locks like everybody else.
	Put struct {
		Key   keys.Key
		Value []byte
	}
	PutResponse struct{ TS hlc.Timestamp }
	Delete      struct{ Key keys.Key }

	DeleteResponse struct{ Existed bool }
	// Increment adds By to the 8-byte big-endian counter at Key (absent = 0).
	// With Numbers it takes By numbers of the sequence whose state is at Key, or looks at it if By is 0: Value is the first of Count
	// numbers, none if the sequence has come to its end; or the last that was taken, if one was (Taken), and the next one otherwise.
	Increment struct {
		Key     keys.Key
		By      int64
		Numbers *NumberRule
	}
	IncrementResponse struct {
		Value, Count int64
		Taken        bool
	}

	// BulkWrite writes rows that nobody can read yet, at TS, a timestamp of the past: keys of Span, ascending, under a
	// prefix that no transaction but the writer's knows of. Neither locks nor the timestamp cache stand in its way; a
	// version that is there already must be the same, so that repeating it is harmless, and is
	// CodeConditionFailed otherwise.
	BulkWrite struct {
		Span keys.Span
		TS   hlc.Timestamp
		Rows Rows
	}
	BulkWriteResponse struct{}

	// CommitSingleRange writes and commits a transaction whose reads-to-refresh and
	// writes are all in this range, in one round of consensus. Nothing is
	// locked on disk. The commit timestamp is at least Txn.ReadTS, the timestamp
	// cache and the newest versions; Refreshes are checked up to it.
	//
	// MaxTS, if not empty, bounds the commit timestamp: reads in other ranges are known to hold
	// up to there only. If it would have to be later, the request fails with CodeWriteTooOld (TS:
	// the timestamp that it would take; no Key) and nothing happens.
	//
	// The range that holds the first key of Writes remembers the outcome for a few minutes: the request, repeated with the same writes, is
	// answered as it was at first. Sent is when it was sent for the first time, by its sender's clock, and is repeated as it is; if empty, it
	// is Txn.ReadTS. CodeReadBelowGC says that it has no outcome known, and is so old that one may be forgotten: nothing has happened
	// now, and something may have before.
	CommitSingleRange struct {
		Writes    []Write
		Refreshes []ReadSpan
		MaxTS     hlc.Timestamp
		Sent      hlc.Timestamp
	}
	CommitSingleRangeResponse struct{ CommitTS hlc.Timestamp }

	// Prepare lays replicated locks with their values at StageTS, or later if it
	// must (the response says at which). Repeating it is harmless.
	Prepare struct {
		Writes  []Write
		StageTS hlc.Timestamp
		// Refreshes are validated up to the timestamp at which the locks were laid.
		Refreshes []ReadSpan
		// Seqs, if there are any, one for each write and above 0, make the locks open: the transaction still runs, and sends
		// ahead what it cannot keep in memory. It numbers its writes, later ones higher; where it has an open lock already, a
		// write with a higher number goes on top, and one with a lower or the same number changes nothing. Earlier
		// writes stay below it, as far as readers at Keep or later, and returns to savepoints at Keep or later, need them.
		// Such a transaction is never staged: it has an OPEN record before it has open locks (StageTxn.Open), and commits by
		// one that says so. Without a record it is aborted.
		Seqs []int32
		Keep int32
	}
	PrepareResponse struct {
		TS hlc.Timestamp
		// Wanted: somebody waits for a lock on one of the keys, or is likely to soon. The transaction is to be finished at once.
		Wanted bool
	}

	// UndoSpan takes back the writes with numbers in [From, To] of Txn's open locks in Span (a return to a
	// savepoint), and keeps late copies of them out. It works off a bounded number of locks and says where to go on.
	UndoSpan struct {
		Span     keys.Span
		From, To int32
		foundKeys
	}
	UndoSpanResponse struct{ Resume keys.Span } // not valid at the end

	// StageTxn writes the STAGING record; it goes to the anchor's range, in the same
	// batch as that range's Prepare, or alone. It fails with CodeTxnAborted if recovery got there first.
	//
	// With Open it writes the OPEN record of a transaction that is about to lay open locks, alone, without Prepared. CommitTS is then when it was
	// first sent: every repetition gives the same, so that one that comes after the transaction was aborted, and that forgotten, is refused.
	StageTxn struct {
		CommitTS hlc.Timestamp
		Prepared []keys.Key
		Open     bool
	}
	StageTxnResponse struct{}

	// EndTxn moves the record to COMMITTED (at CommitTS) or ABORTED and resolves
	// the locks among Local, which are in this range. With Remove the record is deleted:
	// only once no lock of the transaction is left anywhere.
	//
	// Staged, if not empty, is the lowest timestamp at which the transaction may have
	// committed before. CodeReadBelowGC says that nobody knows: a record as old may have been there and be collected.
	EndTxn struct {
		Commit   bool
		CommitTS hlc.Timestamp
		Local    []keys.Key
		// Prepared and Spans are kept in the record for whoever must resolve the rest.
		Prepared []keys.Key
		Remove   bool
		Spans    []keys.Span
		// Hold makes the record PREPARED at CommitTS instead, with Prepared: the transaction waits for somebody's decision, which
		// is another EndTxn. Commit, Local and Remove are not set. It fails with CodeTxnAborted if recovery got there first.
		Hold bool
		// Open: the transaction has open locks. It commits only if its OPEN record is still there, and fails with CodeTxnAborted otherwise.
		Open   bool
		Staged hlc.Timestamp
	}
	EndTxnResponse struct {
		Status   TxnStatus // what the record says now; an abort of a committed transaction changes nothing
		CommitTS hlc.Timestamp
	}

	// ForgetTxns removes the records of transactions that have committed, and of which no lock is left anywhere. Records that do not say
	// COMMITTED stay. It is sent without a transaction, and its records are in one range.
	ForgetTxns         struct{ Records []RecordRef }
	ForgetTxnsResponse struct{}

	// ResolveLocks turns the transaction's locks among Keys into versions at
	// CommitTS, or removes them, on disk and in memory. Txn is the lock holder's.
	ResolveLocks struct {
		Commit   bool
		CommitTS hlc.Timestamp
		Keys     []keys.Key
	}
	ResolveLocksResponse struct{}

	// ResolveSpan is ResolveLocks for all of the transaction's locks in Span. It works off a bounded number of them,
	// latching no other keys, and says where to go on.
	ResolveSpan struct {
		Span     keys.Span
		Commit   bool
		CommitTS hlc.Timestamp
		foundKeys
	}
	ResolveSpanResponse struct{ Resume keys.Span } // not valid at the end

	// ReleaseLocks drops unreplicated locks of Txn in this range (all of them when
	// Keys is empty). It needs no consensus.
	ReleaseLocks         struct{ Keys []keys.Key }
	ReleaseLocksResponse struct{}

	// QueryPrepared asks whether Txn has each key prepared at or below TS. Where it
	// has not, it fences: a later Prepare of that key lands above TS.
	QueryPrepared struct {
		Keys []keys.Key
		TS   hlc.Timestamp
	}
	QueryPreparedResponse struct{ Missing []keys.Key }

	// RecoverTxn, at the anchor's range, asks for the record of Txn. Without one it
	// writes ABORTED. A STAGING record is returned as it is; the caller then
	// queries the prepared keys and ends the transaction with Decide.
	RecoverTxn struct {
		// Decide is TxnUnknown to ask, or TxnCommitted / TxnAborted to record the
		// finding for a record that is still STAGING at StagedTS. An OPEN one becomes ABORTED in any case. Who asks for his own transaction gives the lowest timestamp at which it
		// may have committed as StagedTS: if a record as old may have been there and be collected, he is told so (CodeReadBelowGC).
		Decide   TxnStatus
		StagedTS hlc.Timestamp
	}
	RecoverTxnResponse struct{ Record TxnRecord }

	// QueryCommit asks what became of a CommitSingleRange of transaction ID with that Sent, whose first write is of
	// Key. If there is no trace of it, it is fenced: it can no longer commit, whatever splits or merges come. CodeReadBelowGC
	// says that it may have committed, and that be forgotten.
	QueryCommit struct {
		Key  keys.Key
		ID   TxnID
		Sent hlc.Timestamp
	}
	QueryCommitResponse struct {
		Committed bool
		CommitTS  hlc.Timestamp
	}

	// GC raises the range's GC threshold: reads below it fail from then on. With Collect it removes, from the key From on,
	// versions below Threshold that a newer version at or below it shadows, and (if From is empty) records and outcomes of merges older than
	// Threshold, which must not be above the range's. It does a piece; Next is where to go on, empty if there is no more.
	//
	// With Collect and Dropped, which must lie in the range, it removes, instead, all versions of the keys of Dropped that have none above Threshold: the
	// span was dropped below it, and whoever still sees what was there reads below it.
	//
	// With Outcomes it does neither, and turns the outcomes of commits over, unless that was done after Threshold: the older half is forgotten.
	GC struct {
		Threshold hlc.Timestamp
		Collect   bool
		Outcomes  bool
		From      keys.Key
		Dropped   keys.Span
	}
	GCResponse struct {
		Removed int64
		Next    keys.Key
	}

	// Checksum makes every replica compute a checksum of the replicated state at one log position.
	Checksum         struct{}
	ChecksumResponse struct {
		ByStore map[StoreID]string // missing where a replica did not answer in time
		Stats   Stats
	}

	// AdminSplit cuts the range at Key; a range that starts at Key already is a success. Pinned goes into the descriptor of the range that
	// begins there; 0 leaves what is there already, and -1 takes it off.
	AdminSplit struct {
		Key    keys.Key
		Pinned int64
	}
	AdminSplitResponse struct{ Left, Right RangeDescriptor }

	// AdminMerge merges the range that holds Key with its right neighbour, which begins at At. A range that holds At as well already is a
	// success. Both must have replicas on the same stores. If generations are given, the two ranges must be at them.
	AdminMerge struct {
		Key, At     keys.Key
		Left, Right int64
	}
	AdminMergeResponse struct{ Descriptor RangeDescriptor }

	// AdminEndMerge asks whether the merge ID has happened, and if not, sees to it that it never will. Key is where its left side begins or
	// began, Left that range, and Base the only generation of it at which the merge can happen.
	AdminEndMerge struct {
		Key  keys.Key
		ID   TxnID
		Left RangeID
		Base int64
	}
	AdminEndMergeResponse struct{ Merged bool }

	// AdminTransferLeader hands leadership to a replica on the store. If Generation or From is not 0, it fails with
	// CodeDescriptorChanged unless the range is at that generation, and led by that store.
	AdminTransferLeader struct {
		Target     StoreID
		Generation int64
		From       StoreID
	}
	AdminTransferLeaderResponse struct{}

	// AdminChangeReplicas brings the replicas to the wanted voters, by learner, snapshot and joint
	// consensus. It fails with CodeDescriptorChanged unless the generation matches. Those to
	// add are voters or, if their Type says so, non-voters. Gentle: nobody waits for it, so that clients go first while those to add are brought up.
	AdminChangeReplicas struct {
		Generation  int64
		Add, Remove []Replica // NodeID, StoreID and, to add, Type
		Gentle      bool
	}
	AdminChangeReplicasResponse struct{ Descriptor RangeDescriptor }
)

// foundKeys are the keys that the leader has found for a request over a span, and what of the span is left. They stay there.
type foundKeys struct {
	keys   []keys.Key
	resume keys.Span
}

// SetKeys is the leader's.
func (f *foundKeys) SetKeys(ks []keys.Key, resume keys.Span) { f.keys, f.resume = ks, resume }

// Keys returns what SetKeys has set.
func (f *foundKeys) Keys() []keys.Key { return f.keys }

// Resume returns what of the span is left.
func (f *foundKeys) Resume() keys.Span { return f.resume }

// RecordRef says where the record of a transaction is.
type RecordRef struct {
	Anchor keys.Key
	ID     TxnID
}

// Write is one buffered write of a transaction: the final one of its key.
type Write struct {
	Key     keys.Key
	Deleted bool
	Value   []byte // nil if Deleted
	// MustNotExist: fail with CodeConditionFailed if a live version exists
	// (an INSERT that did not look first). The error carries the key and the value found.
	MustNotExist bool
}

// ReadSpan is a span that was read at a timestamp and must not have changed since.
type ReadSpan struct {
	Span keys.Span
	At   hlc.Timestamp
	// Existence, of a single key that was there: all that must still be so is that it is there. Its value may have changed.
	Existence bool
}

// Stats of a range, exact at every applied index.
type Stats struct {
	LiveRows, LiveBytes int64 // newest versions that are not tombstones; bytes of key + value
	Versions, Bytes     int64 // all versions; bytes of key + timestamp + value
	Locks               int64 // prepared locks on disk
}

// Add adds o to s.
func (s *Stats) Add(o Stats) {
	s.LiveRows += o.LiveRows
	s.LiveBytes += o.LiveBytes
	s.Versions += o.Versions
	s.Bytes += o.Bytes
	s.Locks += o.Locks
}

// Sub takes o from s.
func (s *Stats) Sub(o Stats) {
	s.LiveRows -= o.LiveRows
	s.LiveBytes -= o.LiveBytes
	s.Versions -= o.Versions
	s.Bytes -= o.Bytes
	s.Locks -= o.Locks
}

func (*Get) request()                 {}
func (*Scan) request()                {}
func (*Refresh) request()             {}
func (*Put) request()                 {}
func (*Delete) request()              {}
func (*Increment) request()           {}
func (*BulkWrite) request()           {}
func (*CommitSingleRange) request()   {}
func (*Prepare) request()             {}
func (*StageTxn) request()            {}
func (*EndTxn) request()              {}
func (*ForgetTxns) request()          {}
func (*ResolveLocks) request()        {}
func (*ResolveSpan) request()         {}
func (*UndoSpan) request()            {}
func (*ReleaseLocks) request()        {}
func (*QueryPrepared) request()       {}
func (*RecoverTxn) request()          {}
func (*QueryCommit) request()         {}
func (*GC) request()                  {}
func (*Checksum) request()            {}
func (*AdminSplit) request()          {}
func (*AdminTransferLeader) request() {}
func (*AdminMerge) request()          {}
func (*AdminEndMerge) request()       {}
func (*AdminChangeReplicas) request() {}

func (*GetResponse) response()                 {}
func (*ScanResponse) response()                {}
func (*RefreshResponse) response()             {}
func (*PutResponse) response()                 {}
func (*DeleteResponse) response()              {}
func (*IncrementResponse) response()           {}
func (*BulkWriteResponse) response()           {}
func (*CommitSingleRangeResponse) response()   {}
func (*PrepareResponse) response()             {}
func (*StageTxnResponse) response()            {}
func (*EndTxnResponse) response()              {}
func (*ForgetTxnsResponse) response()          {}
func (*ResolveLocksResponse) response()        {}
func (*ResolveSpanResponse) response()         {}
func (*UndoSpanResponse) response()            {}
func (*ReleaseLocksResponse) response()        {}
func (*QueryPreparedResponse) response()       {}
func (*RecoverTxnResponse) response()          {}
func (*QueryCommitResponse) response()         {}
func (*GCResponse) response()                  {}
func (*ChecksumResponse) response()            {}
func (*AdminSplitResponse) response()          {}
func (*AdminTransferLeaderResponse) response() {}
func (*AdminMergeResponse) response()          {}
func (*AdminEndMergeResponse) response()       {}
func (*AdminChangeReplicasResponse) response() {}
