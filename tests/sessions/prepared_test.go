package sessions

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

func sqlstate(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return fmt.Sprint(err)
}

// preparedRaces: two nodes are told to finish one transaction at the same time. Who is told that it was done was told the truth; the other one hears that
// there is no such transaction any more, or what became of it.
func preparedRaces(t *testing.T, s *suite) {
	a, b, c := s.connect(t, 0), s.connect(t, 1), s.connect(t, 2)
	a.do("create table races (id int primary key, v int)")
	a.do("insert into races values (1, 0), (2, 0)")
	a.do("select pamir.split_at('races', 2)")
	want := 0
	for round := range 40 {
		a.do("begin")
		a.do("update races set v = v + 1")
		a.do("prepare transaction 'race'")
		second := []string{"commit prepared 'race'", "rollback prepared 'race'"}[round%2]
		var wg sync.WaitGroup
		var errB, errC error
		wg.Go(func() { _, errB = b.Exec(bg, "commit prepared 'race'") })
		wg.Go(func() { _, errC = c.Exec(bg, second) })
		wg.Wait()
		v := one[int](a, "select max(v) from races")
		require.Equal(t, v, one[int](a, "select min(v) from races"), "half of it")
		committed := v == want+1
		require.True(t, committed || v == want, "%d after %d", v, want)
		want = v
		what := fmt.Sprintf("round %d: commit: %v; %s: %v; committed: %v", round, errB, second, errC, committed)
		for i, err := range []error{errB, errC} {
			commits := i == 0 || round%2 == 0
			switch {
			case err == nil:
				require.Equal(t, commits, committed, what)
			case commits == committed:
				require.Equal(t, "42704", sqlstate(err), what) // it was done, by the other one
			default:
				require.Contains(t, []string{"42704", "55000"}, sqlstate(err), what)
			}
		}
		require.True(t, errB == nil || errC == nil, what)
		require.Equal(t, 0, one[int](a, "select count(*) from pg_prepared_xacts"))
	}
}

// preparedCancelled: COMMIT PREPARED that is cancelled, or times out, while it commits says what became of it.
func preparedCancelled(t *testing.T, s *suite) {
	a, b := s.connect(t, 0), s.connect(t, 1)
	a.do("create table pc (id int primary key, v int)")
	a.do("insert into pc values (1, 0), (2, 0)")
	a.do("select pamir.split_at('pc', 2)")
	done := 0
	for round := range 40 {
		a.do("begin")
		a.do("update pc set v = v + 1")
		a.do("prepare transaction 'pc'")
		a.do(fmt.Sprintf("set statement_timeout = %d", 1+round/4))
		_, err := a.Exec(bg, "commit prepared 'pc'", pgx.QueryExecModeSimpleProtocol)
		for err := errors.New("not yet"); err != nil; { // a millisecond may be too little for that, too
			_, err = a.Exec(bg, "set statement_timeout = 0", pgx.QueryExecModeSimpleProtocol)
		}
		if err != nil {
			require.Equal(t, "57014", sqlstate(err), "round %d", round)
			require.Equal(t, 1, one[int](b, "select count(*) from pg_prepared_xacts"))
			b.do("rollback prepared 'pc'")
		} else {
			done++
		}
		require.Equal(t, done, one[int](b, "select min(v) from pc"))
		require.Equal(t, done, one[int](b, "select max(v) from pc"))
	}
	require.Zero(t, one[int](b, "select count(*) from pg_prepared_xacts"))
}

// preparedOutcome: a transaction that is prepared is in progress for who asks by its id, at once, until it is finished, on any node; and its session uses another id from then on.
func preparedOutcome(t *testing.T, s *suite) {
	a, b := s.connect(t, 0, "pamir.report_xact_id", "on"), s.connect(t, 2, "statement_timeout", "10s")
	a.do("create table po (id int primary key, v int)")
	a.do("insert into po values (1, 0), (2, 0)")
	a.do("select pamir.split_at('po', 2)")
	for how, outcome := range map[string]string{"commit": "committed", "rollback": "aborted"} {
		a.do("begin")
		id := a.PgConn().ParameterStatus("pamir.xact_id")
		a.do("update po set v = v + 1")
		a.do("prepare transaction 'po'")
		require.NotEqual(t, id, a.PgConn().ParameterStatus("pamir.xact_id"), "the session's next transaction is another one")
		a.do("set statement_timeout = '10s'")
		a.do("insert into po values (" + map[string]string{"commit": "11", "rollback": "12"}[how] + ", 0)")
		for _, c := range []*client{a, b} {
			require.Equal(t, "in progress", one[string](c, "select pg_xact_status($1::text::xid8)", id))
		}
		b.do(how + " prepared 'po'")
		require.Equal(t, outcome, one[string](a, "select pg_xact_status($1::text::xid8)", id))
		require.Equal(t, outcome, one[string](b, "select pg_xact_status($1::text::xid8)", id))
	}
}

// preparedHolders: a prepared transaction belongs to no session, whatever the one that prepared it does now; who waits for it is seen to wait, readers, too.
func preparedHolders(t *testing.T, s *suite) {
	a, b, c := s.connect(t, 0, "deadlock_timeout", "20"), s.connect(t, 1), s.connect(t, 2, "deadlock_timeout", "20")
	c.do("create table ph (id int primary key, v int)")
	c.do("insert into ph values (1, 0)")
	a.do("begin")
	a.do("update ph set v = 1")
	a.do("prepare transaction 'it''s held'")
	require.Equal(t, "root|prepared|PREPARE TRANSACTION 'it''s held'|t", one[string](b,
		"select concat_ws('|', username, status, query, pid is null) from pamir.transactions where status = 'prepared'"))
	require.Zero(t, one[int](b, "select count(*) from pg_locks where pid = $1", a.pid()))
	require.Zero(t, one[int](b, "select count(*) from pamir.locks where pid = $1", a.pid()))

	ch := c.later("select v from ph")
	b.eventually("select exists (select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock' and wait_event = 'tuple')", c.pid())
	require.Equal(t, []int32{0}, one[[]int32](b, "select pg_blocking_pids($1)", c.pid()))
	a.do("rollback prepared 'it''s held'")
	require.NoError(t, <-ch)

	// Who waits for the row that it has prepared, and then for what they hold themselves, has not closed a circle.
	c.do("select pg_advisory_lock(4711)")
	a.do("begin")
	a.do("update ph set v = 1")
	a.do("prepare transaction 'held'")
	row := c.later("update ph set v = 2")
	b.eventually("select pg_blocking_pids($1) = array[0]", c.pid())
	lock := a.later("select pg_advisory_lock(4711)")
	b.eventually("select pg_blocking_pids($1) = array[$2::int]", a.pid(), c.pid())
	b.do("select pg_sleep(0.3)")
	b.do("commit prepared 'held'")
	require.NoError(t, <-row)
	c.do("select pg_advisory_unlock(4711)")
	require.NoError(t, <-lock)
	require.Equal(t, 2, one[int](b, "select v from ph"))
	a.do("select pg_advisory_unlock(4711)")
}

// preparedForeignKeys: what a prepared transaction refers to cannot be taken away while it is neither committed nor rolled back, and what it has taken away cannot be
// referred to; though its row locks have gone with its session.
func preparedForeignKeys(t *testing.T, s *suite) {
	for _, split := range []bool{false, true} {
		for _, indexed := range []bool{true, false} {
			t.Logf("split %v, indexed %v", split, indexed)
			a, b := s.connect(t, 0), s.connect(t, 1)
			impatient := s.connect(t, 1, "lock_timeout", "100ms", "statement_timeout", "200ms") // which runs nothing but what must wait
			a.do("drop table if exists fc, fp")
			a.do("create table fp (id int primary key, note text)")
			a.do("create table fc (id int generated always as identity primary key, p int references fp)")
			a.do("insert into fp select g, '' from generate_series(1, 5) g")
			if indexed {
				a.do("create index on fc (p)")
			}
			if split {
				a.do("select pamir.split_at('fc', 0)")
				a.do("select pamir.split_at('fp', 3)")
			}
			prepare := func(sql string) {
				t.Helper()
				a.do("begin")
				a.do(sql)
				a.do("prepare transaction 'fk'")
			}
			waits := func(sql string) {
				t.Helper()
				// Whoever writes waits for a lock; the check whether anything refers to a key is a read, and waits for what is prepared.
				_, err := impatient.Exec(bg, sql)
				require.Contains(t, []string{"55P03", "57014"}, sqlstate(err), sql)
			}
			finish := func(how string) { t.Helper(); a.do(how + " prepared 'fk'") }
			prepare("insert into fc (p) values (1), (5)")
			waits("delete from fp where id = 1")
			waits("delete from fp where id = 5")
			b.do("update fp set note = 'x' where id = 1") // the key stays
			finish("commit")
			b.fails("23503", "delete from fp where id = 1")
			b.fails("23503", "delete from fp where id = 5")

			prepare("insert into fc (p) values (2)")
			waits("delete from fp where id = 2")
			finish("rollback")
			b.do("delete from fp where id = 2")

			prepare("delete from fp where id = 3")
			waits("insert into fc (p) values (3)")
			finish("rollback")
			b.do("insert into fc (p) values (3)")
			prepare("delete from fp where id = 4")
			waits("insert into fc (p) values (4)")
			finish("commit")
			b.fails("23503", "insert into fc (p) values (4)")
			a.fails("23503", "delete from fp where id = 3")
			require.Equal(t, 0, one[int](a, "select count(*) from fc where not exists (select from fp where fp.id = fc.p)"))
		}
	}
}

// A prepared transaction is left alone by whoever looks after abandoned locks, for longer than that takes.
func TestPreparedOutlastsSweeps(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for two sweeps")
	}
	s := &suite{cluster.StartLocal(t, 1, nil), t}
	a := s.connect(t, 0)
	a.do("create table pl (id int primary key, v int)")
	a.do("insert into pl select g, 0 from generate_series(1, 4) g")
	a.do("select pamir.split_at('pl', 3)")
	a.do("begin")
	a.do("update pl set v = 1")
	a.do("prepare transaction 'long'")
	time.Sleep(7 * time.Second) // sweeps are 3 s apart, and leave what is younger than 2 s alone
	a.do("commit prepared 'long'")
	require.Equal(t, 4, one[int](a, "select sum(v)::int from pl"))
}
