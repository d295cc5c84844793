package types

import (
	"time"
)

// This file is the reading half of PostgreSQL's date and time input, rule by rule (datetime.c): a
// string is cut into fields by their looks, then each field is understood by what is known so far.

type fieldKind uint8

const (
	fNumber fieldKind = iota
	fString
	fDate
	fTime
	fTZ
	fSpecial
)

type dtField struct {
	kind fieldKind
	text string
}

// Bits of what is known.
const (
	mYear = 1 << iota
	mMonth
	mDay
	mHour
	mMinute
	mSecond
	mTZ
	mDTZMod
	mAMPM
	mADBC
	mDOW
	mDOY
	mReserved
	mDTZ
)

const (
	mDate = mYear | mMonth | mDay
	mHMS  = mHour | mMinute | mSecond
)

type dtError uint8

const (
	dtOK dtError = iota
	dtBad
	dtOverflow
	dtMDOverflow // a hint on DateStyle
	dtIntervalOverflow
	dtTZOverflow
	dtBadZone
)

// dt is a date and time being read.
type dt struct {
	year, month, day, hour, min, sec int
	frac                             int64 // µs
	tz                               int   // seconds east
	special                          byte  // 'e' epoch, '+' infinity, '-' -infinity, 0 none
	mask                             int
	order                            byte
	badZone                          string
	now                              int64
	loc                              *time.Location
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAlpha(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' }
func isPunct(c byte) bool { return c > ' ' && c < 0x7f && !isDigit(c) && !isAlpha(c) }

func splitFields(s []byte) ([]dtField, dtError) {
	fields := make([]dtField, 0, 8)
	buf := make([]byte, 0, len(s))
	i := 0
	at := func(k int) byte {
		if k < len(s) {
			return s[k]
		}
		return 0
	}
	take := func() {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c += 32
		}
		buf = append(buf, c)
		i++
	}
	digits := func(more string) {
		for i < len(s) && (isDigit(s[i]) || indexByte(more, s[i])) {
			take()
		}
	}
	for i < len(s) {
		c := s[i]
		if isSpace(c) {
			i++
			continue
		}
		if len(fields) >= 25 {
			return nil, dtBad
		}
		buf = buf[:0]
		var kind fieldKind
		switch {
		case isDigit(c):
			digits("")
			switch d := at(i); {
			case d == ':':
				kind = fTime
				digits(":.")
			case d == '-' || d == '/' || d == '.':
				take()
				if isDigit(at(i)) {
					kind = fDate
					if d == '.' {
						kind = fNumber
					}
					digits("")
					if at(i) == d {
						kind = fDate
						digits(string(rune(d)))
					}
				} else {
					kind = fDate
					for i < len(s) && (isDigit(s[i]) || isAlpha(s[i]) || s[i] == d) {
						take()
					}
				}
			default:
				kind = fNumber
			}
		case c == '.':
			take()
			digits("")
			kind = fNumber
		case isAlpha(c):
			kind = fString
			for i < len(s) && isAlpha(s[i]) {
				take()
			}
			isDate := false
			if d := at(i); d == '-' || d == '/' || d == '.' {
				isDate = true
			} else if d == '+' || isDigit(d) {
				_, _, known := specialWord(string(buf))
				isDate = !known
			}
			if isDate {
				kind = fDate
				for i < len(s) && (isDigit(s[i]) || isAlpha(s[i]) || indexByte("+-/_.:", s[i])) {
					take()
				}
			}
		case c == '+' || c == '-':
			take()
			for i < len(s) && isSpace(s[i]) {
				i++
			}
			switch {
			case isDigit(at(i)):
				kind = fTZ
				digits(":.-")
			case isAlpha(at(i)):
				kind = fSpecial
				for i < len(s) && isAlpha(s[i]) {
					take()
				}
			default:
				return nil, dtBad
			}
		case isPunct(c):
			i++
			continue
		default:
			return nil, dtBad
		}
		fields = append(fields, dtField{kind, string(buf)})
	}
	return fields, dtOK
}

func indexByte(s string, c byte) bool {
	for i := 0; i < len(s); i++ {
		if s[i] == c {
			return true
		}
	}
	return false
}

type wordKind uint8

const (
	wMonth wordKind = iota
	wReserved
	wDOW
	wAMPM
	wADBC
	wUnits
	wISOTime
	wDTZMod
	wIgnore
	wTZ
	wDTZ
)

type word struct {
	kind wordKind
	val  int
}

// Reserved words' values.
const (
	rNow = iota
	rToday
	rYesterday
	rTomorrow
	rZulu
	rEpoch
	rLate
	rEarly
)

// Units' values, for "y2001m02d04" and "J2451187".
const (
	uJulian = iota + 1
	uTime
	uYear
	uMonth
	uDay
	uHour
	uMinute
	uSecond
)

var words = map[string]word{
	"-infinity": {wReserved, rEarly}, "infinity": {wReserved, rLate}, "+infinity": {wReserved, rLate}, "epoch": {wReserved, rEpoch},
	"now": {wReserved, rNow}, "today": {wReserved, rToday}, "tomorrow": {wReserved, rTomorrow},
	"yesterday": {wReserved, rYesterday}, "allballs": {wReserved, rZulu},
	"ad": {wADBC, 0}, "bc": {wADBC, 1}, "am": {wAMPM, 0}, "pm": {wAMPM, 1},
	"apr": {wMonth, 4}, "april": {wMonth, 4}, "aug": {wMonth, 8}, "august": {wMonth, 8}, "dec": {wMonth, 12}, "december": {wMonth, 12},
	"feb": {wMonth, 2}, "february": {wMonth, 2}, "jan": {wMonth, 1}, "january": {wMonth, 1}, "jul": {wMonth, 7}, "july": {wMonth, 7},
	"jun": {wMonth, 6}, "june": {wMonth, 6}, "mar": {wMonth, 3}, "march": {wMonth, 3}, "may": {wMonth, 5},
	"nov": {wMonth, 11}, "november": {wMonth, 11}, "oct": {wMonth, 10}, "october": {wMonth, 10},
	"sep": {wMonth, 9}, "sept": {wMonth, 9}, "september": {wMonth, 9},
	"fri": {wDOW, 5}, "friday": {wDOW, 5}, "mon": {wDOW, 1}, "monday": {wDOW, 1}, "sat": {wDOW, 6}, "saturday": {wDOW, 6},
	"sun": {wDOW, 0}, "sunday": {wDOW, 0}, "thu": {wDOW, 4}, "thur": {wDOW, 4}, "thurs": {wDOW, 4}, "thursday": {wDOW, 4},
	"tue": {wDOW, 2}, "tues": {wDOW, 2}, "tuesday": {wDOW, 2}, "wed": {wDOW, 3}, "wednesday": {wDOW, 3}, "weds": {wDOW, 3},
	"d": {wUnits, uDay}, "h": {wUnits, uHour}, "j": {wUnits, uJulian}, "jd": {wUnits, uJulian}, "julian": {wUnits, uJulian},
	"m": {wUnits, uMonth}, "mm": {wUnits, uMinute}, "s": {wUnits, uSecond}, "y": {wUnits, uYear},
	"t": {wISOTime, uTime}, "at": {wIgnore, 0}, "on": {wIgnore, 0}, "dst": {wDTZMod, 3600},
}

func specialWord(s string) (wordKind, int, bool) {
	if len(s) > 10 {
		s = s[:10] // PostgreSQL compares the first ten characters
	}
	w, ok := words[s]
	return w.kind, w.val, ok
}

func atoi(s string) (n int, rest string, ok bool) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		if n < 1<<40 {
			n = n*10 + int(s[i]-'0')
		}
		i++
	}
	return n, s[i:], n <= 1<<31-1
}

// parseFraction reads ".ddd" as microseconds, rounded.
func parseFraction(s string) (int64, dtError) {
	if len(s) == 0 || s[0] != '.' {
		return 0, dtBad
	}
	s = s[1:]
	var us int64
	for i := 0; i < len(s); i++ {
		if !isDigit(s[i]) {
			return 0, dtBad
		}
		if i < 6 {
			us = us*10 + int64(s[i]-'0')
		}
	}
	for i := len(s); i < 6; i++ {
		us *= 10
	}
	if len(s) > 6 {
		// PostgreSQL rounds a double to even (rint).
		half, rest := s[6], s[7:]
		up := half > '5'
		if half == '5' {
			up = us%2 == 1
			for i := 0; i < len(rest); i++ {
				if rest[i] != '0' {
					up = true
				}
			}
		}
		if up {
			us++
		}
	}
	return us, dtOK
}

// decodeZone reads +hh[:mm[:ss]] or +hhmm into seconds east.
func decodeZone(s string) (int, string, dtError) {
	if len(s) == 0 || s[0] != '+' && s[0] != '-' {
		return 0, s, dtBad
	}
	neg := s[0] == '-'
	digits := s[1:]
	h, rest, ok := atoi(digits)
	if !ok {
		return 0, s, dtTZOverflow
	}
	n := len(digits) - len(rest)
	m, sec := 0, 0
	if len(rest) > 0 && rest[0] == ':' {
		if m, rest, ok = atoi(rest[1:]); !ok {
			return 0, s, dtTZOverflow
		}
		if len(rest) > 0 && rest[0] == ':' {
			if sec, rest, ok = atoi(rest[1:]); !ok {
				return 0, s, dtTZOverflow
			}
		}
	} else if rest == "" && n > 3 {
		m = h % 100
		h /= 100
	}
	if h > 15 || m > 59 || sec > 59 {
		return 0, s, dtTZOverflow
	}
	off := h*3600 + m*60 + sec
	if neg {
		off = -off
	}
	if rest != "" {
		return 0, s, dtBad
	}
	return off, "", dtOK
}

func (t *dt) decodeTime(s string, mask int) (int, dtError) {
	var ok bool
	h, rest, ok := atoi(s)
	if !ok {
		return 0, dtOverflow
	}
	if len(rest) == 0 || rest[0] != ':' {
		return 0, dtBad
	}
	m, rest, ok := atoi(rest[1:])
	if !ok {
		return 0, dtOverflow
	}
	sec := 0
	var frac int64
	switch {
	case rest == "":
	case rest[0] == '.':
		// mm:ss.fff
		var e dtError
		if frac, e = parseFraction(rest); e != dtOK {
			return 0, e
		}
		sec, m, h = m, h, 0
	case rest[0] == ':':
		if sec, rest, ok = atoi(rest[1:]); !ok {
			return 0, dtOverflow
		}
		if rest != "" {
			var e dtError
			if frac, e = parseFraction(rest); e != dtOK {
				return 0, e
			}
		}
	default:
		return 0, dtBad
	}
	if h < 0 || m < 0 || m > 59 || sec < 0 || sec > 60 || frac > MicrosPerSecond {
		return 0, dtOverflow
	}
	t.hour, t.min, t.sec, t.frac = h, m, sec, frac
	return mHMS, dtOK
}

func timeOverflows(h, m, s int, frac int64) bool {
	if h < 0 || h > 24 || m < 0 || m > 59 || s < 0 || s > 60 || frac < 0 || frac > MicrosPerSecond {
		return true
	}
	return ((int64(h)*60+int64(m))*60+int64(s))*MicrosPerSecond+frac > MicrosPerDay
}
