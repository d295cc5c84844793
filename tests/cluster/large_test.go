package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Transactions that are larger than the memory they may take: over three processes and several ranges, with savepoints,
// beside readers, rolled back, and with their gateway killed.
func TestLargeTransactions(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	const rows = 12_000
	c := Start(t, 3, WithFlags("--txn-buffer", "1MiB"))
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	db, other := c.Open(0), c.Open(1)
	run := func(q interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
	}, s string, args ...any) {
		t.Helper()
		_, err := q.ExecContext(ctx, s, args...)
		require.NoError(t, err, s)
	}
	type querier interface {
		QueryRowContext(context.Context, string, ...any) *sql.Row
	}
	sum := func(q querier) (n, k int64) {
		t.Helper()
		require.NoError(t, q.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(k), 0) FROM big").Scan(&n, &k))
		return n, k
	}
	run(db, "CREATE TABLE big (id int PRIMARY KEY, k int NOT NULL, v text)")
	run(db, "CREATE INDEX ON big (k)")
	run(db, fmt.Sprintf("SELECT pamir.split_at('big', %d)", rows/2))
	run(db, "INSERT INTO big SELECT i, 0, repeat('x', 100) FROM generate_series(1, $1) i", rows)
	require.Greater(t, c.Metrics(0)["pamir_txn_commits_open_total"], 0.0, "nothing went ahead of a commit")

	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	run(tx, "UPDATE big SET k = k + 1")
	n, k := sum(tx)
	require.EqualValues(t, []int64{rows, rows}, []int64{n, k}, "its own writes")
	run(tx, "SAVEPOINT s")
	run(tx, "DELETE FROM big WHERE id % 2 = 0")
	run(tx, "UPDATE big SET k = k + 10")
	n, k = sum(tx)
	require.EqualValues(t, []int64{rows / 2, rows / 2 * 11}, []int64{n, k})
	n, k = sum(other) // does not wait
	require.EqualValues(t, []int64{rows, 0}, []int64{n, k}, "what is not committed")
	run(tx, "ROLLBACK TO s")
	n, k = sum(tx)
	require.EqualValues(t, []int64{rows, rows}, []int64{n, k}, "what was taken back")
	run(tx, "UPDATE big SET k = 5 WHERE id <= 10")
	require.NoError(t, tx.Commit())
	const after = rows - 10 + 50
	n, k = sum(other)
	require.EqualValues(t, []int64{rows, after}, []int64{n, k})

	tx, err = db.BeginTx(ctx, nil)
	require.NoError(t, err)
	run(tx, "DELETE FROM big")
	require.NoError(t, tx.Rollback())
	n, k = sum(other)
	require.EqualValues(t, []int64{rows, after}, []int64{n, k})

	// Somebody else's row in the way of the whole: a duplicate far down an INSERT ... SELECT.
	_, err = db.ExecContext(ctx, "INSERT INTO big SELECT i, 1, 'new' FROM generate_series($1::int, 1, -1) i", 2*rows)
	require.ErrorContains(t, err, "23505")
	n, _ = sum(other)
	require.EqualValues(t, rows, n)

	// The gateway dies in the middle. Nobody comes by: the ranges clean up by themselves.
	tx, err = db.BeginTx(ctx, nil)
	require.NoError(t, err)
	run(tx, "UPDATE big SET k = k + 100")
	c.Kill(0)
	_ = tx.Rollback() // its connection is gone
	n, k = sum(other)
	require.EqualValues(t, []int64{rows, after}, []int64{n, k})
	c.eventually("abandoned locks are swept", func() error {
		left := int64(0)
		ranges, err := c.Ranges(1)
		if err != nil {
			return err
		}
		for _, r := range ranges {
			left += r.Locks
		}
		if left > 0 {
			return fmt.Errorf("%v locks are left", left)
		}
		return nil
	})
}

// A large transaction validates the catalog's version when it commits. That others' statistics have changed it since is no reason to run the whole again.
func TestLargeCommitBesideAnalyze(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	c := Start(t, 1)
	ctx := t.Context()
	db := c.Open(0)
	run := func(q interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
	}, s string) {
		t.Helper()
		_, err := q.ExecContext(ctx, s)
		require.NoError(t, err, s)
	}
	run(db, "CREATE TABLE big (id int PRIMARY KEY, v text)")
	run(db, "CREATE TABLE small (id int PRIMARY KEY)")
	tx, err := db.BeginTx(ctx, nil)
	require.NoError(t, err)
	run(tx, "INSERT INTO big SELECT i, repeat('x', 30000) FROM generate_series(1, 1000) i") // more than 24 MiB
	before := c.Metrics(0)["pamir_sql_retries_total"]
	run(db, "ANALYZE small")
	require.NoError(t, tx.Commit())
	require.Equal(t, before, c.Metrics(0)["pamir_sql_retries_total"], "it was run again")
}
