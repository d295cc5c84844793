package concurrency

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Table is the concurrency control of one range on its leader. Nearly all are of ranges at rest, and as small as can be: what
// a table needs besides is made when it is first needed, and let go by Rest.
type Table struct {
	cfg     *Config // that of all tables of the store
	latches latches
	silent  silences

	mu     sync.Mutex
	closed error // set by Clear until Open
	locks  map[string]*keyLock
	txns   map[kv.TxnID]*txnLocks
	most   int32 // keys in locks, since it was made
	shared int32 // unreplicated locks held

	outcomes *outcomes  // nil if there are none
	deferred *deferrals // the same
	learned  atomic.Pointer[eval.Learned]
}

// keyLock is what is known of one key: who holds it, who waits.
type keyLock struct {
	key     string
	holders []holder
	queue   []*waiter // lockers and writers, FIFO; granted ones (reservations) stay until they take the lock or finish
	readers []*waiter // non-locking readers, each waiting for one prepared lock to go
	one     [1]holder
}

type holder struct {
	txn        *kv.TxnMeta
	strength   kv.LockStrength // unreplicated; LockNone if only prepared
	replicated bool
	asked      asked         // of a prepared lock's gateway
	left       bool          // prepared, and in nobody's way: see left.go
	ts         hlc.Timestamp // of the prepared lock
}

func (h *holder) effective() kv.LockStrength {
	if h.replicated {
		return kv.LockUpdate
	}
	return h.strength
}

// txnLocks lists the keys a transaction holds here. Entries of all may be out of date (the
// lock went by itself); held is exact.
type txnLocks struct {
	meta *kv.TxnMeta
	held int
	all  []*keyLock
	one  [1]*keyLock
}

func (tl *txnLocks) add(kl *keyLock) {
	tl.held++
	tl.all = append(tl.all, kl)
}

// waiter is one request in the queue of one key.
type waiter struct {
	guard    *Guard
	kl       *keyLock
	txn      *kv.TxnMeta // nil for a write without transaction
	strength kv.LockStrength
	holder   kv.TxnID // readers: whose prepared lock
	granted  bool
	err      error
	wake     chan struct{} // buffered: granted or err has been set
}

func (w *waiter) id() kv.TxnID {
	if w.txn == nil {
		return kv.TxnID{}
	}
	return w.txn.ID
}

var _ eval.Locks = (*Table)(nil)

// Learned returns what has been learned in this leadership, since the last split, merge or rest; another one than before if there was one of them since.
func (t *Table) Learned() *eval.Learned {
	for {
		if l := t.learned.Load(); l != nil {
			return l
		}
		t.learned.CompareAndSwap(nil, &eval.Learned{})
	}
}

// New returns an empty, open table; NewShared one with the configuration of others.
func New(cfg Config) *Table { return NewShared(cfg.Shared()) }

// NewShared: see New.
func NewShared(cfg *Config) *Table {
	return &Table{cfg: cfg, latches: latches{contended: &cfg.Metrics.LatchContended}}
}

// blocker is somebody whom a request must wait for.
type blocker struct {
	txn        *kv.TxnMeta // nil: a write without transaction, which ends by itself
	replicated bool
	waiting    bool // waits or has a reservation, and is ahead
}

// blockers calls yield for everybody who stands between the request and the key: holders, and,
// unless the transaction holds something here itself, waiters before self (all if self is nil).
func (kl *keyLock) blockers(id kv.TxnID, s kv.LockStrength, self *waiter, yield func(blocker) bool) {
	mine := false
	for i := range kl.holders {
		h := &kl.holders[i]
		if !id.IsZero() && h.txn.ID == id {
			mine = true
			continue
		}
		if h.left {
			continue
		}
		if !h.replicated && follows(id, h.txn.ID) {
			continue
		}
		if h.effective().Conflicts(s) && !yield(blocker{txn: h.txn, replicated: h.replicated}) {
			return
		}
	}
	if mine {
		return
	}
	for _, w := range kl.queue {
		if w == self {
			return
		}
		if (id.IsZero() || w.id() != id) && w.strength.Conflicts(s) && !yield(blocker{txn: w.txn, waiting: true}) {
			return
		}
	}
}

// follows reports whether a transaction is a later one of the same session, which has one at a time: the earlier has ended, and its locks
// are being released.
func follows(id, earlier kv.TxnID) bool {
	s := id.Session()
	return s != 0 && s == earlier.Session() && earlier.Start() < id.Start()
}

func (kl *keyLock) blocked(id kv.TxnID, s kv.LockStrength, self *waiter) bool {
	found := false
	kl.blockers(id, s, self, func(blocker) bool { found = true; return false })
	return found
}

func (kl *keyLock) find(id kv.TxnID) *holder {
	for i := range kl.holders {
		if kl.holders[i].txn.ID == id {
			return &kl.holders[i]
		}
	}
	return nil
}

// noTxn stands for a write without transaction in answers of TryLock.
var noTxn kv.TxnMeta

// TryLock implements eval.Locks.
func (t *Table) TryLock(txn *kv.TxnMeta, key keys.Key, s kv.LockStrength) (*kv.TxnMeta, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil {
		return nil, true // nothing is locked: its caller finds out, as Learned is another one
	}
	kl := t.locks[string(key)]
	if kl != nil {
		if other, ok := kl.blocker(txn.ID, s); !ok {
			return other, false
		}
		if h := kl.find(txn.ID); h != nil {
			h.strength = max(h.strength, s)
			t.took(kl, txn.ID, s)
			return nil, true
		}
	}
	if int(t.shared) >= t.cfg.MaxLocks {
		t.cfg.Metrics.LocksShed.Add(1)
		return nil, true
	}
	if kl == nil {
		kl = t.addKey(string(key))
	}
	tl := t.txnOf(txn)
	kl.holders = append(kl.holders, holder{txn: tl.meta, strength: s})
	tl.add(kl)
	t.shared++
	t.took(kl, txn.ID, s)
	return nil, true
}

// reserved reports whether the transaction has a granted place in the queue that covers s.
func (kl *keyLock) reserved(id kv.TxnID, s kv.LockStrength) bool {
	for _, w := range kl.queue {
		if w.granted && w.id() == id && w.strength >= s {
			return true
		}
	}
	return false
}

// took removes the transaction's granted waiters on the key: the lock itself stands for them now.
func (t *Table) took(kl *keyLock, id kv.TxnID, s kv.LockStrength) {
	if len(kl.queue) == 0 {
		return
	}
	kept := kl.queue[:0]
	for _, w := range kl.queue {
		if w.granted && w.id() == id && w.strength <= s {
			w.kl = nil
			continue
		}
		kept = append(kept, w)
	}
	clear(kl.queue[len(kept):])
	kl.queue = kept
	t.grant(kl)
}

// Holds implements eval.Locks.
func (t *Table) Holds(id kv.TxnID, key keys.Key) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	kl := t.locks[string(key)]
	return kl != nil && kl.find(id) != nil
}

func (t *Table) addKey(key string) *keyLock {
	kl := &keyLock{key: key}
	kl.holders = kl.one[:0]
	if t.locks == nil {
		t.locks = map[string]*keyLock{}
	}
	t.locks[key] = kl
	t.most = max(t.most, int32(len(t.locks)))
	return kl
}

// shrinkFrom is from how many keys on an emptied table gives its memory back.
const shrinkFrom = 10_000

func (t *Table) txnOf(txn *kv.TxnMeta) *txnLocks {
	tl := t.txns[txn.ID]
	if tl == nil {
		m := *txn
		tl = &txnLocks{meta: &m}
		tl.all = tl.one[:0]
		if t.txns == nil {
			t.txns = map[kv.TxnID]*txnLocks{}
		}
		t.txns[txn.ID] = tl
	}
	return tl
}

// Prepared records a prepared lock that this leader laid. Call it when the effects have
// been applied, before the latches go.
func (t *Table) Prepared(p eval.PreparedLock) {
	t.mu.Lock()
	t.prepared(p.Key, &p.Txn, p.TS)
	t.mu.Unlock()
}

func (t *Table) prepared(key keys.Key, txn *kv.TxnMeta, ts hlc.Timestamp) {
	kl := t.locks[string(key)]
	if kl == nil {
		kl = t.addKey(string(key))
	}
	tl := t.txnOf(txn)
	if len(tl.meta.Anchor) == 0 || tl.meta.ReadTS.Less(txn.ReadTS) {
		m := *txn // the record's place may have been unknown when the first lock was taken
		tl.meta = &m
	}
	if h := kl.find(txn.ID); h != nil {
		h.replicated, h.ts, h.txn = true, ts, tl.meta
		return
	}
	kl.holders = append(kl.holders, holder{txn: tl.meta, replicated: true, ts: ts})
	tl.add(kl)
	if len(kl.queue) > 0 {
		t.grant(kl) // the holder's own requests do not queue behind others
	}
}

// Resolved forgets the transaction's locks on r.Keys, both kinds (or only the unreplicated ones); all of its locks in the range if r.Keys is
// empty (after a CommitSingleRange). Call it when the effects have been applied. Keys without a lock are no error.
func (t *Table) Resolved(r eval.ResolvedLock) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.release(r.Txn, r.Keys, !r.Unreplicated)
	if r.Large {
		status := kv.TxnAborted
		if r.Commit {
			status = kv.TxnCommitted
		}
		t.learn(r.Txn, status, r.CommitTS)
	}
}

// ReleaseTxn drops the unreplicated locks of the transaction on ks, on all keys if there are none. It returns the error
// of a table that is closed: what was held there may have been handed over, and must be released where it is now.
func (t *Table) ReleaseTxn(id kv.TxnID, ks []keys.Key) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed != nil {
		return t.closed
	}
	t.release(id, ks, false)
	return nil
}

// release is Resolved and ReleaseTxn; t.mu is held.
func (t *Table) release(id kv.TxnID, ks []keys.Key, replicated bool) {
	tl := t.txns[id]
	if tl == nil {
		return
	}
	if len(ks) == 0 {
		for _, kl := range tl.all {
			t.drop(kl, tl, replicated)
		}
		kept := tl.all[:0]
		for _, kl := range tl.all { // prepared locks stay if only unreplicated ones were dropped
			if kl.find(id) != nil {
				kept = append(kept, kl)
			}
		}
		clear(tl.all[len(kept):])
		tl.all = kept
	} else {
		for _, k := range ks {
			if kl := t.locks[string(k)]; kl != nil {
				t.drop(kl, tl, replicated)
			}
		}
		if len(tl.all) > 2*tl.held+64 { // most of it is out of date
			tl.all = slices.DeleteFunc(tl.all, func(kl *keyLock) bool { return kl.find(id) == nil })
		}
	}
	if tl.held == 0 {
		delete(t.txns, id)
	}
}

// drop removes the transaction as a holder of kl (or only its unreplicated lock) and lets others on.
func (t *Table) drop(kl *keyLock, tl *txnLocks, replicated bool) {
	id := tl.meta.ID
	h := kl.find(id)
	if h == nil || (!replicated && h.strength == kv.LockNone) {
		return
	}
	if h.strength != kv.LockNone {
		t.shared--
		h.strength = kv.LockNone
	}
	if h.replicated && !replicated {
		return
	}
	for i := range kl.holders {
		if &kl.holders[i] == h {
			kl.holders = append(kl.holders[:i], kl.holders[i+1:]...)
			break
		}
	}
	tl.held--
	kl.wakeReaders(id)
	t.grant(kl)
}

func (w *waiter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// grant gives reservations to the waiters at the front that nobody blocks any more, and
// forgets the key if nothing is left.
func (t *Table) grant(kl *keyLock) {
	for _, w := range kl.queue {
		if !w.granted && !kl.blocked(w.id(), w.strength, w) {
			w.granted = true
			w.signal()
		}
	}
	if len(kl.holders) == 0 && len(kl.queue) == 0 && len(kl.readers) == 0 && t.locks[kl.key] == kl {
		delete(t.locks, kl.key)
		if t.most > shrinkFrom && len(t.locks) == 0 {
			t.locks, t.most = nil, 0 // a map keeps the room of all that it ever held
		}
	}
}

// leave takes a waiter out of its queue, granted or not.
func (t *Table) leave(w *waiter) {
	kl := w.kl
	if kl == nil {
		return
	}
	w.kl = nil
	remove := func(list []*waiter) []*waiter {
		for i := range list {
			if list[i] == w {
				copy(list[i:], list[i+1:])
				list[len(list)-1] = nil
				return list[:len(list)-1]
			}
		}
		return list
	}
	kl.queue, kl.readers = remove(kl.queue), remove(kl.readers)
	t.grant(kl)
}

// Clear forgets every lock and makes every waiter, and every Sequence from now on, return
// err, until Open. For loss of leadership (err: CodeNotLeader) and for a replica that goes away. Latches stay
// with their requests, which the replica ends by itself.
func (t *Table) Clear(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clear(err)
}

// clear is Clear; t.mu is held.
func (t *Table) clear(err error) {
	t.learned.Store(nil)
	t.closed = err
	t.urgeAll()
	for _, kl := range t.locks {
		kl.fail(err)
	}
	t.locks, t.txns, t.shared = nil, nil, 0
}

// Rest gives back the memory of a table that nobody uses, what it remembers of transactions included: who needs that asks again. A table that is
// closed for another reason than why is closed for that: its errors may hold much.
func (t *Table) Rest(why error) {
	t.latches.rest()
	t.silent.rest()
	t.mu.Lock()
	t.learned.Store(nil)
	if t.closed != nil && why != nil {
		t.closed = why
	}
	if len(t.locks) == 0 {
		t.locks, t.most, t.outcomes = nil, 0, nil
	}
	if len(t.txns) == 0 {
		t.txns = nil
	}
	if t.deferred != nil && len(t.deferred.known) == 0 {
		t.deferred = nil
	}
	t.mu.Unlock()
}

// Open lets requests in again after Clear (a new leadership begins, with no lock known).
func (t *Table) Open() {
	t.mu.Lock()
	t.learned.Store(nil)
	t.closed = nil
	t.mu.Unlock()
}

// fail makes every waiter of the key return err.
func (kl *keyLock) fail(err error) {
	for _, list := range [2][]*waiter{kl.queue, kl.readers} {
		for _, w := range list {
			w.kl = nil
			if !w.granted || w.err == nil {
				w.err = err
			}
			w.signal()
		}
	}
	kl.queue, kl.readers, kl.holders = nil, nil, nil
}

// SplitAt moves the locks on keys from key on to a new table, for the right half of a split.
// Waiters there are told to find the range again (CodeRangeMismatch). The caller holds latches over
// the whole range, so no request is between evaluation and application.
func (t *Table) SplitAt(key keys.Key) *Table {
	right := NewShared(t.cfg)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.learned.Store(nil)
	right.closed = t.closed
	t.urgeAll()
	moved := kv.Errorf(kv.CodeRangeMismatch, "the range was split at %s while the request waited for a lock", keys.Pretty(key))
	for k, kl := range t.locks {
		if k < string(key) {
			continue
		}
		for _, h := range kl.holders {
			tl := t.txns[h.txn.ID]
			if tl.held--; tl.held == 0 {
				delete(t.txns, h.txn.ID)
			}
			if h.strength != kv.LockNone {
				t.shared--
				right.shared++
			}
			right.adopt(k, h)
		}
		kl.fail(moved)
		delete(t.locks, k)
	}
	return right
}

// adopt takes over a lock that another table has held. t.mu is held, or nobody else knows the table yet.
func (t *Table) adopt(key string, h holder) {
	kl := t.locks[key]
	if kl == nil {
		kl = t.addKey(key)
	}
	tl := t.txnOf(h.txn)
	tl.add(kl)
	h.txn, h.left = tl.meta, false // what was put off is urged on, and may find another range
	kl.holders = append(kl.holders, h)
}

// Absorb takes over the locks of the table to the right, for a merge.
func (t *Table) Absorb(right *Table) {
	right.mu.Lock()
	defer right.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.learned.Store(nil)
	moved := kv.Errorf(kv.CodeRangeMismatch, "the range was merged while the request waited for a lock")
	for k, kl := range right.locks {
		for _, h := range kl.holders {
			t.adopt(k, h)
		}
		kl.fail(moved)
	}
	t.shared += right.shared
	right.closed = moved
	right.urgeAll()
	right.locks, right.txns, right.shared = nil, nil, 0
}

// Locks lists locks and waiters, at most limit of them (0 = all), in no order.
func (t *Table) Locks(limit int) []LockInfo {
	t.mu.Lock()
	defer t.mu.Unlock()
	var out []LockInfo
	for k, kl := range t.locks {
		if limit > 0 && len(out) >= limit {
			break
		}
		for _, h := range kl.holders {
			out = append(out, LockInfo{Key: keys.Key(k), Txn: *h.txn, Strength: h.effective(), Granted: true, Replicated: h.replicated, TS: h.ts})
		}
		for _, list := range [2][]*waiter{kl.queue, kl.readers} {
			for _, w := range list {
				info := LockInfo{Key: keys.Key(k), Strength: w.strength, Granted: false}
				if w.txn != nil {
					info.Txn = *w.txn
				}
				out = append(out, info)
			}
		}
	}
	return out
}

// Len returns the number of keys with a lock or a waiter.
func (t *Table) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.locks)
}
