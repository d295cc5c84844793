package tending

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// traffic is clients that each do one thing after the other and write down how long it took.
type traffic struct {
	dsns     []string
	op       func(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error
	pace     time.Duration // from the beginning of one operation to that of the next
	patience time.Duration // after which a client hangs up and asks another node
	away     time.Duration // after which it goes back to its own

	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	done    []sample
	errors  map[string]int
	waiting []wait // of each client, what it is waiting for
}

// sample is an operation that succeeded: from is when it was first tried.
type sample struct {
	from time.Time
	took time.Duration
	node int // where the client was connected at first
}

// wait is an operation that has not succeeded yet.
type wait struct {
	from time.Time // zero for none
	node int
}

func startTraffic(clients int, dsns []string, pace, patience, away time.Duration, op func(ctx context.Context, conn *pgx.Conn, rng *rand.Rand) error) *traffic {
	ctx, cancel := context.WithCancel(context.Background())
	w := &traffic{dsns: dsns, op: op, pace: pace, patience: patience, away: away, cancel: cancel, errors: map[string]int{}, waiting: make([]wait, clients)}
	for i := range clients {
		w.wg.Go(func() { w.client(ctx, i) })
	}
	return w
}

// stop ends the clients, each after its last operation.
func (w *traffic) stop() {
	w.cancel()
	w.wg.Wait()
}

func (w *traffic) client(ctx context.Context, id int) {
	rng := rand.New(rand.NewPCG(uint64(id), 7))
	node := id % len(w.dsns)
	var conn *pgx.Conn
	defer func() {
		if conn != nil {
			hangUp(conn)
		}
	}()
	pause(ctx, time.Duration(rng.Int64N(int64(w.pace)+1))) // not all at once
	home, left := node, time.Time{}
	for ctx.Err() == nil {
		if node != home && time.Since(left) > w.away {
			if node = home; conn != nil {
				hangUp(conn)
				conn = nil
			}
		}
		from, first := time.Now(), node
		w.mu.Lock()
		w.waiting[id] = wait{from, first}
		w.mu.Unlock()
		for ctx.Err() == nil {
			err := w.try(&conn, node, rng)
			if err == nil {
				break
			}
			w.mu.Lock()
			w.errors[kind(err)]++
			w.mu.Unlock()
			var pg *pgconn.PgError
			if conn == nil || conn.IsClosed() || !errors.As(err, &pg) {
				if conn != nil {
					hangUp(conn)
					conn = nil
				}
				node, left = (node+1)%len(w.dsns), time.Now()
				pause(ctx, 10*time.Millisecond)
			}
		}
		w.mu.Lock()
		if w.waiting[id] = (wait{}); ctx.Err() == nil {
			w.done = append(w.done, sample{from, time.Since(from), first})
		}
		w.mu.Unlock()
		pause(ctx, w.pace-time.Since(from))
	}
}

func (w *traffic) try(conn **pgx.Conn, node int, rng *rand.Rand) error {
	ctx, cancel := context.WithTimeout(context.Background(), w.patience)
	defer cancel()
	if *conn == nil {
		c, err := pgx.Connect(ctx, w.dsns[node])
		if err != nil {
			return err
		}
		*conn = c
	}
	return w.op(ctx, *conn, rng)
}

func hangUp(c *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = c.Close(ctx) // it may be broken already
}

func pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// kind names an error for the report.
func kind(err error) string {
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		return pg.Code + " " + pg.Message[:min(len(pg.Message), 80)]
	case errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err):
		return "no answer in time"
	}
	return "connection lost"
}

// errorsSeen returns what clients were told, by kind.
func (w *traffic) errorsSeen() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for k, n := range w.errors {
		out[k] = n
	}
	return out
}

// durations of what was begun in [from, to), sorted.
func (w *traffic) durations(from, to time.Time) (out []time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.done {
		if !s.from.Before(from) && s.from.Before(to) {
			out = append(out, s.took)
		}
	}
	slices.Sort(out)
	return out
}

// longest is the longest that a client had to wait for one success, of the waits that overlap [from, to): of all clients, and of those whose
// node was another than victim. Who is waiting still counts.
func (w *traffic) longest(victim int, from, to time.Time) (all, elsewhere time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	see := func(s sample) {
		if s.from.Before(to) && s.from.Add(s.took).After(from) {
			all = max(all, s.took)
			if s.node != victim {
				elsewhere = max(elsewhere, s.took)
			}
		}
	}
	for _, s := range w.done {
		see(s)
	}
	for _, x := range w.waiting {
		if !x.from.IsZero() {
			see(sample{x.from, time.Since(x.from), x.node})
		}
	}
	return all, elsewhere
}

// quantile of sorted durations; 0 of none.
func quantile(d []time.Duration, q float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	sort.Slice(d, func(i, j int) bool { return d[i] < d[j] })
	return quantile(d, 0.5)
}
