// Package expr is typed expressions: the tree that the binder makes, and its
// compilation into a program of batch kernels.
//
// By the time an Expr exists every operator, function and cast is resolved to one function of
// package builtin; nothing is looked up at run time. Trees are immutable
// and shared by cached plans; a compiled Program belongs to one goroutine.
//
// # Invariants
//
//  1. Type() is known without evaluation.
//  2. Evaluation order and short circuits are PostgreSQL's where a user can see them: CASE, COALESCE, AND/OR
//     evaluate a branch only for the rows that need it, so a guarded division does not fail.
//  3. A program allocates its vectors once and reuses them for every batch.
//  4. Every tree without Subplans has a wire form, for work beside the data.
package expr
