// Package node puts a node together: store, transport, routing, transactions, SQL and HTTP, started,
// joined to a cluster, drained and stopped in order.
//
// # Start
//
//	listeners   all three addresses are taken first, so that a port in use is said before a disk is touched
//	store       opened; a store of another cluster or format is refused
//	identity    a store that has none bootstraps a new cluster, or asks the nodes of --join for a place in theirs
//	routing     the map of the key space, over the store and the transport
//	txn         the coordinator of this gateway's transactions
//	store       started: replicas run and may lead
//	transport   started: peers are found by the address book, which is kept in the store's directory
//	placement   the driver, which works while this node leads the meta range
//	sql, http   last: nobody is let in before there is something to serve
//
// # Stop
//
// The reverse. Drain first hands over what others can do: leaders move away, clients finish their transactions,
// and only then do the parts go. Nodes that are stopped together wait for each other first (stop.go): whoever is left alone cannot finish its
// transactions.
//
// # Invariants
//
//  1. A node belongs to one cluster; its id is allocated once, by a counter in the system keys.
//  2. Whatever was started is stopped, in the reverse order, whether or not the start succeeded.
//  3. /ready says yes only while this node can reach the ranges it needs to serve SQL.
//  4. Without certificates a node listens on loopback only, unless it is told otherwise in so many words. With them every port is TLS.
//  5. What is protected stays readable until its protection expires: no store collects beyond it, whatever it knew
//     when the protection was made.
//
// # Who may use it
//
// cmd/pamir and tests.
package node
