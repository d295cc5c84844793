// Package txn is the transaction coordinator: it runs at the gateway, on behalf
// of one SQL session at a time, and makes many ranges look like one serializable database.
//
// # What it is for
//
// A [Txn] reads at one timestamp, buffers its writes, and commits them in one
// round of consensus: by CommitSingleRange if they are all in one range, and by
// parallel prepare plus a STAGING record otherwise. Recovery finishes
// transactions whose coordinator went silent.
//
// # What it is not
//
// It knows no tables and no SQL (package sql), it does not find ranges or
// retry routing (range/routing), and it does not evaluate (range/internal/eval).
//
// # Invariants
//
//  1. No trace before commit: until Commit, a transaction has only unreplicated locks in the ranges.
//  2. One outcome: COMMITTED if and only if the record says so, or it says
//     STAGING and every listed key is prepared at or below the staged timestamp.
//  3. A read is never answered from a write that the statement itself makes (StepStatement).
//  4. Every span read is either refreshed up to the commit timestamp, or protected by a lock
//     that is re-validated at commit.
//  5. An acknowledged commit is durable on a quorum of every range it wrote.
//  6. An outcome is "unknown" only to a gateway that died: a living coordinator asks until it knows.
package txn
