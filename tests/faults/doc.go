// Package faults drives TPC-B at a cluster of real processes while they are killed, paused and
// restarted, and then counts: money, rows, acknowledgements.
//
// The load is pgbench's TPC-B transaction with one difference: the filler of the history row
// carries a mark that names the transaction, so every commit whose answer was lost can be looked up afterwards.
//
// What must hold when the load has stopped and all nodes are back:
//
//  1. sum(abalance) = sum(tbalance) = sum(bbalance) = sum(delta);
//  2. every acknowledged transaction has exactly one history row;
//  3. every history row is of an acknowledged or of an unknown transaction, never of one
//     that was reported as failed;
//  4. the replicas of every range have the same checksum.
package faults
