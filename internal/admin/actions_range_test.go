package admin

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/verb"
)

// silentCluster has one range, with voters on nodes 1 to 3, of which node 3 does not answer and node 2 drains; node 4 has nothing.
type silentCluster struct{ Cluster }

func (silentCluster) Ranges(context.Context) ([]RangeView, error) {
	return []RangeView{{ID: 5, LeaderNode: 1, Replicas: []ReplicaView{{NodeID: 1}, {NodeID: 2}, {NodeID: 3}}}}, nil
}

func (silentCluster) Nodes() []NodeView {
	return []NodeView{{NodeID: 1, Alive: true}, {NodeID: 2, Alive: true, Draining: true}, {NodeID: 3}, {NodeID: 4, Alive: true}}
}

// Leadership is not handed to a node that cannot have it, and nobody waits for that.
func TestTransferToWhoCanLead(t *testing.T) {
	for to, why := range map[int64]string{
		1: "", 2: "node 2 drains, and leads nothing", 3: "node 3 does not answer", 4: "node 4 has no replica of range 5 that could lead it", 9: "there is no node 9",
	} {
		err := checkTransfer(t.Context(), &call{Cluster: silentCluster{}, args: verb.Args{"range_id": int64(5), "node": to}})
		if why == "" {
			require.NoError(t, err)
			continue
		}
		var p *Problem
		require.ErrorAs(t, err, &p)
		require.Equal(t, why, p.Detail)
	}
}

// A move by command does not take away a replica that the majority needs.
func TestMoveKeepsMajority(t *testing.T) {
	for _, c := range []struct {
		from, to int64
		why      string
	}{
		{2, 0, "without the replica on node 2, range 5 would have no majority: its voters would be on nodes 1, 3, and node 3 does not answer"},
		{1, 0, "without the replica on node 1, range 5 would have no majority: its voters would be on nodes 2, 3, and node 3 does not answer"},
		{2, 4, ""},
		{3, 0, ""},
		{3, 4, ""},
		{0, 4, ""},
	} {
		args := verb.Args{"range_id": int64(5), "from": c.from, "to": c.to}
		err := checkMove(t.Context(), &call{Cluster: silentCluster{}, args: args})
		if c.why == "" {
			require.NoError(t, err, "from %d to %d", c.from, c.to)
			continue
		}
		var p *Problem
		require.ErrorAs(t, err, &p, "from %d to %d", c.from, c.to)
		require.Equal(t, CodeConflict, p.Code)
		require.Equal(t, c.why, p.Detail)
		require.Equal(t, "Replace those that do not answer first, such as with: pamir range move 5 --from 3 --to NODE.", p.Hint)
	}
}

// thinCluster has one range, with voters on nodes 1 and 2, of three nodes that all answer.
type thinCluster struct{ Cluster }

func (thinCluster) Ranges(context.Context) ([]RangeView, error) {
	return []RangeView{{ID: 5, LeaderNode: 1, Replicas: []ReplicaView{{NodeID: 1}, {NodeID: 2}, {NodeID: 3, Type: kv.NonVoter.String()}}}}, nil
}

func (thinCluster) Nodes() []NodeView {
	return []NodeView{{NodeID: 1, Alive: true}, {NodeID: 2, Alive: true}, {NodeID: 3, Alive: true}, {NodeID: 4, Alive: true}}
}

// A range is not left with one voter by mistake.
func TestMoveKeepsTwo(t *testing.T) {
	for _, c := range []struct {
		from, to int64
		force    bool
		why      string
	}{
		{from: 1, why: "without the replica on node 1, all of range 5 would be on node 2 alone, and lost with its disk"},
		{from: 2, why: "without the replica on node 2, all of range 5 would be on node 1 alone, and lost with its disk"},
		{from: 2, force: true},
		{from: 2, to: 4},
		{from: 3},
	} {
		err := checkMove(t.Context(), &call{Cluster: thinCluster{}, args: verb.Args{"range_id": int64(5), "from": c.from, "to": c.to, "force": c.force}})
		if c.why == "" {
			require.NoError(t, err, "%+v", c)
			continue
		}
		var p *Problem
		require.ErrorAs(t, err, &p, "%+v", c)
		require.Equal(t, CodeConflict, p.Code)
		require.Equal(t, c.why, p.Detail)
	}
}
