package store

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/range/internal/pacing"
	"github.com/pamirdb/pamir/range/kv"
)

// pace is how fast this store does what nobody waits for: package pacing decides, by readings of the store while there is such work.
type pace struct {
	urgent, gentle snapshots // of changes that repair or that somebody waits for, and of others: see kv.AdminChangeReplicas
	resolutions    paced     // of the locks of large transactions, in nanoseconds of work: a rate of 1e9 is one that is never held up
	resolution     *pacing.Pacer
	// waiting is how many urgent snapshots wait for a slot. Those that have one are urgent meanwhile.
	waiting atomic.Int64
	// mostGentle is how many bytes of one snapshot are gentle.
	mostGentle int64

	woken chan struct{} // of size 1: there is something to pace
}

// snapshots of a kind, in bytes; out and in have the same rate each.
type snapshots struct {
	paced
	out, in *pacing.Pacer
}

// paced is one kind of such work.
type paced struct {
	settings pacing.Settings
	pacers   []*pacing.Pacer
	under    atomic.Int64 // how much of it is under way

	// The loop's.
	controller *pacing.Controller
	used       []int64 // by each pacer, as of the last reading
}

const (
	// leastGentle gets 64 MiB over in a quarter of a minute on the busiest machine, leastUrgent in four seconds: what was loaded before its range had
	// more than one replica waits for nothing else, and a machine that is busy with the load stays so for minutes.
	leastGentle = 4 << 20
	leastUrgent = 16 << 20
	// leastResolution is a quarter of what one sender could have done, mostResolution what several could.
	leastResolution = int64(250 * time.Millisecond)
	mostResolution  = int64(4 * time.Second)
	// longestResolution is what one request counts for at most, so that it is never held up for much longer than a second.
	longestResolution = 50 * time.Millisecond

	slotLook     = time.Second // at whether what waits has become urgent
	paceProbe    = 5 * time.Millisecond
	paceInterval = 100 * time.Millisecond
)

// newPace makes the pace of a store: the most that snapshots go at, in bytes a second, and the size from which on ranges are split, not above 0 for never.
func newPace(mostSnapshots, splitBytes int64) *pace {
	p := &pace{woken: make(chan struct{}, 1), mostGentle: math.MaxInt64}
	if splitBytes > 0 {
		p.mostGentle = splitBytes + splitBytes/4
	}
	p.urgent.settings = pacing.Settings{Least: min(leastUrgent, mostSnapshots), Most: mostSnapshots}
	p.gentle.settings = pacing.Settings{Least: min(leastGentle, mostSnapshots), Most: mostSnapshots, Gentle: true}
	for _, k := range []*snapshots{&p.urgent, &p.gentle} {
		k.out, k.in = k.pacer(), k.pacer()
	}
	p.resolutions.settings = pacing.Settings{Least: leastResolution, Most: mostResolution}
	p.resolution = p.resolutions.pacer()
	for _, k := range p.kinds() {
		k.controller = pacing.NewController(k.settings)
	}
	return p
}

func (p *pace) kinds() [3]*paced {
	return [...]*paced{&p.urgent.paced, &p.gentle.paced, &p.resolutions}
}

// kind is what a snapshot goes by just now.
func (p *pace) kind(gentle bool) *snapshots {
	if gentle && p.waiting.Load() == 0 {
		return &p.gentle
	}
	return &p.urgent
}

// kindAt is kind for a snapshot of which so many bytes have gone. One that is larger than ranges are hurries from there on: its range is
// to be split, which waits until the replica is there.
func (p *pace) kindAt(gentle bool, gone int64) *snapshots {
	return p.kind(gentle && gone < p.mostGentle)
}

// slot waits for one of the slots of snapshots. The caller calls release. What is gentle may become urgent while it waits.
func (p *pace) slot(ctx context.Context, slots chan struct{}, gentle func() bool) (release func(), err error) {
	look := time.NewTicker(slotLook)
	defer look.Stop()
	for urgent := false; ; {
		if !urgent && !gentle() {
			urgent = true
			p.waiting.Add(1)
			defer p.waiting.Add(-1)
		}
		select {
		case slots <- struct{}{}:
			return func() { <-slots }, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-look.C:
		}
	}
}

// pacer adds a pacer to the kind.
func (k *paced) pacer() *pacing.Pacer {
	x := pacing.NewPacer(k.settings.Least)
	k.pacers, k.used = append(k.pacers, x), append(k.used, 0)
	return x
}

// step takes a reading for this kind of work.
func (k *paced) step(r pacing.Reading) {
	for i, x := range k.pacers {
		used := x.Used()
		r.Used, k.used[i] = max(r.Used, used-k.used[i]), used
	}
	rate := k.controller.Step(r)
	for _, x := range k.pacers {
		x.SetRate(rate)
	}
}

// begin notes that there is such work, until end.
func (p *pace) begin(k *paced) {
	k.under.Add(1)
	select {
	case p.woken <- struct{}{}:
	default:
	}
}

func (p *pace) end(k *paced) { k.under.Add(-1) }

func (p *pace) busy() bool {
	for _, k := range p.kinds() {
		if k.under.Load() > 0 {
			return true
		}
	}
	return false
}

// paceLoop takes readings while there is something to pace, and otherwise sleeps. What was learned is kept.
func (s *Store) paceLoop() {
	p := s.pacing
	for {
		select {
		case <-p.woken:
		case <-s.ctx.Done():
			return
		}
		began, syncs, nanos := time.Now(), s.metrics.Fsyncs.Load(), s.metrics.FsyncNanos.Load()
		var lates []time.Duration
		tick := time.NewTimer(paceProbe)
		for p.busy() {
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
			r := pacing.Reading{Took: took, Late: pacing.Late(lates)}
			if n := s.metrics.Fsyncs.Load() - syncs; n > 0 {
				r.Sync = time.Duration((s.metrics.FsyncNanos.Load() - nanos) / n)
			}
			for _, k := range p.kinds() {
				k.step(r)
			}
			began, syncs, nanos = time.Now(), s.metrics.Fsyncs.Load(), s.metrics.FsyncNanos.Load()
			lates = lates[:0]
		}
		tick.Stop()
	}
}

// resolve carries out a piece of the resolution of a large transaction's locks, and holds up who asks for it before the next. Locks that are still there
// meanwhile hold up nobody: what became of the transaction is known.
func (s *Store) resolve(ctx context.Context, do func() (*kv.BatchResponse, error)) (*kv.BatchResponse, error) {
	p := s.pacing
	p.begin(&p.resolutions)
	defer p.end(&p.resolutions)
	began := time.Now()
	resp, err := do()
	if err == nil {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		p.resolution.Hold(min(time.Since(began), longestResolution), ctx.Done())
	}
	return resp, err
}

// SnapshotRates are how many bytes a second of snapshots that repair or that somebody waits for, and of others, the store sends, and receives, at most just now.
func (s *Store) SnapshotRates() (urgent, gentle int64) {
	return s.pacing.urgent.out.Rate(), s.pacing.gentle.out.Rate()
}

// ResolutionRate is how many resolutions of large transactions' locks, counted in parts, may run just now.
func (s *Store) ResolutionRate() float64 {
	return float64(s.pacing.resolution.Rate()) / float64(time.Second)
}
