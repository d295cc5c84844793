package node

import (
	"cmp"
	"slices"
	"time"

	"github.com/pamirdb/pamir/placement"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

// What the driver tells the planner. The planner keeps the ranges from one plan to the next, so only those are told that
// have changed: in a cluster at rest none.

// moment translates what is known beside the ranges.
func (d *driver) moment(now time.Time) placement.Moment {
	n := d.n
	out := placement.Moment{Now: now.Sub(d.began)}
	peers := map[kv.NodeID]transport.PeerStatus{}
	for _, x := range n.transport.Peers() {
		peers[x.NodeID] = x
	}
	syncs := map[kv.NodeID]time.Duration{}
	for id, r := range d.known.nodes {
		if peers[id].Silence <= n.cfg.Rules.Limits.AliveWithin {
			syncs[id] = r.load.Sync
		}
	}
	slow := d.disks.update(now, syncs)
	for _, e := range n.book.Entries() {
		m, leaves := d.left[e.NodeID]
		if m.Gone() {
			continue
		}
		s := placement.Store{ID: placement.StoreID(e.StoreID), Node: placement.NodeID(e.NodeID), Locality: e.Locality,
			Draining: e.Draining, Decommissioning: leaves, SlowDisk: slow[e.NodeID]}
		x, peer := peers[e.NodeID] // this node is no peer of its own
		if peer {
			s.Silence = silent(x, n.cfg.Rules.Limits.AliveWithin)
		}
		s.Unsteady = peer && d.unsteady(x, now) || d.disks.suspect(e.NodeID)
		if r := d.known.nodes[e.NodeID]; r != nil {
			s.Capacity, s.Free = r.load.Capacity, r.load.Free
			s.Cores, s.Used, s.Idle = float64(r.load.Cores), r.load.Used, r.load.Idle
			s.Shaken = n.cfg.shaken(&r.load)
		}
		out.Stores = append(out.Stores, s)
	}
	return out
}

// unsteady reports whether a node is given nothing that can wait: it answers nothing just now, which is said a second after it has died, long before it counts as
// silent; or it was silent a short while ago. A transfer to a node that is not there takes seconds to fail, and its range is left alone as long.
func (d *driver) unsteady(x transport.PeerStatus, now time.Time) bool {
	if x.Silence > d.n.cfg.Rules.Limits.AliveWithin {
		d.silent[x.NodeID] = now
	}
	return !x.Alive || now.Sub(d.silent[x.NodeID]) < d.n.cfg.unsteadyFor()
}

// silent is for how long nothing was heard of a node. Of one that was never heard of since this process began, nobody knows whether it is there: it counts as
// silent, so that it is given nothing, and becomes dead in its time.
func silent(p transport.PeerStatus, aliveWithin time.Duration) time.Duration {
	if !p.Heard {
		return max(p.Silence, aliveWithin+1)
	}
	return p.Silence
}

// tell tells the planner what has changed since the last time, and adds to the moment what is under way. What ended after the reports
// began to be collected counts as if it were under way still: they may tell of before or after.
func (d *driver) tell(to *placement.Moment, now, collected time.Time) {
	p := &d.n.placement
	p.mu.Lock()
	defer p.mu.Unlock()
	held := map[kv.RangeID]bool{}
	for id, was := range p.settling {
		if was.ended.Before(collected) {
			if !d.dry {
				delete(p.settling, id)
			}
			continue
		}
		if p.running[id] == nil {
			held[id] = true
			if id == kv.RangeID(was.op.Range) { // a merge is known by both its ranges
				to.InFlight = append(to.InFlight, was.op)
			}
		}
	}
	for id, run := range p.running {
		held[id] = true
		if id == kv.RangeID(run.op.Range) {
			to.InFlight = append(to.InFlight, run.op)
		}
	}
	for id, f := range p.failures {
		if now.Before(f.until) {
			held[id] = true
		} else if d.known.ranges[id] == nil && !d.dry {
			delete(p.failures, id)
		}
	}
	for id, f := range p.unmergeable {
		d.known.changed[id] = true
		if now.After(f.until) && d.known.ranges[id] == nil && !d.dry {
			delete(p.unmergeable, id)
		}
	}
	d.neighbours()
	slices.SortFunc(to.InFlight, func(a, b placement.Operator) int { return cmp.Compare(a.Range, b.Range) })
	if !slices.EqualFunc(d.told, d.rules.spans, ruleSpan.equal) {
		d.told = slices.Clone(d.rules.spans)
		for id := range d.known.ranges {
			d.known.changed[id] = true
		}
	}
	for _, set := range []map[kv.RangeID]bool{held, d.held} { // what is held no longer is told once more
		for id := range set {
			d.known.changed[id] = true
		}
	}
	d.held = held
	ids := make([]kv.RangeID, 0, len(d.known.changed))
	for id := range d.known.changed {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if k := d.known.ranges[id]; k != nil {
			r := d.translate(k, held[id])
			d.border(&r, k, now)
			d.ranges.Set(r)
		} else {
			d.ranges.Remove(placement.RangeID(id))
		}
	}
	clear(d.known.changed)
}

// translate puts a range into the planner's terms.
func (d *driver) translate(k *knownRange, held bool) placement.Range {
	load := k.load()
	r := placement.Range{ID: placement.RangeID(k.desc.RangeID), Generation: k.desc.Generation, Leader: placement.StoreID(k.store),
		Changing: held || k.beingChanged(), Rule: d.rules.ruleAt(k.desc.StartKey), Bytes: k.bytes,
		Load: placement.Load{Requests: load.Requests, WriteBytes: load.WriteBytes, CPU: load.CPU}}
	if k.leader != 0 {
		r.LedSince, r.LedBefore = k.since.Sub(d.began), placement.StoreID(k.ledBefore)
	}
	if len(load.From) > 0 {
		r.From = make([]placement.Source, 0, len(load.From))
		for _, g := range load.From {
			r.From = append(r.From, placement.Source{Node: placement.NodeID(g.Node), Requests: g.Requests})
		}
		slices.SortFunc(r.From, func(a, b placement.Source) int { return cmp.Compare(a.Node, b.Node) })
	}
	r.Voters = make([]placement.StoreID, 0, len(k.desc.Replicas))
	for _, rep := range k.desc.Replicas {
		s := placement.StoreID(rep.StoreID)
		switch {
		case rep.VotesOld() || rep.VotesNew():
			r.Voters = append(r.Voters, s)
		case rep.Type == kv.NonVoter:
			r.NonVoters = append(r.NonVoters, s)
		default:
			r.Learners = append(r.Learners, s)
		}
	}
	return r
}
