package store

import (
	"sync"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/replica"
	"github.com/pamirdb/pamir/range/internal/rest"
	"github.com/pamirdb/pamir/range/kv"
)

// resting says what is closed in the ranges at rest that this store leads, and hears what others say of theirs (package rest).
//
// The timestamp that is told must be one at which every leader of the set could serve a read of its whole range (rule R7 of package
// liveness), and to ask each of them at every heartbeat would cost what is to be saved. A lease depends on the promises of other
// stores, so it is these that are watched: as long as the promise of a store stands, under the same epoch, and reaches far enough, no
// lease of the set has become worse on its account. When that ends, the ranges with a replica there are looked at, and those whose
// lease does not outlast the timestamp without it leave the set.
type resting struct {
	mu     sync.Mutex
	teller *rest.Teller
	told   hlc.Timestamp // the latest that was told
	// counted has the epochs under which promises have been counted on; 0 for a store without one that reaches.
	counted map[kv.StoreID]uint64

	hearing sync.Mutex // guards hearer, and is held while what it heard is passed on
	hearer  *rest.Hearer
}

func (x *resting) init(session uint64) {
	x.teller, x.hearer, x.counted = rest.NewTeller(session), rest.NewHearer(), map[kv.StoreID]uint64{}
}

func (o *owner) Rest(r *replica.Replica, index uint64, ok func() bool) bool {
	x := &o.resting
	x.mu.Lock()
	defer x.mu.Unlock()
	// Whatever is told next is below the clock.
	if !r.Outlasts(o.clock.Now().Add(o.clock.MaxOffset())) || !ok() {
		return false
	}
	x.teller.Join(r.ID(), index)
	return true
}

func (o *owner) Stir(r *replica.Replica) {
	x := &o.resting
	x.mu.Lock()
	defer x.mu.Unlock()
	x.teller.Leave(r.ID())
	r.Stirred(x.told)
}

// tellClosed adds what is closed in ranges at rest to the heartbeats.
func (s *Store) tellClosed(hs []*Heartbeat) {
	if len(hs) == 0 {
		return
	}
	x := &s.resting
	x.mu.Lock()
	defer x.mu.Unlock()
	now := s.clock.Now()
	if s.support.MayServe(now) != nil {
		return
	}
	stores := make([]kv.StoreID, 0, len(hs))
	for _, h := range hs {
		stores = append(stores, h.ToStore)
	}
	var lost []turn
	for _, r := range s.unsupported(stores, now.Add(s.clock.MaxOffset())) {
		x.teller.Leave(r.ID())
		r.Stirred(x.told)
		lost = append(lost, turn{r, event{store: s.id.StoreID}}) // woken, it will come to rest again if it can
	}
	if len(lost) > 0 {
		s.turns.add(lost)
	}
	ts := hlc.Timestamp{WallTime: now.WallTime - int64(s.cfg.Knobs.ClosedLag)}
	x.told = x.told.Forward(ts)
	x.teller.Trim(stores)
	for _, h := range hs {
		h.Rest = x.teller.Tell(h.ToStore, ts, func(id kv.RangeID) bool {
			r := s.replica(id)
			if r == nil {
				return false
			}
			d := r.Desc()
			if d == nil {
				return false
			}
			_, there := d.ReplicaOn(h.ToStore)
			return there
		})
	}
}

// unsupported returns the ranges of the set whose support does not reach beyond limit. It looks at them only if a promise that was
// counted on before has ended or begun anew. resting.mu is held.
func (s *Store) unsupported(stores []kv.StoreID, limit hlc.Timestamp) (lost []*replica.Replica) {
	x := &s.resting
	changed := false
	for _, st := range stores {
		epoch, until := s.support.SupportFrom(st)
		if !limit.Less(until) {
			epoch = 0
		}
		if x.counted[st] != epoch {
			x.counted[st], changed = epoch, true
		}
	}
	if !changed {
		return nil
	}
	x.teller.Each(func(id kv.RangeID) {
		if r := s.replica(id); r != nil && !r.Outlasts(limit) {
			lost = append(lost, r)
		}
	})
	return lost
}

// hearClosed takes in what another store says, and returns what to answer.
func (s *Store) hearClosed(from kv.StoreID, u *rest.Update) rest.Ack {
	if u.Session == 0 {
		return rest.Ack{}
	}
	x := &s.resting
	x.hearing.Lock()
	defer x.hearing.Unlock()
	return x.hearer.Hear(from, u, (*covered)(s))
}

// covered passes on to replicas what was heard.
type covered Store

func (c *covered) Cover(id kv.RangeID, index uint64, cov *rest.Coverage) {
	if r := (*Store)(c).replica(id); r != nil {
		r.Cover(index, cov)
	}
}

func (c *covered) Uncover(id kv.RangeID, cov *rest.Coverage) {
	if r := (*Store)(c).replica(id); r != nil {
		r.Uncover(cov)
	}
}

// answerClosed adds the answer to what was heard with h to the answers to it.
func (s *Store) answerClosed(h *Heartbeat, answers []*Heartbeat) {
	if h.Answer {
		x := &s.resting
		x.mu.Lock()
		x.teller.Acked(h.FromStore, h.Heard)
		x.mu.Unlock()
		return
	}
	ack := s.hearClosed(h.FromStore, &h.Rest)
	for _, a := range answers {
		if a.Answer && a.ToStore == h.FromStore {
			a.Heard = ack
		}
	}
}
