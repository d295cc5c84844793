package tscache

import (
	"bytes"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// getSpan returns the later of ts and what the segments overlapping span answer.
func (p *page) getSpan(span keys.Span, txn kv.TxnID, ts hlc.Timestamp) hlc.Timestamp {
	pivot := segment{start: span.Start}
	p.spans.Descend(&pivot, func(s *segment) bool { // the one that begins at or before
		if bytes.Compare(s.end, span.Start) > 0 {
			ts = ts.Forward(s.seenBy(txn))
		}
		return false
	})
	if span.IsPoint() {
		return ts
	}
	p.spans.Ascend(&pivot, func(s *segment) bool {
		if bytes.Compare(s.start, span.End) >= 0 {
			return false
		}
		ts = ts.Forward(s.seenBy(txn))
		return true
	})
	return ts
}

// addSpan records r for [start, end), keeping segments disjoint and maximal.
func (p *page) addSpan(start, end []byte, r read) {
	if p.spans == nil {
		p.spans = newTree()
	}
	var hit []*segment
	pivot := segment{start: start}
	p.spans.Descend(&pivot, func(s *segment) bool {
		if bytes.Compare(s.end, start) > 0 {
			hit = append(hit, s)
		}
		return false
	})
	p.spans.Ascend(&pivot, func(s *segment) bool {
		if bytes.Compare(s.start, end) >= 0 {
			return false
		}
		if len(hit) == 0 || hit[0] != s {
			hit = append(hit, s)
		}
		return true
	})
	if len(hit) == 1 && bytes.Equal(hit[0].start, start) && bytes.Equal(hit[0].end, end) {
		hit[0].read = merge(hit[0].read, r) // the same scan again
		return
	}
	if len(hit) == 0 {
		p.insert(&segment{start: bytes.Clone(start), end: bytes.Clone(end), read: r})
		return
	}

	// Rebuild what lies between the first and the last segment that was hit.
	var out []*segment
	push := func(a, b []byte, v read) {
		if bytes.Compare(a, b) >= 0 {
			return
		}
		if n := len(out); n > 0 && out[n-1].read == v && bytes.Equal(out[n-1].end, a) {
			out[n-1].end = b
			return
		}
		out = append(out, &segment{start: a, end: b, read: v})
	}
	start, end = bytes.Clone(start), bytes.Clone(end)
	at := start
	for _, s := range hit {
		p.spans.Delete(s)
		p.bytes -= len(s.start) + len(s.end)
		if bytes.Compare(s.start, start) < 0 {
			push(s.start, start, s.read)
		}
		lo, hi := maxKey(s.start, start), minKey(s.end, end)
		push(at, lo, r) // the gap before this segment
		push(lo, hi, merge(s.read, r))
		at = hi
		if bytes.Compare(s.end, end) > 0 {
			push(end, s.end, s.read)
			at = s.end
		}
	}
	push(at, end, r)
	for _, s := range out {
		p.insert(s)
	}
}

func (p *page) insert(s *segment) {
	p.spans.Set(s)
	p.bytes += len(s.start) + len(s.end)
}

func maxKey(a, b []byte) []byte {
	if bytes.Compare(a, b) >= 0 {
		return a
	}
	return b
}

func minKey(a, b []byte) []byte {
	if bytes.Compare(a, b) <= 0 {
		return a
	}
	return b
}
