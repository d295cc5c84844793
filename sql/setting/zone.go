package setting

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// LoadZone reads a time zone as SET TIME ZONE takes it: a name of the zone database (in any case), a number of hours
// east of Greenwich, or a POSIX specification such as UTC+3 or <+05>-05 (whose sign points west).
func LoadZone(v string) (*time.Location, error) {
	if h, err := strconv.ParseFloat(v, 64); err == nil && h >= -168 && h <= 168 {
		return time.FixedZone(numericZone(h), int(h*3600)), nil
	}
	if loc, ok := posixZone(v); ok {
		return loc, nil
	}
	if v == "" || strings.EqualFold(v, "local") || strings.ContainsAny(v, ". \\") {
		return nil, pgerr.New(pgerr.InvalidParameterValue, "time zone \"%s\" not recognized", v)
	}
	for _, name := range zoneSpellings(v) {
		if loc, err := time.LoadLocation(name); err == nil {
			return loc, nil
		}
	}
	return nil, pgerr.New(pgerr.InvalidParameterValue, "time zone \"%s\" not recognized", v)
}

// zoneName is the canonical name of a zone.
func zoneName(v string) (string, bool) {
	loc, err := LoadZone(v)
	if err != nil {
		return "", false
	}
	return loc.String(), true
}

func zoneSpellings(v string) []string {
	title := []byte(strings.ToLower(v))
	up := true
	for i, c := range title {
		if up && c >= 'a' && c <= 'z' {
			title[i] = c - 'a' + 'A'
		}
		up = c == '/' || c == '_' || c == '-'
	}
	return []string{v, strings.ToUpper(v), string(title)}
}

// numericZone names a fixed offset in hours as PostgreSQL does: <+05>-05.
func numericZone(h float64) string {
	secs := int(h * 3600)
	a := clockOffset(secs)
	b := clockOffset(-secs)
	return "<" + a + ">" + b
}

func clockOffset(secs int) string {
	sign := '+'
	if secs < 0 {
		sign, secs = '-', -secs
	}
	s := fmt.Sprintf("%c%02d", sign, secs/3600)
	if m := secs / 60 % 60; m != 0 || secs%60 != 0 {
		s += fmt.Sprintf(":%02d", m)
		if secs%60 != 0 {
			s += fmt.Sprintf(":%02d", secs%60)
		}
	}
	return s
}

// posixZone reads ABC+h[:mm[:ss]] and <name>+h.
func posixZone(v string) (*time.Location, bool) {
	rest := v
	if strings.HasPrefix(rest, "<") {
		i := strings.IndexByte(rest, '>')
		if i < 0 {
			return nil, false
		}
		rest = rest[i+1:]
	} else {
		i := 0
		for i < len(rest) && (rest[i]|0x20 >= 'a' && rest[i]|0x20 <= 'z') {
			i++
		}
		if i < 3 {
			return nil, false
		}
		rest = rest[i:]
	}
	if rest == "" {
		return nil, false
	}
	sign := -1
	switch rest[0] {
	case '-':
		sign = 1
		rest = rest[1:]
	case '+':
		rest = rest[1:]
	}
	secs, mult := 0, 3600
	for _, part := range strings.Split(rest, ":") {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || mult == 0 || n > 167 || mult < 3600 && n > 59 {
			return nil, false
		}
		secs += n * mult
		mult /= 60
	}
	return time.FixedZone(v, sign*secs), true
}
