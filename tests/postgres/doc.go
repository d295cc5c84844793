// Package postgres starts private PostgreSQL 15 clusters for tests that compare Pamir with it.
//
// A cluster has a directory, a port of its own and the C locale, listens on loopback only, and is gone after Stop. Where PostgreSQL 15 is not
// installed, Start's error wraps [ErrMissing] and says why: tests are skipped with that text.
package postgres
