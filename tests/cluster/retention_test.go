package cluster

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
)

// How long the past is kept, table by table, and what keeps it longer. Whoever reads what is gone is told so.
func TestGCTTL(t *testing.T) {
	const ttl = 3 * time.Second
	l := StartLocal(t, 1, func(i int, c *node.Config) {
		quickly(i, c)
		c.StoreKnob.GCAfter, c.StoreKnob.GCInterval = ttl, 100*time.Millisecond
	})
	ctx := t.Context()
	db := l.Connect(0)
	exec := func(c *pgx.Conn, q string) {
		t.Helper()
		_, err := c.Exec(ctx, q)
		require.NoError(t, err, q)
	}
	code := func(err error) string {
		var pe *pgconn.PgError
		if errors.As(err, &pe) {
			return pe.Code
		}
		return fmt.Sprint(err)
	}
	refused := func(sqlstate, q string) {
		t.Helper()
		_, err := db.Exec(ctx, q)
		require.Equal(t, sqlstate, code(err), "%s: %v", q, err)
	}
	// values reads a table in a snapshot and returns the one value that all rows have.
	values := func(snapshot, table string) (string, error) {
		c := l.Connect(0)
		defer c.Close(ctx)
		var v string
		tx, err := c.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			return "", err
		}
		defer tx.Rollback(ctx)
		if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT '"+snapshot+"'"); err != nil {
			return "", err
		}
		err = tx.QueryRow(ctx, "SELECT min(v) || '-' || max(v) FROM "+table).Scan(&v)
		return v, err
	}
	gone := func(snapshot, table, why string) {
		t.Helper()
		l.Eventually(60*time.Second, why, func() error {
			v, err := values(snapshot, table)
			if code(err) != "72000" {
				return fmt.Errorf("%s %v", v, err)
			}
			return nil
		})
	}
	export := func() (id string) {
		t.Helper()
		require.NoError(t, db.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&id))
		return id
	}

	exec(db, `CREATE TABLE kept (id int PRIMARY KEY, v int) WITH (pamir.gc_ttl = '1h')`)
	exec(db, `CREATE TABLE brief (id int PRIMARY KEY, v int, filler text)`)
	refused("22023", `ALTER TABLE brief SET (pamir.gc_ttl = '10s')`)
	refused("22023", `ALTER TABLE brief SET (pamir.gc_ttl = 'soon')`)
	refused("22023", `SELECT pamir.set_rule('gc_ttl', '20000d')`)
	exec(db, `INSERT INTO kept SELECT i, 0 FROM generate_series(1, 10) i`)
	exec(db, `INSERT INTO brief SELECT i, 0, repeat('x', 200) FROM generate_series(1, 3000) i`)
	var opts []string
	require.NoError(t, db.QueryRow(ctx, `SELECT reloptions FROM pg_class WHERE relname = 'kept'`).Scan(&opts))
	require.Equal(t, []string{"pamir.gc_ttl=1h"}, opts)

	reader, cursor := l.Connect(0), l.Connect(0)
	exec(reader, `BEGIN ISOLATION LEVEL REPEATABLE READ`)
	exec(reader, `SELECT sum(v) FROM brief`)
	exec(cursor, `BEGIN ISOLATION LEVEL REPEATABLE READ`)
	exec(cursor, `DECLARE c CURSOR FOR SELECT v FROM brief ORDER BY id`)
	exec(cursor, `FETCH 5 FROM c`)
	first := export()
	exec(db, `UPDATE brief SET v = 1`)
	exec(db, `UPDATE kept SET v = 1`)
	gone(first, "brief", "what was overwritten goes after its time")

	v, err := values(first, "kept")
	require.NoError(t, err, "kept for an hour")
	require.Equal(t, "0-0", v)
	_, err = reader.Exec(ctx, `SELECT sum(v) FROM brief`)
	require.Equal(t, "72000", code(err), "a transaction that is older than what is kept")
	// A scan that stood still meanwhile: the past as it was, or the truth that it is gone.
	rows, _ := cursor.Query(ctx, `FETCH ALL FROM c`)
	got, err := pgx.CollectRows(rows, pgx.RowTo[int])
	if err != nil {
		require.Equal(t, "72000", code(err))
	} else {
		require.Len(t, got, 2995)
	}
	for _, v := range got {
		require.Zero(t, v)
	}

	// Protection.
	refused("72000", `SELECT pamir.protect('1 minute', '`+first+`')`)
	refused("22023", `SELECT pamir.protect('25 hours')`)
	refused("22023", `SELECT pamir.protect('-1 second')`)
	refused("22004", `SELECT pamir.protect(NULL::interval)`)
	refused("22004", `SELECT pamir.protect('1 minute', NULL)`)
	refused("22023", `SELECT pamir.protect('1 minute', 'nonsense')`)
	refused("72000", `SELECT pamir.extend_protection(12345, '1 minute')`)
	before := export()
	exec(db, `UPDATE brief SET v = 2`)
	var id, short int64
	var at, spans string
	require.NoError(t, db.QueryRow(ctx, `SELECT pamir.protect('10 minutes')`).Scan(&id))
	require.NoError(t, db.QueryRow(ctx, `SELECT snapshot, spans FROM pamir.protected_timestamps WHERE id = $1 AND owner = 'root' AND expires - created = '10 minutes'`, id).Scan(&at, &spans))
	require.Equal(t, "everything", spans)
	exec(db, `UPDATE brief SET v = 3`)
	// A snapshot that is asked for later than it is kept is refused. Only a machine that stands still comes that late, and then a newer one is as good: what
	// is current stays so until the next UPDATE.
	held := ""
	for held == "" {
		began, at := time.Now(), export()
		if err := db.QueryRow(ctx, `SELECT pamir.protect('6 seconds', '`+at+`')`).Scan(&short); err == nil {
			held = at
		} else {
			require.Equal(t, "72000", code(err), "%v", err)
			require.Greater(t, time.Since(began), ttl, "a young snapshot was refused: %v", err)
		}
	}
	exec(db, `UPDATE brief SET v = 4`)
	gone(before, "brief", "what no protection covers goes")
	time.Sleep(2 * ttl) // nothing may happen in it
	v, err = values(at, "brief")
	require.NoError(t, err)
	require.Equal(t, "2-2", v, "protected")
	exec(db, fmt.Sprintf(`SELECT pamir.extend_protection(%d, '20 minutes')`, id))
	refused("72000", fmt.Sprintf(`SELECT pamir.extend_protection(%d, '1 minute')`, short)) // expired, and is not revived

	var there bool
	require.NoError(t, db.QueryRow(ctx, `SELECT pamir.unprotect($1)`, id).Scan(&there))
	require.True(t, there)
	require.NoError(t, db.QueryRow(ctx, `SELECT pamir.unprotect($1)`, id).Scan(&there))
	require.False(t, there)
	gone(at, "brief", "the protection was ended")
	gone(held, "brief", "the protection has expired")
	v, err = values(first, "kept")
	require.NoError(t, err)
	require.Equal(t, "0-0", v)
}

// What DROP, TRUNCATE and DROP INDEX leave behind can be read in the past for as long as the past is kept, and then the room is free, whoever leads.
func TestDroppedTablesGo(t *testing.T) {
	const ttl = 3 * time.Second
	l := StartLocal(t, 3, func(i int, c *node.Config) {
		quickly(i, c)
		c.StoreKnob.GCAfter, c.StoreKnob.GCInterval = ttl, 100*time.Millisecond
	})
	ctx := t.Context()
	db := l.Connect(0)
	exec := func(q string) {
		t.Helper()
		_, err := db.Exec(ctx, q)
		require.NoError(t, err, q)
	}
	bytes := func() (n int64) { // of all ranges: none may be without a leader just then
		t.Helper()
		l.Eventually(20*time.Second, "all ranges are led", func() error {
			var silent int
			require.NoError(t, db.QueryRow(ctx, `SELECT sum(size_bytes), count(*) - count(size_bytes) FROM pamir.ranges`).Scan(&n, &silent))
			if silent > 0 {
				return fmt.Errorf("%d are not", silent)
			}
			return nil
		})
		return n
	}
	exec(`CREATE TABLE stays (id int PRIMARY KEY, v text)`)
	exec(`INSERT INTO stays SELECT i, repeat('s', 100) FROM generate_series(1, 100) i`)
	exec(`CREATE TABLE gone (id int PRIMARY KEY, v text)`)
	exec(`CREATE TABLE emptied (id int PRIMARY KEY, v text)`)
	exec(`CREATE TABLE bare (id int PRIMARY KEY, v text)`)
	exec(`CREATE INDEX bare_v ON bare (v)`)
	for _, t := range []string{"gone", "emptied", "bare"} {
		exec(`INSERT INTO ` + t + ` SELECT i, repeat('x', 400) || i FROM generate_series(1, 5000) i`)
	}
	exec(`SELECT pamir.split_at('gone', 2500)`)
	before := bytes()
	require.Greater(t, before, int64(8_000_000))
	var at string
	require.NoError(t, db.QueryRow(ctx, `SELECT now()::text`).Scan(&at))
	exec(`DROP TABLE gone`)
	exec(`TRUNCATE emptied`)
	exec(`DROP INDEX bare_v`)
	exec(`INSERT INTO emptied VALUES (1, 'one')`)
	past := l.Connect(1)
	_, err := past.Exec(ctx, `SET pamir.read_as_of = '`+at+`'`)
	require.NoError(t, err)
	var n int
	if err := past.QueryRow(ctx, `SELECT count(*) FROM gone`).Scan(&n); err == nil { // it may have taken longer than that to get here
		require.Equal(t, 5000, n)
	} else {
		require.ErrorContains(t, err, "72000")
	}
	l.Eventually(60*time.Second, "what was dropped goes", func() error {
		if b := bytes(); b > before/3 {
			return fmt.Errorf("%d of %d bytes", b, before)
		}
		return nil
	})
	_, err = past.Exec(ctx, `SELECT count(*) FROM gone`)
	require.ErrorContains(t, err, "72000")
	var rows [3]int
	require.NoError(t, db.QueryRow(ctx, `SELECT (SELECT count(*) FROM stays), (SELECT count(*) FROM emptied), (SELECT count(*) FROM bare)`).Scan(&rows[0], &rows[1], &rows[2]))
	require.Equal(t, [3]int{100, 1, 5000}, rows)
	require.Greater(t, bytes(), int64(5000*400))
}
