package types

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/pamirdb/pamir/sql/pgerr"
)

func parseChar(s []byte) byte {
	if len(s) == 4 && s[0] == '\\' && isOctal(s[1]) && isOctal(s[2]) && isOctal(s[3]) {
		return (s[1]-'0')<<6 | (s[2]-'0')<<3 | (s[3] - '0')
	}
	if len(s) == 0 {
		return 0
	}
	return s[0]
}

func isOctal(c byte) bool { return c >= '0' && c <= '7' }

const hexDigits = "0123456789abcdef"

func appendByteaHex(dst, b []byte) []byte {
	dst = append(dst, '\\', 'x')
	for _, c := range b {
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

func appendByteaEscape(dst, b []byte) []byte {
	for _, c := range b {
		switch {
		case c == '\\':
			dst = append(dst, '\\', '\\')
		case c < 0x20 || c > 0x7e:
			dst = append(dst, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// DecodeHex reads hex digits as PostgreSQL's decode(..., 'hex') and bytea input do: white space between pairs is skipped.
func DecodeHex(s []byte) ([]byte, error) {
	out := make([]byte, 0, len(s)/2)
	for i := 0; i < len(s); {
		if c := s[i]; c == ' ' || c == '\n' || c == '\t' || c == '\r' {
			i++
			continue
		}
		hi := unhex(s[i])
		if hi < 0 {
			return nil, badHexDigit(s[i:])
		}
		i++
		if i >= len(s) {
			return nil, pgerr.New(pgerr.InvalidParameterValue, "invalid hexadecimal data: odd number of digits")
		}
		lo := unhex(s[i])
		if lo < 0 {
			return nil, badHexDigit(s[i:])
		}
		i++
		out = append(out, byte(hi<<4|lo))
	}
	return out, nil
}

func badHexDigit(s []byte) error {
	_, n := utf8.DecodeRune(s)
	return pgerr.New(pgerr.InvalidParameterValue, "invalid hexadecimal digit: \"%s\"", s[:n])
}

func parseBytea(s []byte) ([]byte, error) {
	if len(s) >= 2 && s[0] == '\\' && s[1] == 'x' {
		return DecodeHex(s[2:])
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); {
		switch {
		case s[i] != '\\':
			out = append(out, s[i])
			i++
		case i+3 < len(s) && s[i+1] >= '0' && s[i+1] <= '3' && isOctal(s[i+2]) && isOctal(s[i+3]):
			out = append(out, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 4
		case i+1 < len(s) && s[i+1] == '\\':
			out = append(out, '\\')
			i += 2
		default:
			return nil, pgerr.New(pgerr.InvalidTextRepresentation, "invalid input syntax for type bytea")
		}
	}
	return out, nil
}

func appendUUID(dst, b []byte) []byte {
	for i, c := range b {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

// parseUUID takes braces around it and a hyphen after any group of four digits.
func parseUUID(s []byte) ([]byte, bool) {
	braces := len(s) > 0 && s[0] == '{'
	if braces {
		s = s[1:]
	}
	out := make([]byte, 16)
	for i := range out {
		if len(s) < 2 {
			return nil, false
		}
		hi, lo := unhex(s[0]), unhex(s[1])
		if hi < 0 || lo < 0 {
			return nil, false
		}
		out[i] = byte(hi<<4 | lo)
		s = s[2:]
		if i%2 == 1 && i < 15 && len(s) > 0 && s[0] == '-' {
			s = s[1:]
		}
	}
	if braces {
		if len(s) == 0 || s[0] != '}' {
			return nil, false
		}
		s = s[1:]
	}
	return out, len(s) == 0
}

func appendIntBinary(dst []byte, t OID, x int64) ([]byte, error) {
	switch Length(t) {
	case 8:
		return binary.BigEndian.AppendUint64(dst, uint64(x)), nil
	case 4:
		if t == VoidOID {
			return dst, nil
		}
		return binary.BigEndian.AppendUint32(dst, uint32(x)), nil
	case 2:
		return binary.BigEndian.AppendUint16(dst, uint16(x)), nil
	case 1:
		return append(dst, byte(x)), nil
	}
	return nil, unsupportedType(t)
}

func appendFloatBinary(dst []byte, t OID, f float64) []byte {
	if t == Float4OID {
		return binary.BigEndian.AppendUint32(dst, math.Float32bits(float32(f)))
	}
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(f))
}

func appendBytesBinary(dst []byte, t OID, b []byte) ([]byte, error) {
	if t == JSONBOID {
		dst = append(dst, 1)
	}
	return append(dst, b...), nil
}

func parseBinary(t Type, b []byte) (Datum, error) {
	switch ReprOf(t.OID) {
	case ReprInt:
		n := int(Length(t.OID))
		if t.OID == VoidOID {
			return Datum{}, nil
		}
		if len(b) != n {
			return Datum{}, badBinarySize(t.OID, len(b), n)
		}
		var x int64
		switch n {
		case 8:
			x = int64(binary.BigEndian.Uint64(b))
		case 4:
			x = int64(int32(binary.BigEndian.Uint32(b)))
			if t.OID != Int4OID && t.OID != DateOID {
				x = int64(uint32(x))
			}
		case 2:
			x = int64(int16(binary.BigEndian.Uint16(b)))
		case 1:
			x = int64(int8(b[0]))
			if t.OID == BoolOID && x != 0 {
				x = 1
			}
		}
		return checkBinaryInt(t.OID, x)
	case ReprFloat:
		switch {
		case t.OID == Float4OID && len(b) == 4:
			return Datum{F: float64(math.Float32frombits(binary.BigEndian.Uint32(b)))}, nil
		case t.OID == Float8OID && len(b) == 8:
			return Datum{F: math.Float64frombits(binary.BigEndian.Uint64(b))}, nil
		}
		return Datum{}, badBinarySize(t.OID, len(b), int(Length(t.OID)))
	case ReprBytes:
		switch t.OID {
		case ByteaOID:
			return Datum{B: nonNil(b)}, nil
		case UUIDOID:
			if len(b) != 16 {
				return Datum{}, badBinarySize(t.OID, len(b), 16)
			}
			return Datum{B: b}, nil
		case JSONBOID:
			if len(b) == 0 || b[0] != 1 {
				return Datum{}, pgerr.New(pgerr.InternalError, "unsupported jsonb version number")
			}
			b = b[1:]
		}
		return parseText(t, b, DefaultEnv)
	case ReprDecimal:
		d, err := parseNumericBinary(b)
		return Datum{A: d}, err
	case ReprInterval:
		iv, err := parseIntervalBinary(b)
		return Datum{A: iv}, err
	}
	return parseAnyBinary(t, b)
}

func badBinarySize(t OID, got, want int) error {
	if got < want {
		return pgerr.New(pgerr.ProtocolViolation, "insufficient data left in message")
	}
	return badBinary(t)
}
