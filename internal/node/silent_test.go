package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

// A node that answers nothing is given nothing that can wait from then on; once it answers it may be again, if it was not gone for so long that it counted as silent.
func TestUnsteady(t *testing.T) {
	rules := placement.DefaultRules()
	d := &driver{n: &Node{cfg: Config{Rules: &rules}}, silent: map[kv.NodeID]time.Time{}}
	now := time.Now()
	at := func(after, silence time.Duration, alive bool) bool {
		return d.unsteady(transport.PeerStatus{NodeID: 3, Heard: true, Alive: alive, Silence: silence}, now.Add(after))
	}
	require.False(t, at(0, 50*time.Millisecond, true))
	require.True(t, at(time.Second, 1100*time.Millisecond, false))
	require.False(t, at(2*time.Second, 50*time.Millisecond, true))
	require.True(t, at(10*time.Second, rules.Limits.AliveWithin+1, false))
	require.True(t, at(11*time.Second, 50*time.Millisecond, true))
	require.True(t, at(69*time.Second, 50*time.Millisecond, true))
	require.False(t, at(71*time.Second, 50*time.Millisecond, true))
}

// A node that this process has never heard of gets no replicas, however young the process is, and is dead no sooner than another.
func TestSilent(t *testing.T) {
	const aliveWithin = 5 * time.Second
	require.Equal(t, time.Second, silent(transport.PeerStatus{Heard: true, Silence: time.Second}, aliveWithin))
	require.Greater(t, silent(transport.PeerStatus{Silence: time.Millisecond}, aliveWithin), aliveWithin)
	require.Less(t, silent(transport.PeerStatus{Silence: time.Millisecond}, aliveWithin), aliveWithin+time.Second)
	require.Equal(t, time.Minute, silent(transport.PeerStatus{Silence: time.Minute}, aliveWithin))
}

// A node whose store was without the support of others has no part in balance for half a minute, or for as long as a node may be silent until it counts as dead.
func TestShaken(t *testing.T) {
	rules := placement.DefaultRules()
	c := &Config{Rules: &rules}
	require.False(t, c.shaken(&nodeLoad{}))
	require.True(t, c.shaken(&nodeLoad{Unsupported: 1}))
	require.True(t, c.shaken(&nodeLoad{Unsupported: 29_000}))
	require.False(t, c.shaken(&nodeLoad{Unsupported: 30_000}))
	rules.Limits.DeadAfter = 3 * time.Second
	require.False(t, c.shaken(&nodeLoad{Unsupported: 3_000}))
}
