package admin

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// Ranges that are lost are a problem as long as something has rows there.
func TestLostAndUnused(t *testing.T) {
	voters := []ReplicaView{{NodeID: 3, Type: kv.Voter.String()}}
	ranges := []RangeView{
		{ID: 5, State: "lost", Replicas: voters, Tables: []string{"orders"}},
		{ID: 6, State: "lost", Replicas: voters, Unused: true},
		{ID: 7, State: "lost", Replicas: voters},
	}
	const what = "no replica is left of r5, r7 (orders): drop what has rows there, and restore it; or stop all nodes and plan a recovery with --make-empty (pamir debug recover)"
	require.Equal(t, []string{what}, stuck(ranges, nil))
	require.Empty(t, stuck(ranges[1:2], nil))
}
