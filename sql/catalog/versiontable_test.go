package catalog

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/txn"
)

// What a process that was killed has under way may still arrive when its node runs again. The new process has a lease at once, but says nothing for the old one: a schema change
// waits until the lease of that has run out.
func TestFormerProcessIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, defaultTimes)
		ctx := t.Context()
		_, _, err := c.change(ctx, 0)
		require.NoError(t, err)
		time.Sleep(2 * defaultTimes.poll)
		x := c.mem.Begin(ctx, txn.Options{})
		snap, err := c.stores[1].Snapshot(ctx, x)
		require.NoError(t, err)
		var uses Uses
		uses.Seen(snap, x.ReadTimestamp(), RootRole)
		_, ok := uses.Watch(snap).TableByID(FirstObjectID)
		require.True(t, ok)
		require.NoError(t, x.Put(keys.Index(500, 1), []byte("x")))
		_, err = c.stores[1].BeforeCommit(ctx, x, &uses, false)
		require.NoError(t, err)

		killed := c.gates[1]
		killed.shut.Store(true)
		c.again(1)
		time.Sleep(time.Second / 2)
		require.NotNil(t, c.stores[1].holder.Load().current.Load())
		_, _, err = c.change(ctx, 0)
		require.NoError(t, err)
		_, err = x.Commit(ctx)
		require.True(t, kv.HasCode(err, kv.CodeRefreshFailed), "a commit by the catalog that was replaced before it: %v", err)
		require.Less(t, c.took(t, 0), 100*time.Millisecond)
	})
}

// A new process of a node removes what a killed one has registered, when that holds no lease any more; and what the old one takes back arrives late without taking back the new one's.
func TestFormerProcessIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, defaultTimes)
		ctx := t.Context()
		old := c.stores[1].holder.Load()
		of := func() []registration {
			st, err := c.stores[0].holder.Load().look(ctx)
			require.NoError(t, err)
			return st.of(2)
		}
		c.gates[1].shut.Store(true)
		c.again(1)
		time.Sleep(defaultTimes.lease - time.Second)
		now := c.stores[1].holder.Load()
		require.ElementsMatch(t, []registration{old.self, now.self}, of())
		time.Sleep(3 * time.Second)
		require.Equal(t, []registration{now.self}, of())
		require.Less(t, c.took(t, 0), 100*time.Millisecond)
		c.gates[0].shut.Store(false)
		old.sender = c.gates[0]
		old.withdraw()
		require.Equal(t, []registration{now.self}, of())
	})
}

// What a gateway that died in the commit of a schema change has left goes by itself, as do acknowledgements that came too late. A change that is under way is left alone.
func TestTidy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, defaultTimes)
		ctx, h := t.Context(), c.stores[0].holder.Load()
		dead, gone := kv.TxnID{1}, kv.TxnID{2}
		require.NoError(t, h.put(ctx, markerKey(dead), h.clock.Now().Add(3*defaultTimes.poll).Append(nil)))
		require.NoError(t, h.put(ctx, ackKey(gone, h.self), nil))
		require.NoError(t, h.put(ctx, ackKey(gone, registration{node: 7}), nil))
		time.Sleep(2 * defaultTimes.poll)
		st, err := h.look(ctx)
		require.NoError(t, err)
		require.Len(t, st.acks[dead], 2)
		require.Len(t, st.acks[gone], 2)
		c.slow = func() time.Duration {
			time.Sleep(sweepEvery + time.Minute)
			st, err := h.look(ctx)
			require.NoError(t, err)
			require.Len(t, st.markers, 1)
			require.Empty(t, st.expired)
			require.Len(t, st.acks, 1)
			require.Len(t, st.acks[st.markers[0]], 2)
			return 0
		}
		_, _, err = c.change(ctx, 0)
		require.NoError(t, err)
	})
}
