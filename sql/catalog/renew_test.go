package catalog

import (
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/internal/memtxn"
	"github.com/pamirdb/pamir/txn"
)

// A schema change whose commit takes longer than a marker succeeds at its first attempt, and nobody holds a lease until it is over. Then everybody does.
func TestChangeLongerThanItsMarker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, defaultTimes)
		leases := func() (n int) {
			for _, s := range c.stores {
				if s.holder.Load().current.Load() != nil {
					n++
				}
			}
			return n
		}
		c.slow = func() time.Duration {
			for range 50 {
				require.Zero(t, leases())
				time.Sleep(defaultTimes.marker / 10)
			}
			return 0
		}
		_, at, err := c.change(t.Context(), 0)
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Equal(t, 3, leases())
		st, err := c.stores[0].holder.Load().look(t.Context())
		require.NoError(t, err)
		require.Empty(t, st.markers)
		require.Empty(t, st.acks)
		require.True(t, at.Less(st.at))
		// And not only once.
		_, _, err = c.change(t.Context(), 1)
		require.NoError(t, err)
	})
}

// A gateway that dies, or is stopped, in the commit of a schema change renews nothing: leases are granted when its marker has expired, and it cannot commit if it comes back.
func TestChangeThatIsNotRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, defaultTimes)
		c.slow = func() time.Duration {
			time.Sleep(defaultTimes.marker) // renewed once at least
			c.gates[0].shut.Store(true)
			time.Sleep(defaultTimes.marker + 2*defaultTimes.poll)
			for _, s := range c.stores[1:] {
				require.NotNil(t, s.holder.Load().current.Load())
			}
			c.gates[0].shut.Store(false)
			return time.Second
		}
		_, _, err := c.change(t.Context(), 0)
		require.True(t, kv.HasCode(err, kv.CodeRefreshFailed), "%v", err)
		c.slow = nil
		_, _, err = c.change(t.Context(), 1)
		require.NoError(t, err)
	})
}

// What renews a marker does not bring back one that is gone or has expired, and does not count on having been told that it succeeded.
func TestExtend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, defaultTimes)
		ctx, h := t.Context(), c.stores[0].holder.Load()
		id := kv.TxnID{1}
		key := markerKey(id)
		markers := func() int {
			st, err := h.look(ctx)
			require.NoError(t, err)
			return len(st.markers)
		}
		next, err := h.extend(ctx, key)
		require.NoError(t, err)
		require.True(t, next.IsEmpty())
		require.Zero(t, markers())

		put := func() { require.NoError(t, h.put(ctx, key, h.clock.Now().Add(time.Second).Append(nil))) }
		put()
		time.Sleep(time.Second + time.Millisecond)
		next, err = h.extend(ctx, key)
		require.NoError(t, err)
		require.True(t, next.IsEmpty())
		require.Zero(t, markers())

		// It is held up until the marker has expired.
		put()
		x := (&gatedTxn{Txn: c.mem.Begin(ctx, txn.Options{}).(*memtxn.Txn), gate: c.gates[0]})
		c.gates[0].shut.Store(true)
		time.AfterFunc(2*time.Second, func() { c.gates[0].shut.Store(false) })
		_, err = h.tryExtend(ctx, x, key)
		require.True(t, kv.HasCode(err, kv.CodeRefreshFailed), "%v", err)
		require.Zero(t, markers())

		// It is held up until the marker is gone.
		put()
		x = (&gatedTxn{Txn: c.mem.Begin(ctx, txn.Options{}).(*memtxn.Txn), gate: c.gates[0]})
		c.gates[0].shut.Store(true)
		time.AfterFunc(time.Millisecond, func() {
			_, err := c.mem.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Delete{Key: key}}})
			require.NoError(t, err)
			c.gates[0].shut.Store(false)
		})
		_, err = h.tryExtend(ctx, x, key)
		require.True(t, kv.HasCode(err, kv.CodeRefreshFailed), "%v", err)
		require.Zero(t, markers())

		put()
		for range 5 {
			next, err = h.extend(ctx, key)
			require.NoError(t, err)
			require.True(t, h.clock.Peek().Add(defaultTimes.marker-time.Second).Less(next))
			time.Sleep(defaultTimes.marker * 3 / 4)
			require.Equal(t, 1, markers())
		}
	})
}

// slowly has gateways that are stopped and go on change the schema in commits that outlast their markers.
func slowly(t *testing.T, times leaseTimes) (wrong int) {
	var lost [3]atomic.Bool
	c := newLosingCluster(t, 3, times, func(node int32) bool { return lost[node-1].Load() })
	c.slow = func() time.Duration {
		if rand.IntN(2) == 0 {
			return 0
		}
		return time.Duration(rand.Int64N(int64(3 * times.marker)))
	}
	return c.strikes(t, 100, &lost)
}

var slowTimes = leaseTimes{lease: 30 * time.Millisecond, poll: 5 * time.Millisecond, retry: 5 * time.Millisecond, frozen: time.Millisecond, marker: 60 * time.Millisecond}

func TestNoCommitCrossesASlowChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { require.Zero(t, slowly(t, slowTimes)) })
}

// The test above would notice deadlines that are put off while the marker is not renewed.
func TestPlantedRenewalIsCaught(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		times := slowTimes
		times.plantedRenewal = true
		for range 5 {
			if slowly(t, times) > 0 {
				return
			}
		}
		t.Fatal("commits that had no marker any more went unnoticed")
	})
}
