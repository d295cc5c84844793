package txn

import (
	"context"
	"sync"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// manyCommit is one commit over several ranges (or of more than fits one batch).
type manyCommit struct {
	t       *txn
	c       *Coordinator
	meta    kv.TxnMeta
	plan    *plan
	stageTS hlc.Timestamp
	staged  bool // the record is written as STAGING with the prepares
	all     []keys.Key

	localDone []keys.Key // resolved with the record

	mu      sync.Mutex
	results []prepareResult
	pieces  []preparedPiece // what is locked, or may be, by range as far as known
	firstEr error
	// doubt: a request was sent more than once. A copy that was not answered may have had an effect long ago, which others have finished since.
	doubt bool
	// wanted: somebody waits for one of the keys.
	wanted bool
	// untold: not everybody who prepared below the commit timestamp has heard of it (tellClock).
	untold bool
}

// preparedPiece is the share of the keys that was prepared together.
type preparedPiece struct {
	keys   []keys.Key
	anchor bool
	ts     hlc.Timestamp
	ok     bool
	wanted bool
}

// commitMany is the protocol of the package documentation: prepare everywhere and stage the record in one
// round; if everything is locked at the staged timestamp, that was it.
func (t *txn) commitMany(ctx context.Context, p *plan) (hlc.Timestamp, error) {
	mc, err := t.prepareMany(ctx, p, true)
	if err != nil {
		return hlc.Timestamp{}, err
	}
	v, ts := afterPrepare(mc.stageTS, mc.staged, mc.results)
	switch v {
	case verdictCommitted:
		mc.c.metrics.CommitsOneRound.Add(1)
		mc.finish(ts, false)
		t.committedMany(ts, mc.all)
		return ts, nil
	case verdictPushed:
		if deadline := t.bound(); late(ts, deadline) {
			return mc.abort(ctx, t.errLate(ts, deadline))
		}
		return mc.explicit(ctx, ts)
	case verdictWait:
		return t.leave(ctx, mc.meta, mc.settle)
	}
	return mc.abort(ctx, mc.firstEr)
}

// prepareMany is the first round, after which somebody has to decide: everything is prepared, or was refused, or is not known. stage: the record
// may be written with it. After an error nothing has been sent.
func (t *txn) prepareMany(ctx context.Context, p *plan, stage bool) (*manyCommit, error) {
	c := t.c
	t.mu.Lock()
	t.traced = true // from here on there may be a record
	mc := &manyCommit{t: t, c: c, meta: t.meta, plan: p, stageTS: t.meta.ReadTS}
	spans := len(t.reads.spans) > 0 && t.meta.Isolation == kv.Serializable
	t.mu.Unlock()
	// Where all reads to be validated are in participating ranges, their prepares do it, and the commit
	// can aim at the present: fewer prepares are pushed. Otherwise it aims at the read timestamp, where
	// plain reads hold as they are.
	if len(p.remote) == 0 || !spans {
		mc.stageTS = mc.stageTS.Forward(c.cfg.Clock.Now())
	}
	if deadline := t.bound(); late(mc.stageTS, deadline) {
		t.untraced()
		return nil, t.errLate(mc.stageTS, deadline)
	}
	keyBytes := 0
	for i := range p.parts {
		for j := range p.parts[i].writes {
			mc.all = append(mc.all, p.parts[i].writes[j].Key)
			keyBytes += len(p.parts[i].writes[j].Key) + 2
		}
	}
	mc.staged = stage && keyBytes <= c.cfg.MaxStagedBytes && p.bytes <= len(p.parts)*c.cfg.MaxBatchBytes

	// Reads without a participant to validate them come first: once everything is prepared the transaction is
	// committed, whatever a refresh that is still under way would find.
	if err := t.refresh(ctx, p.remote, mc.stageTS); err != nil {
		t.untraced()
		return nil, err
	}
	if c.cfg.PlantedSaidTooEarly {
		c.setStatus(mc.meta.ID, kv.TxnStaging, mc.stageTS)
	}
	mc.prepareAll(ctx)
	c.answered(mc.meta.ID)
	return mc, nil
}

// untraced takes back prepareMany's mark: no record was attempted.
func (t *txn) untraced() {
	t.mu.Lock()
	t.traced = false
	t.mu.Unlock()
}

// committedMany ends the transaction; the background work that takes it off the registry has been handed in.
func (t *txn) committedMany(ts hlc.Timestamp, written []keys.Key) {
	settled := make(map[string]bool, len(written))
	for _, k := range written {
		settled[string(k)] = true
	}
	t.committed(ts, func(k keys.Key) bool { return settled[string(k)] })
}

// prepareAll sends the first round and waits for all of its answers.
func (mc *manyCommit) prepareAll(ctx context.Context) {
	type piece struct {
		writes []kv.Write
		reads  []kv.ReadSpan
	}
	var pieces []piece
	for i := range mc.plan.parts {
		p := &mc.plan.parts[i]
		writes, reads := p.writes, p.reads
		for len(writes) > 0 {
			n := mc.chunk(writes)
			pieces = append(pieces, piece{writes[:n], reads})
			writes, reads = writes[n:], nil
		}
	}
	run := func(i int) { mc.prepare(ctx, pieces[i].writes, pieces[i].reads, 0) }
	// Unlike inParallel, no failure stops the others: each needs its answer.
	var wg sync.WaitGroup
	limit := mc.c.cfg.Parallel
	switch {
	case len(pieces) > len(mc.plan.parts):
		limit = min(limit, largeParallel)
	case mc.staged && mc.plan.bytes <= mc.c.cfg.MaxBatchBytes: // whoever waits for another's answer makes two rounds of one
		limit *= smallParallel
	}
	slots := make(chan struct{}, limit)
	for i := 1; i < len(pieces); i++ {
		slots <- struct{}{}
		wg.Add(1)
		go func() {
			defer wg.Done()
			growStack()
			run(i)
			<-slots
		}()
	}
	run(0)
	wg.Wait()
}

// chunk returns how many of the writes fit one batch.
func (mc *manyCommit) chunk(writes []kv.Write) int {
	if mc.staged {
		return len(writes)
	}
	size := 0
	for i := range writes {
		size += len(writes[i].Key) + len(writes[i].Value) + 16
		if size > mc.c.cfg.MaxBatchBytes && i > 0 {
			return i
		}
	}
	return len(writes)
}

func hasKey(writes []kv.Write, k keys.Key) bool {
	for i := range writes {
		if writes[i].Key.Equal(k) {
			return true
		}
	}
	return false
}

// prepare gets one piece prepared, cutting it again after a split, and notes the result.
func (mc *manyCommit) prepare(ctx context.Context, writes []kv.Write, reads []kv.ReadSpan, depth int) {
	anchor := hasKey(writes, mc.meta.Anchor)
	a := mc.c.insist(ctx, func() *kv.BatchRequest {
		m := mc.meta
		req := &kv.BatchRequest{Txn: &m, LockTimeout: mc.t.lockTimeout.Load()}
		req.Requests = append(req.Requests, &kv.Prepare{Writes: writes, StageTS: mc.stageTS, Refreshes: reads})
		if anchor && mc.staged {
			req.Requests = append(req.Requests, &kv.StageTxn{CommitTS: mc.stageTS, Prepared: mc.all})
		}
		return req
	}, false)
	if a.again {
		mc.mu.Lock()
		mc.doubt = true
		mc.mu.Unlock()
	}
	if kv.HasCode(a.err, kv.CodeRangeMismatch) && depth < maxRecuts {
		mc.reprepare(ctx, writes, reads, depth)
		return
	}
	piece := preparedPiece{keys: keysOf(writes), anchor: anchor}
	r := prepareResult{outcome: prepareOpen}
	switch {
	case a.err == nil:
		resp := a.resp.Responses[0].(*kv.PrepareResponse)
		piece.ts, piece.wanted = resp.TS, resp.Wanted
		piece.ok = true
		r = prepareResult{prepareOK, piece.ts}
	case a.definite:
		r.outcome = prepareFailed
	}
	mc.note(piece, r, a)
}

func keysOf(writes []kv.Write) []keys.Key {
	ks := make([]keys.Key, len(writes))
	for i := range writes {
		ks[i] = writes[i].Key
	}
	return ks
}

func (mc *manyCommit) note(p preparedPiece, r prepareResult, a answer) {
	mc.mu.Lock()
	defer mc.mu.Unlock()
	mc.pieces = append(mc.pieces, p)
	mc.wanted = mc.wanted || p.wanted
	mc.results = append(mc.results, r)
	if a.err != nil && (mc.firstEr == nil || kv.AsError(mc.firstEr).Code.Class() == kv.RetryRouting) {
		mc.firstEr = kv.AsError(a.err)
	}
}

// reprepare cuts a piece that lies in several ranges now. What an earlier, unanswered attempt may have locked is
// the same key by key, and repeating a prepare is harmless.
func (mc *manyCommit) reprepare(ctx context.Context, writes []kv.Write, reads []kv.ReadSpan, depth int) {
	failed := func(err error) {
		mc.note(preparedPiece{keys: keysOf(writes), anchor: hasKey(writes, mc.meta.Anchor)},
			prepareResult{outcome: prepareFailed}, answer{err: err})
	}
	sub, left, err := mc.c.cutCommit(ctx, writes, reads) // left: in ranges where nothing is written any more
	if err != nil {
		failed(err)
		return
	}
	// These must hold before the last prepare of this piece is laid: until then nothing is committed.
	if err := mc.t.refresh(ctx, left, mc.stageTS); err != nil {
		failed(err)
		return
	}
	for i := range sub {
		mc.prepare(ctx, sub[i].writes, sub[i].reads, depth+1)
	}
}

// explicit commits in a second round: the reads are brought up to ts, and the record says COMMITTED.
func (mc *manyCommit) explicit(ctx context.Context, ts hlc.Timestamp) (hlc.Timestamp, error) {
	t, c := mc.t, mc.c
	t.mu.Lock()
	reads := t.reads.pending(mc.meta.ReadTS, ts, mc.meta.Isolation == kv.Serializable, false)
	t.mu.Unlock()
	if err := t.refresh(ctx, reads, ts); err != nil {
		return mc.abort(ctx, err)
	}
	told := c.tellClock(ctx, mc.meta, mc.below(ts), ts)
	status, at, local, a := c.endTxn(ctx, mc.meta, &kv.EndTxn{Commit: true, CommitTS: ts, Local: mc.anchorKeys(), Prepared: mc.recordKeys(), Spans: mc.recordSpans(), Staged: mc.stageTS})
	mc.untold = !<-told
	mc.localDone, mc.doubt = local, mc.doubt || a.again
	switch {
	case a.err == nil && status == kv.TxnCommitted:
	case a.err == nil || a.definite:
		return mc.abort(ctx, kv.Errorf(kv.CodeTxnAborted, "the transaction was aborted by recovery"))
	default:
		return t.leave(ctx, mc.meta, mc.settle)
	}
	if mc.untold {
		c.outWait(ctx, at)
	}
	if mc.staged {
		c.metrics.CommitsTwoRounds.Add(1)
	} else {
		c.metrics.CommitsExplicit.Add(1)
	}
	c.setStatus(mc.meta.ID, kv.TxnCommitted, at)
	mc.finish(at, true)
	t.committedMany(at, mc.all)
	return at, nil
}

// below returns spans that cover what was prepared below ts. The anchor's leader hears of ts by what is sent to the record.
func (mc *manyCommit) below(ts hlc.Timestamp) (spans []keys.Span) {
	for _, p := range mc.pieces {
		if p.ts.Less(ts) && !(p.anchor && len(p.keys) == 1) {
			spans = append(spans, cover(len(p.keys), func(i int) keys.Key { return p.keys[i] }))
		}
	}
	return spans
}

// cover returns the span from the first to the last of n keys, in whatever order they are.
func cover(n int, key func(int) keys.Key) keys.Span {
	first, last := key(0), key(0)
	for i := 1; i < n; i++ {
		if k := key(i); k.Less(first) {
			first = k
		} else if last.Less(k) {
			last = k
		}
	}
	return keys.Span{Start: first, End: last.Next()}
}

// anchorKeys returns the keys that were prepared with the anchor.
func (mc *manyCommit) anchorKeys() []keys.Key {
	for _, p := range mc.pieces {
		if p.anchor {
			return p.keys
		}
	}
	return nil
}

// recordKeys is the key list for the record: that of the staged one. A list too long to be staged is too long
// for any record, which has spans then.
func (mc *manyCommit) recordKeys() []keys.Key {
	if mc.staged {
		return mc.all
	}
	return nil
}

// maxRecordSpans bounds the spans in a record.
const maxRecordSpans = 64

// recordSpans cover the keys if there are too many to list.
func (mc *manyCommit) recordSpans() (spans []keys.Span) {
	if mc.staged {
		return nil
	}
	for i := range mc.plan.parts {
		writes := mc.plan.parts[i].writes
		s := cover(len(writes), func(j int) keys.Key { return writes[j].Key })
		switch n := len(spans); {
		case n < maxRecordSpans:
			spans = append(spans, s)
		default: // the last one covers the rest
			last := &spans[n-1]
			if s.Start.Less(last.Start) {
				last.Start = s.Start
			}
			if last.End.Less(s.End) {
				last.End = s.End
			}
		}
	}
	return spans
}

// settle finds out what became of the transaction, as any other node would.
func (mc *manyCommit) settle(ctx context.Context) (outcome, error) {
	s, ts, err := mc.c.recover(ctx, mc.meta, mc.stageTS, mc.all, nil)
	if mc.untold && s == kv.TxnCommitted {
		mc.c.outWait(ctx, ts)
	}
	return outcome{s, ts}, err
}

// finish hands the rest of a committed transaction to the background. If it has committed as it was staged, and nobody is known to want its keys, that has time.
func (mc *manyCommit) finish(ts hlc.Timestamp, explicit bool) {
	job := func(ctx context.Context) { mc.finishNow(ctx, ts, explicit) }
	if !explicit && mc.c.finishLater(mc.meta.ID, ts, job, mc.wanted) {
		return
	}
	mc.c.background(job)
}

// finishNow: record to COMMITTED, then every lock to a version; the record goes some time later, with others. In this order: a lock may
// be resolved only when the record no longer depends on its being there.
func (mc *manyCommit) finishNow(ctx context.Context, ts hlc.Timestamp, explicit bool) {
	c := mc.c
	defer c.unregister(mc.meta.ID)
	c.linger(ctx)
	done := mc.localDone
	if !explicit {
		status, _, local, a := c.endTxn(ctx, mc.meta, &kv.EndTxn{Commit: true, CommitTS: ts, Local: mc.anchorKeys(), Prepared: mc.recordKeys(), Spans: mc.recordSpans(), Staged: mc.stageTS})
		done = local
		if a.err != nil || status != kv.TxnCommitted {
			// The staged record and the locks say that it is committed; whoever meets a lock finishes this.
			c.metrics.BackgroundFailed.Add(1)
			return
		}
		c.setStatus(mc.meta.ID, kv.TxnCommitted, ts)
	}
	c.linger(ctx)
	if err := c.resolve(ctx, mc.meta, without(mc.all, done), true, ts); err != nil {
		c.metrics.BackgroundFailed.Add(1)
		return
	}
	c.forget(mc.meta)
}

// abort ends a commit that failed because of cause. The client may be told so only when the record says ABORTED: a refused prepare
// may have been sent twice, and the copy, arriving later, may be accepted; if then everything is prepared, recovery commits.
// For the same reason an ABORTED record is not removed when the locks are gone; the range forgets it by age.
func (mc *manyCommit) abort(ctx context.Context, cause error) (hlc.Timestamp, error) {
	end := &kv.EndTxn{Local: mc.anchorKeys()}
	if mc.doubt {
		end.Staged = mc.stageTS
	}
	status, ts, local, a := mc.c.endTxn(ctx, mc.meta, end)
	switch {
	case a.err != nil:
		return mc.t.leave(ctx, mc.meta, mc.settle)
	case status == kv.TxnCommitted:
		if mc.untold {
			mc.c.outWait(ctx, ts)
		}
		mc.localDone = local
		mc.c.metrics.CommitsTwoRounds.Add(1)
		mc.finish(ts, true)
		mc.t.committedMany(ts, mc.all)
		return ts, nil
	}
	mc.t.mu.Lock()
	mc.t.state = stateEnded
	written := make(map[string]bool, len(mc.all))
	for _, k := range mc.all {
		written[string(k)] = true
	}
	locked := mc.t.takeLocks(func(k keys.Key) bool { return written[string(k)] })
	mc.t.registered = false // the job below takes it off
	mc.t.mu.Unlock()
	mc.c.background(func(ctx context.Context) {
		c := mc.c
		defer c.unregister(mc.meta.ID)
		c.release(ctx, mc.meta, locked)
		c.linger(ctx)
		if err := c.resolve(ctx, mc.meta, without(mc.all, local), false, hlc.Timestamp{}); err != nil {
			c.metrics.BackgroundFailed.Add(1) // locks that stay are dropped by whoever meets them
		}
	})
	return hlc.Timestamp{}, cause
}

// without returns ks without those in done.
func without(ks, done []keys.Key) []keys.Key {
	if len(done) == 0 {
		return ks
	}
	skip := make(map[string]struct{}, len(done))
	for _, k := range done {
		skip[string(k)] = struct{}{}
	}
	out := make([]keys.Key, 0, len(ks)-len(done))
	for _, k := range ks {
		if _, ok := skip[string(k)]; !ok {
			out = append(out, k)
		}
	}
	return out
}
