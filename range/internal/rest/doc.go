// Package rest tells followers what is closed in ranges at rest, for all of them with one timestamp.
//
// # What it is for
//
// A follower answers a read at ts if it knows that no write at or below ts will follow what it has applied. In a range that is
// written, the log carries such timestamps. In one that is not, somebody has to say so again and again; with ten thousand
// of them that must not cost ten thousand of anything.
//
// A range at rest is one that is led, quiet, and written by nobody. The [Teller] of its leader's store keeps the set of them. With
// each heartbeat to another store it says what has changed in the set, and one timestamp at or below which
// nothing will be written in any range of the set. The [Hearer] over there keeps the timestamp in a [Coverage], and each replica
// has a pointer to it: a heartbeat moves them all.
//
// # What it is not
//
// It does not know who may lead, nor until when: package store lets a range be in the set only while its leader's support
// outlasts the timestamp, and takes it out before anything is written.
//
// # How nothing is missed
//
// Heartbeats get lost. Every change of the set has a number; the hearer answers with that up to which it has heard all, and the teller
// tells what came after that (again, if need be). A hearer that was restarted says 0, and is told the whole set. A session is one life of
// the teller. What was told remains true for ever, so a Coverage that is left behind does no harm: it only stays where it is.
//
// # Invariants
//
//  1. A Coverage moves to ts only for replicas whose range was in the set when ts was told, at the position that was told with it.
//  2. A range that has left the set is covered up to what was told before, whatever is told later.
//  3. An update says all that has changed between its two numbers, or the whole set.
//  4. Nothing is kept for a store that does not answer beyond the set itself: it is told the whole set when it is back.
//
// Only package store uses it. Teller and Hearer are pure and not safe for concurrent use; a Coverage is.
package rest
