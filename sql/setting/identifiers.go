package setting

import "strings"

// SplitIdentifiers splits a comma-separated list of identifiers, folding those without quotes.
func SplitIdentifiers(v string) ([]string, bool) {
	var out []string
	s := strings.TrimSpace(v)
	if s == "" {
		return nil, true
	}
	for {
		name, rest, ok := CutIdentifier(s, ", \t\n")
		if !ok {
			return nil, false
		}
		out = append(out, name)
		s = strings.TrimSpace(rest)
		if s == "" {
			return out, true
		}
		if s[0] != ',' {
			return nil, false
		}
		s = strings.TrimSpace(s[1:])
	}
}

// CutIdentifier takes the identifier at the beginning of s off it. One in quotes is taken as it is, with "" for a quote in it, and may be empty;
// any other ends before one of the bytes in until, and is folded. ok is false if there is none, or a quote is not closed.
func CutIdentifier(s, until string) (name, rest string, ok bool) {
	if s == "" || s[0] != '"' {
		i := strings.IndexAny(s, until)
		if i < 0 {
			i = len(s)
		}
		return strings.ToLower(s[:i]), s[i:], i > 0
	}
	var b strings.Builder
	for i := 1; ; {
		j := strings.IndexByte(s[i:], '"')
		if j < 0 {
			return "", s, false
		}
		b.WriteString(s[i : i+j])
		i += j + 1
		if i == len(s) || s[i] != '"' {
			return b.String(), s[i:], true
		}
		b.WriteByte('"')
		i++
	}
}

// QuoteIdentifier quotes a name if it needs quotes.
func QuoteIdentifier(s string) string {
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
