// Package builtin is PostgreSQL's types, functions, operators, casts and aggregates: the
// catalog rows, generated out of a real PostgreSQL 15, and the kernels behind them.
//
// The rows are complete; a kernel exists for what Pamir can compute. Resolution (which "+" is
// meant by int4 + numeric) follows PostgreSQL's documented rules ("Type Conversion", chapter 10) over the
// rows, so it is right even for what has no kernel: that is answered with 0A000 at bind time.
// The same rows answer pg_type, pg_proc, pg_operator, pg_cast and pg_aggregate.
//
// # Invariants
//
//  1. A Function is immutable and unique by OID: compare pointers.
//  2. A kernel never changes its inputs, never keeps them, and honours the selection.
//  3. Strict functions never see NULL: the caller masks them.
package builtin
