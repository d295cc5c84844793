package store

import (
	"context"
	"errors"
	"time"

	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A transaction may leave prepared locks behind: its gateway died, or was stopped before it had resolved all of them.
// Whoever meets one settles that one. The sweep settles all of them, whether or not anybody comes by: millions of abandoned locks
// would otherwise slow down every scan that they are in the way of, and keep a table's old versions for ever.
const (
	sweepInterval = 3 * time.Second
	// sweepAge is how old a transaction must be: the locks of others go by themselves.
	sweepAge = 2 * time.Second
	// sweepLook is how many locks of a range are looked at in one round; the next goes on where it ended.
	sweepLook = 20_000
	// sweepHolders bounds the transactions that one look at a range asks after.
	sweepHolders = 64
	// sweepTimeout bounds one range's round.
	sweepTimeout = 30 * time.Second
)

// sweeper is the state of the loop.
type sweeper struct {
	s      *Store
	next   map[kv.RangeID]keys.Key
	silent map[kv.NodeID]time.Time // gateways that did not answer, and since when
}

// sweepLoop looks after the prepared locks in the ranges that this store leads.
func (s *Store) sweepLoop() {
	w := sweeper{s: s, next: map[kv.RangeID]keys.Key{}, silent: map[kv.NodeID]time.Time{}}
	s.visitEvery(s.cfg.Knobs.SweepInterval, replica.CarePrepared, func(r *replica.Replica) (again bool) {
		if _, ok := r.Serving(); !ok || r.Applied().Stats.Locks == 0 {
			delete(w.next, r.ID())
			return false
		}
		ctx, cancel := context.WithTimeout(s.ctx, sweepTimeout)
		err := w.sweep(ctx, r)
		cancel()
		if err != nil && s.ctx.Err() == nil {
			s.log.Debug("the sweep for abandoned locks of a range stopped and will go on", "range", int64(r.ID()), "err", err)
		}
		return true
	})
}

// holder is a transaction and one of its locks.
type holder struct {
	meta kv.TxnMeta
	key  keys.Key
}

func (w *sweeper) sweep(ctx context.Context, r *replica.Replica) error {
	desc := r.Desc()
	if desc == nil {
		return nil
	}
	found, err := w.look(r.ID(), desc.Span())
	if err != nil {
		return err
	}
	var errs []error
	for i := range found {
		h := &found[i]
		since, silent := w.silent[h.meta.Gateway]
		got, err := r.Locks().Settle(ctx, &h.meta, h.key, silent && time.Since(since) >= w.s.cfg.Knobs.SweepInterval)
		switch {
		case err != nil:
			if !silent {
				w.silent[h.meta.Gateway] = time.Now()
			}
			errs = append(errs, err)
			continue
		case got == nil:
			delete(w.silent, h.meta.Gateway)
			continue
		}
		for span := desc.Span(); span.Valid(); {
			m := h.meta
			resp, err := w.s.resolve(ctx, r.ID(), func() (*kv.BatchResponse, error) {
				return r.Send(ctx, &kv.BatchRequest{RangeID: r.ID(), Now: w.s.clock.Now(), Txn: &m, Requests: []kv.Request{
					&kv.ResolveSpan{Span: span, Commit: got.Commit, CommitTS: got.CommitTS}}})
			})
			if err != nil {
				return err // the next round goes on, with the range as it is then
			}
			span = resp.Responses[0].(*kv.ResolveSpanResponse).Resume
		}
		w.s.metrics.Swept.Add(1)
	}
	return errors.Join(errs...)
}

// look collects transactions that have locks in the range.
func (w *sweeper) look(id kv.RangeID, span keys.Span) (found []holder, err error) {
	if next := w.next[id]; span.Contains(next) {
		span.Start = next
	}
	delete(w.next, id)
	r := mvcc.NewReader(w.s.eng.DB())
	defer func() { err = errors.Join(err, r.Close()) }()
	cur, err := r.LockCursor(span, false)
	if err != nil {
		return nil, err
	}
	defer cur.Close()
	seen := map[kv.TxnID]bool{}
	young := w.s.clock.Now().WallTime - int64(sweepAge)
	for n := 0; cur.Next(); n++ {
		if n == sweepLook || len(found) == sweepHolders {
			w.next[id] = cur.Key().Clone()
			break
		}
		x := cur.Txn()
		if seen[x] || x.Start() > young {
			continue
		}
		seen[x] = true
		l, err := cur.Record()
		if err != nil {
			return nil, err
		}
		found = append(found, holder{l.Txn, cur.Key().Clone()})
	}
	return found, cur.Err()
}
