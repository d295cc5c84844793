package liveness

import (
	"cmp"
	"slices"
	"time"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// Config of a Machine.
type Config struct {
	Node  kv.NodeID
	Store kv.StoreID
	// Incarnation counts the starts of this store; it is persisted before the machine is made.
	Incarnation uint64
	// Support is how long a promise lasts, Heartbeat the interval of Tick.
	Support, Heartbeat time.Duration
	MaxOffset          time.Duration
	// Horizon covers every promise made by earlier incarnations (rule R5).
	Horizon hlc.Timestamp
	// IgnorePromises is a planted bug, for the tests of the tests: promises do not bind this store.
	IgnorePromises bool
}

// Peer is another store with which this one shares a range.
type Peer struct {
	Node  kv.NodeID
	Store kv.StoreID
}

// Effects of a Step or a Tick, for the caller to carry out.
type Effects struct {
	// Send: heartbeats for the transport.
	Send []*Heartbeat
	// Horizon, if not empty, is to be persisted; call Persisted when it is. Until
	// then promises stop at the old one.
	Horizon hlc.Timestamp
	// Withdrawn lists stores that this one has ceased to support: their groups want a new leader.
	Withdrawn []kv.StoreID
	// Restarted lists those of them that are of another process by now: nothing that they led is led there any more.
	Restarted []kv.StoreID
	// Released: of what others have promised to this store, something was given up (R11).
	Released bool
	// Changed lists stores whose support for this one has a new epoch or that
	// have a new incarnation: quiet groups with a replica there must be woken.
	Changed []kv.StoreID
}

type given struct {
	epoch       uint64
	until       hlc.Timestamp
	incarnation uint64 // the supported store's
	standing    bool
	// after: the store has released what it was given, and knew this reading of our clock then. It gets nothing before it knows a later one.
	after hlc.Timestamp
}

type got struct {
	node        kv.NodeID
	epoch       uint64
	until       hlc.Timestamp
	released    uint64 // no promise under this epoch, or one before it, counts any more (R11)
	incarnation uint64
	heard       hlc.Timestamp // when we last heard of it
	reading     hlc.Timestamp // the latest of its clock
	offset      time.Duration // its physical clock minus ours
	slack       time.Duration // half the round trip
	measured    int64         // our physical clock then; 0 is never
	anew        bool          // it has become a peer, again perhaps, and has not promised anything since
}

// lapsed reports whether what was promised is worth nothing any more.
func (g *got) lapsed(now hlc.Timestamp) bool {
	return !g.anew && max(g.epoch, g.released) != 0 && (g.epoch == 0 || g.until.Less(now))
}

// Machine is one store's side of all its promises. It is pure and not safe for concurrent use.
type Machine struct {
	cfg       Config
	peers     []Peer
	given     map[kv.StoreID]*given
	got       map[kv.StoreID]*got
	counter   uint64 // of epochs of this incarnation
	old       hlc.Timestamp
	persisted hlc.Timestamp
	withdrawn []kv.StoreID // not reported yet
	restarted []kv.StoreID // of these
	probe     bool
	lead      time.Duration // see SetLead
	ticked    int64         // the physical clock at the last WatchClock; 0 before the first
	doubt     int           // ticks for which a step of the clock may go without being confirmed; 0: nothing to confirm
	alone     int           // ticks in time since anybody was heard
	deaf      bool
	// unsupported is when, at a tick, most peers' promises had last run out.
	unsupported hlc.Timestamp
}

// deafTicks is how many heartbeats, each sent when it was due, must have gone to everybody without a word from anybody before a store takes
// itself for deaf. One that had no processor for a while is late, not deaf: what it was told is waiting to be read.
const deafTicks = 3

// New returns a machine.
func New(cfg Config) *Machine {
	return &Machine{
		cfg: cfg, old: cfg.Horizon, persisted: cfg.Horizon,
		given: make(map[kv.StoreID]*given), got: make(map[kv.StoreID]*got),
	}
}

// SetPeers says with whom heartbeats are exchanged.
func (m *Machine) SetPeers(peers []Peer) {
	before := slices.Clone(m.peers)
	m.peers = m.peers[:0]
	for _, p := range peers {
		if p.Store == m.cfg.Store {
			continue
		}
		m.peers = append(m.peers, p)
		// Nobody asked it for anything meanwhile.
		if g := m.got[p.Store]; g != nil && !slices.ContainsFunc(before, func(b Peer) bool { return b.Store == p.Store }) {
			g.anew = true
		}
	}
	slices.SortFunc(m.peers, func(a, b Peer) int { return cmp.Compare(a.Store, b.Store) })
}

// Peers returns the peers; the slice is the machine's.
func (m *Machine) Peers() []Peer { return m.peers }

// Tick asks every peer for support, moves the horizon, and withdraws what has expired.
func (m *Machine) Tick(now hlc.Timestamp, physical int64) Effects {
	var eff Effects
	incarnation := m.cfg.Incarnation
	if m.probe {
		incarnation = 0 // of no process that can be supported
	}
	eff.Released = m.release(now)
	lapsed := 0
	for _, p := range m.peers {
		h := &Heartbeat{
			FromNode: m.cfg.Node, FromStore: m.cfg.Store, ToNode: p.Node, ToStore: p.Store,
			Incarnation: incarnation, Now: now, Physical: physical, SentAt: physical,
		}
		if g := m.got[p.Store]; g != nil {
			h.Until = g.reading
			if g.epoch == 0 {
				h.Epoch = g.released // again and again: a heartbeat may be lost
			}
			if g.lapsed(now) {
				lapsed++
			}
		}
		eff.Send = append(eff.Send, h)
	}
	if 2*lapsed > len(m.peers) {
		m.unsupported = now
	}
	m.expire(now)
	// The horizon covers promises made until a tick that comes late by a whole interval, and what the disk takes besides.
	if want := now.Add(m.cfg.Support + 2*m.cfg.Heartbeat + m.lead); len(m.peers) > 0 && m.persisted.Less(want) {
		eff.Horizon = want
	}
	m.takeWithdrawn(&eff)
	return eff
}

// Expire withdraws what has expired, between ticks.
func (m *Machine) Expire(now hlc.Timestamp) Effects {
	m.expire(now)
	var eff Effects
	m.takeWithdrawn(&eff)
	return eff
}

func (m *Machine) expire(now hlc.Timestamp) {
	for s, g := range m.given {
		if g.standing && g.until.Less(now) {
			m.withdraw(s, g)
		}
	}
}

// Expiry returns the end of the promise that ends first; false if none stands. Where it is waited for, a lost leader's
// followers need not lose up to a heartbeat's interval before they elect another.
func (m *Machine) Expiry() (end hlc.Timestamp, ok bool) {
	for _, g := range m.given {
		if g.standing && (!ok || g.until.Less(end)) {
			end, ok = g.until, true
		}
	}
	return end, ok
}

// release is rule R11: a store that is deaf gives up promises that have become useless to it. They may be good for as long again where they
// were made, and nobody else could lead until then.
func (m *Machine) release(now hlc.Timestamp) (some bool) {
	if m.alone < deafTicks {
		return false
	}
	useless := now.Add(m.cfg.MaxOffset)
	m.deaf = true
	for _, g := range m.got {
		switch {
		case g.epoch == 0:
		case g.until.LessEq(useless):
			g.released, g.epoch, g.until = g.epoch, 0, hlc.Timestamp{}
			some = true
		default:
			m.deaf = false // not to the end
		}
	}
	return some
}

// Deaf reports whether this store asks for support, in time, and hears nothing from anybody, so that it can lead nothing. Others may
// hear it well.
func (m *Machine) Deaf() bool { return m.deaf }

// Unsupported is when most of the others last did not stand by this store, though they had: what it leads is given other leaders then. Empty if that never was.
func (m *Machine) Unsupported() hlc.Timestamp { return m.unsupported }

// SetLead says how long before it counts a horizon was wanted, beyond the time between two ticks: its disk may be slow, and no promise reaches further.
func (m *Machine) SetLead(d time.Duration) { m.lead = d }

// SetProbe says whether requests are only to measure clocks, and ask for no support.
func (m *Machine) SetProbe(on bool) { m.probe = on }

// Incarnation returns this store's.
func (m *Machine) Incarnation() uint64 { return m.cfg.Incarnation }

// Persisted says that the horizon is on disk.
func (m *Machine) Persisted(horizon hlc.Timestamp) { m.persisted = m.persisted.Forward(horizon) }

// Step handles a heartbeat from another store. now must not be before h.Now (rule R4).
func (m *Machine) Step(now hlc.Timestamp, physical int64, h *Heartbeat) Effects {
	var eff Effects
	if h.ToStore != m.cfg.Store || h.FromStore == m.cfg.Store {
		return eff
	}
	s := m.got[h.FromStore]
	if s == nil {
		s = &got{}
		m.got[h.FromStore] = s
	}
	s.node, s.heard = h.FromNode, now
	m.alone, m.deaf = 0, false
	s.reading = s.reading.Forward(h.Now)
	changed := false
	if h.Incarnation > s.incarnation {
		changed = s.incarnation != 0
		s.incarnation = h.Incarnation
	}
	if h.Answer {
		switch {
		case h.Requester != m.cfg.Incarnation:
			// To a process before this one, or to a probe.
		case h.Epoch <= s.released:
			// Given up; or none.
		case h.Epoch > s.epoch:
			s.epoch, s.until, changed, s.anew = h.Epoch, h.Until, true, false
		case h.Epoch == s.epoch:
			s.until, s.anew = s.until.Forward(h.Until), false
		}
		if trip := physical - h.SentAt; trip >= 0 && trip < int64(m.cfg.Support) {
			s.slack = time.Duration(trip / 2)
			s.offset = time.Duration(h.Physical - h.SentAt - trip/2)
			s.measured = max(physical, 1)
		}
	} else {
		eff.Send = []*Heartbeat{m.answer(now, physical, h)}
	}
	if changed {
		eff.Changed = []kv.StoreID{h.FromStore}
	}
	m.takeWithdrawn(&eff)
	return eff
}

// answer promises support to the store that asks for it.
func (m *Machine) answer(now hlc.Timestamp, physical int64, h *Heartbeat) *Heartbeat {
	a := &Heartbeat{
		FromNode: m.cfg.Node, FromStore: m.cfg.Store, ToNode: h.FromNode, ToStore: h.FromStore, Answer: true,
		Incarnation: m.cfg.Incarnation, Requester: h.Incarnation, Now: now, Physical: physical, SentAt: h.SentAt,
	}
	g := m.given[h.FromStore]
	if g == nil {
		g = &given{}
		m.given[h.FromStore] = g
	}
	if h.Incarnation < max(g.incarnation, 1) {
		return a // a probe, or from a process that is dead: a living one would have a larger number
	}
	if g.standing && (g.until.Less(now) || h.Incarnation > g.incarnation) {
		m.withdraw(h.FromStore, g)
		if h.Incarnation > g.incarnation {
			m.restarted = append(m.restarted, h.FromStore)
		}
	}
	if h.Incarnation > g.incarnation {
		g.incarnation, g.after = h.Incarnation, hlc.Timestamp{}
	}
	if h.Epoch != 0 && h.Epoch >= g.epoch && g.standing { // it counts on it no more (R11)
		m.withdraw(h.FromStore, g)
		g.after = h.Until
	}
	if !h.Until.IsEmpty() && (h.Until.Add(m.cfg.Support).Less(now) || h.Until.LessEq(g.after)) {
		return a // it does not hear us (R10, R11): what it was promised is left to run out
	}
	until := now.Add(m.cfg.Support)
	if m.persisted.Less(until) {
		until = m.persisted
	}
	if until.LessEq(now) {
		return a // the disk is behind: no promise that a restart would not honour
	}
	if !g.standing {
		m.counter++
		*g = given{epoch: m.cfg.Incarnation<<32 | m.counter, incarnation: h.Incarnation, standing: true}
	}
	g.until = g.until.Forward(until)
	a.Epoch, a.Until = g.epoch, g.until
	return a
}

func (m *Machine) withdraw(s kv.StoreID, g *given) {
	g.standing = false
	m.withdrawn = append(m.withdrawn, s)
}

func (m *Machine) takeWithdrawn(eff *Effects) {
	eff.Withdrawn, eff.Restarted = m.withdrawn, m.restarted
	m.withdrawn, m.restarted = nil, nil
	slices.Sort(eff.Withdrawn)
}

// Supports reports whether this store stands by the epoch of its support for
// store s. If the promise has expired it is withdrawn first, so an answer of false is for ever.
func (m *Machine) Supports(s kv.StoreID, epoch uint64, now hlc.Timestamp) bool {
	if m.cfg.IgnorePromises {
		return false
	}
	return epoch != 0 && m.SupportEpoch(s, now) == epoch
}

// SupportEpoch returns the epoch of this store's standing support for s, or 0.
func (m *Machine) SupportEpoch(s kv.StoreID, now hlc.Timestamp) uint64 {
	g := m.given[s]
	if g == nil || !g.standing {
		return 0
	}
	if g.until.Less(now) {
		m.withdraw(s, g)
		return 0
	}
	return g.epoch
}

// SupportFrom returns the epoch and the end of the support that s has promised to this store.
func (m *Machine) SupportFrom(s kv.StoreID) (epoch uint64, until hlc.Timestamp) {
	if s == m.cfg.Store {
		return 1, hlc.Max
	}
	if g := m.got[s]; g != nil {
		return g.epoch, g.until
	}
	return 0, hlc.Timestamp{}
}

// MayVote reports whether the promises of earlier incarnations have expired (rule R5).
func (m *Machine) MayVote(now hlc.Timestamp) bool { return m.old.Less(now) || m.old.IsEmpty() }

// Heard returns when this store last heard of s.
func (m *Machine) Heard(s kv.StoreID) hlc.Timestamp {
	if g := m.got[s]; g != nil {
		return g.heard
	}
	return hlc.Timestamp{}
}

// Node returns the node of store s; 0 if this store never heard of it.
func (m *Machine) Node(s kv.StoreID) kv.NodeID {
	if g := m.got[s]; g != nil {
		return g.node
	}
	return 0
}

// Horizon returns the end of the promises made so far, as persisted.
func (m *Machine) Horizon() hlc.Timestamp { return m.persisted }

// Promised returns the latest time until which this store has promised anything to another.
func (m *Machine) Promised() hlc.Timestamp {
	t := m.old
	for _, g := range m.given {
		t = t.Forward(g.until)
	}
	return t
}

// sampleLife is how long a clock measurement counts.
const sampleLife = 10 * time.Second

// WatchClock is called before every Tick. It notices steps of the physical clock: two ticks that are further apart than a promise lasts, or in the wrong order. (A process
// that has slept looks the same.) What was measured before says nothing any more, so the clock is in doubt until a
// peer has been measured, or for sampleLife if there is none to be measured.
func (m *Machine) WatchClock(physical int64) {
	since := physical - m.ticked
	if m.alone++; m.ticked == 0 || since < 0 || since > 2*int64(m.cfg.Heartbeat) || len(m.peers) == 0 {
		m.alone, m.deaf = 0, false
	}
	stepped := m.ticked != 0 && (since < 0 || since > int64(m.cfg.Support+m.cfg.Heartbeat))
	m.ticked = physical
	if m.doubt > 0 {
		m.doubt--
	}
	if !stepped || len(m.peers) == 0 {
		return
	}
	for _, g := range m.got {
		g.measured = 0
	}
	m.doubt = int(sampleLife/m.cfg.Heartbeat) + 1
}

// fresh reports whether the measurement of g counts.
func (g *got) fresh(physical int64) bool {
	return g.measured != 0 && physical-g.measured <= int64(sampleLife)
}

// Fenced reports whether this store's physical clock is off from more than
// half of the peers that were measured lately by more than 80 % of the bound, or has made a step that nobody has
// confirmed yet. worst is the largest offset measured; 0 if none was.
func (m *Machine) Fenced(physical int64) (fenced bool, worst time.Duration) {
	var measured, off int
	limit := m.cfg.MaxOffset * 8 / 10
	for _, g := range m.got {
		if !g.fresh(physical) {
			continue
		}
		measured++
		d := g.offset.Abs()
		if d > worst.Abs() {
			worst = g.offset
		}
		if d-g.slack > limit {
			off++
		}
	}
	if measured == 0 {
		return m.doubt > 0, 0
	}
	return off*2 > measured, worst
}

// PeerTime returns what the physical clocks of the peers read, as far as is known: the median; ok is false if none was
// measured lately.
func (m *Machine) PeerTime(physical int64) (wall int64, ok bool) {
	var offsets []time.Duration
	for _, g := range m.got {
		if g.fresh(physical) {
			offsets = append(offsets, g.offset)
		}
	}
	if len(offsets) == 0 {
		return 0, false
	}
	slices.Sort(offsets)
	return physical + int64(offsets[(len(offsets)-1)/2]), true
}
