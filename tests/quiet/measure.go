package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// idle is what the nodes cost while nobody asks for anything.
type idle struct {
	replicas            float64 // per node
	heap                [size]float64
	goroutines          float64
	cpuMedian, cpuWorst float64 // percent of a core
	raft, frames, bytes float64 // per second, sent by all
}

func (i *idle) mostHeap() float64 { return slices.Max(i.heap[:]) }

var errShort = errors.New("short /proc/pid/stat")

// cpu returns the time that a process has used. (USER_HZ is 100 on every Linux that Go runs on.)
func cpu(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The command's name is in parentheses and may hold spaces.
	f := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	if len(f) < 13 {
		return 0, errShort
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * time.Second / 100, errors.Join(err1, err2)
}

var heapAlloc = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)

// heapBytes collects garbage in a node and returns what is left.
func (m *member) heapBytes(ctx context.Context) (n float64, err error) {
	// Twice: what has a finalizer, or is in a pool, goes with the second.
	for range 2 {
		err = m.get(ctx, "/debug/pprof/heap?gc=1&debug=1", func(r io.Reader) error {
			b, err := io.ReadAll(r)
			if err != nil {
				return err
			}
			found := heapAlloc.FindSubmatch(b)
			if found == nil {
				return errors.New("no HeapAlloc in the heap profile")
			}
			n, err = strconv.ParseFloat(string(found[1]), 64)
			return err
		})
	}
	return n, err
}

// measure reads counters, does nothing, and reads them again.
func (c *cluster) measure(ctx context.Context, s *settings, name string) (out idle, err error) {
	var before, after [size]map[string]float64
	var used [size]time.Duration
	for i := range c.nodes {
		if out.heap[i], err = c.nodes[i].heapBytes(ctx); err != nil {
			return out, err
		}
	}
	for i := range c.nodes {
		if before[i], err = c.nodes[i].metrics(ctx); err != nil {
			return out, err
		}
	}
	for i := range c.nodes {
		if used[i], err = cpu(c.nodes[i].cmd.Process.Pid); err != nil {
			return out, err
		}
	}
	began := time.Now()
	select {
	case <-time.After(s.idle):
	case <-ctx.Done():
		return out, ctx.Err()
	}
	var percent []float64
	took := time.Since(began)
	for i := range c.nodes {
		now, err := cpu(c.nodes[i].cmd.Process.Pid)
		if err != nil {
			return out, err
		}
		percent = append(percent, 100*(now-used[i]).Seconds()/took.Seconds())
	}
	for i := range c.nodes {
		if after[i], err = c.nodes[i].metrics(ctx); err != nil {
			return out, err
		}
	}
	took = time.Since(began)
	slices.Sort(percent)
	out.cpuMedian, out.cpuWorst = percent[size/2], percent[size-1]
	for i := range c.nodes {
		grown := func(name string) float64 { return (after[i][name] - before[i][name]) / took.Seconds() }
		out.raft += grown("pamir_range_raft_sent_total")
		out.frames += grown("pamir_rpc_sent_frames_total")
		out.bytes += grown("pamir_rpc_sent_bytes_total")
		out.goroutines = max(out.goroutines, after[i]["go_goroutines"])
		out.replicas = max(out.replicas, after[i]["pamir_store_replicas"])
	}
	note("%s: CPU %.2f %%, Raft messages %.1f/s, frames %.0f/s, heap %.1f MiB", name, percent, out.raft, out.frames, out.mostHeap()/(1<<20))
	if s.profiles != "" {
		return out, c.profile(ctx, s.profiles, name)
	}
	return out, nil
}

// profile writes the profiles of all nodes, which idle meanwhile.
func (c *cluster) profile(ctx context.Context, dir, name string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, size)
	for i := range c.nodes {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for what, path := range map[string]string{"cpu": "/debug/pprof/profile?seconds=10", "heap": "/debug/pprof/heap?gc=1"} {
				errs[i] = errors.Join(errs[i], c.nodes[i].get(ctx, path, func(r io.Reader) error {
					b, err := io.ReadAll(r)
					if err != nil {
						return err
					}
					return os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%s-n%d.pprof", what, name, i+1)), b, 0o644)
				}))
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// profileStart writes CPU profiles of the first seconds after a start.
func (c *cluster) profileStart(ctx context.Context, dir, name string) {
	for i := range c.nodes {
		go func() {
			err := c.eventually(ctx, time.Minute, func() error {
				return c.nodes[i].get(ctx, "/debug/pprof/profile?seconds=4", func(r io.Reader) error {
					b, err := io.ReadAll(r)
					if err != nil {
						return err
					}
					return os.WriteFile(filepath.Join(dir, fmt.Sprintf("start-%s-n%d.pprof", name, i+1)), b, 0o644)
				})
			})
			if err != nil {
				note("no profile of the start of node %d: %v", i+1, err)
			}
		}()
	}
}

// wake returns the median of how long the first write to an idle range takes.
func (c *cluster) wake(ctx context.Context, n int) (time.Duration, error) {
	conn, err := pgx.Connect(ctx, c.nodes[0].dsn())
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	// The gateway learns where the ranges are; the statement is planned.
	if _, err := conn.Exec(ctx, "select count(*) from quiet"); err != nil {
		return 0, err
	}
	var took []time.Duration
	for i := range min(n, 50) {
		began := time.Now()
		if _, err := conn.Exec(ctx, "update quiet set v = v + 1 where id = $1", int64(i*(n/min(n, 50)))*gap); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// restart kills all nodes and starts them again.
func (c *cluster) restart(ctx context.Context, s *settings, n int) (first, all time.Duration, err error) {
	c.end(syscall.SIGKILL)
	began := time.Now()
	for i := range c.nodes {
		if err := c.launch(&c.nodes[i]); err != nil {
			return 0, 0, err
		}
	}
	if s.profiles != "" {
		go c.profileStart(ctx, s.profiles, strconv.Itoa(n))
	}
	query := func(i int, stmt string, want int64, args ...any) error {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		conn, err := pgx.Connect(ctx, c.nodes[i].dsn())
		if err != nil {
			return err
		}
		defer conn.Close(ctx)
		var got int64
		if err := conn.QueryRow(ctx, stmt, args...).Scan(&got); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s: %d, not %d", stmt, got, want)
		}
		return nil
	}
	k := 0
	err = c.eventually(ctx, 5*time.Minute, func() error {
		k++
		return query(k%size, "select id from quiet where id = $1", int64(n/2)*gap, int64(n/2)*gap)
	})
	if err != nil {
		return 0, 0, err
	}
	first = time.Since(began)
	err = c.eventually(ctx, 5*time.Minute, func() error { return query(0, "select count(*) from quiet", int64(n)) })
	return first, time.Since(began), err
}
