package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// class is the kind of traffic: a link can be cut for one of them only, as happens when a queue is full or a firewall helps.
type class int

const (
	raftTraffic class = iota
	heartbeats
	calls // batches, snapshots and questions
	numClasses
)

var classNames = [numClasses]string{"raft", "heartbeat", "call"}

// network joins the nodes. Its faults are those of TCP streams that break and are opened again: a message is lost with all
// that follows until the link works again, an answer may never come, and what was given up may still arrive.
type network struct {
	w     *world
	mu    sync.Mutex
	rng   *rand.Rand
	links map[[2]kv.NodeID]*link
}

// link is one direction between two nodes.
type link struct {
	cut   [numClasses]bool
	since time.Time // when calls were cut
	// suspected: a store has lost its support, and calls are cut: nobody waits for them any more. broken ends those under way, and is nil if there are none.
	suspected bool
	broken    chan struct{}
	loss      float64 // of messages that nobody waits for
	dup       float64
	late      float64 // of calls that are given up, and arrive
	extra     time.Duration
	reorder   bool
	last      [numClasses]time.Time
}

func (n *network) link(from, to kv.NodeID) *link {
	l := n.links[[2]kv.NodeID{from, to}]
	if l == nil {
		l = &link{}
		n.links[[2]kv.NodeID{from, to}] = l
	}
	return l
}

// change alters one direction.
func (n *network) change(from, to kv.NodeID, f func(l *link)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(from, to)
	was := l.cut[calls]
	f(l)
	if l.cut[calls] && !was {
		l.since = time.Now()
	}
	l.suspected = l.suspected && l.cut[calls]
}

func (n *network) heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.links {
		*l = link{last: l.last, broken: l.broken}
	}
}

// isCut reports whether nothing of the class gets through.
func (n *network) isCut(from, to kv.NodeID, c class) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link(from, to).cut[c]
}

// silentAfter is how long a peer is believed to be there without a word from it.
const silentAfter = time.Second

// silent reports whether from has heard nothing of to for so long that it does not try.
func (n *network) silent(from, to kv.NodeID) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range []*link{n.link(from, to), n.link(to, from)} {
		if l.suspected || l.cut[calls] && time.Since(l.since) > silentAfter {
			return true
		}
	}
	return false
}

// suspectAfter is how long calls must have been cut for who is suspected to be taken for silent at once.
const suspectAfter = 500 * time.Millisecond

// suspect is told by a store of node from that one of node to has lost its support. If no call gets through either, those under way end.
func (n *network) suspect(from, to kv.NodeID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	x := n.link(from, to)
	for _, l := range []*link{x, n.link(to, from)} {
		if !l.cut[calls] || l.suspected || time.Since(l.since) < suspectAfter {
			continue
		}
		l.suspected = true
		n.w.trace.count("suspected in time", 1)
		n.w.trace.event("suspected", int64(from), int64(to), nil)
		if x.broken != nil {
			close(x.broken)
			x.broken = nil
		}
	}
}

// unheard returns for how long no call has got through between two nodes.
func (n *network) unheard(from, to kv.NodeID) (d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range []*link{n.link(from, to), n.link(to, from)} {
		if l.cut[calls] {
			d = max(d, time.Since(l.since))
		}
	}
	return d
}

// near reports whether an answer may be expected soon.
func (n *network) near(from, to kv.NodeID, d time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.link(from, to).extra+n.link(to, from).extra <= d
}

// transit draws what becomes of a message: how long each copy takes. No copy: it is lost.
func (n *network) transit(from, to kv.NodeID, c class) (took []time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := n.link(from, to)
	if l.cut[c] || c != calls && n.rng.Float64() < l.loss {
		return nil
	}
	copies := 1
	if c != calls && n.rng.Float64() < l.dup {
		copies = 2
	}
	now := time.Now()
	for range copies {
		d := 100*time.Microsecond + time.Duration(n.rng.ExpFloat64()*float64(300*time.Microsecond))
		if l.extra > 0 {
			d += time.Duration(n.rng.Int64N(int64(l.extra)))
		}
		if at := now.Add(d); c != calls && !l.reorder {
			if !at.After(l.last[c]) {
				at = l.last[c].Add(time.Microsecond)
			}
			l.last[c] = at
			d = at.Sub(now)
		}
		took = append(took, d)
	}
	return took
}

// send carries data from one life to another. arrived runs on a goroutine of its own; lost (if there is one) when nothing will arrive.
func (n *network) send(from, to *life, c class, data []byte, arrived, lost func()) {
	if from.dead.Load() {
		return
	}
	took := n.transit(from.n.id, to.n.id, c)
	n.w.trace.event("send "+classNames[c], int64(from.n.id), int64(to.n.id), data)
	for _, d := range took {
		time.AfterFunc(d, func() {
			if to.dead.Load() || n.isCut(from.n.id, to.n.id, c) {
				n.w.trace.event("lost "+classNames[c], int64(from.n.id), int64(to.n.id), data)
				if lost != nil {
					lost()
				}
				return
			}
			n.w.trace.event(classNames[c], int64(from.n.id), int64(to.n.id), data)
			arrived()
		})
	}
	if len(took) == 0 {
		n.w.trace.event("lost "+classNames[c], int64(from.n.id), int64(to.n.id), data)
		if lost != nil {
			lost()
		}
	}
}

type answer struct {
	body []byte
	err  error
}

// call asks another node and waits for its answer, which may be that there is none.
func (n *network) call(ctx context.Context, from *life, to kv.NodeID, body []byte, serve func(ctx context.Context, to *life, body []byte) []byte) ([]byte, error) {
	dst := n.w.up(to)
	if dst == nil {
		sleep(ctx, time.Millisecond)
		return nil, kv.Errorf(kv.CodeUnavailable, "node %d refuses connections", to)
	}
	if from.dead.Load() || n.silent(from.n.id, to) {
		return nil, kv.Errorf(kv.CodeUnavailable, "node %d is silent", to)
	}
	got := make(chan answer, 4)
	n.mu.Lock()
	patience := silentAfter/2 + time.Duration(n.rng.Int64N(int64(silentAfter)))
	late := n.rng.Float64() < n.link(from.n.id, to).late
	unsent := n.rng.IntN(3) == 0
	lateBy := time.Duration(n.rng.Int64N(int64(4 * time.Second)))
	x := n.link(from.n.id, to)
	if x.broken == nil {
		x.broken = make(chan struct{})
	}
	broken := x.broken
	n.mu.Unlock()
	silence := func(code kv.Code) func() {
		return func() {
			time.AfterFunc(patience, func() {
				got <- answer{err: kv.Errorf(code, "connection to node %d broke", to)}
			})
		}
	}
	sctx := dst.ctx
	if !late {
		// Whoever gives up says so, and the message takes its time.
		var cancel context.CancelFunc
		sctx, cancel = context.WithCancel(dst.ctx)
		if dl, ok := ctx.Deadline(); ok {
			cancel()
			sctx, cancel = context.WithDeadline(dst.ctx, dl)
		}
		defer func() { time.AfterFunc(time.Millisecond, cancel) }()
	}
	handle := func() {
		out := serve(sctx, dst, body)
		if late || dst.dead.Load() {
			return
		}
		n.send(dst, from, calls, out, func() { got <- answer{body: out} }, silence(kv.CodeUnknownOutcome))
	}
	switch {
	case late: // the caller gives up, and it arrives nevertheless
		n.w.trace.count("fault: late call", 1)
		silence(kv.CodeUnknownOutcome)()
		time.AfterFunc(lateBy, func() {
			if !dst.dead.Load() { // whoever sent it may be dead by now
				n.w.trace.event("late call", int64(from.n.id), int64(to), body)
				handle()
			}
		})
	case unsent:
		n.send(from, dst, calls, body, handle, silence(kv.CodeUnavailable))
	default:
		n.send(from, dst, calls, body, handle, silence(kv.CodeUnknownOutcome))
	}
	select {
	case a := <-got:
		return a.body, a.err
	case <-dst.ctx.Done():
		return nil, kv.Errorf(kv.CodeUnknownOutcome, "connection to node %d was reset", to)
	case <-broken:
		return nil, kv.Errorf(kv.CodeUnknownOutcome, "node %d is suspected", to)
	case <-from.ctx.Done():
		return nil, kv.Errorf(kv.CodeUnknownOutcome, "this node has ended")
	case <-ctx.Done():
		return nil, kv.Errorf(kv.CodeUnknownOutcome, "no answer from node %d: %v", to, context.Cause(ctx))
	}
}

// snapshot streams frames to HandleSnapshot of another node.
func (n *network) snapshot(ctx context.Context, from *life, to kv.NodeID, write func(send func([]byte) error) error) error {
	dst := n.w.up(to)
	if dst == nil || n.isCut(from.n.id, to, calls) {
		return fmt.Errorf("node %d cannot be reached", to)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(dst.ctx, cancel)
	defer stop()
	frames, result := make(chan []byte), make(chan error, 1)
	n.w.wg.Go(func() {
		result <- dst.store.HandleSnapshot(ctx, func() ([]byte, error) {
			select {
			case f, ok := <-frames:
				if !ok {
					return nil, io.EOF
				}
				return f, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		cancel()
	})
	err := write(func(f []byte) error {
		took := n.transit(from.n.id, to, calls)
		if took == nil || from.dead.Load() {
			return errors.New("the stream broke")
		}
		n.w.trace.event("snapshot", int64(from.n.id), int64(to), f)
		sleep(ctx, took[0])
		select {
		case frames <- append([]byte(nil), f...):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if err != nil {
		cancel()
	} else {
		close(frames)
	}
	select {
	case rerr := <-result:
		if err == nil || rerr != nil {
			return rerr
		}
		return err
	case <-dst.failed:
		return fmt.Errorf("the disk of node %d has failed", to)
	}
}
