package placement

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// Plan decides what to do next. Repair comes first, then the balance of replicas,
// then that of leaders; a range gets at most one operator.
func Plan(snap Snapshot, rules Rules) Result {
	p := &planner{rules: rules, stores: map[StoreID]*store{}}
	for _, s := range snap.Stores {
		st := &store{Store: s}
		st.alive = s.Silence <= rules.AliveWithin
		st.dead = s.Silence > rules.DeadAfter
		p.stores[s.ID] = st
		p.order = append(p.order, st)
	}
	slices.SortFunc(p.order, func(a, b *store) int { return cmp.Compare(a.ID, b.ID) })
	p.ranges = slices.Clone(snap.Ranges)
	slices.SortFunc(p.ranges, func(a, b Range) int { return cmp.Compare(a.ID, b.ID) })
	for _, r := range p.ranges {
		for _, v := range r.Voters {
			p.count(v, 1)
		}
		if st := p.stores[r.Leader]; st != nil {
			st.leaders++
		}
	}
	p.repair()
	p.balanceReplicas()
	p.balanceLeaders()
	return p.out
}

// store is a Store with what the planner counts. Counts follow the plan as it grows.
type store struct {
	Store
	alive, dead       bool
	replicas, leaders int
}

// takes reports whether the store may be given replicas, and why not.
func (s *store) takes() (bool, string) {
	switch {
	case s.Decommissioning:
		return false, "is being decommissioned"
	case s.Draining:
		return false, "is draining"
	case !s.alive:
		return false, fmt.Sprintf("silent for %s", s.Silence)
	}
	return true, ""
}

type planner struct {
	rules   Rules
	stores  map[StoreID]*store
	order   []*store
	ranges  []Range
	touched map[RangeID]bool
	changes int
	out     Result
}

func (p *planner) count(id StoreID, by int) {
	if st := p.stores[id]; st != nil {
		st.replicas += by
	}
}

func (p *planner) emit(o Operator) {
	if p.touched == nil {
		p.touched = map[RangeID]bool{}
	}
	p.touched[o.Range] = true
	if o.Kind == ChangeReplicas {
		p.changes++
	}
	for _, s := range o.Add {
		p.count(s, 1)
	}
	for _, s := range o.Remove {
		p.count(s, -1)
	}
	p.out.Operators = append(p.out.Operators, o)
}

func (p *planner) find(r Range, format string, args ...any) {
	p.out.Findings = append(p.out.Findings, Finding{Range: r.ID, Why: fmt.Sprintf(format, args...)})
}

// alive counts the voters whose stores are heard of.
func (p *planner) alive(voters []StoreID) int {
	n := 0
	for _, v := range voters {
		if st := p.stores[v]; st != nil && st.alive {
			n++
		}
	}
	return n
}

// repair brings ranges to the wanted number of voters on stores that are there to stay. The
// ranges that can lose the fewest further replicas come first.
func (p *planner) repair() {
	ranges := slices.Clone(p.ranges)
	margin := func(r Range) int { return p.alive(r.Voters) - (len(r.Voters)/2 + 1) }
	slices.SortStableFunc(ranges, func(a, b Range) int { return cmp.Compare(margin(a), margin(b)) })
	for _, r := range ranges {
		if p.changes >= p.rules.MaxReplicaChanges {
			return
		}
		switch {
		case r.Changing:
			continue
		case margin(r) < 0:
			p.find(r, "quorum lost: %d of %d voters are alive", p.alive(r.Voters), len(r.Voters))
			continue
		case r.Leader == 0:
			p.find(r, "nobody leads")
			continue
		}
		p.repairRange(r)
	}
}

func (p *planner) repairRange(r Range) {
	var gone []StoreID
	why := ""
	for _, v := range r.Voters {
		st := p.stores[v]
		switch {
		case st == nil:
			gone, why = append(gone, v), fmt.Sprintf("s%d is not a store of the cluster", v)
		case st.dead:
			gone, why = append(gone, v), fmt.Sprintf("s%d has been silent for %s", v, st.Silence)
		case st.Decommissioning:
			gone, why = append(gone, v), fmt.Sprintf("s%d is being decommissioned", v)
		}
	}
	stay := slices.DeleteFunc(slices.Clone(r.Voters), func(v StoreID) bool { return slices.Contains(gone, v) })
	usable := len(stay)
	for _, st := range p.order {
		if ok, _ := st.takes(); ok && !slices.Contains(r.Voters, st.ID) {
			usable++
		}
	}
	// An even number of voters tolerates no more failures than one less, and two
	// tolerate fewer than one, so stop at the odd number that there is room for.
	want := p.rules.Replicas
	if usable < want {
		want = max(usable-(usable+1)%2, 1)
	}
	op := Operator{Kind: ChangeReplicas, Range: r.ID, Generation: r.Generation}
	have := slices.Clone(stay)
	for len(have) < want {
		id, rejected := p.choose(r, have)
		op.Rejected = append(op.Rejected, rejected...)
		if id == 0 {
			break
		}
		op.Add = append(op.Add, id)
		have = append(have, id)
	}
	switch {
	case len(gone) > 0 && len(have) >= p.rules.Replicas:
		op.Remove = gone
		op.Why = why
		if len(op.Add) == 0 {
			op.Why += ", and there are enough voters without it"
		}
	case len(gone) > 0:
		p.find(r, "%s, and there is no store to replace it", why)
		return
	case len(have) > want && len(stay) > p.rules.Replicas:
		victim := p.surplus(r, stay)
		op.Remove = []StoreID{victim}
		op.Why = fmt.Sprintf("%d voters, %d wanted", len(stay), p.rules.Replicas)
	case len(op.Add) > 0:
		op.Why = fmt.Sprintf("%d of %d voters", len(stay), p.rules.Replicas)
	default:
		if len(stay) < p.rules.Replicas {
			p.find(r, "%d of %d voters, and too few stores for more", len(stay), p.rules.Replicas)
		}
		return
	}
	left := append(slices.DeleteFunc(slices.Clone(r.Voters), func(v StoreID) bool { return slices.Contains(op.Remove, v) }), op.Add...)
	if p.alive(left) <= len(left)/2 {
		p.find(r, "%s, but the change would leave %d live voters of %d", op.Why, p.alive(left), len(left))
		return
	}
	p.emit(op)
}

// diversity says how far store s is from the nearest of the others: the number of
// locality tiers, from the narrow end, in which they differ.
func (p *planner) diversity(s *store, others []StoreID) int {
	least := math.MaxInt
	for _, o := range others {
		ot := p.stores[o]
		if ot == nil || ot.ID == s.ID {
			continue
		}
		shared := 0
		for shared < len(s.Locality) && shared < len(ot.Locality) && s.Locality[shared] == ot.Locality[shared] {
			shared++
		}
		least = min(least, len(s.Locality)-shared)
	}
	return least
}

// choose picks the store for another voter beside have, and says why not the others.
func (p *planner) choose(r Range, have []StoreID) (StoreID, []Rejection) {
	var best *store
	var rejected []Rejection
	for _, st := range p.order {
		if slices.Contains(have, st.ID) || slices.Contains(r.Voters, st.ID) {
			continue
		}
		if ok, why := st.takes(); !ok {
			rejected = append(rejected, Rejection{st.ID, why})
			continue
		}
		if best == nil {
			best = st
			continue
		}
		loser, why := st, ""
		ds, db := p.diversity(st, have), p.diversity(best, have)
		switch {
		case ds > db:
			loser, best, why = best, st, "shares more of its locality with other voters"
		case ds < db:
			why = "shares more of its locality with other voters"
		case st.replicas < best.replicas:
			loser, best, why = best, st, "has more replicas"
		case st.replicas > best.replicas:
			why = "has more replicas"
		default:
			why = "no better than the one chosen"
		}
		rejected = append(rejected, Rejection{loser.ID, why})
	}
	if best == nil {
		return 0, rejected
	}
	return best.ID, rejected
}

// surplus picks the voter to remove: one that is not heard of, or the one that adds the least
// diversity, or that sits on the fullest store; not the leader if it can be helped.
func (p *planner) surplus(r Range, voters []StoreID) StoreID {
	return slices.MinFunc(voters, func(a, b StoreID) int {
		sa, sb := p.stores[a], p.stores[b]
		if sa.alive != sb.alive {
			if sb.alive {
				return -1
			}
			return 1
		}
		if (a == r.Leader) != (b == r.Leader) {
			if b == r.Leader {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(p.diversity(sa, voters), p.diversity(sb, voters)),
			-cmp.Compare(sa.replicas, sb.replicas), cmp.Compare(a, b))
	})
}

// threshold is the difference between two stores' counts from which something is moved.
func (p *planner) threshold(total, stores int) int {
	mean := float64(total) / float64(max(stores, 1))
	return max(2, int(math.Ceil(mean*p.rules.Slack))+1)
}

// balanceReplicas moves replicas from the fullest store to the emptiest.
func (p *planner) balanceReplicas() {
	if len(p.out.Operators) > 0 {
		return // repair first
	}
	var usable []*store
	total := 0
	for _, st := range p.order {
		if ok, _ := st.takes(); ok {
			usable = append(usable, st)
			total += st.replicas
		}
	}
	if len(usable) <= p.rules.Replicas {
		return // every store has a replica of every range
	}
	limit := p.threshold(total, len(usable))
	for p.changes < p.rules.MaxReplicaChanges && p.moveOne(usable, limit) {
	}
}

func (p *planner) moveOne(usable []*store, limit int) bool {
	byCount := slices.Clone(usable)
	slices.SortStableFunc(byCount, func(a, b *store) int { return cmp.Compare(a.replicas, b.replicas) })
	for i := len(byCount) - 1; i > 0; i-- {
		from := byCount[i]
		for _, to := range byCount[:i] {
			if from.replicas-to.replicas < limit {
				break
			}
			for _, r := range p.ranges {
				// Moving a leader's replica costs a transfer first: leave those to others.
				if p.touched[r.ID] || r.Changing || r.Leader == 0 || r.Leader == from.ID || len(r.Voters) != p.rules.Replicas ||
					!slices.Contains(r.Voters, from.ID) || slices.Contains(r.Voters, to.ID) || p.alive(r.Voters) < len(r.Voters) {
					continue
				}
				rest := slices.DeleteFunc(slices.Clone(r.Voters), func(v StoreID) bool { return v == from.ID })
				if p.diversity(to, rest) < p.diversity(from, rest) {
					continue
				}
				p.emit(Operator{Kind: ChangeReplicas, Range: r.ID, Generation: r.Generation,
					Add: []StoreID{to.ID}, Remove: []StoreID{from.ID},
					Why: fmt.Sprintf("balance: s%d has %d replicas, s%d has %d", from.ID, from.replicas, to.ID, to.replicas)})
				return true
			}
		}
	}
	return false
}

// balanceLeaders moves leadership off stores that drain, and from stores that lead many ranges to stores that lead few.
func (p *planner) balanceLeaders() {
	total, n := 0, 0
	for _, st := range p.order {
		if ok, _ := st.takes(); ok {
			n++
			total += st.leaders
		}
	}
	limit := p.threshold(total, n)
	transfers := 0
	for _, r := range p.ranges {
		if transfers >= p.rules.MaxTransfers {
			return
		}
		from := p.stores[r.Leader]
		if from == nil || !from.alive || r.Changing || p.touched[r.ID] {
			continue
		}
		leaving, whyLeave := false, ""
		if ok, why := from.takes(); !ok {
			leaving, whyLeave = true, why
		}
		var best *store
		var rejected []Rejection
		for _, v := range r.Voters {
			st := p.stores[v]
			if st == nil || st == from {
				continue
			}
			if ok, why := st.takes(); !ok {
				rejected = append(rejected, Rejection{v, why})
			} else if best == nil || st.leaders < best.leaders {
				best = st
			}
		}
		if best == nil || !leaving && from.leaders-best.leaders < limit {
			continue
		}
		why := fmt.Sprintf("balance: s%d leads %d ranges, s%d leads %d", from.ID, from.leaders, best.ID, best.leaders)
		if leaving {
			why = fmt.Sprintf("s%d %s", from.ID, whyLeave)
		}
		from.leaders--
		best.leaders++
		transfers++
		p.emit(Operator{Kind: TransferLeader, Range: r.ID, Generation: r.Generation, To: best.ID, Why: why, Rejected: rejected})
	}
}
