package placement

import (
	"cmp"
	"fmt"
)

// overfull is how many times the mean a store must have for ranges to be led away from their clients, within a region, so that it can give their replicas away. Where clients
// do not mind, the bounds of balance count.
const overfull = 1.25

// leadAway hands over the leadership of a range on a store that has too much and leads what it could give: with the next plan its replica can move. The range is the one whose
// move would be worth most. Who has given one to no avail, since its clients drew it back before it moved, does not try it in the same way for a while.
func (p *planner) leadAway(loads []load, k int, fromAt int32, takers []int32, limit int) bool {
	if !p.mayTransfer() {
		return false
	}
	l := &loads[k]
	from := &p.stores[fromAt]
	next := int32(-1)
	at, toAt := p.bestMove(loads, k, fromAt, from.held.led, p.receivers(l, from, takers), limit,
		func(i int32) bool { return p.now-p.ranges[i].LedSince >= p.limits.FollowAfter && p.whole(i) },
		func(i int32) bool {
			heir := p.heir(i, fromAt, l.amount(from) > overfull*l.mean)
			if heir >= 0 {
				next = heir
			}
			return heir >= 0
		})
	if at < 0 {
		return false
	}
	s := &p.stores[toAt]
	p.transfer(at, p.stores[next].ID, fmt.Sprintf("balance: n%d has %s, n%d has %s: the leader moves first", from.Node, amountText(l, from), s.Node, amountText(l, s)), nil)
	// So that no more are handed over than can move.
	p.occupy(&Operator{Leader: p.stores[next].ID, Add: []StoreID{s.ID}})
	return true
}

// heir finds who is to lead a range so that its leader's replica can move, the nearest to its clients first; -1 for nobody. Those who are further from them are
// considered if they are in the same region, and far is set.
func (p *planner) heir(i, fromAt int32, far bool) int32 {
	r, from := &p.ranges[i], &p.stores[fromAt]
	c := p.rule(r)
	best := int32(-1)
	for _, v := range r.Voters {
		j := p.index(v)
		if j < 0 || j == fromAt || c.rank[j] > c.rank[fromAt] {
			continue
		}
		s := &p.stores[j]
		if s.mayLead != fine || !s.calm() || s.out >= p.limits.Outgoing || p.cameFrom(r, s) || p.crowds(r, from, s) || p.minds(r, from, s) && (!far || p.across(r, from, s)) {
			continue
		}
		if best < 0 || cmp.Or(cmp.Compare(p.distance(r, s), p.distance(r, &p.stores[best])), cmp.Compare(s.leaders, p.stores[best].leaders)) < 0 {
			best = j
		}
	}
	return best
}

// receivers are those of the takers that are compared for a store that has too much: of each class some, those with the least.
func (p *planner) receivers(l *load, from *store, takers []int32) (to []int32) {
	of := make([]int, len(p.classes))
	for _, i := range takers {
		s := &p.stores[i]
		if s.in < p.limits.Incoming && of[s.class] < maxReceivers && l.amount(from)-l.amount(s) >= l.bound {
			of[s.class]++
			to = append(to, i)
		}
	}
	return to
}

// whole reports whether nothing is amiss with the range at position i, nor under way.
func (p *planner) whole(i int32) bool {
	r := &p.ranges[i]
	return !p.touched(i) && !r.Changing && r.Leader != 0 && len(r.Learners) == 0 && len(r.Voters) == p.rule(r).Replicas && p.alive(r.Voters) == len(r.Voters)
}
