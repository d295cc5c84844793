// Package catalog is what the database knows of its own objects: schemas, tables,
// columns, indexes, constraints, sequences, views, roles.
//
// Descriptors are ordinary rows in system tables (ids below keys.FirstUserTable), read and written
// by the transaction that uses them; versions come from MVCC. A [Snapshot] is the
// catalog as of a timestamp; gateways cache it and validate it by the catalog's version row.
//
// # Invariants
//
//  1. Descriptors are immutable once published; a change makes a new one.
//  2. Ids are never used again.
//  3. A column's ID never changes and keys its value in the row encoding; its position may.
//  4. A transaction that writes commits only if everything that it asked the catalog for, by name or by id, found or not,
//     itself or through its plans, has at the commit timestamp the answer that it was given, but for comments, privileges that
//     were gained, and statistics (Uses). So no write made for an old index, column or constraint is there under a new one.
package catalog
