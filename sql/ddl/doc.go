// Package ddl changes the schema: CREATE, ALTER, DROP, TRUNCATE and RENAME of tables, indexes, views, sequences and schemas.
//
// A schema change runs inside the session's transaction like any other statement: descriptors are rows that it writes
// (package catalog), so it commits or rolls back with everything else, and later statements of the transaction see it.
//
// # How data follows
//
//   - DROP and TRUNCATE touch no rows: they give up the table's data id, and what is under it becomes garbage.
//   - An index over rows that exist is built from them under an index id that was never used: in the transaction (exec.Rebuild), or, if the
//     caller wants it ([Env].Online), by a job in many transactions beside the table's writers ([Builder], online.go).
//   - What changes the rows themselves (a primary key, a column's type, a volatile default) writes the whole table anew, under
//     a fresh data id.
//   - ADD COLUMN with a constant default touches no rows: older rows have the column's missing value.
//
// The statement's reads of the table are part of the transaction's read set: a row that somebody else writes meanwhile makes
// the commit fail, and the transaction is retried or fails with 40001.
//
// # Invariants
//
//  1. Ids of data and of indexes over existing rows come from counters outside of transactions; they are never used again.
//  2. Every name in a schema (tables, views, sequences, indexes) has one row in the catalog's name table.
//  3. A descriptor that is handed to anybody is not changed: a change works on a copy.
//  4. An error leaves the transaction to the session: it is aborted, or rolled back to a savepoint.
package ddl
