package sessions

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Who finds a row with its key in the way of an INSERT does not lock it, as in PostgreSQL: whether ON CONFLICT DO NOTHING comes of it or an error that is
// rolled back to a savepoint. ON CONFLICT DO UPDATE does, and so does the INSERT lock the key that it found free.
func conflictsLeaveRowsFree(t *testing.T, s *suite) {
	a, b := s.connect(t, 0), s.connect(t, 1, "lock_timeout", "10s")
	a.do("create table inway (id int primary key, u int unique, v int)")
	a.do("insert into inway values (1, 10, 0), (2, 20, 0)")
	a.do("select pamir.split_at('inway', 2)")
	for _, level := range []string{"serializable", "repeatable read", "read committed"} {
		a.do("begin isolation level " + level)
		a.do("insert into inway values (1, 11, 0), (2, 12, 0) on conflict do nothing")
		a.do("insert into inway values (1, 13, 0) on conflict (id) do nothing")
		a.do("insert into inway values (7, 10, 0) on conflict (u) do nothing")
		require.Equal(t, 2, one[int](b, "select count(*) from (select from inway for update nowait) x"), level)
		a.do("savepoint s")
		a.fails("23505", "insert into inway values (2, 14, 0)")
		a.do("rollback to s")
		a.fails("23505", "update inway set id = 2 where id = 1")
		a.do("rollback to s")
		b.do("update inway set v = v + 1 where id = 2")
		a.do("commit")

		a.do("begin isolation level " + level)
		a.do("insert into inway values (1, 10, 0) on conflict (id) do update set v = 5")
		a.do("insert into inway values (3, 30, 0) on conflict do nothing")
		b.fails("55P03", "select from inway where id = 1 for update nowait")
		b.do("set lock_timeout = '100ms'")
		b.fails("55P03", "insert into inway values (3, 31, 0) on conflict do nothing")
		b.do("set lock_timeout = '10s'")
		a.do("rollback")
	}
	require.Equal(t, 3, one[int](a, "select v from inway where id = 2"))
}

// What a session has prepared is in its own way as it is in others': only locks of transactions that have ended are none to it. Rows that were only locked are free.
func preparedLocksAreMet(t *testing.T, s *suite) {
	a, b := s.connect(t, 0), s.connect(t, 1)
	a.do("create table heldback (id int primary key, v int)")
	a.do("insert into heldback select g, 0 from generate_series(1, 6) g")
	a.do("select pamir.split_at('heldback', 4)")
	a.do("begin")
	a.do("select from heldback where id in (1, 4) for update")
	a.do("update heldback set v = 1 where id in (2, 5)")
	a.do("select from heldback where id in (2, 5) for update")
	a.do("prepare transaction 'heldback'")
	for _, c := range []*client{a, b} {
		require.Equal(t, 4, one[int](c, "select count(*) from (select from heldback where id in (1, 3, 4, 6) for update nowait) x"))
		require.Equal(t, 0, one[int](c, "select count(*) from (select from heldback where id in (2, 5) for update skip locked) x"))
		for _, id := range []int{2, 5} {
			c.fails("55P03", "select from heldback where id = $1 for update nowait", id)
			c.do("set lock_timeout = '100ms'")
			c.fails("55P03", "update heldback set v = v + 1 where id = $1", id)
			c.fails("55P03", "insert into heldback values ($1, 1)", id)
			c.do("reset lock_timeout")
		}
	}
	a.do("commit prepared 'heldback'")
	require.Equal(t, 6, one[int](a, "select count(*) from (select from heldback for update skip locked) x"))
	require.Equal(t, 2, one[int](b, "select sum(v)::int from heldback"))
}
