package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"golang.org/x/sync/errgroup"

	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/raftlog"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// loadReplicas opens every replica that the disk knows, several at a time: each is a few reads.
func (s *Store) loadReplicas() error {
	var opening errgroup.Group
	opening.SetLimit(2 * s.cfg.Cores)
	err := s.eachStored(func(id kv.RangeID) {
		opening.Go(func() error { return s.loadReplica(id) })
	})
	if err := errors.Join(err, opening.Wait()); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, r := range s.frozen { // a crash may have come between a snapshot that holds what they held, and their end
		s.dropIfAbsorbed(r)
	}
	return nil
}

func (s *Store) loadReplica(id kv.RangeID) error {
	rid, err := raftlog.ReadReplicaID(s.eng.DB(), id)
	if err != nil || rid == 0 {
		return err
	}
	r, err := replica.New(&s.deps, id, rid)
	if err != nil {
		return fmt.Errorf("store: range %d: %w", id, err)
	}
	asleep, led := r.AwaitTurn()
	s.mu.Lock()
	s.replicas[id] = r
	s.noteFrozen(r)
	if asleep {
		s.asleep.add(r, led)
	}
	s.mu.Unlock()
	r.Begin()
	return nil
}

// eachStored calls f for every range of which the disk knows something: a replica, or a tombstone.
func (s *Store) eachStored(f func(kv.RangeID)) error {
	span := keys.AllRangeUnreplicated()
	it, err := s.eng.DB().NewIter(&pebble.IterOptions{LowerBound: engine.EncodeKey(span.Start), UpperBound: engine.EncodeKey(span.End)})
	if err != nil {
		return engine.Classify(err)
	}
	defer it.Close()
	for ok := it.First(); ok; {
		k, _, good := engine.SplitKey(it.Key())
		if !good {
			return kv.Errorf(kv.CodeCorruption, "malformed key %x", it.Key())
		}
		rng, _, _, err := keys.DecodeRangeLocal(k)
		if err != nil {
			return kv.Errorf(kv.CodeCorruption, "%v", err)
		}
		f(kv.RangeID(rng))
		ok = it.SeekGE(engine.EncodeKey(keys.RangeUnreplicatedSpan(rng).End))
	}
	return engine.Classify(it.Error())
}
