package txn

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Commit implements Txn.
//
// The ways: commitReads, commitSingle, commitMany, and commitAhead for what did not fit into memory.
func (t *txn) Commit(ctx context.Context) (hlc.Timestamp, error) {
	ctx = withWaiting(ctx, clientWaits)
	t.mu.Lock()
	if err := t.usable(); err != nil {
		t.mu.Unlock()
		return hlc.Timestamp{}, err
	}
	if err := t.begin(ctx); err != nil {
		t.mu.Unlock()
		return hlc.Timestamp{}, err
	}
	if t.ahead.any() {
		t.mu.Unlock()
		return t.commitAhead(ctx)
	}
	writes := t.buf.final(func(k keys.Key) bool { return t.reads.locked[string(k)].read })
	var err error
	if len(writes) > 0 && !t.registered {
		t.registered = true // others may meet its requests in a queue
		t.c.register(t.meta, t.since)
	}
	t.mu.Unlock()
	if cerr := ctx.Err(); cerr != nil {
		return hlc.Timestamp{}, kv.Errorf(kv.CodeCanceled, "%v", cerr)
	}

	var ts hlc.Timestamp
	if len(writes) == 0 {
		ts, err = t.commitReads(ctx)
	} else {
		ts, err = t.commitWrites(ctx, writes)
	}
	if err != nil {
		t.c.metrics.CommitsFailed.Add(1)
		return hlc.Timestamp{}, commitError(err)
	}
	t.afterCommit(ts)
	return ts, nil
}

func (t *txn) afterCommit(ts hlc.Timestamp) {
	for _, f := range t.onCommit {
		f(ts)
	}
}

// commitError turns what only a commit can meet into what callers can act on.
func commitError(err error) error {
	ke := kv.AsError(err)
	if ke.Code == kv.CodeDeadlock {
		// Two commits that wait for each other's prepared writes: for the client that is a
		// serialization failure like any other, and nothing was written.
		return &kv.Error{Code: kv.CodeTxnAborted, Message: ke.Message, Key: ke.Key}
	}
	return ke
}

// commitReads ends a transaction without writes. Its reads hold at its read timestamp: plain ones by construction, and locked
// ones are looked at again if the timestamp has moved since.
func (t *txn) commitReads(ctx context.Context) (hlc.Timestamp, error) {
	t.mu.Lock()
	ts := t.meta.ReadTS
	var pending []kv.ReadSpan
	if t.meta.Isolation != kv.ReadCommitted { // which has no one snapshot that they would have to fit
		pending = t.reads.pending(ts, ts, false, false)
	}
	t.mu.Unlock()
	if err := t.refresh(ctx, pending, ts); err != nil {
		return hlc.Timestamp{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = stateCommitted
	t.dropLocks(nil)
	t.c.metrics.CommitsReadOnly.Add(1)
	return ts, nil
}

// participant is one range's share of a commit.
type participant struct {
	id     kv.RangeID
	writes []kv.Write
	reads  []kv.ReadSpan // to be validated there, with the writes
}

// writeOverhead is what a write takes in a proposal besides its key and value: the timestamp, and lengths.
const writeOverhead = 24

// plan of a commit.
type plan struct {
	parts  []participant
	remote []kv.ReadSpan // reads that must hold, in ranges without writes
	bytes  int
}

// planCommit sorts writes and reads by range.
//
// Which reads must hold at the commit timestamp: under SERIALIZABLE everything that was read; under the other levels what was
// read under a lock (the lock says so already, unless it was lost with its leader).
func (t *txn) planCommit(ctx context.Context, writes []kv.Write) (*plan, error) {
	t.mu.Lock()
	readTS := t.meta.ReadTS
	reads := t.reads.pending(readTS, readTS, t.meta.Isolation == kv.Serializable, true)
	t.mu.Unlock()

	p := &plan{}
	if len(writes) == 1 && onlyKey(reads, writes[0].Key) { // one row: nothing to sort
		p.parts = []participant{{writes: writes, reads: reads}}
		p.weigh()
		return p, nil
	}
	// The common case is that all of it lies in one range.
	spans := make([]keys.Span, 0, len(writes)+len(reads))
	for i := range writes {
		spans = append(spans, keys.Span{Start: writes[i].Key})
	}
	for i := range reads {
		spans = append(spans, reads[i].Span)
	}
	whole, err := t.c.cfg.Sender.Ranges(ctx, spans, false)
	if err != nil {
		return nil, asError(ctx, err)
	}
	if len(whole) == 1 {
		p.parts = []participant{{id: whole[0].RangeID, writes: writes, reads: reads}}
	} else if p.parts, p.remote, err = t.c.cutCommit(ctx, writes, reads); err != nil {
		return nil, err
	}
	p.weigh()
	return p, nil
}

// weigh fills in bytes.
func (p *plan) weigh() {
	for i := range p.parts {
		for j := range p.parts[i].writes {
			w := &p.parts[i].writes[j]
			p.bytes += len(w.Key) + len(w.Value) + writeOverhead
		}
	}
}

// cutCommit sorts writes by range, and with them the reads of these ranges; remote are the reads in others.
func (c *Coordinator) cutCommit(ctx context.Context, writes []kv.Write, reads []kv.ReadSpan) (parts []participant, remote []kv.ReadSpan, err error) {
	cut, err := c.cutKeys(ctx, keysOf(writes))
	if err != nil {
		return nil, nil, err
	}
	parts = make([]participant, len(cut))
	if len(cut) == 1 {
		parts[0] = participant{id: cut[0].id, writes: writes}
	} else {
		byKey := make(map[string]int, len(writes))
		for i := range writes {
			byKey[string(writes[i].Key)] = i
		}
		for i, r := range cut {
			parts[i] = participant{id: r.id, writes: make([]kv.Write, len(r.keys))}
			for j, k := range r.keys {
				parts[i].writes[j] = writes[byKey[string(k)]]
			}
		}
	}
	if len(reads) == 0 {
		return parts, nil, nil
	}
	cutReads, err := c.cutReads(ctx, reads)
	if err != nil {
		return nil, nil, err
	}
	at := make(map[kv.RangeID]int, len(parts))
	for i := range parts {
		at[parts[i].id] = i
	}
	for _, r := range cutReads {
		if i, ok := at[r.id]; ok {
			parts[i].reads = r.reads
		} else {
			remote = append(remote, r.reads...)
		}
	}
	return parts, remote, nil
}

// onlyKey reports whether all reads are of that key alone.
func onlyKey(reads []kv.ReadSpan, k keys.Key) bool {
	for i := range reads {
		if !reads[i].Span.IsPoint() || !reads[i].Span.Start.Equal(k) {
			return false
		}
	}
	return true
}

// commitWrites plans and commits, and again when a split has overtaken the plan.
func (t *txn) commitWrites(ctx context.Context, writes []kv.Write) (hlc.Timestamp, error) {
	t.mu.Lock()
	t.chooseAnchor(writes)
	t.mu.Unlock()
	for n := 0; ; n++ {
		p, err := t.planCommit(ctx, writes)
		if err != nil {
			return hlc.Timestamp{}, err
		}
		if len(p.parts) > 1 || p.bytes > t.c.cfg.MaxCommitBytes {
			return t.commitMany(ctx, p)
		}
		ts, again, err := t.commitSingle(ctx, p)
		if !again || n >= maxRecuts {
			return ts, err
		}
	}
}

// committed ends the transaction. Locks on keys for which settled is true go by themselves.
func (t *txn) committed(ts hlc.Timestamp, settled func(keys.Key) bool) {
	t.c.cfg.Clock.Update(ts)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = stateCommitted
	t.dropLocks(settled)
}

// commitSingle commits when all writes are in one range. again: a split has made it several.
//
// Reads in that range are validated by the commit itself, up to whatever timestamp it gets. Reads in
// other ranges hold up to the timestamp to which they have been refreshed and no further, so that is a bound on the
// commit (MaxTS); when the range needs a later one, they are refreshed up to there first. A refresh also
// keeps later writes out of the span up to its timestamp, so what it found stays true while the commit is under way.
// Where somebody reads what is written more often than the reads can be refreshed (thousands of ranges of them), that has no
// end: after a few times the writes are prepared, which keeps later readers from them, and the reads refreshed up to there (commitMany).
func (t *txn) commitSingle(ctx context.Context, p *plan) (_ hlc.Timestamp, again bool, _ error) {
	part := &p.parts[0]
	t.mu.Lock()
	meta := t.meta
	t.mu.Unlock()
	bound := meta.ReadTS
	for n := 0; ; n++ {
		deadline := t.bound()
		if late(bound, deadline) {
			return hlc.Timestamp{}, false, t.errLate(bound, deadline)
		}
		// Whatever was sent before has been answered: from here on it is another one.
		commit := &kv.CommitSingleRange{Writes: part.writes, Refreshes: part.reads, MaxTS: deadline, Sent: t.c.cfg.Clock.Now()}
		if len(p.remote) > 0 {
			if err := t.refresh(ctx, p.remote, bound); err != nil {
				return hlc.Timestamp{}, false, err
			}
			for i := range p.remote {
				p.remote[i].At = p.remote[i].At.Forward(bound)
			}
			commit.MaxTS = bound
		}
		a := t.c.insist(ctx, func() *kv.BatchRequest {
			m := meta
			req := &kv.BatchRequest{Txn: &m, Requests: []kv.Request{commit}, LockTimeout: t.lockTimeout.Load()}
			return req
		}, false)
		t.c.answered(meta.ID)
		if a.unknown && a.err != nil {
			// Some copy of the batch may be on its way: fence it before anything else is said.
			return t.settleSingle(ctx, meta, commit, a)
		}
		if a.err == nil {
			ts := a.resp.Responses[0].(*kv.CommitSingleRangeResponse).CommitTS
			t.c.metrics.CommitsSingleRange.Add(1)
			t.singleCommitted(ts, part)
			return ts, false, nil
		}
		switch ke := kv.AsError(a.err); {
		case ke.Code == kv.CodeRangeMismatch:
			return hlc.Timestamp{}, true, ke
		case ke.Code == kv.CodeReadBelowGC && n < maxMoves: // it has waited for locks for so long; this was its only copy
		case ke.Code == kv.CodeWriteTooOld && len(ke.Key) == 0 && !commit.MaxTS.IsEmpty() && n < maxMoves:
			t.c.cfg.Clock.Update(ke.TS)
			if len(p.remote) == 0 {
				if deadline = t.bound(); late(ke.TS, deadline) {
					return hlc.Timestamp{}, false, t.errLate(ke.TS, deadline)
				}
				continue // it has been put off since
			}
			if n >= movesBeforePrepare {
				ts, err := t.commitMany(ctx, p)
				return ts, false, err
			}
			bound = bound.Next().Forward(ke.TS).Forward(t.c.cfg.Clock.Now())
		default:
			return hlc.Timestamp{}, false, ke
		}
	}
}

// movesBeforePrepare is how often a commit to one range is tried again, after the first time, at a later timestamp.
const movesBeforePrepare = 2

// late reports whether a commit at ts would be past its deadline.
func late(ts, deadline hlc.Timestamp) bool { return !deadline.IsEmpty() && deadline.Less(ts) }

// errLate is the error of such a commit, which is remembered.
func (t *txn) errLate(ts, deadline hlc.Timestamp) error {
	t.missed.Store(true)
	return kv.Errorf(kv.CodeRefreshFailed, "a commit at %s is past its deadline, %s", ts, deadline)
}

// SetDeadline implements Deadliner.
func (t *txn) SetDeadline(ts hlc.Timestamp) {
	t.mu.Lock()
	t.deadline = ts
	t.mu.Unlock()
}

// bound is the deadline of the commit as it is now: whoever has set it may put it off while the commit is under way.
func (t *txn) bound() hlc.Timestamp {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.deadline
}

// MissedDeadline implements Deadliner.
func (t *txn) MissedDeadline() bool { return t.missed.Load() }

// WriteBytes implements Buffered.
func (t *txn) WriteBytes() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.buf.empty() {
		return t.ahead.bytes
	}
	return t.ahead.bytes + t.buf.size + int64(t.buf.tree.Len())*writeOverhead
}

// Wrote implements Buffered.
func (t *txn) Wrote(key keys.Key) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.buf.empty() && t.buf.find(key) != nil
}

// singleCommitted ends the transaction after a CommitSingleRange, which has dropped its locks on what it wrote or validated.
func (t *txn) singleCommitted(ts hlc.Timestamp, part *participant) {
	t.mu.Lock()
	n := len(t.reads.locked)
	t.mu.Unlock()
	var settled map[string]bool
	if n > 0 {
		settled = make(map[string]bool, len(part.writes)+len(part.reads))
		for i := range part.writes {
			settled[string(part.writes[i].Key)] = true
		}
		for _, r := range part.reads {
			if r.Span.IsPoint() {
				settled[string(r.Span.Start)] = true
			}
		}
	}
	t.committed(ts, func(k keys.Key) bool { return settled[string(k)] })
}

// settleSingle finds out what became of a CommitSingleRange that was not answered once at least, and makes sure
// that it cannot happen later. Its first key is asked: a range in which it can happen holds that, and knows.
func (t *txn) settleSingle(ctx context.Context, meta kv.TxnMeta, commit *kv.CommitSingleRange, a answer) (hlc.Timestamp, bool, error) {
	t.mu.Lock()
	t.traced = true
	t.mu.Unlock()
	q := &kv.QueryCommit{Key: commit.Writes[0].Key, ID: meta.ID, Sent: commit.Sent}
	settle := func(ctx context.Context) (outcome, error) { return t.c.fenceSingle(ctx, meta, q) }
	var o outcome
	err := a.err
	if !a.lost {
		o, err = settle(ctx)
	}
	if err != nil {
		ts, err := t.leave(ctx, meta, settle)
		return ts, false, err
	}
	if o.status == kv.TxnCommitted {
		t.c.metrics.CommitsSingleRange.Add(1)
		t.mu.Lock()
		t.traced = false // nothing more to do in the background
		t.mu.Unlock()
		t.committed(o.ts, nil)
		return o.ts, false, nil
	}
	t.giveUp()
	if a.definite && kv.AsError(a.err).Code != kv.CodeRangeMismatch {
		return hlc.Timestamp{}, false, a.err
	}
	return hlc.Timestamp{}, false, kv.Errorf(kv.CodeTxnAborted, "the commit was not answered, and has been fenced: nothing was written")
}

// giveUp ends the transaction as failed, with an id that is not used again.
func (t *txn) giveUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.state = stateEnded
	t.traced = false // so that it leaves the registry now
	t.dropLocks(nil)
	t.traced = true
}

// fenceSingle asks for a single-range commit, which fences it if it has not happened.
func (c *Coordinator) fenceSingle(ctx context.Context, meta kv.TxnMeta, q *kv.QueryCommit) (outcome, error) {
	o := outcome{status: kv.TxnAborted}
	cut := func([]keys.Key) *kv.BatchRequest {
		m := meta
		return &kv.BatchRequest{Txn: &m, Requests: []kv.Request{q}}
	}
	err := c.eachRange(ctx, []keys.Key{q.Key}, cut, func(_ []keys.Key, resp *kv.BatchResponse) {
		if r := resp.Responses[0].(*kv.QueryCommitResponse); r.Committed {
			o = outcome{kv.TxnCommitted, r.CommitTS}
		}
	})
	return o, err
}

// lastWait is how long a commit whose client does not wait any longer (a statement is cancelled, or times out) is waited for all the
// same: to learn, or to make sure, what became of it takes a round or two, which may have to wait for another leader, or behind what a large
// statement writes to the same range. A range that does not answer for longer leaves the client in doubt.
const lastWait = 5 * time.Second

// leave finds out what became of a commit that was not answered while the client waited, or for unansweredFor. If that takes no longer than lastWait, it returns what it
// was: the commit's timestamp, or that nothing was written. Otherwise the background goes on. It does not begin there: what waits
// for the background may take longer than that, after a load of commits.
func (t *txn) leave(ctx context.Context, meta kv.TxnMeta, settle func(context.Context) (outcome, error)) (hlc.Timestamp, error) {
	c := t.c
	t.mu.Lock()
	t.state, t.traced = stateEnded, true
	locked := t.takeLocks(nil)
	t.mu.Unlock()
	untilKnown := func(ctx context.Context) (o outcome, known, over bool) {
		var b backoff
		for ctx.Err() == nil {
			o, err := settle(ctx)
			if err == nil {
				c.outcomes.put(meta.ID, o.status, o.ts)
				return o, true, true
			}
			if kv.HasCode(err, kv.CodeReadBelowGC) {
				return o, false, true // it was out of reach for longer than ranges remember commits: it stays unknown
			}
			b.wait(ctx)
		}
		return outcome{}, false, false
	}
	wait, cancel := context.WithTimeout(c.ctx, lastWait)
	o, known, over := untilKnown(wait)
	cancel()
	c.background(func(ctx context.Context) {
		defer c.unregister(meta.ID)
		if !over {
			if _, _, over = untilKnown(ctx); !over {
				c.metrics.BackgroundFailed.Add(1)
				return
			}
		}
		c.release(ctx, meta, locked)
	})
	switch {
	case !known:
	case o.status == kv.TxnCommitted:
		c.cfg.Clock.Update(o.ts)
		t.mu.Lock()
		t.state = stateCommitted
		t.mu.Unlock()
		return o.ts, nil
	case o.status == kv.TxnAborted && ctx.Err() != nil:
		return hlc.Timestamp{}, kv.Errorf(kv.CodeCanceled, "%v", ctx.Err())
	case o.status == kv.TxnAborted:
		return hlc.Timestamp{}, kv.Errorf(kv.CodeTxnAborted, "the commit was not answered, and has been fenced: nothing was written")
	}
	c.metrics.UnknownToClient.Add(1)
	if ctx.Err() == nil {
		return hlc.Timestamp{}, kv.Errorf(kv.CodeUnknownOutcome, "some range has not answered for %s, and the outcome of transaction %s is not known", unansweredFor, meta.ID)
	}
	return hlc.Timestamp{}, kv.Errorf(kv.CodeUnknownOutcome, "the outcome of transaction %s was not known %s after its client had stopped waiting", meta.ID, lastWait)
}
