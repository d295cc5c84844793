package txn

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

const (
	// forgetAfter is how long records stay when nobody needs them any more. In that time others join them: they are removed together, one
	// command for each range, and not between a client's commit and its next.
	forgetAfter = time.Second
	// forgetMany are so many that it is not waited for more.
	forgetMany = 1024
	// maxForgotten bounds what waits; beyond it, records are left to the ranges.
	maxForgotten = 32 * forgetMany
	// forgetWithin bounds how long a range that cannot be reached is asked.
	forgetWithin = 10 * time.Second
	// forgetAtEnd bounds it for a coordinator that closes.
	forgetAtEnd = 500 * time.Millisecond
)

// forgetter removes the records of transactions that have committed and whose locks are gone. A record that stays does no
// harm but takes its place, so nothing here is repeated for long: when it is well below the GC threshold, its range's leader has it removed (FinishRecord).
type forgetter struct {
	turn sync.Mutex // held while records are removed
	mu   sync.Mutex
	refs []kv.RecordRef // guarded by mu

	some, many chan struct{} // there is something, there is much; each holds a token
	stop       chan struct{} // closed when nothing is added any more
	done       chan struct{}
}

func (f *forgetter) init() {
	f.some, f.many = make(chan struct{}, 1), make(chan struct{}, 1)
	f.stop, f.done = make(chan struct{}), make(chan struct{})
}

// forget has the record of a committed transaction removed. No lock of it is left.
func (c *Coordinator) forget(meta kv.TxnMeta) {
	f := &c.forgetter
	f.mu.Lock()
	n := len(f.refs)
	if n < maxForgotten {
		f.refs = append(f.refs, kv.RecordRef{Anchor: meta.Anchor, ID: meta.ID})
	}
	f.mu.Unlock()
	switch {
	case n == 0:
		tell(f.some)
	case n == forgetMany:
		tell(f.many)
	case n == maxForgotten:
		c.metrics.BackgroundFailed.Add(1)
	}
}

func tell(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// forgetAll removes what forget is told of, until stop is closed, and then what is left.
func (c *Coordinator) forgetAll() {
	f := &c.forgetter
	defer close(f.done)
	for stopped := false; !stopped; {
		select {
		case <-f.some:
			t := time.NewTimer(forgetAfter)
			select {
			case <-t.C:
			case <-f.many:
			case <-f.stop:
			}
			t.Stop()
		case <-f.stop:
			stopped = true
		}
		c.forgetNow()
	}
}

// forgetNow sends one request to each range. When it returns, what had been told of before has been tried.
func (c *Coordinator) forgetNow() {
	f := &c.forgetter
	f.turn.Lock()
	defer f.turn.Unlock()
	f.mu.Lock()
	refs := f.refs
	f.refs = nil
	f.mu.Unlock()
	if len(refs) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(c.ctx, forgetWithin)
	defer cancel()
	at := make(map[string][]kv.RecordRef, len(refs))
	var anchors []keys.Key
	for _, r := range refs {
		if at[string(r.Anchor)] == nil {
			anchors = append(anchors, r.Anchor)
		}
		at[string(r.Anchor)] = append(at[string(r.Anchor)], r)
	}
	err := c.eachRange(ctx, anchors, func(part []keys.Key) *kv.BatchRequest {
		q := &kv.ForgetTxns{}
		for _, k := range part {
			q.Records = append(q.Records, at[string(k)]...)
		}
		return &kv.BatchRequest{Requests: []kv.Request{q}}
	}, nil)
	if err != nil {
		c.metrics.BackgroundFailed.Add(1)
	}
}
