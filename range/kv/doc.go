// Package kv is the language that gateways and ranges speak: range
// descriptors, transaction metadata, typed requests and responses, classified
// errors, and their wire form.
//
// # What it is not
//
// There is no behaviour here beyond encoding: evaluation is range/internal/eval,
// routing is range/routing, the transaction protocol is package txn.
//
// # The shape of a request
//
// A [BatchRequest] goes to ONE range, named by id, and is answered by that
// range's leader (or by any replica, for reads at or below the closed
// timestamp). Three kinds of batch exist, and they are not mixed:
//
//	reads     Get, Scan (optionally locking), Refresh
//	writes    non-transactional: Put, Delete, Increment (system keys, counters)
//	commit    CommitSingleRange | Prepare [+ StageTxn] | EndTxn | ResolveLocks | ForgetTxns |
//	          QueryPrepared | RecoverTxn
//
// Requests of a batch are evaluated in order, under latches for all of
// them together, and succeed or fail together.
//
// # Invariants
//
//  1. A batch is idempotent at the receiver: reads trivially, the commit
//     kind by transaction id and epoch. Non-transactional writes are not
//     retried after an unknown outcome unless they carry an ID of their own.
//  2. Every [Error] has a [Code], every code has a [Class]; nobody matches on text.
//  3. The wire form is versioned by its first byte; a decoder refuses what it
//     does not know, never guesses, and never allocates more than the
//     input's length justifies.
//  4. Messages are immutable once sent. A receiver in the same process
//     gets the very same pointer; it may keep keys and values but not change them.
package kv
