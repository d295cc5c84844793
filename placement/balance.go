package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"sort"
)

// load is what is spread over stores: an amount per store, the mean, and the difference between two stores that is
// not worth a move.
type load struct {
	what   string
	amount func(s *store) float64
	ofOne  func(r *Range) float64 // what a move carries
	mean   float64
	bound  float64
	weight float64
}

// replicaLoads are the kinds of load that go with replicas. Those of which there is next to nothing are left out.
func (p *planner) replicaLoads() []load {
	l := p.limits
	loads := []load{{
		what: "replicas", amount: func(s *store) float64 { return float64(s.replicas) }, ofOne: func(*Range) float64 { return 1 },
		mean: p.mean.replicas, bound: max(2, math.Ceil(p.mean.replicas*l.Slack)+1), weight: 1,
	}}
	const someBytes, someWrites = 256 << 20, 256 << 10
	if p.mean.bytes >= someBytes {
		loads = append(loads, load{
			what: "bytes", amount: func(s *store) float64 { return s.bytes }, ofOne: func(r *Range) float64 { return float64(r.Bytes) },
			mean: p.mean.bytes, bound: p.mean.bytes * l.BytesSlack, weight: 1,
		})
	}
	if p.mean.writes >= someWrites {
		loads = append(loads, load{
			what: "bytes written per second", amount: func(s *store) float64 { return s.writes }, ofOne: func(r *Range) float64 { return r.Load.WriteBytes },
			mean: p.mean.writes, bound: p.mean.writes * l.WriteSlack, weight: 0.5,
		})
	}
	return loads
}

// trifle is what is too little to be worth a move from a store: half of what one of its n replicas or leaders has.
func (l *load) trifle(s *store, n int) float64 {
	return max(l.amount(s)/float64(max(n, 1))/2, 1e-9)
}

// gain is by how much a move of a range from one store to another lowers the imbalance: the sum of the squared
// distances from the mean, in units of the mean. It is 0 if the move, which is for the sake of loads[k], takes from the other kinds more than half of
// what it gives to that one: each move brings a good piece nearer to the end, and what one undoes of another's is little.
func gain(loads []load, k int, from, to *store, r *Range) float64 {
	return gainOf(loads, k, from, to, func(l *load) float64 { return l.ofOne(r) })
}

// gainOf is gain for what is moved of each kind.
func gainOf(loads []load, k int, from, to *store, moved func(*load) float64) float64 {
	sum, own := 0.0, 0.0
	for i := range loads {
		l := &loads[i]
		if l.mean > 0 {
			x := moved(l)
			g := l.weight * 2 * x * (l.amount(from) - l.amount(to) - x) / (l.mean * l.mean)
			if sum += g; i == k {
				own = g
			}
		}
	}
	if sum < own/2 {
		return 0
	}
	return sum
}

// weighs is how much a range is. Moves are compared by their gain for what moves, so that what moves is like what the receiver lacks: if it
// lacks replicas and bytes as much, ranges of middling size, and not the largest ones first and then too many small ones.
func weighs(loads []load, r *Range) float64 {
	sum := 0.0
	for i := range loads {
		if l := &loads[i]; l.mean > 0 {
			x := l.ofOne(r) / l.mean
			sum += l.weight * x * x
		}
	}
	return math.Sqrt(max(sum, 1e-18))
}

// movable reports whether a voter of the range at position i may move, for balance.
func (p *planner) movable(i int32, from, to *store, toAt int32) bool {
	r := &p.ranges[i]
	c := p.rule(r)
	if slices.Contains(r.Voters, to.ID) || slices.Contains(r.NonVoters, to.ID) || !c.allowed[toAt] {
		return false
	}
	if to.fill(to.planned+float64(r.Bytes)) > p.limits.NearlyFull {
		return false
	}
	if p.tiers > 0 && from.class != to.class {
		var a, b spread
		for _, v := range r.Voters {
			if v != from.ID {
				if o := p.find(v); o != nil {
					a += p.shares(from, o)
					b += p.shares(to, o)
				}
			}
		}
		if b > a {
			return false
		}
	}
	if len(c.needs) > 0 && from.class != to.class {
		set := append(without(r.Voters, from.ID), to.ID)
		if p.missing(c.needs, set) > p.missing(c.needs, r.Voters) {
			return false
		}
	}
	return true
}

// mayGive reports whether a store may give the range at position i away, for balance. Moving a leader's replica costs a transfer
// first: those come last (ledaway.go).
func (p *planner) mayGive(i int32, from *store) bool {
	r := &p.ranges[i]
	l := p.find(r.Leader)
	return r.Leader != from.ID && l != nil && l.out < p.limits.Outgoing && p.whole(i)
}

// balanceReplicas moves replicas from stores that have much to stores that have little.
func (p *planner) balanceReplicas() {
	var usable []int32 // those that give; a full one does, and takes nothing
	for i := range p.stores {
		if s := &p.stores[i]; (s.refuses == fine || s.refuses == whyFull && s.alive) && s.calm() {
			usable = append(usable, int32(i))
		}
	}
	if len(usable) < 2 {
		return
	}
	loads := p.replicaLoads()
	for k := range loads {
		l := &loads[k]
		order := slices.Clone(usable)
		slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(l.amount(&p.stores[a]), l.amount(&p.stores[b])) })
		most := l.amount(&p.stores[order[len(order)-1]])
		takers := slices.DeleteFunc(slices.Clone(order), func(i int32) bool {
			s := &p.stores[i]
			return s.refuses != fine || s.in >= p.limits.Incoming || most-l.amount(s) < l.bound
		})
		givers := len(order) - sort.Search(len(order), func(i int) bool { return l.amount(&p.stores[order[i]])-l.amount(&p.stores[order[0]]) >= l.bound })
		limit := compareAtMost(givers)
		for i := len(order) - 1; i > 0 && len(takers) > 0; i-- {
			from := &p.stores[order[i]]
			if l.amount(from)-l.amount(&p.stores[order[0]]) < l.bound {
				break
			}
			for range p.limits.Outgoing { // a store does not lose everything at once
				if !p.moveOne(loads, k, order[i], takers, limit) && (k == 0 || !p.swapOne(loads, k, order[i], takers)) && !p.leadAway(loads, k, order[i], takers, limit) {
					break
				}
				takers = slices.DeleteFunc(takers, func(i int32) bool { return p.stores[i].in >= p.limits.Incoming })
			}
		}
	}
}

// maxReceivers of each class are tried for a store that has too much, those with the least.
const maxReceivers = 4

// moveOne makes the move that is worth most, of a range on one store to one of the takers.
func (p *planner) moveOne(loads []load, k int, fromAt int32, takers []int32, limit int) bool {
	l := &loads[k]
	from := &p.stores[fromAt]
	at, toAt := p.bestMove(loads, k, fromAt, from.held.on, p.receivers(l, from, takers), limit,
		func(i int32) bool { return p.mayGive(i, from) }, func(int32) bool { return true })
	if at < 0 {
		return false
	}
	s := &p.stores[toAt]
	why := fmt.Sprintf("balance: n%d has %s, n%d has %s", from.Node, amountText(l, from), s.Node, amountText(l, s))
	p.change(at, Operator{Add: []StoreID{s.ID}, Remove: []StoreID{from.ID}, Gentle: true}, why, p.refused())
	return true
}

// bestMove finds, among ranges on a store, the one whose move to one of some others is worth most for its weight, for the sake of loads[k]; -1 for none. Ranges that may
// is false of do not move; last is asked of one that would be the best so far. After limit ranges that could move, the best of them counts.
func (p *planner) bestMove(loads []load, k int, fromAt int32, among, to []int32, limit int, may, last func(i int32) bool) (best, bestTo int32) {
	l := &loads[k]
	from := &p.stores[fromAt]
	best, bestTo = -1, -1
	if len(to) == 0 {
		return best, bestTo
	}
	small, most, compared := l.trifle(from, from.replicas), 0.0, 0
	for _, i := range among {
		r := &p.ranges[i]
		x := l.ofOne(r)
		if x < small || !may(i) {
			continue
		}
		each := 0.0
		for _, j := range to {
			s := &p.stores[j]
			if x >= l.amount(from)-l.amount(s) {
				continue
			}
			g := gain(loads, k, from, s, r)
			if g <= 0 {
				continue
			}
			if each == 0 {
				each = weighs(loads, r)
			}
			if g /= each; g > most && p.movable(i, from, s, j) && last(i) {
				best, bestTo, most = i, j, g
			}
		}
		if best >= 0 {
			if compared++; compared >= limit {
				break
			}
		}
	}
	return best, bestTo
}

func amountText(l *load, s *store) string {
	switch l.what {
	case "replicas":
		return count(s.replicas, "replica")
	case "bytes":
		return bytesText(s.bytes)
	}
	return bytesText(l.amount(s)) + "/s written"
}

func bytesText(b float64) string {
	switch {
	case b >= 1<<30:
		return fmt.Sprintf("%.1f GiB", b/(1<<30))
	case b >= 1<<20:
		return fmt.Sprintf("%.0f MiB", b/(1<<20))
	}
	return fmt.Sprintf("%.0f KiB", b/(1<<10))
}

// refused lists the stores that get nothing at all.
func (p *planner) refused() *rejections {
	var rej rejections
	for i := range p.stores {
		if s := &p.stores[i]; s.refuses != fine {
			rej.add(s.refuses, s.ID)
		} else if s.Unsteady {
			rej.add(whyUnsteady, s.ID)
		} else if s.Shaken {
			rej.add(whyShaken, s.ID)
		}
	}
	return &rej
}

// makeRoom moves replicas off disks that are nearly full, the largest first.
func (p *planner) makeRoom() {
	for fromAt := range p.stores {
		from := &p.stores[fromAt]
		if from.Capacity <= 0 || !from.alive || from.fill(from.planned) <= p.limits.Full {
			continue
		}
		var on []int32
		for _, i := range from.held.on {
			if r := &p.ranges[i]; !p.touched(i) && !r.Changing && r.Bytes > 0 && r.Leader != 0 {
				on = append(on, i)
			}
		}
		slices.SortStableFunc(on, func(a, b int32) int { return cmp.Compare(p.ranges[b].Bytes, p.ranges[a].Bytes) })
		moved := 0
		for _, i := range on {
			if moved >= p.limits.Outgoing || from.fill(from.planned) <= p.limits.NearlyFull {
				break
			}
			r := &p.ranges[i]
			c := p.rule(r)
			if len(r.Voters) != c.Replicas || p.alive(r.Voters) < len(r.Voters) {
				continue
			}
			rest := without(r.Voters, from.ID)
			var rejected rejections
			id, busy := p.choose(r, c.needs, c.allowed, rest, append(without(r.NonVoters), from.ID), &rejected)
			if id == 0 || busy || p.spreadOf(append(rest, id)) > p.spreadOf(r.Voters) {
				continue
			}
			why := fmt.Sprintf("the disk of n%d is %.0f%% full", from.Node, 100*from.fill(from.planned))
			if r.Leader == from.ID {
				if to := p.successor(r, c, []StoreID{from.ID}); to != 0 && p.mayTransfer() {
					p.transfer(i, to, why+": the leader moves first", nil)
				}
				continue
			}
			if l := p.find(r.Leader); l == nil || l.out >= p.limits.Outgoing {
				continue
			}
			p.change(i, Operator{Add: []StoreID{id}, Remove: []StoreID{from.ID}}, why, &rejected)
			moved++
		}
	}
}
