// Package routing finds the range of a key and delivers batches to its leader.
//
// # What it is for
//
// [Sender] is the gateway's way into the key space: it caches range
// descriptors and leaders, resolves every error that means "not here, not
// now", and repeats what may be repeated.
//
// # What it is not
//
// It does not cut a batch in pieces: a batch that lies in several ranges is returned with
// CodeRangeMismatch, after the cache has learned why; Ranges cuts spans. It knows nothing of transactions but
// which requests may be repeated (package txn).
//
// # Where it learns
//
// From the range itself: an answer CodeRangeMismatch or CodeNotLeader carries the descriptors
// and the leader that the replica knows. Otherwise from the meta range, whose own
// descriptor is gossiped. Of two descriptors that overlap, the higher generation wins.
//
// # Partial partitions
//
// A leader that this node cannot reach, but that another replica still follows, is reached by way of that
// replica's node: it passes the batch on, once.
//
// # Invariants
//
//  1. The cache is a hint. Every replica checks the keys it is asked for.
//  2. Cached descriptors do not overlap, and a descriptor never replaces one of a higher generation.
//  3. A request that is not idempotent is sent again only if it certainly was not executed.
//  4. When the outcome of a request that writes is not known, the caller is told so, even if
//     its context has ended.
//  5. The cache is bounded in entries, meta look-ups in number at a time, and a
//     request's retries by its context and by Config.GiveUp; of what only reads, if this node is cut off (Config.CutOff), to none.
//
// # Who may use it
//
// Package txn through its own interface, range/store for the upkeep of the meta range, and internal/node.
package routing
