// Package hermitage plays the public Hermitage catalogue of isolation anomalies at every level, on Pamir and on PostgreSQL 15,
// and keeps what both answered side by side.
//
// Every testdata/NAME.txt is one anomaly: what it is, the tables, the steps of sessions T1, T2 and T3 one after the other, and, for each level, what
// came of each step. Where the two systems differ, both answers are shown, and a "differs LEVEL:" line says why; a
// difference without a line fails, and so does a line without a difference. A statement that has to wait is shown as waiting:
// that is read from the servers' own lists of waiters, not from a clock. Its answer is shown with it, though it came later.
//
//	go test ./tests/hermitage                   Pamir's answers are those in the files
//	PAMIR_TEST_POSTGRES=... go test ...         and PostgreSQL's
//	PAMIR_TEST_POSTGRES=... go test ... -update writes them anew
//
// Tests only; nobody imports it.
package hermitage
