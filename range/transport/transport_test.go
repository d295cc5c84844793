package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a node that answers every Get with its key, and notes what else arrives.
type recorder struct {
	id    kv.NodeID
	block chan struct{} // if not nil, a Get of "wait" waits for it or for its context

	waiting    atomic.Int64
	canceled   atomic.Int64
	mu         sync.Mutex
	raft       []string
	heartbeats []string
	snapshot   []byte
}

func (r *recorder) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	k := req.Requests[0].(*kv.Get).Key
	switch string(k) {
	case "wait":
		r.waiting.Add(1)
		select {
		case <-r.block:
		case <-ctx.Done():
			r.canceled.Add(1)
			return nil, ctx.Err()
		}
	case "fail":
		return nil, &kv.Error{Code: kv.CodeNotLeader, Leader: kv.Replica{NodeID: 7, StoreID: 7, ReplicaID: 1}}
	}
	return &kv.BatchResponse{ServedBy: r.id, Responses: []kv.Response{&kv.GetResponse{Exists: true, Value: k}}}, nil
}

func (r *recorder) Relay(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	resp, err := r.Send(ctx, req)
	if err == nil {
		resp.ServedBy += 100
	}
	return resp, err
}

func (r *recorder) HandleRaft(from kv.NodeID, msgs [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range msgs {
		r.raft = append(r.raft, string(m))
	}
}

func (r *recorder) HandleHeartbeat(from kv.NodeID, msg []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heartbeats = append(r.heartbeats, string(msg))
}

func (r *recorder) HandleSnapshot(ctx context.Context, from kv.NodeID, next func() ([]byte, error)) error {
	var all []byte
	for {
		b, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if string(b) == "poison" {
			return errors.New("does not taste good")
		}
		all = append(all, b...)
	}
	r.mu.Lock()
	r.snapshot = all
	r.mu.Unlock()
	return nil
}

func (r *recorder) HandleCall(ctx context.Context, from kv.NodeID, method string, body []byte) ([]byte, error) {
	if method == "fail" {
		return nil, kv.Errorf(kv.CodeDiskFull, "no")
	}
	return fmt.Appendf(nil, "%d %s %s", from, method, body), nil
}

type testNode struct {
	*Transport
	h    *recorder
	addr string
}

type nodeOpts struct {
	cluster uuid.UUID
	skew    time.Duration
	faults  Faults
	timeout time.Duration // default one hour: no test but those about silence ends because the machine had no time for pings
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func startNode(t testing.TB, id kv.NodeID, o nodeOpts) *testNode {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	clock := hlc.NewClock(func() int64 { return time.Now().Add(o.skew).UnixNano() }, 250*time.Millisecond)
	n := &testNode{h: &recorder{id: id, block: make(chan struct{})}, addr: ln.Addr().String()}
	if o.timeout == 0 {
		o.timeout = time.Hour
	}
	n.Transport = New(Config{Clock: clock, Log: quiet, Faults: o.faults,
		PingInterval: 20 * time.Millisecond, GossipInterval: 50 * time.Millisecond, PeerTimeout: o.timeout})
	n.Serve(ln)
	book := NewBook(id)
	book.Merge(Entry{NodeID: id, RPCAddr: n.addr, Incarnation: 1})
	n.Start(Identity{ClusterID: o.cluster, NodeID: id, Incarnation: 1}, book, n.h)
	t.Cleanup(n.Close)
	return n
}

func startCluster(t testing.TB, count int, o nodeOpts) []*testNode {
	o.cluster = uuid.New()
	var nodes []*testNode
	for i := range count {
		n := startNode(t, kv.NodeID(i+1), o)
		if i > 0 { // the first node's address is enough
			n.Book().Merge(Entry{NodeID: 1, RPCAddr: nodes[0].addr, Incarnation: 1})
		}
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		require.Eventually(t, func() bool {
			for _, m := range nodes {
				if !n.Alive(m.h.id) {
					return false
				}
			}
			return true
		}, 5*time.Second, 5*time.Millisecond)
	}
	return nodes
}

func get(key string) *kv.BatchRequest {
	return &kv.BatchRequest{Requests: []kv.Request{&kv.Get{Key: keys.Key(key)}}}
}

func TestBatch(t *testing.T) {
	ctx := t.Context()
	nodes := startCluster(t, 3, nodeOpts{})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			k := fmt.Sprintf("key-%d", i)
			resp, err := nodes[i%3].Send(ctx, kv.NodeID((i+1)%3+1), get(k))
			require.NoError(t, err)
			require.Equal(t, k, string(resp.Responses[0].(*kv.GetResponse).Value))
			require.EqualValues(t, (i+1)%3+1, resp.ServedBy)
		}()
	}
	wg.Wait()
	_, err := nodes[0].Send(ctx, 2, get("fail"))
	var e *kv.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, kv.CodeNotLeader, e.Code)
	require.EqualValues(t, 7, e.Leader.NodeID)
	require.False(t, e.Now.IsEmpty())

	_, err = nodes[0].Send(ctx, 9, get("x"))
	require.True(t, kv.HasCode(err, kv.CodeUnavailable), err)

	resp, err := nodes[0].Relay(ctx, 2, get("x"))
	require.NoError(t, err)
	require.EqualValues(t, 102, resp.ServedBy)
	_, err = nodes[0].Relay(ctx, 9, get("x"))
	require.True(t, kv.HasCode(err, kv.CodeUnavailable), err)
}

func TestBatchCancelAndBreak(t *testing.T) {
	nodes := startCluster(t, 2, nodeOpts{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	errc := make(chan error, 1)
	wait := func(ctx context.Context, n int64) {
		go func() {
			_, err := nodes[0].Send(ctx, 2, get("wait"))
			errc <- err
		}()
		require.Eventually(t, func() bool { return nodes[1].h.waiting.Load() == n }, 10*time.Second, time.Millisecond)
	}
	wait(ctx, 1)
	cancel()
	err := <-errc
	require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), err)
	require.Eventually(t, func() bool { return nodes[1].h.canceled.Load() == 1 }, 10*time.Second, time.Millisecond)

	wait(t.Context(), 2)
	nodes[1].Close()
	err = <-errc
	require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), err)
	require.Eventually(t, func() bool {
		_, err := nodes[0].Send(t.Context(), 2, get("x"))
		return kv.HasCode(err, kv.CodeUnavailable)
	}, 10*time.Second, 10*time.Millisecond)
}

// A node of which was heard just now, or which has moved, has not been silent for as long as this process runs.
func TestSilenceOfTheNew(t *testing.T) {
	a := startNode(t, 1, nodeOpts{cluster: uuid.New(), timeout: 400 * time.Millisecond})
	time.Sleep(300 * time.Millisecond)
	for _, addr := range []string{"127.0.0.1:1", "127.0.0.1:2"} {
		began := monotonic()
		a.Book().Merge(Entry{NodeID: 2, RPCAddr: addr, Incarnation: began})
		var silent time.Duration
		require.Eventually(t, func() (there bool) {
			if p := a.peer(2); p != nil && p.addr == addr {
				silent, there = a.Silence(2)
			}
			return there
		}, 10*time.Second, time.Millisecond)
		require.LessOrEqual(t, silent, time.Duration(monotonic()-began))
	}
	peers := a.Peers()
	require.Len(t, peers, 1)
	require.False(t, peers[0].Heard)
}

// A node that comes back at another address is found by gossip, and found alive.
func TestMove(t *testing.T) {
	cluster := uuid.New()
	short := nodeOpts{cluster: cluster, timeout: 400 * time.Millisecond}
	a := startNode(t, 1, short)
	b := startNode(t, 2, short)
	b.Book().Merge(Entry{NodeID: 1, RPCAddr: a.addr, Incarnation: 1})
	require.Eventually(t, func() bool { return a.Alive(2) }, 10*time.Second, time.Millisecond)
	b.Close()
	require.Eventually(t, func() bool { return !a.Alive(2) }, 10*time.Second, time.Millisecond)
	c := startNode(t, 2, short)
	c.Book().Merge(Entry{NodeID: 2, RPCAddr: c.addr, Incarnation: 2}, Entry{NodeID: 1, RPCAddr: a.addr, Incarnation: 1})
	require.Eventually(t, func() bool { // it is alive until a busy machine has no time for pings
		alive := a.Alive(2)
		_, err := a.Send(t.Context(), 2, get("x"))
		return alive && err == nil
	}, 10*time.Second, time.Millisecond)
}

func TestOneWayInOrder(t *testing.T) {
	nodes := startCluster(t, 2, nodeOpts{})
	for i := range 1000 {
		nodes[0].SendRaft(2, fmt.Append(nil, i))
	}
	nodes[0].SendHeartbeat(2, []byte("thump"))
	require.Eventually(t, func() bool {
		h := nodes[1].h
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.raft) == 1000 && len(h.heartbeats) == 1
	}, 5*time.Second, time.Millisecond)
	for i, m := range nodes[1].h.raft {
		require.Equal(t, fmt.Sprint(i), m)
	}
	nodes[0].SendRaft(9, nil) // unknown: dropped
}

func TestOutboxIsBounded(t *testing.T) {
	o := newOutbox(1000)
	add := func() uint64 { return o.add(100, func(b []byte) []byte { return append(b, make([]byte, 100)...) }) }
	for range 10 {
		require.NotZero(t, add())
	}
	require.Zero(t, add())
	require.NotNil(t, o.take(hlc.NewClock(nil, 0)))
	require.NotZero(t, add())
	require.EqualValues(t, 1, o.clear())
}

func TestSnapshot(t *testing.T) {
	nodes := startCluster(t, 2, nodeOpts{})
	var want []byte
	chunk := make([]byte, 1<<20)
	err := nodes[0].SendSnapshot(t.Context(), 2, func(send func([]byte) error) error {
		for i := range 20 {
			for j := range chunk {
				chunk[j] = byte(i + j)
			}
			want = append(want, chunk...)
			if err := send(chunk); err != nil {
				return err
			}
		}
		return nil
	})
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, nodes[1].h.snapshot))

	err = nodes[0].SendSnapshot(t.Context(), 2, func(send func([]byte) error) error {
		for {
			if err := send([]byte("poison")); err != nil {
				return err
			}
		}
	})
	require.ErrorContains(t, err, "does not taste good")
	err = nodes[0].SendSnapshot(t.Context(), 2, func(send func([]byte) error) error { return errors.New("disk read failed") })
	require.ErrorContains(t, err, "disk read failed")
}

func TestCall(t *testing.T) {
	nodes := startCluster(t, 2, nodeOpts{})
	out, err := nodes[0].CallNode(t.Context(), 2, "echo", []byte("hi"))
	require.NoError(t, err)
	require.Equal(t, "1 echo hi", string(out))
	_, err = nodes[0].CallNode(t.Context(), 2, "fail", nil)
	require.True(t, kv.HasCode(err, kv.CodeDiskFull), err)

	outsider := New(Config{Clock: hlc.NewClock(nil, time.Second), Log: quiet})
	defer outsider.Close()
	out, err = outsider.Call(t.Context(), nodes[0].addr, "join", nil)
	require.NoError(t, err)
	require.Equal(t, "0 join ", string(out))
}

func TestOtherClusterIsRefused(t *testing.T) {
	a := startNode(t, 1, nodeOpts{cluster: uuid.New()})
	b := startNode(t, 2, nodeOpts{cluster: uuid.New()})
	a.Book().Merge(Entry{NodeID: 2, RPCAddr: b.addr})
	lastError := func(n *testNode) string {
		for _, p := range n.Peers() {
			return p.LastError
		}
		return ""
	}
	says := func(n *testNode, what string) { // before that, perhaps, that a connection was too slow
		t.Helper()
		require.Eventually(t, func() bool { return strings.Contains(lastError(n), what) }, 10*time.Second, time.Millisecond)
	}
	says(a, "belongs to cluster "+b.id.Load().ClusterID.String())
	require.Empty(t, b.Peers(), "gossip of another cluster must not be believed")
	_, err := a.CallNode(t.Context(), 2, "echo", nil)
	require.ErrorContains(t, err, "belongs to cluster")

	// An address that belongs to another node of the same cluster now.
	c := startNode(t, 3, nodeOpts{cluster: a.id.Load().ClusterID})
	c.Book().Merge(Entry{NodeID: 9, RPCAddr: a.addr})
	says(c, "wants node 9, this is node 1")
}

func TestClockTooFarAhead(t *testing.T) {
	cluster := uuid.New()
	a := startNode(t, 1, nodeOpts{cluster: cluster})
	b := startNode(t, 2, nodeOpts{cluster: cluster, skew: time.Minute})
	b.Book().Merge(Entry{NodeID: 1, RPCAddr: a.addr, Incarnation: 1})
	require.Eventually(t, func() bool { return a.Alive(2) && b.Alive(1) }, 5*time.Second, time.Millisecond)
	_, err := b.Send(t.Context(), 1, get("x"))
	require.True(t, kv.HasCode(err, kv.CodeUnavailable), err)
	require.ErrorContains(t, err, "clock of node 2 is ahead")
	b.SendRaft(1, []byte("x"))
	b.SendHeartbeat(1, []byte("measure me"))
	require.Eventually(t, func() bool {
		a.h.mu.Lock()
		defer a.h.mu.Unlock()
		return len(a.h.heartbeats) == 1
	}, 10*time.Second, time.Millisecond)
	require.Empty(t, a.h.raft)
	require.True(t, a.ClockOff(2))
	require.Less(t, a.cfg.Clock.Offset(a.cfg.Clock.Peek()), 30*time.Second)
	for _, p := range a.Peers() {
		require.InDelta(t, time.Minute, p.Offset, float64(20*time.Second)) // as exact as the answer is quick
	}
}

// A node whose clock is right is not cut off for what it has believed of another, whose clock is as far ahead of it as may be.
func TestClockInTheMiddle(t *testing.T) {
	cluster := uuid.New()
	a := startNode(t, 1, nodeOpts{cluster: cluster})
	b := startNode(t, 2, nodeOpts{cluster: cluster})
	b.Book().Merge(Entry{NodeID: 1, RPCAddr: a.addr, Incarnation: 1})
	heard := func(p PeerStatus) bool { return p.Heard && p.Offset.Abs() < 200*time.Millisecond }
	require.Eventually(t, func() bool {
		x, y := a.Peers(), b.Peers()
		return len(x) == 1 && len(y) == 1 && heard(x[0]) && heard(y[0])
	}, 10*time.Second, time.Millisecond)
	ahead := func(d time.Duration) hlc.Timestamp { return hlc.Timestamp{WallTime: a.cfg.Clock.Physical() + int64(d)} }
	require.True(t, a.credible(ahead(400*time.Millisecond), 2))
	require.False(t, a.credible(ahead(10*time.Second), 2), "nobody can have that from a clock that some would believe")
	require.False(t, a.credible(ahead(400*time.Millisecond), 3), "of whose clock nothing is known")
	require.False(t, a.ClockOff(2))
	b.cfg.Clock.Update(b.cfg.Clock.Now().Add(400 * time.Millisecond))
	_, err := b.Send(t.Context(), 1, get("x"))
	require.NoError(t, err)
}

type testFaults struct {
	cut   atomic.Bool
	delay atomic.Int64
}

func (f *testFaults) Link(from, to kv.NodeID, kind Kind) (bool, time.Duration) {
	return f.cut.Load() && from == 1, time.Duration(f.delay.Load())
}

func TestFaults(t *testing.T) {
	f := &testFaults{}
	nodes := startCluster(t, 2, nodeOpts{faults: f})
	f.delay.Store(int64(40 * time.Millisecond))
	start := time.Now()
	_, err := nodes[0].Send(t.Context(), 2, get("x"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), 80*time.Millisecond)
	f.delay.Store(0)

	// One way is cut: what was out breaks within the peer timeout, what is new fails at once.
	nodes = startCluster(t, 2, nodeOpts{faults: f, timeout: 400 * time.Millisecond})
	errc := make(chan error, 1)
	require.Eventually(t, func() bool { // until it is out
		before := nodes[1].h.waiting.Load()
		go func() {
			_, err := nodes[0].Send(t.Context(), 2, get("wait"))
			errc <- err
		}()
		for nodes[1].h.waiting.Load() == before {
			select {
			case <-errc:
				return false
			case <-time.After(time.Millisecond):
			}
		}
		return true
	}, 10*time.Second, time.Millisecond)
	f.cut.Store(true)
	err = <-errc
	require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), err)
	require.Eventually(t, func() bool {
		_, err := nodes[0].Send(t.Context(), 2, get("x"))
		return kv.HasCode(err, kv.CodeUnavailable)
	}, 10*time.Second, 10*time.Millisecond)
	f.cut.Store(false)
	require.Eventually(t, func() bool {
		_, err := nodes[0].Send(t.Context(), 2, get("x"))
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
}

func TestBook(t *testing.T) {
	b := NewBook(1)
	var seen []Entry
	b.Watch(func(e []Entry) { seen = append(seen, e...) })
	require.True(t, b.Merge(Entry{NodeID: 2, RPCAddr: "a", Incarnation: 5}))
	require.False(t, b.Merge(Entry{NodeID: 2, RPCAddr: "old", Incarnation: 4}, Entry{}))
	b.UpdateSelf(func(e *Entry) { e.Incarnation = 3; e.Draining = true })
	require.Len(t, seen, 2)
	d := &kv.RangeDescriptor{RangeID: 1, Generation: 4}
	b.SetMeta(d)
	b.SetMeta(&kv.RangeDescriptor{RangeID: 1, Generation: 3})
	b.SetMeta(&kv.RangeDescriptor{RangeID: 2, Generation: 9})
	require.EqualValues(t, 4, b.Meta().Generation)
	enc, err := b.Encode()
	require.NoError(t, err)
	c := NewBook(3)
	require.NoError(t, c.MergeEncoded(enc))
	require.Equal(t, b.Entries(), c.Entries())
	require.Equal(t, b.Meta(), c.Meta())
	require.Error(t, c.MergeEncoded([]byte("{")))
}

func FuzzBatchFrames(f *testing.F) {
	f.Add([]byte("0123456789ab\x01\x01\x00\x05hello"))
	t := New(Config{Clock: hlc.NewClock(nil, time.Second), Log: quiet})
	p := &peer{t: t, id: 1}
	t.ptr.Store(&map[kv.NodeID]*peer{1: p})
	f.Fuzz(func(_ *testing.T, in []byte) {
		c := newBatchClient(p)
		_ = c.receive(in)
		s := &batchStream{t: t, h: &recorder{}, from: 1, ctx: context.Background(), end: func() {}, box: newOutbox(1 << 20),
			work: make(chan batchJob), cancels: map[uint64]context.CancelFunc{}}
		ctx, cancel := context.WithCancel(context.Background())
		s.ctx = ctx
		cancel()
		_ = s.receive(in)
		s.wg.Wait()
	})
}

func BenchmarkBatch(b *testing.B) {
	nodes := startCluster(b, 2, nodeOpts{})
	b.SetParallelism(8)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		req := get("0123456789")
		for pb.Next() {
			if _, err := nodes[0].Send(context.Background(), 2, req); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkBatchAlone(b *testing.B) {
	nodes := startCluster(b, 2, nodeOpts{})
	req := get("0123456789")
	for range b.N {
		if _, err := nodes[0].Send(context.Background(), 2, req); err != nil {
			b.Fatal(err)
		}
	}
}
