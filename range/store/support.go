package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/engine"
	"github.com/pamirdb/pamir/range/internal/liveness"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// support is the machine of package liveness behind a mutex, and what else decides whether
// the store may serve. It implements replica.Support.
type support struct {
	clock *hlc.Clock

	mu      sync.Mutex
	machine *liveness.Machine
	wrote   time.Duration // what writing the ceiling has lately taken at most
	wanted  clockState    // what is to be written next; guarded by mu
	toWrite chan struct{} // wanted has changed
	disk    diskSigns     // guarded by mu
	trip    time.Duration // what answers to heartbeats have lately taken at most; guarded by mu

	// ceiling: no reading of the clock at or above it may be used before a later one is on disk (wall time).
	ceiling atomic.Int64
	fenced  atomic.Pointer[kv.Error]
	closing atomic.Bool
	beatNow chan struct{}
	// drained: leadership is not wanted any more.
	drained atomic.Bool
	deaf    atomic.Bool // liveness.Machine.Deaf
}

var _ replica.Support = (*support)(nil)

func (s *support) Supports(st kv.StoreID, epoch uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.Supports(st, epoch, s.clock.Now())
}

func (s *support) SupportEpoch(st kv.StoreID) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.SupportEpoch(st, s.clock.Now())
}

func (s *support) SupportFrom(st kv.StoreID) (uint64, hlc.Timestamp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.SupportFrom(st)
}

func (s *support) MayVote() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.machine.MayVote(s.clock.Now())
}

// answerTime returns how long answers to heartbeats have lately taken at most.
func (s *support) answerTime() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.trip
}

// silence returns how long nothing has been heard of st; 0 if nothing ever was (it is new here).
func (s *support) silence(st kv.StoreID) time.Duration {
	d, _ := s.silenceOf(st)
	return d
}

// silenceOf is silence, and whether anything ever was heard.
func (s *support) silenceOf(st kv.StoreID) (_ time.Duration, heard bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.machine.Heard(st)
	if last.IsEmpty() {
		return 0, false
	}
	return time.Duration(s.clock.Now().WallTime - last.WallTime), true
}

var (
	errClosing = kv.Errorf(kv.CodeUnavailable, "the store is closing")
	errCeiling = kv.Errorf(kv.CodeUnavailable, "the clock has run into its persisted ceiling: the disk is slow")
)

func (s *support) MayServe(now hlc.Timestamp) *kv.Error {
	if s.closing.Load() {
		return errClosing
	}
	if now.WallTime >= s.ceiling.Load() {
		return errCeiling
	}
	return s.fenced.Load()
}

var (
	errDraining = kv.Errorf(kv.CodeUnavailable, "the store is being drained")
	errDeaf     = kv.Errorf(kv.CodeUnavailable, "no other store is heard here")
)

func (s *support) MayLead() *kv.Error {
	if s.drained.Load() {
		return errDraining
	}
	if s.deaf.Load() {
		return errDeaf
	}
	return s.MayServe(s.clock.Now())
}

func (s *support) Fenced() bool { return s.fenced.Load() != nil }

func (s *support) Deaf() bool { return s.deaf.Load() }

// clockKey holds: 01 | incarnation 8 | ceiling 8 | horizon 12.
var clockKey = engine.EncodeKey(keys.Store("clock"))

const clockVersion = 1

type clockState struct {
	incarnation uint64
	ceiling     int64
	horizon     hlc.Timestamp
}

func (s *Store) readClock() (c clockState, err error) {
	v, closer, err := s.eng.DB().Get(clockKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return c, nil
	} else if err != nil {
		return c, engine.Classify(err)
	}
	defer closer.Close()
	if len(v) != 1+8+8+hlc.EncodedLen || v[0] != clockVersion {
		return c, kv.Errorf(kv.CodeCorruption, "clock state is %x", v)
	}
	c.incarnation = binary.BigEndian.Uint64(v[1:])
	c.ceiling = int64(binary.BigEndian.Uint64(v[9:]))
	c.horizon, _, err = hlc.Decode(v[17:])
	return c, err
}

func (s *Store) writeClock(c clockState) error {
	if err := s.Err(); err != nil {
		return err // Pebble panics if it is asked to write after a failure
	}
	v := binary.BigEndian.AppendUint64([]byte{clockVersion}, c.incarnation)
	v = binary.BigEndian.AppendUint64(v, uint64(c.ceiling))
	return engine.Classify(s.eng.DB().Set(clockKey, c.horizon.Append(v), pebble.Sync))
}

// ceilingLead is how far ahead of the clock the ceiling is kept: further on a disk that takes long to write it, since the clock stands still
// at the ceiling, and nobody can begin anything at a node whose clock stands still. A restart waits it out.
// support.mu is held, or nothing runs yet.
func (s *Store) ceilingLead() int64 {
	return int64(s.cfg.Knobs.SupportDuration + s.extraLead())
}

// extraLead is what is added to the ceiling's and the horizon's lead on such a disk: what is written is up to two writes old when it counts. support.mu is held.
func (s *Store) extraLead() time.Duration { return min(3*s.support.wrote, maxExtraLead) }

// maxExtraLead bounds what a slow disk adds to ceilingLead, and so to a restart.
const maxExtraLead = 10 * time.Second

// diskSigns are the signs of life of the store's disk: syncs that have ended.
type diskSigns struct {
	writing bool      // the clock is being written
	nanos   int64     // what all syncs of the log had taken together at the last look
	last    time.Time // when there was the last sign, or nothing to wait for
}

// hung reports whether the disk does not answer any more: the clock has been under way to it for half as long as promises last, and no sync of anything has ended meanwhile. One that is
// merely slow, or busy with the batches of others, gives signs of life.
func (d *diskSigns) hung(now time.Time, nanos int64, support time.Duration) bool {
	if !d.writing || nanos != d.nanos {
		d.nanos, d.last = nanos, now
	}
	return now.Sub(d.last) > support/2
}

// clockLoop persists the ceiling and the horizon, always the latest that the beats want. Beats do not wait for it: on a machine with too much to do, and behind the large
// batches of thousands of elections, it takes a second or more, and a store whose beats come that late loses its support, and with it all that it leads.
func (s *Store) clockLoop() {
	for {
		select {
		case <-s.support.toWrite:
			s.writeWanted()
		case <-s.ctx.Done():
			return
		}
	}
}

// writeWanted is one round of clockLoop.
func (s *Store) writeWanted() {
	sp := &s.support
	sp.mu.Lock()
	c := sp.wanted
	// It was wanted while an earlier one was on its way, which may have been further ahead (the lead shrinks) and counts by now: the disk never says less than what counts.
	c.ceiling, c.horizon = max(c.ceiling, sp.ceiling.Load()), c.horizon.Forward(sp.machine.Horizon())
	sp.disk.writing = true
	sp.mu.Unlock()
	begin := time.Now()
	err := s.writeClock(c)
	took := time.Since(begin)
	sp.mu.Lock()
	defer sp.mu.Unlock()
	sp.disk.writing, sp.disk.last = false, time.Now()
	sp.wrote = max(took, sp.wrote*15/16)
	if err != nil {
		s.log.Error("cannot persist the clock", "err", err)
		return
	}
	sp.ceiling.Store(c.ceiling)
	s.clock.SetLimit(c.ceiling)
	sp.machine.Persisted(c.horizon)
}

// startSupport begins a new incarnation, after the clock has passed what the last one may have read.
func (s *Store) startSupport(ctx context.Context) error {
	c, err := s.readClock()
	if err != nil {
		return err
	}
	s.clock.SetLimit(math.MaxInt64) // that of a store before this one
	for wait := c.ceiling - s.clock.Peek().WallTime; wait >= 0; wait = c.ceiling - s.clock.Peek().WallTime {
		if wait > int64(time.Minute) {
			return kv.Errorf(kv.CodeFenced, "the clock is %v behind what it read before the restart", time.Duration(wait))
		}
		select {
		case <-time.After(time.Duration(wait) + time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	c.incarnation++
	c.ceiling = s.clock.Now().WallTime + s.ceilingLead()
	if err := s.writeClock(c); err != nil {
		return err
	}
	s.support.clock = s.clock
	s.support.ceiling.Store(c.ceiling)
	s.clock.SetLimit(c.ceiling)
	s.support.machine = liveness.New(liveness.Config{
		Node: s.id.NodeID, Store: s.id.StoreID, Incarnation: c.incarnation,
		Support: s.cfg.Knobs.SupportDuration, Heartbeat: s.cfg.Knobs.HeartbeatInterval,
		MaxOffset: s.clock.MaxOffset(), Horizon: c.horizon, IgnorePromises: s.cfg.Knobs.ignorePromises,
	})
	s.resting.init(c.incarnation)
	return nil
}

// persistFinalClock lets a store that was closed in good order start again without waiting for its own ceiling.
func (s *Store) persistFinalClock() {
	if s.Err() != nil {
		return
	}
	s.support.mu.Lock()
	horizon := s.support.machine.Promised()
	inc := s.support.machine.Incarnation()
	s.support.mu.Unlock()
	if err := s.writeClock(clockState{incarnation: inc, ceiling: s.clock.Now().WallTime, horizon: horizon}); err != nil {
		s.log.Warn("cannot write the clock's last reading", "err", err)
	}
}

// Unsupported is how long ago most of the other stores last did not support this one, though they had; ok is false if that never was since it was started.
func (s *Store) Unsupported() (ago time.Duration, ok bool) {
	if !s.started.Load() {
		return 0, false
	}
	s.support.mu.Lock()
	defer s.support.mu.Unlock()
	at := s.support.machine.Unsupported()
	return max(0, time.Duration(s.clock.Peek().WallTime-at.WallTime)), !at.IsEmpty()
}

func (s *Store) beatLoop() {
	t := time.NewTicker(s.cfg.Knobs.HeartbeatInterval)
	defer t.Stop()
	expiry := time.NewTimer(s.untilExpiry())
	defer expiry.Stop()
	for {
		select {
		case <-t.C:
			s.beat()
		case <-s.support.beatNow:
			s.beat()
		case <-expiry.C:
			sp := &s.support
			sp.mu.Lock()
			eff := sp.machine.Expire(s.clock.Now())
			sp.mu.Unlock()
			s.carryOut(eff)
		case <-s.ctx.Done():
			return
		}
		expiry.Reset(s.untilExpiry())
	}
}

// untilExpiry returns how long it is until the first of this store's promises runs out. Promises are renewed long before that
// unless something is wrong.
func (s *Store) untilExpiry() time.Duration {
	sp := &s.support
	sp.mu.Lock()
	defer sp.mu.Unlock()
	end, ok := sp.machine.Expiry()
	if !ok {
		return s.cfg.Knobs.HeartbeatInterval // none can end sooner that is given meanwhile
	}
	return max(time.Millisecond, time.Duration(end.WallTime-s.clock.Peek().WallTime)+time.Millisecond)
}

// beat sends a heartbeat to every peer, and has the ceiling and the horizon persisted. Everything rests on its being in time: it waits for no disk, and for no walk over
// all ranges but that for new peers. A store whose disk does not answer at all is silent: it commits nothing, and others are to lead.
func (s *Store) beat() {
	if s.peers.due(time.Now()) {
		s.refreshPeers()
	}
	now := s.clock.Now()
	sp := &s.support
	sp.mu.Lock()
	physical := s.clock.Physical()
	sp.machine.WatchClock(physical)
	s.fence(physical)
	sp.machine.SetLead(s.extraLead())
	eff := sp.machine.Tick(now, physical)
	s.hearing()
	sp.wanted = clockState{incarnation: sp.machine.Incarnation(), ceiling: s.nextCeiling(now, physical), horizon: sp.machine.Horizon().Forward(eff.Horizon)}
	if sp.disk.hung(time.Now(), s.metrics.FsyncNanos.Load(), s.cfg.Knobs.SupportDuration) {
		eff.Send = nil
	}
	sp.mu.Unlock()
	poke(sp.toWrite)
	s.tellClosed(eff.Send)
	s.carryOut(eff)
	s.withdrawals.report(s.log, time.Now(), s.support.SupportEpoch, s.sharesWith)
}

// hearing notes whether the store is deaf. support.mu is held.
func (s *Store) hearing() {
	sp := &s.support
	if deaf := sp.machine.Deaf(); sp.deaf.Swap(deaf) != deaf {
		if deaf {
			s.log.Warn("no other store is heard here: what is led here is given up, others may hear this one")
		} else {
			s.log.Info("other stores are heard again")
		}
	}
}

// fence decides whether the store serves, by the measured clock offsets. What it leads and is in use steps down by itself at its next tick; what is at rest
// is left alone: others take it when their promises have run out, in turns, and a fence that is lifted before (after a pause of the process it takes
// no more than an answer) costs no elections. support.mu is held.
func (s *Store) fence(physical int64) {
	sp := &s.support
	fenced, worst := sp.machine.Fenced(physical)
	sp.machine.SetProbe(fenced)
	switch was := sp.fenced.Load(); {
	case fenced && was == nil && worst == 0:
		sp.fenced.Store(kv.Errorf(kv.CodeFenced, "the clock of this node has jumped, and no other node has confirmed it yet"))
		s.log.Warn("the clock has jumped, or the process has slept: this store serves nothing until another agrees with its clock")
	case fenced && was == nil:
		sp.fenced.Store(kv.Errorf(kv.CodeFenced, "the clock of this node is off by %v from its peers; the bound is %v", (-worst).Round(time.Millisecond), s.clock.MaxOffset()))
		s.log.Error("clock is off: this store serves nothing until it agrees with its peers again", "offset", -worst)
	case !fenced && was != nil:
		sp.fenced.Store(nil)
		s.log.Info("clock agrees with its peers again")
	}
}

// nextCeiling returns the ceiling that is to be persisted: ahead of the physical clock, if that is believed. A clock that is ahead of
// the others' must not take the ceiling with it, and with the ceiling every reading. support.mu is held.
func (s *Store) nextCeiling(now hlc.Timestamp, physical int64) int64 {
	sp := &s.support
	c := sp.ceiling.Load()
	if sp.fenced.Load() != nil {
		peers, ok := sp.machine.PeerTime(physical)
		if !ok {
			return c
		}
		return max(c, min(physical, peers)+s.ceilingLead())
	}
	return max(c, max(now.WallTime, physical)+s.ceilingLead())
}

// Fenced returns why the store serves nothing on account of its clock; nil if it does not. Its node must not choose
// a time to read at then, wherever the data is: a clock that has run into its ceiling, as that of a process that has slept does before
// anything else here has noticed, says what is long ago.
func (s *Store) Fenced() *kv.Error {
	if e := s.support.fenced.Load(); e != nil {
		return e
	}
	if s.started.Load() && s.clock.Physical() >= s.support.ceiling.Load() {
		return errCeiling
	}
	return nil
}

// HandleHeartbeat takes a heartbeat from another store.
func (s *Store) HandleHeartbeat(h *Heartbeat) {
	if !s.started.Load() || s.closed.Load() != nil || h.ToStore != s.id.StoreID {
		return
	}
	// Offsets are measured by readings that are not believed, too; the clock does not follow those.
	if believed := s.clock.Believes(h.Now); believed && s.clock.Within(h.Physical) {
		s.clock.Update(h.Now)
	} else if !believed && !h.Answer {
		return // one that is not so far off is answered, without following it: its store learns by that how far it is off
	}
	sp := &s.support
	sp.mu.Lock()
	physical := s.clock.Physical()
	eff := sp.machine.Step(s.clock.Now(), physical, h)
	if h.Answer && h.Requester == sp.machine.Incarnation() {
		sp.trip = max(time.Duration(physical-h.SentAt), sp.trip*3/4)
	}
	s.hearing()
	confirmed := false
	if h.Answer && sp.fenced.Load() != nil {
		still, _ := sp.machine.Fenced(physical)
		confirmed = !still
	}
	sp.mu.Unlock()
	s.answerClosed(h, eff.Send)
	s.carryOut(eff)
	if confirmed {
		poke(sp.beatNow) // to ask for support without waiting for the next beat
	}
}

// poke wakes who waits for c, now or when it waits next.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// observe moves the clock past a remote reading, unless that is too far ahead to be believed.
func (s *Store) observe(now hlc.Timestamp) bool {
	if !s.clock.Believes(now) {
		return false
	}
	s.clock.Update(now)
	return true
}

func (s *Store) carryOut(eff liveness.Effects) {
	for _, h := range eff.Send {
		s.cfg.Transport.SendHeartbeat(h.ToNode, h)
	}
	for _, st := range eff.Changed {
		s.news.add(event{store: st})
	}
	for _, st := range eff.Withdrawn {
		s.withdrawals.begin(st, time.Now())
		if node := s.nodeOf(st); node != 0 {
			s.cfg.Transport.Suspect(node)
		}
		s.news.add(event{st, true, slices.Contains(eff.Restarted, st)})
	}
}

// nodeOf returns the node of another store; 0 if nothing was ever heard of it.
func (s *Store) nodeOf(st kv.StoreID) kv.NodeID {
	s.support.mu.Lock()
	defer s.support.mu.Unlock()
	return s.support.machine.Node(st)
}

// sharesWith reports whether some range has replicas here and on st. The walk ends with the first that is found.
func (s *Store) sharesWith(st kv.StoreID) (shares bool) {
	s.each(func(r *replica.Replica) bool {
		if d := r.Desc(); d != nil {
			shares = slices.ContainsFunc(d.Replicas, func(p kv.Replica) bool { return p.StoreID == st })
		}
		return !shares
	})
	return shares
}

// refreshPeers finds the stores with which this one shares a range.
func (s *Store) refreshPeers() {
	seen := make(map[kv.StoreID]kv.NodeID)
	s.each(func(r *replica.Replica) bool {
		if d := r.Desc(); d != nil {
			for _, p := range d.Replicas {
				seen[p.StoreID] = p.NodeID
			}
		}
		return true
	})
	peers := make([]liveness.Peer, 0, len(seen))
	for st, n := range seen {
		if st != s.id.StoreID {
			peers = append(peers, liveness.Peer{Node: n, Store: st})
		}
	}
	slices.SortFunc(peers, func(a, b liveness.Peer) int { return cmp.Compare(a.Store, b.Store) })
	s.peers.known.Store(&seen)
	s.support.mu.Lock()
	s.support.machine.SetPeers(peers)
	s.support.mu.Unlock()
}

// peers are the stores with which this one shares a range, as they were last looked up: that is a walk over all ranges.
type peers struct {
	known atomic.Pointer[map[kv.StoreID]kv.NodeID] // nil before the first look
	// unknown: a range has a replica on a store that is not known, and cannot count on its support until it is. old: something else has changed; a store that
	// is no peer any more is sent heartbeats until somebody looks.
	unknown, old atomic.Bool
	looked       time.Time // the beat loop's
}

// peersEvery is how soon peers are looked up again when none is missing.
const peersEvery = 5 * time.Second

// note is told of a descriptor that has changed.
func (p *peers) note(d *kv.RangeDescriptor) {
	p.old.Store(true)
	if d == nil {
		return
	}
	known := p.known.Load()
	for i := range d.Replicas {
		if known == nil {
			p.unknown.Store(true)
		} else if node, ok := (*known)[d.Replicas[i].StoreID]; !ok || node != d.Replicas[i].NodeID {
			p.unknown.Store(true)
		}
	}
}

// due reports whether to look again.
func (p *peers) due(now time.Time) bool {
	if !p.unknown.Swap(false) && (now.Sub(p.looked) < peersEvery || !p.old.Load()) {
		return false
	}
	p.old.Store(false)
	p.looked = now
	return true
}
