package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

type settings struct {
	counts     []int
	idle       time.Duration
	settle     time.Duration
	profiles   string
	restart    bool
	splitters  int
	binary     string
	directory  string
	extraFlags []string
}

func main() {
	ranges := flag.String("ranges", "1000,10000", "numbers of ranges, ascending")
	var s settings
	flag.DurationVar(&s.idle, "idle", 30*time.Second, "how long counters are read for")
	flag.DurationVar(&s.settle, "settle", 2*time.Minute, "how long to wait for the ranges to become quiet")
	flag.StringVar(&s.profiles, "profile", "", "directory for CPU and heap profiles")
	flag.BoolVar(&s.restart, "restart", true, "kill and restart the cluster after every measurement")
	flag.IntVar(&s.splitters, "splitters", 16, "connections that split")
	flag.StringVar(&s.binary, "binary", "", "pamir binary; empty builds ./cmd/pamir")
	flag.StringVar(&s.directory, "dir", "", "where the stores are; empty is a temporary directory, which is removed")
	flags := flag.String("flags", "", "more flags of pamir start, separated by spaces")
	flag.Parse()
	s.extraFlags = strings.Fields(*flags)
	for _, f := range strings.Split(*ranges, ",") {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1 {
			fatal(fmt.Errorf("-ranges %q: not numbers", *ranges))
		}
		s.counts = append(s.counts, n)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, &s); err != nil {
		fatal(err)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "quiet:", err)
	os.Exit(1)
}

func note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s  "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
}

func run(ctx context.Context, s *settings) error {
	tmp, err := os.MkdirTemp("", "quiet-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if s.directory != "" {
		if err := os.MkdirAll(s.directory, 0o755); err != nil {
			return err
		}
	} else {
		s.directory = tmp
	}
	if s.binary == "" {
		s.binary = filepath.Join(tmp, "pamir")
		if out, err := exec.Command("go", "build", "-o", s.binary, "./cmd/pamir").CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w: %s", err, out)
		}
	}
	c, err := start(ctx, s)
	if c != nil {
		defer c.stop()
	}
	if err != nil {
		return err
	}
	if _, err := c.settled(ctx, 1, s.settle); err != nil {
		return err
	}
	base, err := c.measure(ctx, s, "new")
	if err != nil {
		return err
	}
	rows := []row{{idle: base}}
	for _, n := range s.counts {
		r, err := c.one(ctx, s, n, base)
		if err != nil {
			return fmt.Errorf("%d ranges: %w", n, err)
		}
		rows = append(rows, r)
	}
	print(rows)
	return nil
}

// row is a line of the table.
type row struct {
	ranges    int
	splitRate float64
	settled   time.Duration
	idle      idle
	heap      float64 // per replica
	wake      time.Duration
	first     time.Duration
	all       time.Duration
}

// one measures the cluster with n ranges of the table.
func (c *cluster) one(ctx context.Context, s *settings, n int, base idle) (r row, err error) {
	began := time.Now()
	made, err := c.split(ctx, n, s.splitters)
	if err != nil {
		return r, err
	}
	took := time.Since(began)
	r.ranges, r.splitRate = n, float64(made)/took.Seconds()
	note("%d ranges split off in %.1f s", made, took.Seconds())
	if r.settled, err = c.settled(ctx, n, s.settle); err != nil {
		return r, err
	}
	note("quiet after %.1f s", r.settled.Seconds())
	if r.idle, err = c.measure(ctx, s, strconv.Itoa(n)); err != nil {
		return r, err
	}
	for i := range r.idle.heap {
		r.heap = max(r.heap, (r.idle.heap[i]-base.heap[i])/(r.idle.replicas-base.replicas))
	}
	if r.wake, err = c.wake(ctx, n); err != nil {
		return r, err
	}
	if !s.restart {
		return r, nil
	}
	if r.first, r.all, err = c.restart(ctx, s, n); err != nil {
		return r, err
	}
	note("restart: first query after %.2f s, all ranges after %.2f s", r.first.Seconds(), r.all.Seconds())
	_, err = c.settled(ctx, n, s.settle)
	return r, err
}

func print(rows []row) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ranges\tsplit/s\tquiet after s\theap KiB/replica\theap MiB\tgoroutines\tCPU %\tworst\traft/s\tframes/s\tbytes/s\twake ms\tquery s\tall s\t")
	for _, r := range rows {
		i := &r.idle
		fmt.Fprintf(w, "%.0f\t%.0f\t%.1f\t%.2f\t%.0f\t%.0f\t%.2f\t%.2f\t%.1f\t%.0f\t%.0f\t%.1f\t%.2f\t%.2f\t\n",
			i.replicas, r.splitRate, r.settled.Seconds(), r.heap/1024, i.mostHeap()/(1<<20), i.goroutines, i.cpuMedian, i.cpuWorst,
			i.raft, i.frames, i.bytes, float64(r.wake.Microseconds())/1000, r.first.Seconds(), r.all.Seconds())
	}
	w.Flush()
}
