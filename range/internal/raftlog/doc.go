// Package raftlog is what one replica keeps on disk for Raft, and how Raft
// messages and log entries become bytes.
//
// # What it is for
//
// [Log] implements raft.Storage over Pebble, under keys.RangeUnreplicated.
// [Message] is a Raft message between two replicas with what Pamir stamps on
// it; its hand-written codec is used by the transport.
//
// # What it is not
//
// It starts no goroutine, syncs nothing by itself and never decides when to
// append: package replica puts its writes in a batch, and package scheduler
// commits that batch together with those of other ranges.
//
// # Keys (names under keys.RangeUnreplicated)
//
//	"e" <index, 8 bytes big endian>   log entry
//	"h"                               hard state: term, vote, commit
//	"r"                               the id of the replica that lives here
//	"t"                               truncated state: index and term of the last entry removed
//	"x"                               tombstone: the smallest replica id that may still live here
//
// Every value begins with a version byte.
//
//	entry        01 | type | uvarint term | data           (the index is in the key)
//	hard state   01 | uvarint term | uvarint vote | uvarint commit    (as of when term or vote changed)
//	truncated    01 | uvarint index | uvarint term
//	replica id   01 | uvarint id
//	tombstone    01 | uvarint smallest id
//
// # Invariants
//
//  1. The entries on disk are contiguous from truncated index + 1, except that
//     entries after a later append of a smaller index are stale: an append
//     deletes whatever lies beyond its last entry.
//  2. A tombstone is never lowered, and is written in the batch that creates a
//     replica (one above its id) as well as in the one that removes it.
//  3. Nothing here is acknowledged to anybody before the batch that carries
//     it has been synced.
//  4. Decoders refuse what they do not know and allocate no more than the
//     input's length justifies.
package raftlog
