package sql

import (
	"math"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// parse validates a value as SET takes it and returns its canonical form: on/off, a number in the base
// unit, an enum's word, or the string.
func (d *settingDef) parse(v string) (string, error) {
	switch d.Kind {
	case boolSetting:
		b, ok := parseBool(v)
		if !ok {
			return "", pgerr.New(pgerr.InvalidParameterValue, "parameter \"%s\" requires a Boolean value", d.Name)
		}
		return onOff(b), nil
	case enumSetting:
		for _, e := range d.Enum {
			if strings.EqualFold(e, v) {
				return strings.ToLower(e), nil
			}
		}
		if e, ok := enumAlias(d, v); ok {
			return e, nil
		}
		return "", d.invalid(v).WithHint("Available values: %s.", strings.Join(d.Enum, ", "))
	case intSetting:
		x, err := d.number(v)
		if err != nil {
			return "", err
		}
		x = math.RoundToEven(x)
		lo, _ := strconv.ParseFloat(d.Min, 64)
		hi, _ := strconv.ParseFloat(d.Max, 64)
		if x > math.MaxInt32 || x < math.MinInt32 {
			return "", d.invalid(v).WithHint("Value exceeds integer range.")
		}
		if d.Min != "" && x < lo || d.Max != "" && x > hi {
			return "", pgerr.New(pgerr.InvalidParameterValue, "%d%s is outside the valid range for parameter \"%s\" (%s .. %s)",
				int64(x), d.unitSuffix(), d.Name, d.Min, d.Max)
		}
		return strconv.FormatInt(int64(x), 10), nil
	case realSetting:
		x, err := d.number(v)
		if err != nil {
			return "", err
		}
		lo, _ := strconv.ParseFloat(d.Min, 64)
		hi, _ := strconv.ParseFloat(d.Max, 64)
		if d.Min != "" && x < lo || d.Max != "" && x > hi {
			return "", pgerr.New(pgerr.InvalidParameterValue, "%s%s is outside the valid range for parameter \"%s\" (%s .. %s)",
				formatReal(x), d.unitSuffix(), d.Name, d.Min, d.Max)
		}
		return formatReal(x), nil
	}
	return v, nil
}

func (d *settingDef) unitSuffix() string {
	if d.Unit == "" {
		return ""
	}
	return " " + d.Unit
}

func (d *settingDef) invalid(v string) *pgerr.Error {
	return pgerr.New(pgerr.InvalidParameterValue, "invalid value for parameter \"%s\": \"%s\"", d.Name, v)
}

// enumAlias knows the spellings that PostgreSQL accepts and does not list.
func enumAlias(d *settingDef, v string) (string, bool) {
	v = strings.ToLower(v)
	switch d.Name {
	case "synchronous_commit", "constraint_exclusion", "backslash_quote", "compute_query_id", "force_parallel_mode", "wal_compression":
		if b, ok := parseBool(v); ok {
			return onOff(b), true
		}
	case "client_min_messages", "log_min_messages", "log_min_error_statement":
		switch v {
		case "info":
			return "info", true
		case "fatal", "panic":
			return v, true
		case "debug":
			return "debug2", true
		}
	}
	return "", false
}

// parseBool accepts unique prefixes of true, false, yes, no, on, off, and 1 and 0.
func parseBool(v string) (value, ok bool) {
	v = strings.ToLower(v)
	prefix := func(word string, least int) bool { return len(v) >= least && strings.HasPrefix(word, v) }
	switch {
	case v == "":
	case prefix("true", 1), prefix("yes", 1), v == "on", v == "1":
		return true, true
	case prefix("false", 1), prefix("no", 1), prefix("off", 2), v == "0":
		return false, true
	}
	return false, false
}

type unit struct {
	name   string
	factor float64 // in bytes or milliseconds
}

var (
	memoryUnits = []unit{{"TB", 1 << 40}, {"GB", 1 << 30}, {"MB", 1 << 20}, {"kB", 1 << 10}, {"B", 1}}
	timeUnits   = []unit{{"d", 86400e3}, {"h", 3600e3}, {"min", 60e3}, {"s", 1e3}, {"ms", 1}, {"us", 1e-3}}
)

// base returns the units a setting may be given in and its own unit's factor.
func (d *settingDef) base() ([]unit, float64) {
	switch d.Unit {
	case "B":
		return memoryUnits, 1
	case "kB":
		return memoryUnits, 1 << 10
	case "8kB":
		return memoryUnits, 8 << 10
	case "MB":
		return memoryUnits, 1 << 20
	case "ms":
		return timeUnits, 1
	case "s":
		return timeUnits, 1e3
	case "min":
		return timeUnits, 60e3
	}
	return nil, 1
}

// number reads a number with an optional unit into base units.
func (d *settingDef) number(v string) (float64, error) {
	s := strings.TrimSpace(v)
	end := len(s)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= '0' && c <= '9' || c == '.' || (c == '-' || c == '+') && (i == 0 || s[i-1] == 'e' || s[i-1] == 'E') {
			continue
		}
		if (c == 'e' || c == 'E') && i+1 < len(s) && (s[i+1] >= '0' && s[i+1] <= '9' || s[i+1] == '-' || s[i+1] == '+') {
			continue
		}
		if (c == 'x' || c == 'X') && i == 1 && s[0] == '0' {
			for i++; i < len(s) && strings.IndexByte("0123456789abcdefABCDEF", s[i]) >= 0; i++ {
			}
			end = i
			break
		}
		end = i
		break
	}
	num, rest := s[:end], strings.TrimSpace(s[end:])
	var x float64
	var err error
	if strings.HasPrefix(num, "0x") || strings.HasPrefix(num, "0X") {
		var n int64
		n, err = strconv.ParseInt(num, 0, 64)
		x = float64(n)
	} else if len(num) > 1 && num[0] == '0' && d.Kind == intSetting && !strings.ContainsAny(num, ".eE") {
		var n int64
		n, err = strconv.ParseInt(num, 8, 64)
		x = float64(n)
	} else {
		x, err = strconv.ParseFloat(num, 64)
	}
	units, factor := d.base()
	if err != nil || math.IsNaN(x) {
		return 0, d.invalid(v)
	}
	if rest == "" {
		return x, nil
	}
	for _, u := range units {
		if u.name == rest {
			return x * u.factor / factor, nil
		}
	}
	e := d.invalid(v)
	if units != nil && units[0].name == "TB" {
		e = e.WithHint("Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".")
	} else if units != nil {
		e = e.WithHint("Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".")
	}
	return 0, e
}

func formatReal(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// show turns a canonical value into what SHOW prints: numbers in the largest unit that divides them.
func (d *settingDef) show(v string) string {
	if d.Name == "data_directory_mode" {
		return "0700"
	}
	if d.Unit == "" || d.Kind != intSetting && d.Kind != realSetting {
		return v
	}
	x, err := strconv.ParseFloat(v, 64)
	if err != nil || x <= 0 {
		return v
	}
	units, factor := d.base()
	for _, u := range units {
		n := x * factor / u.factor
		if n >= 1 && n == math.Trunc(n) {
			return strconv.FormatFloat(n, 'f', -1, 64) + u.name
		}
	}
	return v + d.Unit
}

func checkOn(_ *Session, v string) (string, error) {
	if v != "on" {
		return "", pgerr.Unsupported("standard_conforming_strings = off", "Write backslashes in E'' strings.")
	}
	return v, nil
}

func checkOff(_ *Session, v string) (string, error) {
	if v == "on" {
		return "", pgerr.New(pgerr.FeatureNotSupported, "tables declared WITH OIDS are not supported")
	}
	return v, nil
}

func checkEncoding(_ *Session, v string) (string, error) {
	switch strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(v)) {
	case "utf8", "unicode":
		return "UTF8", nil
	}
	return "", settingByName["client_encoding"].invalid(v).WithHint("Pamir's clients speak UTF8.")
}

// checkApplicationName replaces what is not printable ASCII, as PostgreSQL does.
func checkApplicationName(_ *Session, v string) (string, error) {
	b := []byte(v)
	for i, c := range b {
		if c < 32 || c > 126 {
			b[i] = '?'
		}
	}
	if len(b) > 63 {
		b = b[:63]
	}
	return string(b), nil
}

func checkDateStyle(s *Session, v string) (string, error) {
	current := "ISO, MDY"
	if s != nil {
		current = s.settings.value(settingByName["datestyle"])
	}
	style, order, _ := strings.Cut(current, ", ")
	var haveStyle, haveOrder bool
	for _, w := range strings.Split(v, ",") {
		w = strings.ToUpper(strings.Trim(strings.TrimSpace(w), `"'`))
		st, or := "", ""
		switch {
		case w == "ISO", w == "SQL":
			st = w
		case strings.HasPrefix(w, "POSTGRES"):
			st = "Postgres"
		case w == "GERMAN":
			st = "German"
			if !haveOrder {
				order = "DMY"
			}
		case w == "YMD":
			or = "YMD"
		case w == "DMY", strings.HasPrefix(w, "EURO"):
			or = "DMY"
		case w == "MDY", w == "US", strings.HasPrefix(w, "NONEURO"):
			or = "MDY"
		case w == "DEFAULT":
			if !haveStyle {
				style = "ISO"
			}
			if !haveOrder {
				order = "MDY"
			}
			continue
		default:
			return "", settingByName["datestyle"].invalid(v).WithDetail("Unrecognized key word: \"%s\".", strings.ToLower(w))
		}
		if st != "" {
			if haveStyle && st != style {
				return "", settingByName["datestyle"].invalid(v).WithDetail("Conflicting \"datestyle\" specifications.")
			}
			style, haveStyle = st, true
		}
		if or != "" {
			if haveOrder && or != order {
				return "", settingByName["datestyle"].invalid(v).WithDetail("Conflicting \"datestyle\" specifications.")
			}
			order, haveOrder = or, true
		}
	}
	return style + ", " + order, nil
}

func checkSearchPath(_ *Session, v string) (string, error) {
	if _, ok := splitIdentifiers(v); !ok {
		return "", settingByName["search_path"].invalid(v).WithDetail("List syntax is invalid.")
	}
	return v, nil
}

// splitIdentifiers splits a comma-separated list of identifiers, folding those without quotes.
func splitIdentifiers(v string) ([]string, bool) {
	var out []string
	s := strings.TrimSpace(v)
	if s == "" {
		return nil, true
	}
	for {
		var name string
		if s != "" && s[0] == '"' {
			var b strings.Builder
			i := 1
			for {
				j := strings.IndexByte(s[i:], '"')
				if j < 0 {
					return nil, false
				}
				b.WriteString(s[i : i+j])
				i += j + 1
				if i < len(s) && s[i] == '"' {
					b.WriteByte('"')
					i++
					continue
				}
				break
			}
			name, s = b.String(), s[i:]
		} else {
			i := strings.IndexAny(s, ", \t\n")
			if i < 0 {
				i = len(s)
			}
			if i == 0 {
				return nil, false
			}
			name, s = strings.ToLower(s[:i]), s[i:]
		}
		out = append(out, name)
		s = strings.TrimSpace(s)
		if s == "" {
			return out, true
		}
		if s[0] != ',' {
			return nil, false
		}
		s = strings.TrimSpace(s[1:])
	}
}

// quoteIdentifier quotes a name if it needs quotes.
func quoteIdentifier(s string) string {
	plain := s != "" && (s[0] >= 'a' && s[0] <= 'z' || s[0] == '_')
	for i := 0; plain && i < len(s); i++ {
		c := s[i]
		plain = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_'
	}
	if plain && !reservedWords[s] {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

var reservedWords = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`all analyse analyze and any array as asc asymmetric both case cast check collate column constraint
		create current_catalog current_date current_role current_time current_timestamp current_user default deferrable desc distinct do
		else end except false fetch for foreign from grant group having in initially intersect into lateral leading limit localtime
		localtimestamp not null offset on only or order placing primary references returning select session_user some symmetric table then
		to trailing true union unique user using variadic when where window with authorization binary collation concurrently cross
		current_schema freeze full ilike inner is isnull join left like natural notnull outer overlaps right similar tablesample verbose`) {
		m[w] = true
	}
	return m
}()
