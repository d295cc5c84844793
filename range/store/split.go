package store

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/pamirdb/pamir/range/internal/mvcc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/internal/sizing"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// splitTimeout bounds one split that nobody asked for.
const splitTimeout = time.Minute

// idleRate: what a range that is asked less often, per second, is asked for need not be remembered.
const idleRate = 0.05

// idleCPU: the same for cores. One request may have taken long.
const idleCPU = 0.001

// splitLoop splits the ranges that this store leads and that have become too large, or have too much to do. One at a time: a
// split reads the range, and a store that is flooded has more urgent things to do.
func (s *Store) splitLoop() {
	k := &s.cfg.Knobs
	m := sizing.NewMachine(sizing.Settings{
		MaxBytes: k.SplitBytes, MaxRequests: k.SplitRequests, MaxCPU: k.SplitCPU, LoadFor: k.SplitLoadFor,
	})
	tick := time.NewTicker(k.SplitInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			return
		}
		for _, w := range s.wantSplit(m) {
			if s.ctx.Err() != nil || s.support.drained.Load() {
				break
			}
			ctx, cancel := context.WithTimeout(s.ctx, splitTimeout)
			done, err := s.splitFor(ctx, w)
			cancel()
			if done {
				m.Done(w.r.ID())
				continue
			}
			m.Failed(time.Now(), w.r.ID())
			switch {
			case s.ctx.Err() != nil:
			case err != nil:
				s.metrics.SplitsFailed.Add(1)
				s.log.Info("a split failed and will be tried again", "range", int64(w.r.ID()), "reason", w.reason.String(), "err", err)
			default:
				s.metrics.SplitsRefused.Add(1)
			}
		}
	}
}

// SplitLimits are what ranges are split for: bytes (negative for never), requests a second, cores.
func (s *Store) SplitLimits() (bytes int64, requests, cpu float64) {
	k := &s.cfg.Knobs
	return k.SplitBytes, k.SplitRequests, k.SplitCPU
}

// splitWanted is a range to be split.
type splitWanted struct {
	r      *replica.Replica
	reason sizing.Reason
	bytes  int64 // of versions
	locked int64 // about how many prepared locks will be, too
}

// fewLocks are not looked at: a range that transactions write to has some at any time.
const fewLocks = 256

// wantSplit takes a reading of the ranges that are led here and were asked for something lately, or are too large, and returns those to be split, the largest first.
func (s *Store) wantSplit(m *sizing.Machine) (want []splitWanted) {
	now := time.Now()
	m.Begin()
	s.visit(replica.CareLoad, func(r *replica.Replica) (again bool) {
		if _, ok := r.Serving(); !ok || r.ID() == kv.MetaRangeID {
			r.DropKeySamples()
			return false
		}
		load := r.LoadTotals()
		stats := r.Applied().Stats
		bytes, locked := stats.Bytes, int64(0)
		if s.cfg.Knobs.SplitBytes > 0 && stats.Locks >= fewLocks {
			locked = s.lockedBytes(r, stats.Locks)
		}
		reason := m.Observe(now, sizing.Reading{ID: r.ID(), Bytes: bytes + locked, Requests: load.Requests, CPU: load.CPU})
		rate, cpu := m.Rates(r.ID())
		idle := rate < idleRate && r.Idle()
		// Where no other store is, a split by load would only make transactions of several ranges out of those of one.
		if reason == sizing.Size || reason == sizing.Load && len(r.Desc().Replicas) > 1 {
			want = append(want, splitWanted{r, reason, bytes, locked})
		}
		return !idle || cpu >= idleCPU || s.cfg.Knobs.SplitBytes > 0 && bytes+locked >= s.cfg.Knobs.SplitBytes
	})
	m.End()
	slices.SortStableFunc(want, func(a, b splitWanted) int {
		return cmp.Or(cmp.Compare(a.reason, b.reason), cmp.Compare(b.bytes+b.locked, a.bytes+a.locked))
	})
	return want
}

// lockedBytes guesses what a range's prepared locks will hold as versions. A large transaction writes all it writes into locks before it commits.
func (s *Store) lockedBytes(r *replica.Replica, locks int64) int64 {
	guess, err := mvcc.GuessLocks(s.eng.DB(), r.Desc().Span(), locks)
	if err != nil {
		s.log.Warn("prepared locks are left out of a range's size", "range", int64(r.ID()), "err", err)
	}
	return guess
}

// splitFor looks for the key to split at, and splits there; done is false without an error if no split would help.
func (s *Store) splitFor(ctx context.Context, w splitWanted) (done bool, err error) {
	d := w.r.Desc()
	samples := w.r.KeySamples()
	var at keys.Key
	switch w.reason {
	case sizing.Size:
		in := samples.Writes[:0]
		for _, k := range samples.Writes {
			if d.Contains(k) {
				in = append(in, k)
			}
		}
		fraction := sizing.Trend(in).Fraction()
		if w.bytes < s.cfg.Knobs.SplitBytes {
			// It is for the locks. They were guessed at.
			var locked int64
			if at, locked, err = mvcc.SplitKeyByLocks(ctx, s.eng.DB(), d.Span(), w.locked, fraction); err != nil {
				return false, err
			}
			if w.bytes+locked < s.cfg.Knobs.SplitBytes {
				return false, nil
			}
			if locked < w.bytes {
				at = nil // its versions are most of it
			}
		}
		if at == nil {
			if at, err = mvcc.SplitKey(ctx, s.eng.DB(), d.Span(), w.bytes, fraction); err != nil {
				return false, err
			}
		}
	case sizing.Load:
		if loadTrend(samples.Requests) == sizing.Anywhere {
			at, _ = sizing.Balance(samples.Requests, d.Span())
		}
	}
	if at == nil {
		s.log.Debug("no split would help a range", "range", int64(w.r.ID()), "reason", w.reason.String())
		return false, nil
	}
	_, _, err = s.split(ctx, w.r, at, 0, w.reason)
	return err == nil, err
}

// loadTrend sees whether what is asked for appends: it would all go on to one side.
func loadTrend(requests []keys.Span) sizing.Direction {
	ks := make([]keys.Key, len(requests))
	for i := range requests {
		ks[i] = requests[i].Start
	}
	return sizing.Trend(ks)
}

// split splits the range at key, and makes it known.
func (s *Store) split(ctx context.Context, r *replica.Replica, key keys.Key, pinned int64, why sizing.Reason) (left, right *kv.RangeDescriptor, err error) {
	left, right, err = r.Split(ctx, key, pinned, s.nextRangeID)
	if err != nil {
		return nil, nil, err
	}
	if left.RangeID != right.RangeID {
		switch why {
		case sizing.Size:
			s.metrics.SplitsBySize.Add(1)
		case sizing.Load:
			s.metrics.SplitsByLoad.Add(1)
		default:
			s.metrics.SplitsByCommand.Add(1)
		}
		s.log.Info("range split", "range", int64(left.RangeID), "right", int64(right.RangeID), "at", keys.Pretty(key), "reason", why.String())
	}
	// The caller may look for the right side at once; the job that LeadershipBegan queued may take a moment.
	made := []*kv.RangeDescriptor{left, right}
	if left.RangeID == right.RangeID { // it began there already, and at most its pin has changed
		made = made[:1]
	}
	if err := s.writeMeta(ctx, made...); err != nil {
		s.log.Info("the meta range will be brought up to date later", "range", int64(r.ID()), "err", err)
		s.work.push(job{kind: jobMeta, rng: r.ID()})
	}
	return left, right, nil
}
