// Package simulate runs the planner of package placement against a model of a cluster: stores with disks and
// bandwidth, ranges with sizes, load and clients, replica changes that take time and can fail, stores that die and
// come back. Time is the model's own, and everything random comes from a seed, so a story runs the same every time.
//
// The golden files in testdata are such stories. Package plot, next to this one, runs larger ones and draws them (make simulate).
//
// # What it is not
//
// It models no consensus and no network: a range whose quorum lives has a leader after 1.5 s, and a change of replicas
// takes as long as its bytes at the bandwidth of the slower side. What it finds is about the planner's decisions: that they end, what they
// cost, and what is left.
//
// # Invariants
//
//  1. A change takes effect only if the range is still at the generation it was planned for.
//  2. The model checks after every step that no range has two replicas on one store, and that no
//     operator has cost a range its quorum of live replicas.
package simulate
