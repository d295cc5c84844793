package keys

import "math/bits"

// Ordered signed integers. Small ones, which most ids are, take few bytes:
//
//	0x00..0x07       negative; 8..1 bytes of v follow, big endian
//	0x08..0xf7       0..239
//	0xf8..0xff       240 and more; 1..8 bytes follow
const (
	varintZero = 0x08
	varintMax  = 0xf7 // the largest first byte that is the whole number
)

// AppendVarint appends an order-preserving, prefix-free signed integer of 1 to 9 bytes.
func AppendVarint(dst []byte, v int64) []byte {
	if v >= 0 && v <= varintMax-varintZero {
		return append(dst, varintZero+byte(v))
	}
	u, first := uint64(v), byte(varintMax)
	if v < 0 {
		u = ^u
	}
	n := (bits.Len64(u) + 7) / 8
	if n == 0 {
		n = 1 // -1
	}
	if v < 0 {
		first = varintZero - byte(n)
	} else {
		first += byte(n)
	}
	dst = append(dst, first)
	for i := n - 1; i >= 0; i-- {
		dst = append(dst, byte(uint64(v)>>(8*i)))
	}
	return dst
}

// VarintLen returns the length of the integer that starts with this byte.
func VarintLen(first byte) int {
	switch {
	case first < varintZero:
		return 1 + int(varintZero-first)
	case first > varintMax:
		return 1 + int(first-varintMax)
	}
	return 1
}

// DecodeVarint reads what AppendVarint wrote and returns the rest.
func DecodeVarint(b []byte) (int64, []byte, error) {
	if len(b) == 0 {
		return 0, nil, ErrCorrupt
	}
	first := b[0]
	if first >= varintZero && first <= varintMax {
		return int64(first - varintZero), b[1:], nil
	}
	n := VarintLen(first)
	if len(b) < n {
		return 0, nil, ErrCorrupt
	}
	var u uint64
	if first < varintZero {
		u = ^uint64(0)
	}
	for _, c := range b[1:n] {
		u = u<<8 | uint64(c)
	}
	v := int64(u)
	// Only the shortest form is an encoding: two forms of one number would be two keys.
	if (first < varintZero) != (v < 0) || (v >= 0 && v <= varintMax-varintZero) {
		return 0, nil, ErrCorrupt
	}
	if v < 0 {
		u = ^u
	}
	if m := (bits.Len64(u) + 7) / 8; m != n-1 && !(m == 0 && n == 2) {
		return 0, nil, ErrCorrupt
	}
	return v, b[n:], nil
}
