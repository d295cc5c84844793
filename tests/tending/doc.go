// Package tending shows, with real processes and tables of what was measured, that ranges look after themselves: they split, merge,
// move and are led by others while clients go on.
//
//	make tending                                        every step, at full size: half an hour
//	make tending TENDINGFLAGS="-steps hot,faults"       only these
//	make tending TENDINGFLAGS="-mb 128 -repeat 1 ..."   smaller
//	go test ./tests/tending                             churn alone, for three quarters of a minute
//
// The steps:
//
//	load          COPY into one table of three nodes, which splits by itself; two nodes join, and a point-read load is watched
//	              until replicas and bytes are even
//	delete        19 of 20 rows of it go: the ranges merge
//	hot           one range under 32 clients splits by load, and its halves are led by different nodes
//	faults        100 connections while the node that leads most is killed, stopped, cut off or has a slow disk: how long the unluckiest waits
//	decommission  a node is emptied under load: the estimate beside what it took, errors of clients
//	churn         a split, merge, move or transfer every second, nodes join and leave, under the workloads and checkers of tests/chaos
//
// A step fails if what it shows is not so: a range lost, an anomaly, an error that a client should not see, something that does not come to rest. How
// long things take is printed and not judged: the machine may be busy with other things.
//
// Tests only; nobody imports it.
package tending
