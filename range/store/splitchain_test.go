package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// Each split makes the range that the next one cuts. A store that was away while it happened gets them one after another, and asks for no
// snapshot; how long each takes is how long the ranges have a replica less.
func TestSplitsInAChainAreCaughtUpWith(t *testing.T) {
	synctest.Test(t, testSplitsInAChainAreCaughtUpWith)
}

func testSplitsInAChainAreCaughtUpWith(t *testing.T) {
	const splits = 60
	c := newCluster(t, 3, testKnobs)
	ctx := c.ctx(10 * time.Minute)
	c.upReplicate(2, 3)
	lead, _ := c.waitLeader(kv.FirstUserRange)
	require.NoError(t, c.put(ctx, 0, "v"))
	away := lead.id.NodeID%3 + 1
	c.isolate(away, true)
	var last kv.RangeID
	for i := range splits {
		last = c.split(ctx, i+1)
	}
	time.Sleep(10 * time.Second) // whoever leads them has been told by then that they are behind, as often as it takes
	c.isolate(away, false)
	began := time.Now()
	c.untilHas(ctx, away, last)
	took := time.Since(began)
	t.Logf("%d splits were applied in %v", splits, took)
	require.Less(t, took, splits*maxRefusedPause/20)
	c.checkReplicas(ctx)
}
