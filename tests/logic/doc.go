// Package logic compares Pamir with PostgreSQL 15, statement by statement.
//
// Every testdata/NAME.sql is a script. Its statements run one after the other on a connection of their own, and what the server answers
// (rows, command tags, notices, errors with SQLSTATE, detail, hint and position) is written down.
// NAME.out is what PostgreSQL 15 answered: the expectation. It is checked in, and written anew, from a private cluster on
// this machine, by
//
//	go test ./tests/logic -run TestPostgres -update
//
// TestPostgres without -update checks that NAME.out is still what PostgreSQL says, and is skipped (it
// says why) where there is no PostgreSQL 15. TestPamir runs the scripts on a node in process and compares with NAME.out.
//
// # Directives
//
// Comments before a statement steer the comparison of that statement:
//
//	-- unordered             rows are sorted before they are compared
//	-- known: REASON         Pamir's answer differs on purpose or for now; what it is is in NAME.known
//	-- skip: REASON          not run on Pamir
//	-- pamir: STATEMENT      run before it on Pamir only: to cut a table into ranges; it must succeed
//	-- extended              by the extended protocol: parameter and column types, results in binary, as hexadecimal
//	-- args A|B              the same, with these parameters in text ("NULL" is NULL)
//	-- conn NAME             statements from here on run on another connection (the first is "main")
//	-- background            the statement is started and not waited for; its answer is written at the next
//	                         statement of its connection
//
// NAME.known holds Pamir's answers to the statements marked known, so that they do not change unseen; -update-known rewrites it.
package logic
