package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// contended is a workload in which transactions meet each other, driven by clients that run a transaction again when they are told to
// (40001, 40P01) and count how often they are.
type contended struct {
	name    string
	clients int
	setup   []string
	// once runs one transaction that the caller has begun; implicit ones begin and commit by themselves.
	implicit bool
	once     func(ctx context.Context, c *pgx.Conn, rng *rand.Rand) error
	// check compares the tables with what was acknowledged.
	check func(ctx context.Context, c *pgx.Conn, done int64) error
	split func(rng *rand.Rand) string // a statement that splits a range, for Pamir
	// everywhere: the clients are spread over all nodes.
	everywhere bool
}

const (
	contendedRows = 1000
	perAccount    = 1000
)

var contendedWork = []contended{
	tpcb("TPC-B", 8, 10, false),
	tpcb("one branch", 16, 1, true),
	{
		name: "hot row", clients: 32, implicit: true,
		setup: []string{"drop table if exists hot", "create table hot (id int primary key, n bigint not null)", "insert into hot values (1, 0)"},
		once: func(ctx context.Context, c *pgx.Conn, _ *rand.Rand) error {
			_, err := c.Exec(ctx, "update hot set n = n + 1 where id = $1", 1)
			return err
		},
		check: func(ctx context.Context, c *pgx.Conn, done int64) error {
			return same(ctx, c, "select 0, n from hot", 0, done)
		},
		split: func(rng *rand.Rand) string { return fmt.Sprintf("select pamir.split_at('hot', %d)", rng.IntN(100)-50) },
	},
	{
		name: "ORM, 5 statements", clients: 16,
		setup: []string{
			"drop table if exists docs, comments, shards",
			"create table docs (id int primary key, body text not null, version int not null)",
			"create table comments (id uuid primary key default gen_random_uuid(), doc int not null, body text)",
			"create index comments_doc on comments (doc)",
			"create table shards (id int primary key, n bigint not null)",
			fmt.Sprintf("insert into docs select g, 'text', 0 from generate_series(1, %d) g", contendedRows),
			"insert into shards select g, 0 from generate_series(0, 63) g",
		},
		// What an object mapper does: reads a row, reads what hangs on it, writes the row with a version, adds a child, counts.
		once: func(ctx context.Context, c *pgx.Conn, rng *rand.Rand) error {
			id := rng.IntN(contendedRows) + 1
			var body string
			var version int
			var n int64
			if err := c.QueryRow(ctx, "select body, version from docs where id = $1", id).Scan(&body, &version); err != nil {
				return err
			}
			if err := c.QueryRow(ctx, "select count(*) from comments where doc = $1", id).Scan(&n); err != nil {
				return err
			}
			tag, err := c.Exec(ctx, "update docs set body = $2, version = $3 where id = $1 and version = $4", id, fmt.Sprint("text ", n), version+1, version)
			if err != nil {
				return err
			}
			if tag.RowsAffected() != 1 {
				return errStale
			}
			if _, err := c.Exec(ctx, "insert into comments (doc, body) values ($1, $2)", id, "first"); err != nil {
				return err
			}
			_, err = c.Exec(ctx, "update shards set n = n + 1 where id = $1", id%64)
			return err
		},
		check: func(ctx context.Context, c *pgx.Conn, done int64) error {
			return same(ctx, c, "select (select sum(version) from docs) - (select sum(n) from shards), (select count(*) from comments)", 0, done)
		},
		split: func(rng *rand.Rand) string {
			return fmt.Sprintf("select pamir.split_at('docs', %d)", rng.IntN(contendedRows))
		},
	},
	{
		name: "bank", clients: 16,
		setup: []string{
			"drop table if exists bank", "create table bank (id int primary key, n bigint not null)",
			fmt.Sprintf("insert into bank select g, %d from generate_series(1, %d) g", perAccount, contendedRows),
		},
		once: func(ctx context.Context, c *pgx.Conn, rng *rand.Rand) error {
			a, b, n := rng.IntN(contendedRows)+1, rng.IntN(contendedRows)+1, rng.Int64N(10)
			if a == b {
				b = a%contendedRows + 1
			}
			var x, y int64
			if err := c.QueryRow(ctx, "select n from bank where id = $1", a).Scan(&x); err != nil {
				return err
			}
			if err := c.QueryRow(ctx, "select n from bank where id = $1", b).Scan(&y); err != nil {
				return err
			}
			// Where a snapshot lasts for a statement only, what was read may be old: the arithmetic is left to the server.
			if _, err := c.Exec(ctx, "update bank set n = n - $2 where id = $1", a, n); err != nil {
				return err
			}
			_, err := c.Exec(ctx, "update bank set n = n + $2 where id = $1", b, n)
			return err
		},
		check: func(ctx context.Context, c *pgx.Conn, _ int64) error {
			return same(ctx, c, "select sum(n) from bank", contendedRows*perAccount)
		},
		split: func(rng *rand.Rand) string {
			return fmt.Sprintf("select pamir.split_at('bank', %d)", rng.IntN(contendedRows))
		},
	},
}

// tpcb is pgbench's transaction. With one branch each of them changes the same row.
func tpcb(name string, clients, branches int, everywhere bool) contended {
	return contended{
		name: name, clients: clients, everywhere: everywhere,
		setup: []string{
			"drop table if exists branches, tellers, accounts, history",
			"create table branches (bid int primary key, bbalance int not null)",
			"create table tellers (tid int primary key, tbalance int not null)",
			"create table accounts (aid int primary key, abalance int not null)",
			"create table history (id bigserial primary key, tid int, bid int, aid int, delta int, mtime timestamp)",
			fmt.Sprintf("insert into branches select g, 0 from generate_series(1, %d) g", branches),
			"insert into tellers select g, 0 from generate_series(1, 100) g",
			"insert into accounts select g, 0 from generate_series(1, 10000) g",
		},
		once: func(ctx context.Context, c *pgx.Conn, rng *rand.Rand) error {
			aid, tid, bid, d := rng.IntN(10000)+1, rng.IntN(100)+1, rng.IntN(branches)+1, rng.IntN(10001)-5000
			if _, err := c.Exec(ctx, "update accounts set abalance = abalance + $1 where aid = $2", d, aid); err != nil {
				return err
			}
			var b int
			if err := c.QueryRow(ctx, "select abalance from accounts where aid = $1", aid).Scan(&b); err != nil {
				return err
			}
			if _, err := c.Exec(ctx, "update tellers set tbalance = tbalance + $1 where tid = $2", d, tid); err != nil {
				return err
			}
			if _, err := c.Exec(ctx, "update branches set bbalance = bbalance + $1 where bid = $2", d, bid); err != nil {
				return err
			}
			_, err := c.Exec(ctx, "insert into history (tid, bid, aid, delta, mtime) values ($1, $2, $3, $4, current_timestamp)", tid, bid, aid, d)
			return err
		},
		check: func(ctx context.Context, c *pgx.Conn, done int64) error {
			return same(ctx, c, "select (select sum(abalance) from accounts) - (select sum(bbalance) from branches), (select count(*) from history)", 0, done)
		},
		split: func(rng *rand.Rand) string {
			return fmt.Sprintf("select pamir.split_at('accounts', %d)", rng.IntN(10000))
		},
	}
}

// errStale is an optimistic lock that failed: what an application sees below SERIALIZABLE in place of 40001.
var errStale = errors.New("the version has changed")

func same(ctx context.Context, c *pgx.Conn, query string, want ...int64) error {
	rows, err := c.Query(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		vs, err := rows.Values()
		if err != nil {
			return err
		}
		for i, v := range vs {
			if got := text(v); got != fmt.Sprint(want[i]) {
				return fmt.Errorf("%s: column %d is %s, not %d", query, i+1, got, want[i])
			}
		}
	}
	return rows.Err()
}

// text of a number, as integers and decimals come.
func text(v any) string {
	if n, ok := v.(pgtype.Numeric); ok {
		i, err := n.Int64Value()
		if err != nil {
			return err.Error()
		}
		return fmt.Sprint(i.Int64)
	}
	return fmt.Sprint(v)
}

// outcome of one workload on one system at one level.
type outcome struct {
	work, system, level string
	done                int64
	took                time.Duration
	latency             *hdrhistogram.Histogram // of what succeeded in the end, repetitions included, in µs
	codes               map[string]int          // by class of error
	reasons             map[string]int          // texts
	checked             error
	splits, moves       int
	spent               map[string]float64 // what the servers counted meanwhile, and their processor time in ms
}

// connect makes a connection to the system's first node, at a level.
func (s *system) connect(ctx context.Context, level string) (*pgx.Conn, error) {
	return s.connectTo(ctx, s.port, level)
}

func (s *system) connectTo(ctx context.Context, port, level string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%s user=%s dbname=%s sslmode=disable", s.host, port, s.dbUser, s.db))
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["default_transaction_isolation"] = level
	return pgx.ConnectConfig(ctx, cfg)
}

// contend runs one workload for d.
func contend(ctx context.Context, s *system, w contended, level string, d time.Duration, still bool) (outcome, error) {
	o := outcome{work: w.name, system: s.name, level: level, latency: hdrhistogram.New(1, 60_000_000, 3), codes: map[string]int{}, reasons: map[string]int{}}
	admin, err := s.connect(ctx, level)
	if err != nil {
		return o, err
	}
	defer admin.Close(context.WithoutCancel(ctx))
	for _, q := range w.setup {
		if _, err := admin.Exec(ctx, q); err != nil {
			return o, fmt.Errorf("%s: %w", q, err)
		}
	}
	var mu sync.Mutex
	run, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var wg sync.WaitGroup
	failures := make(chan error, w.clients+1)
	if o.spent, err = s.spent(ctx); err != nil {
		return o, err
	}
	start := time.Now()
	for i := range w.clients {
		port := s.port
		if w.everywhere && len(s.ports) > 0 {
			port = s.ports[i%len(s.ports)]
		}
		wg.Go(func() {
			if err := client(run, s, port, w, level, rand.New(rand.NewPCG(uint64(i), 5)), &mu, &o); err != nil {
				failures <- err
			}
		})
	}
	if s.http != "" && !still {
		wg.Go(func() { stir(run, s, w, &o) })
	}
	wg.Wait()
	o.took = time.Since(start)
	after, err := s.spent(ctx)
	if err != nil {
		return o, err
	}
	for k, v := range after {
		o.spent[k] = v - o.spent[k]
	}
	select {
	case err := <-failures:
		return o, err
	default:
	}
	o.checked = w.check(ctx, admin, o.done)
	return o, nil
}

// client runs transactions until run ends; the one on its way is finished.
func client(run context.Context, s *system, port string, w contended, level string, rng *rand.Rand, mu *sync.Mutex, o *outcome) error {
	ctx := context.WithoutCancel(run)
	conn, err := s.connectTo(ctx, port, level)
	if err != nil {
		return err
	}
	defer func() { conn.Close(ctx) }()
	for run.Err() == nil {
		began := time.Now()
		seed := rng.Uint64()
		for {
			// The same choices at every attempt: it is the same transaction.
			err := attempt(ctx, conn, w, rand.New(rand.NewPCG(seed, 1)))
			if err == nil {
				break
			}
			code, text := "lost", err.Error()
			var pg *pgconn.PgError
			if errors.As(err, &pg) {
				code = pg.Code
				text = pg.Message
				if pg.Detail != "" {
					text += ": " + anyKey.ReplaceAllString(pg.Detail, "")
				}
			} else if errors.Is(err, errStale) {
				code = "stale"
			}
			mu.Lock()
			o.codes[code]++
			o.reasons[code+" "+text]++
			mu.Unlock()
			if conn.IsClosed() {
				return fmt.Errorf("%s on %s: %w", w.name, s.name, err)
			}
			if conn.PgConn().TxStatus() != 'I' {
				if _, err := conn.Exec(ctx, "rollback"); err != nil {
					return err
				}
			}
			if code != "40001" && code != "40P01" && code != "stale" {
				return fmt.Errorf("%s on %s: %w", w.name, s.name, err)
			}
		}
		mu.Lock()
		o.done++
		_ = o.latency.RecordValue(max(1, time.Since(began).Microseconds())) // beyond a minute it is an error above
		mu.Unlock()
	}
	return nil
}

// anyKey is what makes each detail of an error one of its own.
var anyKey = regexp.MustCompile(` \(key [^)]*\)`)

func attempt(ctx context.Context, conn *pgx.Conn, w contended, rng *rand.Rand) error {
	if w.implicit {
		return w.once(ctx, conn, rng)
	}
	if _, err := conn.Exec(ctx, "begin"); err != nil {
		return err
	}
	if err := w.once(ctx, conn, rng); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "commit")
	return err
}

// spent is what the servers have counted, and their processor time.
func (s *system) spent(ctx context.Context) (map[string]float64, error) {
	sum, err := s.counters(ctx)
	if err != nil {
		return nil, err
	}
	cpu, err := s.cpu()
	sum["CPU ms"] = float64(cpu.Microseconds()) / 1000
	return sum, err
}

// each is what a transaction cost.
func (o *outcome) each() string {
	var sb strings.Builder
	for _, k := range slices.Sorted(maps.Keys(o.spent)) {
		fmt.Fprintf(&sb, "%s %.2f  ", k, o.spent[k]/float64(max(1, o.done)))
	}
	return sb.String()
}

// stir splits a range and moves a leader every second.
func stir(ctx context.Context, s *system, w contended, o *outcome) {
	rng := rand.New(rand.NewPCG(1, 9))
	conn, err := s.connect(ctx, "serializable")
	if err != nil {
		return
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		if n%3 == 0 && o.splits < 30 {
			if _, err := conn.Exec(ctx, w.split(rng)); err == nil {
				o.splits++
			}
			continue
		}
		// The last ranges hold the table that was made last.
		if _, err := conn.Exec(ctx, "select pamir.transfer_leader(range_id, $1) from (select range_id from pamir.ranges order by range_id desc limit 8) r offset $2 limit 1",
			1+rng.IntN(len(s.procs)), rng.IntN(8)); err == nil {
			o.moves++
		}
	}
}

// retries runs every workload on every system, round after round, and prints what came of it.
func retries(ctx context.Context, all []*system, d time.Duration, rounds int, only string, still bool) error {
	var got []outcome
	for range rounds {
		for _, w := range contendedWork {
			if !strings.Contains(w.name, only) {
				continue
			}
			for _, s := range all {
				levels := []string{"serializable"}
				if s.http == "" {
					levels = append(levels, "read committed")
				}
				for _, l := range levels {
					o, err := contend(ctx, s, w, l, d, still)
					if err != nil {
						return err
					}
					fmt.Fprintf(os.Stderr, "%-18s %-7s %-15s %8.0f/s  p50 %6.1f p99 %6.1f max %6.0f ms  %v  each: %s\n", w.name, s.name, l, float64(o.done)/o.took.Seconds(),
						float64(o.latency.ValueAtQuantile(50))/1000, float64(o.latency.ValueAtQuantile(99))/1000, float64(o.latency.Max())/1000, o.codes, o.each())
					got = append(got, o)
				}
			}
		}
	}
	merged := map[string]*outcome{}
	var order []string
	for i := range got {
		o := &got[i]
		k := o.work + o.system + o.level
		m := merged[k]
		if m == nil {
			merged[k] = o
			order = append(order, k)
			continue
		}
		m.latency.Merge(o.latency)
		m.done, m.took, m.splits, m.moves = m.done+o.done, m.took+o.took, m.splits+o.splits, m.moves+o.moves
		for c, n := range o.codes {
			m.codes[c] += n
		}
		for c, n := range o.reasons {
			m.reasons[c] += n
		}
		m.checked = errors.Join(m.checked, o.checked)
	}
	fmt.Printf("%s a run, %d rounds; clients repeat a transaction on 40001 and 40P01, and are counted when they do\n\n", d, rounds)
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "workload\tsystem\tlevel\tdone/s\tp50 ms\tp99 ms\tmax ms\tdone\t40001\t40P01\t40003\t08xxx\tstale\tsplits\tmoves\t")
	for _, k := range order {
		o := merged[k]
		ms := func(q float64) float64 { return float64(o.latency.ValueAtQuantile(q)) / 1000 }
		lost := o.codes["lost"]
		for c, n := range o.codes {
			if strings.HasPrefix(c, "08") {
				lost += n
			}
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%.0f\t%.2f\t%.2f\t%.0f\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t\n", o.work, o.system, o.level, float64(o.done)/o.took.Seconds(), ms(50), ms(99), ms(100),
			o.done, o.codes["40001"], o.codes["40P01"], o.codes["40003"], lost, o.codes["stale"], o.splits, o.moves)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	var wrong error
	for _, k := range order {
		o := merged[k]
		rs := make([]string, 0, len(o.reasons))
		for r := range o.reasons {
			rs = append(rs, r)
		}
		sort.Slice(rs, func(i, j int) bool { return o.reasons[rs[i]] > o.reasons[rs[j]] })
		for _, r := range rs[:min(len(rs), 4)] {
			fmt.Printf("%s, %s, %s: %d x %s\n", o.work, o.system, o.level, o.reasons[r], r)
		}
		if o.checked != nil {
			wrong = errors.Join(wrong, fmt.Errorf("%s on %s at %s: %w", o.work, o.system, o.level, o.checked))
		}
	}
	return wrong
}
