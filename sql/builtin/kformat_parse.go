package builtin

import (
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// to_date and to_timestamp: the templates of to_char, read backwards. Blanks and separators match loosely unless FX.

// readFields is what a template has read so far; zero means not given, as in PostgreSQL.
type readFields struct {
	hh, mi, ss, ssss, us     int64
	pm, clock12, bc          bool
	year, cc, mm, dd, ddd, d int64
	ww, w, j                 int64
	yearDigits               int
	iso, gregorian           bool
	tzSign, tzh, tzm         int64
}

type timeReader struct {
	all, s string
	fx     bool
	extra  int // blanks passed over that the template did not ask for
	f      readFields
}

func badValue(s, field string) *pgerr.Error {
	return pgerr.New(pgerr.InvalidDatetimeFormat, "invalid value \"%s\" for \"%s\"", s, field)
}

func clip(s string, chars int) string {
	n := 0
	for i := range s {
		if n == chars {
			return s[:i]
		}
		n++
	}
	return s
}

func (r *timeReader) blanks() int {
	n := 0
	for r.s != "" && (r.s[0] == ' ' || r.s[0] >= '\t' && r.s[0] <= '\r') {
		r.s = r.s[1:]
		n++
	}
	return n
}

// nextIsSeparator: a number before something that is no digit may have any length.
func nextIsSeparator(nodes []formatNode, k int) bool {
	if n := &nodes[k]; n.th || n.TH {
		return true
	}
	k++
	if k >= len(nodes) {
		return true
	}
	if n := &nodes[k]; n.kind == nodeField {
		switch n.id {
		case "A.D.", "A.M.", "AD", "AM", "B.C.", "BC", "DAY", "DY", "MONTH", "MON", "P.M.", "PM", "RM", "TZ", "TZM", "OF", "FX":
			return true
		case "TZH":
			return false
		}
		return false
	}
	return !(len(nodes[k].text) == 1 && isDigitByte(nodes[k].text[0]))
}

// scanInt reads what C's strtol would.
func scanInt(s string) (n int64, used int, fits bool) {
	i := 0
	for i < len(s) && (s[i] == ' ' || s[i] >= '\t' && s[i] <= '\r') {
		i++
	}
	start := i
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		i++
	}
	digits := i
	for i < len(s) && isDigitByte(s[i]) {
		i++
	}
	if i == digits {
		return 0, 0, true
	}
	n, err := strconv.ParseInt(strings.TrimPrefix(s[start:i], "+"), 10, 64)
	return n, i, err == nil && n == int64(int32(n))
}

// number reads a field of at most width digits; used is how many characters it took.
func (r *timeReader) number(nodes []formatNode, k, width int) (n int64, used int, err error) {
	node := &nodes[k]
	r.blanks()
	field := clip(r.s, width)
	var fits bool
	if node.fm || nextIsSeparator(nodes, k) {
		n, used, fits = scanInt(r.s)
	} else {
		hint := "If your source string is not fixed-width, try using the \"FM\" modifier."
		if len(field) < width {
			return 0, 0, pgerr.New(pgerr.InvalidDatetimeFormat, "source string too short for \"%s\" formatting field", node.key).
				WithDetail("Field requires %d characters, but only %d remain.", width, len(field)).WithHint("%s", hint)
		}
		n, used, fits = scanInt(field)
		if used > 0 && used < len(field) {
			return 0, 0, badValue(field, node.key).
				WithDetail("Field requires %d characters, but only %d could be parsed.", width, used).WithHint("%s", hint)
		}
	}
	if used == 0 {
		return 0, 0, badValue(field, node.key).WithDetail("Value must be an integer.")
	}
	if !fits {
		return 0, 0, pgerr.New(pgerr.DatetimeFieldOverflow, "value for \"%s\" in source string is out of range", node.key).
			WithDetail("Value must be in the range %d to %d.", -1<<31, 1<<31-1)
	}
	r.s = r.s[used:]
	return n, used, nil
}

// set stores a field's value, which may be given twice only if both are equal.
func (r *timeReader) set(dst *int64, n int64, field string) error {
	if *dst != 0 && *dst != n {
		return pgerr.New(pgerr.InvalidDatetimeFormat, "conflicting values for \"%s\" field in formatting string", field).
			WithDetail("This value contradicts a previous setting for the same field type.")
	}
	*dst = n
	return nil
}

func (r *timeReader) ordinalSuffix(n *formatNode) {
	if (n.th || n.TH) && len(r.s) >= 2 {
		r.s = r.s[2:]
	}
}

// oneOf reads one of some names, in any case, and returns its position.
func (r *timeReader) oneOf(names []string, field string) (int, error) {
	for k, n := range names {
		if len(r.s) >= len(n) && strings.EqualFold(r.s[:len(n)], n) {
			r.s = r.s[len(n):]
			return k, nil
		}
	}
	shown := r.s
	if i := strings.IndexFunc(shown, func(c rune) bool { return c == ' ' || c >= '\t' && c <= '\r' }); i >= 0 {
		shown = shown[:i]
	}
	return 0, badValue(shown, field).WithDetail("The given value did not match any of the allowed values for this field.")
}

func (r *timeReader) convention(iso bool) error {
	if iso {
		r.f.iso = true
	} else {
		r.f.gregorian = true
	}
	if r.f.iso && r.f.gregorian {
		return pgerr.New(pgerr.InvalidDatetimeFormat, "invalid combination of date conventions").
			WithHint("Do not mix Gregorian and ISO week date conventions in a formatting template.")
	}
	return nil
}

func (r *timeReader) read(nodes []formatNode) error {
	for k := range nodes {
		if r.s == "" {
			return nil
		}
		n := &nodes[k]
		if !r.fx && (n.kind == nodeField || k == 0) {
			r.extra += r.blanks()
		}
		switch n.kind {
		case nodeSpace, nodeSeparator:
			if r.fx {
				r.s = r.s[len(firstRune(r.s)):]
			} else {
				r.extra--
				if r.s != "" && (r.s[0] == ' ' || r.s[0] >= '\t' && r.s[0] <= '\r' || isSeparator(r.s[0])) {
					r.s = r.s[1:]
					r.extra++
				}
			}
			continue
		case nodeText:
			if !r.fx && r.extra > 0 {
				r.extra--
			} else {
				r.s = r.s[len(firstRune(r.s)):]
			}
			continue
		}
		if err := r.field(nodes, k); err != nil {
			return err
		}
		if !r.fx {
			r.extra = r.blanks()
		}
	}
	return nil
}

var fieldWidth = map[string]int{"HH": 2, "HH12": 2, "HH24": 2, "MI": 2, "SS": 2, "MS": 3, "US": 6, "FF1": 1, "FF2": 2, "FF3": 3, "FF4": 4, "FF5": 5, "FF6": 6,
	"SSSS": 4, "SSSSS": 5, "MM": 2, "DD": 2, "DDD": 3, "IDDD": 3, "D": 1, "ID": 1, "WW": 2, "IW": 2, "Q": 1, "CC": 2, "YYYY": 4, "IYYY": 4, "YYY": 3, "IYY": 3,
	"YY": 2, "IY": 2, "Y": 1, "I": 1, "W": 1, "J": 1}

func (r *timeReader) field(nodes []formatNode, k int) error {
	n, f := &nodes[k], &r.f
	switch n.id {
	case "FX":
		r.fx = true
		return nil
	case "CC", "Y,YYY", "YYYY", "YYY", "YY", "Y", "MONTH", "MON", "MM", "DDD", "DD", "D", "DAY", "DY", "WW", "RM", "W", "Q", "J":
		if n.id != "J" && n.id != "Q" && n.id != "CC" {
			if err := r.convention(false); err != nil {
				return err
			}
		}
	case "IYYY", "IYY", "IY", "I", "IDDD", "ID", "IW":
		if err := r.convention(true); err != nil {
			return err
		}
	}
	switch n.id {
	case "AM", "PM":
		v, err := r.oneOf([]string{"am", "pm"}, n.key)
		f.pm, f.clock12 = v == 1, true
		return err
	case "A.M.", "P.M.":
		v, err := r.oneOf([]string{"a.m.", "p.m."}, n.key)
		f.pm, f.clock12 = v == 1, true
		return err
	case "AD", "BC":
		v, err := r.oneOf([]string{"ad", "bc"}, n.key)
		f.bc = v == 1
		return err
	case "A.D.", "B.C.":
		v, err := r.oneOf([]string{"a.d.", "b.c."}, n.key)
		f.bc = v == 1
		return err
	case "TZ", "OF":
		return pgerr.New(pgerr.FeatureNotSupported, "formatting field \"%s\" is only supported in to_char", n.key)
	case "TZH":
		f.tzSign = 1
		if c := r.s[0]; c == '+' || c == '-' || c == ' ' {
			if c == '-' {
				f.tzSign = -1
			}
			r.s = r.s[1:]
		} else if at := len(r.all) - len(r.s); r.extra > 0 && at > 0 && r.all[at-1] == '-' {
			f.tzSign = -1
		}
		v, _, err := r.number(nodes, k, 2)
		f.tzh = v
		return err
	case "TZM":
		if f.tzSign == 0 {
			f.tzSign = 1
		}
		v, _, err := r.number(nodes, k, 2)
		f.tzm = v
		return err
	case "MONTH", "MON":
		names := fullMonths
		if n.id == "MON" {
			names = shortMons
		}
		v, err := r.oneOf(names, n.key)
		if err != nil {
			return err
		}
		return r.set(&f.mm, int64(v)+1, n.key)
	case "DAY", "DY":
		names := fullDays
		if n.id == "DY" {
			names = shortDays
		}
		v, err := r.oneOf(names, n.key)
		if err != nil {
			return err
		}
		return r.set(&f.d, int64(v)+1, n.key)
	case "RM":
		// The longer numerals first: VIII begins with V.
		v, err := r.oneOf([]string{"VIII", "XII", "VII", "III", "XI", "IX", "VI", "IV", "II", "X", "V", "I"}, n.key)
		if err != nil {
			return err
		}
		return r.set(&f.mm, [12]int64{8, 12, 7, 3, 11, 9, 6, 4, 2, 10, 5, 1}[v], n.key)
	case "Y,YYY":
		thousands, rest, ok := strings.Cut(r.s, ",")
		a, used, _ := scanInt(thousands)
		b, used2, _ := scanInt(clip(rest, 3))
		if !ok || used != len(thousands) || used == 0 || used2 == 0 {
			return pgerr.New(pgerr.InvalidDatetimeFormat, "invalid input string for \"Y,YYY\"")
		}
		r.s = rest[used2:]
		f.yearDigits = 4
		if err := r.set(&f.year, a*1000+b, n.key); err != nil {
			return err
		}
		r.ordinalSuffix(n)
		return nil
	}
	width := fieldWidth[n.id]
	v, used, err := r.number(nodes, k, width)
	if err != nil {
		return err
	}
	var dst *int64
	switch n.id {
	case "HH", "HH12":
		dst, f.clock12 = &f.hh, true
	case "HH24":
		dst = &f.hh
	case "MI":
		dst = &f.mi
	case "SS":
		dst = &f.ss
	case "MS", "US", "FF1", "FF2", "FF3", "FF4", "FF5", "FF6":
		for ; used < 6; used++ {
			v *= 10
		}
		if n.id == "MS" || n.id == "US" {
			f.us = v
			r.ordinalSuffix(n)
			return nil
		}
		dst = &f.us
	case "SSSS", "SSSSS":
		dst = &f.ssss
	case "MM":
		dst = &f.mm
	case "DD":
		dst = &f.dd
	case "DDD", "IDDD":
		dst = &f.ddd
	case "D":
		dst = &f.d
	case "ID":
		dst = &f.d
		if v++; v > 7 {
			v = 1 // Sunday
		}
	case "WW", "IW":
		dst = &f.ww
	case "Q":
		// A quarter says nothing that a month would not say better: it is read and dropped.
		r.ordinalSuffix(n)
		return nil
	case "CC":
		dst = &f.cc
	case "YYYY", "IYYY":
		dst, f.yearDigits = &f.year, 4
	case "YYY", "IYY", "YY", "IY", "Y", "I":
		dst, f.yearDigits = &f.year, width
		if used < 4 {
			v = nearYear(v)
		}
	case "W":
		dst = &f.w
	case "J":
		dst = &f.j
	}
	if err := r.set(dst, v, n.key); err != nil {
		return err
	}
	r.ordinalSuffix(n)
	return nil
}

// nearYear completes a year of fewer than four digits to the one nearest to 2020.
func nearYear(y int64) int64 {
	switch {
	case y < 70:
		return y + 2000
	case y < 100:
		return y + 1900
	case y < 520:
		return y + 2000
	case y < 1000:
		return y + 1000
	}
	return y
}

// resolve makes a local timestamp of the fields.
func (r *timeReader) resolve() (int64, error) {
	f := &r.f
	outside := func() (int64, error) {
		return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "date/time field value out of range: \"%s\"", r.all)
	}
	hour, min, sec := f.hh, f.mi, f.ss
	if f.ssss != 0 {
		hour, min, sec = f.ssss/3600, f.ssss/60%60, f.ssss%60
		if f.ss != 0 {
			sec = f.ss
		}
		if f.mi != 0 {
			min = f.mi
		}
		if f.hh != 0 {
			hour = f.hh
		}
	}
	if f.clock12 {
		if hour < 1 || hour > 12 {
			return 0, pgerr.New(pgerr.InvalidDatetimeFormat, "hour \"%d\" is invalid for the 12-hour clock", hour).
				WithHint("Use the 24-hour clock, or give an hour between 1 and 12.")
		}
		if f.pm && hour < 12 {
			hour += 12
		} else if !f.pm && hour == 12 {
			hour = 0
		}
	}
	year, mon, day := int64(0), int64(1), int64(1)
	checkYear, checkMonth, checkDay := false, false, false
	switch {
	case f.year != 0:
		checkYear = true
		cc := f.cc
		if cc != 0 && f.yearDigits <= 2 {
			if f.bc {
				cc = -cc
			}
			year = f.year % 100
			switch {
			case year != 0 && cc >= 0:
				year += (cc - 1) * 100
			case year != 0:
				year = (cc+1)*100 - year + 1
			case cc >= 0:
				year = cc * 100
			default:
				year = cc*100 + 1
			}
		} else {
			year = f.year
			if f.bc {
				year = -year
			}
			if year < 0 {
				year++
			}
		}
	case f.cc != 0:
		checkYear = true
		cc := f.cc
		if f.bc {
			cc = -cc
		}
		if year = cc*100 + 1; cc >= 0 {
			year = (cc-1)*100 + 1
		}
	}
	fromDays := func(days int64) {
		y, m, d := types.YMDFromDate(days)
		year, mon, day = int64(y), int64(m), int64(d)
		checkYear, checkMonth, checkDay = true, true, true
	}
	if year < -10000 || year > 6000000 || f.ww > 1000 || f.ddd > 100000 || f.j < 0 {
		return outside()
	}
	if f.j != 0 {
		y, m, d := types.FromJulianDay(int(f.j))
		year, mon, day = int64(y), int64(m), int64(d)
		checkYear, checkMonth, checkDay = true, true, true
	}
	ddd, dd := f.ddd, f.dd
	if f.ww != 0 {
		if f.iso {
			days := isoWeekStart(int(year), int(f.ww))
			if f.d > 1 {
				days += f.d - 2
			} else if f.d == 1 {
				days += 6
			}
			fromDays(days)
		} else {
			ddd = (f.ww-1)*7 + 1
		}
	}
	if f.w != 0 {
		dd = (f.w-1)*7 + 1
	}
	if dd != 0 {
		day, checkDay = dd, true
	}
	if f.mm != 0 {
		mon, checkMonth = f.mm, true
	}
	if ddd != 0 && (mon <= 1 || day <= 1) {
		if year == 0 && !f.bc {
			return 0, pgerr.New(pgerr.InvalidDatetimeFormat, "cannot calculate day of year without year information")
		}
		if f.iso {
			fromDays(isoWeekStart(int(year), 1) + ddd - 1)
		} else {
			if ddd < 1 || ddd > 366 {
				return outside()
			}
			y := year
			fromDays(types.DateFromYMD(int(year), 1, 1) + ddd - 1)
			if year != y {
				// Day 366 of a year with 365 is none.
				return outside()
			}
		}
	}
	switch {
	case checkMonth && (mon < 1 || mon > 12), checkDay && (day < 1 || day > 31):
		return outside()
	case checkYear && checkMonth && checkDay && day > int64(types.DaysInMonth(int(year), int(mon))):
		return outside()
	case hour < 0 || hour >= 24 || min < 0 || min >= 60 || sec < 0 || sec >= 60 || f.us < 0 || f.us >= types.MicrosPerSecond:
		return outside()
	case f.tzSign != 0 && (f.tzh < 0 || f.tzh > 15 || f.tzm < 0 || f.tzm >= 60):
		return outside()
	}
	days := types.DateFromYMD(int(year), int(mon), int(day))
	if !types.ValidDate(days) {
		return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "date out of range: \"%s\"", r.all)
	}
	if days > types.EndTimestamp/types.MicrosPerDay {
		return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "timestamp out of range")
	}
	return days*types.MicrosPerDay + ((hour*60+min)*60+sec)*types.MicrosPerSecond + f.us, nil
}

func readTime(s, format string) (*timeReader, int64, error) {
	r := &timeReader{all: s, s: s}
	if format != "" {
		if err := r.read(parseTimeFormat(format)); err != nil {
			return nil, 0, err
		}
	}
	us, err := r.resolve()
	return r, us, err
}

func init() {
	reg(map2(bytesOf, bytesOf, ints, func(s, f []byte) (int64, error) {
		_, us, err := readTime(string(s), string(f))
		if err != nil {
			return 0, err
		}
		d, _ := floorDiv64(us, types.MicrosPerDay)
		return d, nil
	}), "to_date")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		r, us, err := readTime(string(args[0].Bytes[i]), string(args[1].Bytes[i]))
		if err != nil {
			return err
		}
		if r.f.tzSign != 0 {
			us -= r.f.tzSign * (r.f.tzh*60 + r.f.tzm) * types.MicrosPerMinute
		} else {
			us = types.LocalToUTC(us, formatZone(ctx))
		}
		if !types.ValidTimestamp(us) {
			return pgerr.New(pgerr.DatetimeFieldOverflow, "timestamp out of range")
		}
		out.Ints[i] = us
		return nil
	}), "to_timestamp")
}
