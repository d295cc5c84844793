package admin

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/tests/cluster"
)

// A node that has drained and is made a leader all the same, by another that had not heard of it, hands that over when it is asked how far it is: the drain has not failed.
func TestDrainedNodeIsGivenALeader(t *testing.T) {
	l := cluster.StartLocal(t, 3, cluster.LongSupportLocal)
	l.WaitReplicated(3)
	a := apiOf(t, l.Nodes[0])
	last := l.Nodes[2].Identity()
	drain := func() {
		t.Helper()
		r := a.send("POST", fmt.Sprintf("/nodes/%d/drain?wait=30", last.NodeID), "")
		require.Equal(t, 200, r.status, "%s", r.body)
		require.Contains(t, string(r.body), `"succeeded"`)
	}
	drain()
	l.Eventually(30*time.Second, "it leads all the same", func() error {
		_, err := l.Nodes[0].Sender().Send(t.Context(), &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminTransferLeader{Target: kv.StoreID(last.NodeID)}}})
		if err != nil {
			return err
		}
		for _, r := range l.Nodes[2].Replicas() {
			if r.RangeID == kv.FirstUserRange && r.Leader {
				return nil
			}
		}
		return fmt.Errorf("%+v", l.Nodes[2].Replicas())
	})
	drain()
	v, err := l.Nodes[0].Operations().Draining(t.Context(), last.NodeID)
	require.NoError(t, err)
	require.Equal(t, "drained", v.State)
	require.Zero(t, v.Leaders)
}
