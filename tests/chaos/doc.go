// Package chaos runs transactions at every isolation level against real processes while these are killed, stopped, cut off from each
// other, and while their clocks jump, leaders move and ranges split and merge; and then has tests/checkers judge what the clients were told.
//
// A run is a sequence of rounds on one cluster. In a round all workloads run at once, on keys of their own, and one fault follows the
// other, each healed before the next. Then everything is healed, the workloads stop, every list and set is
// read, every commit without an answer is looked up, and the histories, the replicas' checksums and the processes themselves are judged.
//
//	go test ./tests/chaos                       one round, a minute
//	go test ./tests/chaos -v -duration 1h       rounds for an hour ("make chaos")
//	    -faults kill,isolate                    only these
//	    -dump DIR                               where to write what the nodes say while a client is stuck
//
// # What is judged
//
//  1. No anomaly beyond what the level allows (checkers.Allowed).
//  2. What was acknowledged is there, what failed is not; every commit without an answer is found out to be the one or the other.
//  3. The replicas of every range agree.
//  4. No process ends by itself, and none panics.
//
// Stalls, errors by SQLSTATE and faults by kind are reported, not judged: the machine may be busy with other things.
//
// Tests only; nobody imports it.
package chaos
