package sql

import (
	"context"
	"encoding/binary"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/txn"
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

func leaseValue(incarnation, until int64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(incarnation)), uint64(until))
}

func TestAdvisoryLocks(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	steps := []struct {
		who  *talker
		q    string
		want string
	}{
		{a, "select pg_try_advisory_lock(1)", "[pg_try_advisory_lock](t)SELECT 1;"},
		{b, "select pg_try_advisory_lock(1)", "[pg_try_advisory_lock](f)SELECT 1;"},
		{b, "select pg_try_advisory_lock(0, 1)", "[pg_try_advisory_lock](t)SELECT 1;"}, // two integers name another lock
		{b, "select pg_advisory_unlock(1)", "[pg_advisory_unlock]<you don't own a lock of type ExclusiveLock>(f)SELECT 1;"},
		{a, "select pg_try_advisory_lock(1)", "[pg_try_advisory_lock](t)SELECT 1;"}, // again: it counts
		{a, "select pg_advisory_unlock(1)", "[pg_advisory_unlock](t)SELECT 1;"},
		{b, "select pg_try_advisory_lock_shared(1)", "[pg_try_advisory_lock_shared](f)SELECT 1;"},
		{a, "select pg_advisory_unlock(1)", "[pg_advisory_unlock](t)SELECT 1;"},
		{b, "select pg_try_advisory_lock_shared(1)", "[pg_try_advisory_lock_shared](t)SELECT 1;"},
		{a, "select pg_try_advisory_lock_shared(1)", "[pg_try_advisory_lock_shared](t)SELECT 1;"},
		{a, "select pg_try_advisory_lock(1)", "[pg_try_advisory_lock](f)SELECT 1;"},
		{b, "select pg_advisory_unlock_all()", "[pg_advisory_unlock_all]()SELECT 1;"},
		{a, "select pg_try_advisory_lock(1)", "[pg_try_advisory_lock](t)SELECT 1;"}, // both modes
		{a, "select locktype, classid, objid, objsubid, mode, granted from pg_locks where locktype = 'advisory' order by mode",
			"[locktype,classid,objid,objsubid,mode,granted](advisory,0,1,1,ExclusiveLock,t)(advisory,0,1,1,ShareLock,t)SELECT 2;"},
		{a, "select pg_advisory_unlock(1)", "[pg_advisory_unlock](t)SELECT 1;"},
		{b, "select pg_try_advisory_lock_shared(1)", "[pg_try_advisory_lock_shared](t)SELECT 1;"}, // the shared one stays
		{a, "discard all", "DISCARD ALL;"},
		{b, "select pg_try_advisory_lock(1)", "[pg_try_advisory_lock](t)SELECT 1;"},
		{b, "select pg_advisory_unlock_all()", "[pg_advisory_unlock_all]()SELECT 1;"},
	}
	for _, st := range steps {
		require.Equal(t, st.want, st.who.q(st.q), st.q)
	}
	b.must("select pg_advisory_unlock_all()")
	require.Zero(t, w.store.Len(keys.System(advisoryPrefix)), "nothing is left of locks that nobody holds")
}

func TestAdvisoryLocksOfTransactions(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	free := func(key string) bool {
		t.Helper()
		ok := b.q("begin; select pg_try_advisory_xact_lock("+key+"); rollback") == "BEGIN;[pg_try_advisory_xact_lock](t)SELECT 1;ROLLBACK;"
		return ok
	}
	// An implicit transaction's lock goes at once, a block's at its end, whichever.
	a.must("select pg_advisory_xact_lock(1)")
	require.True(t, free("1"))
	for _, end := range []string{"commit", "rollback", "select nosuch; "} {
		a.must("begin")
		a.must("select pg_advisory_xact_lock(1)")
		require.False(t, free("1"))
		a.q(end)
		require.True(t, free("1"), end)
		a.q("rollback")
	}
	// A lock of the session outlives the transaction that took it, also one that fails.
	a.must("begin")
	a.must("select pg_advisory_lock(2)")
	a.q("select nosuch")
	a.q("rollback")
	require.False(t, free("2"))
	a.must("select pg_advisory_unlock(2)")
	require.True(t, free("2"))
	// A return to a savepoint gives back what was taken since.
	a.must("begin; select pg_advisory_xact_lock(3); savepoint s; select pg_advisory_xact_lock(4); rollback to s")
	require.False(t, free("3"))
	require.True(t, free("4"))
	a.must("commit")
	require.True(t, free("3"))
}

func TestAdvisoryLockIsTakenOnceHoweverOftenItRuns(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	a.must("create table t (id int primary key, v int)")
	a.must("insert into t values (1, 10)")
	a.must("begin")
	a.must("select pg_advisory_lock(1)")
	a.must("update t set v = v + 1 where id = 1")
	b.must("update t set v = v + 100 where id = 1")
	require.Equal(t, "COMMIT;", a.q("commit"))
	require.EqualValues(t, 1, w.srv.metrics.Retries.Load(), "it ran again")
	a.must("select pg_advisory_unlock(1)")
	require.Equal(t, "[pg_try_advisory_lock](t)SELECT 1;", b.q("select pg_try_advisory_lock(1)"))
}

func TestAdvisoryLockWaits(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	a.must("select pg_advisory_lock(1)")
	got := make(chan string)
	go func() { got <- b.q("select pg_advisory_lock(1)") }()
	require.Eventually(t, func() bool { return b.Info().Advisory != nil }, 10*time.Second, time.Millisecond)
	require.Equal(t, []int32{a.pid}, b.Info().Advisory.Blockers)
	require.Contains(t, a.q("select pg_blocking_pids("+itoa(b.pid)+")"), "({"+itoa(a.pid)+"})")
	require.Contains(t, a.q("select wait_event_type, wait_event from pg_stat_activity where pid = "+itoa(b.pid)), "(Lock,advisory)")
	require.Contains(t, a.q("select count(*) from pg_locks where not granted and pid = "+itoa(b.pid)), "(1)")
	a.Close() // the end of a session is the end of its locks
	require.Equal(t, "[pg_advisory_lock]()SELECT 1;", <-got)

	c := w.session()
	c.must("set lock_timeout = 10")
	require.Equal(t, "[pg_advisory_lock]!55P03", c.q("select pg_advisory_lock(1)"))
	c.must("set lock_timeout = 0")
	c.must("set statement_timeout = 10")
	require.Equal(t, "[pg_advisory_lock]!57014", c.q("select pg_advisory_lock(1)"))
}

func TestAdvisoryDeadlock(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	for _, s := range []*talker{a, b} {
		s.must("set deadlock_timeout = 1")
	}
	a.must("select pg_advisory_lock(1)")
	b.must("select pg_advisory_lock(2)")
	got := make(chan string)
	go func() { got <- a.q("select pg_advisory_lock(2)") }()
	require.Eventually(t, func() bool { return a.Info().Advisory != nil }, 10*time.Second, time.Millisecond)
	require.Equal(t, "[pg_advisory_lock]!40P01", b.q("select pg_advisory_lock(1)"), "the later session gives up")
	b.must("select pg_advisory_unlock(2)")
	require.Equal(t, "[pg_advisory_lock]()SELECT 1;", <-got)
}

// A node that is gone holds nothing once its lease has run out, and a session whose node's lease has run out is ended before it can do
// anything in the belief that it has its lock.
func TestAdvisoryLeases(t *testing.T) {
	w := newWorld(t)
	other := NewServer(Config{Gateway: w.store, Catalog: w.srv.cfg.Catalog, Bulk: w.store, Node: 2})
	w2 := &world{t: t, store: w.store, srv: other}
	a, b := w.session(), w2.session()
	require.False(t, PIDOn(a.pid, 2))
	require.True(t, PIDOn(b.pid, 2))
	b.must("select pg_advisory_lock(1)")
	require.Contains(t, a.q("select pg_try_advisory_lock(1)"), "(f)")
	// Node 2 stands still: its lease ends.
	ctx := context.Background()
	other.advisory.until.Store(1)
	tx := w.store.Begin(ctx, txn.Options{})
	require.NoError(t, tx.Put(leaseRow(2), leaseValue(other.incarnation, 1)))
	_, err := tx.Commit(ctx)
	require.NoError(t, err)
	require.Contains(t, a.q("select pg_try_advisory_lock(1)"), "(t)")
	err = b.Query("select 1")
	require.ErrorContains(t, err, "advisory locks were lost")
	b.Close()
	require.Contains(t, a.q("select count(*) from pg_locks where locktype = 'advisory'"), "(1)", "what the dead session gives back is not what others hold")
	// A process that was followed by another on the same node holds nothing.
	c := w2.session()
	require.Contains(t, c.q("select pg_try_advisory_lock(2)"), "(t)")
	tx = w.store.Begin(ctx, txn.Options{})
	require.NoError(t, tx.Put(leaseRow(2), leaseValue(other.incarnation+1, 1<<62)))
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	require.Contains(t, a.q("select pg_try_advisory_lock(2)"), "(t)")
}
