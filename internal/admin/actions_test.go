package admin

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/verb"
)

// stuckCluster has a node that leaves, and nothing is being done about it.
type stuckCluster struct {
	Cluster
	placement PlacementView
}

func (c *stuckCluster) Decommissions(context.Context) ([]DecommissionView, error) {
	return []DecommissionView{{NodeID: 2, State: "leaving", BeganWith: 11, Replicas: 4, Progress: 0.6, Left: time.Minute}}, nil
}

func (c *stuckCluster) Placement(context.Context) (*PlacementView, error) { return &c.placement, nil }

func (c *stuckCluster) Ranges(context.Context) ([]RangeView, error) {
	return []RangeView{{ID: 5, Replicas: []ReplicaView{{NodeID: 2}}}}, nil
}

// What does not go on is not said to be over soon, and less soon each time.
func TestNoEstimateOfWhatIsStuck(t *testing.T) {
	for _, c := range []struct {
		placement PlacementView
		left      time.Duration
		why       string
	}{
		{PlacementView{Running: []RunningOperator{{}}}, time.Minute, "4 of 11 replicas are still there"},
		{PlacementView{Findings: []FindingView{{RangeID: 5, Why: "there is no node"}}}, 0, "4 of 11 replicas are still there; range 5: there is no node"},
		{PlacementView{Findings: []FindingView{{RangeID: 6, Why: "of another"}}}, time.Minute, "4 of 11 replicas are still there"},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		x := &call{Cluster: &stuckCluster{placement: c.placement}, args: verb.Args{"node_id": int64(2)}, begun: true}
		x.report = func(progress float64, left time.Duration, why string) {
			require.Equal(t, c.left, left)
			require.Equal(t, c.why, why)
			cancel()
		}
		_, err := runDecommission(ctx, x)
		require.ErrorIs(t, err, context.Canceled)
	}
}
