package store

import (
	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/replica"
)

// Counters are the store's live counters: structs of atomic.Int64 that only grow.
type Counters struct {
	Replicas *replica.Metrics
	Locks    *concurrency.Metrics
}

// Counters returns the live counters.
func (s *Store) Counters() Counters { return Counters{&s.metrics, &s.lockMetrics} }
