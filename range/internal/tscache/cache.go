package tscache

import (
	"bytes"
	"maps"
	"sync"

	"github.com/cespare/xxhash/v2"
	"github.com/tidwall/btree"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Limits bounds one page of a Cache. Zero fields mean the defaults.
type Limits struct {
	Points    int // default 32768
	Segments  int // default 4096
	SpanBytes int // bytes of segment keys, default 512 KiB
}

func (l Limits) orDefaults() Limits {
	if l.Points <= 0 {
		l.Points = 32 << 10
	}
	if l.Segments <= 0 {
		l.Segments = 4 << 10
	}
	if l.SpanBytes <= 0 {
		l.SpanBytes = 512 << 10
	}
	return l
}

// read is the highest read of something: when, and by whom if by one transaction alone.
type read struct {
	ts  hlc.Timestamp
	txn kv.TxnID // zero: several, or nobody in particular
}

// merge returns what is known after both reads.
func merge(a, b read) read {
	switch a.ts.Compare(b.ts) {
	case 1:
		return a
	case -1:
		return b
	}
	if a.txn != b.txn {
		a.txn = kv.TxnID{}
	}
	return a
}

// seenBy is the answer that the read gives to a transaction that wants to write.
func (r read) seenBy(id kv.TxnID) hlc.Timestamp {
	if !id.IsZero() && r.txn == id {
		// Reads by others below ts may have been absorbed: Prev is above all of them.
		return r.ts.Prev()
	}
	return r.ts
}

// segment is one of the disjoint pieces of the spans read.
type segment struct {
	start, end []byte
	read
}

type page struct {
	points   map[uint64]read
	spans    *btree.BTreeG[*segment]
	bytes    int
	maxPoint read          // the highest of all points, for Gets of a span
	max      hlc.Timestamp // of everything in the page
}

func (p *page) full(l Limits) bool {
	return len(p.points) >= l.Points || (p.spans != nil && (p.spans.Len() >= l.Segments || p.bytes >= l.SpanBytes))
}

func (p *page) clone() *page {
	c := *p
	c.points = maps.Clone(p.points)
	if p.spans != nil {
		c.spans = newTree()
		p.spans.Scan(func(s *segment) bool {
			n := *s
			c.spans.Set(&n)
			return true
		})
	}
	return &c
}

func newTree() *btree.BTreeG[*segment] {
	return btree.NewBTreeGOptions(func(a, b *segment) bool { return bytes.Compare(a.start, b.start) < 0 },
		btree.Options{NoLocks: true, Degree: 16})
}

// hash of a point: the same in every process, since a leader hands its points to the next. Collisions that somebody
// looks for make writes come later than they need, and no more.
func hash(key []byte) uint64 { return xxhash.Sum64(key) }

// Cache is a range's timestamp cache.
type Cache struct {
	limits Limits

	mu    sync.Mutex
	floor hlc.Timestamp
	cur   *page // nil before the first read
	old   *page // nil until the first rotation
}

// New returns an empty cache: everything counts as read at floor, by nobody in particular.
func New(floor hlc.Timestamp) *Cache { return NewWithLimits(floor, Limits{}) }

// NewWithLimits is New with other bounds.
func NewWithLimits(floor hlc.Timestamp, l Limits) *Cache {
	return &Cache{limits: l.orDefaults(), floor: floor}
}

// SetFloor declares that anything may have been read up to ts. A floor below the present one changes nothing.
func (c *Cache) SetFloor(ts hlc.Timestamp) {
	c.mu.Lock()
	c.floor = c.floor.Forward(ts)
	c.mu.Unlock()
}

// Floor returns the timestamp up to which everything counts as read.
func (c *Cache) Floor() hlc.Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.floor
}

// High returns a timestamp at or above every read known.
func (c *Cache) High() hlc.Timestamp {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.high()
}

// high is High; c.mu is held.
func (c *Cache) high() hlc.Timestamp {
	h := c.floor
	for _, p := range [2]*page{c.cur, c.old} {
		if p != nil {
			h = h.Forward(p.max)
		}
	}
	return h
}

// Rest gives the memory of a cache back in which nothing was read later than before: everything counts as read then. It
// reports whether it did.
func (c *Cache) Rest(before hlc.Timestamp) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.high()
	if before.Less(h) {
		return false
	}
	c.floor, c.cur, c.old = h, nil, nil
	return true
}

// Absorb makes c know at least what o knows (a merge of ranges): it raises the floor.
func (c *Cache) Absorb(o *Cache) { c.SetFloor(o.High()) }

// Copy returns a cache that knows what c knows, for the new half of a split. Points are
// known by hash only, so both halves keep all of them.
func (c *Cache) Copy() *Cache {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &Cache{limits: c.limits, floor: c.floor}
	if c.cur != nil {
		n.cur = c.cur.clone()
	}
	if c.old != nil {
		n.old = c.old.clone()
	}
	return n
}

// SplitAt returns the cache of [key, ...) and keeps what c knows. It is a Copy: knowing too
// much is allowed and fades with the pages.
func (c *Cache) SplitAt(keys.Key) *Cache { return c.Copy() }

// Add implements eval.TimestampCache.
func (c *Cache) Add(span keys.Span, ts hlc.Timestamp, txn kv.TxnID) {
	r := read{ts: ts, txn: txn}
	if span.IsPoint() {
		h := hash(span.Start)
		c.mu.Lock()
		if c.floor.Less(ts) {
			c.addPoint(h, r)
		}
		c.mu.Unlock()
		return
	}
	c.mu.Lock()
	if c.floor.Less(ts) {
		c.addSpan(span, r)
	}
	c.mu.Unlock()
}

// addPoint records a read of the key with that hash; c.mu is held.
func (c *Cache) addPoint(h uint64, r read) {
	p := c.cur
	if p == nil {
		p = c.pageWithRoom()
	}
	if known, ok := p.points[h]; ok {
		r = merge(known, r)
	} else {
		p = c.pageWithRoom()
	}
	if p.points == nil {
		p.points = make(map[uint64]read)
	}
	p.points[h] = r
	p.maxPoint = merge(p.maxPoint, r)
	p.max = p.max.Forward(r.ts)
}

// addSpan records a read of a span; c.mu is held.
func (c *Cache) addSpan(span keys.Span, r read) {
	p := c.pageWithRoom()
	p.addSpan(span.Start, span.End, r)
	p.max = p.max.Forward(r.ts)
}

// pageWithRoom rotates the pages if the current one is full; c.mu is held.
func (c *Cache) pageWithRoom() *page {
	switch {
	case c.cur == nil:
		c.cur = &page{}
	case c.cur.full(c.limits):
		if c.old != nil {
			c.floor = c.floor.Forward(c.old.max)
		}
		c.old, c.cur = c.cur, &page{}
	}
	return c.cur
}

// Get implements eval.TimestampCache.
func (c *Cache) Get(span keys.Span, txn kv.TxnID) hlc.Timestamp {
	var h uint64
	point := span.IsPoint()
	if point {
		h = hash(span.Start)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	ts := c.floor
	for _, p := range [2]*page{c.cur, c.old} {
		if p == nil || p.max.LessEq(ts) {
			continue
		}
		if point {
			if r, ok := p.points[h]; ok {
				ts = ts.Forward(r.seenBy(txn))
			}
		} else {
			ts = ts.Forward(p.maxPoint.seenBy(txn))
		}
		if p.spans != nil {
			ts = p.getSpan(span, txn, ts)
		}
	}
	return ts
}
