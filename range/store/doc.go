// Package store is one directory of ranges on one node: it holds the replicas
// that live there, runs their Raft groups, and answers requests to them.
//
// # What it is for
//
// [Open] opens the directory, [Store.Bootstrap] or [Store.Join] gives it an
// identity, [Store.Start] starts it. [Store.Send] executes a batch on one of its ranges.
// What other stores send arrives by HandleRaftMessages, HandleHeartbeat and HandleSnapshot; what
// this store sends leaves through the [Transport] it was given.
//
// # What it is not
//
// It finds no ranges for anybody (range/routing), has no sockets
// (range/transport), and decides nothing about placement: it carries out transfers and
// replica changes when asked. Splits it also decides on (package sizing).
//
// # Invariants
//
//  1. A store belongs to one cluster and has one id, for ever.
//  2. What Send acknowledged is on the disks of a quorum.
//  3. No two initialised replicas of a store overlap, but for a frozen one and the one that has absorbed it by a snapshot.
//  4. A store serves nothing at a clock below one it served before it was
//     restarted: the clock's ceiling is persisted ahead of its readings and waited out. What is on disk of it, and of the horizon of promises, never goes back.
//  5. Every goroutine that the store starts has ended when Close returns.
//  6. A disk error stops the store for good (it fails every request from then
//     on); an inconsistency inside a range stops that replica only. Both are loud.
//  7. What becomes of another store wakes ranges at rest a bounded number at a time, and so does the start of this one; one that is asked for something does not wait.
//  8. No change of replicas is begun that a majority of the voters to be does not support, or that most of them are too far behind for: it could neither
//     end nor be taken back, for good or until they have caught up.
//  9. While others want something of the store, one piece of large transactions at a time is on its way into a range, and none keeps the others out for longer than
//     a quarter of a second.
//  10. A replica rests, for as long as its leader's store lives, only on being told that its range does:
//     one that its range has left behind goes on asking until it is told that it was removed, or that the range is no more.
package store
