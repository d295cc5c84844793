package types

import (
	"encoding/binary"
	"strconv"
)

// AppendInterval is interval's text form in a style (see TextEnv.IntervalStyle).
func AppendInterval(dst []byte, iv Interval, style byte) []byte {
	year, mon, day := int64(iv.Months/12), int64(iv.Months%12), int64(iv.Days)
	us := iv.Micros
	hour, min, sec := us/MicrosPerHour, us/MicrosPerMinute%60, us%MicrosPerMinute
	switch style {
	case 'i':
		return appendISOInterval(dst, year, mon, day, hour, min, sec)
	case 'v':
		return appendVerboseInterval(dst, year, mon, day, hour, min, sec)
	case 's':
		return appendSQLInterval(dst, year, mon, day, hour, min, sec)
	}
	zero, before := true, false
	part := func(v int64, unit string) {
		if v == 0 {
			return
		}
		if !zero {
			dst = append(dst, ' ')
		}
		if before && v > 0 {
			dst = append(dst, '+')
		}
		dst = strconv.AppendInt(dst, v, 10)
		dst = append(append(dst, ' '), unit...)
		if v != 1 {
			dst = append(dst, 's')
		}
		before, zero = v < 0, false
	}
	part(year, "year")
	part(mon, "mon")
	part(day, "day")
	if zero || us != 0 {
		if !zero {
			dst = append(dst, ' ')
		}
		if us < 0 {
			dst = append(dst, '-')
		} else if before {
			dst = append(dst, '+')
		}
		dst = appendClock(dst, abs64(hour), abs64(min), abs64(sec), true)
	}
	return dst
}

func appendClock(dst []byte, hour, min, sec int64, pad bool) []byte {
	if hour < 10 && pad {
		dst = append(dst, '0')
	}
	dst = strconv.AppendInt(dst, hour, 10)
	dst = append2(append(dst, ':'), int(min))
	return appendSeconds(append(dst, ':'), sec)
}

// appendPlainSeconds is seconds without a leading zero.
func appendPlainSeconds(dst []byte, us int64) []byte {
	dst = strconv.AppendInt(dst, us/MicrosPerSecond, 10)
	return appendFraction(dst, us%MicrosPerSecond)
}

func appendISOInterval(dst []byte, year, mon, day, hour, min, sec int64) []byte {
	if year|mon|day|hour|min|sec == 0 {
		return append(dst, "PT0S"...)
	}
	part := func(v int64, u byte) {
		if v != 0 {
			dst = append(strconv.AppendInt(dst, v, 10), u)
		}
	}
	dst = append(dst, 'P')
	part(year, 'Y')
	part(mon, 'M')
	part(day, 'D')
	if hour|min|sec != 0 {
		dst = append(dst, 'T')
	}
	part(hour, 'H')
	part(min, 'M')
	if sec != 0 {
		if sec < 0 {
			dst = append(dst, '-')
		}
		dst = append(appendPlainSeconds(dst, abs64(sec)), 'S')
	}
	return dst
}

func appendVerboseInterval(dst []byte, year, mon, day, hour, min, sec int64) []byte {
	zero, before := true, false
	dst = append(dst, '@')
	part := func(v int64, unit string) {
		if v == 0 {
			return
		}
		if zero {
			before = v < 0
			v = abs64(v)
		} else if before {
			v = -v
		}
		dst = strconv.AppendInt(append(dst, ' '), v, 10)
		dst = append(append(dst, ' '), unit...)
		if v != 1 {
			dst = append(dst, 's')
		}
		zero = false
	}
	part(year, "year")
	part(mon, "mon")
	part(day, "day")
	part(hour, "hour")
	part(min, "min")
	if sec != 0 {
		dst = append(dst, ' ')
		if sec < 0 {
			if zero {
				before = true
			} else if !before {
				dst = append(dst, '-')
			}
		} else if before {
			dst = append(dst, '-')
		}
		dst = append(appendPlainSeconds(dst, abs64(sec)), " sec"...)
		if abs64(sec) != MicrosPerSecond {
			dst = append(dst, 's')
		}
		zero = false
	}
	if zero {
		dst = append(dst, " 0"...)
	}
	if before {
		dst = append(dst, " ago"...)
	}
	return dst
}

func appendSQLInterval(dst []byte, year, mon, day, hour, min, sec int64) []byte {
	neg := year < 0 || mon < 0 || day < 0 || hour < 0 || min < 0 || sec < 0
	pos := year > 0 || mon > 0 || day > 0 || hour > 0 || min > 0 || sec > 0
	yearMonth, dayTime := year|mon != 0, day|hour|min|sec != 0
	standard := !(neg && pos) && !(yearMonth && dayTime)
	if !neg && !pos {
		return append(dst, '0')
	}
	sign := func(minus bool) byte {
		if minus {
			return '-'
		}
		return '+'
	}
	if !standard {
		dst = strconv.AppendInt(append(dst, sign(year < 0 || mon < 0)), abs64(year), 10)
		dst = strconv.AppendInt(append(dst, '-'), abs64(mon), 10)
		dst = strconv.AppendInt(append(dst, ' ', sign(day < 0)), abs64(day), 10)
		dst = append(dst, ' ', sign(hour < 0 || min < 0 || sec < 0))
		return appendClock(dst, abs64(hour), abs64(min), abs64(sec), false)
	}
	if neg {
		dst = append(dst, '-')
	}
	if yearMonth {
		dst = strconv.AppendInt(dst, abs64(year), 10)
		return strconv.AppendInt(append(dst, '-'), abs64(mon), 10)
	}
	if day != 0 {
		dst = append(strconv.AppendInt(dst, abs64(day), 10), ' ')
	}
	return appendClock(dst, abs64(hour), abs64(min), abs64(sec), false)
}

func appendIntervalBinary(dst []byte, iv Interval) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(iv.Micros))
	dst = binary.BigEndian.AppendUint32(dst, uint32(iv.Days))
	return binary.BigEndian.AppendUint32(dst, uint32(iv.Months))
}

func parseIntervalBinary(b []byte) (Interval, error) {
	if len(b) != 16 {
		return Interval{}, badBinarySize(IntervalOID, len(b), 16)
	}
	return Interval{
		Micros: int64(binary.BigEndian.Uint64(b)),
		Days:   int32(binary.BigEndian.Uint32(b[8:])),
		Months: int32(binary.BigEndian.Uint32(b[12:])),
	}, nil
}
