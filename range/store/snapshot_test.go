package store

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A snapshot tells how far it is while it is on its way, and nothing afterwards.
func TestSendingTellsProgress(t *testing.T) { synctest.Test(t, testSendingTellsProgress) }

func testSendingTellsProgress(t *testing.T) {
	knobs := testKnobs
	knobs.SnapshotBytesPerSecond = 1 << 20
	c := newCluster(t, 2, knobs)
	ctx := c.ctx(time.Minute)
	for i := range 64 {
		require.NoError(t, c.put(ctx, i, strings.Repeat("x", 64<<10)))
	}
	s, _ := c.waitLeader(kv.FirstUserRange)
	of := s.replica(kv.FirstUserRange).Applied().Stats.Bytes
	added := make(chan struct{})
	go func() {
		defer close(added)
		c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{2}, nil)
	}()
	var seen []int64
	for ended := false; !ended; {
		select {
		case <-added:
			ended = true
		case <-time.After(250 * time.Millisecond):
		}
		for _, x := range s.Sending() {
			if x.RangeID == kv.FirstUserRange {
				seen = append(seen, x.Sent)
				require.True(t, s.replica(kv.FirstUserRange).Changing())
			}
		}
	}
	require.Greater(t, len(seen), 8, "4 MiB at 1 MiB a second, looked at four times a second")
	require.IsNonDecreasing(t, seen)
	require.Less(t, seen[0], of/4)
	require.Greater(t, seen[len(seen)-1], of/2)
	require.LessOrEqual(t, seen[len(seen)-1], of+of/50, "more than the range holds")
	require.Empty(t, s.Sending())
	require.False(t, s.replica(kv.FirstUserRange).Changing())
}
