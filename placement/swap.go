package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

const (
	// maxSwapped: who has more replicas than this need not swap any. A store with n replicas that has a tenth more bytes than another gains (2/n)(0.1-1/n) by
	// the move of one of average size, and loses 2/n² in number, which is no more than half of that (see gain) from n = 30 on.
	maxSwapped = 32
	// nearest are so many of the ranges of about the right size that are tried for each one, on either side of it.
	nearest = 3
	// worthSwapping is the least share of what two ranges carry that has to be gained by swapping them: what is moved back and forth is moved in vain.
	worthSwapping = 1.0 / 8
	// mostSwapped is the most that is gained, as a share of what one store has more than the other. If all of it changed places nothing would be more even than before.
	mostSwapped = 0.75
)

// swapGain is like gain, for a range on one store and another on the other that change places.
func swapGain(loads []load, k int, from, to *store, r, back *Range) float64 {
	return gainOf(loads, k, from, to, func(l *load) float64 { return l.ofOne(r) - l.ofOne(back) })
}

// swapOne makes the swap that is worth most, of a range on one store for a smaller one on one of the takers: where stores have few replicas, one more is too many
// for what it would even out. It is the last thing to do: stores that are being given something are left alone. The two are changes of their own. If only one of them comes about, what is then uneven is a reason for another move.
func (p *planner) swapOne(loads []load, k int, fromAt int32, takers []int32) bool {
	l := &loads[k]
	from := &p.stores[fromAt]
	if from.refuses != fine || from.in > 0 || len(from.held.on) > maxSwapped {
		return false
	}
	least := l.trifle(from, from.replicas) / 2
	var give []int32
	for _, i := range from.held.on {
		if l.ofOne(&p.ranges[i]) >= least && p.mayGive(i, from) {
			give = append(give, i)
		}
	}
	if len(give) == 0 {
		return false
	}
	best, bestBack, bestTo, most := int32(-1), int32(-1), int32(-1), 0.0
	tried := make([]int, len(p.classes))
	for _, j := range takers {
		to := &p.stores[j]
		more := l.amount(from) - l.amount(to)
		if j == fromAt || to.in > 0 || more < l.bound || tried[to.class] >= maxReceivers || len(to.held.on) > maxSwapped {
			continue
		}
		tried[to.class]++
		var backs []int32
		for _, i := range to.held.on {
			if p.mayGive(i, to) && p.movable(i, to, from, fromAt) {
				backs = append(backs, i)
			}
		}
		size := func(i int32) float64 { return l.ofOne(&p.ranges[i]) }
		slices.SortStableFunc(backs, func(a, b int32) int { return cmp.Compare(size(a), size(b)) })
		for _, i := range give {
			if !p.movable(i, from, to, j) {
				continue
			}
			r := &p.ranges[i]
			x := size(i)
			at, _ := slices.BinarySearchFunc(backs, x-more/2, func(b int32, y float64) int { return cmp.Compare(size(b), y) })
			for _, b := range backs[max(0, at-nearest):min(len(backs), at+nearest)] {
				back := &p.ranges[b]
				gained := x - size(b)
				if gained < least || gained > mostSwapped*more || gained < worthSwapping*(x+size(b)) || !p.maySend(r, back) {
					continue
				}
				g := swapGain(loads, k, from, to, r, back) / math.Hypot(weighs(loads, r), weighs(loads, back))
				if g > most {
					best, bestBack, bestTo, most = i, b, j, g
				}
			}
		}
	}
	if best < 0 {
		return false
	}
	to := &p.stores[bestTo]
	why := fmt.Sprintf("balance: n%d has %s, n%d has %s: ", from.Node, amountText(l, from), to.Node, amountText(l, to))
	p.change(best, Operator{Add: []StoreID{to.ID}, Remove: []StoreID{from.ID}, Gentle: true}, why+fmt.Sprintf("r%d comes in its place", p.ranges[bestBack].ID), p.refused())
	p.change(bestBack, Operator{Add: []StoreID{from.ID}, Remove: []StoreID{to.ID}, Gentle: true}, why+fmt.Sprintf("in the place of r%d", p.ranges[best].ID), p.refused())
	return true
}

// maySend reports whether the leaders of two ranges, each of which may send one, may send both.
func (p *planner) maySend(a, b *Range) bool {
	l := p.find(a.Leader)
	return a.Leader != b.Leader || l.out+1 < p.limits.Outgoing
}
