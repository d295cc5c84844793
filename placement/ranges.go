package placement

import (
	"cmp"
	"math"
	"reflect"
	"slices"
)

// Ranges are the ranges of a cluster, kept from one plan to the next together with what a plan needs of all of them: sums and
// lists by store, and which ranges are not as their rules want them. What has changed is told by Set and Remove; a plan then costs what
// has changed and what is to be done, not what there is.
//
// A plan made of ranges that were kept is the one that Plan makes of them from scratch: Plan is the twin that tests compare
// with. For that nothing here depends on the order in which things were told: sums are of integers, and lists are in the order of ids.
//
// It is for one goroutine.
type Ranges struct {
	at    map[RangeID]int32 // to the slots
	slots []Range
	flags []flag
	// touched is the number of the last plan that decided something about the range.
	touched []uint32
	free    []int32
	freed   []int32 // since the last plan: until then lists may still name them

	dense []*held // by store
	rest  map[StoreID]*held

	stale   []int32 // slots that are to be judged anew
	wrong   marked  // not as the rule wants them
	watched marked  // with leaders that a rule or clients may want elsewhere
	small   marked  // that might be merged with their left neighbours

	// What the judgements and the compiled rules depend on.
	rules  Rules
	stores []standing
	comp   []compiledRule
	plans  uint32
}

// flag bits of a slot.
type flag uint8

const (
	isStale   flag = 1 << iota // listed in stale
	isWrong                    // to be in wrong
	inWrong                    // listed there
	isWatched                  // to be in watched
	inWatched                  // listed there
	isSmall                    // to be in small
	inSmall                    // listed there
)

// held is what is on a store.
type held struct {
	replicas, leaders       int
	bytes, writes, nanocpus int64
	on                      []int32 // slots of the ranges with a voter here, by id
	led                     []int32 // slots of the ranges led here, by id
}

// standing is what judgements of ranges take a store for.
type standing struct {
	id          StoreID
	refuses     why
	alive, gone bool
	locality    []string
}

// marked lists slots in the order of the ids of their ranges.
type marked struct {
	is, in flag
	order  []int32
	fresh  []int32 // listed, and not yet in order
	left   bool    // some in order are not marked any more
}

// NewRanges returns none.
func NewRanges() *Ranges {
	return &Ranges{at: map[RangeID]int32{}, rest: map[StoreID]*held{},
		wrong: marked{is: isWrong, in: inWrong}, watched: marked{is: isWatched, in: inWatched},
		small: marked{is: isSmall, in: inSmall}}
}

// Len is the number of ranges.
func (m *Ranges) Len() int { return len(m.at) }

// Each calls f for every range, in no order.
func (m *Ranges) Each(f func(r *Range)) {
	for _, i := range m.at {
		f(&m.slots[i])
	}
}

// Get returns a range as it was set.
func (m *Ranges) Get(id RangeID) (Range, bool) {
	i, ok := m.at[id]
	if !ok {
		return Range{}, false
	}
	return m.slots[i], true
}

// Set adds a range or replaces what was known of it. The slices of r belong to m from then on. It is quickest for new ranges in the
// order of their ids.
func (m *Ranges) Set(r Range) {
	i, known := m.at[r.ID]
	if !known {
		if n := len(m.free); n > 0 {
			i, m.free = m.free[n-1], m.free[:n-1]
			m.slots[i] = r
		} else {
			i = int32(len(m.slots))
			m.slots, m.flags, m.touched = append(m.slots, r), append(m.flags, 0), append(m.touched, 0)
		}
		m.at[r.ID] = i
		m.enlist(i, r.Voters, nil)
		m.lead(i, r.Leader, 0)
	} else {
		old := &m.slots[i]
		m.count(old, -1)
		if !slices.Equal(old.Voters, r.Voters) {
			m.enlist(i, r.Voters, old.Voters)
		}
		m.lead(i, r.Leader, old.Leader)
		*old = r
	}
	m.count(&m.slots[i], 1)
	if m.flags[i]&isStale == 0 {
		m.flags[i] |= isStale
		m.stale = append(m.stale, i)
	}
}

// Remove forgets a range.
func (m *Ranges) Remove(id RangeID) {
	i, ok := m.at[id]
	if !ok {
		return
	}
	r := &m.slots[i]
	m.count(r, -1)
	m.enlist(i, nil, r.Voters)
	m.lead(i, 0, r.Leader)
	delete(m.at, id)
	m.freed = append(m.freed, i)
	m.wrong.mark(m, i, false)
	m.watched.mark(m, i, false)
	m.small.mark(m, i, false)
}

// holdings returns what is on a store.
func (m *Ranges) holdings(id StoreID) *held {
	const maxDense = 1 << 16
	if id < 0 || id >= maxDense {
		h := m.rest[id]
		if h == nil {
			h = &held{}
			m.rest[id] = h
		}
		return h
	}
	if int(id) >= len(m.dense) {
		m.dense = append(m.dense, make([]*held, int(id)+1-len(m.dense))...)
	}
	if m.dense[id] == nil {
		m.dense[id] = &held{}
	}
	return m.dense[id]
}

// count adds a range to the sums of the stores it is on, or with sign -1 takes it away.
func (m *Ranges) count(r *Range, sign int64) {
	writes := sign * int64(math.Round(r.Load.WriteBytes))
	for _, set := range [2][]StoreID{r.Voters, r.NonVoters} {
		for _, id := range set {
			h := m.holdings(id)
			h.replicas += int(sign)
			h.bytes += sign * r.Bytes
			h.writes += writes
		}
	}
	if r.Leader != 0 {
		h := m.holdings(r.Leader)
		h.leaders += int(sign)
		h.nanocpus += sign * int64(math.Round(r.Load.CPU*1e9))
	}
}

// enlist lists slot i by the stores of its voters, and no longer by those it had before.
func (m *Ranges) enlist(i int32, voters, before []StoreID) {
	for _, id := range before {
		if !slices.Contains(voters, id) {
			h := m.holdings(id)
			h.on = m.delist(h.on, i)
		}
	}
	for _, id := range voters {
		if !slices.Contains(before, id) {
			h := m.holdings(id)
			h.on = m.insert(h.on, i)
		}
	}
}

func (m *Ranges) lead(i int32, leader, before StoreID) {
	if leader == before {
		return
	}
	if before != 0 {
		h := m.holdings(before)
		h.led = m.delist(h.led, i)
	}
	if leader != 0 {
		h := m.holdings(leader)
		h.led = m.insert(h.led, i)
	}
}

func (m *Ranges) place(list []int32, i int32) (int, bool) {
	id := m.slots[i].ID
	if n := len(list); n == 0 || m.slots[list[n-1]].ID < id {
		return n, false
	}
	return slices.BinarySearchFunc(list, id, func(j int32, id RangeID) int { return cmp.Compare(m.slots[j].ID, id) })
}

func (m *Ranges) insert(list []int32, i int32) []int32 {
	if k, found := m.place(list, i); !found {
		list = slices.Insert(list, k, i)
	}
	return list
}

func (m *Ranges) delist(list []int32, i int32) []int32 {
	if k, found := m.place(list, i); found {
		list = slices.Delete(list, k, k+1)
	}
	return list
}

// mark lists a slot or not.
func (l *marked) mark(m *Ranges, i int32, is bool) {
	switch f := m.flags[i]; {
	case is && f&l.in == 0:
		m.flags[i] |= l.is | l.in
		l.fresh = append(l.fresh, i)
	case is:
		m.flags[i] |= l.is
	case f&l.is != 0:
		m.flags[i] &^= l.is
		l.left = true
	}
}

// list returns the marked slots in order. It is good until the next mark.
func (l *marked) list(m *Ranges) []int32 {
	if l.left {
		unmarked := func(i int32) bool {
			if m.flags[i]&l.is == 0 {
				m.flags[i] &^= l.in
				return true
			}
			return false
		}
		l.order, l.fresh, l.left = slices.DeleteFunc(l.order, unmarked), slices.DeleteFunc(l.fresh, unmarked), false
	}
	if len(l.fresh) > 0 {
		slices.SortFunc(l.fresh, m.byID)
		a, b := len(l.order)-1, len(l.fresh)-1
		l.order = append(l.order, l.fresh...)
		for to := len(l.order) - 1; b >= 0; to-- { // the larger one first, from behind
			if a >= 0 && m.byID(l.order[a], l.fresh[b]) > 0 {
				l.order[to] = l.order[a]
				a--
			} else {
				l.order[to] = l.fresh[b]
				b--
			}
		}
		l.fresh = l.fresh[:0]
	}
	return l.order
}

func (m *Ranges) byID(a, b int32) int { return cmp.Compare(m.slots[a].ID, m.slots[b].ID) }

// refresh judges the ranges that have changed, or all if the rules or the stores have. It returns the compiled rules.
func (p *planner) refresh() {
	m := p.m
	now := make([]standing, len(p.stores))
	for i := range p.stores {
		s := &p.stores[i]
		now[i] = standing{s.ID, s.refuses, s.alive, s.gone != "", s.Locality}
	}
	same := slices.EqualFunc(now, m.stores, func(a, b standing) bool {
		return a.id == b.id && a.refuses == b.refuses && a.alive == b.alive && a.gone == b.gone && slices.Equal(a.locality, b.locality)
	})
	if same = same && m.comp != nil && reflect.DeepEqual(m.rules, *p.rules); !same {
		m.stores, m.rules = now, *p.rules
		m.rules.Special = slices.Clone(p.rules.Special)
		m.comp = make([]compiledRule, 0, 1+len(m.rules.Special))
		m.comp = append(m.comp, p.compile(&m.rules.Default))
		for i := range m.rules.Special {
			m.comp = append(m.comp, p.compile(&m.rules.Special[i]))
		}
	}
	p.comp = m.comp
	if same {
		for _, i := range m.stale {
			p.judgeRange(i)
		}
	} else {
		for _, i := range m.at {
			p.judgeRange(i)
		}
	}
	for _, i := range m.stale {
		m.flags[i] &^= isStale
	}
	m.stale = m.stale[:0]
	p.wrong, p.watched, p.small = m.wrong.list(m), m.watched.list(m), m.small.list(m)
	for _, i := range m.freed {
		m.slots[i], m.touched[i] = Range{}, 0
	}
	m.free, m.freed = append(m.free, m.freed...), m.freed[:0]
}

func (p *planner) judgeRange(i int32) {
	m := p.m
	r := &m.slots[i]
	if at, ok := m.at[r.ID]; !ok || at != i {
		return // removed
	}
	c := p.rule(r)
	m.wrong.mark(m, i, !p.asWanted(r, c))
	m.watched.mark(m, i, len(c.LeaderPreference) > 0 || r.rate() >= p.limits.FollowRate)
	m.small.mark(m, i, r.Left != 0 && r.Bytes <= p.limits.MergeBytes)
}

// rate is the number of requests per second whose origin is known.
func (r *Range) rate() (sum float64) {
	for i := range r.From {
		sum += r.From[i].Requests
	}
	return sum
}
