// Package pacing decides how fast a store does what few wait for, as fast as its other clients do not notice: snapshots, what large transactions write, and
// the resolution of their locks.
//
// # What it is for
//
// [Controller] is told every tenth of a second how late the latest of goroutines were that wanted to wake up, and how long syncs of the log took. Both are what a
// client's request waits for as well, whoever is to blame: this process, another one on the machine, or the disk. It compares them with the least that it
// has seen lately, and lowers the rate by a share when they are far above, or raises it a step at a time. So such work takes what is left over, there is no
// knob to set, and an idle cluster moves replicas as fast as its machines can. [Pacer] spreads what is done over time at that rate, in units of the user's
// choice: bytes, or nanoseconds of work. Package store has one controller for each kind of work, takes the readings, and owns the goroutine; the receiver
// of a snapshot paces itself as well, and the stream's flow control tells the sender.
//
// Urgent work, such as the snapshots that make a range whole again, finds its rate in a second, and goes on until clients would notice it. Gentle work
// (Settings.Gentle), such as those for balance, gropes its way: it grows by a twentieth at a time, from the least, and stops at three fifths of that.
// The readings are coarse, and what is too fast for a second is what the slowest of a hundred requests meet.
//
// # What it is not
//
// It does not know how much work there is, nor what happens if it stays undone: how many snapshots there are at once is placement's, and the store's
// slots.
//
// # Invariants
//
//  1. The rate is between Settings.Least and Settings.Most. So the work ends, however busy the store is.
//  2. The rate is raised only if it was made use of.
//  3. What was the least delay half a minute ago counts no more: a machine that has become slower for good does not hold work up for ever.
//  4. No clock, no goroutine in Controller: the same readings give the same rates.
//  5. What nobody can notice (Reading.Alone) does not lower the rate.
//  6. With the same readings, of work that makes use of its rate, gentle work goes no faster than urgent work.
package pacing
