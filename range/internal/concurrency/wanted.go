package concurrency

import (
	"context"
	"sync"

	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/kv"
)

// A gateway that has answered a commit over several ranges has time: it writes down that it has happened, and has the locks turned into versions, a few
// milliseconds later, together with others. Unless somebody wants one of the keys. If that is known when the prepared lock is laid, the answer to the
// Prepare says so (Wanted). Who comes later asks the gateway, at once and once for a lock. Who wants to lock or to write has the transaction finished
// by that. For who reads the answer is enough if it has committed: he reads through its locks as they are.

// asked says what a gateway has been asked since a prepared lock was laid.
type asked uint8

const (
	askedNothing asked = iota
	askedOutcome       // what becomes of the transaction
	askedToHurry       // to finish it; or it knows that it is to
)

// Wanted reports whether somebody waits for one of the locks that were just laid, or is likely to.
func (t *Table) Wanted(ps []eval.PreparedLock) (wanted bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range ps {
		kl := t.locks[string(ps[i].Key)]
		if kl != nil && len(kl.queue)+len(kl.readers) > 0 || t.deferred != nil && t.deferred.isHot(ps[i].Key) {
			wanted = true
			break
		}
	}
	if !wanted {
		return false
	}
	for i := range ps {
		if kl := t.locks[string(ps[i].Key)]; kl != nil {
			if h := kl.find(ps[i].Txn.ID); h != nil {
				h.asked = askedToHurry
			}
		}
	}
	return true
}

// unasked are the holders of prepared locks that a guard waits for and whose gateways do not know that yet.
type unasked struct {
	holders []kv.TxnMeta
	hurry   bool
}

// unasked returns those that stand in the way of the waiter's guard, for it to ask. For who comes next they count as asked.
func (t *Table) unasked(w *waiter) (u unasked) {
	want := askedOutcome
	if w.strength != kv.LockNone || !onlyReads(w.guard.req) {
		want, u.hurry = askedToHurry, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var seen map[kv.TxnID]struct{}
	for _, w := range w.guard.waiters {
		if w.kl == nil || w.granted {
			continue
		}
		for i := range w.kl.holders {
			h := &w.kl.holders[i]
			if !h.replicated || h.asked >= want || h.txn.ID == w.id() || !w.holder.IsZero() && h.txn.ID != w.holder {
				continue
			}
			h.asked = want
			if _, ok := seen[h.txn.ID]; ok || t.deferred.of(h.txn.ID) != nil {
				continue // it is being finished
			}
			if seen == nil {
				seen = make(map[kv.TxnID]struct{})
			}
			seen[h.txn.ID] = struct{}{}
			u.holders = append(u.holders, *h.txn)
		}
	}
	return u
}

// onlyReads reports whether the batch needs no more of a lock than to know what becomes of it.
func onlyReads(req *kv.BatchRequest) bool {
	for _, r := range req.Requests {
		switch r := r.(type) {
		case *kv.Get:
			if r.Lock != kv.LockNone {
				return false
			}
		case *kv.Scan:
			if r.Lock != kv.LockNone {
				return false
			}
		case *kv.Refresh:
		default:
			return false
		}
	}
	return true
}

// askAll asks the gateways of all of them, and learns from what they say. Who does not answer is asked again by who waits.
func (t *Table) askAll(ctx context.Context, u unasked) {
	ask := func(m *kv.TxnMeta) {
		t.cfg.Metrics.Pushes.Add(1)
		if !u.hurry {
			if st, err := t.cfg.questions.ask(ctx, t, m); err == nil {
				t.note(m.ID, st)
			}
		} else if st, err := t.query(ctx, m, true); err == nil {
			t.silent.answered(m.Gateway)
			t.note(m.ID, st)
		}
	}
	var wg sync.WaitGroup
	for i := 1; i < len(u.holders); i++ {
		wg.Go(func() { ask(&u.holders[i]) })
	}
	ask(&u.holders[0])
	wg.Wait()
}
