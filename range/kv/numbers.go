package kv

import (
	"encoding/binary"
	"fmt"
)

// NumberRule says which numbers a sequence hands out, one after the other.
type NumberRule struct {
	Start, By, Min, Max int64
	Cycle               bool // at the end it begins again at the other one
}

// NumberState is what is stored of a sequence: the last number taken or, if Taken is false, the next one.
type NumberState struct {
	Last  int64
	Taken bool
}

// Append appends the stored form.
func (s NumberState) Append(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(s.Last))
	if s.Taken {
		return append(b, 1)
	}
	return append(b, 0)
}

// DecodeNumberState reads what Append wrote.
func DecodeNumberState(b []byte) (NumberState, error) {
	if len(b) != 9 || b[8] > 1 {
		return NumberState{}, fmt.Errorf("kv: %x is not the state of a sequence", b)
	}
	return NumberState{Last: int64(binary.BigEndian.Uint64(b)), Taken: b[8] == 1}, nil
}

// next is the number after v; ok is false at the end of a sequence that does not cycle.
func (r *NumberRule) next(v int64) (_ int64, ok bool) {
	n := v + r.By
	switch {
	case r.By > 0 && (n > r.Max || n < v):
		return r.Min, r.Cycle
	case r.By < 0 && (n < r.Min || n > v):
		return r.Max, r.Cycle
	}
	return n, true
}

// Follows reports whether b comes after a, without having begun again in between.
func (r *NumberRule) Follows(a, b int64) bool { return a != b && (b > a) == (r.By > 0) }

// Take takes up to want numbers, first and those that follow it, and returns the state after them. n is 0 if there are none left. It stops at
// the end of a sequence that cycles: what follows begins with another call.
func (r *NumberRule) Take(s NumberState, want int64) (first, n int64, after NumberState) {
	first = s.Last
	if s.Taken {
		var ok bool
		if first, ok = r.next(s.Last); !ok {
			return 0, 0, s
		}
	}
	last := first
	for n = 1; n < want; n++ {
		v, ok := r.next(last)
		if !ok || !r.Follows(last, v) {
			break
		}
		last = v
	}
	return first, n, NumberState{Last: last, Taken: true}
}
