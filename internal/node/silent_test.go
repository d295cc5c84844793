package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/transport"
)

// A node that this process has never heard of gets no replicas, however young the process is, and is dead no sooner than another.
func TestSilent(t *testing.T) {
	const aliveWithin = 5 * time.Second
	require.Equal(t, time.Second, silent(transport.PeerStatus{Heard: true, Silence: time.Second}, aliveWithin))
	require.Greater(t, silent(transport.PeerStatus{Silence: time.Millisecond}, aliveWithin), aliveWithin)
	require.Less(t, silent(transport.PeerStatus{Silence: time.Millisecond}, aliveWithin), aliveWithin+time.Second)
	require.Equal(t, time.Minute, silent(transport.PeerStatus{Silence: time.Minute}, aliveWithin))
}
