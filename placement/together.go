package placement

import (
	"fmt"
	"slices"
	"strings"
)

// What a rule asks for may be there, one thing after the other, and not together: two replicas in region=eu and two on disk=ssd are four if no node has both.

// part is one of the things that a rule asks for beside the number of its voters.
type part struct {
	option, text string
	add          func(r *Rule)
}

// parts takes a rule apart.
func (r *Rule) parts() (out []part) {
	for _, c := range r.Constraints {
		out = append(out, part{OptConstraints, c.String(), func(x *Rule) { x.Constraints = append(x.Constraints, c) }})
	}
	if r.Survive == SurviveRegion {
		out = append(out, part{OptSurvive, OptSurvive + " = region", func(x *Rule) { x.Survive = SurviveRegion }})
	}
	if r.NonVoters > 0 {
		out = append(out, part{OptNonVoters, fmt.Sprintf("%s = %d", OptNonVoters, r.NonVoters), func(x *Rule) { x.NonVoters = r.NonVoters }})
		for _, c := range r.NonVoterConstraints {
			out = append(out, part{OptNonVoterConstraints, c.String() + " for those without a vote", func(x *Rule) { x.NonVoterConstraints = append(x.NonVoterConstraints, c) }})
		}
	}
	return out
}

// apart says which parts of a rule, each of which could hold alone, cannot hold together on stores: as few as are enough for that. ok is false if they can.
func (r *Rule) apart(stores []Store) (l Lack, ok bool) {
	all := r.parts()
	if len(all) < 2 || r.fit(stores) {
		return l, false
	}
	without := func(left []part) bool {
		x := Rule{Replicas: r.Replicas}
		for _, p := range left {
			p.add(&x)
		}
		return x.fit(stores)
	}
	few := all
	for _, p := range all {
		if left := slices.DeleteFunc(slices.Clone(few), func(o part) bool { return o.option == p.option && o.text == p.text }); !without(left) {
			few = left
		}
	}
	if len(few) == 0 {
		return l, false // there are too few stores, whatever else is asked for
	}
	var texts []string
	for _, p := range few {
		texts = append(texts, p.text)
		if !slices.Contains(l.Options, p.option) {
			l.Options = append(l.Options, p.option)
		}
	}
	// What has to do with those without a vote is found under their name, all else under that of constraints.
	main := OptConstraints
	if slices.Contains(l.Options, OptNonVoters) {
		main = OptNonVoters
	}
	l.Options = append([]string{main}, slices.DeleteFunc(l.Options, func(o string) bool { return o == main })...)
	l.Options = append(l.Options, OptReplicas)
	last := len(texts) - 1
	if last > 0 {
		texts = []string{strings.Join(texts[:last], ", ") + " and " + texts[last]}
	}
	l.Why = fmt.Sprintf("%s wants %s, and the %s cannot give that together to %s", r.Owner(), texts[0], there(stores), count(r.Replicas, "replica"))
	return l, true
}

func there(stores []Store) string {
	if len(stores) == 1 {
		return "one node there is"
	}
	return fmt.Sprintf("%d nodes there are", len(stores))
}

// maxFitSteps bounds a search. A rule that is so intricate counts as one that can hold.
const maxFitSteps = 20000

// fitting is the search for places for all replicas of a range: first those that some part of the rule asks for, then the rest.
type fitting struct {
	kinds     []kind
	needs     []wanted
	used      []int // voters, by domain
	each      int   // voters that a domain may have
	voters    int   // still to be placed, like nonVoters
	nonVoters int
	steps     int
}

// kind is stores that are the same to a rule.
type kind struct {
	key
	free int
}

type key struct {
	votes, others bool   // it may have a voter, and a replica without a vote
	meets         uint64 // needs, a bit each
	domain        int
}

// wanted is a number of replicas of one sort.
type wanted struct {
	tier   string
	n      int
	voters bool
}

// fit reports whether the stores can hold all that a rule wants of a range, its preferences aside.
func (r *Rule) fit(stores []Store) bool {
	f := fitting{each: r.Replicas, voters: r.Replicas, nonVoters: r.NonVoters}
	add := func(cs []Constraint, voters bool) {
		for _, c := range cs {
			if c.AtLeast > 0 && len(f.needs) < 64 {
				f.needs = append(f.needs, wanted{c.Tier, c.AtLeast, voters})
			}
		}
	}
	add(r.Constraints, true)
	if r.NonVoters > 0 {
		add(r.NonVoterConstraints, false)
	}
	if r.Survive == SurviveRegion {
		f.each = (r.Replicas - 1) / 2
	}
	at := map[key]int{}
	domains := map[string]int{}
	for i := range stores {
		l := stores[i].Locality
		excludes := func(c Constraint) bool { return c.excludes(l) }
		k := key{votes: !slices.ContainsFunc(r.Constraints, excludes), others: r.NonVoters > 0 && !slices.ContainsFunc(r.NonVoterConstraints, excludes)}
		if !k.votes && !k.others {
			continue
		}
		for b, w := range f.needs {
			if slices.Contains(l, w.tier) {
				k.meets |= 1 << b
			}
		}
		if r.Survive == SurviveRegion {
			place := fmt.Sprintf("store %d", stores[i].ID) // which shares none
			if len(l) > 0 {
				place = l[0]
			}
			d, ok := domains[place]
			if !ok {
				d = len(domains)
				domains[place] = d
			}
			k.domain = d
		}
		n, ok := at[k]
		if !ok {
			n = len(f.kinds)
			at[k], f.kinds = n, append(f.kinds, kind{key: k})
		}
		f.kinds[n].free++
	}
	f.used = make([]int, max(1, len(domains)))
	return f.place(-1, 0)
}

// place places a replica for the first need that is not met, on a kind of stores from from on if that was the last one's need, too, and then all others.
func (f *fitting) place(last, from int) bool {
	if f.steps++; f.steps > maxFitSteps {
		return true
	}
	at := slices.IndexFunc(f.needs, func(w wanted) bool { return w.n > 0 })
	if at < 0 {
		return f.rest()
	}
	if at != last {
		from = 0
	}
	voter := f.needs[at].voters
	for i := from; i < len(f.kinds); i++ {
		k := &f.kinds[i]
		if k.free == 0 || k.meets&(1<<at) == 0 || voter && (!k.votes || f.voters == 0 || f.used[k.domain] >= f.each) || !voter && (!k.others || f.nonVoters == 0) {
			continue
		}
		f.take(k, voter, 1)
		if f.place(at, i) {
			return true
		}
		f.take(k, voter, -1)
	}
	return false
}

// take takes stores of a kind for replicas, or gives them back.
func (f *fitting) take(k *kind, voter bool, n int) {
	k.free -= n
	if voter {
		f.voters -= n
		f.used[k.domain] += n
	} else {
		f.nonVoters -= n
	}
	for b := range f.needs {
		if f.needs[b].voters == voter && k.meets&(1<<b) != 0 {
			f.needs[b].n -= n
		}
	}
}

// rest reports whether there is room for the replicas that nothing more is asked of. Voters go where no other replica may be first.
func (f *fitting) rest() bool {
	only, both := make([]int, len(f.used)), make([]int, len(f.used))
	others, shared := 0, 0
	for i := range f.kinds {
		switch k := &f.kinds[i]; {
		case k.votes && k.others:
			both[k.domain] += k.free
			shared += k.free
		case k.votes:
			only[k.domain] += k.free
		default:
			others += k.free
		}
	}
	room, taken := 0, 0
	for d, n := range f.used {
		x := min(only[d], f.each-n)
		room, taken = room+x, taken+min(both[d], f.each-n-x)
	}
	more := max(0, f.voters-room)
	return more <= taken && f.nonVoters <= others+shared-more
}
