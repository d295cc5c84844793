package store

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

type jobKind uint8

const (
	jobMeta   jobKind = iota // bring the meta range up to date
	jobTidy                  // finish replica changes that an earlier leader began
	jobRemove                // delete a removed replica
	jobThaw                  // end a merge that has come to nothing
	jobLookUp                // see whether a replica without a leader still belongs to its range
)

// job is work on one range that must not be done by the goroutine that processes it.
type job struct {
	kind  jobKind
	rng   kv.RangeID
	below kv.ReplicaID
}

// workQueue holds each job once; its length is bounded by the number of ranges.
type workQueue struct {
	mu     sync.Mutex
	jobs   []job
	queued map[job]struct{}
	wake   chan struct{}
}

func (q *workQueue) init() {
	q.queued = make(map[job]struct{})
	q.wake = make(chan struct{}, 1)
}

func (q *workQueue) push(j job) {
	q.mu.Lock()
	if _, ok := q.queued[j]; !ok {
		q.queued[j] = struct{}{}
		q.jobs = append(q.jobs, j)
	}
	q.mu.Unlock()
	poke(q.wake)
}

func (q *workQueue) pop() (j job, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.jobs) == 0 {
		return j, false
	}
	j = q.jobs[0]
	q.jobs = q.jobs[1:]
	delete(q.queued, j)
	return j, true
}

// workLoop does the jobs, a few at a time: one that waits for another store must not hold up the rest.
func (s *Store) workLoop() {
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, 8)
	for {
		do := func() {}
		if ids := s.work.takeMeta(); ids != nil {
			do = func() { s.checkMeta(ids) }
		} else if j, ok := s.work.pop(); ok {
			do = func() { s.do(j) }
		} else {
			select {
			case <-s.work.wake:
				continue
			case <-s.ctx.Done():
				return
			}
		}
		select {
		case slots <- struct{}{}:
		case <-s.ctx.Done():
			return
		}
		running.Add(1)
		go func() {
			defer running.Done()
			defer func() { <-slots }()
			do()
		}()
	}
}

// jobTimeout bounds one attempt; jobRetry is the pause after a failed one.
const (
	jobTimeout = 10 * time.Second
	jobRetry   = 500 * time.Millisecond
)

func (s *Store) do(j job) {
	ctx, cancel := context.WithTimeout(s.ctx, jobTimeout)
	defer cancel()
	var err error
	switch j.kind {
	case jobRemove:
		err = s.removeReplica(j.rng, j.below)
	case jobLookUp:
		if r := s.replica(j.rng); r != nil {
			if err := s.lookUp(ctx, r); err != nil && s.ctx.Err() == nil {
				s.log.Debug("cannot look up a range without a leader", "range", int64(j.rng), "err", err)
			}
		}
		return // it will be asked for again
	case jobMeta, jobTidy, jobThaw:
		r := s.replica(j.rng)
		if r == nil {
			return
		}
		if _, ok := r.Serving(); !ok {
			return // whoever leads now does it
		}
		switch j.kind {
		case jobTidy:
			if r.Inherited() {
				s.goLoop(func() { s.carryOn(r) }) // for as long as its learners take
				return
			}
			err = r.Tidy(ctx)
		case jobThaw:
			err = s.thaw(ctx, r)
		default:
			err = s.updateMeta(ctx, r)
		}
	}
	if err != nil && s.ctx.Err() == nil {
		s.log.Info("work on a range failed and will be tried again", "range", int64(j.rng), "job", int(j.kind), "err", err)
		select {
		case <-time.After(jobRetry):
			s.work.push(j)
		case <-s.ctx.Done():
		}
	}
}

// carryOn carries on the change of replicas that came with a split.
func (s *Store) carryOn(r *replica.Replica) {
	err := r.CarryOn(s.ctx, s.goneSince(time.Now()))
	if err == nil || s.ctx.Err() != nil {
		return
	}
	text := "a change of replicas that was under way when its range was split has come to nothing"
	if r.Inherited() {
		text = "a change of replicas that was under way when its range was split cannot go on yet"
	}
	s.log.Info(text, "range", int64(r.ID()), "err", err)
	select {
	case <-time.After(jobRetry):
		s.work.push(job{kind: jobTidy, rng: r.ID()})
	case <-s.ctx.Done():
	}
}

// goneSince returns what says of a store, from then on, whether it is gone as far as a replica goes that is brought up there.
func (s *Store) goneSince(began time.Time) func(kv.StoreID) bool {
	return func(st kv.StoreID) bool {
		if silence, heard := s.support.silenceOf(st); heard {
			// Stores without a range in common say nothing to each other: what was not heard before there was one is no silence.
			return min(silence, time.Since(began)) > 4*s.cfg.Knobs.SupportDuration
		}
		// This one should have begun to speak.
		return time.Since(began) > 10*s.cfg.Knobs.SupportDuration
	}
}

// lookUp asks the meta range about a replica that knows no leader. All the replicas it knows of may have moved away
// since, so that none of them could tell it that it was removed.
func (s *Store) lookUp(ctx context.Context, r *replica.Replica) error {
	var now *kv.RangeDescriptor
	var err error
	mine := r.Desc()
	if mine == nil {
		now, err = s.findInMeta(ctx, r.ID())
	} else {
		now, _, err = s.readMeta(ctx, keys.Meta(mine.StartKey).Next(), 1, func(*kv.RangeDescriptor) bool { return true })
	}
	if err == nil && now == nil && mine == nil {
		s.askMerged(r)
	}
	if err != nil || now == nil {
		return err
	}
	if mine != nil && (s.orphan(r, mine, now) || leftBehind(r, mine, now)) {
		s.work.push(job{kind: jobRemove, rng: r.ID(), below: replica.NoReplica})
		return nil
	}
	if now.RangeID != r.ID() || r.ReplicaID() >= now.NextReplicaID || mine != nil && now.Generation <= mine.Generation {
		return nil
	}
	if _, ok := now.ReplicaByID(r.ReplicaID()); !ok {
		s.work.push(job{kind: jobRemove, rng: r.ID(), below: r.ReplicaID() + 1})
	}
	return nil
}

// findInMeta looks for a range of which nothing but its number is known: a replica that never got a snapshot.
func (s *Store) findInMeta(ctx context.Context, id kv.RangeID) (*kv.RangeDescriptor, error) {
	for from := keys.MetaMin; from != nil; {
		d, next, err := s.readMeta(ctx, from, 1000, func(d *kv.RangeDescriptor) bool { return d.RangeID == id })
		if err != nil || d != nil {
			return d, err
		}
		from = next
	}
	return nil, nil
}

// readMeta reads up to limit entries of the meta range and returns the first that is wanted, or where to go on.
func (s *Store) readMeta(ctx context.Context, from keys.Key, limit int64, wanted func(*kv.RangeDescriptor) bool) (_ *kv.RangeDescriptor, next keys.Key, err error) {
	resp, err := s.sendRouted(ctx, &kv.BatchRequest{MaxRows: limit, Requests: []kv.Request{
		&kv.Scan{Spans: []keys.Span{{Start: from, End: keys.MetaMax}}},
	}})
	if err != nil {
		return nil, nil, err
	}
	rows := resp.Responses[0].(*kv.ScanResponse)
	for {
		_, v, ok, err := rows.Rows.Next()
		if err != nil {
			return nil, nil, err
		}
		if !ok {
			break
		}
		d, err := kv.DecodeDescriptor(v)
		if err != nil {
			return nil, nil, err
		}
		if wanted(d) {
			return d, nil, nil
		}
	}
	if len(rows.Resume) > 0 {
		next = rows.Resume[0].Start
	}
	return nil, next, nil
}

// tickLoop advances the clocks of the groups that are not quiet.
func (s *Store) tickLoop() {
	t := time.NewTicker(s.cfg.Knobs.TickInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.wakeAsleep()
			s.takeTurns()
			s.visit(replica.CareTicks, (*replica.Replica).Tick)
			for _, m := range s.early.tick() {
				s.handleRaft(m)
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// silent reports whether nothing has been heard of a store for so long that it is suspect, or nothing at all.
func (s *Store) silent(st kv.StoreID) bool {
	d, heard := s.support.silenceOf(st)
	return !heard || d > s.cfg.Knobs.SupportDuration
}

// maintenanceLoop looks after the logs, after ranges that a merge has left behind, and after the engine's memtables.
func (s *Store) maintenanceLoop() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.visit(replica.CareLog, func(r *replica.Replica) (again bool) {
				again, err := r.TruncateLog(s.cfg.Knobs.LogTruncateBytes, s.cfg.Knobs.LogMaxBytes, s.silent)
				if err != nil && s.ctx.Err() == nil {
					s.log.Warn("cannot truncate a log", "range", int64(r.ID()), "err", err)
					again = true
				}
				s.maintainFrozen(r)
				return (r.Frozen() != nil || again) && !r.Ended()
			})
			if err := s.eng.FlushQueued(); err != nil && s.ctx.Err() == nil {
				s.log.Warn("cannot flush memtables", "err", err)
			}
			if err := s.eng.Reclaim(); err != nil && s.ctx.Err() == nil {
				s.log.Warn("cannot flush a memtable on a full disk", "err", err)
			}
		case <-s.ctx.Done():
			return
		}
	}
}
