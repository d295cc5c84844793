package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// dial connects to node i for the rest of the test.
func dial(t *testing.T, c *cluster.Cluster, i int) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DSN(i))
	require.NoError(t, err)
	t.Cleanup(func() { closeConn(conn) })
	return conn
}

// TestPauseIsADelay stops a node for longer than promises last, several times, while its clients read and write without a pause. When it goes
// on it does not trust its clock before another node has confirmed it; its clients see that as a delay and as nothing else: no error, and nothing
// old.
func TestPauseIsADelay(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes a quarter of a minute")
	}
	c := cluster.Start(t, 3)
	setup := dial(t, c, 0)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	for _, q := range []string{"create table t (id int primary key, n int not null)", "insert into t select g, 0 from generate_series(1, 8) g"} {
		_, err := setup.Exec(ctx, q)
		require.NoError(t, err)
	}
	c.WaitReplicated()
	victim, err := c.NodeWithMostLeaders()
	require.NoError(t, err)

	stop := make(chan struct{})
	var stopped sync.Once
	end := func() { stopped.Do(func() { close(stop) }) }
	defer end()
	var wg sync.WaitGroup
	var done atomic.Int64
	type failure struct {
		what string
		err  error
	}
	failures := make(chan failure, 1000)
	steps := []struct {
		what string
		run  func(conn *pgx.Conn, id int) error
	}{
		{"read", func(conn *pgx.Conn, id int) error {
			var n int
			return conn.QueryRow(ctx, "select n from t where id = $1", id).Scan(&n)
		}},
		{"read all", func(conn *pgx.Conn, _ int) error {
			var n int
			return conn.QueryRow(ctx, "select count(*) from t where n >= 0").Scan(&n)
		}},
		{"write", func(conn *pgx.Conn, id int) error {
			_, err := conn.Exec(ctx, "update t set n = n + 1 where id = $1", id)
			return err
		}},
		{"block", func(conn *pgx.Conn, id int) error {
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "update t set n = n + 1 where id = $1", id); err != nil {
					return err
				}
				var n int
				return tx.QueryRow(ctx, "select n from t where id = $1", id).Scan(&n)
			})
		}},
		{"read committed block", func(conn *pgx.Conn, id int) error {
			return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
				var n int
				if err := tx.QueryRow(ctx, "select n from t where id = $1", id).Scan(&n); err != nil {
					return err
				}
				return tx.QueryRow(ctx, "select n from t where id = $1", id).Scan(&n)
			})
		}},
		{"connect", func(*pgx.Conn, int) error {
			conn, err := pgx.Connect(ctx, c.DSN(victim))
			if err == nil {
				closeConn(conn)
			}
			return err
		}},
	}
	client := func(f func() error, what string) {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := f(); err != nil {
					select {
					case failures <- failure{what, err}:
					default:
					}
					return // its connection may be broken
				}
				done.Add(1)
				time.Sleep(time.Millisecond)
			}
		})
	}
	for i, s := range steps {
		conn := dial(t, c, victim)
		client(func() error { return s.run(conn, i+1) }, s.what)
	}
	// What one client was told is done, the next read of the paused node's client must see.
	elsewhere, here := dial(t, c, (victim+1)%3), dial(t, c, victim)
	var latest atomic.Int64
	client(func() error {
		var n int64
		if err := elsewhere.QueryRow(ctx, "update t set n = n + 1 where id = 8 returning n").Scan(&n); err != nil {
			return err
		}
		latest.Store(n)
		return nil
	}, "write elsewhere")
	client(func() error {
		least := latest.Load()
		var n int64
		if err := here.QueryRow(ctx, "select n from t where id = 8").Scan(&n); err != nil {
			return err
		}
		if n < least {
			return fmt.Errorf("stale: read %d after %d was acknowledged", n, least)
		}
		return nil
	}, "read after write")

	for range 3 {
		time.Sleep(time.Second)
		c.Pause(victim)
		time.Sleep(1500 * time.Millisecond)
		c.Resume(victim)
		time.Sleep(time.Second)
	}
	end()
	wg.Wait()
	close(failures)
	for f := range failures {
		t.Errorf("%s: %s (%v)", f.what, kind(f.err), f.err)
	}
	require.Positive(t, done.Load())
}

// TestPausedGatewayHolds stops a node whose clients hold row locks in ranges that others lead. Whoever waits for one of the rows gets it while the
// node is still stopped; and when it goes on, its transactions find out at the latest when they commit.
func TestPausedGatewayHolds(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes a quarter of a minute")
	}
	c := cluster.Start(t, 3)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	setup := dial(t, c, 0)
	for _, q := range []string{"create table t (id int primary key, n int not null)", "insert into t select g, 0 from generate_series(1, 10) g"} {
		_, err := setup.Exec(ctx, q)
		require.NoError(t, err)
	}
	c.WaitReplicated()
	leader, err := c.NodeWithMostLeaders()
	require.NoError(t, err)
	gateway, other := (leader+1)%3, (leader+2)%3
	var held []pgx.Tx
	for id := 1; id <= 4; id++ {
		tx, err := dial(t, c, gateway).Begin(ctx)
		require.NoError(t, err)
		var n int
		require.NoError(t, tx.QueryRow(ctx, "select n from t where id = $1 for update", id).Scan(&n))
		held = append(held, tx)
	}
	waiters := make([]*pgx.Conn, len(held))
	for i := range waiters {
		waiters[i] = dial(t, c, other)
	}
	c.Pause(gateway)
	from := time.Now()
	var wg sync.WaitGroup
	took := make([]time.Duration, len(held))
	errs := make([]error, len(held))
	for i := range held {
		wg.Go(func() {
			_, errs[i] = waiters[i].Exec(ctx, "update t set n = n + 1 where id = $1", i+1)
			took[i] = time.Since(from)
		})
	}
	wg.Wait() // nobody else ends their waits: the gateway stays stopped until they have
	require.NoError(t, errors.Join(errs...))
	t.Logf("those who waited for locks of a stopped gateway's transactions had them after %v", took)
	c.Resume(gateway)
	for i, tx := range held {
		_, err := tx.Exec(ctx, "update t set n = n + 10 where id = $1", i+1)
		if err == nil {
			err = tx.Commit(ctx)
		}
		require.Error(t, err, "transaction %d had read a row that has changed since", i)
		require.Contains(t, kind(err), "40001")
		_ = tx.Rollback(ctx) // it has ended already
	}
	var sum int
	require.NoError(t, setup.QueryRow(ctx, "select sum(n) from t").Scan(&sum))
	require.Equal(t, len(held), sum)
}

// TestPausedGatewayOfALargeTransaction stops a node for longer than its clients' row locks outlive, while one of its transactions has sent rows ahead of its commit: that one is waited for, in proportion
// to what it would lose, and commits. When the node does not come back, whoever waits goes on all the same.
func TestPausedGatewayOfALargeTransaction(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	c := cluster.Start(t, 3, cluster.WithFlags("--txn-buffer", "1MiB"))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := dial(t, c, 0).Exec(ctx, "create table t (id int primary key, s text not null)")
	require.NoError(t, err)
	c.WaitReplicated()
	leader, err := c.NodeWithMostLeaders()
	require.NoError(t, err)
	gateway, other := (leader+1)%3, (leader+2)%3
	large := func(from int) pgx.Tx {
		tx, err := dial(t, c, gateway).Begin(ctx)
		require.NoError(t, err)
		_, err = tx.Exec(ctx, "insert into t select g, repeat('x', 1000) from generate_series($1::int, $1 + 4999) g", from)
		require.NoError(t, err)
		return tx
	}
	waits := func(id int) <-chan error {
		conn, done := dial(t, c, other), make(chan error, 1)
		go func() {
			_, err := conn.Exec(ctx, "insert into t values ($1, 'y')", id)
			done <- err
		}()
		return done
	}
	first, second := large(10000), large(20000)
	time.Sleep(13 * time.Second) // so they are waited for for 2.6 s and more
	waiting := waits(10000)
	time.Sleep(200 * time.Millisecond)
	c.Pause(gateway)
	time.Sleep(1600 * time.Millisecond)
	c.Resume(gateway)
	require.NoError(t, first.Commit(ctx))
	require.ErrorContains(t, <-waiting, "23505")

	waiting = waits(20000)
	c.Pause(gateway)
	from := time.Now()
	require.NoError(t, <-waiting, "nobody else ends its wait: the gateway stays stopped until it has")
	t.Logf("who waited for a stopped gateway's transaction of a quarter of a minute went on after %v", time.Since(from))
	c.Resume(gateway)
	require.Error(t, second.Commit(ctx))
	for id, want := range map[int]string{10000: "x", 14999: "x", 20000: "y"} {
		var got string
		require.NoError(t, dial(t, c, other).QueryRow(ctx, "select left(s, 1) from t where id = $1", id).Scan(&got))
		require.Equal(t, want, got)
	}
	var n int
	require.NoError(t, dial(t, c, other).QueryRow(ctx, "select count(*) from t").Scan(&n))
	require.Equal(t, 5001, n)
}
