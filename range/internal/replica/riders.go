package replica

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/kv"
)

// A transaction over several ranges is resolved in each of them after its client has been told, and an entry of the log for each would
// take from the next transaction what the machine has. So a resolution waits a few milliseconds for another write of the range,
// and rides along: it is evaluated when that has been, under latches of its own, and its effects join the other's, in one entry. It is
// answered as the other is: when it has been applied, or never will be.
//
// Nothing depends on its riding. It goes by itself when its time is up, when somebody wants one of its keys, when the lock
// table changes hands, and when its latches are not free or it is too large for somebody else's entry. See concurrency.Deferred.
const (
	// maxRiders bounds how many go with one write, which waits for their evaluation; maxRiderBytes the effects of one, and
	// maxRiddenBytes those of a write that takes others along.
	maxRiders      = 8
	maxRiderBytes  = 16 << 10
	maxRiddenBytes = 256 << 10
)

// rider is a resolution whose effects are in another write's entry.
type rider struct {
	d   *concurrency.Deferred
	g   *concurrency.Guard
	eff *eval.Effects
}

// putOff returns the request as one that waits for another to ride with, or nil if it is to be executed at once.
func (r *Replica) putOff(req *kv.BatchRequest) *concurrency.Deferred {
	if r.deps.Knobs.DeferResolve <= 0 || len(req.Requests) != 1 {
		return nil
	}
	if _, ok := req.Requests[0].(*kv.ResolveLocks); !ok {
		return nil
	}
	return r.locks.Defer(req)
}

// ride waits until the request has gone along with another. ok is false if it is to go by itself.
func (r *Replica) ride(ctx context.Context, d *concurrency.Deferred) (resp *kv.BatchResponse, err error, ok bool) {
	t := time.NewTimer(patience(r.deps.Knobs.DeferResolve, r.deps.Clock.Physical()))
	defer t.Stop()
	ended, fatal := ctx.Done(), r.deps.Fatal
	for {
		var over error
		select {
		case err := <-d.Done:
			if err != nil {
				return nil, err, true
			}
			return &kv.BatchResponse{Now: r.deps.Clock.Now(), ReadTS: requestTS(d.Req), ServedBy: r.deps.Node, Responses: []kv.Response{&kv.ResolveLocksResponse{}}}, nil, true
		case <-d.Go:
		case <-t.C:
		case <-fatal:
			over = unknown("the store has failed")
		case <-ended:
			over = unknown("the request ended before its outcome was known: " + ctx.Err().Error())
		}
		if r.locks.Withdraw(d) {
			return nil, nil, false
		}
		if over != nil {
			return nil, over, true
		}
	}
}

// patience is how long a resolution waits for another write: limit at most, half of that at the least, and in between until a moment that
// is the same for all ranges of a store, and nearly so for all stores. Those that nobody took along then go together, one transaction's with
// others', and share entries, fsyncs and frames.
func patience(limit time.Duration, now int64) time.Duration {
	half := int64(limit / 2)
	if half <= 0 {
		return limit
	}
	return time.Duration(2*half - now%half)
}

// takeRiders adds to eff, the effects of a write that is about to be proposed in the state's term, those of resolutions that wait.
func (r *Replica) takeRiders(s *state, eff *eval.Effects) (riders []rider, err error) {
	if eff.Batch == nil || !eff.GCThreshold.IsEmpty() || !eff.TurnOutcomes.IsEmpty() || eff.Batch.Len() > maxRiddenBytes {
		return nil, nil
	}
	waiting := r.locks.TakeDeferred(maxRiders)
	for i, d := range waiting {
		x, ok := r.seat(s, d)
		if !ok {
			r.locks.GiveBack(d)
			continue
		}
		riders = append(riders, x)
		if x.eff == nil || x.eff.Batch == nil {
			continue
		}
		if !r.deps.Planted.RiderLeftBehind {
			if err = eff.Batch.Apply(x.eff.Batch, nil); err == nil {
				eff.Stats.Add(x.eff.Stats)
				eff.MaxWriteTS = eff.MaxWriteTS.Forward(x.eff.MaxWriteTS)
			}
		}
		if cerr := x.eff.Batch.Close(); err == nil {
			err = cerr
		}
		x.eff.Batch = nil
		if err != nil {
			r.leaveBehind(riders)
			for _, d := range waiting[i+1:] {
				r.locks.GiveBack(d)
			}
			if cerr := eff.Batch.Close(); cerr != nil {
				r.logger().Warn("close batch", "err", cerr)
			}
			return nil, kv.AsError(err)
		}
	}
	r.deps.Metrics.Ridden.Add(int64(len(riders)))
	return riders, nil
}

// seat evaluates a resolution, under latches that it takes if they are free, for a write of the given state's term.
func (r *Replica) seat(s *state, d *concurrency.Deferred) (x rider, ok bool) {
	return r.board(s, d, r.locks.TrySequence(d.Req, eval.Latches(nil, d.Req)))
}

// board is seat under latches that are held; nil if they were not free.
func (r *Replica) board(s *state, d *concurrency.Deferred, g *concurrency.Guard) (x rider, ok bool) {
	req := d.Req
	if g == nil {
		return rider{}, false
	}
	now, learned := r.stateAndLearned()
	if now.term != s.term || now.frozen != nil || r.mayServe(&now, requestTS(req)) != nil || checkBounds(now.desc, req) != nil {
		g.Finish()
		return rider{}, false
	}
	env := r.env(&now, learned)
	_, eff, err := eval.Evaluate(background, &env, req)
	if err == nil && eff != nil && eff.Batch != nil && eff.Batch.Len() > maxRiderBytes {
		if cerr := eff.Batch.Close(); cerr != nil {
			r.logger().Warn("close batch", "err", cerr)
		}
		err = kv.Errorf(kv.CodeTooLarge, "too large to ride along")
	}
	if err != nil { // it will meet the same by itself
		g.Finish()
		return rider{}, false
	}
	return rider{d, g, eff}, true
}

// leaveBehind has those go by themselves whose write is not proposed.
func (r *Replica) leaveBehind(riders []rider) {
	for i := range riders {
		riders[i].g.Finish()
		r.locks.GiveBack(riders[i].d)
	}
}

// arrive tells them what became of the entry.
func (r *Replica) arrive(riders []rider, err *kv.Error) {
	for i := range riders {
		x := &riders[i]
		if err == nil && x.eff != nil {
			if err := r.tellLocks(x.eff); err != nil {
				r.logger().Debug("locks of a resolution that was applied late", "err", err)
			}
		}
		x.g.Finish()
		outcome(x.d.Done).tell(err)
	}
}
