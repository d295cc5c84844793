package store

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A range is split while its learners are brought up, which takes a while if it is large: it would only go on to grow. The change is that of the left
// side then; the right side gives up the learners that it has from it, and gets its own.
func TestRangesSplitWhileLearnersAreFilled(t *testing.T) {
	synctest.Test(t, testRangesSplitWhileLearnersAreFilled)
}

func testRangesSplitWhileLearnersAreFilled(t *testing.T) {
	k := testKnobs
	k.SnapshotBytesPerSecond = 1 << 20
	c := newCluster(t, 3, k)
	ctx := c.ctx(2 * time.Minute)
	for i := range 128 {
		require.NoError(t, c.put(ctx, i, strings.Repeat("x", 64<<10)))
	}
	s, st := c.waitLeader(kv.FirstUserRange)
	add := func(id kv.RangeID, generation int64, stores ...kv.StoreID) <-chan error {
		change := &kv.AdminChangeReplicas{Generation: generation}
		for _, st := range stores {
			change.Add = append(change.Add, kv.Replica{NodeID: kv.NodeID(st), StoreID: st})
		}
		done := make(chan error, 1)
		go func() {
			_, err := c.Send(ctx, &kv.BatchRequest{RangeID: id, Requests: []kv.Request{change}})
			done <- err
		}()
		return done
	}
	added := add(kv.FirstUserRange, st.Descriptor.Generation, 2, 3)
	time.Sleep(2 * time.Second)
	began := time.Now()
	_, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(64)}}})
	require.NoError(t, err)
	require.Less(t, time.Since(began), time.Second, "of eight or more that the learners take")
	select {
	case err := <-added:
		t.Fatalf("the change was over before the split: %v", err)
	default:
	}
	require.NoError(t, c.put(ctx, 1, "left"))
	require.NoError(t, c.put(ctx, 100, "right"))
	require.NoError(t, <-added)
	_, left := c.waitLeader(kv.FirstUserRange)
	require.True(t, left.Descriptor.EndKey.Equal(key(64)))
	require.Len(t, left.Descriptor.Replicas, 3)
	for _, p := range left.Descriptor.Replicas {
		require.Equal(t, kv.Voter, p.Type)
	}
	var right *kv.RangeDescriptor
	require.Eventually(t, func() bool {
		for _, st := range s.Ranges() {
			if st.Descriptor.StartKey.Equal(key(64)) {
				right = st.Descriptor
			}
		}
		return right != nil && len(right.Replicas) == 1
	}, 10*time.Second, 10*time.Millisecond, "the right side has learners that nobody brings up")
	require.NoError(t, <-add(right.RangeID, right.Generation, 2, 3))
	for i, want := range map[int]string{1: "left", 100: "right", 127: strings.Repeat("x", 64<<10)} {
		v, err := c.get(ctx, i)
		require.NoError(t, err)
		require.Equal(t, want, v)
	}
	c.checkReplicas(ctx)
}

// A range that is written to while a learner is sent a snapshot is sent one snapshot: what is written meanwhile is kept for the learner, also if it is more than
// is kept for somebody who is gone.
func TestSnapshotsAreSentOnce(t *testing.T) { synctest.Test(t, testSnapshotsAreSentOnce) }

func testSnapshotsAreSentOnce(t *testing.T) {
	k := testKnobs
	k.SnapshotBytesPerSecond = 1 << 20
	k.LogTruncateBytes, k.LogMaxBytes = 32<<10, 256<<10
	c := newCluster(t, 2, k)
	ctx := c.ctx(2 * time.Minute)
	for i := range 64 {
		require.NoError(t, c.put(ctx, i, strings.Repeat("x", 64<<10)))
	}
	s, st := c.waitLeader(kv.FirstUserRange)
	added := make(chan error, 1)
	go func() {
		_, err := c.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminChangeReplicas{
			Generation: st.Descriptor.Generation, Add: []kv.Replica{{NodeID: 2, StoreID: 2}},
		}}})
		added <- err
	}()
	most := int64(0)
	for i := 1000; ; i++ {
		select {
		case err := <-added:
			require.NoError(t, err)
			require.Greater(t, most, k.LogMaxBytes, "the log has to outgrow what would be kept for others")
			require.EqualValues(t, 1, s.metrics.SnapshotsOut.Load())
			c.checkReplicas(ctx)
			return
		case <-time.After(100 * time.Millisecond):
		}
		require.Less(t, i, 1400, "the learner is not up after 40 s")
		require.NoError(t, c.put(ctx, i, strings.Repeat("y", 48<<10)))
		most = max(most, s.replica(kv.FirstUserRange).LogBytes())
	}
}
