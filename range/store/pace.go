package store

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/range/internal/pacing"
	"github.com/pamirdb/pamir/range/kv"
)

// pace is how fast this store does what nobody waits for, and what large transactions write while others want something, too: package pacing decides, by readings of the store while there is such work.
type pace struct {
	snapshots   [urgencies]snapshots
	resolutions paced // of the locks of large transactions, in nanoseconds of work: a rate of 1e9 is one that is never held up
	resolution  *pacing.Pacer
	loads       paced // the writes of large transactions while they run (kv.Prepare.Seqs), and what they take back or clear out of their way, in nanoseconds of work, too
	load        *pacing.Pacer
	// pieces of the two that were begun: each is one request.
	pieces atomic.Int64
	// alone: nobody but large transactions has wanted anything lately, as far as there were readings.
	alone atomic.Bool
	lanes lanes
	// waiting is how many urgent snapshots wait for a slot. Those that have one are urgent meanwhile.
	waiting atomic.Int64
	// mostGentle is how many bytes of one snapshot are gentle.
	mostGentle int64

	woken chan struct{} // of size 1: there is something to pace
}

// urgency is what snapshots are told apart by.
type urgency int

const (
	// gentle: nobody is the worse for it if it takes long. See kv.AdminChangeReplicas.
	gentle urgency = iota
	// urgent: the change repairs, or somebody waits for it.
	urgent
	// lone: it is urgent, and until it is there the range has one voter: if that is lost, all is.
	lone
	urgencies
)

// snapshots of an urgency, in bytes; out and in have the same rate each.
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
	// leastSnapshotRate gets 64 MiB over in a quarter of a minute on the busiest machine, leastLone in four seconds: what was loaded before its range had
	// more than one replica is lost with that one, and a machine that is busy with the load stays so for minutes. All else is safe meanwhile, and its clients
	// would notice: of a decommission on a busy machine p99 was 13 ms with the one and 37 with the other.
	leastSnapshotRate = 4 << 20
	leastLone         = 16 << 20
	// leastResolution is a quarter of what one sender could have done, mostResolution what several could.
	leastResolution = int64(250 * time.Millisecond)
	mostResolution  = int64(4 * time.Second)
	// leastLoad is what one sender could have done: one large transaction has four at a time, and somebody waits for it, too. mostLoad holds up nobody.
	leastLoad = int64(time.Second)
	mostLoad  = int64(16 * time.Second)
	// longestResolution and longestLoad are what one request counts for at most, since it may have had to wait for others: so none is held up for much longer than
	// a second or two, the four of one transaction at the least rate.
	longestResolution = 50 * time.Millisecond
	longestLoad       = 500 * time.Millisecond
	// aloneBelow is how many requests and entries of others show in a tenth of a second that there are others: a cluster that nobody uses has one or two.
	aloneBelow = 4

	slotLook     = time.Second // at whether what waits has become urgent
	paceProbe    = 5 * time.Millisecond
	paceInterval = 100 * time.Millisecond
)

// newPace makes the pace of a store: the most that snapshots go at, in bytes a second, and the size from which on ranges are split, not above 0 for never.
func newPace(mostSnapshots, splitBytes int64) *pace {
	p := &pace{woken: make(chan struct{}, 1), mostGentle: math.MaxInt64, lanes: lanes{of: map[kv.RangeID]*lane{}}}
	if splitBytes > 0 {
		p.mostGentle = splitBytes + splitBytes/4
	}
	for u := range p.snapshots {
		k, least := &p.snapshots[u], int64(leastSnapshotRate)
		if urgency(u) == lone {
			least = leastLone
		}
		k.settings = pacing.Settings{Least: min(least, mostSnapshots), Most: mostSnapshots, Gentle: urgency(u) == gentle}
		k.out, k.in = k.pacer(), k.pacer()
	}
	p.resolutions.settings = pacing.Settings{Least: leastResolution, Most: mostResolution}
	p.resolution = p.resolutions.pacer()
	p.loads.settings = pacing.Settings{Least: leastLoad, Most: mostLoad}
	p.load = p.loads.pacer()
	for _, k := range p.kinds() {
		k.controller = pacing.NewController(k.settings)
	}
	return p
}

func (p *pace) kinds() (out [urgencies + 2]*paced) {
	for u := range p.snapshots {
		out[u] = &p.snapshots[u].paced
	}
	out[urgencies], out[urgencies+1] = &p.resolutions, &p.loads
	return out
}

// kind is what a snapshot goes by just now of which so many bytes have gone. A gentle one that is larger than ranges are hurries from there on: its range is
// to be split, which waits until the replica is there.
func (p *pace) kind(u urgency, gone int64) *snapshots {
	if u == gentle && (p.waiting.Load() > 0 || gone >= p.mostGentle) {
		u = urgent
	}
	return &p.snapshots[u]
}

// slot waits for one of the slots of snapshots. The caller calls release. What is gentle may become urgent while it waits.
func (p *pace) slot(ctx context.Context, slots chan struct{}, how func() urgency) (release func(), err error) {
	look := time.NewTicker(slotLook)
	defer look.Stop()
	for hurries := false; ; {
		if !hurries && how() != gentle {
			hurries = true
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
	poke(p.woken)
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
		began, syncs, nanos, asked := time.Now(), s.metrics.Fsyncs.Load(), s.metrics.FsyncNanos.Load(), s.asked()
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
			alone := s.asked()-asked < aloneBelow
			p.alone.Store(alone)
			for _, k := range p.kinds() {
				// Who sends a snapshot sees only its own clients, and those of the receiver are the ones to be late.
				r.Alone = alone && (k == &p.resolutions || k == &p.loads)
				k.step(r)
			}
			began, syncs, nanos, asked = time.Now(), s.metrics.Fsyncs.Load(), s.metrics.FsyncNanos.Load(), s.asked()
			lates = lates[:0]
		}
		tick.Stop()
	}
}

// resolve carries out a piece of the resolution of a large transaction's locks, and holds up who asks for it before the next. Locks that are still there
// meanwhile hold up nobody: what became of the transaction is known.
func (s *Store) resolve(ctx context.Context, id kv.RangeID, do func() (*kv.BatchResponse, error)) (*kv.BatchResponse, error) {
	return s.piece(ctx, id, &s.pacing.resolutions, s.pacing.resolution, longestResolution, do)
}

// writeAhead carries out a piece of what a large transaction writes before its commit, and holds it up before the next: small transactions go first.
func (s *Store) writeAhead(ctx context.Context, id kv.RangeID, do func() (*kv.BatchResponse, error)) (*kv.BatchResponse, error) {
	return s.piece(ctx, id, &s.pacing.loads, s.pacing.load, longestLoad, do)
}

// large is writeAhead for what a large transaction has to do in its way: see replica.Deps.
func (s *Store) large(ctx context.Context, id kv.RangeID, do func() error) error {
	_, err := s.writeAhead(ctx, id, func() (*kv.BatchResponse, error) { return nil, do() })
	return err
}

// piece carries out one of many requests of a range, and answers it when the next one may come. No latches are held meanwhile.
func (s *Store) piece(ctx context.Context, id kv.RangeID, k *paced, by *pacing.Pacer, longest time.Duration, do func() (*kv.BatchResponse, error)) (*kv.BatchResponse, error) {
	p := s.pacing
	p.begin(k)
	defer p.end(k)
	p.pieces.Add(1)
	over := func() {}
	if !p.alone.Load() {
		var err error
		if over, err = p.lanes.take(ctx, id); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	resp, err := do()
	over()
	if err == nil {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(s.ctx, cancel)()
		by.Hold(min(time.Since(began), longest), ctx.Done())
	}
	return resp, err
}

// asked counts what others than large transactions have wanted of the store: requests here, and entries that it has appended, also those of other leaders.
func (s *Store) asked() int64 {
	return s.metrics.Requests.Load() + s.metrics.AppendedSmall.Load() - s.pacing.pieces.Load()
}

// SnapshotRates are how many bytes a second of snapshots the store sends, and receives, at most just now: by what they are for.
func (s *Store) SnapshotRates() map[string]int64 {
	rate := func(u urgency) int64 { return s.pacing.snapshots[u].out.Rate() }
	return map[string]int64{"balance": rate(gentle), "repair": rate(urgent), "lone": rate(lone)}
}

// ResolutionRate is how many resolutions of large transactions' locks, counted in parts, may run just now; LoadRate the same of their writes.
func (s *Store) ResolutionRate() float64 {
	return float64(s.pacing.resolution.Rate()) / float64(time.Second)
}

// LoadRate: see ResolutionRate.
func (s *Store) LoadRate() float64 { return float64(s.pacing.load.Rate()) / float64(time.Second) }
