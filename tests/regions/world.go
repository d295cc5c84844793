package regions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"
)

// Distances there and back.
var rtt = map[[2]string]time.Duration{
	{"eu", "us"}: 100 * time.Millisecond, {"ap", "eu"}: 160 * time.Millisecond, {"ap", "us"}: 220 * time.Millisecond,
}

// between two regions; within one, nothing is delayed.
func between(a, b string) time.Duration { return rtt[[2]string{min(a, b), max(a, b)}] }

// world is a cluster whose nodes are in regions, of processes or not.
type world struct {
	t       testing.TB
	region  []string // by node
	dsn     func(i int) string
	kill    func(i int)
	restart func(i int)   // and waits until it is ready
	away    time.Duration // how long loss keeps a region away
}

func (w *world) in(region string) (nodes []int) {
	for i, r := range w.region {
		if r == region {
			nodes = append(nodes, i)
		}
	}
	return nodes
}

func (w *world) connect(i int) *pgx.Conn {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, w.dsn(i))
	require.NoError(w.t, err)
	w.t.Cleanup(func() { closeConn(conn) })
	return conn
}

func closeConn(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // its node may be dead
}

func (w *world) exec(conn *pgx.Conn, statements ...string) {
	w.t.Helper()
	for _, q := range statements {
		_, err := conn.Exec(context.Background(), q)
		require.NoError(w.t, err, q)
	}
}

// eventually waits until f is content.
func (w *world) eventually(limit time.Duration, what string, f func() error) time.Duration {
	w.t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			w.t.Fatalf("%s: not after %s: %v", what, limit, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// fastest runs f n times and returns the shortest time, which is the one that says how many ways were gone.
func (w *world) fastest(n int, f func() error) time.Duration {
	w.t.Helper()
	best := time.Hour
	for range n {
		began := time.Now()
		require.NoError(w.t, f())
		best = min(best, time.Since(began))
	}
	return best
}

// led returns in which region each table is led, and in which regions it has replicas.
func (w *world) led(conn *pgx.Conn) (map[string]string, map[string][]string, error) {
	rows, err := conn.Query(context.Background(), `
		SELECT r.table_name, substr(coalesce(l.locality, 'region=,'), 8, 2), substr(n.locality, 8, 2)
		  FROM pamir.ranges r LEFT JOIN pamir.nodes l ON l.node_id = r.leader JOIN pamir.nodes n ON n.node_id = ANY (r.replicas)
		 WHERE r.table_name <> ''`)
	if err != nil {
		return nil, nil, err
	}
	leaders, replicas := map[string]string{}, map[string][]string{}
	var table, leader, replica string
	_, err = pgx.ForEachRow(rows, []any{&table, &leader, &replica}, func() error {
		leaders[table] = leader
		replicas[table] = append(replicas[table], replica)
		return nil
	})
	return leaders, replicas, err
}

// tables makes tables at home in each of the regions and waits until they are there. users_x is led in x and survives any region; carts_x
// is kept in x, if there are three nodes; free has no preference.
func (w *world) tables(conn *pgx.Conn, regions ...string) {
	w.t.Helper()
	w.exec(conn, "SELECT pamir.set_rule('survive', 'region')",
		"CREATE TABLE free (id int PRIMARY KEY, n int NOT NULL DEFAULT 0)", "INSERT INTO free SELECT generate_series(1, 100)")
	for _, r := range regions {
		w.exec(conn,
			fmt.Sprintf("CREATE TABLE users_%[1]s (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (pamir.leader_preference = 'region=%[1]s')", r),
			fmt.Sprintf("CREATE TABLE orders_%[1]s (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (pamir.leader_preference = 'region=%[1]s')", r),
			fmt.Sprintf("INSERT INTO users_%s SELECT generate_series(1, 100)", r),
			fmt.Sprintf("INSERT INTO orders_%s SELECT generate_series(1, 100)", r))
		if len(w.in(r)) >= 3 {
			w.exec(conn, fmt.Sprintf("CREATE TABLE carts_%[1]s (id int PRIMARY KEY, n int NOT NULL DEFAULT 0) WITH (pamir.survive = 'zone', pamir.constraints = 'region=%[1]s')", r),
				fmt.Sprintf("INSERT INTO carts_%s SELECT generate_series(1, 100)", r))
		}
	}
	took := w.home(conn, regions...)
	w.t.Logf("tables are at home %s after they were made", took.Round(100*time.Millisecond))
}

// home waits until every table is led where it is to be, and has its replicas where they are to be.
func (w *world) home(conn *pgx.Conn, regions ...string) time.Duration {
	w.t.Helper()
	return w.eventually(90*time.Second, "tables at home", func() error {
		leaders, replicas, err := w.led(conn)
		if err != nil {
			return err
		}
		for _, r := range regions {
			for _, table := range []string{"users_" + r, "orders_" + r} {
				if on := replicas[table]; leaders[table] != r || len(on) != 3 || on[0] == on[1] || on[1] == on[2] || on[0] == on[2] {
					return fmt.Errorf("%s is in %v, led in %s", table, on, leaders[table])
				}
			}
			if on := replicas["carts_"+r]; len(w.in(r)) >= 3 && (len(on) != 3 || on[0] != r || on[1] != r || on[2] != r || leaders["carts_"+r] != r) {
				return fmt.Errorf("carts_%s is in %v", r, on)
			}
		}
		return nil
	})
}

// costs measures what statements cost in a region and checks that they send over the sea no more than they must.
func (w *world) costs(r string, far ...string) {
	w.t.Helper()
	ctx := context.Background()
	nearest := time.Hour
	for _, o := range []string{"eu", "us", "ap"} {
		if o != r {
			nearest = min(nearest, between(r, o))
		}
	}
	for _, i := range w.in(r) {
		conn := w.connect(i)
		exec := func(q string) func() error {
			return func() error { _, err := conn.Exec(ctx, q); return err }
		}
		check := func(what string, took time.Duration, ways int) {
			w.t.Helper()
			w.t.Logf("node %d in %s: %-62s %7.1f ms", i+1, r, what, float64(took)/1e6)
			require.Less(w.t, took, time.Duration(ways+1)*nearest, "%s: the nearest region is %s away", what, nearest)
			require.GreaterOrEqual(w.t, took, time.Duration(ways)*nearest, "%s: it cannot be on the disks of two regions", what)
		}
		w.exec(conn, fmt.Sprintf("SELECT n FROM users_%s WHERE id = 1", r), fmt.Sprintf("SELECT n FROM orders_%s WHERE id = 1", r)) // it learns where the tables are
		check("a read of the present", w.fastest(5, exec(fmt.Sprintf("SELECT n FROM users_%s WHERE id = 7", r))), 0)
		check("an update of one row", w.fastest(5, exec(fmt.Sprintf("UPDATE users_%s SET n = n + 1 WHERE id = 7", r))), 1)
		// Each try has rows of its own: what a transaction over several ranges has locked is free two rounds after its commit.
		row := 10 * (i + 1)
		check("a transaction over two ranges, four statements and COMMIT", w.fastest(4, func() error {
			row++
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
				for _, q := range []string{"SELECT n FROM users_%s WHERE id = %d FOR UPDATE", "UPDATE users_%s SET n = n + 1 WHERE id = %d",
					"UPDATE orders_%s SET n = n + 1 WHERE id = %d", "INSERT INTO orders_%s VALUES (1000 + %d)"} {
					if _, err := tx.Exec(ctx, fmt.Sprintf(q, r, row)); err != nil {
						return err
					}
				}
				return nil
			})
		}), 1)
		if len(w.in(r)) >= 3 {
			check("an update of one row that is kept within the region", w.fastest(5, exec(fmt.Sprintf("UPDATE carts_%s SET n = n + 1 WHERE id = 7", r))), 0)
		}
	}
	for _, f := range far {
		way := between(r, f)
		for _, i := range w.in(f) {
			conn := w.connect(i)
			read := func() error {
				_, err := conn.Exec(ctx, fmt.Sprintf("SELECT n FROM users_%s WHERE id = 7", r))
				return err
			}
			require.NoError(w.t, read())
			present := w.fastest(3, read)
			require.GreaterOrEqual(w.t, present, way)
			w.exec(conn, "SET pamir.read_as_of = '-20s..'")
			require.NoError(w.t, read())
			bounded := w.fastest(5, read)
			w.exec(conn, "SET pamir.read_as_of = '-10s'")
			past := w.fastest(5, read)
			w.t.Logf("node %d in %s reads a row that is led in %s: the present %.1f ms, as new as there is %.1f ms, ten seconds ago %.1f ms", i+1, f, r,
				float64(present)/1e6, float64(bounded)/1e6, float64(past)/1e6)
			require.Less(w.t, past, way, "a read of the past goes over the sea")
			require.Less(w.t, bounded, way, "a read of what is there goes over the sea")
		}
	}
}

// writer inserts rows into a table through a node until it is stopped, and remembers which were acknowledged, and when.
type writer struct {
	mu    sync.Mutex
	acked map[int]bool
	maybe map[int]bool // the answer was lost
	last  time.Time    // acknowledged
	gap   time.Duration
	at    time.Time // when the longest gap began
}

// write runs until ctx ends. Ids are step apart, so that writers do not meet.
func (wr *writer) write(ctx context.Context, dsn func() string, table string, id, step int) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			closeConn(conn)
		}
	}()
	wr.last = time.Now()
	for ; ctx.Err() == nil; id += step {
		if conn == nil {
			dial, cancel := context.WithTimeout(ctx, 2*time.Second)
			c, err := pgx.Connect(dial, dsn())
			cancel()
			if err != nil {
				time.Sleep(20 * time.Millisecond)
				continue
			}
			conn = c
		}
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 60*time.Second)
		_, err := conn.Exec(one, fmt.Sprintf("INSERT INTO %s VALUES ($1, 1)", table), id)
		cancel()
		var pe *pgconn.PgError
		wr.mu.Lock()
		switch {
		case err == nil:
			wr.acked[id] = true
			if d := time.Since(wr.last); d > wr.gap {
				wr.gap, wr.at = d, wr.last
			}
			wr.last = time.Now()
		case errors.As(err, &pe) && pe.Code != "40003" && pe.Code[:2] != "57" && pe.Code[:2] != "08":
		default:
			wr.maybe[id] = true
		}
		wr.mu.Unlock()
		if err != nil {
			closeConn(conn)
			conn = nil
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// loss kills every node of a region under writers in the others, starts them again, and looks at what became of it all.
func (w *world) loss(lost string, regions ...string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	stop := sync.OnceFunc(func() { cancel(); wg.Wait() })
	w.t.Cleanup(stop)
	var survivors []string
	writers := map[string]*writer{} // by region and table
	for _, r := range regions {
		if r == lost {
			continue
		}
		survivors = append(survivors, r)
		for k, table := range []string{"users_" + lost, "users_" + r, "free"} {
			wr := &writer{acked: map[int]bool{}, maybe: map[int]bool{}}
			writers[r+" writes "+table] = wr
			node, first := w.in(r)[0], 100_000+10*len(writers)+k
			wg.Go(func() { wr.write(ctx, func() string { return w.dsn(node) }, table, first, 1000) })
		}
	}
	time.Sleep(2 * time.Second)
	killed := time.Now()
	for _, i := range w.in(lost) {
		w.kill(i)
	}
	time.Sleep(w.away)
	for what, wr := range writers {
		var rows int
		var gap time.Duration
		var at time.Time
		w.eventually(60*time.Second, what+" goes on", func() error {
			wr.mu.Lock()
			defer wr.mu.Unlock()
			if !wr.last.After(killed.Add(time.Second)) {
				return errors.New("nothing was written since")
			}
			rows, gap, at = len(wr.acked), wr.gap, wr.at
			return nil
		})
		w.t.Logf("%s is lost: %-20s %4d rows so far; longest without an answer %5.2f s, from %+.2f s on", lost, what, rows, gap.Seconds(), at.Sub(killed).Seconds())
	}
	conn := w.connect(w.in(survivors[0])[0])
	for _, i := range w.in(lost) {
		w.restart(i)
	}
	up := time.Now()
	w.home(conn, regions...)
	w.t.Logf("%s is back: its leaders have returned %s after its nodes were ready", lost, time.Since(up).Round(100*time.Millisecond))
	time.Sleep(2 * time.Second)
	stop()
	reader := w.connect(w.in(lost)[0])
	for what, wr := range writers {
		var table string
		_, err := fmt.Sscanf(what[3:], "writes %s", &table)
		require.NoError(w.t, err)
		rows, err := reader.Query(context.Background(), "SELECT id FROM "+table+" WHERE id >= 100000")
		require.NoError(w.t, err)
		got, err := pgx.CollectRows(rows, pgx.RowTo[int])
		require.NoError(w.t, err)
		there := map[int]bool{}
		for _, id := range got {
			there[id] = true
		}
		for id := range wr.acked {
			require.True(w.t, there[id], "%s: row %d was acknowledged and is not there", what, id)
		}
		w.t.Logf("%-20s all of %d acknowledged rows are there; %d answers were lost", what, len(wr.acked), len(wr.maybe))
	}
}

// follow writes a table without preference from one region and waits until it is led there.
func (w *world) follow(r string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }()
	for k := range 16 {
		node := w.in(r)[k%len(w.in(r))]
		conn := w.connect(node)
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := conn.Exec(context.Background(), "SELECT n FROM free WHERE id = $1", k+1); err != nil {
					w.t.Errorf("reading free in %s: %v", r, err)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	conn := w.connect(w.in(r)[0])
	took := w.eventually(90*time.Second, "free is led where it is used", func() error {
		leaders, _, err := w.led(conn)
		if err != nil {
			return err
		}
		if leaders["free"] != r {
			return fmt.Errorf("in %s", leaders["free"])
		}
		return nil
	})
	w.t.Logf("free is led in %s %s after clients began to read it there", r, took.Round(100*time.Millisecond))
}
