package types

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/pamirdb/pamir/sql/pgerr"
)

func parseText(t Type, s []byte, env *TextEnv) (Datum, error) {
	if env == nil {
		env = DefaultEnv
	}
	switch t.OID {
	case Int4OID, Int8OID, Int2OID:
		return parseInt(t.OID, s)
	case TextOID, VarcharOID, BpcharOID, UnknownOID, CstringOID:
		if err := CheckText(s); err != nil {
			return Datum{}, err
		}
		return Datum{B: nonNil(s)}, nil
	case NameOID:
		if err := CheckText(s); err != nil {
			return Datum{}, err
		}
		return Datum{B: nonNil(ClipName(s))}, nil
	case NumericOID:
		d, err := ParseNumeric(s)
		return Datum{A: d}, err
	case Float8OID, Float4OID:
		return parseFloat(t.OID, s)
	case BoolOID:
		b, ok := ParseBool(s)
		if !ok {
			return Datum{}, badSyntax(t.OID, s)
		}
		return NewBool(b), nil
	case ByteaOID:
		b, err := parseBytea(s)
		return Datum{B: b}, err
	case UUIDOID:
		b, ok := parseUUID(s)
		if !ok {
			return Datum{}, badSyntax(t.OID, s)
		}
		return Datum{B: b}, nil
	case DateOID:
		x, err := ParseDate(s, env)
		return Datum{I: x}, err
	case TimeOID:
		x, err := ParseTime(s, env)
		return Datum{I: x}, err
	case TimestampOID:
		x, err := ParseTimestamp(s, env)
		return Datum{I: x}, err
	case TimestamptzOID:
		x, err := ParseTimestamptz(s, env)
		return Datum{I: x}, err
	case IntervalOID:
		iv, err := ParseInterval(s, t.Mod, env)
		return Datum{A: iv}, err
	case CharOID:
		return Datum{I: int64(int8(parseChar(s)))}, nil
	case JSONOID:
		if err := CheckText(s); err != nil {
			return Datum{}, err
		}
		if err := ValidateJSON(s); err != nil {
			return Datum{}, err
		}
		return Datum{B: nonNil(s)}, nil
	case JSONBOID:
		if err := CheckText(s); err != nil {
			return Datum{}, err
		}
		b, err := CanonicalJSONB(s)
		return Datum{B: b}, err
	case VoidOID:
		return Datum{}, nil
	case OidOID, XidOID, CidOID:
		return parseOID(t.OID, s)
	case Xid8OID:
		u, err := strconv.ParseUint(trimString(s), 10, 64)
		if err != nil {
			return Datum{}, badSyntax(t.OID, s)
		}
		return Datum{I: int64(u)}, nil
	case PgLsnOID:
		hi, lo, ok := strings.Cut(string(s), "/")
		a, err1 := strconv.ParseUint(hi, 16, 32)
		b, err2 := strconv.ParseUint(lo, 16, 32)
		if !ok || err1 != nil || err2 != nil {
			return Datum{}, badSyntax(t.OID, s)
		}
		return Datum{I: int64(a<<32 | b)}, nil
	case RegProcOID, RegprocedureOID, RegoperOID, RegoperatorOID, RegclassOID, RegtypeOID, RegroleOID, RegnamespaceOID,
		RegconfigOID, RegdictionaryOID, RegcollationOID:
		return parseReg(t.OID, s, env)
	case TimetzOID:
		x, err := parseTimetz(s, env)
		return Datum{A: x}, err
	}
	if ElemOf(t.OID) != 0 {
		if t.OID == Int2VectorOID || t.OID == OidVectorOID {
			a, err := parseVector(t.OID, s, env)
			return Datum{A: a}, err
		}
		a, err := ParseArray(t, s, env)
		return Datum{A: a}, err
	}
	if t.OID == RecordOID {
		return Datum{}, pgerr.New(pgerr.FeatureNotSupported, "input of anonymous composite types is not implemented")
	}
	if ReprOf(t.OID) == ReprBytes {
		if err := CheckText(s); err != nil {
			return Datum{}, err
		}
		return Datum{B: nonNil(s)}, nil
	}
	return Datum{}, unsupportedType(t.OID)
}

// CheckText refuses what PostgreSQL cannot keep in a text: invalid UTF-8 and zero bytes.
func CheckText(s []byte) error {
	ascii := true
	for _, c := range s {
		if c == 0 {
			return pgerr.New(pgerr.CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": 0x00")
		}
		if c >= 0x80 {
			ascii = false
		}
	}
	if ascii || utf8.Valid(s) {
		return nil
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRune(s[i:])
		if r == utf8.RuneError && n == 1 {
			return badUTF8(s[i:])
		}
		i += n
	}
	return nil
}

func badUTF8(s []byte) error {
	n := 1
	switch c := s[0]; {
	case c&0xe0 == 0xc0:
		n = 2
	case c&0xf0 == 0xe0:
		n = 3
	case c&0xf8 == 0xf0:
		n = 4
	}
	n = min(n, len(s))
	var b strings.Builder
	for i := 0; i < n; i++ {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("0x")
		b.WriteString(hex.EncodeToString(s[i : i+1]))
	}
	return pgerr.New(pgerr.CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": %s", b.String())
}

// ClipName cuts a name to NAMEDATALEN-1 bytes, at a character.
func ClipName(s []byte) []byte {
	if len(s) <= 63 {
		return s
	}
	n := 63
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func isSpace(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r'
}

func trimSpace(s []byte) []byte {
	for len(s) > 0 && isSpace(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// trimString is trimSpace as a string that shares s's memory: for parsing only.
func trimString(s []byte) string {
	s = trimSpace(s)
	return unsafe.String(unsafe.SliceData(s), len(s))
}

func parseInt(t OID, in []byte) (Datum, error) {
	s := trimSpace(in)
	neg := false
	if len(s) > 0 && (s[0] == '-' || s[0] == '+') {
		neg = s[0] == '-'
		s = s[1:]
	}
	if len(s) == 0 {
		return Datum{}, badSyntax(t, in)
	}
	// Accumulate negatively: the negative range is larger by one.
	var x int64
	over := false
	for _, c := range s {
		d := int64(c - '0')
		if c < '0' || c > '9' {
			return Datum{}, badSyntax(t, in)
		}
		if x < math.MinInt64/10 || x == math.MinInt64/10 && d > 8 {
			over = true
		}
		x = x*10 - d
	}
	if !neg {
		if x == math.MinInt64 {
			over = true
		}
		x = -x
	}
	switch t {
	case Int4OID:
		over = over || x != int64(int32(x))
	case Int2OID:
		over = over || x != int64(int16(x))
	}
	if over {
		return Datum{}, outOfRange(t, in)
	}
	return Datum{I: x}, nil
}

func parseOID(t OID, in []byte) (Datum, error) {
	s := trimString(in)
	if s == "" {
		return Datum{}, badSyntax(t, in)
	}
	x, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		if errors.Is(err, strconv.ErrRange) {
			return Datum{}, outOfRange(t, in)
		}
		return Datum{}, badSyntax(t, in)
	}
	if x > math.MaxUint32 || x < math.MinInt32 {
		return Datum{}, outOfRange(t, in)
	}
	return Datum{I: int64(uint32(x))}, nil
}

func parseReg(t OID, s []byte, env *TextEnv) (Datum, error) {
	if len(s) == 1 && s[0] == '-' {
		return Datum{}, nil
	}
	if len(s) > 0 && s[0] >= '0' && s[0] <= '9' {
		return parseOID(OidOID, s)
	}
	if env.RegIn == nil {
		return Datum{}, pgerr.Unsupported("input of type "+FormatType(Of(t))+" by name here", "")
	}
	o, err := env.RegIn(t, string(s))
	return Datum{I: int64(o)}, err
}

// ParseBool is PostgreSQL's bool input: unique prefixes of true, false, yes, no, on, off, and 1, 0.
func ParseBool(s []byte) (val, ok bool) {
	s = trimSpace(s)
	if len(s) == 0 || len(s) > 5 {
		return false, false
	}
	var buf [5]byte
	w := buf[:len(s)]
	for i, c := range s {
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		w[i] = c
	}
	is := func(full string, least int) bool {
		return len(w) >= least && len(w) <= len(full) && string(w) == full[:len(w)]
	}
	switch {
	case is("true", 1), is("yes", 1), is("on", 2), is("1", 1):
		return true, true
	case is("false", 1), is("no", 1), is("off", 2), is("0", 1):
		return false, true
	}
	return false, false
}

func parseFloat(t OID, in []byte) (Datum, error) {
	s := trimString(in)
	bits := 64
	if t == Float4OID {
		bits = 32
	}
	for i := 0; i < len(s); i++ {
		// What Go takes and C does not.
		if s[i] == '_' {
			return Datum{}, badSyntax(t, in)
		}
	}
	if n := strings.TrimLeft(s, "+-"); len(s)-len(n) <= 1 && len(n) > 1 && (n[0]|0x20) == '0' && (n[1]|0x20) == 'x' && !strings.ContainsAny(n, "pP") {
		s += "p0" // Go insists on the exponent of a hexadecimal float
	}
	f, err := strconv.ParseFloat(s, bits)
	if err != nil {
		if !errors.Is(err, strconv.ErrRange) {
			return Datum{}, badSyntax(t, in)
		}
		return Datum{}, floatRange(t, trimSpace(in))
	}
	if f == 0 && hasNonzeroDigit(s) {
		return Datum{}, floatRange(t, trimSpace(in))
	}
	return Datum{F: f}, nil
}

func floatRange(t OID, s []byte) error {
	return pgerr.New(pgerr.NumericValueOutOfRange, "\"%s\" is out of range for type %s", s, FormatType(Of(t)))
}

func hasNonzeroDigit(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == 'e' || c == 'E' {
			return false
		}
		if c >= '1' && c <= '9' {
			return true
		}
	}
	return false
}

func appendFloatText(dst []byte, t OID, f float64, env *TextEnv) []byte {
	return AppendFloat(dst, f, t == Float4OID, env.ExtraFloatDigits)
}

// AppendFloat is float8out (float4out if single).
func AppendFloat(dst []byte, f float64, single bool, extraDigits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	bits, digits, fixed := 64, 15, 15
	if single {
		bits, digits, fixed = 32, 6, 6
	}
	if extraDigits <= 0 {
		return strconv.AppendFloat(dst, f, 'g', max(1, digits+extraDigits), bits)
	}
	// Shortest digits; plain notation for exponents from -4 to below the type's sure digits.
	a := math.Abs(f)
	if a == 0 || a >= 1e-4 && a < 1e15 && !single || a >= 9.9999e-5 && a < 1e6 && single {
		n := len(dst)
		dst = strconv.AppendFloat(dst, f, 'e', -1, bits)
		if e := expOf(dst[n:]); e >= -4 && e < fixed {
			return strconv.AppendFloat(dst[:n], f, 'f', -1, bits)
		}
		return dst
	}
	n := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, bits)
	if e := expOf(dst[n:]); e >= -4 && e < fixed {
		return strconv.AppendFloat(dst[:n], f, 'f', -1, bits)
	}
	return dst
}

func expOf(s []byte) int {
	i := bytes.LastIndexByte(s, 'e')
	e, neg := 0, s[i+1] == '-'
	for _, c := range s[i+2:] {
		e = e*10 + int(c-'0')
	}
	if neg {
		return -e
	}
	return e
}
