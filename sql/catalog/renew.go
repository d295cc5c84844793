package catalog

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/txn"
)

// A schema change whose commit takes longer than its marker would be refused, each time. So its gateway renews the marker while the commit is under way,
// and then puts the commit's deadline off:
//
//  1. The new expiry is written in a transaction that reads the marker, and whose deadline is the expiry that it finds there. So there is no timestamp in between at which a poll could
//     grant a lease, and a marker that was removed, or has expired, does not come back, however late a renewal arrives.
//  2. Only when that is known to have happened may the change commit up to the new expiry.
//
// A gateway that dies renews nothing: its marker goes by itself as before. How long a commit may go on is not bounded here: while it does, what it has written to the version row
// stops everybody who looks at it, with or without a marker.

// renewals is how many times a marker could be renewed while it lasts; one that fails is tried again meanwhile.
const renewals = 4

// renew renews a marker until stop is called, which returns when nothing of it is under way any more.
func (h *leaseHolder) renew(ctx context.Context, d txn.Deadliner, key keys.Key, expiry hlc.Timestamp) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			left := time.Duration(expiry.WallTime - h.clock.Peek().WallTime)
			select {
			case <-time.After(left - h.times.marker*(renewals-1)/renewals):
			case <-ctx.Done():
				return
			}
			next, err := h.extend(ctx, key)
			switch {
			case ctx.Err() != nil:
				return
			case err == nil && next.IsEmpty():
				h.log.Warn("the marker of a schema change has expired before it could be renewed; a commit that takes longer is refused")
				return
			case err == nil:
				expiry = next
				d.SetDeadline(expiry)
				continue
			}
			h.log.Debug("the marker of a schema change could not be renewed; it is tried again", "err", err)
			select {
			case <-time.After(h.times.retry):
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// extend makes a marker expire a marker's time from now, and returns when that is; nothing if it is gone or has expired.
func (h *leaseHolder) extend(ctx context.Context, key keys.Key) (next hlc.Timestamp, err error) {
	if h.times.plantedRenewal {
		return h.clock.Now().Add(h.times.marker), nil
	}
	t := h.gateway.Begin(ctx, txn.Options{})
	defer t.Rollback(context.WithoutCancel(ctx))
	for {
		next, err = h.tryExtend(ctx, t, key)
		if err == nil || !t.Retryable(err) {
			return next, err
		}
		if err := t.Restart(ctx, err); err != nil {
			return hlc.Timestamp{}, err
		}
	}
}

func (h *leaseHolder) tryExtend(ctx context.Context, t txn.Txn, key keys.Key) (next hlc.Timestamp, err error) {
	v, ok, err := t.Get(ctx, key, txn.ScanOptions{})
	if err != nil || !ok {
		return hlc.Timestamp{}, err
	}
	// Not what was written last from here: of that it may not be known whether it was.
	expiry, _, err := hlc.Decode(v)
	if err != nil || expiry.LessEq(t.ReadTimestamp()) {
		return hlc.Timestamp{}, err
	}
	if d, bounded := t.(txn.Deadliner); bounded {
		d.SetDeadline(expiry)
	}
	next = h.clock.Now().Add(h.times.marker)
	if err := t.Put(key, next.Append(nil)); err != nil {
		return hlc.Timestamp{}, err
	}
	if _, err := t.Commit(ctx); err != nil {
		return hlc.Timestamp{}, err
	}
	return next, nil
}
