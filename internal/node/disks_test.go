package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A disk counts as slow when it has been far slower than the others for a while, and as well again some time after.
func TestSlowDisks(t *testing.T) {
	var d slowDisks
	now := time.Unix(1000, 0)
	slow := func(for_ time.Duration, took ...time.Duration) (out []int) {
		syncs := map[kv.NodeID]time.Duration{}
		for i, x := range took {
			syncs[kv.NodeID(i+1)] = x * time.Millisecond
		}
		var got map[kv.NodeID]bool
		for end := now.Add(for_); now.Before(end); {
			now = now.Add(2 * time.Second)
			got = d.update(now, syncs)
		}
		for i := range took {
			if got[kv.NodeID(i+1)] {
				out = append(out, i+1)
			}
		}
		return out
	}
	require.Empty(t, slow(time.Minute, 5, 5, 60), "slower, and no slower than some disks are")
	require.Empty(t, slow(time.Minute, 40, 50, 300), "all of them are slow")
	require.Empty(t, slow(8*time.Second, 5, 6, 300), "a hiccup")
	require.True(t, d.suspect(3))
	require.False(t, d.suspect(2))
	require.Empty(t, slow(2*time.Second, 5, 6, 7))
	require.Empty(t, slow(8*time.Second, 5, 6, 300), "another one")
	require.Equal(t, []int{3}, slow(4*time.Second, 5, 6, 300))
	require.Equal(t, []int{3}, slow(time.Minute, 5, 6, 7), "it is remembered")
	require.Equal(t, []int{3}, slow(30*time.Second, 5, 6, 0), "and if nothing is synced there")
	require.Empty(t, slow(time.Minute, 5, 6, 7), "not for ever")
	require.Empty(t, slow(time.Minute, 5, 300, 300), "of three two are slow: there is nowhere to go")
	require.Equal(t, []int{2}, slow(5*time.Minute, 5, 300, 6))
	require.Empty(t, slow(time.Minute, 5, 300), "of two, one is half")
	require.Empty(t, slow(3*time.Minute, 0, 0, 300), "there is nothing to compare it with")
}

func TestSyncTime(t *testing.T) {
	var s syncTime
	now, syncs, took := time.Unix(1000, 0), int64(0), int64(0)
	step := func(n, each int64, times int) (out time.Duration) {
		for range times {
			now, syncs, took = now.Add(2*time.Second), syncs+n, took+n*each
			out = s.update(now, syncs, took)
		}
		return out
	}
	require.Zero(t, s.update(now, 1000, 5e9), "nothing is known of what was before")
	syncs, took = 1000, 5e9
	require.Equal(t, 3*time.Millisecond, step(100, 3e6, 3).Round(time.Microsecond))
	require.InDelta(t, 300e6, float64(step(4, 300e6, 40)), 1e6)
	require.InDelta(t, 300e6, float64(step(0, 0, 10)), 1e6, "there were none: the last that is known")
	require.Zero(t, step(0, 0, 60), "too long ago")
}
