package catalog

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/txn"
)

// took is how long a schema change at a gateway takes.
func (c *cluster) took(t *testing.T, i int) time.Duration {
	began := time.Now()
	_, _, err := c.change(t.Context(), i)
	require.NoError(t, err)
	return time.Since(began)
}

// registered reports what a look finds of a gateway.
func (c *cluster) registered(t *testing.T, node uint64) (registered, struck bool) {
	st, err := c.stores[0].holder.Load().look(t.Context())
	require.NoError(t, err)
	registered = len(st.of(node)) > 0
	_, struck = st.strikes[node]
	return registered, struck
}

// A gateway that died is struck off when its lease has run out, by the first of those that are left, and schema changes do not wait for it from then on. If it is there
// after all, it goes on.
func TestSilentGatewayIsStruckOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost [3]atomic.Bool
		c := newLosingCluster(t, 3, defaultTimes, func(node int32) bool { return lost[node-1].Load() })
		require.Less(t, c.took(t, 0), 100*time.Millisecond)
		c.gates[2].shut.Store(true)
		require.Greater(t, c.took(t, 1), defaultTimes.lease, "nobody has noticed that it is gone")
		c.gates[2].shut.Store(false)
		time.Sleep(10 * time.Second)

		c.gates[2].shut.Store(true)
		lost[2].Store(true)
		time.Sleep(defaultTimes.lease / 2)
		registered, struck := c.registered(t, 3)
		require.True(t, registered, "its lease may not have run out")
		require.True(t, struck)
		require.Less(t, c.took(t, 1), defaultTimes.lease, "some of the time is over")
		time.Sleep(defaultTimes.lease)
		registered, struck = c.registered(t, 3)
		require.False(t, registered)
		require.False(t, struck)
		for i := range 2 {
			require.Less(t, c.took(t, i), 100*time.Millisecond)
		}

		// The first of all is gone, too: another one notices.
		c.gates[0].shut.Store(true)
		lost[0].Store(true)
		time.Sleep(2 * defaultTimes.lease)
		require.Less(t, c.took(t, 1), 100*time.Millisecond)

		// Both are back, and heard of by everybody but one.
		c.gates[0].shut.Store(false)
		c.gates[2].shut.Store(false)
		lost[0].Store(false)
		for i := range 100 {
			time.Sleep(time.Second)
			l := c.stores[2].holder.Load().current.Load()
			if i > 1 && l == nil { // struck just now
				time.Sleep(20 * time.Millisecond)
				l = c.stores[2].holder.Load().current.Load()
			}
			require.True(t, i <= 1 || l != nil, "it holds a lease whatever others hear of it")
			require.Less(t, c.took(t, i%3), 100*time.Millisecond)
		}
	})
}

// Gateways are stopped and go on, and are taken for lost when they are not, while others write and change the schema.
func (c *cluster) strikes(t *testing.T, times int, lost *[3]atomic.Bool) (wrong int) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range c.gates {
		wg.Go(func() {
			for {
				shut, silent := rand.IntN(2) == 0, rand.IntN(2) == 0
				c.gates[i].shut.Store(shut && silent) // of one that is shut and not silent the test above has something to say
				lost[i].Store(silent)
				select {
				case <-time.After(time.Duration(rand.IntN(times)) * time.Millisecond):
				case <-stop:
					c.gates[i].shut.Store(false)
					lost[i].Store(false)
					return
				}
			}
		})
	}
	wrong, writes, changes := c.run(t, 1500*time.Millisecond, false)
	close(stop)
	wg.Wait()
	t.Logf("%d writes, %d changes", writes, changes)
	require.Greater(t, writes, 100)
	require.Greater(t, changes, 5)
	return wrong
}

func TestNoCommitCrossesAStrike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost [3]atomic.Bool
		c := newLosingCluster(t, 3, testTimes, func(node int32) bool { return lost[node-1].Load() })
		require.Zero(t, c.strikes(t, 200, &lost))
	})
}

// The test above would notice strikes that do not wait for the lease to run out.
func TestPlantedHasteIsCaught(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		times := testTimes
		times.plantedHaste = true
		for range 5 {
			var lost [3]atomic.Bool
			c := newLosingCluster(t, 3, times, func(node int32) bool { return lost[node-1].Load() })
			if c.strikes(t, 200, &lost) > 0 {
				return
			}
		}
		t.Fatal("strikes that do not wait for leases went unnoticed")
	})
}

// A strike that was taken back, and a removal that comes late, remove nothing.
func TestStrikeOffNeedsItsStrike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, defaultTimes)
		h := c.stores[0].holder.Load()
		done, err := h.strikeOff(t.Context(), []registration{c.stores[1].holder.Load().self}, strikeKey(2), []byte("no such strike"), hlc.Max)
		require.NoError(t, err)
		require.False(t, done)
		require.NoError(t, h.put(t.Context(), strikeKey(2), []byte("another")))
		done, err = h.strikeOff(context.Background(), []registration{c.stores[1].holder.Load().self}, strikeKey(2), []byte("one"), hlc.Max)
		require.NoError(t, err)
		require.False(t, done)
		registered, _ := c.registered(t, 2)
		require.True(t, registered)
		time.Sleep(2 * defaultTimes.poll)
		registered, struck := c.registered(t, 2)
		require.True(t, registered)
		require.False(t, struck, "it has taken it back")
		require.NotNil(t, c.stores[1].holder.Load().current.Load())
	})
}

// stalledGateway is one whose transactions begin when something has been done.
type stalledGateway struct {
	txn.Gateway
	first func()
}

func (g *stalledGateway) Begin(ctx context.Context, o txn.Options) txn.Txn {
	g.first()
	return g.Gateway.Begin(ctx, o)
}

// Who changes the schema, and stands still before it strikes off a gateway that let it wait, until its marker has run out, strikes off nobody: leases are granted again by
// then, and the next change has to wait for them.
func TestMarkerStrikesNobodyOffAfterItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, defaultTimes)
		_, _, err := c.change(t.Context(), 0)
		require.NoError(t, err)
		h, other := c.stores[0].holder.Load(), c.stores[1].holder.Load()
		began := time.Now()
		stalled := &stalledGateway{Gateway: c.mem}
		stalled.first = sync.OnceFunc(func() {
			require.Greater(t, time.Since(began), defaultTimes.lease)
			c.gates[1].shut.Store(false)
			time.Sleep(time.Until(began.Add(defaultTimes.marker + 2*maxFrozen)))
			l := other.current.Load()
			require.NotNil(t, l, "nothing is in its way any more")
			require.Less(t, c.mem.Clock().Peek().WallTime, l.until.WallTime)
		})
		h.gateway = stalled
		c.gates[1].shut.Store(true)
		_, _, err = c.change(t.Context(), 0)
		require.Equal(t, kv.RetryTxn, kv.AsError(err).Code.Class(), "%v", err)
		registered, _ := c.registered(t, 2)
		version, _, err := c.change(t.Context(), 0) // it is run again
		require.NoError(t, err)
		u, err := c.write(t.Context(), 1, 1)
		require.NoError(t, err)
		require.Equal(t, version, u.version, "a commit after the change went by the catalog before it")
		require.True(t, registered, "the change has to wait for it")
	})
}

// A look that takes long is of when it began: what it finds had been written by then, and a strike counts from there.
func TestLookIsOfItsBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, defaultTimes)
		h := c.stores[0].holder.Load()
		require.NoError(t, h.put(t.Context(), strikeKey(8), []byte("before")))
		c.gates[0].shut.Store(true)
		var late *versionTableState
		var err error
		var wg sync.WaitGroup
		wg.Go(func() { late, err = h.look(t.Context()) })
		synctest.Wait()
		o := c.stores[1].holder.Load()
		require.NoError(t, o.put(t.Context(), strikeKey(9), []byte("after")))
		require.NoError(t, o.delete(t.Context(), strikeKey(8)))
		time.Sleep(defaultTimes.lease / 4)
		c.gates[0].shut.Store(false)
		wg.Wait()
		require.NoError(t, err)
		require.Equal(t, map[uint64][]byte{8: []byte("before")}, late.strikes)
		now, err := h.look(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[uint64][]byte{9: []byte("after")}, now.strikes)
		require.True(t, late.at.Less(now.at))
	})
}
