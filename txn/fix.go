package txn

import (
	"context"
	"sync"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// A version that was written between the snapshot and the first reading of its node's clock may or may not have been acknowledged before the
// snapshot was taken. It moves the snapshot, and what has been read is looked at again; if that has changed, and somebody has been told of it,
// the transaction cannot go on. So whoever is going to tell, and to read on at the same snapshot, first asks the nodes for their clocks, and takes
// the latest: nothing of theirs is uncertain then.
//
// What is left: a version that was prepared before and committed at a later timestamp, a range whose leader has changed since, and nodes that are
// far away, which nobody waits for.

// Clocks reads the clocks of the other nodes.
type Clocks interface {
	// Near returns the other nodes that answer, and soon.
	Near() []kv.NodeID
	// ReadClock returns a reading that the node took after it was asked.
	ReadClock(ctx context.Context, node kv.NodeID) (hlc.Timestamp, error)
}

// clockReads asks each node one question at a time; those who come meanwhile share the next one.
type clockReads struct {
	mu     sync.Mutex
	byNode map[kv.NodeID]*nodeClock
}

type nodeClock struct {
	next *clockRead // not asked yet, and nil if nobody wants it; guarded by clockReads.mu
	busy bool       // a goroutine asks; guarded by clockReads.mu
}

// clockRead is one reading. ts is empty if there was none; both are set when done is closed.
type clockRead struct {
	done chan struct{}
	ts   hlc.Timestamp
}

// readClock returns a reading of a node's clock that is taken after the call; nil if the coordinator is closed.
func (c *Coordinator) readClock(node kv.NodeID) *clockRead {
	c.mu.RLock() // so that Close waits for the goroutine
	defer c.mu.RUnlock()
	if c.closed {
		return nil
	}
	r := &c.clockReads
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.byNode[node]
	if n == nil {
		if r.byNode == nil {
			r.byNode = map[kv.NodeID]*nodeClock{}
		}
		n = &nodeClock{}
		r.byNode[node] = n
	}
	if n.next == nil {
		n.next = &clockRead{done: make(chan struct{})}
	}
	read := n.next
	if !n.busy {
		n.busy = true
		c.wg.Add(1)
		go c.readClocks(node, n)
	}
	return read
}

// readClocks asks a node as long as somebody wants to know.
func (c *Coordinator) readClocks(node kv.NodeID, n *nodeClock) {
	defer c.wg.Done()
	for {
		c.clockReads.mu.Lock()
		read := n.next
		n.next = nil
		n.busy = read != nil
		c.clockReads.mu.Unlock()
		if read == nil {
			return
		}
		ctx, cancel := context.WithTimeout(c.ctx, c.cfg.Clock.MaxOffset()) // nobody waits for longer
		ts, err := c.cfg.Clocks.ReadClock(ctx, node)
		cancel()
		if err == nil && c.cfg.Clock.Believes(ts) {
			c.cfg.Clock.Update(ts)
			read.ts = ts
		}
		close(read.done)
	}
}

// FixSnapshot implements SnapshotFixer. It takes one round to the nearby nodes, and the maximum offset at most: after that every
// clock has passed the end of the uncertainty window.
func (t *txn) FixSnapshot(ctx context.Context) error {
	c := t.c
	if c.cfg.Clocks == nil || !t.opts.ReadAsOf.IsEmpty() {
		return nil
	}
	t.mu.Lock()
	err := t.usable()
	if err == nil {
		err = t.begin(ctx)
	}
	fixed, limit, snapshot := t.fixed, t.meta.UncertaintyLimit, t.snapshot
	t.mu.Unlock()
	if err != nil || fixed {
		return err
	}
	if left := time.Duration(limit.WallTime - c.cfg.Clock.Now().WallTime); left > 0 {
		near := c.cfg.Clocks.Near()
		if len(near) == 0 {
			t.setFixed(snapshot)
			return nil
		}
		if err := t.readNear(ctx, near, snapshot, left); err != nil {
			return err
		}
	}
	if err := t.moveTo(ctx, c.cfg.Clock.Now()); err != nil {
		return err
	}
	if err := t.awaitScans(ctx); err != nil {
		return err
	}
	t.setFixed(snapshot)
	return nil
}

// scansOut counts the scans whose answers are on their way (parallel ones). Those that were sent before the snapshot moved are behind: what they
// bring is brought up to it when it comes, or is found to have changed.
type scansOut struct {
	out, behind int
	failed      error         // of one that was behind
	caughtUp    chan struct{} // closed when none is behind, if anybody waits for that
}

// setReadTS moves the snapshot; t.mu is held.
func (t *txn) setReadTS(ts hlc.Timestamp) {
	t.meta.ReadTS = ts
	t.scans.behind = t.scans.out
}

// stampScan is stamp for a scan; scanDone follows.
func (t *txn) stampScan(ctx context.Context, p *scanRead, opts *ScanOptions) (hlc.Timestamp, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, err := t.stampLocked(ctx, &p.req, &p.meta, opts)
	if err == nil {
		t.scans.out++
	}
	return at, err
}

func (t *txn) scanDone(at hlc.Timestamp, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.scans
	s.out--
	if !at.Less(t.meta.ReadTS) {
		return
	}
	if s.failed == nil {
		s.failed = err
	}
	if s.behind--; s.behind <= 0 && s.caughtUp != nil {
		close(s.caughtUp)
		s.caughtUp = nil
	}
}

// awaitScans waits until no scan is behind.
func (t *txn) awaitScans(ctx context.Context) error {
	t.mu.Lock()
	for t.scans.behind > 0 {
		if t.scans.caughtUp == nil {
			t.scans.caughtUp = make(chan struct{})
		}
		ch := t.scans.caughtUp
		t.mu.Unlock()
		select {
		case <-ch:
		case <-ctx.Done():
			return asError(ctx, ctx.Err())
		}
		t.mu.Lock()
	}
	defer t.mu.Unlock()
	return t.scans.failed
}

// readNear asks the nodes for their clocks and waits for d at most.
func (t *txn) readNear(ctx context.Context, near []kv.NodeID, snapshot int, d time.Duration) error {
	reads := make([]*clockRead, len(near))
	for i, n := range near {
		reads[i] = t.c.readClock(n)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	for i, r := range reads {
		if r == nil {
			continue
		}
		select {
		case <-r.done:
		case <-timer.C:
			return nil // the window has passed
		case <-ctx.Done():
			return asError(ctx, ctx.Err())
		}
		if !r.ts.IsEmpty() {
			t.mu.Lock()
			if t.snapshot == snapshot {
				t.observe(near[i], r.ts)
			}
			t.mu.Unlock()
		}
	}
	return nil
}

func (t *txn) setFixed(snapshot int) {
	t.mu.Lock()
	t.fixed = t.fixed || t.snapshot == snapshot
	t.mu.Unlock()
}
