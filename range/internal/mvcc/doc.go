// Package mvcc keeps versions: what a key was at any timestamp, the locks of prepared
// writes, and the exact statistics of both.
//
// # What it is for
//
// A [Reader] answers reads as of a timestamp from a Pebble reader; a [Writer] puts
// versions, locks and records into a Pebble batch and counts what that does to a range's
// kv.Stats. state.go names and encodes the replicated state that a range keeps besides its data.
//
// # What it is not
//
// It decides nothing: whether a write may go where it goes (timestamp cache, locks,
// conditions) is for package eval. It holds no state between calls.
//
// # Values on disk
//
//	version      1 byte kind (0x01 value, 0x02 tombstone; with 0x10: 12 bytes of the local timestamp follow), then the value
//	lock         kv.LockRecord.AppendWire
//	txn record   kv.TxnRecord.AppendWire
//
// A kind of 0x00 never occurs, so that a block of zeros does not read as data.
//
// # Invariants
//
//  1. Every key between keys.Min and keys.Max is a version; it carries a timestamp.
//  2. A version, once written, never changes; it is removed by GC only.
//  3. At most one lock per key; no version of its key is newer than the lock's timestamp.
//  4. Stats deltas are exact: the sum of all deltas equals [ComputeStats] at all times.
//  5. A commit of which nothing is known, and which was first sent at or after Outcomes.Forgotten, has not happened.
//  6. A Reader never returns memory that Pebble owns beyond the call that its doc names.
package mvcc
