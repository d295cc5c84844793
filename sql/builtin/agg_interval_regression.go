package builtin

import (
	"encoding/binary"
	"math"

	"github.com/pamirdb/pamir/sql/types"
)

// ivSumAcc is sum and avg over intervals.
type ivSumAcc struct {
	sum []types.Interval
	n   []int64
	avg bool
}

func (a *ivSumAcc) Grow(n int)     { a.sum, a.n = growTo(a.sum, n), growTo(a.n, n) }
func (a *ivSumAcc) Reset()         { a.sum, a.n = a.sum[:0], a.n[:0] }
func (a *ivSumAcc) MemSize() int64 { return 24 * int64(cap(a.n)) }

func (a *ivSumAcc) put(g int, x types.Interval, n int64) error {
	s, err := sumIntervals(a.sum[g], x, false)
	a.sum[g] = s
	a.n[g] += n
	return err
}

func (a *ivSumAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	v := args[0]
	return eachGroup(groups, n, sel, func(g, i int) error {
		if v.IsNull(i) {
			return nil
		}
		return a.put(g, v.Intervals[i], 1)
	})
}

var intervalType = types.Of(types.IntervalOID)

func (a *ivSumAcc) AppendState(dst []byte, g int) ([]byte, error) {
	return types.AppendWire(binary.AppendVarint(dst, a.n[g]), intervalType, types.NewInterval(a.sum[g]))
}

func (a *ivSumAcc) MergeState(_ *Context, g int, s []byte) error {
	n, w := binary.Varint(s)
	if w <= 0 {
		return corruptState()
	}
	d, _, err := types.DecodeWire(intervalType, s[w:])
	if err != nil || d.Null {
		return corruptState()
	}
	return a.put(g, d.Interval(), n)
}

func (a *ivSumAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		if a.n[g] == 0 {
			out.AppendNull()
			continue
		}
		r := a.sum[g]
		if a.avg {
			var err error
			if r, err = scaleInterval(r, float64(a.n[g]), true); err != nil {
				return err
			}
		}
		out.AppendDatum(types.NewInterval(r))
	}
	return nil
}

// regression sums over pairs (y, x), by the recurrence that PostgreSQL uses.
type regression struct{ n, sx, sxx, sy, syy, sxy float64 }

func (r *regression) add(y, x float64) error {
	r.n++
	r.sx += x
	r.sy += y
	if r.n > 1 {
		tx, ty := x*r.n-r.sx, y*r.n-r.sy
		scale := 1 / (r.n * (r.n - 1))
		r.sxx += tx * tx * scale
		r.syy += ty * ty * scale
		r.sxy += tx * ty * scale
		if math.IsInf(r.sxx, 0) || math.IsInf(r.syy, 0) || math.IsInf(r.sxy, 0) {
			if finite(x) && finite(y) {
				return floatOverflow()
			}
		}
	} else if !finite(x) || !finite(y) || math.IsNaN(x) || math.IsNaN(y) {
		r.sxx, r.syy, r.sxy = math.NaN(), math.NaN(), math.NaN()
	}
	return nil
}

func (r *regression) merge(o regression) {
	if o.n == 0 {
		return
	}
	if r.n == 0 {
		*r = o
		return
	}
	n := r.n + o.n
	tx, ty := r.sx/r.n-o.sx/o.n, r.sy/r.n-o.sy/o.n
	w := r.n * o.n / n
	*r = regression{n, r.sx + o.sx, r.sxx + o.sxx + w*tx*tx, r.sy + o.sy, r.syy + o.syy + w*ty*ty, r.sxy + o.sxy + w*tx*ty}
}

// regrAcc is corr, covar_* and regr_*; final says NULL by ok = false.
type regrAcc struct {
	r     []regression
	final func(r *regression) (x float64, ok bool)
	count bool
}

func (a *regrAcc) Grow(n int)     { a.r = growTo(a.r, n) }
func (a *regrAcc) Reset()         { a.r = a.r[:0] }
func (a *regrAcc) MemSize() int64 { return 48 * int64(cap(a.r)) }

func (a *regrAcc) Add(_ *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	y, x := args[0], args[1]
	return eachGroup(groups, n, sel, func(g, i int) error {
		if y.IsNull(i) || x.IsNull(i) {
			return nil
		}
		return a.r[g].add(y.Floats[i], x.Floats[i])
	})
}

func (a *regrAcc) AppendState(dst []byte, g int) ([]byte, error) {
	r := &a.r[g]
	for _, f := range [6]float64{r.n, r.sx, r.sxx, r.sy, r.syy, r.sxy} {
		dst = binary.BigEndian.AppendUint64(dst, math.Float64bits(f))
	}
	return dst, nil
}

func (a *regrAcc) MergeState(_ *Context, g int, s []byte) error {
	if len(s) != 48 {
		return corruptState()
	}
	f := func(i int) float64 { return math.Float64frombits(binary.BigEndian.Uint64(s[8*i:])) }
	a.r[g].merge(regression{f(0), f(1), f(2), f(3), f(4), f(5)})
	return nil
}

func (a *regrAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		if a.count {
			out.AppendDatum(types.NewInt(int64(a.r[g].n)))
			continue
		}
		x, ok := a.final(&a.r[g])
		if !ok || a.r[g].n < 1 {
			out.AppendNull()
			continue
		}
		out.AppendDatum(types.NewFloat(x))
	}
	return nil
}

func init() {
	for _, avg := range []bool{false, true} {
		name := "sum(interval)"
		if avg {
			name = "avg(interval)"
		}
		RegisterAggregate(name, false, func([]types.Type, types.Type) Accumulator { return &ivSumAcc{avg: avg} })
	}
	for name, f := range map[string]func(r *regression) (float64, bool){
		"corr":           func(r *regression) (float64, bool) { return r.sxy / math.Sqrt(r.sxx*r.syy), r.sxx != 0 && r.syy != 0 },
		"covar_pop":      func(r *regression) (float64, bool) { return r.sxy / r.n, true },
		"covar_samp":     func(r *regression) (float64, bool) { return r.sxy / (r.n - 1), r.n >= 2 },
		"regr_avgx":      func(r *regression) (float64, bool) { return r.sx / r.n, true },
		"regr_avgy":      func(r *regression) (float64, bool) { return r.sy / r.n, true },
		"regr_sxx":       func(r *regression) (float64, bool) { return r.sxx, true },
		"regr_syy":       func(r *regression) (float64, bool) { return r.syy, true },
		"regr_sxy":       func(r *regression) (float64, bool) { return r.sxy, true },
		"regr_slope":     func(r *regression) (float64, bool) { return r.sxy / r.sxx, r.sxx != 0 },
		"regr_intercept": func(r *regression) (float64, bool) { return (r.sy - r.sx*r.sxy/r.sxx) / r.n, r.sxx != 0 },
		"regr_r2": func(r *regression) (float64, bool) {
			if r.syy == 0 {
				return 1, r.sxx != 0
			}
			return r.sxy * r.sxy / (r.sxx * r.syy), r.sxx != 0
		},
		"regr_count": nil,
	} {
		RegisterAggregate(name+"(float8,float8)", false, func([]types.Type, types.Type) Accumulator {
			return &regrAcc{final: f, count: f == nil}
		})
	}
}
