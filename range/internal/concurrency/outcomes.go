package concurrency

import (
	"context"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A transaction with very many prepared locks must not be waited for at each of them. So the table remembers, per
// transaction and not per lock, what it was told: how it ended, or later than when it will commit. Both stay true for ever,
// whatever becomes of the leadership and of the gateway. Evaluations then read through its locks, or past them.

// outcome is what is known of one transaction.
type outcome struct {
	status kv.TxnStatus  // TxnUnknown: it runs; TxnStaging: it has committed, and its record does not say so yet
	ts     hlc.Timestamp // of the commit; of one that runs, the timestamp after which it commits if it does
}

// maxOutcomes bounds the transactions that a range remembers. One that is forgotten is asked after again.
const maxOutcomes = 512

// outcomes is bounded: the first in goes first.
type outcomes struct {
	known map[kv.TxnID]outcome
	order []kv.TxnID
}

// learn notes what is known of a transaction and reports whether that is news.
func (o *outcomes) learn(id kv.TxnID, status kv.TxnStatus, ts hlc.Timestamp) bool {
	if ts.IsEmpty() && (status == kv.TxnUnknown || status == kv.TxnStaging) {
		return false
	}
	was, ok := o.known[id]
	switch {
	case !ok:
	case was.status == kv.TxnStaging && (status == kv.TxnUnknown || status == kv.TxnStaging),
		was.status == kv.TxnUnknown && status == kv.TxnUnknown && ts.LessEq(was.ts),
		was.status != kv.TxnUnknown && was.status != kv.TxnStaging:
		return false
	}
	if !ok {
		if o.known == nil {
			o.known = make(map[kv.TxnID]outcome)
		}
		if len(o.order) == maxOutcomes {
			delete(o.known, o.order[0])
			o.order = append(o.order[:0], o.order[1:]...)
		}
		o.order = append(o.order, id)
	}
	o.known[id] = outcome{status, ts}
	return true
}

// Outcome implements eval.Locks. What has committed is as good as recorded to who only reads.
func (t *Table) Outcome(id kv.TxnID) (kv.TxnStatus, hlc.Timestamp) {
	t.mu.Lock()
	defer t.mu.Unlock()
	o := t.known(id)
	if o.status == kv.TxnStaging {
		o.status = kv.TxnCommitted
	}
	return o.status, o.ts
}

// known returns what is known of a transaction. t.mu is held.
func (t *Table) known(id kv.TxnID) outcome {
	if d := t.deferred.of(id); d != nil {
		return outcome{kv.TxnCommitted, d.ts}
	}
	if t.outcomes == nil {
		return outcome{}
	}
	return t.outcomes.known[id]
}

// Learn notes what became of a transaction, or later than when it will commit. Readers that wait for it look again.
func (t *Table) Learn(id kv.TxnID, status kv.TxnStatus, ts hlc.Timestamp) {
	t.mu.Lock()
	t.learn(id, status, ts)
	t.mu.Unlock()
}

func (t *Table) learn(id kv.TxnID, status kv.TxnStatus, ts hlc.Timestamp) {
	tl := t.txns[id]
	if t.outcomes == nil {
		t.outcomes = new(outcomes)
	}
	if !t.outcomes.learn(id, status, ts) || tl == nil {
		return
	}
	for _, kl := range tl.all {
		kl.wakeReaders(id)
	}
}

// wakeReaders lets the readers that wait for the holder's prepared lock go on.
func (kl *keyLock) wakeReaders(holder kv.TxnID) {
	if len(kl.readers) == 0 {
		return
	}
	kept := kl.readers[:0]
	for _, w := range kl.readers {
		if w.holder == holder {
			w.kl, w.granted = nil, true
			w.signal()
			continue
		}
		kept = append(kept, w)
	}
	clear(kl.readers[len(kept):])
	kl.readers = kept
}

// tells reports whether what is known of the holder decides what a read at ts makes of its locks. t.mu is held.
func (t *Table) tells(id kv.TxnID, ts hlc.Timestamp) bool {
	o := t.known(id)
	return o.status != kv.TxnUnknown || !o.ts.IsEmpty() && ts.LessEq(o.ts)
}

// Opened takes note of open locks that this leader laid: the transaction's unreplicated locks there have done their duty.
// The table keeps only those where somebody waits already, so that he goes on waiting for the same one. Whoever comes later
// finds the lock on disk.
func (t *Table) Opened(o eval.OpenedLocks) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.locks) == 0 {
		return
	}
	for _, k := range o.Keys {
		kl := t.locks[string(k)]
		if kl == nil {
			continue
		}
		if len(kl.queue) > 0 || len(kl.readers) > 0 {
			t.prepared(k, &o.Txn, o.TS)
		}
	}
	if t.txns[o.Txn.ID] != nil {
		t.release(o.Txn.ID, o.Keys, false)
	}
}

// askOpen asks the gateway of a transaction with open locks, for a reader at ts, what there is to know. It reports
// whether that is enough. No latches are held.
func (t *Table) askOpen(ctx context.Context, holder *kv.TxnMeta, ts hlc.Timestamp) bool {
	t.mu.Lock()
	enough := t.tells(holder.ID, ts)
	t.mu.Unlock()
	if enough || t.cfg.Holders == nil {
		return enough
	}
	t.cfg.Metrics.Pushes.Add(1)
	st, err := t.query(ctx, holder, false)
	if err != nil {
		return false // who waits counts the silence
	}
	t.note(holder.ID, st)
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tells(holder.ID, ts)
}

// note learns from what a gateway says.
func (t *Table) note(id kv.TxnID, st HolderState) {
	switch {
	case !st.Alive && st.Status == kv.TxnUnknown:
	case st.Status == kv.TxnCommitted:
		t.Learn(id, st.Status, st.CommitTS)
	case st.Status == kv.TxnAborted:
		t.Learn(id, st.Status, hlc.Timestamp{})
	case st.Status == kv.TxnStaging:
		t.Learn(id, st.Status, st.CommitTS)
	default:
		t.Learn(id, kv.TxnUnknown, st.After)
	}
}

// Settle finds out about the holder of a prepared lock that nobody may be waiting for, met at key: nil if the holder
// lives and will see to it, or its client will. A gateway that cannot be reached is an error.
func (t *Table) Settle(ctx context.Context, holder *kv.TxnMeta, key keys.Key, gone bool) (*Settled, error) {
	t.mu.Lock()
	o := t.known(holder.ID)
	t.mu.Unlock()
	if t.cfg.Holders == nil {
		return nil, nil
	}
	unsettled := o.status == kv.TxnUnknown || o.status == kv.TxnStaging
	if !gone {
		switch st, err := t.query(ctx, holder, false); {
		case err == nil:
			t.note(holder.ID, st)
			if st.Alive && st.Status != kv.TxnAborted {
				return nil, nil // also if it has committed: its gateway resolves its locks
			}
			if unsettled {
				o = outcome{st.Status, st.CommitTS}
			}
		case unsettled:
			return nil, err
		}
	}
	if o.status != kv.TxnCommitted && o.status != kv.TxnAborted {
		if t.cfg.Recoverer == nil {
			return nil, nil
		}
		t.cfg.Metrics.Recoveries.Add(1)
		var err error
		if o.status, o.ts, err = t.cfg.Recoverer.Recover(ctx, *holder, key); err != nil {
			return nil, err
		}
		if o.status != kv.TxnCommitted && o.status != kv.TxnAborted {
			return nil, nil // PREPARED by its client: its locks stay until that decides, whenever that is
		}
		t.Learn(holder.ID, o.status, o.ts)
	}
	return &Settled{Commit: o.status == kv.TxnCommitted, CommitTS: o.ts}, nil
}

// Settled is what becomes of a transaction's locks.
type Settled struct {
	Commit   bool
	CommitTS hlc.Timestamp
}
