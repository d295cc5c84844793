package store

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/range/internal/replica"
)

const (
	// holdersInterval is the time between two looks at the holders of all locks. Whoever waits for a lock looks much
	// sooner; this is for the locks that nobody waits for but SKIP LOCKED passes by.
	holdersInterval = 3 * time.Second
	// holdersTimeout bounds the look at one range's.
	holdersTimeout = 2 * time.Second
)

// holdersLoop drops the locks of gateways that are gone, in the ranges that this store leads.
func (s *Store) holdersLoop() {
	s.visitEvery(holdersInterval, replica.CareLocks, func(r *replica.Replica) (again bool) {
		if _, ok := r.Serving(); !ok || r.Locks().Len() == 0 {
			return false
		}
		ctx, cancel := context.WithTimeout(s.ctx, holdersTimeout)
		n := r.Locks().CheckHolders(ctx)
		cancel()
		if n > 0 {
			s.log.Debug("locks of transactions that are gone were dropped", "range", int64(r.ID()), "locks", n)
		}
		return true
	})
}
