package placement

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A rule can hold if and only if some choice of stores, all of which the twin tries, is as it says.
func TestFitIsAsByTrying(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tiers := []string{"region=eu", "region=us", "region=ap", "disk=ssd", "rack=1"}
		r := Rule{Name: "table t", Replicas: rapid.SampledFrom([]int{1, 3, 3, 5}).Draw(t, "replicas"), NonVoters: rapid.IntRange(0, 2).Draw(t, "without a vote")}
		if r.Replicas > 1 && rapid.Bool().Draw(t, "survive") {
			r.Survive = SurviveRegion
		}
		draw := func(label string, most int) (cs []Constraint) {
			for range rapid.IntRange(0, 3).Draw(t, label) {
				c := Constraint{Tier: rapid.SampledFrom(tiers).Draw(t, "tier"), AtLeast: rapid.IntRange(0, most).Draw(t, "at least")}
				c.Not = c.AtLeast == 0 && rapid.Bool().Draw(t, "not")
				cs = append(cs, c)
			}
			return cs
		}
		r.Constraints, r.NonVoterConstraints = draw("constraints", 2), draw("of those without a vote", r.NonVoters)
		var stores []Store
		for i := range rapid.IntRange(1, 8).Draw(t, "stores") {
			s := Store{ID: StoreID(i + 1)}
			if where := rapid.IntRange(0, 3).Draw(t, "region"); where < 3 {
				s.Locality = append(s.Locality, tiers[where])
			}
			for _, x := range tiers[3:] {
				if len(s.Locality) > 0 && rapid.Bool().Draw(t, x) {
					s.Locality = append(s.Locality, x)
				}
			}
			stores = append(stores, s)
		}
		require.Equal(t, r.fitByTrying(stores), r.fit(stores), "%+v on %+v", r, stores)
	})
}

func (r *Rule) fitByTrying(stores []Store) bool {
	good := func(set uint, cs []Constraint) bool {
		for _, c := range cs {
			n := 0
			for i := range stores {
				if set&(1<<i) == 0 {
					continue
				}
				if c.excludes(stores[i].Locality) {
					return false
				}
				if slices.Contains(stores[i].Locality, c.Tier) {
					n++
				}
			}
			if n < c.AtLeast {
				return false
			}
		}
		return true
	}
	spread := func(set uint) bool {
		in := map[string]int{}
		for i, s := range stores {
			if set&(1<<i) != 0 {
				where := fmt.Sprint(s.ID)
				if len(s.Locality) > 0 {
					where = s.Locality[0]
				}
				in[where]++
				if 2*in[where] >= r.Replicas {
					return false
				}
			}
		}
		return true
	}
	all := uint(1)<<len(stores) - 1
	for voters := uint(0); voters <= all; voters++ {
		if bits.OnesCount(voters) != r.Replicas || !good(voters, r.Constraints) || r.Survive == SurviveRegion && !spread(voters) {
			continue
		}
		if r.NonVoters == 0 {
			return true
		}
		for others := uint(0); others <= all; others++ {
			if others&voters == 0 && bits.OnesCount(others) == r.NonVoters && good(others, r.NonVoterConstraints) {
				return true
			}
		}
	}
	return false
}

// A rule that no step too many could decide is not complained about.
func TestFitGivesUp(t *testing.T) {
	r := Rule{Replicas: 9, Survive: SurviveRegion}
	var stores []Store
	for i := range 400 {
		s := Store{ID: StoreID(i + 1), Locality: []string{fmt.Sprintf("region=r%d", i%20)}}
		for b := range 8 {
			if (i/20+b*7)%(b+2) == 0 {
				s.Locality = append(s.Locality, fmt.Sprintf("tier=%d", b))
			}
		}
		stores = append(stores, s)
	}
	for b := range 8 {
		r.Constraints = append(r.Constraints, Constraint{Tier: fmt.Sprintf("tier=%d", b), AtLeast: 1})
	}
	r.Constraints = append(r.Constraints, Constraint{Tier: "tier=none", AtLeast: 1})
	_, apart := r.apart(stores)
	require.False(t, apart, "the last need cannot be met, and the search has ended before it could know")
}
