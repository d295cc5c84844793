package catalog

import (
	"bytes"
	"context"

	"github.com/google/uuid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/txn"
)

// What becomes of the registration of a gateway that has died: it is struck off before a schema change has to wait for it.
//
//  1. Of the gateways that are heard of, the one with the lowest number writes a strike against one that is silent, with an id of its own.
//  2. A poll that finds a strike against its gateway grants nothing and gives the lease up, as for a marker; when the commits that were under way
//     under it are over, the gateway takes the strike back.
//  3. When a gateway has looked at one and the same strike for longer than a lease, it removes the registration and the strike, in a transaction that
//     reads the strike: nobody has taken it back.
//
// Whether the silent one is dead does not matter. It may be stopped, or cut off from those who strike it, and go on at any moment: whatever it was granted before the
// strike was written has run out when the registration goes, and from the strike on it was granted nothing. So silence only decides when it is done.

// Lost reports whether a node has been silent for so long that nobody should wait for it. It may be wrong.
type Lost func(node int32) bool

// suspect is a registered gateway that is lost.
type suspect struct {
	since  hlc.Timestamp // when it was first found to be
	struck hlc.Timestamp // when this gateway wrote a strike; empty if it has not
	strike []byte        // the one that was seen
	seen   hlc.Timestamp // when it was first seen: it had been written by then
}

// strike does what there is to do about the gateways that are lost, as of a look. It is the poll's.
func (h *leaseHolder) strike(ctx context.Context, st *versionTableState) error {
	if h.lost == nil {
		return nil
	}
	lost := map[uint64]*suspect{}
	for _, r := range st.gateways {
		n := r.node
		if n == h.self.node {
			continue
		}
		if h.lost(int32(n)) {
			if lost[n] = h.suspects[n]; lost[n] == nil {
				lost[n] = &suspect{since: st.at}
			}
		} else if n < h.self.node {
			h.suspects = nil
			return nil // that one does it
		}
	}
	h.suspects = lost
	for n, s := range lost {
		row, struck := st.strikes[n]
		switch {
		case !struck && st.at.Less(s.since.Add(h.times.poll/2)): // who has just been stopped finds everybody silent
		case !struck && !s.struck.IsEmpty() && st.at.Less(s.struck.Add(strikeAgain*h.times.lease)): // it has taken it back
		case !struck:
			id := uuid.New()
			if err := h.put(ctx, strikeKey(n), id[:]); err != nil {
				return err
			}
			s.struck = st.at
			h.poke() // to see it
		case !bytes.Equal(row, s.strike):
			s.strike, s.seen = bytes.Clone(row), st.at
		case s.seen.Add(h.times.lease).Less(st.at) || h.times.plantedHaste:
			done, err := h.strikeOff(ctx, st.of(n), strikeKey(n), row, hlc.Max)
			if err != nil {
				return err
			}
			if done {
				h.log.Info("a node is silent; schema changes do not wait for it until it is back", "node", n)
			}
		}
	}
	return nil
}

// strikeAgain is for how many leases a gateway is left alone that has taken a strike back.
const strikeAgain = 6

// strikeOff removes registrations of a gateway, and the strike against it if there is one, if the row is still there that says that they were granted nothing since:
// the strike, or a marker. A removal that is lost on its way and arrives late removes nothing that was made anew. expiry is up to when the row says so: beyond its own a marker
// may still be there, but leases are granted again.
func (h *leaseHolder) strikeOff(ctx context.Context, rs []registration, key keys.Key, value []byte, expiry hlc.Timestamp) (done bool, err error) {
	t := h.gateway.Begin(ctx, txn.Options{})
	defer t.Rollback(context.WithoutCancel(ctx))
	for {
		done, err = h.tryStrikeOff(ctx, t, rs, key, value, expiry)
		if err == nil || !t.Retryable(err) {
			return done, err
		}
		if err := t.Restart(ctx, err); err != nil {
			return false, err
		}
	}
}

func (h *leaseHolder) tryStrikeOff(ctx context.Context, t txn.Txn, rs []registration, key keys.Key, value []byte, expiry hlc.Timestamp) (done bool, err error) {
	v, ok, err := t.Get(ctx, key, txn.ScanOptions{})
	if err != nil || !ok || !bytes.Equal(v, value) || expiry.LessEq(t.ReadTimestamp()) {
		return false, err
	}
	if d, bounded := t.(txn.Deadliner); bounded {
		d.SetDeadline(expiry)
	}
	for _, r := range rs {
		for _, k := range []keys.Key{gatewayKey(r), strikeKey(r.node)} {
			if err := t.Delete(k); err != nil {
				return false, err
			}
		}
	}
	_, err = t.Commit(ctx)
	return err == nil, err
}

// of returns the registrations of a node.
func (st *versionTableState) of(node uint64) (rs []registration) {
	for _, r := range st.gateways {
		if r.node == node {
			rs = append(rs, r)
		}
	}
	return rs
}

// succeed removes the registrations of earlier processes of this node when they have been seen for longer than a lease: whatever these were granted has run out. Until then
// schema changes wait for them, for nobody acknowledges anything in their names.
func (h *leaseHolder) succeed(ctx context.Context, st *versionTableState) error {
	former := map[registration]hlc.Timestamp{}
	for _, r := range st.of(h.self.node) {
		if r == h.self {
			continue
		}
		seen, ok := h.former[r]
		if !ok {
			seen = h.clock.Now() // after what it was granted: the answer to the look carried the leader's clock
		} else if seen.Add(h.times.lease).Less(st.at) {
			if err := h.delete(ctx, gatewayKey(r)); err != nil {
				return err
			}
		}
		former[r] = seen
	}
	h.former = former
	return nil
}
