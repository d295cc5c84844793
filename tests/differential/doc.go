// Package differential runs seeded random programs on Pamir and on PostgreSQL 15, and compares every answer.
//
//	go test ./tests/differential -run TestDifferential -v -seed 7        one program
//	make differential DIFFERENTIALFLAGS="-first 1000 -seeds 2000"       many, and what they did
//
// A program makes a few tables with indexes and foreign keys, full of NULLs and duplicates, and runs statements of all kinds: in one piece, as prepared statements
// with parameters, in transactions that have unsaved writes, through cursors. In Pamir the tables and their indexes are cut into ranges at random rows, before and between the
// statements, also while a transaction is open. Statistics are taken at random times, or are made up, so that plans are chosen which such small tables would not get: golden tests have tables of
// one range, and one plan.
//
// # What is compared
//
// The SQLSTATE of an error; the rows as a multiset; and where a query has an ORDER BY, its sort keys position by position, so that ties may come in any order. Queries
// with a LIMIT are ordered by all that they show, or only their keys are compared. After each change the tables are compared whole. What Pamir refuses with 0A000 is counted and
// printed by its reason.
//
// A difference is printed with the seed, both answers and Pamir's plan, made smaller where that can be done without changing data: clauses and
// expressions are left out as long as the answers differ. -keep DIR writes the whole program up to it, as SQL.
//
// # What is not
//
// Statements whose answer PostgreSQL leaves open: which of two rows with the same key DISTINCT ON shows, sums of floats in another order (they are multiples of a quarter
// here), which error comes first of two. Messages, details and positions of errors are the business of tests/logic.
package differential
