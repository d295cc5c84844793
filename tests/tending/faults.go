package tending

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// faults each do their harm to node v, which leads most, and return how to undo it.
var faults = []struct {
	name, what string
	do         func(c *cluster.Cluster, v, n int) (undo func())
}{
	{"kill", "kill -9, and started again", func(c *cluster.Cluster, v, _ int) func() {
		c.Kill(v)
		return func() { c.Restart(v) }
	}},
	{"pause", "SIGSTOP, and SIGCONT", func(c *cluster.Cluster, v, _ int) func() {
		c.Pause(v)
		return func() { c.Resume(v) }
	}},
	{"mute", "one way: nobody hears it", func(c *cluster.Cluster, v, _ int) func() {
		others(c, v, func(i int) { c.Net.Cut(v, i) })
		return c.Net.Heal
	}},
	{"deaf", "one way: it hears nobody", func(c *cluster.Cluster, v, _ int) func() {
		others(c, v, func(i int) { c.Net.Cut(i, v) })
		return c.Net.Heal
	}},
	{"partial", "cut off from one of its peers", func(c *cluster.Cluster, v, n int) func() {
		c.Net.CutBoth(v, (v+1+n%(c.Size()-1))%c.Size())
		return c.Net.Heal
	}},
	{"slow-disk", "its syncs take longer", func(c *cluster.Cluster, v, _ int) func() {
		c.SlowDisk(v, *slowSync)
		return func() { c.SlowDisk(v, 0) }
	}},
}

func faultNames() (out []string) {
	for _, f := range faults {
		out = append(out, f.name)
	}
	return out
}

func others(c *cluster.Cluster, v int, f func(int)) {
	for i := range c.Size() {
		if i != v {
			f(i)
		}
	}
}

// patience of the clients: as long as one waits for a node before it turns to another.
const patience = 2 * time.Second

// showFaults does each fault to the node that leads most, under 100 connections.
func showFaults(t *testing.T) {
	want := strings.Split(*kinds, ",")
	for _, k := range want {
		require.Contains(t, faultNames(), k, "a fault")
	}
	s := startShow(t, 3, cluster.WithNetwork(), cluster.WithDisks())
	const rows, parts = 20_000, 24
	s.exec("create table accounts (id bigint primary key, v bigint not null)", fmt.Sprintf("insert into accounts select g, 0 from generate_series(0, %d) g", rows-1),
		fmt.Sprintf("select pamir.split_at('accounts', g * %d) from generate_series(0, %d) g", rows/parts, parts-1))
	s.rest(5 * time.Second)
	w := startTraffic(*clients, s.dsns(), 200*time.Millisecond, patience, *faultTime+time.Second, func(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error {
		at := rng.Int64N(rows)
		if rng.IntN(2) == 0 {
			var v int64
			return conn.QueryRow(ctx, "select v from accounts where id = $1", at).Scan(&v)
		}
		_, err := conn.Exec(ctx, "update accounts set v = v + 1 where id = $1", at)
		return err
	})
	defer w.stop()
	pause(context.Background(), 5*time.Second)
	say("faults: %d connections, half reads and half updates of single rows of %d ranges, %s a fault", *clients, parts, *faultTime)
	var lines [][]string
	line := func(name string, all, elsewhere []time.Duration, rest ...string) {
		sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
		lines = append(lines, append([]string{name, seconds(median(all)), seconds(slices.Max(all)), seconds(median(elsewhere)), seconds(slices.Max(elsewhere))}, rest...))
	}
	from := time.Now()
	pause(context.Background(), *faultTime)
	a, e := w.longest(-1, from, time.Now())
	line("none", []time.Duration{a}, []time.Duration{e}, "")
	for _, f := range faults {
		if !slices.Contains(want, f.name) {
			continue
		}
		var all, elsewhere []time.Duration
		seen := w.errorsSeen()
		for n := range *repeat {
			s.rest(2 * time.Second)
			v, err := s.c.NodeWithMostLeaders()
			require.NoError(t, err)
			from := time.Now()
			undo := f.do(s.c, v, n)
			pause(context.Background(), *faultTime)
			undo()
			s.c.WaitReady()
			pause(context.Background(), 2*time.Second)
			a, e := w.longest(v, from, time.Now())
			say("%s, node %d: the longest stall of any client %s, of those at other nodes %s", f.name, v+1, seconds(a), seconds(e))
			all, elsewhere = append(all, a), append(elsewhere, e)
		}
		line(f.name+": "+f.what, all, elsewhere, difference(seen, w.errorsSeen()))
	}
	w.stop()
	table(fmt.Sprintf("The longest stall of a client, %d times each (clients hang up after %s)", *repeat, patience), "fault|p50|max|p50, at other nodes|max|what clients were told", lines)
	s.c.WaitReplicated()
	s.agree()
}

func difference(before, after map[string]int) string {
	var out []string
	for k, n := range after {
		if d := n - before[k]; d > 0 {
			out = append(out, fmt.Sprintf("%d x %s", d, k))
		}
	}
	sort.Strings(out)
	return strings.Join(out, ", ")
}
