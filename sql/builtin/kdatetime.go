package builtin

import (
	"math"
	"time"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

const (
	usDay  = types.MicrosPerDay
	usHour = types.MicrosPerHour
	usMin  = types.MicrosPerMinute
	usSec  = types.MicrosPerSecond
)

func timestampRange() error { return pgerr.New(pgerr.DatetimeFieldOverflow, "timestamp out of range") }
func dateRange() error      { return pgerr.New(pgerr.DatetimeFieldOverflow, "date out of range") }

func checkStamp(us int64, ok bool) (int64, error) {
	if !ok || !types.ValidTimestamp(us) {
		return 0, timestampRange()
	}
	return us, nil
}

func addOK(a, b int64) (int64, bool) {
	s := a + b
	return s, (a^s)&(b^s) >= 0
}

// addMonths moves a local timestamp by months, keeping the day within the target month.
func addMonths(us int64, months int64) (int64, bool) {
	days, tod := floorDiv64(us, usDay)
	y, m, d := types.YMDFromDate(days)
	t := int64(y)*12 + int64(m-1) + months
	yy, mm := floorDiv64(t, 12)
	if yy < -4800 || yy > 294300 {
		return 0, false
	}
	y, m = int(yy), int(mm)+1
	d = min(d, types.DaysInMonth(y, m))
	return types.DateFromYMD(y, m, d)*usDay + tod, true
}

func floorDiv64(a, b int64) (int64, int64) {
	q, r := a/b, a%b
	if r < 0 {
		q--
		r += b
	}
	return q, r
}

// addInterval adds to a timestamp: months, then days, then time.
func addInterval(us int64, iv types.Interval) (int64, error) {
	if types.IsInfinite(us) {
		return us, nil
	}
	ok := true
	if iv.Months != 0 {
		if us, ok = addMonths(us, int64(iv.Months)); !ok {
			return 0, timestampRange()
		}
	}
	if iv.Days != 0 {
		if us, ok = addOK(us, int64(iv.Days)*usDay); !ok || !types.ValidTimestamp(us) {
			return 0, timestampRange()
		}
	}
	us, ok = addOK(us, iv.Micros)
	return checkStamp(us, ok)
}

// addIntervalTZ does the months and days by the zone's calendar.
func addIntervalTZ(us int64, iv types.Interval, loc *time.Location) (int64, error) {
	if types.IsInfinite(us) {
		return us, nil
	}
	ok := true
	if iv.Months != 0 || iv.Days != 0 {
		local := types.UTCToLocal(us, loc)
		if iv.Months != 0 {
			if local, ok = addMonths(local, int64(iv.Months)); !ok {
				return 0, timestampRange()
			}
			local = types.UTCToLocal(types.LocalToUTC(local, loc), loc)
		}
		if iv.Days != 0 {
			if local, ok = addOK(local, int64(iv.Days)*usDay); !ok {
				return 0, timestampRange()
			}
		}
		us = types.LocalToUTC(local, loc)
	}
	us, ok = addOK(us, iv.Micros)
	return checkStamp(us, ok)
}

func negInterval(iv types.Interval) (types.Interval, error) {
	if iv.Months == math.MinInt32 || iv.Days == math.MinInt32 || iv.Micros == math.MinInt64 {
		return iv, types.IntervalRangeError()
	}
	return types.Interval{Months: -iv.Months, Days: -iv.Days, Micros: -iv.Micros}, nil
}

func sumIntervals(a, b types.Interval, sub bool) (types.Interval, error) {
	if sub {
		var err error
		if b, err = negInterval(b); err != nil {
			return b, err
		}
	}
	m, d := int64(a.Months)+int64(b.Months), int64(a.Days)+int64(b.Days)
	us, ok := addOK(a.Micros, b.Micros)
	if !ok || m != int64(int32(m)) || d != int64(int32(d)) {
		return a, types.IntervalRangeError()
	}
	return types.Interval{Months: int32(m), Days: int32(d), Micros: us}, nil
}

// scaleInterval multiplies; fractions of months become days of 30 to a month, fractions of days time.
func scaleInterval(iv types.Interval, f float64, divide bool) (types.Interval, error) {
	mul := func(x float64) float64 {
		if divide {
			return x / f
		}
		return x * f
	}
	months := mul(float64(iv.Months))
	days := mul(float64(iv.Days))
	if math.IsNaN(months) || months > math.MaxInt32 || months < math.MinInt32 || math.IsNaN(days) || days > math.MaxInt32 || days < math.MinInt32 {
		return iv, types.IntervalRangeError()
	}
	r := types.Interval{Months: int32(months), Days: int32(days)}
	round := func(x float64) float64 { return math.RoundToEven(x*1e6) / 1e6 } // TSROUND
	monthDays := round((months - float64(r.Months)) * 30)
	secs := round((days - float64(r.Days) + monthDays - math.Trunc(monthDays)) * 86400)
	if math.Abs(secs) >= 86400 {
		extra := math.Trunc(secs / 86400)
		d := float64(r.Days) + extra
		if d > math.MaxInt32 || d < math.MinInt32 {
			return iv, types.IntervalRangeError()
		}
		r.Days = int32(d)
		secs -= extra * 86400
	}
	d := int64(r.Days) + int64(monthDays)
	if d != int64(int32(d)) {
		return iv, types.IntervalRangeError()
	}
	r.Days = int32(d)
	us := math.RoundToEven(mul(float64(iv.Micros)) + secs*1e6)
	if math.IsNaN(us) || us >= 9.2233720368547758e18 || us < -9.2233720368547758e18 {
		return iv, types.IntervalRangeError()
	}
	r.Micros = int64(us)
	return r, nil
}

// stampDiff is timestamp - timestamp: days and time.
func stampDiff(a, b int64) (types.Interval, error) {
	if types.IsInfinite(a) || types.IsInfinite(b) {
		return types.Interval{}, pgerr.New(pgerr.DatetimeFieldOverflow, "cannot subtract infinite timestamps")
	}
	d := a - b
	if (a^b)&(a^d) < 0 {
		return types.Interval{}, types.IntervalRangeError()
	}
	return types.Interval{Days: int32(d / usDay), Micros: d % usDay}, nil
}

// age is the difference in years, months, days and time, of local timestamps.
func age(a, b int64) (types.Interval, error) {
	if types.IsInfinite(a) || types.IsInfinite(b) {
		return types.Interval{}, pgerr.New(pgerr.DatetimeFieldOverflow, "timestamp out of range")
	}
	neg := a < b
	if neg {
		a, b = b, a
	}
	ad, at := floorDiv64(a, usDay)
	bd, bt := floorDiv64(b, usDay)
	ay, am, aday := types.YMDFromDate(ad)
	by, bm, bday := types.YMDFromDate(bd)
	us := at - bt
	days := aday - bday
	months := (ay-by)*12 + am - bm
	if us < 0 {
		us += usDay
		days--
	}
	for days < 0 {
		if neg {
			days += types.DaysInMonth(ay, am)
		} else {
			days += types.DaysInMonth(by, bm)
		}
		months--
	}
	r := types.Interval{Months: int32(months), Days: int32(days), Micros: us}
	if neg {
		r = types.Interval{Months: -r.Months, Days: -r.Days, Micros: -r.Micros}
	}
	return r, nil
}

func dateToStamp(d int64) (int64, error) {
	switch d {
	case types.DateInfinity:
		return types.Infinity, nil
	case types.DateNegInfinity:
		return types.NegInfinity, nil
	}
	// The product of a date beyond all timestamps would overflow.
	if d < types.EndTimestamp/usDay {
		return d * usDay, nil
	}
	return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "date out of range for timestamp")
}

func stampToDate(us int64) int64 {
	switch us {
	case types.Infinity:
		return types.DateInfinity
	case types.NegInfinity:
		return types.DateNegInfinity
	}
	d, _ := floorDiv64(us, usDay)
	return d
}

func toLocal(us int64, loc *time.Location) int64 {
	if types.IsInfinite(us) {
		return us
	}
	return types.UTCToLocal(us, loc)
}

func toUTC(local int64, loc *time.Location) (int64, error) {
	if types.IsInfinite(local) {
		return local, nil
	}
	return checkStamp(types.LocalToUTC(local, loc), true)
}

func location(ctx *Context) *time.Location {
	if l := ctx.TextEnv().Location; l != nil {
		return l
	}
	return time.UTC
}

// zoned makes a kernel of a function that also gets the session's time zone.
func zoned[A, R any](ga func(*types.Vec) []A, gr func(*types.Vec) []R, f func(A, *time.Location) (R, error)) Kernel {
	return func(ctx *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		loc := location(ctx)
		a, r := ga(args[0]), gr(out)
		return types.EachRow(n, sel, func(i int) error {
			y, err := f(a[i], loc)
			r[i] = y
			return err
		})
	}
}

func zoned2[A, B, R any](ga func(*types.Vec) []A, gb func(*types.Vec) []B, gr func(*types.Vec) []R, f func(A, B, *time.Location) (R, error)) Kernel {
	return func(ctx *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		loc := location(ctx)
		a, b, r := ga(args[0]), gb(args[1]), gr(out)
		return types.EachRow(n, sel, func(i int) error {
			y, err := f(a[i], b[i], loc)
			r[i] = y
			return err
		})
	}
}

func findZone(name string) (*time.Location, error) {
	if loc, ok := types.FindZone(name); ok {
		return loc, nil
	}
	return nil, pgerr.New(pgerr.InvalidParameterValue, "time zone \"%s\" not recognized", name)
}

// zoneOfInterval makes a fixed zone of an interval without months and days.
func zoneOfInterval(iv types.Interval) (*time.Location, error) {
	if iv.Months != 0 || iv.Days != 0 {
		return nil, pgerr.New(pgerr.InvalidParameterValue, "interval time zone \"%s\" must not include months or days",
			types.AppendInterval(nil, iv, 'p'))
	}
	return time.FixedZone("", int(iv.Micros/usSec)), nil
}

func dateAddDays(d, n int64) (int64, error) {
	if d == types.DateInfinity || d == types.DateNegInfinity {
		return d, nil
	}
	r := d + n
	if !types.ValidDate(r) {
		return 0, dateRange()
	}
	return r, nil
}

func wrapTime(us int64) int64 {
	_, r := floorDiv64(us, usDay)
	return r
}

type iv = types.Interval

func init() {
	reg(map2(ints, ivals, ints, addInterval), "timestamp_pl_interval")
	reg(map2(ints, ivals, ints, func(us int64, v iv) (int64, error) {
		n, err := negInterval(v)
		if err != nil {
			return 0, err
		}
		return addInterval(us, n)
	}), "timestamp_mi_interval")
	reg(zoned2(ints, ivals, ints, addIntervalTZ), "timestamptz_pl_interval")
	reg(zoned2(ints, ivals, ints, func(us int64, v iv, loc *time.Location) (int64, error) {
		n, err := negInterval(v)
		if err != nil {
			return 0, err
		}
		return addIntervalTZ(us, n, loc)
	}), "timestamptz_mi_interval")
	// interval + something, written in SQL.
	reg(swapArgs(kernels["timestamp_pl_interval"]), "interval_pl_timestamp(interval,timestamp)")
	reg(swapArgs(kernels["timestamptz_pl_interval"]), "interval_pl_timestamptz(interval,timestamptz)")
	dateIv := func(sub bool) Kernel {
		return map2(ints, ivals, ints, func(d int64, v iv) (int64, error) {
			us, err := dateToStamp(d)
			if err != nil {
				return 0, err
			}
			if sub {
				if v, err = negInterval(v); err != nil {
					return 0, err
				}
			}
			return addInterval(us, v)
		})
	}
	reg(dateIv(false), "date_pl_interval")
	reg(dateIv(true), "date_mi_interval")
	reg(swapArgs(dateIv(false)), "interval_pl_date(interval,date)")
	reg(map2(ints, ints, ints, dateAddDays), "date_pli")
	reg(map2(ints, ints, ints, func(d, n int64) (int64, error) { return dateAddDays(d, -n) }), "date_mii")
	reg(swapArgs(kernels["date_pli"]), "integer_pl_date(int4,date)")
	reg(map2(ints, ints, ints, func(a, b int64) (int64, error) {
		if a == types.DateInfinity || a == types.DateNegInfinity || b == types.DateInfinity || b == types.DateNegInfinity {
			return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "cannot subtract infinite dates")
		}
		return a - b, nil
	}), "date_mi")
	reg(map2(ints, ints, ivals, stampDiff), "timestamp_mi")
	reg(map2(ints, ints, ivals, age), "timestamp_age")
	reg(zoned2(ints, ints, ivals, func(a, b int64, loc *time.Location) (iv, error) {
		return age(toLocal(a, loc), toLocal(b, loc))
	}), "timestamptz_age")
	today := func(ctx *Context) int64 {
		d, _ := floorDiv64(types.UTCToLocal(ctx.TxnStart, location(ctx)), usDay)
		return d * usDay
	}
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		v, err := age(today(ctx), args[0].Ints[i])
		out.Intervals[i] = v
		return err
	}), "age(timestamp)")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		v, err := age(today(ctx), toLocal(args[0].Ints[i], location(ctx)))
		out.Intervals[i] = v
		return err
	}), "age(timestamptz)")

	reg(map2(ivals, ivals, ivals, func(a, b iv) (iv, error) { return sumIntervals(a, b, false) }), "interval_pl")
	reg(map2(ivals, ivals, ivals, func(a, b iv) (iv, error) { return sumIntervals(a, b, true) }), "interval_mi")
	reg(map1(ivals, ivals, negInterval), "interval_um")
	reg(map2(ivals, floats, ivals, func(a iv, f float64) (iv, error) { return scaleInterval(a, f, false) }), "interval_mul")
	reg(map2(floats, ivals, ivals, func(f float64, a iv) (iv, error) { return scaleInterval(a, f, false) }), "mul_d_interval")
	reg(map2(ivals, floats, ivals, func(a iv, f float64) (iv, error) {
		if f == 0 {
			return a, divisionByZero()
		}
		return scaleInterval(a, f, true)
	}), "interval_div")
	reg(map1(ivals, ivals, justifyHours), "interval_justify_hours")
	reg(map1(ivals, ivals, justifyDays), "interval_justify_days")
	reg(map1(ivals, ivals, justifyInterval), "interval_justify_interval")
	reg(map2(ivals, ints, ivals, func(v iv, mod int64) (iv, error) {
		d, err := types.ApplyMod(types.Type{OID: types.IntervalOID, Mod: int32(mod)}, types.NewInterval(v), true)
		if err != nil {
			return v, err
		}
		return d.Interval(), nil
	}), "interval_scale")
	for _, t := range []types.OID{types.TimestampOID, types.TimestamptzOID, types.TimeOID} {
		t := t
		reg(map2(ints, ints, ints, func(us, mod int64) (int64, error) {
			d, err := types.ApplyMod(types.Type{OID: t, Mod: int32(mod)}, types.NewInt(us), true)
			return d.I, err
		}), types.Name(t)+"_scale")
	}

	// time
	reg(pure2(ints, ivals, ints, func(t int64, v iv) int64 { return wrapTime(t + v.Micros%usDay) }), "time_pl_interval")
	reg(pure2(ints, ivals, ints, func(t int64, v iv) int64 { return wrapTime(t - v.Micros%usDay) }), "time_mi_interval")
	reg(swapArgs(kernels["time_pl_interval"]), "interval_pl_time(interval,time)")
	reg(pure2(ints, ints, ivals, func(a, b int64) iv { return iv{Micros: a - b} }), "time_mi_time")
	reg(map2(ints, ints, ints, func(d, t int64) (int64, error) {
		us, err := dateToStamp(d)
		if err != nil || types.IsInfinite(us) {
			return us, err
		}
		return checkStamp(us+t, true)
	}), "datetime_timestamp")
	reg(swapArgs(kernels["datetime_timestamp"]), "timedate_pl(time,date)")

	// casts
	reg(map1(ints, ints, dateToStamp), "date_timestamp")
	reg(zoned(ints, ints, func(d int64, loc *time.Location) (int64, error) {
		us, err := dateToStamp(d)
		if err != nil {
			return 0, err
		}
		return toUTC(us, loc)
	}), "date_timestamptz")
	reg(pure1(ints, ints, stampToDate), "timestamp_date")
	reg(zoned(ints, ints, func(us int64, loc *time.Location) (int64, error) { return stampToDate(toLocal(us, loc)), nil }), "timestamptz_date")
	reg(zoned(ints, ints, func(us int64, loc *time.Location) (int64, error) { return toLocal(us, loc), nil }), "timestamptz_timestamp")
	reg(zoned(ints, ints, toUTC), "timestamp_timestamptz")
	timeOf := datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		if us := args[0].Ints[i]; !types.IsInfinite(us) {
			return types.NewInt(wrapTime(us)), nil
		}
		return types.NullDatum, nil
	})
	reg(timeOf, "timestamp_time")
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		if us := args[0].Ints[i]; !types.IsInfinite(us) {
			return types.NewInt(wrapTime(toLocal(us, location(ctx)))), nil
		}
		return types.NullDatum, nil
	}), "timestamptz_time")
	reg(pure1(ivals, ints, func(v iv) int64 { return wrapTime(v.Micros) }), "interval_time")
	reg(pure1(ints, ivals, func(t int64) iv { return iv{Micros: t} }), "time_interval")
	reg(pure1(anys, ints, func(a any) int64 { return a.(types.TimeTZ).Micros }), "timetz_time")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		off, _ := types.ZoneOffset(ctx.TxnStart, location(ctx))
		out.Anys[i] = types.TimeTZ{Micros: args[0].Ints[i], Zone: int32(-off)}
		return nil
	}), "time_timetz")

	// AT TIME ZONE
	reg(map2(bytesOf, ints, ints, func(z []byte, us int64) (int64, error) {
		loc, err := findZone(string(z))
		if err != nil {
			return 0, err
		}
		return toLocal(us, loc), nil
	}), "timestamptz_zone")
	reg(map2(bytesOf, ints, ints, func(z []byte, us int64) (int64, error) {
		loc, err := findZone(string(z))
		if err != nil {
			return 0, err
		}
		return toUTC(us, loc)
	}), "timestamp_zone")
	reg(map2(ivals, ints, ints, func(z iv, us int64) (int64, error) {
		loc, err := zoneOfInterval(z)
		if err != nil {
			return 0, err
		}
		return toLocal(us, loc), nil
	}), "timestamptz_izone")
	reg(map2(ivals, ints, ints, func(z iv, us int64) (int64, error) {
		loc, err := zoneOfInterval(z)
		if err != nil {
			return 0, err
		}
		return toUTC(us, loc)
	}), "timestamp_izone")

	reg(pure1(ints, ints, func(us int64) int64 { return b2i(!types.IsInfinite(us)) }), "timestamp_finite")
	reg(pure1(ints, ints, func(d int64) int64 { return b2i(d != types.DateInfinity && d != types.DateNegInfinity) }), "date_finite")
	reg(pure1(ivals, ints, func(iv) int64 { return 1 }), "interval_finite")

	// comparisons across types
	for s, op := range cmpSuffix {
		op := op
		cross := func(l, r func(x int64, loc *time.Location) (int64, error)) Kernel {
			return zoned2(ints, ints, ints, func(a, b int64, loc *time.Location) (int64, error) {
				x, err := l(a, loc)
				if err != nil {
					return 0, err
				}
				y, err := r(b, loc)
				return b2i(cmpTrue(op, cmpInt(x, y))), err
			})
		}
		same := func(x int64, _ *time.Location) (int64, error) { return x, nil }
		// A date beyond timestamps compares as later than all but infinity.
		date := func(d int64, _ *time.Location) (int64, error) {
			us, err := dateToStamp(d)
			if err != nil {
				return types.Infinity - 1, nil
			}
			return us, nil
		}
		dateTZ := func(d int64, loc *time.Location) (int64, error) {
			us, _ := date(d, loc)
			if !types.ValidTimestamp(us) {
				return us, nil
			}
			return types.LocalToUTC(us, loc), nil
		}
		local := func(us int64, loc *time.Location) (int64, error) {
			if types.IsInfinite(us) {
				return us, nil
			}
			return types.LocalToUTC(us, loc), nil
		}
		reg(cross(date, same), "date_"+s+"_timestamp")
		reg(cross(same, date), "timestamp_"+s+"_date")
		reg(cross(dateTZ, same), "date_"+s+"_timestamptz")
		reg(cross(same, dateTZ), "timestamptz_"+s+"_date")
		reg(cross(local, same), "timestamp_"+s+"_timestamptz")
		reg(cross(same, local), "timestamptz_"+s+"_timestamp")
	}

	// the clock
	clock := func(f func(ctx *Context) int64, sources ...string) {
		reg(rowKernel(func(ctx *Context, _ []*types.Vec, i int, out *types.Vec) error {
			out.Ints[i] = f(ctx)
			return nil
		}), sources...)
	}
	clock(func(ctx *Context) int64 { return ctx.TxnStart }, "now")
	clock(func(ctx *Context) int64 { return ctx.StmtStart }, "statement_timestamp")
	clock(func(*Context) int64 { return types.FromTime(time.Now()) }, "clock_timestamp")
	reg(rowKernel(func(_ *Context, _ []*types.Vec, i int, out *types.Vec) error {
		out.Bytes[i] = []byte(time.Now().UTC().Format("Mon Jan 02 15:04:05.000000 2006 MST"))
		return nil
	}), "timeofday")

	registerMake()
	registerParts()
}
