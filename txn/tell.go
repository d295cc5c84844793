package txn

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Whoever prepared below the timestamp at which a transaction commits in the end may not have seen that timestamp on any clock yet, and
// the client's next transaction may rely on that (kv.TxnMeta.Observed). So each is told before the client is; and if one cannot be told,
// the client waits until no clock can be behind any more.

// tellClock carries this node's clock, which has passed ts, to the leader of every range in the spans. Whether all have heard is sent once.
func (c *Coordinator) tellClock(ctx context.Context, meta kv.TxnMeta, spans []keys.Span, ts hlc.Timestamp) (told <-chan bool) {
	c.cfg.Clock.Update(ts)
	ctx, cancel := context.WithTimeout(ctx, 2*c.cfg.Clock.MaxOffset()+100*time.Millisecond)
	done := make(chan bool, 1)
	go func() {
		defer cancel()
		done <- c.tellLeaders(ctx, meta, spans, ts, 0) == nil
	}()
	return done
}

// tellLeaders sends an empty refresh of all of the spans, not of some key in each: a range that has split meanwhile has leaders that
// are not known here, and only what reaches into the right half finds out.
func (c *Coordinator) tellLeaders(ctx context.Context, meta kv.TxnMeta, spans []keys.Span, ts hlc.Timestamp, depth int) error {
	parts, err := c.cfg.Sender.Ranges(ctx, spans, false)
	if err != nil {
		return err
	}
	return c.inParallel(ctx, len(parts), func(ctx context.Context, i int) error {
		m := meta
		_, err := c.cfg.Sender.Send(ctx, &kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.Refresh{Spans: parts[i].Spans, From: ts, To: ts}}})
		if kv.HasCode(err, kv.CodeRangeMismatch) && depth < maxRecuts {
			return c.tellLeaders(ctx, meta, parts[i].Spans, ts, depth+1)
		}
		return err
	})
}

// outWait returns when every node's clock has passed ts. A client that has gone away does not shorten it: others may hear of the commit.
func (c *Coordinator) outWait(ctx context.Context, ts hlc.Timestamp) {
	sleep(context.WithoutCancel(ctx), time.Duration(ts.WallTime-c.cfg.Clock.Physical())+c.cfg.Clock.MaxOffset())
}
