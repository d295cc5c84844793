package sim

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// profiles say how likely which fault is, relative to the others.
var profiles = map[string]map[string]int{
	"calm":      {"split": 3, "merge": 2, "transfer": 3, "replicas": 2},
	"network":   {"isolate": 3, "one-way": 3, "pair": 3, "partial": 3, "loss": 3, "slow": 3, "late": 4, "transfer": 2, "split": 2, "merge": 1},
	"crashes":   {"crash": 5, "crash-all": 1, "restart": 2, "split": 2, "merge": 2, "transfer": 2, "late": 1},
	"disks":     {"stall": 4, "slow-disk": 3, "disk-error": 2, "crash": 2, "split": 1, "transfer": 1},
	"clocks":    {"skew": 6, "transfer": 4, "split": 3, "merge": 2, "crash": 1, "isolate": 1},
	"wild":      {"wild-skew": 5, "transfer": 3, "split": 2, "crash": 1, "isolate": 1},
	"movement":  {"split": 5, "merge": 5, "transfer": 6, "replicas": 5, "late": 1, "pair": 1, "crash": 1},
	"gateways":  {"unheard": 2, "crash": 4, "late": 5, "one-way": 2, "transfer": 3, "split": 2, "merge": 1},
	"all":       {"isolate": 2, "one-way": 2, "pair": 2, "partial": 2, "loss": 2, "slow": 2, "late": 2, "crash": 3, "crash-all": 1, "restart": 1, "stall": 2, "slow-disk": 1, "disk-error": 1, "skew": 3, "split": 3, "merge": 3, "transfer": 4, "replicas": 3},
	"partition": {"unheard": 2, "lapse": 1, "partial": 6, "late": 3, "isolate": 3, "transfer": 1},
	// For mutants, and by -profile: a few kinds of faults, and many of them.
	"splits":   {"split": 1},
	"merges":   {"split": 6, "gather": 6, "merge": 2, "transfer": 3, "crash": 1, "partial": 1, "loss": 1, "replicas": 1},
	"lapse":    {"lapse": 1},
	"loads":    {"forsake": 3, "isolate": 3, "unheard": 1, "one-way": 1, "pair": 1, "late": 2, "loss": 1, "crash": 2, "split": 3, "merge": 2, "transfer": 3, "replicas": 1},
	"pauses":   {"forsake": 6, "transfer": 1, "split": 1},
	"recovery": {"unheard": 1},
	"hot":      {"transfer": 5, "split": 4, "gather": 3, "merge": 2, "slow": 3, "late": 3, "unheard": 2, "isolate": 1, "pair": 1, "crash": 1, "replicas": 1},
}

// profileNames are those that seeds choose from.
var profileNames = []string{"all", "all", "all", "calm", "network", "crashes", "disks", "clocks", "wild", "movement", "gateways", "partition"}

// nemesis does what goes wrong, and what operators do.
type nemesis struct {
	w      *world
	rng    *rand.Rand
	mu     sync.Mutex
	busy   map[kv.NodeID]bool // nodes that are being restarted
	over   bool
	splits int
	jobs   sync.WaitGroup // faults under way: each ends by itself

	forsaking atomic.Bool
	stop      context.Context
	done      context.CancelFunc
}

func newNemesis(w *world) *nemesis {
	f := &nemesis{w: w, rng: w.rng('f'), busy: map[kv.NodeID]bool{}}
	f.stop, f.done = context.WithCancel(context.Background())
	return f
}

// run injects faults for as long as d.
func (f *nemesis) run(d time.Duration) {
	p := profiles[f.w.o.Profile]
	var kinds []string
	for _, k := range kindsInOrder {
		for range p[k] {
			kinds = append(kinds, k)
		}
	}
	pace := 600
	switch f.w.o.Profile {
	case "splits", "merges":
		pace = 200
	case "recovery":
		pace = 2000
	case "lapse":
		pace = 400
	}
	for end := time.Now().Add(d); time.Now().Before(end) && f.w.failed.Load() == nil; {
		if !sleep(f.w.ctx, time.Duration(pace/12+f.rng.IntN(pace))*time.Millisecond) {
			return
		}
		kind := kinds[f.rng.IntN(len(kinds))]
		f.w.trace.count("fault: "+kind, 1)
		f.do(kind, rand.New(rand.NewPCG(f.rng.Uint64(), 2)))
	}
}

var kindsInOrder = []string{"isolate", "one-way", "pair", "partial", "loss", "slow", "late", "crash", "crash-all", "restart",
	"unheard", "forsake", "lapse", "stall", "slow-disk", "disk-error", "skew", "wild-skew", "split", "merge", "transfer", "replicas", "gather"}

// lasting does something for a while and takes it back.
func (f *nemesis) lasting(d time.Duration, begin, end func()) {
	begin()
	f.jobs.Go(func() {
		sleep(f.stop, d)
		end()
	})
}

func (f *nemesis) do(kind string, rng *rand.Rand) {
	w := f.w
	millis := func(from, to int) time.Duration {
		return time.Duration(from+rng.IntN(to-from)) * time.Millisecond
	}
	a := w.nodes[rng.IntN(len(w.nodes))]
	if l, _ := w.leader(kv.FirstUserRange); l != nil && rng.IntN(3) == 0 {
		a = l.n // who leads is where it hurts
	}
	b := w.nodes[(int(a.id)+rng.IntN(len(w.nodes)-1))%len(w.nodes)] // another one
	d := millis(100, 3000)
	others := func(g func(o kv.NodeID)) {
		for _, n := range w.nodes {
			if n != a {
				g(n.id)
			}
		}
	}
	cutAll := func(on bool) func(*link) {
		return func(l *link) { l.cut = [numClasses]bool{on, on, on} }
	}
	switch kind {
	case "isolate":
		w.trace.say("node %d is cut off for %v", a.id, d)
		set := func(on bool) {
			others(func(o kv.NodeID) { w.net.change(a.id, o, cutAll(on)); w.net.change(o, a.id, cutAll(on)) })
		}
		f.lasting(d, func() { set(true) }, func() { set(false) })
	case "one-way":
		w.trace.say("nothing gets from node %d to %d for %v", a.id, b.id, d)
		f.lasting(d, func() { w.net.change(a.id, b.id, cutAll(true)) }, func() { w.net.change(a.id, b.id, cutAll(false)) })
	case "pair":
		w.trace.say("nodes %d and %d are cut off from each other for %v", a.id, b.id, d)
		set := func(on bool) { w.net.change(a.id, b.id, cutAll(on)); w.net.change(b.id, a.id, cutAll(on)) }
		f.lasting(d, func() { set(true) }, func() { set(false) })
	case "partial":
		// The stores do not hear each other, but everybody's gateway reaches everybody's store.
		w.trace.say("the store of node %d is cut off from the others' for %v, gateways are not", a.id, d)
		set := func(on bool) {
			c := func(l *link) { l.cut[raftTraffic], l.cut[heartbeats] = on, on }
			others(func(o kv.NodeID) { w.net.change(a.id, o, c); w.net.change(o, a.id, c) })
		}
		f.lasting(d+time.Second, func() { set(true) }, func() { set(false) })
	case "loss", "slow", "late":
		w.trace.say("the network of node %d: %s for %v", a.id, kind, d)
		p, x := 0.05+0.3*rng.Float64(), millis(5, 400)
		set := func(on float64) {
			c := func(l *link) {
				switch kind {
				case "loss":
					l.loss, l.dup, l.reorder = on*p, on*p, on > 0
				case "slow":
					l.extra = time.Duration(on * float64(x))
				default:
					l.late = on * p / 2
				}
			}
			others(func(o kv.NodeID) { w.net.change(a.id, o, c); w.net.change(o, a.id, c) })
		}
		f.lasting(d, func() { set(1) }, func() { set(0) })
	case "unheard":
		if l, _, ok := f.anyRange(rng); ok {
			f.unheard(rng, l.n, d+3*time.Second)
		}
	case "forsake":
		f.forsake(rng, millis(1500, 3000))
	case "lapse":
		f.lapse(rng, d)
	case "crash":
		f.restartAfter(a, rng, millis(0, 3000))
	case "crash-all":
		w.trace.say("power failure")
		for _, n := range w.nodes {
			f.restartAfter(n, rng, millis(0, 300))
		}
	case "restart":
		f.orderly(a, millis(0, 500))
	case "stall":
		w.trace.say("the disk of node %d stalls for %v", a.id, d)
		a.disk.set(func(k *disk) { k.stalled = time.Now().Add(d) })
	case "slow-disk":
		x := millis(1, 60)
		w.trace.say("the disk of node %d is slow (%v) for %v", a.id, x, d)
		f.lasting(d, func() { a.disk.set(func(k *disk) { k.slow = x }) }, func() { a.disk.set(func(k *disk) { k.slow = 0 }) })
	case "disk-error":
		a.disk.set(func(k *disk) { k.failing = true })
	case "skew", "wild-skew":
		// Within the bound any two clocks differ by less than it.
		bound := int64(w.o.MaxOffset) * 45 / 100
		if kind == "wild-skew" {
			bound = 6 * int64(w.o.MaxOffset)
		}
		s := rng.Int64N(2*bound) - bound
		w.trace.say("the clock of node %d is set to %+v", a.id, time.Duration(s))
		a.skew.Store(s)
	case "split":
		f.split(rng)
	case "merge":
		f.merge(rng)
	case "gather":
		f.gather(rng)
	case "transfer":
		f.transfer(rng)
	case "replicas":
		f.move(rng)
	}
}

// restart is what happens to a process whose disk has failed: it is gone, and somebody starts it again.
func (f *nemesis) restart(n *node) {
	f.restartAfter(n, rand.New(rand.NewPCG(f.w.o.Seed, uint64(n.id)<<16+uint64(n.lives))), 300*time.Millisecond)
}

// take marks a node as being restarted; false if it is already, or if there shall be no more faults.
func (f *nemesis) take(n *node) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.busy[n.id] || f.over && n.life.Load() == nil {
		return false
	}
	f.busy[n.id] = true
	return true
}

func (f *nemesis) release(n *node) {
	f.mu.Lock()
	f.busy[n.id] = false
	f.mu.Unlock()
}

// unheard keeps a gateway and node b from each other: it reaches b by way of others only, and b gets no answer from it. So b takes its transactions for
// abandoned, and finishes them while the gateway does, too. What the gateway sends takes its time, so that there is time for that, and most
// clients happen to be there.
func (f *nemesis) unheard(rng *rand.Rand, b *node, d time.Duration, not ...*node) bool {
	w := f.w
	a := w.nodes[rng.IntN(len(w.nodes))]
	if a == b || slices.Contains(not, a) || !w.busiest.CompareAndSwap(nil, a) {
		return false // one at a time
	}
	w.trace.say("gateway %d and node %d do not hear each other for %v", a.id, b.id, d)
	set := func(on bool, extra time.Duration) {
		for _, o := range w.nodes {
			if o != a {
				w.net.change(a.id, o.id, func(l *link) { l.extra = extra })
			}
		}
		cut := func(l *link) { l.cut[calls] = on }
		w.net.change(a.id, b.id, cut)
		w.net.change(b.id, a.id, cut)
	}
	f.lasting(d, func() { set(true, 60*time.Millisecond) }, func() { set(false, 0); w.busiest.Store(nil) })
	return true
}

// forsake cuts off the gateway of a load that pauses, for so long that the others take it for dead and drop what the load has sent ahead, and lets it
// come back before the load goes on. Of half of them only the gateway is cut off, and the store is not: who leads stays.
func (f *nemesis) forsake(rng *rand.Rand, d time.Duration) {
	w := f.w
	if !f.forsaking.CompareAndSwap(false, true) {
		return // one at a time
	}
	then := time.Duration(0) // for what is left of the transaction to go by age
	if w.o.GCAfter < 10*time.Second {
		then = w.o.GCAfter + time.Second
	}
	a := w.pauses.forsake(rng, d+then)
	if a == nil {
		f.forsaking.Store(false)
		return
	}
	store := rng.IntN(2) == 0
	w.trace.say("node %d, where a load pauses, is cut off for %v; its store, too: %v", a.id, d, store)
	w.trace.count("loads: cut off while they paused", 1)
	set := func(on bool) {
		c := func(l *link) {
			if l.cut[calls] = on; store {
				l.cut[raftTraffic], l.cut[heartbeats] = on, on
			}
		}
		for _, o := range w.nodes {
			if o != a {
				w.net.change(a.id, o.id, c)
				w.net.change(o.id, a.id, c)
			}
		}
	}
	f.lasting(d, func() { set(true) }, func() { set(false); f.forsaking.Store(false) })
}

// lapse lets the support of a leader run out while other nodes' gateways still reach it, and still take it for the leader: those of
// nodes at which no clients are, and which finish transactions that seem abandoned. It hears the others' heartbeats: one that hears nobody would
// know, and lead no more.
func (f *nemesis) lapse(rng *rand.Rand, d time.Duration) {
	l, _, ok := f.anyRange(rng)
	o, _, ok2 := f.anyRange(rng)
	if !ok || !ok2 || l == o || !f.unheard(rng, o.n, d+3*time.Second, l.n) {
		return
	}
	f.jobs.Go(func() {
		sleep(f.stop, time.Second)
		f.w.trace.say("the store of node %d is not heard by the others', its gateway is", l.n.id)
		set := func(on bool) {
			for _, o := range f.w.nodes {
				f.w.net.change(l.n.id, o.id, func(l *link) { l.cut[raftTraffic], l.cut[heartbeats] = on, on })
				f.w.net.change(o.id, l.n.id, func(l *link) { l.cut[raftTraffic] = on })
			}
		}
		set(true)
		sleep(f.stop, 3*time.Second)
		set(false)
	})
}

func (f *nemesis) restartAfter(n *node, rng *rand.Rand, d time.Duration) {
	if !f.take(n) {
		return
	}
	f.w.trace.say("node %d crashes; back in %v", n.id, d)
	n.kill(rng)
	f.jobs.Go(func() {
		defer f.release(n)
		sleep(f.stop, d)
		f.startAgain(n)
	})
}

func (f *nemesis) orderly(n *node, d time.Duration) {
	if !f.take(n) {
		return
	}
	f.w.trace.say("node %d is shut down; back in %v", n.id, d)
	f.jobs.Go(func() {
		defer f.release(n)
		n.stop()
		sleep(f.stop, d)
		f.startAgain(n)
	})
}

func (f *nemesis) startAgain(n *node) {
	f.w.trace.count("restarts", 1)
	for try := range 20 {
		err := n.start()
		if err == nil {
			return
		}
		f.w.trace.say("node %d does not start: %v", n.id, err)
		if kv.HasCode(err, kv.CodeCorruption) || try == 19 {
			f.w.fail("node %d does not start: %v", n.id, err)
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// heal ends all faults and waits until every node is there.
func (f *nemesis) heal() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	f.done()
	f.jobs.Wait()
	f.w.net.heal()
	for _, n := range f.w.nodes {
		n.skew.Store(0)
		n.disk.set(func(d *disk) { d.slow, d.stalled, d.failing = 0, time.Time{}, false })
	}
}
