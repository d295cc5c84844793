package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/tests/checkers"
	"github.com/pamirdb/pamir/txn"
)

// What a leader learns about rows that are written again and again (eval.LockFloors) or that have all been deleted (eval.Gaps) is for workloads
// of their own, with clients that do nothing else (Options.Hot): a few rows in two places, which most transactions write together, and of which some began long before;
// and a queue, which is filled at its end, now and then anywhere, and emptied from the beginning.
var (
	hot     = workload{'h', 2}
	hotToo  = workload{'y', 2}
	waiting = workload{'q', 40}
)

func newHot(w *world, no int) *client {
	no += 800
	return &client{w: w, no: no, process: no, rng: w.rng('H' + uint64(no)<<8)}
}

func (c *client) runHot() { c.again(c.oneHot, 5*time.Millisecond) }

func (c *client) oneHot() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var q queueOp
	var opts txn.Options
	var body func(o *op) error
	switch c.rng.IntN(8) {
	case 0, 1:
		body = c.writeHot(0)
	case 2:
		body = c.writeHot(time.Duration(c.rng.Int64N(int64(2500 * time.Millisecond))))
	case 3:
		body = c.readHot()
	case 4, 5:
		body = c.fill(&q)
	case 6:
		body = c.take(&q)
	default:
		opts.ReadOnly = true
		body = c.lookThrough(&q)
	}
	o := c.op(ctx, body, opts)
	if q.what == "" || o.span.Outcome == checkers.Failed {
		return
	}
	c.w.trace.count("queue: "+q.what, 1)
	q.span, q.at = o.span, o.at
	if q.at.IsEmpty() || opts.ReadOnly {
		q.at = o.tx.ReadTimestamp()
	}
	h := c.w.hist
	h.mu.Lock()
	h.queue = append(h.queue, q)
	h.mu.Unlock()
}

// writeHot writes hot rows, after it has been there for a while. It has not read them, so it need not begin anew.
func (c *client) writeHot(age time.Duration) func(o *op) error {
	rng := rand.New(rand.NewPCG(c.rng.Uint64(), 1))
	both := c.rng.IntN(8) > 0
	return func(o *op) error {
		sleep(o.ctx, age)
		for _, w := range []workload{hot, hotToo} {
			if w.letter == hot.letter || both {
				if err := o.put(key(w.letter, rng.Int64N(w.keys)), number(c.w.hist.unique())); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

func (c *client) readHot() func(o *op) error {
	return func(o *op) error {
		for _, w := range []workload{hot, hotToo} {
			for i := range w.keys {
				if _, err := o.get(key(w.letter, i), kv.LockNone); err != nil {
					return err
				}
			}
		}
		return nil
	}
}

// queueOp is a transaction that filled the queue, took from it, or looked through it.
type queueOp struct {
	what string
	span checkers.Span
	at   hlc.Timestamp
	// put and took are the item that it wrote or deleted; 0 for none.
	put, took item
	// sure: there was nothing before upTo at its timestamp but what it saw.
	sure bool
	saw  []item
	upTo int64
}

// item is a row of the queue: its place, and the value that no other has.
type item struct{ place, no int64 }

// fill inserts an item: mostly behind the last one.
func (c *client) fill(q *queueOp) func(o *op) error {
	anywhere, alone := c.rng.IntN(4) == 0, c.rng.IntN(2) == 0
	place := c.rng.Int64N(waiting.keys)
	if !anywhere {
		h := c.w.hist
		h.mu.Lock()
		h.lastPlace++
		place = h.lastPlace % waiting.keys
		h.mu.Unlock()
	}
	no := c.w.hist.unique()
	return func(o *op) error {
		*q = queueOp{what: "filled", put: item{place, no}}
		if err := o.tx.Insert(key(waiting.letter, place), number(no)); err != nil || alone {
			return err
		}
		return o.put(key(hotToo.letter, no%hotToo.keys), number(no)) // in another range, so that there are locks
	}
}

// take deletes the first item, or the first that is not locked.
func (c *client) take(q *queueOp) func(o *op) error {
	skip, alone, long := c.rng.IntN(2) == 0, c.rng.IntN(2) == 0, c.rng.IntN(4) == 0
	no := c.w.hist.unique()
	return func(o *op) error {
		*q = queueOp{what: "found empty", upTo: waiting.keys, sure: !skip}
		opts := txn.ScanOptions{Lock: kv.LockUpdate, MaxRows: 1}
		if skip {
			opts.Wait = kv.WaitSkip
		}
		got, err := o.items(span(waiting.letter, 0, waiting.keys), opts)
		if err != nil || len(got) == 0 {
			return err
		}
		q.what, q.took, q.upTo = "taken", got[0], got[0].place
		if err := o.step(); err != nil {
			return err
		}
		if long {
			sleep(o.ctx, 50*time.Millisecond)
		}
		if err := o.tx.Delete(key(waiting.letter, q.took.place)); err != nil || alone {
			return err
		}
		return o.put(key(hotToo.letter, no%hotToo.keys), number(no))
	}
}

// lookThrough reads the queue from its beginning.
func (c *client) lookThrough(q *queueOp) func(o *op) error {
	return func(o *op) error {
		got, err := o.items(span(waiting.letter, 0, waiting.keys), txn.ScanOptions{})
		*q = queueOp{what: "looked through", saw: got, upTo: waiting.keys, sure: true}
		return err
	}
}

// timed reports whether reads of a key are held against the versions that rows have had, which tell nothing of deletions: those of the queue are not.
func timed(k keys.Key) bool { return k[len(k)-7] != waiting.letter }

// items reads items in order.
func (o *op) items(s keys.Span, opts txn.ScanOptions) (out []item, err error) {
	sc := o.tx.Scan(o.ctx, []keys.Span{s}, opts)
	defer sc.Close()
	for {
		p, ok, err := sc.Next(o.ctx)
		if err != nil || !ok {
			return out, err
		}
		for {
			k, v, ok, err := p.Rows.Next()
			if err != nil {
				return nil, err
			}
			if !ok {
				break
			}
			out = append(out, item{parsePlace(k), parseNumber(v)})
		}
	}
}

// parsePlace reads what key has written.
func parsePlace(k keys.Key) int64 {
	n := int64(0)
	for _, d := range k[len(k)-6:] {
		n = 10*n + int64(d-'0')
	}
	return n
}

// checkQueue holds what was seen of the queue against what was put into it and taken out, and when. Items of whose coming or going nobody was told are
// left out; at the end they are there or not.
func checkQueue(ops []queueOp) (r checkers.Report, wrong []string) {
	type life struct{ from, to hlc.Timestamp }
	lives := map[item]*life{}
	open := map[item]bool{}
	say := func(format string, args ...any) {
		if len(wrong) < 5 {
			wrong = append(wrong, fmt.Sprintf(format, args...))
		}
	}
	for _, q := range ops {
		if q.put != (item{}) {
			lives[q.put] = &life{from: q.at, to: hlc.Max}
			open[q.put] = q.span.Outcome != checkers.OK
		}
	}
	for _, q := range ops {
		if q.took == (item{}) {
			continue
		}
		l := lives[q.took]
		switch {
		case l == nil:
			say("%v was taken at %v, and nobody has put it there", q.took, q.at)
		case q.span.Outcome != checkers.OK:
			open[q.took] = true
		case l.to != hlc.Max:
			say("%v was taken at %v and at %v", q.took, l.to, q.at)
		case !open[q.took] && !l.from.Less(q.at):
			say("%v was taken at %v and put there at %v", q.took, q.at, l.from)
		default:
			l.to = q.at
		}
	}
	for _, q := range ops {
		if q.span.Outcome != checkers.OK || !q.sure {
			continue
		}
		r.Checked++
		saw := map[item]bool{}
		for _, it := range q.saw {
			if saw[it] = true; lives[it] == nil {
				say("%v was seen at %v, and nobody has put it there", it, q.at)
			}
		}
		for it, l := range lives {
			if open[it] || it.place >= q.upTo || it == q.took {
				continue
			}
			// What others have written at the very timestamp is seen as well: nobody writes at the timestamp of somebody else's read.
			if there := l.from.LessEq(q.at) && q.at.Less(l.to); there != saw[it] {
				say("%s at %v up to place %d: seen %v; %v was there from %v to %v (%s)", q.what, q.at, q.upTo, q.saw, it, l.from, l.to, q.span)
			}
		}
	}
	return r, wrong
}

// judgeQueue is checkQueue, in words.
func (h *history) judgeQueue(w *world) string {
	r, wrong := checkQueue(h.queue)
	w.trace.count("checked: queue", int64(r.Checked))
	if len(wrong) == 0 {
		return ""
	}
	return "queue: " + strings.Join(wrong, "\nqueue: ")
}
