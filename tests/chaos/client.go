package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pamirdb/pamir/tests/checkers"
)

const (
	// opTimeout is far above any stall that is tolerated: it is there so that a hang is seen as one.
	opTimeout = 20 * time.Second
	// slow is how long a client may be without success before that is written down.
	slow = time.Second
)

// client is one connection after the other of one workload.
type client struct {
	r        *run
	workload string
	level    string // as SET TRANSACTION says it
	rng      *rand.Rand
	node     int
	conn     *pgx.Conn
	process  int
	lastOK   time.Time
	tried    []int // the nodes asked since lastOK

	mu    sync.Mutex
	since time.Time // when the operation on its way began, zero if there is none; guarded by mu
	step  string    // what it is doing; guarded by mu
	on    int       // node, for the watcher; guarded by mu
}

func (c *client) close() {
	if c.conn != nil {
		closeConn(c.conn)
		c.conn = nil
	}
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // it may be broken already
}

// loop runs op until the workloads are to stop.
func (c *client) loop(ctx context.Context, op func()) {
	defer c.close()
	c.lastOK = time.Now()
	for ctx.Err() == nil {
		if !c.connect(ctx) {
			continue
		}
		op()
		pause(ctx, time.Duration(c.rng.Int64N(int64(c.r.pace))))
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (c *client) connect(ctx context.Context) bool {
	if c.conn != nil {
		return true
	}
	c.ask(c.node)
	dial, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := pgx.Connect(dial, c.r.dsns[c.node])
	if err != nil {
		if ctx.Err() == nil {
			c.r.count(c.workload, "no connection")
		}
		c.node = (c.node + 1) % len(c.r.dsns)
		pause(ctx, 20*time.Millisecond)
		return false
	}
	c.conn, c.process = conn, int(c.r.processes.Add(1))
	return true
}

// drop closes a connection that has failed; the next one is to another node.
func (c *client) drop() {
	c.close()
	c.node = (c.node + 1) % len(c.r.dsns)
}

func (c *client) begin(step string) {
	c.ask(c.node)
	c.mu.Lock()
	c.since, c.step, c.on = time.Now(), step, c.node
	c.mu.Unlock()
}

// ask remembers that the client depends on a node.
func (c *client) ask(node int) {
	if !slices.Contains(c.tried, node) {
		c.tried = append(c.tried, node)
	}
}

func (c *client) at(step string) {
	c.mu.Lock()
	c.step = step
	c.mu.Unlock()
}

func (c *client) done(s checkers.Span) {
	c.mu.Lock()
	c.since = time.Time{}
	c.mu.Unlock()
	if s.Outcome != checkers.OK {
		return
	}
	if took := time.Since(c.lastOK); took > slow {
		c.r.stall(stall{c.workload, c.tried, c.lastOK, took})
	}
	c.lastOK, c.tried = time.Now(), nil
}

// errRolledBack is a commit that was answered with ROLLBACK.
var errRolledBack = errors.New("committed with ROLLBACK")

// ambiguous reports whether an error leaves open what has become of a commit or of a statement that commits. Whatever is not an answer of
// the server does: pgconn.SafeToRetry cannot be asked, since the driver says "conn closed", as if nothing had been sent, when the
// connection breaks while it waits for the answer.
func ambiguous(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return !errors.Is(err, errRolledBack)
	}
	return pg.Code == "40003" || pg.Code == "57014" || strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "08")
}

// kind names an error for the report.
func kind(err error) string {
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		text := pg.Code + " " + pg.Message
		if (strings.HasPrefix(pg.Code, "40") && pg.Code != "40P01" || pg.Code == "57P03") && pg.Detail != "" {
			text += ": " + pg.Detail
		}
		text, _, _ = strings.Cut(text, " (key ")
		return text[:min(len(text), 160)]
	case errors.Is(err, errRolledBack):
		return err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	return "connection lost"
}

// failed notes an error and makes the connection usable again, or drops it.
func (c *client) failed(err error) {
	c.r.count(c.workload, kind(err))
	var pg *pgconn.PgError
	if c.conn.IsClosed() || !errors.As(err, &pg) && !errors.Is(err, errRolledBack) || pg != nil && strings.HasPrefix(pg.Code, "57P") {
		c.drop()
		return
	}
	if c.conn.PgConn().TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := c.conn.Exec(ctx, "rollback"); err != nil {
		c.drop()
	}
}

// span ends an operation.
func (c *client) span(invoke int64, process int, o checkers.Outcome) checkers.Span {
	s := checkers.Span{Process: process, Invoke: invoke, Complete: c.r.now(), Outcome: o}
	if o == checkers.Unknown {
		s.Complete = checkers.Never
	}
	c.done(s)
	return s
}

// transaction runs body in a block at the client's level.
func (c *client) transaction(body func(ctx context.Context, conn *pgx.Conn) error) checkers.Span {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	process, invoke := c.process, c.r.now()
	c.begin("begin")
	_, err := c.conn.Exec(ctx, "begin isolation level "+c.level)
	var id string
	if err == nil && c.r.hasStatus && c.rng.IntN(2) == 0 { // an id is a record more to commit: both ways are to be seen
		err = c.conn.QueryRow(ctx, "select pg_current_xact_id()::text").Scan(&id)
	}
	if err == nil {
		err = body(ctx, c.conn)
	}
	if err != nil {
		c.failed(err)
		return c.span(invoke, process, checkers.Failed)
	}
	c.at("commit")
	tag, err := c.conn.Exec(ctx, "commit")
	if err == nil && tag.String() != "COMMIT" {
		err = errRolledBack
	}
	if err == nil {
		return c.span(invoke, process, checkers.OK)
	}
	o := checkers.Failed
	if ambiguous(err) {
		o = checkers.Unknown
	}
	c.failed(err)
	s := c.span(invoke, process, o)
	if o == checkers.Unknown {
		s.Outcome = c.r.resolve(c.workload, id, c.node)
	}
	return s
}

// statement runs body, one statement that commits by itself.
func (c *client) statement(body func(ctx context.Context, conn *pgx.Conn) error) checkers.Span {
	ctx, cancel := context.WithTimeout(context.Background(), opTimeout)
	defer cancel()
	process, invoke := c.process, c.r.now()
	c.begin("statement")
	err := body(ctx, c.conn)
	if err == nil {
		return c.span(invoke, process, checkers.OK)
	}
	o := checkers.Failed
	if ambiguous(err) {
		o = checkers.Unknown
	}
	c.failed(err)
	return c.span(invoke, process, o)
}

// spawn starts n clients of a workload, spread over the nodes.
func (r *run) spawn(ctx context.Context, workload, level string, n int, f func(c *client)) {
	for i := range n {
		c := &client{r: r, workload: workload, level: level, node: i % len(r.dsns), rng: rand.New(rand.NewPCG(r.rng.Uint64(), uint64(i)))}
		r.mu.Lock()
		r.clients = append(r.clients, c)
		r.mu.Unlock()
		r.wg.Go(func() { c.loop(ctx, func() { f(c) }) })
	}
}

func (s stall) String() string {
	var on []string
	for _, n := range s.nodes {
		on = append(on, strconv.Itoa(n+1))
	}
	return fmt.Sprintf("%-14s on node %s, from %s for %s", s.workload, strings.Join(on, ", then "), s.from.UTC().Format("15:04:05.000"), s.took.Round(10*time.Millisecond))
}
