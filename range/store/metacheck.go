package store

import (
	"context"
	"slices"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Whoever begins to lead a range sees to it that the meta range knows it as it is. A store that was started anew, or takes over from one
// that has died, begins to lead thousands, and nearly always the meta range is right: then it is read once, not once for each.

// metaTogether is from how many on.
const metaTogether = 32

// takeMeta takes all jobs of kind jobMeta from the queue if there are enough of them.
func (q *workQueue) takeMeta() (ids []kv.RangeID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := 0
	for _, j := range q.jobs {
		if j.kind == jobMeta {
			n++
		}
	}
	if n < metaTogether {
		return nil
	}
	q.jobs = slices.DeleteFunc(q.jobs, func(j job) bool {
		if j.kind != jobMeta {
			return false
		}
		delete(q.queued, j)
		ids = append(ids, j.rng)
		return true
	})
	return ids
}

// checkMeta reads the meta range and brings it up to date where it is not right about these ranges.
func (s *Store) checkMeta(ids []kv.RangeID) {
	mine := make(map[kv.RangeID]*kv.RangeDescriptor, len(ids))
	for _, id := range ids {
		if r := s.replica(id); r != nil {
			if _, ok := r.Serving(); ok {
				mine[id] = r.Desc()
			}
		}
	}
	err := s.readAllMeta(func(d *kv.RangeDescriptor) {
		if have := mine[d.RangeID]; have != nil && have.Generation == d.Generation && have.EndKey.Equal(d.EndKey) {
			delete(mine, d.RangeID)
		}
	})
	if err != nil {
		if s.ctx.Err() != nil {
			return
		}
		s.log.Info("the meta range cannot be read and will be tried again", "err", err)
		select {
		case <-time.After(jobRetry):
		case <-s.ctx.Done():
		}
		for id := range mine {
			s.work.push(job{kind: jobMeta, rng: id})
		}
		return
	}
	for id := range mine {
		if s.ctx.Err() != nil {
			return
		}
		s.do(job{kind: jobMeta, rng: id})
	}
}

// readAllMeta calls f for every entry of the meta range.
func (s *Store) readAllMeta(f func(*kv.RangeDescriptor)) error {
	for from := keys.MetaMin; from != nil; {
		ctx, cancel := context.WithTimeout(s.ctx, jobTimeout)
		_, next, err := s.readMeta(ctx, from, 1000, func(d *kv.RangeDescriptor) bool { f(d); return false })
		cancel()
		if err != nil {
			return err
		}
		from = next
	}
	return nil
}
