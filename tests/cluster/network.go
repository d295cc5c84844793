package cluster

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Network stands between the processes of a cluster: everything that a node sends to another passes
// through it, and it can stop passing on, in either direction, for as long as it likes. What was sent while a direction was
// cut arrives when it is healed, unless somebody has given the connection up: as with TCP.
//
// Every node advertises a proxy of its own. Which node has dialled a proxy is found out from /proc (the
// process that owns the socket), so nodes need not know that they are watched.
type Network struct {
	mu      sync.Mutex
	nodes   []*process
	cut     map[[2]int]bool                  // from, to
	delay   func(from, to int) time.Duration // nil for none; set before the first node
	changed chan struct{}                    // closed and replaced at every change
	closed  bool
	conns   map[net.Conn]bool
	lns     []net.Listener
	wg      sync.WaitGroup
}

// WithNetwork puts a Network between the nodes.
func WithNetwork() Option { return func(o *options) { o.network = true } }

// WithDelay puts a Network between the nodes in which what from sends to to is under way for a while. It is a distance and not a
// narrow line: any amount can be under way.
func WithDelay(f func(from, to int) time.Duration) Option {
	return func(o *options) { o.network, o.delay = true, f }
}

func newNetwork() *Network {
	return &Network{cut: map[[2]int]bool{}, changed: make(chan struct{}), conns: map[net.Conn]bool{}}
}

// proxy begins to stand before the next node and returns the address to dial.
func (n *Network) proxy(nd *process) (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	n.mu.Lock()
	n.lns = append(n.lns, ln)
	i := len(n.nodes)
	n.nodes = append(n.nodes, nd)
	n.mu.Unlock()
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		for {
			conn, err := ln.Accept()
			if err != nil {
				return // closed
			}
			n.wg.Add(1)
			go func() {
				defer n.wg.Done()
				n.serve(conn, i, nd.rpc)
			}()
		}
	}()
	return ln.Addr().String(), nil
}

// serve passes on one connection to node to.
func (n *Network) serve(in net.Conn, to int, rpc string) {
	if !n.track(in) {
		return
	}
	defer n.untrack(in)
	from, err := n.dialler(in.RemoteAddr().(*net.TCPAddr).Port, in.LocalAddr().(*net.TCPAddr).Port)
	if err != nil {
		return // it has hung up, or died
	}
	// A handshake needs both directions.
	if !n.wait(from, to) || !n.wait(to, from) {
		return
	}
	out, err := net.DialTimeout("tcp", rpc, 2*time.Second)
	if err != nil {
		return // nobody listens: the dialler sees its connection closed
	}
	if !n.track(out) {
		return
	}
	defer n.untrack(out)
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.pass(out, in, from, to)
	}()
	n.pass(in, out, to, from)
	<-done
}

// pass copies one direction until it ends, and then ends both.
func (n *Network) pass(dst, src net.Conn, from, to int) {
	if n.delay != nil && n.delay(from, to) > 0 {
		n.passLate(dst, src, from, to, n.delay(from, to))
		return
	}
	buf := make([]byte, 64<<10)
	for {
		k, err := src.Read(buf)
		// What has been read while the direction is cut is on the wire: it waits as well.
		if !n.wait(from, to) {
			break
		}
		if k > 0 {
			if _, werr := dst.Write(buf[:k]); werr != nil {
				break
			}
		}
		if err != nil {
			break
		}
	}
	_, _ = src.Close(), dst.Close()
}

// late is a piece that is under way.
type late struct {
	b   []byte
	due time.Time
}

// passLate is pass with a delay. When one end closes, what is under way still arrives.
func (n *Network) passLate(dst, src net.Conn, from, to int, delay time.Duration) {
	line := make(chan late, 4096)
	gone := make(chan struct{})
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		defer close(gone)
		for p := range line {
			time.Sleep(time.Until(p.due))
			if !n.wait(from, to) {
				break
			}
			if _, err := dst.Write(p.b); err != nil {
				break
			}
		}
		_, _ = src.Close(), dst.Close()
	}()
	for {
		buf := make([]byte, 16<<10)
		k, err := src.Read(buf)
		if k > 0 {
			select {
			case line <- late{buf[:k], time.Now().Add(delay)}:
			case <-gone:
				return
			}
		}
		if err != nil {
			break
		}
	}
	close(line)
	<-gone
}

// wait returns when from can send to to, and false when the network is gone.
func (n *Network) wait(from, to int) bool {
	for {
		n.mu.Lock()
		is, ch, closed := n.cut[[2]int{from, to}], n.changed, n.closed
		n.mu.Unlock()
		if closed || !is {
			return !closed
		}
		<-ch
	}
}

func (n *Network) track(c net.Conn) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		c.Close()
		return false
	}
	n.conns[c] = true
	return true
}

func (n *Network) untrack(c net.Conn) {
	n.mu.Lock()
	delete(n.conns, c)
	n.mu.Unlock()
	c.Close()
}

func (n *Network) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

// Cut stops what node from sends to node to (indexes): one way.
func (n *Network) Cut(from, to int) { n.change(func() { n.cut[[2]int{from, to}] = true }) }

// CutBoth stops both ways between two nodes: a partial partition, if there are others.
func (n *Network) CutBoth(a, b int) {
	n.change(func() { n.cut[[2]int{a, b}], n.cut[[2]int{b, a}] = true, true })
}

// Isolate cuts a node off from all others, both ways.
func (n *Network) Isolate(i int) {
	n.change(func() {
		for j := range n.nodes {
			if i != j {
				n.cut[[2]int{i, j}], n.cut[[2]int{j, i}] = true, true
			}
		}
	})
}

// Heal ends all cuts.
func (n *Network) Heal() { n.change(func() { clear(n.cut) }) }

func (n *Network) close() {
	n.change(func() {
		n.closed = true
		for c := range n.conns {
			c.Close()
		}
		for _, l := range n.lns {
			l.Close()
		}
	})
	n.wg.Wait()
}

// dialler finds the node whose process has the connection from one port to another.
func (n *Network) dialler(local, remote int) (int, error) {
	inode, err := socketInode(local, remote)
	if err != nil {
		return 0, err
	}
	want := "socket:[" + inode + "]"
	n.mu.Lock()
	nodes := n.nodes
	n.mu.Unlock()
	for i, nd := range nodes {
		nd.mu.Lock()
		pid := 0
		if nd.cmd != nil {
			pid = nd.cmd.Process.Pid
		}
		nd.mu.Unlock()
		if pid == 0 {
			continue
		}
		fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		if err != nil {
			return 0, err
		}
		if slices.ContainsFunc(fds, func(fd string) bool {
			l, err := os.Readlink(fd)
			return err == nil && l == want
		}) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("nobody has a connection from port %d to %d", local, remote)
}

// socketInode looks a connection up in the kernel's table, by both of its ports: the kernel gives one local port to several
// connections as long as they lead to different places, and of the hundreds between nine nodes a few do share one.
func socketInode(local, remote int) (string, error) {
	f, err := os.Open("/proc/net/tcp")
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return "", err
	}
	from, to := fmt.Sprintf(":%04X", local), fmt.Sprintf(":%04X", remote)
	for _, line := range strings.Split(string(b), "\n") {
		if w := strings.Fields(line); len(w) > 9 && strings.HasSuffix(w[1], from) && strings.HasSuffix(w[2], to) && w[9] != "0" {
			return w[9], nil
		}
	}
	return "", fmt.Errorf("there is no connection from port %d to %d", local, remote)
}
