package store

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A range is split while its learners are brought up, which takes a while if it is large: it would only go on to grow. The change is then one of both sides, and
// what the learners have got already they keep: no other replicas are made, and nothing of the right side is sent twice.
func TestRangesSplitWhileLearnersAreFilled(t *testing.T) {
	for _, splits := range [][]int{{64}, {64, 32, 96}} {
		t.Run(fmt.Sprint(splits), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testRangesSplitWhileLearnersAreFilled(t, splits) })
		})
	}
}

func testRangesSplitWhileLearnersAreFilled(t *testing.T, splits []int) {
	k := testKnobs
	k.SnapshotBytesPerSecond = 1 << 20
	var warned counting
	c := newClusterWith(t, 3, k, func(cfg *Config) { cfg.Logger = slog.New(&warned) })
	ctx := c.ctx(2 * time.Minute)
	for i := range 128 {
		require.NoError(t, c.put(ctx, i, strings.Repeat("x", 64<<10)))
	}
	s, st := c.waitLeader(kv.FirstUserRange)
	change := &kv.AdminChangeReplicas{Generation: st.Descriptor.Generation, Add: []kv.Replica{{NodeID: 2, StoreID: 2}, {NodeID: 3, StoreID: 3, Type: kv.NonVoter}}}
	added := make(chan error, 1)
	go func() {
		_, err := c.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{change}})
		added <- err
	}()
	time.Sleep(2 * time.Second)
	for _, at := range splits {
		began := time.Now()
		_, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: key(at)}}})
		require.NoError(t, err)
		require.Less(t, time.Since(began), time.Second, "of eight or more that the learners take")
	}
	select {
	case err := <-added:
		t.Fatalf("the change was over before the split: %v", err)
	default:
	}
	require.NoError(t, c.put(ctx, 1, "left"))
	require.NoError(t, c.put(ctx, 100, "right"))
	require.NoError(t, <-added)
	whole := func() (n int) {
		for _, st := range s.Ranges() {
			if d := st.Descriptor; st.RangeID >= kv.FirstUserRange && len(d.Replicas) == 3 && d.Replicas[1].Type == kv.Voter && d.Replicas[2].Type == kv.NonVoter {
				require.EqualValues(t, 4, d.NextReplicaID, "%s: other learners were made", d)
				n++
			}
		}
		return n
	}
	for until := time.Now().Add(5 * time.Second); whole() != len(splits)+1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(until) {
			for _, st := range s.Ranges() {
				t.Log(st.Descriptor)
			}
			t.Fatal("some of the ranges lack replicas")
		}
	}
	require.EqualValues(t, 2, s.metrics.SnapshotsOut.Load(), "more was sent than the two snapshots that were on their way")
	warned.none(t)
	for i, want := range map[int]string{1: "left", 100: "right", 127: strings.Repeat("x", 64<<10)} {
		v, err := c.get(ctx, i)
		require.NoError(t, err)
		require.Equal(t, want, v)
	}
	c.checkReplicas(ctx)
}

// counting counts what is logged as a warning, or worse, and keeps the last.
type counting struct {
	atomic.Int64
	last atomic.Pointer[string]
}

func (c *counting) none(t *testing.T) {
	t.Helper()
	if last := c.last.Load(); last != nil {
		t.Fatalf("%d warnings, the last: %s", c.Load(), *last)
	}
}

func (*counting) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelWarn }

func (c *counting) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		text += " " + a.String()
		return true
	})
	c.Add(1)
	c.last.Store(&text)
	return nil
}

func (c *counting) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c *counting) WithGroup(string) slog.Handler      { return c }

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
