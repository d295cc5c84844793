package builtin

import (
	"math"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

func floatOverflow() error {
	return pgerr.New(pgerr.NumericValueOutOfRange, "value out of range: overflow")
}
func floatUnderflow() error {
	return pgerr.New(pgerr.NumericValueOutOfRange, "value out of range: underflow")
}

// round32 is the identity for float8 and rounds to single precision for float4.
func rounder(single bool) func(float64) float64 {
	if single {
		return func(x float64) float64 { return float64(float32(x)) }
	}
	return func(x float64) float64 { return x }
}

func finite(x float64) bool { return !math.IsInf(x, 0) }

func floatArith(single bool, op byte) func(a, b float64) (float64, error) {
	r := rounder(single)
	switch op {
	case '+', '-':
		return func(a, b float64) (float64, error) {
			if op == '-' {
				b = -b
			}
			s := r(a + b)
			if math.IsInf(s, 0) && finite(a) && finite(b) {
				return 0, floatOverflow()
			}
			return s, nil
		}
	case '*':
		return func(a, b float64) (float64, error) {
			p := r(a * b)
			if math.IsInf(p, 0) && finite(a) && finite(b) {
				return 0, floatOverflow()
			}
			if p == 0 && a != 0 && b != 0 {
				return 0, floatUnderflow()
			}
			return p, nil
		}
	}
	return func(a, b float64) (float64, error) {
		if b == 0 && !math.IsNaN(a) {
			return 0, divisionByZero()
		}
		q := r(a / b)
		if math.IsInf(q, 0) && finite(a) && finite(b) {
			return 0, floatOverflow()
		}
		if q == 0 && a != 0 && finite(b) {
			return 0, floatUnderflow()
		}
		return q, nil
	}
}

// float1 wraps a C function: errors where the result is infinite or zero out of finite, nonzero input.
func float1(f func(float64) float64) func(float64) (float64, error) {
	return func(x float64) (float64, error) {
		y := f(x)
		if math.IsInf(y, 0) && finite(x) {
			return 0, floatOverflow()
		}
		return y, nil
	}
}

func inputOutOfRange() error { return pgerr.New(pgerr.NumericValueOutOfRange, "input is out of range") }

func domain1(f func(float64) float64, ok func(float64) bool) func(float64) (float64, error) {
	return func(x float64) (float64, error) {
		if math.IsNaN(x) {
			return x, nil
		}
		if !ok(x) {
			return 0, inputOutOfRange()
		}
		return f(x), nil
	}
}

// toInt rounds half to even, as rint does, and checks the range.
func toInt(w width) func(float64) (int64, error) {
	lim := math.Ldexp(1, int(w.bits)-1)
	return func(x float64) (int64, error) {
		y := math.RoundToEven(x)
		if math.IsNaN(y) || y < -lim || y >= lim {
			return 0, w.err()
		}
		return int64(y), nil
	}
}

func dpow(a, b float64) (float64, error) {
	if math.IsNaN(a) {
		if b == 0 {
			return 1, nil
		}
		return math.NaN(), nil
	}
	if math.IsNaN(b) {
		if a == 1 {
			return 1, nil
		}
		return math.NaN(), nil
	}
	if a == 0 && b < 0 {
		return 0, pgerr.New(pgerr.InvalidArgumentForPower, "zero raised to a negative power is undefined")
	}
	if a < 0 && finite(b) && math.Floor(b) != b {
		return 0, pgerr.New(pgerr.InvalidArgumentForPower, "a negative number raised to a non-integer power yields a complex result")
	}
	r := math.Pow(a, b)
	if finite(a) && finite(b) {
		if math.IsInf(r, 0) {
			return 0, floatOverflow()
		}
		if r == 0 && a != 0 {
			return 0, floatUnderflow()
		}
	}
	return r, nil
}

func dlog(f func(float64) float64) func(float64) (float64, error) {
	return func(x float64) (float64, error) {
		if x == 0 {
			return 0, pgerr.New(pgerr.InvalidArgumentForLogarithm, "cannot take logarithm of zero")
		}
		if x < 0 {
			return 0, pgerr.New(pgerr.InvalidArgumentForLogarithm, "cannot take logarithm of a negative number")
		}
		return f(x), nil
	}
}

func init() {
	type cmp2 = func(a, b float64) int64
	for _, p := range []string{"float4", "float8", "float48", "float84"} {
		single := p == "float4"
		reg(map2(floats, floats, floats, floatArith(single, '+')), p+"pl")
		reg(map2(floats, floats, floats, floatArith(single, '-')), p+"mi")
		reg(map2(floats, floats, floats, floatArith(single, '*')), p+"mul")
		reg(map2(floats, floats, floats, floatArith(single, '/')), p+"div")
		for s, op := range cmpSuffix {
			op := op
			reg(pure2(floats, floats, ints, cmp2(func(a, b float64) int64 { return b2i(cmpTrue(op, types.CompareFloat(a, b))) })), p+s)
		}
		reg(pure1(floats, floats, func(x float64) float64 { return -x }), p+"um")
		reg(pure1(floats, floats, func(x float64) float64 { return x }), p+"up")
		reg(pure1(floats, floats, math.Abs), p+"abs")
		reg(pure2(floats, floats, floats, func(a, b float64) float64 {
			if types.CompareFloat(a, b) > 0 {
				return a
			}
			return b
		}), p+"larger")
		reg(pure2(floats, floats, floats, func(a, b float64) float64 {
			if types.CompareFloat(a, b) < 0 {
				return a
			}
			return b
		}), p+"smaller")
	}
	reg(pure2(floats, floats, ints, func(a, b float64) int64 { return int64(types.CompareFloat(a, b)) }), "btfloat4cmp", "btfloat8cmp", "btfloat48cmp", "btfloat84cmp")

	itof := pure1(ints, floats, func(x int64) float64 { return float64(x) })
	reg(itof, "i8tod", "i4tod", "i2tod")
	reg(pure1(ints, floats, func(x int64) float64 { return float64(float32(x)) }), "i8tof", "i4tof", "i2tof")
	reg(pure1(floats, floats, func(x float64) float64 { return x }), "ftod")
	reg(map1(floats, floats, func(x float64) (float64, error) {
		y := float64(float32(x))
		if math.IsInf(y, 0) && finite(x) {
			return 0, floatOverflow()
		}
		if y == 0 && x != 0 {
			return 0, floatUnderflow()
		}
		return y, nil
	}), "dtof")
	for name, w := range map[string]width{"toi8": widths["int8"], "toi4": widths["int4"], "toi2": widths["int2"]} {
		reg(map1(floats, ints, toInt(w)), "d"+name, "f"+name)
	}

	f1 := func(f func(float64) float64, sources ...string) { reg(map1(floats, floats, float1(f)), sources...) }
	f1(math.Ceil, "dceil")
	f1(math.Floor, "dfloor")
	f1(math.RoundToEven, "dround")
	f1(math.Trunc, "dtrunc")
	f1(func(x float64) float64 {
		switch {
		case x > 0:
			return 1
		case x < 0:
			return -1
		case x == 0:
			return 0
		}
		return x
	}, "dsign")
	reg(map1(floats, floats, func(x float64) (float64, error) {
		if x < 0 {
			return 0, pgerr.New(pgerr.InvalidArgumentForPower, "cannot take square root of a negative number")
		}
		return math.Sqrt(x), nil
	}), "dsqrt")
	f1(math.Cbrt, "dcbrt")
	reg(map2(floats, floats, floats, dpow), "dpow")
	reg(map1(floats, floats, func(x float64) (float64, error) {
		y := math.Exp(x)
		if math.IsInf(y, 0) && finite(x) {
			return 0, floatOverflow()
		}
		if y == 0 && finite(x) {
			return 0, floatUnderflow()
		}
		return y, nil
	}), "dexp")
	reg(map1(floats, floats, dlog(math.Log)), "dlog1")
	reg(map1(floats, floats, dlog(math.Log10)), "dlog10")
	unit := func(x float64) bool { return x >= -1 && x <= 1 }
	reg(map1(floats, floats, domain1(math.Acos, unit)), "dacos")
	reg(map1(floats, floats, domain1(math.Asin, unit)), "dasin")
	reg(map1(floats, floats, domain1(math.Atan, func(float64) bool { return true })), "datan")
	reg(pure2(floats, floats, floats, math.Atan2), "datan2")
	reg(map1(floats, floats, domain1(math.Cos, finite)), "dcos")
	reg(map1(floats, floats, domain1(math.Sin, finite)), "dsin")
	reg(map1(floats, floats, domain1(math.Tan, finite)), "dtan")
	reg(map1(floats, floats, domain1(func(x float64) float64 { return 1 / math.Tan(x) }, finite)), "dcot")
	reg(map1(floats, floats, domain1(math.Acosh, func(x float64) bool { return x >= 1 })), "dacosh")
	reg(map1(floats, floats, domain1(math.Atanh, unit)), "datanh")
	f1(math.Asinh, "dasinh")
	f1(math.Sinh, "dsinh")
	f1(math.Cosh, "dcosh")
	f1(math.Tanh, "dtanh")
	reg(pure1(floats, floats, func(x float64) float64 { return x * 180 / math.Pi }), "degrees")
	reg(pure1(floats, floats, func(x float64) float64 { return x * math.Pi / 180 }), "radians")
	reg(func(_ *Context, _ []*types.Vec, n int, sel []int32, out *types.Vec) error {
		return types.EachRow(n, sel, func(i int) error { out.Floats[i] = math.Pi; return nil })
	}, "dpi")
	reg(widthBucketFloat, "width_bucket_float8")
}

func bucketError(what string) error {
	return pgerr.New(pgerr.InvalidArgumentForWidthBucket, "%s", what)
}

var widthBucketFloat = rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
	x, lo, hi, n := args[0].Floats[i], args[1].Floats[i], args[2].Floats[i], args[3].Ints[i]
	switch {
	case n <= 0:
		return bucketError("count must be greater than zero")
	case math.IsNaN(x) || math.IsNaN(lo) || math.IsNaN(hi):
		return bucketError("operand, lower bound, and upper bound cannot be NaN")
	case !finite(lo) || !finite(hi):
		return bucketError("lower and upper bounds must be finite")
	case lo == hi:
		return bucketError("lower bound cannot equal upper bound")
	}
	var r int64
	if lo < hi {
		switch {
		case x < lo:
			r = 0
		case x >= hi:
			r = n + 1
		default:
			r = int64(float64(n)*((x-lo)/(hi-lo))) + 1
		}
	} else {
		switch {
		case x > lo:
			r = 0
		case x <= hi:
			r = n + 1
		default:
			r = int64(float64(n)*((lo-x)/(lo-hi))) + 1
		}
	}
	if r > math.MaxInt32 {
		return widths["int4"].err()
	}
	out.Ints[i] = r
	return nil
})
