package types

import (
	"math"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // zones must not depend on the machine

	"github.com/pamirdb/pamir/sql/pgerr"
)

// Units of time in microseconds.
const (
	MicrosPerSecond = int64(1000000)
	MicrosPerMinute = 60 * MicrosPerSecond
	MicrosPerHour   = 60 * MicrosPerMinute
	MicrosPerDay    = 24 * MicrosPerHour
)

// Infinite timestamps; dates have InfiniteDate and -InfiniteDate-1.
const (
	Infinity    = int64(math.MaxInt64)
	NegInfinity = int64(math.MinInt64)

	DateInfinity    = int64(math.MaxInt32)
	DateNegInfinity = int64(math.MinInt32)

	// MinTimestamp is 4714-11-24 BC, EndTimestamp (exclusive) is 294277-01-01.
	MinTimestamp = int64(-211813488000000000)
	EndTimestamp = int64(9223371331200000000)

	postgresEpochJulian = 2451545
	unixEpochJulian     = 2440588
	minDate             = -postgresEpochJulian             // days
	endDate             = 2147483494 - postgresEpochJulian // exclusive
	// UnixEpochMicros is 1970-01-01 as a timestamp.
	UnixEpochMicros = int64(unixEpochJulian-postgresEpochJulian) * MicrosPerDay
)

func isInfinite(us int64) bool { return us == Infinity || us == NegInfinity }

// IsInfinite reports whether a timestamp is infinite.
func IsInfinite(us int64) bool { return isInfinite(us) }

// ToTime converts a finite timestamp(tz) to a time.Time in UTC.
func ToTime(us int64) time.Time {
	sec, frac := floorDiv(us, MicrosPerSecond)
	return time.Unix(sec-UnixEpochMicros/MicrosPerSecond, frac*1000).UTC()
}

// FromTime converts to a timestamptz.
func FromTime(t time.Time) int64 { return t.UnixMicro() + UnixEpochMicros }

// ValidTimestamp reports whether a finite timestamp is in PostgreSQL's range.
func ValidTimestamp(us int64) bool { return us >= MinTimestamp && us < EndTimestamp }

func floorDiv(a, b int64) (q, r int64) {
	q, r = a/b, a%b
	if r < 0 {
		q--
		r += b
	}
	return q, r
}

// JulianDay is the Julian day of a proleptic Gregorian date; months beyond 1..12 are not normalised.
func JulianDay(year, month, day int) int {
	if month > 2 {
		month++
		year += 4800
	} else {
		month += 13
		year += 4799
	}
	century := year / 100
	j := year*365 - 32167
	j += year/4 - century + century/4
	j += 7834*month/256 + day
	return j
}

// FromJulianDay is the inverse of JulianDay.
func FromJulianDay(jd int) (year, month, day int) {
	julian := uint32(jd)
	julian += 32044
	quad := julian / 146097
	extra := (julian-quad*146097)*4 + 3
	julian += 60 + quad*3 + extra/146097
	quad = julian / 1461
	julian -= quad * 1461
	y := int(julian * 4 / 1461)
	if y != 0 {
		julian = (julian+305)%365 + 123
	} else {
		julian = (julian+306)%366 + 123
	}
	y += int(quad * 4)
	year = y - 4800
	quad = julian * 2141 / 65536
	day = int(julian - 7834*quad/256)
	month = int((quad+10)%12 + 1)
	return year, month, day
}

// DateFromYMD returns days since 2000-01-01.
func DateFromYMD(year, month, day int) int64 {
	return int64(JulianDay(year, month, day) - postgresEpochJulian)
}

// YMDFromDate is the inverse. Years BC are 0, -1, ...
func YMDFromDate(days int64) (year, month, day int) {
	return FromJulianDay(int(days) + postgresEpochJulian)
}

// ValidDate reports whether days since 2000-01-01 is in PostgreSQL's range.
func ValidDate(days int64) bool { return days >= minDate && days < endDate }

var daysInMonth = [2][13]int{
	{0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31},
	{0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31},
}

// DaysInMonth of a year.
func DaysInMonth(year, month int) int {
	if isLeap(year) {
		return daysInMonth[1][month]
	}
	return daysInMonth[0][month]
}

func isLeap(y int) bool { return y%4 == 0 && (y%100 != 0 || y%400 == 0) }

// ZoneOffset returns the seconds east of UTC that loc has at a timestamptz, and the zone's abbreviation.
func ZoneOffset(us int64, loc *time.Location) (int, string) {
	if loc == time.UTC || loc == nil {
		return 0, "UTC"
	}
	name, off := ToTime(us).In(loc).Zone()
	return off, name
}

// LocalToUTC converts local wall-clock microseconds to a timestamptz. A time that the clocks skipped is taken with the offset
// from before, one that they showed twice with the offset after.
func LocalToUTC(local int64, loc *time.Location) int64 {
	if loc == time.UTC || loc == nil {
		return local
	}
	const day = 24 * 3600 * 1000000
	before, _ := ZoneOffset(local-day, loc)
	after, _ := ZoneOffset(local+day, loc)
	b := local - int64(before)*MicrosPerSecond
	if before == after {
		if at, _ := ZoneOffset(b, loc); at == before {
			return b
		}
	}
	a := local - int64(after)*MicrosPerSecond
	if at, _ := ZoneOffset(a, loc); at == after {
		return a
	}
	if at, _ := ZoneOffset(b, loc); at == before {
		return b
	}
	// In the gap, or several changes within two days: try what holds in between.
	if mid, _ := ZoneOffset(b, loc); mid != before && mid != after {
		if m := local - int64(mid)*MicrosPerSecond; true {
			if at, _ := ZoneOffset(m, loc); at == mid {
				return m
			}
		}
	}
	return b
}

// UTCToLocal converts a timestamptz to local wall-clock microseconds.
func UTCToLocal(us int64, loc *time.Location) int64 {
	off, _ := ZoneOffset(us, loc)
	return us + int64(off)*MicrosPerSecond
}

var zoneCache sync.Map // lower-case name -> *time.Location

// FindZone looks a time zone up by name (any case), abbreviation or offset, as SET TIME ZONE and AT TIME ZONE take it.
func FindZone(name string) (*time.Location, bool) {
	key := strings.ToLower(strings.TrimSpace(name))
	if v, ok := zoneCache.Load(key); ok {
		return v.(*time.Location), true
	}
	loc, ok := findZone(key)
	if ok {
		zoneCache.Store(key, loc)
	}
	return loc, ok
}

func findZone(key string) (*time.Location, bool) {
	switch key {
	case "utc", "z", "zulu", "gmt", "uct", "universal", "etc/utc", "greenwich":
		return time.UTC, true
	case "", "local":
		return nil, false
	}
	if v, ok := zoneAbbrevs[key]; ok {
		// Named zones of the same spelling (EST, MST, HST) have that fixed offset too.
		return time.FixedZone(strings.ToUpper(key), int(v>>1)), true
	}
	if loc, err := time.LoadLocation(canonicalZone(key)); err == nil {
		return loc, true
	}
	return posixZone(key)
}

// canonicalZone restores the capitals of a zone's name. Zone files follow a regular spelling but for the
// exceptions below.
func canonicalZone(key string) string {
	if s, ok := zoneSpelling[key]; ok {
		return s
	}
	b := []byte(key)
	up := true
	for i, c := range b {
		if up && c >= 'a' && c <= 'z' {
			b[i] = c - 32
		}
		up = c == '/' || c == '_' || c == '-'
	}
	s := string(b)
	s = strings.ReplaceAll(s, "_Of_", "_of_")
	s = strings.ReplaceAll(s, "/Es_", "/es_")
	return s
}

var zoneSpelling = map[string]string{
	"est5edt": "EST5EDT", "cst6cdt": "CST6CDT", "mst7mdt": "MST7MDT", "pst8pdt": "PST8PDT",
	"cet": "CET", "met": "MET", "eet": "EET", "wet": "WET", "prc": "PRC", "rok": "ROK", "roc": "ROC", "nz": "NZ",
	"nz-chat": "NZ-CHAT", "gb": "GB", "gb-eire": "GB-Eire", "w-su": "W-SU", "gmt0": "GMT0", "gmt+0": "GMT+0", "gmt-0": "GMT-0",
	"us/eastern": "US/Eastern", "us/central": "US/Central", "us/mountain": "US/Mountain", "us/pacific": "US/Pacific",
	"us/alaska": "US/Alaska", "us/hawaii": "US/Hawaii", "us/arizona": "US/Arizona", "us/michigan": "US/Michigan",
	"us/samoa": "US/Samoa", "us/aleutian": "US/Aleutian", "us/east-indiana": "US/East-Indiana", "us/indiana-starke": "US/Indiana-Starke",
	"america/port-au-prince": "America/Port-au-Prince", "america/blanc-sablon": "America/Blanc-Sablon",
	"africa/dar_es_salaam": "Africa/Dar_es_Salaam", "africa/porto-novo": "Africa/Porto-Novo",
	"antarctica/dumontdurville": "Antarctica/DumontDUrville", "antarctica/mcmurdo": "Antarctica/McMurdo",
	"america/argentina/comodrivadavia": "America/Argentina/ComodRivadavia", "america/knox_in": "America/Knox_IN",
	"australia/act": "Australia/ACT", "australia/nsw": "Australia/NSW", "australia/lhi": "Australia/LHI",
	"brazil/denoronha": "Brazil/DeNoronha", "chile/easterisland": "Chile/EasterIsland", "mexico/bajanorte": "Mexico/BajaNorte",
	"mexico/bajasur": "Mexico/BajaSur", "asia/ust-nera": "Asia/Ust-Nera", "europe/isle_of_man": "Europe/Isle_of_Man",
	"etc/gmt": "Etc/GMT", "etc/uct": "Etc/UCT", "etc/gmt0": "Etc/GMT0",
}

func init() {
	for i := 0; i <= 14; i++ {
		n := itoa(i)
		zoneSpelling["etc/gmt+"+n] = "Etc/GMT+" + n
		zoneSpelling["etc/gmt-"+n] = "Etc/GMT-" + n
	}
}

// posixZone reads "<name>+3", "+3", "-03:30", "abc3": POSIX counts west of Greenwich as positive, and so does PostgreSQL here.
func posixZone(key string) (*time.Location, bool) {
	s := key
	name := ""
	if strings.HasPrefix(s, "<") {
		i := strings.IndexByte(s, '>')
		if i < 0 {
			return nil, false
		}
		name, s = strings.ToUpper(s[1:i]), s[i+1:]
	} else {
		i := 0
		for i < len(s) && s[i] >= 'a' && s[i] <= 'z' {
			i++
		}
		if i != 0 && i < 3 {
			return nil, false
		}
		name, s = strings.ToUpper(s[:i]), s[i:]
	}
	if s == "" {
		return nil, false
	}
	sign := -1
	if s[0] == '-' || s[0] == '+' {
		if s[0] == '-' {
			sign = 1
		}
		s = s[1:]
	}
	secs, unit := 0, 3600
	for i, part := range strings.Split(s, ":") {
		if i > 2 || part == "" || len(part) > 3 {
			return nil, false
		}
		n := 0
		for _, c := range part {
			if c < '0' || c > '9' {
				return nil, false
			}
			n = n*10 + int(c-'0')
		}
		secs += n * unit
		unit /= 60
	}
	if secs > 168*3600 {
		return nil, false
	}
	return time.FixedZone(name, sign*secs), true
}

func roundMicros(us int64, prec int) int64 {
	if prec >= 6 || prec < 0 {
		return us
	}
	unit := int64(pow10u[6-prec])
	if us >= 0 {
		return (us + unit/2) / unit * unit
	}
	return -((-us + unit/2) / unit * unit)
}

func append2(dst []byte, n int) []byte { return append(dst, byte('0'+n/10%10), byte('0'+n%10)) }

func appendYear(dst []byte, y int) []byte {
	if y < 10000 {
		return append(dst, byte('0'+y/1000), byte('0'+y/100%10), byte('0'+y/10%10), byte('0'+y%10))
	}
	return append(dst, itoa(y)...)
}

func appendYMD(dst []byte, y, m, d int, env *TextEnv) []byte {
	if y <= 0 {
		y = 1 - y
	}
	switch env.DateStyle {
	case 'S':
		if env.DateOrder == 'D' {
			dst = append(append2(append(append2(dst, d), '/'), m), '/')
		} else {
			dst = append(append2(append(append2(dst, m), '/'), d), '/')
		}
		return appendYear(dst, y)
	case 'G':
		dst = append(append2(append(append2(dst, d), '.'), m), '.')
		return appendYear(dst, y)
	case 'P':
		if env.DateOrder == 'D' {
			dst = append(append2(append(append2(dst, d), '-'), m), '-')
		} else {
			dst = append(append2(append(append2(dst, m), '-'), d), '-')
		}
		return appendYear(dst, y)
	}
	dst = append(appendYear(dst, y), '-')
	return append2(append(append2(dst, m), '-'), d)
}

// AppendDate is date's text form.
func AppendDate(dst []byte, days int64, env *TextEnv) []byte {
	switch days {
	case DateInfinity:
		return append(dst, "infinity"...)
	case DateNegInfinity:
		return append(dst, "-infinity"...)
	}
	y, m, d := YMDFromDate(days)
	dst = appendYMD(dst, y, m, d, env)
	if y <= 0 {
		dst = append(dst, " BC"...)
	}
	return dst
}

// AppendTime is time's text form.
func AppendTime(dst []byte, us int64) []byte {
	h, m := us/MicrosPerHour, us/MicrosPerMinute%60
	dst = append(append2(dst, int(h)), ':')
	dst = append(append2(dst, int(m)), ':')
	return appendSeconds(dst, us%MicrosPerMinute)
}

// appendSeconds appends ss[.ffffff] without trailing zeros.
func appendSeconds(dst []byte, us int64) []byte {
	dst = append2(dst, int(us/MicrosPerSecond))
	return appendFraction(dst, us%MicrosPerSecond)
}

func appendFraction(dst []byte, f int64) []byte {
	if f == 0 {
		return dst
	}
	dst = append(dst, '.')
	for p := int64(100000); f > 0; p /= 10 {
		dst = append(dst, byte('0'+f/p))
		f %= p
	}
	return dst
}

// AppendTimestamp is timestamp's text form.
func AppendTimestamp(dst []byte, us int64, env *TextEnv) []byte {
	return appendStamp(dst, us, env, 0, "", false)
}

// AppendTimestamptz is timestamptz's text form, in the environment's time zone.
func AppendTimestamptz(dst []byte, us int64, env *TextEnv) []byte {
	if isInfinite(us) {
		return appendStamp(dst, us, env, 0, "", false)
	}
	off, name := ZoneOffset(us, env.Location)
	return appendStamp(dst, us+int64(off)*MicrosPerSecond, env, off, name, true)
}

var monthNames = [13]string{"", "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
var dayNames = [7]string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}

func appendStamp(dst []byte, us int64, env *TextEnv, off int, zone string, tz bool) []byte {
	switch us {
	case Infinity:
		return append(dst, "infinity"...)
	case NegInfinity:
		return append(dst, "-infinity"...)
	}
	days, tod := floorDiv(us, MicrosPerDay)
	y, m, d := YMDFromDate(days)
	if env.DateStyle == 'P' {
		// Postgres style: Sat Nov 21 01:02:03 2026 UTC.
		dst = append(dst, dayNames[((days+6)%7+7)%7]...)
		dst = append(dst, ' ')
		if env.DateOrder == 'D' {
			dst = append(append(append2(dst, d), ' '), monthNames[m]...)
		} else {
			dst = append2(append(append(dst, monthNames[m]...), ' '), d)
		}
		dst = AppendTime(append(dst, ' '), tod)
		yy := y
		if yy <= 0 {
			yy = 1 - yy
		}
		dst = appendYear(append(dst, ' '), yy)
		if tz {
			if isAlphaZone(zone) {
				dst = append(append(dst, ' '), zone...)
			} else {
				dst = appendOffset(append(dst, ' '), off)
			}
		}
	} else {
		dst = appendYMD(dst, y, m, d, env)
		dst = AppendTime(append(dst, ' '), tod)
		if tz {
			if env.DateStyle == 'I' || !isAlphaZone(zone) {
				dst = appendOffset(dst, off)
			} else {
				dst = append(append(dst, ' '), zone...)
			}
		}
	}
	if y <= 0 {
		dst = append(dst, " BC"...)
	}
	return dst
}

func isAlphaZone(z string) bool { return z != "" && z[0] >= 'A' && z[0] <= 'Z' }

func appendOffset(dst []byte, off int) []byte {
	sign := byte('+')
	if off < 0 {
		sign, off = '-', -off
	}
	dst = append2(append(dst, sign), off/3600)
	if m, s := off/60%60, off%60; m != 0 || s != 0 {
		dst = append2(append(dst, ':'), m)
		if s != 0 {
			dst = append2(append(dst, ':'), s)
		}
	}
	return dst
}

// TimeTZ is time with time zone: local time and seconds WEST of UTC.
type TimeTZ struct {
	Micros int64
	Zone   int32
}

func (a TimeTZ) compare(b TimeTZ) int {
	x, y := a.Micros+int64(a.Zone)*MicrosPerSecond, b.Micros+int64(b.Zone)*MicrosPerSecond
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	case a.Zone < b.Zone:
		return -1
	case a.Zone > b.Zone:
		return 1
	}
	return 0
}

func checkBinaryInt(t OID, x int64) (Datum, error) {
	switch t {
	case DateOID:
		if x != DateInfinity && x != DateNegInfinity && !ValidDate(x) {
			return Datum{}, pgerr.New(pgerr.DatetimeFieldOverflow, "date out of range")
		}
	case TimeOID:
		if x < 0 || x > MicrosPerDay {
			return Datum{}, pgerr.New(pgerr.DatetimeFieldOverflow, "time out of range")
		}
	case TimestampOID, TimestamptzOID:
		if !isInfinite(x) && !ValidTimestamp(x) {
			return Datum{}, pgerr.New(pgerr.DatetimeFieldOverflow, "timestamp out of range")
		}
	}
	return Datum{I: x}, nil
}
