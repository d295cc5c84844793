package placement

import (
	"cmp"
	"fmt"
	"slices"
)

// A range that is led where its clients are saves them a message there and back, and the processor time of that at both ends. That is what following
// clients is worth, and within a region it is not worth more. So where the clients' own node is short of processors and
// others are not, ranges whose requests are heavy are led elsewhere, though the clients are further then: what that takes off the node is far more than the
// messages cost. Light requests stay: a node is not relieved of them by asking another one.
//
// All of it goes by what nodes measure (Store.Used, Store.Idle). Of a node that has not said, nothing is moved against clients, nor kept from them.

const (
	// hopCPU is the processor time that a request costs each of its two ends if the range is not led at its gateway: 17 µs where many go at once,
	// 50 where few do.
	hopCPU = 40e-6
	// heavyCPU is the least that a range must take to be moved for it, in cores.
	heavyCPU = 0.02
	// Most moves off one store in one plan: what was foretold of them is to be measured before the next.
	maxRelieved = 8
	// A store that uses less than busyUse of its processors is not short of them because of what it leads, whoever else uses them.
	busyUse = 0.2
	// fairShare is what a process can count on of a machine that others use, too.
	fairShare = 0.5
	// unsettledShare of a store's processors is how much may have changed since without making a difference.
	unsettledShare = 0.02
	// A store must use more of its processors than another by unlikeUse of them all, and unlikeTimes as much.
	unlikeUse, unlikeTimes = 0.1, 1.5
)

// measured reports whether the store says what its processors do.
func (s *store) measured() bool { return s.Cores > 0 }

// use is the share of a store's processors that its process uses, with so much more or less.
func (s *store) use(extra float64) float64 { return (s.used + extra) / s.Cores }

// full is the share of the processors that it could have which it has: on a machine with nothing else on it that is the share of all.
func (s *store) full(extra float64) float64 {
	could := max(s.Used+s.Idle, 0.1)
	return min(1, (s.used+extra)/could)
}

// cpuOf is the processor time of a range. Leaders time what they evaluate, waiting for a processor included: all of them together cannot have taken more
// than all processes have. It is the same wherever the range is led, or a range that weighs just enough to be moved would not weigh enough to stay.
func (p *planner) cpuOf(r *Range) float64 { return r.Load.CPU * p.inflated }

// findInflated compares what leaders say with what processes measure.
func (p *planner) findInflated() {
	said, used := 0.0, 0.0
	for i := range p.stores {
		if s := &p.stores[i]; s.measured() && s.alive {
			said += s.cpu
			used += s.Used
		}
	}
	if p.inflated = 1; said > used && used > 0 {
		p.inflated = used / said
	}
}

// shift is what a store is relieved of if it gives the leadership of a range to another, and what that one gets, in cores: messages included.
func (p *planner) shift(r *Range, from, to *store) (relief, growth float64) {
	cpu := p.cpuOf(r)
	all, here, there := 0.0, 0.0, 0.0
	for _, g := range r.From {
		all += g.Requests
		switch g.Node {
		case from.Node:
			here += g.Requests
		case to.Node:
			there += g.Requests
		}
	}
	return cpu + hopCPU*(all-2*here), cpu + hopCPU*(all-2*there)
}

// across reports whether a tenth more of a range's requests would come from another of the widest domains: the wait is more than a busy node costs.
func (p *planner) across(r *Range, from, to *store) bool {
	more, all := 0.0, 0.0
	for _, g := range r.From {
		i, ok := p.byNode[g.Node]
		if !ok {
			continue
		}
		all += g.Requests
		at := &p.stores[i]
		if p.way(at, to) >= wayWidest {
			more += g.Requests
		}
		if p.way(at, from) >= wayWidest {
			more -= g.Requests
		}
	}
	return more > all/10
}

// settled reports whether what a store measures is what it leads: not much of what it has replicas of has changed its leader a short while ago.
func (p *planner) settled(s *store) bool {
	if s.settled == unknown {
		fresh := 0.0
		for _, i := range s.held.on {
			if r := &p.ranges[i]; p.now-r.LedSince < p.limits.MeasuredAfter {
				fresh += r.Load.CPU
			}
		}
		if s.settled = yes; fresh > s.Cores*unsettledShare {
			s.settled = no
		}
	}
	return s.settled == yes
}

// answer is one that is looked for once in a plan.
type answer uint8

const (
	unknown answer = iota
	yes
	no
)

// pressed reports whether a store is short of processors.
func (p *planner) pressed(s *store) bool {
	return s.measured() && s.full(0) >= p.limits.Pressed && s.use(0) >= busyUse
}

// relieve moves heavy ranges off stores that are short of processors, to such as use clearly less of theirs, against what their clients like.
// Each move lowers the larger of the two shares by half of what is taken off or more, so they come to an end.
func (p *planner) relieve() {
	var order []int32
	least := 1e9
	for i := range p.stores {
		s := &p.stores[i]
		if !s.measured() || s.mayLead != fine || s.Unsteady {
			continue
		}
		least = min(least, s.use(0))
		if p.pressed(s) {
			order = append(order, int32(i))
		}
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(p.stores[b].use(0), p.stores[a].use(0)) })
	for _, at := range order {
		from := &p.stores[at]
		if from.use(0) < max(least+unlikeUse, least*unlikeTimes) || !p.settled(from) {
			continue
		}
		for range maxRelieved {
			if !p.mayTransfer() || !p.pressed(from) || !p.relieveOnce(at) {
				break
			}
		}
	}
}

// relieveOnce makes the move off one store after which the busier of the two is the least busy, and of those the other one.
func (p *planner) relieveOnce(at int32) bool {
	from := &p.stores[at]
	best, to, least, taken := int32(-1), int32(-1), 0.0, 0.0
	for _, i := range from.held.led {
		r := &p.ranges[i]
		if p.cpuOf(r) < heavyCPU || p.touched(i) || r.Changing || p.now-r.LedSince < p.limits.FollowAfter {
			continue
		}
		c := p.rule(r)
		for _, v := range r.Voters {
			j := p.index(v)
			if j < 0 || j == at || c.rank[j] > c.rank[at] {
				continue
			}
			s := &p.stores[j]
			if s.mayLead != fine || !s.calm() || !s.measured() || p.cameFrom(r, s) || !p.lightens(r, from, s) {
				continue
			}
			relief, growth := p.shift(r, from, s)
			takes := s.use(growth)
			if most := max(from.use(-relief), takes); best < 0 || most < least || most == least && takes < taken {
				best, to, least, taken = i, j, most, takes
			}
		}
	}
	if best < 0 {
		return false
	}
	r, s := &p.ranges[best], &p.stores[to]
	reason := fmt.Sprintf("n%d uses %.0f%% of its processors, n%d %.0f%%: %.2f cores for %s", from.Node, 100*from.use(0), s.Node, 100*s.use(0), p.cpuOf(r), p.sources(r))
	rejected := p.passedOver(r, at, to, func(o *store) why {
		switch {
		case p.across(r, from, o):
			return whyFar
		case p.cameFrom(r, o):
			return whyCameFrom
		}
		return whyBusier
	})
	p.transfer(best, s.ID, reason, &rejected)
	return true
}

// cameFrom reports whether a range was led by a store a short while ago. If that was too much for it, it is again; if a move was foretold to be better than it
// was, the next one is no better.
func (p *planner) cameFrom(r *Range, s *store) bool {
	return r.LedBefore == s.ID && p.now-r.LedSince < p.limits.ReturnAfter
}

// lightens reports whether leading a range elsewhere takes enough off a busy store to be worth what the way costs.
func (p *planner) lightens(r *Range, from, to *store) bool {
	if from.use(0) < max(to.use(0)+unlikeUse, to.use(0)*unlikeTimes) || to.full(0) > from.full(0) || !p.settled(to) || p.across(r, from, to) {
		return false
	}
	relief, growth := p.shift(r, from, to)
	if to.full(growth) >= 1 && to.use(growth) > fairShare {
		return false
	}
	return worthAway(relief, growth, 1) && max(from.use(-relief), to.use(growth)) <= from.use(-relief/2)
}

// worthAway reports whether the messages cost both ends together no more than what one is relieved of: with all clients there, requests of three times
// hopCPU or more. Slack of more than 1 is for what was moved already, so that a little less does not move it back.
func worthAway(relief, growth, slack float64) bool {
	return relief*slack >= heavyCPU && growth-relief <= relief*slack
}

// crowds reports whether a heavy range would make a store short of processors if it was led there, be it that its clients are there: what was
// moved off a busy store does not come back before there is room, and what is not there yet does not come to where it would be moved off.
func (p *planner) crowds(r *Range, from, to *store) bool {
	if !from.measured() || !to.measured() || p.across(r, to, from) {
		return false
	}
	relief, growth := p.shift(r, from, to)
	const slack = 1.5
	if !worthAway(growth, relief, slack) || to.use(growth) < busyUse/slack {
		return false // it would not be moved off again
	}
	full := to.full(growth)
	if full <= p.limits.Pressed/2 || to.use(growth) < from.use(-relief) {
		return false
	}
	// What is foretold may be wrong by as much as leaders do not measure: it is tried seldom.
	return full > p.limits.Relieved || p.now-r.LedSince < p.limits.ReturnAfter
}
