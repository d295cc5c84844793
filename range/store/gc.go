package store

import (
	"errors"
	"slices"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// gcPause is the pause between two pieces of one collection: they hold nobody off, but take the processor and the disk.
const gcPause = 20 * time.Millisecond

// gcState is what the loop remembers of a range.
type gcState struct {
	term    uint64    // that the replica led in when it was last looked at
	writes  int64     // of the replica, then
	changed time.Time // when either was seen to be another: who led in between may have written
	ran     time.Time
	seen    time.Time // what was garbage by then, was collected
	held    bool      // the last collection left something that may go later: see collect
	records keys.Key  // where the next look for records that were left begins
}

// gcLoop collects garbage in the ranges that this store leads: versions that nobody may read any more, outcomes of
// commits whose gateways have long given up, records of transactions that have ended. One range at a time. A range is left alone if there is nothing in it
// that could be garbage, and once it was collected so long after its last write that nothing in it can become garbage any more; it is
// not even looked at again before it is written to.
func (s *Store) gcLoop() {
	c := collector{s: s, interval: s.cfg.Knobs.GCInterval, known: make(map[kv.RangeID]gcState)}
	s.visitEvery(max(c.interval/10, 10*time.Millisecond), replica.CareGarbage, c.visit)
}

// collector is what gcLoop knows.
type collector struct {
	s        *Store
	interval time.Duration // Knobs.GCInterval
	known    map[kv.RangeID]gcState
}

// visit looks after one range. It is visited again unless nothing in it is, or can become, garbage.
func (c *collector) visit(r *replica.Replica) (again bool) {
	s := c.s
	term, ok := r.Serving()
	if !ok {
		delete(c.known, r.ID())
		return false
	}
	st := c.known[r.ID()]
	if n := r.Writes(); n != st.writes || term != st.term {
		st.term, st.writes, st.changed = term, n, time.Now()
	}
	again = true
	if keep := s.retention(r); !keep.Unknown {
		var err error
		if keep.Dropped, err = s.stillThere(r, keep.Dropped); err != nil && s.ctx.Err() == nil {
			s.log.Info("what was dropped in a range could not be looked for and will be", "range", int64(r.ID()), "err", err)
		}
		remembers, err := s.forget(r)
		if err != nil && s.ctx.Err() == nil {
			s.log.Info("outcomes of commits in a range could not be forgotten and will be", "range", int64(r.ID()), "err", err)
		}
		if time.Since(st.ran) >= gcInterval(c.interval, &keep, r.Applied().Stats) {
			again = c.turn(r, &st, keep, remembers)
		}
	}
	if again {
		c.known[r.ID()] = st
	} else {
		delete(c.known, r.ID())
	}
	return again
}

// turn collects a range whose turn it is, unless nothing in it is, or can become, garbage: then it reports false. remembers: outcomes of commits are left in it.
func (c *collector) turn(r *replica.Replica, st *gcState, keep Retention, remembers bool) (again bool) {
	s := c.s
	asOf := s.clock.Now()
	lag := time.Duration(0) // of what is known about protection
	if !keep.AsOf.IsEmpty() {
		lag, asOf = time.Duration(max(0, asOf.WallTime-keep.AsOf.WallTime)), keep.AsOf
	}
	some, err := s.collectable(r)
	if err == nil && !remembers && len(keep.Dropped) == 0 && (!some || !st.held && st.seen.After(st.changed.Add(keep.After))) {
		return false
	}
	st.seen = time.Now().Add(-lag)
	if err == nil {
		st.held, err = s.collect(r, keep, asOf, &st.records)
	}
	if err != nil && s.ctx.Err() == nil {
		s.log.Info("garbage collection of a range stopped and will be tried again", "range", int64(r.ID()), "err", err)
	}
	st.ran = time.Now()
	return true
}

// gcInterval is the pause between two collections of a range. One that is mostly garbage, as after most of a table was deleted, is looked at as
// soon as its garbage may go: reads have to step over it, and its neighbours cannot be merged with it. So is one with something that was dropped: who drops a
// table wants the room.
func gcInterval(usual time.Duration, keep *Retention, st kv.Stats) time.Duration {
	const much = 1 << 20
	if len(keep.Dropped) == 0 && (st.Bytes < much || st.LiveBytes > st.Bytes/2) {
		return usual
	}
	return min(usual, max(usual/20, keep.After/4)) // the loop looks ten times in usual
}

// Dropped has the leaders of ranges look for what was dropped in some spans. Config.Retention tells them of it, from now on.
func (s *Store) Dropped(spans []keys.Span) {
	s.each(func(r *replica.Replica) bool {
		if d := r.Desc(); d != nil && slices.ContainsFunc(spans, d.Span().Overlaps) {
			r.Need(replica.CareGarbage)
		}
		return true
	})
}

// stillThere returns what the range still holds anything of.
func (s *Store) stillThere(r *replica.Replica, dropped []Dropped) (left []Dropped, err error) {
	d := r.Desc()
	for i := range dropped {
		part, ok := dropped[i].Span.Within(d.StartKey, d.EndKey)
		if !ok {
			continue
		}
		there, err := mvcc.HasVersions(s.eng.DB(), part)
		if err != nil {
			return nil, err
		}
		if there {
			left = append(left, Dropped{Span: part, Since: dropped[i].Since})
		}
	}
	return left, nil
}

// collectable reports whether there is anything in the range that could be garbage one day.
func (s *Store) collectable(r *replica.Replica) (bool, error) {
	d := r.Desc()
	if d == nil {
		return false, nil
	}
	return mvcc.Collectable(s.eng.DB(), d, r.Applied().Stats)
}

// retention of what the range holds.
func (s *Store) retention(r *replica.Replica) Retention {
	var t Retention
	if d := r.Desc(); d != nil && s.cfg.Retention != nil {
		t = s.cfg.Retention(d.Span())
	}
	if t.After <= 0 {
		t.After = s.cfg.Knobs.GCAfter
	}
	return t
}

// forget makes the range forget what became of commits long ago, and reports whether there is anything left to be forgotten later.
func (s *Store) forget(r *replica.Replica) (remembers bool, err error) {
	d := r.Desc()
	if d == nil {
		return false, nil
	}
	if remembers, err = mvcc.Remembered(s.eng.DB(), d); err != nil || !remembers {
		return err != nil, err
	}
	before := s.clock.Now().Add(-s.cfg.Knobs.OutcomesAfter)
	if before.Less(r.Applied().Outcomes.Since) {
		return true, nil
	}
	_, err = r.Send(s.ctx, &kv.BatchRequest{RangeID: r.ID(), Now: s.clock.Now(), Requests: []kv.Request{&kv.GC{Outcomes: true, Threshold: before}}})
	var e *kv.Error
	if errors.As(err, &e) && e.Code.Class() == kv.RetryRouting {
		err = nil // whoever leads now does it
	}
	return true, err
}

// collect raises the threshold of the range and removes what is below it, piece by piece. held reports whether something was
// left that may go later: it is protected, a record could not be removed, or the end was not reached. asOf is when t was known, records where to look for these.
func (s *Store) collect(r *replica.Replica, t Retention, asOf hlc.Timestamp, records *keys.Key) (held bool, err error) {
	threshold := asOf.Add(-t.After)
	if !t.Protected.IsEmpty() && t.Protected.Less(threshold) {
		threshold, held = t.Protected, true
	}
	if threshold.WallTime <= 0 {
		return held, nil
	}
	// First all readers below the threshold end, then what was dropped goes, then what else is garbage.
	var steps []kv.GC
	for _, d := range t.Dropped {
		if d.Since.LessEq(threshold) {
			steps = append(steps, kv.GC{Threshold: threshold, Collect: true, Dropped: d.Span})
		} else {
			held = true
		}
	}
	steps = append(steps, kv.GC{Threshold: threshold, Collect: true})
	q := kv.GC{Threshold: threshold}
	for {
		req := q
		resp, err := r.Send(s.ctx, &kv.BatchRequest{RangeID: r.ID(), Now: s.clock.Now(), Requests: []kv.Request{&req}})
		var e *kv.Error
		if errors.As(err, &e) && e.Code.Class() == kv.RetryRouting {
			return true, nil // whoever leads now does it; or this store, once a merge that the range stands still for has come to nothing
		}
		if err != nil {
			return true, err
		}
		got := resp.Responses[0].(*kv.GCResponse)
		s.metrics.Collected.Add(got.Removed)
		switch q.From = got.Next; {
		case q.Collect && len(q.From) > 0:
		case len(steps) > 0:
			q, steps = steps[0], steps[1:]
		default:
			left, err := s.finishRecords(r, threshold.Add(-s.cfg.Knobs.GCAfter), records)
			return held || left, err
		}
		select {
		case <-time.After(gcPause):
		case <-s.ctx.Done():
			return true, s.ctx.Err()
		}
	}
}
