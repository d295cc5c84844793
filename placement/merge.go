package placement

import (
	"fmt"
	"slices"
	"time"
)

// mergeRanges makes one range of two neighbours that are small and cold. Their replicas must be on the same stores: those of the smaller one move first, one
// at a time.
//
// A merge is never undone by a split, nor a split by a merge: what is merged is well below what is split, by size and by load, and it was not cut lately.
func (p *planner) mergeRanges(inFlight []Operator) {
	l := p.limits
	if l.MergeBytes <= 0 {
		return
	}
	slots := l.Merges
	for i := range inFlight {
		if inFlight[i].Kind == MergeRanges {
			slots--
		}
	}
	for _, i := range p.small {
		r := &p.ranges[i]
		at, ok := p.m.at[r.Left]
		if !ok || p.ranges[at].Bytes+r.Bytes > l.MergeBytes || p.touched(i) || p.touched(at) {
			continue // what is touched the next plan sees
		}
		if why := p.unmergeable(at, i); why != "" {
			p.unmerged(r, "not merged with r%d: %s", r.Left, why)
			continue
		}
		if slots <= 0 {
			p.unmerged(r, "to be merged with r%d; waits for other merges", r.Left)
			continue
		}
		if p.lineUp(at, i) {
			continue
		}
		slots--
		left := &p.ranges[at]
		p.touch(at)
		p.touch(i)
		p.out.Operators = append(p.out.Operators, Operator{Kind: MergeRanges, Range: left.ID, Generation: left.Generation, Leader: left.Leader, Right: r.ID,
			RightGeneration: r.Generation, Why: fmt.Sprintf("they hold %s together, and little is asked of them", bytesText(float64(left.Bytes+r.Bytes)))})
	}
}

// unmerged says why a range is not merged with its left neighbour now.
func (p *planner) unmerged(r *Range, format string, args ...any) {
	p.out.Unmerged = append(p.out.Unmerged, Finding{r.ID, fmt.Sprintf(format, args...)})
}

// unmergeable says why two small neighbours stay apart for now; "" if they need not.
func (p *planner) unmergeable(left, right int32) string {
	a, b := &p.ranges[left], &p.ranges[right]
	l := p.limits
	switch {
	case b.Fixed != "" && (b.FixedUntil == 0 || p.now < b.FixedUntil):
		return b.Fixed
	case a.Rule != b.Rule:
		return "another rule begins there"
	}
	if n := a.Load.Requests + b.Load.Requests; n > l.MergeRequests {
		return fmt.Sprintf("%.0f requests a second are more than %.0f", n, l.MergeRequests)
	}
	if c := a.Load.CPU + b.Load.CPU; c > l.MergeCPU {
		return fmt.Sprintf("%.2f cores are more than %.2f", c, l.MergeCPU)
	}
	if p.now-max(a.CutAt, b.CutAt) < l.MergeAfter {
		return fmt.Sprintf("one of them was cut less than %s ago", l.MergeAfter)
	}
	for _, r := range [2]*Range{a, b} {
		if r.Changing || !p.asWanted(r, p.rule(r)) {
			return fmt.Sprintf("r%d is not as its rule wants it", r.ID)
		}
		for _, set := range [2][]StoreID{r.Voters, r.NonVoters} {
			for _, id := range set {
				switch s := p.find(id); {
				case s == nil || !s.alive || s.Unsteady:
					return fmt.Sprintf("all replicas must answer, and n%d is silent, or was a short while ago", p.node(id))
				case s.Shaken:
					return fmt.Sprintf("n%d %s", p.node(id), whyShaken)
				}
			}
		}
	}
	return ""
}

// lineUp does the next thing to bring the replicas of the smaller of two ranges to the stores of the larger one; false if they are there.
func (p *planner) lineUp(left, right int32) bool {
	at, to := right, &p.ranges[left]
	if p.ranges[left].Bytes < p.ranges[right].Bytes {
		at, to = left, &p.ranges[right]
	}
	r := &p.ranges[at]
	wait := func(why string) bool {
		p.unmerged(&p.ranges[right], "to be merged with r%d: %s", p.ranges[left].ID, why)
		return true
	}
	missing, extra := without(to.Voters, r.Voters...), without(r.Voters, to.Voters...)
	nonVoting := len(missing) == 0
	if nonVoting {
		missing, extra = without(to.NonVoters, r.NonVoters...), without(r.NonVoters, to.NonVoters...)
	}
	if len(missing) == 0 || len(extra) == 0 {
		return len(missing)+len(extra) > 0 // as many of each, unless a rule has just changed
	}
	why := fmt.Sprintf("to be merged with r%d, which is on %s", to.ID, p.nodesText(to.Voters))
	leader := p.find(r.Leader)
	for _, id := range missing {
		switch s := p.find(id); {
		case s == nil || s.refuses != fine:
			return wait(fmt.Sprintf("n%d takes no replicas now", p.node(id)))
		case s.in >= p.limits.Incoming || leader == nil || leader.out >= p.limits.Outgoing:
			return wait("the nodes are sending or receiving other replicas")
		case !nonVoting && slices.Contains(r.NonVoters, id) || nonVoting && slices.Contains(r.Voters, id):
			return wait(fmt.Sprintf("n%d has a replica of the other kind", p.node(id)))
		}
	}
	op := Operator{NonVoting: nonVoting, Gentle: true}
	if nonVoting {
		op.Add, op.Remove = missing[:1], extra[:1]
	} else if op.Add, op.Remove = p.step(r, missing, extra); op.Add == nil {
		heir := p.successor(r, p.rule(r), extra)
		if heir == 0 || !slices.Contains(extra, r.Leader) {
			return wait("there is no way to there that keeps to its rule at every step")
		}
		p.transfer(at, heir, why+": the leader moves first", nil)
		p.touch(left)
		p.touch(right)
		return true
	}
	p.change(at, op, why, nil)
	p.touch(left)
	p.touch(right)
	return true
}

// step picks one of the voters to add and one to remove, which is not the leader, so that the range stays as its rule wants it: repair would take the
// step back. If no such pair is there, but the leader stays, all change at once. nil if neither can be.
func (p *planner) step(r *Range, missing, extra []StoreID) (add, remove []StoreID) {
	c := p.rule(r)
	then := *r
	for _, m := range missing {
		for _, x := range extra {
			if x == r.Leader {
				continue
			}
			then.Voters = append(without(r.Voters, x), m)
			if p.asWanted(&then, c) {
				return []StoreID{m}, []StoreID{x}
			}
		}
	}
	if !slices.Contains(extra, r.Leader) {
		return missing, extra
	}
	return nil, nil
}

func (p *planner) nodesText(ids []StoreID) string {
	out := ""
	for i, s := range slices.Sorted(slices.Values(ids)) {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("n%d", p.node(s))
	}
	return out
}

// The share of what a range is split for, by size and by load, up to which neighbours are merged: a split leaves two halves, or nine tenths and one.
const (
	mergeBytesShare = 0.4
	mergeLoadShare  = 0.25
)

// MergeBelow sets the limits of merges by those of splits. bytes of 0 or less, or after of 0: nothing is merged.
func (l *Limits) MergeBelow(bytes int64, requests, cpu float64, after time.Duration) {
	l.MergeBytes, l.MergeRequests, l.MergeCPU, l.MergeAfter = 0, requests*mergeLoadShare, cpu*mergeLoadShare, after
	if bytes > 0 && after > 0 {
		l.MergeBytes = int64(float64(bytes) * mergeBytesShare)
	}
}
