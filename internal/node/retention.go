package node

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/store"
	"github.com/pamirdb/pamir/sql/catalog"
)

// retention is what the node knows of how long versions are to be kept. It is never changed once it is published.
//
// Why nothing protected is ever collected, whatever is in flight: the records of protected timestamps are read at the timestamp asOf.
// A record that is not among them is committed at some W > asOf. The thresholds that are chosen by this knowledge are at most asOf - TTL, and no TTL
// is below floor; a protection is accepted only if its timestamp is at least W - floor (Node.Protect). So it is above them all, even
// if a request to raise a threshold arrives much later. A node that cannot read the records keeps an old asOf, and collects nothing more.
type retention struct {
	asOf     hlc.Timestamp
	fallback time.Duration   // of spans that no rule names
	longest  time.Duration   // of all; the catalog is kept for as long, since the past is read by the catalog of its time
	spans    []keptSpan      // in key order, not overlapping
	records  []Protection    // that had not expired at asOf
	dropped  []store.Dropped // in key order, none within another
}

type keptSpan struct {
	start, end keys.Key
	ttl        time.Duration
}

// floor is the shortest time that anything is kept in this cluster.
func (n *Node) floor() time.Duration {
	if k := n.cfg.StoreKnob.GCAfter; k > 0 {
		return min(k, placement.MinGCTTL)
	}
	return placement.MinGCTTL
}

// keepRetention looks again and again at the rules and at the protected timestamps.
func (n *Node) keepRetention(ctx context.Context) {
	var book ruleBook
	failed := false
	every(ctx, n.cfg.RetentionInterval, func() {
		ctx, cancel := context.WithTimeout(ctx, planTimeout)
		defer cancel()
		r, err := n.readRetention(ctx, &book)
		switch {
		case err == nil:
			before := n.retention.Swap(r)
			if fresh := r.newlyDropped(before); len(fresh) > 0 {
				n.store.Dropped(fresh)
			}
			failed = false
		case n.ctx.Err() == nil && !failed:
			failed = true
			n.log.Info("what must be kept cannot be read: no garbage is collected until it can", "err", err)
		}
	})
}

func (n *Node) readRetention(ctx context.Context, book *ruleBook) (*retention, error) {
	r := &retention{asOf: n.clock.Now()} // before anything is read
	all, err := n.readProtections(ctx, r.asOf)
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if r.asOf.Less(p.Expires) {
			r.records = append(r.records, p)
		}
	}
	if err := book.refresh(ctx, n, false); err != nil {
		return nil, err
	}
	r.setRules(&book.rules, book.spans, n.floor())
	var before []store.Dropped
	if last := n.retention.Load(); last != nil {
		before = last.dropped
	}
	// What had been dropped by then. A rule is of a table, and has gone with it.
	at := r.asOf.Add(-r.fallback)
	now, err := catalog.Dropped(ctx, n.txns, at)
	switch {
	case err == nil:
		r.setDropped(now, at, before)
	case kv.HasCode(err, kv.CodeReadBelowGC): // the past does not reach back as far as the rules say, yet
		r.dropped = before
	default:
		return nil, err
	}
	return r, nil
}

// setDropped notes what had been dropped at a time. What was known of before, was dropped before.
func (r *retention) setDropped(spans []keys.Span, at hlc.Timestamp, before []store.Dropped) {
	slices.SortFunc(spans, func(a, b keys.Span) int { return cmp.Or(a.Start.Compare(b.Start), b.End.Compare(a.End)) })
	for _, s := range spans {
		if n := len(r.dropped); n > 0 && !r.dropped[n-1].Span.End.Less(s.End) {
			continue // an index of a table that was dropped later
		}
		d := store.Dropped{Span: s, Since: at}
		if i, ok := findDropped(before, s.Start); ok && before[i].Span.End.Equal(s.End) {
			d.Since = before[i].Since
		}
		r.dropped = append(r.dropped, d)
	}
}

// newlyDropped returns what has been dropped and was not known of before.
func (r *retention) newlyDropped(before *retention) (fresh []keys.Span) {
	for i := range r.dropped {
		s := r.dropped[i].Span
		if before != nil {
			if j, ok := findDropped(before.dropped, s.Start); ok && before.dropped[j].Span.End.Equal(s.End) {
				continue
			}
		}
		fresh = append(fresh, s)
	}
	return fresh
}

// findDropped returns the place of the first that does not start before a key.
func findDropped(in []store.Dropped, start keys.Key) (i int, ok bool) {
	return slices.BinarySearchFunc(in, start, func(d store.Dropped, k keys.Key) int { return d.Span.Start.Compare(k) })
}

func (r *retention) setRules(rules *placement.Rules, spans []ruleSpan, floor time.Duration) {
	r.fallback = max(rules.Default.KeepVersions, floor)
	r.longest = r.fallback
	for _, s := range spans {
		ttl := max(rules.Special[s.rule-1].KeepVersions, floor)
		r.longest = max(r.longest, ttl)
		r.spans = append(r.spans, keptSpan{s.start, s.end, ttl})
	}
}

// catalogEnd is where the tables of the catalog end.
var catalogEnd = keys.Table(keys.FirstUserTable)

// of returns how long a span is kept: as long as any part of it.
func (r *retention) of(span keys.Span) store.Retention {
	end := span.EndKey()
	out := store.Retention{AsOf: r.asOf}
	if span.Start.Less(catalogEnd) && keys.TableMin.Less(end) {
		out.After = r.longest
	} else {
		at := span.Start
		i, found := slices.BinarySearchFunc(r.spans, at, func(s keptSpan, k keys.Key) int { return s.start.Compare(k) })
		if !found && i > 0 {
			i--
		}
		for ; i < len(r.spans) && r.spans[i].start.Less(end); i++ {
			s := &r.spans[i]
			if !at.Less(s.end) {
				continue
			}
			if at.Less(s.start) { // a gap before it
				out.After = max(out.After, r.fallback)
			}
			out.After, at = max(out.After, s.ttl), s.end
		}
		if at.Less(end) {
			out.After = max(out.After, r.fallback)
		}
	}
	i, found := findDropped(r.dropped, span.Start)
	if !found && i > 0 {
		i-- // it may reach into the span
	}
	for ; i < len(r.dropped) && r.dropped[i].Span.Start.Less(end); i++ {
		if d := r.dropped[i]; span.Start.Less(d.Span.End) {
			out.Dropped = append(out.Dropped, d)
		}
	}
	for i := range r.records {
		p := &r.records[i]
		if p.covers(span) && (out.Protected.IsEmpty() || p.At.Less(out.Protected)) {
			out.Protected = p.At
		}
	}
	return out
}

// retentionOf is what the store asks.
func (n *Node) retentionOf(span keys.Span) store.Retention {
	r := n.retention.Load()
	if r == nil {
		return store.Retention{Unknown: true}
	}
	return r.of(span)
}
