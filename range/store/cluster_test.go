package store

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// cluster is several stores in one process, over memory, with a network that can be told to misbehave.
type cluster struct {
	t     *testing.T
	knobs Knobs
	edit  func(*Config)
	id    [16]byte

	mu    sync.Mutex
	nodes map[kv.NodeID]*node
	// cut holds the directed links that drop everything.
	cut map[[2]kv.NodeID]bool
	// drop is the fraction of Raft messages that are lost; delay the most that one takes.
	drop  float64
	delay time.Duration
	// filter, if set, reports whether a Raft message is lost.
	filter func(m *RaftMessage) bool
	wg     sync.WaitGroup
	done   chan struct{}
}

type node struct {
	c     *cluster
	id    kv.NodeID
	fs    *vfs.MemFS
	skew  atomic.Int64
	clock *hlc.Clock // of the present life, as store and link; guarded by c.mu
	store *Store     // nil while down
	link  *link

	mu    sync.Mutex
	inbox map[kv.NodeID]chan func(*Store) // by sender; guarded by mu
}

// link is the transport of one life of a node. After a crash nothing of that life is heard any more.
type link struct {
	*node
	physical func() int64 // of that life's clock
	dead     atomic.Bool
}

var testKnobs = Knobs{
	HeartbeatInterval: 60 * time.Millisecond, SupportDuration: 400 * time.Millisecond, TickInterval: 20 * time.Millisecond,
	MemTableBytes: 4 << 20,
}

const testOffset = 50 * time.Millisecond

func newCluster(t *testing.T, n int, knobs Knobs) *cluster { return newClusterWith(t, n, knobs, nil) }

// newClusterWith is newCluster with an edit of every store's configuration.
func newClusterWith(t *testing.T, n int, knobs Knobs, edit func(*Config)) *cluster {
	c := &cluster{t: t, knobs: knobs, edit: edit, nodes: map[kv.NodeID]*node{}, cut: map[[2]kv.NodeID]bool{}, done: make(chan struct{})}
	c.id[0] = 7
	t.Cleanup(c.close)
	for i := range n {
		id := kv.NodeID(i + 1)
		nd := &node{c: c, id: id, fs: vfs.NewCrashableMem(), inbox: map[kv.NodeID]chan func(*Store){}}
		c.nodes[id] = nd
	}
	for i := range n {
		c.nodes[kv.NodeID(i+1)].start()
	}
	return c
}

func (c *cluster) close() {
	for _, nd := range c.nodes {
		nd.stop()
	}
	close(c.done)
	c.wg.Wait()
}

func testLogger(id kv.NodeID) *slog.Logger {
	if os.Getenv("PAMIR_TEST_LOG") == "" {
		return slog.New(slog.NewTextHandler(io.Discard, nil))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})).With("n", int(id))
}

func (nd *node) start() {
	t := nd.c.t
	clock := hlc.NewClock(func() int64 { return time.Now().UnixNano() + nd.skew.Load() }, testOffset)
	l := &link{node: nd, physical: clock.Physical}
	nd.c.mu.Lock()
	nd.clock = clock
	nd.c.mu.Unlock()
	cfg := Config{
		Dir: "store", FS: nd.fs, CacheBytes: 8 << 20, Clock: clock, Transport: l, Logger: testLogger(nd.id), Knobs: nd.c.knobs,
		OnFatal: func(error) {},
	}
	if nd.c.edit != nil {
		nd.c.edit(&cfg)
	}
	s, err := Open(context.Background(), cfg)
	require.NoError(t, err)
	if _, ok := s.Identity(); !ok {
		if nd.id == 1 {
			require.NoError(t, s.Bootstrap(nd.c.id))
		} else {
			require.NoError(t, s.Join(Identity{ClusterID: nd.c.id, NodeID: nd.id, StoreID: kv.StoreID(nd.id)}))
		}
	}
	s.SetSender(nd.c)
	require.NoError(t, s.Start(context.Background()))
	nd.c.mu.Lock()
	nd.store, nd.link = s, l
	nd.c.mu.Unlock()
}

func (nd *node) stop() {
	nd.c.mu.Lock()
	s := nd.store
	nd.store = nil
	nd.c.mu.Unlock()
	if s != nil {
		require.NoError(nd.c.t, s.Close())
	}
}

// crash ends the store as a power failure would: what was not synced is gone (or not, at random).
func (nd *node) crash() {
	nd.c.mu.Lock()
	s := nd.store
	nd.store = nil
	nd.link.dead.Store(true)
	fs := nd.fs
	nd.fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rand.IntN(101), RNG: rand.New(rand.NewPCG(rand.Uint64(), 1))})
	nd.c.mu.Unlock()
	if s != nil {
		require.NoError(nd.c.t, s.Close()) // of the old file system: nobody sees what it writes
	}
}

func (c *cluster) up(id kv.NodeID) *Store {
	c.mu.Lock()
	defer c.mu.Unlock()
	if nd := c.nodes[id]; nd != nil {
		return nd.store
	}
	return nil
}

// deliver runs f on the receiving store, in the order of sending per sender.
func (nd *link) deliver(to kv.NodeID, lossy bool, f func(*Store)) {
	if nd.dead.Load() {
		return
	}
	c := nd.c
	c.mu.Lock()
	dst := c.nodes[to]
	cut := c.cut[[2]kv.NodeID{nd.id, to}]
	drop, delay := c.drop, c.delay
	var theirs *hlc.Clock
	if dst != nil {
		theirs = dst.clock
	}
	c.mu.Unlock()
	if dst == nil || cut || lossy && (rand.Float64() < drop || theirs != nil && !theirs.Within(nd.physical())) { // a clock beyond the bound: the transport's part
		return
	}
	dst.mu.Lock()
	ch := dst.inbox[nd.id]
	if ch == nil {
		ch = make(chan func(*Store), 10000)
		dst.inbox[nd.id] = ch
		c.wg.Add(1)
		go func() {
			defer c.wg.Done()
			for {
				select {
				case f := <-ch:
					if s := c.up(dst.id); s != nil {
						f(s)
					}
				case <-c.done:
					return
				}
			}
		}()
	}
	dst.mu.Unlock()
	send := func() {
		select {
		case ch <- f:
		default:
		}
	}
	if delay > 0 {
		time.AfterFunc(time.Duration(rand.Int64N(int64(delay))), send)
		return
	}
	send()
}

func (nd *link) SendRaft(to kv.NodeID, msgs []*RaftMessage) {
	var wire [][]byte
	nd.c.mu.Lock()
	filter := nd.c.filter
	nd.c.mu.Unlock()
	for _, m := range msgs {
		if filter != nil && filter(m) {
			continue
		}
		b, err := m.Append(nil)
		if err != nil {
			panic(err)
		}
		wire = append(wire, b)
	}
	nd.deliver(to, true, func(s *Store) {
		var in []*RaftMessage
		for _, b := range wire {
			m, err := DecodeRaftMessage(b)
			if err != nil {
				panic(err)
			}
			in = append(in, m)
		}
		s.HandleRaftMessages(in)
	})
}

func (nd *link) SendHeartbeat(to kv.NodeID, h *Heartbeat) {
	b := h.Append(nil)
	nd.deliver(to, false, func(s *Store) {
		h, err := DecodeHeartbeat(b)
		if err != nil {
			panic(err)
		}
		s.HandleHeartbeat(h)
	})
}

func (nd *link) Suspect(kv.NodeID) {}

func (nd *link) SendSnapshot(ctx context.Context, to kv.NodeID, _ kv.StoreID, write func(func([]byte) error) error) error {
	s := nd.c.up(to)
	nd.c.mu.Lock()
	cut := nd.c.cut[[2]kv.NodeID{nd.id, to}]
	nd.c.mu.Unlock()
	if s == nil || cut || nd.dead.Load() {
		return fmt.Errorf("node %d is down", to)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	frames := make(chan []byte)
	result := make(chan error, 1)
	go func() {
		err := s.HandleSnapshot(ctx, func() ([]byte, error) {
			select {
			case f, ok := <-frames:
				if !ok {
					return nil, io.EOF
				}
				return f, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		result <- err
		cancel()
	}()
	err := write(func(f []byte) error {
		select {
		case frames <- append([]byte(nil), f...):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		cancel()
	} else {
		close(frames)
	}
	rerr := <-result
	if err == nil || rerr != nil {
		return rerr
	}
	return err
}

// Send is a simple router: it asks everybody for the range of the first key, and goes by the answers.
func (c *cluster) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	key := firstKey(req)
	var last error = kv.Errorf(kv.CodeUnavailable, "nobody is there")
	for {
		c.mu.Lock()
		var stores []*Store
		var links []*link
		for _, nd := range c.nodes {
			if nd.store != nil {
				stores = append(stores, nd.store)
				links = append(links, nd.link)
			}
		}
		c.mu.Unlock()
		for i, s := range stores {
			id := req.RangeID
			if key != nil {
				id = 0
				for _, st := range s.Ranges() {
					if st.Descriptor != nil && st.Descriptor.Contains(key) && st.Leader {
						id = st.Descriptor.RangeID
					}
				}
				if id == 0 {
					continue
				}
			}
			r := *req
			r.RangeID = id
			resp, err := s.Send(ctx, &r)
			if links[i].dead.Load() {
				return nil, kv.Errorf(kv.CodeUnknownOutcome, "node died") // its answer was never heard
			}
			if err == nil {
				return resp, nil
			}
			last = err
			if kv.AsError(err).Code.Class() != kv.RetryRouting {
				return nil, err
			}
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return nil, last
		}
	}
}

func firstKey(req *kv.BatchRequest) keys.Key {
	for _, q := range req.Requests {
		switch q := q.(type) {
		case *kv.Get:
			return q.Key
		case *kv.Put:
			return q.Key
		case *kv.Increment:
			return q.Key
		case *kv.Delete:
			return q.Key
		case *kv.Scan:
			return q.Spans[0].Start
		case *kv.CommitSingleRange:
			return q.Writes[0].Key
		case *kv.Prepare:
			return q.Writes[0].Key
		case *kv.ResolveLocks:
			return q.Keys[0]
		case *kv.QueryCommit:
			return q.Key
		case *kv.AdminSplit:
			return q.Key
		case *kv.AdminMerge:
			return q.Key
		case *kv.AdminEndMerge:
			return q.Key
		}
	}
	return nil
}

func key(i int) keys.Key {
	return append(keys.Index(keys.FirstUserTable, 1), fmt.Sprintf("%06d", i)...)
}

func (c *cluster) put(ctx context.Context, i int, v string) error {
	_, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Put{Key: key(i), Value: []byte(v)}}})
	return err
}

func (c *cluster) get(ctx context.Context, i int) (string, error) {
	resp, err := c.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Get{Key: key(i)}}})
	if err != nil {
		return "", err
	}
	return string(resp.Responses[0].(*kv.GetResponse).Value), nil
}

func (c *cluster) ctx(d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *cluster) setFilter(f func(*RaftMessage) bool) {
	c.mu.Lock()
	c.filter = f
	c.mu.Unlock()
}

// isolate cuts a node off from all others, or joins it again.
func (c *cluster) isolate(id kv.NodeID, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other := range c.nodes {
		if other != id {
			c.cut[[2]kv.NodeID{id, other}] = on
			c.cut[[2]kv.NodeID{other, id}] = on
		}
	}
}

// upReplicate adds replicas of every range on the given nodes.
func (c *cluster) upReplicate(ids ...kv.NodeID) {
	c.t.Helper()
	ctx := c.ctx(30 * time.Second)
	for _, st := range c.up(1).Ranges() {
		c.changeReplicas(ctx, st.RangeID, ids, nil)
	}
}

func (c *cluster) leaderOf(id kv.RangeID) (*Store, RangeStatus) {
	for n := range c.nodes {
		if s := c.up(n); s != nil {
			if st, ok := s.RangeDetail(id); ok && st.Serving {
				return s, st
			}
		}
	}
	return nil, RangeStatus{}
}

// waitLeader waits until the range has a serving leader.
func (c *cluster) waitLeader(id kv.RangeID) (*Store, RangeStatus) {
	c.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if s, st := c.leaderOf(id); s != nil {
			return s, st
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("range %d has no leader", id)
	return nil, RangeStatus{}
}

func (c *cluster) waitLeaderStore() *Store {
	s, _ := c.waitLeader(kv.FirstUserRange)
	return s
}

func (c *cluster) changeReplicas(ctx context.Context, id kv.RangeID, add, remove []kv.NodeID) {
	c.t.Helper()
	var err error
	for ctx.Err() == nil {
		s, st := c.leaderOf(id)
		if s == nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		req := &kv.AdminChangeReplicas{Generation: st.Descriptor.Generation}
		for _, n := range add {
			req.Add = append(req.Add, kv.Replica{NodeID: n, StoreID: kv.StoreID(n)})
		}
		for _, n := range remove {
			req.Remove = append(req.Remove, kv.Replica{NodeID: n, StoreID: kv.StoreID(n)})
		}
		if _, err = s.Send(ctx, &kv.BatchRequest{RangeID: id, Requests: []kv.Request{req}}); err == nil {
			return
		}
		if k := kv.AsError(err).Code; k.Class() != kv.RetryRouting {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	require.NoError(c.t, err)
	require.NoError(c.t, ctx.Err())
}

// untilHas waits until a node has a replica of a range that knows its bounds, untilGone until it has none.
func (c *cluster) untilHas(ctx context.Context, node kv.NodeID, id kv.RangeID) {
	for c.up(node).replica(id) == nil || c.up(node).replica(id).Desc() == nil {
		require.NoError(c.t, ctx.Err())
		time.Sleep(time.Millisecond)
	}
}

func (c *cluster) untilGone(ctx context.Context, node kv.NodeID, id kv.RangeID) {
	for c.up(node).replica(id) != nil {
		require.NoError(c.t, ctx.Err(), "the replica is still there")
		time.Sleep(5 * time.Millisecond)
	}
}
