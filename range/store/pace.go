package store

import (
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/range/internal/pacing"
)

// pace is how fast this store sends and receives snapshots: package pacing decides, by readings of the store while there are any.
type pace struct {
	out, in  *pacing.Pacer
	settings pacing.Settings
	under    atomic.Int64  // snapshots under way
	woken    chan struct{} // of size 1: there is one
}

const (
	// leastSnapshotRate gets 64 MiB over in a quarter of a minute on the busiest machine.
	leastSnapshotRate = 4 << 20
	paceProbe         = 5 * time.Millisecond
	paceInterval      = 100 * time.Millisecond
)

func newPace(most int64) *pace {
	s := pacing.Settings{Least: min(leastSnapshotRate, most), Most: most}
	return &pace{out: pacing.NewPacer(s.Least), in: pacing.NewPacer(s.Least), settings: s, woken: make(chan struct{}, 1)}
}

// begin notes that a snapshot is under way, until the function that it returns is called.
func (p *pace) begin() (end func()) {
	p.under.Add(1)
	select {
	case p.woken <- struct{}{}:
	default:
	}
	return func() { p.under.Add(-1) }
}

// paceLoop takes readings while snapshots are under way, and otherwise sleeps. What was learned is kept.
func (s *Store) paceLoop() {
	p := s.pacing
	c := pacing.NewController(p.settings)
	for {
		select {
		case <-p.woken:
		case <-s.ctx.Done():
			return
		}
		began, out, in, syncs, nanos := time.Now(), p.out.Sent(), p.in.Sent(), s.metrics.Fsyncs.Load(), s.metrics.FsyncNanos.Load()
		var lates []time.Duration
		tick := time.NewTimer(paceProbe)
		for p.under.Load() > 0 {
			due := time.Now().Add(paceProbe)
			tick.Reset(paceProbe)
			select {
			case <-tick.C:
			case <-s.ctx.Done():
				tick.Stop()
				return
			}
			lates = append(lates, time.Since(due))
			took := time.Since(began)
			if took < paceInterval {
				continue
			}
			r := pacing.Reading{Took: took, Late: pacing.Late(lates), Sent: max(p.out.Sent()-out, p.in.Sent()-in)}
			if n := s.metrics.Fsyncs.Load() - syncs; n > 0 {
				r.Sync = time.Duration((s.metrics.FsyncNanos.Load() - nanos) / n)
			}
			rate := c.Step(r)
			p.out.SetRate(rate)
			p.in.SetRate(rate)
			began, out, in, syncs, nanos = time.Now(), p.out.Sent(), p.in.Sent(), s.metrics.Fsyncs.Load(), s.metrics.FsyncNanos.Load()
			lates = lates[:0]
		}
		tick.Stop()
	}
}

// SnapshotRate is how many bytes of snapshots a second the store sends, and receives, at most just now.
func (s *Store) SnapshotRate() int64 { return s.pacing.out.Rate() }
