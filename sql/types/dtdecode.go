package types

import (
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/pgerr"
)

func newDT(env *TextEnv) dt {
	order := env.DateOrder
	if order == 0 {
		order = 'M'
	}
	return dt{order: order, now: env.Now, loc: env.loc()}
}

// current fills in the day (and with clock, the time) of the transaction's start, in the session's zone.
func (t *dt) current(deltaDays int64, clock bool) {
	now := t.now
	if now == 0 {
		now = FromTime(time.Now())
	}
	local := UTCToLocal(now, t.loc)
	days, tod := floorDiv(local, MicrosPerDay)
	t.year, t.month, t.day = YMDFromDate(days + deltaDays)
	if clock {
		t.setTime(tod)
		off, _ := ZoneOffset(now, t.loc)
		t.tz = off
	}
}

func (t *dt) setTime(tod int64) {
	t.hour, t.min = int(tod/MicrosPerHour), int(tod/MicrosPerMinute%60)
	t.sec, t.frac = int(tod/MicrosPerSecond%60), tod%MicrosPerSecond
}

func (t *dt) timeOfDay() int64 {
	return int64((t.hour*60+t.min)*60+t.sec)*MicrosPerSecond + t.frac
}

func (t *dt) local() int64 {
	return DateFromYMD(t.year, t.month, t.day)*MicrosPerDay + t.timeOfDay()
}

// decode understands a date with optional time and zone; timeOnly a time with optional date and zone.
func (t *dt) decode(fields []dtField, timeOnly bool) dtError {
	var (
		e                          dtError
		textMonth, julian, is2, bc bool
		meridian                   = -1
		ptype                      int
		zone                       *time.Location
		isDTZ                      bool
	)
	_ = isDTZ
	for i := 0; i < len(fields); i++ {
		f := fields[i].text
		m := 0
		switch fields[i].kind {
		case fDate:
			switch {
			case ptype == uJulian:
				j, rest, ok := atoi(f)
				if !ok {
					return dtOverflow
				}
				t.year, t.month, t.day = FromJulianDay(j)
				julian = true
				if t.tz, _, e = decodeZone(rest); e != dtOK {
					return e
				}
				m = mDate | mHMS | mTZ
				ptype = 0
			case ptype != 0 || t.mask&(mMonth|mDay) == mMonth|mDay || timeOnly && !isDigit(f[0]):
				if isDigit(f[0]) || ptype != 0 {
					if ptype != 0 && ptype != uTime {
						return dtBad
					}
					ptype = 0
					if t.mask&mHMS == mHMS {
						return dtBad
					}
					k := strings.IndexByte(f, '-')
					if k < 0 {
						return dtBad
					}
					if t.tz, _, e = decodeZone(f[k:]); e != dtOK {
						return e
					}
					if m, e = t.decodeNumberField(f[:k], t.mask, &is2); e != dtOK {
						return e
					}
					m |= mTZ
				} else {
					loc, ok := namedZone(f)
					if !ok {
						t.badZone = f
						return dtBadZone
					}
					zone = loc
					m = mTZ
				}
			default:
				if m, e = t.decodeDate(f, t.mask, &is2); e != dtOK {
					return e
				}
			}
		case fTime:
			if ptype != 0 {
				if ptype != uTime {
					return dtBad
				}
				ptype = 0
			}
			if m, e = t.decodeTime(f, t.mask); e != dtOK {
				return e
			}
			if timeOverflows(t.hour, t.min, t.sec, t.frac) {
				return dtOverflow
			}
		case fTZ:
			if t.tz, _, e = decodeZone(f); e != dtOK {
				return e
			}
			m = mTZ
		case fNumber:
			if ptype != 0 {
				val, rest, ok := atoi(f)
				if !ok {
					return dtOverflow
				}
				if rest != "" && rest[0] != '.' {
					return dtBad
				}
				switch ptype {
				case uJulian:
					t.year, t.month, t.day = FromJulianDay(val)
					julian = true
					m = mDate
					if rest != "" {
						frac, ok := parseFrac(rest)
						if !ok {
							return dtBad
						}
						t.setTime(int64(frac * float64(MicrosPerDay)))
						m |= mHMS
					}
				case uTime:
					if m, e = t.decodeNumberField(f, t.mask|mDate, &is2); e != dtOK {
						return e
					}
					if m != mHMS {
						return dtBad
					}
				default:
					return dtBad
				}
				ptype = 0
				break
			}
			dot := strings.IndexByte(f, '.')
			switch {
			case dot >= 0 && t.mask&mDate == 0 && !timeOnly:
				m, e = t.decodeDate(f, t.mask, &is2)
			case dot > 2:
				m, e = t.decodeNumberField(f, t.maskFor(timeOnly), &is2)
			case dot < 0 && len(f) >= 6 && (t.mask&mDate == 0 || t.mask&mHMS == 0):
				m, e = t.decodeNumberField(f, t.mask, &is2)
				if timeOnly && m == mDate {
					m, e = t.decodeNumberField(f, t.mask|mDate, &is2)
				}
			case timeOnly && len(f) > 3:
				m, e = t.decodeNumberField(f, t.mask|mDate, &is2)
			default:
				m, e = t.decodeNumber(f, textMonth, t.mask, &is2)
			}
			if e != dtOK {
				return e
			}
		case fString, fSpecial:
			if v, ok := zoneAbbrevs[f]; ok {
				t.tz = int(v >> 1)
				m = mTZ
				if v&1 == 1 {
					m |= mDTZ
				}
				break
			}
			kind, val, ok := specialWord(f)
			if !ok {
				loc, found := namedZone(f)
				if !found {
					return dtBad
				}
				zone = loc
				m = mTZ
				break
			}
			switch kind {
			case wIgnore:
				continue
			case wReserved:
				switch val {
				case rNow:
					t.current(0, true)
					m = mDate | mHMS | mTZ
				case rToday:
					t.current(0, false)
					m = mDate
				case rYesterday:
					t.current(-1, false)
					m = mDate
				case rTomorrow:
					t.current(1, false)
					m = mDate
				case rZulu:
					t.setTime(0)
					t.tz = 0
					m = mHMS | mTZ
				case rEpoch:
					t.special = 'e'
					m = mDate | mHMS | mTZ
				case rLate:
					t.special = '+'
					m = mDate | mHMS | mTZ
				case rEarly:
					t.special = '-'
					m = mDate | mHMS | mTZ
				}
			case wMonth:
				m = mMonth
				if t.mask&mMonth != 0 && !textMonth && t.mask&mDay == 0 && t.month >= 1 && t.month <= 31 {
					t.day = t.month
					m = mDay
				}
				textMonth = true
				t.month = val
			case wDTZMod:
				m = mDTZMod
				t.tz += val
				if t.mask&mTZ == 0 {
					m |= mTZ
				}
			case wAMPM:
				m = mAMPM
				meridian = val
			case wADBC:
				m = mADBC
				bc = val == 1
			case wDOW:
				m = mDOW
			case wUnits:
				ptype = val
			case wISOTime:
				if t.mask&mDate != mDate && !timeOnly {
					return dtBad
				}
				if i >= len(fields)-1 {
					return dtBad
				}
				if k := fields[i+1].kind; k != fNumber && k != fTime && k != fDate {
					return dtBad
				}
				ptype = val
			default:
				return dtBad
			}
		}
		if m&t.mask != 0 {
			return dtBad
		}
		t.mask |= m
	}
	if ptype != 0 && ptype != uTime {
		_ = ptype
	}
	if t.special != 0 {
		return dtOK
	}
	if e = t.validate(julian, is2, bc); e != dtOK {
		return e
	}
	if meridian >= 0 {
		if t.hour > 12 {
			return dtOverflow
		}
		if meridian == 0 && t.hour == 12 {
			t.hour = 0
		} else if meridian == 1 && t.hour != 12 {
			t.hour += 12
		}
	}
	if timeOverflows(t.hour, t.min, t.sec, t.frac) {
		return dtOverflow
	}
	if timeOnly {
		if t.mask&mHMS != mHMS {
			return dtBad
		}
	} else if t.mask&mDate != mDate {
		return dtBad
	}
	if zone != nil {
		if timeOnly && t.mask&mDate != mDate {
			// A full zone needs the date to know its offset.
			return dtBad
		}
		l := t.local()
		t.tz = int((l - LocalToUTC(l, zone)) / MicrosPerSecond)
	}
	if t.mask&mTZ == 0 && t.mask&mDate == mDate {
		l := t.local()
		t.tz = int((l - LocalToUTC(l, t.loc)) / MicrosPerSecond)
	}
	return dtOK
}

func (t *dt) maskFor(timeOnly bool) int {
	if timeOnly {
		return t.mask | mDate
	}
	return t.mask
}

func parseFrac(s string) (float64, bool) {
	d, err := parseFloat(Float8OID, []byte("0"+s))
	return d.F, err == nil
}

// namedZone finds full zone names as they may stand inside a date string.
func namedZone(s string) (*time.Location, bool) {
	if len(s) < 3 {
		return nil, false
	}
	return FindZone(s)
}

func yearInRange(y, m, d int) bool {
	// Julian day 0 is 4714-11-24 BC; the upper bound keeps JulianDay within an int32.
	return (y > -4713 || y == -4713 && (m > 11 || m == 11 && d >= 24)) && y < 5874898
}

// readDateTime takes a date, with or without a time of day, apart; name is the type's, for errors.
func readDateTime(s []byte, env *TextEnv, name string) (dt, error) {
	t := newDT(env)
	fields, e := splitFields(s)
	if e == dtOK && len(fields) == 0 {
		e = dtBad
	}
	if e == dtOK {
		e = t.decode(fields, false)
	}
	if e != dtOK {
		return t, t.finish(e, s, name)
	}
	return t, nil
}

// ParseDate reads a date: days since 2000-01-01.
func ParseDate(s []byte, env *TextEnv) (int64, error) {
	if y, m, d, rest, ok := isoDate(s); ok && len(rest) == 0 {
		return DateFromYMD(y, m, d), nil
	}
	t, err := readDateTime(s, env, "date")
	if err != nil {
		return 0, err
	}
	switch t.special {
	case 'e':
		return UnixEpochMicros / MicrosPerDay, nil
	case '+':
		return DateInfinity, nil
	case '-':
		return DateNegInfinity, nil
	}
	if yearInRange(t.year, t.month, t.day) {
		if d := DateFromYMD(t.year, t.month, t.day); ValidDate(d) {
			return d, nil
		}
	}
	return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "date out of range: \"%s\"", s)
}

// isoDate takes a valid yyyy-mm-dd off the front: what nearly every input is.
func isoDate(s []byte) (y, m, d int, rest []byte, ok bool) {
	if len(s) < 10 || s[4] != '-' || s[7] != '-' || len(s) > 10 && isDigit(s[10]) {
		return
	}
	for _, i := range [8]int{0, 1, 2, 3, 5, 6, 8, 9} {
		if !isDigit(s[i]) {
			return
		}
	}
	y = int(s[0]-'0')*1000 + int(s[1]-'0')*100 + int(s[2]-'0')*10 + int(s[3]-'0')
	m = int(s[5]-'0')*10 + int(s[6]-'0')
	d = int(s[8]-'0')*10 + int(s[9]-'0')
	ok = y >= 1 && m >= 1 && m <= 12 && d >= 1 && d <= DaysInMonth(y, m)
	return y, m, d, s[10:], ok
}

// isoStamp reads yyyy-mm-dd[( |T)hh:mm:ss[.ffffff]][(+|-)hh[:mm]|Z].
func isoStamp(s []byte) (local int64, off int, hasZone, ok bool) {
	y, m, d, s, ok := isoDate(s)
	if !ok {
		return
	}
	local = DateFromYMD(y, m, d) * MicrosPerDay
	if len(s) == 0 {
		return local, 0, false, true
	}
	if s[0] != ' ' && s[0] != 'T' || len(s) < 9 || s[3] != ':' || s[6] != ':' {
		return 0, 0, false, false
	}
	for _, i := range [6]int{1, 2, 4, 5, 7, 8} {
		if !isDigit(s[i]) {
			return 0, 0, false, false
		}
	}
	hh := int64(s[1]-'0')*10 + int64(s[2]-'0')
	mm := int64(s[4]-'0')*10 + int64(s[5]-'0')
	ss := int64(s[7]-'0')*10 + int64(s[8]-'0')
	if hh > 23 || mm > 59 || ss > 59 {
		return 0, 0, false, false
	}
	local += (hh*60+mm)*MicrosPerMinute + ss*MicrosPerSecond
	s = s[9:]
	if len(s) > 1 && s[0] == '.' {
		unit := int64(100000)
		i := 1
		for ; i < len(s) && isDigit(s[i]); i++ {
			if i > 6 {
				return 0, 0, false, false
			}
			local += int64(s[i]-'0') * unit
			unit /= 10
		}
		if i == 1 {
			return 0, 0, false, false
		}
		s = s[i:]
	}
	switch {
	case len(s) == 0:
		return local, 0, false, true
	case len(s) == 1 && s[0] == 'Z':
		return local, 0, true, true
	case (s[0] == '+' || s[0] == '-') && (len(s) == 3 || len(s) == 6 && s[3] == ':') && isDigit(s[1]) && isDigit(s[2]):
		off = (int(s[1]-'0')*10 + int(s[2]-'0')) * 3600
		if len(s) == 6 {
			if !isDigit(s[4]) || !isDigit(s[5]) || s[4] > '5' {
				return 0, 0, false, false
			}
			off += (int(s[4]-'0')*10 + int(s[5]-'0')) * 60
		}
		if off >= 16*3600 {
			return 0, 0, false, false
		}
		if s[0] == '-' {
			off = -off
		}
		return local, off, true, true
	}
	return 0, 0, false, false
}

// ParseTimestamp reads a timestamp; a zone in it is ignored, as in PostgreSQL.
func ParseTimestamp(s []byte, env *TextEnv) (int64, error) {
	if local, _, _, ok := isoStamp(s); ok {
		return local, nil
	}
	return parseStamp(s, env, false)
}

// ParseTimestamptz reads a timestamptz; without a zone in it the session's holds.
func ParseTimestamptz(s []byte, env *TextEnv) (int64, error) {
	if local, off, zone, ok := isoStamp(s); ok {
		if zone {
			return local - int64(off)*MicrosPerSecond, nil
		}
		return LocalToUTC(local, env.loc()), nil
	}
	return parseStamp(s, env, true)
}

func parseStamp(s []byte, env *TextEnv, tz bool) (int64, error) {
	name := "timestamp"
	if tz {
		name = "timestamp with time zone"
	}
	t, err := readDateTime(s, env, name)
	if err != nil {
		return 0, err
	}
	switch t.special {
	case 'e':
		return UnixEpochMicros, nil
	case '+':
		return Infinity, nil
	case '-':
		return NegInfinity, nil
	}
	if yearInRange(t.year, t.month, t.day) && t.year <= 294277 {
		us := t.local()
		if tz {
			us -= int64(t.tz) * MicrosPerSecond
		}
		if ValidTimestamp(us) {
			return us, nil
		}
	}
	return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "timestamp out of range: \"%s\"", s)
}

// ParseTime reads a time of day.
func ParseTime(s []byte, env *TextEnv) (int64, error) {
	t, err := parseTimeOfDay(s, env, "time")
	return t.timeOfDay(), err
}

func parseTimetz(s []byte, env *TextEnv) (TimeTZ, error) {
	t, err := parseTimeOfDay(s, env, "time with time zone")
	if err != nil {
		return TimeTZ{}, err
	}
	if t.mask&mTZ == 0 {
		now := t.now
		if now == 0 {
			now = FromTime(time.Now())
		}
		t.tz, _ = ZoneOffset(now, t.loc)
	}
	return TimeTZ{Micros: t.timeOfDay(), Zone: int32(-t.tz)}, nil
}

func parseTimeOfDay(s []byte, env *TextEnv, name string) (dt, error) {
	t := newDT(env)
	fields, e := splitFields(s)
	if e == dtOK && len(fields) == 0 {
		e = dtBad
	}
	if e == dtOK {
		e = t.decode(fields, true)
	}
	if e == dtOK && t.special != 0 {
		e = dtBad
	}
	if e != dtOK {
		return dt{}, t.finish(e, s, name)
	}
	return t, nil
}

// IsPlainISO reports whether s is an ISO date or timestamp whose meaning no setting changes; with zone it must say its zone.
func IsPlainISO(s []byte, zone bool) bool {
	_, _, has, ok := isoStamp(s)
	return ok && (has || !zone)
}
