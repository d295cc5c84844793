// Package exec runs physical plans: it turns plan nodes into operators, drives them batch by batch,
// reads through the transaction with as much work as possible done beside the data, and writes rows and their
// index entries.
//
// # What it is not
//
// It binds no names and chooses no plans (package plan), begins and ends no transactions, and retries nothing
// (package sql).
//
// # How a statement runs
//
// [Start] takes an instance of the plan: its operators with their compiled expressions and vectors. Instances are
// made once, go back to a pool with the plan when the cursor is closed, and are used by one statement at a time. A
// SELECT, UPDATE or DELETE of one row by its primary key runs the same operators, with a read of one key
// in place of a scan.
//
// # Invariants
//
//  1. A batch that Next returned is valid until the next call of Next or Close.
//  2. Memory that grows with the data is taken from the statement's [Budget] before it is used and given back by
//     Close. Operators that can spill do so when the budget says no; the others fail with 53200.
//  3. A statement never reads what it writes itself (txn.Txn.StepStatement; uniqueness checks read with Latest), so an
//     UPDATE meets each row once.
//  4. Every error that leaves the package has a SQLSTATE (errors.go is the one place where errors of the layers below
//     are translated).
//  5. Index entries and rows change together: whoever writes a row goes through rowWriter. A partial index has
//     an entry for a row if and only if its predicate is true of it.
//  6. No goroutine outlives Close.
//  7. Whoever writes a row tells References about its foreign keys, and no statement with rows to show, and no commit, succeeds before
//     they have been seen to; what that reads is firm (txn.ScanOptions.Firm), or locked.
package exec
