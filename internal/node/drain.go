package node

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

// drainState is whether a drain has been asked for.
type drainState struct {
	mu    sync.Mutex
	done  chan struct{} // nil if none has been; closed when it has ended; guarded by mu
	again bool          // what has come since is being handed over; guarded by mu
}

// Drain hands over what others can do. The node stays up, and is not ready any more, until Undrain. If a drain is under way
// already, Drain waits for it.
func (n *Node) Drain(ctx context.Context) { n.beginDrain(ctx, make(chan struct{})) }

// beginDrain is Drain; it closes begun once the node says of itself that it drains.
func (n *Node) beginDrain(ctx context.Context, begun chan<- struct{}) {
	d := &n.drain
	d.mu.Lock()
	if done := d.done; done != nil {
		d.mu.Unlock()
		close(begun)
		select {
		case <-done:
		case <-ctx.Done():
		}
		return
	}
	done := make(chan struct{})
	d.done = done
	n.draining.Store(true)
	d.mu.Unlock()
	close(begun)
	defer close(done)
	began := time.Now()
	n.log.Info("draining")
	n.ready.Store(false)
	if n.book == nil {
		return
	}
	n.book.UpdateSelf(func(e *transport.Entry) { e.Draining, e.Drained = true, false })
	n.store.StopLeading(true)
	// New clients are let in for so long, because a load balancer that asks /ready now and then still sends some.
	n.pauseDrain(ctx, n.cfg.DrainWait)
	// Leaders go first: clients that stay for the rest of their transaction ask elsewhere meanwhile, and when they are gone nobody
	// waits for this node any more. A range that cannot be given away must not use up the time of the clients.
	half, cancel := context.WithTimeout(ctx, n.cfg.DrainTimeout/2)
	n.handOver(half)
	cancel()
	if n.front != nil {
		clients, end := unless(ctx, n.abandoned)
		n.front.drain(clients)
		end()
	}
	left := n.handOver(ctx) // what has come back since
	n.log.Info("drained", "ranges_still_led", left, "took", time.Since(began).Round(time.Millisecond))
}

func (n *Node) pauseDrain(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// Undrain makes a drained node serve again.
func (n *Node) Undrain() error {
	d := &n.drain
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil {
		return nil
	}
	select {
	case <-d.done:
	default:
		return kv.Errorf(kv.CodeUnavailable, "node %d is still draining", n.id.NodeID)
	}
	if n.ctx.Err() != nil {
		return kv.Errorf(kv.CodeUnavailable, "node %d is stopping", n.id.NodeID)
	}
	if n.front != nil {
		if err := n.front.resume(n); err != nil {
			return kv.Errorf(kv.CodeUnavailable, "node %d cannot take clients again: %v", n.id.NodeID, err)
		}
	}
	d.done = nil
	n.draining.Store(false)
	n.store.StopLeading(false)
	n.book.UpdateSelf(func(e *transport.Entry) { e.Draining, e.Drained = false, false })
	n.ready.Store(true)
	n.log.Info("serving again")
	return nil
}

// drainRequest asks a node to drain, or to serve again.
type drainRequest struct {
	// Do is drain, undrain, or empty to ask how far it is.
	Do string
}

func (n *Node) serveDrain(_ context.Context, _ kv.NodeID, q *drainRequest) (*DrainView, error) {
	switch q.Do {
	case "drain":
		begun := make(chan struct{})
		n.background(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, n.cfg.DrainTimeout)
			defer cancel()
			n.beginDrain(ctx, begun)
			n.book.UpdateSelf(func(e *transport.Entry) { e.Drained = e.Draining })
		})
		<-begun
	case "undrain":
		if err := n.Undrain(); err != nil {
			return nil, err
		}
	}
	v := &DrainView{NodeID: n.id.NodeID, State: "serving"}
	n.drain.mu.Lock()
	done := n.drain.done
	if done != nil {
		v.State = "draining"
		select {
		case <-done:
			v.State = "drained"
		default:
		}
	}
	n.drain.mu.Unlock()
	for _, st := range n.store.Ranges() {
		if st.Leader && st.Descriptor != nil && len(n.heirs(st.Descriptor)) > 0 {
			v.Leaders++
		}
	}
	if n.front != nil {
		v.Connections = n.front.wire.Metrics().Connections.Load()
	}
	if v.State == "drained" && v.Leaders > 0 {
		n.handOverAgain(done)
	}
	return v, nil
}

// handOverAgain hands over what a drained node has come to lead since: a leader may have been on its way to it when it looked for the last time, from a node that had not heard yet that
// it drains; or those who could take it over were silent at that moment.
func (n *Node) handOverAgain(done chan struct{}) {
	n.drain.mu.Lock()
	defer n.drain.mu.Unlock()
	if n.drain.again || n.drain.done != done {
		return
	}
	n.drain.again = true
	n.background(func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, transferTimeout)
		defer cancel()
		n.handOver(ctx)
		n.drain.mu.Lock()
		defer n.drain.mu.Unlock()
		n.drain.again = false
	})
}

// handOver moves leadership of everything away and returns how many ranges are still led here. It ends when the node is to serve again.
func (n *Node) handOver(ctx context.Context) int {
	for attempt := 0; ; attempt++ {
		led := 0
		var wg sync.WaitGroup
		slots := make(chan struct{}, 16)
		for _, st := range n.store.Ranges() {
			if !st.Leader || st.Descriptor == nil {
				continue
			}
			heirs := n.heirs(st.Descriptor)
			if len(heirs) == 0 {
				continue // nobody else could lead it: a cluster that is shut down, or too small
			}
			led++
			target := heirs[attempt%len(heirs)] // the one before may be behind
			wg.Add(1)
			slots <- struct{}{}
			go func() {
				defer wg.Done()
				defer func() { <-slots }()
				tctx, cancel := context.WithTimeout(ctx, transferTimeout)
				defer cancel()
				_, err := n.store.Send(tctx, &kv.BatchRequest{RangeID: st.Descriptor.RangeID, Now: n.clock.Now(),
					Requests: []kv.Request{&kv.AdminTransferLeader{Target: target}}})
				if err != nil && !kv.HasCode(err, kv.CodeNotLeader) {
					n.log.Debug("handing over a range", "range", st.Descriptor.RangeID, "err", err)
				}
			}()
		}
		wg.Wait()
		if led == 0 || ctx.Err() != nil || !n.draining.Load() {
			return led
		}
		n.pauseDrain(ctx, 20*time.Millisecond)
	}
}

// heirs are the stores of voters on live nodes that are not draining, the best first: those in the same place as this node, because its
// clients will be there.
func (n *Node) heirs(d *kv.RangeDescriptor) []kv.StoreID {
	type heir struct {
		store kv.StoreID
		near  int
	}
	var hs []heir
	for i := range d.Replicas {
		r := d.Replicas[(i+int(d.RangeID))%len(d.Replicas)] // spread
		if r.NodeID == n.id.NodeID || r.Type != kv.Voter || !n.transport.Alive(r.NodeID) {
			continue
		}
		if e, ok := n.book.Get(r.NodeID); ok && !e.Draining {
			hs = append(hs, heir{r.StoreID, sharedTiers(e.Locality, n.cfg.Locality)})
		}
	}
	slices.SortStableFunc(hs, func(a, b heir) int { return cmp.Compare(b.near, a.near) })
	out := make([]kv.StoreID, len(hs))
	for i, h := range hs {
		out[i] = h.store
	}
	return out
}

// sharedTiers is how many tiers two localities have in common, from the widest on.
func sharedTiers(a, b []string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
