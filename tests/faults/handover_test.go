package faults

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/tests/cluster"
)

// local is a cluster of three nodes in this process with SQL clients.
type local struct {
	*cluster.Local
	t *testing.T
}

// longSupport is for leaders that move because they are told to: cluster.LongSupport says why.
var longSupport = cluster.LongSupportLocal

func startLocal(t *testing.T, edit func(int, *node.Config), statements ...string) *local {
	t.Helper()
	l := &local{Local: cluster.StartLocal(t, 3, edit), t: t}
	conn := l.Connect(0)
	for _, q := range statements {
		_, err := conn.Exec(context.Background(), q)
		require.NoError(t, err, q)
	}
	return l
}

// leaderOf returns which node leads the range of user tables, which is one as long as nobody splits it.
func (l *local) leaderOf(conn *pgx.Conn) (leader int) {
	l.t.Helper()
	l.Eventually(30*time.Second, "a leader", func() error {
		return conn.QueryRow(context.Background(), "select leader from pamir.ranges where range_id = $1 and leader is not null", userRange).Scan(&leader)
	})
	return leader
}

const userRange = int(kv.FirstUserRange)

// move hands the lead of a range to the next node. Another move may be under way: that counts as one.
func (l *local) move(conn *pgx.Conn, leader int) (to int) {
	l.t.Helper()
	to = leader%3 + 1
	var ok any
	err := conn.QueryRow(context.Background(), "select pamir.transfer_leader($1, $2)", userRange, to).Scan(&ok)
	if err != nil {
		l.t.Logf("move from %d to %d: %v", leader, to, err)
	}
	return to
}

// Moving the lead of a range all the time costs its clients time and nothing else: no error, no lost update, and those who
// lock several rows in one order meet no deadlock. Where a leader was lost meanwhile, as on a machine that stands still, they may be failed with its locks: no update is lost then, either.
func TestLeaderMovesUnderHotRows(t *testing.T) {
	l := startLocal(t, longSupport, "create table hot (id int primary key, n int not null)", "insert into hot select g, 0 from generate_series(0, 9) g")
	ctx, cancel := context.WithCancel(context.Background())
	var acked [10]atomic.Int64
	var wg sync.WaitGroup
	var mu sync.Mutex
	var seen []error // guarded by mu
	before := l.Campaigns()
	run := func(conn *pgx.Conn, f func() error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for ctx.Err() == nil {
				if err := f(); err != nil {
					mu.Lock()
					seen = append(seen, err)
					mu.Unlock()
					return
				}
			}
		}()
	}
	bg := context.Background()
	for i := range 32 {
		conn := l.Connect(i % 3)
		run(conn, func() error {
			_, err := conn.Exec(bg, "update hot set n = n + 1 where id = 0")
			if err == nil {
				acked[0].Add(1)
			}
			return err
		})
	}
	for i := range 8 {
		conn := l.Connect(i % 3)
		k := 1 + i%4
		run(conn, func() error {
			err := pgx.BeginFunc(bg, conn, func(tx pgx.Tx) error {
				for row := k; row < k+4; row++ {
					if _, err := tx.Exec(bg, "select n from hot where id = $1 for update", row); err != nil {
						return err
					}
				}
				_, err := tx.Exec(bg, "update hot set n = n + 1 where id between $1 and $2", k, k+3)
				return err
			})
			for row := k; row < k+4 && err == nil; row++ {
				acked[row].Add(1)
			}
			return err
		})
	}
	conn := l.Connect(0)
	moves := 0
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); moves++ {
		time.Sleep(500 * time.Millisecond)
		leader := l.leaderOf(conn)
		l.move(conn, leader)
	}
	cancel()
	wg.Wait()
	require.Positive(t, moves)
	lost := l.Campaigns() - before
	for _, err := range seen {
		if lost == 0 || sqlstate(err) != "40001" && sqlstate(err) != "40P01" {
			t.Errorf("a client saw: %v", err)
		}
	}
	if lost > 0 {
		t.Logf("%d elections; clients saw: %v", lost, seen)
	}
	rows, err := conn.Query(bg, "select id, n from hot where id < 9")
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var id, n int
		require.NoError(t, rows.Scan(&id, &n))
		require.EqualValues(t, acked[id].Load(), n, "row %d", id)
		t.Logf("row %d: %d updates over %d moves", id, n, moves)
	}
	require.NoError(t, rows.Err())
}

func sqlstate(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

// SELECT ... FOR UPDATE goes on blocking others when the lead moves.
func TestRowLockOutlivesLeaderMove(t *testing.T) {
	l := startLocal(t, longSupport, "create table held (id int primary key, n int not null)", "insert into held values (1, 0), (2, 0)")
	bg := context.Background()
	a, b, admin := l.Connect(0), l.Connect(1), l.Connect(2)
	tx, err := a.Begin(bg)
	require.NoError(t, err)
	_, err = tx.Exec(bg, "select * from held where id = 1 for update")
	require.NoError(t, err)
	for range 3 {
		leader := l.leaderOf(admin)
		l.move(admin, leader)
		_, err := b.Exec(bg, "select * from held where id = 1 for update nowait")
		require.Equal(t, "55P03", sqlstate(err))
		_, err = b.Exec(bg, "select * from held where id = 2 for update nowait")
		require.NoError(t, err)
	}
	_, err = tx.Exec(bg, "update held set n = 1 where id = 1")
	require.NoError(t, err)
	require.NoError(t, tx.Commit(bg))
	_, err = b.Exec(bg, "select * from held where id = 1 for update nowait")
	require.NoError(t, err)
}

// A gateway that is not heard keeps its locks for as long as it is said to: who is slow to answer in the tests above is not dead.
func TestSilentGatewayKeepsItsLocks(t *testing.T) {
	l := startLocal(t, longSupport, "create table held (id int primary key, n int not null)", "insert into held values (1, 0)")
	bg := context.Background()
	admin := l.Connect(0)
	gateway := l.leaderOf(admin) % 3 // of another node than the leader, as an index
	a := l.Connect(gateway)
	tx, err := a.Begin(bg)
	require.NoError(t, err)
	_, err = tx.Exec(bg, "select * from held where id = 1 for update")
	require.NoError(t, err)
	leader := l.leaderOf(admin)
	b := l.Connect(leader - 1)
	l.Net.CutBoth(kv.NodeID(gateway+1), kv.NodeID(leader))
	_, err = b.Exec(bg, "set lock_timeout = '3s'") // by default it would be dead after one
	require.NoError(t, err)
	_, err = b.Exec(bg, "select * from held where id = 1 for update")
	require.Equal(t, "55P03", sqlstate(err))
	l.Net.Heal()
	_, err = tx.Exec(bg, "update held set n = 1 where id = 1")
	require.NoError(t, err)
	require.NoError(t, tx.Commit(bg))
}

// The leader dies with the locks that it had. Whoever read a row under one and writes what follows from it must not undo
// what somebody else has committed meanwhile: at every level, however the row was read.
func TestNoLostUpdateWhenLeaderDies(t *testing.T) {
	reads := []string{ // %[1]d is the row
		"select n from r where id = %[1]d for update",
		"select n from r where id in (%[1]d, %[1]d + 2) order by id for update",
		"select n from r where id between %[1]d and %[1]d + 3 order by id for update",
		"select n from r where n = 0 and id >= %[1]d and id < %[1]d + 3 order by id for no key update",
		"select n from r where id = %[1]d for share",
		"update r set m = 1 where id = %[1]d returning n",
	}
	l := startLocal(t, nil, "create table r (id int primary key, n int not null, m int not null default 0)",
		"insert into r select g, 0 from generate_series(1, 1000) g")
	bg := context.Background()
	admin := l.Connect(0)
	if leader := l.leaderOf(admin); leader == 1 {
		l.move(admin, leader)
	}
	type client struct {
		pgx.Tx
		what string
		row  int
	}
	var open []client
	for _, level := range []pgx.TxIsoLevel{pgx.Serializable, pgx.RepeatableRead, pgx.ReadCommitted} {
		for _, read := range reads {
			tx, err := l.Connect(0).BeginTx(bg, pgx.TxOptions{IsoLevel: level})
			require.NoError(t, err)
			c := client{Tx: tx, row: 10 * (len(open) + 1)}
			c.what = string(level) + ", " + fmt.Sprintf(read, c.row)
			var n int
			require.NoError(t, tx.QueryRow(bg, fmt.Sprintf(read, c.row)).Scan(&n))
			require.Zero(t, n)
			open = append(open, c)
		}
	}
	leader := l.leaderOf(admin)
	require.NotEqual(t, 1, leader, "the clients are connected to node 1")
	l.Crash(leader-1, vfs.CrashCloneCfg{})
	_, err := admin.Exec(bg, "update r set n = 10")
	require.NoError(t, err, "the locks are gone with the leader")
	for _, c := range open {
		_, err := c.Exec(bg, "update r set n = 1 where id = $1", c.row)
		if err == nil {
			err = c.Commit(bg)
		} else {
			require.NoError(t, c.Rollback(bg))
		}
		require.Equal(t, "40001", sqlstate(err), c.what)
	}
	var n int
	require.NoError(t, admin.QueryRow(bg, "select count(*) from r where n <> 10").Scan(&n))
	require.Zero(t, n, "updates were lost")
}
