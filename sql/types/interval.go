package types

import (
	"math"
	"math/bits"
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// Bits of an interval's modifier (INTERVAL YEAR TO MONTH and so on).
const (
	ivMonth  = 1 << 1
	ivYear   = 1 << 2
	ivDay    = 1 << 3
	ivHour   = 1 << 10
	ivMinute = 1 << 11
	ivSecond = 1 << 12

	IntervalFullRange     = 0x7fff
	IntervalFullPrecision = 0xffff
)

// IntervalMod makes a modifier from a field mask (or IntervalFullRange) and a precision (or IntervalFullPrecision).
func IntervalMod(fields, precision int) int32 { return int32(fields<<16 | precision&0xffff) }

func intervalModText(mod int32) string {
	fields, prec := int(mod)>>16&0x7fff, int(mod)&0xffff
	s := ""
	switch fields {
	case ivYear:
		s = " year"
	case ivMonth:
		s = " month"
	case ivDay:
		s = " day"
	case ivHour:
		s = " hour"
	case ivMinute:
		s = " minute"
	case ivSecond:
		s = " second"
	case ivYear | ivMonth:
		s = " year to month"
	case ivDay | ivHour:
		s = " day to hour"
	case ivDay | ivHour | ivMinute:
		s = " day to minute"
	case ivDay | ivHour | ivMinute | ivSecond:
		s = " day to second"
	case ivHour | ivMinute:
		s = " hour to minute"
	case ivHour | ivMinute | ivSecond:
		s = " hour to second"
	case ivMinute | ivSecond:
		s = " minute to second"
	}
	if prec != IntervalFullPrecision {
		s += "(" + itoa(prec) + ")"
	}
	return s
}

// IntervalRangeError is what overflowing interval arithmetic answers.
func IntervalRangeError() error {
	return pgerr.New(pgerr.DatetimeFieldOverflow, "interval out of range")
}

func applyIntervalMod(iv Interval, mod int32) (Interval, error) {
	switch fields := int(mod) >> 16 & 0x7fff; fields {
	case IntervalFullRange:
	case ivYear:
		iv = Interval{Months: iv.Months / 12 * 12}
	case ivMonth, ivYear | ivMonth:
		iv = Interval{Months: iv.Months}
	case ivDay:
		iv.Micros = 0
	case ivHour, ivDay | ivHour:
		iv.Micros = iv.Micros / MicrosPerHour * MicrosPerHour
	case ivMinute, ivDay | ivHour | ivMinute, ivHour | ivMinute:
		iv.Micros = iv.Micros / MicrosPerMinute * MicrosPerMinute
	}
	if prec := int(mod) & 0xffff; prec < 6 {
		iv.Micros = roundMicros(iv.Micros, prec)
	}
	return iv, nil
}

// span is the interval's length with 30-day months and 24-hour days, as a 128-bit number: what comparison goes by.
func (iv Interval) span() (int64, uint64) {
	days := int64(iv.Months)*30 + int64(iv.Days)
	neg := days < 0
	ud := uint64(days)
	if neg {
		ud = uint64(-days)
	}
	hi, lo := bits.Mul64(ud, uint64(MicrosPerDay))
	if neg {
		lo = -lo
		hi = ^hi
		if lo == 0 {
			hi++
		}
	}
	var carry uint64
	lo, carry = bits.Add64(lo, uint64(iv.Micros), 0)
	hi += carry
	if iv.Micros < 0 {
		hi-- // sign extension
	}
	return int64(hi), lo
}

// CompareInterval orders intervals: '1 month' equals '30 days'.
func CompareInterval(a, b Interval) int {
	if a == b {
		return 0
	}
	ah, al := a.span()
	bh, bl := b.span()
	switch {
	case ah < bh, ah == bh && al < bl:
		return -1
	case ah > bh, al > bl:
		return 1
	}
	return 0
}

type ivUnit uint8

const (
	iuNone ivUnit = iota
	iuMicro
	iuMilli
	iuSecond
	iuMinute
	iuHour
	iuDay
	iuWeek
	iuMonth
	iuYear
	iuDecade
	iuCentury
	iuMillennium
	iuQuarter
	iuAgo
	iuIgnore
)

var ivUnits = map[string]ivUnit{
	"@": iuIgnore, "ago": iuAgo, "c": iuCentury, "cent": iuCentury, "centuries": iuCentury, "century": iuCentury,
	"d": iuDay, "day": iuDay, "days": iuDay, "dec": iuDecade, "decade": iuDecade, "decades": iuDecade, "decs": iuDecade,
	"h": iuHour, "hour": iuHour, "hours": iuHour, "hr": iuHour, "hrs": iuHour, "m": iuMinute,
	"microsecon": iuMicro, "mil": iuMillennium, "millennia": iuMillennium, "millennium": iuMillennium, "mils": iuMillennium,
	"millisecon": iuMilli, "min": iuMinute, "mins": iuMinute, "minute": iuMinute, "minutes": iuMinute,
	"mon": iuMonth, "mons": iuMonth, "month": iuMonth, "months": iuMonth, "ms": iuMilli, "msec": iuMilli, "msecond": iuMilli,
	"mseconds": iuMilli, "msecs": iuMilli, "qtr": iuQuarter, "quarter": iuQuarter, "s": iuSecond, "sec": iuSecond,
	"second": iuSecond, "seconds": iuSecond, "secs": iuSecond, "us": iuMicro, "usec": iuMicro, "usecond": iuMicro,
	"useconds": iuMicro, "usecs": iuMicro, "w": iuWeek, "week": iuWeek, "weeks": iuWeek, "y": iuYear, "year": iuYear,
	"years": iuYear, "yr": iuYear, "yrs": iuYear,
}

func intervalUnit(s string) (ivUnit, bool) {
	if len(s) > 10 {
		s = s[:10]
	}
	u, ok := ivUnits[s]
	return u, ok
}

// ivSum collects the parts of an interval; ok turns false on overflow.
type ivSum struct {
	micros int64
	years  int64
	months int64
	days   int64
	over   bool
}

func (a *ivSum) add(p *int64, val, scale int64, limit int64) {
	hi, lo := bits.Mul64(uint64(abs64(val)), uint64(scale))
	if hi != 0 || lo > math.MaxInt64 {
		a.over = true
		return
	}
	x := int64(lo)
	if val < 0 {
		x = -x
	}
	s := *p + x
	if (s > *p) != (x > 0) && x != 0 || s > limit || s < -limit-1 {
		a.over = true
		return
	}
	*p = s
}

func abs64(x int64) int64 {
	if x < 0 {
		return -x
	}
	return x
}

func (a *ivSum) fracMicros(frac float64, scale int64) {
	if frac == 0 {
		return
	}
	frac *= float64(scale)
	us := int64(frac)
	frac -= float64(us)
	if frac > 0.5 {
		us++
	} else if frac < -0.5 {
		us--
	}
	a.add(&a.micros, us, 1, math.MaxInt64)
}

func (a *ivSum) fracDays(frac float64, scale int) {
	if frac == 0 {
		return
	}
	frac *= float64(scale)
	d := int64(frac)
	a.add(&a.days, d, 1, math.MaxInt32)
	a.fracMicros(frac-float64(d), MicrosPerDay)
}

func (a *ivSum) put(u ivUnit, val int64, frac float64) (mask int, ok bool) {
	us := func(scale int64) {
		a.add(&a.micros, val, scale, math.MaxInt64)
		a.fracMicros(frac, scale)
	}
	years := func(scale int64) {
		a.add(&a.years, val, scale, math.MaxInt32)
		a.add(&a.months, int64(math.RoundToEven(frac*float64(scale)*12)), 1, math.MaxInt32)
	}
	switch u {
	case iuMicro:
		us(1)
	case iuMilli:
		us(1000)
	case iuSecond:
		us(MicrosPerSecond)
		if frac != 0 {
			return 1<<iuSecond | 1<<iuMilli | 1<<iuMicro, true
		}
	case iuMinute:
		us(MicrosPerMinute)
	case iuHour:
		us(MicrosPerHour)
	case iuDay:
		a.add(&a.days, val, 1, math.MaxInt32)
		a.fracMicros(frac, MicrosPerDay)
	case iuWeek:
		a.add(&a.days, val, 7, math.MaxInt32)
		a.fracDays(frac, 7)
	case iuMonth:
		a.add(&a.months, val, 1, math.MaxInt32)
		a.fracDays(frac, 30)
	case iuYear:
		years(1)
	case iuDecade:
		years(10)
	case iuCentury:
		years(100)
	case iuMillennium:
		years(1000)
	default:
		return 0, false
	}
	return 1 << u, true
}

func rightmostUnit(mod int32) ivUnit {
	if mod < 0 {
		return iuSecond
	}
	switch f := int(mod) >> 16 & 0x7fff; {
	case f == IntervalFullRange:
		return iuSecond
	case f&ivSecond != 0:
		return iuSecond
	case f&ivMinute != 0:
		return iuMinute
	case f&ivHour != 0:
		return iuHour
	case f&ivDay != 0:
		return iuDay
	case f&ivMonth != 0:
		return iuMonth
	case f&ivYear != 0:
		return iuYear
	}
	return iuSecond
}

// timePart reads [h:]m:s[.fff] as microseconds.
func timePart(s string, mod int32) (us int64, e dtError) {
	h, rest, ok := atoi64(s)
	if !ok {
		return 0, dtOverflow
	}
	if rest == "" || rest[0] != ':' {
		return 0, dtBad
	}
	m, rest, ok := atoi(rest[1:])
	if !ok {
		return 0, dtOverflow
	}
	sec := 0
	var frac int64
	minToSec := mod >= 0 && int(mod)>>16&0x7fff == ivMinute|ivSecond
	switch {
	case rest == "":
		if minToSec {
			sec, m, h = m, clampInt(h), 0
		}
	case rest[0] == '.':
		if frac, e = parseFraction(rest); e != dtOK {
			return 0, e
		}
		sec, m, h = m, clampInt(h), 0
	case rest[0] == ':':
		if sec, rest, ok = atoi(rest[1:]); !ok {
			return 0, dtOverflow
		}
		if rest != "" {
			if frac, e = parseFraction(rest); e != dtOK {
				return 0, e
			}
		}
	default:
		return 0, dtBad
	}
	// The largest number of hours that fits leaves no room for a whole one more.
	if m > 59 || sec > 60 || frac > MicrosPerSecond || h > math.MaxInt64/MicrosPerHour {
		return 0, dtOverflow
	}
	us = h * MicrosPerHour
	if us += int64(m)*MicrosPerMinute + int64(sec)*MicrosPerSecond + frac; us < 0 {
		return 0, dtOverflow
	}
	return us, dtOK
}

// clampInt keeps a number too large for its place too large.
func clampInt(x int64) int { return int(min(x, math.MaxInt32)) }

// ParseInterval reads an interval. The modifier says what a bare number means (INTERVAL '5' DAY).
func ParseInterval(s []byte, mod int32, env *TextEnv) (Interval, error) {
	var a ivSum
	e := a.parse(s, mod, env.IntervalStyle == 's')
	if e == dtBad {
		a = ivSum{}
		e = a.parseISO(string(trimSpace(s)))
	}
	if a.over || e == dtOverflow {
		e = dtIntervalOverflow
	}
	if e != dtOK {
		t := newDT(env)
		return Interval{}, t.finish(e, s, "interval")
	}
	months := a.years*12 + a.months
	if months > math.MaxInt32 || months < math.MinInt32 || a.days > math.MaxInt32 || a.days < math.MinInt32 {
		return Interval{}, IntervalRangeError()
	}
	return Interval{Months: int32(months), Days: int32(a.days), Micros: a.micros}, nil
}

func (a *ivSum) parse(s []byte, mod int32, sqlStandard bool) dtError {
	fields, e := splitFields(s)
	if e != dtOK {
		return e
	}
	forceNeg := false
	if sqlStandard && len(fields) > 0 && fields[0].text[0] == '-' {
		forceNeg = true
		for _, f := range fields[1:] {
			if f.text[0] == '-' || f.text[0] == '+' {
				forceNeg = false
			}
		}
	}
	mask, ago := 0, false
	unit := iuNone
	const timeMask = 1<<iuHour | 1<<iuMinute | 1<<iuSecond | 1<<iuMilli | 1<<iuMicro
	for i := len(fields) - 1; i >= 0; i-- {
		f := fields[i].text
		m := 0
		kind := fields[i].kind
		if kind == fTime || kind == fTZ && strings.IndexByte(f, ':') > 0 {
			neg := false
			body := f
			if kind == fTZ {
				neg, body = f[0] == '-', f[1:]
			}
			us, e := timePart(body, mod)
			if e != dtOK {
				return e
			}
			if neg || forceNeg {
				us = -us
			}
			a.add(&a.micros, us, 1, math.MaxInt64)
			m = timeMask
			unit = iuDay
		} else if kind == fString || kind == fSpecial {
			u, ok := intervalUnit(f)
			if !ok {
				return dtBad
			}
			switch u {
			case iuIgnore:
				continue
			case iuAgo:
				ago = true
				unit = iuNone
			default:
				unit = u
			}
			continue
		} else {
			if unit == iuNone {
				unit = rightmostUnit(mod)
			}
			neg := f[0] == '-'
			digits := strings.TrimLeft(f, "+-")
			val, rest, ok := atoi64(digits)
			if !ok {
				return dtOverflow
			}
			var frac float64
			switch {
			case rest == "":
			case rest[0] == '-':
				months, tail, ok := atoi(rest[1:])
				if !ok || months >= 12 {
					return dtOverflow
				}
				if tail != "" || rest == "-" {
					return dtBad
				}
				unit = iuMonth
				if val > math.MaxInt32 {
					return dtOverflow
				}
				val = val*12 + int64(months)
			case rest[0] == '.':
				if rest != "." {
					if frac, ok = parseFrac(rest); !ok {
						return dtBad
					}
				}
			default:
				return dtBad
			}
			if neg || forceNeg {
				val, frac = -val, -frac
			}
			if m, ok = a.put(unit, val, frac); !ok {
				return dtBad
			}
			if unit == iuHour {
				unit = iuDay
			}
		}
		if m&mask != 0 {
			return dtBad
		}
		mask |= m
	}
	if mask == 0 {
		return dtBad
	}
	if ago {
		if a.micros == math.MinInt64 {
			a.over = true
		}
		a.micros, a.days, a.months, a.years = -a.micros, -a.days, -a.months, -a.years
	}
	return dtOK
}
