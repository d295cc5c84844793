// Package pgbench runs the unmodified pgbench of PostgreSQL 15 against a cluster of three processes:
// initialisation, and the built-in scripts in every protocol mode. Not one
// error is allowed that PostgreSQL would not give.
package pgbench
