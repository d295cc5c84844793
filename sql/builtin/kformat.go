package builtin

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// to_char over times. A template is cut into nodes once; the last ones used by a kernel call are kept for the next row.

type nodeKind uint8

const (
	nodeField nodeKind = iota
	nodeText           // a character taken as it is
	nodeSpace
	nodeSeparator
)

// formatNode is a piece of a template.
type formatNode struct {
	kind   nodeKind
	key    string // the field as written: case decides how names come out
	id     string // the field in capitals
	text   string
	fm     bool // FM: no padding
	tm     bool // TM: no padding of names
	th, TH bool // ordinal suffix
}

var timeFields = func() map[string]bool {
	m := map[string]bool{"Day": true, "Dy": true, "Month": true, "Mon": true}
	for _, f := range strings.Fields(`A.D. A.M. AD AM B.C. BC CC DAY DDD DD DY D FF1 FF2 FF3 FF4 FF5 FF6 FX HH24 HH12 HH IDDD ID IW IYYY IYY IY I
		J MI MM MONTH MON MS OF P.M. PM Q RM SSSSS SSSS SS TZH TZM TZ US WW W Y,YYY YYYY YYY YY Y`) {
		m[f] = true
		m[strings.ToLower(f)] = true
	}
	return m
}()

// longestField finds the longest field that s begins with.
func longestField(s string, fields map[string]bool, longest int) string {
	for n := min(longest, len(s)); n > 0; n-- {
		if fields[s[:n]] {
			return s[:n]
		}
	}
	return ""
}

func isSeparator(c byte) bool {
	return c > 0x20 && c < 0x7f && !(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z')
}

func textNode(s string, plain bool) formatNode {
	kind := nodeText
	if plain {
		if s == " " || s == "\t" || s == "\n" || s == "\r" || s == "\v" || s == "\f" {
			kind = nodeSpace
		} else if isSeparator(s[0]) {
			kind = nodeSeparator
		}
	}
	return formatNode{kind: kind, text: s}
}

// firstRune is the first character of s.
func firstRune(s string) string {
	for i := range s {
		if i > 0 {
			return s[:i]
		}
	}
	return s
}

// quoted reads the text after an opening quote.
func quotedNodes(nodes []formatNode, s string) ([]formatNode, string) {
	for s != "" {
		if s[0] == '"' {
			return nodes, s[1:]
		}
		if s[0] == '\\' && len(s) > 1 {
			s = s[1:]
		}
		c := firstRune(s)
		nodes = append(nodes, textNode(c, false))
		s = s[len(c):]
	}
	return nodes, s
}

func parseTimeFormat(s string) []formatNode {
	var nodes []formatNode
	for s != "" {
		var n formatNode
		rest := s
		for {
			if p := rest; strings.HasPrefix(p, "FM") || strings.HasPrefix(p, "fm") {
				n.fm = true
			} else if strings.HasPrefix(p, "TM") || strings.HasPrefix(p, "tm") {
				n.tm = true
			} else {
				break
			}
			rest = rest[2:]
		}
		if k := longestField(rest, timeFields, 5); k != "" {
			n.key, n.id = k, strings.ToUpper(k)
			rest = rest[len(k):]
			for {
				if strings.HasPrefix(rest, "TH") {
					n.TH = true
				} else if strings.HasPrefix(rest, "th") {
					n.th = true
				} else if !strings.HasPrefix(rest, "SP") {
					break
				}
				rest = rest[2:]
			}
			nodes = append(nodes, n)
			s = rest
			continue
		}
		s = rest
		if s == "" {
			break
		}
		if s[0] == '"' {
			nodes, s = quotedNodes(nodes, s[1:])
			continue
		}
		if s[0] == '\\' && len(s) > 1 && s[1] == '"' {
			s = s[1:]
		}
		c := firstRune(s)
		nodes = append(nodes, textNode(c, true))
		s = s[len(c):]
	}
	return nodes
}

var (
	fullMonths = []string{"January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"}
	shortMons  = []string{"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"}
	fullDays   = []string{"Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"}
	shortDays  = []string{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"}
	romanMons  = []string{"I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII"}
)

// timeParts is what a template may ask of a timestamp or an interval.
type timeParts struct {
	year, mon, day int64 // for an interval: years, months, days
	hour, min, sec int64
	usec           int64
	yday           int64
	wday           int
	interval       bool
	zone           string
	hasZone        bool
	off            int
}

// pad0 appends n with at least width digits, the sign not counted among them.
func pad0(dst []byte, n int64, width int, fm bool) []byte {
	if n < 0 {
		dst = append(dst, '-')
		n = -n
	}
	var b [20]byte
	t := strconv.AppendInt(b[:0], n, 10)
	if !fm {
		for k := len(t); k < width; k++ {
			dst = append(dst, '0')
		}
	}
	return append(dst, t...)
}

// ordinal is the English suffix of a number's text.
func ordinal(num []byte) string {
	n := len(num)
	if n == 0 || n > 1 && num[n-2] == '1' {
		return "th"
	}
	switch num[n-1] {
	case '1':
		return "st"
	case '2':
		return "nd"
	case '3':
		return "rd"
	}
	return "th"
}

// likeCase gives a name the case of the field that asks for it.
func likeCase(name, key string) string {
	switch {
	case key[0] >= 'a':
		return strings.ToLower(name)
	case len(key) > 1 && key[1] >= 'a' && key[1] <= 'z':
		return name
	}
	return strings.ToUpper(name)
}

func (n *formatNode) name(dst []byte, s string, width int) []byte {
	s = likeCase(s, n.key)
	dst = append(dst, s...)
	if !n.fm && !n.tm {
		for k := len(s); k < width; k++ {
			dst = append(dst, ' ')
		}
	}
	return dst
}

func notForIntervals() error {
	return pgerr.New(pgerr.InvalidDatetimeFormat, "invalid format specification for an interval value").
		WithHint("Intervals are not tied to specific calendar dates.")
}

// shownYear is a year as people count: BC without a year zero.
func (t *timeParts) shownYear(y int64) int64 {
	if !t.interval && y <= 0 {
		return 1 - y
	}
	return y
}

func (t *timeParts) format(dst []byte, nodes []formatNode) ([]byte, error) {
	for k := range nodes {
		n := &nodes[k]
		if n.kind != nodeField {
			dst = append(dst, n.text...)
			continue
		}
		start := len(dst)
		var err error
		if dst, err = t.field(dst, n); err != nil {
			return nil, err
		}
		if (n.th || n.TH) && len(dst) > start {
			s := ordinal(dst[start:])
			if n.TH {
				s = strings.ToUpper(s)
			}
			if c := dst[len(dst)-1]; c >= '0' && c <= '9' {
				dst = append(dst, s...)
			}
		}
	}
	return dst, nil
}

func (t *timeParts) field(dst []byte, n *formatNode) ([]byte, error) {
	if t.interval {
		switch n.id {
		case "TZ", "TZH", "TZM", "OF", "A.D.", "B.C.", "AD", "BC", "MONTH", "MON", "DAY", "DY", "D", "ID", "WW", "IW", "W", "IDDD", "IYYY", "IYY", "IY", "I":
			// The ISO years and days of years are as meaningless, but PostgreSQL shows something for them.
			if n.id[0] != 'I' || n.id == "ID" || n.id == "IW" {
				return nil, notForIntervals()
			}
		}
	}
	num := func(x int64, width int) ([]byte, error) { return pad0(dst, x, width, n.fm), nil }
	y := t.year
	switch n.id {
	case "A.M.", "P.M.", "AM", "PM":
		s := "A.M."
		if t.hour%24 >= 12 {
			s = "P.M."
		}
		if len(n.id) == 2 {
			s = strings.ReplaceAll(s, ".", "")
		}
		return append(dst, likeCase(s, n.key)...), nil
	case "A.D.", "B.C.", "AD", "BC":
		s := "A.D."
		if y <= 0 {
			s = "B.C."
		}
		if len(n.id) == 2 {
			s = strings.ReplaceAll(s, ".", "")
		}
		return append(dst, likeCase(s, n.key)...), nil
	case "HH", "HH12":
		if t.hour%12 == 0 {
			return num(12, 2)
		}
		return num(t.hour%12, 2)
	case "HH24":
		return num(t.hour, 2)
	case "MI":
		return num(t.min, 2)
	case "SS":
		return num(t.sec, 2)
	case "FF1":
		return pad0(dst, t.usec/100000, 1, false), nil
	case "FF2":
		return pad0(dst, t.usec/10000, 2, false), nil
	case "FF3", "MS":
		return pad0(dst, t.usec/1000, 3, false), nil
	case "FF4":
		return pad0(dst, t.usec/100, 4, false), nil
	case "FF5":
		return pad0(dst, t.usec/10, 5, false), nil
	case "FF6", "US":
		return pad0(dst, t.usec, 6, false), nil
	case "SSSS", "SSSSS":
		return num(t.hour*3600+t.min*60+t.sec, 0)
	case "TZ":
		if t.hasZone {
			return append(dst, likeCase(t.zone, n.key)...), nil
		}
		return dst, nil
	case "TZH", "TZM", "OF":
		off, sign := t.off, byte('+')
		if off < 0 {
			off, sign = -off, '-'
		}
		if n.id == "TZM" {
			return pad0(dst, int64(off/60%60), 2, false), nil
		}
		dst = append(dst, sign)
		dst = pad0(dst, int64(off/3600), 2, n.fm && n.id == "OF")
		if n.id == "OF" && off/60%60 != 0 {
			dst = pad0(append(dst, ':'), int64(off/60%60), 2, false)
		}
		return dst, nil
	case "MONTH":
		if t.mon == 0 {
			return dst, nil
		}
		return n.name(dst, fullMonths[t.mon-1], 9), nil
	case "MON":
		if t.mon == 0 {
			return dst, nil
		}
		return append(dst, likeCase(shortMons[t.mon-1], n.key)...), nil
	case "MM":
		return num(t.mon, 2)
	case "DAY":
		return n.name(dst, fullDays[t.wday], 9), nil
	case "DY":
		return append(dst, likeCase(shortDays[t.wday], n.key)...), nil
	case "DDD":
		return num(t.yday, 3)
	case "IDDD":
		_, w := isoWeek(t.date())
		wd := int64(t.wday)
		if wd == 0 {
			wd = 7
		}
		return num(int64(w-1)*7+wd, 3)
	case "DD":
		return num(t.day, 2)
	case "D":
		return num(int64(t.wday)+1, 0)
	case "ID":
		if t.wday == 0 {
			return num(7, 0)
		}
		return num(int64(t.wday), 0)
	case "WW":
		return num((t.yday-1)/7+1, 2)
	case "IW":
		_, w := isoWeek(t.date())
		return num(int64(w), 2)
	case "Q":
		if t.mon == 0 {
			return dst, nil
		}
		return num((t.mon-1)/3+1, 0)
	case "CC":
		c := y / 100
		if !t.interval {
			if y > 0 {
				c = (y-1)/100 + 1
			} else {
				c = y/100 - 1
			}
		}
		if c > 99 || c < -99 {
			return num(c, 0)
		}
		return num(c, 2)
	case "Y,YYY":
		s := t.shownYear(y)
		dst = strconv.AppendInt(dst, s/1000, 10)
		return pad0(append(dst, ','), s%1000, 3, false), nil
	case "YYYY", "YYY", "YY", "Y", "IYYY", "IYY", "IY", "I":
		digits := len(n.id)
		if n.id[0] == 'I' {
			iy, _ := isoWeek(t.date())
			y = int64(iy)
			digits = len(n.id)
		}
		s := t.shownYear(y)
		switch digits {
		case 3:
			s %= 1000
		case 2:
			s %= 100
		case 1:
			s %= 10
		}
		return num(s, digits)
	case "RM":
		if t.mon == 0 && t.year == 0 {
			return dst, nil
		}
		m := t.mon - 1
		if t.mon == 0 {
			m = 11
			if t.year < 0 {
				m = 0
			}
		} else if t.mon < 0 {
			m = 11 + t.mon
		}
		return n.name(dst, romanMons[m], 4), nil
	case "W":
		return num((t.day-1)/7+1, 0)
	case "J":
		return num(int64(types.JulianDay(int(y), int(t.mon), int(t.day))), 0)
	}
	return dst, nil
}

func timestampParts(us int64) timeParts {
	days, tod := floorDiv64(us, types.MicrosPerDay)
	y, m, d := types.YMDFromDate(days)
	jd := types.JulianDay(y, m, d)
	return timeParts{year: int64(y), mon: int64(m), day: int64(d), hour: tod / types.MicrosPerHour, min: tod / types.MicrosPerMinute % 60,
		sec: tod / types.MicrosPerSecond % 60, usec: tod % types.MicrosPerSecond, yday: int64(jd - types.JulianDay(y, 1, 1) + 1), wday: (jd + 1) % 7}
}

// date is the day, in days since 2000-01-01.
func (t *timeParts) date() int64 { return types.DateFromYMD(int(t.year), int(t.mon), int(t.day)) }

func intervalParts(iv types.Interval) timeParts {
	y, m := int64(iv.Months/12), int64(iv.Months%12)
	return timeParts{interval: true, year: y, mon: m, day: int64(iv.Days), hour: iv.Micros / types.MicrosPerHour, min: iv.Micros / types.MicrosPerMinute % 60,
		sec: iv.Micros / types.MicrosPerSecond % 60, usec: iv.Micros % types.MicrosPerSecond, yday: int64(iv.Months)*30 + int64(iv.Days)}
}

// timeFormatKernel makes a to_char kernel; parts says what a row's value consists of, ok false makes it NULL.
func timeFormatKernel(parts func(ctx *Context, v *types.Vec, i int) (timeParts, bool)) Kernel {
	return func(ctx *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		var last []byte
		var nodes []formatNode
		return types.EachRow(n, sel, func(i int) error {
			f := args[1].Bytes[i]
			t, ok := parts(ctx, args[0], i)
			if len(f) == 0 || !ok {
				out.SetNull(i)
				return nil
			}
			if last == nil || !bytes.Equal(last, f) {
				last, nodes = f, parseTimeFormat(string(f))
			}
			b, err := t.format(make([]byte, 0, len(f)+16), nodes)
			out.Bytes[i] = b
			return err
		})
	}
}

func formatZone(ctx *Context) *time.Location {
	if l := ctx.TextEnv().Location; l != nil {
		return l
	}
	return time.UTC
}

func init() {
	reg(timeFormatKernel(func(_ *Context, v *types.Vec, i int) (timeParts, bool) {
		us := v.Ints[i]
		if types.IsInfinite(us) {
			return timeParts{}, false
		}
		return timestampParts(us), true
	}), "timestamp_to_char")
	reg(timeFormatKernel(func(ctx *Context, v *types.Vec, i int) (timeParts, bool) {
		us := v.Ints[i]
		if types.IsInfinite(us) {
			return timeParts{}, false
		}
		off, name := types.ZoneOffset(us, formatZone(ctx))
		t := timestampParts(us + int64(off)*types.MicrosPerSecond)
		t.zone, t.hasZone, t.off = name, true, off
		return t, true
	}), "timestamptz_to_char")
	reg(timeFormatKernel(func(_ *Context, v *types.Vec, i int) (timeParts, bool) {
		return intervalParts(v.Intervals[i]), true
	}), "interval_to_char")
}
