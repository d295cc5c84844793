package store

import "github.com/pamirdb/pamir/range/internal/replica"

// Planted are bugs that the simulation of whole clusters (tests/sim) puts into ranges, to prove that it would find them. The
// zero value, which is that of every real store, plants none.
type Planted = replica.Planted
