package concurrency

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Who asks whether a key is there waits for those who may take it away, and not for those who only want it to stay. Where the key turns out not
// to be there, its lock is asked for, and waited for, as any other.
func TestIfAbsentWaits(t *testing.T) {
	for _, x := range []struct {
		held  kv.LockStrength
		waits bool
	}{{kv.LockKeyShare, false}, {kv.LockShare, false}, {kv.LockNoKeyUpdate, false}, {kv.LockUpdate, true}} {
		synctest.Test(t, func(t *testing.T) {
			tb := New(Config{Holders: newGateways()})
			lock(t, tb, meta(1), x.held, "k")
			req, ls := lockReq(meta(2), kv.LockUpdate, "k")
			req.Requests[0].(*kv.Get).IfAbsent = true
			there := make(chan error, 1) // the evaluation finds the key, and locks nothing
			go func() {
				g, err := tb.Sequence(context.Background(), req, ls)
				if err == nil {
					g.Finish()
				}
				there <- err
			}()
			gone := make(chan error, 1)
			go func() { gone <- evaluate(context.Background(), tb, req, ls) }()
			synctest.Wait()
			require.Equal(t, x.waits, len(there) == 0, "%v", x.held)
			require.Empty(t, gone, "%v: the lock itself conflicts with all", x.held)
			require.NoError(t, tb.ReleaseTxn(meta(1).ID, nil))
			require.NoError(t, <-there)
			require.NoError(t, <-gone)
			require.True(t, tb.Holds(meta(2).ID, keys.Key("k")))
		})
	}
}

// A session that comes back does not meet the locks of the transaction that it has just ended, which are released a moment later; others do.
func TestOwnSessionsEarlierLocks(t *testing.T) {
	of := func(session int32, start int64) *kv.TxnMeta {
		m := meta(1)
		m.ID = kv.MakeSessionTxnID(ts(start), session, uint64(start))
		return m
	}
	tb := New(Config{Holders: newGateways()})
	first, second := of(7, 100), of(7, 200)
	lock(t, tb, first, kv.LockUpdate, "k")
	_, ok := tb.TryLock(of(8, 300), keys.Key("k"), kv.LockUpdate)
	require.False(t, ok, "another session")
	_, ok = tb.TryLock(of(7, 50), keys.Key("k"), kv.LockUpdate)
	require.False(t, ok, "an earlier transaction")
	_, ok = tb.TryLock(second, keys.Key("k"), kv.LockUpdate)
	require.True(t, ok)
	require.NoError(t, tb.ReleaseTxn(first.ID, nil))
	require.True(t, tb.Holds(second.ID, keys.Key("k")))
	_, ok = tb.TryLock(of(8, 300), keys.Key("k"), kv.LockUpdate)
	require.False(t, ok)
	require.NoError(t, tb.ReleaseTxn(second.ID, nil))
	tb.Prepared(eval.PreparedLock{Key: keys.Key("q"), Txn: *first, TS: ts(10)})
	_, ok = tb.TryLock(second, keys.Key("q"), kv.LockUpdate)
	require.False(t, ok, "a prepared lock says something about what is written")
}
