package replica

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/raft/v3/raftpb"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Send executes a batch on this replica. Admin requests are not for it. The caller has moved
// the clock past req.Now.
func (r *Replica) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	r.deps.Metrics.Requests.Add(1)
	nth := r.requests.Add(1)
	r.Need(careOfRequests)
	timed := nth%loadSample == 0
	s := r.snapshotState()
	if s.desc == nil || s.removed {
		return nil, kv.Errorf(kv.CodeRangeNotFound, "replica %d of range %d is not initialised, or was removed", r.rid, r.id)
	}
	if req.AnyReplica && !s.serving {
		if resp, err, ok := r.followerRead(ctx, &s, req); ok {
			return resp, err
		}
	}
	ts := requestTS(req)
	if err := r.mayServe(&s, ts); err != nil && !r.lapsed(&s, req) {
		return nil, err
	}
	if s.frozen != nil {
		return nil, r.frozenErr()
	}
	if req.AnyReplica && req.Generation != 0 && req.Generation < s.desc.Generation {
		// Whoever asks does not know of changes since, and perhaps not of a replica that is nearer. As long as the leader answers it learns of none.
		return nil, &kv.Error{Code: kv.CodeRangeMismatch, Message: "the range has changed", Descriptors: []kv.RangeDescriptor{*s.desc}}
	}
	if err := checkBounds(s.desc, req); err != nil {
		return nil, err
	}
	if d := r.putOff(req); d != nil {
		defer r.locks.EndDeferred(d)
		if resp, err, ok := r.ride(ctx, d); ok {
			return resp, err
		}
	}
	req, err := eval.FindLocks(r.deps.Engine.DB(), req)
	if err != nil {
		return nil, kv.AsError(err)
	}
	var latchBuf [4]eval.Latch
	g, err := r.locks.Sequence(ctx, req, eval.Latches(latchBuf[:0], req))
	if err != nil {
		return nil, err
	}
	r.meter.note(req)
	if timed {
		r.meter.sampleRequest(req, nth)
	}
	var resolve concurrency.ResolveFrom
	for {
		var began time.Time
		if timed {
			began = time.Now()
		}
		resp, eff, p, err := r.evaluate(ctx, req, ts, g)
		if timed {
			r.meter.cpuNanos.Add(loadSample * int64(time.Since(began)))
		}
		if err == nil {
			if p != nil {
				r.meter.sampleWrite(req, p.size)
				return r.replicate(ctx, req, g, p, eff, resp)
			}
			if eff != nil {
				err = r.tellLocks(eff)
			}
			g.Finish()
			if err != nil {
				return nil, err
			}
			return resp, nil
		}
		if err == errAnotherTable {
			continue // the state says who is to be asked now
		}
		if ask, ok := err.(*eval.AskError); ok {
			if err := g.Ask(ctx, ask); err != nil {
				g.Finish()
				return nil, err
			}
			continue
		}
		conflict, ok := err.(*eval.ConflictError)
		if !ok {
			g.Finish()
			return nil, err
		}
		if resolve == nil {
			resolve = r.clearing(req)
		}
		cleared, err := g.ClearEnded(ctx, conflict, resolve)
		if err == nil && !cleared {
			err = g.HandleConflict(ctx, conflict)
		}
		if err != nil {
			g.Finish()
			return nil, err
		}
	}
}

// clearing returns a concurrency.ResolveFrom for the request, which counts its pieces. The first is not held up: somebody waits for it, and may have come for one row. Who meets
// more is a large transaction himself, and gives way as in what he writes: see Deps.Large.
func (r *Replica) clearing(req *kv.BatchRequest) concurrency.ResolveFrom {
	pieces := 0
	return func(ctx context.Context, holder kv.TxnMeta, from keys.Key, commit bool, ts hlc.Timestamp) (next keys.Key, err error) {
		if pieces++; pieces == 1 || r.deps.Large == nil || req.IsLarge() {
			return r.resolveFrom(ctx, holder, from, commit, ts)
		}
		err = r.deps.Large(ctx, r.id, func() error {
			next, err = r.resolveFrom(ctx, holder, from, commit, ts)
			return err
		})
		return next, err
	}
}

func (r *Replica) resolveFrom(ctx context.Context, holder kv.TxnMeta, from keys.Key, commit bool, ts hlc.Timestamp) (next keys.Key, err error) {
	desc := r.Desc()
	if desc == nil {
		return nil, kv.Errorf(kv.CodeRangeNotFound, "the range is gone")
	}
	resp, err := r.Send(ctx, &kv.BatchRequest{RangeID: r.ID(), Now: r.deps.Clock.Now(), Txn: &holder, Requests: []kv.Request{
		&kv.ResolveSpan{Span: keys.Span{Start: from, End: desc.Span().End}, Commit: commit, CommitTS: ts}}})
	if err != nil {
		return nil, err
	}
	if s := resp.Responses[0].(*kv.ResolveSpanResponse); s.Resume.Valid() {
		next = s.Resume.Start
	}
	return next, nil
}

// errAnotherTable says that locks and reads of an evaluation may have come too late to be handed over.
var errAnotherTable = errors.New("replica: the lock table has become another's during the evaluation")

// evaluate runs the batch once, under latches. It returns a proposal if the effects must be replicated.
func (r *Replica) evaluate(ctx context.Context, req *kv.BatchRequest, ts hlc.Timestamp, g *concurrency.Guard) (*kv.BatchResponse, *eval.Effects, *proposal, error) {
	// The state may be another one than before the latches were taken.
	epoch := r.dataEpoch.Load()
	s, learned := r.stateAndLearned()
	if err := r.mayServe(&s, ts); err != nil && !r.lapsed(&s, req) {
		return nil, nil, nil, err
	}
	if s.frozen != nil {
		return nil, nil, nil, r.frozenErr()
	}
	if err := checkBounds(s.desc, req); err != nil {
		return nil, nil, nil, err
	}
	env := r.env(&s, learned)
	var bucket *closedBucket
	if writes(req) {
		if err := r.deps.Engine.CheckSpace(makesRoom(req)); err != nil {
			return nil, nil, nil, err
		}
		bucket = r.beginWrite(&s)
		env.ClosedTS = bucket.floor.Forward(s.applied.ClosedTS)
	}
	env.Numbers, env.Undecided, env.AskFirst = &r.numbers, g.Undecided(), g.MayAsk()
	var under *underneath
	if bucket != nil {
		if under = r.takeUnder(&s, &env, g, req); under != nil {
			env = under.env
		}
	}
	resp, eff, err := eval.Evaluate(ctx, &env, req)
	if under != nil {
		if err = r.lay(under, eff, err); err != nil {
			eff = nil
		}
	}
	if eff == nil || err != nil || (eff.Batch == nil && eff.GCThreshold.IsEmpty() && eff.TurnOutcomes.IsEmpty()) {
		if bucket != nil {
			r.closed.end(bucket)
		}
		if err == nil {
			// What was read must have been there all the while, and the timestamp it was read at in the end be ours.
			if r.dataEpoch.Load() != epoch {
				return nil, nil, nil, r.notLeader()
			}
			// And what was locked must be in the table that the next leader gets: a hand-over does not wait for ever for who evaluates.
			if r.locks.Learned() != learned {
				return nil, nil, nil, errAnotherTable
			}
			if ts.Less(resp.ReadTS) {
				if err := r.mayServe(&s, resp.ReadTS); err != nil {
					return nil, nil, nil, err
				}
			}
		}
		return resp, eff, nil, err
	}
	if bucket == nil { // a request that we took for a read
		bucket = r.beginWrite(&s)
	}
	riders, err := r.takeRiders(&s, eff)
	if under != nil {
		riders = append(under.riders, riders...)
	}
	if err != nil {
		r.closed.end(bucket)
		r.leaveBehind(riders)
		return nil, nil, nil, err
	}
	cmd := command{
		id: nextProposalID(), gc: eff.GCThreshold, maxWrite: eff.MaxWriteTS, stats: eff.Stats,
		closed: r.closed.closed(), turn: eff.TurnOutcomes,
	}
	p, err := r.newProposal(&cmd, eff.Batch, s.term)
	if err != nil {
		r.closed.end(bucket)
		r.leaveBehind(riders)
		return nil, nil, nil, err
	}
	p.closed, p.riders = bucket, riders
	return resp, eff, p, nil
}

// stateAndLearned returns a state, and what the leader had learned then: neither what was learned of an older state, in which others did not write yet, nor of a newer one.
func (r *Replica) stateAndLearned() (state, *eval.Learned) {
	for {
		l := r.locks.Learned()
		s := r.snapshotState()
		if r.locks.Learned() == l {
			return s, l
		}
	}
}

// env is what an evaluation on the leader sees of a state that was read after its latches were taken.
func (r *Replica) env(s *state, l *eval.Learned) eval.Env {
	return eval.Env{
		Reader: r.deps.Engine.DB(), Desc: s.desc, Clock: r.deps.Clock, Node: r.deps.Node, LeaderSince: s.since,
		Stats: s.applied.Stats, GCThreshold: s.applied.GCThreshold, Outcomes: s.applied.Outcomes,
		Locks: r.locks, Floors: &l.Floors, Gaps: &l.Gaps, TSCache: r.tscache, NewBatch: r.newBatch, Planted: r.deps.Planted,
	}
}

// newProposal makes the proposal of a command and closes its batch.
func (r *Replica) newProposal(cmd *command, b *pebble.Batch, term uint64) (*proposal, error) {
	p := &proposal{id: cmd.id, term: term}
	if b != nil {
		repr := b.Repr()
		if int64(len(repr)) > r.deps.Knobs.MaxProposalBytes {
			err := kv.Errorf(kv.CodeTooLarge, "a write of %d bytes to one range is more than %d", len(repr), r.deps.Knobs.MaxProposalBytes)
			if cerr := b.Close(); cerr != nil {
				r.logger().Warn("close batch", "err", cerr)
			}
			return nil, err
		}
		cmd.batch = repr
	}
	p.data = cmd.append(make([]byte, 0, 96+len(cmd.batch)))
	p.size = int64(len(p.data))
	cmd.batch = nil
	if b != nil {
		if err := b.Close(); err != nil {
			return nil, kv.AsError(err)
		}
	}
	if n := r.inflight.Add(p.size); n > r.deps.Knobs.InflightBytes && n > p.size {
		r.inflight.Add(-p.size)
		r.deps.Metrics.Overloaded.Add(1)
		return nil, kv.Errorf(kv.CodeOverloaded, "range %d has %d bytes of writes in flight", r.id, n)
	}
	return p, nil
}

// replicate proposes effects and waits until they are applied, or ctx ends. The guard is finished by whoever
// learns the outcome, so that a client that went away leaves no latch behind.
func (r *Replica) replicate(ctx context.Context, req *kv.BatchRequest, g *concurrency.Guard, p *proposal, eff *eval.Effects, resp *kv.BatchResponse) (*kv.BatchResponse, error) {
	r.deps.Metrics.Writes.Add(1)
	r.meter.writeBytes.Add(p.size)
	done := make(outcome, 1)
	p.finish = func(err *kv.Error) {
		// Not sooner: whoever looks before the write is applied sees nothing that it leaves, and does not come again.
		if _, collects := req.Requests[0].(*kv.GC); !collects {
			r.writes.Add(1)
			r.Need(CareGarbage)
		}
		if err == nil {
			// A table that is closed knows of no locks any more, and what is written releases its own wherever they are.
			if err := r.tellLocks(eff); err != nil {
				r.logger().Debug("locks of a write that was applied late", "err", err)
			}
			if p, ok := resp.Responses[0].(*kv.PrepareResponse); ok && len(eff.Prepared) > 0 {
				p.Wanted = r.locks.Wanted(eff.Prepared)
			}
		}
		g.Finish()
		r.arrive(p.riders, err)
		done.tell(err)
	}
	p.giveUp = func() {
		e := unknown("the proposal has made no progress")
		for i := range p.riders {
			outcome(p.riders[i].d.Done).tell(e)
		}
		done.tell(e)
	}
	r.submit(p, !oneOfMany(req))
	select {
	case err := <-done:
		if err != nil {
			return nil, err
		}
		resp.Now = r.deps.Clock.Now()
		return resp, nil
	case <-r.deps.Fatal:
		return nil, unknown("the store has failed")
	case <-ctx.Done():
		return nil, unknown("the request ended before its outcome was known: " + ctx.Err().Error())
	}
}

// outcome holds the first thing that is known about a proposal: whoever waits takes it; nobody may wait any more.
type outcome chan *kv.Error

func (o outcome) tell(err *kv.Error) {
	select {
	case o <- err:
	default:
	}
}

func unknown(msg string) *kv.Error { return &kv.Error{Code: kv.CodeUnknownOutcome, Message: msg} }

// oneOfMany reports whether the batch is likely to come with others, for other ranges: those of a transaction's commit.
func oneOfMany(req *kv.BatchRequest) bool {
	switch req.Requests[0].(type) {
	case *kv.Prepare, *kv.ResolveLocks, *kv.EndTxn, *kv.ForgetTxns:
		return true
	}
	return false
}

// submit puts a proposal into the inbox and, if it comes alone and nobody is at work on the range, processes it here and now.
func (r *Replica) submit(p *proposal, alone bool) {
	r.inboxMu.Lock()
	if r.shutErr != nil {
		r.inboxMu.Unlock()
		if p.closed != nil {
			r.closed.end(p.closed)
		}
		r.end(p, r.notLeader())
		return
	}
	r.proposals = append(r.proposals, p)
	r.inboxMu.Unlock()
	if alone {
		r.deps.Run(r)
	} else {
		r.deps.Owner.Gather(r) // so that it shares the write, and the messages, with those that come with it
	}
}

// proposeAndWait proposes a command of the range's own, at the given term, and waits for its application.
func (r *Replica) proposeAndWait(ctx context.Context, cmd *command, b *pebble.Batch, conf *pb.ConfChangeV2, term uint64) error {
	p, err := r.newProposal(cmd, b, term)
	if err != nil {
		return err
	}
	p.conf = conf
	done := make(outcome, 1)
	p.finish = func(err *kv.Error) { done.tell(err) }
	p.giveUp = func() { done.tell(unknown("the proposal has made no progress")) }
	r.submit(p, true)
	select {
	case err := <-done:
		if err != nil {
			return err
		}
		return nil
	case <-r.deps.Fatal:
		return unknown("the store has failed")
	case <-ctx.Done():
		return unknown("ended before the outcome was known: " + ctx.Err().Error())
	}
}

// tellLocks tells the lock table what has been applied. It fails if locks were to be released that may have been handed over.
func (r *Replica) tellLocks(eff *eval.Effects) error {
	for i := range eff.Prepared {
		r.locks.Prepared(eff.Prepared[i])
	}
	for i := range eff.Opened {
		r.locks.Opened(eff.Opened[i])
	}
	for i := range eff.Resolved {
		if l := &eff.Resolved[i]; !l.Unreplicated {
			r.locks.Resolved(*l)
		} else if err := r.locks.ReleaseTxn(l.Txn, l.Keys); err != nil {
			return err
		}
	}
	return nil
}

// followerRead answers a read at or below the closed timestamp; ok is false if it cannot.
func (r *Replica) followerRead(ctx context.Context, s *state, req *kv.BatchRequest) (resp *kv.BatchResponse, err error, ok bool) {
	if s.stopped != nil || s.frozen != nil || writes(req) {
		return nil, nil, false
	}
	if err := checkBounds(s.desc, req); err != nil {
		return nil, err, true
	}
	closed := r.closedHere(s)
	if r.deps.Planted.FollowerAhead {
		closed = hlc.Max
	}
	if closed.Less(requestTS(req)) {
		return nil, nil, false // the leader knows
	}
	epoch := r.dataEpoch.Load()
	// One view of locks and versions, taken after the state was read: nothing at or below the closed
	// timestamp is missing from it, and a lock that it resolves later is still a lock in it.
	snap := r.deps.Engine.DB().NewSnapshot()
	env := eval.Env{
		Reader: snap, Desc: s.desc, Clock: r.deps.Clock, Node: r.deps.Node, Stats: s.applied.Stats,
		GCThreshold: s.applied.GCThreshold, ClosedTS: closed, Follower: true, NewBatch: r.newBatch, Planted: r.deps.Planted,
	}
	resp, _, err = eval.Evaluate(ctx, &env, req)
	if cerr := snap.Close(); err == nil && cerr != nil {
		return nil, kv.AsError(cerr), true
	}
	if err != nil {
		return nil, nil, false // a lock
	}
	// The state may have been replaced, or the range frozen and its data be another one's by now.
	if now := r.snapshotState(); r.dataEpoch.Load() != epoch || now.frozen != nil || now.applied.GCThreshold != s.applied.GCThreshold {
		return nil, nil, false
	}
	r.deps.Metrics.FollowerReads.Add(1)
	return resp, nil, true
}

// requestTS returns the timestamp that the batch reads at, as far as it says.
func requestTS(req *kv.BatchRequest) hlc.Timestamp {
	if req.Txn != nil {
		return req.Txn.ReadTS
	}
	return req.Timestamp
}

// writes reports whether the batch may have effects.
func writes(req *kv.BatchRequest) bool {
	for _, q := range req.Requests {
		switch q.(type) {
		case *kv.Get, *kv.Scan, *kv.Refresh, *kv.ReleaseLocks:
		default:
			return true
		}
	}
	return false
}

// makesRoom reports whether a batch is such that the disk is not fuller, or will not be for long, when it is done: it removes what users have stored, ends
// transactions, or changes what the cluster knows of itself, without which nothing can be dropped, moved away or collected.
func makesRoom(req *kv.BatchRequest) bool {
	for _, q := range req.Requests {
		switch q := q.(type) {
		case *kv.Put:
			if ofUsers(q.Key) {
				return false
			}
		case *kv.Increment:
			if ofUsers(q.Key) {
				return false
			}
		case *kv.BulkWrite:
			return false
		case *kv.CommitSingleRange:
			if slices.ContainsFunc(q.Writes, stores) {
				return false
			}
		case *kv.Prepare:
			if slices.ContainsFunc(q.Writes, stores) {
				return false
			}
		}
	}
	return true
}

// stores reports whether a write is of something that users store.
func stores(w kv.Write) bool { return !w.Deleted && ofUsers(w.Key) }

func ofUsers(k keys.Key) bool { return !k.Less(firstOfUsers) }

var firstOfUsers = keys.Table(keys.FirstUserTable)

// checkBounds refuses a batch with a key outside of the range.
func checkBounds(d *kv.RangeDescriptor, req *kv.BatchRequest) error {
	var out keys.Span
	if req.EachSpan(func(s keys.Span) bool {
		out = s
		return d.ContainsSpan(s) && (s.IsPoint() || s.Valid())
	}) {
		return nil
	}
	return &kv.Error{
		Code: kv.CodeRangeMismatch, Key: out.Start, Message: "outside of the range",
		Descriptors: []kv.RangeDescriptor{*d},
	}
}

func (r *Replica) newBatch() *pebble.Batch { return r.deps.Engine.DB().NewBatch() }
