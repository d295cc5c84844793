package concurrency

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// What is handed over blocks the same requests at the successor, and whoever waits is sent there.
func TestHandOver(t *testing.T) {
	ctx := context.Background()
	old, next := New(Config{}), New(Config{})
	gone := kv.Errorf(kv.CodeNotLeader, "moved")
	next.Clear(gone)
	take := func(n byte, key string, s kv.LockStrength) {
		m := meta(n)
		_, ok := old.TryLock(m, keys.Key(key), s)
		require.True(t, ok)
	}
	take(1, "a", kv.LockUpdate)
	take(1, "b", kv.LockShare)
	take(2, "b", kv.LockShare)
	waiting := make(chan error, 1)
	go func() {
		m := meta(3)
		_, err := old.Sequence(ctx, &kv.BatchRequest{Txn: m, Requests: []kv.Request{&kv.Get{Key: keys.Key("a"), Lock: kv.LockUpdate}}}, nil)
		waiting <- err
	}()
	for len(old.Locks(0)) != 4 {
		runtime.Gosched()
	}
	held, left := old.HandOver(gone, 1<<20)
	require.Zero(t, left)
	require.Len(t, held, 3)
	require.ErrorIs(t, <-waiting, gone)
	require.ErrorIs(t, old.ReleaseTxn(meta(1).ID, nil), gone, "it is not here that the locks are released any more")
	require.Zero(t, old.Len())

	next.Install(held)
	next.Open()
	blocked := func(n byte, key string, s kv.LockStrength) bool {
		m := meta(n)
		_, ok := next.TryLock(m, keys.Key(key), s)
		return !ok
	}
	require.True(t, blocked(3, "a", kv.LockUpdate))
	require.True(t, blocked(3, "b", kv.LockNoKeyUpdate))
	require.False(t, blocked(3, "b", kv.LockKeyShare))
	require.NoError(t, next.ReleaseTxn(meta(1).ID, nil))
	require.False(t, blocked(3, "a", kv.LockUpdate))
	require.True(t, blocked(4, "b", kv.LockNoKeyUpdate), "the second holder of the shared lock is there still")
}

// More than fits: the oldest transactions keep all of their locks, the youngest lose all.
func TestHandOverIsBounded(t *testing.T) {
	old := New(Config{})
	for n := byte(1); n <= 3; n++ {
		m := meta(n)
		for i := range 100 {
			_, ok := old.TryLock(m, keys.Key(fmt.Sprintf("%d/%03d", n, i)), kv.LockUpdate)
			require.True(t, ok)
		}
	}
	held, left := old.HandOver(kv.Errorf(kv.CodeNotLeader, "moved"), 2*(100*(lockBytes+5)+metaBytes)+50)
	require.Len(t, held, 200)
	require.Equal(t, 100, left)
	for _, l := range held {
		require.NotEqual(t, meta(3).ID, l.Txn.ID)
	}
}
