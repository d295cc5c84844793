package types

import (
	"github.com/pamirdb/pamir/sql/pgerr"
)

// decodeDate reads a date with separators.
func (t *dt) decodeDate(s string, fmask int, is2 *bool) (int, dtError) {
	var parts []string
	for i := 0; i < len(s); {
		for i < len(s) && !isDigit(s[i]) && !isAlpha(s[i]) {
			i++
		}
		j := i
		if j < len(s) && isDigit(s[j]) {
			for j < len(s) && isDigit(s[j]) {
				j++
			}
		} else {
			for j < len(s) && isAlpha(s[j]) {
				j++
			}
		}
		if j > i {
			if len(parts) >= 3 {
				return 0, dtBad
			}
			parts = append(parts, s[i:j])
		}
		i = j
	}
	mask := 0
	textMonth := false
	for k, p := range parts {
		if isAlpha(p[0]) {
			kind, val, ok := specialWord(p)
			if ok && kind == wIgnore {
				parts[k] = ""
				continue
			}
			if !ok || kind != wMonth {
				return 0, dtBad
			}
			if fmask&mMonth != 0 {
				return 0, dtBad
			}
			t.month = val
			textMonth = true
			fmask |= mMonth
			mask |= mMonth
			parts[k] = ""
		}
	}
	for _, p := range parts {
		if p == "" {
			continue
		}
		m, e := t.decodeNumber(p, textMonth, fmask, is2)
		if e != dtOK {
			return 0, e
		}
		if fmask&m != 0 {
			return 0, dtBad
		}
		fmask |= m
		mask |= m
	}
	if fmask&^(mDOY|mTZ) != mDate {
		return 0, dtBad
	}
	return mask, dtOK
}

// decodeNumber decides what a plain number is by what is missing.
func (t *dt) decodeNumber(s string, textMonth bool, fmask int, is2 *bool) (int, dtError) {
	val, rest, ok := atoi(s)
	if !ok {
		return 0, dtOverflow
	}
	if len(rest) == len(s) {
		return 0, dtBad
	}
	if rest != "" && rest[0] == '.' {
		// More than two digits before the point: a date, or a time as hhmmss.fff.
		if len(s)-len(rest) > 2 {
			return t.decodeNumberField(s, fmask|mDate, is2)
		}
		f, e := parseFraction(rest)
		if e != dtOK {
			return 0, e
		}
		t.frac = f
	} else if rest != "" {
		return 0, dtBad
	}
	// Day of year?
	if len(s) == 3 && fmask&mDate == mYear && val >= 1 && val <= 366 {
		t.year, t.month, t.day = FromJulianDay(JulianDay(t.year, 1, 1) + val - 1)
		return mDOY | mMonth | mDay, dtOK
	}
	flen := len(s)
	m := 0
	switch fmask & mDate {
	case 0:
		if flen >= 3 || t.order == 'Y' {
			m = mYear
			t.year = val
		} else if t.order == 'D' {
			m = mDay
			t.day = val
		} else {
			m = mMonth
			t.month = val
		}
	case mYear:
		m = mMonth
		t.month = val
	case mMonth:
		if textMonth {
			if flen >= 3 || t.order == 'Y' {
				m = mYear
				t.year = val
			} else {
				m = mDay
				t.day = val
			}
		} else {
			m = mDay
			t.day = val
		}
	case mYear | mMonth:
		if textMonth {
			if flen >= 3 && *is2 {
				// The two-digit "year" was the day.
				m = mDay
				t.day = t.year
				t.year = val
				*is2 = false
			} else {
				m = mDay
				t.day = val
			}
		} else {
			m = mDay
			t.day = val
		}
	case mDay:
		m = mMonth
		t.month = val
	case mMonth | mDay:
		m = mYear
		t.year = val
	case mDate:
		// A number after a complete date must be a time.
		return t.decodeNumberField(s, fmask, is2)
	default:
		return 0, dtBad
	}
	if m == mYear {
		*is2 = flen <= 2
	}
	return m, dtOK
}

// decodeNumberField reads run-together dates (yyyymmdd, yymmdd) and times (hhmmss[.fff], hhmm).
func (t *dt) decodeNumberField(s string, fmask int, is2 *bool) (int, dtError) {
	num := s
	for i := 0; i < len(s); i++ {
		if s[i] == '.' {
			f, e := parseFraction(s[i:])
			if e != dtOK {
				return 0, e
			}
			t.frac = f
			num = s[:i]
			break
		}
	}
	n := func(a, b int) int {
		v, _, _ := atoi(num[a:b])
		return v
	}
	for i := 0; i < len(num); i++ {
		if !isDigit(num[i]) {
			return 0, dtBad
		}
	}
	l := len(num)
	if len(num) == len(s) && fmask&mDate != mDate && l >= 6 {
		t.day = n(l-2, l)
		t.month = n(l-4, l-2)
		y, _, ok := atoi(num[:l-4])
		if !ok {
			return 0, dtOverflow
		}
		t.year = y
		if l-4 == 2 {
			*is2 = true
		}
		return mDate, dtOK
	}
	if fmask&mHMS != mHMS {
		switch l {
		case 6:
			t.hour, t.min, t.sec = n(0, 2), n(2, 4), n(4, 6)
			return mHMS, dtOK
		case 4:
			t.hour, t.min, t.sec = n(0, 2), n(2, 4), 0
			return mHMS, dtOK
		}
	}
	return 0, dtBad
}

func (t *dt) validate(isJulian, is2, bc bool) dtError {
	if t.mask&mYear != 0 {
		if isJulian {
			// The year is right already.
		} else if bc {
			if t.year <= 0 {
				return dtOverflow
			}
			t.year = -(t.year - 1)
		} else if is2 {
			if t.year < 0 {
				return dtOverflow
			}
			if t.year < 70 {
				t.year += 2000
			} else if t.year < 100 {
				t.year += 1900
			}
		} else if t.year <= 0 {
			return dtOverflow
		}
	}
	if t.mask&mMonth != 0 && (t.month < 1 || t.month > 12) {
		return dtMDOverflow
	}
	if t.mask&mDay != 0 && (t.day < 1 || t.day > 31) {
		return dtMDOverflow
	}
	if t.mask&mDate == mDate && t.day > DaysInMonth(t.year, t.month) {
		return dtOverflow
	}
	return dtOK
}

// finish words an error of reading s as a type.
func (t *dt) finish(e dtError, s []byte, typ string) error {
	switch e {
	case dtOverflow:
		return pgerr.New(pgerr.DatetimeFieldOverflow, "date/time field value out of range: \"%s\"", s)
	case dtMDOverflow:
		return pgerr.New(pgerr.DatetimeFieldOverflow, "date/time field value out of range: \"%s\"", s).
			WithHint("Perhaps you need a different \"datestyle\" setting.")
	case dtIntervalOverflow:
		return pgerr.New(pgerr.IntervalFieldOverflow, "interval field value out of range: \"%s\"", s)
	case dtTZOverflow:
		return pgerr.New(pgerr.InvalidTimeZoneDisplacement, "time zone displacement out of range: \"%s\"", s)
	case dtBadZone:
		return pgerr.New(pgerr.InvalidParameterValue, "time zone \"%s\" not recognized", t.badZone)
	}
	return pgerr.New(pgerr.InvalidDatetimeFormat, "invalid input syntax for type %s: \"%s\"", typ, s)
}
