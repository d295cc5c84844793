package txn

import (
	"context"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Transactions in two phases that a client drives (PREPARE TRANSACTION). All writes are prepared, as locks with their
// values, and the record says PREPARED with the timestamp at which the transaction commits if it does. Nobody but whoever has the
// transaction's identity decides: recovery leaves such a record alone, and neither it nor the locks depend on any process.
//
// The timestamp is fixed at the prepare, when what was read was validated: the second phase cannot fail for reasons of
// isolation. So nobody can read past the locks in the meantime, and readers of these rows wait.

// Prepared is the identity of a prepared transaction: all that it takes to decide it.
type Prepared struct {
	Meta     kv.TxnMeta
	CommitTS hlc.Timestamp
}

// Empty reports whether the transaction had nothing to write, so that there is nothing to decide.
func (p *Prepared) Empty() bool { return len(p.Meta.Anchor) == 0 }

// TwoPhase is implemented by a Txn that can be prepared.
type TwoPhase interface {
	// PrepareCommit prepares the transaction and ends it here. announce is called with its identity before anything can be
	// found of it in the ranges; if it fails, nothing is. After an error of class RetryTxn the transaction may be restarted, after
	// others nothing of it remains, but after CodeUnknownOutcome, when it may be prepared or not.
	PrepareCommit(ctx context.Context, announce func(kv.TxnMeta) error) (Prepared, error)
}

// Decider is implemented by a Gateway that can finish prepared transactions, whichever node prepared them.
type Decider interface {
	// PreparedStatus asks for the record. If there is none, the transaction is aborted, if it should still be about to prepare.
	PreparedStatus(ctx context.Context, meta kv.TxnMeta) (kv.TxnStatus, hlc.Timestamp, error)
	// Decide commits or aborts, and returns what the record says then: if it was decided before, that holds. The locks are gone
	// when it returns without an error; after one it may be repeated, and with CodeUnknownOutcome it may have been decided. The record stays until Forget.
	// A range that does not answer for half a minute ends it.
	Decide(ctx context.Context, meta kv.TxnMeta, commit bool) (kv.TxnStatus, error)
	// Forget removes the record of a transaction that Decide has committed, when nobody will ask for it again.
	Forget(ctx context.Context, meta kv.TxnMeta) error
}

var (
	_ TwoPhase = (*txn)(nil)
	_ Decider  = (*Coordinator)(nil)
)

// maxHeldKeys bounds the keys of a prepared transaction, in bytes: the record lists them.
const maxHeldKeys = 4 << 20

// PrepareCommit implements TwoPhase.
func (t *txn) PrepareCommit(ctx context.Context, announce func(kv.TxnMeta) error) (Prepared, error) {
	ctx = withWaiting(ctx, clientWaits)
	t.mu.Lock()
	if err := t.usable(); err != nil {
		t.mu.Unlock()
		return Prepared{}, err
	}
	if err := t.begin(ctx); err != nil {
		t.mu.Unlock()
		return Prepared{}, err
	}
	if t.ahead.any() {
		t.mu.Unlock()
		return Prepared{}, kv.Errorf(kv.CodeTooLarge, "the transaction has outgrown its buffer; such a one cannot be prepared")
	}
	writes := t.buf.final(func(k keys.Key) bool { return t.reads.locked[string(k)].read })
	if len(writes) > 0 {
		if len(t.meta.Anchor) == 0 {
			t.meta.Anchor = t.buf.log[0].key
		}
		if !t.registered {
			t.registered = true
			t.c.register(t.meta, t.since)
		}
	}
	meta := t.meta
	t.mu.Unlock()
	if len(writes) == 0 {
		if _, err := t.commitReads(ctx); err != nil {
			return Prepared{}, commitError(err)
		}
		return Prepared{}, announce(kv.TxnMeta{})
	}
	size := 0
	for i := range writes {
		size += len(writes[i].Key) + 2
	}
	if size > maxHeldKeys {
		return Prepared{}, kv.Errorf(kv.CodeTooLarge, "the keys of %d writes take more than the %d bytes that a prepared transaction may have", len(writes), maxHeldKeys)
	}
	if err := announce(meta); err != nil {
		return Prepared{}, err
	}
	p, err := t.planCommit(ctx, writes)
	if err != nil {
		return Prepared{}, err
	}
	ts, err := t.hold(ctx, p)
	if err != nil {
		t.c.metrics.CommitsFailed.Add(1)
		return Prepared{}, commitError(err)
	}
	return Prepared{Meta: meta, CommitTS: ts}, nil
}

// hold is commitMany with another end.
func (t *txn) hold(ctx context.Context, p *plan) (hlc.Timestamp, error) {
	mc, err := t.prepareMany(ctx, p, false)
	if err != nil {
		return hlc.Timestamp{}, err
	}
	c, meta := t.c, mc.meta
	v, ts := afterPrepare(mc.stageTS, false, mc.results)
	switch {
	case v == verdictWait:
		return t.leave(ctx, meta, mc.settle)
	case v == verdictAbort:
		return mc.abort(ctx, mc.firstEr)
	}
	if deadline := t.bound(); late(ts, deadline) {
		return mc.abort(ctx, t.errLate(ts, deadline))
	}
	t.mu.Lock()
	reads := t.reads.pending(meta.ReadTS, ts, meta.Isolation == kv.Serializable, false)
	t.mu.Unlock()
	if err := t.refresh(ctx, reads, ts); err != nil {
		return mc.abort(ctx, err)
	}
	told := c.tellClock(ctx, meta, mc.below(ts), ts)
	a := c.insist(ctx, func() *kv.BatchRequest {
		m := meta
		return &kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.EndTxn{Hold: true, CommitTS: ts, Prepared: mc.all}}}
	}, true)
	mc.untold = !<-told
	mc.doubt = mc.doubt || a.again
	switch {
	case a.err != nil && a.definite:
		return mc.abort(ctx, a.err)
	case a.err != nil:
		return t.leave(ctx, meta, mc.settle)
	}
	if mc.untold {
		c.outWait(ctx, ts)
	}
	c.metrics.Held.Add(1)
	written := make(map[string]bool, len(mc.all))
	for _, k := range mc.all {
		written[string(k)] = true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state, t.traced = stateEnded, false
	t.dropLocks(func(k keys.Key) bool { return written[string(k)] }) // and out of the registry: the record speaks for itself
	return ts, nil
}

// PreparedStatus implements Decider.
func (c *Coordinator) PreparedStatus(ctx context.Context, meta kv.TxnMeta) (kv.TxnStatus, hlc.Timestamp, error) {
	rec, err := c.askRecord(ctx, meta, &kv.RecoverTxn{})
	return rec.Status, rec.CommitTS, err
}

// Decide implements Decider.
func (c *Coordinator) Decide(ctx context.Context, meta kv.TxnMeta, commit bool) (kv.TxnStatus, error) {
	ctx = withWaiting(ctx, clientWaits)
	rec, err := c.askRecord(ctx, meta, &kv.RecoverTxn{})
	if err != nil {
		return kv.TxnUnknown, err
	}
	status, ts := rec.Status, rec.CommitTS
	if status == kv.TxnPrepared {
		var a answer
		status, ts, _, a = c.endTxn(ctx, meta, &kv.EndTxn{Commit: commit, CommitTS: rec.CommitTS})
		if kv.HasCode(a.err, kv.CodeTxnAborted) {
			status, ts, a.err = kv.TxnAborted, hlc.Timestamp{}, nil // somebody else has rolled it back since the record was read
		}
		switch {
		case a.err != nil && !a.definite:
			return kv.TxnUnknown, kv.Errorf(kv.CodeUnknownOutcome, "nobody says whether transaction %s has been decided: %v", meta.ID, a.err)
		case a.err != nil:
			return kv.TxnUnknown, a.err
		}
	}
	if status != kv.TxnCommitted && status != kv.TxnAborted {
		return status, kv.Errorf(kv.CodeInternal, "transaction %s is not prepared", meta.ID)
	}
	return status, c.resolve(ctx, meta, rec.Prepared, status == kv.TxnCommitted, ts)
}

// Forget implements Decider.
func (c *Coordinator) Forget(ctx context.Context, meta kv.TxnMeta) error {
	rec, err := c.askRecord(ctx, meta, &kv.RecoverTxn{})
	if err != nil || rec.Status != kv.TxnCommitted {
		return err // an aborted one stays until it is too old to be revived: row 12
	}
	return c.removeRecord(ctx, meta, true, rec.CommitTS)
}
