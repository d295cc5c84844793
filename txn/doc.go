// Package txn is the transaction coordinator: it runs at the gateway, on behalf
// of one SQL session at a time, and makes many ranges look like one serializable database.
//
// # What it is for
//
// A [Txn] reads at one timestamp, buffers its writes, and commits them in one
// round of consensus: by CommitSingleRange if they are all in one range, and by
// parallel prepare plus a STAGING record otherwise. Recovery finishes
// transactions whose coordinator went silent.
//
// # What it is not
//
// It knows no tables and no SQL (package sql), it does not find ranges or
// retry routing (range/routing), and it does not evaluate (range/internal/eval).
//
// # Reads
//
// The snapshot is taken at the first use. A value in the uncertainty window, a newer version under a
// lock, or a leader that has to answer later, moves the read timestamp: everything read so far is refreshed
// (checked not to have changed up to the new timestamp, and kept from changing), and the client sees nothing of it. Own writes
// are laid over what comes back; where a pushed-down program meets own writes, it runs here, over the merged rows.
//
// Who shows what was read, and reads on, fixes the snapshot first (fix.go).
//
// # Commit
//
//	no writes                      nothing to send; locked reads are looked at again if the timestamp moved
//	one range                      CommitSingleRange: conflict checks, refreshes there, and writes, in one round.
//	                               Reads in other ranges hold up to the timestamp they are refreshed to and no
//	                               further, which therefore bounds the commit (MaxTS)
//	... that was too early thrice  as below, with one Prepare: others cannot read, and so move, what is prepared
//	several ranges                 Prepare everywhere; the anchor's range (anchor.go) writes the record, STAGING, with it.
//	                               All prepared at the staged timestamp: that was it, after one round
//	... a prepare was pushed       refresh up to the highest, then EndTxn: two rounds
//	... more keys than a record    Prepare, then EndTxn: two rounds, nothing is staged
//	more than fits into memory     a record that says OPEN, Prepare while it runs (ahead.go), then EndTxn with the spans (commit_ahead.go)
//
// Afterwards, in the background: record COMMITTED, then locks to versions, then the record away, each together with those of other transactions, the first
// two at once if somebody waits (finisher.go). The order matters: a lock that goes while the record says STAGING is a missing prepare to recovery.
//
// # Who decides what
//
// S is the staged timestamp. Every row is a function in decide.go, or a rule of the ranges
// (range/internal/eval); model_test.go checks them together over all interleavings of late, lost and
// repeated messages, dying coordinators and recoveries at any time.
//
//	   who          sees                                             does
//	1  coordinator  an answer to a prepare is missing                asks again, under the same id
//	2  coordinator  every prepare at S, record STAGING               tells the client: committed at S
//	3  coordinator  every prepare, some above S                      refreshes; EndTxn(commit) at the highest
//	4  coordinator  a prepare refused, or a refresh failed           EndTxn(abort), and only then tells the client: failed
//	5  recovery     no record                                        writes ABORTED (a later staging fails)
//	6  recovery     STAGING at S                                     asks for every listed key; the range fences missing ones
//	7  recovery     COMMITTED or ABORTED                             resolves
//	8  recovery     a key is missing, record still STAGING at S      writes ABORTED
//	9  recovery     every key at or below S, record still so         writes COMMITTED at S
//	10 record       COMMITTED and asked to abort, or the reverse     stays, and says what it is
//	11 coordinator  all locks of a COMMITTED transaction are gone    removes the record
//	12 range        ABORTED                                          keeps it until the GC threshold passes
//	   its leader   OPEN or STAGING, well below the GC threshold     recovers it, if its coordinator does not know it
//	   its leader   COMMITTED, well below the GC threshold           resolves all that it lists, then removes it (FinishRecord)
//	   record       none or ABORTED; its coordinator asks, and has staged before the GC threshold: says that it is forgotten
//	13 recovery     PREPARED                                         leaves it, and the locks
//	14 coordinator  every prepare, asked to hold (PREPARE TRANSACTION)  refreshes; EndTxn(hold) at the highest
//	15 anybody      PREPARED, and told to commit or to roll back     EndTxn at the timestamp of the record; resolves
//	16 coordinator  more than fits into memory                       has OPEN written before the first open lock, with the time of its first sending
//	   record       none, and that time is below the GC threshold    refuses it: an ABORTED record may have been collected
//	17 recovery     OPEN                                             writes ABORTED
//	18 record       not OPEN, and told to commit an open transaction  none or ABORTED: it is aborted; COMMITTED: says so
//
// Why row 4 waits for the record: a refused prepare may have a copy under way that is accepted, and recovery would
// then commit what the client was told had failed. Why row 12: were it removed, a late copy of the staging would revive the
// transaction for a recovery that looked at the keys before they were dropped. When it may be gone nobody can tell what it said, so a commit that comes
// so late is refused, and so is an abort (EndTxn.Staged) if something was sent more than once: the first copy may have committed.
//
// # Clocks
//
// A transaction remembers the first reading of each node's clock that it sees; what that node wrote later is not from
// before the transaction (kv.TxnMeta.Observed). That holds because a version's timestamp has passed
// the clock of the node that prepared it before the client is told: by the prepare itself where it commits as
// prepared, and otherwise because the coordinator tells those nodes first, or waits until every clock has passed.
//
// # Invariants
//
//  1. No trace before commit: until Commit, a transaction has only unreplicated locks in the ranges, unless its writes have
//     outgrown Config.MaxBufferBytes: then it has open locks, and a record that says OPEN before the first of them; it commits over that only.
//  2. One outcome: COMMITTED if and only if the record says so, or it says
//     STAGING and every listed key is prepared at or below the staged timestamp.
//  3. A read is never answered from a write that the statement itself makes (StepStatement).
//  4. Every span read is either refreshed up to the commit timestamp, or protected by a lock
//     that is re-validated at commit.
//  5. An acknowledged commit is durable on a quorum of every range it wrote.
//  6. An outcome is "unknown" only to a gateway that died, or to a client that does not wait, and then after five more
//     seconds: a living coordinator asks until it knows, fences what it was not answered (QueryCommit), and remembers (Coordinator.Outcome).
//  7. A failure is told to the client only when the transaction can never commit any more.
//  8. Background work is done by a bounded pool; when its queue is full, committers do their own.
//  9. A transaction with open locks commits later than its gateway has promised to anybody (kv.HolderState.After).
//  10. Writes that a return to a savepoint took back are out of the open locks before the record says COMMITTED, and late
//     copies of them change nothing.
//  11. A recovery that has found STAGING goes on when those who wait for it leave, one at a time for each transaction, until it is decided or a
//     range has not answered for half a minute. So does the finishing of a record that was left.
package txn
