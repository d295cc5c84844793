package admin

import (
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/tests/cluster"
)

// Whichever node is asked tells of the locks and replicas of all of them, and of those that do not answer.
func TestLocksAndReplicasOfAllNodes(t *testing.T) {
	l := cluster.StartLocal(t, 3, cluster.LongSupportLocal)
	l.WaitReplicated(3)
	holder, waiter := connect(t, l.Nodes[1]), connect(t, l.Nodes[2])
	ctx := t.Context()
	_, err := holder.Exec(ctx, "CREATE TABLE t (a int8 PRIMARY KEY); CREATE TABLE u (a int8 PRIMARY KEY); INSERT INTO t VALUES (1), (2); INSERT INTO u VALUES (3)")
	require.NoError(t, err)
	tx, err := holder.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, "SELECT FROM t FOR UPDATE; SELECT FROM u FOR UPDATE")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() {
		_, err := waiter.Exec(ctx, "DELETE FROM t WHERE a = 2")
		ended <- err
	}()
	lockOf := func(h *api, query string) (out []string) {
		v := get[node.LocksView](h, "/locks"+query)
		require.Empty(t, v.Problem)
		for _, k := range v.Locks {
			require.Positive(t, k.RangeID)
			require.Positive(t, k.NodeID)
			out = append(out, fmt.Sprintf("%s %s by %d %v", k.Key, k.Strength, k.Gateway, k.Granted))
		}
		return out
	}
	h, w := l.Nodes[1].Identity().NodeID, l.Nodes[2].Identity().NodeID
	for _, n := range l.Nodes {
		a := apiOf(t, n)
		of := []string{fmt.Sprintf("/t/t_pkey/1 update by %d true", h), fmt.Sprintf("/t/t_pkey/2 update by %d true", h), fmt.Sprintf("/t/t_pkey/2 update by %d false", w)}
		require.Eventually(t, func() bool { return len(lockOf(a, "?table=t")) == 3 }, 30*time.Second, 10*time.Millisecond)
		require.Equal(t, of, lockOf(a, "?table=t"))
		require.Equal(t, append(of, fmt.Sprintf("/u/u_pkey/3 update by %d true", h)), lockOf(a, ""))
		require.Equal(t, of[2:], lockOf(a, "?waiting=true"))
		require.Equal(t, of[:1], lockOf(a, "?limit=1"))
		led := 0
		for _, o := range l.Nodes {
			led += len(lockOf(a, fmt.Sprintf("?node=%d", o.Identity().NodeID)))
		}
		require.Equal(t, 4, led)
		require.Equal(t, 404, a.send("GET", "/locks?range_id=999", "").status)
		require.Equal(t, 404, a.send("GET", "/locks?node=9", "").status)

		of3 := get[node.ReplicaList](a, "/replicas?range_id=1").Replicas
		require.Len(t, of3, 3)
		for i, r := range of3 {
			require.Equal(t, of3[0].LeaderNode, r.LeaderNode, "%d", i)
			require.Equal(t, r.NodeID == r.LeaderNode, r.Leader)
		}
		require.Len(t, get[node.ReplicaList](a, "/replicas?node=2&range_id=1").Replicas, 1)
		require.Empty(t, get[node.ReplicaList](a, "/replicas?stopped=true").Replicas)
		require.Equal(t, 404, a.send("GET", "/replicas?range_id=999", "").status)
	}
	var same, all int
	require.NoError(t, connect(t, l.Nodes[0]).QueryRow(ctx, "SELECT count(*) FILTER (WHERE agree AND start_key LIKE '/%'), count(*) FROM pamir.checksums()").Scan(&same, &all))
	require.Equal(t, all, same)
	require.Positive(t, all)
	require.NoError(t, tx.Rollback(ctx))
	require.NoError(t, <-ended)
	for _, c := range []*pgx.Conn{holder, waiter} {
		require.NoError(t, c.Close(ctx))
	}

	l.Stop(2, false)
	a := apiOf(t, l.Nodes[0])
	missing := fmt.Sprintf("n%d does not answer", w)
	l.Eventually(60*time.Second, "missing", func() error {
		v, r := get[node.LocksView](a, "/locks"), get[node.ReplicaList](a, "/replicas")
		if v.Problem != missing || r.Problem != missing || len(r.Replicas) == 0 {
			return fmt.Errorf("%q %q", v.Problem, r.Problem)
		}
		return nil
	})
}
