package txn

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

const (
	// finishEvery is how far apart the moments are at which transactions are finished that nobody waits for. They are the same as those of the ranges, at
	// which resolutions go that nothing has taken along.
	finishEvery = 40 * time.Millisecond
	// maxUnfinished bounds how many wait. The others are finished at once.
	maxUnfinished = 256
)

// finisher puts off what is left to do when a client has been told of a commit over several ranges: that the record says COMMITTED, and that the locks become
// versions. By itself the first takes as many fsyncs and messages as the commit; those of all transactions of a few milliseconds share them, and they do not
// compete with what the client does next. Until then the record and the locks say that it has committed, as they do when a gateway dies: recovery would find the
// same. Who meets one of the locks asks (QueryHolder). That has the transaction finished at once, as has one of its leaders that knows of somebody who waits (kv.PrepareResponse.Wanted).
type finisher struct {
	mu     sync.Mutex
	ids    []kv.TxnID // guarded by mu; their jobs are in the registry, where who asks takes them
	closed bool       // guarded by mu

	some chan struct{} // there is something; holds a token
	stop chan struct{} // closed when nothing is put off any more
	done chan struct{}
}

func (f *finisher) init() {
	f.some = make(chan struct{}, 1)
	f.stop, f.done = make(chan struct{}), make(chan struct{})
}

// add reports whether the transaction will be seen to.
func (f *finisher) add(id kv.TxnID) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed || len(f.ids) >= maxUnfinished {
		return false
	}
	f.ids = append(f.ids, id)
	if len(f.ids) == 1 {
		tell(f.some)
	}
	return true
}

// finishLater notes that the transaction has committed at ts, and puts the job off. It reports whether it has.
func (c *Coordinator) finishLater(id kv.TxnID, ts hlc.Timestamp, job func(context.Context), wanted bool) (later bool) {
	c.reg.with(id, func(_ map[kv.TxnID]*entry, e *entry) {
		if e == nil {
			return
		}
		e.status, e.at = kv.TxnStaging, ts
		if !wanted && !e.asked && !c.cfg.FinishAtOnce {
			e.finish, later = job, true
		}
	})
	if !later || c.finisher.add(id) {
		return later
	}
	return c.takeFinish(id) == nil // whoever asked has it
}

// takeFinish returns the job of a transaction that has been put off, if nobody has taken it.
func (c *Coordinator) takeFinish(id kv.TxnID) (job func(context.Context)) {
	c.reg.with(id, func(_ map[kv.TxnID]*entry, e *entry) {
		if e != nil {
			job, e.finish = e.finish, nil
		}
	})
	return job
}

// finishAll has everything done that was put off, from moment to moment, until stop is closed.
func (c *Coordinator) finishAll() {
	f := &c.finisher
	defer close(f.done)
	for stopped := false; !stopped; {
		select {
		case <-f.some:
			t := time.NewTimer(finishEvery - time.Duration(c.cfg.Clock.Physical()%int64(finishEvery)))
			select {
			case <-t.C:
			case <-f.stop:
			}
			t.Stop()
		case <-f.stop:
			stopped = true
		}
		f.mu.Lock()
		ids := f.ids
		f.ids, f.closed = nil, stopped
		f.mu.Unlock()
		for _, id := range ids {
			if job := c.takeFinish(id); job != nil {
				c.background(job)
			}
		}
	}
}
