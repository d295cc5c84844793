// Command plot runs the planner against large models of clusters (package simulate), prints what happens as tables, and draws it.
//
//	go run ./placement/simulate/plot -out bin/simulate     # make simulate
package main
