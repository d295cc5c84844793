package store

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Old versions go by themselves, on every replica alike, and what is live stays.
func TestGarbageCollection(t *testing.T) { synctest.Test(t, testGarbageCollection) }

func testGarbageCollection(t *testing.T) {
	k := testKnobs
	k.GCAfter, k.GCInterval = 200*time.Millisecond, 50*time.Millisecond
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	for i := range 50 {
		require.NoError(t, c.put(ctx, 1, fmt.Sprint(i)))
	}
	require.NoError(t, c.put(ctx, 2, "once"))
	require.Eventually(t, func() bool {
		s, _ := c.waitLeader(kv.FirstUserRange)
		st := s.replica(kv.FirstUserRange).Status().Applied.Stats
		return st.Versions == 2 && st.LiveRows == 2
	}, 10*time.Second, 20*time.Millisecond, "51 versions of one row must become one")
	c.checkReplicas(ctx)
	s, _ := c.waitLeader(kv.FirstUserRange)
	resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Get{Key: key(1)}}})
	require.NoError(t, err)
	require.Equal(t, "49", string(resp.Responses[0].(*kv.GetResponse).Value))
	// A read of the past that was collected is refused, not answered wrongly.
	_, err = s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Timestamp: s.clock.Now().Add(-time.Hour), Requests: []kv.Request{&kv.Get{Key: key(1)}}})
	require.True(t, kv.HasCode(err, kv.CodeReadBelowGC), "%v", err)
}

// Whoever reads the past while it is being collected sees it whole or is told that it is gone: two rows that are always
// written together are never seen to differ, by readers who take their time between the two.
func TestCollectionFoolsNobody(t *testing.T) {
	k := testKnobs
	k.GCAfter, k.GCInterval = 60*time.Millisecond, 10*time.Millisecond
	c := newCluster(t, 1, k)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 99, "x")) // the range is there; the pairs are not yet
	s, _ := c.waitLeader(kv.FirstUserRange)
	done, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; done.Err() == nil; i++ {
				now := s.clock.Now()
				x := &kv.TxnMeta{ID: kv.MakeTxnID(now, uint64(w)), Anchor: key(10 * w), Gateway: 1, ReadTS: now, UncertaintyLimit: now}
				commit := &kv.CommitSingleRange{}
				for j := range 2 {
					commit.Writes = append(commit.Writes, kv.Write{Key: key(10*w + j), Value: []byte(fmt.Sprint(i)), Deleted: i%7 == 6})
				}
				if commit.Writes[0].Deleted {
					commit.Writes[0].Value, commit.Writes[1].Value = nil, nil
				}
				_, err := c.Send(ctx, &kv.BatchRequest{Txn: x, Requests: []kv.Request{commit}})
				// A busy machine may take longer for a commit than outcomes are kept for here; it is refused then, for nobody would know it again.
				if err != nil && !kv.HasCode(err, kv.CodeRefreshFailed) {
					t.Error(err)
					return
				}
			}
		}()
	}
	var whole, gone atomic.Int64
	for w := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for n := 0; done.Err() == nil; n++ {
				at := s.clock.Now().Add(-time.Duration(n%80) * time.Millisecond)
				var seen [2]string
				var err error
				for j := range 2 {
					var resp *kv.BatchResponse
					resp, err = c.Send(ctx, &kv.BatchRequest{Timestamp: at, Requests: []kv.Request{&kv.Get{Key: key(10*w + j)}}})
					if err != nil {
						break
					}
					seen[j] = string(resp.Responses[0].(*kv.GetResponse).Value)
					if n%3 == 0 {
						time.Sleep(5 * time.Millisecond)
					}
				}
				switch {
				case kv.HasCode(err, kv.CodeReadBelowGC):
					gone.Add(1)
				case err != nil:
					t.Error(err)
					return
				case seen[0] != seen[1]:
					t.Errorf("at %s: %q and %q", at, seen[0], seen[1])
					return
				default:
					whole.Add(1)
				}
			}
		}()
	}
	require.Eventually(t, func() bool {
		return t.Failed() || whole.Load() > 500 && gone.Load() > 20 && s.metrics.Collected.Load() > 500
	}, 30*time.Second, 10*time.Millisecond)
	cancel()
	wg.Wait()
	c.checkReplicas(ctx)
}

// What was dropped goes as a whole, on every replica alike, once nobody may read it any more, and what is next to it stays. A range that nobody writes to is
// told. A row of somebody who came late goes when he may not be read any more, either.
func TestDropped(t *testing.T) { synctest.Test(t, testDropped) }

func testDropped(t *testing.T) {
	const keep = 2 * time.Second
	k := testKnobs
	k.GCAfter, k.GCInterval = keep, 100*time.Millisecond
	var dropped atomic.Pointer[[]Dropped]
	dropped.Store(new([]Dropped))
	c := newClusterWith(t, 3, k, func(cfg *Config) {
		cfg.Retention = func(keys.Span) Retention { return Retention{Dropped: *dropped.Load()} }
	})
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	for i := range 300 {
		require.NoError(t, c.put(ctx, i, fmt.Sprint(i)))
	}
	stats := func() kv.Stats {
		s, _ := c.waitLeader(kv.FirstUserRange)
		return s.replica(kv.FirstUserRange).Status().Applied.Stats
	}
	get := func(i int, at hlc.Timestamp) (string, error) {
		resp, err := c.Send(ctx, &kv.BatchRequest{Timestamp: at, Requests: []kv.Request{&kv.Get{Key: key(i)}}})
		if err != nil {
			return "", err
		}
		return string(resp.Responses[0].(*kv.GetResponse).Value), nil
	}
	time.Sleep(2 * keep) // the range is as it will be, and nobody looks after it any more
	require.EqualValues(t, 300, stats().Versions)
	s, _ := c.waitLeader(kv.FirstUserRange)
	since := s.clock.Now()
	dropped.Store(&[]Dropped{{Span: keys.Span{Start: key(100), End: key(200)}, Since: since}})
	for _, id := range []kv.NodeID{1, 2, 3} {
		c.nodes[id].store.Dropped([]keys.Span{{Start: key(100), End: key(200)}})
	}
	time.Sleep(keep / 2)
	require.EqualValues(t, 300, stats().Versions, "somebody may read at the time before")
	v, err := get(150, since)
	require.NoError(t, err)
	require.Equal(t, "150", v)
	require.NoError(t, c.put(ctx, 150, "late"))
	time.Sleep(keep/2 + time.Second)
	require.EqualValues(t, 200+1, stats().LiveRows)
	_, err = get(149, since)
	require.True(t, kv.HasCode(err, kv.CodeReadBelowGC), "%v", err)
	v, err = get(150, hlc.Timestamp{})
	require.NoError(t, err)
	require.Equal(t, "late", v)
	time.Sleep(keep)
	require.Equal(t, int64(200), stats().Versions)
	for _, i := range []int{0, 99, 200, 299} {
		v, err := get(i, hlc.Timestamp{})
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(i), v)
	}
	c.checkReplicas(ctx) // the statistics, too
}

// The node says how long what is kept, and what must not go.
func TestRetention(t *testing.T) { synctest.Test(t, testRetention) }

func testRetention(t *testing.T) {
	k := testKnobs
	k.GCAfter, k.GCInterval = time.Hour, 10*time.Millisecond
	var protected atomic.Int64
	protected.Store(1)
	c := newClusterWith(t, 1, k, func(cfg *Config) {
		cfg.Retention = func(span keys.Span) Retention {
			if !span.Contains(key(1)) {
				return Retention{}
			}
			return Retention{After: 50 * time.Millisecond, Protected: hlc.Timestamp{WallTime: protected.Load()}}
		}
	})
	ctx := c.ctx(30 * time.Second)
	for i := range 5 {
		require.NoError(t, c.put(ctx, 1, fmt.Sprint(i)))
	}
	s, _ := c.waitLeader(kv.FirstUserRange)
	time.Sleep(time.Millisecond) // what is protected is a wall time: the last row has an earlier one
	backup := s.clock.Now()
	protected.Store(backup.WallTime)
	for i := range 5 {
		require.NoError(t, c.put(ctx, 1, fmt.Sprint(i+5)))
	}
	versions := func(n int64) func() bool {
		return func() bool { return s.replica(kv.FirstUserRange).Status().Applied.Stats.Versions == n }
	}
	require.Eventually(t, versions(6), 10*time.Second, 5*time.Millisecond, "what the backup does not see")
	time.Sleep(200 * time.Millisecond)
	require.True(t, versions(6)())
	resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Timestamp: backup, Requests: []kv.Request{&kv.Get{Key: key(1)}}})
	require.NoError(t, err)
	require.Equal(t, "4", string(resp.Responses[0].(*kv.GetResponse).Value))
	time.Sleep(time.Millisecond)
	protected.Store(s.clock.Now().WallTime)
	require.Eventually(t, versions(1), 10*time.Second, 5*time.Millisecond, "the backup is over")
}

// A range is visited until all that became garbage in it is gone, whatever happens while it is being collected.
func TestNoGarbageIsForgotten(t *testing.T) {
	for name, between := range map[string]func(ctx context.Context, c *cluster, collect func()){
		"written while the range is collected": func(ctx context.Context, c *cluster, collect func()) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				collect()
			}()
			time.Sleep(gcPause / 2)
			require.NoError(c.t, c.put(ctx, 1, "meanwhile"))
			<-done
		},
		"written under another leader": func(ctx context.Context, c *cluster, collect func()) {
			collect()
			c.transfer(ctx)
			require.NoError(c.t, c.put(ctx, 1, "elsewhere"))
			c.transfer(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { testNoGarbageIsForgotten(t, between) }) })
	}
	t.Run("looked at before it is applied", func(t *testing.T) { synctest.Test(t, testGarbageThatIsYetToCome) })
	t.Run("frozen for a merge that comes to nothing", func(t *testing.T) { synctest.Test(t, testNoGarbageIsForgottenByMerges) })
}

// garbageKnobs are for a collector that the test has instead of the store's, whose time never comes.
func garbageKnobs() Knobs {
	k := testKnobs
	k.GCAfter, k.GCInterval = 200*time.Millisecond, 1000*time.Hour
	return k
}

func testNoGarbageIsForgotten(t *testing.T, between func(ctx context.Context, c *cluster, collect func())) {
	c := newCluster(t, 2, garbageKnobs())
	c.upReplicate(2)
	ctx := c.ctx(time.Minute)
	for i := range 5 {
		require.NoError(t, c.put(ctx, 1, fmt.Sprint(i)))
	}
	s := c.waitLeaderStore()
	visit := visitor(s, s.replica(kv.FirstUserRange))
	require.True(t, visit())
	time.Sleep(time.Second)
	between(ctx, c, func() { require.True(t, visit()) })
	for n := 0; visit() && n < 10; n++ {
		time.Sleep(time.Second)
	}
	require.False(t, visit(), "nothing is left to do")
	require.EqualValues(t, 1, s.replica(kv.FirstUserRange).Applied().Stats.Versions)
}

func testNoGarbageIsForgottenByMerges(t *testing.T) {
	c := newCluster(t, 2, garbageKnobs())
	c.upReplicate(2)
	ctx := c.ctx(time.Minute)
	for i := range 5 {
		require.NoError(t, c.put(ctx, 1, fmt.Sprint(i)))
	}
	id := c.split(ctx, 1)
	s, _ := c.waitLeader(id)
	right := s.replica(id)
	visit := visitor(s, right)
	require.True(t, visit())
	time.Sleep(time.Second)
	// No replica's answer is heard once the freeze is applied, so that the merge stands still there.
	c.setFilter(func(m *RaftMessage) bool { return m.ChecksumID != 0 && right.Frozen() != nil })
	done := make(chan error, 1)
	go func() { done <- c.merge(ctx, 1) }()
	for right.Frozen() == nil {
		require.NoError(t, ctx.Err())
		time.Sleep(time.Millisecond)
	}
	require.True(t, visit())
	require.Error(t, <-done)
	for right.Frozen() != nil {
		require.NoError(t, ctx.Err())
		time.Sleep(time.Millisecond)
	}
	for n := 0; visit() && n < 10; n++ {
		time.Sleep(time.Second)
	}
	require.EqualValues(t, 1, right.Applied().Stats.Versions)
}

// The loop comes by between the proposal of a write and its application, and must come again.
func testGarbageThatIsYetToCome(t *testing.T) {
	k := testKnobs
	k.GCAfter, k.GCInterval = 50*time.Millisecond, 50*time.Millisecond
	c := newCluster(t, 2, k)
	c.upReplicate(2)
	ctx := c.ctx(time.Minute)
	r := c.waitLeaderStore().replica(kv.FirstUserRange)
	for i := range 5 {
		if i == 4 {
			c.setFilter(func(m *RaftMessage) bool { return m.RangeID == kv.FirstUserRange })
			go func() {
				time.Sleep(150 * time.Millisecond)
				c.setFilter(nil)
			}()
		}
		require.NoError(t, c.put(ctx, 1, fmt.Sprint(i)))
		require.Eventually(t, func() bool { return r.Applied().Stats.Versions == 1 }, 10*time.Second, 10*time.Millisecond)
		time.Sleep(time.Second) // nothing is left to do
	}
}

// visitor returns what visits a replica as the loop would, and reports whether it wants to again.
func visitor(s *Store, r *replica.Replica) func() bool {
	c := collector{s: s, known: map[kv.RangeID]gcState{}}
	return func() bool { return c.visit(r) }
}

// A range that is mostly garbage is collected sooner, but no sooner than its garbage may go.
func TestGCInterval(t *testing.T) {
	const usual = 10 * time.Minute
	for _, c := range []struct {
		after       time.Duration
		bytes, live int64
		dropped     int
		want        time.Duration
	}{
		{time.Minute, 64 << 20, 60 << 20, 0, usual},
		{time.Minute, 64 << 20, 3 << 20, 0, 30 * time.Second},
		{20 * time.Minute, 64 << 20, 3 << 20, 0, 5 * time.Minute},
		{time.Hour, 64 << 20, 3 << 20, 0, usual},
		{time.Minute, 64 << 10, 3 << 10, 0, usual}, // not worth it
		{time.Minute, 64 << 20, 64 << 20, 1, 30 * time.Second},
	} {
		require.Equal(t, c.want, gcInterval(usual, &Retention{After: c.after, Dropped: make([]Dropped, c.dropped)}, kv.Stats{Bytes: c.bytes, LiveBytes: c.live}), "%+v", c)
	}
}
