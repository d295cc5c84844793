// Package eval turns requests into effects, on the leader.
//
// Evaluate reads the range's state through [Env] and returns a response and, for
// requests that write, [Effects]: a Pebble batch plus a small typed rest. The
// effects are what is replicated; followers apply them and evaluate nothing, so replicas cannot diverge.
//
// # Flow of one batch (package replica drives it)
//
//	Sequence     concurrency: latches for Latches(req), then wait for known locks
//	Evaluate     here: read, check, build effects
//	   *ConflictError   -> concurrency: release latches, queue behind the holders, again
//	   other error      -> answer
//	propose      replicate effects; they apply in log order on every replica
//	Applied      concurrency learns of locks laid and resolved; latches go; answer
//
// # Invariants
//
//  1. Evaluate has no side effects but on the timestamp cache and (TryLock) the
//     unreplicated lock table, both of which may only ever err on the side of more conflicts, and on what the leader remembers of
//     sequences (Numbers), which may only ever lose numbers, and of floors (6) and gaps (7).
//  2. Whatever Evaluate reads is covered by latches it declared, so nothing
//     it read can change before its effects apply.
//  3. A read at ts leaves the timestamp cache at ts or above for what it read, before it
//     answers; a write lands above the timestamp cache and above every version of its key.
//  4. Effects are complete: stats deltas are exact, and applying them does not
//     depend on anything but the applied state before them.
//  5. A read sees the write of a prepared lock only if the transaction is known to have committed at or below its
//     timestamp, or is its own; it passes one by only if that cannot become a version that it must see (stands).
//  6. On a key with a floor (LockFloors) no prepared lock of a transaction below it stands, in any state of the engine since it was raised.
//  7. In a gap (Gaps) no prepared lock stands, and the newest version of every key is a tombstone at or below the gap's timestamp, in any state of the engine from when it
//     was noted until it is cut.
package eval
