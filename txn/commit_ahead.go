package txn

import (
	"context"
	"slices"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// commitAhead commits a transaction that has open locks (ahead.go). The rest of the buffer joins them; the commit timestamp
// is chosen above all of them and above what was promised to readers; the reads are brought up to it; and then the record
// says COMMITTED, with the spans. It is never staged: if the record does not say OPEN until then, the transaction is aborted.
func (t *txn) commitAhead(ctx context.Context) (hlc.Timestamp, error) {
	ts, err := t.tryCommitAhead(ctx)
	if err == nil {
		t.afterCommit(ts)
		return ts, nil
	}
	t.c.metrics.CommitsFailed.Add(1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state == stateOpen {
		t.state = stateEnded
		t.abandon()
	}
	return hlc.Timestamp{}, commitError(err)
}

func (t *txn) tryCommitAhead(ctx context.Context) (hlc.Timestamp, error) {
	if err := ctx.Err(); err != nil {
		return hlc.Timestamp{}, kv.Errorf(kv.CodeCanceled, "%v", err)
	}
	if err := t.sendAhead(ctx, true); err != nil {
		return hlc.Timestamp{}, err
	}
	if err := t.settleUndo(ctx); err != nil {
		return hlc.Timestamp{}, err
	}
	if err := t.openRecord(ctx, false); err != nil {
		return hlc.Timestamp{}, err
	}
	t.mu.Lock()
	meta, deadline, broken, top, spans := t.meta, t.deadline, t.ahead.broken, t.ahead.top, slices.Clone(t.ahead.spans)
	t.mu.Unlock()
	if broken != nil {
		return hlc.Timestamp{}, kv.Errorf(kv.CodeTxnAborted, "writes that were sent ahead were not answered: %v", broken)
	}
	ts := t.c.closeOpen(meta.ID, meta.ReadTS.Forward(top))
	if late(ts, deadline) {
		return hlc.Timestamp{}, t.errLate(ts, deadline)
	}
	t.mu.Lock()
	reads := t.reads.pending(meta.ReadTS, ts, meta.Isolation == kv.Serializable, false)
	t.mu.Unlock()
	if err := t.refresh(ctx, reads, ts); err != nil {
		return hlc.Timestamp{}, err
	}
	if err := t.c.awaitPassed(ctx, ts); err != nil {
		return hlc.Timestamp{}, err
	}
	return t.commitOpen(ctx, meta, spans, ts)
}

// awaitPassed waits until the clock has passed ts: what was promised may lie ahead of it. Nobody is to read at a clock that has not passed the
// commit, and to miss it.
func (c *Coordinator) awaitPassed(ctx context.Context, ts hlc.Timestamp) error {
	for {
		d := time.Duration(ts.WallTime - c.cfg.Clock.Physical())
		if d <= 0 {
			return nil
		}
		sleep(ctx, d)
		if err := ctx.Err(); err != nil {
			return kv.Errorf(kv.CodeCanceled, "%v", err)
		}
	}
}

// commitOpen turns the record from OPEN to COMMITTED at ts, and hands the rest to the background. All locks are in the spans, and at or below ts.
func (t *txn) commitOpen(ctx context.Context, meta kv.TxnMeta, spans []keys.Span, ts hlc.Timestamp) (hlc.Timestamp, error) {
	c := t.c
	told := c.tellClock(ctx, meta, spans, ts)
	status, at, _, a := c.endTxn(ctx, meta, &kv.EndTxn{Commit: true, CommitTS: ts, Spans: spans, Staged: ts, Open: true})
	untold := !<-told
	switch {
	case a.err == nil && status == kv.TxnCommitted:
	case a.err == nil || a.definite && !(a.again && kv.HasCode(a.err, kv.CodeReadBelowGC)): // which says: perhaps
		return hlc.Timestamp{}, errAbandoned()
	default:
		return t.leave(ctx, meta, func(ctx context.Context) (outcome, error) {
			s, at, err := c.recover(ctx, meta, ts, nil, spans)
			if untold && s == kv.TxnCommitted {
				c.outWait(ctx, at)
			}
			return outcome{s, at}, err
		})
	}
	if untold {
		c.outWait(ctx, at)
	}
	c.metrics.CommitsOpen.Add(1)
	c.setStatus(meta.ID, kv.TxnCommitted, at)
	c.background(func(ctx context.Context) {
		defer c.unregister(meta.ID)
		if err := c.resolveSpans(ctx, meta, spans, true, at); err != nil {
			c.metrics.BackgroundFailed.Add(1) // the ranges find out about what is left
			return
		}
		c.forget(meta)
	})
	t.committed(at, nil)
	return at, nil
}
