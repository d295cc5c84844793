package txn

import (
	"context"
	"slices"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// readDone is what one answer adds to the read set.
type readDone struct {
	at         hlc.Timestamp
	span       keys.Span   // if Start is set
	spans      []keys.Span // and these
	lockedKey  keys.Key    // if set: locked and read
	lockedKeys []keys.Key
	existing   []keys.Key // locked, and read to be there
	perhaps    []keys.Key // asked for with SKIP LOCKED and not there: to be released only
	strength   kv.LockStrength
	firm       bool // see ScanOptions.Firm
}

// done records what was read. If the read timestamp has moved meanwhile (parallel scans), or
// the leader has moved it, what was read before the later of the two is brought up to it.
func (t *txn) done(ctx context.Context, r readDone) error {
	at := r.at
	if t.sharesKeys(&r) { // their values may change: to the snapshot they are plain reads
		r.spans = slices.Clone(r.spans)
		if len(r.lockedKey) > 0 {
			r.spans = append(r.spans, keys.Span{Start: r.lockedKey})
		}
		for _, k := range r.lockedKeys {
			r.spans = append(r.spans, keys.Span{Start: k})
		}
	}
	for {
		t.mu.Lock()
		cur := t.meta.ReadTS
		if cur.Less(at) && len(t.reads.spans) == 0 {
			t.setReadTS(at)
			cur = at
		}
		if at == cur {
			t.add(r)
			t.mu.Unlock()
			return nil
		}
		if at.Less(cur) && len(r.span.Start) == 0 && len(r.spans) == 0 {
			t.add(r) // locked keys hold as of their own timestamp
			t.mu.Unlock()
			return nil
		}
		t.mu.Unlock()
		if cur.Less(at) {
			if err := t.moveTo(ctx, at); err != nil {
				return err
			}
			continue
		}
		reads := make([]kv.ReadSpan, 0, 1+len(r.spans))
		if len(r.span.Start) > 0 {
			reads = append(reads, kv.ReadSpan{Span: r.span, At: at})
		}
		for _, s := range r.spans {
			reads = append(reads, kv.ReadSpan{Span: s, At: at})
		}
		if err := t.refresh(ctx, reads, cur); err != nil {
			return err
		}
		at = cur
	}
}

// sharesKeys reports whether only the keys of the locked rows stay as they are: others may change the rest of a row that is locked FOR KEY SHARE, and commit
// first. Below SERIALIZABLE the commit does not rest on that.
func (t *txn) sharesKeys(r *readDone) bool {
	return r.strength == kv.LockKeyShare && t.opts.Isolation != kv.Serializable
}

// add is done's last step; t.mu is held.
func (t *txn) add(r readDone) {
	exists := t.sharesKeys(&r)
	if len(r.lockedKey) > 0 {
		t.reads.addLockedAs(r.lockedKey, r.at, r.strength, true, exists)
	}
	for _, k := range r.lockedKeys {
		t.reads.addLockedAs(k, r.at, r.strength, true, exists)
	}
	for _, k := range r.existing {
		t.reads.addLockedAs(k, r.at, r.strength, true, true)
	}
	for _, k := range r.perhaps {
		t.reads.addLocked(k, r.at, r.strength, false)
	}
	if !t.opts.ReadAsOf.IsEmpty() {
		return // the past does not change, and the timestamp does not move
	}
	if len(r.span.Start) > 0 {
		t.reads.add(r.span)
	}
	for _, s := range r.spans {
		t.reads.add(s)
	}
	if !r.firm || t.meta.Isolation == kv.Serializable || t.c.cfg.PlantedNoFirmReads {
		return // under SERIALIZABLE all spans are firm
	}
	at := t.meta.ReadTS // done has brought the spans up to it
	if len(r.span.Start) > 0 {
		t.reads.addFirm(firmRead{r.span, at, t.buf.seq})
	}
	for _, s := range r.spans {
		t.reads.addFirm(firmRead{s, at, t.buf.seq})
	}
}

// moves of the read timestamp within one request, before the target is taken from the
// clock: a row that is written all the time would otherwise be chased step by step.
const movesBeforeNow = 3
const maxMoves = 50

// moveFor reacts to an error of a read sent at timestamp at, for the n-th time. It returns nil if the request should be
// sent again at a later timestamp.
func (t *txn) moveFor(ctx context.Context, err error, at hlc.Timestamp, n int) error {
	ke := kv.AsError(err)
	if (ke.Code != kv.CodeWriteTooOld && ke.Code != kv.CodeUncertain) || !t.opts.ReadAsOf.IsEmpty() || n >= maxMoves {
		return err
	}
	to := ke.TS
	if n >= movesBeforeNow || !at.Less(to) {
		to = to.Forward(t.c.cfg.Clock.Now())
	}
	if merr := t.moveTo(ctx, to); merr != nil {
		if kv.HasCode(merr, kv.CodeRefreshFailed) {
			ke.Message = "could not serialize access: what was read before has changed since"
			ke.TS = ke.TS.Forward(to)
			return ke
		}
		return merr
	}
	return nil
}

// moveTo moves the read timestamp to `to`, if everything read so far is still the same there.
func (t *txn) moveTo(ctx context.Context, to hlc.Timestamp) error {
	t.moving.Lock()
	defer t.moving.Unlock()
	t.c.cfg.Clock.Update(to)
	refreshed := -1 // generation of the spans that are known to hold at to
	for {
		t.mu.Lock()
		from := t.meta.ReadTS
		if !from.Less(to) {
			t.mu.Unlock()
			return nil
		}
		if t.reads.gen == refreshed || len(t.reads.spans) == 0 {
			t.setReadTS(to)
			t.mu.Unlock()
			return nil
		}
		refreshed = t.reads.gen
		reads := make([]kv.ReadSpan, len(t.reads.spans))
		for i, s := range t.reads.spans {
			reads[i] = kv.ReadSpan{Span: s, At: from}
		}
		t.mu.Unlock()
		if err := t.refresh(ctx, reads, to); err != nil {
			return err
		}
	}
}

// refresh checks that nothing in the reads has changed between their timestamps and `to`, and makes sure that
// nothing will.
func (t *txn) refresh(ctx context.Context, reads []kv.ReadSpan, to hlc.Timestamp) error {
	if len(reads) == 0 {
		return nil
	}
	t.mu.Lock()
	meta := t.meta
	t.mu.Unlock()
	err := t.refreshAt(ctx, meta, reads, to, 0)
	if err != nil {
		t.c.metrics.RefreshesFailed.Add(1)
		return err
	}
	t.c.metrics.RefreshesOK.Add(1)
	t.c.metrics.RefreshSpans.Add(int64(len(reads)))
	return nil
}

func (t *txn) refreshAt(ctx context.Context, meta kv.TxnMeta, reads []kv.ReadSpan, to hlc.Timestamp, depth int) error {
	cut, err := t.c.cutReads(ctx, reads)
	if err != nil {
		return err
	}
	return t.c.inParallel(ctx, len(cut), func(ctx context.Context, i int) error {
		m := meta
		req := &kv.BatchRequest{Txn: &m, Requests: refreshRequests(cut[i].reads, to)}
		if len(req.Requests) == 0 {
			return nil
		}
		_, err := t.send(ctx, req)
		if kv.HasCode(err, kv.CodeRangeMismatch) && depth < maxRecuts {
			return t.refreshAt(ctx, meta, cut[i].reads, to, depth+1)
		}
		return err
	})
}

// refreshRequests groups the reads by the timestamp at which they were done.
func refreshRequests(reads []kv.ReadSpan, to hlc.Timestamp) []kv.Request {
	var out []kv.Request
	byAt := map[readKind]*kv.Refresh{}
	for _, r := range reads {
		if !r.At.Less(to) {
			continue
		}
		kind := readKind{r.At, r.Existence}
		q := byAt[kind]
		if q == nil {
			q = &kv.Refresh{From: r.At, To: to, Existence: r.Existence}
			byAt[kind] = q
			out = append(out, q)
		}
		q.Spans = append(q.Spans, r.Span)
	}
	return out
}

// readKind is what reads have in common that are looked at together.
type readKind struct {
	at        hlc.Timestamp
	existence bool
}

// rangeReads is the share of a read set that lies in one range.
type rangeReads struct {
	id    kv.RangeID
	reads []kv.ReadSpan
}

// cutReads sorts reads by range.
func (c *Coordinator) cutReads(ctx context.Context, reads []kv.ReadSpan) ([]rangeReads, error) {
	byAt := map[readKind][]keys.Span{}
	for _, r := range reads {
		kind := readKind{r.At, r.Existence}
		byAt[kind] = append(byAt[kind], r.Span)
	}
	var out []rangeReads
	at := map[kv.RangeID]int{}
	for kind, spans := range byAt {
		parts, err := c.cfg.Sender.Ranges(ctx, spans, false)
		if err != nil {
			return nil, asError(ctx, err)
		}
		for _, p := range parts {
			i, ok := at[p.RangeID]
			if !ok {
				i = len(out)
				at[p.RangeID] = i
				out = append(out, rangeReads{id: p.RangeID})
			}
			for _, s := range p.Spans {
				out[i].reads = append(out[i].reads, kv.ReadSpan{Span: s, At: kind.at, Existence: kind.existence})
			}
		}
	}
	return out, nil
}
