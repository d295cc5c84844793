package references

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// What a transaction has referred to may be changed by others, if only the key stays: it commits as it is, without being run again. Taking the key away waits for it.
func TestParentMayChange(t *testing.T) {
	dsn := start(t, nil)
	a, b := connect(t, dsn), connect(t, dsn)
	ctx := t.Context()
	exec := func(c *pgx.Conn, sql string) {
		t.Helper()
		_, err := c.Exec(ctx, sql)
		require.NoError(t, err, sql)
	}
	for _, split := range []bool{false, true} { // the two tables in one range, and in two
		exec(a, `drop table if exists c, p;
			create table p (id int primary key, other int unique, note text);
			create table c (id int generated always as identity primary key, p int references p, o int references p (other));
			insert into p values (1, 10, 'a'), (2, 20, 'b')`)
		if split {
			exec(a, "select pamir.split_at('c', 0)")
		}
		for _, level := range levels {
			exec(b, "delete from c")
			tx, err := a.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.TxIsoLevel(level)})
			require.NoError(t, err)
			var once float64
			require.NoError(t, tx.QueryRow(ctx, "select random()").Scan(&once)) // it would not be the same again
			_, err = tx.Exec(ctx, "insert into c (p, o) values (1, 20)")
			require.NoError(t, err)
			exec(b, "set lock_timeout = '10s'")
			exec(b, "update p set note = note || 'x'")
			exec(b, "update p set note = note || 'y' where id = 1")
			exec(b, "set lock_timeout = '50ms'")
			for _, sql := range []string{"delete from p where id = 1", "update p set id = 3 where id = 1", "update p set other = 30 where id = 2"} {
				_, err = b.Exec(ctx, sql)
				require.Equal(t, "55P03", code(err), "%s: %s: %v", level, sql, err)
			}
			require.NoError(t, tx.Commit(ctx), "%s, split %v", level, split)
			exec(b, "set lock_timeout = 0")
			_, err = b.Exec(ctx, "delete from p where id = 1")
			require.Equal(t, "23503", code(err), "%s: %v", level, err)
		}
		var n int
		require.NoError(t, b.QueryRow(ctx, "select count(*) from c").Scan(&n))
		require.Equal(t, 1, n)
	}
}

// A constraint is added while others write rows that satisfy it and rows that do not: once it is there, it holds.
func TestAddUnderWriters(t *testing.T) {
	dsn := start(t, nil)
	c := connect(t, dsn)
	ctx := t.Context()
	_, err := c.Exec(ctx, `create table p (id int primary key); insert into p select generate_series(0, 9);
		create table c (id int generated always as identity primary key, p int); create index on c (p)`)
	require.NoError(t, err)
	var stop atomic.Bool
	var refused, done atomic.Int32
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop.Store(true)
	for w := range 3 {
		k := connect(t, dsn)
		r := rand.New(rand.NewPCG(11, uint64(w)))
		wg.Go(func() {
			for !stop.Load() {
				var err error
				switch r.IntN(4) {
				case 0:
					_, err = k.Exec(ctx, "insert into c (p) values ($1)", r.IntN(13))
				case 1:
					_, err = k.Exec(ctx, "insert into c (p) select id from p order by id limit 3")
				case 2:
					_, err = k.Exec(ctx, "delete from c where p >= 10 or p is null or p not in (select id from p)")
				case 3:
					if _, err = k.Exec(ctx, "delete from p where id = 9"); err == nil {
						_, err = k.Exec(ctx, "insert into p values (9) on conflict do nothing")
					}
				}
				switch {
				case err == nil:
					done.Add(1)
				case code(err) == "23503":
					refused.Add(1)
				case !expected(err):
					t.Errorf("%v", err)
					return
				}
			}
		})
	}
	added := 0
	for added < 3 {
		_, err := c.Exec(ctx, "alter table c add constraint fk foreign key (p) references p")
		if err != nil {
			require.True(t, expected(err), "%v", err)
			continue
		}
		added++
		before := refused.Load()
		for refused.Load() < before+5 { // the writers go on, and are held to it
			require.Zero(t, orphans(t, c))
			require.False(t, t.Failed())
		}
		require.Zero(t, orphans(t, c))
		_, err = c.Exec(ctx, "alter table c drop constraint fk")
		require.NoError(t, err)
	}
	stop.Store(true)
	wg.Wait()
	require.Positive(t, done.Load())
}
