package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// workload is a line of the table.
type workload struct {
	name string
	run  func(context.Context, *system) (result, error)
}

func main() {
	systems := flag.String("systems", "pamir1,pamir3,pg,pgsync", "which systems to run")
	clients := flag.String("clients", "1,8,32", "numbers of pgbench clients")
	scripts := flag.String("scripts", "S,N,B,copy,agg", "workloads: S = -S, N = -N, B = TPC-B, copy = bulk load, agg = count and sum")
	mode := flag.String("mode", "prepared", "pgbench -M")
	scale := flag.Int("scale", 10, "pgbench scale: 100,000 accounts each")
	duration := flag.Duration("duration", 10*time.Second, "time of one pgbench run")
	rounds := flag.Int("rounds", 3, "rounds; the table shows medians")
	binary := flag.String("binary", "", "pamir binary; empty builds ./cmd/pamir")
	work := flag.String("work", "", "with -what retries: only workloads whose names contain this; and no commits by number of ranges")
	still := flag.Bool("still", false, "with -what retries: leaders stay and no range is split")
	what := flag.String("what", "pgbench", "pgbench, or retries: what clients see of each other's transactions, and commits by number of ranges; or commits: these alone; or moves: how long nobody commits on a hot row when its leader moves")
	flag.Parse()

	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := run(ctx, *what, *systems, *clients, *scripts, *mode, *scale, *duration, *rounds, *binary, *work, *still); err != nil {
		fatal(err)
	}
}

func run(ctx context.Context, what, systems, clients, scripts, mode string, scale int, d time.Duration, rounds int, binary, only string, still bool) error {
	tmp, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if binary == "" {
		binary = filepath.Join(tmp, "pamir")
		if out, err := exec.Command("go", "build", "-o", binary, "./cmd/pamir").CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w: %s", err, out)
		}
	}

	var all []*system
	defer func() {
		for _, s := range all {
			s.stop()
		}
	}()
	for _, name := range strings.Split(systems, ",") {
		var s *system
		var err error
		name, binary := name, binary
		if n, other, ok := strings.Cut(name, "="); ok { // pamir3=path: the same of another binary
			name, binary = n, other
		}
		switch name {
		case "pamir1":
			s, err = startPamir(ctx, binary, 1)
		case "pamir3":
			s, err = startPamir(ctx, binary, 3)
		case "pg":
			s, err = startPostgres(ctx, 0)
		case "pgsync":
			s, err = startPostgres(ctx, 2)
		default:
			err = fmt.Errorf("no system %q", name)
		}
		if s != nil {
			if strings.Contains(binary, "/") && slices.ContainsFunc(all, func(o *system) bool { return o.name == s.name }) {
				s.name += "=" + filepath.Base(binary)
			}
			all = append(all, s)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s is up on port %s\n", s.name, s.port)
		if what != "pgbench" {
			continue
		}
		c := exec.CommandContext(ctx, "pgbench", "-i", "-q", "-s", strconv.Itoa(scale))
		c.Env = s.env()
		start := time.Now()
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("pgbench -i on %s: %w: %s", s.name, err, out)
		}
		fmt.Fprintf(os.Stderr, "%s: pgbench -i -s %d took %.1f s\n", s.name, scale, time.Since(start).Seconds())
	}

	if what != "pgbench" {
		var err error
		if what == "retries" {
			err = retries(ctx, all, d, rounds, only, still)
		}
		for _, s := range all {
			switch {
			case s.http == "" || err != nil:
			case what == "moves":
				err = moves(ctx, s, d)
			case only == "":
				err = commitRanges(ctx, s, d)
			}
		}
		return err
	}

	var work []workload
	for _, script := range strings.Split(scripts, ",") {
		switch script {
		case "copy":
			work = append(work, workload{"COPY, per row", func(ctx context.Context, s *system) (result, error) { return bulkLoad(ctx, s, tmp) }})
		case "agg":
			work = append(work, workload{"count+sum, per query", aggregate})
		default:
			args := map[string][]string{"S": {"-S"}, "N": {"-N"}, "B": nil}
			a, ok := args[script]
			if !ok {
				return fmt.Errorf("no workload %q", script)
			}
			for _, c := range strings.Split(clients, ",") {
				n, err := strconv.Atoi(c)
				if err != nil {
					return err
				}
				label := map[string]string{"S": "pgbench -S", "N": "pgbench -N", "B": "TPC-B"}[script]
				work = append(work, workload{fmt.Sprintf("%s, %d clients", label, n), func(ctx context.Context, s *system) (result, error) {
					return pgbench(ctx, s, append([]string{"-M", mode}, a...), n, d)
				}})
			}
		}
	}

	got := map[string]map[string][]result{}
	for round := range rounds {
		for _, w := range work {
			for _, s := range all {
				r, err := w.run(ctx, s)
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err != nil {
					r.errors = err.Error()
				}
				fmt.Fprintf(os.Stderr, "round %d  %-22s %-7s %10.0f/s  %8.2f ms  %8.1f µs CPU  %s\n", round+1, w.name, s.name,
					r.tps, float64(r.latency)/1e6, float64(r.cpu)/1e3, r.errors)
				if got[w.name] == nil {
					got[w.name] = map[string][]result{}
				}
				got[w.name][s.name] = append(got[w.name][s.name], r)
			}
		}
	}
	report(work, all, got, mode, scale, d, rounds)
	return nil
}

// report prints the medians, and each Pamir's ratio to its PostgreSQL: one node to the
// single server, three to the one with standbys; point reads and scans to the single server always.
func report(work []workload, all []*system, got map[string]map[string][]result, mode string, scale int, d time.Duration, rounds int) {
	fmt.Printf("pgbench -M %s, scale %d, %s a run, median of %d rounds; rate a second, server CPU in µs\n\n", mode, scale, d, rounds)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "workload\t")
	for _, s := range all {
		fmt.Fprintf(w, "%s/s\tCPU\t", s.name)
	}
	fmt.Fprintln(w, "pamir1/pg\tpamir3/pg\tpamir3/pgsync\t")
	for _, wl := range work {
		fmt.Fprintf(w, "%s\t", wl.name)
		med := map[string]result{}
		for _, s := range all {
			m := median(got[wl.name][s.name])
			med[s.name] = m
			mark := ""
			if m.errors != "" {
				mark = "!"
			}
			fmt.Fprintf(w, "%.0f%s\t%.1f\t", m.tps, mark, float64(m.cpu)/1e3)
		}
		for _, pair := range [][2]string{{"pamir1", "pg"}, {"pamir3", "pg"}, {"pamir3", "pgsync"}} {
			a, b := med[pair[0]], med[pair[1]]
			if a.tps > 0 && b.tps > 0 {
				fmt.Fprintf(w, "%.2f\t", a.tps/b.tps)
			} else {
				fmt.Fprint(w, "-\t")
			}
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	for _, wl := range work {
		for _, s := range all {
			for i, r := range got[wl.name][s.name] {
				if r.errors != "" {
					fmt.Printf("! %s on %s, round %d: %s\n", wl.name, s.name, i+1, r.errors)
				}
			}
		}
	}
}

// median by rate; a run with an error wins, so that it is not hidden.
func median(rs []result) result {
	if len(rs) == 0 {
		return result{}
	}
	for _, r := range rs {
		if r.errors != "" {
			return r
		}
	}
	s := slices.Clone(rs)
	slices.SortFunc(s, func(a, b result) int {
		switch {
		case a.tps < b.tps:
			return -1
		case a.tps > b.tps:
			return 1
		}
		return 0
	})
	return s[len(s)/2]
}
