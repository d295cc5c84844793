package txn

import (
	"slices"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// readSet is what a transaction has read, as far as it must still hold at commit. Spans hold as of the
// transaction's read timestamp (moving that refreshes them); locked keys hold as of their own, since the
// lock keeps them unchanged and only its loss would need looking at.
type readSet struct {
	spans  []keys.Span
	bytes  int
	gen    int // raised by every change of spans
	locked map[string]lockedRead
	// firm are spans read with ScanOptions.Firm: they hold as of their own timestamps, and are validated at commit whatever the level.
	firm []firmRead
	// lockSpans: see heldLocks.
	lockSpans []keys.Span
}

// firmRead is a span that must be unchanged since at. seq is that of the write buffer then: a return to an earlier savepoint takes back
// the writes that rested on it.
type firmRead struct {
	span keys.Span
	at   hlc.Timestamp
	seq  int32
}

// addFirm keeps the firm reads bounded: above the bound neighbours are merged, as in coalesce.
func (r *readSet) addFirm(f firmRead) {
	r.firm = append(r.firm, f)
	if len(r.firm) <= maxReadSpans {
		return
	}
	slices.SortFunc(r.firm, func(a, b firmRead) int { return a.span.Start.Compare(b.span.Start) })
	out := r.firm[:0]
	for i := 0; i < len(r.firm); i += 2 {
		f := r.firm[i]
		if i+1 < len(r.firm) {
			g := r.firm[i+1]
			end := f.span.EndKey()
			if e := g.span.EndKey(); end.Less(e) {
				end = e
			}
			f.span.End = end
			if g.at.Less(f.at) {
				f.at = g.at
			}
			f.seq = min(f.seq, g.seq)
		}
		out = append(out, f)
	}
	clear(r.firm[len(out):])
	r.firm = out
}

// forgetFirm drops the firm reads since a savepoint.
func (r *readSet) forgetFirm(mark int32) {
	r.firm = slices.DeleteFunc(r.firm, func(f firmRead) bool { return f.seq >= mark })
}

// lockedRead is a key that is locked. If read is not set, nothing is known of its value (the
// lock is from an earlier attempt of the transaction, or nothing was there to be read).
type lockedRead struct {
	at       hlc.Timestamp
	strength kv.LockStrength
	read     bool
	exists   bool // what was read is that the key is there, and not its value
	// held is the strongest lock that was granted, in this attempt or an earlier one: if it is not there any more, it was lost. strength is the strongest that was asked for.
	held kv.LockStrength
}

const (
	// maxReadSpans and maxReadBytes bound the spans; above them neighbours are
	// merged, which can make a refresh fail that need not, and loses no conflict.
	maxReadSpans = 4096
	maxReadBytes = 1 << 20
)

// empty reports whether nothing was read that must still hold.
func (r *readSet) empty() bool {
	if len(r.spans) > 0 {
		return false
	}
	for _, l := range r.locked {
		if l.read {
			return false
		}
	}
	return true
}

// forget drops what was read and keeps the knowledge of locks, for the next attempt.
func (r *readSet) forget() {
	r.forgetSpans()
	r.firm = nil
	for k, l := range r.locked {
		l.read = false
		r.locked[k] = l
	}
}

// forgetSpans drops the spans only: a READ COMMITTED statement is over.
func (r *readSet) forgetSpans() {
	clear(r.spans)
	r.spans, r.bytes = r.spans[:0], 0
	r.gen++
}

func (r *readSet) add(s keys.Span) {
	r.gen++
	if n := len(r.spans); n > 0 {
		last := &r.spans[n-1]
		switch {
		case s.IsPoint() && last.IsPoint() && s.Start.Equal(last.Start):
			return
		case !last.IsPoint() && last.Contains(s.Start) && (s.IsPoint() || !last.End.Less(s.End)):
			return
		case !last.IsPoint() && !s.IsPoint() && last.End.Equal(s.Start): // the next page of a scan
			r.bytes += len(s.End) - len(last.End)
			*last = keys.Span{Start: last.Start, End: s.End}
			return
		case !last.IsPoint() && !s.IsPoint() && s.End.Equal(last.Start): // of a reverse scan
			r.bytes += len(s.Start) - len(last.Start)
			*last = keys.Span{Start: s.Start, End: last.End}
			return
		}
	}
	r.spans = append(r.spans, s)
	r.bytes += len(s.Start) + len(s.End)
	if len(r.spans) > maxReadSpans || r.bytes > maxReadBytes {
		r.coalesce()
	}
}

// coalesce sorts and merges overlapping spans, and then neighbours until half the bounds are kept.
func (r *readSet) coalesce() {
	slices.SortFunc(r.spans, func(a, b keys.Span) int { return a.Start.Compare(b.Start) })
	merge := func(gap bool) {
		out := r.spans[:1]
		for i, s := range r.spans[1:] {
			last := &out[len(out)-1]
			end := last.EndKey()
			if s.Start.Less(end) || (gap && i%2 == 0) {
				if e := s.EndKey(); end.Less(e) {
					end = e
				}
				if !(last.IsPoint() && s.IsPoint() && last.Start.Equal(s.Start)) {
					*last = keys.Span{Start: last.Start, End: end}
				}
				continue
			}
			out = append(out, s)
		}
		clear(r.spans[len(out):])
		r.spans = out
		r.bytes = 0
		for _, s := range out {
			r.bytes += len(s.Start) + len(s.End)
		}
	}
	merge(false)
	for len(r.spans) > 1 && (len(r.spans) > maxReadSpans/2 || r.bytes > maxReadBytes/2) {
		merge(true)
	}
}

func (r *readSet) addLocked(key keys.Key, at hlc.Timestamp, s kv.LockStrength, read bool) {
	r.addLockedAs(key, at, s, read, false)
}

// addLockedAs is addLocked; exists: the key was there, and that is all that was read.
func (r *readSet) addLockedAs(key keys.Key, at hlc.Timestamp, s kv.LockStrength, read, exists bool) {
	if r.locked == nil {
		r.locked = make(map[string]lockedRead, 4)
	}
	l := r.locked[string(key)]
	l.strength = max(l.strength, s)
	if read {
		l.held = max(l.held, s)
	}
	// The earlier reading is the one that must still hold; but that of a value says more than that the key is there.
	if read && (!l.read || l.exists && !exists) {
		l.at, l.read, l.exists = at, true, exists
	}
	r.locked[string(key)] = l
}

// pending lists what must be validated for a commit at ts: everything that was read before ts and, if all is
// set, also what was read at ts (for requests that may land later than they ask for).
func (r *readSet) pending(readTS, ts hlc.Timestamp, spans, all bool) []kv.ReadSpan {
	var out []kv.ReadSpan
	if spans && (all || readTS.Less(ts)) {
		for _, s := range r.spans {
			out = append(out, kv.ReadSpan{Span: s, At: readTS})
		}
	}
	for _, f := range r.firm {
		if all || f.at.Less(ts) {
			out = append(out, kv.ReadSpan{Span: f.span, At: f.at})
		}
	}
	for k, l := range r.locked {
		if l.read && (all || l.at.Less(ts)) {
			out = append(out, kv.ReadSpan{Span: keys.Span{Start: keys.Key(k)}, At: l.at, Existence: l.exists})
		}
	}
	return out
}
