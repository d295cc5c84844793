package sessions

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

var bg = context.Background()

// suite is a cluster that all tests of a file share.
type suite struct {
	*cluster.Local
	t *testing.T
}

// client is one connection.
type client struct {
	*pgx.Conn
	t testing.TB
}

func (s *suite) connect(t testing.TB, node int, settings ...string) *client {
	t.Helper()
	_, addr, _ := s.Nodes[node].Addresses()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s user=root dbname=defaultdb sslmode=disable", host, port))
	require.NoError(t, err)
	for i := 0; i+1 < len(settings); i += 2 {
		cfg.RuntimeParams[settings[i]] = settings[i+1]
	}
	conn, err := pgx.ConnectConfig(bg, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(bg) })
	return &client{conn, t}
}

func (c *client) do(sql string, args ...any) {
	c.t.Helper()
	_, err := c.Exec(bg, sql, args...)
	require.NoError(c.t, err, sql)
}

// fails runs a statement that must fail with a SQLSTATE.
func (c *client) fails(code, sql string, args ...any) *pgconn.PgError {
	c.t.Helper()
	_, err := c.Exec(bg, sql, args...)
	return c.code(code, err, sql)
}

func (c *client) code(code string, err error, what string) *pgconn.PgError {
	c.t.Helper()
	var e *pgconn.PgError
	require.ErrorAs(c.t, err, &e, what)
	require.Equal(c.t, code, e.Code, "%s: %s (%s) %s", what, e.Message, e.Detail, e.Hint)
	return e
}

// one reads a single value.
func one[T any](c *client, sql string, args ...any) T {
	c.t.Helper()
	var v T
	require.NoError(c.t, c.QueryRow(bg, sql, args...).Scan(&v), sql)
	return v
}

func (c *client) pid() int32 { return int32(c.PgConn().PID()) }

// later runs a statement in the background.
func (c *client) later(sql string, args ...any) <-chan error {
	ch := make(chan error, 1)
	go func() {
		_, err := c.Exec(bg, sql, args...)
		ch <- err
	}()
	return ch
}

// eventually waits for a query to give true.
func (c *client) eventually(sql string, args ...any) {
	c.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !one[bool](c, sql, args...) {
		if time.Now().After(deadline) {
			c.t.Fatalf("not within 30 s: %s %v", sql, args)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestSessions(t *testing.T) {
	s := &suite{cluster.StartLocal(t, 3, cluster.LongSupportLocal), t}
	for _, c := range []struct {
		name string
		f    func(t *testing.T, s *suite)
	}{
		{"deadlock that nobody sees", deadlockUnseen},
		{"deadlock that a client sees", deadlockSeen},
		{"reads that lock", lockedReads},
		{"reads that lock, before anybody has failed", lockedReadsAhead},
		{"reads that lock, from the first on", lockedReadsFirst},
		{"reads that wait for the first are shown", lockedReadsFirstShown},
		{"schema changes see rows", schemaChangesSeeRows},
		{"commits let go of rows", commitsLetGo},
		{"commits are seen by who locks", commitsSeenByLocks},
		{"conflicts leave rows free", conflictsLeaveRowsFree},
		{"prepared locks are met", preparedLocksAreMet},
		{"partial indexes", partialIndexes},
		{"jobs", jobs},
		{"orders over ranges", ordersOverRanges},
		{"unions over ranges", unionsOverRanges},
		{"joins in order", joinsInOrder},
		{"readers are not failed", readersAreNotFailed},
		{"read committed statements", readCommittedStatements},
		{"views", views},
		{"signals", signals},
		{"cancel requests", cancelRequests},
		{"prepared races", preparedRaces},
		{"prepared cancelled", preparedCancelled},
		{"prepared outcome", preparedOutcome},
		{"prepared holders", preparedHolders},
		{"prepared foreign keys", preparedForeignKeys},
		{"advisory", advisory},
		{"advisory order", advisoryOrder},
		{"sequences", sequences},
		{"outcomes", outcomes},
		{"two-phase commit", twoPhase},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, s) })
	}
}

// deadlocked has a block of b wait for a block of a, which then asks for what b has. It returns what a's statement gave; b's
// comes through the channel.
func deadlocked(a, b *client, table string) (<-chan error, error) {
	a.do("begin")
	b.do("begin") // the younger one is the victim
	a.do("update " + table + " set v = v + 1 where id = 1")
	b.do("update " + table + " set v = v + 10 where id = 2")
	ch := b.later("update " + table + " set v = v + 10 where id = 1")
	a.eventually("select true")
	_, err := a.Exec(bg, "update "+table+" set v = v + 1 where id = 2")
	return ch, err
}

// The victim of a deadlock runs again on the server when what its client has seen stays true.
func deadlockUnseen(t *testing.T, s *suite) {
	a, b := s.connect(t, 0), s.connect(t, 1)
	a.do("create table du (id int primary key, v int)")
	a.do("insert into du values (1, 0), (2, 0)")
	for range 5 {
		a.do("update du set v = 0")
		ch, err := deadlocked(a, b, "du")
		require.NoError(t, err)
		a.do("commit")
		require.NoError(t, <-ch)
		b.do("commit")
		require.Equal(t, 11, one[int](a, "select v from du where id = 1"))
		require.Equal(t, 11, one[int](a, "select v from du where id = 2"))
	}
	require.Positive(t, one[int64](a, "select coalesce(sum(retried), 0)::int8 from pamir.transaction_retries where scope = 'transaction block' and cause = 'deadlock'"))
}

// Where that is not possible the error tells who waited for whom, for which row, and why it was not repeated.
func deadlockSeen(t *testing.T, s *suite) {
	a, b := s.connect(t, 0), s.connect(t, 1)
	a.do("create table ds (id int primary key, v int)")
	a.do("insert into ds values (1, 0), (2, 0)")
	a.do("begin")
	a.do("update ds set v = v + 1 where id = 1")
	b.do("begin")
	b.do("savepoint s") // ends the replay
	b.do("update ds set v = v + 10 where id = 2")
	ch := b.later("update ds set v = v + 10 where id = 1")
	ch2 := a.later("update ds set v = v + 1 where id = 2")
	e := b.code("40P01", <-ch, "the younger transaction")
	require.Equal(t, fmt.Sprintf("Process %d waits for a lock on key (id)=(1) of relation \"ds\"; blocked by process %d.\n"+
		"Process %d waits for a lock on key (id)=(2) of relation \"ds\"; blocked by process %d.", b.pid(), a.pid(), a.pid(), b.pid()), e.Detail)
	require.Contains(t, e.Hint, "a savepoint had been set")
	b.do("rollback")
	require.NoError(t, <-ch2)
	a.do("commit")
	require.Equal(t, 1, one[int](a, "select v from ds where id = 2"))
}

// A statement of a READ COMMITTED block that meets a change runs again alone, even where the block could not.
func readCommittedStatements(t *testing.T, s *suite) {
	a, b := s.connect(t, 0), s.connect(t, 2)
	a.do("create table rc (id int primary key, v int)")
	a.do("insert into rc select i, 0 from generate_series(1, 200) i")
	for range 5 {
		a.do("begin isolation level read committed")
		a.do("savepoint s") // no replay of the block from here on
		a.do("update rc set v = v + 1 where id = 1")
		b.do("begin")
		b.do("update rc set v = v + 1 where id between 100 and 200")
		ch := a.later("update rc set v = v + 1 where id between 2 and 200")
		b.eventually("select exists (select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock')", a.pid())
		b.do("commit")
		require.NoError(t, <-ch)
		a.do("commit")
	}
	require.Equal(t, []int32{5, 5, 10, 10}, one[[]int32](a, "select array[min(v) filter (where id < 100), max(v) filter (where id < 100), min(v) filter (where id >= 100), max(v) filter (where id >= 100)] from rc"))
}

func views(t *testing.T, s *suite) {
	a, b, c := s.connect(t, 0, "application_name", "holder"), s.connect(t, 1), s.connect(t, 2)
	a.do("create table vw (id int, name text, v int, primary key (id, name))")
	a.do("insert into vw values (1, 'x', 0), (2, 'y', 0)")
	a.do("begin")
	a.do("update vw set v = 1 where id = 2")
	ch := b.later("update vw set v = 2 where id = 2")
	c.eventually("select pg_blocking_pids($1) = array[$2::int]", b.pid(), a.pid())
	require.Empty(t, one[[]int32](c, "select pg_blocking_pids($1)", a.pid()))
	c.eventually("select wait_event_type = 'Lock' and state = 'active' and query like 'update vw%' from pg_stat_activity where pid = $1", b.pid())
	require.Equal(t, "idle in transaction", one[string](c, "select state from pg_stat_activity where pid = $1 and xact_start is not null and application_name = 'holder'", a.pid()))
	require.True(t, one[bool](c, "select granted from pg_locks where pid = $1 and relation = 'vw'::regclass", a.pid()))
	c.eventually("select exists (select from pg_locks where pid = $1 and relation = 'vw'::regclass and not granted and waitstart is not null)", b.pid()) // which is known a little later
	c.eventually("select exists (select from pamir.locks where pid = $1 and table_name = 'vw' and not granted and key = '/vw/vw_pkey/2/y')", b.pid())
	require.Equal(t, "holder", one[string](c, "select application_name from pamir.transactions where pid = $1 and not waiting", a.pid()))
	c.eventually("select exists (select from pamir.transactions where pid = $1 and waiting and blocked_by = array[$2::int])", b.pid(), a.pid()) // who waits asks again now and then
	require.Equal(t, int64(3), one[int64](c, "select count(*) from pg_stat_ssl where pid = any($1) and not ssl and version is null", []int32{a.pid(), b.pid(), c.pid()}))
	require.True(t, one[bool](c, "select numbackends >= 3 and xact_commit > 0 and datid = (select oid from pg_database) from pg_stat_database where datname = current_database()"))
	a.do("commit")
	require.NoError(t, <-ch)
	require.Equal(t, []int32{a.pid()}, one[[]int32](c, "select holder_pids from pamir.contention_events where waiter_pid = $1 and key = '/vw/vw_pkey/2/y' and waited_ms > 0 and node_id = 2", b.pid()))
}

func signals(t *testing.T, s *suite) {
	a, b := s.connect(t, 0), s.connect(t, 2)
	require.Equal(t, int32(3), b.pid()>>20, "a process id names its node")
	ch := b.later("select pg_sleep(60)")
	a.eventually("select exists (select from pg_stat_activity where pid = $1 and query like '%pg_sleep%' and state = 'active')", b.pid())
	require.True(t, one[bool](a, "select pg_cancel_backend($1)", b.pid()))
	b.code("57014", <-ch, "cancelled from another node")
	require.Equal(t, 1, one[int](b, "select 1"))
	require.True(t, one[bool](a, "select pg_terminate_backend($1)", b.pid()))
	a.eventually("select not exists (select from pg_stat_activity where pid = $1)", b.pid())
	require.Error(t, b.Ping(bg))
	require.False(t, one[bool](a, "select pg_cancel_backend($1)", b.pid()))
	require.False(t, one[bool](a, "select pg_cancel_backend(1500 << 20)"), "of a node that is not there")
}

func advisory(t *testing.T, s *suite) {
	a, b, c := s.connect(t, 0), s.connect(t, 1), s.connect(t, 2)
	a.do("select pg_advisory_lock(7)")
	require.False(t, one[bool](b, "select pg_try_advisory_lock(7)"))
	ch := b.later("select pg_advisory_lock(7)")
	c.eventually("select pg_blocking_pids($1) = array[$2::int]", b.pid(), a.pid())
	require.Equal(t, int64(2), one[int64](c, "select count(*) from pg_locks where locktype = 'advisory' and objid = 7"))
	require.NoError(t, a.Close(bg))
	require.NoError(t, <-ch)
	// A cycle of a row lock and an advisory lock, over two nodes.
	a = s.connect(t, 0, "deadlock_timeout", "10")
	b.do("set deadlock_timeout = 10")
	c.do("create table adv (id int primary key)")
	c.do("insert into adv values (1)")
	a.do("begin")
	a.do("select * from adv for update")
	ch = b.later("select * from adv for update")
	c.eventually("select pg_blocking_pids($1) = array[$2::int]", b.pid(), a.pid())
	e := a.fails("40P01", "select pg_advisory_lock(7)")
	require.Positive(t, one[int64](c, "select coalesce(sum(visible), 0)::int8 from pamir.transaction_retries where scope = 'client' and cause = 'deadlock'"), "it counts as one")
	require.Contains(t, e.Detail, fmt.Sprintf("Process %d waits for ExclusiveLock on advisory lock [16383,0,7,1]; blocked by process %d.", a.pid(), b.pid()))
	a.do("rollback")
	require.NoError(t, <-ch)
	require.True(t, one[bool](b, "select pg_advisory_unlock(7)"))
}

// The node of a session that holds an advisory lock is cut off, with one that waits: others get the lock when its lease has run out,
// and by then the session has been ended.
func TestAdvisoryLockOfADeadNode(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for a lease to run out")
	}
	s := &suite{cluster.StartLocal(t, 3, nil), t}
	a, b, c := s.connect(t, 0), s.connect(t, 2), s.connect(t, 2)
	b.do("select pg_advisory_lock(1)")
	require.False(t, one[bool](a, "select pg_try_advisory_lock(1)"))
	c.later("select pg_advisory_lock(1)") // comes first, and is as good as dead, too
	a.eventually("select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted")
	s.Net.CutBoth(3, 1)
	s.Net.CutBoth(3, 2)
	began := time.Now()
	ctx, cancel := context.WithTimeout(bg, time.Minute)
	defer cancel()
	_, err := a.Exec(ctx, "select pg_advisory_lock(1)")
	require.NoError(t, err)
	t.Logf("taken over after %s", time.Since(began).Round(time.Millisecond))
	_, err = b.Exec(bg, "select 1")
	require.Error(t, err, "two would have it")
}

// What became of a transaction is the same on every node, while it runs and after its session is gone.
func outcomes(t *testing.T, s *suite) {
	a, b := s.connect(t, 0, "pamir.report_xact_id", "on"), s.connect(t, 2)
	status := func(id string) string { return one[string](b, "select pg_xact_status($1::text::xid8)", id) }
	a.do("create table oc (id int primary key)")
	id := a.PgConn().ParameterStatus("pamir.xact_id")
	require.NotEmpty(t, id, "the client is told before the transaction begins")
	require.Equal(t, "in progress", status(id))
	a.do("insert into oc values (1)")
	require.Equal(t, "committed", status(id))
	next := a.PgConn().ParameterStatus("pamir.xact_id")
	require.NotEqual(t, id, next)
	a.do("begin")
	a.do("insert into oc values (2)")
	require.Equal(t, "in progress", status(next))
	require.NoError(t, a.Close(bg))
	b.eventually("select not exists (select from pg_stat_activity where pid = $1)", a.pid())
	require.Equal(t, "aborted", status(next))
	require.Equal(t, 1, one[int](b, "select count(*) from oc"))
}

// A prepared transaction outlives its session and can be finished from any node, once.
func twoPhase(t *testing.T, s *suite) {
	a, b, c := s.connect(t, 0), s.connect(t, 1), s.connect(t, 2)
	a.do("create table tp (id int primary key, v int)")
	a.do("insert into tp select i, 0 from generate_series(1, 100) i")
	a.do("select pamir.split_at('tp', 50)")
	prepare := func(c *client, gid string, v int) {
		c.do("begin")
		c.do("update tp set v = $1 where id in (1, 99)", v)
		c.do("insert into tp values ($1, $1)", 1000+v)
		c.do("prepare transaction '" + gid + "'")
	}
	prepare(a, "one", 1)
	a.fails("42710", "begin; prepare transaction 'one'")
	a.do("rollback")
	require.Equal(t, "one", one[string](c, "select gid from pg_prepared_xacts where owner = 'root' and database = 'defaultdb'"))
	require.NoError(t, a.Close(bg))
	impatient := s.connect(t, 1, "statement_timeout", "300")
	impatient.fails("57014", "update tp set v = 7 where id = 99")
	impatient.fails("57014", "select v from tp where id = 99")
	b.do("set lock_timeout = 50")
	for _, q := range []string{"select v from tp where id = 99", "select sum(v) from tp"} {
		require.Contains(t, b.fails("55P03", q).Message, "lock timeout")
		require.Contains(t, b.fails("55P03", "begin isolation level read committed; "+q).Message, "lock timeout")
		b.do("rollback")
	}
	b.do("set lock_timeout = 0")
	reading := b.later("select v from tp where id = 99")
	c.eventually("select exists (select from pg_stat_activity where pid = $1 and state = 'active')", b.pid())
	require.True(t, one[bool](c, "select pg_cancel_backend($1)", b.pid()))
	b.code("57014", <-reading, "a read that was cancelled")
	require.Equal(t, 0, one[int](b, "select v from tp where id = 50"), "other rows are free")
	waiting := b.later("update tp set v = v + 10 where id = 1")
	c.eventually("select pg_blocking_pids($1) <> '{}'", b.pid())
	c.fails("25001", "begin; commit prepared 'one'")
	c.do("rollback")
	// In one message with other statements it would be one transaction with them.
	for _, q := range []string{"select 1; commit prepared 'one'", "rollback prepared 'one'; select 1", "insert into tp values (5000, 0); vacuum", "insert into tp values (5000, 0); discard all"} {
		c.fails("25001", q)
	}
	require.Equal(t, 0, one[int](c, "select count(*) from tp where id = 5000"))
	c.do("commit prepared 'one'")
	require.NoError(t, <-waiting)
	require.Equal(t, 11, one[int](c, "select v from tp where id = 1"))
	require.Equal(t, 1, one[int](c, "select v from tp where id = 99"))
	require.Equal(t, 1001, one[int](c, "select max(id) from tp"))
	c.fails("42704", "commit prepared 'one'")
	c.fails("42704", "rollback prepared 'one'")

	prepare(b, "two", 2)
	require.Equal(t, "two", one[string](c, "select string_agg(gid, ',') from pg_prepared_xacts"))
	c.do("rollback prepared 'two'")
	require.Equal(t, 0, one[int](c, "select count(*) from pg_prepared_xacts"))
	require.Equal(t, 11, one[int](c, "select v from tp where id = 1"))

	// What was read is validated when it is prepared, not later.
	c.do("begin")
	require.Equal(t, 11, one[int](c, "select v from tp where id = 1"))
	c.do("update tp set v = 5 where id = 2")
	c.do("update tp set v = 5 where id = 99")
	b.do("update tp set v = 12 where id = 1")
	require.Equal(t, 12, one[int](b, "select v from tp where id = 1"))
	c.fails("40001", "prepare transaction 'skew'")
	require.Equal(t, byte('I'), c.PgConn().TxStatus())

	c.do("begin")
	c.do("select 1")
	c.do("prepare transaction 'empty'")
	require.Equal(t, 1, one[int](b, "select count(*) from pg_prepared_xacts"))
	b.do("commit prepared 'empty'")
	b.fails("42704", "commit prepared 'empty'")
	// In a failed block it is a rollback.
	tag, err := func() (pgconn.CommandTag, error) {
		c.do("begin")
		c.fails("42P01", "select * from nosuch")
		return c.Exec(bg, "prepare transaction 'failed'")
	}()
	require.NoError(t, err)
	require.Equal(t, "ROLLBACK", tag.String())
	c.do("begin")
	c.do("create table tp2 (id int)")
	c.fails("0A000", "prepare transaction 'ddl'")
	c.do("rollback")
}

// A prepared transaction survives the restart of the whole cluster.
func TestPreparedSurvivesRestart(t *testing.T) {
	s := &suite{cluster.StartLocal(t, 1, nil), t}
	a := s.connect(t, 0)
	a.do("create table tr (id int primary key, v int)")
	a.do("insert into tr values (1, 0), (2, 0)")
	a.do("select pamir.split_at('tr', 2)")
	for _, gid := range []string{"c", "r"} {
		a.do("begin")
		a.do("insert into tr select ascii($1), 1 union all select -ascii($1), 1", gid)
		a.do("prepare transaction '" + gid + "'")
	}
	s.Crash(0, vfs.CrashCloneCfg{})
	s.Restart(0)
	a = s.connect(t, 0)
	require.Equal(t, "c,r", one[string](a, "select string_agg(gid, ',' order by gid) from pg_prepared_xacts"))
	a.do("commit prepared 'c'")
	a.do("rollback prepared 'r'")
	require.Equal(t, "-99,1,2,99", one[string](a, "select string_agg(id::text, ',' order by id) from tr"))
}
