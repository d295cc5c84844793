// Package references tests that foreign keys hold whatever runs at the same time: at every isolation level, transactions that
// insert rows race with transactions that delete what these refer to, and no row may ever be left alone.
package references
