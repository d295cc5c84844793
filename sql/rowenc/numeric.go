package rowenc

import (
	"encoding/binary"
	"math"

	"github.com/cockroachdb/apd/v3"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/types"
)

// The ordered form of a numeric: a class byte, and for finite numbers other than zero the number as
// 0.d1d2d3... x 10^e with d1 not zero: e as an ordered integer, then the digits in pairs (pair + 1), ended by 0x00.
// Negative numbers have everything after the class inverted. The scale does not take part: 1.0 and 1.00 are one key.
const (
	numNegInf = 0x01
	numNeg    = 0x02
	numZero   = 0x03
	numPos    = 0x04
	numPosInf = 0x05
	numNaN    = 0x06 // PostgreSQL: NaN equals NaN and is greater than all else
)

func appendNumericKey(dst []byte, n *apd.Decimal) []byte {
	switch n.Form {
	case apd.Infinite:
		if n.Negative {
			return append(dst, numNegInf)
		}
		return append(dst, numPosInf)
	case apd.NaN, apd.NaNSignaling:
		return append(dst, numNaN)
	}
	if n.Coeff.Sign() == 0 {
		return append(dst, numZero)
	}
	var buf [48]byte
	digits := n.Coeff.Append(buf[:0], 10)
	if digits[0] == '-' {
		digits = digits[1:]
	}
	exp := int64(n.Exponent) + int64(len(digits))
	for digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	class := byte(numPos)
	if n.Negative {
		class = numNeg
	}
	dst = append(dst, class)
	from := len(dst)
	dst = keys.AppendVarint(dst, exp)
	for i := 0; i < len(digits); i += 2 {
		p := (digits[i] - '0') * 10
		if i+1 < len(digits) {
			p += digits[i+1] - '0'
		}
		dst = append(dst, p+1)
	}
	dst = append(dst, 0)
	if n.Negative {
		keys.Invert(dst, from)
	}
	return dst
}

func skipNumericKey(b []byte) ([]byte, error) {
	if len(b) == 0 {
		return nil, ErrCorrupt
	}
	class := b[0]
	b = b[1:]
	switch class {
	case numNegInf, numZero, numPosInf, numNaN:
		return b, nil
	case numPos, numNeg:
	default:
		return nil, ErrCorrupt
	}
	if len(b) == 0 {
		return nil, ErrCorrupt
	}
	end, first := byte(0), b[0]
	if class == numNeg {
		end, first = 0xff, ^first
	}
	n := keys.VarintLen(first)
	if len(b) < n {
		return nil, ErrCorrupt
	}
	for i := n; i < len(b); i++ {
		if b[i] == end {
			return b[i+1:], nil
		}
	}
	return nil, ErrCorrupt
}

// The stored form of a numeric: form and sign, exponent (minus the display scale), coefficient as big-endian bytes.
const (
	numFormMask = 0x03
	numFormInf  = 0x01
	numFormNaN  = 0x02
	numNegative = 0x04
)

func appendNumeric(dst []byte, n *apd.Decimal) []byte {
	var head byte
	switch n.Form {
	case apd.Infinite:
		head = numFormInf
	case apd.NaN, apd.NaNSignaling:
		return append(dst, numFormNaN)
	}
	if n.Negative {
		head |= numNegative
	}
	dst = append(dst, head)
	if head&numFormMask != 0 {
		return dst
	}
	dst = binary.AppendVarint(dst, int64(n.Exponent))
	if n.Coeff.IsUint64() {
		u := n.Coeff.Uint64()
		for s := 56; s >= 0; s -= 8 {
			if u>>s != 0 {
				dst = append(dst, byte(u>>s))
			}
		}
		return dst
	}
	return append(dst, n.Coeff.Bytes()...)
}

// decodeNumeric sets n to what appendNumeric wrote; b is exactly that.
func decodeNumeric(b []byte, n *apd.Decimal) error {
	if len(b) == 0 || b[0]&^(numFormMask|numNegative) != 0 {
		return ErrCorrupt
	}
	head := b[0]
	n.Negative = head&numNegative != 0
	n.Exponent = 0
	n.Coeff.SetInt64(0)
	switch head & numFormMask {
	case numFormInf:
		n.Form = apd.Infinite
		return lengthIs(b, 1)
	case numFormNaN:
		n.Form = apd.NaN
		return lengthIs(b, 1)
	case 0:
	default:
		return ErrCorrupt
	}
	n.Form = apd.Finite
	exp, w := binary.Varint(b[1:])
	if w <= 0 || exp < math.MinInt32 || exp > math.MaxInt32 {
		return ErrCorrupt
	}
	n.Exponent = int32(exp)
	c := b[1+w:]
	if len(c) <= 8 {
		var u uint64
		for _, x := range c {
			u = u<<8 | uint64(x)
		}
		n.Coeff.SetUint64(u)
		return nil
	}
	n.Coeff.SetBytes(c)
	return nil
}

func lengthIs(b []byte, n int) error {
	if len(b) != n {
		return ErrCorrupt
	}
	return nil
}

// decodeNumericKey returns the number with the smallest scale that holds it.
func decodeNumericKey(b []byte) (types.Datum, error) {
	d := &apd.Decimal{}
	if len(b) == 0 {
		return types.Datum{}, ErrCorrupt
	}
	class := b[0]
	switch class {
	case numNaN:
		d.Form = apd.NaN
		return types.NewDecimal(d), nil
	case numPosInf, numNegInf:
		d.Form, d.Negative = apd.Infinite, class == numNegInf
		return types.NewDecimal(d), nil
	case numZero:
		return types.NewDecimal(d), nil
	}
	b = append([]byte(nil), b[1:]...)
	if class == numNeg {
		keys.Invert(b, 0)
	}
	exp, b, err := keys.DecodeVarint(b)
	if err != nil || len(b) < 2 || exp < -1<<24 || exp > 1<<24 {
		return types.Datum{}, ErrCorrupt
	}
	digits := make([]byte, 0, 2*len(b))
	for _, p := range b[:len(b)-1] {
		if p == 0 || p > 100 {
			return types.Datum{}, ErrCorrupt
		}
		digits = append(digits, '0'+(p-1)/10, '0'+(p-1)%10)
	}
	for len(digits) > 1 && digits[len(digits)-1] == '0' && int64(len(digits)) > exp {
		digits = digits[:len(digits)-1]
	}
	for int64(len(digits)) < exp {
		digits = append(digits, '0')
	}
	if _, ok := d.Coeff.SetString(string(digits), 10); !ok {
		return types.Datum{}, ErrCorrupt
	}
	d.Exponent = int32(exp - int64(len(digits)))
	d.Negative = class == numNeg
	return types.NewDecimal(d), nil
}
