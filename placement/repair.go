package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// alive counts the voters whose stores are heard of.
func (p *planner) alive(voters []StoreID) int {
	n := 0
	for _, v := range voters {
		if s := p.find(v); s != nil && s.alive {
			n++
		}
	}
	return n
}

// asWanted reports whether nothing is to be repaired in a range. Whoever asks again must know that neither the range nor the stores nor the rules have changed: see refresh.
func (p *planner) asWanted(r *Range, c *compiledRule) bool {
	if len(r.Voters) != c.Replicas || len(r.NonVoters) != c.NonVoters || len(r.Learners) > 0 || r.Leader == 0 {
		return false
	}
	var sum spread
	for k, v := range r.Voters {
		i := p.index(v)
		if i < 0 || p.stores[i].gone != "" || !c.allowed[i] {
			return false
		}
		if p.tiers > 0 {
			for _, o := range r.Voters[k+1:] {
				if j := p.index(o); j >= 0 {
					sum += p.shares(&p.stores[i], &p.stores[j])
				}
			}
		}
	}
	if sum > c.ideal || p.alive(r.Voters) <= len(r.Voters)/2 {
		return false
	}
	for _, v := range r.NonVoters {
		i := p.index(v)
		if i < 0 || p.stores[i].gone != "" || !c.nvAllowed[i] {
			return false
		}
	}
	return p.missing(c.needs, r.Voters) == 0 && p.missing(c.nvNeeds, r.NonVoters) == 0 && !p.losesToRegion(r.Voters, c)
}

// losesToRegion reports whether one domain of the widest tier holds half of the voters although the rule forbids it.
func (p *planner) losesToRegion(voters []StoreID, c *compiledRule) bool {
	if c.Survive != SurviveRegion {
		return false
	}
	for _, v := range voters {
		s, n := p.find(v), 0
		if s == nil {
			continue
		}
		for _, o := range voters {
			if t := p.find(o); t != nil && (t == s || p.tiers > 0 && t.domain[0] == s.domain[0]) {
				n++
			}
		}
		if 2*n >= len(voters) {
			return true
		}
	}
	return false
}

// lacking says what of the rule could not hold even if all stores that stay took replicas, as far as it has to do with one of some options; else otherwise.
func (c *compiledRule) lacking(otherwise string, options ...string) string {
	for _, l := range c.lacks {
		if !l.Wish && slices.Contains(options, l.Options[0]) {
			return l.Why
		}
	}
	return otherwise
}

// repair brings ranges to what their rules want. The ranges that can lose the fewest further replicas come first.
func (p *planner) repair() {
	type item struct {
		at     int32
		margin int
	}
	var work []item
	for _, i := range p.wrong {
		if r := &p.ranges[i]; !p.touched(i) {
			work = append(work, item{i, p.alive(r.Voters) - (len(r.Voters)/2 + 1)})
		}
	}
	slices.SortStableFunc(work, func(a, b item) int { return cmp.Compare(a.margin, b.margin) })
	slots := 0
	for i := range p.stores {
		if s := &p.stores[i]; s.alive {
			slots += max(0, p.limits.Outgoing-s.out)
		}
	}
	for _, w := range work {
		r := &p.ranges[w.at]
		switch {
		case r.Changing:
		case p.vanished(r):
			p.note(r, "lost: all its replicas were on nodes that have left for good")
		case w.margin < 0:
			p.note(r, fmt.Sprintf("quorum lost: %d of %d voters are alive", p.alive(r.Voters), len(r.Voters)))
		case r.Leader == 0:
			p.note(r, "nobody leads")
		case slots <= 0 && p.repairs > 0:
			// Thousands may wait: they get one text.
			p.repairs++
			p.note(r, waitsForSlots)
		default:
			before := len(p.out.Operators)
			p.repairRange(w.at)
			for _, op := range p.out.Operators[before:] {
				slots -= len(op.Add)
			}
		}
	}
	p.await()
}

// vanished reports whether none of the stores that a range is on is known.
func (p *planner) vanished(r *Range) bool {
	known := func(id StoreID) bool { return p.find(id) != nil }
	return r.Leader == 0 && !slices.ContainsFunc(r.Voters, known) && !slices.ContainsFunc(r.NonVoters, known)
}

// await says of ranges with a voter that is silent, and not for so long that it counts as dead, that it is waited for.
func (p *planner) await() {
	for i := range p.stores {
		s := &p.stores[i]
		if s.alive || s.gone != "" {
			continue
		}
		text := p.awaited(s)
		for _, at := range s.held.on {
			if r := &p.ranges[at]; p.m.flags[at]&isWrong == 0 && p.silentVoter(r) == s {
				p.note(r, text)
			}
		}
	}
}

// silentVoter returns the store of the first voter that is silent, and not for so long that it counts as dead; nil if there is none.
func (p *planner) silentVoter(r *Range) *store {
	for _, v := range r.Voters {
		if s := p.find(v); s != nil && !s.alive && s.gone == "" {
			return s
		}
	}
	return nil
}

// awaited says what is waited for with a store that is silent.
func (p *planner) awaited(s *store) string {
	return fmt.Sprintf("n%d has been silent for %s; if it stays so for %s (--dead-after) its replica is made anew elsewhere", s.Node, s.Silence.Round(time.Second), p.limits.DeadAfter)
}

// awaits is awaited of the range's silent voter, to be added to what else is wrong; "" if it has none.
func (p *planner) awaits(r *Range) string {
	if s := p.silentVoter(r); s != nil {
		return "; " + p.awaited(s)
	}
	return ""
}

const waitsForSlots = "to be repaired; waits until nodes that send and receive other replicas are free"

// repairRange decides what is to be done first with a range that is not as its rule wants it.
func (p *planner) repairRange(at int32) {
	r := &p.ranges[at]
	c := p.rule(r)
	if len(r.Learners) > 0 {
		// Nobody brings it up any more: a change that is under way would be known.
		p.repairs++
		p.change(at, Operator{Remove: r.Learners[:1]}, fmt.Sprintf("the learner on n%d was left behind", p.node(r.Learners[0])), nil)
		return
	}
	var gone, stay []StoreID
	reason := ""
	for _, v := range r.Voters {
		why := p.mustLeave(v, c, c.allowed)
		if why == "" {
			stay = append(stay, v)
		} else {
			gone, reason = append(gone, v), why
		}
	}
	switch {
	case len(gone) > 0 || len(stay) != c.Replicas:
		p.fixVoters(at, c, stay, gone, reason)
	default:
		switch {
		case p.respread(at, c), p.fixNonVoters(at, c):
		case p.losesToRegion(r.Voters, c):
			p.note(r, "the loss of one region would lose the quorum: "+c.lacking("no node elsewhere is free", OptSurvive, OptReplicas, OptConstraints))
		case p.spreadOf(r.Voters) > c.ideal:
			p.note(r, "its voters share more of their localities than they need to, and no move to a node that is free changes that")
		}
	}
}

// whyNone says why there is no store for another voter.
func (p *planner) whyNone(r *Range, c *compiledRule) string {
	if why := c.lacking("", OptReplicas, OptConstraints); why != "" {
		return ": " + why
	}
	return p.others(r, c)
}

// others says why the stores without a replica of the range cannot have one; "" if there are none.
func (p *planner) others(r *Range, c *compiledRule) string {
	const most = 4 // of a thousand, some tell the story
	var out []string
	for i := range p.stores {
		s := &p.stores[i]
		if slices.Contains(r.Voters, s.ID) || slices.Contains(r.NonVoters, s.ID) {
			continue
		}
		w := p.unfit(s, r)
		if w == fine && !c.allowed[i] {
			w = whyNotAllowed
		}
		if w == fine {
			continue
		}
		if len(out) == most {
			out = append(out, "...")
			break
		}
		out = append(out, fmt.Sprintf("n%d: %s", s.Node, w))
	}
	if len(out) == 0 {
		return ""
	}
	return " (" + strings.Join(out, "; ") + ")"
}

// mustLeave says why a replica has to leave its store; "" if it has not.
func (p *planner) mustLeave(id StoreID, c *compiledRule, allowed []bool) string {
	i := p.index(id)
	switch {
	case i < 0:
		return fmt.Sprintf("store %d is not of the cluster", id)
	case p.stores[i].gone != "":
		return p.stores[i].gone
	case !allowed[i]:
		return fmt.Sprintf("the rule of %s excludes n%d", c.Owner(), p.node(id))
	}
	return ""
}

// fixVoters adds voters that are missing and removes those that must leave or are too many.
func (p *planner) fixVoters(at int32, c *compiledRule, stay, gone []StoreID, reason string) {
	r := &p.ranges[at]
	usable := len(stay) + c.taking
	for _, v := range r.Voters {
		if i := p.index(v); i >= 0 && p.stores[i].refuses == fine && c.allowed[i] {
			usable--
		}
	}
	// An even number of voters tolerates no more failures than one less, and two
	// tolerate fewer than one, so stop at the odd number that there is room for.
	want := c.Replicas
	if usable < want {
		want = max(usable-(usable+1)%2, 1)
		if p.onlyExcluded(gone) {
			want = usable // the others vote on
		}
	}
	if l := p.find(r.Leader); len(stay) < want && l != nil && l.out >= p.limits.Outgoing && l.out > 0 {
		p.repairs++ // of thousands, most: no store is chosen in vain
		p.note(r, waitsForSlots)
		return
	}
	op := Operator{}
	var rejected rejections
	have := slices.Clone(stay)
	busy := false
	for len(have) < want {
		var id StoreID
		id, busy = p.choose(r, c.needs, c.allowed, have, r.Voters, &rejected)
		if id == 0 || busy {
			break
		}
		op.Add = append(op.Add, id)
		have = append(have, id)
	}
	if busy || len(op.Add) > 0 && p.find(r.Leader) != nil && p.find(r.Leader).out+len(op.Add) > max(p.limits.Outgoing, len(op.Add)) {
		p.repairs++
		p.note(r, waitsForSlots)
		return
	}
	why := ""
	switch {
	case len(gone) > 0 && len(have) >= c.Replicas:
		op.Remove = gone
		why = reason
		if len(op.Add) == 0 {
			why += ", and there are enough voters without it"
		}
	case len(gone) > 0 && len(op.Add) > 0:
		// Better one replaced than none; the others stay until there is room.
		op.Remove = gone[:min(len(gone), len(op.Add))]
		why = reason
	case len(gone) > 0:
		if id := p.roomOfNonVoter(r, c); id != 0 {
			p.repairs++
			p.change(at, Operator{Remove: []StoreID{id}}, fmt.Sprintf("%s, and a voter is to take the place of the non-voting replica on n%d", reason, p.node(id)), nil)
			return
		}
		p.note(r, reason+", and there is no node to replace it"+p.whyNone(r, c)+p.awaits(r))
		return
	case len(have) > want && len(stay) > c.Replicas:
		op.Remove = []StoreID{p.surplus(r, stay)}
		why = fmt.Sprintf("%d voters, %d wanted", len(stay), c.Replicas)
	case len(op.Add) > 0:
		why = fmt.Sprintf("%d of %d voters", len(stay), c.Replicas)
	default:
		if id := p.roomOfNonVoter(r, c); id != 0 {
			p.repairs++
			p.change(at, Operator{Remove: []StoreID{id}}, fmt.Sprintf("%d of %d voters, and one is to take the place of the non-voting replica on n%d", len(stay), c.Replicas, p.node(id)), nil)
			return
		}
		p.note(r, fmt.Sprintf("%d of %d voters: ", len(stay), c.Replicas)+c.lacking("too few nodes take more just now", OptReplicas, OptConstraints)+p.awaits(r))
		return
	}
	left := append(without(r.Voters, op.Remove...), op.Add...)
	if p.alive(left) <= len(left)/2 {
		p.note(r, fmt.Sprintf("%s, but the change would leave %d live voters of %d", why, p.alive(left), len(left)))
		return
	}
	if slices.Contains(op.Remove, r.Leader) {
		if to := p.successor(r, c, op.Remove); to != 0 {
			p.repairs++
			p.transfer(at, to, why+": the leader moves first", nil)
			return
		}
		// Nobody else could lead yet: the new voters come first, the old one goes with the next plan.
		if op.Remove = without(op.Remove, r.Leader); len(op.Add) == 0 {
			p.note(r, why+", and nobody else can lead")
			return
		}
	}
	if p.evict(at, c, op.Add) {
		return
	}
	p.repairs++
	p.change(at, op, why, &rejected)
}

// onlyExcluded reports whether replicas must leave for no other reason than a rule: they are as good as ever meanwhile.
func (p *planner) onlyExcluded(gone []StoreID) bool {
	if len(gone) == 0 {
		return false
	}
	for _, id := range gone {
		if s := p.find(id); s == nil || s.gone != "" {
			return false
		}
	}
	return true
}

// roomOfNonVoter returns a store with a non-voting replica that could hold a voter instead.
func (p *planner) roomOfNonVoter(r *Range, c *compiledRule) StoreID {
	for _, id := range r.NonVoters {
		if i := p.index(id); i >= 0 && p.stores[i].refuses == fine && c.allowed[i] {
			return id
		}
	}
	return 0
}

// evict removes a non-voting replica from a store that is to get a voter.
func (p *planner) evict(at int32, c *compiledRule, add []StoreID) bool {
	r := &p.ranges[at]
	for _, id := range add {
		if slices.Contains(r.NonVoters, id) {
			p.repairs++
			p.change(at, Operator{Remove: []StoreID{id}}, fmt.Sprintf("a voter is to take the place of the non-voting replica on n%d", p.node(id)), nil)
			return true
		}
	}
	return false
}

// successor picks a voter that is to lead before the leader's replica goes; 0 if there is none.
func (p *planner) successor(r *Range, c *compiledRule, leaving []StoreID) StoreID {
	var best *store
	var rank uint8
	for _, v := range r.Voters {
		i := p.index(v)
		if v == r.Leader || i < 0 || slices.Contains(leaving, v) || p.stores[i].mayLead != fine {
			continue
		}
		s := &p.stores[i]
		if best == nil || c.rank[i] < rank || c.rank[i] == rank && s.leaders < best.leaders {
			best, rank = s, c.rank[i]
		}
	}
	if best == nil {
		return 0
	}
	return best.ID
}

// surplus picks the voter to remove: one that is not heard of, or the one that shares most with the
// others, or that sits on the fullest store; not one that a constraint asks for, and not the leader if it can be helped.
func (p *planner) surplus(r *Range, voters []StoreID) StoreID {
	c := p.rule(r)
	return slices.MinFunc(voters, func(a, b StoreID) int {
		sa, sb := p.find(a), p.find(b)
		first := func(x, y bool) int { // the one of which it is true
			switch {
			case x == y:
				return 0
			case x:
				return -1
			}
			return 1
		}
		return cmp.Or(first(!sa.alive, !sb.alive), cmp.Compare(p.missing(c.needs, without(voters, a)), p.missing(c.needs, without(voters, b))),
			first(b == r.Leader, a == r.Leader),
			-cmp.Compare(p.spreadWith(sa, voters), p.spreadWith(sb, voters)),
			-cmp.Compare(p.fuller(sa), p.fuller(sb)), cmp.Compare(a, b))
	})
}

// respread replaces one voter if that brings the voters further apart, or meets a constraint. It reports whether
// there is something to do.
func (p *planner) respread(at int32, c *compiledRule) bool {
	r := &p.ranges[at]
	short := p.missing(c.needs, r.Voters)
	now := p.spreadOf(r.Voters)
	if short == 0 && now <= c.ideal {
		return false
	}
	if p.alive(r.Voters) < len(r.Voters) { // it may come back: repair first, then improve
		p.note(r, "what else the rule wants waits until a voter is back or replaced"+p.awaits(r))
		return true
	}
	var from, to StoreID
	bestShort, bestSpread, busy := short, now, false
	for _, v := range r.Voters {
		rest := without(r.Voters, v)
		id, full := p.choose(r, c.needs, c.allowed, rest, append(without(r.NonVoters), v), nil)
		if id == 0 {
			continue
		}
		set := append(rest, id)
		sh, sp := p.missing(c.needs, set), p.spreadOf(set)
		if sh < bestShort || sh == bestShort && (sp < bestSpread || sp == bestSpread && from == r.Leader && from != 0) {
			from, to, bestShort, bestSpread, busy = v, id, sh, sp, full
		}
	}
	if from == 0 || bestShort == short && bestSpread >= now {
		if short > 0 {
			p.note(r, c.lacking(fmt.Sprintf("%s wants %s, and no node there is free", c.Owner(), p.unmet(c.needs, r.Voters)), OptConstraints))
			return true
		}
		return false
	}
	why := fmt.Sprintf("n%d shares more of its locality with the other voters than n%d", p.node(from), p.node(to))
	if bestShort < short {
		why = fmt.Sprintf("%s wants %s", c.Owner(), p.unmet(c.needs, r.Voters))
	}
	p.repairs++
	l := p.find(r.Leader)
	switch {
	case busy || l != nil && l.out >= p.limits.Outgoing:
		p.note(r, waitsForSlots)
	case from == r.Leader:
		if next := p.successor(r, c, []StoreID{from}); next != 0 {
			p.transfer(at, next, why+": the leader moves first", nil)
		} else {
			p.note(r, why+", and nobody else can lead")
		}
	default:
		var rejected rejections
		p.choose(r, c.needs, c.allowed, without(r.Voters, from), append(without(r.NonVoters), from), &rejected)
		p.change(at, Operator{Add: []StoreID{to}, Remove: []StoreID{from}}, why, &rejected)
	}
	return true
}

// fixNonVoters brings the replicas without a vote to the wanted number and places. It reports whether there is something to do.
func (p *planner) fixNonVoters(at int32, c *compiledRule) bool {
	r := &p.ranges[at]
	var stay []StoreID
	for _, v := range r.NonVoters {
		if why := p.mustLeave(v, c, c.nvAllowed); why != "" {
			p.repairs++
			p.change(at, Operator{Remove: []StoreID{v}}, why, nil)
			return true
		}
		stay = append(stay, v)
	}
	all := append(without(r.Voters), stay...)
	switch {
	case len(stay) > c.NonVoters:
		victim := slices.MinFunc(stay, func(a, b StoreID) int {
			return cmp.Or(cmp.Compare(p.missing(c.nvNeeds, without(stay, a)), p.missing(c.nvNeeds, without(stay, b))),
				-cmp.Compare(p.spreadWith(p.find(a), all), p.spreadWith(p.find(b), all)), cmp.Compare(a, b))
		})
		p.repairs++
		p.change(at, Operator{Remove: []StoreID{victim}}, fmt.Sprintf("%d non-voting replicas, %d wanted", len(stay), c.NonVoters), nil)
		return true
	case len(stay) < c.NonVoters:
		var rejected rejections
		id, busy := p.choose(r, nil, p.narrowed(c, stay), all, nil, &rejected)
		l := p.find(r.Leader)
		switch {
		case id == 0:
			p.note(r, fmt.Sprintf("%d of %d non-voting replicas: ", len(stay), c.NonVoters)+c.lacking("too few nodes take more just now", OptNonVoters, OptNonVoterConstraints))
		case busy || l != nil && l.out >= p.limits.Outgoing:
			p.repairs++
			p.note(r, waitsForSlots)
		default:
			p.repairs++
			p.change(at, Operator{Add: []StoreID{id}, NonVoting: true}, fmt.Sprintf("%d of %d non-voting replicas", len(stay), c.NonVoters), &rejected)
		}
		return true
	}
	if unmet := p.unmet(c.nvNeeds, stay); unmet != nil {
		if id, busy := p.choose(r, nil, p.narrowed(c, stay), all, nil, nil); id != 0 && !busy {
			for _, v := range stay {
				if p.missing(c.nvNeeds, append(without(stay, v), id)) < p.missing(c.nvNeeds, stay) {
					p.repairs++
					p.change(at, Operator{Remove: []StoreID{v}}, fmt.Sprintf("%s wants %s for replicas without a vote", c.Owner(), unmet), nil)
					return true
				}
			}
		}
		p.note(r, c.lacking(fmt.Sprintf("%s wants %s for replicas without a vote, and no node there is free", c.Owner(), unmet), OptNonVoterConstraints))
		return true
	}
	return false
}

// narrowed returns the stores that may get a replica without a vote: those that a need asks for, as long as one is unmet.
func (p *planner) narrowed(c *compiledRule, have []StoreID) []bool {
	unmet := p.unmet(c.nvNeeds, have)
	if unmet == nil {
		return c.nvAllowed
	}
	out := make([]bool, len(p.stores))
	for i := range out {
		out[i] = c.nvAllowed[i] && unmet.member[i]
	}
	return out
}
