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

func apdContext(prec int) *apd.Context {
	return &apd.Context{Precision: uint32(max(prec, 20)), MaxExponent: apd.MaxExponent, MinExponent: apd.MinExponent, Rounding: apd.RoundHalfUp}
}

// lnWeight is estimate_ln_dweight.
func lnWeight(d *apd.Decimal) int {
	if d.Negative || d.Coeff.Sign() == 0 {
		return 0
	}
	if types.CompareNumeric(d, apd.New(9, -1)) >= 0 && types.CompareNumeric(d, apd.New(11, -1)) <= 0 {
		x := NumericSub(d, apd.New(1, 0))
		if x.Coeff.Sign() == 0 {
			return 0
		}
		x.Negative = false
		w, f, _ := groups(&x)
		return w*4 + int(math.Log10(float64(f)))
	}
	w, f, s := groups(d)
	n, dw := float64(f), w*4
	if s >= 0 {
		n = n*10000 + float64(s)
		dw -= 4
	}
	return int(math.Log10(math.Abs(math.Log(n) + float64(dw)*2.302585092994046)))
}

func lnTo(d *apd.Decimal, scale int) (apd.Decimal, error) {
	var r apd.Decimal
	if _, err := apdContext(scale+max(0, lnWeight(d))+15).Ln(&r, d); err != nil {
		return r, outOfRange("value")
	}
	types.RoundNumeric(&r, &r, scale)
	return r, nil
}

func logDomain(d *apd.Decimal) error {
	switch s := numSign(d); {
	case s == 0:
		return pgerr.New(pgerr.InvalidArgumentForLogarithm, "cannot take logarithm of zero")
	case s < 0 && !isNaN(d):
		return pgerr.New(pgerr.InvalidArgumentForLogarithm, "cannot take logarithm of a negative number")
	}
	return nil
}

func numericLn(d *apd.Decimal) (apd.Decimal, error) {
	if isNaN(d) {
		return *d, nil
	}
	if err := logDomain(d); err != nil {
		return apd.Decimal{}, err
	}
	if isInf(d) {
		return *d, nil
	}
	return lnTo(d, clampScale(minSigDigits-lnWeight(d), scaleOf(d)))
}

func numericLog(base, num *apd.Decimal) (apd.Decimal, error) {
	if isNaN(base) || isNaN(num) {
		return numNaN(), nil
	}
	if err := logDomain(base); err != nil {
		return apd.Decimal{}, err
	}
	if err := logDomain(num); err != nil {
		return apd.Decimal{}, err
	}
	if isInf(base) || isInf(num) {
		if isInf(base) && isInf(num) {
			return numNaN(), nil
		}
		if isInf(base) {
			return apd.Decimal{}, nil
		}
		return numInf(false), nil
	}
	wb, wn := lnWeight(base), lnWeight(num)
	w := wn - wb
	scale := clampScale(minSigDigits-w, scaleOf(base), scaleOf(num))
	sb := max(0, scale+w-wb+8)
	sn := max(0, scale+w-wn+8)
	lb, err := lnTo(base, sb)
	if err != nil {
		return lb, err
	}
	ln, err := lnTo(num, sn)
	if err != nil {
		return ln, err
	}
	if numSign(&lb) == 0 {
		return apd.Decimal{}, divisionByZero()
	}
	return divTo(&ln, &lb, scale, true), nil
}

func expTo(d *apd.Decimal, scale, weight int) (apd.Decimal, error) {
	var r apd.Decimal
	prec := scale + weight + 15
	if prec < 20 {
		prec = 20
	}
	if _, err := apdContext(prec).Exp(&r, d); err != nil || r.Form != apd.Finite {
		return r, pgerr.New(pgerr.NumericValueOutOfRange, "value overflows numeric format")
	}
	types.RoundNumeric(&r, &r, scale)
	return r, nil
}

func numericExp(d *apd.Decimal) (apd.Decimal, error) {
	if isNaN(d) {
		return *d, nil
	}
	if isInf(d) {
		if d.Negative {
			return apd.Decimal{}, nil
		}
		return *d, nil
	}
	f := numericFloat(d)
	if f > 6000*3 {
		return apd.Decimal{}, pgerr.New(pgerr.NumericValueOutOfRange, "value overflows numeric format")
	}
	w := f * 0.434294481903252
	w = math.Min(math.Max(w, -maxResultScale), maxResultScale)
	scale := clampScale(minSigDigits-int(w), scaleOf(d))
	if f < -maxResultScale*3 {
		return apd.Decimal{Exponent: int32(-scale)}, nil
	}
	return expTo(d, scale, int(w))
}

// numericSqrt computes exactly rounded roots.
func numericSqrt(d *apd.Decimal) (apd.Decimal, error) {
	if isNaN(d) {
		return *d, nil
	}
	if numSign(d) < 0 {
		return apd.Decimal{}, pgerr.New(pgerr.InvalidArgumentForPower, "cannot take square root of a negative number")
	}
	if isInf(d) {
		return *d, nil
	}
	w, _, _ := groups(d)
	sw := 0
	if w >= 0 {
		sw = w*4/2 + 1
	} else {
		sw = 1 - (-w)*4/2
	}
	scale := clampScale(minSigDigits-sw, scaleOf(d))
	// The integer root of the coefficient at twice the scale plus two guard digits.
	var x, root apd.BigInt
	x.Set(&d.Coeff)
	if k := 2*(scale+1) - scaleOf(d); k >= 0 {
		x.Mul(&x, types.Pow10(k))
	} else {
		x.Quo(&x, types.Pow10(-k))
	}
	root.Sqrt(&x)
	r := apd.Decimal{Exponent: int32(-(scale + 1))}
	r.Coeff.Set(&root)
	types.RoundNumeric(&r, &r, scale)
	return r, nil
}

// log10Approx is log10 of a nonzero finite number's magnitude.
func log10Approx(d *apd.Decimal) float64 {
	text := d.Coeff.Append(nil, 10)
	n := min(len(text), 17)
	f, _ := strconv.ParseFloat(string(text[:n]), 64)
	return math.Log10(f) + float64(len(text)-n) + float64(d.Exponent)
}

func numericOverflow() error {
	return pgerr.New(pgerr.NumericValueOutOfRange, "value overflows numeric format")
}

func powerInt(base *apd.Decimal, exp int64, expScale int) (apd.Decimal, error) {
	// Whole exponents get sixteen digits after the point, whatever the size of the result.
	scale := clampScale(minSigDigits, scaleOf(base), expScale)
	f := 0.0
	if base.Coeff.Sign() != 0 {
		f = float64(exp) * log10Approx(base)
	}
	if f > 131072+8 {
		return apd.Decimal{}, numericOverflow()
	}
	if f+1 < -float64(scale) {
		return apd.Decimal{Exponent: int32(-scale)}, nil
	}
	r := apd.Decimal{}
	switch exp {
	case 0:
		r.Coeff.SetInt64(1)
		types.RoundNumeric(&r, &r, scale)
		return r, nil
	case 1:
		types.RoundNumeric(&r, base, scale)
		return r, nil
	case -1:
		if base.Coeff.Sign() == 0 {
			return r, divisionByZero()
		}
		return divTo(apd.New(1, 0), base, scale, true), nil
	case 2:
		r = NumericMul(base, base)
		types.RoundNumeric(&r, &r, scale)
		return r, nil
	}
	if base.Coeff.Sign() == 0 {
		if exp < 0 {
			return r, divisionByZero()
		}
		r.Exponent = int32(-scale)
		return r, nil
	}
	n := exp
	if n < 0 {
		n = -n
	}
	sig := 1 + scale + int(f)
	sig += int(math.Log(float64(n))) + 8
	c := apdContext(max(sig, 1) + 12)
	acc := apd.New(1, 0)
	sq := new(apd.Decimal).Set(base)
	for {
		if n&1 == 1 {
			if _, err := c.Mul(acc, acc, sq); err != nil {
				return r, numericOverflow()
			}
		}
		if n >>= 1; n == 0 {
			break
		}
		if _, err := c.Mul(sq, sq, sq); err != nil {
			return r, numericOverflow()
		}
	}
	if exp < 0 {
		if _, err := c.Quo(acc, apd.New(1, 0), acc); err != nil {
			return r, numericOverflow()
		}
	}
	if acc.Form != apd.Finite {
		return r, numericOverflow()
	}
	types.RoundNumeric(&r, acc, scale)
	return r, types.CheckNumeric(&r)
}

func isIntegral(d *apd.Decimal) bool {
	var t apd.Decimal
	types.TruncNumeric(&t, d, 0)
	return types.CompareNumeric(&t, d) == 0
}

func numericPower(a, b *apd.Decimal) (apd.Decimal, error) {
	one := *apd.New(1, 0)
	if isNaN(a) {
		if numSign(b) == 0 && !isNaN(b) {
			return one, nil
		}
		return *a, nil
	}
	if isNaN(b) {
		if a.Form == apd.Finite && types.CompareNumeric(a, &one) == 0 {
			return one, nil
		}
		return *b, nil
	}
	if numSign(a) == 0 && numSign(b) < 0 {
		return one, pgerr.New(pgerr.InvalidArgumentForPower, "zero raised to a negative power is undefined")
	}
	if numSign(a) < 0 && b.Form == apd.Finite && !isIntegral(b) {
		return one, pgerr.New(pgerr.InvalidArgumentForPower, "a negative number raised to a non-integer power yields a complex result")
	}
	if isInf(a) || isInf(b) {
		return powerInf(a, b)
	}
	if isIntegral(b) {
		if e, err := numericToInt(b, widths["int4"]); err == nil {
			return powerInt(a, e, scaleOf(b))
		}
	}
	if numSign(a) == 0 {
		return apd.Decimal{Exponent: -minSigDigits}, nil
	}
	base := *a
	neg := false
	if a.Negative {
		base.Negative = false
		odd, err := numericMod(b, apd.New(2, 0))
		if err != nil {
			return one, err
		}
		neg = numSign(&odd) != 0
	}
	lw := lnWeight(&base)
	low := clampScale(8 - lw)
	lnb, err := lnTo(&base, low)
	if err != nil {
		return one, err
	}
	prod := NumericMul(&lnb, b)
	val := numericFloat(&prod)
	if math.Abs(val) > maxResultScale*3.01*50 || val > 131072*2.31 {
		if val > 0 {
			return one, numericOverflow()
		}
		return apd.Decimal{Exponent: -maxDisplayScale}, nil
	}
	val *= 0.434294481903252
	scale := clampScale(minSigDigits-int(val), scaleOf(a), scaleOf(b))
	sig := max(0, scale+int(val))
	if lnb, err = lnTo(&base, max(0, sig-lw+8)); err != nil {
		return one, err
	}
	prod = NumericMul(&lnb, b)
	r, err := expTo(&prod, scale, max(0, int(val)))
	if err == nil && neg {
		r = numericNeg(&r)
	}
	return r, err
}

func powerInf(a, b *apd.Decimal) (apd.Decimal, error) {
	one := *apd.New(1, 0)
	if a.Form == apd.Finite && types.CompareNumeric(a, &one) == 0 || numSign(b) == 0 {
		return one, nil
	}
	if isInf(b) {
		if isInf(a) {
			if b.Negative {
				return apd.Decimal{}, nil
			}
			return numInf(false), nil
		}
		if numSign(a) == 0 {
			return apd.Decimal{}, nil
		}
		abs := *a
		abs.Negative = false
		c := types.CompareNumeric(&abs, &one)
		if c == 0 {
			return one, nil
		}
		if (c > 0) != b.Negative {
			return numInf(false), nil
		}
		return apd.Decimal{}, nil
	}
	if b.Negative {
		return apd.Decimal{}, nil
	}
	if a.Negative {
		odd, err := numericMod(b, apd.New(2, 0))
		if err != nil {
			return one, err
		}
		return numInf(numSign(&odd) != 0), nil
	}
	return numInf(false), nil
}
