package node

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
)

// How the driver learns of the ranges: every few seconds it asks each node what has changed among the ranges led there
// since the last answer it has got. A node that does not recognise the question (it restarted, an answer was lost, there is a
// new driver) tells everything.

// changesRequest asks for what has changed.
type changesRequest struct {
	// Driver and Session are the asker's; Ack is the number of the last answer that it has got in this session.
	Driver  kv.NodeID
	Session int64
	Ack     uint64
}

// changesReport is what has changed on a node.
type changesReport struct {
	NodeID  kv.NodeID
	StoreID kv.StoreID
	Number  uint64
	Full    bool
	nodeLoad
	Ranges []changedRange
	Gone   []kv.RangeID
}

// nodeLoad is what a node says of itself, beside its ranges.
type nodeLoad struct {
	Capacity int64
	Free     int64
	// Cores it may use, those that its process uses, and those that are left: all 0 of a node that does not say.
	Cores      int
	Used, Idle float64
	// Sync is what a sync of the log takes; 0 if there was none lately.
	Sync time.Duration
	// Unsupported is how long ago, in milliseconds, most other stores did not support the node's, though it was running; 0 if they always did.
	Unsupported int64 `json:",omitempty"`
	// Full: the disk has so little left that writes are refused.
	Full bool `json:",omitempty"`
	// Certificates says that the node's end soon, or have ended, or that others refuse them, or that the files are bad that are to replace them; empty if nothing is wrong.
	Certificates string `json:",omitempty"`
}

func (n *Node) load(now time.Time) (l nodeLoad) {
	l.Free, l.Capacity = n.store.Space()
	l.Cores = n.cfg.Cores
	l.Used, l.Idle = n.loads.busy.update(now, l.Cores)
	l.Sync = n.loads.readSync(n.store, now)
	l.Full = n.store.Full()
	if ago, ok := n.store.Unsupported(); ok {
		l.Unsupported = max(1, ago.Milliseconds())
	}
	if n.certs != nil {
		l.Certificates = n.certs.Ending(now)
		if r := n.refused.Load(); r != nil && *r != "" && l.Certificates == "" {
			l.Certificates = *r
		}
		if bad := n.certs.Unread(); bad != "" { // else the next restart would be the first to tell
			if l.Certificates != "" {
				l.Certificates += "; "
			}
			l.Certificates += "its certificate files cannot be used, and it goes on with what it had until it is stopped (" + bad + ")"
		}
	}
	return l
}

type changedRange struct {
	Desc  []byte // wire form
	Term  uint64
	LedMS int64 // how long it has been led here
	Bytes int64
	// Changing: its leader is at an administrative command, whoever asked for it.
	Changing bool
	RangeRates
}

// reporting is a node's memory of what it has told the driver.
type reporting struct {
	mu      sync.Mutex
	driver  kv.NodeID                // guarded by mu, like the rest
	session int64                    //
	number  uint64                   // of the last answer
	told    map[kv.RangeID]toldRange // as of that answer
}

type toldRange struct {
	generation int64
	term       uint64
	bytes      int64
	changing   bool
	rates      RangeRates
}

// differs reports whether a range is so far from what was told that it should be told again.
// of are bytes that make a difference; a size that is a sixth off does, if it is more than they.
func (t *toldRange) differs(h *ledHere, of int64) bool {
	if t.generation != h.desc.Generation || t.term != h.term || t.changing != h.changing {
		return true
	}
	far := func(a, b, least float64) bool { return math.Abs(a-b) > max(0.15*max(a, b), least) }
	if far(float64(t.bytes), float64(h.stats.Bytes), float64(of)) || far(t.rates.Requests, h.rates.Requests, 1) ||
		far(t.rates.WriteBytes, h.rates.WriteBytes, 16<<10) || far(t.rates.CPU, h.rates.CPU, 0.01) {
		return true
	}
	for _, g := range h.rates.From {
		was := 0.0
		for _, o := range t.rates.From {
			if o.Node == g.Node {
				was = o.Requests
			}
		}
		if far(was, g.Requests, 1) {
			return true
		}
	}
	return false
}

func (n *Node) serveChanges(_ context.Context, _ kv.NodeID, q *changesRequest) (*changesReport, error) {
	n.loads.update(n.store, time.Now()) // the driver goes by what it is told: it is to be so now
	led := n.loads.snapshot()
	out := &changesReport{NodeID: n.id.NodeID, StoreID: n.storeID}
	now := time.Now()
	out.nodeLoad = n.load(now)
	of := int64(1 << 20)
	if split, _, _ := n.store.SplitLimits(); split > 0 {
		of = min(of, split/64)
	}
	r := &n.reporting
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.driver != q.Driver || r.session != q.Session || r.number != q.Ack || q.Ack == 0 {
		r.driver, r.session, out.Full = q.Driver, q.Session, true
		r.told = make(map[kv.RangeID]toldRange, len(led))
	}
	for id := range r.told {
		if led[id] == nil {
			out.Gone = append(out.Gone, id)
			delete(r.told, id)
		}
	}
	for id, h := range led {
		if t, ok := r.told[id]; ok && !t.differs(h, of) {
			continue
		}
		r.told[id] = toldRange{h.desc.Generation, h.term, h.stats.Bytes, h.changing, h.rates}
		out.Ranges = append(out.Ranges, changedRange{Desc: h.desc.AppendWire(nil), Term: h.term, LedMS: now.Sub(h.since).Milliseconds(),
			Bytes: h.stats.Bytes, Changing: h.changing, RangeRates: h.rates})
	}
	// Numbers do not come again, so that an acknowledgement of another session's cannot be taken for this one's.
	r.number = max(r.number+1, uint64(now.UnixMicro()))
	out.Number = r.number
	return out, nil
}

// collected is what the driver knows of the cluster. It is used by the driver's goroutine alone.
type collected struct {
	session int64
	nodes   map[kv.NodeID]*reporter
	ranges  map[kv.RangeID]*knownRange
	young   time.Duration       // for how long a leader is new
	borrow  map[kv.RangeID]bool // ranges whose leaders are
	changed map[kv.RangeID]bool // ranges that the planner has not been told of as they are
	listed  time.Time           // when the meta range was last read
	bounds  bool                // some range has other bounds, or came or went
	order   []kv.RangeID        // of the ranges by their keys; nil if that may have changed
}

// inOrder returns the ranges in the order of their keys. It sorts when bounds have changed, and not for every plan.
func (c *collected) inOrder() []kv.RangeID {
	if c.order == nil || len(c.order) != len(c.ranges) {
		c.order = make([]kv.RangeID, 0, len(c.ranges))
		for id := range c.ranges {
			c.order = append(c.order, id)
		}
		slices.SortFunc(c.order, func(a, b kv.RangeID) int { return c.ranges[a].desc.StartKey.Compare(c.ranges[b].desc.StartKey) })
	}
	return c.order
}

type reporter struct {
	ack   uint64
	lost  bool // it does not answer: nothing is known to be led there
	store kv.StoreID
	load  nodeLoad
}

type knownRange struct {
	desc   kv.RangeDescriptor
	term   uint64
	leader kv.NodeID // 0 if nobody says that it leads
	store  kv.StoreID
	since  time.Time
	// led is who led last, as far as is known, and ledBefore who did before that.
	led, ledBefore kv.StoreID
	// cut is when the range was first known, or found to be smaller than it was: nothing was cut from it since.
	cut   time.Time
	bytes int64
	// changing: the leader is at an administrative command that the driver need not know of, of an operator's for one.
	changing bool
	rates    RangeRates
	before   *RangeRates // of the leader before this one, for as long as this one is new; nil of nearly all
}

// load is what the range is asked for. A new leader counts from nothing, and for a while knows less than the one before it: as if nobody
// asked, and nobody minded where the range is led. Balance took it back at once from where it had followed its clients to.
func (k *knownRange) load() *RangeRates {
	if k.before != nil && k.before.Requests > k.rates.Requests {
		return k.before
	}
	return &k.rates
}

// beingChanged reports whether somebody is at a change of the range already, perhaps not the driver: an operator's learner is not one that was left behind.
func (k *knownRange) beingChanged() bool {
	return k.desc.InJoint() || k.changing && k.leader != 0
}

func newCollected(young time.Duration) *collected {
	return &collected{young: young, borrow: map[kv.RangeID]bool{}, session: rand.Int64N(1 << 50), nodes: map[kv.NodeID]*reporter{}, ranges: map[kv.RangeID]*knownRange{},
		changed: map[kv.RangeID]bool{}}
}

// listEvery is how often the driver reads the meta range, to learn of ranges that nobody leads.
const listEvery = 30 * time.Second

// collect brings c up to date.
func (n *Node) collect(ctx context.Context, c *collected) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var got []*changesReport
	askCtx, cancel := context.WithTimeout(ctx, max(2*time.Second, n.cfg.PlacementInterval))
	defer cancel()
	for _, e := range n.book.Entries() {
		r := c.nodes[e.NodeID]
		if r == nil {
			r = &reporter{}
			c.nodes[e.NodeID] = r
		}
		if !n.transport.Alive(e.NodeID) {
			c.lost(e.NodeID)
			continue
		}
		q := &changesRequest{Driver: n.id.NodeID, Session: c.session, Ack: r.ack}
		wg.Add(1)
		go func() {
			defer wg.Done()
			rep, err := ask[changesRequest, changesReport](askCtx, n, e.NodeID, "changes", q)
			if err != nil {
				n.log.Debug("placement: no report", "from", e.NodeID, "err", err)
				return // it will tell what this answer was to have told
			}
			mu.Lock()
			got = append(got, rep)
			mu.Unlock()
		}()
	}
	wg.Wait()
	c.grow(time.Now())
	slices.SortFunc(got, func(a, b *changesReport) int { return int(a.NodeID) - int(b.NodeID) })
	for _, rep := range got {
		if err := c.take(rep, time.Now()); err != nil {
			n.log.Error("malformed report", "from", rep.NodeID, "err", err)
		}
	}
	if time.Since(c.listed) >= listEvery {
		if descs, err := n.sender.AllRanges(askCtx); err == nil {
			c.list(descs)
			c.listed = time.Now()
		} else if ctx.Err() == nil {
			n.log.Debug("placement: the meta range cannot be read", "err", err)
		}
	}
}

// lost notes that a node does not answer: nobody is known to lead what it led.
func (c *collected) lost(id kv.NodeID) {
	n := c.nodes[id]
	if n.ack = 0; n.lost {
		return
	}
	n.lost = true
	for rid, r := range c.ranges {
		if r.leader == id {
			r.leader, r.store, r.rates, r.before = 0, 0, RangeRates{}, nil
			c.changed[rid] = true
		}
	}
}

// take takes a report in. Of two nodes that say that they lead a range the later term counts.
func (c *collected) take(rep *changesReport, now time.Time) error {
	from := c.nodes[rep.NodeID]
	if from == nil {
		return nil
	}
	from.store, from.load, from.ack, from.lost = rep.StoreID, rep.nodeLoad, rep.Number, false
	if rep.Full {
		for id, r := range c.ranges {
			if r.leader == rep.NodeID {
				r.leader, r.store = 0, 0
				c.changed[id] = true
			}
		}
	}
	for _, id := range rep.Gone {
		if r := c.ranges[id]; r != nil && r.leader == rep.NodeID {
			r.leader, r.store = 0, 0
			c.changed[id] = true
		}
	}
	for i := range rep.Ranges {
		x := &rep.Ranges[i]
		d, err := kv.DecodeRangeDescriptor(x.Desc)
		if err != nil {
			from.ack = 0
			return err
		}
		old := c.ranges[d.RangeID]
		if old != nil && (old.desc.Generation > d.Generation || old.leader != 0 && old.leader != rep.NodeID && old.term > x.Term) {
			continue
		}
		k := &knownRange{desc: d, term: x.Term, leader: rep.NodeID, store: rep.StoreID,
			since: now.Add(-time.Duration(x.LedMS) * time.Millisecond), bytes: x.Bytes, changing: x.Changing, rates: x.RangeRates}
		k.led = rep.StoreID
		if old != nil {
			if k.ledBefore = old.ledBefore; old.led != k.led {
				k.ledBefore = old.led
			}
		}
		if old != nil && now.Sub(k.since) < c.young {
			if k.before = old.before; old.term < k.term {
				was := *old.load()
				k.before = &was
			}
			c.borrow[d.RangeID] = true
		}
		c.set(k, old, now)
	}
	return nil
}

// set takes in what is now known of a range.
func (c *collected) set(k, old *knownRange, now time.Time) {
	d := &k.desc
	c.changed[d.RangeID] = true
	c.ranges[d.RangeID] = k
	k.cut = now
	if old == nil || !old.desc.StartKey.Equal(d.StartKey) || !old.desc.EndKey.Equal(d.EndKey) {
		c.bounds, c.order = true, nil
	}
	if old == nil || old.desc.StartKey.Less(d.StartKey) || d.EndKey.Less(old.desc.EndKey) {
		return
	}
	k.cut = old.cut
	if !old.desc.EndKey.Less(d.EndKey) {
		return
	}
	for id, r := range c.ranges { // what it has absorbed is no more
		if id != d.RangeID && r.desc.Generation < d.Generation && d.ContainsSpan(r.desc.Span()) {
			delete(c.ranges, id)
			c.changed[id], c.order = true, nil
		}
	}
}

// grow forgets what leaders before those knew that are new no longer.
func (c *collected) grow(now time.Time) {
	for id := range c.borrow {
		if k := c.ranges[id]; k == nil || now.Sub(k.since) >= c.young {
			if k != nil {
				k.before = nil
			}
			c.changed[id] = true
			delete(c.borrow, id)
		}
	}
}

// list takes in what the meta range says: ranges that nobody has reported are leaderless, and
// those it does not know are gone, if nobody leads them.
func (c *collected) list(descs []kv.RangeDescriptor) {
	there := make(map[kv.RangeID]bool, len(descs))
	for i := range descs {
		d := &descs[i]
		there[d.RangeID] = true
		if r := c.ranges[d.RangeID]; r == nil {
			c.set(&knownRange{desc: *d}, nil, time.Now())
		} else if r.leader == 0 && r.desc.Generation < d.Generation {
			now := *r
			now.desc = *d
			c.set(&now, r, time.Now())
		}
	}
	for id, r := range c.ranges {
		if !there[id] && r.leader == 0 {
			delete(c.ranges, id)
			c.changed[id], c.bounds, c.order = true, true, nil
		}
	}
}
