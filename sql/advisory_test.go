package sql

import (
	"context"
	"encoding/binary"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/txn"
)

func itoa(n int32) string { return strconv.Itoa(int(n)) }

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
	require.Zero(t, w.store.Len(keys.System("advisory/lock/")), "nothing is left of locks that nobody holds")
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
	// Nobody has renewed anything for a while.
	clock := w.store.Clock()
	clock.Update(clock.Now().Add(13 * time.Second))
	require.Contains(t, a.q("select pg_try_advisory_lock(1)"), "(t)")
	err := b.Query("select 1")
	require.ErrorContains(t, err, "advisory locks were lost")
	b.Close()
	require.Contains(t, a.q("select count(*) from pg_locks where locktype = 'advisory'"), "(1)", "what the dead session gives back is not what others hold")
	// A process that was followed by another on the same node holds nothing.
	c := w2.session()
	require.Contains(t, c.q("select pg_try_advisory_lock(2)"), "(t)")
	ctx := context.Background()
	tx := w.store.Begin(ctx, txn.Options{})
	lease := binary.BigEndian.AppendUint64(nil, uint64(other.incarnation+1))
	require.NoError(t, tx.Put(keys.System("advisory/node/2"), binary.BigEndian.AppendUint64(lease, 1<<62)))
	_, err = tx.Commit(ctx)
	require.NoError(t, err)
	require.Contains(t, a.q("select pg_try_advisory_lock(2)"), "(t)")
}

// Waiters are served in their order, sharers who stand together get it together, and nobody goes past those who wait.
func TestAdvisoryLockQueue(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("select pg_advisory_lock_shared(1)")
	got := make(chan int)
	var who []*talker
	wait := func(q string) {
		t.Helper()
		s, i := w.session(), len(who)
		who = append(who, s)
		go func() { s.q(q); got <- i }()
		require.Eventually(t, func() bool { return s.Info().Advisory != nil }, 10*time.Second, time.Millisecond)
	}
	wait("select pg_advisory_lock(1)")
	wait("select pg_advisory_lock_shared(1)")
	wait("select pg_advisory_xact_lock_shared(1)") // an implicit transaction: it has it for a moment
	wait("select pg_advisory_lock(1)")
	require.Contains(t, w.session().q("select pg_try_advisory_lock_shared(1)"), "(f)", "not past those who wait")
	require.Equal(t, "[pg_blocking_pids]({"+itoa(who[0].pid)+"})SELECT 1;", a.q("select pg_blocking_pids("+itoa(who[1].pid)+")"))
	// A holder goes past the one whom it keeps waiting, or it would never come to it.
	a.must("select pg_advisory_lock(1)")
	a.must("select pg_advisory_unlock_all()")
	require.Equal(t, 0, <-got)
	who[0].must("select pg_advisory_unlock(1)")
	first, second := <-got, <-got
	require.ElementsMatch(t, []int{1, 2}, []int{first, second}, "both sharers")
	who[1].must("select pg_advisory_unlock_shared(1)")
	require.Equal(t, 3, <-got)
	who[3].must("select pg_advisory_unlock(1)")
	require.Zero(t, w.store.Len(keys.System("advisory/lock/")))
}

// Who gives up waiting is out of the queue.
func TestAdvisoryLockWaitGivenUp(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.session(), w.session(), w.session()
	a.must("select pg_advisory_lock_shared(1)")
	b.must("set lock_timeout = 10")
	require.Equal(t, "[pg_advisory_lock]!55P03", b.q("select pg_advisory_lock(1)"))
	require.Contains(t, c.q("select pg_try_advisory_lock_shared(1)"), "(t)")
	b.must("select pg_advisory_lock_shared(1)")
	b.q("select pg_advisory_lock(1)")
	require.Contains(t, a.q("select count(*) from pg_locks where locktype = 'advisory' and granted"), "(3)", "what it had before it has still")
	require.Contains(t, a.q("select count(*) from pg_locks where locktype = 'advisory' and not granted"), "(0)")
}

// A cycle that only the order of a queue closes is opened by going ahead of it: nobody fails.
func TestAdvisoryDeadlockOfOrder(t *testing.T) {
	w := newWorld(t)
	a, b, c := w.session(), w.session(), w.session()
	for _, s := range []*talker{a, b, c} {
		s.must("set deadlock_timeout = 1")
	}
	a.must("select pg_advisory_lock_shared(1)")
	c.must("select pg_advisory_lock(2)")
	later := func(s *talker, q string) chan string {
		ch := make(chan string)
		go func() { ch <- s.q(q) }()
		require.Eventually(t, func() bool { return s.Info().Advisory != nil }, 10*time.Second, time.Millisecond)
		return ch
	}
	gotB := later(b, "select pg_advisory_lock(1)")
	gotA := later(a, "select pg_advisory_lock(2)")
	require.Equal(t, "[pg_advisory_lock_shared]()SELECT 1;", c.q("select pg_advisory_lock_shared(1)"))
	c.must("select pg_advisory_unlock_all()")
	require.Equal(t, "[pg_advisory_lock]()SELECT 1;", <-gotA)
	a.must("select pg_advisory_unlock_all()")
	require.Equal(t, "[pg_advisory_lock]()SELECT 1;", <-gotB)
}

// The word of a grant may get lost: these two know nothing of each other but the row.
func TestAdvisoryGrantNotTold(t *testing.T) {
	w := newWorld(t)
	w2 := &world{t: t, store: w.store, srv: NewServer(Config{Gateway: w.store, Catalog: w.srv.cfg.Catalog, Bulk: w.store, Node: 2})}
	a, b := w.session(), w2.session()
	a.must("select pg_advisory_lock(1)")
	got := make(chan string)
	go func() { got <- b.q("select pg_advisory_lock(1)") }()
	require.Eventually(t, func() bool { return b.Info().Advisory != nil }, 10*time.Second, time.Millisecond)
	a.must("select pg_advisory_unlock(1)")
	require.Equal(t, "[pg_advisory_lock]()SELECT 1;", <-got)
	require.Contains(t, a.q("select pg_try_advisory_lock(1)"), "(f)")
}

// counted counts the transactions of a gateway.
type counted struct {
	txn.Gateway
	n atomic.Int64
}

func (c *counted) Begin(ctx context.Context, opts txn.Options) txn.Txn {
	c.n.Add(1)
	return c.Gateway.Begin(ctx, opts)
}

// While nobody moves, a hundred who wait at three nodes cost what three do: a look and a search for deadlocks every few seconds from each node.
func TestAdvisoryLockWaitersRest(t *testing.T) { synctest.Test(t, testAdvisoryLockWaitersRest) }

func testAdvisoryLockWaitersRest(t *testing.T) {
	w := newWorld(t)
	gateway := &counted{Gateway: w.store}
	holder := w.session()
	holder.must("select pg_advisory_lock(1)")
	const n, nodes = 99, 3
	done := make(chan string, n)
	var waiting []*talker
	for node := range int32(nodes) {
		wn := &world{t: t, store: w.store, srv: NewServer(Config{Gateway: gateway, Catalog: w.srv.cfg.Catalog, Bulk: w.store, Node: node + 2})}
		for range n / nodes {
			s := wn.session()
			s.must("set deadlock_timeout = 1")
			waiting = append(waiting, s)
			go func() { done <- s.q("select pg_advisory_lock_shared(1)") }()
		}
	}
	for _, s := range waiting {
		require.Eventually(t, func() bool { return s.Info().Advisory != nil }, 10*time.Second, time.Millisecond)
	}
	time.Sleep(time.Second) // each has searched once
	before, began := gateway.n.Load(), time.Now()
	time.Sleep(3 * time.Second)
	count, took := gateway.n.Load()-before, time.Since(began)
	t.Logf("%d transactions in %s", count, took.Round(time.Millisecond))
	require.LessOrEqual(t, count, nodes*int64(3*took/time.Second+3))
	holder.must("select pg_advisory_unlock(1)")
	for range n {
		require.Equal(t, "[pg_advisory_lock_shared]()SELECT 1;", <-done)
	}
}
