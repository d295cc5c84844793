package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

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

// A cut of which nobody tells whether it was made is asked for again. What is told in the end is about the cut, and not about a transaction.
func TestCutsOfUnknownOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := kv.Errorf(kv.CodeUnknownOutcome, "the connection broke")
		asked := 0
		answers := func(errs ...error) func() error {
			asked = 0
			return func() error {
				asked++
				return errs[min(asked, len(errs))-1]
			}
		}
		require.NoError(t, untilKnown(t.Context(), answers(nil)))
		require.NoError(t, untilKnown(t.Context(), answers(broken, broken, nil)))
		require.Equal(t, 3, asked)
		bad := kv.Errorf(kv.CodeBadRequest, "there is no such row")
		require.Equal(t, error(bad), untilKnown(t.Context(), answers(broken, bad)))
		began := time.Now()
		err := untilKnown(t.Context(), answers(broken))
		require.True(t, kv.HasCode(err, kv.CodeUnavailable), "%v", err)
		require.Equal(t, 6350*time.Millisecond, time.Since(began), "nobody waits after the last answer")
		require.Equal(t, unknownCuts, asked)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err = untilKnown(ctx, answers(broken))
		require.True(t, kv.HasCode(err, kv.CodeCanceled), "%v", err)
		require.Equal(t, 1, asked)
	})
}
