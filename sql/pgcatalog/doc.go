// Package pgcatalog is pg_catalog and information_schema: every relation of PostgreSQL 15's
// system catalogs, with its columns, as virtual tables over the catalog's descriptors and the generated rows of package builtin.
//
// An [Overlay] is a catalog snapshot with the system relations in it; it answers scans of them. What depends on the
// catalog alone is computed once per overlay, in columns, and indexed by any column that is asked for by value, so that a
// lookup by oid or name costs the same at a thousand tables as at one. What depends on the
// session (settings, activity) is computed per scan.
//
// Functions that read the catalog (pg_get_indexdef, pg_table_is_visible, to_regclass, privileges ...) are
// registered with package builtin here; they find the overlay through the session ([Session]).
//
// # What it is not
//
// It stores nothing. Relations for what Pamir does not have (triggers, publications, foreign tables) are there, and empty.
//
// # Invariants
//
//  1. Column names, types and order are PostgreSQL 15's.
//  2. An Overlay is immutable and safe for concurrent use; it must not outlive its catalog version.
//  3. Object ids: tables, indexes and schemas have their own. Constraints, defaults and rewrite rules have ids derived from
//     those, in ranges where the catalog allots none (see oids.go).
package pgcatalog
