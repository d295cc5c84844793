package drivers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

func start(t testing.TB) string {
	c := cluster.StartLocal(t, 1, nil)
	_, addr, _ := c.Nodes[0].Addresses()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return fmt.Sprintf("host=%s port=%s user=root dbname=defaultdb sslmode=disable", host, port)
}

func open(t testing.TB, driver, dsn string) *sql.DB {
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// both runs a test with both drivers.
func both(t *testing.T, f func(t *testing.T, driver string, db *sql.DB)) {
	dsn := start(t)
	for _, driver := range []string{"pgx", "postgres"} {
		t.Run(driver, func(t *testing.T) {
			db := open(t, driver, dsn)
			_, err := db.Exec("drop schema public cascade; create schema public")
			require.NoError(t, err)
			f(t, driver, db)
		})
	}
}

const allTypes = `create table types (
	id int primary key, b bool, i2 int2, i4 int4, i8 int8, f4 float4, f8 float8, n numeric(20,5), t text, vc varchar(20), c char(5),
	by bytea, u uuid, d date, ts timestamp, tz timestamptz, iv interval, tm time)`

type values struct {
	b  sql.NullBool
	i2 sql.NullInt16
	i4 sql.NullInt32
	i8 sql.NullInt64
	f4 sql.NullFloat64
	f8 sql.NullFloat64
	n  sql.NullString
	t  sql.NullString
	vc sql.NullString
	c  sql.NullString
	by []byte
	u  sql.NullString
	d  sql.NullTime
	ts sql.NullTime
	tz sql.NullTime
	iv sql.NullString
	tm sql.NullString
}

func (v *values) scan() []any {
	return []any{&v.b, &v.i2, &v.i4, &v.i8, &v.f4, &v.f8, &v.n, &v.t, &v.vc, &v.c, &v.by, &v.u, &v.d, &v.ts, &v.tz, &v.iv, &v.tm}
}

const columns = "b, i2, i4, i8, f4, f8, n, t, vc, c, by, u, d, ts, tz, iv, tm"

func TestTypesRoundTrip(t *testing.T) {
	both(t, func(t *testing.T, driver string, db *sql.DB) {
		_, err := db.Exec(allTypes)
		require.NoError(t, err)
		stamp := time.Date(2024, 2, 29, 13, 14, 15, 123456000, time.UTC)
		insert := "insert into types values ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18)"
		_, err = db.Exec(insert, 1, true, int16(-32768), int32(math.MaxInt32), int64(math.MinInt64), float32(1.25), 1e-300, "123456789.12345", "tëxt 'quoted' \\ \x01",
			"varchar", "ab", []byte{0, 1, 255, '\\'}, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "2024-02-29", stamp, stamp, "1 year 2 mons 3 days 04:05:06.789", "12:34:56.5")
		require.NoError(t, err)
		_, err = db.Exec(insert, 2, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil, nil)
		require.NoError(t, err)
		_, err = db.Exec(insert, 3, false, 0, 0, 0, 0, math.Inf(-1), "-0.5", "", "", "", []byte{}, "00000000-0000-0000-0000-000000000000", "0001-01-01",
			time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2262, 1, 1, 0, 0, 0, 0, time.UTC), "-1 day", "00:00")
		require.NoError(t, err)

		check := func(row *sql.Row) {
			t.Helper()
			var v values
			require.NoError(t, row.Scan(v.scan()...))
			require.True(t, v.b.Bool)
			require.EqualValues(t, -32768, v.i2.Int16)
			require.EqualValues(t, math.MaxInt32, v.i4.Int32)
			require.EqualValues(t, int64(math.MinInt64), v.i8.Int64)
			require.Equal(t, 1.25, v.f4.Float64)
			require.Equal(t, 1e-300, v.f8.Float64)
			require.Equal(t, "123456789.12345", v.n.String)
			require.Equal(t, "tëxt 'quoted' \\ \x01", v.t.String)
			require.Equal(t, "varchar", v.vc.String)
			require.Equal(t, "ab   ", v.c.String)
			require.Equal(t, []byte{0, 1, 255, '\\'}, v.by)
			require.Equal(t, "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", v.u.String)
			require.Equal(t, "2024-02-29", v.d.Time.Format("2006-01-02"))
			require.Equal(t, stamp.Format(time.RFC3339Nano), v.ts.Time.UTC().Format(time.RFC3339Nano))
			require.True(t, stamp.Equal(v.tz.Time), "%v", v.tz.Time)
			require.Contains(t, v.iv.String, "3 day")
			require.True(t, strings.Contains(v.tm.String, "12:34:56.5"), v.tm.String)
		}
		// By a literal (one round in text for lib/pq, prepared and binary for pgx) and by a parameter.
		check(db.QueryRow("select " + columns + " from types where id = 1"))
		check(db.QueryRow("select "+columns+" from types where id = $1", 1))
		if driver == "pgx" {
			for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeSimpleProtocol, pgx.QueryExecModeExec, pgx.QueryExecModeDescribeExec, pgx.QueryExecModeCacheDescribe} {
				check(db.QueryRow("select "+columns+" from types where id = $1", mode, 1))
			}
		}
		var v values
		require.NoError(t, db.QueryRow("select "+columns+" from types where id = $1", 2).Scan(v.scan()...))
		require.False(t, v.b.Valid || v.i2.Valid || v.n.Valid || v.t.Valid || v.u.Valid || v.d.Valid || v.tz.Valid || v.iv.Valid)
		require.Nil(t, v.by)
		require.NoError(t, db.QueryRow("select "+columns+" from types where id = $1", 3).Scan(v.scan()...))
		require.True(t, v.t.Valid && v.t.String == "")
		require.True(t, math.IsInf(v.f8.Float64, -1))
		require.Equal(t, "-0.50000", v.n.String)
		require.Equal(t, 2262, v.tz.Time.UTC().Year())

		// What a driver has prepared, it can run again after the table has changed.
		st, err := db.Prepare("select t from types where id = $1")
		require.NoError(t, err)
		defer st.Close()
		var s string
		require.NoError(t, st.QueryRow(1).Scan(&s))
		_, err = db.Exec("alter table types add column extra int")
		require.NoError(t, err)
		require.NoError(t, st.QueryRow(1).Scan(&s))
	})
}

func TestPgxTypes(t *testing.T) {
	dsn := start(t)
	ctx := context.Background()
	c, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer c.Close(ctx)
	var (
		ints  []int32
		texts []string
		iv    pgtype.Interval
		n     pgtype.Numeric
		u     pgtype.UUID
		tm    pgtype.Time
		js    map[string]any
	)
	row := c.QueryRow(ctx, `select $1::int[], $2::text[], interval '1 mon 2 days 00:00:03', 123.450::numeric, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid, time '01:02:03', '{"a": [1, "x"]}'::jsonb`,
		[]int32{1, 2, 3}, []string{"a", "b c", `q"uote`, ""})
	require.NoError(t, row.Scan(&ints, &texts, &iv, &n, &u, &tm, &js))
	require.Equal(t, []int32{1, 2, 3}, ints)
	require.Equal(t, []string{"a", "b c", `q"uote`, ""}, texts)
	require.Equal(t, pgtype.Interval{Months: 1, Days: 2, Microseconds: 3000000, Valid: true}, iv)
	require.EqualValues(t, -3, n.Exp)
	require.EqualValues(t, 123450, n.Int.Int64())
	require.EqualValues(t, 3723000000, tm.Microseconds)
	require.Equal(t, map[string]any{"a": []any{1.0, "x"}}, js)

	// Pipelines: a batch is one implicit transaction.
	_, err = c.Exec(ctx, "create table p (id int primary key, v int)")
	require.NoError(t, err)
	var b pgx.Batch
	for i := range 100 {
		b.Queue("insert into p values ($1, $2)", i, i*i)
	}
	b.Queue("select sum(v) from p").QueryRow(func(row pgx.Row) error {
		var sum int64
		if err := row.Scan(&sum); err != nil {
			return err
		}
		if sum != 328350 {
			return fmt.Errorf("sum is %d", sum)
		}
		return nil
	})
	require.NoError(t, c.SendBatch(ctx, &b).Close())
	b = pgx.Batch{}
	b.Queue("delete from p")
	b.Queue("insert into p values (1, 1)")
	b.Queue("insert into p values (1, 1)")
	require.Error(t, c.SendBatch(ctx, &b).Close())
	var count int
	require.NoError(t, c.QueryRow(ctx, "select count(*) from p").Scan(&count))
	require.Equal(t, 100, count)

	// COPY in binary, as pgx does it.
	rows := make([][]any, 5000)
	for i := range rows {
		rows[i] = []any{int32(1000 + i), int32(i)}
	}
	copied, err := c.CopyFrom(ctx, pgx.Identifier{"p"}, []string{"id", "v"}, pgx.CopyFromRows(rows))
	require.NoError(t, err)
	require.EqualValues(t, 5000, copied)
	require.NoError(t, c.QueryRow(ctx, "select count(*) from p where id >= 1000").Scan(&count))
	require.Equal(t, 5000, count)
}

func TestTransactions(t *testing.T) {
	both(t, func(t *testing.T, driver string, db *sql.DB) {
		ctx := context.Background()
		_, err := db.Exec("create table acc (id int primary key, bal int)")
		require.NoError(t, err)
		_, err = db.Exec("insert into acc values (1, 100), (2, 0)")
		require.NoError(t, err)
		tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
		require.NoError(t, err)
		_, err = tx.Exec("update acc set bal = bal - 10 where id = 1")
		require.NoError(t, err)
		_, err = tx.Exec("update acc set bal = bal + 10 where id = 2")
		require.NoError(t, err)
		var outside int
		require.NoError(t, db.QueryRow("select bal from acc where id = 1").Scan(&outside))
		require.Equal(t, 100, outside)
		require.NoError(t, tx.Commit())
		require.NoError(t, db.QueryRow("select bal from acc where id = 2").Scan(&outside))
		require.Equal(t, 10, outside)

		tx, err = db.Begin()
		require.NoError(t, err)
		_, err = tx.Exec("insert into acc values (1, 1)")
		require.Equal(t, "23505", code(err))
		_, err = tx.Exec("select 1")
		require.Equal(t, "25P02", code(err))
		require.NoError(t, tx.Rollback())

		tx, err = db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		require.NoError(t, err)
		_, err = tx.Exec("delete from acc")
		require.Equal(t, "25006", code(err))
		require.NoError(t, tx.Rollback())

		// Increments at the same time: the server retries by itself, so nobody sees a conflict.
		var wg sync.WaitGroup
		errs := make(chan error, 80)
		for range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 10 {
					if _, err := db.Exec("update acc set bal = bal + 1 where id = 1"); err != nil {
						errs <- err
					}
				}
			}()
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			t.Error(err)
		}
		require.NoError(t, db.QueryRow("select bal from acc where id = 1").Scan(&outside))
		require.Equal(t, 170, outside)
	})
}

func code(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	var q *pq.Error
	if errors.As(err, &q) {
		return string(q.Code)
	}
	return ""
}

func TestPrepared(t *testing.T) {
	both(t, func(t *testing.T, driver string, db *sql.DB) {
		_, err := db.Exec("create table kv (k int primary key, v text)")
		require.NoError(t, err)
		ins, err := db.Prepare("insert into kv values ($1, $2)")
		require.NoError(t, err)
		defer ins.Close()
		for i := range 50 {
			res, err := ins.Exec(i, fmt.Sprint("value ", i))
			require.NoError(t, err)
			n, err := res.RowsAffected()
			require.NoError(t, err)
			require.EqualValues(t, 1, n)
		}
		sel, err := db.Prepare("select v from kv where k = $1")
		require.NoError(t, err)
		defer sel.Close()
		for i := range 50 {
			var v string
			require.NoError(t, sel.QueryRow(i).Scan(&v))
			require.Equal(t, fmt.Sprint("value ", i), v)
		}
		rows, err := db.Query("select k, v from kv where k between $1 and $2 order by k", 10, 19)
		require.NoError(t, err)
		n := 0
		for rows.Next() {
			n++
		}
		require.NoError(t, rows.Err())
		require.Equal(t, 10, n)
		require.ErrorIs(t, sel.QueryRow(999).Scan(new(string)), sql.ErrNoRows)
		_, err = db.Prepare("select nosuch from kv")
		require.Equal(t, "42703", code(err))
		var s string
		require.Error(t, db.QueryRow("select v from kv where k = $1", "not a number").Scan(&s))
	})
}

func TestCancellation(t *testing.T) {
	both(t, func(t *testing.T, driver string, db *sql.DB) {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel()
		begin := time.Now()
		_, err := db.ExecContext(ctx, "select pg_sleep(30)")
		require.Error(t, err)
		require.Less(t, time.Since(begin), 10*time.Second)
		_, err = db.Exec("select 1")
		require.NoError(t, err)

		// A lock wait can be cancelled, and is bounded by lock_timeout.
		_, err = db.Exec("create table w (id int primary key, v int); insert into w values (1, 1)")
		require.NoError(t, err)
		tx, err := db.Begin()
		require.NoError(t, err)
		_, err = tx.Exec("update w set v = 2 where id = 1")
		require.NoError(t, err)
		ctx2, cancel2 := context.WithTimeout(context.Background(), 200*time.Millisecond)
		defer cancel2()
		_, err = db.ExecContext(ctx2, "update w set v = 3 where id = 1")
		require.Error(t, err)
		c, err := db.Conn(context.Background())
		require.NoError(t, err)
		_, err = c.ExecContext(context.Background(), "set lock_timeout = '100ms'")
		require.NoError(t, err)
		_, err = c.ExecContext(context.Background(), "update w set v = 3 where id = 1")
		require.Equal(t, "55P03", code(err), "%v", err)
		_, err = c.ExecContext(context.Background(), "set lock_timeout = 0; set statement_timeout = '100ms'")
		require.NoError(t, err)
		_, err = c.ExecContext(context.Background(), "update w set v = 3 where id = 1")
		require.Equal(t, "57014", code(err), "%v", err)
		require.NoError(t, c.Close())
		require.NoError(t, tx.Rollback())
	})
}

func TestHundredConnections(t *testing.T) {
	both(t, func(t *testing.T, driver string, db *sql.DB) {
		db.SetMaxOpenConns(100)
		db.SetMaxIdleConns(100)
		_, err := db.Exec("create table c (id int primary key, n int)")
		require.NoError(t, err)
		_, err = db.Exec("insert into c select g, 0 from generate_series(1, 100) g")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		ready := make(chan struct{})
		var wg, in sync.WaitGroup
		errs := make(chan error, 100)
		for i := 1; i <= 100; i++ {
			wg.Add(1)
			in.Add(1)
			go func() {
				defer wg.Done()
				conn, err := db.Conn(ctx)
				in.Done()
				if err != nil {
					errs <- err
					return
				}
				defer conn.Close()
				<-ready // all are connected at the same time
				for range 5 {
					if _, err := conn.ExecContext(ctx, "update c set n = n + 1 where id = $1", i); err != nil {
						errs <- err
						return
					}
				}
			}()
		}
		in.Wait()
		close(ready)
		wg.Wait()
		close(errs)
		for err := range errs {
			t.Error(err)
		}
		var sum int
		require.NoError(t, db.QueryRow("select sum(n) from c").Scan(&sum))
		require.Equal(t, 500, sum)
	})
}
