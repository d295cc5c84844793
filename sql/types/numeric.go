package types

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// Limits of numeric.
const (
	numericMaxWeight = 131072 // digits before the point
	numericMaxScale  = 16383  // digits after it
)

var pow10Table = func() (t [128]apd.BigInt) {
	t[0].SetInt64(1)
	ten := apd.NewBigInt(10)
	for i := 1; i < len(t); i++ {
		t[i].Mul(&t[i-1], ten)
	}
	return t
}()

var pow10u = [20]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

// Pow10 is ten to the n. The result is shared: do not change it.
func Pow10(n int) *apd.BigInt {
	if n < len(pow10Table) {
		return &pow10Table[n]
	}
	var r apd.BigInt
	return r.Exp(apd.NewBigInt(10), apd.NewBigInt(int64(n)), nil)
}

// Special numerics.
func NumericNaN() *apd.Decimal { return &apd.Decimal{Form: apd.NaN} }
func NumericInf(negative bool) *apd.Decimal {
	return &apd.Decimal{Form: apd.Infinite, Negative: negative}
}

// NumericScale is the display scale.
func NumericScale(d *apd.Decimal) int { return int(-d.Exponent) }

// FixZero takes the sign off a zero: numeric has no negative zero.
func FixZero(d *apd.Decimal) *apd.Decimal {
	if d.Negative && d.Form == apd.Finite && d.Coeff.Sign() == 0 {
		d.Negative = false
	}
	return d
}

// RoundNumeric sets dst to d with the given number of digits after the point (rounded half away
// from zero; a negative scale rounds before the point and leaves scale 0). dst may be d.
func RoundNumeric(dst, d *apd.Decimal, scale int) { rescale(dst, d, scale, true) }

// TruncNumeric is RoundNumeric towards zero.
func TruncNumeric(dst, d *apd.Decimal, scale int) { rescale(dst, d, scale, false) }

func rescale(dst, d *apd.Decimal, scale int, round bool) {
	if d.Form != apd.Finite {
		*dst = *d
		return
	}
	have := int(-d.Exponent)
	if have == scale {
		*dst = *d
		return
	}
	var r apd.Decimal
	r.Negative = d.Negative
	if scale > have {
		r.Coeff.Mul(&d.Coeff, Pow10(scale-have))
		r.Exponent = int32(-scale)
		*dst = r
		return
	}
	drop := have - scale
	if d.Coeff.IsUint64() && drop < 20 {
		c, p := d.Coeff.Uint64(), pow10u[drop]
		q, rem := c/p, c%p
		if round && rem >= p-rem {
			q++
		}
		r.Coeff.SetUint64(q)
	} else if drop > int(d.NumDigits())+1 {
		r.Coeff.SetInt64(0)
	} else {
		var rem apd.BigInt
		p := Pow10(drop)
		r.Coeff.QuoRem(&d.Coeff, p, &rem)
		if round {
			rem.Mul(&rem, apd.NewBigInt(2))
			if rem.Cmp(p) >= 0 {
				r.Coeff.Add(&r.Coeff, apd.NewBigInt(1))
			}
		}
	}
	if scale < 0 {
		r.Coeff.Mul(&r.Coeff, Pow10(-scale))
		scale = 0
	}
	r.Exponent = int32(-scale)
	*dst = *FixZero(&r)
}

// CompareNumeric orders numerics: -Infinity, numbers, Infinity, NaN.
func CompareNumeric(a, b *apd.Decimal) int {
	if a.Form != apd.Finite || b.Form != apd.Finite {
		ra, rb := numericRank(a), numericRank(b)
		return ra - rb
	}
	as, bs := a.Coeff.Sign(), b.Coeff.Sign()
	if a.Negative {
		as = -as
	}
	if b.Negative {
		bs = -bs
	}
	if as != bs {
		if as < bs {
			return -1
		}
		return 1
	}
	if as == 0 {
		return 0
	}
	if a.Exponent == b.Exponent {
		return as * a.Coeff.Cmp(&b.Coeff)
	}
	if a.Coeff.IsUint64() && b.Coeff.IsUint64() {
		if diff := a.Exponent - b.Exponent; diff > -20 && diff < 20 {
			ah, al := uint64(0), a.Coeff.Uint64()
			bh, bl := uint64(0), b.Coeff.Uint64()
			if diff > 0 {
				ah, al = bits.Mul64(al, pow10u[diff])
			} else {
				bh, bl = bits.Mul64(bl, pow10u[-diff])
			}
			c := 0
			switch {
			case ah != bh:
				c = 1
				if ah < bh {
					c = -1
				}
			case al != bl:
				c = 1
				if al < bl {
					c = -1
				}
			}
			return as * c
		}
	}
	var x apd.BigInt
	if diff := int(a.Exponent - b.Exponent); diff > 0 {
		x.Mul(&a.Coeff, Pow10(diff))
		return as * x.Cmp(&b.Coeff)
	} else {
		x.Mul(&b.Coeff, Pow10(-diff))
		return as * a.Coeff.Cmp(&x)
	}
}

func numericRank(d *apd.Decimal) int {
	switch {
	case d.Form == apd.Finite:
		return 0
	case d.Form == apd.Infinite && d.Negative:
		return -1
	case d.Form == apd.Infinite:
		return 1
	}
	return 2
}

// AppendNumeric is numeric's text form.
func AppendNumeric(dst []byte, d *apd.Decimal) []byte {
	switch {
	case d.Form == apd.Infinite && d.Negative:
		return append(dst, "-Infinity"...)
	case d.Form == apd.Infinite:
		return append(dst, "Infinity"...)
	case d.Form != apd.Finite:
		return append(dst, "NaN"...)
	}
	if d.Negative {
		dst = append(dst, '-')
	}
	scale := int(-d.Exponent)
	n := len(dst)
	dst = d.Coeff.Append(dst, 10)
	if scale <= 0 {
		for i := scale; i < 0; i++ {
			dst = append(dst, '0')
		}
		return dst
	}
	digits := len(dst) - n
	if lead := scale + 1 - digits; lead > 0 {
		for i := 0; i < lead; i++ {
			dst = append(dst, 0)
		}
		copy(dst[n+lead:], dst[n:n+digits])
		for i := 0; i < lead; i++ {
			dst[n+i] = '0'
		}
	}
	dst = append(dst, 0)
	p := len(dst) - 1 - scale
	copy(dst[p+1:], dst[p:len(dst)-1])
	dst[p] = '.'
	return dst
}

// ParseNumeric reads numeric's text form.
func ParseNumeric(in []byte) (*apd.Decimal, error) {
	s := trimSpace(in)
	d := new(apd.Decimal)
	bad := func() (*apd.Decimal, error) { return nil, badSyntax(NumericOID, in) }
	i := 0
	neg, signed := false, false
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		neg, signed = s[i] == '-', true
		i++
	}
	if i < len(s) && (s[i]|0x20 == 'n' || s[i]|0x20 == 'i') {
		switch word := lowerASCII(s[i:]); {
		case word == "nan" && !signed:
			return NumericNaN(), nil
		case word == "inf" || word == "infinity":
			return NumericInf(neg), nil
		}
		return bad()
	}
	start := i
	var small uint64
	ndig, scale, point := 0, 0, false
	for ; i < len(s); i++ {
		c := s[i]
		if c >= '0' && c <= '9' {
			if ndig < 19 {
				small = small*10 + uint64(c-'0')
			}
			if ndig > 0 || c != '0' {
				ndig++
			}
			if point {
				scale++
			}
			continue
		}
		if c == '.' && !point {
			point = true
			continue
		}
		break
	}
	end := i
	if end == start || end == start+1 && point {
		return bad()
	}
	exp := 0
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		eneg := false
		if i < len(s) && (s[i] == '-' || s[i] == '+') {
			eneg = s[i] == '-'
			i++
		}
		if i >= len(s) {
			return bad()
		}
		for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
			if exp < 1<<30 {
				exp = exp*10 + int(s[i]-'0')
			}
		}
		// The bound keeps later arithmetic within int32.
		if exp > math.MaxInt32/2 {
			return nil, numericOverflow()
		}
		if eneg {
			exp = -exp
		}
	}
	if i != len(s) {
		return bad()
	}
	if ndig <= 19 {
		d.Coeff.SetUint64(small)
	} else {
		digits := make([]byte, 0, end-start)
		for _, c := range s[start:end] {
			if c != '.' {
				digits = append(digits, c)
			}
		}
		if _, ok := d.Coeff.SetString(string(digits), 10); !ok {
			return bad()
		}
	}
	d.Negative = neg
	scale -= exp
	if ndig == 0 {
		d.Negative = false
		if scale < 0 {
			scale = 0
		}
	} else if ndig-scale > numericMaxWeight {
		return nil, numericOverflow()
	}
	if scale < 0 {
		d.Coeff.Mul(&d.Coeff, Pow10(-scale))
		scale = 0
	}
	d.Exponent = int32(-scale)
	if scale > numericMaxScale {
		if ndig == 0 {
			d.Exponent = -numericMaxScale
		} else {
			RoundNumeric(d, d, numericMaxScale)
		}
	}
	return d, nil
}

func lowerASCII(s []byte) string {
	if len(s) > 16 {
		return ""
	}
	b := make([]byte, len(s))
	for i, c := range s {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		b[i] = c
	}
	return string(b)
}

func numericOverflow() error {
	return pgerr.New(pgerr.NumericValueOutOfRange, "value overflows numeric format")
}

// CheckNumeric refuses results beyond numeric's limits.
func CheckNumeric(d *apd.Decimal) error {
	if d.Form == apd.Finite && d.Coeff.BitLen() > 64 && int(d.NumDigits())+int(d.Exponent) > numericMaxWeight {
		return numericOverflow()
	}
	return nil
}

// Signs of the binary form.
const (
	numericPos  = 0
	numericNeg  = 0x4000
	numericNaN  = 0xC000
	numericPInf = 0xD000
	numericNInf = 0xF000
)

func appendNumericBinary(dst []byte, d *apd.Decimal) []byte {
	head := func(n, weight int, sign, scale uint16) {
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
		dst = binary.BigEndian.AppendUint16(dst, uint16(weight))
		dst = binary.BigEndian.AppendUint16(dst, sign)
		dst = binary.BigEndian.AppendUint16(dst, scale)
	}
	if d.Form != apd.Finite {
		sign := uint16(numericNaN)
		if d.Form == apd.Infinite {
			sign = numericPInf
			if d.Negative {
				sign = numericNInf
			}
		}
		head(0, 0, sign, 0)
		return dst
	}
	var sign uint16
	if d.Negative {
		sign = numericNeg
	}
	scale := int(-d.Exponent)
	if d.Coeff.Sign() == 0 {
		head(0, 0, 0, uint16(scale))
		return dst
	}
	pad := (4 - scale%4) % 4
	var buf [16]uint16
	groups := buf[:0]
	if d.Coeff.IsUint64() {
		hi, lo := bits.Mul64(d.Coeff.Uint64(), pow10u[pad])
		for hi != 0 {
			var rem uint64
			hi, rem = hi/10000, hi%10000
			lo, rem = bits.Div64(rem, lo, 10000)
			groups = append(groups, uint16(rem))
		}
		for lo != 0 {
			groups = append(groups, uint16(lo%10000))
			lo /= 10000
		}
	} else {
		text := d.Coeff.Append(nil, 10)
		for i := 0; i < pad; i++ {
			text = append(text, '0')
		}
		for e := len(text); e > 0; e -= 4 {
			var g uint16
			for _, c := range text[max(0, e-4):e] {
				g = g*10 + uint16(c-'0')
			}
			groups = append(groups, g)
		}
	}
	weight := len(groups) - 1 - (scale+pad)/4
	low := 0
	for groups[low] == 0 {
		low++
	}
	head(len(groups)-low, weight, sign, uint16(scale))
	for i := len(groups) - 1; i >= low; i-- {
		dst = binary.BigEndian.AppendUint16(dst, groups[i])
	}
	return dst
}

func parseNumericBinary(b []byte) (*apd.Decimal, error) {
	if len(b) < 8 {
		return nil, badBinarySize(NumericOID, len(b), 8)
	}
	n := int(binary.BigEndian.Uint16(b))
	weight := int(int16(binary.BigEndian.Uint16(b[2:])))
	sign := binary.BigEndian.Uint16(b[4:])
	scale := int(binary.BigEndian.Uint16(b[6:]))
	b = b[8:]
	switch sign {
	case numericPos, numericNeg:
	case numericNaN:
		return NumericNaN(), nil
	case numericPInf:
		return NumericInf(false), nil
	case numericNInf:
		return NumericInf(true), nil
	default:
		return nil, pgerr.New(pgerr.InvalidBinaryRepresentation, "invalid sign in external \"numeric\" value")
	}
	if scale > numericMaxScale {
		return nil, pgerr.New(pgerr.InvalidBinaryRepresentation, "invalid scale in external \"numeric\" value")
	}
	if len(b) != 2*n {
		return nil, badBinarySize(NumericOID, len(b), 2*n)
	}
	d := new(apd.Decimal)
	var text []byte
	var small uint64
	if n > 4 {
		text = make([]byte, 0, 4*n)
	}
	for i := 0; i < n; i++ {
		g := binary.BigEndian.Uint16(b[2*i:])
		if g >= 10000 {
			return nil, pgerr.New(pgerr.InvalidBinaryRepresentation, "invalid digit in external \"numeric\" value")
		}
		if n <= 4 {
			small = small*10000 + uint64(g)
		} else {
			text = append(text, byte('0'+g/1000), byte('0'+g/100%10), byte('0'+g/10%10), byte('0'+g%10))
		}
	}
	if n <= 4 {
		d.Coeff.SetUint64(small)
	} else if _, ok := d.Coeff.SetString(string(text), 10); !ok {
		return nil, badBinary(NumericOID)
	}
	d.Negative = sign == numericNeg
	// The last digit group is worth 10000^(weight-n+1).
	have := -4 * (weight - n + 1)
	if n == 0 {
		have = scale
	}
	if have < 0 {
		d.Coeff.Mul(&d.Coeff, Pow10(-have))
		have = 0
	}
	d.Exponent = int32(-have)
	TruncNumeric(d, d, scale)
	return FixZero(d), nil
}

// applyNumericMod rounds to numeric(p,s) and refuses what does not fit.
func applyNumericMod(mod int32, d *apd.Decimal) (*apd.Decimal, error) {
	prec, scale, ok := NumericMod(mod)
	if !ok || d.Form == apd.NaN || d.Form == apd.NaNSignaling {
		return d, nil
	}
	if d.Form == apd.Infinite {
		return nil, pgerr.New(pgerr.NumericValueOutOfRange, "numeric field overflow").
			WithDetail("A field with precision %d, scale %d cannot hold an infinite value.", prec, scale)
	}
	r := d
	if int(-d.Exponent) != scale {
		r = new(apd.Decimal)
		RoundNumeric(r, d, scale)
	}
	if r.Coeff.Sign() == 0 {
		return r, nil
	}
	// The value must stay below 10^(prec-scale): its coefficient at scale below 10^prec.
	limit := prec
	if scale < 0 {
		limit = prec - scale
	}
	over := false
	if r.Coeff.IsUint64() && limit < 20 {
		over = r.Coeff.Uint64() >= pow10u[limit]
	} else {
		over = int(r.NumDigits()) > limit
	}
	if over {
		what := "10^" + itoa(prec-scale)
		if prec == scale {
			what = "1"
		}
		return nil, pgerr.New(pgerr.NumericValueOutOfRange, "numeric field overflow").
			WithDetail("A field with precision %d, scale %d must round to an absolute value less than %s.", prec, scale, what)
	}
	return r, nil
}
