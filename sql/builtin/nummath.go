package builtin

import (
	"math"
	"strconv"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

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
