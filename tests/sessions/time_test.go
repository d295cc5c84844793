package sessions

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/tests/cluster"
)

func TestTime(t *testing.T) {
	s := &suite{cluster.StartLocal(t, 3, func(i int, c *node.Config) {
		cluster.LongSupportLocal(i, c) // locks are held in it
		c.StoreKnob.ClosedLag = 200 * time.Millisecond
	}), t}
	for _, c := range []struct {
		name string
		f    func(t *testing.T, s *suite)
	}{
		{"snapshots are shared", snapshots},
		{"reading the past", past},
		{"timeouts", timeouts},
		{"defaults of the database", defaults},
		{"savepoints", savepoints},
		{"cursors", cursors},
	} {
		t.Run(c.name, func(t *testing.T) { c.f(t, s) })
	}
}

// Transactions of several nodes read one snapshot: what pg_dump's workers do.
func snapshots(t *testing.T, s *suite) {
	a, b, w := s.connect(t, 0), s.connect(t, 1), s.connect(t, 2)
	w.do("create table sn (id int primary key, v int)")
	w.do("insert into sn select i, 0 from generate_series(1, 10) i")
	a.do("begin isolation level repeatable read read only")
	require.Equal(t, 0, one[int](a, "select sum(v) from sn"))
	id := one[string](a, "select pg_export_snapshot()")
	for i := range 3 {
		w.do("update sn set v = v + 1")
		b.do("begin isolation level repeatable read")
		b.do("set transaction snapshot '" + id + "'")
		require.Equal(t, 0, one[int](b, "select sum(v) from sn"))
		require.Equal(t, 0, one[int](a, "select sum(v) from sn"), "the exporter reads on in it")
		require.Equal(t, 10*(i+1), one[int](w, "select sum(v) from sn"))
		b.fails("25006", "update sn set v = 0")
		b.do("rollback")
	}
	a.do("commit")
	b.do("begin isolation level serializable read only")
	b.do("set transaction snapshot '" + id + "'")
	require.Equal(t, 0, one[int](b, "select sum(v) from sn"), "it outlives the transaction that exported it")
	b.do("commit")
	for _, level := range []string{"read committed", "repeatable read", "serializable"} { // what its exporter commits later is not in it
		a.do("begin isolation level " + level)
		n := one[int](a, "select count(*) from sn")
		id := one[string](a, "select pg_export_snapshot()")
		a.do("insert into sn select max(id) + 1, 1 from sn")
		a.do("commit")
		b.do("begin isolation level repeatable read")
		b.do("set transaction snapshot '" + id + "'")
		require.Equal(t, n, one[int](b, "select count(*) from sn"), level)
		b.do("commit")
	}
	for _, bad := range []string{"nonsense", strings.Replace(id, "-", "+", 1), "7FFFFFFFFFFFFFFF-00000000-1", "FFFFFFFFFFFFFFFF-00000000-1"} {
		b.do("begin isolation level repeatable read")
		b.fails("22023", "set transaction snapshot '"+bad+"'")
		b.do("rollback")
	}
	b.do("begin isolation level read committed")
	b.fails("0A000", "set transaction snapshot '"+id+"'")
	b.do("rollback")
	b.do("begin isolation level repeatable read")
	b.do("select 1 from sn")
	b.fails("25001", "set transaction snapshot '"+id+"'")
	b.do("rollback")
}

func past(t *testing.T, s *suite) {
	a, w := s.connect(t, 1), s.connect(t, 0)
	w.do("create table pa (id int primary key, v int)")
	w.do("insert into pa values (1, 0)")
	then := one[time.Time](w, "select clock_timestamp()")
	w.do("select pg_sleep(0.01)")
	w.do("update pa set v = 1")
	a.do(fmt.Sprintf("set pamir.read_as_of = '%s'", then.UTC().Format("2006-01-02 15:04:05.999999+00")))
	require.Equal(t, 0, one[int](a, "select v from pa"))
	for _, q := range []string{"update pa set v = 9", "create table nope (i int)", "grant select on pa to public", "truncate pa", "drop table pa"} {
		a.fails("25006", q)
	}
	require.Equal(t, "on", one[string](a, "show transaction_read_only"))
	a.do("begin read write") // as a transaction that imports a snapshot, it only reads all the same
	a.fails("25006", "update pa set v = 9")
	a.do("rollback")
	a.do("reset pamir.read_as_of")
	a.do("begin")
	a.do("select 1")
	a.fails("25001", "set local pamir.read_as_of = '-1s'") // too late: not ignored
	a.do("rollback")
	a.do("set pamir.read_as_of = '2001-01-01'")
	a.fails("72000", "select * from pa")
	a.fails("22023", "set pamir.read_as_of = 'nonsense..'")
	a.fails("22023", "set pamir.read_as_of = 'infinity'")
	for _, long := range []string{"1500-01-01", "4000-01-01 BC", "-1000000 years", "-9000000 hours", "-9000000 hours.."} { // ago: more than 64 bits of nanoseconds
		a.do("set pamir.read_as_of = '" + long + "'")
		if strings.HasSuffix(long, "..") { // anything later will do
			one[int](a, "select 1")
			continue
		}
		a.fails("72000", "select * from pa")
	}
	for _, future := range []string{"2200-01-01", "9999-01-01"} {
		a.do("set pamir.read_as_of = '" + future + "'")
		a.fails("22023", "select * from pa")
	}
	// Bounded staleness: as new as this node's replicas are, which is much newer than the bound allows.
	a.do("set pamir.read_as_of = '-1h..'")
	require.Eventually(t, func() bool {
		var v int
		err := a.QueryRow(bg, "select v from pa").Scan(&v)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) { // it was there, and its row was not
			assert.ErrorContains(t, err, "42P01", "the table was not there yet")
		}
		return v == 1
	}, 30*time.Second, 10*time.Millisecond)
	// A prepared transaction is not in the way of those who read what was before it.
	w.do("begin")
	w.do("update pa set v = 2")
	w.do("prepare transaction 'pa'")
	a.do(fmt.Sprintf("set pamir.read_as_of = '%s'", then.UTC().Format("2006-01-02 15:04:05.999999+00")))
	require.Equal(t, 0, one[int](a, "select v from pa"))
	w.do("rollback prepared 'pa'")
}

func timeouts(t *testing.T, s *suite) {
	a := s.connect(t, 0)
	a.do("create table ti (id int primary key, v int)")
	a.do("insert into ti values (1, 0)")
	a.do("begin")
	a.do("update ti set v = 1")
	s.connect(t, 1, "lock_timeout", "20").fails("55P03", "update ti set v = 2")
	l := s.connect(t, 1, "statement_timeout", "60s")
	l.do("begin") // what is set later holds for what waits later, and no longer than to the savepoint
	l.do("insert into ti values (2, 0)")
	l.do("savepoint s")
	l.do("set local lock_timeout = 20")
	l.fails("55P03", "update ti set v = 2 where id = 1")
	l.do("rollback to s")
	require.Equal(t, "0", one[string](l, "show lock_timeout"))
	waits := l.later("select v from ti where id = 1 for update")
	a.eventually("select pg_blocking_pids($1) <> '{}'", l.pid())
	require.Equal(t, "select v from ti where id = 1 for update", one[string](a, "select query from pg_stat_activity where pid = $1", l.pid()), "with its literals")
	require.Equal(t, "select v from ti where id = 1 for update", one[string](a, "select query from pamir.transactions where pid = $1", l.pid()))
	require.True(t, one[bool](a, "select pg_cancel_backend($1)", l.pid()))
	l.code("57014", <-waits, "a wait that was cancelled")
	l.do("rollback")
	b := s.connect(t, 1, "statement_timeout", "20") // which runs nothing that is to succeed: the machine may be busy
	b.fails("57014", "update ti set v = 2")
	b.fails("57014", "select pg_sleep(60)")
	gone := func(code string, settings ...string) {
		t.Helper()
		c := s.connect(t, 0, settings...)
		if code != "57P05" {
			if _, err := c.Exec(bg, "begin; select * from ti"); err != nil { // at once, or it might be over between the two
				require.ErrorContains(t, err, code)
			}
		}
		a.eventually("select not exists (select from pg_stat_activity where pid = $1)", c.pid())
		_, err := c.Exec(bg, "select 1")
		require.Error(t, err)
		if !strings.Contains(err.Error(), "closed") { // the driver may have noticed, or reads what the server said last
			require.ErrorContains(t, err, code)
		}
	}
	gone("25P03", "idle_in_transaction_session_timeout", "20")
	gone("57P05", "idle_session_timeout", "20")
	gone("25P04", "transaction_timeout", "100")
	c := s.connect(t, 0, "transaction_timeout", "50")
	e := c.fails("25P04", "select pg_sleep(60)")
	require.Equal(t, "FATAL", e.Severity)
	a.do("commit")
	// What is wrong with what a COPY is sent after its time was up is not what it fails for.
	for setting, code := range map[string]string{"statement_timeout": "57014", "transaction_timeout": "25P04"} {
		c := s.connect(t, 0, setting, "100")
		_, err := c.PgConn().CopyFrom(bg, &lateData{pieces: []string{"7\t7\n", "nonsense\n"}}, "copy ti from stdin")
		c.code(code, err, setting)
	}
}

// lateData sends the last of its pieces late.
type lateData struct{ pieces []string }

func (l *lateData) Read(p []byte) (int, error) {
	switch len(l.pieces) {
	case 0:
		return 0, io.EOF
	case 1:
		time.Sleep(400 * time.Millisecond)
	}
	n := copy(p, l.pieces[0])
	l.pieces = l.pieces[1:]
	return n, nil
}

// The defaults of a database hold for sessions that begin after they were set.
func defaults(t *testing.T, s *suite) {
	a := s.connect(t, 0)
	a.do("alter database defaultdb set default_transaction_isolation = 'read committed'")
	a.do("alter database defaultdb set statement_timeout = '7s'")
	a.do("alter database defaultdb set default_transaction_read_only = on")
	require.Equal(t, "serializable", one[string](a, "show transaction_isolation"))
	defer a.do("alter database defaultdb reset all")
	deadline := time.Now().Add(30 * time.Second)
	for {
		b := s.connect(t, 2)
		if one[string](b, "show transaction_isolation") == "read committed" {
			require.Equal(t, "7s", one[string](b, "show statement_timeout"))
			b.fails("25006", "create table nope (i int)")
			b.do("begin read write isolation level repeatable read deferrable")
			require.Equal(t, "repeatable read", one[string](b, "show transaction_isolation"))
			require.Equal(t, "on", one[string](b, "show transaction_deferrable"))
			b.do("rollback")
			break
		}
		require.True(t, time.Now().Before(deadline), "the defaults are not there")
		time.Sleep(10 * time.Millisecond)
	}
}

// Savepoints nest as deep as anybody likes, and each return finds what was there.
func savepoints(t *testing.T, s *suite) {
	a := s.connect(t, 0)
	a.do("create table sp (id int primary key, v int)")
	a.do("insert into sp values (1, 0)")
	const depth = 500
	a.do("begin")
	for i := 1; i <= depth; i++ {
		a.do(fmt.Sprintf("savepoint s%d", i%7)) // names repeat: the latest counts
		a.do("update sp set v = $1 where id = 1", i)
	}
	require.Equal(t, depth, one[int](a, "select v from sp"))
	for i := depth; i > depth-20; i-- {
		a.fails("42P01", "select * from nosuch")
		a.do(fmt.Sprintf("rollback to s%d", i%7))
		require.Equal(t, i-1, one[int](a, "select v from sp"))
		a.do(fmt.Sprintf("release s%d", i%7))
	}
	a.do("rollback to s1") // of which there are many: the latest that is left
	v := one[int](a, "select v from sp")
	require.Equal(t, 0, v%7)
	a.do("commit")
	require.Equal(t, v, one[int](a, "select v from sp"))
}

// Cursors read the snapshot they were opened in; those that are held outlive their transaction, within the statement's memory.
func cursors(t *testing.T, s *suite) {
	a, w := s.connect(t, 0), s.connect(t, 1)
	a.do("create table cu (id int primary key, pad text)")
	a.do("insert into cu select i, repeat('x', 1000) from generate_series(1, 2000) i")
	a.do("begin isolation level repeatable read")
	a.do("declare c scroll cursor for select id from cu order by id")
	require.Equal(t, 1, one[int](a, "fetch c"))
	w.do("delete from cu where id > 1000")
	require.Equal(t, 2000, one[int](a, "fetch last c"))
	require.Equal(t, 1999, one[int](a, "fetch prior c"))
	a.do("commit")
	a.do("begin")
	a.do("declare h cursor with hold for select id from cu order by id")
	require.Equal(t, 1, one[int](a, "fetch h"))
	a.do("commit")
	w.do("delete from cu where id > 10")
	require.Equal(t, 2, one[int](a, "fetch h"))
	require.Equal(t, int64(998), one[int64](a, "select count(*) from pg_cursors where name = 'h' and is_holdable")*998)
	a.do("close h")
	// A held cursor that needs more than the statement's memory fails the commit, and nothing is held.
	w.do("insert into cu select i, repeat('x', 1000) from generate_series(11, 2000) i")
	a.do("set pamir.statement_memory = '256kB'")
	a.do("begin")
	a.do("declare big cursor with hold for select * from cu")
	a.fails("53200", "commit")
	require.Equal(t, 0, one[int](a, "select count(*) from pg_cursors"))
}
