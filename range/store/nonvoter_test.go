package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A replica without a vote gets everything, never leads, stays through a change of leaders, and goes when asked to. What
// was meant for an earlier generation, or for another leader, does nothing.
func TestNonVoter(t *testing.T) { synctest.Test(t, testNonVoter) }

func testNonVoter(t *testing.T) {
	c := newCluster(t, 4, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	for i := range 50 {
		require.NoError(t, c.put(ctx, i, "x"))
	}
	s, st := c.waitLeader(kv.FirstUserRange)
	old := st.Descriptor.Generation
	send := func(q kv.Request) error {
		_, err := c.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{q}})
		return err
	}
	add := &kv.AdminChangeReplicas{Generation: old, Add: []kv.Replica{{NodeID: 4, StoreID: 4, Type: kv.NonVoter}}}
	require.NoError(t, send(add))
	require.True(t, kv.HasCode(send(add), kv.CodeDescriptorChanged), "a repeated change")
	require.True(t, kv.HasCode(send(&kv.AdminTransferLeader{Target: 2, Generation: old}), kv.CodeDescriptorChanged), "a late transfer")
	_, st = c.waitLeader(kv.FirstUserRange)
	r, ok := st.Descriptor.ReplicaOn(4)
	require.True(t, ok)
	require.Equal(t, kv.NonVoter, r.Type)
	require.False(t, st.Descriptor.InJoint())
	require.Error(t, send(&kv.AdminTransferLeader{Target: 4}), "it has no vote")

	var to kv.StoreID
	for _, p := range st.Descriptor.Replicas {
		if p.Type == kv.Voter && p.StoreID != s.id.StoreID {
			to = p.StoreID
		}
	}
	require.True(t, kv.HasCode(send(&kv.AdminTransferLeader{Target: to, From: to}), kv.CodeDescriptorChanged), "it was meant for another leader")
	c.untilSupported(s, to)
	require.NoError(t, send(&kv.AdminTransferLeader{Target: to, Generation: st.Descriptor.Generation, From: s.id.StoreID}))
	for i := range 50 {
		require.NoError(t, c.put(ctx, i, "y"))
	}
	_, st = c.waitLeader(kv.FirstUserRange)
	r, ok = st.Descriptor.ReplicaOn(4)
	require.True(t, ok, "a new leader leaves it where it is")
	require.Equal(t, kv.NonVoter, r.Type)
	c.checkReplicas(ctx)
	require.NoError(t, send(&kv.AdminChangeReplicas{Generation: st.Descriptor.Generation, Remove: []kv.Replica{{NodeID: 4, StoreID: 4}}}))
	require.Eventually(t, func() bool {
		_, ok := c.up(4).RangeDetail(kv.FirstUserRange)
		return !ok
	}, 10*time.Second, 10*time.Millisecond)
}
