// Package job keeps the record of work that outlives a statement: an index build goes on if the node that
// began it dies.
//
// A [Record] is a row of a system table. It says what is to be done (Kind and Payload, which only the kind's own code reads), how
// far it has come, and which node is at it until when. Whoever runs a job calls [Table.Checkpoint] now and then, which renews
// its claim, stores its progress, and tells it of a cancellation. A claim that has run out may be taken over ([Table.Claim]).
//
// # What it is not
//
// It runs nothing and has no goroutines: package ddl knows what a job of a kind does, package sql who runs it.
//
// # Invariants
//
//  1. A job ends once, in the transaction that makes its effect visible ([Finish]), so that its state is never at odds
//     with what it did.
//  2. A claim is known by its number (Record.Claim). Two nodes may believe for a while that a job is theirs: what a job does
//     between checkpoints must be harmless when done twice, and its end is checked against the number.
//  3. A record's format has a version in its envelope; unknown kinds are left to nodes that know them.
package job
