package admin

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// A merge that cannot be now says so, and why, after a while, and is counted by its reason; later it can.
func TestMergeNotNow(t *testing.T) {
	l := cluster.StartLocal(t, 3, nil)
	l.WaitReplicated(3)
	conn := connect(t, l.Nodes[0])
	_, err := conn.Exec(t.Context(), "CREATE TABLE t (a int8 PRIMARY KEY); INSERT INTO t SELECT g FROM generate_series(1, 300) g")
	require.NoError(t, err)
	var id int64
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT pamir.split_at('t', 100)").Scan(&id))
	l.WaitReplicated(3)
	merge := func(key int64) *pgconn.PgError {
		err := conn.QueryRow(t.Context(), "SELECT pamir.merge_at('t', $1::int8)", key).Scan(&id)
		var e *pgconn.PgError
		if err != nil {
			require.True(t, errors.As(err, &e), "%v", err)
		}
		return e
	}
	refused := func(reason string) (sum float64) {
		for _, n := range l.Nodes {
			if n == nil {
				continue
			}
			_, _, web := n.Addresses()
			resp, err := http.Get("http://" + web + "/metrics")
			require.NoError(t, err)
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, errors.Join(err, resp.Body.Close()))
			_, after, ok := strings.Cut(string(b), `pamir_range_merges_refused_total{reason="`+reason+`"} `)
			require.True(t, ok, "%s", reason)
			v, err := strconv.ParseFloat(strings.Fields(after)[0], 64)
			require.NoError(t, err)
			sum += v
		}
		return sum
	}
	e := merge(50)
	require.NotNil(t, e)
	require.Equal(t, "22023", e.Code, "%s", e.Message)
	for _, q := range []string{"pamir.merge_at('t', 100)", "pamir.split_at('t', 200)", "pamir.pause_rebalancing()", "pamir.set_rule('num_replicas', '3')"} {
		_, err = conn.Exec(t.Context(), "BEGIN READ ONLY; SELECT "+q)
		var ro *pgconn.PgError
		require.True(t, errors.As(err, &ro), "%s: %v", q, err)
		require.Equal(t, "25006", ro.Code, "%s: %s", q, ro.Message)
		_, err = conn.Exec(t.Context(), "ROLLBACK")
		require.NoError(t, err)
	}
	require.Zero(t, refused("behind"))

	l.Stop(2, true)
	e = merge(100)
	require.NotNil(t, e, "a replica that is not there has confirmed")
	require.Equal(t, "55000", e.Code, "%s", e.Message)
	require.Contains(t, e.Detail, "has not caught up")
	require.NotZero(t, refused("behind"))
	var n int
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n))
	require.Equal(t, 300, n)

	l.Restart(2)
	l.Eventually(60*time.Second, "it can be merged", func() error {
		if e := merge(100); e != nil {
			require.Equal(t, "55000", e.Code, "%s", e.Message)
			return e
		}
		return nil
	})
	require.NoError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM t").Scan(&n))
	require.Equal(t, 300, n)
}
