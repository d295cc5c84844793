package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"

	"github.com/pamirdb/pamir/tests/checkers"
)

// roundKeys is how many keys of each table a round may use: rounds do not meet.
const roundKeys = 1_000_000

// level is an isolation level under test.
type level struct {
	sql   string
	short string
	is    checkers.Level
}

var levels = []level{
	{"serializable", "ser", checkers.Serializable},
	{"repeatable read", "rr", checkers.Snapshot},
	{"read committed", "rc", checkers.ReadCommitted},
}

// lists is the workload of list-append transactions at one level.
type lists struct {
	r     *run
	l     level
	table string

	next atomic.Int64 // element

	mu     sync.Mutex
	h      []checkers.ListTxn
	keys   []int64 // in use
	used   []int   // appends to each of keys
	newest int64
}

// activeKeys at a time; each is given up for a new one after appendsPerKey.
const (
	activeKeys    = 8
	appendsPerKey = 60
)

func newLists(r *run, l level) *lists {
	w := &lists{r: r, l: l, table: "lists_" + l.short, newest: r.round * roundKeys}
	for range activeKeys {
		w.keys, w.used = append(w.keys, w.newest), append(w.used, 0)
		w.newest++
	}
	return w
}

func (w *lists) key(c *client, forAppend bool) int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := c.rng.IntN(activeKeys)
	k := w.keys[i]
	if forAppend {
		if w.used[i]++; w.used[i] >= appendsPerKey {
			w.keys[i], w.used[i] = w.newest, 0
			w.newest++
		}
	}
	return k
}

func (w *lists) start(ctx context.Context, clients int) {
	w.r.spawn(ctx, "lists "+w.l.short, w.l.sql, clients, w.op)
}

// op is a transaction of one to four reads and appends.
func (w *lists) op(c *client) {
	var t checkers.ListTxn
	n := 1 + c.rng.IntN(4)
	body := func(ctx context.Context, conn *pgx.Conn) error {
		for i := range n {
			if err := w.step(ctx, c, conn, &t, i); err != nil {
				return err
			}
		}
		return nil
	}
	if n == 1 && c.rng.IntN(2) == 0 && w.l.is == checkers.Serializable {
		t.Span = c.statement(func(ctx context.Context, conn *pgx.Conn) error {
			k := w.key(c, true)
			t.Ops = append(t.Ops, checkers.ListOp{Key: k, Append: true, Value: w.next.Add(1)})
			return w.append(ctx, conn, k, t.Ops[0].Value)
		})
	} else {
		t.Span = c.transaction(body)
	}
	w.mu.Lock()
	w.h = append(w.h, t)
	w.mu.Unlock()
}

func (w *lists) step(ctx context.Context, c *client, conn *pgx.Conn, t *checkers.ListTxn, i int) error {
	c.at(fmt.Sprintf("operation %d", i+1))
	if c.rng.IntN(12) == 0 {
		if err := w.undone(ctx, c, conn); err != nil {
			return err
		}
	}
	if c.rng.IntN(2) == 0 {
		_, _, err := w.read(ctx, conn, w.key(c, false), "", t)
		return err
	}
	k, v := w.key(c, true), w.next.Add(1)
	how := c.rng.IntN(4)
	if how < 2 {
		t.Ops = append(t.Ops, checkers.ListOp{Key: k, Append: true, Value: v})
		return w.append(ctx, conn, k, v)
	}
	// As an application does it that reads first. Where a snapshot lasts for a statement only, that is safe under a lock and not without.
	lock := " for update"
	if how == 2 && w.l.is != checkers.ReadCommitted {
		lock = ""
	}
	l, there, err := w.read(ctx, conn, k, lock, t)
	if err != nil {
		return err
	}
	t.Ops = append(t.Ops, checkers.ListOp{Key: k, Append: true, Value: v})
	if !there {
		_, err = conn.Exec(ctx, "insert into "+w.table+" (k, v) values ($1, $2)", k, strconv.FormatInt(v, 10))
		return err
	}
	tag, err := conn.Exec(ctx, "update "+w.table+" set v = $2 where k = $1", k, l+","+strconv.FormatInt(v, 10))
	if err == nil && tag.RowsAffected() != 1 {
		return fmt.Errorf("chaos: the row of list %d was read and is not there", k)
	}
	return err
}

// undone appends an element that nobody may ever see: it is rolled back to a savepoint.
func (w *lists) undone(ctx context.Context, c *client, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, "savepoint before"); err != nil {
		return err
	}
	if err := w.append(ctx, conn, w.key(c, false), w.next.Add(1)); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, "rollback to before")
	return err
}

func (w *lists) append(ctx context.Context, conn *pgx.Conn, k, v int64) error {
	_, err := conn.Exec(ctx, "insert into "+w.table+" (k, v) values ($1, $2) on conflict (k) do update set v = "+w.table+".v || ',' || excluded.v", k, strconv.FormatInt(v, 10))
	return err
}

func (w *lists) read(ctx context.Context, conn *pgx.Conn, k int64, lock string, t *checkers.ListTxn) (text string, there bool, err error) {
	err = conn.QueryRow(ctx, "select v from "+w.table+" where k = $1"+lock, k).Scan(&text)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", false, err
	}
	there = err == nil
	l, err := parseList(text)
	if err != nil {
		return "", false, err
	}
	t.Ops = append(t.Ops, checkers.ListOp{Key: k, List: l})
	return text, there, nil
}

func parseList(text string) ([]int64, error) {
	if text == "" {
		return nil, nil
	}
	var l []int64
	for _, s := range strings.Split(text, ",") {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("chaos: a list reads %q: %w", text, err)
		}
		l = append(l, v)
	}
	return l, nil
}

// judge reads all lists and checks the history.
func (w *lists) judge() {
	final := checkers.ListTxn{}
	there := map[int64][]int64{}
	q := fmt.Sprintf("select k, v from %s where k >= %d and k < %d", w.table, w.r.round*roundKeys, (w.r.round+1)*roundKeys)
	final.Span = w.r.readAll(q, func(rows pgx.Rows) error {
		var k int64
		var v string
		if err := rows.Scan(&k, &v); err != nil {
			return err
		}
		l, err := parseList(v)
		there[k] = l
		return err
	})
	for k := w.r.round * roundKeys; k < w.newest; k++ {
		final.Ops = append(final.Ops, checkers.ListOp{Key: k, List: there[k]})
	}
	w.settle(there)
	h := append(w.h, final)
	w.r.judge("lists "+w.l.short, outcomes(h, func(t checkers.ListTxn) checkers.Span { return t.Span }), checkers.Allowed(w.l.is))(checkers.CheckLists(h))
}

// settle finds out what the commits without an answer came to. Some were asked for already: what was said then must be so.
func (w *lists) settle(there map[int64][]int64) {
	present := map[[2]int64]bool{}
	for k, l := range there {
		for _, v := range l {
			present[[2]int64{k, v}] = true
		}
	}
	for i := range w.h {
		t := &w.h[i]
		if t.Outcome != checkers.Unknown {
			continue
		}
		what, yes, no := "read only", 0, 0
		for _, o := range t.Ops {
			if !o.Append {
				continue
			}
			if present[[2]int64{o.Key, o.Value}] {
				yes++
			} else {
				no++
			}
		}
		switch {
		case yes > 0 && no > 0:
			w.r.t.Errorf("half a transaction is there: %+v", *t)
		case yes > 0:
			what, t.Outcome = "found committed", checkers.OK
		case no > 0:
			what, t.Outcome = "found not committed", checkers.Failed
		}
		w.r.resolution("lists "+w.l.short, what)
	}
}
