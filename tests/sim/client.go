package sim

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/tests/checkers"
	"github.com/pamirdb/pamir/txn"
)

// client runs transactions, one after the other, now here, now there.
type client struct {
	w       *world
	no      int
	process int // of the history: a new one after every answer that did not come
	rng     *rand.Rand
}

// gateways is more than there are nodes: a client has a process of the history at each.
const gateways = 16

func newClient(w *world, no int) *client {
	return &client{w: w, no: no, process: no, rng: w.rng('c' + uint64(no)<<8)}
}

func (c *client) run() { c.again(c.one, 15*time.Millisecond) }

// again does one thing after the other until the simulation ends, with pauses of this mean between them.
func (c *client) again(one func(), pause time.Duration) {
	for c.w.ctx.Err() == nil {
		one()
		sleep(c.w.ctx, time.Duration(c.rng.ExpFloat64()*float64(pause)))
	}
}

// one does one transaction.
func (c *client) one() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	if c.rng.IntN(20) == 0 { // an impatient one
		ctx, cancel = context.WithTimeout(context.Background(), time.Duration(5+c.rng.IntN(400))*time.Millisecond)
	}
	defer cancel()
	var body func(o *op) error
	var opts txn.Options
	switch c.rng.IntN(10) {
	case 0, 1:
		body = c.register()
	case 2, 3:
		body = c.transfer()
	case 4, 5, 6:
		body = c.lists()
	case 7:
		body = c.add()
	default:
		c.snapshot(ctx)
		return
	}
	o := c.op(ctx, body, opts)
	c.record(o)
	if o.span.Outcome == checkers.OK && c.rng.IntN(3) == 0 {
		c.lookAgain(ctx, o)
	}
}

// lookAgain reads a row that was just written, at once, wherever the next request happens to go: nobody has told that gateway how late it is.
func (c *client) lookAgain(ctx context.Context, o *op) {
	switch {
	case o.reg != nil && o.reg.Kind != checkers.RegisterRead && len(o.timed.Writes) > 0:
		k := o.reg.Key
		c.record(c.op(ctx, func(o *op) error {
			o.reg = &checkers.RegisterOp{Key: k, Kind: checkers.RegisterRead}
			v, err := o.get(key(registers.letter, k), kv.LockNone)
			o.reg.Got = parseNumber(v)
			return err
		}))
	case len(o.list) > 0 && o.list[0].Append:
		k := o.list[0].Key
		c.record(c.op(ctx, func(o *op) error {
			v, err := o.get(key(lists.letter, k), kv.LockNone)
			if err != nil {
				return o.unread(err)
			}
			o.list = append(o.list, checkers.ListOp{Key: k, List: parseList(v)})
			return nil
		}))
	}
}

// op is one transaction: the last attempt of it.
type op struct {
	c    *client
	life *life // of the gateway
	ctx  context.Context
	tx   txn.Txn
	span checkers.Span
	err  error
	at   hlc.Timestamp // committed
	// committing: the outcome is open from here on.
	committing bool

	list  []checkers.ListOp
	reg   *checkers.RegisterOp
	bank  []int64
	added int64
	set   []int64
	rows  string // all of a workload
	all   workload

	timed checkers.TimedTxn
}

func (c *client) now() int64 { return int64(time.Since(c.w.trace.start)) }

// op runs a transaction to its end, with as many attempts as it takes.
func (c *client) op(ctx context.Context, body func(o *op) error, opts ...txn.Options) *op {
	o := &op{c: c, ctx: ctx}
	o.span = checkers.Span{Process: c.process, Invoke: c.now(), Complete: checkers.Never}
	l := c.w.gateway(c.rng)
	if l == nil {
		o.span.Outcome, o.err = checkers.Failed, kv.Errorf(kv.CodeUnavailable, "the node is down")
		o.span.Complete = c.now()
		return o
	}
	// What is promised of the order of a client's transactions is so of those of one connection.
	o.life, o.span.Process = l, c.process*gateways+int(l.n.id)
	opt := txn.Options{}
	if len(opts) > 0 {
		opt = opts[0]
	}
	c.w.trace.count("transactions", 1)
	if !l.do(func() { o.attempts(l, opt, body) }) {
		parked := *o
		o = &parked
		o.lost()
	}
	if o.span.Outcome == checkers.Unknown {
		c.process += 1000
	} else {
		o.span.Complete = c.now()
	}
	c.w.hist.addTimed(o)
	id := o.tx.ID()
	c.w.trace.event("client "+o.span.Outcome.String(), int64(c.no), o.at.WallTime, id[:])
	if c.w.o.Verbose > 1 {
		c.w.trace.say("client %d at node %d: %s %s, at %v: %s", c.no, l.n.id, id, o.span.Outcome, o.at, o)
	}
	return o
}

// attempts runs the transaction as often as it takes.
func (o *op) attempts(l *life, opt txn.Options, body func(o *op) error) {
	o.tx = l.txns.Begin(o.ctx, opt)
	for try := 0; ; try++ {
		o.committing = false
		err := body(o)
		if err == nil {
			o.committing = true
			o.at, err = o.tx.Commit(o.ctx)
		}
		o.err = err
		switch {
		case l.dead.Load(): // nobody is there to hear the answer
			o.lost()
		case err == nil:
			o.span.Outcome = checkers.OK
			o.c.w.trace.count("commits", 1)
		case o.committing && kv.AsError(err).Code.Class() == kv.Unknown:
			o.span.Outcome = checkers.Unknown
			o.c.w.trace.count("unknown outcomes", 1)
		case o.tx.Retryable(err) && try < 50 && o.ctx.Err() == nil:
			o.c.w.trace.count("restarts of transactions", 1)
			if rerr := o.tx.Restart(o.ctx, err); rerr == nil {
				o.list, o.reg, o.bank, o.added, o.set, o.rows = nil, nil, nil, 0, nil, ""
				o.timed = checkers.TimedTxn{}
				continue
			}
			fallthrough
		default:
			o.span.Outcome = checkers.Failed
			o.c.w.trace.count("failed: "+kv.AsError(err).Code.String(), 1)
			if kv.HasCode(err, kv.CodeInternal) || kv.HasCode(err, kv.CodeCorruption) {
				o.c.w.fail("client %d: %v", o.c.no, err)
			}
			o.tx.Rollback(o.ctx)
		}
		break
	}
}

// lost notes that nobody is there any more to hear the answer.
func (o *op) lost() {
	o.span.Outcome = checkers.Failed
	if o.committing {
		o.span.Outcome = checkers.Unknown
	}
	o.err = kv.Errorf(kv.CodeUnknownOutcome, "the gateway died")
	o.c.w.trace.count("gateway died", 1)
}

func (o *op) String() string {
	var b strings.Builder
	for _, x := range o.list {
		if x.Append {
			fmt.Fprintf(&b, "append(%d, %d) ", x.Key, x.Value)
		} else {
			fmt.Fprintf(&b, "read(%d) = %v ", x.Key, x.List)
		}
	}
	if o.reg != nil {
		b.WriteString(o.reg.String())
	}
	if o.bank != nil {
		fmt.Fprintf(&b, "bank %v ", o.bank)
	}
	if o.added != 0 {
		fmt.Fprintf(&b, "add %d ", o.added)
	}
	if o.err != nil {
		fmt.Fprintf(&b, "(%v)", o.err)
	}
	return b.String()
}

// record puts a transaction into the history.
func (c *client) record(o *op) {
	h := c.w.hist
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case o.list != nil:
		h.lists = append(h.lists, checkers.ListTxn{Span: o.span, Ops: o.list})
	case o.reg != nil:
		o.reg.Span = o.span
		h.regs = append(h.regs, *o.reg)
	case o.bank != nil:
		h.bank = append(h.bank, checkers.BankRead{Span: o.span, Balances: o.bank})
	case o.added != 0:
		h.adds = append(h.adds, checkers.SetAdd{Span: o.span, Value: o.added})
	case o.all.letter == loads.letter:
		h.loadReads = append(h.loadReads, checkers.SetRead{Span: o.span, Values: o.set})
	case o.all.letter == sets.letter:
		h.sets = append(h.sets, checkers.SetRead{Span: o.span, Values: o.set})
	}
}

// The transactions.

func (o *op) get(k keys.Key, lock kv.LockStrength) ([]byte, error) {
	v, _, err := o.tx.Get(o.ctx, k, txn.ScanOptions{Lock: lock})
	if _, own := o.timed.Writes[string(k)]; err == nil && !own && timed(k) {
		o.timed.Reads = append(o.timed.Reads, checkers.TimedRead{Key: string(k), Value: string(v)})
	}
	return v, err
}

func (o *op) put(k keys.Key, v []byte) error {
	o.wrote(k, v)
	return o.tx.Put(k, v)
}

func (o *op) wrote(k keys.Key, v []byte) {
	if o.timed.Writes == nil {
		o.timed.Writes = map[string]string{}
	}
	o.timed.Writes[string(k)] = string(v)
}

// step ends a statement, if there shall be several.
func (o *op) step() error {
	sleep(o.ctx, time.Duration(o.c.rng.ExpFloat64()*float64(3*time.Millisecond)))
	if o.c.rng.IntN(4) == 0 { // what was read is shown to somebody
		o.c.w.trace.count("snapshots fixed", 1)
		if err := o.tx.(txn.SnapshotFixer).FixSnapshot(o.ctx); err != nil {
			return err
		}
	}
	return o.tx.StepStatement(o.ctx)
}

// register reads, writes or compares and sets one key.
func (c *client) register() func(o *op) error {
	x := checkers.RegisterOp{Key: c.rng.Int64N(registers.keys), Kind: checkers.RegisterKind(c.rng.IntN(3)), New: c.w.hist.unique()}
	guess := c.rng.IntN(2) == 0
	k := key(registers.letter, x.Key)
	return func(o *op) error {
		r := x
		switch r.Kind {
		case checkers.RegisterRead:
			v, err := o.get(k, kv.LockNone)
			if err != nil {
				o.reg = &r
				return err
			}
			r.Got = parseNumber(v)
		case checkers.RegisterWrite:
			o.reg = &r
			return o.put(k, number(r.New))
		case checkers.RegisterCAS:
			v, err := o.get(k, kv.LockStrength(c.rng.IntN(2))*kv.LockNoKeyUpdate)
			if err != nil {
				o.reg = &checkers.RegisterOp{Key: r.Key} // a read without an answer: it says nothing
				return err
			}
			r.Old, r.Did = parseNumber(v), true
			if !guess {
				r.Old, r.Did = parseNumber(v)+1_000_000, false // what nobody ever wrote
			}
			o.reg = &r
			if r.Did {
				return o.put(k, number(r.New))
			}
			return nil
		}
		o.reg = &r
		return nil
	}
}

// transfer moves money between two accounts.
func (c *client) transfer() func(o *op) error {
	a := c.rng.Int64N(bank.keys)
	b := (a + 1 + c.rng.Int64N(bank.keys-1)) % bank.keys
	lock := kv.LockNone
	if c.rng.IntN(2) == 0 {
		lock = kv.LockNoKeyUpdate
	}
	n, no := 1+c.rng.Int64N(5), c.w.hist.unique()
	return func(o *op) error {
		var had [2]int64
		for i, x := range []int64{a, b} {
			v, err := o.get(key(bank.letter, x), lock)
			if err != nil {
				return err
			}
			had[i] = parseBalance(v)
			if err := o.step(); err != nil {
				return err
			}
		}
		if err := o.put(key(bank.letter, a), balance(had[0]-n, no)); err != nil {
			return err
		}
		return o.put(key(bank.letter, b), balance(had[1]+n, no))
	}
}

// lists reads lists and appends to them.
func (c *client) lists() func(o *op) error {
	type step struct {
		key, value int64
		append     bool
		to         int64 // a scan, up to here
		lock       kv.LockStrength
	}
	var steps []step
	for range 1 + c.rng.IntN(4) {
		s := step{key: c.rng.Int64N(lists.keys)}
		switch c.rng.IntN(6) {
		case 0, 1, 2:
			s.append, s.value = true, c.w.hist.unique()
			s.lock = kv.LockStrength(c.rng.IntN(2)) * kv.LockNoKeyUpdate
		case 3:
			s.to = s.key + 1 + c.rng.Int64N(lists.keys-s.key)
		}
		steps = append(steps, s)
	}
	return func(o *op) error {
		for i, s := range steps {
			if i > 0 {
				if err := o.step(); err != nil {
					return o.unread(err)
				}
			}
			switch {
			case s.append:
				v, err := o.get(key(lists.letter, s.key), s.lock)
				if err != nil {
					return o.unread(err)
				}
				o.list = append(o.list, checkers.ListOp{Key: s.key, Append: true, Value: s.value})
				if err := o.put(key(lists.letter, s.key), appendList(v, s.value)); err != nil {
					return err
				}
			case s.to > 0:
				if err := o.scanLists(s.key, s.to); err != nil {
					return o.unread(err)
				}
			default:
				v, err := o.get(key(lists.letter, s.key), kv.LockNone)
				if err != nil {
					return o.unread(err)
				}
				o.list = append(o.list, checkers.ListOp{Key: s.key, List: parseList(v)})
			}
		}
		return nil
	}
}

// unread makes sure that a failed transaction is recorded, even if it has done nothing.
func (o *op) unread(err error) error {
	if o.list == nil {
		o.list = []checkers.ListOp{}
	}
	return err
}

func (o *op) scanLists(from, to int64) error {
	got := map[string]string{}
	if err := o.scan(span(lists.letter, from, to), func(k keys.Key, v []byte) { got[string(k)] = string(v) }); err != nil {
		return err
	}
	for i := from; i < to; i++ {
		o.list = append(o.list, checkers.ListOp{Key: i, List: parseList([]byte(got[string(key(lists.letter, i))]))})
	}
	return nil
}

func (o *op) scan(s keys.Span, row func(k keys.Key, v []byte)) error {
	seen := checkers.TimedScan{From: string(s.Start), To: string(s.End), Rows: map[string]string{}, Except: maps.Clone(o.timed.Writes)}
	sc := o.tx.Scan(o.ctx, []keys.Span{s}, txn.ScanOptions{})
	defer sc.Close()
	for {
		p, ok, err := sc.Next(o.ctx)
		if err != nil {
			return err
		}
		if !ok {
			if timed(s.Start) {
				o.timed.Scans = append(o.timed.Scans, seen)
			}
			return nil
		}
		for rows := p.Rows; ; {
			k, v, ok, err := rows.Next()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if _, own := seen.Except[string(k)]; !own {
				seen.Rows[string(k)] = string(v)
			}
			row(k, v)
		}
	}
}

// add adds an element to the set.
func (c *client) add() func(o *op) error {
	n := c.w.hist.unique()
	return func(o *op) error {
		o.added = n
		k := key(sets.letter, n%sets.keys*1000+n/sets.keys)
		o.wrote(k, number(n))
		return o.tx.Insert(k, number(n))
	}
}

// readAll reads a whole workload.
func (o *op) readAll(w workload) error {
	o.all = w
	o.bank, o.set, o.list, o.rows = nil, nil, nil, ""
	if w.letter == lists.letter {
		if err := o.scanLists(0, lists.keys); err != nil {
			return err
		}
		for _, x := range o.list {
			o.rows += fmt.Sprint(x.List)
		}
		return nil
	}
	var b strings.Builder
	err := o.scan(span(w.letter, 0, 999_999), func(k keys.Key, v []byte) {
		fmt.Fprintf(&b, "%s=%s ", k[len(k)-6:], v)
		switch w.letter {
		case bank.letter:
			o.bank = append(o.bank, parseBalance(v))
		case sets.letter:
			o.set = append(o.set, parseNumber(v))
		case loads.letter:
			o.set = append(o.set, loadValue(string(v)))
		}
	})
	o.rows = b.String()
	return err
}

// snapshot reads everything of a workload, now or as of a moment of the past, at which somebody else may have read.
func (c *client) snapshot(ctx context.Context) {
	h := c.w.hist
	all := c.w.workloads()
	w, row := all[c.rng.IntN(len(all))], int64(-1)
	if w.letter != sets.letter && w.letter != loads.letter && c.rng.IntN(2) == 0 {
		row = c.rng.Int64N(w.keys)
	}
	var opts txn.Options
	var was *snapshot
	switch h.mu.Lock(); {
	case c.rng.IntN(3) == 0:
	case c.rng.IntN(3) == 0:
		if l := c.w.up(kv.NodeID(1 + c.rng.IntN(len(c.w.nodes)))); l != nil {
			opts.ReadAsOf = l.clock.Now().Add(-time.Duration(c.rng.Int64N(int64(4 * time.Second))))
		}
	case len(h.snaps) > 0:
		s := h.snaps[max(0, len(h.snaps)-1-c.rng.IntN(40))]
		was, w, row, opts.ReadAsOf = &s, s.w, s.row, s.at
	}
	h.mu.Unlock()
	opts.ReadOnly = true
	past := !opts.ReadAsOf.IsEmpty()
	if past && opts.ReadAsOf.WallTime < c.w.trace.start.UnixNano()+int64(3*time.Second) {
		return // there was nothing yet
	}
	o := c.op(ctx, func(o *op) error {
		if row < 0 {
			return o.readAll(w)
		}
		v, err := o.get(key(w.letter, row), kv.LockNone)
		o.rows = string(v)
		return err
	}, opts)
	if o.span.Outcome != checkers.OK {
		return
	}
	c.w.trace.count("reads of the past", map[bool]int64{true: 1}[past])
	at := opts.ReadAsOf
	if !past {
		at = o.tx.ReadTimestamp()
		c.record(o)
	} else if w.letter == bank.letter && row < 0 {
		o.list, o.reg = nil, nil
		c.record(o) // the sum is right at any time
	} else if w.letter == loads.letter {
		h.mu.Lock() // and so is a load there as a whole, or not at all
		h.loadsPast = append(h.loadsPast, checkers.SetRead{Span: o.span, Values: o.set})
		h.mu.Unlock()
	}
	who := fmt.Sprintf("client %d at %.6fs", c.no, time.Since(c.w.trace.start).Seconds())
	if was == nil {
		h.addSnapshot(snapshot{at, w, row, o.rows, who})
	} else if was.rows != o.rows {
		c.w.fail("what was there at %v has changed (%c, row %d): %s read\n  %s\nand %s\n  %s", at, w.letter, row, was.who, was.rows, who, o.rows)
	}
}
