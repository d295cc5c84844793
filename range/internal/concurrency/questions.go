package concurrency

import (
	"context"
	"sync"

	"github.com/pamirdb/pamir/range/kv"
)

// questions are what readers of all ranges of a store ask gateways after the holders of locks. A transaction has locks in many ranges, and who reads what it has
// written meets all of them at once: one question is enough.
type questions struct {
	mu    sync.Mutex
	asked map[kv.TxnID]*question
	known outcomes // of those that have committed: that is true for ever
}

type question struct {
	done chan struct{} // closed when st and err are set
	st   HolderState
	err  error
}

// ask asks the holder's gateway, or waits for somebody who does.
func (q *questions) ask(ctx context.Context, t *Table, m *kv.TxnMeta) (HolderState, error) {
	q.mu.Lock()
	if o, ok := q.known.known[m.ID]; ok {
		q.mu.Unlock()
		return HolderState{Alive: true, Status: o.status, CommitTS: o.ts}, nil
	}
	x := q.asked[m.ID]
	if x != nil {
		q.mu.Unlock()
		select {
		case <-x.done:
			return x.st, x.err // who asked may have left: whoever waits asks again
		case <-ctx.Done():
			return HolderState{}, ctx.Err()
		}
	}
	x = &question{done: make(chan struct{})}
	if q.asked == nil {
		q.asked = make(map[kv.TxnID]*question)
	}
	q.asked[m.ID] = x
	q.mu.Unlock()
	x.st, x.err = t.query(ctx, m, false)
	q.mu.Lock()
	delete(q.asked, m.ID)
	if x.err == nil && (x.st.Status == kv.TxnStaging || x.st.Status == kv.TxnCommitted) {
		q.known.learn(m.ID, x.st.Status, x.st.CommitTS)
	}
	q.mu.Unlock()
	close(x.done)
	return x.st, x.err
}
