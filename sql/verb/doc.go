// Package verb is the list of what an operator can ask of a cluster: to look at nodes, ranges and plans, and to move, split,
// drain and decommission.
//
// Each verb is defined once, in [Table]: its name, its parameters with their bounds, its path over HTTP, its command, its function or
// relation in schema pamir. The HTTP API and its OpenAPI document (internal/admin), the commands of cmd/pamir and the functions of
// package sql/builtin are made from the table; none of them knows a verb by name, but for those that need more than their parameters (split_at takes
// values of any type).
//
// # What it is not
//
// It carries nothing out and talks to nobody: internal/admin does.
//
// # Invariants
//
//  1. Names, paths with their methods, commands, and numbers of functions and relations are unique; a test checks that.
//  2. A verb that changes something is not a GET, and needs pamir_operator; every GET only looks, and needs pamir_viewer.
//  3. Values in [Args] are of the kind that the parameter says and within its bounds: whoever takes them from outside calls [Verb.Check].
//  4. Numbers of functions and relations are never used again for something else: they are in clients' caches.
//
// Everybody may import it; it imports nothing of Pamir.
package verb
