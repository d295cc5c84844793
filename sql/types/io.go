package types

import (
	"strconv"
	"time"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// TextEnv is what text forms depend on: a session's settings. It is read-only while in use.
type TextEnv struct {
	DateStyle     byte // 'I' ISO, 'S' SQL, 'P' Postgres, 'G' German
	DateOrder     byte // 'M' MDY, 'D' DMY, 'Y' YMD
	IntervalStyle byte // 'p' postgres, 'v' postgres_verbose, 's' sql_standard, 'i' iso_8601
	// Location is the session's TimeZone; nil means UTC.
	Location *time.Location
	// ExtraFloatDigits > 0 means the shortest form that reads back (PostgreSQL's default is 1).
	ExtraFloatDigits int
	ByteaEscape      bool
	// Now is µs since 2000-01-01 UTC, for the inputs 'now', 'today' and their like.
	Now int64
	// RegOut names an object of a reg* type, RegIn finds one; nil means numbers only.
	RegOut func(t OID, oid uint32) (string, bool)
	RegIn  func(t OID, name string) (uint32, error)
}

// DefaultEnv has PostgreSQL's defaults, with UTC.
var DefaultEnv = &TextEnv{DateStyle: 'I', DateOrder: 'M', IntervalStyle: 'p', Location: time.UTC, ExtraFloatDigits: 1}

func (env *TextEnv) loc() *time.Location {
	if env.Location == nil {
		return time.UTC
	}
	return env.Location
}

// AppendText appends the text form of v[i], which is not NULL.
func AppendText(dst []byte, t Type, v *Vec, i int, env *TextEnv) []byte {
	switch v.Repr {
	case ReprInt:
		return appendIntText(dst, t, v.Ints[i], env)
	case ReprFloat:
		return appendFloatText(dst, t.OID, v.Floats[i], env)
	case ReprBytes:
		return appendBytesText(dst, t, v.Bytes[i], env)
	case ReprDecimal:
		return AppendNumeric(dst, &v.Decimals[i])
	case ReprInterval:
		return AppendInterval(dst, v.Intervals[i], env.IntervalStyle)
	default:
		return appendAnyText(dst, t, v.Anys[i], env)
	}
}

// AppendDatumText appends the text form of d, which is not NULL.
func AppendDatumText(dst []byte, t Type, d Datum, env *TextEnv) []byte {
	switch ReprOf(t.OID) {
	case ReprInt:
		return appendIntText(dst, t, d.I, env)
	case ReprFloat:
		return appendFloatText(dst, t.OID, d.F, env)
	case ReprBytes:
		return appendBytesText(dst, t, d.B, env)
	case ReprDecimal:
		return AppendNumeric(dst, d.A.(*apd.Decimal))
	case ReprInterval:
		return AppendInterval(dst, d.A.(Interval), env.IntervalStyle)
	default:
		return appendAnyText(dst, t, d.A, env)
	}
}

// Text is AppendDatumText into a string, "NULL" for NULL.
func Text(t Type, d Datum, env *TextEnv) string {
	if d.Null {
		return "NULL"
	}
	return string(AppendDatumText(nil, t, d, env))
}

// AppendBinary appends the binary form of v[i], which is not NULL, without a length.
func AppendBinary(dst []byte, t Type, v *Vec, i int) ([]byte, error) {
	switch v.Repr {
	case ReprInt:
		return appendIntBinary(dst, t.OID, v.Ints[i])
	case ReprFloat:
		return appendFloatBinary(dst, t.OID, v.Floats[i]), nil
	case ReprBytes:
		return appendBytesBinary(dst, t.OID, v.Bytes[i])
	case ReprDecimal:
		return appendNumericBinary(dst, &v.Decimals[i]), nil
	case ReprInterval:
		return appendIntervalBinary(dst, v.Intervals[i]), nil
	default:
		return appendAnyBinary(dst, t, v.Anys[i])
	}
}

// AppendDatumBinary appends the binary form of d, which is not NULL, without a length.
func AppendDatumBinary(dst []byte, t Type, d Datum) ([]byte, error) {
	switch ReprOf(t.OID) {
	case ReprInt:
		return appendIntBinary(dst, t.OID, d.I)
	case ReprFloat:
		return appendFloatBinary(dst, t.OID, d.F), nil
	case ReprBytes:
		return appendBytesBinary(dst, t.OID, d.B)
	case ReprDecimal:
		return appendNumericBinary(dst, d.A.(*apd.Decimal)), nil
	case ReprInterval:
		return appendIntervalBinary(dst, d.A.(Interval)), nil
	default:
		return appendAnyBinary(dst, t, d.A)
	}
}

// ParseText reads a value's text form. A modifier in t is applied as for an assignment
// from an unknown literal (varchar(3) 'abcd' fails with 22001). The result does not alias s, except
// for text, varchar, name, json and unknown, whose bytes it may share.
// Errors are *pgerr.Error with PostgreSQL's SQLSTATE and message.
func ParseText(t Type, s []byte, env *TextEnv) (Datum, error) {
	d, err := parseText(t, s, env)
	if err != nil || t.Mod < 0 {
		return d, err
	}
	return ApplyMod(t, d, false)
}

// ParseBinary reads a value's binary form. Text types alias b.
func ParseBinary(t Type, b []byte) (Datum, error) {
	d, err := parseBinary(t, b)
	if err != nil || t.Mod < 0 {
		return d, err
	}
	return ApplyMod(t, d, false)
}

func unsupportedType(t OID) error {
	return pgerr.Unsupported("type "+FormatType(Of(t)), "")
}

func badSyntax(t OID, s []byte) error {
	return pgerr.New(pgerr.InvalidTextRepresentation, "invalid input syntax for type %s: \"%s\"", FormatType(Of(t)), s)
}

func badBinary(t OID) error {
	return pgerr.New(pgerr.InvalidBinaryRepresentation, "incorrect binary data format for type %s", FormatType(Of(t)))
}

func outOfRange(t OID, s []byte) error {
	return pgerr.New(pgerr.NumericValueOutOfRange, "value \"%s\" is out of range for type %s", s, FormatType(Of(t)))
}

func appendIntText(dst []byte, t Type, x int64, env *TextEnv) []byte {
	switch t.OID {
	case Int4OID, Int8OID, Int2OID:
		return strconv.AppendInt(dst, x, 10)
	case BoolOID:
		if x != 0 {
			return append(dst, 't')
		}
		return append(dst, 'f')
	case CharOID:
		return appendChar(dst, byte(x))
	case DateOID:
		return AppendDate(dst, x, env)
	case TimeOID:
		return AppendTime(dst, x)
	case TimestampOID:
		return AppendTimestamp(dst, x, env)
	case TimestamptzOID:
		return AppendTimestamptz(dst, x, env)
	case VoidOID:
		return dst
	case PgLsnOID:
		dst = appendUpperHex(dst, uint64(x)>>32)
		dst = append(dst, '/')
		return appendUpperHex(dst, uint64(x)&0xffffffff)
	case OidOID, XidOID, CidOID:
		return strconv.AppendUint(dst, uint64(uint32(x)), 10)
	case Xid8OID:
		return strconv.AppendUint(dst, uint64(x), 10)
	}
	if env.RegOut != nil {
		if s, ok := env.RegOut(t.OID, uint32(x)); ok {
			return append(dst, s...)
		}
	}
	if x == 0 {
		return append(dst, '-')
	}
	if t.OID == RegtypeOID && rowOf(OID(x)) != nil {
		return append(dst, FormatType(Of(OID(x)))...)
	}
	return strconv.AppendUint(dst, uint64(uint32(x)), 10)
}

func appendUpperHex(dst []byte, x uint64) []byte {
	n := len(dst)
	dst = strconv.AppendUint(dst, x, 16)
	for i := n; i < len(dst); i++ {
		if dst[i] >= 'a' {
			dst[i] -= 'a' - 'A'
		}
	}
	return dst
}

// appendChar is charout: "char" beyond ASCII shows as \ooo.
func appendChar(dst []byte, c byte) []byte {
	switch {
	case c == 0:
		return dst
	case c < 0x80:
		return append(dst, c)
	}
	return append(dst, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
}

func appendBytesText(dst []byte, t Type, b []byte, env *TextEnv) []byte {
	switch t.OID {
	case ByteaOID:
		if env.ByteaEscape {
			return appendByteaEscape(dst, b)
		}
		return appendByteaHex(dst, b)
	case UUIDOID:
		return appendUUID(dst, b)
	}
	return append(dst, b...)
}
