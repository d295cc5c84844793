package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// skewLeader moves the clock of the node that leads the first user range, and waits until it is fenced and another leads.
func (c *cluster) skewLeader(by time.Duration) (*Store, *node) {
	s, _ := c.waitLeader(kv.FirstUserRange)
	off := c.nodes[s.id.NodeID]
	off.skew.Store(int64(by))
	require.Eventually(c.t, func() bool {
		other, _ := c.leaderOf(kv.FirstUserRange)
		return other != nil && other != s && s.Fenced() != nil
	}, 20*time.Second, time.Millisecond)
	return s, off
}

// A clock that jumps by an hour, either way, costs its store the lead and nothing else: the others go on at their own time,
// and when the clock is right again the store is as before, with no reading from the time in between.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, testKnobs)
				c.upReplicate(2, 3)
				ctx := c.ctx(60 * time.Second)
				require.NoError(t, c.put(ctx, 1, "x"))
				s, off := c.skewLeader(jump)
				_, err := readAt(ctx, s, 1)
				require.Error(t, err)
				require.NoError(t, c.put(ctx, 1, "y"))
				for _, nd := range c.nodes {
					ahead := time.Duration(nd.clock.Peek().WallTime - time.Now().UnixNano())
					require.Less(t, ahead, 5*time.Second, "node %d was taken along", nd.id)
				}
				off.skew.Store(0)
				require.Eventually(t, func() bool { return s.Fenced() == nil }, 20*time.Second, time.Millisecond)
				require.Eventually(t, func() bool {
					l := c.waitLeaderStore()
					if l != s {
						_, err = l.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminTransferLeader{Target: s.id.StoreID}}})
					}
					return err == nil && c.waitLeaderStore() == s
				}, 20*time.Second, 10*time.Millisecond)
				v, err := readAt(ctx, s, 1)
				require.NoError(t, err)
				require.Equal(t, "y", v)
				require.NoError(t, c.put(ctx, 2, "z"))
				c.checkReplicas(ctx)
			})
		})
	}
}

// A clock that is beyond the bound, and within twice the bound, takes no other clock along: some would believe what others then do not believe them.
func TestClockBeyondTheBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 3, testKnobs)
		c.upReplicate(2, 3)
		ctx := c.ctx(60 * time.Second)
		require.NoError(t, c.put(ctx, 1, "x"))
		s, off := c.skewLeader(testOffset * 8 / 5)
		require.Contains(t, s.Fenced().Message, "is off by 80ms", "it is ahead")
		for range 100 {
			time.Sleep(10 * time.Millisecond)
			for _, nd := range c.nodes {
				if nd != off {
					require.LessOrEqual(t, nd.clock.Offset(nd.clock.Peek()), testOffset, "node %d", nd.id)
				}
			}
		}
		require.NoError(t, c.put(ctx, 1, "y"))
	})
}

// A store that is started with a clock behind the one it had waits until it has passed whatever its predecessor read.
func TestRestartAfterStepBack(t *testing.T) { synctest.Test(t, testRestartAfterStepBack) }

func testRestartAfterStepBack(t *testing.T) {
	c := newCluster(t, 1, testKnobs)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	nd := c.nodes[1]
	var last hlc.Timestamp
	for range 3 {
		last = nd.clock.Now()
		nd.skew.Add(-int64(500 * time.Millisecond))
		nd.crash()
		nd.start()
		require.True(t, last.Less(nd.clock.Now()), "a reading of the process before was handed out again")
	}
	v, err := c.get(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, "x", v)
	nd.stop()
	nd.skew.Add(-int64(time.Hour))
	s, err := Open(ctx, Config{Dir: "store", FS: nd.fs, Clock: hlc.NewClock(func() int64 { return time.Now().UnixNano() + nd.skew.Load() }, testOffset),
		Transport: nd.link, Logger: testLogger(1), Knobs: c.knobs})
	require.NoError(t, err)
	s.SetSender(c)
	require.ErrorContains(t, s.Start(ctx), "behind what it read before the restart")
	require.NoError(t, s.Close())
}
