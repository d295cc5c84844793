package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
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

func TestThreeReplicas(t *testing.T) { synctest.Test(t, testThreeReplicas) }

func testThreeReplicas(t *testing.T) {
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

func TestSplitUnderWrites(t *testing.T) { synctest.Test(t, testSplitUnderWrites) }

func testSplitUnderWrites(t *testing.T) {
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
				if i/4%2 == 1 {
					time.Sleep(time.Millisecond) // a split begins together with the next two
				}
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

// contents is what one replica holds at one log position.
type contents struct {
	applied uint64
	sum     string
}

func (s *Store) contents(ctx context.Context, t *testing.T, id kv.RangeID) (c contents, desc *kv.RangeDescriptor) {
	snap := s.eng.DB().NewSnapshot()
	defer snap.Close()
	desc, err := mvcc.LoadDescriptor(snap, id)
	require.NoError(t, err)
	as, ok, err := mvcc.LoadAppliedState(snap, id)
	require.NoError(t, err)
	if !ok || desc == nil {
		return c, nil
	}
	c.applied = as.AppliedIndex
	c.sum, err = mvcc.Checksum(ctx, snap, desc)
	require.NoError(t, err)
	stats, err := mvcc.ComputeStats(ctx, snap, desc)
	require.NoError(t, err)
	require.Equal(t, stats, as.Stats, "statistics of %s on store %d", desc, s.id.StoreID)
	return c, desc
}

// checkReplicas waits until all replicas of all ranges have applied the same, and compares their contents.
func (c *cluster) checkReplicas(ctx context.Context) {
	c.t.Helper()
	for _, st := range c.waitLeaderStore().Ranges() {
		var last string
		require.Eventually(c.t, func() bool {
			_, lead := c.waitLeader(st.RangeID)
			var first *contents
			for _, p := range lead.Descriptor.Replicas {
				s := c.up(p.NodeID)
				if s == nil {
					continue
				}
				if mine, ok := s.RangeDetail(st.RangeID); ok {
					require.Empty(c.t, mine.Stopped)
				}
				got, d := s.contents(ctx, c.t, st.RangeID)
				if d == nil || first != nil && first.applied != got.applied {
					last = fmt.Sprintf("range %d on node %d: %v, %v", st.RangeID, p.NodeID, got, first)
					return false
				}
				if first == nil {
					first = &got
				}
				require.Equal(c.t, *first, got, "replicas of range %d differ", st.RangeID)
			}
			return true
		}, 20*time.Second, 10*time.Millisecond, "replicas do not catch up: %s", &last)
	}
}

func TestMembership(t *testing.T) { synctest.Test(t, testMembership) }

func testMembership(t *testing.T) {
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

func TestSnapshotCatchUp(t *testing.T) { synctest.Test(t, testSnapshotCatchUp) }

func testSnapshotCatchUp(t *testing.T) {
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

func TestTransferAndDrain(t *testing.T) { synctest.Test(t, testTransferAndDrain) }

func testTransferAndDrain(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	c.checkReplicas(ctx) // a replica with a change of the configuration still to apply does not stand
	for _, to := range []kv.StoreID{2, 3, 1, 2} {
		s, _ := c.waitLeader(kv.FirstUserRange)
		var err error
		require.Eventually(t, func() bool { // a leader that is new has yet to hear from the target how far it is
			_, err = s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminTransferLeader{Target: to}}})
			return !kv.HasCode(err, kv.CodeUnavailable)
		}, 10*time.Second, 10*time.Millisecond)
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

// A store that can hand its leaderships to nobody waits between its attempts. In virtual time, which does not pass while
// anything runs, a Drain that did not would never end.
func TestDrainWithoutAnybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// The others count as silent after two heartbeats. Whoever hears nobody stops leading after three (liveness.Machine.Deaf), or when Raft
		// checks for a quorum: the Drain must come in between.
		knobs := testKnobs
		knobs.HeartbeatInterval, knobs.SupportDuration, knobs.TickInterval = 400*time.Millisecond, 3*time.Second, 300*time.Millisecond
		c := newCluster(t, 3, knobs)
		c.upReplicate(2, 3)
		c.checkReplicas(c.ctx(30 * time.Second))
		lead, _ := c.waitLeader(kv.FirstUserRange)
		me := lead.id.NodeID
		c.isolate(me, true)
		for n := range c.nodes {
			require.Eventually(t, func() bool { return n == me || lead.support.silence(kv.StoreID(n)) > 2*c.knobs.HeartbeatInterval },
				10*time.Second, 10*time.Millisecond)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		require.Positive(t, lead.Drain(ctx))
	})
}

// holdBack keeps everything of the range's group from a node, until the returned function is called.
func (c *cluster) holdBack(id kv.RangeID, n kv.NodeID) (release func()) {
	c.setFilter(func(m *RaftMessage) bool { return m.RangeID == id && m.To.NodeID == n })
	return func() { c.setFilter(nil) }
}

// A follower hears of the right side before it applies the split: the uninitialised replica is there first.
func TestSplitMeetsUninitialisedReplica(t *testing.T) {
	synctest.Test(t, testSplitMeetsUninitialisedReplica)
}

func testSplitMeetsUninitialisedReplica(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	require.NoError(t, c.put(ctx, 9, "x"))
	c.checkReplicas(ctx)
	s, _ := c.waitLeader(kv.FirstUserRange)
	late := 1 + s.id.NodeID%3
	release := c.holdBack(kv.FirstUserRange, late)
	resp, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(5)}}})
	require.NoError(t, err)
	right := resp.Responses[0].(*kv.AdminSplitResponse).Right.RangeID
	require.NoError(t, c.put(ctx, 9, "y"))
	require.Eventually(t, func() bool {
		st, ok := c.up(late).RangeDetail(right)
		return ok && st.Descriptor == nil
	}, 10*time.Second, time.Millisecond)
	release()
	require.Eventually(t, func() bool {
		st, ok := c.up(late).RangeDetail(right)
		return ok && st.Descriptor != nil
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, c.put(ctx, 9, "z"))
	c.checkReplicas(ctx)
}

// The right side's replica was removed, and made anew, before the split is applied where it was: what the split
// would put there must go, and the new replica gets its state by snapshot.
func TestSplitMeetsLaterReplica(t *testing.T) { synctest.Test(t, testSplitMeetsLaterReplica) }

func testSplitMeetsLaterReplica(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	require.NoError(t, c.put(ctx, 9, "x"))
	c.checkReplicas(ctx)
	s, _ := c.waitLeader(kv.FirstUserRange)
	late := 1 + s.id.NodeID%3
	release := c.holdBack(kv.FirstUserRange, late)
	resp, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(5)}}})
	require.NoError(t, err)
	right := resp.Responses[0].(*kv.AdminSplitResponse).Right.RangeID
	c.changeReplicas(ctx, right, nil, []kv.NodeID{late})
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.changeReplicas(ctx, right, []kv.NodeID{late}, nil)
	}()
	require.Eventually(t, func() bool {
		st, ok := c.up(late).RangeDetail(right)
		return ok && st.Replica.ReplicaID > 3
	}, 10*time.Second, time.Millisecond)
	require.NoError(t, c.put(ctx, 9, "y"))
	release()
	<-done
	c.checkReplicas(ctx)
	st, ok := c.up(late).RangeDetail(right)
	require.True(t, ok)
	require.Greater(t, st.Replica.ReplicaID, kv.ReplicaID(3))
}

// A client that goes away leaves no latch behind, and its write may still come to pass.
func TestCanceledClient(t *testing.T) { synctest.Test(t, testCanceledClient) }

func testCanceledClient(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	c.setFilter(func(m *RaftMessage) bool {
		return m.RangeID == kv.FirstUserRange && m.Raft != nil && len(m.Raft.Entries) > 0
	})
	short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	_, err := s.Send(short, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Put{Key: key(1), Value: []byte("y")}}})
	cancel()
	require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), "%v", err)
	c.setFilter(nil)
	require.NoError(t, c.put(ctx, 1, "z"))
	v, err := c.get(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, "z", v)
	require.Eventually(t, func() bool { return s.replica(kv.FirstUserRange).Inflight() == 0 }, 10*time.Second, time.Millisecond)
}

// A disk that fails ends the store; what was acknowledged before is there afterwards.
func TestDiskFailure(t *testing.T) {
	for _, ops := range [][]errorfs.OpKind{{errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo}, {errorfs.OpFileWrite}} {
		mem := vfs.NewCrashableMem()
		var broken atomic.Bool
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(o errorfs.Op) error {
			if broken.Load() && slices.Contains(ops, o.Kind) && strings.HasSuffix(o.Path, ".log") {
				return errors.New("the disk is broken")
			}
			return nil
		}))
		clock := hlc.NewClock(nil, testOffset)
		fatal := make(chan error, 1)
		// One writer, and no heartbeat that writes the clock beside it: a second commit that runs into the broken log
		// at the same moment makes Pebble panic, which is right for a process but not for a test.
		quiet := testKnobs
		quiet.HeartbeatInterval, quiet.SupportDuration = time.Hour, 2*time.Second
		s, err := Open(context.Background(), Config{Dir: "store", FS: fs, Clock: clock, Transport: noTransport{}, Logger: testLogger(1),
			Knobs: quiet, OnFatal: func(err error) { fatal <- err }})
		require.NoError(t, err)
		require.NoError(t, s.Bootstrap([16]byte{1}))
		s.SetSender(localSender{s})
		require.NoError(t, s.Start(context.Background()))
		var acked atomic.Int64
		go func(s *Store) { // not waited for: it is stopped for good in the failing write
			for i := 0; ; i++ {
				_, err := s.Send(context.Background(), benchPut(i))
				if err != nil {
					if s.Err() != nil || kv.AsError(err).Code.Class() != kv.RetryRouting {
						return
					}
					i-- // it had no effect
					continue
				}
				acked.Store(int64(i))
			}
		}(s)
		require.Eventually(t, func() bool { return acked.Load() > 0 }, 10*time.Second, time.Millisecond)
		time.Sleep(100 * time.Millisecond)
		broken.Store(true)
		select {
		case err := <-fatal:
			require.Error(t, err)
		case <-time.After(10 * time.Second):
			t.Fatal("the store does not notice")
		}
		last := acked.Load()
		require.Positive(t, last)
		_, err = s.Send(context.Background(), benchPut(1))
		require.True(t, kv.HasCode(err, kv.CodeUnavailable), "others may be well: %v", err)
		require.Error(t, s.Err())
		require.Error(t, s.Close())
		after := mem.CrashClone(vfs.CrashCloneCfg{})
		s, err = Open(context.Background(), Config{Dir: "store", FS: after, Clock: clock, Transport: noTransport{}, Logger: testLogger(1),
			Knobs: testKnobs, OnFatal: func(error) {}})
		require.NoError(t, err)
		s.SetSender(localSender{s})
		require.NoError(t, s.Start(context.Background()))
		for i := range last + 1 {
			var resp *kv.BatchResponse
			require.Eventually(t, func() bool {
				resp, err = s.Send(context.Background(), &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Get{Key: key(int(i))}}})
				return err == nil
			}, 5*time.Second, time.Millisecond)
			require.True(t, resp.Responses[0].(*kv.GetResponse).Exists, "write %d of %d is lost", i, last)
		}
		require.NoError(t, s.Close())
	}
}

// Followers answer reads of the past, while there are writes and when the group has gone quiet.
func TestFollowerReads(t *testing.T) { synctest.Test(t, testFollowerReads) }

func testFollowerReads(t *testing.T) {
	k := testKnobs
	k.ClosedLag = 100 * time.Millisecond
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "x"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	follower := c.up(1 + s.id.NodeID%3)
	read := func(ts hlc.Timestamp) (string, error) {
		resp, err := follower.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, AnyReplica: true, Timestamp: ts,
			Requests: []kv.Request{&kv.Get{Key: key(1)}}})
		if err != nil {
			return "", err
		}
		return string(resp.Responses[0].(*kv.GetResponse).Value), nil
	}
	_, err := read(s.clock.Now())
	require.True(t, kv.HasCode(err, kv.CodeNotLeader), "%v", err)
	// Every value read at a follower is the one that was current at that time.
	for i := range 20 {
		require.NoError(t, c.put(ctx, 1, fmt.Sprint(i)))
		at := s.clock.Now()
		require.NoError(t, c.put(ctx, 1, "later"))
		var v string
		require.Eventually(t, func() bool {
			if i%2 == 0 {
				_ = c.put(ctx, 2, "traffic")
			}
			v, err = read(at)
			return err == nil
		}, 10*time.Second, 5*time.Millisecond)
		require.Equal(t, fmt.Sprint(i), v)
	}
	require.Positive(t, follower.metrics.FollowerReads.Load())

	// Who asks the leader for the past with an old descriptor is told the new one: it may not know of a replica that is nearer.
	s, d := c.waitLeader(kv.FirstUserRange)
	past := &kv.BatchRequest{RangeID: kv.FirstUserRange, AnyReplica: true, Timestamp: s.clock.Now(), Generation: d.Descriptor.Generation - 1,
		Requests: []kv.Request{&kv.Get{Key: key(1)}}}
	_, err = s.Send(ctx, past)
	require.True(t, kv.HasCode(err, kv.CodeRangeMismatch), "%v", err)
	require.Equal(t, d.Descriptor.Generation, kv.AsError(err).Descriptors[0].Generation)
	past.Generation = d.Descriptor.Generation
	_, err = s.Send(ctx, past)
	require.NoError(t, err)
	past.Generation, past.AnyReplica = d.Descriptor.Generation-1, false
	_, err = s.Send(ctx, past)
	require.NoError(t, err, "who asks for the present is at the right place")
}
