package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/store"
)

// world is a cluster and what happens to it.
type world struct {
	o       Options
	trace   *trace
	net     *network
	nodes   []*node
	faults  *nemesis
	hist    *history
	wg      sync.WaitGroup       // everything that the simulation itself has started
	busiest atomic.Pointer[node] // where most clients are, if anywhere
	pauses  pauses
	// parked: a store's disk has failed, and its goroutines never end (engine.Config.OnFatal).
	parked atomic.Bool

	ctx    context.Context // of the clients; ends when they shall stop
	cancel context.CancelFunc
	failed atomic.Pointer[string]
}

// Result is what a run was.
type Result struct {
	Options Options
	Hash    uint64
	Events  int64
	Virtual time.Duration
	Counts  map[string]int64
	// Failure says what is wrong; empty if nothing is.
	Failure string
}

func newWorld(o Options) *world {
	w := &world{o: o, trace: newTrace(o), hist: newHistory()}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.net = &network{w: w, rng: w.rng('n'), links: map[[2]kv.NodeID]*link{}}
	for i := range o.Nodes {
		n := &node{w: w, id: kv.NodeID(i + 1)}
		n.disk = &disk{n: n, mem: vfs.NewCrashableMem(), rng: w.rng('d' + uint64(i)<<8)}
		w.nodes = append(w.nodes, n)
	}
	w.faults = newNemesis(w)
	return w
}

// rng makes a sequence of random numbers of its own for a part of the simulation, so that what one part draws does not
// change what the others do.
func (w *world) rng(part uint64) *rand.Rand { return rand.New(rand.NewPCG(w.o.Seed, part)) }

// fail ends the run with a failure; the first one counts.
func (w *world) fail(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	if w.failed.CompareAndSwap(nil, &s) {
		w.trace.say("FAILED: %s", s)
	}
	w.cancel()
}

// up returns the life of a node, or nil.
func (w *world) up(id kv.NodeID) *life {
	if id < 1 || int(id) > len(w.nodes) {
		return nil
	}
	return w.nodes[id-1].life.Load()
}

// run is one simulation, in a bubble.
func (w *world) run() *Result {
	w.trace.say("seed %d: %d nodes, %d clients, faults %q, old versions kept for %v", w.o.Seed, w.o.Nodes, w.o.Clients, w.o.Profile, w.o.GCAfter)
	if w.begin() {
		w.trace.say("the cluster is ready; faults begin")
		var clients sync.WaitGroup
		for i := range w.o.Clients {
			c := newClient(w, i)
			clients.Go(c.run)
		}
		for i := range w.o.Loads {
			clients.Go(newLoader(w, i).runLoads)
		}
		for i := range w.o.Hot {
			clients.Go(newHot(w, i).runHot)
		}
		w.faults.run(w.o.Length)
		w.trace.say("faults end")
		if !within(2*time.Minute, w.faults.heal) {
			w.fail("faults and operators are not done two minutes after the last of them began")
			w.trace.stacks()
		}
		sleep(w.ctx, time.Second)
		w.cancel()
		if !within(2*time.Minute, clients.Wait) {
			w.fail("clients are still waiting two minutes after all faults have ended")
			w.trace.stacks()
		} else if w.failed.Load() == nil {
			w.end()
		}
	}
	for _, n := range w.nodes {
		w.wg.Go(n.stop)
	}
	if !within(time.Minute, w.wg.Wait) && !w.parked.Load() {
		w.fail("the nodes do not end")
		w.trace.stacks()
		w.parked.Store(true)
	}
	r := &Result{Options: w.o, Hash: w.trace.hash, Events: w.trace.events, Virtual: time.Since(w.trace.start), Counts: w.trace.counts}
	if f := w.failed.Load(); f != nil {
		r.Failure = *f
	}
	return r
}

// within waits for f, for as long as d.
func within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// begin starts the nodes, replicates the ranges, and writes the first rows.
func (w *world) begin() bool {
	for _, n := range w.nodes {
		if err := n.start(); err != nil {
			w.fail("node %d does not start: %v", n.id, err)
			return false
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	rng := w.rng('b')
	for id := kv.RangeID(kv.MetaRangeID); id <= kv.FirstUserRange; id++ {
		// The first node has it already.
		var add []kv.Replica
		for _, i := range rng.Perm(len(w.nodes) - 1)[:2] {
			n := w.nodes[i+1].id
			add = append(add, kv.Replica{NodeID: n, StoreID: kv.StoreID(n)})
		}
		if err := w.until(ctx, func() error { return w.changeReplicas(ctx, id, add, nil) }); err != nil {
			w.fail("range %d cannot be replicated: %v", id, err)
			return false
		}
	}
	if err := w.until(ctx, func() error { return w.hist.begin(ctx, w) }); err != nil {
		w.fail("the first rows cannot be written: %v", err)
		return false
	}
	for range w.o.Splits - 1 {
		k := w.faults.splitKey(rng)
		if err := w.until(ctx, func() error {
			_, err := w.up(1).sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.AdminSplit{Key: k}}})
			return err
		}); err != nil {
			w.fail("split: %v", err)
			return false
		}
	}
	for i, id := range w.ranges() {
		to := kv.StoreID(1 + i%len(w.nodes))
		if _, st := w.leader(id); !w.o.Spread || st.Descriptor == nil {
			continue
		} else if _, ok := st.Descriptor.ReplicaOn(to); !ok {
			continue
		}
		if err := w.until(ctx, func() error {
			l, _ := w.leader(id)
			if l == nil {
				return errNoLeader
			}
			_, err := l.store.Send(ctx, &kv.BatchRequest{RangeID: id, Requests: []kv.Request{&kv.AdminTransferLeader{Target: to}}})
			return err
		}); err != nil {
			w.fail("transfer: %v", err)
			return false
		}
	}
	return true
}

// until repeats f until it succeeds.
func (w *world) until(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil {
			return nil
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return err
		}
	}
}

// gateway draws where a client connects; nil if nobody is there.
func (w *world) gateway(rng *rand.Rand) *life {
	if n := w.busiest.Load(); n != nil && rng.IntN(20) > 0 {
		return n.life.Load()
	}
	return w.up(kv.NodeID(1 + rng.IntN(len(w.nodes))))
}

// leader returns the life whose store leads a range and serves, if there is one.
func (w *world) leader(id kv.RangeID) (*life, store.RangeStatus) {
	for _, n := range w.nodes {
		if l := n.life.Load(); l != nil {
			if st, ok := l.detail(id); ok && st.Serving {
				return l, st
			}
		}
	}
	return nil, store.RangeStatus{}
}

// neighbours returns a range and the one that begins where it ends, as their leaders know them; nil if they are not led or do not meet.
func (w *world) neighbours(id kv.RangeID) (left, right *kv.RangeDescriptor) {
	if l, st := w.leader(id); l != nil {
		left = st.Descriptor
	}
	for _, id := range w.ranges() {
		if l, st := w.leader(id); left != nil && l != nil && st.Descriptor.StartKey.Equal(left.EndKey) {
			return left, st.Descriptor
		}
	}
	return nil, nil
}

var errNoLeader = kv.Errorf(kv.CodeUnavailable, "nobody leads the range")

func (w *world) changeReplicas(ctx context.Context, id kv.RangeID, add, remove []kv.Replica) error {
	l, st := w.leader(id)
	if l == nil {
		return errNoLeader
	}
	for _, r := range add {
		if _, ok := st.Descriptor.ReplicaOn(r.StoreID); ok {
			return nil
		}
	}
	_, err := l.store.Send(ctx, &kv.BatchRequest{RangeID: id, Requests: []kv.Request{
		&kv.AdminChangeReplicas{Generation: st.Descriptor.Generation, Add: add, Remove: remove},
	}})
	return err
}

// key is where the rows of the workloads are: one table, a letter for each workload.
func key(workload byte, i int64) keys.Key {
	return append(keys.Index(keys.FirstUserTable, 1), fmt.Sprintf("%c%06d", workload, i)...)
}

func span(workload byte, from, to int64) keys.Span {
	return keys.Span{Start: key(workload, from), End: key(workload, to)}
}

// ranges are the ids of all ranges that anybody knows, in order.
func (w *world) ranges() []kv.RangeID {
	seen := map[kv.RangeID]bool{}
	var last kv.RangeID
	for _, n := range w.nodes {
		if l := n.life.Load(); l != nil {
			for _, st := range l.ranges() {
				if st.Descriptor != nil {
					seen[st.RangeID] = true
					last = max(last, st.RangeID)
				}
			}
		}
	}
	var out []kv.RangeID
	for id := kv.RangeID(1); id <= last; id++ {
		if seen[id] {
			out = append(out, id)
		}
	}
	return out
}

// replicas describes the replicas of a range, a line each.
func (w *world) replicas(id kv.RangeID) (out string) {
	for _, n := range w.nodes {
		if l := n.life.Load(); l != nil {
			if st, ok := l.store.Range(id); ok {
				out += fmt.Sprintf("\n  node %d: replica %d, term %d, leader %d, serving %v, quiet %v, applied %d, log to %d, stopped %q, %v",
					n.id, st.Replica.ReplicaID, st.Term, st.LeaderReplica.ReplicaID, st.Serving, st.Quiet, st.Applied, st.LastIndex, st.Stopped, st.Descriptor)
			}
		}
	}
	return out
}

// end looks at what is left when everything is in order again.
func (w *world) end() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	w.trace.say("the last reads")
	if err := w.until(ctx, func() error { return w.hist.end(ctx, w) }); err != nil {
		w.fail("a minute after all faults have ended, not everything can be read: %v", err)
		return
	}
	if err := w.until(ctx, func() error {
		err := w.compareReplicas(ctx)
		if err != nil {
			w.trace.say("not yet: %v", err)
		}
		return err
	}); err != nil {
		w.fail("replicas: %v", err)
		return
	}
	if err := w.until(ctx, func() error { return w.hist.readVersions(ctx, w) }); err != nil {
		w.fail("versions: %v", err)
		return
	}
	if s := w.hist.check(w); s != "" {
		w.fail("%s", s)
	}
}

// compareReplicas lets all replicas of all ranges compute their checksums, and looks for locks that nobody holds.
func (w *world) compareReplicas(ctx context.Context) error {
	for _, id := range w.ranges() {
		l, st := w.leader(id)
		if l == nil {
			return fmt.Errorf("range %d has no leader%s", id, w.replicas(id))
		}
		if st.Stats.Locks != 0 {
			return fmt.Errorf("range %d still has %d locks", id, st.Stats.Locks)
		}
		resp, err := l.store.Send(ctx, &kv.BatchRequest{RangeID: id, Requests: []kv.Request{&kv.Checksum{}}})
		if err != nil {
			return fmt.Errorf("range %d: %w", id, err)
		}
		sums := resp.Responses[0].(*kv.ChecksumResponse).ByStore
		var first string
		for _, r := range st.Descriptor.Replicas {
			s, ok := sums[r.StoreID]
			switch {
			case !ok:
				return fmt.Errorf("range %d: no checksum from store %d%s", id, r.StoreID, w.replicas(id))
			case first == "":
				first = s
			case s != first:
				w.fail("range %d: replicas differ: %v", id, sums)
				return nil
			}
		}
		w.trace.count("checksums", 1)
	}
	return nil
}
