package setting

import (
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
)

func checkOn(_ *Values, v string) (string, error) {
	if v != "on" {
		return "", pgerr.Unsupported("standard_conforming_strings = off", "Write backslashes in E'' strings.")
	}
	return v, nil
}

func checkOff(_ *Values, v string) (string, error) {
	if v == "on" {
		return "", pgerr.New(pgerr.FeatureNotSupported, "tables declared WITH OIDS are not supported")
	}
	return v, nil
}

// Encoding checks the name of a client encoding.
func Encoding(v string) (string, error) {
	switch strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(v)) {
	case "utf8", "unicode":
		return "UTF8", nil
	}
	return "", byName["client_encoding"].Invalid(v).WithHint("Pamir's clients speak UTF8.")
}

// checkApplicationName replaces what is not printable ASCII, as PostgreSQL does.
func checkApplicationName(_ *Values, v string) (string, error) {
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

func checkDateStyle(c *Values, v string) (string, error) {
	current := "ISO, MDY"
	if c != nil {
		current = c.Value(byName["datestyle"])
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
			return "", byName["datestyle"].Invalid(v).WithDetail("Unrecognized key word: \"%s\".", strings.ToLower(w))
		}
		if st != "" {
			if haveStyle && st != style {
				return "", byName["datestyle"].Invalid(v).WithDetail("Conflicting \"datestyle\" specifications.")
			}
			style, haveStyle = st, true
		}
		if or != "" {
			if haveOrder && or != order {
				return "", byName["datestyle"].Invalid(v).WithDetail("Conflicting \"datestyle\" specifications.")
			}
			order, haveOrder = or, true
		}
	}
	return style + ", " + order, nil
}

func checkSearchPath(_ *Values, v string) (string, error) {
	if _, ok := SplitIdentifiers(v); !ok {
		return "", byName["search_path"].Invalid(v).WithDetail("List syntax is invalid.")
	}
	return v, nil
}

func checkTimeZone(_ *Values, v string) (string, error) {
	if _, err := LoadZone(v); err != nil {
		return "", byName["timezone"].Invalid(v)
	}
	if name, ok := zoneName(v); ok {
		return name, nil
	}
	return v, nil
}
