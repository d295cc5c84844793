package node

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/store"
)

// rateTime is the time over which rates are smoothed: what was asked so long ago counts for a third.
const rateTime = 8 * time.Second

// loads turns the counters of the ranges led here into rates, and those of the processors into how many are used.
type loads struct {
	busy busy
	sync syncTime

	updating sync.Mutex // held by update
	at       time.Time  // of the last reading; guarded by updating

	mu     sync.Mutex
	ranges map[kv.RangeID]*ledHere // guarded by mu; replaced entries, never changed ones, are handed out
}

// ledHere is a range that this store leads.
type ledHere struct {
	desc     *kv.RangeDescriptor
	term     uint64
	since    time.Time // when it was first seen to be led here, in this term
	load     store.Load
	stats    kv.Stats
	changing bool
	rates    RangeRates
}

// keepRates brings the rates up to date until ctx ends.
func (n *Node) keepRates(ctx context.Context) {
	every(ctx, n.cfg.PlacementInterval, func() {
		now := time.Now()
		n.loads.updateIf(n.store, now, n.cfg.PlacementInterval*3/4) // the driver may have asked
		n.loads.busy.update(now, n.cfg.Cores)
		n.loads.readSync(n.store, now)
	})
}

// readSync returns what a sync of the log takes.
func (l *loads) readSync(st *store.Store, now time.Time) time.Duration {
	m := st.Counters().Replicas
	return l.sync.update(now, m.Fsyncs.Load(), m.FsyncNanos.Load())
}

// update takes new readings. It may be called at any time: rates do not depend on how often.
func (l *loads) update(st *store.Store, now time.Time) { l.updateIf(st, now, 0) }

// updateIf is update, unless the last reading is younger than that.
func (l *loads) updateIf(st *store.Store, now time.Time, than time.Duration) {
	l.updating.Lock()
	defer l.updating.Unlock()
	d := now.Sub(l.at)
	if d < than {
		return
	}
	l.at = now
	l.mu.Lock()
	old := l.ranges
	l.mu.Unlock()
	next := make(map[kv.RangeID]*ledHere, len(old))
	st.Led(func(r store.RangeLoad) {
		was := old[r.Descriptor.RangeID]
		if was != nil && was.still(&r) {
			next[r.Descriptor.RangeID] = was
			return
		}
		h := &ledHere{desc: r.Descriptor, term: r.Term, since: now, load: r.Load, stats: r.Stats, changing: r.Changing}
		if was != nil {
			if was.term == r.Term {
				h.since = was.since
			}
			h.rates = toward(was.rates, was.load, r.Load, d)
		}
		next[r.Descriptor.RangeID] = h
	})
	l.mu.Lock()
	l.ranges = next
	l.mu.Unlock()
}

// still reports whether the range is as it was at the last reading, and was at rest already: nearly all are.
func (h *ledHere) still(r *store.RangeLoad) bool {
	quiet := func(l *store.Load) bool { return len(l.Sources) == 0 }
	return h.desc == r.Descriptor && h.term == r.Term && h.stats == r.Stats && h.changing == r.Changing && quiet(&h.load) && quiet(&r.Load) &&
		h.load.Requests == r.Load.Requests && h.load.Writes == r.Load.Writes && h.load.WriteBytes == r.Load.WriteBytes && h.load.CPU == r.Load.CPU &&
		h.rates.Requests == 0 && h.rates.Writes == 0 && h.rates.WriteBytes == 0 && h.rates.CPU == 0 && len(h.rates.From) == 0
}

// toward returns the rates after the counters went from one reading to another.
func toward(r RangeRates, from, to store.Load, d time.Duration) RangeRates {
	sec := d.Seconds()
	if sec <= 0 || to.Requests < from.Requests { // the replica was opened anew
		return r
	}
	a := 1 - math.Exp(-sec/rateTime.Seconds())
	mix := func(old, count float64) float64 {
		if v := old + a*(count/sec-old); v > 1e-3 {
			return v
		}
		return 0
	}
	out := RangeRates{
		Requests: mix(r.Requests, float64(to.Requests-from.Requests)), Writes: mix(r.Writes, float64(to.Writes-from.Writes)),
		WriteBytes: mix(r.WriteBytes, float64(to.WriteBytes-from.WriteBytes)),
	}
	if cpu := r.CPU + a*((to.CPU-from.CPU).Seconds()/sec-r.CPU); cpu > 1e-6 {
		out.CPU = cpu
	}
	seen := func(n kv.NodeID) (count int64) {
		for _, s := range to.Sources {
			if s.Node == n {
				count += s.Requests
			}
		}
		return count
	}
	for _, g := range r.From {
		if v := mix(g.Requests, float64(seen(g.Node))); v > 0.01 {
			out.From = append(out.From, GatewayRate{Node: g.Node, Requests: v})
		}
	}
	for _, s := range to.Sources {
		known := false
		for _, g := range r.From {
			known = known || g.Node == s.Node
		}
		if !known {
			out.From = append(out.From, GatewayRate{Node: s.Node, Requests: mix(0, float64(s.Requests))})
		}
	}
	return out
}

// snapshot returns the ranges led here. Neither the map nor what is in it may be changed.
func (l *loads) snapshot() map[kv.RangeID]*ledHere {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ranges
}

// rates returns those of a range; zero if it is not led here.
func (l *loads) rates(id kv.RangeID) RangeRates {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.ranges[id]; h != nil {
		return h.rates
	}
	return RangeRates{}
}
