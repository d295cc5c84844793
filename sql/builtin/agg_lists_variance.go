package builtin

import (
	"encoding/binary"
	"math"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/types"
)

// listAcc collects values in order: array_agg and string_agg.
type listAcc struct {
	elem  types.Type
	vals  [][]types.Datum
	delim [][]types.Datum // string_agg: the delimiter before each value
	str   bool
	multi bool // array_agg over arrays
	mem   int64
}

func (a *listAcc) Grow(n int) {
	a.vals = growTo(a.vals, n)
	if a.str {
		a.delim = growTo(a.delim, n)
	}
}

func (a *listAcc) Reset() {
	clear(a.vals)
	clear(a.delim)
	a.vals, a.delim, a.mem = a.vals[:0], a.delim[:0], 0
}

func (a *listAcc) MemSize() int64 { return a.mem + 24*int64(cap(a.vals)) }

func (a *listAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	v := args[0]
	return eachGroup(groups, n, sel, func(g, i int) error {
		if a.str && v.IsNull(i) {
			return nil
		}
		d := v.Get(i).Clone()
		a.mem += 64 + d.MemSize()
		a.vals[g] = append(a.vals[g], d)
		if a.str {
			s := args[1].Get(i).Clone()
			a.mem += 64 + s.MemSize()
			a.delim[g] = append(a.delim[g], s)
		}
		return nil
	})
}

func (a *listAcc) AppendState(dst []byte, g int) ([]byte, error) {
	dst = binary.AppendUvarint(dst, uint64(len(a.vals[g])))
	var err error
	for i, d := range a.vals[g] {
		if dst, err = types.AppendWire(dst, a.elem, d); err != nil {
			return nil, err
		}
		if a.str {
			if dst, err = types.AppendWire(dst, a.elem, a.delim[g][i]); err != nil {
				return nil, err
			}
		}
	}
	return dst, nil
}

func (a *listAcc) MergeState(_ *Context, g int, s []byte) error {
	n, w := binary.Uvarint(s)
	if w <= 0 || n > uint64(len(s)) {
		return corruptState()
	}
	s = s[w:]
	for ; n > 0; n-- {
		d, rest, err := types.DecodeWire(a.elem, s)
		if err != nil {
			return corruptState()
		}
		a.vals[g] = append(a.vals[g], d.Clone())
		a.mem += 64 + d.MemSize()
		s = rest
		if a.str {
			if d, s, err = types.DecodeWire(a.elem, s); err != nil {
				return corruptState()
			}
			a.delim[g] = append(a.delim[g], d.Clone())
		}
	}
	return nil
}

func (a *listAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		vals := a.vals[g]
		switch {
		case len(vals) == 0:
			out.AppendNull()
		case a.str:
			var b []byte
			for i, d := range vals {
				if i > 0 {
					b = append(b, a.delim[g][i].B...)
				}
				b = append(b, d.B...)
			}
			out.AppendDatum(types.NewBytes(nonNil(b)))
		case a.multi:
			r, err := stackRows(vals)
			if err != nil {
				return err
			}
			out.AppendDatum(types.NewArray(r))
		default:
			out.AppendDatum(types.NewArray(types.MakeArray1(a.elem.OID, vals)))
		}
	}
	return nil
}

// momentAcc is the variance family over numerics and integers, exactly: N, sum and sum of squares.
type momentAcc struct {
	n          []int64
	sum, sq    []apd.Decimal
	sample, sd bool
	ints       bool
}

func (a *momentAcc) Grow(n int) {
	a.n, a.sum, a.sq = growTo(a.n, n), growTo(a.sum, n), growTo(a.sq, n)
}
func (a *momentAcc) Reset()         { a.n, a.sum, a.sq = a.n[:0], a.sum[:0], a.sq[:0] }
func (a *momentAcc) MemSize() int64 { return 80 * int64(cap(a.n)) }

func (a *momentAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	v := args[0]
	return eachGroup(groups, n, sel, func(g, i int) error {
		if v.IsNull(i) {
			return nil
		}
		var x apd.Decimal
		if a.ints {
			x = NumericFromInt(v.Ints[i])
		} else {
			x = v.Decimals[i]
		}
		a.n[g]++
		a.sum[g] = NumericAdd(&a.sum[g], &x)
		x2 := NumericMul(&x, &x)
		a.sq[g] = NumericAdd(&a.sq[g], &x2)
		return nil
	})
}

func (a *momentAcc) AppendState(dst []byte, g int) ([]byte, error) {
	dst = binary.AppendVarint(dst, a.n[g])
	dst, err := types.AppendWire(dst, numericType, types.NewDecimal(&a.sum[g]))
	if err != nil {
		return nil, err
	}
	return types.AppendWire(dst, numericType, types.NewDecimal(&a.sq[g]))
}

func (a *momentAcc) MergeState(_ *Context, g int, s []byte) error {
	n, w := binary.Varint(s)
	if w <= 0 {
		return corruptState()
	}
	x, rest, err := types.DecodeWire(numericType, s[w:])
	if err != nil || x.Null {
		return corruptState()
	}
	y, _, err := types.DecodeWire(numericType, rest)
	if err != nil || y.Null {
		return corruptState()
	}
	a.n[g] += n
	a.sum[g] = NumericAdd(&a.sum[g], x.Decimal())
	a.sq[g] = NumericAdd(&a.sq[g], y.Decimal())
	return nil
}

func (a *momentAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		n := a.n[g]
		if n == 0 || a.sample && n == 1 {
			out.AppendNull()
			continue
		}
		if a.sum[g].Form != apd.Finite {
			d := numNaN()
			out.AppendDatum(types.NewDecimal(&d))
			continue
		}
		// (N * sum(x^2) - sum(x)^2) / (N * (N-1 or N))
		vn := NumericFromInt(n)
		num := NumericMul(&vn, &a.sq[g])
		s2 := NumericMul(&a.sum[g], &a.sum[g])
		num = NumericSub(&num, &s2)
		if numSign(&num) <= 0 {
			d := apd.Decimal{}
			out.AppendDatum(types.NewDecimal(&d))
			continue
		}
		den := vn
		if a.sample {
			den = NumericFromInt(n - 1)
		}
		den = NumericMul(&vn, &den)
		scale := divScale(&num, &den)
		r := divTo(&num, &den, scale, true)
		if a.sd {
			r = sqrtTo(&r, scale)
		}
		out.AppendDatum(types.NewDecimal(&r))
	}
	return nil
}

// sqrtTo is a square root to a scale.
func sqrtTo(d *apd.Decimal, scale int) apd.Decimal {
	var x apd.BigInt
	x.Set(&d.Coeff)
	if k := 2*(scale+1) - scaleOf(d); k >= 0 {
		x.Mul(&x, types.Pow10(k))
	} else {
		x.Quo(&x, types.Pow10(-k))
	}
	r := apd.Decimal{Exponent: int32(-(scale + 1))}
	r.Coeff.Sqrt(&x)
	types.RoundNumeric(&r, &r, scale)
	return r
}

// fmomentAcc is the variance family over floats, by the Youngs-Cramer recurrence that PostgreSQL uses.
type fmomentAcc struct {
	n, sx, sxx []float64
	sample, sd bool
}

func (a *fmomentAcc) Grow(n int) {
	a.n, a.sx, a.sxx = growTo(a.n, n), growTo(a.sx, n), growTo(a.sxx, n)
}
func (a *fmomentAcc) Reset()         { a.n, a.sx, a.sxx = a.n[:0], a.sx[:0], a.sxx[:0] }
func (a *fmomentAcc) MemSize() int64 { return 24 * int64(cap(a.n)) }

func (a *fmomentAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	v := args[0]
	return eachGroup(groups, n, sel, func(g, i int) error {
		if v.IsNull(i) {
			return nil
		}
		x := v.Floats[i]
		n := a.n[g] + 1
		sx := a.sx[g] + x
		if n > 1 {
			t := x*n - sx
			a.sxx[g] += t * t / (n * (n - 1))
			if math.IsInf(sx, 0) || math.IsInf(a.sxx[g], 0) {
				if finite(a.sx[g]) && finite(x) {
					return floatOverflow()
				}
				a.sxx[g] = math.NaN()
			}
		} else if math.IsNaN(x) || math.IsInf(x, 0) {
			a.sxx[g] = math.NaN()
		}
		a.n[g], a.sx[g] = n, sx
		return nil
	})
}

func (a *fmomentAcc) AppendState(dst []byte, g int) ([]byte, error) {
	for _, f := range []float64{a.n[g], a.sx[g], a.sxx[g]} {
		dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(f))
	}
	return dst, nil
}

func (a *fmomentAcc) MergeState(_ *Context, g int, s []byte) error {
	if len(s) != 24 {
		return corruptState()
	}
	var f [3]float64
	for i := range f {
		f[i] = math.Float64frombits(binary.BigEndian.Uint64(s[8*i:]))
	}
	switch {
	case f[0] == 0:
	case a.n[g] == 0:
		a.n[g], a.sx[g], a.sxx[g] = f[0], f[1], f[2]
	default:
		n := a.n[g] + f[0]
		t := a.sx[g]/a.n[g] - f[1]/f[0]
		a.sxx[g] += f[2] + a.n[g]*f[0]*t*t/n
		a.sx[g] += f[1]
		a.n[g] = n
	}
	return nil
}

func (a *fmomentAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		n := a.n[g]
		if n == 0 || a.sample && n == 1 {
			out.AppendNull()
			continue
		}
		d := n
		if a.sample {
			d--
		}
		r := a.sxx[g] / d
		if a.sd {
			r = math.Sqrt(r)
		}
		out.AppendDatum(types.NewFloat(r))
	}
	return nil
}

func init() {
	type mk = func(args []types.Type, result types.Type) Accumulator
	list := func(str, multi bool) mk {
		return func(args []types.Type, _ types.Type) Accumulator {
			return &listAcc{elem: args[0], str: str, multi: multi}
		}
	}
	RegisterAggregate("array_agg(anynonarray)", true, list(false, false))
	RegisterAggregate("array_agg(anyarray)", true, list(false, true))
	RegisterAggregate("string_agg(text,text)", true, list(true, false))
	RegisterAggregate("string_agg(bytea,bytea)", true, list(true, false))
	for name, f := range map[string][2]bool{"variance": {true, false}, "var_samp": {true, false}, "var_pop": {false, false},
		"stddev": {true, true}, "stddev_samp": {true, true}, "stddev_pop": {false, true}} {
		for _, t := range []string{"int2", "int4", "int8", "numeric"} {
			ints := t != "numeric"
			RegisterAggregate(name+"("+t+")", false, func([]types.Type, types.Type) Accumulator {
				return &momentAcc{sample: f[0], sd: f[1], ints: ints}
			})
		}
		for _, t := range []string{"float4", "float8"} {
			RegisterAggregate(name+"("+t+")", false, func([]types.Type, types.Type) Accumulator { return &fmomentAcc{sample: f[0], sd: f[1]} })
		}
	}
}

// stackRows makes arrays the rows of an array with a dimension more.
func stackRows(vals []types.Datum) (*types.Array, error) {
	var out *types.Array
	for _, v := range vals {
		if v.Null {
			return nil, arrayAggError("cannot accumulate null arrays")
		}
		a := v.Array()
		if len(a.Dims) == 0 {
			return nil, arrayAggError("cannot accumulate empty arrays")
		}
		if out == nil {
			out = &types.Array{Elem: a.Elem, Dims: append([]types.ArrayDim{{Len: int32(len(vals)), Lower: 1}}, a.Dims...)}
		}
		if len(a.Dims) != len(out.Dims)-1 {
			return nil, arrayAggError("cannot accumulate arrays of different dimensionality")
		}
		for i, d := range a.Dims {
			if d != out.Dims[i+1] {
				return nil, arrayAggError("cannot accumulate arrays of different dimensionality")
			}
		}
		out.Elems = append(out.Elems, a.Elems...)
	}
	return out, nil
}
