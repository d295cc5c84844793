package placement

import "slices"

// grade is what is looked at to choose a store for a replica, in this order.
type grade struct {
	needed bool   // a constraint that is not met asks for it
	shares spread // with the other replicas
	member bool   // it has a replica without a vote
	full   bool   // it is receiving as many replicas as it may
	fuller float64
}

// loses says why a store of grade a is not chosen beside one of grade b; fine if it is the better one.
func (a *grade) loses(b *grade) why {
	switch {
	case a.needed != b.needed:
		return a.or(whyNotNeeded, a.needed)
	case a.shares != b.shares:
		return a.or(whyShares, a.shares < b.shares)
	case a.member != b.member:
		return a.or(whyFuller, !a.member)
	case a.full != b.full:
		return a.or(whyBusy, !a.full)
	case a.fuller != b.fuller:
		return a.or(whyFuller, a.fuller < b.fuller)
	}
	return whyEqual
}

func (a *grade) or(w why, better bool) why {
	if better {
		return fine
	}
	return w
}

// choose picks the store for another replica beside have, none of those in taken, and says why not the others. busy means that the
// right one exists but is receiving as many replicas as it may; then nothing is said of the others.
func (p *planner) choose(r *Range, needs []need, allowed []bool, have, taken []StoreID, rejected *rejections) (id StoreID, busy bool) {
	unmet := p.unmet(needs, have)
	best, top := int32(-1), grade{}
	for k := range p.classes {
		cl := &p.classes[k]
		if !allowed[cl.stores[0]] {
			continue
		}
		g := p.gradeOf(cl, unmet, have)
		if best >= 0 && (g.needed != top.needed && !g.needed || g.needed == top.needed && g.shares > top.shares) {
			continue
		}
		for _, i := range cl.stores {
			s := &p.stores[i]
			if p.unfit(s, r) != fine || slices.Contains(have, s.ID) || slices.Contains(taken, s.ID) {
				continue
			}
			g.member, g.full, g.fuller = len(r.NonVoters) > 0 && slices.Contains(r.NonVoters, s.ID), s.in >= p.limits.Incoming, p.fuller(s)
			if best < 0 {
				best, top = i, g
			} else if w := g.loses(&top); w == fine || w == whyEqual && i < best {
				best, top = i, g
			}
			if cl.open == 0 {
				break // the others are as busy
			}
		}
	}
	if best < 0 {
		p.reject(r, unmet, allowed, have, taken, best, top, rejected)
		return 0, false
	}
	if !top.full {
		p.reject(r, unmet, allowed, have, taken, best, top, rejected)
	}
	return p.stores[best].ID, top.full
}

// reject says why all stores but the best were not chosen.
func (p *planner) reject(r *Range, unmet *need, allowed []bool, have, taken []StoreID, best int32, top grade, rejected *rejections) {
	if rejected == nil {
		return
	}
	for k := range p.classes {
		cl := &p.classes[k]
		g := p.gradeOf(cl, unmet, have)
		for _, i := range cl.stores {
			s := &p.stores[i]
			if i == best || slices.Contains(have, s.ID) || slices.Contains(taken, s.ID) {
				continue
			}
			w := p.unfit(s, r)
			if w == fine && !allowed[i] {
				w = whyNotAllowed
			}
			if w == fine {
				g.member, g.full, g.fuller = slices.Contains(r.NonVoters, s.ID), s.in >= p.limits.Incoming, p.fuller(s)
				if w = g.loses(&top); w == fine { // of a class whose stores are all busy only one was looked at
					w = whyBusy
				}
			}
			rejected.add(w, s.ID)
		}
	}
}

// gradeOf is as much of a grade as all stores of a class have in common.
func (p *planner) gradeOf(cl *class, unmet *need, have []StoreID) grade {
	i := cl.stores[0]
	g := grade{needed: unmet == nil || unmet.member[i]}
	if p.tiers > 0 {
		for _, id := range have {
			if o := p.find(id); o != nil {
				g.shares += p.shares(&p.stores[i], o)
			}
		}
	}
	return g
}

// unfit says why a store is given no replica of a range, whatever the rules are; fine if it may be.
func (p *planner) unfit(s *store, r *Range) why {
	if s.refuses == fine && s.Capacity > 0 && s.fill(s.planned+float64(r.Bytes)) > p.limits.NearlyFull {
		return whyFull
	}
	return s.refuses
}
