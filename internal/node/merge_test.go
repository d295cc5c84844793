package node

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A range that is being given a replica is not lined up with its neighbour by the replicas that it has now: the learner may go, or be to take the place of another.
func TestMergesWaitForLearners(t *testing.T) {
	of := func(id kv.RangeID, start, end string, third kv.ReplicaType) *kv.RangeDescriptor {
		return &kv.RangeDescriptor{RangeID: id, StartKey: keys.Key(start), EndKey: keys.Key(end), Generation: 7, NextReplicaID: 4, Replicas: []kv.Replica{
			{NodeID: 1, StoreID: 1, ReplicaID: 1, Type: kv.Voter}, {NodeID: 2, StoreID: 2, ReplicaID: 2, Type: kv.Voter}, {NodeID: 3, StoreID: 3, ReplicaID: 3, Type: third}}}
	}
	for _, third := range [][2]kv.ReplicaType{{kv.Learner, kv.Voter}, {kv.Voter, kv.Learner}, {kv.Learner, kv.Learner}, {kv.VoterIncoming, kv.Voter}} {
		done, err := new(Node).mergeStep(t.Context(), of(5, "a", "b", third[0]), of(6, "b", "c", third[1]), nil)
		require.False(t, done)
		require.True(t, kv.HasCode(err, kv.CodeNotNow), "%v: %v", third, err)
		require.ErrorContains(t, err, "are changing")
	}
}
