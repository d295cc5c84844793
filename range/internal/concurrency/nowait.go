package concurrency

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A commit over several ranges is acknowledged before its prepared locks have become versions. Who comes after that acknowledgement and does not
// want to wait must not be told that the row is locked: the lock is nobody's any more. So NOWAIT and SKIP LOCKED ask the holder's gateway, which
// is a message and no wait. If the holder has committed, they wait for the lock as a plain read does: it is going.

// askAfter finds out which of the holders of these prepared locks have committed, waits until their locks are gone, and notes the others
// (Undecided). Then it latches again.
func (g *Guard) askAfter(ctx context.Context, ce *eval.ConflictError) error {
	t := g.t
	type place struct {
		c *eval.Conflict
		w *waiter
	}
	var places []place
	t.mu.Lock()
	if t.closed != nil {
		err := t.closed
		t.mu.Unlock()
		return err
	}
	for i := range ce.Conflicts {
		c := &ce.Conflicts[i]
		if _, ok := g.undecided[c.Holder.ID]; ok || !c.Replicated {
			continue
		}
		t.prepared(c.Key, &c.Holder, c.TS)
		kl := t.locks[string(c.Key)]
		t.urge(kl, g.req)
		if h := kl.find(c.Holder.ID); h != nil {
			h.asked = askedToHurry // just below
		}
		places = append(places, place{c, g.joinReaders(kl, c.Holder.ID)})
	}
	t.mu.Unlock()
	g.unlatch()
	for _, p := range places {
		if !g.committed(ctx, p.c) {
			if err := ctx.Err(); err != nil {
				return ctxError(err)
			}
			if g.undecided == nil {
				g.undecided = map[kv.TxnID]struct{}{}
			}
			g.undecided[p.c.Holder.ID] = struct{}{}
			continue
		}
		if err := g.wait(ctx, p.w); err != nil {
			return err
		}
	}
	return g.enter(ctx)
}

// A lock in memory is released in the background when its transaction has ended without writing there, and whoever comes between the answer to that
// client and the release would leave the row out: a worker would find no job although the one who had it is done. So SKIP LOCKED asks there, too,
// all holders that it met at once. A gateway that is near answers, however busy the machines are; the row of one that does not within Config.DeadAfter is left out, since it may only be slow. One that is far away is
// asked for askFor only: it cannot have told anybody of the end of a transaction much before it told this range.
const (
	askFor = 20 * time.Millisecond
	// askAgain is for how long a gateway that is far away, and has not answered in time, is not asked any more.
	askAgain = time.Second
	// maxAsks is how often one request asks, so that many workers do not ask each other for longer than they work.
	maxAsks = 2
)

// MayAsk reports whether SKIP LOCKED shall ask after the holders of locks in memory, by Ask.
func (g *Guard) MayAsk() bool {
	return g.req.Wait == kv.WaitSkip && g.asked < maxAsks && g.t.cfg.Holders != nil
}

// Ask asks whether the holders of locks in memory have ended. The locks of those who have go, the others are Undecided. Then it latches again.
func (g *Guard) Ask(ctx context.Context, ae *eval.AskError) error {
	g.asked++
	g.unlatch()
	over := make([]bool, len(ae.Holders))
	ask := func(i int) { over[i] = g.t.over(ctx, &ae.Holders[i]) }
	var wg sync.WaitGroup
	for i := 1; i < len(over); i++ {
		wg.Go(func() { ask(i) })
	}
	ask(0)
	wg.Wait()
	if err := ctx.Err(); err != nil {
		return ctxError(err)
	}
	if g.undecided == nil {
		g.undecided = map[kv.TxnID]struct{}{}
	}
	for i, h := range ae.Holders {
		if !over[i] {
			g.undecided[h.ID] = struct{}{}
		} else if err := g.t.ReleaseTxn(h.ID, nil); err != nil {
			return err
		}
	}
	return g.enter(ctx)
}

// over reports whether the transaction's gateway says that it has ended, or is only being finished after its client was told, or whether that gateway is known to be
// dead. One that has not answered for long may be slow only, and to let go of its locks for SKIP LOCKED would have two do the same work.
func (t *Table) over(ctx context.Context, m *kv.TxnMeta) bool {
	var st HolderState
	if t.cfg.Near == nil || t.cfg.Near(m.Gateway) {
		var ok, answered bool
		if st, answered, ok = t.insist(ctx, m, false); !ok || !answered {
			return false
		}
	} else {
		if t.silent.slow(m.Gateway) {
			return false
		}
		short, cancel := context.WithTimeout(ctx, askFor)
		defer cancel()
		var err error
		if st, err = t.query(short, m, false); err != nil {
			if ctx.Err() == nil {
				t.silent.late(m.Gateway)
			}
			return false
		}
	}
	return !st.Alive || st.Status == kv.TxnStaging || st.Status == kv.TxnCommitted || st.Status == kv.TxnAborted
}

// insist asks the transaction's gateway until it answers, or has been out of reach for so long that the transaction counts as gone (Alive false). ok is false if ctx has ended.
func (t *Table) insist(ctx context.Context, m *kv.TxnMeta, hurry bool) (st HolderState, answered, ok bool) {
	for {
		asked := time.Now()
		st, err := t.query(ctx, m, hurry)
		if err == nil {
			t.silent.answered(m.Gateway)
			return st, true, true
		}
		if t.silent.tooLong(m.Gateway, asked, time.Now(), t.cfg.DeadAfter) {
			return HolderState{}, false, true
		}
		select { // a second, at most
		case <-time.After(t.cfg.PushDelay):
		case <-ctx.Done():
			return HolderState{}, false, false
		}
	}
}

// noWait is the answer to NOWAIT, or to a SKIP that was not skipped, at a lock in memory: nil if all who block have ended, so that it gets its turn. Their
// locks are on their way out: released in the background, or after a change of leader that took them along when they were prepared already.
func (g *Guard) noWait(ctx context.Context, w *waiter) error {
	bs, key := g.t.blockersOf(w)
	for _, b := range bs {
		if b.waiting || !g.committed(ctx, &eval.Conflict{Key: key, Holder: *b.txn, Replicated: b.replicated}) {
			if err := ctx.Err(); err != nil {
				return ctxError(err)
			}
			e := kv.Errorf(kv.CodeLockNotAvailable, "could not obtain lock on row")
			e.Key = key
			return e
		}
	}
	return nil
}

// committed reports whether the lock's transaction has ended, or will be found to have. Then the lock goes without the holder's doing.
func (g *Guard) committed(ctx context.Context, c *eval.Conflict) bool {
	t := g.t
	if _, ok := g.undecided[c.Holder.ID]; ok {
		return false
	}
	t.mu.Lock()
	known := t.known(c.Holder.ID).status != kv.TxnUnknown
	t.mu.Unlock()
	if known || t.cfg.Holders == nil {
		return known
	}
	st, _, ok := t.insist(ctx, &c.Holder, true)
	if !ok {
		return false
	}
	if st.Alive {
		// STAGING: the client has been told, or is being told, that it is committed.
		return st.Status == kv.TxnStaging || st.Status == kv.TxnCommitted || st.Status == kv.TxnAborted
	}
	// Over, and the lock is going, or its gateway is gone and it has to be settled.
	return t.settle(ctx, c.Key, blocker{txn: &c.Holder, replicated: c.Replicated}, st) == nil
}

// preparedByOther reports whether there is a prepared lock of somebody else on the key. Table.mu is held.
func (kl *keyLock) preparedByOther(id kv.TxnID) bool {
	if kl == nil {
		return false
	}
	for i := range kl.holders {
		if h := &kl.holders[i]; h.replicated && !h.left && h.txn.ID != id {
			return true
		}
	}
	return false
}

// Blocker implements eval.Locks.
func (t *Table) Blocker(txn *kv.TxnMeta, key keys.Key, s kv.LockStrength) (*kv.TxnMeta, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	kl := t.locks[string(key)]
	if kl == nil {
		return nil, true
	}
	return kl.blocker(txn.ID, s)
}

// blocker returns the first who stands between the transaction and a lock, ok if nobody does.
func (kl *keyLock) blocker(id kv.TxnID, s kv.LockStrength) (other *kv.TxnMeta, ok bool) {
	ok = true
	kl.blockers(id, s, nil, func(b blocker) bool {
		// A reservation of ours stands before whoever queued later.
		if b.waiting && kl.reserved(id, s) {
			return true
		}
		if other, ok = b.txn, false; other == nil {
			other = &noTxn
		}
		return false
	})
	return other, ok
}
