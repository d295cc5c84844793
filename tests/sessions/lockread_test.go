package sessions

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Two transactions that read a row and write it back collide once; from then on the same read locks, and the second waits for the first.
func lockedReads(t *testing.T, s *suite) {
	a, b, c := s.connect(t, 0), s.connect(t, 0), s.connect(t, 1)
	a.do("create table lr (id int primary key, v int)")
	a.do("insert into lr values (1, 0), (2, 0)")
	const read = "select v from lr where id = 1"

	// The first time nobody knows. a does not end, and b, which has waited for it for a moment, reads what a is about to change.
	a.do("begin")
	b.do("begin")
	require.Equal(t, 0, one[int](a, read))
	require.Equal(t, 0, one[int](b, read))
	a.do("update lr set v = 1 where id = 1")
	a.do("commit")
	b.fails("40001", "update lr set v = 1 where id = 1")
	b.do("rollback")

	d := s.connect(t, 0)
	for i := range 3 {
		a.do("begin")
		require.Equal(t, 1+2*i, one[int](a, read))
		b.do("begin")
		got := make(chan int, 1)
		go func() {
			var v int
			if b.QueryRow(bg, read).Scan(&v) != nil {
				v = -1
			}
			got <- v
		}()
		d.eventually("select pg_blocking_pids($1) = array[$2::int]", b.pid(), a.pid())
		a.do("update lr set v = v + 1 where id = 1")
		a.do("commit")
		require.Equal(t, 2+2*i, <-got, "the second sees what the first has written")
		b.do("update lr set v = v + 1 where id = 1")
		b.do("commit")
	}

	// Nothing else waits: other rows, reads outside of blocks, read-only blocks, other levels, sessions that do not want it.
	a.do("begin")
	require.Equal(t, 7, one[int](a, read))
	require.Equal(t, 7, one[int](b, read))
	for _, begin := range []string{"begin read only", "begin isolation level read committed"} {
		b.do(begin)
		require.Equal(t, 7, one[int](b, read), begin)
		b.do("commit")
	}
	b.do("begin")
	require.Equal(t, 0, one[int](b, "select v from lr where id = 2"))
	b.do("commit")
	b.do("set pamir.lock_reads = off")
	b.do("begin")
	require.Equal(t, 7, one[int](b, read))
	b.do("commit")
	b.do("reset pamir.lock_reads")
	require.Equal(t, 7, one[int](c, read))
	a.do("commit")

	// Nobody needs the privilege that FOR NO KEY UPDATE asks for, which is UPDATE. What was learned outlives changes of the schema and of who may do what.
	a.do("create role mover")
	a.do("grant select, insert, delete on lr to mover")
	a.do("set role mover")
	a.do("begin")
	require.Equal(t, 7, one[int](a, read))
	b.fails("55P03", read+" for no key update nowait")
	a.do("delete from lr where id = 1")
	a.do("insert into lr values (1, 8)")
	a.do("commit")
	a.fails("42501", read+" for no key update")
}

// Where blocks write the row that they have read by its key, the read locks before anybody has failed for it; where they do not, nobody waits.
func lockedReadsAhead(t *testing.T, s *suite) {
	a, b, d := s.connect(t, 0), s.connect(t, 0), s.connect(t, 0)
	a.do("create table la (id int primary key, v int)")
	a.do("insert into la values (1, 0), (2, 0)")
	const read = "select v from la where id = $1"
	block := func(write int) {
		a.do("begin")
		one[int](a, read, 1)
		if write != 0 {
			a.do("update la set v = v + 1 where id = $1", write)
		}
		a.do("commit")
	}
	// Blocks that write another row, or none.
	free := func() {
		t.Helper()
		a.do("begin")
		b.do("begin")
		v := one[int](a, read, 1)
		require.Equal(t, v, one[int](b, read, 1))
		a.do("commit")
		b.do("commit")
	}
	block(0)
	block(2)
	free()
	for range 10 {
		block(1)
	}
	a.do("begin")
	require.Equal(t, 10, one[int](a, read, 1))
	got := make(chan int, 1)
	b.do("begin")
	go func() {
		var v int
		if b.QueryRow(bg, read, 1).Scan(&v) != nil {
			v = -1
		}
		got <- v
	}()
	d.eventually("select pg_blocking_pids($1) = array[$2::int]", b.pid(), a.pid())
	a.do("update la set v = v + 1 where id = 1")
	a.do("commit")
	require.Equal(t, 11, <-got)
	b.do("update la set v = v + 1 where id = 1")
	b.do("commit")
	for range 20 {
		block(0)
	}
	free()
}

// Of blocks that begin at once, and read and write the same row by a statement that nobody has used before, none fails: the second waits for the first, and then locks.
// So do those after a change of the schema, which makes all plans anew.
func lockedReadsFirst(t *testing.T, s *suite) {
	a := s.connect(t, 0)
	a.do("create table lf (id int primary key, v int)")
	a.do("insert into lf values (1, 0), (2, 0), (3, 0)")
	clients := []*client{a, s.connect(t, 0), s.connect(t, 0), s.connect(t, 0)}
	failed, slow := 0, 0
	for i := range 20 {
		read := fmt.Sprintf("select v + %d - %[1]d from lf where id = $1", i)
		late := false // a block took longer than others wait for it: from then on nobody waits for who reads so
		for round := range 2 {
			before := failed
			var mu sync.Mutex
			var wg sync.WaitGroup
			for j, c := range clients {
				wg.Go(func() {
					began := time.Now()
					defer func() {
						mu.Lock()
						defer mu.Unlock()
						late = late || time.Since(began) > 250*time.Millisecond
					}()
					for _, q := range []string{"begin", read, "update lf set v = v + 1 where id = $1", "commit"} {
						args := []any{}
						if strings.Contains(q, "$1") {
							args = append(args, 1+j%3/2) // three of the row 1, one of the row 2
						}
						if _, err := c.Exec(bg, q, args...); err != nil {
							mu.Lock()
							failed++
							t.Log(i, round, err)
							mu.Unlock()
							_, _ = c.Exec(bg, "rollback")
							return
						}
					}
				})
			}
			wg.Wait()
			if late {
				slow, failed = slow+1, before
			}
			a.do(fmt.Sprintf("create table lf%d%d ()", i, round))
		}
	}
	t.Logf("%d rounds of 40 were too slow", slow)
	require.LessOrEqual(t, failed, 1, "of 160 blocks")
}

// Who waits for a block that has read the row first says so while it waits, and is counted.
func lockedReadsFirstShown(t *testing.T, s *suite) {
	a, b, d := s.connect(t, 0), s.connect(t, 0), s.connect(t, 0)
	a.do("create table lw (id int primary key, v int)")
	a.do("insert into lw values (1, 0)")
	seen := false
	for i, end := 0, time.Now().Add(30*time.Second); !seen && time.Now().Before(end); i++ { // it waits for a quarter of a second, and once only by each statement
		read := fmt.Sprintf("select v + %d from lw where id = 1 and true", i)
		a.do("begin")
		a.do(read)
		b.do("begin")
		end := b.later(read)
		for done := false; !done && !seen; {
			seen = one[bool](d, "select coalesce(bool_or(wait_event_type = 'Lock' and wait_event = 'tuple' and pg_blocking_pids(pid) = array[$2::int]), false) from pg_stat_activity where pid = $1", b.pid(), a.pid())
			select {
			case err := <-end:
				require.NoError(t, err)
				done, end = true, nil
			default:
			}
		}
		if end != nil {
			require.NoError(t, <-end)
		}
		a.do("commit")
		b.do("commit")
		require.False(t, one[bool](d, "select wait_event_type = 'Lock' or pg_blocking_pids(pid) <> '{}' from pg_stat_activity where pid = $1", b.pid()), "it waits no more")
	}
	require.True(t, seen, "seen waiting")
}

// A row is free for NOWAIT and SKIP LOCKED as soon as the COMMIT of whoever wrote it has been answered, over however many ranges that was, and for
// clients of other nodes.
func commitsLetGo(t *testing.T, s *suite) {
	a, b := s.connect(t, 0), s.connect(t, 1)
	a.do("create table jobs (id int primary key, n int not null)")
	a.do("insert into jobs select g, 0 from generate_series(1, 300) g")
	a.do("select pamir.split_at('jobs', 100), pamir.split_at('jobs', 200)")
	commit := func(i int, q string) {
		a.do("begin")
		for _, k := range []int{i, 100 + i, 200 + i} {
			a.do(q, k)
		}
		a.do("commit")
	}
	const write, moved = "update jobs set n = n + 1 where id = $1", "insert into jobs values (-$1::int, 0)"
	for i := 1; i <= 30; i++ {
		commit(i, write)
		require.Equal(t, 1, one[int](b, "select n from jobs where id = $1 for update nowait", 100+i))
		commit(i, write)
		require.Equal(t, 1, one[int](b, "select count(*) from (select id from jobs where id = $1 for update skip locked) x", 200+i))
		commit(i, moved)
		require.Equal(t, 3, one[int](b, "select count(*) from (select id from jobs where id in ($1, $2, $3) for update skip locked) x", -i, -100-i, -200-i))
	}
	// The locks of a transaction that has not written are released a moment after its end, which its own session does not notice.
	for i := range 100 {
		require.Equal(t, 3, one[int](a, "select count(*) from (select id from jobs where id in ($1, $2, $3) for update skip locked) x", 61+i%9, 161+i%9, 261+i%9))
		require.Equal(t, 0, one[int](a, "select n from jobs where id = $1 for update nowait", 61+i%9))
	}
	// Others' sessions do not notice either, at this node or another one, nor that of what was locked and not written beside rows that were, nor of what was rolled back.
	same := s.connect(t, 0)
	locked := func(q string, args ...any) int {
		return one[int](same, "select count(*) from (select id from jobs where id in (161, 162, 261) for update skip locked) x") * one[int](b, q, args...)
	}
	for i := range 100 {
		switch i % 4 {
		case 0:
			a.do("select from jobs where id in (161, 162, 261) for update")
		case 1:
			a.do("begin")
			a.do("select from jobs where id in (161, 162, 261) for update")
			a.do("update jobs set n = n + 1 where id = 61")
			a.do("commit")
		case 2:
			a.do("begin")
			a.do("select from jobs where id in (161, 162, 261) for update")
			a.do("rollback")
		case 3:
			a.do("select id from jobs where id > 160 order by id limit 2 for update skip locked")
		}
		require.Equal(t, 9, locked("select count(*) from (select id from jobs where id in (161, 162, 261) for update skip locked) x"), i)
		a.do("select from jobs where id = 161 for update")
		require.Equal(t, 161*3, locked("select id from jobs where id > 160 order by id limit 1 for update skip locked"), i)
		require.Equal(t, 1, one[int](b, "with x as (select id from jobs where id >= 162 order by id limit 1 for update skip locked) select count(*) from x where id = 162"))
	}
	// Who looks past a row that is locked locks only what it returns.
	a.do("begin")
	a.do("select from jobs where id = 161 for update")
	b.do("begin")
	require.Equal(t, 162, one[int](b, "select id from jobs where id > 160 order by id limit 1 for update skip locked"))
	require.Equal(t, 163, one[int](same, "select id from jobs where id > 160 order by id limit 1 for update skip locked"))
	b.do("commit")
	a.do("commit")
	// What is not committed is locked.
	a.do("begin")
	a.do(write, 150)
	b.fails("55P03", "select n from jobs where id = 150 for update nowait")
	require.Zero(t, one[int](b, "select count(*) from (select id from jobs where id = 150 for update skip locked) x"))
	a.do("prepare transaction 'jobs'")
	b.fails("55P03", "select n from jobs where id = 150 for update nowait")
	require.Zero(t, one[int](b, "select count(*) from (select id from jobs where id = 150 for update skip locked) x"))
	a.do("commit prepared 'jobs'")
	require.Equal(t, 1, one[int](b, "select n from jobs where id = 150 for update nowait"))
}

// Who locks rows by a condition finds those that fulfil it since a COMMIT that has been answered just now, over several ranges and at another node: their locks are not yet
// versions, and what is below them does not fulfil it, or makes it fail.
func commitsSeenByLocks(t *testing.T, s *suite) {
	a, b := s.connect(t, 0), s.connect(t, 1)
	a.do("create table seen (id int primary key, n int not null, s text)")
	a.do("insert into seen select g, 0, 'x' from generate_series(1, 30) g")
	a.do("select pamir.split_at('seen', 10), pamir.split_at('seen', 20)")
	count := func(c *client, sql string, args ...any) int64 {
		tag, err := c.Exec(bg, sql, args...)
		require.NoError(t, err)
		return tag.RowsAffected()
	}
	for i := 1; i <= 20; i++ {
		require.EqualValues(t, 30, count(a, "update seen set n = $1", i))
		for _, c := range []*client{b, a} {
			require.EqualValues(t, 30, count(c, "update seen set s = s where n = $1", i))
		}
		require.EqualValues(t, 10, count(a, "update seen set n = -1 where id % 3 = 0"))
		require.Equal(t, 10, one[int](b, "select count(*) from (select id from seen where n = -1 for update) x"))
		require.EqualValues(t, 20, count(b, "update seen set n = 0 where n = $1 and s = 'x'", i))
		require.EqualValues(t, 20, count(a, "delete from seen where n = 0 and s = 'x'"))
		require.EqualValues(t, 20, count(b, "insert into seen select g, 0, 'x' from generate_series(1, 30) g where g % 3 <> 0"))
		require.EqualValues(t, 30, count(b, "update seen set n = 2"))
		require.EqualValues(t, 30, count(a, "update seen set s = 'x' where 6 / n = 3"))
		require.EqualValues(t, 30, count(b, "update seen set n = 0"))
	}
}
