package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/recovery"
	"github.com/pamirdb/pamir/tests/cluster"
)

// pamir runs the binary to its end.
func pamir(t *testing.T, stdin string, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, cluster.Binary(t), args...)
	cmd.Stdin = strings.NewReader(stdin)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// TestLostMajority loses two of three stores for good. What is left is planned, looked at, and goes on: every row that the last store had is
// there, new nodes get replicas, and a lost store that turns up after all is kept out.
func TestLostMajority(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	c := cluster.Start(t, 3)
	for _, q := range []string{
		"create table kept (id int primary key, v text not null)",
		"create table other (id int primary key)",
		"create index on kept (v)",
		"insert into kept select g, 'row ' || g from generate_series(1, 5000) g",
		"insert into other select generate_series(1, 100)",
		"select pamir.split_at('kept', 1000), pamir.split_at('kept', 3000)",
	} {
		require.NoError(t, c.Exec(0, q), q)
	}
	c.WaitReplicated()
	require.NoError(t, c.Exec(1, "update kept set v = 'later ' || id where id % 10 = 0"))
	agree(t, c) // on all replicas: the one that will be left has it, too

	dir := t.TempDir()
	plan := filepath.Join(dir, "plan")
	out, err := pamir(t, "", "debug", "recover", "plan", "--out", plan, "--store", c.Dir(0))
	require.Error(t, err)
	require.Contains(t, out, "in use by another process", "a store that runs is not looked at")

	c.KillAll()
	out, err = pamir(t, "", "debug", "recover", "plan", "--out", plan, "--store", c.Dir(0), "--store", c.Dir(1))
	require.Error(t, err)
	require.Contains(t, out, "every range has a majority")
	out, err = pamir(t, "", "debug", "recover", "plan", "--out", plan, "--store", c.Dir(0), "--store", c.Dir(0))
	require.Error(t, err)
	require.Contains(t, out, "there twice")

	facts := filepath.Join(dir, "facts")
	out, err = pamir(t, "", "debug", "recover", "collect", "--store", c.Dir(0), "--out", facts)
	require.NoError(t, err, out)
	out, err = pamir(t, "", "debug", "recover", "plan", "--out", plan, facts)
	require.NoError(t, err, out)
	t.Log("\n" + out)
	for _, want := range []string{"left: n1/s1", "lost: n2/s2, n3/s3", "0 ranges have a majority", "tables     kept", "/kept/kept_pkey/1000 to /kept/kept_pkey/3000", "addresses of ranges", "catalog", "goes on    on s1", "complete up to"} {
		require.Contains(t, out, want)
	}
	out, err = pamir(t, "no\n", "debug", "recover", "apply", "--plan", plan, "--store", c.Dir(0))
	require.Error(t, err)
	require.Contains(t, out, "nothing was changed")
	out, err = pamir(t, "", "debug", "recover", "apply", "--plan", plan, "--store", c.Dir(1), "--yes")
	require.Error(t, err)
	require.Contains(t, out, "was made without store 2")
	out, err = pamir(t, "yes\n", "debug", "recover", "apply", "--plan", plan, "--store", c.Dir(0))
	require.NoError(t, err, out)
	out, err = pamir(t, "", "debug", "recover", "apply", "--plan", plan, "--store", c.Dir(0), "--yes")
	require.NoError(t, err, out)
	require.Contains(t, out, "was carried out on this store before")

	began := time.Now()
	c.Restart(0)
	c.WaitReady(0)
	t.Logf("one node serves again %s after its start", time.Since(began).Round(10*time.Millisecond))
	conn, err := pgx.Connect(context.Background(), c.DSN(0))
	require.NoError(t, err)
	defer closeConn(conn)
	var rows, later, others, byIndex int
	require.NoError(t, conn.QueryRow(context.Background(), `select count(*), count(*) filter (where v like 'later%'), (select count(*) from other),
		(select count(*) from kept where v > 'row 3' and v < 'row 4') from kept`).Scan(&rows, &later, &others, &byIndex))
	require.Equal(t, []int{5000, 100}, []int{rows, others})
	require.Equal(t, 500, later, "store 1 was not behind")
	require.Positive(t, byIndex)
	require.NoError(t, c.Exec(0, "insert into other values (101)"))

	// A lost store after all. It does not become part of anything, and new nodes are not taken for it.
	c.Restart(1)
	for range 2 {
		i := c.Add()
		id, err := c.NodeID(i)
		require.NoError(t, err)
		require.Greater(t, id, int32(3), "the id of a lost node was given again")
	}
	var ready error
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		_, ready = c.Get(1, "/ready")
		require.Error(t, ready, "a lost store serves")
	}
	c.Kill(1)
	replicated(t, c, 0)
	require.NoError(t, c.Exec(3, "insert into other values (102)"))
	var sums struct {
		Ranges []struct {
			ID        int64             `json:"range_id"`
			Checksums map[string]string `json:"by_store"`
		} `json:"ranges"`
	}
	raw, err := c.Get(0, "/api/v1/checksums")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &sums))
	require.NotEmpty(t, sums.Ranges)
	for _, r := range sums.Ranges {
		distinct := map[string]bool{}
		for _, s := range r.Checksums {
			distinct[s] = true
		}
		require.Len(t, distinct, 1, "range %d", r.ID)
	}
	out, err = pamir(t, "", "start", "--store", c.Dir(1), "--join", c.RPCAddr(0), "--rpc-addr", "127.0.0.1:0", "--sql-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0")
	require.Error(t, err)
	require.Contains(t, out, "belongs to cluster")
	require.NoError(t, os.RemoveAll(c.Dir(1)))
}

// replicated waits until every range has three voters on nodes that live.
func replicated(t *testing.T, c *cluster.Cluster, at int) {
	t.Helper()
	var last error
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		rs, err := c.Ranges(at)
		if last = err; err != nil {
			continue
		}
		for _, r := range rs {
			if len(r.Replicas) != 3 || r.LeaderNode == 0 {
				last = fmt.Errorf("%+v", r)
			}
			for _, p := range r.Replicas {
				if p.NodeID == 2 || p.NodeID == 3 {
					last = fmt.Errorf("range %d is on lost node %d", r.ID, p.NodeID)
				}
			}
		}
		if last == nil {
			return
		}
	}
	t.Fatalf("not replicated: %v", last)
}

// Of five replicas two survive, and one of these has not heard of anything for a while: the other one goes on, with what was written last.
func TestLostMajorityChoosesTheLongestLog(t *testing.T) {
	l := cluster.StartLocal(t, 5, func(_ int, c *node.Config) { c.DeadAfter = 5 * time.Minute })
	ctx := context.Background()
	conn := l.Connect(0)
	exec := func(conn *pgx.Conn, q string) {
		t.Helper()
		_, err := conn.Exec(ctx, q)
		require.NoError(t, err, q)
	}
	exec(conn, "create table t (id int primary key)")
	exec(conn, "select pamir.set_rule('num_replicas', '5')")
	l.WaitReplicated(5)
	exec(conn, "insert into t select generate_series(1, 10)")
	// Node 5 hears nothing more.
	for i := range 4 {
		l.Net.CutBoth(l.Nodes[i].Identity().NodeID, l.Nodes[4].Identity().NodeID)
	}
	exec(conn, "insert into t select generate_series(11, 20)")
	exec(conn, "select pamir.split_at('t', 15)")
	exec(conn, "insert into t select generate_series(21, 30)")
	// Node 4 has everything before all of them go.
	four := l.Nodes[3].Identity()
	l.Eventually(30*time.Second, "node 4 has it all", func() error {
		last := map[kv.RangeID]uint64{}
		for _, n := range l.Nodes[:3] {
			for _, r := range n.Replicas() {
				last[r.RangeID] = max(last[r.RangeID], r.Last)
			}
		}
		for _, r := range l.Nodes[3].Replicas() {
			if r.Last < last[r.RangeID] {
				return errors.New("behind")
			}
			delete(last, r.RangeID)
		}
		if len(last) > 0 {
			return fmt.Errorf("without %v", last)
		}
		return nil
	})
	for i := range 5 {
		l.Crash(i, vfs.CrashCloneCfg{})
	}
	log := slog.New(slog.DiscardHandler)
	var facts []*recovery.Facts
	for _, i := range []int{4, 3} {
		f, err := recovery.Collect(l.FS[i], "store", log)
		require.NoError(t, err)
		facts = append(facts, f)
	}
	p, err := recovery.Make(facts)
	require.NoError(t, err)
	require.Zero(t, p.Healthy)
	require.Empty(t, p.Gone)
	require.Len(t, p.Lost, 3)
	for _, r := range p.Ranges {
		require.EqualValues(t, four.NodeID, r.Store, "%+v", r)
	}
	require.Len(t, p.Ranges, 4)
	for _, i := range []int{3, 4} {
		done, err := recovery.Apply(ctx, l.FS[i], "store", p, node.DefaultMaxOffset, log)
		require.NoError(t, err)
		require.False(t, done.Before)
		again, err := recovery.Apply(ctx, l.FS[i], "store", p, node.DefaultMaxOffset, log)
		require.NoError(t, err)
		require.True(t, again.Before)
	}
	l.Net.Heal()
	l.Restart(3)
	l.Restart(4)
	conn = l.Connect(4)
	var n, sum int
	require.NoError(t, conn.QueryRow(ctx, "select count(*), sum(id) from t").Scan(&n, &sum))
	require.Equal(t, []int{30, 465}, []int{n, sum})
	exec(conn, "insert into t values (31)")
	l.Eventually(60*time.Second, "what node 5 had is gone or new", func() error {
		for _, r := range l.Nodes[4].Replicas() {
			if r.ReplicaID < 1000 {
				return fmt.Errorf("%+v", r)
			}
		}
		return nil
	})
}
