package builtin

import (
	"math"
	"strings"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// shownSeconds is a number of seconds in an error message: two digits at least.
func shownSeconds(s float64) string {
	sec := string(types.AppendFloat(nil, s, false, 1))
	if len(sec) < 2 {
		sec = "0" + sec
	}
	return sec
}

// registerMake registers make_date and its siblings.
func registerMake() {
	bad := func(what string, args ...any) error {
		return pgerr.New(pgerr.DatetimeFieldOverflow, what, args...)
	}
	mkDate := func(y, m, d int64) (int64, error) {
		fail := func() (int64, error) { return 0, bad("date field value out of range: %d-%02d-%02d", y, m, d) }
		yy := y
		if y < 0 {
			yy = y + 1
		}
		if y == 0 || m < 1 || m > 12 || d < 1 || d > int64(types.DaysInMonth(int(yy), int(m))) {
			return fail()
		}
		r := int64(-1) << 40
		if yy >= -4713 && yy <= 5874898 {
			r = types.DateFromYMD(int(yy), int(m), int(d))
		}
		if !types.ValidDate(r) {
			return 0, bad("date out of range: %d-%02d-%02d", y, m, d)
		}
		return r, nil
	}
	reg(map3(ints, ints, ints, ints, mkDate), "make_date")
	mkTime := func(h, m int64, s float64) (int64, error) {
		us := math.RoundToEven(s * 1e6)
		t := (h*60+m)*usMin + int64(us)
		if h < 0 || h > 24 || m < 0 || m > 59 || math.IsNaN(s) || s < 0 || s > 60 || t > usDay {
			return 0, bad("time field value out of range: %d:%02d:%s", h, m, shownSeconds(s))
		}
		return t, nil
	}
	reg(map3(ints, ints, floats, ints, mkTime), "make_time")
	stamp := func(args []*types.Vec, i int) (int64, error) {
		d, err := mkDate(args[0].Ints[i], args[1].Ints[i], args[2].Ints[i])
		if err != nil {
			return 0, err
		}
		t, err := mkTime(args[3].Ints[i], args[4].Ints[i], args[5].Floats[i])
		if err != nil {
			return 0, err
		}
		us, ok := int64(0), d < types.EndTimestamp/usDay
		if ok {
			us = d*usDay + t
		}
		if !ok || !types.ValidTimestamp(us) {
			return 0, bad("timestamp out of range: %d-%02d-%02d %d:%02d:%s", args[0].Ints[i], args[1].Ints[i], args[2].Ints[i],
				args[3].Ints[i], args[4].Ints[i], shownSeconds(args[5].Floats[i]))
		}
		return us, nil
	}
	reg(rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		us, err := stamp(args, i)
		out.Ints[i] = us
		return err
	}), "make_timestamp")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		us, err := stamp(args, i)
		if err == nil {
			us, err = toUTC(us, location(ctx))
		}
		out.Ints[i] = us
		return err
	}), "make_timestamptz")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		us, err := stamp(args, i)
		if err != nil {
			return err
		}
		loc, err := isoZone(args[6].Bytes[i])
		if err == nil {
			us, err = toUTC(us, loc)
		}
		out.Ints[i] = us
		return err
	}), "make_timestamptz_at_timezone")
	reg(rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		n := func(k int) int64 { return args[k].Ints[i] }
		months := n(0)*12 + n(1)
		days := n(2)*7 + n(3)
		secs := math.RoundToEven(args[6].Floats[i] * 1e6)
		if months != int64(int32(months)) || days != int64(int32(days)) || math.IsNaN(secs) || math.Abs(secs) > 9e18 {
			return types.IntervalRangeError()
		}
		us, ok := addOK(n(4)*usHour+n(5)*usMin, int64(secs))
		if !ok {
			return types.IntervalRangeError()
		}
		out.Intervals[i] = iv{Months: int32(months), Days: int32(days), Micros: us}
		return nil
	}), "make_interval")
	reg(map1(floats, ints, func(s float64) (int64, error) {
		if math.IsInf(s, 0) {
			if s > 0 {
				return types.Infinity, nil
			}
			return types.NegInfinity, nil
		}
		if math.IsNaN(s) {
			return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "timestamp cannot be NaN")
		}
		us := math.RoundToEven(s*1e6) + float64(types.UnixEpochMicros)
		if us < float64(types.MinTimestamp) || us >= float64(types.EndTimestamp) {
			return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "timestamp out of range: \"%s\"", types.AppendFloat(nil, s, false, 1))
		}
		return int64(math.RoundToEven(s*1e6)) + types.UnixEpochMicros, nil
	}), "float8_timestamptz")
	reg(overlaps, "overlaps_timestamp", "overlaps_time")
	// The forms with an interval in place of an end are written in SQL: the end is the start plus the interval.
	for name, add := range map[string]string{"timestamp": "timestamp_pl_interval", "timestamptz": "timestamptz_pl_interval", "time": "time_pl_interval"} {
		for _, ends := range [][2]bool{{true, true}, {true, false}, {false, true}} {
			src := [4]string{name, name, name, name}
			for k, isInterval := range ends {
				if isInterval {
					src[2*k+1] = "interval"
				}
			}
			reg(overlapsInterval(add, ends), "overlaps("+strings.Join(src[:], ",")+")")
		}
	}
}

// overlapsInterval computes the ends given as intervals, then overlaps.
func overlapsInterval(add string, ends [2]bool) Kernel {
	return func(ctx *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		full := append([]*types.Vec(nil), args...)
		for k, isInterval := range ends {
			if !isInterval {
				continue
			}
			end := types.NewVec(args[2*k].Type, n)
			end.Resize(n)
			var live []int32
			if err := types.EachRow(n, sel, func(i int) error {
				if args[2*k].IsNull(i) || args[2*k+1].IsNull(i) {
					end.SetNull(i)
				} else {
					live = append(live, int32(i))
				}
				return nil
			}); err != nil {
				return err
			}
			if len(live) > 0 {
				if err := kernels[add](ctx, args[2*k:2*k+2], n, live, end); err != nil {
					return err
				}
			}
			full[2*k+1] = end
		}
		return overlaps(ctx, full, n, sel, out)
	}
}

// overlaps is (s1, e1) OVERLAPS (s2, e2), with SQL's rules for NULLs.
var overlaps = datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
	s1, e1, s2, e2 := args[0].Get(i), args[1].Get(i), args[2].Get(i), args[3].Get(i)
	order := func(s, e types.Datum) (types.Datum, types.Datum, bool) {
		if s.Null {
			if e.Null {
				return s, e, false
			}
			return e, s, true
		}
		if !e.Null && s.I > e.I {
			return e, s, true
		}
		return s, e, true
	}
	var ok1, ok2 bool
	s1, e1, ok1 = order(s1, e1)
	s2, e2, ok2 = order(s2, e2)
	if !ok1 || !ok2 {
		return types.NullDatum, nil
	}
	switch {
	case s1.I > s2.I:
		if e2.Null {
			return types.NullDatum, nil
		}
		if s1.I < e2.I {
			return types.NewBool(true), nil
		}
		if e1.Null {
			return types.NullDatum, nil
		}
		return types.NewBool(false), nil
	case s1.I < s2.I:
		if e1.Null {
			return types.NullDatum, nil
		}
		if s2.I < e1.I {
			return types.NewBool(true), nil
		}
		if e2.Null {
			return types.NullDatum, nil
		}
		return types.NewBool(false), nil
	}
	if e1.Null || e2.Null {
		return types.NullDatum, nil
	}
	return types.NewBool(true), nil
})

// lowerUnit is a field name as functions take it.
func lowerUnit(b []byte) string { return strings.ToLower(string(b)) }

func decimalOf(x int64, scale int) *apd.Decimal {
	d := NumericFromInt(x)
	d.Exponent = int32(-scale)
	return &d
}
