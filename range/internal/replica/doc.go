// Package replica is one replica of a range: its Raft group member, the
// application of its log, and, on the leader, the execution of requests.
//
// # What it is for
//
// [Replica.Send] executes a batch. [Processor] drives the Raft side of many replicas at once.
// The admin operations (split, transfer, replica change, truncation, snapshots) are here as far as they concern one range;
// package store has what concerns several.
//
// # The life of a write
//
//	Send        bounds, leadership and support, latches and locks (package concurrency),
//	            evaluation into effects (package eval), proposal into the inbox
//	Processor   takes the inboxes of several ranges, steps Raft, sends appends to followers,
//	            writes all entries in one batch with one fsync, sends what had to wait for it,
//	            applies what is committed, tells the lock table, releases latches, answers
//
// # Locks and who holds them
//
//	raftMu   the goroutine that processes the replica; guards Raft, the log, the pending proposals
//	inbox    a mutex of a few instructions; messages, proposals and calls wait there for the processor
//	mu       guards the published state (descriptor, applied state, leadership); readers copy a pointer
//
// Order: raftMu before mu before inbox. Nothing is sent and no disk is touched under mu or inbox.
//
// # Invariants
//
//  1. Entries carry effects. Applying one depends on nothing but the applied state before it, so replicas cannot diverge.
//  2. The applied index is written in the batch of the effects. Application is not synced:
//     the log is, in the same write-ahead log, before it.
//  3. A proposal evaluated at term t enters the log at term t or not at all.
//  4. Latches are held until the effects have been applied or can never be.
//  5. "Not the leader" means that the request has had no effect and never will;
//     "outcome unknown" means that it may.
//  6. A replica serves only if package liveness's R7 holds.
//  7. A descriptor changes by one generation at a time, in a merge to one beyond those of both sides; a command made for another
//     generation has no effect on any replica.
//  8. An inconsistency stops the replica: it says so in the log and in its status, sends requests elsewhere, tells the
//     others that it will not lead, and takes no further part.
//  9. A range that is frozen for a merge serves nothing, and is either absorbed or thawed, never both (merge.go, M1 to M7).
//  10. What rides along with another write (riders.go, under.go) was evaluated under latches of its own, which it keeps, in the same term, and
//     is answered with that write's outcome.
//  11. A lock that was granted is in the table that the leader hands over: what ends under another lock table than it began under is evaluated again.
package replica
