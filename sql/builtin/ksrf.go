package builtin

import (
	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

func stepZero() error {
	return pgerr.New(pgerr.InvalidParameterValue, "step size cannot equal zero")
}

// intSeries yields lo, lo+step, ... without overflowing at the end of the range.
type intSeries struct {
	next, stop, step int64
	done             bool
}

func (s *intSeries) Next(_ *Context, out []*types.Vec, limit int) (int, error) {
	n := 0
	v := out[0]
	base := v.N
	v.Resize(base + limit)
	if v.HasNulls {
		clear(v.Nulls[base:])
	}
	for n < limit && !s.done {
		if s.step > 0 && s.next > s.stop || s.step < 0 && s.next < s.stop {
			s.done = true
			break
		}
		v.Ints[base+n] = s.next
		n++
		next, ok := addOK(s.next, s.step)
		s.done = !ok
		s.next = next
	}
	v.Resize(base + n)
	return n, nil
}

func registerSeries() {
	intStart := func(_ *Context, args []types.Datum, _ []types.Type) (RowSource, error) {
		s := &intSeries{next: args[0].I, stop: args[1].I, step: 1}
		if len(args) > 2 {
			if s.step = args[2].I; s.step == 0 {
				return nil, stepZero()
			}
		}
		return s, nil
	}
	for _, n := range []string{"generate_series_int4", "generate_series_step_int4", "generate_series_int8", "generate_series_step_int8"} {
		RegisterSetKernel(n, intStart, nil, nil)
	}
	num := func(_ *Context, args []types.Datum, _ []types.Type) (RowSource, error) {
		cur, stop, step := *args[0].Decimal(), args[1].Decimal(), apd.New(1, 0)
		if len(args) > 2 {
			step = args[2].Decimal()
		}
		for k, what := range []string{"start", "stop", "step size"} {
			d := [3]*apd.Decimal{&cur, stop, step}[k]
			if isNaN(d) {
				return nil, pgerr.New(pgerr.InvalidParameterValue, "%s value cannot be NaN", what)
			}
			if isInf(d) {
				return nil, pgerr.New(pgerr.InvalidParameterValue, "%s value cannot be infinity", what)
			}
		}
		sg := numSign(step)
		if sg == 0 {
			return nil, stepZero()
		}
		return funcSource(func(*Context) (types.Datum, bool, error) {
			if c := types.CompareNumeric(&cur, stop); c*sg > 0 {
				return types.Datum{}, false, nil
			}
			d := cur
			cur = NumericAdd(&cur, step)
			return types.NewDecimal(&d), true, nil
		}), nil
	}
	RegisterSetKernel("generate_series_numeric", num, nil, nil)
	RegisterSetKernel("generate_series_step_numeric", num, nil, nil)
	stamps := func(tz bool) SetKernel {
		return func(ctx *Context, args []types.Datum, _ []types.Type) (RowSource, error) {
			cur, stop, step := args[0].I, args[1].I, args[2].Interval()
			sg := types.CompareInterval(step, types.Interval{})
			if sg == 0 {
				return nil, stepZero()
			}
			if types.IsInfinite(stop) || types.IsInfinite(cur) {
				return nil, timestampRange()
			}
			done := false
			return funcSource(func(*Context) (types.Datum, bool, error) {
				if done || sg > 0 && cur > stop || sg < 0 && cur < stop {
					return types.Datum{}, false, nil
				}
				d := types.NewInt(cur)
				var err error
				if tz {
					cur, err = addIntervalTZ(cur, step, location(ctx))
				} else {
					cur, err = addInterval(cur, step)
				}
				return d, err == nil, err
			}), nil
		}
	}
	RegisterSetKernel("generate_series_timestamp", stamps(false), nil, nil)
	RegisterSetKernel("generate_series_timestamptz", stamps(true), nil, nil)
	RegisterSetKernel("array_unnest", func(_ *Context, args []types.Datum, _ []types.Type) (RowSource, error) {
		elems := args[0].Array().Elems
		k := 0
		return funcSource(func(*Context) (types.Datum, bool, error) {
			if k >= len(elems) {
				return types.Datum{}, false, nil
			}
			k++
			return elems[k-1], true, nil
		}), nil
	}, nil, nil)
	subs := func(_ *Context, args []types.Datum, _ []types.Type) (RowSource, error) {
		a, dim := args[0].Array(), args[1].I
		if dim < 1 || dim > int64(len(a.Dims)) {
			return RowsSource(nil), nil
		}
		d := a.Dims[dim-1]
		lo, hi := int64(d.Lower), int64(d.Lower)+int64(d.Len)-1
		if len(args) > 2 && args[2].Bool() {
			return &intSeries{next: hi, stop: lo, step: -1}, nil
		}
		return &intSeries{next: lo, stop: hi, step: 1}, nil
	}
	RegisterSetKernel("generate_subscripts", subs, nil, nil)
	RegisterSetKernel("generate_subscripts_nodir", subs, nil, nil)
	toTable := func(ctx *Context, args []types.Datum, ts []types.Type) (RowSource, error) {
		vecs := make([]*types.Vec, len(args))
		for i, a := range args {
			vecs[i] = types.NewVec(ts[i], 1)
			vecs[i].AppendDatum(a)
		}
		out := types.NewVec(types.Of(types.TextArrayOID), 1)
		out.Resize(1)
		if err := stringToArray(ctx, vecs, 1, nil, out); err != nil {
			return nil, err
		}
		var rows [][]types.Datum
		if !out.IsNull(0) {
			for _, e := range arrayAt(out, 0).Elems {
				rows = append(rows, []types.Datum{e.Clone()})
			}
		}
		return RowsSource(rows), nil
	}
	RegisterSetKernel("text_to_table", toTable, nil, nil)
	RegisterSetKernel("text_to_table_null", toTable, nil, nil)
}

func init() { registerSeries() }
