package builtin

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

func corruptState() error { return pgerr.New(pgerr.InternalError, "corrupt aggregate state") }

// countAcc is count(*) and count(x).
type countAcc struct {
	n    []int64
	star bool
}

func (a *countAcc) Grow(n int)     { a.n = growTo(a.n, n) }
func (a *countAcc) Reset()         { a.n = a.n[:0] }
func (a *countAcc) MemSize() int64 { return 8 * int64(cap(a.n)) }

func (a *countAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	var v *types.Vec
	if !a.star && args[0].HasNulls {
		v = args[0]
	}
	if v == nil && groups == nil {
		if sel != nil {
			n = len(sel)
		}
		a.n[0] += int64(n)
		return nil
	}
	return eachGroup(groups, n, sel, func(g, i int) error {
		if v == nil || !v.Nulls[i] {
			a.n[g]++
		}
		return nil
	})
}

func (a *countAcc) AppendState(dst []byte, g int) ([]byte, error) {
	return binary.AppendVarint(dst, a.n[g]), nil
}

func (a *countAcc) MergeState(_ *Context, g int, s []byte) error {
	x, n := binary.Varint(s)
	if n <= 0 {
		return corruptState()
	}
	a.n[g] += x
	return nil
}

func (a *countAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for _, x := range a.n[lo:hi] {
		out.AppendDatum(types.NewInt(x))
	}
	return nil
}

// int128 is a sum that cannot overflow: 2^64 rows of int8.
type int128 struct {
	hi int64
	lo uint64
}

func (s *int128) add(x int64) {
	var c uint64
	s.lo, c = bits.Add64(s.lo, uint64(x), 0)
	s.hi += x>>63 + int64(c)
}

func (s *int128) merge(o int128) {
	var c uint64
	s.lo, c = bits.Add64(s.lo, o.lo, 0)
	s.hi += o.hi + int64(c)
}

func (s int128) numeric() apd.Decimal {
	neg := s.hi < 0
	hi, lo := uint64(s.hi), s.lo
	if neg {
		var b uint64
		lo, b = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, b)
	}
	var d apd.Decimal
	if hi == 0 {
		d.Coeff.SetUint64(lo)
	} else {
		var t apd.BigInt
		t.SetUint64(lo)
		d.Coeff.SetUint64(hi)
		d.Coeff.Lsh(&d.Coeff, 64)
		d.Coeff.Add(&d.Coeff, &t)
	}
	d.Negative = neg
	return d
}

// intSumAcc is sum and avg over integers.
type intSumAcc struct {
	sum   []int128
	n     []int64
	avg   bool
	small bool // the result is int8: sum over int2 and int4
}

func (a *intSumAcc) Grow(n int) {
	a.sum = growTo(a.sum, n)
	a.n = growTo(a.n, n)
}

func (a *intSumAcc) Reset()         { a.sum, a.n = a.sum[:0], a.n[:0] }
func (a *intSumAcc) MemSize() int64 { return 24 * int64(cap(a.n)) }

func (a *intSumAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	v := args[0]
	if groups == nil && !v.HasNulls {
		// Sum the low and high halves apart, so that neither overflows within a batch.
		var lo, hi int64
		if sel == nil {
			for _, x := range v.Ints[:n] {
				lo += x & 0xffffffff
				hi += x >> 32
			}
			a.n[0] += int64(n)
		} else {
			for _, i := range sel {
				x := v.Ints[i]
				lo += x & 0xffffffff
				hi += x >> 32
			}
			a.n[0] += int64(len(sel))
		}
		s := &a.sum[0]
		s.add(lo)
		s.merge(int128{hi: hi >> 32, lo: uint64(hi) << 32})
		return nil
	}
	return eachGroup(groups, n, sel, func(g, i int) error {
		if !v.HasNulls || !v.Nulls[i] {
			a.sum[g].add(v.Ints[i])
			a.n[g]++
		}
		return nil
	})
}

func (a *intSumAcc) AppendState(dst []byte, g int) ([]byte, error) {
	dst = binary.AppendVarint(dst, a.n[g])
	dst = binary.BigEndian.AppendUint64(dst, uint64(a.sum[g].hi))
	return binary.BigEndian.AppendUint64(dst, a.sum[g].lo), nil
}

func (a *intSumAcc) MergeState(_ *Context, g int, s []byte) error {
	x, n := binary.Varint(s)
	if n <= 0 || len(s) != n+16 {
		return corruptState()
	}
	a.n[g] += x
	a.sum[g].merge(int128{hi: int64(binary.BigEndian.Uint64(s[n:])), lo: binary.BigEndian.Uint64(s[n+8:])})
	return nil
}

func (a *intSumAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		s := a.sum[g]
		switch {
		case a.n[g] == 0:
			out.AppendNull()
		case a.small && !a.avg:
			if s.hi != int64(s.lo)>>63 {
				return outOfRange("bigint")
			}
			out.AppendDatum(types.NewInt(int64(s.lo)))
		default:
			d := s.numeric()
			if a.avg {
				n := NumericFromInt(a.n[g])
				q, err := NumericDiv(&d, &n)
				if err != nil {
					return err
				}
				d = q
			}
			out.AppendDatum(types.NewDecimal(&d))
		}
	}
	return nil
}

// floatSumAcc is sum and avg over floats.
type floatSumAcc struct {
	sum    []float64
	n      []int64
	avg    bool
	single bool
}

func (a *floatSumAcc) Grow(n int) {
	a.sum = growTo(a.sum, n)
	a.n = growTo(a.n, n)
}

func (a *floatSumAcc) Reset()         { a.sum, a.n = a.sum[:0], a.n[:0] }
func (a *floatSumAcc) MemSize() int64 { return 16 * int64(cap(a.n)) }

func (a *floatSumAcc) add(g int, x float64, n int64) error {
	s := a.sum[g] + x
	if a.single {
		s = float64(float32(s))
	}
	if math.IsInf(s, 0) && finite(x) && finite(a.sum[g]) {
		return floatOverflow()
	}
	a.sum[g] = s
	a.n[g] += n
	return nil
}

func (a *floatSumAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	v := args[0]
	return eachGroup(groups, n, sel, func(g, i int) error {
		if v.HasNulls && v.Nulls[i] {
			return nil
		}
		return a.add(g, v.Floats[i], 1)
	})
}

func (a *floatSumAcc) AppendState(dst []byte, g int) ([]byte, error) {
	dst = binary.AppendVarint(dst, a.n[g])
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(a.sum[g])), nil
}

func (a *floatSumAcc) MergeState(_ *Context, g int, s []byte) error {
	x, n := binary.Varint(s)
	if n <= 0 || len(s) != n+8 {
		return corruptState()
	}
	return a.add(g, math.Float64frombits(binary.BigEndian.Uint64(s[n:])), x)
}

func (a *floatSumAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		switch {
		case a.n[g] == 0:
			out.AppendNull()
		case a.avg:
			out.AppendDatum(types.NewFloat(a.sum[g] / float64(a.n[g])))
		default:
			out.AppendDatum(types.NewFloat(a.sum[g]))
		}
	}
	return nil
}

// numSumAcc is sum and avg over numerics.
type numSumAcc struct {
	sum []apd.Decimal
	n   []int64
	avg bool
}

func (a *numSumAcc) Grow(n int) {
	a.sum = growTo(a.sum, n)
	a.n = growTo(a.n, n)
}

func (a *numSumAcc) Reset()         { a.sum, a.n = a.sum[:0], a.n[:0] }
func (a *numSumAcc) MemSize() int64 { return 40 * int64(cap(a.n)) }

func (a *numSumAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	v := args[0]
	return eachGroup(groups, n, sel, func(g, i int) error {
		if v.HasNulls && v.Nulls[i] {
			return nil
		}
		if a.n[g]++; a.n[g] == 1 {
			a.sum[g] = v.Decimals[i]
			return nil
		}
		a.sum[g] = NumericAdd(&a.sum[g], &v.Decimals[i])
		return nil
	})
}

var numericType = types.Of(types.NumericOID)

func (a *numSumAcc) AppendState(dst []byte, g int) ([]byte, error) {
	dst = binary.AppendVarint(dst, a.n[g])
	return types.AppendWire(dst, numericType, types.NewDecimal(&a.sum[g]))
}

func (a *numSumAcc) MergeState(_ *Context, g int, s []byte) error {
	x, n := binary.Varint(s)
	if n <= 0 {
		return corruptState()
	}
	d, _, err := types.DecodeWire(numericType, s[n:])
	if err != nil || d.Null {
		return corruptState()
	}
	if x == 0 {
		return nil
	}
	if a.n[g] == 0 {
		a.sum[g] = *d.Decimal()
	} else {
		a.sum[g] = NumericAdd(&a.sum[g], d.Decimal())
	}
	a.n[g] += x
	return nil
}

func (a *numSumAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		if a.n[g] == 0 {
			out.AppendNull()
			continue
		}
		d := a.sum[g]
		if a.avg {
			n := NumericFromInt(a.n[g])
			q, err := NumericDiv(&d, &n)
			if err != nil {
				return err
			}
			d = q
		} else if err := types.CheckNumeric(&d); err != nil {
			return err
		}
		out.AppendDatum(types.NewDecimal(&d))
	}
	return nil
}

// extremeAcc is min and max over any type.
type extremeAcc struct {
	best types.Vec
	set  []bool
	max  bool
	mem  int64
}

func (a *extremeAcc) Grow(n int) {
	old := len(a.set)
	a.set = growTo(a.set, n)
	a.best.Resize(max(n, a.best.N))
	for g := old; g < n; g++ {
		a.best.SetNull(g)
	}
}

func (a *extremeAcc) Reset() {
	a.set = a.set[:0]
	a.best.ResetSame()
	a.mem = 0
}

func (a *extremeAcc) tieTakesNew() bool {
	return a.best.Repr == types.ReprDecimal || a.best.Repr == types.ReprInterval || a.best.Repr == types.ReprFloat
}

func (a *extremeAcc) MemSize() int64 { return a.mem + 32*int64(cap(a.set)) }

func (a *extremeAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	v := args[0]
	if v.Repr == types.ReprInt && !v.HasNulls && groups == nil && sel == nil && n > 0 && v.Type.OID != types.CharOID {
		m := v.Ints[0]
		if a.max {
			for _, x := range v.Ints[1:n] {
				m = max(m, x)
			}
		} else {
			for _, x := range v.Ints[1:n] {
				m = min(m, x)
			}
		}
		if !a.set[0] || a.max == (m > a.best.Ints[0]) {
			a.set[0] = true
			a.best.Set(0, types.NewInt(m))
		}
		return nil
	}
	return eachGroup(groups, n, sel, func(g, i int) error {
		if v.HasNulls && v.Nulls[i] {
			return nil
		}
		if a.set[g] {
			// Of equal values that look different (1.0, 1.00) PostgreSQL takes the later.
			c := types.CompareVec(v, i, &a.best, g, false)
			if c == 0 && !a.tieTakesNew() || c != 0 && (c > 0) != a.max {
				return nil
			}
		}
		a.set[g] = true
		// The input's bytes belong to its batch.
		d := v.Get(i).Clone()
		a.mem += d.MemSize()
		a.best.Set(g, d)
		return nil
	})
}

func (a *extremeAcc) AppendState(dst []byte, g int) ([]byte, error) {
	return types.AppendWire(dst, a.best.Type, a.best.Get(g))
}

func (a *extremeAcc) MergeState(_ *Context, g int, s []byte) error {
	d, _, err := types.DecodeWire(a.best.Type, s)
	if err != nil {
		return corruptState()
	}
	if d.Null {
		return nil
	}
	if a.set[g] {
		c := types.Compare(a.best.Type.OID, d, a.best.Get(g))
		if c == 0 && !a.tieTakesNew() || c != 0 && (c > 0) != a.max {
			return nil
		}
	}
	a.set[g] = true
	a.best.Set(g, d.Clone())
	return nil
}

func (a *extremeAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		out.AppendFrom(&a.best, g)
	}
	return nil
}

// foldAcc is an aggregate over integers by a function of two: bool_and, bit_or and their like.
type foldAcc struct {
	val []int64
	set []bool
	f   func(a, b int64) int64
}

func (a *foldAcc) Grow(n int) {
	a.val = growTo(a.val, n)
	a.set = growTo(a.set, n)
}

func (a *foldAcc) Reset()         { a.val, a.set = a.val[:0], a.set[:0] }
func (a *foldAcc) MemSize() int64 { return 9 * int64(cap(a.val)) }

func (a *foldAcc) put(g int, x int64) {
	if !a.set[g] {
		a.set[g], a.val[g] = true, x
		return
	}
	a.val[g] = a.f(a.val[g], x)
}

func (a *foldAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	v := args[0]
	return eachGroup(groups, n, sel, func(g, i int) error {
		if !v.HasNulls || !v.Nulls[i] {
			a.put(g, v.Ints[i])
		}
		return nil
	})
}

func (a *foldAcc) AppendState(dst []byte, g int) ([]byte, error) {
	if !a.set[g] {
		return append(dst, 0), nil
	}
	return binary.AppendVarint(append(dst, 1), a.val[g]), nil
}

func (a *foldAcc) MergeState(_ *Context, g int, s []byte) error {
	if len(s) == 0 {
		return corruptState()
	}
	if s[0] == 1 {
		x, n := binary.Varint(s[1:])
		if n <= 0 {
			return corruptState()
		}
		a.put(g, x)
	}
	return nil
}

func (a *foldAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		if a.set[g] {
			out.AppendDatum(types.NewInt(a.val[g]))
		} else {
			out.AppendNull()
		}
	}
	return nil
}

func init() {
	add := func(source string, mk func(args []types.Type, result types.Type) Accumulator) {
		aggregates[source] = aggMaker{make: mk}
	}
	add("count()", func([]types.Type, types.Type) Accumulator { return &countAcc{star: true} })
	add("count(any)", func([]types.Type, types.Type) Accumulator { return &countAcc{} })
	for _, t := range []string{"int2", "int4", "int8"} {
		small := t != "int8"
		add("sum("+t+")", func([]types.Type, types.Type) Accumulator { return &intSumAcc{small: small} })
		add("avg("+t+")", func([]types.Type, types.Type) Accumulator { return &intSumAcc{avg: true} })
	}
	add("sum(numeric)", func([]types.Type, types.Type) Accumulator { return &numSumAcc{} })
	add("avg(numeric)", func([]types.Type, types.Type) Accumulator { return &numSumAcc{avg: true} })
	add("sum(float8)", func([]types.Type, types.Type) Accumulator { return &floatSumAcc{} })
	add("sum(float4)", func([]types.Type, types.Type) Accumulator { return &floatSumAcc{single: true} })
	add("avg(float8)", func([]types.Type, types.Type) Accumulator { return &floatSumAcc{avg: true} })
	add("avg(float4)", func([]types.Type, types.Type) Accumulator { return &floatSumAcc{avg: true} })
	for _, t := range []string{"int2", "int4", "int8", "oid", "float4", "float8", "numeric", "text", "bpchar", "date", "time", "timetz",
		"timestamp", "timestamptz", "interval", "anyarray", "pg_lsn", "xid8"} {
		for _, m := range []bool{true, false} {
			name := "min("
			if m {
				name = "max("
			}
			m := m
			add(name+t+")", func(args []types.Type, _ types.Type) Accumulator {
				return &extremeAcc{max: m, best: types.Vec{Type: args[0], Repr: types.ReprOf(args[0].OID)}}
			})
		}
	}
	fold := func(f func(a, b int64) int64, sources ...string) {
		for _, s := range sources {
			add(s, func([]types.Type, types.Type) Accumulator { return &foldAcc{f: f} })
		}
	}
	fold(func(a, b int64) int64 { return a & b }, "bool_and(bool)", "every(bool)", "bit_and(int2)", "bit_and(int4)", "bit_and(int8)")
	fold(func(a, b int64) int64 { return a | b }, "bool_or(bool)", "bit_or(int2)", "bit_or(int4)", "bit_or(int8)")
	fold(func(a, b int64) int64 { return a ^ b }, "bit_xor(int2)", "bit_xor(int4)", "bit_xor(int8)")
}
