package store

import (
	"bytes"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// A hand-over waits for those who evaluate, but not for ever. Who has been at it for longer than that, on a machine that gives him no processor, and locks a row when
// the table has gone to the next leader, is sent there: nobody there knows of the lock, and two would have the row.
func TestLateLockIsNotLostInHandOver(t *testing.T) { synctest.Test(t, testLateLockIsNotLostInHandOver) }

func testLateLockIsNotLostInHandOver(t *testing.T) {
	var armed atomic.Bool
	stalled, goOn := make(chan struct{}), make(chan struct{})
	c := newClusterWith(t, 3, testKnobs, func(cfg *Config) {
		cfg.Clock = hlc.NewClock(func() int64 {
			if armed.Load() {
				// An evaluation reads the clock when it has seen that the leader serves.
				var b [8 << 10]byte
				stack := b[:runtime.Stack(b[:], false)]
				if bytes.Contains(stack, []byte("(*Replica).evaluate(")) && bytes.Contains(stack, []byte("store.lockRow(")) && armed.CompareAndSwap(true, false) {
					close(stalled)
					<-goOn
				}
			}
			return time.Now().UnixNano()
		}, testOffset)
	})
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 1, "v"))
	s := c.waitLeaderStore()
	early, late, other := testTxn(s, 1), testTxn(s, 2), testTxn(s, 3)
	require.NoError(t, lockRow(ctx, s, early, 2, kv.WaitError))
	armed.Store(true)
	locked := make(chan error, 1)
	go func() { locked <- lockRow(ctx, s, late, 1, kv.WaitError) }()
	<-stalled
	next := c.transfer(ctx)
	close(goOn)
	err := <-locked
	require.True(t, kv.HasCode(err, kv.CodeNotLeader), "a lock that the next leader does not know of: %v", err)

	require.NoError(t, lockRow(ctx, next, late, 1, kv.WaitError))
	for i := 1; i <= 2; i++ {
		err = lockRow(ctx, next, other, i, kv.WaitError)
		require.True(t, kv.HasCode(err, kv.CodeLockNotAvailable), "row %d: %v", i, err)
	}
}
