package admin

import (
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/tests/cluster"
)

// What an operator asks right after having done something is answered as of then; what makes no sense is not answered with NULL.
func TestAskedRightAfter(t *testing.T) {
	l := cluster.StartLocal(t, 1, nil)
	h := apiOf(t, l.Nodes[0])
	conn := connect(t, l.Nodes[0])
	exec := func(q string) {
		t.Helper()
		_, err := conn.Exec(t.Context(), q)
		require.NoError(t, err, q)
	}
	for range 3 {
		exec(`SELECT pamir.pause_rebalancing()`)
		require.True(t, get[admin.PlacementView](h, "/placement").Paused)
		require.True(t, get[admin.ClusterView](h, "/cluster").Paused)
		exec(`SELECT pamir.resume_rebalancing()`)
		require.False(t, get[admin.PlacementView](h, "/placement").Paused)
	}

	exec(`CREATE TABLE t (a text, b int, PRIMARY KEY (a, b))`)
	for _, q := range []string{`SELECT pamir.split_at('t', NULL)`, `SELECT pamir.split_at(NULL, 'x')`, `SELECT pamir.split_at('t', 'x', NULL)`, `SELECT pamir.merge_at('t', NULL)`} {
		_, err := conn.Exec(t.Context(), q)
		var pe *pgconn.PgError
		require.ErrorAs(t, err, &pe, q)
		require.Equal(t, "22004", pe.Code, q)
	}

	// A cut at the first of two columns is shown by what it is at.
	exec(`SELECT pamir.split_at('t', 'm')`)
	exec(`SELECT pamir.split_at('t', 'm', 5)`)
	var starts []string
	rows, err := conn.Query(t.Context(), `SELECT start_key FROM pamir.ranges WHERE table_name = 't' ORDER BY start_key`)
	require.NoError(t, err)
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		starts = append(starts, s)
	}
	require.NoError(t, rows.Err())
	require.Contains(t, starts, "/t/t_pkey/m")
	require.Contains(t, starts, "/t/t_pkey/m/5")
	require.Equal(t, 1, len(get[admin.RangeList](h, "/ranges?table=t&key=m&key=4").Ranges))

	// A table is found in the ranges that it shares, too.
	exec(`CREATE SCHEMA other`)
	exec(`CREATE TABLE other.small (a int)`)
	var shared, first string
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) || ' ' || max(start_key), max(tables::text) FROM pamir.ranges WHERE 'other.small' = ANY (tables)`).Scan(&shared, &first))
	require.Equal(t, "1 /t/t_pkey/m/5", shared)
	require.Equal(t, []string{"t", "other.small"}, get[admin.RangeList](h, "/ranges?table=other.small").Ranges[0].Tables)

	// The cluster and its stores are told of in SQL as over HTTP.
	var nodes int64
	var capacity *int64 // of a disk in memory nobody knows it
	var problems *string
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT nodes, problems FROM pamir.cluster`).Scan(&nodes, &problems))
	require.EqualValues(t, 1, nodes)
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT capacity_bytes FROM pamir.stores`).Scan(&capacity))
	st := get[admin.StoreList](h, "/stores").Stores[0]
	require.Equal(t, st.Capacity == 0, capacity == nil)
	require.Equal(t, len(st.Problems) == 0, problems == nil, "%v", st.Problems)
	require.Equal(t, "{t,other.small}", first)

	var states []string
	rows, err = conn.Query(t.Context(), `SELECT DISTINCT state FROM pamir.ranges`)
	require.NoError(t, err)
	for rows.Next() {
		var s string
		require.NoError(t, rows.Scan(&s))
		states = append(states, s)
	}
	require.NoError(t, rows.Err())
	require.Equal(t, []string{"ok"}, states)

	// Tables are named as people and programs name them; arrays in keys can be read.
	exec(`CREATE TABLE arrays (a text[] PRIMARY KEY)`)
	exec(`SELECT pamir.split_at('defaultdb.public.arrays', '{x,NULL,"y z"}')`)
	exec(`SELECT pamir.split_at('arrays'::regclass, ARRAY['zz'])`)
	exec(`SELECT pamir.merge_at('arrays'::regclass, ARRAY['zz'])`)
	_, err = conn.Exec(t.Context(), `SELECT pamir.split_at('elsewhere.public.arrays', '{}')`)
	require.ErrorContains(t, err, "cross-database references are not implemented")
	var key string
	require.NoError(t, conn.QueryRow(t.Context(), `SELECT start_key FROM pamir.ranges WHERE start_key LIKE '/arrays/%{%'`).Scan(&key))
	require.Equal(t, `/arrays/arrays_pkey/{x,NULL,"y z"}`, key)
}
