package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func (c *cluster) split(ctx context.Context, i int) kv.RangeID {
	c.t.Helper()
	resp, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(i)}}})
	require.NoError(c.t, err)
	return resp.Responses[0].(*kv.AdminSplitResponse).Right.RangeID
}

// merge makes one range of those on either side of key i; the left one holds key(i-1).
func (c *cluster) merge(ctx context.Context, i int) error {
	_, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminMerge{Key: key(i - 1), At: key(i)}}})
	return err
}

// mergeSoon is merge, again and again until it is done.
func (c *cluster) mergeSoon(ctx context.Context, i int) {
	c.t.Helper()
	for err := c.merge(ctx, i); err != nil; err = c.merge(ctx, i) {
		require.NoError(c.t, ctx.Err(), "%v", err)
		time.Sleep(5 * time.Millisecond)
	}
}

// mergeAny merges two neighbours, chosen at random.
func (c *cluster) mergeAny(ctx context.Context) error {
	var ds []*kv.RangeDescriptor
	for _, st := range c.userRanges() {
		if key(0).Less(st.Descriptor.StartKey) {
			ds = append(ds, st.Descriptor)
		}
	}
	if len(ds) == 0 {
		return kv.Errorf(kv.CodeUnavailable, "nothing to merge")
	}
	at := ds[rand.IntN(len(ds))].StartKey
	for i := 1; ; i++ {
		if key(i).Equal(at) {
			return c.merge(ctx, i)
		}
	}
}

// metaTiles waits until the meta range lists ranges that cover everything once.
func (c *cluster) metaTiles(ctx context.Context) {
	c.t.Helper()
	why := "nothing was read"
	for ctx.Err() == nil {
		resp, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Scan{Spans: []keys.Span{{Start: keys.MetaMin, End: keys.MetaMax}}}}})
		if err != nil {
			why = err.Error()
			continue
		}
		rows := resp.Responses[0].(*kv.ScanResponse).Rows
		at := keys.Min
		why = ""
		for {
			_, v, ok, err := rows.Next()
			require.NoError(c.t, err)
			if !ok {
				break
			}
			d, err := kv.DecodeDescriptor(v)
			require.NoError(c.t, err)
			if !d.StartKey.Equal(at) {
				why += fmt.Sprintf("%s begins after %s; ", d, keys.Pretty(at))
			}
			at = d.EndKey
		}
		if why == "" && at.Equal(keys.Max) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatalf("the meta range does not list every key once: %s", why)
}

func (c *cluster) values(ctx context.Context, from, to int, want func(i int) string) {
	c.t.Helper()
	for i := from; i < to; i++ {
		v, err := c.get(ctx, i)
		require.NoError(c.t, err)
		require.Equal(c.t, want(i), v, "key %d", i)
	}
}

// Ranges that were split are merged, and everything is there, on every replica, also after a power failure.
func TestMerge(t *testing.T) { synctest.Test(t, testMerge) }

func testMerge(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	val := func(i int) string { return fmt.Sprint("v", i) }
	for i := range 40 {
		require.NoError(t, c.put(ctx, i, val(i)))
	}
	c.split(ctx, 10)
	right := c.split(ctx, 20)
	s, st := c.waitLeader(right)
	// The right side is led elsewhere: the merge fetches its leadership.
	to := kv.StoreID(1 + int(s.id.StoreID)%3)
	require.Eventually(t, func() bool { // a group that has just begun may have to find out first how far its followers are
		_, err := s.Send(ctx, &kv.BatchRequest{RangeID: right, Requests: []kv.Request{&kv.AdminTransferLeader{Target: to}}})
		return err == nil
	}, 20*time.Second, 5*time.Millisecond)
	require.NoError(t, c.put(ctx, 25, "moved"))
	c.mergeSoon(ctx, 20)
	require.NoError(t, c.merge(ctx, 20), "it has happened already")
	require.NoError(t, c.put(ctx, 26, "merged"))
	c.mergeSoon(ctx, 10)
	all := c.userRanges()
	require.Len(t, all, 1)
	require.Greater(t, all[0].Descriptor.Generation, st.Descriptor.Generation)
	want := func(i int) string {
		switch i {
		case 25:
			return "moved"
		case 26:
			return "merged"
		}
		return val(i)
	}
	c.values(ctx, 0, 40, want)
	c.checkReplicas(ctx)
	c.metaTiles(ctx)
	for _, nd := range c.nodes {
		nd.crash()
	}
	for _, nd := range c.nodes {
		nd.start()
	}
	c.waitLeader(kv.FirstUserRange)
	c.values(ctx, 0, 40, want)
	c.checkReplicas(ctx)
	for id := range c.nodes {
		_, there := c.up(id).RangeDetail(right)
		require.False(t, there, "range %d on node %d", right, id)
	}
	// It can be split there again.
	require.NotEqual(t, right, c.split(ctx, 20))
	c.values(ctx, 0, 40, want)
	c.metaTiles(ctx)
}

// A write below a read that the right side served before the merge is moved above it.
func TestMergeKeepsReads(t *testing.T) { synctest.Test(t, testMergeKeepsReads) }

func testMergeKeepsReads(t *testing.T) {
	c := newCluster(t, 1, testKnobs)
	ctx := c.ctx(30 * time.Second)
	s, _ := c.waitLeader(kv.FirstUserRange)
	require.NoError(t, c.put(ctx, 5, "a"))
	c.split(ctx, 3)
	before := s.clock.Now()
	_, err := c.get(ctx, 5)
	require.NoError(t, err)
	c.mergeSoon(ctx, 3)
	txn := &kv.TxnMeta{ID: kv.MakeTxnID(before, 1), Anchor: key(5), Gateway: 1, ReadTS: before, UncertaintyLimit: before}
	resp, err := c.Send(ctx, &kv.BatchRequest{Txn: txn, Requests: []kv.Request{&kv.CommitSingleRange{Writes: []kv.Write{{Key: key(5), Value: []byte("b")}}}}})
	require.NoError(t, err)
	require.True(t, before.Less(resp.Responses[0].(*kv.CommitSingleRangeResponse).CommitTS))
	st, err := mvcc.ComputeStats(ctx, s.eng.DB(), c.userRanges()[0].Descriptor)
	require.NoError(t, err)
	require.Equal(t, st, c.userRanges()[0].Stats)
}

// A replica that does not answer keeps a merge from happening, and the right side serves again.
func TestMergeGivenUp(t *testing.T) { synctest.Test(t, testMergeGivenUp) }

func testMergeGivenUp(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 5, "a"))
	right := c.split(ctx, 3)
	s, _ := c.waitLeader(right)
	other := kv.NodeID(1 + int(s.id.NodeID)%3)
	c.isolate(other, true)
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	require.Error(t, c.merge(short, 3))
	cancel()
	require.NoError(t, c.put(ctx, 5, "b"))
	require.Len(t, c.userRanges(), 2)
	c.isolate(other, false)
	c.mergeSoon(ctx, 3)
	c.values(ctx, 5, 6, func(int) string { return "b" })
	c.checkReplicas(ctx)
}

// A merge is given up, and the right side is split afterwards, while a store is still frozen for the merge. The part that was split off is later than what
// that store holds, and overlaps it; its snapshot has to wait, since nothing was merged away.
func TestMergeGivenUpThenSplit(t *testing.T) { synctest.Test(t, testMergeGivenUpThenSplit) }

func testMergeGivenUpThenSplit(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	for i := range 20 {
		require.NoError(t, c.put(ctx, i, "a"))
	}
	right := c.split(ctx, 10)
	s, _ := c.waitLeader(right)
	_, left := c.waitLeader(kv.FirstUserRange)
	behind := kv.NodeID(0)
	for id := range c.nodes {
		if id != s.id.NodeID && id != left.Replica.NodeID {
			behind = id
		}
	}
	frozen := func() bool { r := c.up(behind).replica(right); return r != nil && r.Frozen() != nil }
	// Once it is frozen the store hears nothing of the right side, and nobody hears that it has got so far.
	c.setFilter(func(m *RaftMessage) bool {
		return m.RangeID == right && frozen() && (m.To.NodeID == behind || m.From.NodeID == behind)
	})
	short, cancel := context.WithTimeout(ctx, time.Second)
	require.Error(t, c.merge(short, 10))
	cancel()
	require.True(t, frozen())
	c.split(ctx, 5) // the left side goes on, so that the store knows that it waits for nothing
	late := c.split(ctx, 15)
	for i := range 20 {
		require.NoError(t, c.put(ctx, i, "b"))
	}
	time.Sleep(300 * time.Millisecond) // its snapshot is offered
	require.True(t, frozen())
	if r := c.up(behind).replica(late); r != nil {
		require.Nil(t, r.Desc(), "two replicas hold the same keys")
	}
	c.setFilter(nil)
	c.checkReplicas(ctx)
	c.values(ctx, 0, 20, func(int) string { return "b" })
	c.metaTiles(ctx)
}

// The store that leads both sides dies when the right side is frozen: whoever leads it next lets it serve again, and the old
// attempt cannot be completed any more.
func TestMergeLeaderDies(t *testing.T) { synctest.Test(t, testMergeLeaderDies) }

func testMergeLeaderDies(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 5, "a"))
	right := c.split(ctx, 3)
	s, st := c.waitLeader(right)
	// No replica's answer is heard any more once the freeze is applied, so that the merge stands still there.
	c.setFilter(func(m *RaftMessage) bool {
		return m.ChecksumID != 0 && m.RangeID == right && c.up(m.From.NodeID).replica(right).Frozen() != nil
	})
	done := make(chan error, 1)
	go func() {
		_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminMerge{Key: key(2), At: key(3)}}})
		done <- err
	}()
	frozen := func() bool {
		for id := range c.nodes {
			if r := c.up(id).replica(right); r == nil || r.Frozen() == nil {
				return false
			}
		}
		return true
	}
	for !frozen() {
		require.NoError(t, ctx.Err())
		time.Sleep(time.Millisecond)
	}
	c.nodes[s.id.NodeID].crash()
	require.Error(t, <-done)
	c.setFilter(nil)
	require.NoError(t, c.put(ctx, 5, "b"))
	_, now := c.waitLeader(right)
	require.GreaterOrEqual(t, now.Descriptor.Generation, st.Descriptor.Generation+2, "frozen and thawed")
	c.nodes[s.id.NodeID].start()
	c.mergeSoon(ctx, 3)
	c.values(ctx, 5, 6, func(int) string { return "b" })
	c.checkReplicas(ctx)
	c.metaTiles(ctx)
}

// A store that missed the merge, and whose log has been cut off since, gets a snapshot over its frozen replica.
func TestMergeBySnapshot(t *testing.T) { synctest.Test(t, testMergeBySnapshot) }

func testMergeBySnapshot(t *testing.T) {
	k := testKnobs
	k.LogTruncateBytes, k.LogMaxBytes = 4<<10, 16<<10
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	behind, right, _ := c.mergeBehind(ctx)
	for i := range 200 {
		require.NoError(t, c.put(ctx, i%20, fmt.Sprintf("%01000d", i)))
	}
	for {
		_, st := c.waitLeader(kv.FirstUserRange)
		if d, _ := c.up(behind).RangeDetail(kv.FirstUserRange); st.FirstIndex > d.LastIndex+1 {
			break
		}
		require.NoError(t, ctx.Err())
		require.NoError(t, c.put(ctx, 1, fmt.Sprintf("%01000d", 1)))
		time.Sleep(10 * time.Millisecond)
	}
	require.NotNil(t, c.up(behind).replica(right).Frozen())
	c.setFilter(nil)
	for c.up(behind).replica(right) != nil {
		require.NoError(t, ctx.Err())
		time.Sleep(5 * time.Millisecond)
	}
	c.checkReplicas(ctx)
	require.Positive(t, c.up(behind).metrics.SnapshotsIn.Load())
}

// mergeBehind merges at key 10 while a store hears nothing of the left side's log, and returns that store, and the merge it is frozen for. The caller lifts
// the filter.
func (c *cluster) mergeBehind(ctx context.Context) (behind kv.NodeID, right kv.RangeID, of *mvcc.Freeze) {
	c.t.Helper()
	for i := range 20 {
		require.NoError(c.t, c.put(ctx, i, "a"))
	}
	right = c.split(ctx, 10)
	c.waitLeader(right)
	_, left := c.waitLeader(kv.FirstUserRange)
	behind = kv.NodeID(1 + int(left.Replica.NodeID)%3)
	// It answers that it is there, so that the merge begins, and hears nothing afterwards.
	c.setFilter(func(m *RaftMessage) bool {
		if m.RangeID != kv.FirstUserRange || m.To.NodeID != behind {
			return false
		}
		r := c.up(behind).replica(right)
		return r == nil || r.Frozen() != nil
	})
	c.mergeSoon(ctx, 10)
	of = c.up(behind).replica(right).Frozen()
	require.NotNil(c.t, of)
	return behind, right, of
}

func (c *cluster) endMerge(ctx context.Context, of *mvcc.Freeze) (bool, error) {
	resp, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminEndMerge{Key: of.Start, ID: of.ID, Left: of.Left, Base: of.Base}}})
	if err != nil {
		return false, err
	}
	return resp.Responses[0].(*kv.AdminEndMergeResponse).Merged, nil
}

// A merged range that was split again, even at the same key, is still known to have been merged: what was frozen for the merge must never serve again. And
// the store that missed all of it goes through it in order.
func TestMergeThenSplit(t *testing.T) {
	for _, at := range []int{10, 5, 15} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 3, testKnobs)
				c.upReplicate(2, 3)
				ctx := c.ctx(60 * time.Second)
				behind, right, of := c.mergeBehind(ctx)
				c.split(ctx, at)
				for i := range 20 {
					require.NoError(t, c.put(ctx, i, "b"))
				}
				merged, err := c.endMerge(ctx, of)
				require.NoError(t, err)
				require.True(t, merged)
				// A merge that never was, of a left side that has gone on since.
				never := *of
				never.ID = kv.MakeTxnID(c.up(behind).clock.Now(), 1)
				merged, err = c.endMerge(ctx, &never)
				require.NoError(t, err)
				require.False(t, merged)
				time.Sleep(100 * time.Millisecond) // the ranges split off offer their snapshots to the store that is behind
				require.NotNil(t, c.up(behind).replica(right), "its left side is still to absorb it")
				c.setFilter(nil)
				c.checkReplicas(ctx)
				for c.up(behind).replica(right) != nil {
					require.NoError(t, ctx.Err())
					time.Sleep(5 * time.Millisecond)
				}
				c.values(ctx, 0, 20, func(int) string { return "b" })
				c.checkReplicas(ctx)
				c.metaTiles(ctx)
			})
		})
	}
}

// The same, but the store that is behind gets a snapshot of what is left of the left side, whose log has been cut off.
func TestMergeThenSplitBySnapshot(t *testing.T) {
	for _, at := range []int{10, 5, 15} {
		t.Run(fmt.Sprint(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := testKnobs
				k.LogTruncateBytes, k.LogMaxBytes = 4<<10, 16<<10
				c := newCluster(t, 3, k)
				c.upReplicate(2, 3)
				ctx := c.ctx(60 * time.Second)
				behind, right, _ := c.mergeBehind(ctx)
				c.split(ctx, at)
				for {
					_, st := c.waitLeader(kv.FirstUserRange)
					if d, _ := c.up(behind).RangeDetail(kv.FirstUserRange); st.FirstIndex > d.LastIndex+1 {
						break
					}
					require.NoError(t, ctx.Err())
					require.NoError(t, c.put(ctx, 1, fmt.Sprintf("%04000d", 1)))
					time.Sleep(20 * time.Millisecond)
				}
				for i := range 20 {
					require.NoError(t, c.put(ctx, i, "b"))
				}
				c.setFilter(nil)
				if at == 10 {
					// Nothing that comes to the left side there overlaps the frozen replica; the meta range tells that it is of no use.
					require.Eventually(t, func() bool {
						d, _ := c.up(behind).RangeDetail(kv.FirstUserRange)
						return d.Descriptor != nil && d.Descriptor.Generation > 3
					}, 20*time.Second, 5*time.Millisecond)
				}
				for r := c.up(behind).replica(right); r != nil; r = c.up(behind).replica(right) {
					require.NoError(t, ctx.Err())
					require.NoError(t, c.up(behind).lookUp(ctx, r))
					time.Sleep(5 * time.Millisecond)
				}
				c.checkReplicas(ctx)
				c.values(ctx, 0, 20, func(int) string { return "b" })
				c.metaTiles(ctx)
				// Nothing of the frozen replica is left where it was not overwritten.
				for i := range 20 {
					require.NoError(t, c.put(ctx, i, "c"))
				}
				c.checkReplicas(ctx)
			})
		})
	}
}

// What is protected on one side, and collected on the other, keeps them apart.
func TestMergeKeepsVersions(t *testing.T) { synctest.Test(t, testMergeKeepsVersions) }

func testMergeKeepsVersions(t *testing.T) {
	var protected atomic.Int64
	k := testKnobs
	k.GCInterval = 10 * time.Millisecond
	c := newClusterWith(t, 1, k, func(cfg *Config) {
		cfg.Retention = func(span keys.Span) Retention {
			r := Retention{After: 50 * time.Millisecond}
			if span.Start.Less(key(3)) {
				r.Protected = hlc.Timestamp{WallTime: protected.Load()}
			}
			return r
		}
	})
	ctx := c.ctx(30 * time.Second)
	s, _ := c.waitLeader(kv.FirstUserRange)
	require.NoError(t, c.put(ctx, 1, "old"))
	protected.Store(s.clock.Now().WallTime)
	right := c.split(ctx, 3)
	c.waitLeader(right)
	require.NoError(t, c.put(ctx, 1, "new"))
	require.NoError(t, c.put(ctx, 5, "a"))
	require.NoError(t, c.put(ctx, 5, "b")) // or there would be nothing to collect
	require.Eventually(t, func() bool { return protected.Load() < s.replica(right).Applied().GCThreshold.WallTime }, 20*time.Second, 5*time.Millisecond)
	err := c.merge(ctx, 3)
	require.ErrorContains(t, err, "protected")
	require.Nil(t, s.replica(right).Frozen())
	protected.Store(0)
	c.mergeSoon(ctx, 3)
}

// A store that misses that a range has given up its replica there finds out although the range is merged away meanwhile, and nothing of it is in
// the way of what takes its place.
func TestMergeLeavesNobodyBehind(t *testing.T) { synctest.Test(t, testMergeLeavesNobodyBehind) }

func testMergeLeavesNobodyBehind(t *testing.T) {
	c := newCluster(t, 4, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	for i := range 20 {
		require.NoError(t, c.put(ctx, i, "a"))
	}
	right := c.split(ctx, 10)
	_, st := c.waitLeader(right)
	missed := kv.NodeID(1 + int(st.Replica.NodeID)%3)
	c.untilHas(ctx, missed, right)
	c.setFilter(func(m *RaftMessage) bool { return m.RangeID == right && m.To.NodeID == missed })
	for _, id := range []kv.RangeID{right, kv.FirstUserRange} {
		c.changeReplicas(ctx, id, []kv.NodeID{4}, []kv.NodeID{missed})
	}
	c.mergeSoon(ctx, 10)
	r := c.up(missed).replica(right)
	require.NotNil(t, r)
	require.Nil(t, r.Frozen())
	c.setFilter(nil)
	c.untilGone(ctx, missed, right)
	c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{missed}, []kv.NodeID{4})
	c.values(ctx, 0, 20, func(int) string { return "a" })
	c.checkReplicas(ctx)
}

// So does one whose last question was lost, too: it has nothing to rest on.
func TestMergeLeavesNobodyAsleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4, testKnobs)
		c.upReplicate(2, 3)
		ctx := c.ctx(60 * time.Second)
		require.NoError(t, c.put(ctx, 1, "a"))
		right := c.split(ctx, 10)
		_, st := c.waitLeader(right)
		missed := kv.NodeID(1 + int(st.Replica.NodeID)%3)
		c.untilHas(ctx, missed, right)
		r := c.up(missed).replica(right)
		c.setFilter(func(m *RaftMessage) bool {
			return m.RangeID == right && (m.To.NodeID == missed || m.From.NodeID == missed)
		})
		for _, id := range []kv.RangeID{right, kv.FirstUserRange} {
			c.changeReplicas(ctx, id, []kv.NodeID{4}, []kv.NodeID{missed})
		}
		c.mergeSoon(ctx, 10)
		time.Sleep(5 * time.Second)
		require.Same(t, r, c.up(missed).replica(right))
		c.setFilter(nil)
		c.untilGone(ctx, missed, right)
	})
}

// A replica that has never got anything, of a range that was merged away since, goes, although all who had the range have nothing left but a tombstone. One
// of a range of which nobody knows anything stays: the range may be new.
func TestMergeLeavesNoEmptyReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 4, testKnobs)
		c.upReplicate(2, 3)
		ctx := c.ctx(10 * time.Minute)
		require.NoError(t, c.put(ctx, 1, "a"))
		merged := c.split(ctx, 10)
		c.mergeSoon(ctx, 10)
		c.checkReplicas(ctx)
		// The store has a replica of another range, and so knows other stores.
		c.changeReplicas(ctx, kv.FirstUserRange, []kv.NodeID{4}, []kv.NodeID{3})
		const unknown = kv.RangeID(999)
		s := c.up(4)
		for _, id := range []kv.RangeID{merged, unknown} {
			s.HandleRaftMessages([]*RaftMessage{{
				RangeID: id, From: kv.Replica{NodeID: 3, StoreID: 3, ReplicaID: 3}, To: kv.Replica{NodeID: 4, StoreID: 4, ReplicaID: 7}, Now: s.clock.Now(),
				Raft: &pb.Message{Type: pb.MsgHeartbeat.Enum(), From: new(uint64(3)), To: new(uint64(7)), Term: new(uint64(6))},
			}})
		}
		for s.replica(merged) == nil || s.replica(unknown) == nil {
			time.Sleep(time.Millisecond)
		}
		for s.replica(merged) != nil {
			require.NoError(t, ctx.Err(), "the replica is still there")
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		require.NotNil(t, s.replica(unknown))
	})
}

// A replica that has something may still have to be absorbed here: it is not removed on the word that its range was merged away.
func TestMergedIsNotSaidToReplicasWithData(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, testKnobs)
		c.waitLeader(kv.FirstUserRange)
		s := c.up(1)
		s.HandleRaftMessages([]*RaftMessage{{
			RangeID: kv.FirstUserRange, From: kv.Replica{NodeID: 2, StoreID: 2}, To: s.replica(kv.FirstUserRange).Me(), Now: s.clock.Now(), RemovedBelow: replica.NoReplica,
		}})
		time.Sleep(time.Minute)
		require.NoError(t, c.put(c.ctx(time.Minute), 1, "a"))
	})
}
