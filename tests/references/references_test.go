package references

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/tests/cluster"
)

var levels = []string{"read committed", "repeatable read", "serializable"}

func start(t *testing.T, edit func(i int, c *node.Config)) string {
	l := cluster.StartLocal(t, 1, edit)
	_, addr, _ := l.Nodes[0].Addresses()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return fmt.Sprintf("host=%s port=%s user=root dbname=defaultdb sslmode=disable", host, port)
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	c, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// setup makes tables anew. indexed: the references can be found by an index.
func setup(t *testing.T, c *pgx.Conn, indexed bool) {
	sql := "drop table if exists c, p; create table p (id int primary key); create table c (id int generated always as identity primary key, p int references p);"
	if indexed {
		sql += "create index on c (p);"
	}
	_, err := c.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func orphans(t *testing.T, c *pgx.Conn) (n int) {
	require.NoError(t, c.QueryRow(t.Context(), "select count(*) from c where not exists (select 1 from p where p.id = c.p)").Scan(&n))
	return n
}

// expected reports errors that such a race may end with.
func expected(err error) bool {
	e, ok := err.(*pgconn.PgError)
	return ok && (e.Code == "23503" || e.Code == "40001" || e.Code == "40P01" || e.Code == "23505")
}

// late lets a transaction take its snapshot before a row is inserted that refers to what it then deletes. It returns how its commit ended.
func late(t *testing.T, dsn, level string) error {
	a, b := connect(t, dsn), connect(t, dsn)
	ctx := t.Context()
	_, err := a.Exec(ctx, "insert into p values (1)")
	require.NoError(t, err)
	tx, err := a.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.TxIsoLevel(level)})
	require.NoError(t, err)
	defer tx.Rollback(ctx)
	var n int
	require.NoError(t, tx.QueryRow(ctx, "select count(*) from c").Scan(&n))
	_, err = b.Exec(ctx, "insert into c (p) values (1)")
	require.NoError(t, err)
	if _, err = tx.Exec(ctx, "delete from p where id = 1"); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func TestLateSnapshot(t *testing.T) {
	dsn := start(t, nil)
	c := connect(t, dsn)
	for _, level := range levels {
		for _, indexed := range []bool{true, false} {
			setup(t, c, indexed)
			err := late(t, dsn, level)
			require.True(t, expected(err), "%s: %v", level, err)
			require.Zero(t, orphans(t, c), level)
		}
	}
}

// TestPlantedForgottenReads shows that the test above can fail: where a commit forgets what was read for foreign keys, an orphan stays.
func TestPlantedForgottenReads(t *testing.T) {
	dsn := start(t, func(_ int, c *node.Config) { c.PlantedNoFirmReads = true })
	c := connect(t, dsn)
	setup(t, c, true)
	require.NoError(t, late(t, dsn, "repeatable read"))
	require.Equal(t, 1, orphans(t, c))
}

// TestNoOrphans races inserts, deletes and updates of keys over a few values.
func TestNoOrphans(t *testing.T) {
	dsn := start(t, nil)
	c := connect(t, dsn)
	for _, level := range levels {
		setup(t, c, true)
		var wg sync.WaitGroup
		var done [4]atomic.Int32
		for w := range 4 {
			k := connect(t, dsn)
			r := rand.New(rand.NewPCG(7, uint64(w)))
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 60 {
					kind, id, other := r.IntN(4), r.IntN(3), r.IntN(3)
					err := pgx.BeginTxFunc(t.Context(), k, pgx.TxOptions{IsoLevel: pgx.TxIsoLevel(level)}, func(tx pgx.Tx) error {
						sql := []string{"insert into p values ($1) on conflict do nothing", "insert into c (p) values ($1)", "delete from p where id = $1", "delete from c where p = $1"}
						if _, err := tx.Exec(t.Context(), sql[kind], id); err != nil {
							return err
						}
						if kind != 0 && kind != 3 {
							return nil
						}
						_, err := tx.Exec(t.Context(), "delete from c where p = $1", other)
						return err
					})
					if err == nil {
						done[kind].Add(1)
					} else if !expected(err) {
						t.Errorf("%s: %v", level, err)
						return
					}
				}
			}()
		}
		wg.Wait()
		require.Zero(t, orphans(t, c), level)
		for kind := range done {
			require.NotZero(t, done[kind].Load(), "%s: nothing of kind %d has committed", level, kind)
		}
	}
}
