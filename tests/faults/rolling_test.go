package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// patient is a client as an operator may expect it: when its connection is ended between two transactions, it makes
// another one and goes on. Whatever else it sees is a failed transaction.
type patient struct {
	l    *Load
	dsns []string
	node int

	mu      sync.Mutex
	ended   int           // connections that 57P01 ended between transactions; guarded by mu
	refused int           // attempts to connect that failed; guarded by mu
	failed  []string      // guarded by mu
	longest time.Duration // between two commits; guarded by mu
	at      string        // what it waited for meanwhile; guarded by mu
	acked   int           // guarded by mu
}

func (p *patient) note(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// connect tries the nodes in turn until one lets it in.
func (p *patient) connect(ctx context.Context) *pgx.Conn {
	for ctx.Err() == nil {
		dial, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		conn, err := pgx.Connect(dial, p.dsns[p.node%len(p.dsns)])
		cancel()
		if err == nil {
			return conn
		}
		p.note(func() { p.refused++ })
		p.node++
		sleep(ctx, 10*time.Millisecond)
	}
	return nil
}

// tpcb runs TPC-B until ctx ends.
func (p *patient) tpcb(ctx context.Context, id int) {
	conn := p.connect(ctx)
	defer func() {
		if conn != nil {
			closeConn(conn)
		}
	}()
	last, slow := time.Now(), ""
	for seq := 0; ctx.Err() == nil && conn != nil; seq++ {
		mark, where := fmt.Sprintf("p%d-%d", id, seq), ""
		txnCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		outcome, err := p.l.transaction(txnCtx, conn, mark, func(what string, f func() error) error {
			began := time.Now()
			where = what
			err := f()
			if took := time.Since(began); took > slowStep {
				slow += fmt.Sprintf(" %s at node %d %s", what, p.node%len(p.dsns)+1, took.Round(time.Millisecond))
			}
			return err
		})
		cancel()
		p.l.mu.Lock()
		p.l.outcomes[mark] = outcome
		p.l.mu.Unlock()
		if err == nil {
			p.note(func() {
				p.acked++
				if took := time.Since(last); took > p.longest {
					p.longest, p.at = took, slow
				}
			})
			last, slow = time.Now(), ""
			continue
		}
		if where == "begin" && sqlstate(err) == "57P01" {
			p.note(func() { p.ended++ })
		} else {
			p.note(func() { p.failed = append(p.failed, where+": "+err.Error()) })
		}
		closeConn(conn)
		began := time.Now()
		p.node++
		if conn = p.connect(ctx); time.Since(began) > slowStep {
			slow += fmt.Sprintf(" connect %s", time.Since(began).Round(time.Millisecond))
		}
	}
}

// counting runs single statements, each its own transaction, that add one to a row.
func (p *patient) counting(ctx context.Context, id int) {
	conn := p.connect(ctx)
	defer func() {
		if conn != nil {
			closeConn(conn)
		}
	}()
	for ctx.Err() == nil && conn != nil {
		one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		_, err := conn.Exec(one, "update counters set n = n + 1 where id = $1", id)
		cancel()
		if err == nil {
			p.note(func() { p.acked++ })
			continue
		}
		// 57P01 instead of an answer says that the statement was not begun: the sum, in the end, shows whether that is so.
		if sqlstate(err) == "57P01" {
			p.note(func() { p.ended++ })
		} else {
			p.note(func() { p.failed = append(p.failed, "update: "+err.Error()) })
		}
		closeConn(conn)
		p.node++
		conn = p.connect(ctx)
	}
}

// slowly runs transactions that are open for a second or two, thinking most of the time.
func (p *patient) slowly(ctx context.Context, id int) {
	for ctx.Err() == nil {
		conn := p.connect(ctx)
		if conn == nil {
			return
		}
		err := pgx.BeginFunc(context.WithoutCancel(ctx), conn, func(tx pgx.Tx) error {
			for range 10 {
				if _, err := tx.Exec(context.WithoutCancel(ctx), "update counters set n = n + 1 where id = $1", id); err != nil {
					return err
				}
				time.Sleep(time.Duration(50+rand.IntN(150)) * time.Millisecond)
			}
			return nil
		})
		switch {
		case err == nil:
			p.note(func() { p.acked += 10 })
		case sqlstate(err) == "57P01" && strings.Contains(err.Error(), "begin"):
			p.note(func() { p.ended++ })
		default:
			p.note(func() { p.failed = append(p.failed, "long transaction: "+err.Error()) })
		}
		closeConn(conn)
		p.node++
	}
}

// pooled holds idle connections, as a pool does, and reports how each of them ended.
func pooled(t *testing.T, c *cluster.Cluster, i, n int) (ends <-chan error) {
	t.Helper()
	ch := make(chan error, n)
	for range n {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		conn, err := pgconn.Connect(ctx, c.DSN(i))
		cancel()
		require.NoError(t, err)
		t.Cleanup(func() { closePg(conn) })
		require.NoError(t, conn.Exec(context.Background(), "select 1").Close())
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			defer cancel()
			ch <- conn.WaitForNotification(ctx) // there are none: it reads until the connection ends
		}()
	}
	return ch
}

func closePg(c *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // it has ended already
}

// TestRollingRestart stops and starts every node, one after the other, as an operator does who waits for nothing but /ready. No
// transaction fails: not one of TPC-B, not one that is a single statement, none that is open for seconds. Idle connections of pools
// are told why they end.
func TestRollingRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes half a minute")
	}
	c := cluster.Start(t, 3, cluster.WithLongSupport(), cluster.WithFlags("--drain-timeout", "50s"))
	load(t, c.DSN(0), *scale)
	require.NoError(t, c.Exec(0, "create table counters (id int primary key, n int not null)"))
	require.NoError(t, c.Exec(0, "insert into counters select g, 0 from generate_series(0, 99) g"))
	require.NoError(t, c.Exec(0, fmt.Sprintf("select pamir.split_at('pgbench_accounts', %d)", 50_000*(*scale))))
	c.WaitReplicated()
	l := NewLoad(dsns(c), *scale)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var all []*patient
	run := func(n int, f func(p *patient, id int)) (group []*patient) {
		for i := range n {
			p := &patient{l: l, dsns: dsns(c), node: i}
			group = append(group, p)
			id := len(all)
			all = append(all, p)
			wg.Go(func() { f(p, id) })
		}
		return group
	}
	bank := run(*clients, func(p *patient, id int) { p.tpcb(ctx, id) })
	counters := run(3, func(p *patient, id int) { p.counting(ctx, id) })
	long := run(3, func(p *patient, id int) { p.slowly(ctx, id) })
	stopped := false
	stop := func() {
		if !stopped {
			stopped = true
			cancel()
			wg.Wait()
		}
	}
	t.Cleanup(stop)
	time.Sleep(time.Second)

	for range *rounds {
		for i := range c.Size() {
			const idle = 5
			ends := pooled(t, c, i, idle)
			began := time.Now()
			require.Zero(t, c.Stop(i), "exit code")
			down := time.Since(began)
			drained := lastLine(c.Logs(i, 100), "msg=drained")
			require.Contains(t, drained, "ranges_still_led=0", "what it could not give away; log:\n%s", c.Logs(i, 20))
			for range idle {
				require.Equal(t, "57P01", sqlstate(<-ends), "a pooled connection was not told why it ends")
			}
			began = time.Now()
			c.Restart(i)
			c.WaitReady(i)
			t.Logf("node %d: stopped after %s, ready again after %s", i+1, down.Round(10*time.Millisecond), time.Since(began).Round(10*time.Millisecond))
		}
	}
	time.Sleep(time.Second)
	stop()

	var failed []string
	total := func(name string, ps []*patient) (acked, ended int) {
		var longest time.Duration
		at, refused := "", 0
		for _, p := range ps {
			acked, ended, refused = acked+p.acked, ended+p.ended, refused+p.refused
			failed = append(failed, p.failed...)
			if p.longest > longest {
				longest, at = p.longest, p.at
			}
		}
		t.Logf("%s: %d acknowledged, %d connections ended between transactions, %d attempts to connect refused; longest stall of a client %s:%s",
			name, acked, ended, refused, longest.Round(time.Millisecond), at)
		return acked, ended
	}
	_, ended := total("TPC-B", bank)
	require.Positive(t, ended, "no client was ever connected to a node that stopped")
	a, _ := total("single statements", counters)
	b, _ := total("long transactions", long)
	require.Positive(t, b)
	require.Empty(t, failed, "transactions failed")
	conn, err := pgx.Connect(context.Background(), c.DSN(0))
	require.NoError(t, err)
	defer closeConn(conn)
	var sum int
	require.NoError(t, conn.QueryRow(context.Background(), "select sum(n) from counters").Scan(&sum))
	require.Equal(t, a+b, sum, "what was acknowledged is there, and nothing else")
	verify(t, c, l)
}

// lastLine returns the last line of a log with a text in it.
func lastLine(log, text string) (last string) {
	for line := range strings.Lines(log) {
		if strings.Contains(line, text) {
			last = strings.TrimSpace(line)
		}
	}
	return last
}

// A client that never comes to an end does not keep a node: its transaction is ended with 57P01. The first part of the time is for load balancers.
func TestDrainIsBounded(t *testing.T) {
	const wait, timeout = 2 * time.Second, 3 * time.Second
	c := cluster.Start(t, 1, cluster.WithFlags("--drain-timeout", timeout.String(), "--drain-wait", wait.String()))
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.DSN(0))
	require.NoError(t, err)
	defer closeConn(conn)
	_, err = conn.Exec(ctx, "create table t (a int primary key)")
	require.NoError(t, err)
	tx, err := conn.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, "insert into t values (1)")
	require.NoError(t, err)
	exited := make(chan int, 1)
	began := time.Now()
	go func() { exited <- c.Stop(0) }()
	// In the first seconds it says that it is not ready, and lets clients in all the same.
	host, port := c.HostPort(0)
	for notReady := false; !notReady; {
		_, err := c.Get(0, "/ready")
		notReady = err != nil
	}
	if nc, err := net.Dial("tcp", net.JoinHostPort(host, port)); err == nil {
		require.NoError(t, nc.Close())
	} else {
		require.Greater(t, time.Since(began), wait, "a client was refused: %v", err)
		t.Logf("nobody looked in time whether it lets clients in: %v", err)
	}
	require.Zero(t, <-exited)
	took := time.Since(began)
	require.Greater(t, took, timeout-100*time.Millisecond, "the open transaction had its time")
	_, err = tx.Exec(ctx, "insert into t values (2)")
	require.Equal(t, "57P01", sqlstate(err))
	var pg *pgconn.PgError
	require.True(t, errors.As(err, &pg))
	require.Equal(t, "FATAL", pg.Severity)
	c.Restart(0)
	c.WaitReady(0)
	require.NoError(t, c.Exec(0, "insert into t values (1)"), "nothing is left of it")
}
