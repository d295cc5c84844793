package concurrency

import (
	"context"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// The locks of a large transaction that has ended go a thousand at a time, and only as fast as clients do not notice. Plain reads go through them. Who wants to lock or to write cannot,
// and to ask after each key that he meets would take him ten milliseconds for every one. He does a piece of that work himself, from the key on that he has come to.

// ResolveFrom turns locks of a transaction that has ended into versions, or drops them: from a key on, as many in the range as one request takes. next is where
// it ended, nil at the end of the range.
type ResolveFrom func(ctx context.Context, holder kv.TxnMeta, from keys.Key, commit bool, ts hlc.Timestamp) (next keys.Key, err error)

// maxPieces bounds the requests that one look makes of a transaction's locks. A request that meets more and more of them, a scan, makes twice as many each time: it begins its page
// anew after each.
const maxPieces = 16

// maxUncleared bounds how often a request tries in vain.
const maxUncleared = 2

// ClearEnded resolves what an evaluation met of the open locks of transactions that are known to have ended. If it has done something, or tried to, it has
// latched again: evaluate once more. (Without latches a range may be split: a lock recorded then, of a key that another range has by now, would be waited for for ever.)
// Otherwise the caller goes on with HandleConflict, under the latches that it has. After an error call Finish.
func (g *Guard) ClearEnded(ctx context.Context, ce *eval.ConflictError, resolve ResolveFrom) (cleared bool, err error) {
	if g.uncleared >= maxUncleared {
		return false, nil
	}
	t := g.t
	tried := false
	var done []kv.TxnID
next:
	for i := range ce.Conflicts {
		c := &ce.Conflicts[i]
		if !c.Replicated || !c.Open || c.Want == kv.LockNone {
			continue
		}
		for _, id := range done {
			if id == c.Holder.ID {
				continue next
			}
		}
		t.mu.Lock()
		var o outcome
		if t.outcomes != nil {
			o = t.outcomes.known[c.Holder.ID]
		}
		t.mu.Unlock()
		if o.status != kv.TxnCommitted && o.status != kv.TxnAborted || g.clearedAt.Equal(c.Key) && g.clearedOf == c.Holder.ID {
			continue // it runs, as far as is known; or that was of no use
		}
		g.unlatch()
		tried = true
		g.pieces = min(max(1, 2*g.pieces), maxPieces)
		for n, from := 0, c.Key; n < g.pieces && from != nil; n++ {
			next, err := resolve(ctx, c.Holder, from, o.status == kv.TxnCommitted, o.ts)
			if err != nil {
				if err := ctx.Err(); err != nil {
					return false, ctxError(err)
				}
				break next // whoever waits finds out why
			}
			if n == 0 {
				g.clearedAt, g.clearedOf = c.Key, c.Holder.ID
				done = append(done, c.Holder.ID)
			}
			t.cfg.Metrics.EndedCleared.Add(1)
			from = next
		}
	}
	if !tried {
		return false, nil
	}
	if len(done) == 0 {
		g.uncleared++
	}
	return true, g.enter(ctx)
}
