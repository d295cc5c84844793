package concurrency

import (
	"slices"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Rows that many transactions write one after the other would have no use of resolutions that wait for another write: each would meet the lock of the one before, and
// urge its resolution on, an entry of its own. So the lock that a deferred resolution is about to turn into a version is left behind: it is in nobody's way. Who locks the
// row reads it as the version that it is as good as, and whoever writes it takes the resolution along, evaluated before his own write, in one entry
// (TakeUnder). The record says COMMITTED by then (that is when resolutions come), so that nothing depends on the lock's being there.
//
// Only those pass who evaluate so: locking Gets, Prepare and CommitSingleRange. Whoever else meets such a lock on disk has it stand again (stands), urges its resolution on
// and waits, as does a write that could not take it along. Nothing is lost with a mark: a lock that stands is one that is waited for.

// passes reports whether the request is one that locks left behind are not in the way of.
func passes(req *kv.BatchRequest) bool {
	for _, r := range req.Requests {
		switch r := r.(type) {
		case *kv.Get, *kv.CommitSingleRange, *kv.StageTxn:
		case *kv.Prepare:
			if len(r.Seqs) > 0 {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// awaitedFirmly reports whether somebody waits for the key who does not pass. t.mu is held.
func (kl *keyLock) awaitedFirmly() bool {
	return slices.ContainsFunc(kl.queue, func(w *waiter) bool { return !passes(w.guard.req) })
}

// leaveBehind marks the locks that d is about, and lets those go on who wait for them. t.mu is held.
func (t *Table) leaveBehind(d *Deferred) {
	for _, k := range d.keys() {
		if kl := t.locks[string(k)]; kl != nil {
			if h := kl.find(d.id); h != nil && h.replicated {
				h.left = true
				t.grant(kl)
			}
		}
	}
}

// pickUp is the reverse, of those that are still there. t.mu is held.
func (t *Table) pickUp(d *Deferred) {
	for _, k := range d.keys() {
		if kl := t.locks[string(k)]; kl != nil {
			if h := kl.find(d.id); h != nil {
				h.left = false
			}
		}
	}
}

func (d *Deferred) keys() []keys.Key { return d.Req.Requests[0].(*kv.ResolveLocks).Keys }

// stands has what an evaluation met be waited for.
func (t *Table) stands(ce *eval.ConflictError) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.deferred == nil {
		return
	}
	for i := range ce.Conflicts {
		c := &ce.Conflicts[i]
		if kl := t.locks[string(c.Key)]; kl != nil && c.Replicated && c.Want != kv.LockNone {
			if h := kl.find(c.Holder.ID); h != nil {
				h.left = false
			}
		}
	}
}

// Left implements eval.Locks.
func (t *Table) Left(id kv.TxnID) (hlc.Timestamp, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d := t.deferred.of(id); d != nil {
		return d.ts, true
	}
	return hlc.Timestamp{}, false
}

// maxUnder bounds the keys of a write that takes along what is left behind under them.
const maxUnder = 64

// TakeUnder is TakeDeferred for those that have left locks behind where a request writes. Its guard holds the latches.
func (t *Table) TakeUnder(writes []kv.Write) (out []*Deferred) {
	if len(writes) > maxUnder {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.deferred
	if q == nil || len(q.waiting) == 0 {
		return nil
	}
	for i := range writes {
		kl := t.locks[string(writes[i].Key)]
		if kl == nil {
			continue
		}
		for j := range kl.holders {
			h := &kl.holders[j]
			if d := q.known[h.txn.ID]; h.left && d != nil && d.state == deferredWaits {
				q.unlist(d)
				d.state = deferredTaken
				out = append(out, d)
			}
		}
	}
	return out
}

// SequenceUnder is TrySequence for one of them, beside the guard of that request. It needs latches of its own: the request's let those pass who read before the time that it
// writes at, and they may read what the resolution writes. Who waits for the request's latches waits for these as well.
func (t *Table) SequenceUnder(above *Guard, req *kv.BatchRequest, want []eval.Latch) *Guard {
	g := &Guard{t: t, req: req, want: want}
	if above.set == nil || !t.latches.tryBeside(&g.first, want, above.set) {
		return nil
	}
	g.set = &g.first
	return g
}
