package sim

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/tests/checkers"
	"github.com/pamirdb/pamir/txn"
)

// loads are rows that large transactions insert: those that outgrow their gateway's memory and send their writes ahead, as open locks. There are some
// clients that do nothing else (Options.Loads), and then all gateways have little memory for the writes of a transaction. All rows of a load are there, or none.
var loads = workload{'p', 10}

// littleMemory is for about eight rows.
const littleMemory = 1500

// all are the workloads of this world, in a fixed order.
func (w *world) workloads() []workload {
	all := slices.Clip(workloads)
	if w.o.Loads > 0 {
		all = append(all, loads)
	}
	if w.o.Hot > 0 {
		all = append(all, hot, hotToo, waiting)
	}
	return all
}

func newLoader(w *world, no int) *client {
	no += 500 // apart from the other clients
	return &client{w: w, no: no, process: no, rng: w.rng('L' + uint64(no)<<8)}
}

func (c *client) runLoads() { c.again(c.load, 200*time.Millisecond) }

// load does one load.
func (c *client) load() {
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	p := loadPlan{pieces: 2 + c.rng.IntN(7), pause: -1, others: c.rng.IntN(4) == 0, savepoints: c.rng.IntN(3) > 0}
	if often := c.w.o.Profile == "pauses"; often || c.rng.IntN(2) == 0 { // before the first piece, in the middle, or after all
		if p.pause = p.pieces; !often && c.rng.IntN(2) == 0 {
			p.pause = c.rng.IntN(p.pieces)
		}
		p.long = time.Duration(c.rng.Int64N(int64(2 * time.Second)))
		if (often || c.rng.IntN(2) == 0) && !p.others {
			p.long += time.Duration(2+c.rng.IntN(6)) * time.Second
		}
	}
	opts := txn.Options{}
	if !p.others && c.rng.IntN(2) == 0 {
		opts.Isolation = kv.ReadCommitted
	}
	var l *load
	o := c.op(ctx, func(o *op) error {
		l = &load{o: o, plan: &p, n: c.w.hist.unique(), rng: c.rng, rows: map[string]string{}, before: map[string]string{}}
		return l.run()
	}, opts)
	if l == nil {
		return // nobody was there
	}
	c.w.trace.count("loads: "+o.span.Outcome.String(), 1)
	if o.span.Outcome == checkers.OK && l.wrong != "" {
		c.w.fail("load %d, committed at %v (%s): %s", l.n, o.at, o.tx.ID(), l.wrong)
	}
	if kv.HasCode(o.err, kv.CodeConditionFailed) || kv.HasCode(o.err, kv.CodeBadRequest) {
		c.w.fail("load %d: of rows that nobody else writes: %v", l.n, o.err)
	}
	c.recordLoad(o, l)
}

func (c *client) recordLoad(o *op, l *load) {
	if o.list != nil {
		c.record(o)
	}
	x := checkers.Load{Span: o.span}
	for _, k := range slices.Sorted(maps.Keys(l.rows)) {
		x.Values = append(x.Values, loadValue(l.rows[k]))
	}
	h := c.w.hist
	h.mu.Lock()
	defer h.mu.Unlock()
	h.loads = append(h.loads, x)
}

// loadPlan is what a load is going to do in every attempt.
type loadPlan struct {
	pieces     int
	pause      int // before which piece; -1 for nowhere
	long       time.Duration
	paused     bool
	others     bool // it reads and writes rows of other workloads, too
	savepoints bool
}

// load is one attempt.
type load struct {
	o    *op
	plan *loadPlan
	n    int64
	rng  *rand.Rand
	next int64 // of its rows
	sent int64 // how often writes were sent ahead, of all of this gateway's transactions
	// rows are what it has written, as it should see them in its next statement, and before as in the running one.
	rows, before map[string]string
	saves        []loadSave
	// wrong is what it saw and should not have. That counts if it commits: one that has been given up has lost its locks.
	wrong string
}

// loadSave is a savepoint.
type loadSave struct {
	mark  txn.Mark
	rows  map[string]string
	timed map[string]string
	list  int
	sent  int64
}

func (l *load) run() error {
	o := l.o
	for i := range l.plan.pieces {
		if err := l.pause(i); err != nil {
			return err
		}
		// As an application does that can do without a part of it.
		save := l.plan.savepoints && l.rng.IntN(2) == 0
		if save {
			l.save()
		}
		if err := l.piece(); err != nil {
			return err
		}
		if err := l.step(); err != nil {
			return err
		}
		if save && l.rng.IntN(2) == 0 {
			l.rollbackTo(len(l.saves) - 1)
			if err := l.step(); err != nil {
				return err
			}
		}
	}
	// At the end all of it has been sent, or not quite: who waits then with nothing in the buffer sends nothing any more that would be refused.
	for sent, all := false, l.rng.IntN(4) > 0; len(l.rows) == 0 || all && !sent; {
		k := l.key()
		if err := l.put(k, l.value(), true); err != nil {
			return err
		}
		before := l.sent
		if err := l.spill(o.ctx); err != nil {
			return err
		}
		sent = l.sent > before
	}
	return l.pause(l.plan.pieces)
}

// pause waits, in the first attempt, if this is where.
func (l *load) pause(i int) error {
	if p := l.plan; i == p.pause && !p.paused {
		p.paused = true
		if l.sent > 0 {
			over := l.o.c.w.pauses.begin(l.o.life.n, p.long)
			defer over()
		}
		sleep(l.o.ctx, p.long)
	}
	if l.o.life.dead.Load() {
		return kv.Errorf(kv.CodeUnavailable, "the node is down")
	}
	return nil
}

func (l *load) step() error {
	if l.o.life.dead.Load() {
		return kv.Errorf(kv.CodeUnavailable, "the node is down")
	}
	if err := l.o.step(); err != nil {
		return err
	}
	l.before = maps.Clone(l.rows)
	return nil
}

// piece is a statement, or what is between two.
func (l *load) piece() error {
	o := l.o
	switch x := l.rng.IntN(12); {
	case x < 4 || len(l.rows) == 0:
		return l.insert(o.ctx)
	case x == 4:
		return l.update()
	case x == 5:
		return l.remove()
	case x < 8 && l.plan.savepoints:
		if len(l.saves) == 0 || x == 6 {
			l.save()
			return l.impatient()
		}
		l.rollbackTo(l.rng.IntN(len(l.saves)))
		return nil
	case x < 10 && l.plan.others:
		return l.append()
	case x == 10:
		return l.readSome()
	default:
		return l.readAll()
	}
}

// impatient inserts and gives up soon, as a statement with a timeout does: some of it may have been sent, and it is taken back.
func (l *load) impatient() error {
	if l.rng.IntN(3) > 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.o.ctx, time.Duration(1+l.rng.IntN(60))*time.Millisecond)
	defer cancel()
	err := l.insert(ctx)
	if err == nil || kv.AsError(err).Code.Class() == kv.RetryTxn {
		return err
	}
	l.o.c.w.trace.count("loads: statements given up", 1)
	l.rollbackTo(len(l.saves) - 1)
	return nil
}

// key draws where a row goes: its load's rows are all over the table, between splits.
func (l *load) key() keys.Key {
	l.next++
	return append(l.prefix(l.rng.Int64N(loads.keys)), fmt.Sprintf("%03d", l.next)...)
}

// value is that of the row whose key was drawn last.
func (l *load) value() string { return fmt.Sprintf("%d/0", l.n*1000+l.next) }

func (l *load) prefix(part int64) keys.Key {
	return append(key(loads.letter, part), fmt.Sprintf("%06d/%06d/", l.n%50, l.n)...)
}

// spans are where the load's own rows are.
func (l *load) spans() (out []keys.Span) {
	for part := range loads.keys {
		p := l.prefix(part)
		out = append(out, keys.Span{Start: p, End: append(p[:len(p)-1:len(p)-1], '/'+1)})
	}
	return out
}

// loadValue is what a row holds for the checkers: the rest of it says how often it was changed.
func loadValue(v string) int64 {
	s, _, _ := strings.Cut(v, "/")
	return parseNumber([]byte(s))
}

func (l *load) put(k keys.Key, v string, insert bool) error {
	l.rows[string(k)] = v
	l.say("%s = %s", k, v)
	l.o.wrote(k, []byte(v))
	if insert {
		return l.o.tx.Insert(k, []byte(v))
	}
	return l.o.tx.Put(k, []byte(v))
}

func (l *load) spill(ctx context.Context) error {
	ahead := &l.o.life.txns.Metrics().SendAheads
	before := ahead.Load()
	err := l.o.tx.(txn.Buffered).MakeRoom(ctx)
	l.say("sends ahead %d times: %v", ahead.Load()-before, err)
	l.sent += ahead.Load() - before
	l.o.c.w.trace.count("loads: writes sent ahead", ahead.Load()-before)
	return err
}

func (l *load) insert(ctx context.Context) error {
	for range 3 + l.rng.IntN(25) {
		k := l.key()
		if err := l.put(k, l.value(), true); err != nil {
			return err
		}
		if err := l.spill(ctx); err != nil {
			return err
		}
	}
	return nil
}

// update changes rows while it scans them, in small pages, and sends ahead what it has changed: the scan must not see it.
func (l *load) update() error {
	return l.scan(60, func(k keys.Key, v []byte) error {
		if l.rng.IntN(4) == 0 {
			return nil
		}
		id, rev, _ := bytes.Cut(v, []byte{'/'})
		if err := l.put(slices.Clone(k), fmt.Sprintf("%s/%d", id, parseNumber(rev)+1), false); err != nil {
			return err
		}
		return l.spill(l.o.ctx)
	})
}

func (l *load) remove() error {
	for _, k := range slices.Sorted(maps.Keys(l.rows)) {
		if l.rng.IntN(4) > 0 {
			continue
		}
		l.say("deletes %s", k)
		delete(l.rows, k)
		delete(l.o.timed.Writes, k)
		if err := l.o.tx.Delete(keys.Key(k)); err != nil {
			return err
		}
		if err := l.spill(l.o.ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *load) say(format string, args ...any) {
	if w := l.o.c.w; w.o.Verbose > 1 {
		w.trace.say("load %d (%s) %s", l.n, l.o.tx.ID(), fmt.Sprintf(format, args...))
	}
}

func (l *load) save() {
	l.say("savepoint %d", len(l.saves))
	l.saves = append(l.saves, loadSave{l.o.tx.Savepoint(), maps.Clone(l.rows), maps.Clone(l.o.timed.Writes), len(l.o.list), l.sent})
}

func (l *load) rollbackTo(i int) {
	s := &l.saves[i]
	l.o.tx.RollbackTo(s.mark)
	l.rows, l.o.timed.Writes = maps.Clone(s.rows), maps.Clone(s.timed)
	// What was read since may hold what was taken back.
	l.o.list = l.o.list[:s.list]
	l.saves = l.saves[:i+1]
	l.say("returns to savepoint %d, %d", i, s.mark)
	l.o.c.w.trace.count("loads: returns to savepoints", 1)
	if l.sent > s.sent {
		l.o.c.w.trace.count("loads: what was sent is taken back", 1)
	}
}

// append adds to a list, in the same transaction.
func (l *load) append() error {
	i, value := l.rng.Int64N(lists.keys), l.o.c.w.hist.unique()
	o := l.o
	v, err := o.get(key(lists.letter, i), kv.LockNoKeyUpdate)
	if err != nil {
		return err
	}
	o.list = append(o.list, checkers.ListOp{Key: i, List: parseList(v)}, checkers.ListOp{Key: i, Append: true, Value: value})
	if err := o.put(key(lists.letter, i), appendList(v, value)); err != nil {
		return err
	}
	return l.spill(o.ctx)
}

func (l *load) see(k string, got string) {
	if want := l.before[k]; got != want && l.wrong == "" {
		l.say("reads %s as %q instead of %q", k, got, want)
		l.wrong = fmt.Sprintf("it read its row %s as %q, having written %q", k[len(k)-23:], got, want)
		l.o.c.w.trace.count("loads: lost sight of rows", 1)
	}
}

// readSome reads some of its rows, one by one or together.
func (l *load) readSome() error {
	all := slices.Sorted(maps.Keys(l.before))
	var some []keys.Key
	for range min(len(all), 5) {
		some = append(some, keys.Key(all[l.rng.IntN(len(all))]))
	}
	some = append(some, append(l.prefix(l.rng.Int64N(loads.keys)), "none"...))
	if l.rng.IntN(2) == 0 {
		vs, err := l.o.tx.GetMany(l.o.ctx, some, txn.ScanOptions{})
		if err != nil {
			return err
		}
		for i, k := range some {
			l.see(string(k), string(vs[i]))
		}
		return nil
	}
	for _, k := range some {
		v, _, err := l.o.tx.Get(l.o.ctx, k, txn.ScanOptions{})
		if err != nil {
			return err
		}
		l.see(string(k), string(v))
	}
	return nil
}

func (l *load) readAll() error { return l.scan(0, func(keys.Key, []byte) error { return nil }) }

// scan reads all of its rows, which must be those of before the statement.
func (l *load) scan(page int64, row func(k keys.Key, v []byte) error) error {
	left := maps.Clone(l.before)
	sc := l.o.tx.Scan(l.o.ctx, l.spans(), txn.ScanOptions{TargetBytes: page})
	defer sc.Close()
	for {
		p, ok, err := sc.Next(l.o.ctx)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		for {
			k, v, ok, err := p.Rows.Next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			l.see(string(k), string(v))
			delete(left, string(k))
			if err := row(k, v); err != nil {
				return err
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(left)) {
		l.see(k, "")
	}
	return nil
}
