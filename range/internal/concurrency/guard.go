package concurrency

import (
	"context"
	"errors"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Guard is one request's permission to run. It is used by one goroutine.
type Guard struct {
	t       *Table
	req     *kv.BatchRequest
	want    []eval.Latch
	set     *latchSet // nil while waiting for locks
	first   latchSet  // the first of them: most requests latch once
	waiters []*waiter // places in queues, kept until Finish
	// undecided: see Undecided.
	undecided map[kv.TxnID]struct{}
	asked     int // times: see MayAsk
	// clearedAt and clearedOf are where ClearEnded was of use last, pieces how many it was ready to do then.
	clearedAt keys.Key
	clearedOf kv.TxnID
	pieces    int
	// uncleared is how often ClearEnded could do nothing.
	uncleared int
	// untold are the holders of open locks whose gateways have not said enough when they were asked: see passOpen.
	untold map[kv.TxnID]struct{}
}

// Undecided are the transactions whose prepared locks a NOWAIT or SKIP LOCKED request has met, and which had not committed when it asked.
func (g *Guard) Undecided() map[kv.TxnID]struct{} { return g.undecided }

// Sequence takes the latches and waits for the locks that the request is known to
// conflict with. On success the caller evaluates, and calls Finish when the effects are applied or dropped.
// The latches slice is kept until Finish.
func (t *Table) Sequence(ctx context.Context, req *kv.BatchRequest, latches []eval.Latch) (*Guard, error) {
	g := &Guard{t: t, req: req, want: latches}
	if err := g.enter(ctx); err != nil {
		g.Finish()
		return nil, err
	}
	return g, nil
}

// Finish releases the latches and gives up the places in queues. It may be called twice.
func (g *Guard) Finish() {
	g.unlatch()
	if len(g.waiters) > 0 {
		g.t.mu.Lock()
		for _, w := range g.waiters {
			g.t.leave(w)
		}
		g.t.mu.Unlock()
		g.waiters = nil
	}
}

func (g *Guard) unlatch() {
	if g.set != nil {
		g.t.latches.release(g.set)
		g.set = nil
	}
}

// enter latches, and again after every wait for a lock, until the way is free.
func (g *Guard) enter(ctx context.Context) error {
	for {
		set := &g.first
		if set.items != nil {
			set = &latchSet{} // others may still look at the one released
		}
		if err := g.t.latches.acquire(ctx, set, g.want); err != nil {
			return ctxError(err)
		}
		g.set = set
		w, err := g.firstBlocked()
		if err != nil {
			return err
		}
		if w == nil {
			return nil
		}
		g.unlatch()
		if err := g.wait(ctx, w); err != nil {
			return err
		}
	}
}

// HandleConflict takes over after an evaluation met locks: it records those found on disk, gives up the latches,
// waits for the locks and latches again. Then evaluate again. After an error call Finish.
func (g *Guard) HandleConflict(ctx context.Context, ce *eval.ConflictError) error {
	t := g.t
	t.stands(ce)
	if g.req.Wait != kv.WaitBlock && ce.Conflicts[0].Replicated && ce.Conflicts[0].Want != kv.LockNone {
		return g.askAfter(ctx, ce)
	}
	if asked, err := g.passOpen(ctx, ce); err != nil {
		return err
	} else if asked {
		return g.enter(ctx)
	}
	var queue []*waiter
	t.mu.Lock()
	if t.closed != nil {
		err := t.closed
		t.mu.Unlock()
		return err
	}
	for i := range ce.Conflicts {
		c := &ce.Conflicts[i]
		if c.Replicated && c.Want == kv.LockNone && t.tells(c.Holder.ID, c.At) {
			continue // it need not wait for this one any more
		}
		if c.Replicated {
			t.prepared(c.Key, &c.Holder, c.TS)
		}
		kl := t.locks[string(c.Key)]
		if kl == nil {
			continue // gone already
		}
		if c.Want == kv.LockNone {
			queue = append(queue, g.joinReaders(kl, c.Holder.ID))
			continue
		}
		if g.claims(c.Key) {
			if w := g.joinPrepared(kl); w != nil {
				queue = append(queue, w)
			}
			continue
		}
		if w := g.join(kl, c.Want, false); w != nil {
			queue = append(queue, w)
		}
	}
	t.mu.Unlock()
	g.unlatch()
	for _, w := range queue {
		if err := g.wait(ctx, w); err != nil {
			return err
		}
	}
	return g.enter(ctx)
}

// passOpen asks at once, and not only when the wait has lasted, after the holders of open locks that a plain read met: they may
// run for long, and nearly always let it pass. Where it asks it gives the latches up, and says so: what was met may be gone by
// then, or belong to another range, and must not be recorded.
func (g *Guard) passOpen(ctx context.Context, ce *eval.ConflictError) (asked bool, err error) {
	t := g.t
	for i := range ce.Conflicts {
		c := &ce.Conflicts[i]
		if !c.Open || c.Want != kv.LockNone {
			continue
		}
		if _, ok := g.untold[c.Holder.ID]; ok {
			continue
		}
		t.mu.Lock()
		tells := t.tells(c.Holder.ID, c.At)
		t.mu.Unlock()
		if tells {
			continue
		}
		g.unlatch()
		asked = true
		if !t.askOpen(ctx, &c.Holder, c.At) {
			if g.untold == nil {
				g.untold = map[kv.TxnID]struct{}{}
			}
			g.untold[c.Holder.ID] = struct{}{}
		}
		if err := ctx.Err(); err != nil {
			return true, ctxError(err)
		}
	}
	return asked, nil
}

// firstBlocked finds the first key of the request that a known lock blocks, and joins its queue. It returns nil if
// there is none. The latches are held.
func (g *Guard) firstBlocked() (*waiter, error) {
	t := g.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil {
		return nil, t.closed
	}
	if len(t.locks) == 0 {
		return nil, nil
	}
	for _, r := range g.req.Requests {
		switch r := r.(type) {
		case *kv.Get:
			if r.Lock != kv.LockNone {
				if g.req.Wait == kv.WaitSkip || g.req.Wait == kv.WaitError && t.locks[string(r.Key)].preparedByOther(g.id()) {
					continue // the evaluation leaves the row out, or finds the prepared lock: see askAfter
				}
				s := r.Lock
				if r.IfAbsent { // what is there is not locked; for the lock of what is not there, the evaluation asks
					s = min(s, kv.LockKeyShare)
				}
				if w := g.joinKey(r.Key, s); w != nil {
					return w, nil
				}
				continue
			}
			if kl := t.locks[string(r.Key)]; kl != nil {
				limit := g.readLimit()
				for i := range kl.holders {
					if h := &kl.holders[i]; h.replicated && h.txn.ID != g.id() && h.ts.LessEq(limit) && !t.tells(h.txn.ID, g.readTS()) {
						return g.joinReaders(kl, h.txn.ID), nil
					}
				}
			}
		case *kv.Put:
			if w := g.joinKey(r.Key, kv.LockNoKeyUpdate); w != nil {
				return w, nil
			}
		case *kv.Increment:
			if w := g.joinKey(r.Key, kv.LockNoKeyUpdate); w != nil {
				return w, nil
			}
		case *kv.Delete:
			if w := g.joinKey(r.Key, kv.LockUpdate); w != nil {
				return w, nil
			}
		case *kv.CommitSingleRange:
			if w := g.joinWrites(r.Writes); w != nil {
				return w, nil
			}
		case *kv.Prepare:
			if w := g.joinWrites(r.Writes); w != nil {
				return w, nil
			}
		}
	}
	return nil, nil
}

func (g *Guard) joinWrites(writes []kv.Write) *waiter {
	for i := range writes {
		kl := g.t.locks[string(writes[i].Key)]
		if kl == nil || !kl.blocked(g.id(), eval.StrengthOf(&writes[i]), nil) {
			continue // nearly always: the lock is the transaction's own
		}
		if g.claims(writes[i].Key) {
			if w := g.joinPrepared(kl); w != nil {
				return w
			}
			continue
		}
		if w := g.join(kl, eval.StrengthOf(&writes[i]), true); w != nil {
			return w
		}
	}
	return nil
}

// claims reports whether the request is a commit that validates what it read of the key. SQL reads under a lock what
// it writes. If that lock is held, nobody is in the way; if it went with a leader, whoever holds one now got it later.
// To wait for him would be in vain, since after his write the validation fails, and two who lost their
// locks at once could wait for each other in an order in which they never asked for them: a deadlock
// that the client cannot explain. So a claim waits for no unreplicated lock, and the later one finds out when it validates.
func (g *Guard) claims(key keys.Key) bool {
	for _, r := range g.req.Requests {
		var reads []kv.ReadSpan
		switch r := r.(type) {
		case *kv.CommitSingleRange:
			reads = r.Refreshes
		case *kv.Prepare:
			reads = r.Refreshes
		}
		for i := range reads {
			if reads[i].Span.IsPoint() && reads[i].Span.Start.Equal(key) {
				return true
			}
		}
	}
	return false
}

// joinPrepared waits for a prepared lock of somebody else on the key, if there is one. t.mu is held.
func (g *Guard) joinPrepared(kl *keyLock) *waiter {
	for i := range kl.holders {
		if h := &kl.holders[i]; h.replicated && !h.left && h.txn.ID != g.id() {
			g.t.urge(kl, g.req)
			return g.joinReaders(kl, h.txn.ID)
		}
	}
	return nil
}

func (g *Guard) joinKey(key keys.Key, s kv.LockStrength) *waiter {
	kl := g.t.locks[string(key)]
	if kl == nil {
		return nil
	}
	return g.join(kl, s, isWrite(g.req))
}

// isWrite reports whether the batch writes what it wants locked, rather than asking for locks.
func isWrite(req *kv.BatchRequest) bool {
	for _, r := range req.Requests {
		switch r.(type) {
		case *kv.Get, *kv.Scan:
			return false
		}
	}
	return true
}

// join enters the queue of the key unless nobody blocks the request there. If the guard waits in it
// already, that place counts. t.mu is held.
func (g *Guard) join(kl *keyLock, s kv.LockStrength, write bool) *waiter {
	id := g.id()
	if write && !id.IsZero() {
		// Who writes under a lock of its own has been let through when it took the lock.
		if h := kl.find(id); h != nil && h.effective() >= kv.LockNoKeyUpdate {
			s = kv.LockNoKeyUpdate
		}
	}
	var self *waiter
	for _, w := range g.waiters {
		if w.kl == kl && w.holder.IsZero() && w.strength >= s {
			self = w
			break
		}
	}
	if !kl.blocked(id, s, self) {
		return nil
	}
	if self == nil {
		self = &waiter{guard: g, kl: kl, txn: g.req.Txn, strength: s, wake: make(chan struct{}, 1)}
		kl.queue = append(kl.queue, self)
		g.waiters = append(g.waiters, self)
	}
	self.granted = false
	g.t.urge(kl, g.req)
	return self
}

// joinReaders waits for one prepared lock to go. t.mu is held.
func (g *Guard) joinReaders(kl *keyLock, holder kv.TxnID) *waiter {
	w := &waiter{guard: g, kl: kl, txn: g.req.Txn, holder: holder, wake: make(chan struct{}, 1)}
	kl.readers = append(kl.readers, w)
	g.waiters = append(g.waiters, w)
	return w
}

func (g *Guard) id() kv.TxnID {
	if g.req.Txn == nil {
		return kv.TxnID{}
	}
	return g.req.Txn.ID
}

// readLimit is the highest timestamp at which a version would concern the batch's reads.
func (g *Guard) readLimit() hlc.Timestamp {
	if x := g.req.Txn; x != nil {
		return x.ReadTS.Forward(x.UncertaintyLimit)
	}
	if g.req.Timestamp.IsEmpty() {
		return hlc.Max
	}
	return g.req.Timestamp
}

// readTS is the timestamp at which the batch reads, as far as it says: the leader may move it up.
func (g *Guard) readTS() hlc.Timestamp {
	if x := g.req.Txn; x != nil {
		return x.ReadTS
	}
	if g.req.Timestamp.IsEmpty() {
		return g.t.cfg.Clock.Now()
	}
	return g.req.Timestamp
}

func ctxError(err error) error {
	var ke *kv.Error
	if errors.As(err, &ke) {
		return err
	}
	return kv.Errorf(kv.CodeCanceled, "canceled while waiting: %v", err)
}

// wait blocks until the waiter is granted, and pushes those who block it from time to time. No latches are held.
func (g *Guard) wait(ctx context.Context, w *waiter) (err error) {
	t := g.t
	if g.req.Wait != kv.WaitBlock && w.strength != kv.LockNone {
		if err := g.noWait(ctx, w); err != nil {
			return err
		}
	}
	select {
	case <-w.wake:
		return t.outcome(w)
	default:
	}
	start := time.Now()
	t.cfg.Metrics.LockWaits.Add(1)
	defer func() { t.cfg.Metrics.LockWaitNanos.Add(int64(time.Since(start))) }()

	// A plain read waits for locks only while they are being resolved, which is not what lock_timeout is about, unless a client has left a
	// prepared transaction: for that it waits as whoever locks does.
	read, overdue := w.strength == kv.LockNone, false
	var timeout <-chan time.Time
	if g.req.LockTimeout > 0 {
		tm := time.NewTimer(time.Duration(g.req.LockTimeout))
		defer tm.Stop()
		timeout = tm.C
	}
	p := newPusher(t, w)
	defer p.stop()
	if len(p.first.holders) > 0 {
		p.begin(ctx)
	}
	for {
		select {
		case <-w.wake:
			return t.outcome(w)
		case <-ctx.Done():
			return ctxError(ctx.Err())
		case <-timeout:
			if overdue = read && !p.byClient; !overdue {
				return t.timedOut(w)
			}
		case <-p.due():
			p.begin(ctx)
		case err := <-p.done:
			if err := p.finish(err); err != nil {
				return err
			}
			if overdue && p.byClient {
				return t.timedOut(w)
			}
		}
	}
}

// timedOut is the end of a wait by LockTimeout.
func (t *Table) timedOut(w *waiter) error {
	t.cfg.Metrics.LockTimeouts.Add(1)
	e := kv.Errorf(kv.CodeLockNotAvailable, "canceling statement due to lock timeout")
	e.Key = keys.Key(t.keyOf(w))
	return e
}

// keyOf returns the key that the waiter waits at, if it still does.
func (t *Table) keyOf(w *waiter) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w.kl == nil {
		return ""
	}
	return w.kl.key
}

// outcome of a waiter that was woken.
func (t *Table) outcome(w *waiter) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return w.err
}
