package rest

import (
	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// Update is what a heartbeat says of the ranges at rest.
type Update struct {
	// Session is one life of the teller; 0 for no update.
	Session uint64
	// The update leads from the set at Base to that at Number; Base 0 is from nothing.
	Base, Number uint64
	// TS: nothing at or below it will be written in any range of the set.
	TS hlc.Timestamp
	// Rested are ranges of the set, Stirred are not in it (any more).
	Rested  []Range
	Stirred []kv.RangeID
}

// Range is a range at rest: whoever has applied Index has all there is.
type Range struct {
	ID    kv.RangeID
	Index uint64
}

// Ack says up to which number a hearer has heard everything.
type Ack struct{ Session, Number uint64 }

// Teller keeps the set of ranges at rest that a store leads.
type Teller struct {
	session uint64
	in      map[kv.RangeID]uint64 // position of the log
	number  uint64                // of the last change
	log     []kv.RangeID          // what changed, up to number
	acked   map[kv.StoreID]uint64
}

// NewTeller begins a session, which must not be 0 nor any earlier one's.
func NewTeller(session uint64) *Teller {
	// The first number is 1, so that 0 can mean nothing.
	return &Teller{session: session, in: map[kv.RangeID]uint64{}, number: 1, acked: map[kv.StoreID]uint64{}}
}

// minLog: a log that is no longer is not cut on account of those who do not answer.
const minLog = 1024

func (t *Teller) changed(id kv.RangeID) {
	t.number++
	t.log = append(t.log, id)
	if len(t.log) > 2*(minLog+len(t.in)) {
		// To tell the whole set is no more than that.
		t.log = append(t.log[:0], t.log[len(t.log)/2:]...)
	}
}

// Join puts a range into the set.
func (t *Teller) Join(id kv.RangeID, index uint64) {
	t.in[id] = index
	t.changed(id)
}

// Leave takes it out.
func (t *Teller) Leave(id kv.RangeID) {
	if _, ok := t.in[id]; ok {
		delete(t.in, id)
		t.changed(id)
	}
}

// Len returns the size of the set.
func (t *Teller) Len() int { return len(t.in) }

// Each calls f for the ranges of the set, which f may change.
func (t *Teller) Each(f func(id kv.RangeID)) {
	for id := range t.in {
		f(id)
	}
}

// Tell returns what a store must hear for ts to hold for it. Ranges of which it has no replica (there says so) are left out.
func (t *Teller) Tell(to kv.StoreID, ts hlc.Timestamp, there func(kv.RangeID) bool) Update {
	u := Update{Session: t.session, Number: t.number, TS: ts}
	first := t.number - uint64(len(t.log)) // the number before the log
	if from := t.acked[to]; from > 0 && from >= first {
		u.Base = from
		for _, id := range t.log[from-first:] {
			if index, ok := t.in[id]; !ok {
				u.Stirred = append(u.Stirred, id) // even if it has no replica now: it may have had one
			} else if there(id) {
				u.Rested = append(u.Rested, Range{id, index})
			}
		}
		return u
	}
	for id, index := range t.in {
		if there(id) {
			u.Rested = append(u.Rested, Range{id, index})
		}
	}
	return u
}

// Acked is told what a store has answered.
func (t *Teller) Acked(from kv.StoreID, a Ack) {
	if a.Session == t.session && a.Number <= t.number {
		t.acked[from] = a.Number
	}
}

// Trim forgets what all of these stores, the only ones that are told anything, have heard.
func (t *Teller) Trim(peers []kv.StoreID) {
	low := t.number
	for _, s := range peers {
		if a := t.acked[s]; a > 0 {
			low = min(low, a)
		}
	}
	first := t.number - uint64(len(t.log))
	if low <= first {
		return
	}
	rest := copy(t.log, t.log[low-first:])
	if t.log = t.log[:rest]; rest == 0 && cap(t.log) > minLog {
		t.log = nil
	}
}
