// Package tidy holds tests of the source tree itself: layering, file length, package comments, names.
//
// Layers, each importing only what is left of it:
//
//	hlc < range/keys < range/kv < range/{internal,transport,routing,store} < txn < sql < pgwire < internal < cmd < tests
//
// range/recovery stands on the store, beside txn. placement imports nothing of Pamir, and only internal imports it.
package tidy
