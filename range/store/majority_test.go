package store

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/raft/v3/raftpb"

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

// Nor is it removed while another one is far behind: the range would stand still until that has caught up, by a snapshot perhaps.
func TestChangeKeepsMajorityThatIsThere(t *testing.T) {
	synctest.Test(t, testChangeKeepsMajorityThatIsThere)
}

func testChangeKeepsMajorityThatIsThere(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(time.Minute)
	s, _ := c.waitLeader(kv.FirstUserRange)
	near, far := kv.NodeID(2), kv.NodeID(3)
	require.EqualValues(t, 1, s.id.StoreID)
	c.setFilter(func(m *RaftMessage) bool { // it answers, and supports the leader
		return m.To.NodeID == far && m.Raft != nil && (m.Raft.GetType() == pb.MsgApp || m.Raft.GetType() == pb.MsgSnap)
	})
	require.NoError(t, c.put(ctx, 1, "x"))
	time.Sleep(time.Second)
	remove := func() error {
		_, st := c.waitLeader(kv.FirstUserRange)
		_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{
			&kv.AdminChangeReplicas{Generation: st.Descriptor.Generation, Remove: []kv.Replica{{NodeID: near, StoreID: kv.StoreID(near)}}},
		}})
		return err
	}
	began := time.Now()
	err := remove()
	require.True(t, kv.HasCode(err, kv.CodeNotNow), "%v", err)
	require.ErrorContains(t, err, "too few have caught up")
	require.Less(t, time.Since(began), 10*time.Second)
	began = time.Now()
	require.NoError(t, c.put(ctx, 2, "y"))
	require.Less(t, time.Since(began), time.Second, "the range goes on")
	_, st := c.waitLeader(kv.FirstUserRange)
	require.False(t, st.Descriptor.InJoint())
	require.Len(t, st.Descriptor.Replicas, 3)

	c.setFilter(nil)
	require.NoError(t, remove())
	require.NoError(t, c.put(ctx, 3, "z"))
}
