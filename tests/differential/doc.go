// Package differential runs seeded random programs on Pamir and on PostgreSQL 15, and compares every answer.
//
//	go test ./tests/differential -run TestDifferential -v -seed 7        one program
//	make differential DIFFERENTIALFLAGS="-first 1000 -seeds 2000"       many, and what they did
//	go test ./tests/differential -run TestMoving -v -moving 50          while ranges are split, merged and moved
//	go test ./tests/differential -run TestPaused -v -paused 20           on processes that are stopped
//	go test ./tests/differential -run TestFrames -v -frames 100           window functions over frames
//	go test ./tests/differential -run TestInterleaved -v -interleavings 500    sessions that meet
//	go test ./tests/differential -run TestInterleavedWide -v -wide 500    sessions that meet, and have cursors, prepared transactions and so on
//
// A program makes a few tables with indexes and foreign keys, full of NULLs and duplicates, and runs statements of all kinds: in one piece, as prepared statements
// with parameters, in transactions that have unsaved writes, through cursors. In Pamir the tables and their indexes are cut into ranges at random rows, before and between the
// statements, also while a transaction is open. Queries, changes and the statements of blocks are executed with
// one of their reads failing, so that the server runs them, or the block, again (failing.go), and nodes clean up late after commits over several ranges. Statistics are taken at random times, or are made up, so that plans are chosen which such small tables would not get: golden tests have tables of
// one range, and one plan.
//
// TestMoving has four nodes, and something that splits and merges the ranges of the tables and moves their replicas and leaders while the statements run; pages of scans
// are so small that most statements take longer than that. To the statements come COPY both ways, changes of whole tables, ADD COLUMN, TRUNCATE, cursors that stay open, and reads of the
// past, for which PostgreSQL's answers are remembered; the program goes on at another node now and then. At its end the same queries are asked again and again. Leaders are moved and not
// lost, unless -faults cuts nodes off, too. TestPaused has three processes, and something that stops one of them (SIGSTOP), for up to two and a half seconds, again and again.
//
// # Interleaved transactions
//
// TestInterleaved steps two or three sessions, with blocks, savepoints and locking reads at all levels, through a fixed order of statements, first in PostgreSQL and then in Pamir (and
// TestInterleavedMoving with a session at each of four nodes while ranges move). A statement that has to wait is noticed by the server's list of waiters, and what its session does next waits with it.
// The two need not go the same way. So what is an error is not that they differ, but that no order of the committed transactions, with snapshots as their levels allow, explains what they were
// told and what the tables hold (model.go, which explains PostgreSQL as well); or an error that has no place there; or sessions that wait for ever. Programs that fail are made smaller. TestInterleavedCatches plants bugs, and has to notice them within a minute.
//
// The programs of TestInterleavedWide (wide.go) have, besides: cursors that stay open across the commits of others, WITH HOLD too, and WHERE CURRENT OF; COPY both ways; statements prepared
// by the protocol and by PREPARE; indexes and columns that come and go, and TRUNCATE, in blocks and beside those of others; PREPARE TRANSACTION, finished by somebody else later; advisory locks; timeouts;
// exported snapshots and pamir.read_as_of. On every other cluster a transaction's memory is so small that what it writes is sent ahead.
//
// Where they first differ is counted. The differences there are, which are meant:
//
//   - PostgreSQL fails with 40001, or 40P01, and Pamir has run the statement or the transaction again (docs/isolation.md).
//   - INSERT keeps the lock of a row that was in its way, also with ON CONFLICT DO NOTHING: others wait for it, and NOWAIT gives 55P03. In PostgreSQL they do not.
//   - An INSERT with a unique value of a row that has been deleted since the snapshot succeeds in PostgreSQL at REPEATABLE READ and gets 40001 in Pamir, if it cannot run again.
//   - Which of two constraints is found broken first (23503, 23505).
//   - After ROLLBACK TO, locks are kept: others wait.
//   - Readers wait for prepared transactions; changes of the schema do not wait for those who use the table, and TRUNCATE leaves older snapshots their rows.
//   - A snapshot that was exported, or chosen by time, may show what a transaction commits later that had begun before; in PostgreSQL it does not.
//   - Cursors go back only if they are SCROLL (55000), and PREPARE TRANSACTION refuses changes of the schema and advisory locks (0A000).
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
