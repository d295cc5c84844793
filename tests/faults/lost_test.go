package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/recovery"
	"github.com/pamirdb/pamir/tests/cluster"
)

// The only replica of a table's ranges burns with its node. After a recovery they are said to be lost, wherever an operator looks, and after one that makes them
// anew the table is there, empty, and serves, and the lost node is nobody's any more.
func TestLostWhole(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	l := cluster.StartLocal(t, 3, func(i int, c *node.Config) {
		c.Locality = []string{fmt.Sprintf("region=r%d", i)}
		c.DeadAfter = 5 * time.Minute
	})
	ctx := context.Background()
	conn := l.Connect(0)
	for _, q := range []string{
		"create table kept (id int primary key)",
		"create table gone (id int primary key) with (pamir.num_replicas = 1, pamir.constraints = 'region=r2')",
		"insert into kept select generate_series(1, 100)",
		"insert into gone select generate_series(1, 100)",
		"select pamir.split_at('gone', 50)",
	} {
		_, err := conn.Exec(ctx, q)
		require.NoError(t, err, q)
	}
	states := func(conn *pgx.Conn) (out []string, on []int32) {
		rows, err := conn.Query(ctx, "select state, replicas, leader is null, size_bytes is null and quiet is null from pamir.ranges where 'gone' = any (tables)")
		require.NoError(t, err)
		for rows.Next() {
			var state string
			var nodes []int32
			var leaderless, unknown bool
			require.NoError(t, rows.Scan(&state, &nodes, &leaderless, &unknown))
			require.Equal(t, leaderless, unknown, "only leaders know how large their ranges are")
			out, on = append(out, state), append(on, nodes...)
		}
		require.NoError(t, rows.Err())
		return out, on
	}
	third := int32(l.Nodes[2].Identity().NodeID)
	l.Eventually(60*time.Second, "gone is on the third node alone", func() error {
		if st, on := states(conn); len(st) < 2 || slices.ContainsFunc(on, func(n int32) bool { return n != third }) {
			return fmt.Errorf("%v on %v", st, on)
		}
		return nil
	})
	recoverThem := func(empty bool) {
		t.Helper()
		log := slog.New(slog.DiscardHandler)
		var facts []*recovery.Facts
		for i := range 2 {
			f, err := recovery.Collect(l.FS[i], "store", log)
			require.NoError(t, err)
			facts = append(facts, f)
		}
		p, err := recovery.Make(facts)
		require.NoError(t, err)
		require.Len(t, p.Gone, 1)
		require.Len(t, p.Lost, 1)
		made := 0
		if empty {
			require.Empty(t, p.MakeAnew(facts))
			made = 1
		}
		for i := range 2 {
			done, err := recovery.Apply(ctx, l.FS[i], "store", p, node.DefaultMaxOffset, log)
			require.NoError(t, err)
			made -= len(done.Anew)
		}
		require.Zero(t, made)
		for i := range 2 {
			l.Restart(i)
		}
		conn = l.Connect(1)
	}
	// Transactions over both tables, with their records where they write first, stand still in the middle.
	var writers sync.WaitGroup
	for w := range 8 {
		c := l.Connect(2)
		writers.Go(func() {
			for i := w; ; i += 8 {
				if _, err := c.Exec(ctx, fmt.Sprintf("begin; insert into gone values (%d); insert into kept values (%d); commit", 1000+i, -1000-i)); err != nil {
					return
				}
			}
		})
	}
	time.Sleep(500 * time.Millisecond)
	for i := range 2 {
		l.Net.CutBoth(l.Nodes[i].Identity().NodeID, l.Nodes[2].Identity().NodeID)
	}
	for i := range 3 {
		l.Crash(2-i, vfs.CrashCloneCfg{})
	}
	writers.Wait()
	l.Net.Heal()

	recoverThem(false)
	l.Eventually(30*time.Second, "lost, and said to be", func() error {
		if st, _ := states(conn); !slices.Equal(st, []string{"lost", "lost"}) {
			return fmt.Errorf("%v", st)
		}
		var problems, why string
		if err := conn.QueryRow(ctx, "select problems, (select min(why) from pamir.operators where state = 'blocked' and why like 'lost%') from pamir.cluster").Scan(&problems, &why); err != nil {
			return err
		}
		t.Log(problems)
		require.Contains(t, problems, "no replica is left of")
		require.Contains(t, problems, "(gone)")
		require.Equal(t, "lost: all its replicas were on nodes that have left for good", why)
		return nil
	})
	_, err := conn.Exec(ctx, "insert into kept values (101)")
	require.NoError(t, err)
	// Whoever asks for what is lost is told so, and does not wait for half a minute.
	for i, q := range []string{"select * from gone where id = 1", "select * from gone where id = 1", "select count(*) from gone", "insert into gone values (101)", "update gone set id = 200 where id = 99",
		"select count(*) from kept where id < 0", "begin; insert into kept values (102); insert into gone values (102); commit"} {
		began := time.Now()
		_, err := conn.Exec(ctx, q)
		took := time.Since(began)
		t.Log(q, took.Round(time.Millisecond), err)
		var e *pgconn.PgError
		require.True(t, errors.As(err, &e) && e.Code == "57P03" && strings.Contains(e.Detail, "is lost") && strings.Contains(e.Hint, "--make-empty"), "%s: %v", q, err)
		require.Less(t, took, 15*time.Second)
		if i == 1 { // it is known now
			require.Less(t, took, 5*time.Second)
		}
	}
	_, err = conn.Exec(ctx, "rollback")
	require.NoError(t, err)

	for i := range 2 {
		l.Crash(i, vfs.CrashCloneCfg{})
	}
	recoverThem(true)
	var n int
	require.NoError(t, conn.QueryRow(ctx, "select count(*) from gone").Scan(&n))
	require.Zero(t, n)
	var e *pgconn.PgError
	_, err = conn.Exec(ctx, "begin; set transaction isolation level repeatable read read only; set local pamir.read_as_of = '-1h'; select * from gone")
	require.True(t, errors.As(err, &e) && e.Code == "72000", "%v: it was not empty then", err)
	_, err = conn.Exec(ctx, "rollback")
	require.NoError(t, err)
	for _, q := range []string{"insert into gone select generate_series(1, 1000)", "update gone set id = -id where id <= 10", "insert into kept values (102)", "create table later (id int primary key)", "insert into later values (1)"} {
		_, err := conn.Exec(ctx, q)
		require.NoError(t, err, q)
	}
	require.NoError(t, conn.QueryRow(ctx, "select count(*) from gone").Scan(&n))
	require.Equal(t, 1000, n)
	require.NoError(t, conn.QueryRow(ctx, "select count(*) from kept where id > 0").Scan(&n))
	require.Equal(t, 102, n)
	require.NoError(t, conn.QueryRow(ctx, "select count(*) from kept where id < 0").Scan(&n), "locks of transactions whose records were lost have gone")
	for range 2 { // there are places for its replicas then, and for the others'
		l.Add()
	}
	l.Eventually(60*time.Second, "nothing is on the lost node", func() error {
		var there int
		if err := conn.QueryRow(ctx, "select count(*) from pamir.ranges where state <> 'ok'").Scan(&there); err != nil || there > 0 {
			return errors.Join(err, fmt.Errorf("%d ranges", there))
		}
		return nil
	})
}
