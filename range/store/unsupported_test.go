package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A store that was cut off for a moment says so for as long as it runs. Those that lost it alone say nothing, and one that was started again was not there to lose anything.
func TestUnsupported(t *testing.T) { synctest.Test(t, testUnsupported) }

func testUnsupported(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	said := func(id kv.NodeID) time.Duration {
		ago, ok := c.up(id).Unsupported()
		if !ok {
			return -1
		}
		return ago
	}
	time.Sleep(5 * time.Second)
	c.isolate(1, true)
	time.Sleep(2 * testKnobs.SupportDuration)
	require.Less(t, said(1), testKnobs.HeartbeatInterval)
	c.isolate(1, false)
	time.Sleep(5 * time.Second)
	require.InDelta(t, 5*time.Second, said(1), float64(2*testKnobs.HeartbeatInterval))
	require.Negative(t, said(2))
	require.Negative(t, said(3))

	c.nodes[1].crash()
	time.Sleep(2 * time.Second)
	c.nodes[1].start()
	time.Sleep(5 * time.Second)
	for id := kv.NodeID(1); id <= 3; id++ {
		require.Negative(t, said(id), id)
	}
}
