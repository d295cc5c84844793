package txn

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

type txnState uint8

const (
	stateOpen txnState = iota
	stateCommitted
	stateEnded // rolled back, or failed to commit
)

// txn implements Txn.
type txn struct {
	c     *Coordinator
	opts  Options
	since int64 // start of the first attempt, wall ns

	moving  sync.Mutex // one move of the read timestamp at a time
	undoing sync.Mutex // one settleUndo at a time

	mu         sync.Mutex // guards what follows; parallel scans share it
	meta       kv.TxnMeta // as of now; requests carry copies
	started    bool       // the snapshot is taken
	suspect    bool       // by a clock that was not believed: it is taken again before anything is read
	snapshot   int        // raised whenever it is taken
	fixed      bool       // see FixSnapshot
	scans      scansOut
	reads      readSet
	buf        writeBuffer
	clocks     []kv.NodeClock // never changed in place: requests share it
	state      txnState
	registered bool
	traced     bool // the id may have left a trace beyond unreplicated locks: it is not used for another attempt
	onCommit   []func(hlc.Timestamp)
	deadline   hlc.Timestamp // of the commit; empty for none
	missed     atomic.Bool   // an attempt was refused for its deadline
	ahead      sentAhead
	sought     sought
	openScans  int   // scanners that have not been closed
	oldestScan int32 // at least as old as the oldest of them (a seq)

	inflight    atomic.Int32
	lockTimeout atomic.Int64 // ns; see SetLockTimeout
}

var _ Txn = (*txn)(nil)

// SetLockTimeout implements LockTimer.
func (t *txn) SetLockTimeout(d time.Duration) { t.lockTimeout.Store(int64(d)) }

// ID implements Txn.
func (t *txn) ID() kv.TxnID {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.meta.ID
}

// start takes the snapshot; t.mu is held.
func (t *txn) start() {
	if t.started {
		return
	}
	t.started, t.fixed = true, false
	t.snapshot++
	t.suspect = t.c.fenced()
	now, believed := t.c.cfg.Clock.Reading()
	t.suspect = t.suspect || !believed
	t.setReadTS(t.meta.ReadTS.Forward(now))
	t.scans.failed = nil
	t.meta.UncertaintyLimit = now.Add(t.c.cfg.Clock.MaxOffset())
	// This node's clock has just been read: what it writes later is not from before.
	t.clocks = []kv.NodeClock{{Node: t.c.cfg.Node, TS: now}}
}

// begin takes the snapshot with a clock that is believed, however long it has to wait for one. t.mu is held, and given up meanwhile.
func (t *txn) begin(ctx context.Context) error {
	t.start()
	for t.suspect && t.c.cfg.AwaitClock != nil {
		t.mu.Unlock()
		err := t.c.cfg.AwaitClock(ctx)
		t.mu.Lock()
		if err != nil {
			return asError(ctx, err)
		}
		if err := t.usable(); err != nil {
			return err
		}
		if t.suspect {
			t.started = false
			t.start()
		}
	}
	return nil
}

// ReadTimestamp implements Txn.
func (t *txn) ReadTimestamp() hlc.Timestamp {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.start()
	return t.meta.ReadTS
}

// StepStatement implements Txn.
func (t *txn) StepStatement(context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(); err != nil {
		return err
	}
	t.buf.step()
	if !t.opts.ReadAsOf.IsEmpty() {
		return nil
	}
	switch {
	case t.meta.Isolation == kv.ReadCommitted:
		t.reads.forgetSpans()
		t.started = false
	case t.reads.empty():
		t.started = false // nothing seen yet: the snapshot is that of the first statement that reads
	}
	return nil
}

func (t *txn) usable() error {
	switch t.state {
	case stateCommitted:
		return kv.Errorf(kv.CodeBadRequest, "the transaction is committed")
	case stateEnded:
		return kv.Errorf(kv.CodeBadRequest, "the transaction has ended")
	}
	return nil
}

// stamp completes a batch of reads for sending: who, as of when. It returns the timestamp.
func (t *txn) stamp(ctx context.Context, req *kv.BatchRequest, meta *kv.TxnMeta, opts *ScanOptions) (hlc.Timestamp, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.stampLocked(ctx, req, meta, opts)
}

// stampLocked is stamp with t.mu held.
func (t *txn) stampLocked(ctx context.Context, req *kv.BatchRequest, meta *kv.TxnMeta, opts *ScanOptions) (hlc.Timestamp, error) {
	if err := t.usable(); err != nil {
		return hlc.Timestamp{}, err
	}
	if err := t.begin(ctx); err != nil {
		return hlc.Timestamp{}, err
	}
	if opts.Lock != kv.LockNone {
		if t.opts.ReadOnly {
			return hlc.Timestamp{}, kv.Errorf(kv.CodeBadRequest, "cannot lock rows in a read-only transaction")
		}
		if !t.registered { // before anybody can meet the lock
			t.registered = true
			t.c.register(t.meta, t.since)
		}
	}
	*meta = t.meta
	req.Txn = meta
	req.SetObserved(t.clocks)
	req.Wait = opts.Wait
	req.LockTimeout = t.lockTimeout.Load()
	if t.ahead.any() {
		req.OwnSeq = t.buf.stmt + 1
		if opts.Latest {
			req.OwnSeq = math.MaxInt32
		}
	}
	if t.opts.ReadAsOf.IsEmpty() {
		req.CanMoveReadTS = len(t.reads.spans) == 0 && t.inflight.Load() == 0
	} else {
		req.AnyReplica = true
	}
	return t.meta.ReadTS, nil
}

// send delivers a batch of the transaction and learns from the answer.
func (t *txn) send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	t.inflight.Add(1)
	var resp *kv.BatchResponse
	var err error
	if req.OwnSeq > 0 {
		err = t.settleUndo(ctx)
	}
	var sent, received int64
	locking := locks(req)
	if locking {
		sent = t.c.cfg.Clock.Physical()
	}
	if err == nil {
		resp, err = t.c.cfg.Sender.Send(ctx, req)
	}
	if locking {
		received = t.c.cfg.Clock.Physical()
	}
	last := t.inflight.Add(-1) == 0
	t.mu.Lock()
	if locking && err == nil {
		t.noteWait(req, resp, sent, received)
	}
	if last && t.registered {
		t.c.answered(t.meta.ID)
	}
	if err == nil && resp.ServedBy != 0 && t.started {
		t.observe(resp.ServedBy, resp.Now)
	}
	t.mu.Unlock()
	if err != nil {
		return nil, kv.Undecided(asError(ctx, err))
	}
	return resp, nil
}

func (t *txn) observe(n kv.NodeID, now hlc.Timestamp) {
	for i := range t.clocks {
		if t.clocks[i].Node == n {
			return // the first reading is the one that counts
		}
	}
	t.clocks = append(t.clocks[:len(t.clocks):len(t.clocks)], kv.NodeClock{Node: n, TS: now})
}

// asError makes sure that callers see *kv.Error only.
func asError(ctx context.Context, err error) error {
	if ctx.Err() != nil && !isKV(err) {
		return kv.Errorf(kv.CodeCanceled, "%v", ctx.Err())
	}
	return kv.AsError(err)
}

// pointRead is everything that a Get sends, in one piece of memory.
type pointRead struct {
	req  kv.BatchRequest
	meta kv.TxnMeta
	get  kv.Get
	reqs [1]kv.Request
}

// holds reports whether a lock as strong as s on the key has been granted to the transaction. Whoever has locks
// must not wait for one that it had before: others may have taken it since, and wait for the rest.
func (t *txn) holds(key keys.Key, s kv.LockStrength) bool {
	if s == kv.LockNone {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.reads.locked[string(key)]
	return ok && l.held >= s
}

// weaker reports whether the transaction has a lock on the key, and none as strong as s. Where it has written the key, somebody who wants a lock that goes with the
// weaker one (a reference to a row that is updated first, and then deleted) must now wait.
func (t *txn) weaker(key keys.Key, s kv.LockStrength) bool {
	if s == kv.LockNone {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l, ok := t.reads.locked[string(key)]
	return ok && l.held != kv.LockNone && l.held < s
}

// strengthen locks a key that the transaction has written as strongly as is asked for. ok is false if it cannot be, and is to be skipped.
func (t *txn) strengthen(ctx context.Context, key keys.Key, opts ScanOptions) (ok bool, err error) {
	if opts.IfAbsent != nil || !t.weaker(key, opts.Lock) {
		return true, nil
	}
	skip := opts.Wait == kv.WaitSkip
	if skip { // which would not tell whether the row is not there or not free
		opts.Wait = kv.WaitError
	}
	_, _, err = t.get(ctx, key, opts)
	if skip && kv.HasCode(err, kv.CodeLockNotAvailable) {
		return false, nil
	}
	return err == nil, err
}

// lostLock reports whether the error says that a lock of the transaction is gone: what it had locked has changed. t.mu is held.
func (t *txn) lostLock(ke *kv.Error) bool {
	switch ke.Code {
	case kv.CodeLockLost:
		return true
	case kv.CodeWriteTooOld, kv.CodeRefreshFailed:
		l, ok := t.reads.locked[string(ke.Key)]
		return ok && l.held != kv.LockNone && l.read
	}
	return false
}

// own returns the transaction's own visible write of the key. Such a key need not be locked, unless it is already, by a weaker lock: the commit
// itself settles who writes it.
func (t *txn) own(key keys.Key, opts *ScanOptions) (w *bufferedWrite, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf.empty() {
		return nil, false
	}
	k := t.buf.find(key)
	if k == nil {
		return nil, false
	}
	w = k.visible(t.buf.stmt, opts.Latest)
	return w, w != nil
}

// Get implements Txn.
func (t *txn) Get(ctx context.Context, key keys.Key, opts ScanOptions) ([]byte, bool, error) {
	if w, ok := t.own(key, &opts); ok {
		if locked, err := t.strengthen(ctx, key, opts); err != nil || !locked {
			return nil, false, err
		}
		return w.value, !w.deleted, nil
	}
	return t.get(ctx, key, opts)
}

// get is Get of what the transaction has not written.
func (t *txn) get(ctx context.Context, key keys.Key, opts ScanOptions) ([]byte, bool, error) {
	if err := t.c.failRead(); err != nil {
		return nil, false, err
	}
	for n := 0; ; n++ {
		p := &pointRead{get: kv.Get{Key: key, Lock: opts.Lock, IfAbsent: opts.ifAbsent(0)}}
		p.reqs[0] = &p.get
		p.req.Requests = p.reqs[:]
		at, err := t.stamp(ctx, &p.req, &p.meta, &opts)
		if err != nil {
			return nil, false, err
		}
		again := opts.Wait == kv.WaitBlock && t.holds(key, opts.Lock)
		if again {
			p.req.Wait = kv.WaitError // the lock is the transaction's own, unless it was lost
		}
		resp, err := t.send(ctx, &p.req)
		if err != nil {
			if again && kv.HasCode(err, kv.CodeLockNotAvailable) {
				return nil, false, &kv.Error{Code: kv.CodeLockLost, Key: key, Message: "a lock was lost with the leader that had it, and is somebody else's now"}
			}
			if err := t.moveFor(ctx, err, at, n); err != nil {
				t.mayHold(opts.Lock, []keys.Key{key}, nil)
				return nil, false, err
			}
			continue
		}
		got, ok := resp.Responses[0].(*kv.GetResponse)
		if !ok {
			return nil, false, kv.Errorf(kv.CodeInternal, "the answer to a Get is a %T", resp.Responses[0])
		}
		r := readDone{at: readAt(resp, at), strength: opts.Lock, firm: opts.Firm}
		plain := opts.Lock == kv.LockNone || got.Exists && opts.ifAbsent(0)
		switch {
		case plain && !opts.rests(key, got.Value, got.Exists):
		case plain:
			r.span = keys.Span{Start: key}
		case got.Exists && opts.Existence:
			r.existing = []keys.Key{key}
		case got.Exists || opts.Wait != kv.WaitSkip:
			r.lockedKey = key
		default:
			r.perhaps = []keys.Key{key} // left out, or locked and not there: its absence is nothing to rely on
		}
		if err := t.done(ctx, r); err != nil {
			return nil, false, err
		}
		return got.Value, got.Exists, nil
	}
}

func readAt(resp *kv.BatchResponse, at hlc.Timestamp) hlc.Timestamp { return at.Forward(resp.ReadTS) }

// Put implements Txn.
func (t *txn) Put(key keys.Key, value []byte) error {
	return t.write(key, bufferedWrite{value: value})
}

// Insert implements Txn.
func (t *txn) Insert(key keys.Key, value []byte) error {
	return t.write(key, bufferedWrite{value: value, insert: true})
}

// Delete implements Txn.
func (t *txn) Delete(key keys.Key) error { return t.write(key, bufferedWrite{deleted: true}) }

func (t *txn) write(key keys.Key, w bufferedWrite) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.usable(); err != nil {
		return err
	}
	if t.opts.ReadOnly {
		return kv.Errorf(kv.CodeBadRequest, "cannot write in a read-only transaction")
	}
	if len(key) == 0 || key.IsLocal() {
		return kv.Errorf(kv.CodeBadRequest, "%s cannot be written by a transaction", keys.Pretty(key))
	}
	t.buf.write(key, w)
	return nil
}

// Savepoint implements Txn.
func (t *txn) Savepoint() Mark {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := t.buf.savepoint()
	if !t.ahead.marked {
		t.ahead.marked, t.ahead.oldest = true, m
	}
	return Mark(m)
}

// RollbackTo implements Txn.
func (t *txn) RollbackTo(m Mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.undoAhead(int32(m))
	t.buf.rollbackTo(int32(m))
	t.reads.forgetFirm(int32(m))
}

// HasWrites implements Txn.
func (t *txn) HasWrites() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.buf.empty() || t.ahead.any()
}

// OnCommit implements Txn.
func (t *txn) OnCommit(f func(hlc.Timestamp)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onCommit = append(t.onCommit, f)
}

// Retryable implements Txn.
func (t *txn) Retryable(err error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return err != nil && t.state != stateCommitted && isKV(err) && kv.AsError(err).Code.Class() == kv.RetryTxn
}

// Rollback implements Txn.
func (t *txn) Rollback(context.Context) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != stateOpen {
		return
	}
	t.c.metrics.Rollbacks.Add(1)
	t.state = stateEnded
	if t.ahead.any() {
		t.abandon()
		return
	}
	t.dropLocks(nil)
}

// Restart implements Txn.
func (t *txn) Restart(_ context.Context, cause error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	ke := kv.AsError(cause)
	if t.state == stateCommitted {
		return kv.Errorf(kv.CodeBadRequest, "the transaction is committed")
	}
	if ke == nil || ke.Code.Class() != kv.RetryTxn {
		return kv.Errorf(kv.CodeBadRequest, "the transaction cannot be restarted after: %v", cause)
	}
	if !t.opts.ReadAsOf.IsEmpty() {
		return ke
	}
	t.countRestart(ke.Code)
	if t.state == stateEnded && !t.traced {
		t.traced = true // its locks have been given up
	}
	now := t.c.cfg.Clock.Now()
	if t.traced || ke.Code == kv.CodeTxnAborted || t.lostLock(ke) {
		// The locks of the old id go: where some were lost, keeping the others would mean to ask for locks out of order.
		// Age stays: of a deadlock, the transaction that keeps being
		// restarted is more and more seldom the youngest.
		if t.ahead.any() {
			t.abandon()
		} else {
			t.dropLocks(nil)
		}
		t.meta.ID = kv.MakeSessionTxnID(now, t.opts.Session, randomID())
		t.registered, t.traced = false, false
	}
	t.reads.forget()
	t.buf, t.ahead = writeBuffer{}, sentAhead{}
	t.onCommit = nil
	t.deadline = hlc.Timestamp{}
	t.meta.Anchor = nil
	t.meta.ReadTS = hlc.Timestamp{}.Forward(ke.TS)
	t.started, t.state = false, stateOpen
	t.start()
	return nil
}

// RestartStatement implements StatementRestarter. Locks that the statement took are kept: what they protect
// has been read at its latest, and will be again.
func (t *txn) RestartStatement(m Mark, cause error) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	ke := kv.AsError(cause)
	if t.state != stateOpen || t.meta.Isolation != kv.ReadCommitted || t.traced || !t.opts.ReadAsOf.IsEmpty() || t.lostLock(ke) {
		return false
	}
	switch ke.Code {
	case kv.CodeWriteTooOld, kv.CodeUncertain, kv.CodeRefreshFailed:
	default:
		return false
	}
	t.c.metrics.StatementRestarts.Add(1)
	t.undoAhead(int32(m))
	t.buf.rollbackTo(int32(m))
	t.reads.forgetSpans()
	t.reads.forgetFirm(int32(m))
	t.meta.ReadTS = t.meta.ReadTS.Forward(ke.TS)
	t.started = false
	return true
}

func (t *txn) countRestart(code kv.Code) {
	m := &t.c.metrics
	switch code {
	case kv.CodeWriteTooOld:
		m.RestartsWriteTooOld.Add(1)
	case kv.CodeUncertain:
		m.RestartsUncertain.Add(1)
	case kv.CodeRefreshFailed:
		m.RestartsRefresh.Add(1)
	case kv.CodeTxnAborted:
		m.RestartsAborted.Add(1)
	case kv.CodeLockLost:
		m.RestartsLockLost.Add(1)
	default:
		m.RestartsOther.Add(1)
	}
}

// heldLocks is what is to be released.
type heldLocks struct {
	keys []keys.Key
	// spans of locking scans that failed: which rows they had locked by then is not known.
	spans []keys.Span
}

// takeLocks hands over the locks, but for those on keys that keep says go by themselves. t.mu is held.
func (t *txn) takeLocks(keep func(keys.Key) bool) heldLocks {
	h := heldLocks{spans: t.reads.lockSpans}
	for k := range t.reads.locked {
		if keep == nil || !keep(keys.Key(k)) {
			h.keys = append(h.keys, keys.Key(k))
		}
	}
	t.reads.locked, t.reads.lockSpans = nil, nil
	return h
}

// dropLocks releases locks in the background and takes the transaction off the registry. t.mu is held.
func (t *txn) dropLocks(keep func(keys.Key) bool) {
	h, meta := t.takeLocks(keep), t.meta
	if t.registered && !t.traced { // a traced one goes when its background work is done
		t.registered = false
		t.c.unregister(meta.ID)
	}
	if len(h.keys) > 0 || len(h.spans) > 0 {
		t.c.background(func(ctx context.Context) { t.c.release(ctx, meta, h) })
	}
}

// mayHold notes what a locking request that failed may have locked before it did.
func (t *txn) mayHold(s kv.LockStrength, ks []keys.Key, spans []keys.Span) {
	if s == kv.LockNone {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, k := range ks {
		t.reads.addLocked(k, hlc.Timestamp{}, s, false)
	}
	t.reads.lockSpans = append(t.reads.lockSpans, spans...)
}
