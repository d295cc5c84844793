package replica

import (
	"github.com/pamirdb/pamir/range/internal/eval"
	"github.com/pamirdb/pamir/range/kv"
)

// lapsed is a planted bug (eval.Planted.LapsedResolution): it reports whether the batch is to be served although the leader's
// support has run out.
func (r *Replica) lapsed(s *state, req *kv.BatchRequest) bool {
	if !r.deps.Planted.LapsedResolution || !s.serving {
		return false
	}
	for _, q := range req.Requests {
		switch q.(type) {
		case *kv.ResolveLocks, *kv.QueryPrepared, *kv.RecoverTxn:
		default:
			return false
		}
	}
	return true
}

// Planted is eval.Planted.
type Planted = eval.Planted
