// Package ast is Pamir's own syntax tree of SQL statements: what the parser (package parse) makes of
// a text, and what the planner, DDL and the session read.
//
// It is lean on purpose: one Go type per construct that Pamir knows, no optional protobuf layers,
// and nothing in it that nobody reads. What the tree cannot say, the parser refuses.
//
// # Invariants
//
//  1. A tree is immutable once the parser has returned it: trees are cached by text and shared by sessions.
//  2. Every Pos is a 1-based character (not byte) position in the text that was parsed, 0 for unknown,
//     ready for pgerr.Error.Position.
//  3. Names are folded and unquoted; a name of several parts is a slice, outermost part first.
//  4. No clause of a statement is dropped on the way: a field that Pamir cannot honour is refused by
//     the parser with 0A000, or kept here for the planner to judge.
package ast
