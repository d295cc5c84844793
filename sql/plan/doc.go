// Package plan turns a parsed statement into a physical plan: bind names and types, rewrite by ordered
// rules, choose indexes and join order by cost, emit [Node]s.
//
// A plan is immutable, holds no run-time state, and can be executed many times, at the same time, with
// different parameters. Package exec runs it.
//
// # Invariants
//
//  1. Every Node knows its output columns; expressions refer to input columns by position.
//  2. A plan is valid for one catalog version and one set of parameter types.
//  3. Constraint values of a scan are expressions over parameters and constants only, evaluated at start.
package plan
