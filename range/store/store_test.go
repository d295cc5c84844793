package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func TestSingleNode(t *testing.T) {
	c := newCluster(t, 1, testKnobs)
	ctx := c.ctx(10 * time.Second)
	for i := range 100 {
		require.NoError(t, c.put(ctx, i, fmt.Sprint("v", i)))
	}
	v, err := c.get(ctx, 42)
	require.NoError(t, err)
	require.Equal(t, "v42", v)
	c.nodes[1].crash()
	c.nodes[1].start()
	for i := range 100 {
		v, err := c.get(ctx, i)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("v", i), v)
	}
}

func TestThreeReplicas(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	ctx := c.ctx(30 * time.Second)
	for i := range 50 {
		require.NoError(t, c.put(ctx, i, fmt.Sprint("v", i)))
	}
	c.upReplicate(2, 3)
	for i := range 50 {
		require.NoError(t, c.put(ctx, 50+i, fmt.Sprint("v", 50+i)))
	}
	s, st := c.leaderOf(kv.FirstUserRange)
	require.NotNil(t, s)
	require.Len(t, st.Descriptor.Replicas, 3)
	begin := time.Now()
	c.nodes[s.id.NodeID].crash()
	for i := range 100 {
		v, err := c.get(ctx, i)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint("v", i), v)
		if i == 0 {
			t.Logf("first read after the leader's death: %v", time.Since(begin))
		}
	}
	require.NoError(t, c.put(ctx, 3, "new"))
}

func TestSplitUnderWrites(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	const n = 400
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var counts [n]int64
	for w := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; ; i += 4 {
				select {
				case <-stop:
					return
				default:
				}
				k := i % n
				_, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Increment{Key: key(k), By: 1}}})
				if !assert.NoError(t, err) {
					return
				}
				counts[k]++
			}
		}()
	}
	for _, at := range []int{200, 100, 300, 50} {
		time.Sleep(50 * time.Millisecond)
		resp, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(at)}}})
		require.NoError(t, err)
		r := resp.Responses[0].(*kv.AdminSplitResponse)
		require.True(t, r.Left.EndKey.Equal(key(at)))
	}
	time.Sleep(100 * time.Millisecond)
	close(stop)
	wg.Wait()
	for k := range n {
		resp, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Increment{Key: key(k), By: 0}}})
		require.NoError(t, err)
		require.Equal(t, counts[k], resp.Responses[0].(*kv.IncrementResponse).Value)
	}
	c.checkReplicas(ctx)
	for _, st := range c.up(1).Ranges() {
		resp, err := c.Send(ctx, &kv.BatchRequest{RangeID: st.RangeID, Requests: []kv.Request{&kv.Checksum{}}})
		require.NoError(t, err)
		sums := resp.Responses[0].(*kv.ChecksumResponse).ByStore
		require.Len(t, sums, 3)
		require.Equal(t, sums[1], sums[2])
		require.Equal(t, sums[1], sums[3])
		require.NotContains(t, sums[1], "stats")
	}
	// The meta range knows all of them, in order and without holes.
	meta, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Scan{Spans: []keys.Span{{Start: keys.MetaMin, End: keys.MetaMax}}}}})
	require.NoError(t, err)
	rows := meta.Responses[0].(*kv.ScanResponse).Rows
	last := keys.Min
	count := 0
	for {
		_, v, ok, err := rows.Next()
		require.NoError(t, err)
		if !ok {
			break
		}
		d, err := kv.DecodeDescriptor(v)
		require.NoError(t, err)
		require.True(t, last.Equal(d.StartKey), "%s begins after a hole at %s", d, last)
		last = d.EndKey
		count++
	}
	require.True(t, last.Equal(keys.Max))
	require.Equal(t, 7, count)
}

// checkReplicas waits until all replicas of all ranges have applied the same, and compares their contents.
func (c *cluster) checkReplicas(ctx context.Context) {
	c.t.Helper()
	want := map[kv.RangeID]string{}
	for n := range c.nodes {
		s := c.up(n)
		if s == nil {
			continue
		}
		for _, st := range s.Ranges() {
			if st.Descriptor == nil {
				continue
			}
			require.Empty(c.t, st.Stopped)
			_, lead := c.waitLeader(st.RangeID)
			if _, ok := lead.Descriptor.ReplicaOn(s.id.StoreID); !ok {
				continue // it is about to go
			}
			require.Eventually(c.t, func() bool {
				_, lead := c.leaderOf(st.RangeID)
				mine, _ := s.RangeDetail(st.RangeID)
				return lead.Applied > 0 && mine.Applied == lead.Applied
			}, 10*time.Second, 10*time.Millisecond, "replica of range %d on node %d does not catch up", st.RangeID, n)
			now, _ := s.RangeDetail(st.RangeID)
			sum, err := mvcc.Checksum(ctx, s.eng.DB(), now.Descriptor)
			require.NoError(c.t, err)
			stats, err := mvcc.ComputeStats(ctx, s.eng.DB(), now.Descriptor)
			require.NoError(c.t, err)
			require.Equal(c.t, stats, now.Stats, "statistics of range %d on node %d", st.RangeID, n)
			if w, ok := want[st.RangeID]; ok {
				require.Equal(c.t, w, sum, "replicas of range %d differ", st.RangeID)
			}
			want[st.RangeID] = sum
		}
	}
}

func TestMembership(t *testing.T) {
	c := newCluster(t, 5, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	for i := range 100 {
		require.NoError(t, c.put(ctx, i, "x"))
	}
	s, st := c.waitLeader(kv.FirstUserRange)
	var out []kv.NodeID
	for _, p := range st.Descriptor.Replicas {
		if p.StoreID != s.id.StoreID {
			out = append(out, p.NodeID)
		}
	}
	c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{4, 5}, out)
	_, st = c.waitLeader(kv.FirstUserRange)
	require.Len(t, st.Descriptor.Replicas, 3)
	require.False(t, st.Descriptor.InJoint())
	for _, n := range out {
		require.Eventually(t, func() bool {
			_, ok := c.up(n).RangeDetail(kv.FirstUserRange)
			return !ok
		}, 10*time.Second, 10*time.Millisecond, "replica on node %d is not removed", n)
	}
	for i := range 100 {
		v, err := c.get(ctx, i)
		require.NoError(t, err)
		require.Equal(t, "x", v)
	}
	// And back to where it was: the tombstones must not stand in the way of newer replicas.
	c.changeReplicas(ctx, kv.FirstUserRange, out[:1], []kv.NodeID{4})
	c.checkReplicas(ctx)
}

func TestSnapshotCatchUp(t *testing.T) {
	k := testKnobs
	k.LogTruncateBytes, k.LogMaxBytes = 16<<10, 64<<10
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	s, _ := c.waitLeader(kv.FirstUserRange)
	var down kv.NodeID = 1
	if s.id.NodeID == down {
		down = 2
	}
	c.nodes[down].crash()
	big := strings.Repeat("y", 1000)
	for i := range 300 {
		require.NoError(t, c.put(ctx, i, big))
	}
	require.Eventually(t, func() bool {
		_, st := c.leaderOf(kv.FirstUserRange)
		return st.FirstIndex > 100
	}, 10*time.Second, 20*time.Millisecond)
	// It missed a split, too.
	_, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(150)}}})
	require.NoError(t, err)
	for i := range 300 {
		require.NoError(t, c.put(ctx, i, big+"2"))
	}
	time.Sleep(1500 * time.Millisecond)
	c.nodes[down].start()
	c.checkReplicas(ctx)
	require.Eventually(t, func() bool { return len(c.up(down).Ranges()) == 4 }, 10*time.Second, 10*time.Millisecond)
	c.checkReplicas(ctx)
	require.Positive(t, c.up(down).metrics.SnapshotsIn.Load())
}

func TestTransferAndDrain(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	c.checkReplicas(ctx) // a replica with a change of the configuration still to apply does not stand
	for _, to := range []kv.StoreID{2, 3, 1, 2} {
		s, _ := c.waitLeader(kv.FirstUserRange)
		_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminTransferLeader{Target: to}}})
		require.NoError(t, err)
		require.NoError(t, c.put(ctx, 1, "x"))
		s, _ = c.waitLeader(kv.FirstUserRange)
		require.Equal(t, to, s.id.StoreID)
	}
	require.Zero(t, c.up(2).Drain(ctx))
	for _, st := range c.up(2).Ranges() {
		require.False(t, st.Serving)
	}
	require.NoError(t, c.put(ctx, 1, "y"))
}
