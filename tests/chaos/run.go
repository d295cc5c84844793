package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pamirdb/pamir/tests/checkers"
	"github.com/pamirdb/pamir/tests/cluster"
)

// stall is a stretch in which one client, always trying, had no success.
type stall struct {
	workload string
	nodes    []int // that it asked, the first one first
	from     time.Time
	took     time.Duration
}

// run is all rounds.
type run struct {
	t     testing.TB
	c     *cluster.Cluster
	dsns  []string
	rng   *rand.Rand // of the faults
	rng2  *rand.Rand // of moves, splits and merges
	base  time.Time
	pace  time.Duration
	dump  string
	round int64

	hasStatus bool // there is pg_xact_status
	processes atomic.Int64
	wg        sync.WaitGroup

	mu       sync.Mutex
	clients  []*client
	errors   map[string]map[string]int // workload → kind → how often
	stalls   []stall
	faults   []fault // all, the last one perhaps on its way
	resolved map[string]int
	dumps    int
	moved    int
	split    int
	merged   int
	cuts     []cut // that nobody has taken back
}

func (r *run) now() int64 { return int64(time.Since(r.base)) }

func (r *run) count(workload, what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.errors[workload] == nil {
		r.errors[workload] = map[string]int{}
	}
	r.errors[workload][what]++
}

func (r *run) stall(s stall) {
	r.mu.Lock()
	r.stalls = append(r.stalls, s)
	r.mu.Unlock()
}

func (r *run) resolution(workload, what string) {
	r.mu.Lock()
	r.resolved[workload+": "+what]++
	r.mu.Unlock()
}

// resolve asks what has become of a commit that was not answered.
func (r *run) resolve(workload, id string, node int) checkers.Outcome {
	if id == "" {
		return checkers.Unknown
	}
	deadline := time.Now().Add(opTimeout)
	for ; time.Now().Before(deadline); node = (node + 1) % len(r.dsns) {
		status, err := r.status(node, id)
		switch {
		case err != nil, status == "in progress":
			time.Sleep(50 * time.Millisecond)
		case status == "committed":
			r.resolution(workload, "pg_xact_status said committed")
			return checkers.OK
		case status == "aborted":
			r.resolution(workload, "pg_xact_status said aborted")
			return checkers.Failed
		default:
			r.t.Errorf("pg_xact_status(%s) said %q", id, status)
			return checkers.Unknown
		}
	}
	r.resolution(workload, "pg_xact_status had no answer")
	return checkers.Unknown
}

func (r *run) status(node int, id string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, r.dsns[node])
	if err != nil {
		return "", err
	}
	defer closeConn(conn)
	var s *string
	if err := conn.QueryRow(ctx, "select pg_xact_status(($1::text)::xid8)", id).Scan(&s); err != nil {
		return "", err
	}
	if s == nil {
		return "NULL", nil
	}
	return *s, nil
}

// exec runs statements on any node until they succeed: for what is not under test.
func (r *run) exec(queries ...string) {
	r.t.Helper()
	for _, q := range queries {
		if err := r.c.Exec(0, q); err != nil {
			r.t.Fatalf("%s: %v", q, err)
		}
	}
}

// readAll runs one query when everything is healed, and gives up only after a while.
func (r *run) readAll(query string, row func(rows pgx.Rows) error) checkers.Span {
	r.t.Helper()
	var last error
	for attempt := range 20 {
		invoke := r.now()
		err := func() error {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			conn, err := pgx.Connect(ctx, r.dsns[attempt%len(r.dsns)])
			if err != nil {
				return err
			}
			defer closeConn(conn)
			rows, err := conn.Query(ctx, query)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				if err := row(rows); err != nil {
					return err
				}
			}
			return rows.Err()
		}()
		if err == nil {
			return checkers.Span{Process: int(r.processes.Add(1)), Invoke: invoke, Complete: r.now()}
		}
		last = err
		time.Sleep(500 * time.Millisecond)
	}
	r.t.Fatalf("%s: %v", query, last)
	return checkers.Span{}
}

// stuck is how long an operation may be on its way before what the nodes are doing is written down.
const stuck = 3 * time.Second

// watch looks for clients that are stuck though their own node is not the faulty one.
func (r *run) watch(ctx context.Context) {
	seen := map[*client]time.Time{}
	for ctx.Err() == nil {
		pause(ctx, 250*time.Millisecond)
		r.mu.Lock()
		clients := r.clients
		r.mu.Unlock()
		for _, c := range clients {
			c.mu.Lock()
			since, step, on := c.since, c.step, c.on
			c.mu.Unlock()
			if since.IsZero() || time.Since(since) < stuck || seen[c] == since || r.hurt(on) {
				continue
			}
			seen[c] = since
			r.write(fmt.Sprintf("%s on node %d is in %q since %s", c.workload, on+1, step, since.UTC().Format("15:04:05.000")))
		}
	}
}

// write keeps what the nodes say of themselves.
func (r *run) write(why string) {
	r.t.Logf("stuck: %s; faults: %s", why, r.lastFault())
	if r.dump == "" || r.dumps >= 30 {
		return
	}
	r.dumps++
	dir := filepath.Join(r.dump, fmt.Sprintf("stuck-%d", r.dumps))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		r.t.Log(err)
		return
	}
	_ = os.WriteFile(filepath.Join(dir, "why"), []byte(why+"\n"+r.lastFault()+"\n"), 0o644) // the log has it as well
	for i := range r.c.Size() {
		for name, path := range map[string]string{"locks": "/api/v1/locks", "replicas": "/api/v1/replicas", "ranges": "/api/v1/ranges", "goroutines": "/debug/pprof/goroutine?debug=2"} {
			b, err := r.c.Get(i, path)
			if err != nil {
				b = []byte(err.Error())
			}
			_ = os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d", name, i+1)), b, 0o644)
		}
		_ = os.WriteFile(filepath.Join(dir, fmt.Sprintf("log-%d", i+1)), []byte(r.c.Logs(i, 200)), 0o644)
	}
}

// keepLogs copies the nodes' logs to the directory for dumps.
func (r *run) keepLogs() {
	for i := range r.c.Size() {
		if r.dump == "" {
			return
		}
		if err := os.WriteFile(filepath.Join(r.dump, fmt.Sprintf("node-%d.log", i+1)), []byte(r.c.Logs(i, 1<<30)), 0o644); err != nil {
			r.t.Error(err)
		}
	}
}

// summary is the report of what happened, for people.
func (r *run) summary() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	byKind := map[string]int{}
	for _, f := range r.faults {
		byKind[f.kind]++
	}
	fmt.Fprintf(&b, "faults: %s; leaders moved %d times, %d splits, %d merges\n", counts(byKind), r.moved, r.split, r.merged)
	ws := make([]string, 0, len(r.errors))
	for w := range r.errors {
		ws = append(ws, w)
	}
	sort.Strings(ws)
	for _, w := range ws {
		ks := make([]string, 0, len(r.errors[w]))
		for k := range r.errors[w] {
			ks = append(ks, k)
		}
		sort.Strings(ks)
		for _, k := range ks {
			fmt.Fprintf(&b, "%s saw %d x %s\n", w, r.errors[w][k], k)
		}
	}
	fmt.Fprintf(&b, "commits without an answer: %s\n", counts(r.resolved))
	sort.Slice(r.stalls, func(i, j int) bool { return r.stalls[i].took > r.stalls[j].took })
	shown := map[bool]int{}
	for _, s := range r.stalls {
		own := slices.ContainsFunc(s.nodes, func(n int) bool { return r.hurtDuring(n, s.from, s.from.Add(s.took)) })
		if shown[own]++; shown[own] > 6 {
			continue
		}
		what := "its node was well"
		if own {
			what = "its node was hurt"
		}
		fmt.Fprintf(&b, "stall: %s (%s); %s\n", s, what, r.during(s.from, s.from.Add(s.took)))
	}
	return b.String()
}

func counts(m map[string]int) string {
	ks := make([]string, 0, len(m))
	for k := range m {
		ks = append(ks, k)
	}
	sort.Strings(ks)
	parts := make([]string, 0, len(ks))
	for _, k := range ks {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// judge returns what takes a checker's report: beyond is an error.
func (r *run) judge(what string, n [3]int, a checkers.Allowance) func(checkers.Report, error) {
	return func(rep checkers.Report, err error) {
		r.t.Helper()
		line := fmt.Sprintf("%-10s  %6d ok, %5d failed, %3d unknown", what, n[checkers.OK], n[checkers.Failed], n[checkers.Unknown])
		for _, k := range rep.Kinds() {
			line += fmt.Sprintf(", %s x %d", k, rep.Count[k])
		}
		r.t.Log(line)
		if err != nil {
			r.t.Errorf("%s: %v", what, err)
		}
		for _, x := range rep.Beyond(a) {
			r.t.Errorf("ANOMALY in %s: %s", what, x)
		}
		if n[checkers.OK] == 0 {
			r.t.Errorf("%s did nothing", what)
		}
	}
}
