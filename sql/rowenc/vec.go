package rowenc

import (
	"github.com/cockroachdb/apd/v3"

	"github.com/pamirdb/pamir/sql/types"
)

func notNull(v *types.Vec) {
	v.N++
	if v.HasNulls {
		v.Nulls = append(v.Nulls, false)
	}
}

func appendInt(v *types.Vec, x int64) {
	v.Ints = append(v.Ints, x)
	v.N++
	if v.HasNulls {
		v.Nulls = append(v.Nulls, false)
	}
}

func appendFloat(v *types.Vec, x float64) {
	v.Floats = append(v.Floats, x)
	notNull(v)
}

func appendBytesVec(v *types.Vec, x []byte) {
	v.Bytes = append(v.Bytes, x)
	notNull(v)
}

func appendNull(v *types.Vec) {
	if !v.HasNulls {
		v.HasNulls = true
		v.Nulls = v.Nulls[:0]
		for range v.N {
			v.Nulls = append(v.Nulls, false)
		}
	}
	v.Nulls = append(v.Nulls, true)
	v.N++
	switch v.Repr {
	case types.ReprInt:
		v.Ints = append(v.Ints, 0)
	case types.ReprFloat:
		v.Floats = append(v.Floats, 0)
	case types.ReprBytes:
		v.Bytes = append(v.Bytes, nil)
	case types.ReprDecimal:
		v.Decimals = append(v.Decimals, apd.Decimal{})
	case types.ReprInterval:
		v.Intervals = append(v.Intervals, types.Interval{})
	default:
		v.Anys = append(v.Anys, nil)
	}
}

// arena holds the bytes of decoded values. Chunks are never reused: vectors may be kept.
type arena struct {
	buf   []byte
	alias bool // inputs do not change: no copies
}

const arenaChunk = 16 << 10

func (a *arena) take(n int) []byte {
	if n > cap(a.buf)-len(a.buf) {
		if n > arenaChunk/4 {
			return make([]byte, n)
		}
		a.buf = make([]byte, 0, arenaChunk)
	}
	from := len(a.buf)
	a.buf = a.buf[:from+n]
	return a.buf[from : from+n : from+n]
}

func (a *arena) copy(b []byte) []byte {
	if a.alias {
		return b
	}
	if len(b) == 0 {
		return empty
	}
	c := a.take(len(b))
	copy(c, b)
	return c
}

var empty = []byte{}

func (a *arena) padded(b []byte, pad int) []byte {
	if pad == 0 {
		return a.copy(b)
	}
	c := a.take(len(b) + pad)
	for i := copy(c, b); i < len(c); i++ {
		c[i] = ' '
	}
	return c
}
