package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// profiles say how likely which fault is, relative to the others.
var profiles = map[string]map[string]int{
	"calm":      {"split": 3, "transfer": 3, "replicas": 2},
	"network":   {"isolate": 3, "one-way": 3, "pair": 3, "partial": 3, "loss": 3, "slow": 3, "late": 4, "transfer": 2, "split": 2},
	"crashes":   {"crash": 5, "crash-all": 1, "restart": 2, "split": 2, "transfer": 2, "late": 1},
	"disks":     {"stall": 4, "slow-disk": 3, "disk-error": 2, "crash": 2, "split": 1, "transfer": 1},
	"clocks":    {"skew": 6, "transfer": 4, "split": 3, "crash": 1, "isolate": 1},
	"wild":      {"wild-skew": 5, "transfer": 3, "split": 2, "crash": 1, "isolate": 1},
	"movement":  {"split": 5, "transfer": 6, "replicas": 5, "late": 1, "pair": 1, "crash": 1},
	"gateways":  {"crash": 4, "late": 5, "one-way": 2, "transfer": 3, "split": 2},
	"all":       {"isolate": 2, "one-way": 2, "pair": 2, "partial": 2, "loss": 2, "slow": 2, "late": 2, "crash": 3, "crash-all": 1, "restart": 1, "stall": 2, "slow-disk": 1, "disk-error": 1, "skew": 3, "split": 3, "transfer": 4, "replicas": 3},
	"partition": {"partial": 6, "late": 3, "isolate": 3, "transfer": 1},
	// For mutants: a few kinds of faults, and many of them.
	"splits":   {"split": 1},
	"lapse":    {"partial": 5, "limbo": 3},
	"recovery": {"limbo": 1},
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
	stop   context.Context
	done   context.CancelFunc
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
	case "splits":
		pace = 200
	case "recovery":
		pace = 3000
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
	"limbo", "stall", "slow-disk", "disk-error", "skew", "wild-skew", "split", "transfer", "replicas"}

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
	case "limbo":
		// Some of what gateway a sends comes late, and then one of the nodes hears no more of it: transactions that have
		// prepared there look as if their coordinator had died.
		w.trace.say("gateway %d is in limbo, and cut off from node %d, for %v", a.id, b.id, d)
		late := func(p float64) {
			others(func(o kv.NodeID) { w.net.change(a.id, o, func(l *link) { l.late = p }) })
		}
		set := func(on bool) { w.net.change(a.id, b.id, cutAll(on)); w.net.change(b.id, a.id, cutAll(on)) }
		late(0.5)
		d += 2 * time.Second
		f.jobs.Go(func() {
			sleep(f.stop, 30*time.Millisecond)
			set(true)
			sleep(f.stop, d)
			set(false)
			late(0)
		})
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

// What operators do. It may fail: nobody promised that it works now.

func (f *nemesis) operate(what string, at *life, g func(ctx context.Context) error) {
	f.jobs.Go(func() {
		ctx, cancel := context.WithTimeout(f.stop, 5*time.Second)
		defer cancel()
		var err error = kv.Errorf(kv.CodeUnknownOutcome, "the disk of node %d has failed", at.n.id)
		answer := make(chan error, 1)
		if at.do(func() { answer <- g(ctx) }) {
			err = <-answer
		}
		if err != nil {
			f.w.trace.say("%s: %v", what, err)
			return
		}
		f.w.trace.say("%s: done", what)
		f.w.trace.count("done: "+what[:5], 1)
	})
}

func (f *nemesis) anybody(rng *rand.Rand) *life {
	return f.w.up(kv.NodeID(1 + rng.IntN(len(f.w.nodes))))
}

func (f *nemesis) split(rng *rand.Rand) {
	l := f.anybody(rng)
	if l == nil {
		return
	}
	k := f.splitKey(rng)
	f.operate("split at "+string(k[len(k)-13:]), l, func(ctx context.Context) error {
		resp, err := l.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: k}}})
		if err != nil {
			return err
		}
		r := resp.Responses[0].(*kv.AdminSplitResponse)
		l.sender.Learn(r.Left, r.Right)
		return nil
	})
}

// splitKey returns a key between two rows. It is to the right of all that were returned before for the same gap, so that the row
// behind it changes its range again.
func (f *nemesis) splitKey(rng *rand.Rand) keys.Key {
	w := workloads[rng.IntN(len(workloads))]
	f.mu.Lock()
	defer f.mu.Unlock()
	f.splits++
	return append(key(w.letter, rng.Int64N(min(w.keys, 10))-1), fmt.Sprintf("%06d", f.splits)...)
}

func (f *nemesis) anyRange(rng *rand.Rand) (*life, kv.RangeDescriptor, bool) {
	ids := f.w.ranges()
	if len(ids) == 0 {
		return nil, kv.RangeDescriptor{}, false
	}
	l, st := f.w.leader(ids[rng.IntN(len(ids))])
	if l == nil {
		return nil, kv.RangeDescriptor{}, false
	}
	return l, *st.Descriptor, true
}

func (f *nemesis) transfer(rng *rand.Rand) {
	l, d, ok := f.anyRange(rng)
	if !ok {
		return
	}
	to := d.Replicas[rng.IntN(len(d.Replicas))]
	f.operate("transfer", l, func(ctx context.Context) error {
		f.w.trace.say("range %d shall be led by node %d", d.RangeID, to.NodeID)
		_, err := l.store.Send(ctx, &kv.BatchRequest{RangeID: d.RangeID, Requests: []kv.Request{&kv.AdminTransferLeader{Target: to.StoreID}}})
		return err
	})
}

func (f *nemesis) move(rng *rand.Rand) {
	l, d, ok := f.anyRange(rng)
	if !ok {
		return
	}
	req := &kv.AdminChangeReplicas{Generation: d.Generation}
	var here, free []kv.Replica
	for _, n := range f.w.nodes {
		r := kv.Replica{NodeID: n.id, StoreID: kv.StoreID(n.id)}
		if _, ok := d.ReplicaOn(r.StoreID); ok {
			here = append(here, r)
		} else {
			free = append(free, r)
		}
	}
	switch {
	case len(free) == 0 || len(here) > 3: // take one away, and later it comes back
		if len(here) < 3 {
			return
		}
		req.Remove = here[:0:0]
		req.Remove = append(req.Remove, here[rng.IntN(len(here))])
	case len(here) < 3:
		req.Add = append(req.Add, free[rng.IntN(len(free))])
	default:
		req.Add = append(req.Add, free[rng.IntN(len(free))])
		req.Remove = append(req.Remove, here[rng.IntN(len(here))])
	}
	f.operate("replicas", l, func(ctx context.Context) error {
		f.w.trace.say("range %d: add %v, remove %v", d.RangeID, req.Add, req.Remove)
		_, err := l.store.Send(ctx, &kv.BatchRequest{RangeID: d.RangeID, Requests: []kv.Request{req}})
		return err
	})
}
