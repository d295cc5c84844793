package catalog

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/txn"
)

// What the commit of a transaction has to do with the catalog: one that relies on it, and one that changes it.

var nothing = func() {}

func errChanged() error {
	return kv.Errorf(kv.CodeRefreshFailed, "the schema was changed by another transaction")
}

// BeforeCommit is called before a transaction commits that has used the catalog; end is called when Commit has returned, whatever
// it returned. changed says that the transaction has changed the catalog. An error is one of the transaction's: what it relied on has changed.
func (s *Store) BeforeCommit(ctx context.Context, t txn.Txn, used *Uses, changed bool) (end func(), err error) {
	h := s.holder.Load()
	if changed {
		if h == nil {
			return nothing, nil
		}
		return h.announce(ctx, t) // what it relies on was compared with its first change: see Writer
	}
	if used.none() {
		return nothing, nil
	}
	opts := latest
	if !t.HasWrites() {
		if used.heldAt(t.ReadTimestamp()) {
			return nothing, nil
		}
		if h != nil {
			if l := h.current.Load(); l != nil && t.ReadTimestamp().Less(l.until) && h.times.held(used, l.snap) {
				return nothing, nil
			}
		}
	} else {
		b, sized := t.(txn.Buffered)
		d, bounded := t.(txn.Deadliner)
		long := sized && b.WriteBytes() > longCommit || bounded && d.MissedDeadline()
		if h != nil && !long {
			if until, ok := h.enter(ctx, used); ok {
				if bounded {
					d.SetDeadline(until)
				}
				return h.leave, nil
			}
		}
		// Before a large one has been prepared everywhere the lease may have run out, and that is so each time. Under READ COMMITTED and REPEATABLE READ a commit validates only what was
		// read with a lock.
		opts.Lock = kv.LockShare
	}
	// The slow way: the row becomes part of what the commit validates.
	val, ok, err := t.Get(ctx, versionKey, opts)
	if err != nil || !ok {
		return nothing, err
	}
	row, err := decodeVersionRow(val)
	if err != nil {
		return nothing, err
	}
	// The row is locked, so the catalog stays as it is now.
	now := s.cached(row)
	if now == nil {
		if now, err = s.load(ctx, t, row, latest); err != nil {
			return nothing, err
		}
	}
	if !s.times.held(used, now) {
		return nothing, errChanged()
	}
	return nothing, nil
}

// announce takes a schema change through steps 1 to 3.
func (h *leaseHolder) announce(ctx context.Context, t txn.Txn) (end func(), err error) {
	// Not the transaction's, which it may keep when it is restarted: an acknowledgement is of this marker, and none that comes late is taken for one of the next.
	id := kv.TxnID(uuid.New())
	key := markerKey(id)
	expiry := h.clock.Now().Add(h.times.marker)
	stop := nothing
	end = func() {
		stop()
		// In the background of nobody: the next transactions are slow until it is done.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.times.lease)
		defer cancel()
		if st, err := h.look(ctx); err == nil {
			for _, r := range st.acks[id] {
				if err := h.delete(ctx, ackKey(id, r)); err != nil {
					h.log.Warn("cannot remove an acknowledgement of a schema change", "err", err)
				}
			}
		}
		if err := h.delete(ctx, key); err != nil {
			h.log.Warn("cannot remove the marker of a schema change; it expires by itself", "err", err)
		}
		h.poke()
	}
	marker := expiry.Append(nil)
	if err := h.put(ctx, key, marker); err != nil {
		end()
		return nothing, err
	}
	begun := h.clock.Now() // after the marker's timestamp: its answer carried the leader's clock
	h.poke()
	told := teller{h: h}
	defer told.stop()
	for {
		st, err := h.look(ctx)
		if err != nil {
			end()
			return nothing, err
		}
		missing := without(st.gateways, st.acks[id])
		if len(missing) == 0 || h.times.plantedBug {
			break
		}
		told.tell(ctx, missing)
		if begun.Add(h.times.lease).Less(st.at) {
			for _, r := range missing {
				h.log.Warn("a node did not notice a schema change; its lease has run out", "node", r.node)
				done, err := h.strikeOff(ctx, []registration{r}, key, marker, expiry)
				if err == nil && !done {
					err = errChanged() // the marker is gone or has expired, and with it what the lease had to run out for
				}
				if err != nil {
					end()
					return nothing, err
				}
			}
			break
		}
		select {
		case <-time.After(h.times.frozen):
		case <-ctx.Done():
			end()
			return nothing, ctx.Err()
		}
	}
	// The version row is written above this.
	if _, err := h.look(ctx); err != nil {
		end()
		return nothing, err
	}
	if d, ok := t.(txn.Deadliner); ok {
		d.SetDeadline(expiry)
		stop = h.renew(ctx, d, key, expiry)
	}
	return end, nil
}

// teller tells gateways of a change, each until it is stopped: by then they have acknowledged it, or are not waited for any more.
type teller struct {
	h      *leaseHolder
	cancel context.CancelFunc // nil until the first is told
	wg     sync.WaitGroup
}

// tell begins to tell these nodes. Only the first call does.
func (t *teller) tell(ctx context.Context, rs []registration) {
	if t.cancel != nil || t.h.tell == nil {
		return
	}
	ctx, t.cancel = context.WithCancel(ctx)
	for _, r := range rs {
		if r.node == t.h.self.node {
			continue
		}
		n := r.node
		t.wg.Go(func() {
			for {
				// What does not arrive is told again; the gateway polls, too.
				if err := t.h.tell(ctx, int32(n)); err != nil && ctx.Err() == nil {
					t.h.log.Debug("a node could not be told of a schema change", "node", n, "err", err)
				}
				select {
				case <-time.After(t.h.times.retry):
				case <-ctx.Done():
					return
				}
			}
		})
	}
}

func (t *teller) stop() {
	if t.cancel != nil {
		t.cancel()
		t.wg.Wait()
	}
}

func without(all, some []registration) []registration {
	return slices.DeleteFunc(slices.Clone(all), func(r registration) bool { return slices.Contains(some, r) })
}
