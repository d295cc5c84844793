// Package liveness is the promise between stores on which leadership rests.
//
// There is no lease record. The leader of a range serves reads by itself while
// a quorum of stores has promised not to support anybody else. The promise is one per
// pair of stores, renewed by one heartbeat, whatever the number of ranges.
//
// # The rules
//
// S, R are stores; clocks are hybrid logical clocks; a replica is named by its store.
//
//	R1  S answers R's heartbeat with (e, T): "I support you, under epoch e, until my
//	    clock has passed T". For one e, T only grows.
//	R2  Once S's clock has passed T, S withdraws: epoch e is never extended again, and
//	    a later promise has a larger epoch. S may withdraw earlier if R shows a new
//	    incarnation (R4); a promise is to one incarnation of R, and no other counts on it. Testing whether the promise stands and withdrawing it are one step.
//	R3  When S's replica of a range follows a leader on R at term t, it remembers (R, t, e), e
//	    being the epoch of S's standing support for R. The acknowledgements that it sends to that leader
//	    at term t are stamped with e. While S stands by epoch e, the replica neither votes for nor
//	    campaigns as anybody but that leader's own replica. (The vote gate: it drops
//	    messages, which is always safe in Raft.)
//	R4  Every message carries a clock reading of its sender, and receivers move their clocks past it.
//	    A store that starts waits until its clock has passed every reading of its
//	    predecessor, so a new incarnation's first reading is past all of them.
//	R5  Promises to other stores are covered by a persisted horizon. A store that starts
//	    does not remember whom it followed: it does not vote and does not campaign
//	    until its clock has passed the horizon.
//	R6  The leader of term t on R counts S until T if it holds a promise (e, T) of S and an
//	    acknowledgement of term t stamped e. It counts itself for ever. Its support reaches to
//	    X: the largest time until which a quorum (in a joint configuration: both) counts.
//	R7  The leader serves a read at ts only if ts is at most its clock, and both ts and
//	    its clock, plus the maximum offset, are before X; and only after it has applied an entry of
//	    its own term, with the timestamp cache's floor at its clock at that moment (or with what R9 gives it).
//	R8  A leader that starts a transfer stops serving, for the rest of its term, before TimeoutNow
//	    is sent. Votes that a transfer asks for pass the gate.
//	R9  The last entry of such a term is a hand-over: what was read under this leader and those before it, taken when no
//	    request was being executed any more. A leader whose own first entry comes right after it starts with that
//	    instead of a floor at its clock, and with the locks that were held.
//	R10 A request says which reading of S's clock R has last had from S. If that is older than a promise lasts, S
//	    makes and extends none: R has none that stands, so it does not lead with S's support, and S must not wait for it for ever.
//	R11 R may release a promise (e, T), T being the latest that R knows, at a reading r of its clock with T <= r plus the
//	    maximum offset: it counts on e no more, for ever, and its requests say so, with readings from r on. S then withdraws
//	    at once, and promises nothing before R knows a later reading of S's clock than it did. R does so when it is deaf: it has sent heartbeats in time and has heard nobody
//	    since. Its last promises are useless to it by then (R7), and S may have extended them in vain (R10 is not that quick).
//
// # Why no write slips under a read
//
// Claim: if L led term t and served a read at ts, and L' leads a later term t' and serves, then
// the floor of L' is at or above ts. (So every write of L' is above ts, and
// every earlier write to the range was in the log of L when it read: what it had proposed itself holds latches
// until applied, and R7 put its predecessors' entries below its own first.)
//
// It is enough to show it for the first t' > t at which a leader was elected; later
// ones follow, since each leader's clock has passed its predecessor's floor
// (votes and appends carry readings). L' was elected by a quorum Q'. L served the read
// under support of a quorum Q. They share a store S (see below for changing
// configurations), and S's replica voted for L' at t', after which it acknowledges nothing at
// t. So S's acknowledgement of t, stamped e, came before the vote, and at the vote one of these held:
//
//	a. S is R, L's own store. Then L had ceased to lead before its replica voted; the vote
//	   carries a reading of R's clock after that, which is past ts by R7.
//	b. The gate was open since S no longer stood by e because its clock had passed T. By R6 T >= X for
//	   this quorum, so the vote's reading is past X > ts.
//	c. The gate was open since R showed a new incarnation. By R4 S's clock was then
//	   past every reading of L's process, and so past ts.
//	b'. The gate was open since R had released e (R11), at r. Then X <= T <= r + offset, and by R7 ts + offset < X, so that ts < r, and
//	   S's clock was past r. R has served nothing with S's support at or after r.
//	d. The gate was open since L' is L's own replica (L gave up its term by itself). Its own
//	   clock is past ts.
//	e. S had restarted. It voted after its clock had passed the horizon >= T >= X > ts.
//	f. The vote was asked for by a transfer. The candidate's term follows that of the
//	   leader which sent TimeoutNow. If that is L, then L stopped serving before it sent its clock
//	   with the message (R8), and its clock was past ts. If it is not, there was a leader
//	   between t and t', against our choice of t'.
//
// With a hand-over (R9) L' may write below its clock, but not under a read that L or its predecessors served: the
// timestamp cache knows it. Nobody else served between the two, since a leader serves only after an entry of its
// own term has been applied, which would be in the log of L' between the hand-over and its own first entry. What was closed
// is below the floor that is handed over.
//
// X itself cannot grow after the vote of S: growing needs a promise of S under
// e, which S never extends after it withdrew, or an acknowledgement of t, which it does not send.
//
// Why no stale read: L' commits its first write at a timestamp above its floor >= X in
// case b and e, and a read at ts with ts + offset < X has that write outside
// of its uncertainty window; a clock that could have caused the read after the write
// would have to be off by more than the maximum offset. In the other cases L has stopped.
//
// # Changing configurations
//
// Raft's configurations change when they are applied, one at a time, and neighbours
// have intersecting quorums. A read served under configuration c is exposed to an
// election under a configuration two steps on only if the leader has
// proposed the second step, which it does after it applied the first; the entry that carries it comes
// with a reading of the leader's clock, past every ts served under c, and whoever is elected under the second
// step has that entry, and so that reading.
//
// # Splits
//
// A split is evaluated under a latch over the whole range, held until it is
// applied: no read is served on the right side by a leader that has proposed
// a split and not applied it. The right side's leader has the split, and with it a
// reading of the left leader's clock after the latch was taken. No promise is needed.
//
// # What breaks if clocks do
//
// HLC order alone carries the first claim: skew beyond the bound cannot make a
// write slip under a read. It can make a read stale (see package hlc), and it can make
// promises last longer in real time. A store that finds itself off from most
// of its peers by more than 80 % of the bound fences itself ([Machine.Fenced]), and so does one whose clock has made a
// step, until a peer has been measured again. Readings follow the physical clock no further than the
// ceiling that is on disk, and the ceiling no further than the peers' clocks, once they disagree.
//
// # Who may call
//
// Package store owns the [Machine] and guards it with a mutex; package replica
// asks through an interface. The machine is pure: it is told the time.
package liveness
