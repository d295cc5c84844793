// Package checkers judges recorded histories: what clients asked, what they were told, and when. It is pure: it
// runs no database, and the same checkers judge the simulation, clusters of real processes, and histories written by hand.
//
// A history is a slice of operations, each with a [Span]: the process (one connection; a new one after every
// reconnect), when it was invoked and completed on one clock, and whether its client was told yes, no, or
// nothing. An operation without an answer has Complete = [Never]; one whose outcome was found
// out later is OK or Failed, still with Complete = Never.
//
//	CheckLists            transactions that append to and read lists: every anomaly of the usual catalogue, from a dependency graph
//	CheckRegisters        reads, writes and compare-and-set of single keys are linearizable (porcupine)
//	CheckBank             every snapshot of the accounts has the same total
//	CheckSet              what was acknowledged is there, what failed is not
//	CheckTimeline         every transaction read and wrote as if it had run alone at the moment of its timestamp
//	CheckMonotonic        a counter that only grows is never seen to shrink
//	CheckLongFork         two readers never see two writes in opposite orders
//	CheckWriteSkew        a constraint over two rows, kept by transactions that read both and write one
//	CheckCausalReverse    who sees a write sees every write that was acknowledged before it began
//
// # Lists
//
// Appending to a list makes its history visible: a read of [3 1 7] says in which order the three appends were
// done. The longest read of each key is its version order. From it come the edges of Adya's graph:
//
//	ww  T2 appended right after T1
//	wr  T2 read a list whose last element T1 appended
//	rw  T1 read a list to which T2 appended next
//	so  T2 came after T1 in the same process
//	rt  T1 had completed before T2 was invoked
//
// A cycle is an anomaly, and its edges name it: ww alone G0; ww and wr G1c; exactly one rw G-single; several, no two in a row,
// G-nonadjacent (a snapshot forbids it as well); two in a row G2-item (write skew). A cycle that needs so or rt edges has
// "-process" or "-realtime" behind its name. See [Allowed] for what each isolation level lets pass.
//
// # Invariants
//
//  1. A history that some serial execution explains has no anomaly (no false alarm), whatever the outcomes of its unanswered operations.
//  2. A cycle of each class between committed transactions is found if there is one; what is reported are examples, the shortest found.
//     A class may be hidden behind a stronger one in the same component.
//  3. The time taken is near linear in the number of operations and edges when a history is clean.
//
// Anyone under tests may use it.
package checkers
