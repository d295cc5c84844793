package txn

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// registry knows the transactions of this gateway that others may ask about: those that
// hold locks or commit. Plain readers are not in it.
type registry struct {
	shards [16]struct {
		mu   sync.Mutex
		txns map[kv.TxnID]*entry
	}
}

// entry is what others may learn of a transaction.
type entry struct {
	meta   kv.TxnMeta
	since  int64
	status kv.TxnStatus
	at     hlc.Timestamp
	waits  []wait

	asked  bool                  // somebody waits for it
	finish func(context.Context) // what is left to do after its commit, if that is put off: see finisher

	open   bool          // has open locks
	after  hlc.Timestamp // promised: it commits later than that, if at all
	closed bool          // its commit timestamp is chosen, just above after
}

// wait is a report that the transaction waits for others at a key.
type wait struct {
	key     string
	holders []kv.TxnMeta
	since   time.Time // of the first report
	expires time.Time
}

const (
	// waitReportTTL is how long a report of a wait is believed without being repeated. Waiters repeat it every 75 ms or so.
	waitReportTTL = 300 * time.Millisecond
	// maxWaits and maxWaitHolders bound what reports can make a gateway keep for one transaction.
	maxWaits       = 64
	maxWaitHolders = 64
)

func (r *registry) init() {
	for i := range r.shards {
		r.shards[i].txns = map[kv.TxnID]*entry{}
	}
}

// with runs f on the entry of id, or on nil, under the shard's lock.
func (r *registry) with(id kv.TxnID, f func(m map[kv.TxnID]*entry, e *entry)) {
	s := &r.shards[id[15]%16]
	s.mu.Lock()
	f(s.txns, s.txns[id])
	s.mu.Unlock()
}

func (c *Coordinator) register(meta kv.TxnMeta, since int64) {
	c.reg.with(meta.ID, func(m map[kv.TxnID]*entry, e *entry) {
		if e == nil {
			m[meta.ID] = &entry{meta: meta, since: since}
			c.metrics.Active.Add(1)
		}
	})
}

func (c *Coordinator) unregister(id kv.TxnID) {
	c.reg.with(id, func(m map[kv.TxnID]*entry, e *entry) {
		if e != nil {
			delete(m, id)
			c.metrics.Active.Add(-1)
		}
	})
}

func (c *Coordinator) setStatus(id kv.TxnID, s kv.TxnStatus, at hlc.Timestamp) {
	c.reg.with(id, func(_ map[kv.TxnID]*entry, e *entry) {
		if e != nil {
			e.status, e.at = s, at
		}
	})
}

// answered forgets the waits of a transaction: a request of its own has come back.
func (c *Coordinator) answered(id kv.TxnID) {
	var over []wait
	c.reg.with(id, func(_ map[kv.TxnID]*entry, e *entry) {
		if e != nil && len(e.waits) > 0 {
			over, e.waits = e.waits, nil
		}
	})
	c.contended(id, over, time.Now())
}

func (e *entry) state(now time.Time) kv.HolderState {
	st := kv.HolderState{Alive: true, Status: e.status, CommitTS: e.at, Since: e.since}
	for _, w := range e.waits {
		if now.Before(w.expires) {
			st.WaitingFor = append(st.WaitingFor, w.holders...)
			for range w.holders {
				st.WaitingAt = append(st.WaitingAt, keys.Key(w.key))
			}
		}
	}
	return st
}

// QueryHolder answers what ranges ask about a transaction of this gateway. hurry: somebody waits for its locks to go, so what is left to do after its
// commit is done without delay. The node assembly carries the
// question here from other nodes; asked about another node's or another incarnation's transaction it says that it is gone.
func (c *Coordinator) QueryHolder(_ context.Context, gateway kv.NodeID, incarnation int64, id kv.TxnID, hurry bool) (kv.HolderState, error) {
	var st kv.HolderState
	if gateway != c.cfg.Node || incarnation != c.cfg.Incarnation {
		return st, nil
	}
	c.reg.with(id, func(_ map[kv.TxnID]*entry, e *entry) {
		if e == nil {
			return
		}
		e.asked = e.asked || hurry || e.status == kv.TxnUnknown // who only reads need not wait for what has committed
		if hurry && e.finish != nil && c.tryBackground(e.finish) {
			e.finish = nil
		}
		st = e.state(time.Now())
		if e.open {
			if !e.closed {
				e.after = e.after.Forward(c.cfg.Clock.Now().Add(openPromise))
			}
			st.After = e.after
		}
	})
	return st, nil
}

// setOpen marks a transaction that has open locks.
func (c *Coordinator) setOpen(id kv.TxnID) {
	c.reg.with(id, func(_ map[kv.TxnID]*entry, e *entry) {
		if e != nil {
			e.open = true
		}
	})
}

// closeOpen chooses the commit timestamp of a transaction with open locks, ts or later: above everything that it has
// promised, and from now on it promises nothing above.
func (c *Coordinator) closeOpen(id kv.TxnID, ts hlc.Timestamp) hlc.Timestamp {
	c.reg.with(id, func(_ map[kv.TxnID]*entry, e *entry) {
		if e != nil {
			ts = ts.Forward(e.after.Next())
			e.after, e.closed = ts.Prev(), true
		}
	})
	return ts
}

// ReportWait takes a waiter's report of whom it waits for and answers with the waiter's own state.
func (c *Coordinator) ReportWait(_ context.Context, waiter *kv.TxnMeta, key keys.Key, holders []kv.TxnMeta) (kv.HolderState, error) {
	var st kv.HolderState
	var over []wait
	if waiter.Gateway != c.cfg.Node || waiter.Incarnation != c.cfg.Incarnation {
		return st, nil
	}
	c.reg.with(waiter.ID, func(_ map[kv.TxnID]*entry, e *entry) {
		if e == nil {
			return
		}
		now := time.Now()
		since := now
		kept := e.waits[:0]
		for _, w := range e.waits {
			switch {
			case w.key == string(key):
				since = w.since
				if len(holders) == 0 {
					over = append(over, w)
				}
			case now.Before(w.expires):
				kept = append(kept, w)
			default:
				over = append(over, w)
			}
		}
		e.waits = kept
		if len(holders) > 0 && len(e.waits) < maxWaits {
			e.waits = append(e.waits, wait{string(key), append([]kv.TxnMeta(nil), holders[:min(len(holders), maxWaitHolders)]...), since, now.Add(waitReportTTL)})
		}
		st = e.state(now)
	})
	c.contended(waiter.ID, over, time.Now())
	return st, nil
}

// outcomes remembers what became of commits whose clients left before it was known.
type outcomes struct {
	mu    sync.Mutex
	known map[kv.TxnID]outcome
	order []kv.TxnID
}

type outcome struct {
	status kv.TxnStatus
	ts     hlc.Timestamp
}

const maxOutcomes = 10_000

func (o *outcomes) put(id kv.TxnID, s kv.TxnStatus, ts hlc.Timestamp) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.known == nil {
		o.known = map[kv.TxnID]outcome{}
	}
	if _, ok := o.known[id]; !ok {
		o.order = append(o.order, id)
		if len(o.order) > maxOutcomes {
			delete(o.known, o.order[0])
			o.order = o.order[1:]
		}
	}
	o.known[id] = outcome{s, ts}
}

// Outcome tells what became of a transaction of this gateway whose Commit returned CodeUnknownOutcome: TxnUnknown while it
// is still being found out, or if the gateway has forgotten.
func (c *Coordinator) Outcome(id kv.TxnID) (kv.TxnStatus, hlc.Timestamp) {
	c.outcomes.mu.Lock()
	defer c.outcomes.mu.Unlock()
	o := c.outcomes.known[id]
	return o.status, o.ts
}
