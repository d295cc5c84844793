package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A replica that lives is not removed while another one is dead, if that takes the majority: the range would serve nobody, and could not take it back either.
// The dead one can be removed, and both can be replaced.
func TestChangeKeepsMajority(t *testing.T) { synctest.Test(t, testChangeKeepsMajority) }

func testChangeKeepsMajority(t *testing.T) {
	c := newCluster(t, 4, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(5 * time.Minute)
	require.NoError(t, c.put(ctx, 1, "x"))
	s, st := c.waitLeader(kv.FirstUserRange)
	var lives, dead kv.NodeID
	for _, p := range st.Descriptor.Replicas {
		if p.StoreID != s.id.StoreID {
			lives, dead = dead, p.NodeID
		}
	}
	require.NotZero(t, lives)
	c.isolate(dead, true)
	time.Sleep(2 * testKnobs.SupportDuration)

	_, st = c.waitLeader(kv.FirstUserRange)
	_, err := c.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{
		&kv.AdminChangeReplicas{Generation: st.Descriptor.Generation, Remove: []kv.Replica{{NodeID: lives, StoreID: kv.StoreID(lives)}}},
	}})
	require.True(t, kv.HasCode(err, kv.CodeNotNow), "%v", err)
	require.ErrorContains(t, err, "would be without a majority")
	require.NoError(t, c.put(ctx, 2, "y"), "the range goes on")
	_, st = c.waitLeader(kv.FirstUserRange)
	require.False(t, st.Descriptor.InJoint())
	require.Len(t, st.Descriptor.Replicas, 3)

	c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{4}, []kv.NodeID{lives})
	c.changeReplicas(ctx, kv.FirstUserRange, nil, []kv.NodeID{dead})
	require.NoError(t, c.put(ctx, 3, "z"))
}
