package placement

import (
	"fmt"
	"slices"
	"strings"
)

// Lack is something that a rule asks for and that the stores there are cannot give: a rule is accepted all the same, for others may come.
type Lack struct {
	// Options are those of the rule that ask for it, the main one first.
	Options []string
	// Tier of the locality where it is missing; empty if it is not of one place.
	Tier string
	// Wish: nothing is wrong without it.
	Wish bool
	// Why is a sentence for people; findings have the same.
	Why string
}

// Same reports whether two lacks, of one rule, are of the same thing.
func (l Lack) Same(o Lack) bool { return l.Options[0] == o.Options[0] && l.Tier == o.Tier }

// Concerns reports whether one of some options has to do with it.
func (l Lack) Concerns(options []string) bool {
	return slices.ContainsFunc(options, func(o string) bool { return slices.Contains(l.Options, o) })
}

// Owner says for people whose rule it is.
func (r *Rule) Owner() string {
	if r.Name == "" || r.Name == "cluster" {
		return "the cluster"
	}
	return r.Name
}

// Lacks says what of a rule cannot hold on stores, of which all count, be they silent, full or draining.
func (r *Rule) Lacks(stores []Store) (out []Lack) {
	add := func(wish bool, tier, why string, options ...string) {
		out = append(out, Lack{options, tier, wish, why})
	}
	allowed := allowedBy(r.Constraints, stores)
	meet := "there are"
	if len(allowed) == 1 {
		meet = "there is"
	}
	if len(r.Constraints) > 0 {
		meet = fmt.Sprintf("its %s (%s) allow only", OptConstraints, constraintText(r.Constraints))
	}
	switch {
	case len(allowed) == 0 && len(stores) > 0:
		add(false, "", fmt.Sprintf("no node meets the %s of %s (%s)", OptConstraints, r.Owner(), constraintText(r.Constraints)), OptConstraints, OptReplicas)
	case len(allowed) < r.Replicas:
		add(false, "", fmt.Sprintf("%s wants %s, and %s %s", r.Owner(), count(r.Replicas, "replica"), meet, count(len(allowed), "node")), OptReplicas, OptConstraints)
	case r.Survive == SurviveRegion:
		if domains, most := spreadOver(allowed, (r.Replicas-1)/2); most < r.Replicas {
			where := fmt.Sprintf("%s %s of %s", meet, count(len(allowed), "node"), count(domains, "region"))
			add(false, "", fmt.Sprintf("%s = region cannot hold for %s: no region may have half of %s, and %s", OptSurvive, r.Owner(), count(r.Replicas, "replica"), where),
				OptSurvive, OptReplicas, OptConstraints)
		}
	}
	needs := func(cs []Constraint, option, what string) {
		for _, c := range cs {
			if n := len(in(c.Tier, stores)); n < c.AtLeast {
				there := "no node is"
				if n > 0 {
					there = "only " + count(n, "node") + " " + map[bool]string{true: "is", false: "are"}[n == 1]
				}
				add(false, c.Tier, fmt.Sprintf("%s wants %s in %s, and %s there", r.Owner(), count(c.AtLeast, what), c.Tier, there), option)
			}
		}
	}
	needs(r.Constraints, OptConstraints, "replica")
	others := allowedBy(r.NonVoterConstraints, stores)
	switch n := r.NonVoters; {
	case n == 0 || len(stores) == 0:
	case len(others) == 0:
		add(false, "", fmt.Sprintf("no node meets the %s of %s (%s)", OptNonVoterConstraints, r.Owner(), constraintText(r.NonVoterConstraints)), OptNonVoters, OptNonVoterConstraints)
	case len(others) < n || len(stores) < n+r.Replicas:
		add(false, "", fmt.Sprintf("%s wants %s without a vote beside the %d that have one, and there are too few nodes for that", r.Owner(), count(n, "replica"), r.Replicas),
			OptNonVoters, OptNonVoterConstraints, OptReplicas)
	}
	needs(r.NonVoterConstraints, OptNonVoterConstraints, "replica without a vote")
	if len(out) == 0 && len(stores) > 0 {
		if l, ok := r.apart(stores); ok {
			out = append(out, l)
		}
	}
	for _, tiers := range r.LeaderPreference {
		at := stores
		for _, t := range tiers {
			at = in(t, at)
		}
		switch place := strings.Join(tiers, ","); {
		case len(at) == 0:
			add(true, place, fmt.Sprintf("no node is in %s, where %s prefers leaders", place, r.Owner()), OptLeaderPreference)
		case len(r.Fitting(at)) == 0:
			add(true, place, fmt.Sprintf("%s prefers leaders in %s, where its %s (%s) allow none", r.Owner(), place, OptConstraints, constraintText(r.Constraints)), OptLeaderPreference, OptConstraints)
		}
	}
	return out
}

// Fitting returns the stores that may have a voter by the rule's constraints.
func (r *Rule) Fitting(stores []Store) []Store { return allowedBy(r.Constraints, stores) }

// allowedBy returns the stores that may have a replica by constraints.
func allowedBy(cs []Constraint, stores []Store) (out []Store) {
	for _, s := range stores {
		if !slices.ContainsFunc(cs, func(c Constraint) bool { return c.excludes(s.Locality) }) {
			out = append(out, s)
		}
	}
	return out
}

func in(tier string, stores []Store) (out []Store) {
	for _, s := range stores {
		if slices.Contains(s.Locality, tier) {
			out = append(out, s)
		}
	}
	return out
}

// spreadOver counts the domains of the widest tier that stores are in, and how many of the stores there can be if no more than each are of one.
func spreadOver(stores []Store, each int) (domains, most int) {
	of := map[string]int{}
	for _, s := range stores {
		if len(s.Locality) == 0 { // it shares none
			domains, most = domains+1, most+min(1, each)
			continue
		}
		of[s.Locality[0]]++
	}
	for _, n := range of {
		most += min(n, each)
	}
	return domains + len(of), most
}

// count writes a number of things.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	if thing, rest, ok := strings.Cut(what, " "); ok {
		return fmt.Sprintf("%d %ss %s", n, thing, rest)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
