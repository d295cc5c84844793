package hlc

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Timestamp is a point in hybrid logical time. The zero Timestamp means "none"
// and is before every other. Timestamps are compared field by field, WallTime first.
type Timestamp struct {
	// WallTime is nanoseconds since the Unix epoch; never negative.
	WallTime int64
	// Logical orders events within one WallTime.
	Logical uint32
}

// Max is after every timestamp that a clock will hand out.
var Max = Timestamp{WallTime: math.MaxInt64, Logical: math.MaxUint32}

// IsEmpty reports whether t is the zero Timestamp.
func (t Timestamp) IsEmpty() bool { return t == Timestamp{} }

// Less reports whether t is before u.
func (t Timestamp) Less(u Timestamp) bool {
	return t.WallTime < u.WallTime || (t.WallTime == u.WallTime && t.Logical < u.Logical)
}

// LessEq reports whether t is u or before it.
func (t Timestamp) LessEq(u Timestamp) bool { return !u.Less(t) }

// Compare returns -1, 0 or +1 as t is before, equal to or after u.
func (t Timestamp) Compare(u Timestamp) int {
	switch {
	case t.Less(u):
		return -1
	case u.Less(t):
		return 1
	}
	return 0
}

// Next returns the smallest timestamp after t.
func (t Timestamp) Next() Timestamp {
	if t.Logical == math.MaxUint32 {
		return Timestamp{WallTime: t.WallTime + 1}
	}
	return Timestamp{WallTime: t.WallTime, Logical: t.Logical + 1}
}

// Prev returns the largest timestamp before t; Prev of the zero Timestamp is itself.
func (t Timestamp) Prev() Timestamp {
	switch {
	case t.Logical > 0:
		return Timestamp{WallTime: t.WallTime, Logical: t.Logical - 1}
	case t.WallTime > 0:
		return Timestamp{WallTime: t.WallTime - 1, Logical: math.MaxUint32}
	}
	return t
}

// Add returns t moved by d with the same Logical part, never below zero.
func (t Timestamp) Add(d time.Duration) Timestamp {
	w := t.WallTime + int64(d)
	if d > 0 && w < t.WallTime { // overflow
		return Max
	}
	if w < 0 {
		return Timestamp{}
	}
	return Timestamp{WallTime: w, Logical: t.Logical}
}

// Forward returns the later of t and u.
func (t Timestamp) Forward(u Timestamp) Timestamp {
	if t.Less(u) {
		return u
	}
	return t
}

// GoTime returns the physical part as a time.Time in UTC.
func (t Timestamp) GoTime() time.Time { return time.Unix(0, t.WallTime).UTC() }

// String prints seconds.nanoseconds,logical: "1700000000.000000001,3".
func (t Timestamp) String() string {
	return fmt.Sprintf("%d.%09d,%d", t.WallTime/1e9, t.WallTime%1e9, t.Logical)
}

// Parse reads what String prints. The logical part may be missing.
func Parse(s string) (Timestamp, error) {
	bad := func() (Timestamp, error) {
		return Timestamp{}, fmt.Errorf("hlc: %q is not a timestamp (want seconds.nanoseconds,logical)", s)
	}
	phys, logical, hasLogical := strings.Cut(s, ",")
	sec, nano, hasNano := strings.Cut(phys, ".")
	sv, err := strconv.ParseInt(sec, 10, 64)
	if err != nil || sv < 0 || sv > math.MaxInt64/1_000_000_000-1 {
		return bad()
	}
	t := Timestamp{WallTime: sv * 1e9}
	if hasNano {
		if len(nano) != 9 {
			return bad()
		}
		nv, err := strconv.ParseUint(nano, 10, 32)
		if err != nil {
			return bad()
		}
		t.WallTime += int64(nv)
	}
	if hasLogical {
		lv, err := strconv.ParseUint(logical, 10, 32)
		if err != nil {
			return bad()
		}
		t.Logical = uint32(lv)
	}
	return t, nil
}

// ErrShort is returned by Decode when the buffer is too short.
var ErrShort = errors.New("hlc: truncated timestamp")

// EncodedLen is the length of the fixed encoding of a Timestamp.
const EncodedLen = 12

// Append appends the fixed 12-byte, big-endian, order-preserving encoding of t.
func (t Timestamp) Append(dst []byte) []byte {
	w := uint64(t.WallTime)
	return append(dst, byte(w>>56), byte(w>>48), byte(w>>40), byte(w>>32), byte(w>>24), byte(w>>16), byte(w>>8), byte(w),
		byte(t.Logical>>24), byte(t.Logical>>16), byte(t.Logical>>8), byte(t.Logical))
}

// Decode reads what Append wrote and returns the rest of the buffer.
func Decode(b []byte) (Timestamp, []byte, error) {
	if len(b) < EncodedLen {
		return Timestamp{}, b, ErrShort
	}
	var w uint64
	for _, c := range b[:8] {
		w = w<<8 | uint64(c)
	}
	var l uint32
	for _, c := range b[8:12] {
		l = l<<8 | uint32(c)
	}
	return Timestamp{WallTime: int64(w), Logical: l}, b[12:], nil
}
