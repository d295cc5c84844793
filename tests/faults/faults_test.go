package faults

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

var (
	rounds  = flag.Int("rounds", 1, "how often every node is killed")
	clients = flag.Int("clients", 8, "connections of the load")
	scale   = flag.Int("scale", 1, "pgbench scale of the data")
)

// load fills the TPC-B tables without pgbench, so that the tests need no PostgreSQL.
func load(t *testing.T, dsn string, scale int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer closeConn(conn)
	for _, q := range []string{
		"create table pgbench_branches (bid int not null primary key, bbalance int, filler char(88))",
		"create table pgbench_tellers (tid int not null primary key, bid int, tbalance int, filler char(84))",
		"create table pgbench_accounts (aid int not null primary key, bid int, abalance int, filler char(84))",
		"create table pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))",
		fmt.Sprintf("insert into pgbench_branches (bid, bbalance) select g, 0 from generate_series(1, %d) g", scale),
		fmt.Sprintf("insert into pgbench_tellers (tid, bid, tbalance) select g, (g - 1) / 10 + 1, 0 from generate_series(1, %d) g", 10*scale),
	} {
		_, err := conn.Exec(ctx, q)
		require.NoError(t, err, q)
	}
	const step = 10_000
	for from := 1; from <= 100_000*scale; from += step {
		q := fmt.Sprintf("insert into pgbench_accounts (aid, bid, abalance, filler) select g, (g - 1) / 100000 + 1, 0, '' from generate_series(%d, %d) g", from, from+step-1)
		_, err := conn.Exec(ctx, q)
		require.NoError(t, err, q)
	}
}

// verify checks the books and the replicas, with the load stopped and all nodes up.
func verify(t *testing.T, c *cluster.Cluster, l *Load) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	v, err := l.Verify(ctx, c.DSN(0))
	require.NoError(t, err)
	t.Log(v)
	require.Empty(t, v.Problems)
	require.Positive(t, v.Acked)
	agree(t, c)
}

// agree compares the replicas of all ranges.
func agree(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	var sums struct {
		Ranges []struct {
			ID        int64             `json:"range_id"`
			Checksums map[string]string `json:"by_store"`
		} `json:"ranges"`
	}
	// A replica that is behind has no answer in time: ask again until every one has.
	deadline := time.Now().Add(time.Minute)
	for {
		raw, err := c.Get(0, "/api/v1/checksums")
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(raw, &sums), "%s", raw)
		require.NotEmpty(t, sums.Ranges)
		complete := true
		for _, r := range sums.Ranges {
			distinct := map[string]bool{}
			for _, s := range r.Checksums {
				distinct[s] = true
			}
			require.LessOrEqual(t, len(distinct), 1, "replicas of range %d differ: %v", r.ID, r.Checksums)
			complete = complete && len(r.Checksums) >= min(c.Size(), 3)
		}
		if complete {
			t.Logf("checksums of %d ranges agree on all replicas", len(sums.Ranges))
			return
		}
		require.True(t, time.Now().Before(deadline), "not every replica answered: %s", raw)
		time.Sleep(time.Second)
	}
}

func report(t *testing.T, l *Load) {
	errs := l.Errors()
	kinds := make([]string, 0, len(errs))
	for k := range errs {
		kinds = append(kinds, k)
	}
	sort.Strings(kinds)
	for _, k := range kinds {
		t.Logf("clients saw %5d x %s", errs[k], k)
		if strings.HasPrefix(k, "40P01") {
			t.Errorf("TPC-B takes its locks in one order, and a client saw a deadlock: %s", k)
		}
	}
}

// running starts the load; stop ends it and waits.
func running(l *Load, n int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx, n) }()
	return func() { cancel(); <-done }
}

// underLoad starts three nodes with the data on all of them, and the load. The load ends before the nodes do.
func underLoad(t *testing.T, opts ...cluster.Option) (c *cluster.Cluster, l *Load, stop func()) {
	t.Helper()
	c = cluster.Start(t, 3, opts...)
	load(t, c.DSN(0), *scale)
	c.WaitReplicated()
	l = NewLoad(dsns(c), *scale)
	stop = running(l, *clients)
	t.Cleanup(stop)
	return c, l, stop
}

func dsns(c *cluster.Cluster) []string {
	var all []string
	for i := range c.Size() {
		all = append(all, c.DSN(i))
	}
	return all
}

// TestKillEachNode kills every node in turn under TPC-B, the one that leads most ranges first.
func TestKillEachNode(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	c, l, stop := underLoad(t)
	time.Sleep(2 * time.Second)

	for round := range *rounds {
		first, err := c.NodeWithMostLeaders()
		require.NoError(t, err)
		for k := range c.Size() {
			victim := (first + k) % c.Size()
			killed := time.Now()
			c.Kill(victim)
			time.Sleep(4 * time.Second)
			t.Logf("round %d: node %d killed at %s: longest stall of a client %s", round+1, victim+1,
				killed.UTC().Format("15:04:05.000"), l.LongestStall(killed, time.Now()))
			c.Restart(victim)
			c.WaitReady(victim)
			c.WaitReplicated()
			time.Sleep(time.Second)
		}
	}
	stop()
	report(t, l)
	verify(t, c, l)
}

// TestKillAll kills all nodes at once in the middle of the load: nothing acknowledged may be lost.
func TestKillAll(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	c, l, stop := underLoad(t)
	for range *rounds {
		time.Sleep(3 * time.Second)
		c.KillAll()
		time.Sleep(200 * time.Millisecond)
		down := time.Now()
		for i := range c.Size() {
			c.Restart(i)
		}
		c.WaitReady(0, 1, 2)
		t.Logf("all killed: ready again %s after the restart", time.Since(down).Round(10*time.Millisecond))
		time.Sleep(2 * time.Second)
	}
	stop()
	report(t, l)
	verify(t, c, l)
}

// TestPausedNode stops the node with most leaders for longer than any promise, and lets it go on.
func TestPausedNode(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	c, l, stop := underLoad(t)
	for range *rounds {
		time.Sleep(2 * time.Second)
		victim, err := c.NodeWithMostLeaders()
		require.NoError(t, err)
		paused := time.Now()
		c.Pause(victim)
		time.Sleep(4 * time.Second)
		c.Resume(victim)
		time.Sleep(2 * time.Second)
		t.Logf("node %d paused for 4 s: longest stall of a client elsewhere %s; of any client %s", victim+1,
			l.LongestStallElsewhere(victim, paused, time.Now()), l.LongestStall(paused, time.Now()))
	}
	stop()
	report(t, l)
	verify(t, c, l)
}

// TestSplitUnderLoad splits the accounts at four keys while TPC-B runs: no client may see an error,
// and commits over several ranges must have been acknowledged after one round of consensus. Leaders are not lost meanwhile: that is what other tests are about.
func TestSplitUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes ten seconds")
	}
	c := cluster.Start(t, 3, cluster.WithLongSupport())
	load(t, c.DSN(0), *scale)
	c.WaitReplicated()
	before, err := c.Ranges(0)
	require.NoError(t, err)
	l := NewLoad(dsns(c), *scale)
	stop := running(l, *clients)
	defer stop()
	time.Sleep(time.Second)
	for i := 1; i <= 4; i++ {
		require.NoError(t, c.Exec(i%3, fmt.Sprintf("select pamir.split_at('pgbench_accounts', %d)", i*20_000*(*scale))))
		time.Sleep(500 * time.Millisecond)
	}
	time.Sleep(2 * time.Second)
	stop()
	report(t, l)
	require.Empty(t, l.Errors(), "splits must be invisible to clients")
	after, err := c.Ranges(0)
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(after), len(before)+4)
	var oneRound, twoRounds float64
	for i := range c.Size() {
		m := c.Metrics(i)
		oneRound += m["pamir_txn_commits_one_round_total"]
		twoRounds += m["pamir_txn_commits_two_rounds_total"]
	}
	t.Logf("%d ranges before, %d after; multi-range commits acknowledged after one round: %.0f, after two: %.0f", len(before), len(after), oneRound, twoRounds)
	require.Positive(t, oneRound)
	verify(t, c, l)
}
