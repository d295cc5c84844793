package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// voters waits until every range has three voters, all of them on these nodes (indexes).
func voters(t *testing.T, c *cluster.Cluster, on ...int) {
	t.Helper()
	var ids []int32
	for _, i := range on {
		id, err := c.NodeID(i)
		require.NoError(t, err)
		ids = append(ids, id)
	}
	began := time.Now()
	var last error
	for time.Since(began) < time.Minute {
		rs, err := c.Ranges(on[0])
		if last = err; err == nil {
			for _, r := range rs {
				if len(r.Replicas) != 3 || r.LeaderNode == 0 {
					last = fmt.Errorf("%+v", r)
				}
				for _, p := range r.Replicas {
					if !slices.Contains(ids, p.NodeID) || p.Type != "voter" {
						last = fmt.Errorf("%+v", r)
					}
				}
			}
		}
		if last == nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("not all voters are on %v: %v", ids, last)
}

// TestDeadStoreIsReplaced kills a node and burns its disk. After --dead-after its replicas are made anew on a node that has room, under load and
// without an error beyond that of the connections that died; an empty store in its place is a new node.
func TestDeadStoreIsReplaced(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	const deadAfter = 3 * time.Second
	c := cluster.Start(t, 4, cluster.WithFlags("--dead-after", deadAfter.String()))
	load(t, c.DSN(0), *scale)
	c.WaitReplicated()
	const dead = 1
	l := NewLoad([]string{c.DSN(0), c.DSN(2), c.DSN(3)}, *scale)
	stop := running(l, 4)
	t.Cleanup(stop)
	time.Sleep(time.Second)
	killed := time.Now() // its end may take a while to be seen here, and counts from before that
	c.Kill(dead)
	require.NoError(t, os.RemoveAll(c.Dir(dead)))
	voters(t, c, 0, 2, 3)
	took := time.Since(killed)
	t.Logf("replicas of the dead store are made anew %s after its death, with --dead-after %s", took.Round(100*time.Millisecond), deadAfter)
	require.GreaterOrEqual(t, took, deadAfter-time.Second, "it was given up too early")
	time.Sleep(time.Second)
	stop()
	report(t, l)
	require.Empty(t, l.Errors(), "clients of the others")

	i := c.Add()
	id, err := c.NodeID(i)
	require.NoError(t, err)
	require.EqualValues(t, 5, id)
	verify(t, c, l)
}

// TestForeignStore starts a node whose store is of another cluster than that of --join: it says so and changes nothing. Without --join
// it goes on with its own cluster.
func TestForeignStore(t *testing.T) {
	a, b := cluster.Start(t, 1), cluster.Start(t, 1)
	require.NoError(t, b.Exec(0, "create table mine (a int primary key)"))
	require.Zero(t, b.Stop(0))
	free := []string{"--rpc-addr", "127.0.0.1:0", "--sql-addr", "127.0.0.1:0", "--http-addr", "127.0.0.1:0"}
	out, err := pamir(t, "", append([]string{"start", "--store", b.Dir(0), "--join", a.RPCAddr(0)}, free...)...)
	require.Error(t, err)
	require.Contains(t, out, "belongs to cluster")
	require.Contains(t, out, "join with an empty store, or start this one without --join")
	b.Restart(0)
	b.WaitReady(0)
	require.NoError(t, b.Exec(0, "insert into mine values (1)"))
	var nodes struct {
		Nodes []struct {
			ID int32 `json:"node_id"`
		} `json:"nodes"`
	}
	require.NoError(t, a.API(0, "/api/v1/nodes", &nodes))
	require.LessOrEqual(t, len(nodes.Nodes), 1, "%+v", nodes)
}

// TestDamagedTable damages a file of one store of three. The store notices, says so loudly, and gives no wrong answer: what it cannot read it does
// not serve. The others go on, and clients of all nodes that live get every row.
func TestDamagedTable(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	c := cluster.Start(t, 3, cluster.WithFlags("--cache", "1MiB"))
	const rows = 40_000
	require.NoError(t, c.Exec(0, "create table t (id int primary key, v text not null)"))
	require.NoError(t, c.Exec(0, fmt.Sprintf("insert into t select g, repeat(md5(g::text), 4) from generate_series(1, %d) g", rows)))
	c.WaitReplicated()
	const victim = 2
	require.Zero(t, c.Stop(victim))
	c.Restart(victim) // what was in the log is in tables now
	c.WaitReady(victim)
	c.WaitReplicated()
	require.Zero(t, c.Stop(victim))
	require.NoError(t, damage(c.Dir(victim)))
	c.Restart(victim)

	// Whatever the node does about it, clients of the others see everything.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, i := range []int{0, 1} {
		conn, err := pgx.Connect(ctx, c.DSN(i))
		require.NoError(t, err)
		defer closeConn(conn)
		var n int
		require.NoError(t, conn.QueryRow(ctx, "select count(*) from t where v = repeat(md5(id::text), 4)").Scan(&n))
		require.Equal(t, rows, n)
		_, err = conn.Exec(ctx, "insert into t values ($1, 'new')", rows+1+i)
		require.NoError(t, err)
	}
	// The leader's checksum makes every replica read all that it has. The damaged one finds out, if it has not yet.
	noticed := func() (string, error) {
		if !c.Running(victim) {
			return "the process has ended", nil
		}
		if _, err := c.Get(victim, "/health"); err != nil {
			return "its health says so", nil
		}
		if m := c.Metrics(victim)["pamir_store_stopped"]; m > 0 {
			return "a replica has stopped", nil
		}
		return "", errors.New("nobody has noticed")
	}
	how := ""
	for end := time.Now().Add(40 * time.Second); how == ""; time.Sleep(200 * time.Millisecond) {
		require.True(t, time.Now().Before(end), "the damage was not noticed; log:\n%s", c.Logs(victim, 30))
		_, _ = c.Get(0, "/api/v1/checksums") // a replica that cannot answer is what this is about
		how, _ = noticed()
	}
	t.Logf("noticed: %s; its last words:\n%s", how, c.Logs(victim, 3))
	logs := c.Logs(victim, 200)
	require.Regexp(t, `(?i)corrupt|damaged|checksum`, logs, "it is said loudly")
	if !c.Running(victim) {
		require.Contains(t, logs, "start this node with an empty directory and --join", "and what to do about it")
	}
	for _, i := range []int{0, 1} {
		require.NoError(t, c.Exec(i, fmt.Sprintf("insert into t values (%d, 'newer')", rows+10+i)))
	}
}

// damage overwrites the middle of the largest table file of a store.
func damage(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		return err
	}
	var largest string
	size := int64(0)
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && st.Size() > size {
			largest, size = f, st.Size()
		}
	}
	if size < 100_000 {
		return fmt.Errorf("the largest of %d tables has %d bytes", len(files), size)
	}
	f, err := os.OpenFile(largest, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	garbage := make([]byte, size/2)
	for i := range garbage {
		garbage[i] = byte(i * 37)
	}
	_, err = f.WriteAt(garbage, size/5)
	return errors.Join(err, f.Close())
}
