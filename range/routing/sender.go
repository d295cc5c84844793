package routing

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Local answers batches for ranges that this node holds (range/store).
type Local interface {
	Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error)
}

// Remote delivers batches to other nodes (range/transport).
type Remote interface {
	Send(ctx context.Context, to kv.NodeID, req *kv.BatchRequest) (*kv.BatchResponse, error)
	// Relay asks a node to pass a batch on to a leader that it can reach and this node cannot.
	Relay(ctx context.Context, via kv.NodeID, req *kv.BatchRequest) (*kv.BatchResponse, error)
	// Alive reports whether the node has answered lately.
	Alive(kv.NodeID) bool
}

// Hints is where the descriptor of the meta range is known (the address book).
type Hints interface {
	// Meta returns the newest known descriptor of the meta range, or nil.
	Meta() *kv.RangeDescriptor
	// SetMeta is told of a descriptor of the meta range that may be newer.
	SetMeta(*kv.RangeDescriptor)
}

// Config of a Sender. Node, Clock, Local, Remote and Hints must be set.
type Config struct {
	Node   kv.NodeID
	Clock  *hlc.Clock
	Local  Local
	Remote Remote
	Hints  Hints
	Log    *slog.Logger
	// MaxCached bounds the descriptor cache; default 65536.
	MaxCached int
	// GiveUp is how long a batch is tried again and again without reaching
	// anybody who can answer; default 30 s.
	GiveUp  time.Duration
	Metrics *Metrics
	// RTT is how long the way to a node and back took lately; 0 if that is not known, as it is without the function.
	RTT func(kv.NodeID) time.Duration
	// Fenced returns why this node must not say what time it is: its clock is off, and what it calls now may be long ago. nil: it may; so it
	// is without the function.
	Fenced func() *kv.Error
	// CutOff reports that there is nobody left who could answer what this node cannot: what only reads then ends at once. nil: never.
	CutOff func() bool
	// Lost reports that all replicas of a range, by a descriptor that is not old, are on nodes that have left for good: what asks for it ends then. It is
	// asked again and again, and should not take long. nil: never.
	Lost func(ctx context.Context, d *kv.RangeDescriptor) bool
}

// Sender routes batches. It is safe for concurrent use.
type Sender struct {
	cfg     Config
	cache   *cache
	lookups chan struct{} // one token for each meta look-up under way
	fence   fence
}

const (
	maxLookups     = 8
	lookupPrefetch = 16 // descriptors read by one look-up
	backoffMin     = 2 * time.Millisecond
	backoffMax     = 100 * time.Millisecond
)

// New makes a sender.
func New(cfg Config) *Sender {
	if cfg.MaxCached == 0 {
		cfg.MaxCached = 1 << 16
	}
	if cfg.GiveUp == 0 {
		cfg.GiveUp = 30 * time.Second
	}
	if cfg.Metrics == nil {
		cfg.Metrics = NewMetrics()
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Sender{cfg: cfg, cache: newCache(cfg.MaxCached), lookups: make(chan struct{}, maxLookups)}
}

// Learn takes in descriptors from whoever knows some (this node's own store, a split).
func (s *Sender) Learn(descs ...kv.RangeDescriptor) {
	for i := range descs {
		d := &descs[i]
		if d.RangeID == kv.MetaRangeID {
			s.cfg.Hints.SetMeta(d)
		}
		s.cache.insert(d)
	}
	s.cfg.Metrics.cached.Set(float64(s.cache.len()))
}

// Cached returns the cached descriptors in key order, for people.
func (s *Sender) Cached() []*kv.RangeDescriptor { return s.cache.all() }

// CachedRanges is how many descriptors are cached.
func (s *Sender) CachedRanges() int { return s.cache.len() }

// Send delivers a batch to the leader of the range that holds its keys and returns the
// answer. It fills in RangeID, Generation and Now; for batches without keys the
// caller names the range by RangeID.
func (s *Sender) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	if req.Txn == nil && s.Fenced() != nil && readsNow(req) { // a transaction has chosen when it reads, and waited before it did
		if err := s.AwaitClock(ctx); err != nil {
			return nil, err
		}
	}
	key := firstKey(req)
	var e *entry
	if key != nil {
		e = s.cache.find(key)
	} else {
		e = s.cache.findID(req.RangeID)
	}
	// The common case: everything is known, and the leader is here or a stream away.
	if e != nil && !req.AnyReplica {
		if l := e.leader.Load(); l > 0 && inside(req, e.desc) {
			r := &e.desc.Replicas[l-1]
			req.RangeID, req.Generation = e.desc.RangeID, e.desc.Generation
			resp, err := s.sendTo(ctx, r.NodeID, req)
			if err == nil {
				return resp, nil
			}
			a := attempt{s: s, req: req, key: key, class: repeatable(req), e: e, at: int(l - 1), tried: 1 << (l - 1)}
			return a.run(ctx, err)
		}
	}
	a := attempt{s: s, req: req, key: key, class: repeatable(req), e: e}
	return a.run(ctx, nil)
}

// Relayed delivers a batch for another node that cannot reach the leader: it asks every replica at most
// once, waits for nobody, and is not relayed again.
func (s *Sender) Relayed(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	s.cfg.Metrics.relayed.Inc()
	key := firstKey(req)
	a := attempt{s: s, req: req, key: key, class: repeatable(req), once: true}
	if key != nil {
		a.e = s.cache.find(key)
	} else {
		a.e = s.cache.findID(req.RangeID)
	}
	return a.run(ctx, nil)
}

func (s *Sender) sendTo(ctx context.Context, node kv.NodeID, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	req = req.ForNode(node)
	req.Now = s.cfg.Clock.Now()
	if node == s.cfg.Node {
		s.cfg.Metrics.local.Inc()
		return s.cfg.Local.Send(ctx, req)
	}
	s.cfg.Metrics.remote.Inc()
	resp, err := s.cfg.Remote.Send(ctx, node, req)
	if err == nil {
		if s.cfg.Clock.Believes(resp.Now) {
			s.cfg.Clock.Update(resp.Now)
		}
	}
	return resp, err
}

// attempt is the slow path of one Send: it goes on until there is an answer that is the caller's business.
type attempt struct {
	s     *Sender
	req   *kv.BatchRequest
	key   keys.Key
	class repeat
	// start and generation of the last entry that was given up: a batch without keys finds its range again by them.
	start      keys.Key
	generation int64

	e       *entry
	at      int    // index of the replica last asked
	tried   uint64 // replicas of e asked since the last pause
	unknown error  // an earlier attempt may have taken effect
	last    error
	since   time.Time // of the first failure
	backoff time.Duration
	fresh   bool // e comes from the meta range or from the range itself, not from an old cache
	once    bool // relayed: no second round
	// mismatches in a row: answers that the range is elsewhere.
	mismatches int
	// via is a node that follows a leader which this node cannot reach; 0 if there is none.
	via kv.NodeID
}

func (a *attempt) run(ctx context.Context, err error) (*kv.BatchResponse, error) {
	for {
		if err != nil {
			if done, err := a.failed(ctx, err); done {
				return nil, err
			}
		}
		if ctx.Err() != nil {
			return nil, a.ended(ctx)
		}
		if err = a.locate(ctx); err != nil {
			if kv.HasCode(err, kv.CodeRangeMismatch) {
				return nil, a.answer(kv.AsError(err))
			}
			if a.once {
				return nil, kv.AsError(err)
			}
			a.pause(ctx)
			continue
		}
		if a.via != 0 {
			var resp *kv.BatchResponse
			if resp, err = a.relay(ctx); err == nil {
				return resp, nil
			}
			continue
		}
		i := a.pick()
		if i < 0 { // everybody was asked
			if a.once {
				return nil, a.giveUp()
			}
			a.tried = 0
			if !a.pause(ctx) {
				continue
			}
			if a.renew() {
				continue // somebody else has learned better meanwhile
			}
			if a.fresh && a.s.cfg.Lost != nil && a.s.cfg.Lost(ctx, a.e.desc) {
				return nil, a.answered(kv.Lost(a.e.desc.RangeID))
			}
			if time.Since(a.since) > 200*time.Millisecond {
				a.forget() // perhaps the range has moved away from all of these
			}
			continue
		}
		a.at = i
		a.tried |= 1 << i
		r := a.e.desc.Replicas[i]
		a.req.RangeID, a.req.Generation = a.e.desc.RangeID, a.e.desc.Generation
		var resp *kv.BatchResponse
		if resp, err = a.s.sendTo(ctx, r.NodeID, a.req); err == nil {
			if !a.req.AnyReplica {
				a.e.setLeader(r.StoreID)
			}
			return resp, nil
		}
	}
}

// relay lets the node that knows the leader deliver the batch.
func (a *attempt) relay(ctx context.Context) (*kv.BatchResponse, error) {
	via := a.via
	a.via = 0
	a.at = -1
	a.req.RangeID, a.req.Generation = a.e.desc.RangeID, a.e.desc.Generation
	req := a.req.ForNode(0) // this node knows nothing of the clock of whoever answers in the end
	req.Now = a.s.cfg.Clock.Now()
	a.s.cfg.Metrics.relays.Inc()
	a.req.SetRepeated() // it may ask several, and does not tell
	resp, err := a.s.cfg.Remote.Relay(ctx, via, req)
	if err == nil {
		a.s.cfg.Clock.Update(resp.Now)
	}
	return resp, err
}

// locate makes sure that e holds the batch's keys.
func (a *attempt) locate(ctx context.Context) error {
	for a.e == nil || !inside(a.req, a.e.desc) {
		if a.e != nil && a.fresh {
			return &kv.Error{Code: kv.CodeRangeMismatch, Message: "the batch lies in several ranges",
				Descriptors: []kv.RangeDescriptor{*a.e.desc}, Now: a.s.cfg.Clock.Now()}
		}
		key := a.key
		if key == nil {
			key = a.start
		}
		e, err := a.s.lookup(ctx, key, a.req.RangeID)
		if err != nil {
			return err
		}
		if a.key == nil && e.desc.RangeID != a.req.RangeID {
			if e.desc.Generation <= a.generation { // from before the range came to be
				return kv.Errorf(kv.CodeUnavailable, "the meta range does not know range %d yet", a.req.RangeID)
			}
			return kv.Errorf(kv.CodeRangeMismatch, "there is no range %d any more: what it held is in range %d", a.req.RangeID, e.desc.RangeID)
		}
		a.e, a.tried, a.fresh = e, 0, true
	}
	return nil
}

// forget drops the entry from the cache, so that the meta range is asked.
func (a *attempt) forget() {
	if a.e != nil && a.e.desc.RangeID != kv.MetaRangeID {
		a.start, a.generation = a.e.desc.StartKey, a.e.desc.Generation
		a.s.cache.evict(a.e)
		a.e, a.tried, a.fresh = nil, 0, false
	}
}

// renew takes the cached entry if it is not the one in use any more.
func (a *attempt) renew() bool {
	if a.e == nil {
		return false
	}
	if a.e.desc.RangeID == kv.MetaRangeID {
		if d := a.s.cfg.Hints.Meta(); d != nil {
			a.s.cache.insert(d)
		}
	}
	now := a.s.cache.findID(a.e.desc.RangeID)
	if a.key != nil {
		now = a.s.cache.find(a.key)
	}
	if now == nil || now == a.e {
		return false
	}
	a.e, a.fresh = now, false
	return true
}

// pick chooses the replica to ask next; -1 if all have been.
func (a *attempt) pick() int {
	rs := a.e.desc.Replicas
	ok := func(i int) bool {
		if i >= 64 || a.tried&(1<<i) != 0 {
			return false
		}
		return a.req.AnyReplica || rs[i].VotesOld() || rs[i].VotesNew()
	}
	leader := int(a.e.leader.Load()) - 1
	if leader >= 0 && !a.req.AnyReplica && ok(leader) {
		return leader
	}
	for i := range rs {
		if ok(i) && rs[i].NodeID == a.s.cfg.Node {
			return i
		}
	}
	// What is clearly nearer comes first. Otherwise the leader, which can answer everything, and then anybody, so that gateways do
	// not all ask the same replica first.
	off, best, dead := rand.IntN(len(rs)), -1, -1
	if leader >= 0 && ok(leader) && a.s.cfg.Remote.Alive(rs[leader].NodeID) {
		best = leader
	}
	for j := range rs {
		i := (j + off) % len(rs)
		switch {
		case !ok(i) || i == best:
		case !a.s.cfg.Remote.Alive(rs[i].NodeID):
			dead = i
		case best < 0 || a.s.nearer(rs[i].NodeID, rs[best].NodeID):
			best = i
		}
	}
	if best < 0 {
		return dead
	}
	return best
}

// maxMismatches is how often a batch follows what replicas say about their bounds before it lets them catch up.
const maxMismatches = 4

// nearer reports whether a is so much nearer than b that it is no accident of measuring: another region, not another rack.
func (s *Sender) nearer(a, b kv.NodeID) bool {
	if s.cfg.RTT == nil {
		return false
	}
	x, y := s.cfg.RTT(a), s.cfg.RTT(b)
	return x > 0 && y-x > 2*time.Millisecond && x < y/4*3
}

// failed decides what an error means. done says that err is the caller's.
func (a *attempt) failed(ctx context.Context, err error) (done bool, _ error) {
	ke := kv.AsError(err)
	m := a.s.cfg.Metrics
	if !ke.Now.IsEmpty() && a.s.cfg.Clock.Believes(ke.Now) {
		a.s.cfg.Clock.Update(ke.Now)
	}
	switch ke.Code.Class() {
	case kv.RetryRouting:
	case kv.Unknown:
		if a.class == repeatNever {
			return true, ke
		}
		if ctx.Err() != nil && a.class == repeatRead {
			return true, a.ended(ctx)
		}
		if a.class == repeatCommit {
			a.unknown = ke
			a.req.SetRepeated()
		}
	default:
		return true, a.answer(ke)
	}
	if ke.Code == kv.CodeGivenUp {
		return true, a.answered(ke)
	}
	a.last = ke
	m.retry(ke.Code)
	if a.since.IsZero() {
		a.since = time.Now()
	} else if time.Since(a.since) > a.s.cfg.GiveUp {
		return true, a.giveUp()
	} else if a.class == repeatRead && a.s.cfg.CutOff != nil && a.s.cfg.CutOff() {
		// Of what writes the caller wants to know what became of it, and may yet.
		return true, kv.Errorf(kv.CodeUnavailable, "no other node answers (last: %v)", a.last)
	}
	switch ke.Code {
	case kv.CodeRangeMismatch:
		a.learn(ke)
		// A follower that has yet to apply a split or a merge answers from before it, and so it will if it is asked again at once.
		if a.mismatches++; a.mismatches > 1 {
			a.req.AnyReplica = false
		}
		if a.mismatches > maxMismatches && !a.once && !a.pause(ctx) {
			return true, a.ended(ctx)
		}
	case kv.CodeNotLeader:
		a.learn(ke)
	case kv.CodeRangeNotFound:
		if a.e != nil && a.at >= 0 {
			a.e.leader.CompareAndSwap(int32(a.at+1), 0)
			if !a.fresh && a.key != nil {
				a.forget()
			}
		}
	case kv.CodeOverloaded:
		if a.once {
			return true, ke
		}
		if !a.pause(ctx) {
			return true, a.ended(ctx)
		}
		a.tried = 0
	case kv.CodeNotClosed:
		a.req.AnyReplica = false // only the leader can answer
	default:
		if a.e != nil && a.at >= 0 {
			a.e.leader.CompareAndSwap(int32(a.at+1), 0)
		}
	}
	return false, nil
}

// answer is the error to give the caller for one that is not about routing. If an earlier
// attempt of a commit may have taken effect, or still may, a refusal of the
// repetition proves nothing: the caller has to ask (kv.QueryCommit).
func (a *attempt) answer(ke *kv.Error) error {
	if a.unknown == nil {
		return ke
	}
	if ke.Code == kv.CodeCanceled {
		return a.unknown
	}
	for _, q := range a.req.Requests {
		if _, ok := q.(*kv.CommitSingleRange); ok {
			return a.unknown
		}
	}
	return ke
}

// learn takes in what a replica knows better.
func (a *attempt) learn(ke *kv.Error) {
	if a.e == nil {
		return
	}
	old := a.e
	a.s.Learn(ke.Descriptors...)
	if a.at < 0 { // relayed
		a.renew()
		return
	}
	asked := old.desc.Replicas[a.at].NodeID
	if ke.Code != kv.CodeNotLeader {
		// This replica does not hold (all of) the keys. If nothing newer was
		// learned from it, the meta range must say.
		old.leader.CompareAndSwap(int32(a.at+1), 0)
	} else if ke.Leader.StoreID == 0 || ke.Leader.StoreID == old.desc.Replicas[a.at].StoreID {
		old.leader.CompareAndSwap(int32(a.at+1), 0)
	}
	var now *entry
	if a.key != nil {
		now = a.s.cache.find(a.key)
	} else {
		now = a.s.cache.findID(a.req.RangeID)
	}
	if now != old {
		a.e, a.tried, a.fresh = now, 0, now != nil && ke.Code == kv.CodeRangeMismatch
	} else if ke.Code == kv.CodeRangeMismatch {
		a.forget()
	}
	if a.e != nil && ke.Code == kv.CodeNotLeader && ke.Leader.StoreID != 0 {
		a.e.setLeader(ke.Leader.StoreID)
		l := ke.Leader.NodeID
		if !a.once && asked != 0 && asked != a.s.cfg.Node && l != a.s.cfg.Node && !a.s.cfg.Remote.Alive(l) {
			a.via = asked
		}
	}
}

// pause waits, longer each time; false if ctx ended.
func (a *attempt) pause(ctx context.Context) bool {
	if a.since.IsZero() {
		a.since = time.Now()
	}
	a.backoff = min(max(2*a.backoff, backoffMin), backoffMax)
	t := time.NewTimer(a.backoff/2 + rand.N(a.backoff/2+1))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// ended is the error for a context that ended.
func (a *attempt) ended(ctx context.Context) error {
	if a.unknown != nil {
		return a.unknown
	}
	msg := context.Cause(ctx).Error()
	if a.last != nil {
		msg += " (last: " + a.last.Error() + ")"
	}
	return &kv.Error{Code: kv.CodeCanceled, Message: msg}
}

func (a *attempt) giveUp() error {
	return a.answered(kv.Errorf(kv.CodeUnavailable, "no answer in %s (last: %v)", a.s.cfg.GiveUp, a.last))
}

// answered is for an error that says that nothing was proposed: an earlier attempt may have been.
func (a *attempt) answered(ke *kv.Error) error {
	if a.unknown != nil {
		return a.unknown
	}
	return ke
}
