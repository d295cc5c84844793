// Package scheduler shares a few goroutines among the many ranges of a store.
//
// # What it is for
//
// A [Scheduler] has a queue of items (ranges) that have something to do. A worker takes
// everything that is queued, up to a limit (which grows with the queue), and processes it as one batch, so that one fsync
// serves all of them; while it waits for the disk, another worker takes what has
// arrived since. A caller whose item is idle may run it itself ([Scheduler.Run]), which saves two switches
// of goroutine in a store with little load. [Scheduler.SignalAll] is for those that have all been given something at the same time, as by one message from another store. [Scheduler.Gather] is for items that come several at a time: the ranges of one transaction's commit.
//
// # What it is not
//
// It knows nothing of Raft or disks: package replica's processor does the work.
//
// # Invariants
//
//  1. An item is processed by one goroutine at a time.
//  2. Whatever was signalled before or during a processing is seen by that processing or by a later one.
//  3. The queue holds an item once; its length is bounded by the number of items.
//  4. Close returns after every worker and every Run has returned; nothing is processed afterwards.
package scheduler
