package setting

import (
	"math"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// Parse validates a value as SET takes it and returns its canonical form: on/off, a number in the base
// unit, an enum's word, or the string.
func (d *Def) Parse(v string) (string, error) {
	switch d.Kind {
	case Bool:
		b, ok := ParseBool(v)
		if !ok {
			return "", pgerr.New(pgerr.InvalidParameterValue, "parameter \"%s\" requires a Boolean value", d.Name)
		}
		return OnOff(b), nil
	case Enum:
		for _, e := range d.Enum {
			if strings.EqualFold(e, v) {
				return strings.ToLower(e), nil
			}
		}
		if e, ok := enumAlias(d, v); ok {
			return e, nil
		}
		return "", d.Invalid(v).WithHint("Available values: %s.", strings.Join(d.Enum, ", "))
	case Int:
		x, err := d.number(v)
		if err != nil {
			return "", err
		}
		x = math.RoundToEven(x)
		lo, _ := strconv.ParseFloat(d.Min, 64)
		hi, _ := strconv.ParseFloat(d.Max, 64)
		if x > math.MaxInt32 || x < math.MinInt32 {
			return "", d.Invalid(v).WithHint("Value exceeds integer range.")
		}
		if d.Min != "" && x < lo || d.Max != "" && x > hi {
			return "", pgerr.New(pgerr.InvalidParameterValue, "%d%s is outside the valid range for parameter \"%s\" (%s .. %s)",
				int64(x), d.unitSuffix(), d.Name, d.Min, d.Max)
		}
		return strconv.FormatInt(int64(x), 10), nil
	case Real:
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

func (d *Def) unitSuffix() string {
	if d.Unit == "" {
		return ""
	}
	return " " + d.Unit
}

// Invalid is the error for a value that the setting does not take.
func (d *Def) Invalid(v string) *pgerr.Error {
	return pgerr.New(pgerr.InvalidParameterValue, "invalid value for parameter \"%s\": \"%s\"", d.Name, v)
}

// enumAlias knows the spellings that PostgreSQL accepts and does not list.
func enumAlias(d *Def, v string) (string, bool) {
	v = strings.ToLower(v)
	switch d.Name {
	case "synchronous_commit", "constraint_exclusion", "backslash_quote", "compute_query_id", "force_parallel_mode", "wal_compression":
		if b, ok := ParseBool(v); ok {
			return OnOff(b), true
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

// ParseBool accepts unique prefixes of true, false, yes, no, on, off, and 1 and 0.
func ParseBool(v string) (value, ok bool) {
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
func (d *Def) base() ([]unit, float64) {
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
func (d *Def) number(v string) (float64, error) {
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
	} else if len(num) > 1 && num[0] == '0' && d.Kind == Int && !strings.ContainsAny(num, ".eE") {
		var n int64
		n, err = strconv.ParseInt(num, 8, 64)
		x = float64(n)
	} else {
		x, err = strconv.ParseFloat(num, 64)
	}
	units, factor := d.base()
	if err != nil || math.IsNaN(x) {
		return 0, d.Invalid(v)
	}
	if rest == "" {
		return x, nil
	}
	for _, u := range units {
		if u.name == rest {
			return x * u.factor / factor, nil
		}
	}
	e := d.Invalid(v)
	if units != nil && units[0].name == "TB" {
		e = e.WithHint("Valid units for this parameter are \"B\", \"kB\", \"MB\", \"GB\", and \"TB\".")
	} else if units != nil {
		e = e.WithHint("Valid units for this parameter are \"us\", \"ms\", \"s\", \"min\", \"h\", and \"d\".")
	}
	return 0, e
}

func formatReal(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// Show turns a canonical value into what SHOW prints: numbers in the largest unit that divides them.
func (d *Def) Show(v string) string {
	if d.Name == "data_directory_mode" {
		return "0700"
	}
	if d.Unit == "" || d.Kind != Int && d.Kind != Real {
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
