// Command pamir is the whole database in one binary.
//
//	pamir start     run a node
//	pamir demo      run a cluster in this process, with sample data, and open a shell
//	pamir version   say which build this is
//
// It holds flags and wiring only; package internal/node is what a node does.
package main
