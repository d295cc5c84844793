package concurrency

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

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
