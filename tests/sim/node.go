package sim

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/routing"
	"github.com/pamirdb/pamir/range/store"
	"github.com/pamirdb/pamir/txn"
)

// node is a machine: a disk, a clock, and at most one process at a time.
type node struct {
	w     *world
	id    kv.NodeID
	disk  *disk
	skew  atomic.Int64
	lives int
	gone  atomic.Int64         // when its last life ended
	life  atomic.Pointer[life] // nil while down, and until the start has succeeded
}

// life is one process on a node: what internal/node assembles, without sockets and SQL.
type life struct {
	n      *node
	no     int
	dead   atomic.Bool // whatever it does from then on, nobody hears of it
	ctx    context.Context
	cancel context.CancelFunc
	broken chan error    // the disk has failed
	failed chan struct{} // closed then

	clock  *hlc.Clock
	store  *store.Store
	sender *routing.Sender
	txns   *txn.Coordinator

	mu   sync.Mutex
	meta *kv.RangeDescriptor
}

// start begins a life. It takes a while: a restarted store waits out its clock's ceiling.
func (n *node) start() error {
	n.lives++
	l := &life{n: n, no: n.lives, broken: make(chan error, 1), failed: make(chan struct{})}
	w := n.w
	w.trace.say("node %d starts, life %d", n.id, l.no)
	l.ctx, l.cancel = context.WithCancel(context.Background())
	started := make(chan error, 1)
	w.wg.Go(func() { started <- l.begin() })
	var err error
	select {
	case err = <-started:
	case err = <-l.broken: // the disk failed before; what waits for it waits for ever
		l.dead.Store(true)
		l.cancel()
		n.disk.crash(w.faults.rng)
	}
	if err != nil {
		return err
	}
	w.trace.say("node %d is up", n.id)
	n.life.Store(l)
	w.wg.Go(l.gossip)
	w.wg.Go(func() {
		select {
		case <-l.broken:
			w.faults.restart(n)
		case <-l.ctx.Done():
		}
	})
	return nil
}

// begin puts the process together.
func (l *life) begin() (err error) {
	n, w := l.n, l.n.w
	l.clock = hlc.NewClock(func() int64 { return time.Now().UnixNano() + n.skew.Load() }, w.o.MaxOffset)
	log := w.trace.logger(w.o, int(n.id), l.no)
	l.store, err = store.Open(l.ctx, store.Config{
		Dir: "store", FS: n.disk.open(l), CacheBytes: 4 << 20, Clock: l.clock, Transport: (*wire)(l),
		Holders: (*holders)(l), Recoverer: (*recoverer)(l), FinishRecord: (*recoverer)(l).finish, Logger: log, Knobs: w.o.knobs(),
		OnFatal: func(err error) { // once
			if !l.dead.Load() {
				w.trace.say("node %d: the store cannot go on: %v", n.id, err)
				w.parked.Store(true)
				close(l.failed)
				l.broken <- err
			}
		},
	})
	if err != nil {
		return err
	}
	if _, ok := l.store.Identity(); !ok {
		id := [16]byte{7}
		if n.id == 1 {
			err = l.store.Bootstrap(id)
		} else {
			err = l.store.Join(store.Identity{ClusterID: id, NodeID: n.id, StoreID: kv.StoreID(n.id)})
		}
		if err != nil {
			return err
		}
	}
	l.sender = routing.New(routing.Config{Node: n.id, Clock: l.clock, Local: l.store, Remote: (*remote)(l), Hints: (*hints)(l), Log: log, Fenced: l.store.Fenced, CutOff: l.cutOff})
	memory := int64(0) // as in production
	if w.o.Loads > 0 {
		memory = littleMemory
	}
	l.txns = txn.New(txn.Config{
		MaxBufferBytes: memory,
		Sender:         l.sender, Clock: l.clock, Node: n.id, Incarnation: time.Now().UnixNano(),
		Workers: 4, Fenced: l.sender.Fenced, AwaitClock: l.sender.AwaitClock, Clocks: (*clocks)(l),
		PlantedSaidTooEarly: mutants[n.w.o.Planted].plant.SaidTooEarly,
	})
	l.store.SetSender(l.sender)
	return l.store.Start(l.ctx)
}

// do does something on the account of this process, and reports whether it came to its end. Once the disk has failed, a goroutine that
// needs it waits for ever (engine.Config.OnFatal), as in production, where the process ends a moment later.
func (l *life) do(f func()) bool {
	done := make(chan struct{})
	go func() {
		f()
		close(done)
	}()
	select {
	case <-done:
		return true
	case <-l.failed:
	}
	select {
	case <-done: // it did not need the disk
		return true
	case <-time.After(afterFailure):
		return false
	}
}

// afterFailure is how long whoever uses a process whose disk has failed waits for what may still come of it.
const afterFailure = 2 * time.Second

// detail and ranges ask the store how it stands; nothing is known of one whose disk has failed.

func (l *life) detail(id kv.RangeID) (store.RangeStatus, bool) {
	got := make(chan store.RangeStatus, 1)
	l.do(func() {
		if st, ok := l.store.RangeDetail(id); ok {
			got <- st
		}
	})
	select {
	case st := <-got:
		return st, true
	default:
		return store.RangeStatus{}, false
	}
}

func (l *life) ranges() []store.RangeStatus {
	got := make(chan []store.RangeStatus, 1)
	l.do(func() { got <- l.store.Ranges() })
	select {
	case all := <-got:
		return all
	default:
		return nil
	}
}

// kill ends the node's life as a power failure does.
func (n *node) kill(rng *rand.Rand) {
	l := n.life.Swap(nil)
	if l == nil {
		return
	}
	n.gone.Store(time.Now().UnixNano())
	l.dead.Store(true)
	n.disk.crash(rng)
	l.end()
}

// stop ends it in good order.
func (n *node) stop() {
	l := n.life.Swap(nil)
	if l == nil {
		return
	}
	n.gone.Store(time.Now().UnixNano())
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	ended := l.do(func() {
		l.store.Drain(ctx)
		l.txns.Close(ctx)
		if err := l.store.Close(); err != nil {
			n.w.trace.say("node %d: close: %v", n.id, err)
		}
	})
	l.dead.Store(true)
	if !ended {
		n.w.trace.say("node %d: its disk has failed while it was shut down", n.id)
		n.disk.crash(n.w.faults.rng)
	}
	l.cancel()
}

// end lets the goroutines of a dead life end. What they do on their way is not heard by anybody.
func (l *life) end() {
	l.cancel()
	l.n.w.wg.Go(func() {
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		l.txns.Close(gone)
		_ = l.store.Close() // of a file system that nobody sees any more
	})
}

// gossip tells the others where the meta range is.
func (l *life) gossip() {
	for sleep(l.ctx, time.Second) {
		if st, ok := l.detail(kv.MetaRangeID); ok && st.Descriptor != nil {
			(*hints)(l).SetMeta(st.Descriptor)
		}
		if d := (*hints)(l).Meta(); d != nil {
			(*hints)(l).spread(d)
		}
	}
}

// hints is the address book, as far as routing needs it.
type hints life

func (h *hints) Meta() *kv.RangeDescriptor {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.meta
}

func (h *hints) SetMeta(d *kv.RangeDescriptor) {
	h.mu.Lock()
	newer := h.meta == nil || h.meta.Generation < d.Generation
	if newer {
		h.meta = d
	}
	h.mu.Unlock()
	if newer {
		h.spread(d)
	}
}

func (h *hints) spread(d *kv.RangeDescriptor) {
	l := (*life)(h)
	b := d.AppendWire(nil)
	for _, o := range l.n.w.nodes {
		if to := o.life.Load(); to != nil && o != l.n {
			l.n.w.net.send(l, to, heartbeats, b, func() {
				d, err := kv.DecodeRangeDescriptor(b)
				if err != nil {
					panic(err)
				}
				to.sender.Learn(d)
			}, nil)
		}
	}
}

// wire carries what the store sends (store.Transport).
type wire life

func (x *wire) SendRaft(to kv.NodeID, msgs []*store.RaftMessage) {
	l := (*life)(x)
	dst := l.n.w.up(to)
	if dst == nil {
		return
	}
	for _, m := range msgs {
		b, err := m.Append(nil)
		if err != nil {
			panic(err)
		}
		l.n.w.trace.event("raft "+m.Raft.GetType().String(), int64(m.RangeID), int64(m.Raft.GetTerm()), nil)
		l.n.w.net.send(l, dst, raftTraffic, b, func() {
			m, err := store.DecodeRaftMessage(append([]byte(nil), b...))
			if err != nil {
				panic(err)
			}
			dst.store.HandleRaftMessages([]*store.RaftMessage{m})
		}, nil)
	}
}

func (x *wire) SendHeartbeat(to kv.NodeID, h *store.Heartbeat) {
	l := (*life)(x)
	dst := l.n.w.up(to)
	if dst == nil {
		return
	}
	b := h.Append(nil)
	l.n.w.net.send(l, dst, heartbeats, b, func() {
		h, err := store.DecodeHeartbeat(b)
		if err != nil {
			panic(err)
		}
		dst.store.HandleHeartbeat(h)
	}, nil)
}

// Suspect is the store's word that another has lost its support.
func (x *wire) Suspect(to kv.NodeID) {
	l := (*life)(x)
	if !l.dead.Load() {
		l.n.w.net.suspect(l.n.id, to)
	}
}

func (x *wire) SendSnapshot(ctx context.Context, to kv.NodeID, _ kv.StoreID, write func(send func([]byte) error) error) error {
	l := (*life)(x)
	l.n.w.trace.count("snapshots", 1)
	return l.n.w.net.snapshot(ctx, l, to, write)
}

// remote carries batches to other nodes (routing.Remote).
type remote life

func (r *remote) Alive(to kv.NodeID) bool {
	l := (*life)(r)
	return l.n.w.up(to) != nil && !l.n.w.net.silent(l.n.id, to)
}

func (r *remote) Send(ctx context.Context, to kv.NodeID, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	return r.batch(ctx, to, req, func(ctx context.Context, to *life, req *kv.BatchRequest) (*kv.BatchResponse, error) {
		if len(req.Requests) == 0 {
			return to.tellClock(), nil
		}
		return to.store.Send(ctx, req)
	})
}

func (r *remote) Relay(ctx context.Context, via kv.NodeID, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	return r.batch(ctx, via, req, func(ctx context.Context, to *life, req *kv.BatchRequest) (*kv.BatchResponse, error) {
		return to.sender.Relayed(ctx, req)
	})
}

const (
	wentWell = iota
	wentWrong
)

func (r *remote) batch(ctx context.Context, to kv.NodeID, req *kv.BatchRequest, serve func(context.Context, *life, *kv.BatchRequest) (*kv.BatchResponse, error)) (*kv.BatchResponse, error) {
	l := (*life)(r)
	body, err := req.AppendWire(nil)
	if err != nil {
		return nil, kv.AsError(err)
	}
	out, err := l.n.w.net.call(ctx, l, to, body, func(ctx context.Context, to *life, body []byte) []byte {
		req, err := kv.DecodeBatchRequest(body, nil)
		if err != nil {
			panic(err)
		}
		resp, err := serve(ctx, to, req)
		if err != nil {
			return kv.AsError(err).AppendWire([]byte{wentWrong})
		}
		b, err := resp.AppendWire([]byte{wentWell})
		if err != nil {
			panic(err)
		}
		return b
	})
	if err != nil {
		return nil, err
	}
	if out[0] == wentWrong {
		e, err := kv.DecodeError(out[1:])
		if err != nil {
			panic(err)
		}
		return nil, e
	}
	return kv.DecodeBatchResponse(out[1:], nil)
}

// holders answers the lock tables of this node's ranges, from here or from another gateway.
type holders life

// holderTimeout bounds one question (as in internal/node).
const holderTimeout = time.Second

func (h *holders) ask(ctx context.Context, to kv.NodeID, body string, f func(ctx context.Context, t *txn.Coordinator) (kv.HolderState, error)) (st kv.HolderState, err error) {
	l := (*life)(h)
	if to == l.n.id {
		return f(ctx, l.txns)
	}
	ctx, cancel := context.WithTimeout(ctx, holderTimeout)
	defer cancel()
	var mu sync.Mutex
	var got kv.HolderState
	var gotErr error
	_, err = l.n.w.net.call(ctx, l, to, []byte(body), func(ctx context.Context, to *life, _ []byte) []byte {
		st, err := f(ctx, to.txns)
		mu.Lock()
		got, gotErr = st, err
		mu.Unlock()
		return []byte{byte(st.Status)}
	})
	l.n.w.trace.count("questions about locks", 1)
	if err != nil {
		l.n.w.trace.count("questions about locks without an answer", 1)
		return st, err
	}
	mu.Lock()
	defer mu.Unlock()
	return got, gotErr
}

func (h *holders) QueryHolder(ctx context.Context, gateway kv.NodeID, incarnation int64, id kv.TxnID, hurry bool) (kv.HolderState, error) {
	return h.ask(ctx, gateway, "holder", func(ctx context.Context, t *txn.Coordinator) (kv.HolderState, error) {
		return t.QueryHolder(ctx, gateway, incarnation, id, hurry)
	})
}

func (h *holders) ReportWait(ctx context.Context, waiter *kv.TxnMeta, key keys.Key, hs []kv.TxnMeta) (kv.HolderState, error) {
	m := *waiter
	return h.ask(ctx, waiter.Gateway, "wait", func(ctx context.Context, t *txn.Coordinator) (kv.HolderState, error) {
		return t.ReportWait(ctx, &m, key, hs)
	})
}

// recoverer finishes transactions whose coordinator is silent.
type recoverer life

func (r *recoverer) Recover(ctx context.Context, holder kv.TxnMeta, key keys.Key) (kv.TxnStatus, hlc.Timestamp, error) {
	l := (*life)(r)
	l.n.w.trace.count("recoveries", 1)
	return l.txns.Recover(ctx, holder, key)
}

func (r *recoverer) finish(ctx context.Context, rec kv.TxnRecord) error {
	l := (*life)(r)
	l.n.w.trace.count("records finished", 1)
	return l.txns.FinishRecord(ctx, rec)
}
