package rest

import (
	"sync/atomic"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
)

// Coverage is the timestamp that holds for many replicas.
type Coverage struct{ ts atomic.Pointer[hlc.Timestamp] }

// TS returns it.
func (c *Coverage) TS() hlc.Timestamp {
	if ts := c.ts.Load(); ts != nil {
		return *ts
	}
	return hlc.Timestamp{}
}

func (c *Coverage) forward(ts hlc.Timestamp) {
	if c.TS().Less(ts) {
		c.ts.Store(&ts)
	}
}

// Hearer keeps what other stores have told.
type Hearer struct{ from map[kv.StoreID]*source }

type source struct {
	ack Ack
	cov *Coverage
}

// NewHearer returns one that has heard nothing.
func NewHearer() *Hearer { return &Hearer{from: map[kv.StoreID]*source{}} }

// Covered is told which replicas a Coverage holds for.
type Covered interface {
	// Cover: c holds for the replica of the range once it has applied index.
	Cover(id kv.RangeID, index uint64, c *Coverage)
	// Uncover: what c says from now on does not hold for it, if c did; it may be covered by another.
	Uncover(id kv.RangeID, c *Coverage)
}

// Hear takes an update in and returns what to answer.
func (h *Hearer) Hear(from kv.StoreID, u *Update, to Covered) Ack {
	s := h.from[from]
	if s == nil {
		s = &source{}
		h.from[from] = s
	}
	switch {
	case u.Base == 0 && (u.Session != s.ack.Session || u.Number >= s.ack.Number):
		// The whole set. Whoever is covered and not in it stays where the old Coverage is.
		s.cov = &Coverage{}
	case u.Session != s.ack.Session:
		return Ack{Session: u.Session} // from nowhere that is known here
	case u.Base > s.ack.Number || u.Number < s.ack.Number:
		return s.ack // something is missing, or it was overtaken
	}
	for _, id := range u.Stirred {
		to.Uncover(id, s.cov)
	}
	for _, r := range u.Rested {
		to.Cover(r.ID, r.Index, s.cov)
	}
	s.ack = Ack{u.Session, u.Number}
	s.cov.forward(u.TS)
	return s.ack
}
