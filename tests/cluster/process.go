package cluster

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Cluster is a set of Pamir processes.
type Cluster struct {
	t     testing.TB
	nodes []*process
	opts  options
	dir   string

	// Net is what is between the nodes, nil without WithNetwork.
	Net *Network
}

type process struct {
	dir            string
	rpc, sql, http string
	dial           string // what other nodes dial for rpc
	clock          string // file of SetClock
	disk           string // file of SlowDisk
	args           []string

	mu      sync.Mutex
	cmd     *exec.Cmd     // nil if not running; guarded by mu
	exited  chan struct{} // closed when cmd has ended; guarded by mu
	logs    *os.File
	paused  bool // guarded by mu
	started int  // guarded by mu
}

type options struct {
	flags      []string
	locality   func(i int) string
	replicated bool
	network    bool
	delay      func(from, to int) time.Duration
	clocks     bool
	support    bool
	disks      bool
	timeout    time.Duration
}

// Option of Start.
type Option func(*options)

// WithFlags adds flags to "pamir start".
func WithFlags(flags ...string) Option {
	return func(o *options) { o.flags = append(o.flags, flags...) }
}

// WithLocality gives each node a --locality.
func WithLocality(f func(i int) string) Option { return func(o *options) { o.locality = f } }

// WithTimeout sets how long the waiting functions wait; 30 s without it.
func WithTimeout(d time.Duration) Option { return func(o *options) { o.timeout = d } }

// WithoutReplicationWait returns from Start as soon as all nodes are ready.
func WithoutReplicationWait() Option { return func(o *options) { o.replicated = false } }

var build = sync.OnceValues(func() (string, error) {
	if b := os.Getenv("PAMIR_BINARY"); b != "" {
		return b, nil
	}
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		return "", errors.New("where am I?")
	}
	dir, err := os.MkdirTemp("", "pamir-test-bin-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "pamir")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/pamir")
	cmd.Dir = filepath.Join(filepath.Dir(file), "..", "..")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

// Binary builds pamir, once per test process, and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatalf("cluster: %v", err)
	}
	return bin
}

// Ports that tests give to nodes. They lie below those that the system gives out by itself, and each is reserved for this process by a socket in the
// abstract name space: a node that is down must find its port free when it comes back, whatever other tests do meanwhile.
const (
	firstPort = 15000
	lastPort  = 32000
)

var reserved struct {
	mu sync.Mutex
	by []net.Listener // until the process ends
}

// freeAddrs returns n loopback addresses that are free, and stay so for other tests.
func freeAddrs(t testing.TB, n int) (addrs []string) {
	t.Helper()
	reserved.mu.Lock()
	defer reserved.mu.Unlock()
	for tries := 0; len(addrs) < n; tries++ {
		if tries == 10_000 {
			t.Fatal("cluster: no free ports")
		}
		port := firstPort + rand.IntN(lastPort-firstPort)
		if runtime.GOOS == "linux" {
			by, err := net.Listen("unix", fmt.Sprintf("@pamir-test-port-%d", port))
			if err != nil {
				continue // another test's
			}
			reserved.by = append(reserved.by, by)
		}
		addr := fmt.Sprintf("127.0.0.1:%d", port)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		addrs = append(addrs, addr)
	}
	return addrs
}

// Start starts n nodes and waits until all are ready and, with three or more, every range has
// three replicas. Everything ends with the test.
func Start(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	Binary(t)
	o := options{replicated: true, timeout: 30 * time.Second}
	for _, f := range opts {
		f(&o)
	}
	// The directory comes before the clean-up: it must still be there when logs are shown.
	c := &Cluster{t: t, opts: o, dir: t.TempDir()}
	t.Cleanup(c.close)
	if o.network {
		c.Net = newNetwork()
		c.Net.delay = o.delay
	}
	for range n {
		c.Add()
	}
	if o.replicated && n >= 3 {
		c.WaitReplicated()
	}
	return c
}

// Add starts one more node, waits until it is ready, and returns its index.
func (c *Cluster) Add() int {
	c.t.Helper()
	i := len(c.nodes)
	addrs := freeAddrs(c.t, 3)
	nd := &process{dir: filepath.Join(c.dir, fmt.Sprintf("n%d", i+1)), rpc: addrs[0], sql: addrs[1], http: addrs[2]}
	logs, err := os.Create(nd.dir + ".log")
	if err != nil {
		c.t.Fatal(err)
	}
	nd.logs = logs
	nd.args = append([]string{"start", "--store", nd.dir, "--rpc-addr", nd.rpc, "--sql-addr", nd.sql, "--http-addr", nd.http}, c.opts.flags...)
	if c.opts.locality != nil {
		nd.args = append(nd.args, "--locality", c.opts.locality(i))
	}
	if c.opts.clocks {
		nd.clock = nd.dir + ".clock"
		nd.args = append(nd.args, "--test-clock-offset-file", nd.clock)
	}
	if c.opts.disks {
		nd.disk = nd.dir + ".disk"
		nd.args = append(nd.args, "--test-disk-delay-file", nd.disk)
	}
	dial := nd.rpc
	if c.Net != nil {
		if dial, err = c.Net.proxy(nd); err != nil {
			c.t.Fatal(err)
		}
		nd.args = append(nd.args, "--advertise-rpc-addr", dial)
	}
	nd.dial = dial
	c.nodes = append(c.nodes, nd)
	var join []string
	if i > 0 {
		join = []string{"--join", c.nodes[0].dial}
	}
	c.launch(i, join...)
	c.WaitReady(i)
	return i
}

func (c *Cluster) launch(i int, extra ...string) {
	c.t.Helper()
	nd := c.nodes[i]
	nd.mu.Lock()
	defer nd.mu.Unlock()
	if nd.cmd != nil {
		c.t.Fatalf("node %d is running", i)
	}
	nd.started++
	fmt.Fprintf(nd.logs, "---- start %d of node %d\n", nd.started, i)
	cmd := exec.Command(Binary(c.t), append(nd.args, extra...)...)
	cmd.Stdout, cmd.Stderr = nd.logs, nd.logs
	if c.opts.clocks || c.opts.disks || c.opts.support {
		cmd.Env = append(os.Environ(), "PAMIR_TEST=1")
	}
	dieWithParent(cmd)
	exited := make(chan struct{})
	started := make(chan error, 1)
	go func() {
		// The parent-death signal follows the thread that started the process, so that
		// thread has to live as long.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		_ = cmd.Wait() // the state is in cmd.ProcessState
		close(exited)
	}()
	if err := <-started; err != nil {
		c.t.Fatalf("node %d: %v", i, err)
	}
	nd.cmd, nd.exited, nd.paused = cmd, exited, false
}

// signal sends a signal and, if wait, waits for the end of the process and returns its exit code.
func (c *Cluster) signal(i int, sig syscall.Signal, wait time.Duration) int {
	c.t.Helper()
	nd := c.nodes[i]
	nd.mu.Lock()
	defer nd.mu.Unlock()
	if nd.cmd == nil {
		c.t.Fatalf("node %d is not running", i)
	}
	if err := nd.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		c.t.Fatalf("node %d: %v", i, err)
	}
	if wait == 0 {
		return 0
	}
	select {
	case <-nd.exited:
	case <-time.After(wait):
		c.t.Errorf("node %d did not stop within %s of %s", i, wait, sig)
		_ = nd.cmd.Process.Kill()
		<-nd.exited
	}
	code := nd.cmd.ProcessState.ExitCode()
	nd.cmd = nil
	return code
}

// Kill ends a node with SIGKILL and waits until the process is gone.
func (c *Cluster) Kill(i int) { c.t.Helper(); c.signal(i, syscall.SIGKILL, 10*time.Second) }

// KillAll kills all nodes that run, all before any is waited for.
func (c *Cluster) KillAll() {
	c.t.Helper()
	for i := range c.nodes {
		if c.Running(i) {
			c.signal(i, syscall.SIGKILL, 0)
		}
	}
	for i := range c.nodes {
		if c.nodes[i].cmd != nil {
			c.signal(i, syscall.SIGKILL, 10*time.Second)
		}
	}
}

// Stop ends a node with SIGTERM and returns its exit code.
func (c *Cluster) Stop(i int) int { c.t.Helper(); return c.signal(i, syscall.SIGTERM, 60*time.Second) }

// Restart starts a node that is down, at its old addresses, and does not wait for it.
func (c *Cluster) Restart(i int) { c.t.Helper(); c.launch(i) }

// Pause stops a node's process with SIGSTOP; Resume continues it.
func (c *Cluster) Pause(i int) {
	c.t.Helper()
	c.signal(i, syscall.SIGSTOP, 0)
	c.nodes[i].paused = true
}

// Resume: see Pause.
func (c *Cluster) Resume(i int) {
	c.t.Helper()
	c.signal(i, syscall.SIGCONT, 0)
	c.nodes[i].paused = false
}

// Running reports whether the process of node i is there.
func (c *Cluster) Running(i int) bool {
	nd := c.nodes[i]
	nd.mu.Lock()
	defer nd.mu.Unlock()
	if nd.cmd == nil {
		return false
	}
	select {
	case <-nd.exited:
		return false
	default:
		return true
	}
}

// Size returns how many nodes there are, running or not.
func (c *Cluster) Size() int { return len(c.nodes) }

// PID of node i.
func (c *Cluster) PID(i int) int { return c.nodes[i].cmd.Process.Pid }

// Dir is node i's store directory.
func (c *Cluster) Dir(i int) string { return c.nodes[i].dir }

// RPCAddr of node i.
func (c *Cluster) RPCAddr(i int) string { return c.nodes[i].rpc }

// DSN is the connection string of node i.
func (c *Cluster) DSN(i int) string {
	return fmt.Sprintf("postgresql://root@%s/defaultdb?sslmode=disable", c.nodes[i].sql)
}

// HostPort is where node i speaks SQL, for programs that take them apart (pgbench).
func (c *Cluster) HostPort(i int) (host, port string) {
	host, port, err := net.SplitHostPort(c.nodes[i].sql)
	if err != nil {
		c.t.Fatal(err)
	}
	return host, port
}

// Open returns a database/sql pool on node i, closed with the test.
func (c *Cluster) Open(i int) *sql.DB {
	c.t.Helper()
	db, err := sql.Open("pgx", c.DSN(i))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { db.Close() })
	return db
}

var client = &http.Client{Timeout: 5 * time.Second}

// Get fetches a path from node i's HTTP address.
func (c *Cluster) Get(i int, path string) ([]byte, error) {
	resp, err := client.Get("http://" + c.nodes[i].http + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", path, resp.Status, bytes.TrimSpace(b))
	}
	return b, err
}

// API fetches a JSON document from node i.
func (c *Cluster) API(i int, path string, into any) error {
	b, err := c.Get(i, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// Metrics scrapes node i: name, or name{label="value"}, to value.
func (c *Cluster) Metrics(i int) map[string]float64 {
	c.t.Helper()
	b, err := c.Get(i, "/metrics")
	if err != nil {
		c.t.Fatalf("node %d: %v", i, err)
	}
	out := map[string]float64{}
	for _, line := range strings.Split(string(b), "\n") {
		if at := strings.LastIndexByte(line, ' '); at > 0 && line[0] != '#' {
			if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
				out[line[:at]] = v
			}
		}
	}
	return out
}

func (c *Cluster) eventually(what string, f func() error) {
	c.t.Helper()
	deadline := time.Now().Add(c.opts.timeout)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not after %s: %v", what, c.opts.timeout, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// WaitReady waits until the nodes (none: all that run) say they are ready.
func (c *Cluster) WaitReady(which ...int) {
	c.t.Helper()
	if len(which) == 0 {
		for i := range c.nodes {
			if c.Running(i) {
				which = append(which, i)
			}
		}
	}
	for _, i := range which {
		c.eventually(fmt.Sprintf("node %d ready", i), func() error {
			if !c.Running(i) {
				c.t.Fatalf("node %d has exited", i)
			}
			_, err := c.Get(i, "/ready")
			return err
		})
	}
}

// RangeInfo is what /api/v1/ranges says of a range, as far as tests need it.
type RangeInfo struct {
	ID       int64  `json:"id"`
	Start    string `json:"start"`
	End      string `json:"end"`
	Replicas []struct {
		NodeID int32  `json:"node_id"`
		Type   string `json:"type"`
	} `json:"replicas"`
	LeaderNode int32  `json:"leader_node"` // 0: nobody leads it just now, and what follows is not known
	Table      string `json:"table"`
	Bytes      int64  `json:"bytes"`
	Locks      int64  `json:"prepared_locks"`
}

// Ranges lists all ranges of the cluster, as node i knows them, in key order.
func (c *Cluster) Ranges(i int) ([]RangeInfo, error) {
	var all []RangeInfo
	for after := ""; ; {
		var page struct {
			Ranges []RangeInfo `json:"ranges"`
			Next   string      `json:"next"`
		}
		if err := c.API(i, "/api/v1/ranges?limit=10000"+after, &page); err != nil {
			return nil, err
		}
		if all = append(all, page.Ranges...); page.Next == "" {
			return all, nil
		}
		after = "&after=" + page.Next
	}
}

// WaitReplicated waits until every range has three voters and a leader, in no joint configuration.
func (c *Cluster) WaitReplicated() {
	c.t.Helper()
	at := 0
	for i := range c.nodes {
		if c.Running(i) {
			at = i
		}
	}
	c.eventually("all ranges replicated", func() error {
		rs, err := c.Ranges(at)
		if err != nil {
			return err
		}
		if len(rs) == 0 {
			return errors.New("no ranges")
		}
		for _, r := range rs {
			voters := 0
			for _, p := range r.Replicas {
				if p.Type == "voter" {
					voters++
				}
			}
			if voters < 3 || voters != len(r.Replicas) || r.LeaderNode == 0 {
				return fmt.Errorf("r%d has %d voters of %d replicas, leader %d", r.ID, voters, len(r.Replicas), r.LeaderNode)
			}
		}
		return nil
	})
}

// NodeWithMostLeaders returns the index of the running node that leads the most ranges.
func (c *Cluster) NodeWithMostLeaders() (int, error) {
	for at := range c.nodes {
		if !c.Running(at) || c.nodes[at].paused {
			continue
		}
		rs, err := c.Ranges(at)
		if err != nil {
			return 0, err
		}
		leads := map[int32]int{}
		for _, r := range rs {
			leads[r.LeaderNode]++
		}
		best, most := 0, -1
		for i := range c.nodes {
			if id, err := c.NodeID(i); err == nil && leads[id] > most {
				best, most = i, leads[id]
			}
		}
		return best, nil
	}
	return 0, errors.New("no node runs")
}

// NodeID asks node i for its id.
func (c *Cluster) NodeID(i int) (int32, error) {
	if !c.Running(i) {
		return 0, errors.New("not running")
	}
	var st struct {
		NodeID int32 `json:"node_id"`
	}
	err := c.API(i, "/api/v1/status", &st)
	return st.NodeID, err
}

// Logs returns the last lines that node i has logged.
func (c *Cluster) Logs(i, lines int) string {
	b, err := os.ReadFile(c.nodes[i].logs.Name())
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Exec runs one statement on node i with a fresh connection.
func (c *Cluster) Exec(i int, query string, args ...any) error {
	db, err := sql.Open("pgx", c.DSN(i))
	if err != nil {
		return err
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, err = db.ExecContext(ctx, query, args...)
	return err
}

func (c *Cluster) close() {
	if c.Net != nil {
		defer c.Net.close() // after the processes, which it would otherwise look up
	}
	for i, nd := range c.nodes {
		if c.t.Failed() {
			c.t.Logf("node %d (%s), last lines of its log:\n%s", i, nd.rpc, c.Logs(i, 100))
		}
		nd.mu.Lock()
		if nd.cmd != nil {
			_ = nd.cmd.Process.Kill()
			<-nd.exited
			nd.cmd = nil
		}
		nd.mu.Unlock()
		nd.logs.Close()
	}
}
