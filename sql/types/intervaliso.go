package types

import (
	"strconv"
	"strings"
)

func atoi64(s string) (int64, string, bool) {
	i := 0
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	if i == 0 {
		return 0, s, true
	}
	n, err := strconv.ParseInt(s[:i], 10, 64)
	return n, s[i:], err == nil
}

// parseISO reads P1Y2M3DT4H5M6S and P0001-02-03T04:05:06.
func (a *ivSum) parseISO(s string) dtError {
	if len(s) < 2 || s[0] != 'P' {
		return dtBad
	}
	s = s[1:]
	inTime, have := false, false
	for s != "" {
		if s[0] == 'T' {
			inTime = true
			have = false
			s = s[1:]
			continue
		}
		val, frac, rest, ok := isoNumber(s)
		if !ok || rest == "" && !strings.ContainsAny(s, "-:") && !have {
			return dtBad
		}
		unit := byte(0)
		if rest != "" {
			unit = rest[0]
		}
		var u ivUnit
		if !inTime {
			switch unit {
			case 'Y':
				u = iuYear
			case 'M':
				u = iuMonth
			case 'W':
				u = iuWeek
			case 'D':
				u = iuDay
			case '-', 0, 'T':
				// Alternative form: years-months-days.
				if unit != '-' || have {
					return dtBad
				}
				if _, ok := a.put(iuYear, val, frac); !ok {
					return dtBad
				}
				if val, frac, rest, ok = isoNumber(rest[1:]); !ok {
					return dtBad
				}
				a.put(iuMonth, val, frac)
				if rest != "" && rest[0] == '-' {
					if val, frac, rest, ok = isoNumber(rest[1:]); !ok {
						return dtBad
					}
					a.put(iuDay, val, frac)
				}
				if rest != "" && rest[0] != 'T' {
					return dtBad
				}
				s = rest
				continue
			default:
				return dtBad
			}
		} else {
			switch unit {
			case 'H':
				u = iuHour
			case 'M':
				u = iuMinute
			case 'S':
				u = iuSecond
			case ':':
				if have {
					return dtBad
				}
				a.put(iuHour, val, frac)
				if val, frac, rest, ok = isoNumber(rest[1:]); !ok {
					return dtBad
				}
				a.put(iuMinute, val, frac)
				if rest != "" && rest[0] == ':' {
					if val, frac, rest, ok = isoNumber(rest[1:]); !ok {
						return dtBad
					}
					a.put(iuSecond, val, frac)
				}
				if rest != "" {
					return dtBad
				}
				return dtOK
			default:
				return dtBad
			}
		}
		a.put(u, val, frac)
		have = true
		s = rest[1:]
	}
	return dtOK
}

func isoNumber(s string) (val int64, frac float64, rest string, ok bool) {
	neg := false
	if s != "" && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	if s == "" || !isDigit(s[0]) && s[0] != '.' {
		return 0, 0, s, false
	}
	val, rest, ok = atoi64(s)
	if !ok {
		return 0, 0, s, false
	}
	if rest != "" && rest[0] == '.' {
		i := 1
		for i < len(rest) && isDigit(rest[i]) {
			i++
		}
		if i > 1 {
			if frac, ok = parseFrac(rest[:i]); !ok {
				return 0, 0, s, false
			}
		}
		rest = rest[i:]
	}
	if neg {
		val, frac = -val, -frac
	}
	return val, frac, rest, true
}
