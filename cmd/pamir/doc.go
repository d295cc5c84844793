// Command pamir is the whole database in one binary.
//
//	pamir start     run a node
//	pamir demo      run a cluster in this process, with sample data, and open a shell
//	pamir cert      make the certificates of a cluster, its nodes and its users
//	pamir cluster, node, range, placement, operation
//	                look at a cluster and change it, over the HTTP API of a node (made from the table of package verb)
//	pamir debug     look at stopped stores, and recover from the loss of a majority
//	pamir version   say which build this is
//
// It holds flags and wiring only; package internal/node is what a node does.
package main
