package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

const size = 3

// cluster is three processes, which stop ends by their ids.
type cluster struct {
	binary string
	nodes  [size]member
	made   int // ranges of the table
}

type member struct {
	args      []string
	sql, http string
	log       string
	cmd       *exec.Cmd // nil if it does not run
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func start(ctx context.Context, s *settings) (*cluster, error) {
	c := &cluster{binary: s.binary}
	first := ""
	for i := range c.nodes {
		m := &c.nodes[i]
		var addrs [3]string
		for j := range addrs {
			var err error
			if addrs[j], err = freePort(); err != nil {
				return c, err
			}
		}
		m.sql, m.http, m.log = addrs[1], addrs[2], filepath.Join(s.directory, fmt.Sprintf("n%d.log", i+1))
		m.args = append([]string{"start", "--store", filepath.Join(s.directory, fmt.Sprintf("n%d", i+1)), "--rpc-addr", addrs[0],
			"--sql-addr", addrs[1], "--http-addr", addrs[2], "--insecure"}, s.extraFlags...)
		if i == 0 {
			first = addrs[0]
		} else {
			m.args = append(m.args, "--join", first)
		}
		if err := c.launch(m); err != nil {
			return c, err
		}
		if err := c.eventually(ctx, time.Minute, func() error { return m.ready(ctx) }); err != nil {
			return c, err
		}
	}
	if err := c.exec(ctx, 0, "create table quiet (id bigint primary key, v bigint)"); err != nil {
		return c, err
	}
	return c, c.eventually(ctx, time.Minute, func() error {
		for i := range c.nodes {
			m, err := c.nodes[i].metrics(ctx)
			if err != nil {
				return err
			}
			if m["pamir_store_replicas"] < 3 {
				return fmt.Errorf("node %d has %.0f replicas", i+1, m["pamir_store_replicas"])
			}
		}
		return nil
	})
}

func (c *cluster) launch(m *member) error {
	f, err := os.OpenFile(m.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.Command(c.binary, m.args...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		return err
	}
	m.cmd = cmd
	return nil
}

// end sends a signal to every process and waits for all of them.
func (c *cluster) end(sig syscall.Signal) {
	for i := range c.nodes {
		if cmd := c.nodes[i].cmd; cmd != nil {
			_ = cmd.Process.Signal(sig) // it may have ended
		}
	}
	for i := range c.nodes {
		m := &c.nodes[i]
		if m.cmd == nil {
			continue
		}
		ended := make(chan struct{})
		go func() {
			_ = m.cmd.Wait() // killed
			close(ended)
		}()
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			note("node %d did not stop within 30 s and is killed", i+1)
			_ = m.cmd.Process.Kill()
			<-ended
		}
		m.cmd = nil
	}
}

func (c *cluster) stop() { c.end(syscall.SIGTERM) }

func (c *cluster) eventually(ctx context.Context, within time.Duration, f func() error) error {
	for end := time.Now().Add(within); ; {
		err := f()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(end) {
			return fmt.Errorf("not after %s: %w", within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (m *member) dsn() string {
	return "postgresql://root@" + m.sql + "/defaultdb?sslmode=disable&connect_timeout=5"
}

func (c *cluster) exec(ctx context.Context, i int, stmt string) error {
	conn, err := pgx.Connect(ctx, c.nodes[i].dsn())
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, stmt)
	return err
}

func (m *member) get(ctx context.Context, path string, into func(io.Reader) error) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+m.http+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return into(resp.Body)
}

func (m *member) ready(ctx context.Context) error {
	return m.get(ctx, "/ready", func(io.Reader) error { return nil })
}

// metrics is a scrape; counters with labels are added up, under the name without them.
func (m *member) metrics(ctx context.Context) (map[string]float64, error) {
	out := map[string]float64{}
	return out, m.get(ctx, "/metrics", func(r io.Reader) error {
		s := bufio.NewScanner(r)
		for s.Scan() {
			line := s.Text()
			at := strings.LastIndexByte(line, ' ')
			if at <= 0 || line[0] == '#' {
				continue
			}
			v, err := strconv.ParseFloat(line[at+1:], 64)
			if err != nil {
				return err
			}
			name, _, _ := strings.Cut(line[:at], "{")
			out[name] += v
		}
		return s.Err()
	})
}

// gap is the distance of the keys at which the table is cut.
const gap = 1000

// split brings the table to n ranges, at the multiples of gap. Neighbours are not split by two connections at once: every
// connection has a stretch of its own, cut off first.
func (c *cluster) split(ctx context.Context, n, connections int) (made int, err error) {
	keys := cuts(max(c.made, 1), n)
	if c.made == 0 {
		// Each node leads a third from the beginning, and with it whatever is cut off it. What placement would do for minutes is not
		// what is measured here.
		var thirds []int64
		if thirds, err = c.thirds(ctx, n); err != nil {
			return 0, err
		}
		keys = slices.DeleteFunc(keys, func(k int64) bool { return slices.Contains(thirds, k) })
	}
	first := c.made
	made, c.made = n-first, n
	// The first, one after the other, give the connections ranges of their own.
	if len(keys) < 4*connections {
		connections = 1
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, connections)
	batches := stretches(keys, connections)
	for w := range connections {
		wg.Add(1)
		go func() {
			defer wg.Done()
			conn, err := pgx.Connect(ctx, c.nodes[w%size].dsn())
			if err != nil {
				errs[w] = err
				return
			}
			defer conn.Close(ctx)
			for {
				b := int(next.Add(1)) - 1
				if b >= len(batches) || errs[w] != nil {
					return
				}
				// A busy machine makes it give up now and then. To cut again where there is a cut does nothing.
				for range 3 {
					if _, errs[w] = conn.Exec(ctx, "select pamir.split_at('quiet', k) from unnest($1::bigint[]) as k", batches[b]); errs[w] == nil {
						break
					}
				}
				if errs[w] != nil {
					next.Store(int64(len(batches)))
				}
			}
		}()
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return made, err
	}
	// A row in each, all in one statement: they are asked for after the restart.
	return made, c.exec(ctx, 0, fmt.Sprintf("insert into quiet select g * %d, 0 from generate_series(%d, %d) as g on conflict do nothing", gap, first, n-1))
}

// thirds cuts the table in three, and has each led by another node.
func (c *cluster) thirds(ctx context.Context, n int) (cut []int64, err error) {
	cut = []int64{int64(n/3) * gap, int64(2*n/3) * gap}
	conn, err := pgx.Connect(ctx, c.nodes[0].dsn())
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	for i, k := range cut {
		var id int64
		if err := conn.QueryRow(ctx, "select pamir.split_at('quiet', $1::bigint)", k).Scan(&id); err != nil {
			return nil, err
		}
		err := c.eventually(ctx, time.Minute, func() error {
			_, err := conn.Exec(ctx, "select pamir.transfer_leader($1, $2)", id, i+2)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return cut, nil
}

// cuts returns the keys of the cuts number from to below n.
func cuts(from, n int) (keys []int64) {
	for i := max(from, 1); i < n; i++ {
		keys = append(keys, int64(i)*gap)
	}
	return keys
}

// stretches divides the keys, which ascend, into batches that can be worked on at the same time.
func stretches(keys []int64, connections int) (out [][]int64) {
	per := max(1, min(50, len(keys)/connections))
	for len(keys) > 0 {
		k := min(per, len(keys))
		out = append(out, keys[:k:k])
		keys = keys[k:]
	}
	// Far from each other, one after the other: the order of the bits turned around.
	slices.SortFunc(out, func(a, b []int64) int { return int(reversed(a[0]/gap)) - int(reversed(b[0]/gap)) })
	for _, b := range out {
		slices.SortFunc(b, func(a, b int64) int { return int(reversed(a/gap)) - int(reversed(b/gap)) })
	}
	return out
}

func reversed(v int64) (r int64) {
	for range 20 {
		r = r<<1 | v&1
		v >>= 1
	}
	return r
}

// settled waits until all replicas are quiet and leaders have not moved for a while, and returns how long that took.
func (c *cluster) settled(ctx context.Context, n int, within time.Duration) (time.Duration, error) {
	began := time.Now()
	var since time.Time
	last := ""
	err := c.eventually(ctx, within, func() error {
		time.Sleep(500 * time.Millisecond)
		quiet, what := true, ""
		for i := range c.nodes {
			m, err := c.nodes[i].metrics(ctx)
			if err != nil {
				return err
			}
			quiet = quiet && m["pamir_store_replicas"]-m["pamir_store_quiet"] <= busy && int(m["pamir_store_replicas"]) > n
			what += fmt.Sprintf(" %.0f of %.0f led %.0f serving %.0f terms %.0f;", m["pamir_store_quiet"], m["pamir_store_replicas"],
				m["pamir_store_leaders"], m["pamir_store_serving"], m["pamir_range_leaderships_total"])
		}
		key := what
		if quiet && key == last {
			if !since.IsZero() && time.Since(since) > steady {
				return nil
			}
			if since.IsZero() {
				since = time.Now()
			}
		} else {
			since = time.Time{}
			if !quiet || last != "" {
				key = what
			}
		}
		last = key
		return fmt.Errorf("quiet:%s", what)
	})
	if err != nil && ctx.Err() == nil {
		note("not quiet, and measured all the same: %v", err)
		return time.Since(began), nil
	}
	return time.Since(began) - steady, err
}

const (
	// busy is how many ranges of a cluster without clients may be awake: those of the system's own tables.
	busy = 4
	// steady is how long nothing must have changed.
	steady = 4 * time.Second
)
