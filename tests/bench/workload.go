package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// result of one run of one workload on one system.
type result struct {
	tps     float64
	latency time.Duration
	cpu     time.Duration // of the servers, per transaction (or per row, or per query)
	errors  string
}

var (
	tpsLine     = regexp.MustCompile(`tps = ([0-9.]+)`)
	latencyLine = regexp.MustCompile(`latency average = ([0-9.]+) ms`)
	countLine   = regexp.MustCompile(`number of transactions actually processed: ([0-9]+)`)
	failedLine  = regexp.MustCompile(`number of failed transactions: ([0-9]+)`)
)

// pgbench runs the unmodified tool for d and reads its report.
func pgbench(ctx context.Context, s *system, args []string, clients int, d time.Duration) (result, error) {
	before, err := s.cpu()
	if err != nil {
		return result{}, err
	}
	all := append([]string{"-n", "-c", strconv.Itoa(clients), "-j", strconv.Itoa(min(clients, 2)), "-T", strconv.Itoa(int(d.Seconds()))}, args...)
	c := exec.CommandContext(ctx, "pgbench", all...)
	c.Env = s.env()
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	runErr := c.Run()
	after, err := s.cpu()
	if err != nil {
		return result{}, err
	}
	text := out.String()
	r := result{}
	if f := failedLine.FindStringSubmatch(text); f != nil && f[1] != "0" {
		r.errors = f[1] + " failed"
	}
	if runErr != nil {
		return r, fmt.Errorf("pgbench %s on %s: %w: %s", strings.Join(all, " "), s.name, runErr, lastLines(text, 6))
	}
	num := func(re *regexp.Regexp) (float64, error) {
		m := re.FindStringSubmatch(text)
		if m == nil {
			return 0, fmt.Errorf("pgbench on %s printed no %s: %s", s.name, re, lastLines(text, 8))
		}
		return strconv.ParseFloat(m[1], 64)
	}
	var count, ms float64
	if r.tps, err = num(tpsLine); err != nil {
		return r, err
	}
	if ms, err = num(latencyLine); err != nil {
		return r, err
	}
	if count, err = num(countLine); err != nil {
		return r, err
	}
	r.latency = time.Duration(ms * float64(time.Millisecond))
	if count > 0 {
		r.cpu = time.Duration(float64(after-before) / count)
	}
	return r, nil
}

// aggregate runs the scan query a few times; cpu is per query.
func aggregate(ctx context.Context, s *system) (result, error) {
	const times = 5
	before, err := s.cpu()
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	for range times {
		if out, err := s.psql(ctx, "select count(*), sum(abalance) from pgbench_accounts"); err != nil {
			return result{}, fmt.Errorf("count, sum on %s: %w: %s", s.name, err, out)
		}
	}
	took := time.Since(start)
	after, err := s.cpu()
	if err != nil {
		return result{}, err
	}
	return result{tps: times / took.Seconds(), latency: took / times, cpu: (after - before) / times}, nil
}

// copyRows is how many rows the bulk load has.
const copyRows = 200_000

// bulkLoad copies rows into a table with a primary key; tps is rows a second and cpu is per row.
func bulkLoad(ctx context.Context, s *system, dir string) (result, error) {
	file := filepath.Join(dir, "copy.txt")
	if _, err := os.Stat(file); err != nil {
		var b bytes.Buffer
		for i := range copyRows {
			fmt.Fprintf(&b, "%d\t%d\t%d\t%s\n", i+1, i%10, i*7%1000, strings.Repeat("x", 84))
		}
		if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
			return result{}, err
		}
	}
	if out, err := s.psql(ctx, "drop table if exists bulk"); err != nil {
		return result{}, fmt.Errorf("bulk load on %s: %w: %s", s.name, err, out)
	}
	if out, err := s.psql(ctx, "create table bulk (id int primary key, b int, c int, filler char(84))"); err != nil {
		return result{}, fmt.Errorf("bulk load on %s: %w: %s", s.name, err, out)
	}
	before, err := s.cpu()
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	if out, err := s.psql(ctx, "\\copy bulk from '"+file+"'"); err != nil {
		return result{}, fmt.Errorf("bulk load on %s: %w: %s", s.name, err, out)
	}
	took := time.Since(start)
	after, err := s.cpu()
	if err != nil {
		return result{}, err
	}
	out, err := s.psql(ctx, "select count(*) from bulk")
	if err != nil || strings.TrimSpace(out) != strconv.Itoa(copyRows) {
		return result{}, fmt.Errorf("bulk load on %s: %v: %s rows of %d", s.name, err, strings.TrimSpace(out), copyRows)
	}
	return result{tps: copyRows / took.Seconds(), latency: took, cpu: (after - before) / copyRows}, nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], " | ")
}
