package eval

import (
	"context"
	"errors"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

const (
	// maxMoves bounds how often a batch with CanMoveReadTS is read again at a later timestamp.
	// From movesBeforeJump on it jumps as far as it may at once.
	maxMoves        = 8
	movesBeforeJump = 2
	// rowsBetweenChecks is how many rows a scan reads between two looks at its context.
	rowsBetweenChecks = 1024
)

// evaluation is one run of a batch.
type evaluation struct {
	ctx context.Context
	env *Env
	req *kv.BatchRequest
	id  kv.TxnID // zero without a transaction
	r   *mvcc.Reader
	w   mvcc.Writer
	eff Effects

	readTS hlc.Timestamp
	window mvcc.Window

	rowsLeft  int64 // of MaxRows; maxInt64 without
	bytesLeft int64 // of TargetBytes
	returned  int64 // rows returned by all scans so far

	asked       kv.TxnID // see outcome
	askedStatus kv.TxnStatus
	askedTS     hlc.Timestamp

	floorsAt uint64 // see LockFloors
	gapsAt   uint64 // see Gaps

	toAsk []kv.TxnMeta // see AskError

	claimed map[string]struct{} // keys written by earlier requests of the batch
	writes  int                 // requests that wrote
}

// Evaluate runs the requests of a batch, in order, against one state of the range. Effects is nil if there is
// nothing to replicate and nothing to tell the lock table.
//
// The requests of a batch do not see each other's writes, and no two of them may write the same key.
//
// A *ConflictError means: wait for these locks and evaluate again. Every other error is a *kv.Error and final. The
// caller owns Effects.Batch.
func Evaluate(ctx context.Context, env *Env, req *kv.BatchRequest) (*kv.BatchResponse, *Effects, error) {
	e := evaluation{ctx: ctx, env: env, req: req}
	if req.Txn != nil {
		e.id = req.Txn.ID
		if e.id.IsZero() {
			return nil, nil, kv.Errorf(kv.CodeBadRequest, "transaction without id")
		}
	}
	if err := e.setReadTS(); err != nil {
		return nil, nil, err
	}
	for move := 0; ; move++ {
		if env.Floors != nil {
			e.floorsAt = env.Floors.Now() // before there is an iterator
		}
		if env.Gaps != nil {
			e.gapsAt = env.Gaps.Now()
		}
		e.r = mvcc.NewReader(env.Reader)
		resp, err := e.run()
		if cerr := e.r.Close(); err == nil && cerr != nil {
			err = cerr
		}
		if err == nil {
			return resp, e.effects(), nil
		}
		e.discard()
		if move == maxMoves || !e.moveReadTS(err, move) {
			return nil, nil, wrap(err)
		}
	}
}

// wrap makes sure that only three kinds of error leave the package.
func wrap(err error) error {
	var ce *ConflictError
	if errors.As(err, &ce) {
		return ce
	}
	var ae *AskError
	if errors.As(err, &ae) {
		return ae
	}
	return engine.Classify(err)
}

// run evaluates every request once.
func (e *evaluation) run() (*kv.BatchResponse, error) {
	const unlimited = 1<<63 - 1
	e.rowsLeft, e.bytesLeft, e.returned, e.toAsk = unlimited, unlimited, 0, nil
	if e.req.MaxRows > 0 {
		e.rowsLeft = e.req.MaxRows
	}
	if e.req.TargetBytes > 0 {
		e.bytesLeft = e.req.TargetBytes
	}
	resp := &kv.BatchResponse{ReadTS: e.readTS, Responses: make([]kv.Response, len(e.req.Requests))}
	for i, r := range e.req.Requests {
		var err error
		if resp.Responses[i], err = e.one(r); err != nil {
			return nil, err
		}
	}
	if len(e.toAsk) > 0 {
		return nil, &AskError{Holders: e.toAsk}
	}
	resp.Now, resp.ServedBy = e.env.Clock.Now(), e.env.Node
	return resp, nil
}

func (e *evaluation) one(r kv.Request) (kv.Response, error) {
	switch r := r.(type) {
	case *kv.Get:
		return e.get(r)
	case *kv.Scan:
		return e.scan(r)
	}
	if e.env.Follower {
		return nil, kv.Errorf(kv.CodeNotLeader, "%T goes to the leader", r)
	}
	switch r := r.(type) {
	case *kv.Refresh:
		if e.env.Planted.LostRefresh {
			return &kv.RefreshResponse{}, nil
		}
		return e.refresh(r)
	case *kv.Put:
		ts, _, err := e.writeNow(r.Key, false, r.Value)
		return &kv.PutResponse{TS: ts}, err
	case *kv.Delete:
		_, existed, err := e.writeNow(r.Key, true, nil)
		return &kv.DeleteResponse{Existed: existed}, err
	case *kv.Increment:
		if r.Numbers != nil {
			return e.numbers(r)
		}
		return e.increment(r)
	case *kv.BulkWrite:
		return e.bulkWrite(r)
	case *kv.QueryCommit:
		return e.queryCommit(r)
	case *kv.GC:
		return e.gc(r)
	case *kv.ForgetTxns:
		return &kv.ForgetTxnsResponse{}, e.forgetTxns(r)
	case *kv.Checksum, *kv.AdminSplit, *kv.AdminMerge, *kv.AdminEndMerge, *kv.AdminTransferLeader, *kv.AdminChangeReplicas:
		return nil, kv.Errorf(kv.CodeBadRequest, "%T comes alone", r) // the replica serves it
	}
	if e.req.Txn == nil {
		return nil, kv.Errorf(kv.CodeBadRequest, "%T without a transaction", r)
	}
	switch r := r.(type) {
	case *kv.CommitSingleRange:
		return e.commitSingleRange(r)
	case *kv.Prepare:
		return e.prepare(r)
	case *kv.StageTxn:
		return e.stageTxn(r)
	case *kv.EndTxn:
		return e.endTxn(r)
	case *kv.ResolveLocks:
		return e.resolveLocks(r)
	case *kv.ResolveSpan:
		return e.resolveSpan(r)
	case *kv.UndoSpan:
		return e.undoSpan(r)
	case *kv.ReleaseLocks:
		e.eff.Resolved = append(e.eff.Resolved, ResolvedLock{Txn: e.id, Keys: r.Keys, Unreplicated: true})
		return &kv.ReleaseLocksResponse{}, nil
	case *kv.QueryPrepared:
		return e.queryPrepared(r)
	case *kv.RecoverTxn:
		return e.recoverTxn(r)
	}
	return nil, kv.Errorf(kv.CodeBadRequest, "%T is unknown", r)
}

// setReadTS decides at which timestamp the batch reads at first, and what is uncertain.
func (e *evaluation) setReadTS() error {
	env, t := e.env, e.req.Txn
	switch {
	case t != nil && env.Planted.UncertaintyIgnored:
		e.readTS = t.ReadTS
	case t != nil:
		e.readTS = t.ReadTS
		e.window = mvcc.Window{Local: t.UncertaintyLimit, Global: t.UncertaintyLimit}
		// A follower did not give its versions their timestamps, so what its clock said proves nothing.
		if !env.Follower && !t.Observed.IsEmpty() {
			if seen := t.Observed.Forward(env.LeaderSince); seen.Less(e.window.Local) {
				e.window.Local = seen
			}
		}
	case !e.req.Timestamp.IsEmpty():
		e.readTS = e.req.Timestamp
	case env.Follower:
		return kv.Errorf(kv.CodeNotClosed, "a read of the present goes to the leader")
	default:
		// The leader's clock is after everything that was acknowledged here, so nothing is uncertain.
		e.readTS = env.Clock.Now()
	}
	return e.checkReadTS()
}

// checkReadTS refuses timestamps that this replica cannot answer for.
func (e *evaluation) checkReadTS() error {
	if !e.reads() {
		return nil
	}
	if e.readTS.IsEmpty() {
		return kv.Errorf(kv.CodeBadRequest, "read without a timestamp")
	}
	if e.readTS.Less(e.env.GCThreshold) {
		return &kv.Error{Code: kv.CodeReadBelowGC, TS: e.env.GCThreshold}
	}
	if e.env.Follower {
		// Values inside the window may not have reached this replica yet.
		if limit := e.readTS.Forward(e.window.Global); e.env.ClosedTS.Less(limit) {
			return &kv.Error{Code: kv.CodeNotClosed, TS: e.env.ClosedTS}
		}
	}
	return nil
}

// reads reports whether the batch has reads at its read timestamp.
func (e *evaluation) reads() bool {
	for _, r := range e.req.Requests {
		switch r.(type) {
		case *kv.Get, *kv.Scan:
			return true
		}
	}
	return false
}

// moveReadTS raises the read timestamp after err, if the batch allows it and that can help. The whole batch is
// read again, so that all its answers are of one timestamp.
//
// For reads without a lock the new timestamp stays within the uncertainty limit, up to which their latches
// reach. The timestamp of a newer version is at most this leader's clock, which has seen everything written here.
func (e *evaluation) moveReadTS(err error, move int) bool {
	var ke *kv.Error
	if !e.req.CanMoveReadTS || !errors.As(err, &ke) || ke.TS.LessEq(e.readTS) {
		return false
	}
	to := ke.TS
	switch ke.Code {
	case kv.CodeUncertain:
		if move >= movesBeforeJump {
			// The clock, not the limit: nothing here is above the clock, and a read at the limit would pull
			// the clock up to it. The next limit would be further ahead, and so on without end.
			now := e.env.Clock.Now()
			if e.window.Global.Less(now) {
				now = e.window.Global
			}
			to = to.Forward(now)
		}
	case kv.CodeWriteTooOld:
		if move >= movesBeforeJump {
			to = to.Forward(e.env.Clock.Now())
		}
	default:
		return false
	}
	e.readTS = to
	return e.checkReadTS() == nil
}

// batch makes e.w ready to write.
func (e *evaluation) batch() *mvcc.Writer {
	if e.w.Batch == nil {
		e.w.Batch = e.env.NewBatch()
		if e.env.Gaps != nil && !e.env.Planted.GapStays {
			e.w.Watch = e.env.Gaps
		}
	}
	return &e.w
}

// wrote notes the timestamp of a version or lock. The leader's clock is never behind
// anything that it wrote: reads at its clock see it, and observed timestamps rely on it.
func (e *evaluation) wrote(ts hlc.Timestamp) {
	e.eff.MaxWriteTS = e.eff.MaxWriteTS.Forward(ts)
	e.env.Clock.Update(ts)
}

// effects hands out what is to be replicated.
func (e *evaluation) effects() *Effects {
	if e.w.Batch != nil && e.w.Batch.Empty() && e.w.Batch.Close() == nil {
		e.w.Batch = nil
	}
	if e.w.Batch == nil && len(e.eff.Resolved) == 0 && e.eff.GCThreshold.IsEmpty() && e.eff.TurnOutcomes.IsEmpty() {
		return nil
	}
	eff := e.eff // escapes only here: reads allocate no effects
	eff.Batch, eff.Stats = e.w.Batch, e.w.Stats
	return &eff
}

// discard drops what a failed run wrote.
func (e *evaluation) discard() {
	if e.w.Batch != nil {
		_ = e.w.Batch.Close() // the error of a batch that was never committed tells nothing
	}
	e.w, e.eff, e.claimed, e.writes = mvcc.Writer{}, Effects{}, nil, 0
}

// claim refuses a second write of a key in one batch: neither would see the other, and the
// statistics would be wrong. It is called once per request, with all keys of the request.
func (e *evaluation) claim(n int, key func(int) keys.Key) error {
	e.writes++
	if n == 1 && len(e.req.Requests) == 1 {
		return nil
	}
	if n <= 8 && len(e.req.Requests) == 1 {
		for i := range n {
			for j := range i {
				if key(i).Equal(key(j)) {
					return dupWrite(key(i))
				}
			}
		}
		return nil
	}
	if e.claimed == nil {
		e.claimed = make(map[string]struct{}, n)
	}
	for i := range n {
		k := key(i)
		if _, dup := e.claimed[string(k)]; dup {
			return dupWrite(k)
		}
		e.claimed[string(k)] = struct{}{}
	}
	return nil
}

func dupWrite(k keys.Key) error {
	return &kv.Error{Code: kv.CodeBadRequest, Message: "key written twice in one batch", Key: k}
}

// conflictOn makes the error for a lock found on disk.
func (e *evaluation) conflictOn(key keys.Key, l *kv.LockRecord, want kv.LockStrength) error {
	return &ConflictError{Conflicts: []Conflict{conflict(key, l, e.readTS, want)}}
}
