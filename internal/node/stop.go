package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

const (
	// stopWithin bounds how long a node that stops waits for what its transactions have left to do. Recovery finishes the rest.
	stopWithin = 10 * time.Second
	// stopPoll is how often a node that stops looks whether the others are still there.
	stopPoll = 20 * time.Millisecond
)

// Stop stops everything, without handing anything over, and waits for it.
func (n *Node) Stop() { n.stop(nil) }

// Shutdown drains and stops. If all other nodes that run are draining, too, the cluster is going down as a whole: then no node leaves before the clients of
// all have ended, and what their transactions have left to do. Who was left alone could finish none of it, and would wait in vain.
func (n *Node) Shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), n.cfg.DrainTimeout)
	defer cancel()
	n.Drain(ctx)
	n.stop(func() { n.awaitOthers(ctx) })
}

// StopAll stops nodes that are in this process, together, without handing anything over: their stores go when the
// transactions of all of them have ended.
func StopAll(nodes ...*Node) {
	var ended, stopped sync.WaitGroup
	ended.Add(len(nodes))
	for _, n := range nodes {
		stopped.Add(1)
		go func() {
			defer stopped.Done()
			arrive := sync.OnceFunc(ended.Done)
			defer arrive() // it may have been stopped before
			n.stop(func() {
				arrive()
				ended.Wait()
			})
		}()
	}
	stopped.Wait()
}

// stop ends this node's own work, calls together, and then stops what other nodes may need for theirs.
func (n *Node) stop(together func()) {
	n.stopOnce.Do(func() {
		n.ready.Store(false)
		n.draining.Store(true)
		n.cancel()
		ctx, cancel := context.WithTimeout(context.Background(), stopWithin)
		defer cancel()
		if n.front != nil {
			n.front.close()
		}
		n.wg.Wait()
		if n.txns != nil {
			work, end := unless(ctx, n.cutOff)
			n.txns.Close(work)
			end()
		}
		if together != nil {
			together()
		}
		for i := len(n.stops) - 1; i >= 0; i-- {
			if err := n.stops[i].f(); err != nil {
				n.log.Error("stopping", "part", n.stops[i].what, "err", err)
			}
		}
		if n.begun {
			n.log.Info("stopped")
		}
	})
}

// unless returns a context that ends with ctx, or when over is found to hold. The function returned ends it, and waits for whoever looks.
func unless(ctx context.Context, over func() bool) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		every(ctx, stopPoll, func() {
			if over() {
				cancel()
			}
		})
	}()
	return ctx, func() {
		cancel()
		<-looked
	}
}

// awaitOthers says that this node has nothing left to do, and waits for the others that are draining, unless some go on without them.
func (n *Node) awaitOthers(ctx context.Context) {
	if n.book == nil {
		return
	}
	n.book.UpdateSelf(func(e *transport.Entry) { e.Drained = true })
	for first := true; ; first = false {
		company, busy := n.leavers()
		if !company || !busy && !first { // the first time, so that the others are told
			return
		}
		n.pauseDrain(ctx, stopPoll)
		if ctx.Err() != nil {
			return
		}
	}
}

// leavers reports whether all other nodes that run are draining, and there are some, and whether one of these has not yet ended what it needs others for.
func (n *Node) leavers() (company, busy bool) {
	return leavers(n.book.Entries(), n.id.NodeID, n.transport.Alive)
}

func leavers(es []transport.Entry, self kv.NodeID, alive func(kv.NodeID) bool) (company, busy bool) {
	for _, e := range es {
		if e.NodeID == self || !alive(e.NodeID) {
			continue
		}
		if !e.Draining {
			return false, false
		}
		company, busy = true, busy || !e.Drained
	}
	return company, busy
}

// abandoned reports whether this node cannot reach the rest of the cluster, which had said that it would go.
func (n *Node) abandoned() bool { return allDraining(n.book.Entries(), n.id.NodeID) && n.cutOff() }

func allDraining(es []transport.Entry, self kv.NodeID) bool {
	return !slices.ContainsFunc(es, func(e transport.Entry) bool { return e.NodeID != self && !e.Draining })
}
