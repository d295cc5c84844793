package node

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql"
	"github.com/pamirdb/pamir/txn"
)

// Protection is a protected timestamp: until it expires, everything in its spans stays readable at At.
type Protection struct {
	Version int           `json:"v"`
	ID      int64         `json:"id"`
	At      hlc.Timestamp `json:"at"`
	Spans   []keys.Span   `json:"spans,omitempty"` // none: everything
	Owner   string        `json:"owner"`           // for people
	Created hlc.Timestamp `json:"created"`
	Expires hlc.Timestamp `json:"expires"`
}

const (
	protectionVersion = 1
	// MaxProtection is the longest time that something can be protected without being asked for again: whoever forgets, or dies, fills no disks.
	MaxProtection = 24 * time.Hour
	// maxProtections bounds the records, which every node reads again and again, and maxProtectedSpans what one of them names.
	maxProtections    = 1000
	maxProtectedSpans = 100
)

func (p *Protection) covers(span keys.Span) bool {
	return len(p.Spans) == 0 || slices.ContainsFunc(p.Spans, span.Overlaps)
}

func decodeProtection(key keys.Key, b []byte) (p Protection, err error) {
	if err := json.Unmarshal(b, &p); err != nil {
		return p, kv.Errorf(kv.CodeCorruption, "%s: %v", keys.Pretty(key), err)
	}
	// A record that is not understood might protect anything: nothing may be collected then.
	if p.Version != protectionVersion {
		return p, kv.Errorf(kv.CodeCorruption, "%s: a protected timestamp of version %d", keys.Pretty(key), p.Version)
	}
	return p, nil
}

// readProtections reads the records as of a timestamp, expired ones too.
func (n *Node) readProtections(ctx context.Context, at hlc.Timestamp) (out []Protection, err error) {
	err = n.eachSystemRow(ctx, keys.ProtectionSpan, at, func(k keys.Key, v []byte) error {
		p, err := decodeProtection(k, v)
		out = append(out, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// Protect keeps spans (none: everything) readable at a timestamp (empty: now) for a time. It promises nothing about timestamps that may have been
// passed: at must be younger than anything that is collected anywhere, which is to say not older than the shortest gc_ttl
// that can be set. See retention for why that is enough.
func (n *Node) Protect(ctx context.Context, at hlc.Timestamp, spans []keys.Span, lifetime time.Duration, owner string) (*Protection, error) {
	if err := checkLifetime(lifetime); err != nil {
		return nil, err
	}
	if len(spans) > maxProtectedSpans {
		return nil, kv.Errorf(kv.CodeBadRequest, "%d spans to protect at once, at most %d are possible", len(spans), maxProtectedSpans)
	}
	for _, s := range spans {
		if !s.Valid() {
			return nil, kv.Errorf(kv.CodeBadRequest, "%s cannot be protected", s)
		}
	}
	resp, err := n.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Increment{Key: keys.ProtectionIDs, By: 1}}})
	if err != nil {
		return nil, err
	}
	now := n.clock.Now()
	if at.IsEmpty() {
		at = now
	}
	p := &Protection{Version: protectionVersion, ID: resp.Responses[0].(*kv.IncrementResponse).Value, At: at, Spans: spans, Owner: owner,
		Created: now, Expires: now.Add(lifetime)}
	tooOld := func(written hlc.Timestamp) error {
		if oldest := written.Add(-n.floor()); at.Less(oldest) {
			return &kv.Error{Code: kv.CodeReadBelowGC, TS: oldest, Message: "cannot protect a timestamp that is older than " + n.floor().String() + ": parts of it may be gone"}
		}
		return nil
	}
	if err := tooOld(now); err != nil {
		return nil, err
	}
	written, err := n.inTxn(ctx, func(t txn.Txn) error {
		there, err := scanProtections(ctx, t)
		if err != nil {
			return err
		}
		live := 0
		for _, o := range there {
			if o.Expires.Less(now) {
				if err := t.Delete(keys.Protection(o.ID)); err != nil {
					return err
				}
			} else {
				live++
			}
		}
		if live >= maxProtections {
			return kv.Errorf(kv.CodeBadRequest, "%d timestamps are protected already: pamir.protected_timestamps lists them, pamir.unprotect() ends one", live)
		}
		return putProtection(t, p)
	})
	if err != nil {
		return nil, err
	}
	// Only now is it known when the record was written.
	err = tooOld(written)
	if err == nil && !written.Less(p.Expires) {
		err = kv.Errorf(kv.CodeBadRequest, "the protection took longer to be written than it was to last")
	}
	if err != nil {
		if _, e := n.Unprotect(ctx, p.ID); e != nil {
			n.log.Info("a protected timestamp that came too late stays until it expires", "id", p.ID, "err", e)
		}
		return nil, err
	}
	return p, nil
}

// ExtendProtection makes a protection last for a time from now on, or longer if it does anyway. One that has expired is
// not revived: what it protected may be gone.
func (n *Node) ExtendProtection(ctx context.Context, id int64, lifetime time.Duration) error {
	if err := checkLifetime(lifetime); err != nil {
		return err
	}
	gone := kv.Errorf(kv.CodeReadBelowGC, "there is no protected timestamp %d, or it has expired", id)
	var was Protection
	written, err := n.inTxn(ctx, func(t txn.Txn) error {
		key := keys.Protection(id)
		v, ok, err := t.Get(ctx, key, txn.ScanOptions{})
		if err != nil {
			return err
		}
		if !ok {
			return gone
		}
		if was, err = decodeProtection(key, v); err != nil {
			return err
		}
		now := n.clock.Now()
		if !now.Less(was.Expires) {
			return gone
		}
		p := was
		p.Expires = p.Expires.Forward(now.Add(lifetime))
		return putProtection(t, &p)
	})
	if err != nil {
		return err
	}
	if written.Less(was.Expires) {
		return nil
	}
	// It expired while it was being extended: somebody may have seen that.
	if _, err := n.Unprotect(ctx, id); err != nil {
		return err
	}
	return gone
}

// Unprotect ends a protection; it reports whether there was one.
func (n *Node) Unprotect(ctx context.Context, id int64) (there bool, err error) {
	_, err = n.inTxn(ctx, func(t txn.Txn) error {
		key := keys.Protection(id)
		if _, there, err = t.Get(ctx, key, txn.ScanOptions{}); err != nil || !there {
			return err
		}
		return t.Delete(key)
	})
	return there && err == nil, err
}

// Protections lists those that have not expired.
func (n *Node) Protections(ctx context.Context) ([]Protection, error) {
	now := n.clock.Now()
	all, err := n.readProtections(ctx, now)
	return slices.DeleteFunc(all, func(p Protection) bool { return !now.Less(p.Expires) }), err
}

func checkLifetime(d time.Duration) error {
	if d <= 0 || d > MaxProtection {
		return kv.Errorf(kv.CodeBadRequest, "a timestamp can be protected for more than nothing and at most %d hours at a time; pamir.extend_protection() goes on from there", int(MaxProtection.Hours()))
	}
	return nil
}

func putProtection(t txn.Txn, p *Protection) error {
	b, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return t.Put(keys.Protection(p.ID), b)
}

// scanProtections reads the records, expired ones too, as a transaction sees them.
func scanProtections(ctx context.Context, t txn.Txn) (out []Protection, _ error) {
	err := txn.EachRow(ctx, t, keys.ProtectionSpan, func(k keys.Key, v []byte) error {
		p, err := decodeProtection(k, v)
		out = append(out, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// inTxn runs f in a transaction, as often as it takes, and returns when it was committed.
func (n *Node) inTxn(ctx context.Context, f func(t txn.Txn) error) (hlc.Timestamp, error) {
	t := n.txns.Begin(ctx, txn.Options{})
	defer t.Rollback(context.WithoutCancel(ctx))
	for {
		err := f(t)
		if err == nil {
			var ts hlc.Timestamp
			if ts, err = t.Commit(ctx); err == nil {
				return ts, nil
			}
		}
		if !t.Retryable(err) {
			return hlc.Timestamp{}, err
		}
		if err := t.Restart(ctx, err); err != nil {
			return hlc.Timestamp{}, err
		}
	}
}

// For sql.Cluster.

func (o operate) Protect(ctx context.Context, at hlc.Timestamp, lifetime time.Duration, owner string) (int64, error) {
	p, err := o.n.Protect(ctx, at, nil, lifetime, owner)
	if err != nil {
		return 0, err
	}
	return p.ID, nil
}

func (o operate) ExtendProtection(ctx context.Context, id int64, lifetime time.Duration) error {
	return o.n.ExtendProtection(ctx, id, lifetime)
}

func (o operate) Unprotect(ctx context.Context, id int64) (bool, error) {
	return o.n.Unprotect(ctx, id)
}

func (o operate) Protections(ctx context.Context) ([]sql.ClusterProtection, error) {
	list, err := o.n.Protections(ctx)
	if err != nil {
		return nil, err
	}
	var out []sql.ClusterProtection
	for _, p := range list {
		spans := "everything"
		for i, s := range p.Spans {
			if i == 0 {
				spans = s.String()
			} else {
				spans += ", " + s.String()
			}
		}
		out = append(out, sql.ClusterProtection{ID: p.ID, At: p.At, Spans: spans, Owner: p.Owner, Created: p.Created.GoTime(), Expires: p.Expires.GoTime()})
	}
	return out, nil
}
