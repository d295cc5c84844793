package sessions

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Workers take jobs in the order of a secondary index, whose entries they move as they go: each job is done once, at every level, whatever is in the filter beside
// the index, and also if no index has the order that they take them in. One of them puts done jobs back, with another priority, so that an entry found a moment ago may be another's by the time its row is locked.
func jobs(t *testing.T, s *suite) {
	a := s.connect(t, 0)
	a.do("create table tasks (id int primary key, state text not null, prio int not null, kind int not null, taken int not null default 0)")
	a.do("create index tasks_ready on tasks (state, prio, id)")
	const n = 120
	for _, c := range []struct{ level, filter, order string }{
		{"serializable", "", "prio, id"}, {"repeatable read", "", "prio, id"}, {"read committed", "", "prio, id"}, {"serializable", " and kind <> 7", "prio, id"},
		{"serializable", "", "kind, id % 7"}, {"repeatable read", "", "kind, id % 7"}, {"read committed", "", "kind, id % 7"},
	} {
		a.do("delete from tasks")
		a.do("insert into tasks select g, 'ready', g % 5, 0 from generate_series(1, $1) g", n)
		var wg sync.WaitGroup
		var failed atomic.Int64
		for w := range 4 {
			b := s.connect(t, w%len(s.Nodes), "default_transaction_isolation", c.level, "statement_timeout", "60s")
			wg.Go(func() {
				for more := true; more; {
					err := pgx.BeginFunc(bg, b, func(tx pgx.Tx) error {
						var id, prio, taken int
						var state string
						err := tx.QueryRow(bg, "select id, state, prio, taken from tasks where state = 'ready'"+c.filter+" order by "+c.order+" limit 1 for update skip locked").Scan(&id, &state, &prio, &taken)
						if err != nil {
							return err
						}
						if state != "ready" {
							t.Errorf("%s: job %d is taken, and %s", c.level, id, state)
						}
						next := "done"
						if taken < 2 && id%2 == 0 {
							next = "ready" // to be done again, later
						}
						_, err = tx.Exec(bg, "update tasks set taken = taken + 1, state = $2, prio = prio + 2 where id = $1", id, next)
						return err
					})
					if errors.Is(err, pgx.ErrNoRows) { // others have the last ones, and may put them back
						err = b.QueryRow(bg, "select exists (select from tasks where state = 'ready')").Scan(&more)
					} else if sqlstate(err) == "40001" {
						failed.Add(1) // it may be
						continue
					}
					if err != nil {
						t.Errorf("%s: %v", c.level, err)
						return
					}
				}
			})
		}
		wg.Wait()
		t.Logf("%s%s by %s: %d of %d failed with 40001", c.level, c.filter, c.order, failed.Load(), 2*n)
		require.Equal(t, n, one[int](a, "select count(*)::int from tasks where state = 'done' and taken = case when id % 2 = 0 then 3 else 1 end"), "%s: %q", c.level, c.filter)
	}
}
