package sessions

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// Transactions that only read, and READ COMMITTED ones, are not failed by those that write what they read, wherever the rows are led: not in a
// block, whose earlier results its client has seen, and not in the middle of a result that is too large to be kept back.
func readersAreNotFailed(t *testing.T, s *suite) {
	a := s.connect(t, 0)
	a.do("create table rd (id int primary key, v int, pad text)")
	a.do("insert into rd select g, 0, repeat('x', 500) from generate_series(1, 300) g")
	a.do("select pamir.pause_rebalancing()")
	defer a.do("select pamir.resume_rebalancing()")
	for i, k := range []int{101, 201} { // 50 KiB in each range
		id := one[int64](a, "select pamir.split_at('rd', $1::int)", k)
		require.Eventually(t, func() bool { // its followers may be behind at first
			_, err := a.Exec(bg, "select pamir.transfer_leader($1, $2)", id, i+2)
			return err == nil
		}, 30*time.Second, 10*time.Millisecond)
	}
	var mu sync.Mutex
	runs, failed, reads := map[string]int{}, 0, 0
	began := time.Now()
	// Three seconds, and longer on a machine that is so busy that too little happens in them.
	more := func() bool {
		mu.Lock()
		defer mu.Unlock()
		took := time.Since(began)
		return took < 3*time.Second || took < time.Minute && (reads < 300 || runs["writer"] <= 30)
	}
	var wg sync.WaitGroup
	worker := func(kind string, node int, stmts func(i int) []string) {
		c := s.connect(t, node)
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; more(); i++ {
				var err error
				for _, q := range stmts(i) {
					if _, err = c.Exec(bg, q); err != nil {
						break
					}
				}
				mu.Lock()
				runs[kind]++
				if kind != "writer" {
					reads++
				}
				var e *pgconn.PgError
				if errors.As(err, &e) && e.Code == "40001" && kind != "writer" {
					t.Log(kind, e.Message, e.Detail, e.Hint)
					failed++
					_, err = c.Exec(bg, "rollback")
				}
				if err != nil {
					t.Errorf("%s: %v", kind, err)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		}()
	}
	// A block that has shown something keeps its snapshot, whatever has changed since and however much it shows then.
	b := s.connect(t, 1)
	a.do("create table rq as select g as id, repeat('x', 500) as pad from generate_series(1, 300) g")
	for _, level := range []string{"repeatable read", "serializable"} {
		a.do("begin isolation level " + level)
		v := one[int](a, "select v from rd where id = 1")
		b.do("update rd set v = v + 1 where id = 1")
		a.do("select * from rq")
		a.do("declare c cursor for select * from rq")
		a.do("fetch 10 from c")
		a.do("copy rq to stdout")
		require.Equal(t, v, one[int](a, "select v from rd where id = 1"), level)
		a.do("commit")
	}

	same := func(stmts ...string) func(int) []string { return func(int) []string { return stmts } }
	for w := range 2 {
		worker("writer", 1+w, func(i int) []string {
			return []string{"update rd set v = v + 1 where id = " + []string{"1", "101", "201"}[(i+w)%3]}
		})
	}
	row := func(id string) string { return "select v from rd where id = " + id }
	const whole = "select * from rd"
	worker("read only, serializable", 0, same("begin read only", row("1"), row("101"), row("201"), "commit"))
	worker("read only, repeatable read", 0, same("begin isolation level repeatable read read only", row("201"), row("101"), row("1"), "commit"))
	worker("read only, large", 0, same("begin read only", whole, whole, "commit"))
	worker("read only, cursor", 0, same("begin read only", "declare c cursor for "+whole, "fetch 10 from c", "fetch 250 from c", "commit"))
	worker("read committed, large", 0, same("begin isolation level read committed", whole, whole, "commit"))
	worker("read committed, cursor", 0, same("begin isolation level read committed", "declare c cursor for "+whole, "fetch 10 from c", "fetch 250 from c", "commit"))
	worker("read committed, writing", 0, same("begin isolation level read committed", row("1"), row("101"), "update rd set v = v + 1 where id = 1", row("201"), "commit"))
	worker("outside of a block, large", 0, same(whole))
	worker("outside of a block, COPY", 0, same("copy rd to stdout"))
	wg.Wait()
	t.Log(runs)
	// Leaders stay where they are, and nobody is far away. Without fixed snapshots it is every fifth.
	require.Zero(t, failed, "of %d", reads)
	require.Greater(t, runs["writer"], 10)
}
