// Package engine is a store's disk: one Pebble database in one directory, with
// every option chosen on purpose, and the encodings of Pamir's keys as Pebble keys.
//
// # What it is for
//
// [Open] takes a directory (and nobody else's), checks that it is a store of a
// format this program knows, and opens it. [Engine.DB] then hands out the database to the
// packages of range/; there is no second abstraction over Pebble.
//
// It also knows which errors of the disk mean what: a full disk, damaged
// data, a directory in use ([Classify], and the Err… values of Open).
//
// Pebble's compactions run on threads of their own, to which the operating system prefers all others of the process (behind_linux.go).
//
// # What it is not
//
// It knows no versions' meaning (package mvcc), no ranges and no Raft.
//
// # The directory
//
//	PAMIR-FORMAT   text: "pamir store format <n>\n"; written first, checked before anything else is touched
//	LOCK           held while the store is open
//	the rest       Pebble's files
//
// # Keys on disk
//
//	key 0x00                               unversioned: local state, records
//	key 0x00 wall8 0x09                    version at a timestamp without logical part
//	key 0x00 wall8 logical4 0x0d           version at a timestamp
//	key 0x00 strength1 txn16 0x12          lock-table entry (key is keys.Lock(...))
//
// Suffixes sort newest first, and an unversioned key sorts before all versions.
//
// # Invariants
//
//  1. Open changes nothing in a directory that it refuses, but may leave an empty LOCK file there.
//  2. What was committed with Sync before a crash is there afterwards; what was not is whole or absent.
//  3. No write is acknowledged after the WAL has failed: the failing goroutine never returns
//     from Pebble, and Config.OnFatal is told.
//  4. The order of encoded keys is the order of (key, descending timestamp).
//
// Only packages under range/ may import this package.
package engine
