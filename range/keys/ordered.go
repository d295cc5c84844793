package keys

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
)

// ErrCorrupt is returned by the decoders for bytes that no encoder writes.
var ErrCorrupt = errors.New("keys: corrupt ordered encoding")

// AppendUvarint appends an order-preserving, prefix-free unsigned integer: one
// byte up to 239, otherwise 0xef+n and n big-endian bytes.
func AppendUvarint(dst []byte, v uint64) []byte {
	if v < 0xf0 {
		return append(dst, byte(v))
	}
	n := (bits.Len64(v) + 7) / 8
	dst = append(dst, 0xef+byte(n))
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(v>>(8*i)))
	}
	return dst
}

// DecodeUvarint reads what AppendUvarint wrote and returns the rest.
func DecodeUvarint(b []byte) (uint64, []byte, error) {
	if len(b) == 0 {
		return 0, nil, ErrCorrupt
	}
	if b[0] < 0xf0 {
		return uint64(b[0]), b[1:], nil
	}
	n := int(b[0] - 0xef)
	if n > 8 || len(b) < 1+n {
		return 0, nil, ErrCorrupt
	}
	var v uint64
	for _, c := range b[1 : 1+n] {
		v = v<<8 | uint64(c)
	}
	if v < 0xf0 || (bits.Len64(v)+7)/8 != n {
		return 0, nil, ErrCorrupt
	}
	return v, b[1+n:], nil
}

// AppendInt64 appends v as 8 big-endian bytes with the sign bit flipped.
func AppendInt64(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(v)^(1<<63))
}

// DecodeInt64 reads what AppendInt64 wrote and returns the rest.
func DecodeInt64(b []byte) (int64, []byte, error) {
	if len(b) < 8 {
		return 0, nil, ErrCorrupt
	}
	return int64(binary.BigEndian.Uint64(b) ^ (1 << 63)), b[8:], nil
}

// AppendFloat64 appends v in PostgreSQL's order: -0 equals 0, and NaN is after everything.
func AppendFloat64(dst []byte, v float64) []byte {
	if v == 0 {
		v = 0 // negative zero
	}
	u := math.Float64bits(v)
	switch {
	case math.IsNaN(v):
		u = math.MaxUint64
	case u>>63 == 1:
		u = ^u
	default:
		u |= 1 << 63
	}
	return binary.BigEndian.AppendUint64(dst, u)
}

// DecodeFloat64 reads what AppendFloat64 wrote and returns the rest.
func DecodeFloat64(b []byte) (float64, []byte, error) {
	if len(b) < 8 {
		return 0, nil, ErrCorrupt
	}
	u := binary.BigEndian.Uint64(b)
	switch {
	case u == math.MaxUint64:
		return math.NaN(), b[8:], nil
	case u>>63 == 1:
		u &^= 1 << 63
	default:
		u = ^u
	}
	return math.Float64frombits(u), b[8:], nil
}

// AppendBytes appends v escaped: 0x00 becomes 0x00 0xff, and 0x00 0x01 ends it.
func AppendBytes(dst, v []byte) []byte {
	for _, c := range v {
		if c == 0 {
			dst = append(dst, 0, 0xff)
		} else {
			dst = append(dst, c)
		}
	}
	return append(dst, 0, 1)
}

// DecodeBytes reads what AppendBytes wrote, into fresh memory, and returns the rest.
func DecodeBytes(b []byte) (v, rest []byte, err error) {
	v = make([]byte, 0, len(b))
	for i := 0; i < len(b); i++ {
		if b[i] != 0 {
			v = append(v, b[i])
			continue
		}
		if i+1 >= len(b) {
			return nil, nil, ErrCorrupt
		}
		switch b[i+1] {
		case 1:
			return v, b[i+2:], nil
		case 0xff:
			v = append(v, 0)
			i++
		default:
			return nil, nil, ErrCorrupt
		}
	}
	return nil, nil, ErrCorrupt
}

// Invert flips every bit of b[from:], which turns an ascending encoding into a
// descending one. Undo it by inverting a copy before decoding.
func Invert(b []byte, from int) {
	for i := from; i < len(b); i++ {
		b[i] = ^b[i]
	}
}
