package txn

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// A transaction whose buffer outgrows Config.MaxBufferBytes sends what it has written ahead, as open locks: prepared
// locks of a transaction that still runs (kv.Prepare.Seqs). What was sent leaves the buffer, and so do the locks of
// the rows from the read set: each has been looked at again, and the open lock keeps it. What stays here is where the locks
// are, in a bounded number of spans.
//
// Numbers. Every statement, every savepoint and every sending raises the buffer's seq; a write sent ahead carries seq+1. The transaction
// reads its own open locks below the number of the reading statement, as it does with its buffer. A return to a
// savepoint takes back a range of numbers (kv.UndoSpan), before the next request that would see them, and none of them
// is used again: a late copy of what was taken back is recognised.
//
// The record says OPEN before the first lock is laid. Whoever finds the locks of a gateway that does not answer makes ABORTED of it, and drops them. That goes
// by age, and a load may run for longer: so the commit must find OPEN, and no record is as good as ABORTED (kv.EndTxn.Open). OPEN does not
// go by age, while the gateway knows the transaction, and needs no renewing.

// sentAhead is what a transaction has outside of its buffer.
type sentAhead struct {
	spans []keys.Span // cover all open locks; in order, apart from each other
	top   hlc.Timestamp
	last  int32 // the highest number sent
	// since is when the first writes were sent, and told that the record has been seen to say OPEN since then.
	since hlc.Timestamp
	told  bool
	bytes int64
	// oldest is the first savepoint (a seq), if marked: what was written before it may be returned to.
	oldest int32
	marked bool
	undo   []seqRange // taken back, and not yet in the ranges
	// broken: a request was never answered. A copy of it may come at any time, even after a return to a savepoint, so
	// the transaction must not commit.
	broken error
}

type seqRange struct{ from, to int32 }

func (a *sentAhead) any() bool { return len(a.spans) > 0 }

// maxAheadSpans bounds the spans; above it neighbours are merged. A span that is too wide costs looks, nothing else.
const maxAheadSpans = 64

// cover adds a span.
func (a *sentAhead) cover(s keys.Span) {
	a.spans = append(a.spans, s)
	slices.SortFunc(a.spans, func(x, y keys.Span) int { return x.Start.Compare(y.Start) })
	merge := func(gap bool) {
		out := a.spans[:1]
		for i, s := range a.spans[1:] {
			last := &out[len(out)-1]
			if !last.End.Less(s.Start) || (gap && i%2 == 0) {
				if last.End.Less(s.End) {
					last.End = s.End
				}
				continue
			}
			out = append(out, s)
		}
		clear(a.spans[len(out):])
		a.spans = out
	}
	merge(false)
	if len(a.spans) > maxAheadSpans {
		merge(true)
	}
}

// aheadChunk is what goes into one Prepare: a span of keys, so many that latches and proposals stay small.
type aheadChunk struct {
	writes []kv.Write
	seqs   []int32
	reads  []kv.ReadSpan
}

const (
	aheadKeys  = 1000
	aheadBytes = 512 << 10
)

// MakeRoom implements Buffered.
func (t *txn) MakeRoom(ctx context.Context) error {
	t.mu.Lock()
	err := t.usable()
	over := t.buf.memory() > t.c.cfg.MaxBufferBytes
	t.mu.Unlock()
	if err != nil || !over {
		return err
	}
	return t.sendAhead(ctx, false)
}

// stays reports whether a write waits in the buffer for the commit: the catalog's are few, and it asks for them (Wrote).
func stays(k keys.Key) bool { return k.Less(firstUserKey) }

var firstUserKey = keys.Table(keys.FirstUserTable)

// sendAhead empties the buffer into open locks: all of it before the commit. It may be called again after an error.
func (t *txn) sendAhead(ctx context.Context, all bool) error {
	if err := t.settleUndo(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	empty := t.buf.empty()
	t.mu.Unlock()
	if empty {
		return nil
	}
	if err := t.sendWrites(ctx, all, math.MaxInt32); err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ahead.bytes += t.buf.size
	t.c.metrics.SentAheadBytes.Add(t.buf.size)
	t.buf.drop(func(k keys.Key) bool {
		if !all && stays(k) {
			return false
		}
		delete(t.reads.locked, string(k))
		return true
	})
	return nil
}

// sendWrites lays open locks for what is in the buffer with a seq below the given one, and leaves it there.
func (t *txn) sendWrites(ctx context.Context, all bool, below int32) error {
	t.mu.Lock()
	rounds := t.rounds(all, below)
	if len(rounds) == 0 && below < math.MaxInt32 {
		t.mu.Unlock()
		return nil
	}
	if err := t.begin(ctx); err != nil {
		t.mu.Unlock()
		return err
	}
	if len(t.meta.Anchor) == 0 {
		t.meta.Anchor = t.buf.log[0].key
	}
	t.traced = true
	if !t.registered {
		t.registered = true
		t.c.register(t.meta, t.since)
	}
	t.c.setOpen(t.meta.ID)
	meta := t.meta
	stage := meta.ReadTS.Forward(t.c.cfg.Clock.Now())
	if t.ahead.since.IsEmpty() {
		t.ahead.since = stage
	}
	keep := t.buf.stmt + 1 // what the running statement reads, and scans of earlier ones that are still open
	if t.openScans > 0 {
		keep = min(keep, t.oldestScan+1)
	}
	if t.ahead.marked {
		keep = min(keep, t.ahead.oldest+1)
	}
	t.ahead.last = t.buf.seq + 1
	for _, chunks := range rounds {
		for i := range chunks {
			w := chunks[i].writes
			t.ahead.cover(keys.Span{Start: w[0].Key, End: w[len(w)-1].Key.Next()})
		}
	}
	t.mu.Unlock()

	if err := t.openRecord(ctx, true); err != nil {
		return err
	}
	t.c.metrics.SendAheads.Add(1)
	for _, chunks := range rounds { // an earlier write of a key is there before a later one
		err := inParallel(ctx, len(chunks), min(t.c.cfg.Parallel, largeParallel), func(ctx context.Context, i int) error {
			return t.sendChunk(ctx, meta, &chunks[i], stage, keep, 0)
		})
		t.c.answered(meta.ID)
		if err != nil {
			return err
		}
	}
	return nil
}

// openRecord makes sure that the record says OPEN; with look also if it has said so before: a transaction that was aborted while its gateway
// was cut off is to learn of that before it sends more.
func (t *txn) openRecord(ctx context.Context, look bool) error {
	t.mu.Lock()
	meta, since, told := t.meta, t.ahead.since, t.ahead.told
	t.mu.Unlock()
	if told && !look {
		return nil
	}
	a := t.c.insist(ctx, func() *kv.BatchRequest {
		m := meta
		return &kv.BatchRequest{Txn: &m, Requests: []kv.Request{&kv.StageTxn{CommitTS: since, Open: true}}}
	}, false)
	if a.err != nil {
		if kv.HasCode(a.err, kv.CodeTxnAborted) {
			return errAbandoned()
		}
		return kv.Undecided(a.err)
	}
	t.mu.Lock()
	t.ahead.told = true
	t.mu.Unlock()
	return nil
}

// errAbandoned is what a transaction with open locks learns too late.
func errAbandoned() error {
	return kv.Errorf(kv.CodeTxnAborted, "the transaction was aborted, and what it had written was dropped: its gateway was out of reach for too long")
}

// rounds cuts what is in the buffer with a seq below the given one: the first writes of all keys, then the second ones of those that have them,
// and so on. t.mu is held.
func (t *txn) rounds(all bool, below int32) [][]aheadChunk {
	if t.buf.empty() {
		return nil
	}
	var rounds [][]aheadChunk
	for round, more := 0, true; more; round++ {
		more = false
		var out []aheadChunk
		var c aheadChunk
		size := 0
		t.buf.tree.Scan(func(k *bufferedKey) bool {
			if len(k.versions) <= round || k.versions[round].seq >= below || (!all && stays(k.key)) {
				return true
			}
			more = more || len(k.versions) > round+1
			if size >= aheadBytes || len(c.writes) == aheadKeys {
				out = append(out, c)
				c, size = aheadChunk{}, 0
			}
			v := &k.versions[round]
			w := kv.Write{Key: k.key, Deleted: v.deleted, Value: v.value}
			if round == 0 {
				l := t.reads.locked[string(k.key)]
				w.MustNotExist = v.insert && !l.read
				if l.read {
					c.reads = append(c.reads, kv.ReadSpan{Span: keys.Span{Start: k.key}, At: l.at})
				}
			}
			c.writes = append(c.writes, w)
			c.seqs = append(c.seqs, v.seq+1)
			size += len(w.Key) + len(w.Value) + writeOverhead
			return true
		})
		if len(c.writes) > 0 {
			out = append(out, c)
		}
		if len(out) > 0 {
			rounds = append(rounds, out)
		}
	}
	return rounds
}

// sendChunk prepares one chunk, in as many pieces as there are ranges.
func (t *txn) sendChunk(ctx context.Context, meta kv.TxnMeta, c *aheadChunk, stage hlc.Timestamp, keep int32, depth int) error {
	a := t.c.insist(ctx, func() *kv.BatchRequest {
		m := meta
		return &kv.BatchRequest{Txn: &m, LockTimeout: t.lockTimeout.Load(), Requests: []kv.Request{
			&kv.Prepare{Writes: c.writes, StageTS: stage, Refreshes: c.reads, Seqs: c.seqs, Keep: keep}}}
	}, false)
	if kv.HasCode(a.err, kv.CodeRangeMismatch) && depth < maxRecuts {
		pieces, err := t.c.cutChunk(ctx, c)
		if err != nil {
			return err
		}
		for i := range pieces {
			if err := t.sendChunk(ctx, meta, &pieces[i], stage, keep, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.err != nil {
		if a.unknown {
			t.ahead.broken = a.err
		}
		return kv.Undecided(a.err)
	}
	t.ahead.top = t.ahead.top.Forward(a.resp.Responses[0].(*kv.PrepareResponse).TS)
	return nil
}

// cutChunk sorts a chunk by range.
func (c *Coordinator) cutChunk(ctx context.Context, a *aheadChunk) ([]aheadChunk, error) {
	cut, err := c.cutKeys(ctx, keysOf(a.writes))
	if err != nil {
		return nil, err
	}
	at := make(map[string]int, len(a.writes))
	for i := range a.writes {
		at[string(a.writes[i].Key)] = i
	}
	reads := make(map[string]kv.ReadSpan, len(a.reads))
	for _, r := range a.reads {
		reads[string(r.Span.Start)] = r
	}
	out := make([]aheadChunk, len(cut))
	for n, r := range cut {
		for _, k := range r.keys {
			i := at[string(k)]
			out[n].writes = append(out[n].writes, a.writes[i])
			out[n].seqs = append(out[n].seqs, a.seqs[i])
			if r, ok := reads[string(k)]; ok {
				out[n].reads = append(out[n].reads, r)
			}
		}
	}
	return out, nil
}

// undoAhead notes that everything written since the savepoint is taken back. t.mu is held.
func (t *txn) undoAhead(mark int32) {
	if t.ahead.any() && mark+1 <= t.ahead.last {
		t.ahead.undo = append(t.ahead.undo, seqRange{mark + 1, t.buf.seq + 1})
	}
}

// settleUndo carries out in the ranges what returns to savepoints have taken back. Nothing may look at open locks before.
//
// A sending that failed half way leaves writes of before the savepoint in the buffer, with numbers below those that are taken back. They go first: a
// lock that has had something taken back would take them for late copies.
func (t *txn) settleUndo(ctx context.Context) error {
	t.undoing.Lock()
	defer t.undoing.Unlock()
	for {
		t.mu.Lock()
		if len(t.ahead.undo) == 0 {
			t.mu.Unlock()
			return nil
		}
		u := t.ahead.undo[0]
		t.mu.Unlock()
		err := t.sendWrites(ctx, false, u.from-1)
		if err != nil {
			return err
		}
		t.mu.Lock()
		meta, spans := t.meta, slices.Clone(t.ahead.spans)
		t.mu.Unlock()
		err = t.c.overSpans(ctx, meta, spans, func(s keys.Span) kv.Request {
			return &kv.UndoSpan{Span: s, From: u.from, To: u.to}
		})
		if err != nil {
			return err
		}
		t.mu.Lock()
		t.ahead.undo = t.ahead.undo[1:]
		t.mu.Unlock()
	}
}

// overSpans sends, for all of the spans, the request that mk makes of a span in one range, until it has gone to the end.
func (c *Coordinator) overSpans(ctx context.Context, meta kv.TxnMeta, spans []keys.Span, mk func(keys.Span) kv.Request) error {
	parts, err := c.cfg.Sender.Ranges(ctx, spans, false)
	if err != nil {
		return asError(ctx, err)
	}
	var pieces []keys.Span
	for _, p := range parts {
		pieces = append(pieces, p.Spans...)
	}
	return inParallel(ctx, len(pieces), min(c.cfg.Parallel, largeParallel), func(ctx context.Context, i int) error {
		return c.overSpan(ctx, meta, pieces[i], mk, 0)
	})
}

func (c *Coordinator) overSpan(ctx context.Context, meta kv.TxnMeta, s keys.Span, mk func(keys.Span) kv.Request, depth int) error {
	for s.Valid() {
		a := c.insist(ctx, func() *kv.BatchRequest {
			m := meta
			return &kv.BatchRequest{Txn: &m, Requests: []kv.Request{mk(s)}}
		}, true)
		if kv.HasCode(a.err, kv.CodeRangeMismatch) && depth < maxRecuts {
			parts, err := c.cfg.Sender.Ranges(ctx, []keys.Span{s}, false)
			if err != nil {
				return asError(ctx, err)
			}
			for _, p := range parts {
				for _, piece := range p.Spans {
					if err := c.overSpan(ctx, meta, piece, mk, depth+1); err != nil {
						return err
					}
				}
			}
			return nil
		}
		if a.err != nil {
			return kv.Undecided(a.err)
		}
		switch r := a.resp.Responses[0].(type) {
		case *kv.ResolveSpanResponse:
			s = r.Resume
		case *kv.UndoSpanResponse:
			s = r.Resume
		default:
			return kv.Errorf(kv.CodeInternal, "the answer to a request over a span is a %T", r)
		}
	}
	return nil
}

// resolveSpans turns all of the transaction's locks in the spans into versions, or drops them.
func (c *Coordinator) resolveSpans(ctx context.Context, meta kv.TxnMeta, spans []keys.Span, commit bool, ts hlc.Timestamp) error {
	return c.overSpans(ctx, meta, spans, func(s keys.Span) kv.Request {
		return &kv.ResolveSpan{Span: s, Commit: commit, CommitTS: ts}
	})
}

// abandon ends a transaction that has open locks and does not commit: ABORTED goes into its record, so that nobody
// waits for its gateway, and then the locks go. It is taken off the registry last. t.mu is held.
func (t *txn) abandon() {
	c, meta, spans, locked := t.c, t.meta, t.ahead.spans, t.takeLocks(nil)
	t.registered = false // the job takes it off
	t.ahead = sentAhead{}
	c.background(func(ctx context.Context) {
		defer c.unregister(meta.ID)
		c.release(ctx, meta, locked)
		_, _, _, a := c.endTxn(ctx, meta, &kv.EndTxn{Spans: spans})
		if a.err == nil {
			c.setStatus(meta.ID, kv.TxnAborted, hlc.Timestamp{})
			a.err = c.resolveSpans(ctx, meta, spans, false, hlc.Timestamp{})
		}
		if a.err != nil {
			c.metrics.BackgroundFailed.Add(1) // the ranges find out about what is left
		}
	})
}

// openPromise is for how long a transaction with open locks promises not to commit when somebody asks after it: so long
// other readers need not ask again, and so long its commit may have to wait.
const openPromise = 50 * time.Millisecond
