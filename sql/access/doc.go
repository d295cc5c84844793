// Package access carries out the statements that say who may do what: CREATE, ALTER and DROP ROLE, GRANT and REVOKE, owners,
// default privileges, and the settings of roles, databases and the cluster.
//
// Like a schema change, such a statement is a change of the catalog inside the session's transaction: it commits or rolls back with
// everything else and takes effect everywhere at once. Plans are made for one catalog version, so a REVOKE holds for the next statement of every session.
//
// # What it is not
//
// It decides nothing about statements that read and write: those are checked against their plan's needs (package plan lists them, package sql checks).
//
// # Invariants
//
//  1. Messages and SQLSTATEs are PostgreSQL 15's.
//  2. What refers to a role does so by name; renaming a role renames all references in the same transaction, and a role
//     with references cannot be dropped.
//  3. A password is stored as a SCRAM verifier only, and is in no message or log that this package writes.
//
// # Who may use it
//
// Package sql.
package access
