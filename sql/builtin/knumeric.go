package builtin

import (
	"math"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

func init() {
	type num = apd.Decimal
	num2 := func(f func(a, b *num) (num, error)) Kernel {
		return map2(decs, decs, decs, func(a, b num) (num, error) {
			r, err := f(&a, &b)
			if err == nil {
				err = types.CheckNumeric(&r)
			}
			return r, err
		})
	}
	num1 := func(f func(a *num) (num, error)) Kernel {
		return map1(decs, decs, func(a num) (num, error) { return f(&a) })
	}
	reg(num2(func(a, b *num) (num, error) { return NumericAdd(a, b), nil }), "numeric_add")
	reg(num2(func(a, b *num) (num, error) { return NumericSub(a, b), nil }), "numeric_sub")
	reg(num2(func(a, b *num) (num, error) { return NumericMul(a, b), nil }), "numeric_mul")
	reg(num2(NumericDiv), "numeric_div")
	reg(num2(numericMod), "numeric_mod")
	reg(num2(numericDivTrunc), "numeric_div_trunc")
	reg(num2(numericPower), "numeric_power")
	reg(num2(numericLog), "numeric_log")
	reg(num1(numericLn), "numeric_ln")
	reg(num1(numericExp), "numeric_exp")
	reg(num1(numericSqrt), "numeric_sqrt")
	reg(map1(decs, decs, func(a num) (num, error) { return numericLog(apd.New(10, 0), &a) }), "log(numeric)", "log10(numeric)")
	reg(num1(func(a *num) (num, error) { return numericNeg(a), nil }), "numeric_uminus")
	reg(num1(func(a *num) (num, error) { return *a, nil }), "numeric_uplus")
	reg(num1(func(a *num) (num, error) {
		r := *a
		r.Negative = false
		return r, nil
	}), "numeric_abs")
	reg(num1(func(a *num) (num, error) {
		if isNaN(a) {
			return *a, nil
		}
		return NumericFromInt(int64(numSign(a))), nil
	}), "numeric_sign")
	reg(num1(func(a *num) (num, error) { return numericCeilFloor(a, true), nil }), "numeric_ceil")
	reg(num1(func(a *num) (num, error) { return numericCeilFloor(a, false), nil }), "numeric_floor")
	reg(num1(func(a *num) (num, error) { return NumericAdd(a, apd.New(1, 0)), nil }), "numeric_inc")
	rescale := func(f func(dst, d *num, scale int)) func(a num, s int64) (num, error) {
		return func(a num, s int64) (num, error) {
			var r num
			s = min(max(s, -maxResultScale), maxResultScale)
			f(&r, &a, int(s))
			return r, types.CheckNumeric(&r)
		}
	}
	reg(map2(decs, ints, decs, rescale(types.RoundNumeric)), "numeric_round")
	reg(map2(decs, ints, decs, rescale(types.TruncNumeric)), "numeric_trunc")
	reg(map1(decs, decs, func(a num) (num, error) { return rescale(types.RoundNumeric)(a, 0) }), "round(numeric)")
	reg(map1(decs, decs, func(a num) (num, error) { return rescale(types.TruncNumeric)(a, 0) }), "trunc(numeric)")
	reg(map2(decs, ints, decs, func(a num, mod int64) (num, error) {
		d, err := types.ApplyMod(types.Type{OID: types.NumericOID, Mod: int32(mod)}, types.NewDecimal(&a), true)
		if err != nil {
			return num{}, err
		}
		return *d.Decimal(), nil
	}), "numeric")
	for s, op := range cmpSuffix {
		op := op
		reg(func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
			a, b := args[0].Decimals, args[1].Decimals
			return types.EachRow(n, sel, func(i int) error {
				out.Ints[i] = b2i(cmpTrue(op, types.CompareNumeric(&a[i], &b[i])))
				return nil
			})
		}, "numeric_"+s)
	}
	reg(pure2(decs, decs, ints, func(a, b num) int64 { return int64(sign(types.CompareNumeric(&a, &b))) }), "numeric_cmp")
	reg(pure2(decs, decs, decs, func(a, b num) num {
		if types.CompareNumeric(&a, &b) > 0 {
			return a
		}
		return b
	}), "numeric_larger")
	reg(pure2(decs, decs, decs, func(a, b num) num {
		if types.CompareNumeric(&a, &b) < 0 {
			return a
		}
		return b
	}), "numeric_smaller")
	reg(pure1(ints, decs, NumericFromInt), "int2_numeric", "int4_numeric", "int8_numeric")
	for name, w := range widths {
		w := w
		reg(map1(decs, ints, func(a num) (int64, error) { return numericToInt(&a, w) }), "numeric_"+name)
	}
	reg(map1(decs, floats, func(a num) (float64, error) {
		f := numericFloat(&a)
		if math.IsInf(f, 0) && !isInf(&a) {
			return 0, pgerr.New(pgerr.NumericValueOutOfRange, "\"%s\" is out of range for type double precision", types.AppendNumeric(nil, &a))
		}
		return f, nil
	}), "numeric_float8")
	reg(map1(decs, floats, func(a num) (float64, error) {
		if a.Form != apd.Finite {
			return numericFloat(&a), nil
		}
		d, err := types.ParseText(types.Of(types.Float4OID), types.AppendNumeric(nil, &a), types.DefaultEnv)
		return d.F, err
	}), "numeric_float4")
	reg(map1(floats, decs, func(f float64) (num, error) { return floatNumeric(f, 15) }), "float8_numeric")
	reg(map1(floats, decs, func(f float64) (num, error) { return floatNumeric(f, 6) }), "float4_numeric")
	nullUnlessFinite := func(f func(a *num) types.Datum) Kernel {
		return datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
			a := args[0].Decimals[i]
			if a.Form != apd.Finite {
				return types.NullDatum, nil
			}
			return f(&a), nil
		})
	}
	reg(nullUnlessFinite(func(a *num) types.Datum { return types.NewInt(int64(scaleOf(a))) }), "numeric_scale")
	minScale := func(a *num) int {
		s := scaleOf(a)
		for ; s > 0; s-- {
			var t num
			types.TruncNumeric(&t, a, s-1)
			if types.CompareNumeric(&t, a) != 0 {
				break
			}
		}
		return s
	}
	reg(nullUnlessFinite(func(a *num) types.Datum { return types.NewInt(int64(minScale(a))) }), "numeric_min_scale")
	reg(num1(func(a *num) (num, error) {
		var r num
		types.TruncNumeric(&r, a, minScale(a))
		return r, nil
	}), "numeric_trim_scale")
	reg(map1(ints, decs, func(n int64) (num, error) {
		if n < 0 {
			return num{}, pgerr.New(pgerr.NumericValueOutOfRange, "factorial of a negative number is undefined")
		}
		if n > 32177 {
			return num{}, numericOverflow()
		}
		var r num
		r.Coeff.SetInt64(1)
		for k := int64(2); k <= n; k++ {
			r.Coeff.Mul(&r.Coeff, apd.NewBigInt(k))
		}
		return r, nil
	}), "numeric_fac")
	reg(num2(numericGCD), "numeric_gcd")
	reg(num2(func(a, b *num) (num, error) {
		g, err := numericGCD(a, b)
		if err != nil || g.Form != apd.Finite || numSign(&g) == 0 {
			return g, err
		}
		q := divTo(a, &g, 0, false)
		r := NumericMul(&q, b)
		r.Negative = false
		types.RoundNumeric(&r, &r, max(scaleOf(a), scaleOf(b)))
		return r, nil
	}), "numeric_lcm")
	reg(widthBucketNumeric, "width_bucket_numeric")
}

func sign(c int) int {
	switch {
	case c < 0:
		return -1
	case c > 0:
		return 1
	}
	return 0
}

func numericGCD(a, b *apd.Decimal) (apd.Decimal, error) {
	if isNaN(a) || isNaN(b) || isInf(a) || isInf(b) {
		return numNaN(), nil
	}
	s := max(scaleOf(a), scaleOf(b))
	var x, y apd.Decimal
	types.RoundNumeric(&x, a, s)
	types.RoundNumeric(&y, b, s)
	var p, q, t apd.BigInt
	p.Set(&x.Coeff)
	q.Set(&y.Coeff)
	for q.Sign() != 0 {
		t.Rem(&p, &q)
		p.Set(&q)
		q.Set(&t)
	}
	r := apd.Decimal{Exponent: int32(-s)}
	r.Coeff.Set(&p)
	return r, nil
}

var widthBucketNumeric = rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
	x, lo, hi, n := &args[0].Decimals[i], &args[1].Decimals[i], &args[2].Decimals[i], args[3].Ints[i]
	if n <= 0 {
		return bucketError("count must be greater than zero")
	}
	if isNaN(x) || isNaN(lo) || isNaN(hi) {
		return bucketError("operand, lower bound, and upper bound cannot be NaN")
	}
	if isInf(lo) || isInf(hi) {
		return bucketError("lower and upper bounds must be finite")
	}
	dir := types.CompareNumeric(lo, hi)
	if dir == 0 {
		return bucketError("lower bound cannot equal upper bound")
	}
	cl, ch := types.CompareNumeric(x, lo), types.CompareNumeric(x, hi)
	if dir > 0 {
		cl, ch = -cl, -ch
	}
	var r int64
	switch {
	case cl < 0:
		r = 0
	case ch >= 0:
		r = n + 1
	default:
		num, den := NumericSub(x, lo), NumericSub(hi, lo)
		count := NumericFromInt(n)
		num = NumericMul(&num, &count)
		q := divTo(&num, &den, 0, false)
		k, err := numericToInt(&q, widths["int8"])
		if err != nil {
			return err
		}
		r = k + 1
	}
	if r > math.MaxInt32 {
		return widths["int4"].err()
	}
	out.Ints[i] = r
	return nil
})
