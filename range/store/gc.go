package store

import (
	"errors"
	"time"

	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/kv"
)

// gcPause is the pause between two requests of one collection: each holds a latch over the whole range.
const gcPause = 50 * time.Millisecond

// gcState is what the loop remembers of a range.
type gcState struct {
	writes  int64     // of the replica, when it was last looked at
	changed time.Time // when they were seen to have grown
	ran     time.Time
}

// gcLoop collects garbage in the ranges that this store leads: versions that nobody may read any more, commit
// ids whose gateways have long given up, aborted records. One range at a time. A range is left alone
// once it was collected so long after its last write that nothing in it can become garbage any more.
func (s *Store) gcLoop() {
	k := s.cfg.Knobs
	known := make(map[kv.RangeID]gcState)
	tick := time.NewTicker(max(k.GCInterval/10, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		led := make(map[kv.RangeID]bool)
		s.each(func(r *replica.Replica) bool {
			if _, ok := r.Serving(); !ok {
				return true
			}
			led[r.ID()] = true
			st, ok := known[r.ID()]
			if w := r.Status().Writes; !ok || w != st.writes {
				st.writes, st.changed = w, time.Now()
			}
			due := time.Since(st.ran) >= k.GCInterval && !st.ran.After(st.changed.Add(k.GCAfter))
			if due {
				if err := s.collect(r); err != nil && s.ctx.Err() == nil {
					s.log.Info("garbage collection of a range stopped and will be tried again", "range", int64(r.ID()), "err", err)
				}
				st.ran, st.writes = time.Now(), r.Status().Writes // collections are no writes that make garbage
			}
			known[r.ID()] = st
			return s.ctx.Err() == nil
		})
		for id := range known {
			if !led[id] {
				delete(known, id)
			}
		}
	}
}

// collect repeats kv.GC until nothing is left to remove.
func (s *Store) collect(r *replica.Replica) error {
	threshold := s.clock.Now().Add(-s.cfg.Knobs.GCAfter)
	if threshold.WallTime <= 0 {
		return nil
	}
	for {
		resp, err := r.Send(s.ctx, &kv.BatchRequest{RangeID: r.ID(), Now: s.clock.Now(), Requests: []kv.Request{&kv.GC{Threshold: threshold}}})
		var e *kv.Error
		if errors.As(err, &e) && e.Code.Class() == kv.RetryRouting {
			return nil // whoever leads now does it
		}
		if err != nil {
			return err
		}
		removed := resp.Responses[0].(*kv.GCResponse).Removed
		s.metrics.Collected.Add(removed)
		if removed == 0 {
			return nil
		}
		select {
		case <-time.After(gcPause):
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
}
