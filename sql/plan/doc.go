// Package plan turns a parsed statement into a physical plan: bind names and types, rewrite by ordered
// rules, choose indexes and join order by cost, emit [Node]s.
//
// A plan is immutable, holds no run-time state, and can be executed many times, at the same time, with
// different parameters. Package exec runs it.
//
// # How it works
//
//	bind      ast -> rel: scopes, names, types (expr's builders), PostgreSQL's errors with their positions
//	rewrite   rel -> rel: WITH inlined, conditions pushed down, EXISTS, IN and ALL made joins, outer joins narrowed
//	physical  rel -> Node: indexes and their spans, join order and method, orders, aggregation beside the data
//	explain   Node -> PostgreSQL's EXPLAIN, text or JSON
//
// Between bind and physical every column has a number of its own and expr.Column.Index is that number; a column of
// an enclosing query is just one that the query does not make. physical turns numbers into positions and Outer slots.
//
// # Invariants
//
//  1. Every Node knows its output columns; expressions refer to input columns by position.
//  2. A plan is valid for one catalog version and one set of parameter types.
//  3. Rewrites keep NULLs and duplicates: NOT IN is an anti join that looks for what is equal or NULL, an outer join narrows only under conditions that NULL fails.
//  4. A condition used up by a scan's spans is exactly the spans' meaning; otherwise it stays in the filter.
//  5. A clause that cannot be honoured is refused with 0A000 and its position, never ignored.
//  6. Constraint values of a scan are expressions over parameters and constants only, evaluated at start.
//  7. Rows have an order only where their operator says so (phys.order), and whoever leaves out a sort or groups rows as they come relies on that alone:
//     Scan has its index's order if it was asked for one (Ordered), else ranges are read at the same time. Sort makes one. Filter, Limit, LockRows, Project
//     without sets, CTE (its body's), Lateral, and LookupJoin of every kind (its left side's) keep their input's; LoopJoin does where it is told to (InOrder),
//     Distinct where equal rows come together (Sorted). All others have none: HashJoin, Append and unions of scans, SetOp, Aggregate, Window, what is not stored.
//  8. The scans of a union divide a table's rows among them: each leaves out those for which an earlier arm is true.
package plan
