// Package placement decides where replicas and leaders should be.
//
// [Plan] is a pure function: a snapshot of the cluster and rules in, operators out. Every operator
// says why, and which stores were considered and refused.
//
// # What it is not
//
// It talks to nobody and remembers nothing: internal/node collects snapshots, calls Plan on the node
// that leads the meta range, and carries the operators out. It imports nothing of Pamir.
//
// # Invariants
//
//  1. Determinism: the same snapshot and rules give the same operators.
//  2. Quiescence: a snapshot in which everything is in place and within the
//     bounds of hysteresis gives none, and carrying out a plan leads there.
//  3. No operator takes a range below a quorum of live replicas.
//  4. Two replicas of a range share a failure domain only if no store elsewhere is free.
//  5. An operator names the generation it was made for; whoever carries it out
//     refuses it if the range has changed, so a late or repeated operator does nothing.
package placement
