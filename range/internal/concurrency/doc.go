// Package concurrency decides, on a range's leader, which requests may run at the same
// time: latches for the length of a request, locks for the length of a transaction.
//
//	         Sequence                      HandleConflict                Finish
//	            |                                ^                         ^
//	+-----------v-----------+        conflict    |                         |
//	| latches: FIFO by span |<---------------+   |                         |
//	+-----------+-----------+   re-latch     |   |                         |
//	            | held                       |   |                         |
//	+-----------v-----------+  known lock   +----+------------------+      |
//	| lock table: check     +-------------->| queue of the key      |      |
//	+-----------+-----------+  (unlatch)    | FIFO, one reservation |      |
//	            | free                      | push: deadlock? dead? |      |
//	            v                           +-----------------------+      |
//	        evaluate ---- eval.ConflictError -----^                        |
//	            |                                                          |
//	            +---- propose, apply, Prepared/Resolved -------------------+
//
// The interface is [Table], one per range, and the [Guard] of one request.
//
// # What it is not
//
// It holds nothing that must survive. Unreplicated locks are handed to the next leader (HandOver, Install) or the right side
// of a split (SplitAt), but die with a leader that dies, and commits
// re-validate what they protected; replicated (prepared) locks are on disk, and the table only knows those
// that it laid itself or that an evaluation ran into. It sends no message itself: asking gateways,
// recovery and resolution are interfaces (Holders, Recoverer, Resolver) that the node injects.
//
// # Who waits for what
//
//	request                         waits for
//	non-locking Get                 prepared locks at or below its uncertainty limit
//	non-locking or locking Scan     what its evaluation meets (so that LIMIT and filters count)
//	Get with Lock                   locks of conflicting strength, prepared locks
//	... IfAbsent, the key is there  locks that conflict with KEY SHARE, prepared locks
//	Put, Delete, Increment,         locks that conflict with the write: NO KEY UPDATE for a
//	commit's writes                 new value, UPDATE for a deletion
//	commit's writes of keys whose   prepared locks: who read the key before and has lost his lock since
//	reading it validates            (with a leader) does not queue up behind who took it later
//	all others                      nothing
//
// # Invariants
//
//  1. Latches: of two requests with conflicting latches the earlier Sequence (or re-latch) goes first; a
//     request waits only for earlier ones, so latches cannot deadlock.
//  2. No request waits for a lock while it holds latches.
//  3. Locks are granted in FIFO order per key. When a lock is released the first waiters that are
//     compatible get a reservation, which counts as a lock until they take it or finish; nobody else is woken.
//  4. A transaction that holds a lock on a key does not queue behind waiters there (else an upgrade would deadlock).
//     Nor does anybody wait for an unreplicated lock of an earlier transaction of the same session: that one has ended.
//  5. Every cycle of waiting transactions is found by each of its members that waits longer than
//     Config.PushDelay, and exactly the youngest aborts itself (CodeDeadlock), after every
//     edge of the cycle has been asked for once more, of the gateway, and of the table itself if it has the key.
//  6. Every wait ends: by a grant, the request's context, LockTimeout, Clear, HandOver, SplitAt, deadlock, or the
//     release of a lock whose holder's gateway is gone.
//  7. The table holds at most Config.MaxLocks unreplicated locks; beyond that locks are
//     not recorded (and counted): a contention aid is lost, correctness is not.
//  8. What the table says of a transaction (Outcome) is true for ever: it ended so, or it commits later than that if it
//     does. What has committed by its gateway's word alone is read, and not resolved before its record says so. No reader waits for
//     more than one lock of a transaction of which it can say something.
//  9. A request that was put off (Deferred) is executed once: by a write that takes it along, or by its own goroutine.
//     Nobody waits for one of its keys who has not urged it on. A lock is left behind (left.go) only while its resolution is put off.
//  10. A lock that an evaluation met is recorded under the latches that it was met under. Whoever gives them up to ask or to resolve evaluates again.
//
// Only package replica uses it; evaluation sees it as eval.Locks.
package concurrency
