package types

import (
	"bytes"
	"sort"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/pamirdb/pamir/sql/pgerr"
)

// JSONKind of a JSONValue.
type JSONKind uint8

const (
	JSONNull JSONKind = iota
	JSONString
	JSONNumber
	JSONBool
	JSONArray
	JSONObject
)

// JSONValue is a parsed JSON value.
type JSONValue struct {
	Kind   JSONKind
	Bool   bool
	Text   string // a string's value, a number's text as written
	Start  int    // where the value's text begins and ends in the input
	End    int
	Elems  []*JSONValue
	Fields []JSONField // in the order written
}

// JSONField is a member of an object.
type JSONField struct {
	Key   string
	Value *JSONValue
}

const maxJSONDepth = 6000

type jsonParser struct {
	s     []byte
	i     int
	build bool
}

func (p *jsonParser) fail(detail string, args ...any) error {
	e := pgerr.New(pgerr.InvalidTextRepresentation, "invalid input syntax for type json").WithDetail(detail, args...)
	// The context shows the line up to the offending token.
	line, start := 1, 0
	for k := 0; k < p.i && k < len(p.s); k++ {
		if p.s[k] == '\n' {
			line++
			start = k + 1
		}
	}
	end := min(p.i+len(p.token()), len(p.s))
	prefix := ""
	if end-start > 50 {
		start = end - 50
		for start < end && !utf8.RuneStart(p.s[start]) {
			start++
		}
		prefix = "..."
	}
	suffix := ""
	if end < len(p.s) && p.s[end] != '\n' && p.s[end] != '\r' {
		suffix = "..."
	}
	e.Where = "JSON data, line " + itoa(line) + ": " + prefix + string(p.s[start:end]) + suffix
	return e
}

// token is the run of bytes at the current position that an error message shows.
func (p *jsonParser) token() []byte {
	if p.i >= len(p.s) {
		return nil
	}
	j := p.i
	word := func(c byte) bool { return isAlpha(c) || isDigit(c) || c == '_' || c >= 0x80 }
	if p.s[j] == '"' {
		for j++; j < len(p.s) && p.s[j] != '"'; j++ {
			if p.s[j] == '\\' {
				j++
			}
		}
		return p.s[p.i:min(j+1, len(p.s))]
	}
	for j < len(p.s) && (word(p.s[j]) || p.s[j] == '-' || p.s[j] == '+' || p.s[j] == '.') {
		j++
	}
	if j == p.i {
		j++
	}
	return p.s[p.i:j]
}

func (p *jsonParser) unexpected(expected string) error {
	if p.i >= len(p.s) {
		return p.fail("The input string ended unexpectedly.")
	}
	tok := p.token()
	switch c := tok[0]; {
	case bytes.IndexByte([]byte("{}[]:,\""), c) >= 0, c == '-' || isDigit(c), string(tok) == "true", string(tok) == "false", string(tok) == "null":
		return p.fail("Expected %s, but found \"%s\".", expected, tok)
	}
	return p.fail("Token \"%s\" is invalid.", tok)
}

func (p *jsonParser) space() {
	for p.i < len(p.s) {
		switch p.s[p.i] {
		case ' ', '\t', '\n', '\r':
			p.i++
		default:
			return
		}
	}
}

func (p *jsonParser) value(depth int, expected string) (*JSONValue, error) {
	if depth > maxJSONDepth {
		return nil, pgerr.New(pgerr.StatementTooComplex, "stack depth limit exceeded")
	}
	p.space()
	if p.i >= len(p.s) {
		return nil, p.unexpected(expected)
	}
	v := &JSONValue{Start: p.i}
	var err error
	switch c := p.s[p.i]; {
	case c == '{':
		err = p.object(v, depth)
	case c == '[':
		err = p.array(v, depth)
	case c == '"':
		v.Kind = JSONString
		v.Text, err = p.string()
	case c == '-' || isDigit(c):
		v.Kind = JSONNumber
		v.Text, err = p.number()
	default:
		switch tok := p.token(); string(tok) {
		case "true":
			v.Kind, v.Bool = JSONBool, true
		case "false":
			v.Kind = JSONBool
		case "null":
		default:
			return nil, p.unexpected(expected)
		}
		p.i += len(p.token())
	}
	v.End = p.i
	return v, err
}

func (p *jsonParser) object(v *JSONValue, depth int) error {
	v.Kind = JSONObject
	p.i++
	p.space()
	if p.i < len(p.s) && p.s[p.i] == '}' {
		p.i++
		return nil
	}
	for {
		p.space()
		if p.i >= len(p.s) || p.s[p.i] != '"' {
			if len(v.Fields) == 0 && !(p.i < len(p.s) && p.s[p.i] == ',') {
				return p.unexpected("string or \"}\"")
			}
			return p.unexpected("string")
		}
		key, err := p.string()
		if err != nil {
			return err
		}
		p.space()
		if p.i >= len(p.s) || p.s[p.i] != ':' {
			return p.unexpected("\":\"")
		}
		p.i++
		x, err := p.value(depth+1, "JSON value")
		if err != nil {
			return err
		}
		v.Fields = append(v.Fields, JSONField{key, x})
		p.space()
		if p.i < len(p.s) && p.s[p.i] == ',' {
			p.i++
			continue
		}
		if p.i < len(p.s) && p.s[p.i] == '}' {
			p.i++
			return nil
		}
		return p.unexpected("\",\" or \"}\"")
	}
}

func (p *jsonParser) array(v *JSONValue, depth int) error {
	v.Kind = JSONArray
	p.i++
	p.space()
	if p.i < len(p.s) && p.s[p.i] == ']' {
		p.i++
		return nil
	}
	for {
		expected := "JSON value"
		if len(v.Elems) == 0 {
			expected = "array element or \"]\""
		}
		x, err := p.value(depth+1, expected)
		if err != nil {
			return err
		}
		v.Elems = append(v.Elems, x)
		p.space()
		if p.i < len(p.s) && p.s[p.i] == ',' {
			p.i++
			continue
		}
		if p.i < len(p.s) && p.s[p.i] == ']' {
			p.i++
			return nil
		}
		return p.unexpected("\",\" or \"]\"")
	}
}

func (p *jsonParser) number() (string, error) {
	j := p.i
	at := func() byte {
		if j < len(p.s) {
			return p.s[j]
		}
		return 0
	}
	bad := func() (string, error) { return "", p.fail("Token \"%s\" is invalid.", p.token()) }
	if at() == '-' {
		j++
	}
	switch {
	case at() == '0':
		j++
	case isDigit(at()):
		for isDigit(at()) {
			j++
		}
	default:
		return bad()
	}
	if at() == '.' {
		j++
		if !isDigit(at()) {
			return bad()
		}
		for isDigit(at()) {
			j++
		}
	}
	if at()|0x20 == 'e' {
		j++
		if at() == '+' || at() == '-' {
			j++
		}
		if !isDigit(at()) {
			return bad()
		}
		for isDigit(at()) {
			j++
		}
	}
	if c := at(); isAlpha(c) || isDigit(c) || c == '_' || c >= 0x80 || c == '.' {
		return bad()
	}
	s := string(p.s[p.i:j])
	p.i = j
	return s, nil
}

func (p *jsonParser) hex4(j int) (rune, bool) {
	if j+4 > len(p.s) {
		return 0, false
	}
	var r rune
	for _, c := range p.s[j : j+4] {
		h := unhex(c)
		if h < 0 {
			return 0, false
		}
		r = r<<4 | rune(h)
	}
	return r, true
}

func (p *jsonParser) string() (string, error) {
	start := p.i + 1
	j := start
	for j < len(p.s) && p.s[j] != '"' && p.s[j] != '\\' && p.s[j] >= 0x20 {
		j++
	}
	if j < len(p.s) && p.s[j] == '"' {
		s := string(p.s[start:j])
		p.i = j + 1
		return s, nil
	}
	buf := append([]byte(nil), p.s[start:j]...)
	for {
		if j >= len(p.s) {
			return "", p.fail("Token \"%s\" is invalid.", p.s[p.i:])
		}
		c := p.s[j]
		switch {
		case c == '"':
			p.i = j + 1
			return string(buf), nil
		case c < 0x20:
			return "", p.fail("Character with value 0x%02x must be escaped.", c)
		case c != '\\':
			buf = append(buf, c)
			j++
			continue
		}
		j++
		if j >= len(p.s) {
			return "", p.fail("Token \"%s\" is invalid.", p.s[p.i:])
		}
		switch e := p.s[j]; e {
		case '"', '\\', '/':
			buf = append(buf, e)
		case 'b':
			buf = append(buf, '\b')
		case 'f':
			buf = append(buf, '\f')
		case 'n':
			buf = append(buf, '\n')
		case 'r':
			buf = append(buf, '\r')
		case 't':
			buf = append(buf, '\t')
		case 'u':
			r, ok := p.hex4(j + 1)
			if !ok {
				return "", p.fail("\"\\u\" must be followed by four hexadecimal digits.")
			}
			j += 4
			if !p.build {
				// json keeps its text: only the form of the escape matters.
				break
			}
			if r == 0 {
				return "", pgerr.New(pgerr.UntranslatableCharacter, "unsupported Unicode escape sequence").
					WithDetail("\\u0000 cannot be converted to text.")
			}
			if utf16.IsSurrogate(r) {
				if r >= 0xdc00 {
					return "", p.fail("Unicode low surrogate must follow a high surrogate.")
				}
				lo := rune(0)
				if j+2 < len(p.s) && p.s[j+1] == '\\' && p.s[j+2] == 'u' {
					lo, _ = p.hex4(j + 3)
				}
				if lo < 0xdc00 || lo > 0xdfff {
					return "", p.fail("Unicode low surrogate must follow a high surrogate.")
				}
				j += 6
				r = utf16.DecodeRune(r, lo)
			}
			buf = utf8.AppendRune(buf, r)
		default:
			return "", p.fail("Escape sequence \"\\%s\" is invalid.", string(rune(e)))
		}
		j++
	}
}

func (p *jsonParser) whole() (*JSONValue, error) {
	v, err := p.value(0, "JSON value")
	if err != nil {
		return nil, err
	}
	p.space()
	if p.i < len(p.s) {
		return nil, p.unexpected("end of input")
	}
	return v, nil
}

// ValidateJSON checks that s is a JSON text.
func ValidateJSON(s []byte) error {
	p := jsonParser{s: s}
	_, err := p.whole()
	return err
}

// ParseJSON parses a JSON text; escapes in strings are resolved.
func ParseJSON(s []byte) (*JSONValue, error) {
	p := jsonParser{s: s, build: true}
	return p.whole()
}

// CanonicalJSONB is jsonb's text form of a JSON text: keys unique and sorted by length and bytes, numbers as numeric
// shows them. It is also how jsonb values are carried.
func CanonicalJSONB(s []byte) ([]byte, error) {
	v, err := ParseJSON(s)
	if err != nil {
		return nil, err
	}
	return AppendJSONB(make([]byte, 0, len(s)+8), v)
}

// AppendJSONB appends v in jsonb's text form.
func AppendJSONB(dst []byte, v *JSONValue) ([]byte, error) {
	switch v.Kind {
	case JSONNull:
		return append(dst, "null"...), nil
	case JSONBool:
		return strconv.AppendBool(dst, v.Bool), nil
	case JSONString:
		return AppendJSONString(dst, v.Text), nil
	case JSONNumber:
		d, err := ParseNumeric([]byte(v.Text))
		if err != nil {
			return nil, err
		}
		return AppendNumeric(dst, d), nil
	case JSONArray:
		dst = append(dst, '[')
		for i, e := range v.Elems {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			var err error
			if dst, err = AppendJSONB(dst, e); err != nil {
				return nil, err
			}
		}
		return append(dst, ']'), nil
	}
	dst = append(dst, '{')
	for i, f := range SortedFields(v) {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(AppendJSONString(dst, f.Key), ": "...)
		var err error
		if dst, err = AppendJSONB(dst, f.Value); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

// SortedFields returns an object's members as jsonb has them: the last of equal keys, by length, then bytes.
func SortedFields(v *JSONValue) []JSONField {
	fs := append([]JSONField(nil), v.Fields...)
	less := func(a, b string) bool {
		if len(a) != len(b) {
			return len(a) < len(b)
		}
		return a < b
	}
	sort.SliceStable(fs, func(i, j int) bool { return less(fs[i].Key, fs[j].Key) })
	out := fs[:0]
	for i, f := range fs {
		if i+1 < len(fs) && fs[i+1].Key == f.Key {
			continue
		}
		out = append(out, f)
	}
	return out
}

// AppendJSONString appends s quoted and escaped as a JSON string.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\b':
			dst = append(dst, '\\', 'b')
		case '\f':
			dst = append(dst, '\\', 'f')
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			if c < 0x20 {
				dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			} else {
				dst = append(dst, c)
			}
		}
	}
	return append(dst, '"')
}

// CompareJSONB orders two jsonb values as PostgreSQL does: object > array > boolean > number > string > null, larger
// containers after smaller ones (an empty top-level array before everything).
func CompareJSONB(a, b []byte) int {
	if bytes.Equal(a, b) {
		return 0
	}
	x, err1 := ParseJSON(a)
	y, err2 := ParseJSON(b)
	if err1 != nil || err2 != nil {
		return bytes.Compare(a, b)
	}
	return compareJSON(x, y)
}

func jsonRank(v *JSONValue) int {
	switch v.Kind {
	case JSONNull:
		return 0
	case JSONString:
		return 1
	case JSONNumber:
		return 2
	case JSONBool:
		return 3
	case JSONArray:
		return 4
	}
	return 5
}

func compareJSON(a, b *JSONValue) int {
	if a.Kind != b.Kind {
		// An empty array sorts below everything else, a quirk kept for compatibility.
		if a.Kind == JSONArray && len(a.Elems) == 0 {
			return -1
		}
		if b.Kind == JSONArray && len(b.Elems) == 0 {
			return 1
		}
		return jsonRank(a) - jsonRank(b)
	}
	switch a.Kind {
	case JSONString:
		return bytes.Compare([]byte(a.Text), []byte(b.Text))
	case JSONNumber:
		x, err1 := ParseNumeric([]byte(a.Text))
		y, err2 := ParseNumeric([]byte(b.Text))
		if err1 != nil || err2 != nil {
			return 0
		}
		return CompareNumeric(x, y)
	case JSONBool:
		switch {
		case a.Bool == b.Bool:
			return 0
		case b.Bool:
			return -1
		}
		return 1
	case JSONArray:
		if c := len(a.Elems) - len(b.Elems); c != 0 {
			return c
		}
		for i := range a.Elems {
			if c := compareJSON(a.Elems[i], b.Elems[i]); c != 0 {
				return c
			}
		}
	case JSONObject:
		if c := len(a.Fields) - len(b.Fields); c != 0 {
			return c
		}
		for i := range a.Fields {
			if c := bytes.Compare([]byte(a.Fields[i].Key), []byte(b.Fields[i].Key)); c != 0 {
				return c
			}
			if c := compareJSON(a.Fields[i].Value, b.Fields[i].Value); c != 0 {
				return c
			}
		}
	}
	return 0
}
