package replica

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/kv"
)

// underneath are resolutions of locks that stand where a request writes (concurrency.TakeUnder), evaluated before it is: what it sees is what will be there when
// both have been applied, by one entry.
type underneath struct {
	riders []rider
	batch  *pebble.Batch // their effects
	env    eval.Env      // what the request sees
}

// takeUnder returns nil if there are none, or if they are to go by themselves.
func (r *Replica) takeUnder(s *state, env *eval.Env, g *concurrency.Guard, req *kv.BatchRequest) *underneath {
	var writes []kv.Write
	switch q := req.Requests[0].(type) {
	case *kv.Prepare:
		if len(q.Seqs) == 0 {
			writes = q.Writes
		}
	case *kv.CommitSingleRange:
		writes = q.Writes
	}
	if len(writes) == 0 {
		return nil
	}
	taken := r.locks.TakeUnder(writes)
	if len(taken) == 0 {
		return nil
	}
	u := &underneath{env: *env, batch: r.newBatch()}
	var err error
	for _, d := range taken {
		var x rider
		ok := err == nil && u.batch.Len() <= maxRiddenBytes
		if ok {
			x, ok = r.board(s, d, r.locks.SequenceUnder(g, d.Req, eval.Latches(nil, d.Req)))
		}
		if !ok { // the request meets its lock
			r.locks.GiveBack(d)
			continue
		}
		u.riders = append(u.riders, x)
		if x.eff != nil && x.eff.Batch != nil {
			err = u.batch.Apply(x.eff.Batch, nil)
			u.env.Stats.Add(x.eff.Stats)
			r.close(x.eff.Batch)
			x.eff.Batch = nil
		}
	}
	over := r.deps.Engine.DB().NewIndexedBatch()
	if err == nil {
		err = over.Apply(u.batch, nil)
	}
	if err != nil || u.batch.Empty() {
		r.close(over)
		r.drop(u)
		return nil
	}
	u.env.Reader, u.env.Ahead = over, true
	return u
}

// lay puts the effects of the request, of whose evaluation eff and err have come, on top of those underneath. If there are none, or it fails, these go by themselves.
func (r *Replica) lay(u *underneath, eff *eval.Effects, err error) error {
	if over, ok := u.env.Reader.(*pebble.Batch); ok {
		r.close(over)
	}
	if err != nil || eff == nil || eff.Batch == nil {
		r.drop(u)
		return err
	}
	if !r.deps.Planted.RiderLeftBehind {
		err = u.batch.Apply(eff.Batch, nil)
		r.close(eff.Batch)
		if err != nil {
			r.drop(u)
			return kv.AsError(err)
		}
		eff.Batch = u.batch
		for i := range u.riders {
			if x := u.riders[i].eff; x != nil {
				eff.Stats.Add(x.Stats)
				eff.MaxWriteTS = eff.MaxWriteTS.Forward(x.MaxWriteTS)
			}
		}
	} else {
		r.close(u.batch)
	}
	r.deps.Metrics.Ridden.Add(int64(len(u.riders)))
	return nil
}

func (r *Replica) drop(u *underneath) {
	r.close(u.batch)
	r.leaveBehind(u.riders)
	u.riders = nil
}

func (r *Replica) close(b *pebble.Batch) {
	if err := b.Close(); err != nil {
		r.logger().Warn("close batch", "err", err)
	}
}
