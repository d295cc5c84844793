// Package hlc is the hybrid logical clock: timestamps that respect causality
// across nodes while staying close to physical time.
//
// # What it is for
//
// Every version of every value carries a [Timestamp]; every message between
// nodes carries a clock reading. A [Clock] hands out readings that are
//
//  1. strictly monotonic within a process: no two calls of Now return the
//     same reading, and a later call returns a later one;
//  2. causal: after Update(r), every reading is after r;
//  3. close to physical time: WallTime never runs ahead of the largest
//     physical clock in the cluster.
//
// The algorithm is the one of Kulkarni et al., "Logical Physical Clocks and
// Consistent Snapshots in Globally Distributed Databases" (2014).
//
// # What the rest of the system assumes about physical clocks
//
//   - Skew. The physical clocks of two nodes that both serve are never further
//     apart than the maximum offset (--max-offset). If that breaks and the node
//     that is off has not yet fenced itself, a read can miss a value that was
//     committed, in real time, before the read began (a stale read).
//     Serializability is not affected: it rests on HLC order alone.
//   - Leadership. A promise of support ends by the promising store's HLC, and
//     a leader stops serving maximum offset before the promise ends. HLC order
//     (votes carry readings) makes a new leader's timestamps larger than its
//     predecessor's; skew beyond the bound can only make reads stale.
//   - Steps. A step backwards of one node's physical clock is absorbed: the
//     HLC stands still and counts Logical until physical time catches up. A
//     step forwards is believed up to a limit only (SetLimit: the store sets it to the ceiling that it has persisted, a second or two
//     ahead), and beyond it when the other nodes' clocks agree. So a clock that was wrong for a while leaves nothing
//     behind when it is right again. A process that is started with a clock far ahead has nobody to ask yet: its readings, and the
//     ceiling on its disk, are then ahead, and it cannot serve until real time has passed them.
//   - Restart. A process that starts must not hand out a reading below one it
//     handed out before it died. The store persists a ceiling ahead of its
//     readings and, at start, waits until the clock has passed it.
//
// # Who may use it
//
// Everybody. The package imports nothing of Pamir.
package hlc
