package store

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/kv"
)

// turns are what ranges at rest are woken for, a few at a time.
//
// When a store is lost, or comes back, every range with a leader or a replica there wants an election, or a word from its leader. Those in use are
// told at once. Those at rest, of which there may be tens of thousands, take turns: else a machine whose stores all lost the processor for a second would have them all elect
// together, which takes the processor from the stores again. A range that is asked for something does not wait for its turn (replica.Replica.Asked).
//
// So it is when the store starts: nobody knows a leader then, of any range. Each store wakes first those that it led itself, the oldest ranges before
// the others: those are everybody's, meta and catalog. The rest follow, if nobody has been heard of them.
//
// An election that takes its time holds its turn until it has a leader, or for turnLasts, and few are woken while many wait to be processed: a machine that is slow is given less to do.
type turns struct {
	mu      sync.Mutex
	waiting []turn                // each range once, for each event in the order of their numbers; guarded by mu
	queued  map[kv.RangeID]event  // what waits for a range, the latest; guarded by mu
	taken   map[kv.RangeID]elects // elections under way; guarded by mu
	gait    gait                  // guarded by mu
}

// gait is how many turns may be under way, by how long other stores take to answer heartbeats: support that is about to run out would take with it what has been
// elected. It halves while that takes long, and grows again by and by.
type gait struct {
	limit   int
	changed time.Time
}

const (
	// gaitEvery is how often the limit changes: what it brings is to be seen first.
	gaitEvery = 400 * time.Millisecond
	// lateAnswer: such a part of a promise is long for an answer. One that takes a half leaves the next beat no time.
	lateAnswer = 3
)

// next returns the limit, which is at most most, now that answers take trip, and promises last support.
func (g *gait) next(now time.Time, trip, support time.Duration, most int) int {
	least := max(1, most/leastTurns)
	if g.limit == 0 {
		g.limit = most
	}
	if now.Sub(g.changed) >= gaitEvery {
		switch {
		case trip > support/lateAnswer:
			g.limit, g.changed = max(least, g.limit/2), now
		case g.limit < most:
			g.limit, g.changed = min(most, g.limit+max(1, most/8)), now
		}
	}
	return g.limit
}

// turn is one replica's.
type turn struct {
	r *replica.Replica
	event
}

// event is what has become of a store.
type event struct {
	store kv.StoreID // 0: this one has started, and nobody is known to lead
	// lost: support for the store was withdrawn, so that its ranges want another leader. Otherwise it is there (again), and is to be told or heard.
	lost bool
	// restarted: it is another process by now, which leads nothing until it is elected.
	restarted bool
}

type elects struct {
	turn
	since time.Time
}

// over reports whether the range has another leader, or does not need one.
func (e *elects) over(now time.Time, back bool) bool {
	lead := e.r.LeaderStore()
	return lead != 0 && lead != e.store || back && !e.restarted || now.Sub(e.since) > turnLasts
}

const (
	// maxTurns is how many ranges at rest are woken at a time: a few hundred go without waiting.
	maxTurns  = 512
	turnLasts = 2 * time.Second
	// leastTurns: so large a part of them is woken though the replicas that are awake already keep the store busy.
	leastTurns = 32
)

// limit: see gait.next.
func (q *turns) limit(now time.Time, trip, support time.Duration, most int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.gait.next(now, trip, support, most)
}

// add queues what is to be done for ranges at rest.
func (q *turns) add(ts []turn) {
	slices.SortFunc(ts, func(a, b turn) int { return cmp.Compare(a.r.ID(), b.r.ID()) })
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.queued == nil {
		q.queued, q.taken = map[kv.RangeID]event{}, map[kv.RangeID]elects{}
	}
	for _, t := range ts {
		e, ok := q.queued[t.r.ID()]
		if !ok {
			q.waiting = append(q.waiting, t)
		}
		if e.store != t.store || !e.lost || t.lost { // whether a store that was lost is back is looked at when it is the range's turn
			q.queued[t.r.ID()] = t.event
		}
	}
}

// next returns those whose turn it is, at most limit less the elections that have not come to an end. supported says whether a store is supported now.
func (q *turns) next(now time.Time, limit int, supported func(kv.StoreID) bool) (out []turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		clear(q.taken)
		return nil
	}
	for id, e := range q.taken {
		if e.over(now, supported(e.store)) {
			delete(q.taken, id)
		}
	}
	n, under := 0, len(q.taken)
	for ; n < len(q.waiting) && len(out)+under < limit; n++ {
		id := q.waiting[n].r.ID()
		t := turn{q.waiting[n].r, q.queued[id]}
		delete(q.queued, id)
		if t.lost {
			if lead := t.r.LeaderStore(); lead != 0 && lead != t.store {
				continue // it has found another leader meanwhile
			}
			if t.lost = t.restarted || !supported(t.store); t.lost { // otherwise it is back, and the range may keep its leader
				q.taken[id] = elects{t, now}
			}
		}
		out = append(out, t)
	}
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil // the array may be large
	}
	return out
}

// asleep are the replicas that have slept since the start (replica.AwaitTurn).
type asleep struct{ led, others []turn }

var started = event{lost: true, restarted: true}

func (a *asleep) add(r *replica.Replica, led bool) {
	if t := (turn{r, started}); led {
		a.led = append(a.led, t)
	} else {
		a.others = append(a.others, t)
	}
}

// wakeAsleep gives their turns to those who have slept since the start, once they may stand. Only the tick loop calls it.
func (s *Store) wakeAsleep() {
	if a := &s.asleep; len(a.led)+len(a.others) > 0 && s.support.MayVote() {
		s.turns.add(a.led)
		s.turns.add(a.others)
		*a = asleep{}
	}
}

// news is what has become of other stores and has not been told yet: that is a walk over all replicas, for which neither the beats nor who hears those of others have time.
type news struct {
	mu     sync.Mutex
	events []event // of each store one that is lost, and one that is not; guarded by mu
	some   chan struct{}
}

func (n *news) add(e event) {
	n.mu.Lock()
	if i := slices.IndexFunc(n.events, func(x event) bool { return x.store == e.store && x.lost == e.lost }); i >= 0 {
		n.events[i].restarted = n.events[i].restarted || e.restarted
	} else {
		n.events = append(n.events, e)
	}
	n.mu.Unlock()
	poke(n.some)
}

// take returns what came first, and takes it out.
func (n *news) take() (e event, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.events) == 0 {
		return e, false
	}
	e = n.events[0]
	n.events = slices.Delete(n.events, 0, 1)
	return e, true
}

func (s *Store) newsLoop() {
	for {
		select {
		case <-s.news.some:
			for e, ok := s.news.take(); ok && s.ctx.Err() == nil; e, ok = s.news.take() {
				s.tell(e)
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// tell tells all replicas what has become of a store. Only newsLoop calls it.
func (s *Store) tell(e event) {
	var later []turn
	s.each(func(r *replica.Replica) bool {
		quiet, lead := r.Quiet(), r.LeaderStore()
		if quiet && lead == 0 {
			return true // asleep since the start: it follows nobody, and its turn will come
		}
		if e.lost && !quiet {
			r.Withdrawn(e.store) // it knows best whom it follows
			return true
		}
		if lead != e.store {
			if _, leads := r.Serving(); e.lost || !leads || !hasReplica(r, e.store) {
				return true
			}
		}
		if t := (turn{r, e}); quiet {
			later = append(later, t)
		} else {
			t.come()
		}
		return true
	})
	s.turns.add(later)
	s.takeTurns()
}

func hasReplica(r *replica.Replica, st kv.StoreID) bool {
	d := r.Desc()
	if d == nil {
		return false
	}
	_, ok := d.ReplicaOn(st)
	return ok
}

func (t turn) come() {
	if t.lost && t.store != 0 {
		t.r.Withdrawn(t.store)
	} else {
		t.r.Wake()
	}
}

// takeTurns wakes the next ranges at rest.
func (s *Store) takeTurns() {
	supported := func(st kv.StoreID) bool { return s.support.SupportEpoch(st) != 0 }
	limit := s.turns.limit(time.Now(), s.support.answerTime(), s.cfg.Knobs.SupportDuration, s.cfg.Knobs.turns)
	limit = max(1, min(limit, s.cfg.Knobs.turns/leastTurns), limit-s.sched.Queued()) // those who are awake come first
	for _, t := range s.turns.next(time.Now(), limit, supported) {
		t.come()
	}
}
