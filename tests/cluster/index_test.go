package cluster

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The node dies on which an index is being built: another one goes on. Writers never stop, and at the end the index and the table agree.
func TestIndexBuildSurvivesItsNode(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	c := Start(t, 3)
	db := c.Open(0)
	ctx := context.Background()
	exec := func(q string, args ...any) {
		t.Helper()
		_, err := db.ExecContext(ctx, q, args...)
		require.NoError(t, err, q)
	}
	const rows = 40_000
	exec("create table t (id int primary key, a int, b text)")
	exec("insert into t select i, i % 100, 'b' || i from generate_series(1, $1::int) i", rows)

	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- disturb(ctx, db, stop, rows) }()
	// On node 2, which is to die. The connection goes with it.
	other := c.Open(2)
	gone := make(chan error, 1)
	go func() { _, err := other.ExecContext(ctx, "create index i on t (b)"); gone <- err }()
	c.eventually("the build under way", func() error {
		var n int
		if err := db.QueryRowContext(ctx, "select count(*) from pamir.jobs where state = 'running' or state = 'succeeded'").Scan(&n); err != nil || n == 0 {
			return fmt.Errorf("%d jobs: %w", n, err)
		}
		return nil
	})
	c.Kill(2)
	t.Logf("the client that asked for the index: %v", <-gone) // an error, unless the build was faster than the kill
	c.eventually("another node going on", func() error {
		var state string
		if err := db.QueryRowContext(ctx, "select state from pamir.jobs").Scan(&state); err != nil || state != "succeeded" {
			return fmt.Errorf("the job is %q: %w", state, err)
		}
		return nil
	})
	close(stop)
	require.NoError(t, <-ended)
	var byIndex, byTable, sumIndex, sumTable int64
	require.NoError(t, db.QueryRowContext(ctx, "select count(*), sum(id) from t where b >= ''").Scan(&byIndex, &sumIndex))
	require.NoError(t, db.QueryRowContext(ctx, "select count(*), sum(id) from t where b || '' >= ''").Scan(&byTable, &sumTable))
	require.Equal(t, byTable, byIndex)
	require.Equal(t, sumTable, sumIndex)
	var missing int
	require.NoError(t, db.QueryRowContext(ctx, "select count(*) from (select id, b from t where b || '' >= '' except select id, b from t where b >= '') x").Scan(&missing))
	require.Zero(t, missing)
}

// disturb changes rows until stop is closed. Statements may fail while leaders move; none may be half done, which the test sees at the end.
func disturb(ctx context.Context, db *sql.DB, stop <-chan struct{}, rows int) error {
	done := 0
	var last error
	for i := 0; ; i++ {
		select {
		case <-stop:
			if done == 0 {
				return fmt.Errorf("no write succeeded: %w", last)
			}
			return nil
		default:
		}
		id := 1 + i*7919%rows
		q := fmt.Sprintf("update t set b = b || 'x' where id = %d", id)
		switch i % 3 {
		case 1:
			q = fmt.Sprintf("delete from t where id = %d", id)
		case 2:
			q = fmt.Sprintf("insert into t values (%d, 0, 'n%d')", rows+i, i)
		}
		x, cancel := context.WithTimeout(ctx, 10*time.Second)
		_, err := db.ExecContext(x, q)
		cancel()
		if err != nil {
			last = err
			continue
		}
		done++
	}
}
