package concurrency

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Who does not want to wait asks whose a prepared lock is: it waits for one that is going, and is told of one that may stay.
func TestNoWaitAsksAfterPreparedLocks(t *testing.T) {
	for _, x := range []struct {
		what   string
		state  HolderState
		known  bool // its gateway
		cut    bool // is out of reach
		leaves bool // the lock goes
	}{
		{what: "still running", state: HolderState{Alive: true}, known: true},
		{what: "acknowledged", state: HolderState{Alive: true, Status: kv.TxnStaging}, known: true, leaves: true},
		{what: "committed", state: HolderState{Alive: true, Status: kv.TxnCommitted}, known: true, leaves: true},
		{what: "rolled back", state: HolderState{Alive: true, Status: kv.TxnAborted}, known: true, leaves: true},
		{what: "out of reach, and settled by others", cut: true, leaves: true},
	} {
		t.Run(x.what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gw := newGateways()
				holder := *meta(1)
				if x.known {
					gw.txns[holder.ID] = x.state
				}
				gw.cut[holder.Gateway] = x.cut
				tb := New(Config{Holders: gw})
				req, ls := lockReq(meta(2), kv.LockUpdate, "k")
				req.Wait = kv.WaitSkip
				g, err := tb.Sequence(context.Background(), req, ls)
				require.NoError(t, err)
				defer g.Finish()
				done := make(chan error, 1)
				go func() {
					done <- g.HandleConflict(context.Background(), &eval.ConflictError{Conflicts: []eval.Conflict{
						{Key: keys.Key("k"), Holder: holder, Replicated: true, TS: ts(10), Want: kv.LockUpdate}}})
				}()
				synctest.Wait()
				if x.leaves {
					require.Empty(t, done, "it waits")
					tb.Resolved(eval.ResolvedLock{Txn: holder.ID, Keys: []keys.Key{keys.Key("k")}})
				}
				require.NoError(t, <-done)
				_, undecided := g.Undecided()[holder.ID]
				require.Equal(t, !x.leaves, undecided)
			})
		})
	}
}

// A lock that the table knows of is found on disk as well: the evaluation, not the queue, is where NOWAIT learns of it.
func TestNoWaitGoesOnToThePreparedLock(t *testing.T) {
	tb := New(Config{Holders: newGateways()})
	prepared(tb, 1, "k")
	for _, wait := range []kv.WaitPolicy{kv.WaitError, kv.WaitSkip} {
		req, ls := lockReq(meta(2), kv.LockUpdate, "k")
		req.Wait = wait
		g, err := tb.Sequence(context.Background(), req, ls)
		require.NoError(t, err)
		g.Finish()
	}
}

// lateGateway answers after a while, or never.
type lateGateway struct {
	*gateways
	after time.Duration
	asked int
}

func (l *lateGateway) QueryHolder(ctx context.Context, n kv.NodeID, inc int64, id kv.TxnID, hurry bool) (HolderState, error) {
	l.asked++
	select {
	case <-time.After(l.after):
		return l.gateways.QueryHolder(ctx, n, inc, id, hurry)
	case <-ctx.Done():
		return HolderState{}, ctx.Err()
	}
}

// SKIP LOCKED waits for what a gateway that is near says of a lock in memory, however long a busy machine takes over it; one that does not answer at all
// keeps the row, for now. A gateway that is far away is not waited for, and not asked again at once.
func TestSkipLockedWaitsForNearGateways(t *testing.T) {
	for _, c := range []struct {
		name  string
		after time.Duration
		ended bool
		far   bool
		over  bool
		asked int // in two requests
	}{
		{name: "slow, ended", after: 300 * time.Millisecond, ended: true, over: true, asked: 2},
		{name: "slow, runs", after: 300 * time.Millisecond, asked: 2},
		{name: "stopped, or very slow", after: time.Hour},
		{name: "far away, ended", after: 100 * time.Millisecond, ended: true, far: true, asked: 1},
		{name: "not so far away, ended", after: 15 * time.Millisecond, ended: true, far: true, over: true, asked: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gw := &lateGateway{gateways: newGateways(), after: c.after}
				holder := meta(1)
				if !c.ended {
					gw.begin(holder, 1)
				}
				tb := New(Config{Holders: gw, Near: func(kv.NodeID) bool { return !c.far }})
				for range 2 {
					lock(t, tb, holder, kv.LockUpdate, "k")
					req, ls := lockReq(meta(2), kv.LockUpdate, "k")
					req.Wait = kv.WaitSkip
					g, err := tb.Sequence(t.Context(), req, ls)
					require.NoError(t, err)
					require.NoError(t, g.Ask(t.Context(), &eval.AskError{Holders: []kv.TxnMeta{*holder}}))
					_, free := tb.Blocker(meta(2), keys.Key("k"), kv.LockUpdate)
					require.Equal(t, c.over, free)
					_, undecided := g.Undecided()[holder.ID]
					require.Equal(t, !c.over, undecided)
					g.Finish()
				}
				if c.asked > 0 {
					require.Equal(t, c.asked, gw.asked)
				}
			})
		})
	}
}
