package txn

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// otherClocks are the clocks of nodes 2, 3, ...; asked is how often.
type otherClocks struct {
	mu    sync.Mutex
	clock []func() hlc.Timestamp
	asked int
	gate  chan struct{} // if set, answers wait for it
}

func (o *otherClocks) Near() []kv.NodeID {
	var out []kv.NodeID
	for i := range o.clock {
		out = append(out, kv.NodeID(i+2))
	}
	return out
}

func (o *otherClocks) ReadClock(ctx context.Context, n kv.NodeID) (hlc.Timestamp, error) {
	o.mu.Lock()
	o.asked++
	gate := o.gate
	o.mu.Unlock()
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return hlc.Timestamp{}, ctx.Err()
		}
	}
	return o.clock[n-2](), nil
}

func newFixTest(t *testing.T, offset time.Duration, o *otherClocks, bounds ...string) (*Coordinator, *fakeStore) {
	s := newFakeStore(bounds...)
	s.clock = hlc.NewClock(nil, offset)
	c := New(Config{Sender: s, Clock: s.clock, Node: 1, Incarnation: 7, Clocks: o})
	s.recover = c.Recover
	t.Cleanup(func() { c.Close(bg); s.waitLate() })
	return c, s
}

func fix(x Txn) error { return x.(SnapshotFixer).FixSnapshot(bg) }

// The snapshot moves to the latest clock, and after that no node's writes are uncertain.
func TestFixedSnapshotIsAfterAllClocks(t *testing.T) {
	ahead := func() hlc.Timestamp { return hlc.Timestamp{WallTime: time.Now().Add(30 * time.Second).UnixNano()} }
	o := &otherClocks{clock: []func() hlc.Timestamp{ahead, func() hlc.Timestamp { return hlc.Timestamp{WallTime: 1} }}}
	c, _ := newFixTest(t, time.Minute, o)
	before := ahead()
	x := c.Begin(bg, Options{ReadOnly: true})
	require.NoError(t, fix(x))
	ts := x.ReadTimestamp()
	require.True(t, before.LessEq(ts), "%s, the other clock was past %s", ts, before)
	require.Equal(t, 2, o.asked)
	in := x.(*txn)
	for _, n := range []kv.NodeID{2, 3} {
		found := false
		for _, cl := range in.clocks {
			if cl.Node == n {
				found = true
				require.True(t, cl.TS.LessEq(ts), "node %d", n)
			}
		}
		require.True(t, found, "the clock of node %d was not kept", n)
	}
	require.NoError(t, fix(x))
	require.Equal(t, ts, x.ReadTimestamp(), "it stays")
	require.Equal(t, 2, o.asked, "once a snapshot")

	rc := c.Begin(bg, Options{Isolation: kv.ReadCommitted})
	require.NoError(t, fix(rc))
	require.NoError(t, rc.StepStatement(bg))
	require.NoError(t, fix(rc))
	require.Equal(t, 6, o.asked, "a statement has a snapshot of its own")
}

// A node that does not answer is waited for until nothing can be uncertain any more, and no longer.
func TestFixedSnapshotWaitsOutASilentNode(t *testing.T) {
	o := &otherClocks{clock: []func() hlc.Timestamp{nil}, gate: make(chan struct{})}
	c, _ := newFixTest(t, 20*time.Millisecond, o)
	x := c.Begin(bg, Options{ReadOnly: true})
	x.ReadTimestamp()
	limit := x.(*txn).meta.UncertaintyLimit
	require.NoError(t, fix(x))
	require.True(t, limit.LessEq(x.ReadTimestamp()), "the window ends at %s, the snapshot is %s", limit, x.ReadTimestamp())

	ctx, cancel := context.WithCancel(bg)
	cancel()
	y := c.Begin(bg, Options{ReadOnly: true})
	require.True(t, kv.HasCode(y.(SnapshotFixer).FixSnapshot(ctx), kv.CodeCanceled))
}

// Questions to one node that are asked at once share an answer, which is not older than any of them.
func TestClockQuestionsAreShared(t *testing.T) {
	var mu sync.Mutex
	tick := int64(0)
	o := &otherClocks{gate: make(chan struct{})}
	o.clock = []func() hlc.Timestamp{func() hlc.Timestamp {
		mu.Lock()
		defer mu.Unlock()
		tick++
		return hlc.Timestamp{WallTime: tick}
	}}
	c, _ := newFixTest(t, time.Minute, o)
	first := c.readClock(2)
	require.Eventually(t, func() bool { o.mu.Lock(); defer o.mu.Unlock(); return o.asked == 1 }, 10*time.Second, time.Millisecond)
	var later []*clockRead
	for range 50 {
		later = append(later, c.readClock(2))
	}
	close(o.gate)
	<-first.done
	for _, r := range later {
		<-r.done
		require.NotSame(t, first, r, "the first question was under way")
		require.Equal(t, int64(2), r.ts.WallTime)
	}
	require.Equal(t, 2, o.asked)
}

// What was read and has changed since cannot be shown and read on after: that is told, as something to run again.
func TestFixedSnapshotLooksAtWhatWasRead(t *testing.T) {
	o := &otherClocks{clock: []func() hlc.Timestamp{func() hlc.Timestamp { return hlc.Timestamp{WallTime: 1} }}}
	c, _ := newFixTest(t, time.Minute, o)
	put(t, c, "a", "1")
	x := c.Begin(bg, Options{})
	require.Equal(t, "1", get(t, x, "a"))
	put(t, c, "a", "2")
	err := fix(x)
	require.True(t, kv.HasCode(err, kv.CodeRefreshFailed), "%v", err)
	require.NoError(t, x.Restart(bg, err))
	require.NoError(t, fix(x))
	require.Equal(t, "2", get(t, x, "a"))
	put(t, c, "b", "1")
	require.NoError(t, fix(x))
	x.Rollback(bg)

	past := c.Begin(bg, Options{ReadAsOf: c.Clock().Now()})
	asked := o.asked
	require.NoError(t, fix(past))
	require.Equal(t, asked, o.asked, "the past is what it is")
}

// Scans that are on their way when the snapshot moves are waited for: what they bring may have changed.
func TestFixedSnapshotAwaitsScans(t *testing.T) {
	for _, changed := range []bool{false, true} {
		o := &otherClocks{clock: []func() hlc.Timestamp{func() hlc.Timestamp { return hlc.Timestamp{WallTime: 1} }}}
		c, s := newFixTest(t, time.Minute, o, "m")
		put(t, c, "a", "1", "x", "1")
		x := c.Begin(bg, Options{Isolation: kv.ReadCommitted})
		onTheWay, release := make(chan struct{}), make(chan struct{})
		id := x.ID()
		s.intercept(func(req *kv.BatchRequest) error {
			if req.Txn == nil || req.Txn.ID != id {
				return nil
			}
			if q, ok := req.Requests[0].(*kv.Scan); ok && q.Spans[0].Start.Equal(k("m")) {
				close(onTheWay)
				<-release
			}
			return nil
		})
		sc := x.Scan(bg, []keys.Span{span("a", "z")}, ScanOptions{Parallel: true})
		_, ok, err := sc.Next(bg)
		require.NoError(t, err)
		require.True(t, ok)
		<-onTheWay // with the old timestamp; it is answered as of then, and brought up to the new one
		fixed := make(chan error, 1)
		go func() { fixed <- fix(x) }()
		in := x.(*txn)
		require.Eventually(t, func() bool { in.mu.Lock(); defer in.mu.Unlock(); return in.scans.caughtUp != nil }, 10*time.Second, time.Millisecond)
		select {
		case err := <-fixed:
			t.Fatalf("fixed while a scan was behind: %v", err)
		default:
		}
		if changed {
			// A write that the scan does not see, and that lies before the new snapshot.
			s.mu.Lock()
			in.mu.Lock()
			at := in.meta.ReadTS.Prev()
			in.mu.Unlock()
			s.versions["x"] = append([]fakeVersion{{ts: at, value: []byte("2")}}, s.versions["x"]...)
			s.mu.Unlock()
		}
		close(release)
		err = <-fixed
		if changed {
			require.Equal(t, kv.RetryTxn, kv.AsError(err).Code.Class(), "%v", err)
		} else {
			require.NoError(t, err)
		}
		sc.Close()
		x.Rollback(bg)
	}
}
