package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// placeLeaders moves leaders off stores that they must leave, to where the rules prefer them, and to where
// their clients are.
func (p *planner) placeLeaders() {
	for _, i := range p.toPlace() {
		r := &p.ranges[i]
		at := p.index(r.Leader)
		if p.touched(i) || r.Changing || at < 0 {
			continue
		}
		from := &p.stores[at]
		if !from.alive || from.dead {
			continue // it is not known to lead any more
		}
		c := p.rule(r)
		if from.mayLead == fine && len(c.LeaderPreference) == 0 && !p.worthFollowing(r) {
			continue // nearly all
		}
		if !p.mayTransfer() {
			switch {
			case from.mayLead != fine:
				p.note(r, fmt.Sprintf("n%d %s; waits, many leaders are moving", from.Node, from.mayLead))
			case c.rank[at] > 0 && len(c.LeaderPreference) > 0:
				p.note(r, fmt.Sprintf("%s prefers leaders in %s; waits if that can be, many leaders are moving", c.Owner(), c.better(c.rank[at])))
			}
			continue
		}
		p.placeLeader(i, at, c)
	}
}

// toPlace lists, in the order of ids, the ranges with leaders that a rule or clients may want elsewhere or that must leave their stores.
func (p *planner) toPlace() []int32 {
	out, all := p.watched, false
	for k := range p.stores {
		if s := &p.stores[k]; s.mayLead != fine && s.alive && len(s.held.led) > 0 {
			if !all {
				out, all = slices.Clone(out), true
			}
			out = append(out, s.held.led...)
		}
	}
	if all {
		slices.SortFunc(out, p.m.byID)
		out = slices.Compact(out)
	}
	return out
}

func (p *planner) placeLeader(i int32, at int32, c *compiledRule) {
	r, from := &p.ranges[i], &p.stores[at]
	var rejected rejections
	best, rank := int32(-1), uint8(math.MaxUint8)
	cost, costs := 0.0, [MaxReplicas + 1]float64{}
	follow := p.worthFollowing(r)
	for k, v := range r.Voters {
		j := p.index(v)
		if j < 0 || k >= len(costs) {
			continue
		}
		if follow {
			costs[k] = p.distance(r, &p.stores[j])
		}
		if j == at {
			continue
		}
		s := &p.stores[j]
		if s.mayLead != fine {
			rejected.add(s.mayLead, v)
			continue
		}
		if s.Unsteady && from.mayLead == fine {
			rejected.add(whyUnsteady, v)
			continue
		}
		better, why := false, whyEqual
		switch {
		case best < 0:
			better = true
		case c.rank[j] != rank:
			better, why = c.rank[j] < rank, whyNotPreferred
		case costs[k] != cost:
			better, why = costs[k] < cost, whyFar
		case s.leaders != p.stores[best].leaders:
			better, why = s.leaders < p.stores[best].leaders, whyLeadsMore
		}
		loser := v
		if better {
			if best >= 0 {
				loser = p.stores[best].ID
			}
			if best < 0 {
				loser = 0
			}
			best, rank, cost = j, c.rank[j], costs[k]
		}
		if loser != 0 {
			rejected.add(why, loser)
		}
	}
	mine := 0.0
	if k := slices.Index(r.Voters, r.Leader); k >= 0 && k < len(costs) {
		mine = costs[k]
	}
	switch {
	case best < 0 && from.mayLead != fine:
		p.note(r, fmt.Sprintf("n%d %s, and nobody else can lead", from.Node, from.mayLead))
	case best < 0:
		p.notThere(r, c, at, &rejected)
	case from.mayLead != fine:
		p.transfer(i, p.stores[best].ID, fmt.Sprintf("n%d %s", from.Node, from.mayLead), &rejected)
	case rank < c.rank[at]:
		p.transfer(i, p.stores[best].ID, fmt.Sprintf("%s prefers leaders in %s", c.Owner(), c.Get(OptLeaderPreference)), &rejected)
	case rank == c.rank[at] && follow && p.stores[best].calm() && p.now-r.LedSince >= p.limits.FollowAfter && cost <= mine*(1-p.limits.FollowGain) && !p.crowds(r, from, &p.stores[best]):
		p.transfer(i, p.stores[best].ID, fmt.Sprintf("its clients are nearer to n%d than to n%d: %s", p.stores[best].Node, from.Node, p.sources(r)), &rejected)
	default:
		p.notThere(r, c, at, &rejected)
	}
}

// notThere says why a leader is not where the rule prefers it most, if it is not.
func (p *planner) notThere(r *Range, c *compiledRule, at int32, rejected *rejections) {
	if c.rank[at] == 0 || len(c.LeaderPreference) == 0 {
		return
	}
	why := "no voter there can lead"
	for _, v := range rejected[whyUnsteady] {
		if i := p.index(v); c.rank[i] < c.rank[at] {
			why = fmt.Sprintf("n%d there %s", p.node(v), whyUnsteady)
		}
	}
	p.note(r, fmt.Sprintf("%s prefers leaders in %s, and %s", c.Owner(), c.better(c.rank[at]), why))
}

// better is the part of the leader preference that comes before the alternative k, as text.
func (c *compiledRule) better(k uint8) string {
	r := Rule{LeaderPreference: c.LeaderPreference[:min(int(k), len(c.LeaderPreference))]}
	return r.Get(OptLeaderPreference)
}

// worthFollowing reports whether a range has requests enough to look at where they come from.
func (p *planner) worthFollowing(r *Range) bool {
	if p.limits.Paused {
		return false
	}
	return r.rate() >= p.limits.FollowRate
}

// The lengths of ways between two nodes, by the narrowest tier that they share. What a way across regions costs beside one
// within a zone is a matter of degree; that the order of the places does not depend on it much is what counts.
const (
	wayNear   = 1.0  // the same locality, another node
	wayTier   = 3.0  // for each narrower tier that differs
	wayWidest = 20.0 // the widest tier differs, of several or of one
)

// way is the length of the way between two stores; 0 within one node.
func (p *planner) way(a, b *store) float64 {
	if a == b || a.Node == b.Node {
		return 0
	}
	if p.tiers == 0 {
		return wayNear
	}
	same := 0
	for same < p.tiers && a.domain[same] == b.domain[same] {
		same++
	}
	switch {
	case same == p.tiers:
		return wayNear
	case same == 0:
		return wayWidest
	}
	return wayNear + wayTier*float64(p.tiers-same)
}

// distance is the sum of the ways of a range's requests to a store, per second.
func (p *planner) distance(r *Range, s *store) (sum float64) {
	for i := range r.From {
		if g, ok := p.byNode[r.From[i].Node]; ok {
			sum += r.From[i].Requests * p.way(&p.stores[g], s)
		}
	}
	return sum
}

// sources names where most requests come from.
func (p *planner) sources(r *Range) string {
	all := slices.Clone(r.From)
	slices.SortStableFunc(all, func(a, b Source) int { return cmp.Compare(b.Requests, a.Requests) })
	out := ""
	for i, s := range all[:min(len(all), 3)] {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%.0f/s from n%d", s.Requests, s.Node)
	}
	return out
}

// minds reports whether a range's clients would be worse off if it were led elsewhere.
func (p *planner) minds(r *Range, from, to *store) bool {
	if !p.worthFollowing(r) {
		return false
	}
	return p.distance(r, to) > 1.1*p.distance(r, from)
}

// leaderLoads are the kinds of load that go with leadership.
func (p *planner) leaderLoads() []load {
	l := p.limits
	loads := []load{{
		what: "leaders", amount: func(s *store) float64 { return float64(s.leaders) }, ofOne: func(*Range) float64 { return 1 },
		mean: p.mean.leaders, bound: max(2, math.Ceil(p.mean.leaders*l.Slack)+1), weight: 1,
	}}
	const someCPU = 0.1
	if p.mean.cpu >= someCPU {
		loads = append(loads, load{
			what: "cpu", amount: func(s *store) float64 { return s.cpu }, ofOne: func(r *Range) float64 { return r.Load.CPU },
			mean: p.mean.cpu, bound: max(p.mean.cpu*l.CPUSlack, 0.1), weight: 1,
		})
	}
	return loads
}

// balanceLeaders moves leadership from stores that lead much to stores that lead little, of ranges whose clients do not mind.
func (p *planner) balanceLeaders() {
	loads := p.leaderLoads()
	for k := range loads {
		l := &loads[k]
		var order []int32
		least := math.Inf(1)
		for i := range p.stores {
			if s := &p.stores[i]; s.mayLead == fine && s.calm() {
				order = append(order, int32(i))
				least = min(least, l.amount(s))
			}
		}
		slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(l.amount(&p.stores[b]), l.amount(&p.stores[a])) })
		givers := 0
		for givers < len(order) && l.amount(&p.stores[order[givers]])-least >= l.bound {
			givers++
		}
		if givers == 0 || !p.mayTransfer() {
			continue
		}
		limit := compareAtMost(givers)
		offers := p.offers(l, l.amount(&p.stores[order[0]])-l.bound)
		for _, at := range order {
			from := &p.stores[at]
			if l.amount(from)-least < l.bound {
				break
			}
			// Processor time is measured: one move at a time, then look again.
			for n := 0; p.mayTransfer() && (k == 0 || n == 0) && p.moveLeaders(loads, k, at, offers[at], limit); n++ {
			}
		}
	}
}

// offers lists, for each store, the ranges led there that have a voter on a store with no more than low: only they can be led by one that leads
// less. There are many stores that lead a little too much, and few that lead too little, so it begins with the latter.
func (p *planner) offers(l *load, low float64) [][]int32 {
	out := make([][]int32, len(p.stores))
	is := make([]bool, len(p.stores))
	for j := range p.stores {
		s := &p.stores[j]
		is[j] = s.mayLead == fine && s.calm() && l.amount(s) <= low
	}
	for j := range p.stores {
		if !is[j] {
			continue
		}
		for _, i := range p.stores[j].held.on {
			r := &p.ranges[i]
			if p.touched(i) || r.Changing {
				continue
			}
			at := p.index(r.Leader)
			if at < 0 || int(at) == j {
				continue
			}
			first := slices.IndexFunc(r.Voters, func(v StoreID) bool { k := p.index(v); return k >= 0 && k != at && is[k] })
			if r.Voters[first] == p.stores[j].ID { // it is offered once
				out[at] = append(out[at], i)
			}
		}
	}
	return out
}

// compareAtMost is how many transfers, or moves of replicas, from one store are compared. The more stores have too much, the fewer for each:
// it is a choice among many anyway.
func compareAtMost(givers int) int {
	const most = 2048
	return min(most, max(128, 64*most/max(givers, 1)))
}

// moveLeaders makes the transfer from one store that lowers the imbalance most, of the ranges that it offers.
func (p *planner) moveLeaders(loads []load, k int, fromAt int32, offers []int32, limit int) bool {
	l := &loads[k]
	from := &p.stores[fromAt]
	best, bestTo, most := int32(-1), int32(-1), 0.0
	small := l.trifle(from, from.leaders)
	compared := 0
	for _, i := range offers {
		r := &p.ranges[i]
		x := l.ofOne(r)
		if p.touched(i) || x < small || k > 0 && p.now-r.LedSince < p.limits.FollowAfter {
			continue
		}
		c := p.rule(r)
		for _, v := range r.Voters {
			j := p.index(v)
			if j < 0 || j == fromAt {
				continue
			}
			to := &p.stores[j]
			d := l.amount(from) - l.amount(to)
			// What is nearly the whole difference makes the other one the busier by as much, and would come back with the next reading.
			if to.mayLead != fine || !to.calm() || c.rank[j] > c.rank[fromAt] || d < l.bound || x > 0.8*d {
				continue
			}
			g := gain(loads, k, from, to, r)
			if (g > most || g == most && best >= 0 && r.ID < p.ranges[best].ID) && !p.minds(r, from, to) && !p.crowds(r, from, to) {
				best, bestTo, most = i, j, g
			}
		}
		if best >= 0 {
			if compared++; compared >= limit {
				break
			}
		}
	}
	if best < 0 {
		return false
	}
	to := &p.stores[bestTo]
	reason := fmt.Sprintf("balance: n%d leads %s, n%d leads %d", from.Node, count(from.leaders, "range"), to.Node, to.leaders)
	if l.what == "cpu" {
		reason = fmt.Sprintf("balance: the ranges led by n%d take %.2f cores, those of n%d %.2f", from.Node, from.cpu, to.Node, to.cpu)
	}
	r := &p.ranges[best]
	rejected := p.passedOver(r, fromAt, bestTo, func(s *store) why {
		switch {
		case p.minds(r, from, s):
			return whyFar
		case p.crowds(r, from, s):
			return whyBusier
		}
		return whyLeadsMore
	})
	p.transfer(best, to.ID, reason, &rejected)
	return true
}

// passedOver says why the other voters of a range are not to lead it; taste speaks for those that could.
func (p *planner) passedOver(r *Range, from, to int32, taste func(s *store) why) (out rejections) {
	for _, v := range r.Voters {
		j := p.index(v)
		if j < 0 || j == from || j == to {
			continue
		}
		switch s, c := &p.stores[j], p.rule(r); {
		case s.mayLead != fine:
			out.add(s.mayLead, v)
		case s.Unsteady:
			out.add(whyUnsteady, v)
		case s.Shaken:
			out.add(whyShaken, v)
		case c.rank[j] > c.rank[from]:
			out.add(whyNotPreferred, v)
		default:
			out.add(taste(s), v)
		}
	}
	return out
}
