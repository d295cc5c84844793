package faults

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// TestRangesMerge fills a table until it is many ranges, and deletes nearly all of it. The ranges merge until none is left that could be one with its
// neighbour, a node that is killed meanwhile holds that up only for as long as it is away, and every row that was kept is there, on all replicas.
func TestRangesMerge(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	const rows, keep = 24_000, 20 // of a kilobyte; every how manieth is kept
	const split = 1 << 20
	t.Setenv("PAMIR_TEST", "1")
	c := cluster.Start(t, 3, cluster.WithFlags("--range-max-bytes", "1MiB", "--range-merge-after", "2s", "--test-gc-after", "2s"))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DSN(0))
	require.NoError(t, err)
	defer closeConn(conn)
	exec := func(q string) {
		_, err := conn.Exec(ctx, q)
		require.NoError(t, err)
	}
	exec("create table t (id int primary key, pad text not null)")
	i := -1
	n, err := conn.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"id", "pad"}, pgx.CopyFromFunc(func() ([]any, error) {
		if i++; i == rows {
			return nil, nil
		}
		return []any{int32(i), fmt.Sprintf("%01000d", i)}, nil
	}))
	require.NoError(t, err)
	require.EqualValues(t, rows, n)
	// ranges counts the table's, and neighbours that are small enough to be one: placement merges what holds no more than two fifths of what is split.
	ranges := func() (all, pairs int) {
		rs, err := c.Ranges(0)
		require.NoError(t, err)
		rs = slices.DeleteFunc(rs, func(r cluster.RangeInfo) bool { return r.Table != "t" })
		for i, r := range rs {
			if r.LeaderNode == 0 || i > 0 && rs[i-1].LeaderNode != 0 && (rs[i-1].Bytes+r.Bytes)*5 <= split*2 {
				pairs++
			}
		}
		return len(rs), pairs
	}
	await := func(what string, ok func(all, pairs int) bool) int {
		for {
			all, pairs := ranges()
			if ok(all, pairs) {
				return all
			}
			select {
			case <-time.After(200 * time.Millisecond):
			case <-ctx.Done():
				for _, path := range []string{"/api/v1/placement", "/api/v1/ranges", "/api/v1/locks"} {
					for i := range 3 {
						b, err := c.Get(i, path)
						t.Logf("node %d, %s: %s %v", i, path, b, err)
					}
				}
				t.Fatalf("%s: there are %d ranges, %d of them could be one with their neighbour", what, all, pairs)
			}
		}
	}
	before := await("splits", func(all, _ int) bool { return all >= 15 })
	c.WaitReplicated()
	exec(fmt.Sprintf("delete from t where id %% %d <> 0", keep))
	await("the first merges", func(all, _ int) bool { return all < before })
	c.Kill(2)
	time.Sleep(time.Second)
	c.Restart(2)
	c.WaitReady(2)
	after := await("merges", func(all, pairs int) bool { return pairs == 0 && all < before/2 })
	var count, sum int64
	require.NoError(t, conn.QueryRow(ctx, "select count(*), sum(id) from t where length(pad) = 1000 and pad::int = id").Scan(&count, &sum))
	require.EqualValues(t, rows/keep, count)
	require.EqualValues(t, keep*(rows/keep)*(rows/keep-1)/2, sum)
	c.WaitReplicated()
	agree(t, c)
	merged := 0.0
	for i := range 3 {
		merged += c.Metrics(i)["pamir_range_merges_total"]
	}
	t.Logf("%d ranges before, %d after; replicas absorbed: %.0f", before, after, merged)
}
