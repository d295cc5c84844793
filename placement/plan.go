package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Plan decides what to do next: see the package comment. A range gets at most one operator.
func Plan(snap Snapshot, rules Rules) Result {
	return ranges(snap).Plan(snap.Moment, rules)
}

// ranges takes the ranges of a snapshot in.
func ranges(snap Snapshot) *Ranges {
	m := NewRanges()
	for i := range snap.Ranges {
		m.Set(snap.Ranges[i])
	}
	return m
}

// Plan decides what to do next with the ranges as they are now.
func (m *Ranges) Plan(now Moment, rules Rules) Result {
	p := newPlanner(m, now, &rules)
	p.repair()
	if p.repairs == 0 {
		p.makeRoom()
		for i := range p.gentle {
			p.occupy(&p.gentle[i])
		}
		if !rules.Limits.Paused {
			p.mergeRanges(now.InFlight)
			p.balanceReplicas()
		}
	}
	p.placeLeaders()
	if !rules.Limits.Paused {
		p.relieve()
		p.balanceLeaders()
	}
	return p.out
}

// maxTiers of a locality are looked at; narrower ones count as one.
const maxTiers = 5

// tierBits is the width of one tier's count in a spread.
const tierBits = 12

// spread says how much of their localities the members of a set share: for each tier the number of pairs with the same
// domain there, the widest tier in the highest bits. Less is better.
type spread uint64

// store is a Store with what the planner counts. Counts follow the plan as it grows.
type store struct {
	Store
	alive, dead bool
	refuses     why    // why it is given no replicas; fine if it takes some
	mayLead     why    // why it is given no leaders; fine if it takes some
	gone        string // why its replicas must leave; empty if they need not
	domain      [maxTiers]int32
	class       int32
	held        *held

	replicas, leaders  int
	bytes, writes, cpu float64
	planned            float64 // bytes that are to come, less those that are to go
	used               float64 // Used, and what the plan adds to it
	settled            answer
	in, out            int
}

// class is the stores of one locality. To rules and to the spread of replicas they are the same.
type class struct {
	stores []int32
	open   int // those that may receive another replica now
}

type planner struct {
	m       *Ranges
	ranges  []Range // the slots of m
	wrong   []int32 // slots of the ranges that are not as their rules want them, by id
	watched []int32 // those with leaders that a rule or clients may want elsewhere, by id
	small   []int32 // those that might be merged with their left neighbours, by id

	now     time.Duration
	rules   *Rules
	limits  *Limits
	stores  []store
	byID    map[StoreID]int32
	dense   []int32 // the same as byID for small ids; -1 for none
	byNode  map[NodeID]int32
	tiers   int
	classes []class
	comp    []compiledRule

	gentle    []Operator // those in flight, or others' changes, less what they have done already: repairs do not wait for them
	inflated  float64    // what ranges are said to take is to be multiplied by it
	repairs   int        // operators for repair that were made or wait for a slot
	transfers int
	mean      struct{ replicas, bytes, writes, leaders, cpu float64 }
	out       Result
}

func newPlanner(m *Ranges, now Moment, rules *Rules) *planner {
	p := &planner{m: m, now: now.Now, rules: rules, limits: &rules.Limits, byID: make(map[StoreID]int32, len(now.Stores)),
		byNode: make(map[NodeID]int32, len(now.Stores))}
	m.plans++
	order := slices.Clone(now.Stores)
	slices.SortFunc(order, func(a, b Store) int { return cmp.Compare(a.ID, b.ID) })
	p.stores = make([]store, len(order))
	for i := range order {
		s := &p.stores[i]
		s.Store = order[i]
		s.judge(p.limits)
		p.byID[s.ID], p.byNode[s.Node] = int32(i), int32(i)
		s.held = m.holdings(s.ID)
		s.replicas, s.leaders, s.bytes = s.held.replicas, s.held.leaders, float64(s.held.bytes)
		s.writes, s.cpu = float64(s.held.writes), float64(s.held.nanocpus)/1e9
		s.used = s.Used
	}
	const maxDense = 1 << 16
	if n := len(order); n > 0 && order[n-1].ID < maxDense {
		p.dense = make([]int32, order[n-1].ID+1)
		for i := range p.dense {
			p.dense[i] = -1
		}
		for i := range order {
			if order[i].ID >= 0 {
				p.dense[order[i].ID] = int32(i)
			}
		}
	}
	p.findDomains()
	p.findInflated()
	p.refresh()
	p.ranges = m.slots
	p.count(now.InFlight)
	return p
}

func (p *planner) touched(i int32) bool { return p.m.touched[i] == p.m.plans }
func (p *planner) touch(i int32)        { p.m.touched[i] = p.m.plans }

// calm reports whether the store has a part in balance.
func (s *store) calm() bool { return !s.Unsteady && !s.Shaken }

// judge says what may be done with the store.
func (s *store) judge(l *Limits) {
	s.alive = s.Silence <= l.AliveWithin
	s.dead = s.Silence > l.DeadAfter
	switch {
	case s.Decommissioning:
		s.refuses, s.mayLead = whyDecommissioning, whyDecommissioning
	case s.Draining:
		s.refuses, s.mayLead = whyDraining, whyDraining
	case !s.alive:
		s.refuses, s.mayLead = whySilent, whySilent
	case s.fill(0) > l.Full:
		s.refuses, s.mayLead = whyFull, whyFull
	case s.fill(0) > l.NearlyFull:
		s.refuses = whyFull
	}
	if s.SlowDisk && s.mayLead == fine {
		s.mayLead = whySlowDisk
	}
	switch {
	case s.dead:
		s.gone = fmt.Sprintf("n%d has been silent for %s", s.Node, s.Silence.Round(time.Second))
	case s.Decommissioning:
		s.gone = fmt.Sprintf("n%d is being decommissioned", s.Node)
	}
}

// fill is the share of the disk that is in use once extra bytes have come.
func (s *store) fill(extra float64) float64 {
	if s.Capacity <= 0 {
		return 0
	}
	return 1 - (float64(s.Free)-extra)/float64(s.Capacity)
}

// index returns the position of a store; -1 for one that is not of the cluster.
func (p *planner) index(id StoreID) int32 {
	if id >= 0 && int(id) < len(p.dense) {
		return p.dense[id]
	}
	if p.dense != nil {
		return -1
	}
	if i, ok := p.byID[id]; ok {
		return i
	}
	return -1
}

// find returns a store; nil for one that is not of the cluster.
func (p *planner) find(id StoreID) *store {
	if i := p.index(id); i >= 0 {
		return &p.stores[i]
	}
	return nil
}

// node returns the node of a store, by which people know it: each has one.
func (p *planner) node(id StoreID) NodeID {
	if s := p.find(id); s != nil {
		return s.Node
	}
	return NodeID(id) // one that has left: the two numbers are given out together
}

// findDomains numbers the failure domains: a domain is a prefix of a locality. A store without a tier shares it with nobody. Then it sorts the
// stores into classes.
func (p *planner) findDomains() {
	ids := map[string]int32{}
	for i := range p.stores {
		s := &p.stores[i]
		for t := range maxTiers {
			if t >= len(s.Locality) {
				s.domain[t] = -int32(i) - 1
				continue
			}
			p.tiers = max(p.tiers, t+1)
			key := strings.Join(s.Locality[:t+1], "\x00")
			if t == maxTiers-1 {
				key = strings.Join(s.Locality, "\x00")
			}
			id, ok := ids[key]
			if !ok {
				id = int32(len(ids))
				ids[key] = id
			}
			s.domain[t] = id
		}
	}
	classes := map[string]int32{}
	for i := range p.stores {
		s := &p.stores[i]
		key, own := strings.Join(s.Locality, "\x00"), len(s.Locality) < p.tiers
		at, ok := classes[key]
		if !ok || own {
			at = int32(len(p.classes))
			classes[key] = at
			p.classes = append(p.classes, class{})
		}
		s.class = at
		c := &p.classes[at]
		c.stores = append(c.stores, int32(i))
		if s.refuses == fine && s.in < p.limits.Incoming {
			c.open++
		}
	}
}

// shares is what two stores have in common.
func (p *planner) shares(a, b *store) (s spread) {
	for t := range p.tiers {
		if a.domain[t] != b.domain[t] {
			break
		}
		s |= 1 << (tierBits * (maxTiers - 1 - t))
	}
	return s
}

// spreadOf adds up what the members of a set share.
func (p *planner) spreadOf(set []StoreID) (sum spread) {
	if p.tiers == 0 {
		return 0
	}
	for i, a := range set {
		sum += p.spreadWith(p.find(a), set[i+1:])
	}
	return sum
}

// spreadWith adds up what s shares with the members of a set.
func (p *planner) spreadWith(s *store, set []StoreID) (sum spread) {
	if s == nil || p.tiers == 0 {
		return 0
	}
	for _, b := range set {
		if o := p.find(b); o != nil && o != s {
			sum += p.shares(s, o)
		}
	}
	return sum
}

// count takes in what the operators under way put on the stores.
func (p *planner) count(inFlight []Operator) {
	for i := range inFlight {
		op := &inFlight[i]
		at, ok := p.m.at[op.Range]
		if !ok {
			continue
		}
		r := &p.ranges[at]
		p.touch(at)
		switch op.Kind {
		case TransferLeader:
			if r.Load.CPU >= heavyCPU {
				for _, id := range [2]StoreID{r.Leader, op.To} {
					if s := p.find(id); s != nil {
						s.settled = no
					}
				}
			}
			p.moveLeader(r, op.To)
			continue
		case MergeRanges:
			if k, ok := p.m.at[op.Right]; ok {
				p.touch(k)
			}
			continue
		}
		// What has come or gone already is counted where it is.
		ahead := *op
		has := func(s StoreID) bool { return slices.Contains(r.Voters, s) || slices.Contains(r.NonVoters, s) }
		ahead.Add = slices.DeleteFunc(slices.Clone(op.Add), has)
		ahead.Remove = slices.DeleteFunc(slices.Clone(op.Remove), func(s StoreID) bool { return !has(s) })
		p.load(r, &ahead)
		if ahead.Gentle {
			p.gentle = append(p.gentle, ahead)
		} else {
			p.occupy(&ahead)
		}
	}
	// Changes that no operator of ours has begun: of the right side of a range that was split meanwhile, or by command. What is to go with them is not known, nor how urgent they are.
	for _, i := range p.wrong {
		if r := &p.ranges[i]; r.Changing && len(r.Learners) > 0 && !p.touched(i) {
			op := Operator{Leader: r.Leader, Add: r.Learners}
			p.load(r, &op)
			p.gentle = append(p.gentle, op)
		}
	}
	n := 0
	for i := range p.stores {
		s := &p.stores[i]
		if s.refuses != fine && s.refuses != whyFull {
			continue
		}
		n++
		p.mean.replicas += float64(s.replicas)
		p.mean.bytes += s.bytes
		p.mean.writes += s.writes
		p.mean.leaders += float64(s.leaders)
		p.mean.cpu += s.cpu
	}
	if n > 0 {
		for _, m := range []*float64{&p.mean.replicas, &p.mean.bytes, &p.mean.writes, &p.mean.leaders, &p.mean.cpu} {
			*m /= float64(n)
		}
	}
}

// occupy counts the replicas that stores send and receive for an operator.
func (p *planner) occupy(op *Operator) {
	for _, id := range op.Add {
		if s := p.find(id); s != nil {
			if s.in++; s.in == p.limits.Incoming && s.refuses == fine {
				p.classes[s.class].open--
			}
		}
		if s := p.find(op.Leader); s != nil {
			s.out++
		}
	}
}

// load counts the replicas that an operator brings and takes.
func (p *planner) load(r *Range, op *Operator) {
	for _, id := range op.Add {
		if s := p.find(id); s != nil {
			s.replicas++
			s.bytes += float64(r.Bytes)
			s.writes += r.Load.WriteBytes
			s.planned += float64(r.Bytes)
		}
	}
	for _, id := range op.Remove {
		if s := p.find(id); s != nil {
			s.replicas--
			s.bytes -= float64(r.Bytes)
			s.writes -= r.Load.WriteBytes
			s.planned -= float64(r.Bytes)
		}
	}
}

func (p *planner) moveLeader(r *Range, id StoreID) {
	from, to := p.find(r.Leader), p.find(id)
	if from != nil {
		from.leaders--
		from.cpu -= r.Load.CPU
	}
	if to != nil {
		to.leaders++
		to.cpu += r.Load.CPU
	}
	if from != nil && to != nil && from != to {
		relief, growth := p.shift(r, from, to)
		from.used -= relief
		to.used += growth
	}
}

// change emits a replica change of the range at position i.
func (p *planner) change(i int32, op Operator, why string, rejected *rejections) {
	r := &p.ranges[i]
	op.Kind, op.Range, op.Generation, op.Leader = ChangeReplicas, r.ID, r.Generation, r.Leader
	op.Why, op.Rejected = why, rejected.list(op.Add...)
	p.touch(i)
	p.load(r, &op)
	p.occupy(&op)
	p.out.Operators = append(p.out.Operators, op)
}

// transfer emits a transfer of leadership.
func (p *planner) transfer(i int32, to StoreID, why string, rejected *rejections) {
	r := &p.ranges[i]
	p.touch(i)
	p.transfers++
	p.moveLeader(r, to)
	p.out.Operators = append(p.out.Operators, Operator{Kind: TransferLeader, Range: r.ID, Generation: r.Generation, Leader: r.Leader,
		To: to, Why: why, Rejected: rejected.list(to)})
}

func (p *planner) mayTransfer() bool {
	return p.transfers < max(8, p.limits.Transfers*len(p.stores))
}

// note emits a finding.
func (p *planner) note(r *Range, why string) {
	p.out.Findings = append(p.out.Findings, Finding{Range: r.ID, Why: why})
}

// fuller orders stores by how much is on them.
func (p *planner) fuller(s *store) float64 {
	f := float64(s.replicas)
	if p.mean.replicas > 0 {
		f /= p.mean.replicas
	}
	if p.mean.bytes > 0 {
		f += s.bytes / p.mean.bytes / 2
	}
	return f
}

// without returns the set less some, in fresh memory.
func without(set []StoreID, less ...StoreID) []StoreID {
	out := make([]StoreID, 0, len(set)+1)
	for _, s := range set {
		if !slices.Contains(less, s) {
			out = append(out, s)
		}
	}
	return out
}
