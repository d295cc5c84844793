// Package tscache remembers, for one range, the highest timestamp at which each
// key was read, so that no later write slips under a read.
//
// # What it is for
//
// A read at ts of a key promises that what it saw stays true at ts: no version may
// appear at or below ts afterwards. The leader keeps that promise by asking the
// [Cache] before it places a write, and placing it above the answer.
//
// # What it is not
//
// It is not exact and not durable. It may only ever answer too high, never too
// low: an answer that is too high costs a refresh, one that is too low costs serializability. A new leader
// starts with a floor at its own clock (New, SetFloor), which covers every read that its
// predecessors served; or with what its predecessor says of them (Summarize, Learn), if that leader handed over in
// good order and nobody led in between.
//
// # How
//
// Points are kept by a 64-bit hash of the key (a collision answers too high, which is allowed, and
// nothing need be allocated for a key). Spans are kept as a tree of disjoint segments. Both
// live in pages; when the newest page is full, the oldest is dropped and the floor
// raised to the highest timestamp in it: memory is bounded, and the answer still is never too low.
//
// # Invariants
//
//  1. Get(s, t) >= every ts that was Added for a span overlapping s, except those
//     Added by t alone at the highest such ts; for those it is >= ts.Prev().
//  2. The floor never moves down.
//  3. At most two pages of Limits entries exist.
//  4. A cache that has learned a summary answers no lower than the one that was summarized.
//
// Only packages replica and eval (through eval.TimestampCache) use it. It is safe for concurrent use.
package tscache
