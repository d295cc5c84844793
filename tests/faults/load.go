package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Outcome of one transaction as its client saw it.
type Outcome uint8

const (
	Failed Outcome = iota // an error that says nothing was written
	Acked
	Unknown // the connection broke, or 40003, after COMMIT was sent
)

// Load is a running TPC-B load.
type Load struct {
	scale int

	mu       sync.Mutex
	outcomes map[string]Outcome // by mark
	errors   map[string]int     // SQLSTATE or kind → count
	stalls   []stall            // every success that took long
	dsns     []string
}

// stall is a stretch in which one client, always trying, committed nothing.
type stall struct {
	node  int // where the client was connected when it ended
	from  time.Time
	took  time.Duration
	steps []step
}

// step is one thing that a client waited for.
type step struct {
	what string // the step and the node
	took time.Duration
	err  error
}

// slowStep is how long a step takes before a stall names it.
const slowStep = 100 * time.Millisecond

func (s stall) String() string {
	out := fmt.Sprintf("%s from %s", s.took.Round(10*time.Millisecond), s.from.UTC().Format("15:04:05.000"))
	for _, p := range s.steps {
		out += fmt.Sprintf("; %s %s", p.what, p.took.Round(10*time.Millisecond))
		if p.err != nil {
			out += " (" + kind(p.err) + ")"
		}
	}
	return out
}

// NewLoad makes a load over the nodes' connection strings, at the pgbench scale.
func NewLoad(dsns []string, scale int) *Load {
	return &Load{scale: scale, dsns: dsns, outcomes: map[string]Outcome{}, errors: map[string]int{}}
}

// Run drives n clients until ctx ends.
func (l *Load) Run(ctx context.Context, n int) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { l.client(ctx, i) })
	}
	wg.Wait()
}

func (l *Load) client(ctx context.Context, id int) {
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			closeConn(conn)
		}
	}()
	last := time.Now()
	var slow []step // since last
	timed := func(what string, node int, f func() error) error {
		began := time.Now()
		err := f()
		if took := time.Since(began); took > slowStep {
			slow = append(slow, step{fmt.Sprintf("%s at node %d", what, node%len(l.dsns)+1), took, err})
		}
		return err
	}
	for seq, node := 0, id; ctx.Err() == nil; seq++ {
		if conn == nil {
			dial, cancel := context.WithTimeout(ctx, 2*time.Second)
			var c *pgx.Conn
			err := timed("connect", node, func() (err error) {
				c, err = pgx.Connect(dial, l.dsns[node%len(l.dsns)])
				return err
			})
			cancel()
			if err != nil {
				l.count("connect: " + kind(err))
				node++
				sleep(ctx, 20*time.Millisecond)
				continue
			}
			conn = c
		}
		mark := fmt.Sprintf("c%d-%d", id, seq)
		// The bound is far above any stall that is tolerated: it is there so that a hang is seen as one.
		txnCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		outcome, err := l.transaction(txnCtx, conn, mark, func(what string, f func() error) error { return timed(what, node, f) })
		cancel()
		l.mu.Lock()
		l.outcomes[mark] = outcome
		if outcome == Acked {
			if took := time.Since(last); took > 300*time.Millisecond {
				l.stalls = append(l.stalls, stall{node % len(l.dsns), last, took, slow})
			}
			last, slow = time.Now(), nil
		}
		l.mu.Unlock()
		if err != nil {
			l.count(kind(err))
			var pg *pgconn.PgError
			if !errors.As(err, &pg) || strings.HasPrefix(pg.Code, "57P") {
				closeConn(conn)
				conn = nil
				node++
			} else if conn.PgConn().TxStatus() != 'I' {
				roll, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
				if _, err := conn.Exec(roll, "rollback"); err != nil {
					closeConn(conn)
					conn = nil
					node++
				}
				cancel()
			}
		}
	}
}

// transaction is TPC-B as pgbench has it; timed is told of each step.
func (l *Load) transaction(ctx context.Context, conn *pgx.Conn, mark string, timed func(string, func() error) error) (Outcome, error) {
	aid, tid, bid := rand.IntN(100_000*l.scale)+1, rand.IntN(10*l.scale)+1, rand.IntN(l.scale)+1
	delta := rand.IntN(10_001) - 5_000
	var tx pgx.Tx
	if err := timed("begin", func() (err error) { tx, err = conn.Begin(ctx); return err }); err != nil {
		return Failed, err
	}
	var balance int
	for _, s := range []struct {
		what string
		run  func() error
	}{
		{"account", func() error {
			_, err := tx.Exec(ctx, "update pgbench_accounts set abalance = abalance + $1 where aid = $2", delta, aid)
			return err
		}},
		{"balance", func() error {
			return tx.QueryRow(ctx, "select abalance from pgbench_accounts where aid = $1", aid).Scan(&balance)
		}},
		{"teller", func() error {
			_, err := tx.Exec(ctx, "update pgbench_tellers set tbalance = tbalance + $1 where tid = $2", delta, tid)
			return err
		}},
		{"branch", func() error {
			_, err := tx.Exec(ctx, "update pgbench_branches set bbalance = bbalance + $1 where bid = $2", delta, bid)
			return err
		}},
		{"history", func() error {
			_, err := tx.Exec(ctx, "insert into pgbench_history (tid, bid, aid, delta, mtime, filler) values ($1, $2, $3, $4, current_timestamp, $5)",
				tid, bid, aid, delta, mark)
			return err
		}},
	} {
		if err := timed(s.what, s.run); err != nil {
			return Failed, err
		}
	}
	if err := timed("commit", func() error { return tx.Commit(ctx) }); err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) && pg.Code != "40003" && !strings.HasPrefix(pg.Code, "57P") && pg.Code != "57014" {
			return Failed, err
		}
		return Unknown, err
	}
	return Acked, nil
}

func (l *Load) count(what string) {
	l.mu.Lock()
	l.errors[what]++
	l.mu.Unlock()
}

// kind names an error for the report: its SQLSTATE and message, or what broke.
func kind(err error) string {
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		if pg.Detail != "" {
			return pg.Code + " " + pg.Message + ": " + pg.Detail
		}
		return pg.Code + " " + pg.Message
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case strings.Contains(err.Error(), "refused"):
		return "connection refused"
	}
	return "connection lost"
}

func closeConn(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx) // it may be broken already
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// LongestStall returns the longest stall of any client that overlaps [from, to).
func (l *Load) LongestStall(from, to time.Time) stall {
	return l.longestStall(from, to, func(stall) bool { return true })
}

// LongestStallElsewhere is LongestStall without the clients of a node.
func (l *Load) LongestStallElsewhere(node int, from, to time.Time) stall {
	return l.longestStall(from, to, func(s stall) bool { return s.node != node })
}

func (l *Load) longestStall(from, to time.Time, which func(stall) bool) (longest stall) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.stalls {
		if which(s) && s.took > longest.took && s.from.Before(to) && s.from.Add(s.took).After(from) {
			longest = s
		}
	}
	return longest
}

// Errors returns how often each error was seen by a client.
func (l *Load) Errors() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]int, len(l.errors))
	for k, v := range l.errors {
		out[k] = v
	}
	return out
}

// Counts returns the number of transactions by outcome.
func (l *Load) Counts() (acked, unknown, failed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.outcomes {
		switch o {
		case Acked:
			acked++
		case Unknown:
			unknown++
		default:
			failed++
		}
	}
	return acked, unknown, failed
}
