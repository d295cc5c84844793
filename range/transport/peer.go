package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/pamirdb/pamir/range/kv"
)

// Kinds of messages on the control stream.
const (
	controlPing = 1 + iota
	controlPong
	controlGossip
	controlHeartbeat
)

// peer is this node's sending side towards one address of another node.
type peer struct {
	t    *Transport
	id   kv.NodeID
	addr string
	// fast carries raft and control, bulk batches, snapshots and calls, so
	// that a large result never stands before a heartbeat.
	fast, bulk *grpc.ClientConn

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	raft, control *oneWay
	batch         *batchClient

	made       int64        // monotonic
	lastPing   atomic.Int64 // the same; 0 before the first
	lastPong   atomic.Int64 // the same
	suspected  atomic.Int64 // the lastPong since when nothing is expected of it: see Suspect
	doubting   atomic.Bool
	turns      atomic.Int32 // see turn
	turnAt     atomic.Int64 // when the last turn was, monotonic
	turnPong   atomic.Int64 // lastPong at that turn
	missed     atomic.Int64 // see unanswered: as of that turn
	sentGossip atomic.Uint64
	rtt        atomic.Int64
	distance   atomic.Int64 // what rtt is without waiting for processors: the least of it, forgotten slowly
	offset     atomic.Int64
	lastErr    atomic.Pointer[string]
	badClock   rateLimit
	errLog     rateLimit
}

func (t *Transport) newPeer(id kv.NodeID, addr string) (*peer, error) {
	p := &peer{t: t, id: id, addr: addr, made: monotonic()}
	var err error
	if p.fast, err = t.dial(addr); err != nil {
		return nil, err
	}
	if p.bulk, err = t.dial(addr); err != nil {
		return nil, errors.Join(err, p.fast.Close())
	}
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	p.raft = &oneWay{p: p, name: "Raft", kind: KindRaft, box: newOutbox(t.cfg.RaftQueueBytes)}
	p.control = &oneWay{p: p, name: "Control", kind: KindControl, box: newOutbox(4 << 20), recv: p.recvControl}
	p.batch = newBatchClient(p)
	p.wg.Add(3)
	go func() { defer p.wg.Done(); p.raft.run() }()
	go func() { defer p.wg.Done(); p.control.run() }()
	go func() { defer p.wg.Done(); p.batch.run() }()
	return p, nil
}

// close ends the peer; its goroutines are waited for by the transport.
func (p *peer) close() {
	p.cancel()
	p.t.wg.Add(1)
	go func() {
		defer p.t.wg.Done()
		p.wg.Wait()
		p.fast.Close()
		p.bulk.Close()
	}()
}

func (p *peer) silence() time.Duration {
	return time.Duration(monotonic() - max(p.lastPong.Load(), p.made))
}

func (p *peer) alive() bool {
	last := p.lastPong.Load()
	return last != 0 && last != p.suspected.Load() && p.silence() < p.t.cfg.PeerTimeout
}

// failed records why a stream could not be opened or broke.
func (p *peer) failed(stream string, err error) {
	if p.ctx.Err() != nil {
		return
	}
	msg := status.Convert(err).Message()
	if errors.Is(err, context.Canceled) {
		msg = "no answer within the peer timeout"
	}
	old := p.lastErr.Swap(&msg)
	p.t.cfg.Metrics.broken.Inc()
	if old == nil || *old != msg || p.errLog.allow(5*time.Minute) {
		p.t.cfg.Log.Warn("connection to peer", "node", p.id, "addr", p.addr, "stream", stream, "err", msg)
	}
}

// open opens a stream. It waits for the connection, but not longer than the peer timeout.
func (p *peer) open(ctx context.Context, conn *grpc.ClientConn, name string) (grpc.ClientStream, error) {
	return conn.NewStream(p.t.outgoing(ctx, p.id), &streamDesc, "/"+serviceName+"/"+name)
}

// pause waits a little after a failure; false when the peer is closed.
func (p *peer) pause(failures int) bool {
	d := min(25*time.Millisecond<<min(failures, 5), 500*time.Millisecond)
	timer := time.NewTimer(d/2 + rand.N(d/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-p.ctx.Done():
		return false
	}
}

// oneWay is a queue and the stream that empties it.
type oneWay struct {
	p    *peer
	name string
	kind Kind
	box  *outbox
	recv func(b []byte) // answers, if there are any
}

func (o *oneWay) send(msgs ...[]byte) bool {
	size := 0
	for _, msg := range msgs {
		size += len(msg) + 5
	}
	return o.box.add(size, func(b []byte) []byte {
		for _, msg := range msgs {
			b = binary.AppendUvarint(b, uint64(len(msg)))
			b = append(b, msg...)
		}
		return b
	}) != 0
}

// send2 puts a byte before the message.
func (o *oneWay) send2(kind byte, msg []byte) bool {
	return o.box.add(len(msg)+6, func(b []byte) []byte {
		b = binary.AppendUvarint(b, uint64(len(msg))+1)
		b = append(b, kind)
		return append(b, msg...)
	}) != 0
}

// run keeps a stream open while there is something to send.
func (o *oneWay) run() {
	for failures := 0; ; {
		select {
		case <-o.box.pending:
		case <-o.p.ctx.Done():
			return
		}
		sent, err := o.runStream()
		if o.p.ctx.Err() != nil {
			return
		}
		// What was queued for a stream that broke is stale: dropping it is safe and
		// keeps a returning peer from being flooded with the past.
		o.p.t.cfg.Metrics.dropped[o.kind].Add(float64(o.box.clear()))
		o.p.failed(o.name, err)
		if sent {
			failures = 0
		}
		if !o.p.pause(failures) {
			return
		}
		failures++
	}
}

func (o *oneWay) runStream() (sent bool, err error) {
	ctx, cancel := context.WithCancel(o.p.ctx)
	defer cancel()
	conn := o.p.fast
	st, err := o.p.open(ctx, conn, o.name)
	if err != nil {
		return false, err
	}
	broke := make(chan error, 1)
	o.p.wg.Add(1)
	go func() {
		defer o.p.wg.Done()
		var f frame
		for {
			if err := st.RecvMsg(&f); err != nil {
				broke <- err
				cancel()
				return
			}
			if o.recv != nil {
				o.recv(f.b)
			}
		}
	}()
	w := writer{t: o.p.t, to: o.p.id, kind: o.kind, box: o.box, send: func(b []byte) error { return st.SendMsg(&frame{b: b}) }}
	sent, err = w.run(ctx)
	cancel()
	if e := <-broke; err == nil || errors.Is(err, context.Canceled) || !errors.Is(e, context.Canceled) {
		err = e
	}
	return sent, err
}

// recvControl takes answers on the control stream: pongs.
func (p *peer) recvControl(b []byte) {
	ts, b, err := cutReading(b)
	if err != nil {
		return
	}
	p.t.follow(ts, p.id)
	for len(b) > 0 {
		var msg []byte
		if msg, b, err = cutBytes(b); err != nil || len(msg) != 17 || msg[0] != controlPong {
			return
		}
		sent := int64(binary.BigEndian.Uint64(msg[1:]))
		remote := int64(binary.BigEndian.Uint64(msg[9:]))
		now := monotonic()
		rtt := now - sent
		if rtt < 0 {
			return
		}
		p.rtt.Store(rtt)
		if d := p.distance.Load(); d == 0 || rtt < d {
			p.distance.Store(rtt)
		} else {
			p.distance.Store(d + (rtt-d)/16)
		}
		p.offset.Store(remote - (p.t.cfg.Clock.Physical() - rtt/2))
		p.lastPong.Store(now)
	}
}

// pinger pings every peer that nothing else has carried a ping to, gossips the book, and breaks what is silent.
func (t *Transport) pinger() {
	defer t.wg.Done()
	tick := time.NewTicker(t.cfg.PingInterval)
	defer tick.Stop()
	var lastGossip, lastTurn int64
	for {
		select {
		case <-tick.C:
		case <-t.news: // others hear at once what this node says of itself
			t.gossip(false)
			continue
		case <-t.ctx.Done():
			return
		}
		now := monotonic()
		full := now-lastGossip >= int64(t.cfg.GossipInterval)
		if full {
			lastGossip = now
		}
		t.pingAll(full, now-lastTurn < int64(t.cfg.PingInterval)*3/2)
		lastTurn = now
	}
}

func (t *Transport) pingAll(full, inTime bool) {
	alive := 0
	for _, p := range *t.ptr.Load() {
		p.turn(inTime, monotonic())
		if p.pingDue() {
			p.ping()
		}
		if p.alive() {
			alive++
		} else if p.lastPong.Load() != 0 {
			p.batch.breakStream()
		}
	}
	t.gossip(full)
	t.cfg.Metrics.peersAlive.Set(float64(alive))
}

// gossip sends the book to every peer that has not been sent this version of it; to all if full.
func (t *Transport) gossip(full bool) {
	var book []byte
	version := t.book.Version()
	for _, p := range *t.ptr.Load() {
		if !full && p.sentGossip.Load() == version {
			continue
		}
		if book == nil {
			var err error
			if book, err = t.book.Encode(); err != nil {
				t.cfg.Log.Error("cannot encode the address book", "err", err)
				return
			}
		}
		if p.control.send2(controlGossip, book) {
			p.sentGossip.Store(version)
		}
	}
}
