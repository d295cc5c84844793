package store

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

const testSplitBytes = 256 << 10

func splitKnobs() Knobs {
	k := testKnobs
	k.SplitBytes, k.SplitInterval = testSplitBytes, 10*time.Millisecond
	k.SplitRequests, k.SplitCPU = -1, -1
	return k
}

// userRanges returns the ranges of user tables, in key order as far as the test knows: by their leaders' descriptors.
func (c *cluster) userRanges() (out []RangeStatus) {
	for n := range c.nodes {
		for _, st := range c.up(n).Ranges() {
			if st.Serving && !st.Descriptor.StartKey.Less(keys.Table(keys.FirstUserTable)) {
				out = append(out, st)
			}
		}
	}
	return out
}

// insert writes rows of 1 KiB in the order given, a thousand in a second of virtual time: ten from one look at sizes to the next.
func (c *cluster) insert(ctx context.Context, order []int) {
	c.t.Helper()
	value := make([]byte, 1000)
	for _, i := range order {
		require.NoError(c.t, c.put(ctx, i, string(value)))
		time.Sleep(time.Millisecond)
	}
}

// settled waits until no range is above the size, and checks that nothing was lost or counted wrongly.
func (c *cluster) settled(ctx context.Context, rows int) []RangeStatus {
	c.t.Helper()
	for {
		require.NoError(c.t, ctx.Err())
		unfit := 0
		all := c.userRanges()
		slices.SortFunc(all, func(a, b RangeStatus) int { return a.Descriptor.StartKey.Compare(b.Descriptor.StartKey) })
		for i, st := range all {
			if i > 0 && !st.Descriptor.StartKey.Equal(all[i-1].Descriptor.EndKey) {
				unfit++ // what was split off a moment ago is not led yet
			}
			if st.Stats.Bytes >= testSplitBytes {
				unfit++
			}
		}
		if unfit == 0 && all[len(all)-1].Descriptor.EndKey.Equal(keys.Max) {
			live := int64(0)
			for _, st := range all {
				want, err := mvcc.ComputeStats(ctx, c.up(1).eng.DB(), st.Descriptor)
				require.NoError(c.t, err)
				require.Equal(c.t, want, st.Stats, "range %d", st.RangeID)
				live += st.Stats.LiveRows
			}
			require.Equal(c.t, int64(rows), live)
			return all
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Who appends gets ranges that are nearly full, not twice as many that are half full; whoever writes anywhere gets halves.
func TestSplitBySize(t *testing.T) {
	const rows = 3000
	full := rows * 1050 / testSplitBytes // as many ranges as it takes if they are full
	for _, x := range []struct {
		name  string
		order func() []int
		most  int
	}{
		{"appending", func() []int {
			var o []int
			for i := range rows {
				o = append(o, i)
			}
			return o
		}, full*3/2 + 2},
		{"anywhere", func() []int { return rand.Perm(rows) }, 2*full + 4},
	} {
		t.Run(x.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 1, splitKnobs())
				ctx := c.ctx(60 * time.Second)
				c.waitLeader(kv.FirstUserRange)
				c.insert(ctx, x.order())
				all := c.settled(ctx, rows)
				t.Logf("%d ranges, %d if they were full", len(all), full)
				require.GreaterOrEqual(t, len(all), full)
				require.LessOrEqual(t, len(all), x.most)
				m := c.up(1).Counters().Replicas
				require.Equal(t, int64(len(all)-1), m.SplitsBySize.Load())
				require.Equal(t, m.Splits.Load(), m.SplitsBySize.Load())
			})
		})
	}
}

// One row cannot be cut, however large it is.
func TestSplitLeavesOneRowAlone(t *testing.T) { synctest.Test(t, testSplitLeavesOneRowAlone) }

func testSplitLeavesOneRowAlone(t *testing.T) {
	c := newCluster(t, 1, splitKnobs())
	ctx := c.ctx(60 * time.Second)
	s, _ := c.waitLeader(kv.FirstUserRange)
	value := string(make([]byte, 100<<10))
	for range 4 {
		require.NoError(t, c.put(ctx, 1, value))
	}
	for s.Counters().Replicas.SplitsRefused.Load() == 0 {
		require.NoError(t, ctx.Err())
		time.Sleep(5 * time.Millisecond)
	}
	require.Len(t, c.userRanges(), 1)
	// A second key, and there is somewhere to cut.
	require.NoError(t, c.put(ctx, 2, value))
	for len(c.userRanges()) == 1 {
		require.NoError(t, ctx.Err())
		time.Sleep(5 * time.Millisecond)
	}
}

// A range that is asked too often is split where that divides the load, and only there.
func TestSplitByLoad(t *testing.T) { synctest.Test(t, testSplitByLoad) }

func testSplitByLoad(t *testing.T) {
	k := testKnobs
	k.SplitBytes, k.SplitInterval = -1, 20*time.Millisecond
	k.SplitRequests, k.SplitCPU, k.SplitLoadFor = 20, -1, 300*time.Millisecond
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	ctx := c.ctx(90 * time.Second)
	for i := range 64 {
		require.NoError(t, c.put(ctx, i, "v"))
	}
	sum := func(f func(*Store) int64) (n int64) {
		for id := range c.nodes {
			n += f(c.up(id))
		}
		return n
	}
	byLoad := func() int64 { return sum(func(s *Store) int64 { return s.metrics.SplitsByLoad.Load() }) }
	refused := func() int64 { return sum(func(s *Store) int64 { return s.metrics.SplitsRefused.Load() }) }
	load := func(pick func(n int) int, until func(asked int64) bool) {
		var asked atomic.Int64
		var stop atomic.Bool
		var wg sync.WaitGroup
		for w := range 4 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for n := w; !stop.Load(); n += 4 {
					if _, err := c.get(ctx, pick(n)); err != nil {
						t.Error(err)
						return
					}
					asked.Add(1)
					time.Sleep(time.Millisecond) // 4,000 a second: the sample is renewed before a split is tried again
				}
			}()
		}
		for !until(asked.Load()) && ctx.Err() == nil && !t.Failed() {
			time.Sleep(5 * time.Millisecond)
		}
		stop.Store(true)
		wg.Wait()
		require.NoError(t, ctx.Err())
	}
	before := refused()
	load(func(int) int { return 7 }, func(asked int64) bool { return asked > 1000 && refused() > before })
	require.Zero(t, byLoad(), "one key is the load")
	load(func(int) int { return rand.IntN(64) }, func(int64) bool { return byLoad() > 0 })
	for _, st := range c.userRanges() {
		if at := st.Descriptor.StartKey; key(0).Less(at) {
			require.True(t, key(16).Less(at) && at.Less(key(48)), "split at %s", keys.Pretty(at))
			return
		}
	}
}

// What a large transaction has written into locks counts as if it had been committed: its range is split before that, and nothing is split once more after it.
func TestSplitByLocks(t *testing.T) { synctest.Test(t, testSplitByLocks) }

func testSplitByLocks(t *testing.T) {
	c := newCluster(t, 1, splitKnobs())
	ctx := c.ctx(10 * time.Minute) // resolutions wait for others to ride with
	s := c.waitLeaderStore()
	const rows, piece = 1200, 50
	value := strings.Repeat("x", 1000)
	meta := kv.TxnMeta{ID: kv.TxnID{7}, Anchor: key(0), Gateway: 1, ReadTS: s.clock.Now()}
	var at hlc.Timestamp
	for i := 0; i < rows; i += piece {
		p := &kv.Prepare{StageTS: meta.ReadTS}
		for k := i; k < i+piece; k++ {
			p.Writes = append(p.Writes, kv.Write{Key: key(k), Value: []byte(value)})
		}
		m := meta
		resp, err := c.Send(ctx, &kv.BatchRequest{Txn: &m, Requests: []kv.Request{p}})
		require.NoError(t, err)
		if ts := resp.Responses[0].(*kv.PrepareResponse).TS; at.Less(ts) {
			at = ts
		}
		time.Sleep(50 * time.Millisecond)
	}
	time.Sleep(time.Second)
	before := c.userRanges()
	require.GreaterOrEqual(t, len(before), rows*1000/testSplitBytes)
	locks := int64(0)
	for _, st := range before {
		require.Less(t, st.Stats.Locks*1050, int64(testSplitBytes), "range %d", st.RangeID)
		locks += st.Stats.Locks
	}
	require.EqualValues(t, rows, locks)

	// It also counts where an operator looks, and is to be seen there.
	bytes := int64(0)
	s.Led(func(l RangeLoad) {
		bytes += l.Stats.Bytes
		require.Equal(t, l.Stats.Bytes, s.replica(l.Descriptor.RangeID).Applied().Stats.Bytes+s.LockedBytes(l.Descriptor.RangeID, l.Stats.Locks))
	})
	require.Greater(t, bytes, int64(rows*1000))
	require.Less(t, bytes, int64(rows*1100))
	for _, st := range before {
		shown := s.Locks(st.RangeID, 1000)
		require.GreaterOrEqual(t, int64(len(shown)), min(preparedShown, st.Stats.Locks))
		require.LessOrEqual(t, int64(len(shown)), st.Stats.Locks, "none twice")
		for _, l := range shown {
			require.True(t, l.Granted && l.Replicated && st.Descriptor.Contains(l.Key) && l.Txn.ID == meta.ID)
		}
		require.Len(t, s.Locks(st.RangeID, 3), 3)
	}

	for i := range rows {
		m := meta
		_, err := c.Send(ctx, &kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.ResolveLocks{Commit: true, CommitTS: at, Keys: []keys.Key{key(i)}}}})
		require.NoError(t, err)
	}
	require.Len(t, c.settled(ctx, rows), len(before))
	m := c.up(1).Counters().Replicas
	require.EqualValues(t, len(before)-1, m.SplitsBySize.Load())
}

// Who takes a pin back, or sets it, changes one descriptor, and the meta range has it when he is told.
func TestPinsAreInTheMetaRange(t *testing.T) { synctest.Test(t, testPinsAreInTheMetaRange) }

func testPinsAreInTheMetaRange(t *testing.T) {
	var log lateMeta
	c := newClusterWith(t, 1, testKnobs, func(cfg *Config) { cfg.Logger = slog.New(&log) })
	ctx := c.ctx(30 * time.Second)
	require.NoError(t, c.put(ctx, 1, "v"))
	for _, pinned := range []int64{7, 8, -1} {
		_, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(10), Pinned: pinned}}})
		require.NoError(t, err)
	}
	require.Zero(t, log.Load(), "the meta range could not be written")
}

// lateMeta counts how often the meta range was left to be brought up to date later.
type lateMeta struct{ counting }

func (*lateMeta) Enabled(context.Context, slog.Level) bool { return true }

func (l *lateMeta) Handle(_ context.Context, r slog.Record) error {
	if strings.HasPrefix(r.Message, "the meta range will be brought up to date later") {
		l.Add(1)
	}
	return nil
}

func (l *lateMeta) WithAttrs([]slog.Attr) slog.Handler { return l }
