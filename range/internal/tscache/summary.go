package tscache

import (
	"slices"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Summary is what a leader tells its successor of the reads that it has served: nobody may write at or below Floor, nor
// under one of the reads.
type Summary struct {
	Floor  hlc.Timestamp
	Points []Point
	Spans  []SpanRead
}

// Point is a read of one key, by its hash.
type Point struct {
	Hash uint64
	TS   hlc.Timestamp
	Txn  kv.TxnID
}

// SpanRead is a read of a span.
type SpanRead struct {
	Span keys.Span
	TS   hlc.Timestamp
	Txn  kv.TxnID
}

// Summarize returns what the cache knows, leaving out what is at or below floor and the oldest beyond the
// limits: the floor of the summary covers them.
func (c *Cache) Summarize(floor hlc.Timestamp, l Limits) Summary {
	l = l.orDefaults()
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Summary{Floor: c.floor.Forward(floor)}
	for _, p := range [2]*page{c.old, c.cur} {
		if p == nil || p.max.LessEq(s.Floor) {
			continue
		}
		for h, r := range p.points {
			if s.Floor.Less(r.ts) {
				s.Points = append(s.Points, Point{Hash: h, TS: r.ts, Txn: r.txn})
			}
		}
		if p.spans == nil {
			continue
		}
		p.spans.Scan(func(g *segment) bool {
			if s.Floor.Less(g.ts) {
				s.Spans = append(s.Spans, SpanRead{Span: keys.Span{Start: g.start, End: g.end}, TS: g.ts, Txn: g.txn})
			}
			return true
		})
	}
	if len(s.Points) > l.Points {
		slices.SortFunc(s.Points, func(a, b Point) int { return b.TS.Compare(a.TS) })
		s.Floor = s.Floor.Forward(s.Points[l.Points].TS)
		s.Points = s.Points[:l.Points]
	}
	slices.SortFunc(s.Spans, func(a, b SpanRead) int { return b.TS.Compare(a.TS) })
	bytes := 0
	for i, r := range s.Spans {
		if bytes += len(r.Span.Start) + len(r.Span.End); i >= l.Segments || bytes > l.SpanBytes {
			s.Floor = s.Floor.Forward(r.TS)
			s.Spans = s.Spans[:i]
			break
		}
	}
	return s
}

// Learn makes c know at least what the summary says. It keeps no memory of s.
func (c *Cache) Learn(s *Summary) {
	c.SetFloor(s.Floor)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, x := range s.Points {
		if c.floor.Less(x.TS) {
			c.addPoint(x.Hash, read{ts: x.TS, txn: x.Txn})
		}
	}
	for _, x := range s.Spans {
		if c.floor.Less(x.TS) {
			c.addSpan(x.Span, read{ts: x.TS, txn: x.Txn})
		}
	}
}
