package builtin

import (
	"time"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

type dateUnit uint8

const (
	uNone dateUnit = iota
	uMicro
	uMilli
	uSecond
	uMinute
	uHour
	uDay
	uWeek
	uMonth
	uQuarter
	uYear
	uDecade
	uCentury
	uMillennium
	uEpoch
	uDow
	uIsoDow
	uDoy
	uIsoYear
	uJulian
	uTZ
	uTZHour
	uTZMinute
)

var dateUnits = map[string]dateUnit{
	"microsecond": uMicro, "microseconds": uMicro, "us": uMicro, "usec": uMicro, "usecs": uMicro, "usecond": uMicro, "useconds": uMicro, "microsecon": uMicro,
	"millisecond": uMilli, "milliseconds": uMilli, "ms": uMilli, "msec": uMilli, "msecs": uMilli, "msecond": uMilli, "mseconds": uMilli, "millisecon": uMilli,
	"second": uSecond, "seconds": uSecond, "sec": uSecond, "secs": uSecond, "s": uSecond,
	"minute": uMinute, "minutes": uMinute, "min": uMinute, "mins": uMinute, "m": uMinute,
	"hour": uHour, "hours": uHour, "hr": uHour, "hrs": uHour, "h": uHour,
	"day": uDay, "days": uDay, "d": uDay, "week": uWeek, "weeks": uWeek, "w": uWeek,
	"month": uMonth, "months": uMonth, "mon": uMonth, "mons": uMonth, "quarter": uQuarter, "qtr": uQuarter,
	"year": uYear, "years": uYear, "yr": uYear, "yrs": uYear, "y": uYear,
	"decade": uDecade, "decades": uDecade, "dec": uDecade, "decs": uDecade, "century": uCentury, "centuries": uCentury, "cent": uCentury, "c": uCentury,
	"millennium": uMillennium, "millennia": uMillennium, "mil": uMillennium, "mils": uMillennium,
	"epoch": uEpoch, "dow": uDow, "isodow": uIsoDow, "doy": uDoy, "isoyear": uIsoYear, "julian": uJulian, "j": uJulian, "jd": uJulian,
	"timezone": uTZ, "timezone_h": uTZHour, "timezone_hour": uTZHour, "timezone_m": uTZMinute, "timezone_minute": uTZMinute,
}

func unitError(b []byte, t types.OID, known bool) error {
	verb, code := "recognized", pgerr.InvalidParameterValue
	if known {
		verb, code = "supported", pgerr.FeatureNotSupported
	}
	return pgerr.New(code, "unit \"%s\" not %s for type %s", lowerUnit(b), verb, types.FormatType(types.Of(t)))
}

// isoWeek returns the ISO year and week of a date.
func isoWeek(days int64) (year, week int) {
	y, _, _ := types.YMDFromDate(days)
	first := func(y int) int64 {
		// The Monday of the week with January 4th.
		j4 := types.DateFromYMD(y, 1, 4)
		_, wd := floorDiv64(j4+5, 7) // 2000-01-01 was a Saturday: Monday is 0
		return j4 - wd
	}
	f := first(y)
	switch {
	case days < f:
		y--
		f = first(y)
	case days >= first(y+1):
		y++
		f = first(y)
	}
	return y, int((days-f)/7) + 1
}

func isoWeekStart(year, week int) int64 {
	j4 := types.DateFromYMD(year, 1, 4)
	_, wd := floorDiv64(j4+5, 7)
	return j4 - wd + int64(week-1)*7
}

// stampParts is a local timestamp taken apart.
type stampParts struct {
	days, tod        int64
	year, month, day int
	off              int // seconds east, for timestamptz
	us               int64
}

func takeApart(local int64) stampParts {
	d, t := floorDiv64(local, usDay)
	p := stampParts{days: d, tod: t, us: local}
	p.year, p.month, p.day = types.YMDFromDate(d)
	return p
}

// field computes a part as a number with a scale; ok is false if the unit does not apply.
func (p *stampParts) field(u dateUnit, date, tz bool) (*apd.Decimal, bool) {
	n := func(x int) (*apd.Decimal, bool) { return decimalOf(int64(x), 0), true }
	secs := p.tod % usMin
	y := p.year
	switch u {
	case uMicro, uMilli, uSecond, uMinute, uHour, uTZ, uTZHour, uTZMinute:
		if date {
			return nil, false
		}
	}
	switch u {
	case uMicro:
		return decimalOf(secs, 0), true
	case uMilli:
		return decimalOf(secs, 3), true
	case uSecond:
		return decimalOf(secs, 6), true
	case uMinute:
		return n(int(p.tod / usMin % 60))
	case uHour:
		return n(int(p.tod / usHour))
	case uDay:
		return n(p.day)
	case uMonth:
		return n(p.month)
	case uQuarter:
		return n((p.month-1)/3 + 1)
	case uWeek:
		_, w := isoWeek(p.days)
		return n(w)
	case uIsoYear:
		iy, _ := isoWeek(p.days)
		if iy <= 0 {
			iy--
		}
		return n(iy)
	case uYear:
		if y <= 0 {
			y--
		}
		return n(y)
	case uDecade:
		if y >= 0 {
			return n(y / 10)
		}
		return n(-((8 - (y - 1)) / 10))
	case uCentury:
		if y > 0 {
			return n((y + 99) / 100)
		}
		return n(-((99 - (y - 1)) / 100))
	case uMillennium:
		if y > 0 {
			return n((y + 999) / 1000)
		}
		return n(-((999 - (y - 1)) / 1000))
	case uDow:
		_, d := floorDiv64(p.days+6, 7)
		return n(int(d))
	case uIsoDow:
		_, d := floorDiv64(p.days+5, 7)
		return n(int(d) + 1)
	case uDoy:
		return n(int(p.days-types.DateFromYMD(p.year, 1, 1)) + 1)
	case uJulian:
		if date {
			return n(types.JulianDay(p.year, p.month, p.day))
		}
		j := NumericFromInt(int64(types.JulianDay(p.year, p.month, p.day)))
		t, d := NumericFromInt(p.tod), NumericFromInt(usDay)
		q, err := NumericDiv(&t, &d)
		if err != nil {
			return nil, false
		}
		r := NumericAdd(&j, &q)
		return &r, true
	case uEpoch:
		us := p.us - types.UnixEpochMicros
		if date {
			return decimalOf(us/usSec, 0), true
		}
		if tz {
			us -= int64(p.off) * usSec
		}
		return decimalOf(us, 6), true
	}
	if !tz {
		return nil, false
	}
	switch u {
	case uTZ:
		return n(p.off)
	case uTZHour:
		return n(p.off / 3600)
	case uTZMinute:
		return n(p.off / 60 % 60)
	}
	return nil, false
}

// infinitePart is what a part of an infinite timestamp is: infinite where it grows with time, else NULL.
func infinitePart(u dateUnit, neg bool) (*apd.Decimal, bool) {
	switch u {
	case uYear, uDecade, uCentury, uMillennium, uJulian, uIsoYear, uEpoch:
		d := numInf(neg)
		return &d, true
	}
	return nil, false
}

func stampPart(unit []byte, us int64, t types.OID, loc *time.Location) (*apd.Decimal, error) {
	u, known := dateUnits[lowerUnit(unit)]
	if !known {
		return nil, unitError(unit, t, false)
	}
	tz, date := t == types.TimestamptzOID, t == types.DateOID
	if types.IsInfinite(us) {
		switch u {
		case uMicro, uMilli, uSecond, uMinute, uHour:
			if date {
				return nil, unitError(unit, t, true)
			}
		case uTZ, uTZHour, uTZMinute:
			if !tz {
				return nil, unitError(unit, t, true)
			}
		}
		d, ok := infinitePart(u, us == types.NegInfinity)
		if !ok {
			return nil, nil
		}
		return d, nil
	}
	off := 0
	if tz {
		off, _ = types.ZoneOffset(us, loc)
		us += int64(off) * usSec
	}
	p := takeApart(us)
	p.off = off
	d, ok := p.field(u, date, tz)
	if !ok {
		return nil, unitError(unit, t, true)
	}
	return d, nil
}

func timePart(unit []byte, us int64, t types.OID, off int) (*apd.Decimal, error) {
	u, known := dateUnits[lowerUnit(unit)]
	if !known {
		return nil, unitError(unit, t, false)
	}
	p := stampParts{tod: us, off: off}
	switch u {
	case uMicro, uMilli, uSecond, uMinute, uHour, uTZ, uTZHour, uTZMinute:
		if d, ok := p.field(u, false, t == types.TimetzOID); ok {
			return d, nil
		}
	case uEpoch:
		return decimalOf(us-int64(off)*usSec, 6), nil
	}
	return nil, unitError(unit, t, true)
}

func intervalPart(unit []byte, v iv) (*apd.Decimal, error) {
	u, known := dateUnits[lowerUnit(unit)]
	if !known {
		return nil, unitError(unit, types.IntervalOID, false)
	}
	n := func(x int64) (*apd.Decimal, error) { return decimalOf(x, 0), nil }
	years, months := int64(v.Months/12), int64(v.Months%12)
	switch u {
	case uMicro:
		return n(v.Micros % usMin)
	case uMilli:
		return decimalOf(v.Micros%usMin, 3), nil
	case uSecond:
		return decimalOf(v.Micros%usMin, 6), nil
	case uMinute:
		return n(v.Micros / usMin % 60)
	case uHour:
		return n(v.Micros / usHour)
	case uDay:
		return n(int64(v.Days))
	case uMonth:
		return n(months)
	case uQuarter:
		return n(months/3 + 1)
	case uYear:
		return n(years)
	case uDecade:
		return n(years / 10)
	case uCentury:
		return n(years / 100)
	case uMillennium:
		return n(years / 1000)
	case uEpoch:
		// A year is 365.25 days, a month 30.
		secs := years*(1461*86400/4) + months*(30*86400) + int64(v.Days)*86400
		s := NumericFromInt(secs)
		us := decimalOf(v.Micros, 6)
		r := NumericAdd(&s, us)
		types.RoundNumeric(&r, &r, 6)
		return &r, nil
	}
	return nil, unitError(unit, types.IntervalOID, true)
}

// truncStamp truncates a local timestamp.
func truncStamp(unit []byte, us int64, t types.OID) (int64, dateUnit, error) {
	u, known := dateUnits[lowerUnit(unit)]
	if !known || u >= uEpoch && u < uTZ {
		return 0, u, unitError(unit, t, false)
	}
	if types.IsInfinite(us) {
		return us, u, nil
	}
	p := takeApart(us)
	ymd := func(y, m, d int) int64 { return types.DateFromYMD(y, m, d) * usDay }
	y := p.year
	switch u {
	case uMicro:
		return us, u, nil
	case uMilli:
		return us - p.tod%1000, u, nil
	case uSecond:
		return us - p.tod%usSec, u, nil
	case uMinute:
		return us - p.tod%usMin, u, nil
	case uHour:
		return us - p.tod%usHour, u, nil
	case uDay:
		return us - p.tod, u, nil
	case uWeek:
		_, wd := floorDiv64(p.days+5, 7)
		return (p.days - wd) * usDay, u, nil
	case uMonth:
		return ymd(y, p.month, 1), u, nil
	case uQuarter:
		return ymd(y, (p.month-1)/3*3+1, 1), u, nil
	case uYear:
		return ymd(y, 1, 1), u, nil
	case uDecade:
		if y > 0 {
			return ymd(y/10*10, 1, 1), u, nil
		}
		return ymd(-((8-(y-1))/10)*10, 1, 1), u, nil
	case uCentury:
		if y > 0 {
			return ymd((y+99)/100*100-99, 1, 1), u, nil
		}
		return ymd(-((99-(y-1))/100)*100+1, 1, 1), u, nil
	case uMillennium:
		if y > 0 {
			return ymd((y+999)/1000*1000-999, 1, 1), u, nil
		}
		return ymd(-((999-(y-1))/1000)*1000+1, 1, 1), u, nil
	}
	return 0, u, unitError(unit, t, true)
}

func truncStampTZ(unit []byte, us int64, loc *time.Location) (int64, error) {
	if types.IsInfinite(us) {
		r, _, err := truncStamp(unit, us, types.TimestamptzOID)
		return r, err
	}
	off, _ := types.ZoneOffset(us, loc)
	local, u, err := truncStamp(unit, us+int64(off)*usSec, types.TimestamptzOID)
	if err != nil {
		return 0, err
	}
	switch u {
	case uMicro, uMilli, uSecond, uMinute, uHour:
		// The offset stays: an hour that happens twice is not merged.
		return checkStamp(local-int64(off)*usSec, true)
	}
	return toUTC(local, loc)
}

func truncInterval(unit []byte, v iv) (iv, error) {
	u, known := dateUnits[lowerUnit(unit)]
	if !known {
		return v, unitError(unit, types.IntervalOID, false)
	}
	months := func(n int32) (iv, error) { return iv{Months: v.Months / n * n}, nil }
	switch u {
	case uMillennium:
		return months(12000)
	case uCentury:
		return months(1200)
	case uDecade:
		return months(120)
	case uYear:
		return months(12)
	case uQuarter:
		return months(3)
	case uMonth:
		return months(1)
	case uDay:
		return iv{Months: v.Months, Days: v.Days}, nil
	case uHour:
		v.Micros -= v.Micros % usHour
	case uMinute:
		v.Micros -= v.Micros % usMin
	case uSecond:
		v.Micros -= v.Micros % usSec
	case uMilli:
		v.Micros -= v.Micros % 1000
	case uMicro:
	default:
		err := unitError(unit, types.IntervalOID, true)
		if e, ok := pgerr.As(err); ok && u == uWeek {
			return v, e.WithDetail("Months usually have fractional weeks.")
		}
		return v, err
	}
	return v, nil
}

func dateBin(stride iv, us, origin int64) (int64, error) {
	if types.IsInfinite(us) {
		return us, nil
	}
	if types.IsInfinite(origin) {
		return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "origin out of range")
	}
	if stride.Months != 0 {
		return 0, pgerr.New(pgerr.FeatureNotSupported, "timestamps cannot be binned into intervals containing months or years")
	}
	w := int64(stride.Days)*usDay + stride.Micros
	if w <= 0 {
		return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "stride must be greater than zero")
	}
	q, _ := floorDiv64(us-origin, w)
	return checkStamp(origin+q*w, true)
}

func registerParts() {
	// extract() yields numeric, date_part() the same as float8; NULL for parts that infinity lacks.
	both := func(part func(ctx *Context, args []*types.Vec, i int) (*apd.Decimal, error), extract string, dateparts ...string) {
		reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
			d, err := part(ctx, args, i)
			if d == nil {
				return types.NullDatum, err
			}
			return types.NewDecimal(d), err
		}), extract)
		reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
			d, err := part(ctx, args, i)
			if d == nil {
				return types.NullDatum, err
			}
			return types.NewFloat(numericFloat(d)), err
		}), dateparts...)
	}
	stamp := func(t types.OID) func(ctx *Context, args []*types.Vec, i int) (*apd.Decimal, error) {
		return func(ctx *Context, args []*types.Vec, i int) (*apd.Decimal, error) {
			us := args[1].Ints[i]
			if t == types.DateOID {
				switch us {
				case types.DateInfinity:
					us = types.Infinity
				case types.DateNegInfinity:
					us = types.NegInfinity
				default:
					us *= usDay
				}
			}
			return stampPart(args[0].Bytes[i], us, t, location(ctx))
		}
	}
	both(stamp(types.TimestampOID), "extract_timestamp", "timestamp_part")
	both(stamp(types.TimestamptzOID), "extract_timestamptz", "timestamptz_part")
	both(stamp(types.DateOID), "extract_date")
	// date_part of a date is that of its timestamp.
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		us, err := dateToStamp(args[1].Ints[i])
		if err != nil {
			return types.Datum{}, err
		}
		d, err := stampPart(args[0].Bytes[i], us, types.TimestampOID, nil)
		if d == nil {
			return types.NullDatum, err
		}
		return types.NewFloat(numericFloat(d)), err
	}), "date_part(text,date)")
	both(func(_ *Context, args []*types.Vec, i int) (*apd.Decimal, error) {
		return timePart(args[0].Bytes[i], args[1].Ints[i], types.TimeOID, 0)
	}, "extract_time", "time_part")
	both(func(_ *Context, args []*types.Vec, i int) (*apd.Decimal, error) {
		x := args[1].Anys[i].(types.TimeTZ)
		return timePart(args[0].Bytes[i], x.Micros, types.TimetzOID, int(-x.Zone))
	}, "extract_timetz", "timetz_part")
	both(func(_ *Context, args []*types.Vec, i int) (*apd.Decimal, error) {
		return intervalPart(args[0].Bytes[i], args[1].Intervals[i])
	}, "extract_interval", "interval_part")

	reg(map2(bytesOf, ints, ints, func(u []byte, us int64) (int64, error) {
		r, _, err := truncStamp(u, us, types.TimestampOID)
		return r, err
	}), "timestamp_trunc")
	reg(zoned2(bytesOf, ints, ints, truncStampTZ), "timestamptz_trunc")
	reg(map3(bytesOf, ints, bytesOf, ints, func(u []byte, us int64, z []byte) (int64, error) {
		loc, err := findZone(string(z))
		if err != nil {
			return 0, err
		}
		return truncStampTZ(u, us, loc)
	}), "timestamptz_trunc_zone")
	reg(map2(bytesOf, ivals, ivals, truncInterval), "interval_trunc")
	reg(map3(ivals, ints, ints, ints, dateBin), "timestamp_bin", "timestamptz_bin")
}
