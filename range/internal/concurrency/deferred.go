package concurrency

import (
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// The locks of a transaction that has committed are turned into versions by an entry of the log in each of its ranges, which nobody
// waits for. So that entry may be put off, to share another's: package replica evaluates the request along with the next write. Until
// then the table knows the outcome (invariant 8), and reads go through the locks as if they were versions already. Who wants
// to lock or write one of the keys does wait, and has the request urged on.

const (
	// maxDeferred bounds the requests that are put off in a range, maxDeferredKeys the keys of one.
	maxDeferred     = 64
	maxDeferredKeys = 16
	// sought is for how long a key that somebody had to wait for is taken for one that others will want soon, too: what locks it is
	// resolved at once.
	sought = 5 * time.Second
)

// Deferred is a ResolveLocks that waits for a write to share its entry with. It belongs to one goroutine, which waits for
// Go or Done, or for its patience to end.
type Deferred struct {
	Req *kv.BatchRequest
	// Go has a token when the request is to be executed by itself, now.
	Go chan struct{}
	// Done tells the outcome of a request that was taken along: nil, or an error as of a proposal.
	Done chan *kv.Error

	id    kv.TxnID
	ts    hlc.Timestamp
	state deferredState // guarded by Table.mu
}

type deferredState uint8

const (
	deferredWaits deferredState = iota // in Table.deferred.waiting
	deferredTaken                      // with a write that is on its way
	deferredAlone                      // its goroutine executes it
)

// deferrals are all requests that have been put off and are not over.
type deferrals struct {
	known   map[kv.TxnID]*Deferred
	waiting []*Deferred // the first in first
	// hot are keys that somebody had to wait for, by hash, the latest in each place.
	hot *[64]hotKey
}

type hotKey struct {
	hash  uint64
	until time.Time
	// firm is until when it is likely that somebody comes who does not pass what is left behind: see passes.
	firm time.Time
}

// Defer puts the request off if it only turns a few locks of a committed transaction into versions, and nobody waits for them, or
// is likely to. The caller ends what it returns with EndDeferred.
func (t *Table) Defer(req *kv.BatchRequest) *Deferred {
	if len(req.Requests) != 1 || req.Txn == nil {
		return nil
	}
	r, ok := req.Requests[0].(*kv.ResolveLocks)
	if !ok || !r.Commit || r.CommitTS.IsEmpty() || len(r.Keys) == 0 || len(r.Keys) > maxDeferredKeys {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil {
		return nil
	}
	if t.deferred == nil {
		t.deferred = new(deferrals)
	}
	q := t.deferred
	if len(q.known) >= maxDeferred || q.known[req.Txn.ID] != nil {
		return nil
	}
	for _, k := range r.Keys {
		if kl := t.locks[string(k)]; kl != nil && kl.awaitedFirmly() || q.isFirm(k) {
			return nil
		}
	}
	d := &Deferred{Req: req, id: req.Txn.ID, ts: r.CommitTS, Go: make(chan struct{}, 1), Done: make(chan *kv.Error, 1)}
	if q.known == nil {
		q.known = make(map[kv.TxnID]*Deferred)
	}
	q.known[d.id] = d
	q.waiting = append(q.waiting, d)
	if tl := t.txns[d.id]; tl != nil {
		for _, kl := range tl.all {
			kl.wakeReaders(d.id)
		}
	}
	t.leaveBehind(d)
	return d
}

// EndDeferred forgets a request that is over: its locks are gone, or nobody here has them removed any more.
func (t *Table) EndDeferred(d *Deferred) {
	t.mu.Lock()
	if t.deferred.of(d.id) == d {
		t.deferred.unlist(d)
		delete(t.deferred.known, d.id)
		t.pickUp(d)
	}
	t.mu.Unlock()
}

// Withdraw reports whether the owner of d is to execute it by itself. If not, Done will tell what becomes of it, or Go that
// it is to ask again.
func (t *Table) Withdraw(d *Deferred) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if d.state == deferredTaken {
		return false
	}
	t.deferred.unlist(d)
	d.state = deferredAlone
	return true
}

// TakeDeferred hands out up to n of the requests that wait, the first in first. Each is then to be told its outcome by Done, or given
// back.
func (t *Table) TakeDeferred(n int) []*Deferred {
	t.mu.Lock()
	defer t.mu.Unlock()
	q := t.deferred
	if q == nil || len(q.waiting) == 0 {
		return nil
	}
	n = min(n, len(q.waiting))
	out := slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	for _, d := range out {
		d.state = deferredTaken
	}
	return out
}

// GiveBack has a request that was taken executed by itself.
func (t *Table) GiveBack(d *Deferred) {
	t.mu.Lock()
	d.state = deferredAlone
	d.urge()
	t.mu.Unlock()
}

// TrySequence is Sequence for one of them, but does not wait: it returns nil if the latches are not free.
func (t *Table) TrySequence(req *kv.BatchRequest, want []eval.Latch) *Guard {
	g := &Guard{t: t, req: req, want: want}
	t.mu.Lock()
	closed := t.closed != nil
	t.mu.Unlock()
	if closed || !t.latches.tryAcquire(&g.first, want) {
		return nil
	}
	g.set = &g.first
	return g
}

func (d *Deferred) urge() {
	select {
	case d.Go <- struct{}{}:
	default:
	}
}

func (q *deferrals) unlist(d *Deferred) {
	if q == nil {
		return
	}
	if i := slices.Index(q.waiting, d); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	}
}

// urge is called when somebody is about to wait for a lock on the key, or to stand in line there. t.mu is held.
func (t *Table) urge(kl *keyLock, req *kv.BatchRequest) {
	for i := range kl.holders {
		if h := &kl.holders[i]; h.replicated && !h.left {
			if t.deferred == nil { // it remembers the key
				t.deferred = new(deferrals)
			}
			t.deferred.heat(kl.key, !passes(req))
			if d := t.deferred.known[h.txn.ID]; d != nil && d.state == deferredWaits {
				d.urge()
			}
		}
	}
}

// urgeAll has all of them executed by themselves: the table is not what it was any more. t.mu is held.
func (t *Table) urgeAll() {
	if t.deferred == nil {
		return
	}
	for _, d := range t.deferred.waiting {
		d.urge()
	}
}

// of returns the one of a transaction, if there is.
func (q *deferrals) of(id kv.TxnID) *Deferred {
	if q == nil {
		return nil
	}
	return q.known[id]
}

func (q *deferrals) heat(key string, firm bool) {
	if q.hot == nil {
		q.hot = new([64]hotKey)
	}
	h := xxhash.Sum64String(key)
	at := &q.hot[h%64]
	if at.hash != h {
		*at = hotKey{hash: h}
	}
	at.until = time.Now().Add(sought)
	if firm {
		at.firm = at.until
	}
}

// isHot reports whether others are likely to want the key, isFirm whether they are to wait for what is left behind there.
func (q *deferrals) isHot(key keys.Key) bool {
	at := q.place(key)
	return at != nil && time.Now().Before(at.until)
}

func (q *deferrals) isFirm(key keys.Key) bool {
	at := q.place(key)
	return at != nil && time.Now().Before(at.firm)
}

func (q *deferrals) place(key keys.Key) *hotKey {
	if q.hot == nil {
		return nil
	}
	h := xxhash.Sum64(key)
	if at := &q.hot[h%64]; at.hash == h {
		return at
	}
	return nil
}
