// Package statistics counts what tables hold, for the planner: rows, distinct values of each column, and the values that many rows have
// (catalog.TableStats). ANALYZE asks for it ([Gatherer.Analyze]); without being asked, a node counts the tables that it writes ([Gatherer.Run]).
//
// # What it is not
//
// It plans nothing by what it finds: that is package plan. It does not know how large tables are on disk.
//
// # How
//
// All of a table is read, at one timestamp. Each column goes through a sketch, which counts distinct values in 4 KiB, and some rows through a
// sample, in which common values show. Both see hashes only.
//
// # Invariants
//
//  1. What is written down was counted at one timestamp, and of the data that the table still has when it is written down: not of what
//     was there before a TRUNCATE or a rewrite.
//  2. A table is counted by whoever writes it, when what was written is much beside what it held; no node asks another one. What is written
//     while it is counted, is counted to the next time.
//  3. What nobody has asked for takes little: it pauses after each batch, and a table is not read again for fifty times as long as that took.
//  4. Memory is bounded, whatever the table: a sketch of each column, and a sample of at most sampleRows rows and one batch.
package statistics
