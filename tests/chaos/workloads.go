package chaos

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pamirdb/pamir/tests/checkers"
)

// schema is made once; rounds use keys of their own.
var schema = []string{
	"create table lists_ser (k bigint primary key, v text not null)",
	"create table lists_rr (k bigint primary key, v text not null)",
	"create table lists_rc (k bigint primary key, v text not null)",
	"create table bank (k bigint primary key, n bigint not null)",
	"create table registers (k bigint primary key, v bigint not null)",
	"create table elements (k bigint, v bigint, primary key (k, v))",
	"create table counters (k bigint primary key, n bigint not null)",
	"create table forks (k bigint primary key)",
	"create table pairs (k bigint, side int, taken bool not null, primary key (k, side))",
}

var tables = []string{"lists_ser", "lists_rr", "lists_rc", "bank", "registers", "forks"}

// small is the workloads that are not of lists: each keeps its history and judges it.
type small struct {
	r    *run
	from int64 // first key of the round

	banks    [3]history[checkers.BankRead]
	regs     history[checkers.RegisterOp]
	adds     history[checkers.SetAdd]
	sets     history[checkers.SetRead]
	counter  history[checkers.CounterOp]
	forks    [2]history[checkers.ForkRead]
	writes   history[checkers.ForkWrite]
	pairs    history[checkers.SkewRead]
	causal   history[checkers.ForkRead]
	element  atomic.Int64
	inserted atomic.Int64
}

type history[T any] struct {
	mu  sync.Mutex
	ops []T
}

func (h *history[T]) add(x T) {
	h.mu.Lock()
	h.ops = append(h.ops, x)
	h.mu.Unlock()
}

const (
	accounts    = 20
	each        = 100
	forkGroup   = 4
	causalReads = 12
)

func newSmall(r *run) *small {
	s := &small{r: r, from: r.round * roundKeys}
	// A bank for each level, a counter.
	for i := range levels {
		at := s.account(i, 0)
		r.exec(fmt.Sprintf("insert into bank select g, %d from generate_series(%d, %d) g", each, at, at+accounts-1))
	}
	r.exec(fmt.Sprintf("insert into counters values (%d, 0)", s.from))
	return s
}

func (s *small) account(level, i int) int64 { return s.from + int64(level*50+i) }

func (s *small) start(ctx context.Context) {
	for i, l := range levels {
		s.r.spawn(ctx, "bank "+l.short, l.sql, 2, func(c *client) { s.bank(c, i) })
	}
	s.r.spawn(ctx, "registers", "serializable", 3, s.register)
	s.r.spawn(ctx, "set", "serializable", 2, s.set)
	s.r.spawn(ctx, "counter", "serializable", 2, s.count)
	s.r.spawn(ctx, "pairs", "serializable", 3, s.pair)
	s.r.spawn(ctx, "inserts", "serializable", 2, s.insert)
	for i, l := range levels[:2] {
		s.r.spawn(ctx, "forks "+l.short, l.sql, 2, func(c *client) { s.fork(c, i) })
	}
}

// bank moves money, by arithmetic in the statement where a snapshot lasts no longer than that, and reads all accounts.
func (s *small) bank(c *client, level int) {
	if c.rng.IntN(3) == 0 {
		var b []int64
		span := c.transaction(func(ctx context.Context, conn *pgx.Conn) (err error) {
			b, err = ints(ctx, conn, "select n from bank where k >= $1 and k < $2 order by k", s.account(level, 0), s.account(level, accounts))
			return err
		})
		s.banks[level].add(checkers.BankRead{Span: span, Balances: b})
		return
	}
	i := c.rng.IntN(accounts)
	from, to, n := s.account(level, i), s.account(level, (i+1+c.rng.IntN(accounts-1))%accounts), int64(c.rng.IntN(5))
	c.transaction(func(ctx context.Context, conn *pgx.Conn) error {
		if levels[level].is == checkers.ReadCommitted {
			if _, err := conn.Exec(ctx, "update bank set n = n - $2 where k = $1", from, n); err != nil {
				return err
			}
			_, err := conn.Exec(ctx, "update bank set n = n + $2 where k = $1", to, n)
			return err
		}
		var a, b int64
		if err := conn.QueryRow(ctx, "select n from bank where k = $1", from).Scan(&a); err != nil {
			return err
		}
		if err := conn.QueryRow(ctx, "select n from bank where k = $1", to).Scan(&b); err != nil {
			return err
		}
		if _, err := conn.Exec(ctx, "update bank set n = $2 where k = $1", from, a-n); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "update bank set n = $2 where k = $1", to, b+n)
		return err
	})
}

func ints(ctx context.Context, conn *pgx.Conn, query string, args ...any) ([]int64, error) {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int64])
}

// register reads, writes and swaps single keys, a statement each. New keys every few seconds keep the search for an order short.
func (s *small) register(c *client) {
	o := checkers.RegisterOp{Key: s.from + int64(time.Since(s.r.base)/(3*time.Second))*4 + c.rng.Int64N(4)}
	o.Old, o.New = 1+c.rng.Int64N(4), 1+c.rng.Int64N(4)
	o.Kind = []checkers.RegisterKind{checkers.RegisterRead, checkers.RegisterRead, checkers.RegisterWrite, checkers.RegisterCAS, checkers.RegisterCAS}[c.rng.IntN(5)]
	o.Span = c.statement(func(ctx context.Context, conn *pgx.Conn) error {
		switch o.Kind {
		case checkers.RegisterRead:
			err := conn.QueryRow(ctx, "select v from registers where k = $1", o.Key).Scan(&o.Got)
			if errors.Is(err, pgx.ErrNoRows) {
				return nil
			}
			return err
		case checkers.RegisterWrite:
			_, err := conn.Exec(ctx, "insert into registers (k, v) values ($1, $2) on conflict (k) do update set v = excluded.v", o.Key, o.New)
			return err
		}
		tag, err := conn.Exec(ctx, "update registers set v = $3 where k = $1 and v = $2", o.Key, o.Old, o.New)
		o.Did = tag.RowsAffected() == 1
		return err
	})
	s.regs.add(o)
}

// groupTime is how long elements go to one group, which is read as a whole.
const groupTime = 5 * time.Second

func (s *small) set(c *client) {
	g := s.from + int64(time.Since(s.r.base)/groupTime)
	if c.rng.IntN(10) == 0 {
		x := checkers.SetRead{}
		x.Span = c.statement(func(ctx context.Context, conn *pgx.Conn) (err error) {
			x.Values, err = ints(ctx, conn, "select v from elements where k = $1", g)
			return err
		})
		// Other groups are not in this read: it is judged with what was added to its own.
		s.sets.add(x)
		for i, v := range x.Values {
			x.Values[i] = g<<20 | v
		}
		return
	}
	v := s.element.Add(1)
	span := c.statement(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "insert into elements values ($1, $2)", g, v)
		return err
	})
	s.adds.add(checkers.SetAdd{Span: span, Value: g<<20 | v})
}

func (s *small) count(c *client) {
	o := checkers.CounterOp{Wrote: c.rng.IntN(2) == 0}
	o.Span = c.statement(func(ctx context.Context, conn *pgx.Conn) error {
		if o.Wrote {
			return conn.QueryRow(ctx, "update counters set n = n + 1 where k = $1 returning n", s.from).Scan(&o.Value)
		}
		return conn.QueryRow(ctx, "select n from counters where k = $1", s.from).Scan(&o.Value)
	})
	s.counter.add(o)
}

// pair takes one side if neither is taken: two that do so at once must not both succeed.
func (s *small) pair(c *client) {
	p := s.from + int64(time.Since(s.r.base)/(50*time.Millisecond))
	side := c.rng.IntN(2)
	o := checkers.SkewRead{Pair: p}
	o.Span = c.transaction(func(ctx context.Context, conn *pgx.Conn) error {
		o.A, o.B = false, false
		taken, err := ints(ctx, conn, "select side from pairs where k = $1 and taken", p)
		if err != nil {
			return err
		}
		for _, x := range taken {
			o.A, o.B = o.A || x == 0, o.B || x == 1
		}
		if o.A || o.B {
			return nil
		}
		_, err = conn.Exec(ctx, "insert into pairs values ($1, $2, true)", p, side)
		return err
	})
	s.pairs.add(o)
}

// place scatters the n-th insert over the key space, a group of neighbours in time staying one of keys that is read.
func (s *small) place(n int64) int64 { return s.from + n%16*5000 + n/16 }

// insert adds keys one after the other, anywhere.
func (s *small) insert(c *client) {
	n := s.inserted.Add(1) - 1
	span := c.statement(func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "insert into forks values ($1)", s.place(n))
		return err
	})
	s.writes.add(checkers.ForkWrite{Span: span, Key: s.place(n)})
}

// fork looks for the keys that are being inserted, one by one.
func (s *small) fork(c *client, level int) {
	n := s.inserted.Load()
	first := n / forkGroup * forkGroup // the same keys for all readers of the moment
	if c.rng.IntN(2) == 0 {
		s.look(c, &s.causal, max(0, n-causalReads/2), causalReads)
		return
	}
	s.look(c, &s.forks[level], first, forkGroup)
}

func (s *small) look(c *client, into *history[checkers.ForkRead], first, n int64) {
	o := checkers.ForkRead{Keys: make([]int64, n), There: make([]bool, n)}
	for i := range n {
		o.Keys[i] = s.place(first + i)
	}
	o.Span = c.transaction(func(ctx context.Context, conn *pgx.Conn) error {
		for _, i := range c.rng.Perm(int(n)) {
			var k int64
			err := conn.QueryRow(ctx, "select k from forks where k = $1", o.Keys[i]).Scan(&k)
			if err != nil && !errors.Is(err, pgx.ErrNoRows) {
				return err
			}
			o.There[i] = err == nil
		}
		return nil
	})
	into.add(o)
}

// judge checks all histories, with the workloads stopped and the cluster whole.
func (s *small) judge() {
	for i, l := range levels {
		r := checkers.CheckBank(s.banks[i].ops, accounts*each)
		s.r.judge("bank "+l.short, outcomes(s.banks[i].ops, func(o checkers.BankRead) checkers.Span { return o.Span }), checkers.Allowed(l.is))(r, nil)
	}
	ser := checkers.Allowed(checkers.Serializable)
	rep, err := checkers.CheckRegisters(s.regs.ops, time.Minute)
	s.r.judge("registers", outcomes(s.regs.ops, func(o checkers.RegisterOp) checkers.Span { return o.Span }), ser)(rep, err)

	// The groups of the set: what was read of one in the end, and on the way.
	var last checkers.SetRead
	last.Span = s.r.readAll(fmt.Sprintf("select k, v from elements where k >= %d and k < %d", s.from, s.from+roundKeys), func(rows pgx.Rows) error {
		var k, v int64
		err := rows.Scan(&k, &v)
		last.Values = append(last.Values, k<<20|v)
		return err
	})
	addsOf := map[int64][]checkers.SetAdd{}
	for _, a := range s.adds.ops {
		addsOf[a.Value>>20] = append(addsOf[a.Value>>20], a)
	}
	rep = checkers.CheckSet(s.adds.ops, []checkers.SetRead{last})
	for _, x := range s.sets.ops {
		if len(x.Values) > 0 {
			more := checkers.CheckSet(addsOf[x.Values[0]>>20], []checkers.SetRead{x})
			rep.Anomalies = append(rep.Anomalies, more.Anomalies...)
		}
	}
	s.r.judge("set", outcomes(s.adds.ops, func(o checkers.SetAdd) checkers.Span { return o.Span }), ser)(rep, nil)
	s.r.judge("counter", outcomes(s.counter.ops, func(o checkers.CounterOp) checkers.Span { return o.Span }), ser)(checkers.CheckMonotonic(s.counter.ops), nil)
	both := checkers.SkewRead{A: true, B: true}
	both.Span = s.r.readAll(fmt.Sprintf("select k from pairs where k >= %d and k < %d and taken group by k having count(*) > 1", s.from, s.from+roundKeys), func(rows pgx.Rows) error {
		if err := rows.Scan(&both.Pair); err != nil {
			return err
		}
		s.pairs.ops = append(s.pairs.ops, both)
		return nil
	})
	s.r.judge("pairs", outcomes(s.pairs.ops, func(o checkers.SkewRead) checkers.Span { return o.Span }), ser)(checkers.CheckWriteSkew(s.pairs.ops), nil)
	for i, l := range levels[:2] {
		s.r.judge("forks "+l.short, outcomes(s.forks[i].ops, func(o checkers.ForkRead) checkers.Span { return o.Span }), checkers.Allowed(l.is))(checkers.CheckLongFork(s.forks[i].ops), nil)
	}
	s.r.judge("causal", outcomes(s.causal.ops, func(o checkers.ForkRead) checkers.Span { return o.Span }), ser)(checkers.CheckCausalReverse(s.writes.ops, s.causal.ops), nil)
}

func outcomes[T any](ops []T, span func(T) checkers.Span) (n [3]int) {
	for _, o := range ops {
		n[span(o).Outcome]++
	}
	return n
}
