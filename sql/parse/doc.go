// Package parse turns SQL text into package ast's trees. PostgreSQL's own grammar (pg_query, through
// cgo) does the parsing; this is the only place that knows its protobuf tree.
//
// # What it is for
//
// [Parse] parses with a bounded cache by text; [Expr] parses an expression kept as text in the catalog;
// [Normalize] turns the literals of simple statements into parameters so that many texts share one plan.
//
// # Invariants
//
//  1. Messages, SQLSTATEs and character positions of syntax errors are PostgreSQL's.
//  2. Nothing is dropped: every field of a node is read into the tree or refused with 0A000 and its
//     position. A test changes each field in turn and expects the tree or an error to tell.
//  3. The C parser recurses: a text longer than 16 KB is scanned first, and refused with 54001 if it
//     nests or chains operators deeper than 8,000, before it can overflow the C stack.
//  4. Trees are shared through the cache and never changed.
//  5. A normalised text with its literals as typed parameters means what the original means. Where that
//     is not certain, Normalize declines.
package parse
