package transport

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// Transport is one node's end of the network.
type Transport struct {
	cfg  Config
	book *Book

	id      atomic.Pointer[Identity]
	handler atomic.Pointer[Handler]

	ctx    context.Context // ends when Close is called
	cancel context.CancelFunc
	wg     sync.WaitGroup
	news   chan struct{} // this node's own entry has changed; holds a token
	server *grpc.Server

	mu    sync.Mutex
	peers map[kv.NodeID]*peer // replaced as a whole; guarded by mu for writing
	ptr   atomic.Pointer[map[kv.NodeID]*peer]
	calls map[string]*grpc.ClientConn // connections of cold calls by address; guarded by mu
	done  bool                        // guarded by mu
}

// New makes a transport. It sends nothing and accepts nothing before Start.
func New(cfg Config) *Transport {
	cfg.setDefaults()
	t := &Transport{cfg: cfg, peers: map[kv.NodeID]*peer{}, calls: map[string]*grpc.ClientConn{}, news: make(chan struct{}, 1)}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.ptr.Store(&t.peers)
	return t
}

// Serve accepts connections on ln until Close; it may be called before Start, so that the
// address is taken early. Streams are refused until Start has been called.
func (t *Transport) Serve(ln net.Listener) {
	t.mu.Lock()
	if t.server == nil {
		t.server = t.newServer()
	}
	s := t.server
	t.mu.Unlock()
	t.wg.Add(1)
	go func() {
		defer t.wg.Done()
		if err := s.Serve(ln); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.cfg.Log.Error("rpc listener failed", "err", err)
		}
	}()
}

// Start begins to talk to the nodes of the book, as the node id, and lets h answer.
func (t *Transport) Start(id Identity, book *Book, h Handler) {
	t.book = book
	t.handler.Store(&h)
	t.id.Store(&id)
	book.Watch(t.bookChanged)
	t.bookChanged(book.Entries())
	t.wg.Add(1)
	go t.pinger()
}

// handle returns who answers; nil before Start.
func (t *Transport) handle() Handler {
	if h := t.handler.Load(); h != nil {
		return *h
	}
	return nil
}

// Close breaks all connections and waits for every goroutine.
func (t *Transport) Close() {
	t.mu.Lock()
	t.done = true
	s := t.server
	conns := t.calls
	t.calls = map[string]*grpc.ClientConn{}
	peers := *t.ptr.Load()
	t.mu.Unlock()
	t.cancel()
	for _, p := range peers {
		p.close()
	}
	for _, c := range conns {
		c.Close()
	}
	if s != nil {
		s.Stop()
	}
	t.wg.Wait()
}

// Book returns the address book.
func (t *Transport) Book() *Book { return t.book }

// bookChanged follows the address book: a node that is new or has moved gets a (new) peer.
func (t *Transport) bookChanged(changed []Entry) {
	self := t.id.Load()
	if self == nil {
		return
	}
	if slices.ContainsFunc(changed, func(e Entry) bool { return e.NodeID == self.NodeID }) {
		select {
		case t.news <- struct{}{}:
		default:
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return
	}
	next := make(map[kv.NodeID]*peer, len(t.peers)+len(changed))
	for id, p := range t.peers {
		next[id] = p
	}
	for _, e := range changed {
		if e.NodeID == self.NodeID || e.RPCAddr == "" {
			continue
		}
		if p := next[e.NodeID]; p != nil {
			if p.addr == e.RPCAddr {
				continue
			}
			p.close()
		}
		p, err := t.newPeer(e.NodeID, e.RPCAddr)
		if err != nil {
			t.cfg.Log.Error("cannot reach peer", "node", e.NodeID, "addr", e.RPCAddr, "err", err)
			continue
		}
		next[e.NodeID] = p
	}
	t.peers = next
	t.ptr.Store(&next)
}

func (t *Transport) peer(id kv.NodeID) *peer { return (*t.ptr.Load())[id] }

// SendRaft queues consensus messages, which leave together. It copies them, never blocks, and drops them when the queue is full.
func (t *Transport) SendRaft(to kv.NodeID, msgs ...[]byte) {
	p := t.peer(to)
	if p == nil || !p.raft.send(msgs...) {
		t.cfg.Metrics.dropped[KindRaft].Add(float64(len(msgs)))
	}
}

// SendHeartbeat queues a store heartbeat, on a stream of its own. It copies msg and never blocks.
func (t *Transport) SendHeartbeat(to kv.NodeID, msg []byte) {
	p := t.peer(to)
	if p != nil && p.pingDue() {
		p.ping() // both in one frame, nearly always
	}
	if p == nil || !p.control.send2(controlHeartbeat, msg) {
		t.cfg.Metrics.dropped[KindControl].Inc()
	}
}

// Send delivers a batch to a node and waits for the answer. Errors are
// *kv.Error: CodeUnavailable if nothing was sent, CodeUnknownOutcome if the
// connection broke or ctx ended while the answer was out.
func (t *Transport) Send(ctx context.Context, to kv.NodeID, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	p := t.peer(to)
	if p == nil {
		return nil, kv.Errorf(kv.CodeUnavailable, "no address is known for node %d", to)
	}
	return p.batch.send(ctx, req, batchRequest)
}

// ReadClock returns a reading of a node's clock that was taken after it was asked. Errors as for Send.
func (t *Transport) ReadClock(ctx context.Context, node kv.NodeID) (hlc.Timestamp, error) {
	resp, err := t.Send(ctx, node, &kv.BatchRequest{Now: t.cfg.Clock.Now()})
	if err != nil {
		return hlc.Timestamp{}, err
	}
	return resp.Now, nil
}

// Near returns the other nodes that answer, and within d.
func (t *Transport) Near(d time.Duration) []kv.NodeID {
	peers := *t.ptr.Load()
	out := make([]kv.NodeID, 0, len(peers))
	for id, p := range peers {
		if p.alive() && p.distance.Load() <= int64(d) {
			out = append(out, id)
		}
	}
	return out
}

// Relay asks a node to pass a batch on to the leader of its range, which this node cannot reach. Errors as for Send.
func (t *Transport) Relay(ctx context.Context, via kv.NodeID, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	p := t.peer(via)
	if p == nil {
		return nil, kv.Errorf(kv.CodeUnavailable, "no address is known for node %d", via)
	}
	return p.batch.send(ctx, req, batchRelay)
}

// Alive reports whether the peer has answered a ping within the peer timeout.
func (t *Transport) Alive(id kv.NodeID) bool {
	if self := t.id.Load(); self != nil && self.NodeID == id {
		return true
	}
	p := t.peer(id)
	return p != nil && p.alive()
}

// RTT is how long the way to the node and back takes when nobody is busy; 0 if that is not known yet.
func (t *Transport) RTT(id kv.NodeID) time.Duration {
	if p := t.peer(id); p != nil {
		return time.Duration(p.distance.Load())
	}
	return 0
}

// ClockOff reports whether the last ping shows for certain that the node's clock is off by more than the maximum offset. What it asks for is not done, then,
// by those that it is ahead of, and it does nothing for those that it is behind.
func (t *Transport) ClockOff(id kv.NodeID) bool {
	p := t.peer(id)
	limit := t.cfg.Clock.MaxOffset()
	return p != nil && limit > 0 && time.Duration(p.offset.Load()).Abs()-time.Duration(p.rtt.Load()/2) > limit
}

// Silence returns for how long the peer has answered no ping while this process was here to hear it, since it was heard of: less than the time that
// has passed if this process was without a processor. False if it is not known at all, or is this node.
func (t *Transport) Silence(id kv.NodeID) (time.Duration, bool) {
	if self := t.id.Load(); self != nil && self.NodeID == id {
		return 0, false
	}
	p := t.peer(id)
	if p == nil {
		return 0, false
	}
	return p.unanswered(monotonic()), true
}

// PeerStatus is what this node knows of its connection to another.
type PeerStatus struct {
	NodeID    kv.NodeID
	Addr      string
	Alive     bool
	Silence   time.Duration // since the last answer; since this process heard of the node, or of its address, if there was none
	Heard     bool          // there was one
	RTT       time.Duration // of the last ping
	Offset    time.Duration // of the peer's physical clock, measured by the last ping
	LastError string
}

// Peers returns the state of every connection.
func (t *Transport) Peers() []PeerStatus {
	var out []PeerStatus
	for id, p := range *t.ptr.Load() {
		st := PeerStatus{NodeID: id, Addr: p.addr, Alive: p.alive(), Silence: p.silence(), Heard: p.lastPong.Load() != 0,
			RTT: time.Duration(p.rtt.Load()), Offset: time.Duration(p.offset.Load())}
		if e := p.lastErr.Load(); e != nil {
			st.LastError = *e
		}
		out = append(out, st)
	}
	return out
}

// Call makes a cold call to an address, which need not be that of a member.
func (t *Transport) Call(ctx context.Context, addr, method string, body []byte) ([]byte, error) {
	conn, err := t.callConn(addr)
	if err != nil {
		return nil, err
	}
	return t.call(ctx, conn, 0, method, body)
}

// CallNode makes a cold call to a node.
func (t *Transport) CallNode(ctx context.Context, to kv.NodeID, method string, body []byte) ([]byte, error) {
	p := t.peer(to)
	if p == nil {
		return nil, kv.Errorf(kv.CodeUnavailable, "no address is known for node %d", to)
	}
	return t.call(ctx, p.bulk, to, method, body)
}

func (t *Transport) callConn(addr string) (*grpc.ClientConn, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return nil, errClosed
	}
	if c := t.calls[addr]; c != nil {
		return c, nil
	}
	c, err := t.dial(addr)
	if err != nil {
		return nil, err
	}
	t.calls[addr] = c
	return c, nil
}

var errClosed = errors.New("transport: closed")

func (t *Transport) dial(addr string) (*grpc.ClientConn, error) {
	creds := t.cfg.ClientCreds
	if creds == nil {
		creds = insecure.NewCredentials()
	}
	return grpc.NewClient("passthrough:///"+addr, clientOptions(creds)...)
}

// believe takes in a clock reading; false if it is too far ahead to be believed.
func (t *Transport) believe(ts hlc.Timestamp, from kv.NodeID) bool {
	if !t.credible(ts, from) {
		off := t.cfg.Clock.Offset(ts)
		t.cfg.Metrics.badClock.Inc()
		if p := t.peer(from); p != nil && p.badClock.allow(10*time.Second) {
			t.cfg.Log.Error("clock reading of a peer is ahead by more than --max-offset; its messages are not delivered",
				"node", from, "ahead", off, "max_offset", t.cfg.Clock.MaxOffset())
		}
		return false
	}
	t.cfg.Clock.Update(ts)
	return true
}

// credible reports whether a reading that a node has sent may be followed. A node whose own clock is within the bound may have it from another, which is
// ahead by as much again: those in the middle have believed it, and are not to be cut off for that. What a clock beyond the bound says is not passed on.
func (t *Transport) credible(ts hlc.Timestamp, from kv.NodeID) bool {
	limit := t.cfg.Clock.MaxOffset()
	if t.cfg.Clock.Offset(ts) <= limit {
		return true
	}
	p := t.peer(from)
	return p != nil && p.lastPong.Load() != 0 && time.Duration(p.offset.Load()).Abs() <= limit && t.cfg.Clock.Believes(ts)
}

// follow takes in a reading if it is credible, and delivers what came with it in any case.
func (t *Transport) follow(ts hlc.Timestamp, from kv.NodeID) {
	if t.credible(ts, from) {
		t.cfg.Clock.Update(ts)
	}
}

// link asks the fault injector, if there is one.
func (t *Transport) link(to kv.NodeID, kind Kind) (drop bool, delay time.Duration) {
	if t.cfg.Faults == nil {
		return false, 0
	}
	return t.cfg.Faults.Link(t.id.Load().NodeID, to, kind)
}

// rateLimit lets one event through in a while.
type rateLimit struct{ last atomic.Int64 }

func (r *rateLimit) allow(every time.Duration) bool {
	now := monotonic()
	last := r.last.Load()
	return (last == 0 || now-last > int64(every)) && r.last.CompareAndSwap(last, now)
}

var processStart = time.Now()

// monotonic is a clock that is never set, in ns, and never zero.
func monotonic() int64 { return int64(time.Since(processStart)) + 1 }
