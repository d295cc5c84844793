package store

import (
	"context"
	"sync"

	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/kv"
)

// checksums holds results until they are asked for.
type checksums struct {
	mu      sync.Mutex
	waiting map[uint64]chan string
}

func (s *Store) checksum(ctx context.Context, r *replica.Replica) (kv.Response, error) {
	return nil, kv.Errorf(kv.CodeBadRequest, "checksums are not supported yet")
}

func (o *owner) Checksum(r *replica.Replica, id uint64) {}

var _ = mvcc.Checksum
