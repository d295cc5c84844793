package txn

import (
	"context"
	"sync"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// maxRecoveryRounds bounds how often a recovery starts again because the record changed under it.
const maxRecoveryRounds = 10

// Recover finds the outcome of a transaction whose prepared lock somebody met at key and
// whose coordinator is silent. It decides where nobody has, by the table in the package documentation.
// Callers resolve their own key; the others that the record lists are resolved in the background.
func (c *Coordinator) Recover(ctx context.Context, holder kv.TxnMeta, key keys.Key) (kv.TxnStatus, hlc.Timestamp, error) {
	if len(holder.Anchor) == 0 {
		return kv.TxnUnknown, hlc.Timestamp{}, kv.Errorf(kv.CodeInternal, "the lock at %s names no anchor", keys.Pretty(key))
	}
	// Many waiters may meet the locks of one transaction at a time: one of them works, the others wait for it.
	for {
		c.recMu.Lock()
		r := c.recovering[holder.ID]
		if r == nil {
			r = &recovery{done: make(chan struct{})}
			c.recovering[holder.ID] = r
			c.recMu.Unlock()
			c.metrics.Recoveries.Add(1)
			c.work(ctx, r, holder, key)
		} else {
			c.recMu.Unlock()
		}
		select {
		case <-r.done:
			if !kv.HasCode(r.err, kv.CodeCanceled) || ctx.Err() != nil {
				return r.status, r.ts, r.err
			} // who worked has left: somebody else goes on
		case <-ctx.Done():
			return kv.TxnUnknown, hlc.Timestamp{}, kv.Errorf(kv.CodeCanceled, "%v", ctx.Err())
		}
	}
}

// maxDetached bounds the recoveries that go on without whoever began them.
const maxDetached = 256

// work does a recovery. Who waits for a lock looks after its holder for two seconds at a time (range/internal/concurrency), and to ask for the keys of
// thousands of ranges, or of distant ones, takes longer: given up with the one who waits it would begin again each time and never end. So from the record
// that says STAGING on, it belongs to the coordinator. Who cannot read the record learns the reason at once.
func (c *Coordinator) work(ctx context.Context, r *recovery, holder kv.TxnMeta, key keys.Key) {
	rec, err := c.askRecord(ctx, holder, &kv.RecoverTxn{})
	if err != nil {
		c.recovered(r, holder, kv.TxnUnknown, hlc.Timestamp{}, err)
		return
	}
	run := func(ctx context.Context) {
		s, ts, err := c.recoverFrom(ctx, holder, rec, []keys.Key{key}, nil)
		c.recovered(r, holder, s, ts, err)
	}
	if onRecord(rec.Status) != stepQuery || !c.detach(run) {
		run(ctx)
	}
}

// recovered tells those who wait.
func (c *Coordinator) recovered(r *recovery, holder kv.TxnMeta, s kv.TxnStatus, ts hlc.Timestamp, err error) {
	r.status, r.ts, r.err = s, ts, err
	c.recMu.Lock()
	delete(c.recovering, holder.ID)
	c.recMu.Unlock()
	close(r.done)
}

// detach runs f in a goroutine of the coordinator's, until Close is called; false if there are too many of them, or it has been.
func (c *Coordinator) detach(f func(context.Context)) bool {
	c.mu.RLock() // so that Close waits for the goroutine
	defer c.mu.RUnlock()
	if c.closing {
		return false
	}
	select {
	case c.detached <- struct{}{}:
	default:
		return false
	}
	c.wg.Add(1)
	go func() {
		defer c.wg.Done()
		defer func() { <-c.detached }()
		f(withWaiting(c.recCtx, nobodyWaits)) // a range that does not answer ends it
	}()
	return true
}

// recovery is one that is under way.
type recovery struct {
	done   chan struct{}
	status kv.TxnStatus
	ts     hlc.Timestamp
	err    error
}

// recover decides. known and spans are where locks are, or may be, besides what the record lists. own, if it is this gateway's own transaction, is
// the lowest timestamp at which it may have committed: CodeReadBelowGC says that its record may have been collected.
func (c *Coordinator) recover(ctx context.Context, holder kv.TxnMeta, own hlc.Timestamp, known []keys.Key, spans []keys.Span) (kv.TxnStatus, hlc.Timestamp, error) {
	rec, err := c.askRecord(ctx, holder, &kv.RecoverTxn{StagedTS: own})
	if err != nil {
		return kv.TxnUnknown, hlc.Timestamp{}, err
	}
	return c.recoverFrom(ctx, holder, rec, known, spans)
}

// recoverFrom goes on from what the record said.
func (c *Coordinator) recoverFrom(ctx context.Context, holder kv.TxnMeta, rec kv.TxnRecord, known []keys.Key, spans []keys.Span) (kv.TxnStatus, hlc.Timestamp, error) {
	var err error
	for n := 0; err == nil && n < maxRecoveryRounds; n++ {
		switch onRecord(rec.Status) {
		case stepLeave:
			return rec.Status, rec.CommitTS, nil
		case stepFinish:
			if rec.Status == kv.TxnCommitted {
				c.metrics.RecoveredCommitted.Add(1)
			} else {
				c.metrics.RecoveredAborted.Add(1)
			}
			c.finishRecovered(holder, rec, known, spans)
			return rec.Status, rec.CommitTS, nil
		}
		var missing int
		if missing, err = c.queryPrepared(ctx, holder, rec.Prepared, rec.CommitTS); err != nil {
			break
		}
		// The record may have changed meanwhile: it is written only over the staging that was examined, and
		// what comes back is what it says now.
		rec, err = c.askRecord(ctx, holder, &kv.RecoverTxn{Decide: onPrepared(missing), StagedTS: rec.CommitTS})
	}
	if err == nil {
		err = kv.Errorf(kv.CodeUnavailable, "the record of transaction %s keeps changing", holder.ID)
	}
	return kv.TxnUnknown, hlc.Timestamp{}, err
}

func (c *Coordinator) askRecord(ctx context.Context, holder kv.TxnMeta, q *kv.RecoverTxn) (kv.TxnRecord, error) {
	a := c.insist(ctx, func() *kv.BatchRequest {
		m := holder
		return &kv.BatchRequest{Txn: &m, Requests: []kv.Request{q}}
	}, false)
	if a.err != nil {
		return kv.TxnRecord{}, a.err
	}
	return a.resp.Responses[0].(*kv.RecoverTxnResponse).Record, nil
}

// queryPrepared asks for every key, fencing those that are not prepared at or below ts, and counts them.
func (c *Coordinator) queryPrepared(ctx context.Context, holder kv.TxnMeta, ks []keys.Key, ts hlc.Timestamp) (missing int, err error) {
	var mu sync.Mutex
	err = c.eachRange(ctx, ks, func(part []keys.Key) *kv.BatchRequest {
		m := holder
		return &kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.QueryPrepared{Keys: part, TS: ts}}}
	}, func(_ []keys.Key, resp *kv.BatchResponse) {
		mu.Lock()
		missing += len(resp.Responses[0].(*kv.QueryPreparedResponse).Missing)
		mu.Unlock()
	})
	return missing, err
}

// FinishRecord resolves what a COMMITTED record lists, and then removes it. It is for those that are so old that nobody asks for them any more, or is
// told that the answer is forgotten. It goes on when its caller leaves, as a recovery does: what is spread over thousands of ranges takes longer than anybody waits who looks
// after many records, and would be begun again each time.
func (c *Coordinator) FinishRecord(ctx context.Context, rec kv.TxnRecord) error {
	if rec.Status != kv.TxnCommitted || len(rec.Prepared)+len(rec.Spans) == 0 {
		return kv.Errorf(kv.CodeInternal, "the record of transaction %s does not say that all is committed, and where", rec.Meta.ID)
	}
	id := rec.Meta.ID
	if !c.beginFinishing(id) {
		return kv.Errorf(kv.CodeUnavailable, "the locks of transaction %s are being resolved", id)
	}
	done := make(chan error, 1)
	run := func(ctx context.Context) {
		err := c.finishRecord(ctx, rec)
		c.endFinishing(id)
		done <- err
	}
	if !c.detach(run) {
		run(ctx)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return kv.Errorf(kv.CodeCanceled, "the locks of transaction %s are still being resolved: %v", id, ctx.Err())
	}
}

func (c *Coordinator) finishRecord(ctx context.Context, rec kv.TxnRecord) error {
	if err := c.resolve(ctx, rec.Meta, rec.Prepared, true, rec.CommitTS); err != nil {
		return err
	}
	if len(rec.Spans) > 0 {
		if err := c.resolveSpans(ctx, rec.Meta, rec.Spans, true, rec.CommitTS); err != nil {
			return err
		}
	}
	return c.removeRecord(ctx, rec.Meta, true, rec.CommitTS)
}

// finishRecovered resolves in the background what the record lists. The record itself stays until the range forgets it by
// age: an aborted one fences what its coordinator may still have under way, and a committed one tells that
// coordinator, should it be cut off and not dead, what became of its transaction. (Without a record it would conclude: nothing.)
func (c *Coordinator) finishRecovered(holder kv.TxnMeta, rec kv.TxnRecord, known []keys.Key, spans []keys.Span) {
	commit := rec.Status == kv.TxnCommitted
	ks := rec.Prepared
	if len(ks) == 0 {
		ks = known
	}
	if len(rec.Spans) > 0 {
		spans = rec.Spans
	}
	// Of thousands of locks many are met before the first of these has come to them, and each time all would be resolved.
	listed := len(rec.Prepared)+len(rec.Spans) > 0
	if listed && !c.beginFinishing(holder.ID) {
		return
	}
	c.background(func(ctx context.Context) {
		if listed {
			defer c.endFinishing(holder.ID)
		}
		err := c.resolve(ctx, holder, ks, commit, rec.CommitTS)
		if err == nil && len(spans) > 0 {
			err = c.resolveSpans(ctx, holder, spans, commit, rec.CommitTS)
		}
		if err != nil {
			c.metrics.BackgroundFailed.Add(1)
		}
	})
}

// beginFinishing reports whether nobody here resolves what the transaction's record lists.
func (c *Coordinator) beginFinishing(id kv.TxnID) bool {
	c.recMu.Lock()
	defer c.recMu.Unlock()
	if _, ok := c.finishing[id]; ok {
		return false
	}
	c.finishing[id] = struct{}{}
	return true
}

func (c *Coordinator) endFinishing(id kv.TxnID) {
	c.recMu.Lock()
	delete(c.finishing, id)
	c.recMu.Unlock()
}

// resolve turns locks into versions or drops them.
func (c *Coordinator) resolve(ctx context.Context, holder kv.TxnMeta, ks []keys.Key, commit bool, ts hlc.Timestamp) error {
	return c.eachRange(ctx, ks, func(part []keys.Key) *kv.BatchRequest {
		m := holder
		return &kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.ResolveLocks{Commit: commit, CommitTS: ts, Keys: part}}}
	}, nil)
}

// endTxn moves the record and resolves end.Local with it. Keys that a split has moved away from the anchor are left out;
// they are to be resolved with the others. It returns what the record says, and the keys resolved with it.
func (c *Coordinator) endTxn(ctx context.Context, meta kv.TxnMeta, end *kv.EndTxn) (kv.TxnStatus, hlc.Timestamp, []keys.Key, answer) {
	local := end.Local
	again := false
	for n := 0; ; n++ {
		a := c.insist(ctx, func() *kv.BatchRequest {
			m := meta
			e := *end
			e.Local = local
			return &kv.BatchRequest{Txn: &m, Requests: []kv.Request{&e}}
		}, true)
		again = again || a.again
		a.again = again
		if kv.HasCode(a.err, kv.CodeRangeMismatch) && len(local) > 0 && n < maxRecuts {
			local = c.keysWith(ctx, meta.Anchor, local)
			continue
		}
		if a.err != nil {
			return kv.TxnUnknown, hlc.Timestamp{}, nil, a
		}
		r := a.resp.Responses[0].(*kv.EndTxnResponse)
		return r.Status, r.CommitTS, local, a
	}
}

// keysWith returns those of ks that lie in one range with anchor, by what is known now.
func (c *Coordinator) keysWith(ctx context.Context, anchor keys.Key, ks []keys.Key) []keys.Key {
	cut, err := c.cutKeys(ctx, append([]keys.Key{anchor}, ks...))
	if err != nil || len(cut) == 0 {
		return nil
	}
	return cut[0].keys[1:]
}

func (c *Coordinator) removeRecord(ctx context.Context, meta kv.TxnMeta, commit bool, ts hlc.Timestamp) error {
	return c.insist(ctx, func() *kv.BatchRequest {
		m := meta
		return &kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.EndTxn{Commit: commit, CommitTS: ts, Remove: true}}}
	}, true).err
}
