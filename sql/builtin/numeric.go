package builtin

import (
	"math"
	"math/bits"
	"strconv"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Numeric arithmetic with PostgreSQL's display scales (numeric.c). Values are immutable: every result is a new decimal, since
// copies of a large one share their digits.

const (
	minSigDigits    = 16
	maxDisplayScale = 1000
	maxResultScale  = 2000
	dscaleMax       = 16383
)

var pow10u = [20]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19}

func isNaN(d *apd.Decimal) bool { return d.Form == apd.NaN || d.Form == apd.NaNSignaling }
func isInf(d *apd.Decimal) bool { return d.Form == apd.Infinite }

func numSign(d *apd.Decimal) int {
	if d.Form == apd.Finite && d.Coeff.Sign() == 0 {
		return 0
	}
	if d.Negative {
		return -1
	}
	return 1
}

func scaleOf(d *apd.Decimal) int { return int(-d.Exponent) }

func numNaN() apd.Decimal         { return apd.Decimal{Form: apd.NaN} }
func numInf(neg bool) apd.Decimal { return apd.Decimal{Form: apd.Infinite, Negative: neg} }

// NumericAdd returns a + b.
func NumericAdd(a, b *apd.Decimal) apd.Decimal { return addSigned(a, b, b.Negative) }

// NumericSub returns a - b.
func NumericSub(a, b *apd.Decimal) apd.Decimal { return addSigned(a, b, !b.Negative) }

func addSigned(a, b *apd.Decimal, bneg bool) apd.Decimal {
	if a.Form != apd.Finite || b.Form != apd.Finite {
		switch {
		case isNaN(a) || isNaN(b), isInf(a) && isInf(b) && a.Negative != bneg:
			return numNaN()
		case isInf(a):
			return numInf(a.Negative)
		}
		return numInf(bneg)
	}
	var r apd.Decimal
	ac, bc := &a.Coeff, &b.Coeff
	r.Exponent = a.Exponent
	var t apd.BigInt
	if d := int(a.Exponent - b.Exponent); d != 0 {
		if ac.IsUint64() && bc.IsUint64() {
			// Align within 64 bits where it fits.
			if d > 0 && d < 20 {
				if hi, lo := bits.Mul64(ac.Uint64(), pow10u[d]); hi == 0 {
					r.Exponent = b.Exponent
					addSmall(&r, lo, a.Negative, bc.Uint64(), bneg)
					return r
				}
			} else if d < 0 && d > -20 {
				if hi, lo := bits.Mul64(bc.Uint64(), pow10u[-d]); hi == 0 {
					addSmall(&r, ac.Uint64(), a.Negative, lo, bneg)
					return r
				}
			}
		}
		if d > 0 {
			t.Mul(ac, types.Pow10(d))
			ac = &t
			r.Exponent = b.Exponent
		} else {
			t.Mul(bc, types.Pow10(-d))
			bc = &t
		}
	} else if ac.IsUint64() && bc.IsUint64() {
		addSmall(&r, ac.Uint64(), a.Negative, bc.Uint64(), bneg)
		return r
	}
	if a.Negative == bneg {
		r.Coeff.Add(ac, bc)
		r.Negative = bneg
	} else if c := ac.Cmp(bc); c >= 0 {
		r.Coeff.Sub(ac, bc)
		r.Negative = a.Negative && c != 0
	} else {
		r.Coeff.Sub(bc, ac)
		r.Negative = bneg
	}
	types.FixZero(&r)
	return r
}

func addSmall(r *apd.Decimal, x uint64, xneg bool, y uint64, yneg bool) {
	if xneg == yneg {
		s, carry := bits.Add64(x, y, 0)
		if carry != 0 {
			var t apd.BigInt
			t.SetUint64(y)
			r.Coeff.SetUint64(x)
			r.Coeff.Add(&r.Coeff, &t)
		} else {
			r.Coeff.SetUint64(s)
		}
		r.Negative = xneg && (s != 0 || carry != 0)
		return
	}
	if x >= y {
		r.Coeff.SetUint64(x - y)
		r.Negative = xneg && x != y
		return
	}
	r.Coeff.SetUint64(y - x)
	r.Negative = yneg
}

// NumericMul returns a * b.
func NumericMul(a, b *apd.Decimal) apd.Decimal {
	if a.Form != apd.Finite || b.Form != apd.Finite {
		if isNaN(a) || isNaN(b) || numSign(a) == 0 || numSign(b) == 0 {
			return numNaN()
		}
		return numInf(a.Negative != b.Negative)
	}
	var r apd.Decimal
	r.Coeff.Mul(&a.Coeff, &b.Coeff)
	r.Negative = a.Negative != b.Negative
	r.Exponent = a.Exponent + b.Exponent
	types.FixZero(&r)
	if r.Exponent < -dscaleMax {
		types.RoundNumeric(&r, &r, dscaleMax)
	}
	return r
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// groups returns the weight and value of the first base-10000 digit, and the one after it (-1 if there is none).
func groups(d *apd.Decimal) (weight, first, second int) {
	if d.Coeff.Sign() == 0 {
		return 0, 0, -1
	}
	if d.Coeff.IsUint64() {
		c := d.Coeff.Uint64()
		n := digits64(c)
		e := n - 1 + int(d.Exponent)
		weight = floorDiv(e, 4)
		k := e - 4*weight + 1 // digits in the first group
		if n <= k {
			return weight, int(c * pow10u[k-n]), -1
		}
		p := pow10u[n-k]
		first = int(c / p)
		rest := c % p
		if rest == 0 {
			return weight, first, -1
		}
		if n-k >= 4 {
			return weight, first, int(rest / pow10u[n-k-4])
		}
		return weight, first, int(rest * pow10u[4-(n-k)])
	}
	text := d.Coeff.Append(nil, 10)
	e := len(text) - 1 + int(d.Exponent)
	weight = floorDiv(e, 4)
	k := e - 4*weight + 1
	first, _ = strconv.Atoi(string(text[:k]))
	second, _ = strconv.Atoi(string(text[k : k+4]))
	return weight, first, second
}

func digits64(c uint64) int {
	n := (bits.Len64(c)*1233)>>12 + 1
	if n > 20 {
		n = 20
	}
	for n > 1 && c < pow10u[n-1] {
		n--
	}
	for n < 20 && c >= pow10u[n] {
		n++
	}
	return n
}

func clampScale(s int, mins ...int) int {
	for _, m := range mins {
		s = max(s, m)
	}
	return min(max(s, 0), maxDisplayScale)
}

// divScale is select_div_scale.
func divScale(a, b *apd.Decimal) int {
	w1, f1, _ := groups(a)
	w2, f2, _ := groups(b)
	q := w1 - w2
	if f1 <= f2 {
		q--
	}
	return clampScale(minSigDigits-q*4, scaleOf(a), scaleOf(b))
}

// NumericDiv returns a / b.
func NumericDiv(a, b *apd.Decimal) (apd.Decimal, error) {
	if a.Form != apd.Finite || b.Form != apd.Finite {
		switch {
		case isNaN(a) || isNaN(b), isInf(a) && isInf(b):
			return numNaN(), nil
		case isInf(a):
			if numSign(b) == 0 {
				return apd.Decimal{}, divisionByZero()
			}
			return numInf(a.Negative != b.Negative), nil
		}
		return apd.Decimal{}, nil
	}
	if b.Coeff.Sign() == 0 {
		return apd.Decimal{}, divisionByZero()
	}
	return divTo(a, b, divScale(a, b), true), nil
}

// divTo divides finite numbers to a scale.
func divTo(a, b *apd.Decimal, scale int, round bool) apd.Decimal {
	r := apd.Decimal{Negative: a.Negative != b.Negative, Exponent: int32(-scale)}
	shift := scale + scaleOf(b) - scaleOf(a)
	if a.Coeff.IsUint64() && b.Coeff.IsUint64() && shift >= 0 && shift < 20 {
		y := b.Coeff.Uint64()
		hi, lo := bits.Mul64(a.Coeff.Uint64(), pow10u[shift])
		if hi < y {
			q, rem := bits.Div64(hi, lo, y)
			if q != math.MaxUint64 {
				if round && rem >= y-rem {
					q++
				}
				r.Coeff.SetUint64(q)
				types.FixZero(&r)
				return r
			}
		}
	}
	var x, y, rem apd.BigInt
	x.Set(&a.Coeff)
	y.Set(&b.Coeff)
	if shift >= 0 {
		x.Mul(&x, types.Pow10(shift))
	} else {
		y.Mul(&y, types.Pow10(-shift))
	}
	r.Coeff.QuoRem(&x, &y, &rem)
	if round {
		rem.Mul(&rem, apd.NewBigInt(2))
		if rem.Cmp(&y) >= 0 {
			r.Coeff.Add(&r.Coeff, apd.NewBigInt(1))
		}
	}
	types.FixZero(&r)
	return r
}

func numericMod(a, b *apd.Decimal) (apd.Decimal, error) {
	if a.Form != apd.Finite || b.Form != apd.Finite {
		switch {
		case isNaN(a) || isNaN(b):
			return numNaN(), nil
		case isInf(a):
			if numSign(b) == 0 {
				return apd.Decimal{}, divisionByZero()
			}
			return numNaN(), nil
		}
		return *a, nil // finite mod infinity
	}
	if b.Coeff.Sign() == 0 {
		return apd.Decimal{}, divisionByZero()
	}
	var x, y apd.Decimal
	s := max(scaleOf(a), scaleOf(b))
	types.RoundNumeric(&x, a, s)
	types.RoundNumeric(&y, b, s)
	r := apd.Decimal{Negative: a.Negative, Exponent: int32(-s)}
	r.Coeff.Rem(&x.Coeff, &y.Coeff)
	types.FixZero(&r)
	return r, nil
}

func numericDivTrunc(a, b *apd.Decimal) (apd.Decimal, error) {
	if a.Form != apd.Finite || b.Form != apd.Finite {
		return NumericDiv(a, b)
	}
	if b.Coeff.Sign() == 0 {
		return apd.Decimal{}, divisionByZero()
	}
	return divTo(a, b, 0, false), nil
}

func numericNeg(d *apd.Decimal) apd.Decimal {
	r := *d
	if numSign(d) != 0 && !isNaN(d) {
		r.Negative = !d.Negative
	}
	return r
}

func numericCeilFloor(d *apd.Decimal, up bool) apd.Decimal {
	if d.Form != apd.Finite {
		return *d
	}
	var r apd.Decimal
	types.TruncNumeric(&r, d, 0)
	if scaleOf(d) > 0 && types.CompareNumeric(&r, d) != 0 && d.Negative != up {
		one := apd.New(1, 0)
		if up {
			return NumericAdd(&r, one)
		}
		return NumericSub(&r, one)
	}
	return r
}

func numericFloat(d *apd.Decimal) float64 {
	switch {
	case isNaN(d):
		return math.NaN()
	case isInf(d) && d.Negative:
		return math.Inf(-1)
	case isInf(d):
		return math.Inf(1)
	}
	f, _ := strconv.ParseFloat(string(types.AppendNumeric(nil, d)), 64)
	return f
}

// floatNumeric converts through the decimal digits that the type is sure of.
func floatNumeric(f float64, digits int) (apd.Decimal, error) {
	switch {
	case math.IsNaN(f):
		return numNaN(), nil
	case math.IsInf(f, 0):
		return numInf(f < 0), nil
	}
	d, err := types.ParseNumeric(strconv.AppendFloat(nil, f, 'g', digits, 64))
	if err != nil {
		return apd.Decimal{}, err
	}
	return *d, nil
}

func numericToInt(d *apd.Decimal, w width) (int64, error) {
	if d.Form != apd.Finite {
		what := "NaN"
		if isInf(d) {
			what = "infinity"
		}
		return 0, pgerr.New(pgerr.FeatureNotSupported, "cannot convert %s to %s", what, w.name)
	}
	var r apd.Decimal
	types.RoundNumeric(&r, d, 0)
	if !r.Coeff.IsUint64() {
		return 0, w.err()
	}
	u := r.Coeff.Uint64()
	if r.Negative {
		if u > 1<<63 {
			return 0, w.err()
		}
		return w.check(-int64(u))
	}
	if u > math.MaxInt64 {
		return 0, w.err()
	}
	return w.check(int64(u))
}

// NumericFromInt makes a numeric of an integer.
func NumericFromInt(x int64) apd.Decimal {
	var d apd.Decimal
	d.Coeff.SetInt64(x)
	if x < 0 {
		d.Negative = true
		d.Coeff.Neg(&d.Coeff)
	}
	return d
}
