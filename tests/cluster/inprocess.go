package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jackc/pgx/v5"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

// Local is a cluster of nodes inside this process: the real assembly, on memory file systems and
// loopback sockets, with faults between the nodes.
type Local struct {
	t     testing.TB
	Nodes []*node.Node // nil where stopped
	FS    []*vfs.MemFS
	Net   *Net
	addrs []string
	edit  func(i int, c *node.Config)
}

// StartLocal starts n nodes in this process and waits until every range has as many replicas as it will get.
// edit, if not nil, may change each node's configuration.
func StartLocal(t testing.TB, n int, edit func(i int, c *node.Config)) *Local {
	t.Helper()
	l := &Local{t: t, Net: NewNet(), edit: edit}
	t.Cleanup(l.close)
	for range n {
		l.Add()
	}
	l.WaitReplicated(min(n-(n+1)%2, 3))
	return l
}

// Connect connects an SQL client to node i until the test has ended.
func (l *Local) Connect(i int) *pgx.Conn {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, addr, _ := l.Nodes[i].Addresses()
	conn, err := pgx.Connect(ctx, "postgresql://root@"+addr+"/defaultdb")
	if err != nil {
		l.t.Fatalf("connecting to node %d: %v", i, err)
	}
	l.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // it may be broken already
	})
	return conn
}

// Add starts one more node.
func (l *Local) Add() int {
	l.t.Helper()
	i := len(l.Nodes)
	l.Nodes = append(l.Nodes, nil)
	l.FS = append(l.FS, vfs.NewCrashableMem())
	l.addrs = append(l.addrs, freeAddrs(l.t, 1)[0])
	l.start(i)
	return i
}

func (l *Local) start(i int) {
	l.t.Helper()
	n, err := l.tryStart(i)
	if err != nil {
		l.t.Fatalf("node %d: %v", i, err)
	}
	l.Nodes[i] = n
}

// tryStart starts a node that may be refused.
func (l *Local) tryStart(i int) (*node.Node, error) {
	cfg := node.Config{
		StoreDir: "store", FS: l.FS[i], RPCAddr: l.addrs[i], HTTPAddr: "127.0.0.1:0", SQLAddr: "127.0.0.1:0",
		Log: testLog(l.t, i), Faults: l.Net, PlacementInterval: 100 * time.Millisecond, CacheBytes: 8 << 20,
		StatisticsInterval: -1, // plans do not change in the middle of a test
	}
	if i > 0 {
		cfg.Join = []string{l.addrs[0]}
	}
	if l.edit != nil {
		l.edit(i, &cfg)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	return node.Start(ctx, cfg)
}

// Stop stops a node, with leaders handed over if drain.
func (l *Local) Stop(i int, drain bool) {
	if drain {
		l.Nodes[i].Shutdown()
	} else {
		l.Nodes[i].Stop()
	}
	l.Nodes[i] = nil
}

// Crash stops a node and forgets what it had not synced: unsynced writes survive with the given probability.
func (l *Local) Crash(i int, cfg vfs.CrashCloneCfg) {
	crashed := l.FS[i].CrashClone(cfg)
	l.Nodes[i].Stop()
	l.Nodes[i] = nil
	l.FS[i] = crashed
}

// Restart starts a stopped node again.
func (l *Local) Restart(i int) { l.t.Helper(); l.start(i) }

// WaitReplicated waits until every range has that many voters and a leader.
func (l *Local) WaitReplicated(voters int) {
	l.t.Helper()
	l.Eventually(60*time.Second, "replicated", func() error {
		rs, err := l.first().RangeViews(context.Background())
		if err != nil {
			return err
		}
		if len(rs) == 0 {
			return errors.New("no ranges")
		}
		for _, r := range rs {
			if len(r.Replicas) != voters || r.LeaderNode == 0 {
				return fmt.Errorf("r%d has %d replicas, leader %d", r.ID, len(r.Replicas), r.LeaderNode)
			}
			for _, p := range r.Replicas {
				if p.Type != kv.Voter.String() {
					return fmt.Errorf("r%d has a %s", r.ID, p.Type)
				}
			}
		}
		return nil
	})
}

func (l *Local) first() *node.Node {
	for _, n := range l.Nodes {
		if n != nil {
			return n
		}
	}
	l.t.Fatal("no node runs")
	return nil
}

// Eventually waits until f succeeds.
func (l *Local) Eventually(limit time.Duration, what string, f func() error) {
	l.t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			l.LogState()
			l.t.Fatalf("%s: not after %s: %v", what, limit, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// Campaigns counts how often a replica of some range has wanted to lead it though nobody handed that over: locks, which live in the memory of leaders, may have been lost then.
func (l *Local) Campaigns() (sum int) {
	l.t.Helper()
	for _, n := range l.Nodes {
		_, _, web := n.Addresses()
		resp, err := client.Get("http://" + web + "/metrics")
		if err != nil {
			l.t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			l.t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(b), "\npamir_range_campaigns_total ")
		line, _, _ := strings.Cut(rest, "\n")
		v, err := strconv.Atoi(line)
		if err != nil {
			l.t.Fatalf("campaigns: %v", err)
		}
		sum += v
	}
	return sum
}

// LogState says who leads what and who waits for whom, for a test that is stuck.
func (l *Local) LogState() {
	for i, n := range l.Nodes {
		if n == nil {
			continue
		}
		for _, r := range n.Replicas() {
			l.t.Logf("node %d: %+v", i, r)
		}
		v := n.Locks()
		for _, k := range v.Locks {
			l.t.Logf("node %d: %+v", i, k)
		}
		for _, x := range v.Transactions {
			l.t.Logf("node %d: %+v", i, x)
		}
	}
}

func (l *Local) close() {
	l.Net.Heal()
	node.StopAll(slices.DeleteFunc(slices.Clone(l.Nodes), func(n *node.Node) bool { return n == nil })...)
}

// testLog sends warnings to the test's log, everything with -v is too much.
func testLog(t testing.TB, i int) *slog.Logger {
	return slog.New(slog.NewTextHandler(&testWriter{t: t, prefix: fmt.Sprintf("node%d ", i)}, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// testWriter writes to a test's log, and to nowhere once the test has ended.
type testWriter struct {
	t      testing.TB
	prefix string

	mu   sync.Mutex
	done bool
	once sync.Once
}

var _ io.Writer = (*testWriter)(nil)

func (w *testWriter) Write(b []byte) (int, error) {
	w.once.Do(func() {
		w.t.Cleanup(func() {
			w.mu.Lock()
			w.done = true
			w.mu.Unlock()
		})
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.t.Log(w.prefix + string(b[:max(0, len(b)-1)]))
	}
	return len(b), nil
}

// Net decides what happens between the nodes (transport.Faults).
type Net struct {
	mu    sync.Mutex
	cut   map[[2]kv.NodeID]bool
	delay map[[2]kv.NodeID]time.Duration
}

var _ transport.Faults = (*Net)(nil)

// NewNet returns a network without faults.
func NewNet() *Net {
	return &Net{cut: map[[2]kv.NodeID]bool{}, delay: map[[2]kv.NodeID]time.Duration{}}
}

// Link implements transport.Faults.
func (n *Net) Link(from, to kv.NodeID, _ transport.Kind) (bool, time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := [2]kv.NodeID{from, to}
	return n.cut[k], n.delay[k]
}

// Cut stops what from sends to to: one way. CutBoth both ways.
func (n *Net) Cut(from, to kv.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[[2]kv.NodeID{from, to}] = true
}

// CutBoth: see Cut.
func (n *Net) CutBoth(a, b kv.NodeID) { n.Cut(a, b); n.Cut(b, a) }

// Isolate cuts a node off from the others.
func (n *Net) Isolate(a kv.NodeID, others ...kv.NodeID) {
	for _, b := range others {
		if a != b {
			n.CutBoth(a, b)
		}
	}
}

// Delay makes every message from from to to take longer.
func (n *Net) Delay(from, to kv.NodeID, d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.delay[[2]kv.NodeID{from, to}] = d
}

// Heal ends all faults.
func (n *Net) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	clear(n.cut)
	clear(n.delay)
}
