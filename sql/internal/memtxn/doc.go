// Package memtxn is a key-value store in memory with transactions, for the tests of the packages in sql/: it does what
// package txn promises its callers, in the simplest way, in one process.
//
// It has snapshots, statement boundaries, savepoints, locks (of whole transactions, without waiting) and first-committer-wins; it has
// no ranges unless Cut is set, which makes scans return a page per piece as the real ones do. Scans outside of transactions are of their timestamp as well, for which
// it keeps what commits and puts replace, for ever.
package memtxn
