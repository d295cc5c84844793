package placement

import (
	"math"
	"slices"
	"strings"
)

// compiledRule is a Rule against the stores there are.
type compiledRule struct {
	*Rule
	allowed   []bool // by store, for voters
	nvAllowed []bool
	rank      []uint8 // by store: the alternative of the leader preference that it meets
	needs     []need
	nvNeeds   []need
	lacks     []Lack // on the stores that are to stay
	taking    int    // stores that may be given a voter
	ideal     spread // of the best placement on them
}

// need is a constraint that asks for a number of replicas.
type need struct {
	Constraint
	member []bool
	leader bool // it is for the sake of the leader preference
}

func (n *need) String() string {
	if n.leader {
		return n.Tier
	}
	return n.Constraint.String()
}

// rule returns the rule of a range; one that is not known is the default.
func (p *planner) rule(r *Range) *compiledRule {
	if r.Rule > 0 && r.Rule < len(p.comp) {
		return &p.comp[r.Rule]
	}
	return &p.comp[0]
}

// compile evaluates a rule against the stores.
func (p *planner) compile(r *Rule) compiledRule {
	c := compiledRule{Rule: r, rank: make([]uint8, len(p.stores))}
	c.allowed, c.needs = p.constraints(r.Constraints)
	c.nvAllowed, c.nvNeeds = p.constraints(r.NonVoterConstraints)
	for i := range p.stores {
		c.rank[i] = uint8(min(len(r.LeaderPreference), 255))
		for k, tiers := range r.LeaderPreference {
			if k < 255 && !slices.ContainsFunc(tiers, func(t string) bool { return !slices.Contains(p.stores[i].Locality, t) }) {
				c.rank[i] = uint8(k)
				break
			}
		}
	}
	if n, ok := p.leaderNeed(&c); ok {
		c.needs = append(c.needs, n)
	}
	var taking []int32
	var staying []Store
	for i := range p.stores {
		s := &p.stores[i]
		if s.gone == "" {
			staying = append(staying, s.Store)
		}
		if s.refuses == fine && c.allowed[i] {
			taking = append(taking, int32(i))
		}
	}
	c.taking, c.lacks = len(taking), r.Lacks(staying)
	if p.tiers > 0 {
		var set []StoreID
		for range min(r.Replicas, len(taking)) {
			best, least := StoreID(0), spread(0)
			unmet := p.unmet(c.needs, set)
			for _, i := range taking {
				s := &p.stores[i]
				if slices.Contains(set, s.ID) || unmet != nil && !unmet.member[i] {
					continue
				}
				if sp := p.spreadWith(s, set); best == 0 || sp < least {
					best, least = s.ID, sp
				}
			}
			if best == 0 {
				break
			}
			set = append(set, best)
			c.ideal += least
		}
		// With fewer stores that take anything than there are to be voters, some stay where they are, and share what they share.
		if len(set) < r.Replicas {
			c.ideal = math.MaxUint64
		}
	}
	return c
}

// leaderNeed is that of a voter in the best of the preferred places that has a store to stay.
func (p *planner) leaderNeed(c *compiledRule) (need, bool) {
	for k := range c.LeaderPreference {
		n := need{Constraint: Constraint{Tier: "a voter in " + strings.Join(c.LeaderPreference[k], ","), AtLeast: 1}, member: make([]bool, len(p.stores))}
		any := false
		for i := range p.stores {
			n.member[i] = int(c.rank[i]) == k
			any = any || n.member[i] && p.stores[i].gone == "" && c.allowed[i]
		}
		if any {
			n.leader = true
			return n, true
		}
	}
	return need{}, false
}

func (p *planner) constraints(cs []Constraint) (allowed []bool, needs []need) {
	allowed = make([]bool, len(p.stores))
	for i := range p.stores {
		allowed[i] = true
		allowed[i] = !slices.ContainsFunc(cs, func(c Constraint) bool { return c.excludes(p.stores[i].Locality) })
	}
	for _, c := range cs {
		if c.AtLeast > 0 {
			n := need{Constraint: c, member: make([]bool, len(p.stores))}
			for i := range p.stores {
				n.member[i] = slices.Contains(p.stores[i].Locality, c.Tier)
			}
			needs = append(needs, n)
		}
	}
	return allowed, needs
}

// unmet returns the first need that the set does not meet; nil if there is none.
func (p *planner) unmet(needs []need, set []StoreID) *need {
	for k := range needs {
		n := 0
		for _, id := range set {
			if i := p.index(id); i >= 0 && needs[k].member[i] {
				n++
			}
		}
		if n < needs[k].AtLeast {
			return &needs[k]
		}
	}
	return nil
}

// missing counts the replicas by which the set falls short of the needs.
func (p *planner) missing(needs []need, set []StoreID) (short int) {
	for k := range needs {
		n := 0
		for _, id := range set {
			if i := p.index(id); i >= 0 && needs[k].member[i] {
				n++
			}
		}
		short += max(0, needs[k].AtLeast-n)
	}
	return short
}
