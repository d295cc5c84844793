package catalog

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/txn"
)

// The lease: how transactions know which catalog holds without reading the version row.
//
// Every gateway polls the version table: now and then, to keep its lease, and at once when it is told of a change. A poll at
// timestamp r that finds version v, no marker, and the gateway's own registration grants the gateway a lease on v up to r + leaseTime: its transactions may use v at read timestamps up to
// there, and commit up to there (txn.Deadliner). A schema change may not commit before every lease is gone:
//
//  1. It writes a marker, at t1 say, and tells every gateway to look. A poll after t1 grants nothing and freezes the lease: no transaction begins with it any more, and
//     when the commits that were under way under it are over, the gateway acknowledges the marker.
//     One that does not hear of it finds the marker at its next poll.
//  2. It waits for the acknowledgement of every gateway that is registered, or until t1 + the time of a lease, when whatever was
//     granted before t1 has run out. A gateway that let it wait is struck off, by a transaction that commits before the marker expires; it registers again before it takes another lease. One that stops
//     takes its registration back, once it has given up its lease. One that dies is struck off by and by: see strike.go. A gateway is a process here: another one of
//     the same node says nothing for it.
//  3. It reads the version table at its clock: a later write of the version row has a later timestamp, which is therefore above
//     every lease granted and every timestamp that was read under one.
//  4. It commits, with the marker's expiry as its deadline, and removes the marker. While that takes long, it renews the marker, and puts the deadline off: see renew.go.
//
// A marker that is left behind by a gateway that died is ignored by polls at or after its expiry; the change
// it announced has not committed by then and cannot any more.
//
// Without a lease (frozen, run out, never granted), and if it is large or has once been too late for the end of one, a transaction reads the version row itself. That is always right and
// needs none of the above: the row is then part of what the commit validates.
//
// All times are HLC timestamps; nothing here depends on how far clocks are apart.
type leaseTimes struct {
	// A lease lasts for lease and is renewed every poll, so that at least the difference is always left of it. The pause is retry when a
	// poll granted nothing, and frozen while a change is under way. What is not heard is told again after retry.
	lease, poll, retry, frozen, marker time.Duration
	// patience is how long a commit waits for the lease to come back before it reads the version row.
	patience time.Duration
	// plantedBug makes schema changes not wait; for the test of the test.
	plantedBug bool
	// plantedHaste makes strikes not wait; for the test of the test.
	plantedHaste bool
	// plantedRenewal makes schema changes put their deadlines off without renewing their markers; for the test of the test.
	plantedRenewal bool
	// plantedForgetting makes transactions not compare what they used; for the test of the test.
	plantedForgetting bool
}

// held reports whether a catalog has all that was used.
func (t *leaseTimes) held(used *Uses, now *snapshot) bool {
	return t.plantedForgetting || used.hold(now)
}

// PlantForgetting makes transactions commit whatever has become of what they relied on. It is for tests of tests.
func (s *Store) PlantForgetting() { s.times.plantedForgetting = true }

var defaultTimes = leaseTimes{lease: 5 * time.Second, poll: time.Second, retry: 50 * time.Millisecond, frozen: 3 * time.Millisecond, marker: 20 * time.Second, patience: 100 * time.Millisecond}

// longCommit is from how many bytes on a commit reads the version row instead of relying on the lease.
const longCommit = 24 << 20

// lease is what a gateway was granted; it is replaced as a whole.
type lease struct {
	snap *snapshot
	// from: the version is known to hold at this timestamp (and so since it was written).
	from, until hlc.Timestamp
	// seen is when the version table was looked at for it.
	seen hlc.Timestamp
}

// leaseHolder is the part of a Store that holds the lease.
type leaseHolder struct {
	sender  txn.Sender
	gateway txn.Gateway
	clock   *hlc.Clock
	self    registration
	tell    Tell
	lost    Lost
	log     *slog.Logger
	times   leaseTimes
	// suspects are the registered gateways that are lost, if it is for this one to strike them; the poll's.
	suspects map[uint64]*suspect
	// former are the registrations of earlier processes of this node, and by when they had been made; the poll's.
	former map[registration]hlc.Timestamp

	current atomic.Pointer[lease] // nil: none, or frozen
	kick    chan struct{}

	mu       sync.Mutex
	frozen   bool
	inflight int // commits under the lease; guarded by mu
	acked    map[kv.TxnID]bool
}

// Tell has another gateway's Store look at the version table: its Look. It need not arrive.
type Tell func(ctx context.Context, node int32) error

// Start begins to hold leases, and to collect garbage, until ctx ends; done is closed then. Without it every transaction reads the version row.
// g serves to load descriptors. Without tell other gateways notice a schema change when they poll next; without lost one that dies holds the next one up.
func (s *Store) Start(ctx context.Context, sender txn.Sender, g txn.Gateway, node int32, tell Tell, lost Lost, log *slog.Logger) (done <-chan struct{}) {
	h := &leaseHolder{sender: sender, gateway: g, times: s.times, clock: g.Clock(), self: registration{uint64(node), kv.TxnID(uuid.New())}, tell: tell, lost: lost, log: log,
		kick: make(chan struct{}, 1), acked: map[kv.TxnID]bool{}}
	s.holder.Store(h)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		swept := make(chan struct{})
		go func() {
			defer close(swept)
			s.sweep(ctx, h, g)
		}()
		s.hold(ctx, h, g)
		<-swept
	}()
	return ended
}

func (s *Store) hold(ctx context.Context, h *leaseHolder, g txn.Gateway) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	failing := false
	var since hlc.Timestamp // of what freezes the lease
	for {
		select {
		case <-ctx.Done():
			h.withdraw()
			return
		case <-timer.C:
		case <-h.kick:
		}
		frozen, err := s.poll(ctx, h, g)
		if err != nil && ctx.Err() == nil && !failing {
			h.log.Warn("cannot look at the catalog's version; statements read it one by one until it works again", "err", err)
		}
		failing = err != nil
		wait := h.times.poll
		if !frozen {
			since = hlc.Timestamp{}
		} else if since.IsEmpty() {
			since = h.clock.Peek()
		}
		switch {
		case frozen:
			// A change that takes long is looked at less and less often: its end is then found late by a small part of what it took.
			wait = max(h.times.frozen, min(maxFrozen, time.Duration(h.clock.Peek().WallTime-since.WallTime)/frozenPart))
		case h.current.Load() == nil || err != nil:
			wait = h.times.retry
		}
		timer.Reset(wait)
	}
}

// frozenPart is which part of the time that a lease has been frozen for may pass until the next look.
// It is no more than maxFrozen.
const (
	frozenPart = 16
	maxFrozen  = 100 * time.Millisecond
)

// withdrawWithin bounds how long a gateway that stops tries to take its registration back.
const withdrawWithin = 200 * time.Millisecond

// withdraw ends the lease of a gateway that stops, and takes its registration back, so that the next schema change does not wait until its lease has run out. That is
// an acknowledgement of all changes to come: no commit begins under the lease any more, and it is not given while one is under way.
func (h *leaseHolder) withdraw() {
	if !h.freeze() {
		return // it is struck off
	}
	ctx, cancel := context.WithTimeout(context.Background(), withdrawWithin)
	defer cancel()
	if err := h.delete(ctx, gatewayKey(h.self)); err != nil {
		h.log.Debug("the registration for schema changes stays", "err", err)
	}
}

// freeze gives the lease up; idle says that no commit is under way under it any more.
func (h *leaseHolder) freeze() (idle bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frozen = true
	h.current.Store(nil)
	return h.inflight == 0
}

// poll looks once, and does what is to be done.
func (s *Store) poll(ctx context.Context, h *leaseHolder, g txn.Gateway) (frozen bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, h.times.lease/2)
	defer cancel()
	st, err := h.look(ctx)
	if err != nil {
		return false, err
	}
	if !st.have {
		return false, nil // not bootstrapped yet
	}
	frozen, err = s.settle(ctx, h, g, st)
	if e := h.succeed(ctx, st); e != nil && ctx.Err() == nil {
		h.log.Debug("cannot take back what an earlier process of this node has registered", "err", e)
	}
	if e := h.strike(ctx, st); e != nil && ctx.Err() == nil {
		h.log.Debug("cannot strike nodes that are silent off the list of those that schema changes wait for", "err", e)
	}
	return frozen, err
}

// settle grants, freezes or acknowledges by what was seen.
func (s *Store) settle(ctx context.Context, h *leaseHolder, g txn.Gateway, st *versionTableState) (frozen bool, err error) {
	if len(st.markers) > 0 {
		idle := h.freeze()
		var ack []kv.TxnID
		h.mu.Lock()
		for _, id := range st.markers {
			if idle && !h.acked[id] {
				ack = append(ack, id)
			}
		}
		h.mu.Unlock()
		for _, id := range ack {
			if err := h.put(ctx, ackKey(id, h.self), nil); err != nil {
				return true, err
			}
			h.mu.Lock()
			h.acked[id] = true
			h.mu.Unlock()
		}
		return true, nil
	}
	if _, struck := st.strikes[h.self.node]; struck {
		if !h.freeze() {
			return true, nil
		}
		return true, h.delete(ctx, strikeKey(h.self.node))
	}
	if !slices.Contains(st.gateways, h.self) {
		// The next poll will find it; a lease taken before would not be waited for.
		return true, h.put(ctx, gatewayKey(h.self), nil)
	}
	snap := s.cached(st.row)
	if snap == nil {
		if snap, err = s.loadAt(ctx, g, st.row); err != nil || snap == nil {
			return false, err
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.frozen = false
	clear(h.acked)
	l := &lease{snap: snap, from: st.at, until: st.at.Add(h.times.lease), seen: st.at}
	if old := h.current.Load(); old != nil && old.snap == snap {
		l.from = old.from // the version row has not changed in between
	}
	h.current.Store(l)
	return false, nil
}

// loadAt loads the descriptors of a version in a transaction of its own; nil if it is not the present one any more.
func (s *Store) loadAt(ctx context.Context, g txn.Gateway, row versionRow) (*snapshot, error) {
	t := g.Begin(ctx, txn.Options{ReadOnly: true})
	defer t.Rollback(ctx)
	val, ok, err := t.Get(ctx, versionKey, txn.ScanOptions{})
	if err != nil || !ok {
		return nil, err
	}
	now, err := decodeVersionRow(val)
	if err != nil || now != row {
		return nil, err
	}
	snap, err := s.load(ctx, t, row, latest)
	if err != nil {
		return nil, err
	}
	s.keep(snap)
	return snap, nil
}

func (h *leaseHolder) put(ctx context.Context, key keys.Key, value []byte) error {
	if value == nil {
		value = []byte{}
	}
	_, err := h.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Put{Key: key, Value: value}}})
	return kv.Undecided(err)
}

func (h *leaseHolder) delete(ctx context.Context, key keys.Key) error {
	_, err := h.sender.Send(ctx, &kv.BatchRequest{Requests: []kv.Request{&kv.Delete{Key: key}}})
	return kv.Undecided(err)
}

// Look has the gateway look at the version table at once: another one is about to change the catalog.
func (s *Store) Look() {
	if h := s.holder.Load(); h != nil {
		h.poke()
	}
}

// Await waits until this gateway's statements see the catalog as of ts: a change that nobody was told of beforehand, of statistics, is seen when the gateway looks
// next. It gives up when ctx ends.
func (s *Store) Await(ctx context.Context, ts hlc.Timestamp) {
	h := s.holder.Load()
	if h == nil {
		return // every transaction reads the version
	}
	for tick := time.Millisecond; ; tick = min(2*tick, 50*time.Millisecond) {
		if l := h.current.Load(); l != nil && ts.LessEq(l.seen) {
			return
		}
		h.poke()
		select {
		case <-time.After(tick):
		case <-ctx.Done():
			return
		}
	}
}

func (h *leaseHolder) poke() {
	select {
	case h.kick <- struct{}{}:
	default:
	}
}

// at returns the catalog at a read timestamp if the lease knows it.
func (h *leaseHolder) at(ts hlc.Timestamp) *snapshot {
	if l := h.current.Load(); l != nil && l.from.LessEq(ts) && ts.Less(l.until) {
		return l.snap
	}
	return nil
}

// enter lets a commit begin under the lease, if the lease's catalog has all that was used. It returns the commit's deadline. While a schema change is under way there is
// no lease: that takes some milliseconds, and whoever read the version row meanwhile would wait for the change, too.
func (h *leaseHolder) enter(ctx context.Context, used *Uses) (until hlc.Timestamp, ok bool) {
	begun := time.Now()
	for {
		l := h.current.Load()
		if l != nil && !h.times.held(used, l.snap) {
			return hlc.Timestamp{}, false
		}
		if l != nil && h.enterUnder(l) {
			return l.until, true
		}
		if time.Since(begun) >= h.times.patience {
			return hlc.Timestamp{}, false
		}
		select {
		case <-time.After(h.times.frozen / 2):
		case <-ctx.Done():
			return hlc.Timestamp{}, false
		}
	}
}

func (h *leaseHolder) enterUnder(l *lease) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.frozen || h.current.Load() != l || l.until.LessEq(h.clock.Peek()) {
		return false
	}
	h.inflight++
	return true
}

func (h *leaseHolder) leave() {
	h.mu.Lock()
	h.inflight--
	again := h.frozen && h.inflight == 0
	h.mu.Unlock()
	if again {
		h.poke()
	}
}

// Underlying is implemented by snapshots that wrap another one.
type Underlying interface{ Underlying() Snapshot }

// leasedSnapshot is a snapshot that a transaction got by the lease, without reading the version row.
type leasedSnapshot struct{ *snapshot }

func unwrap(s Snapshot) (snap *snapshot, leased bool) {
	for s != nil {
		switch r := s.(type) {
		case *snapshot:
			return r, false
		case leasedSnapshot:
			return r.snapshot, true
		case Underlying:
			s = r.Underlying()
		default:
			return nil, false
		}
	}
	return nil, false
}
