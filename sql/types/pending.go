package types

import "github.com/cockroachdb/apd/v3"

type TimeTZ struct {
	Micros int64
	Zone   int32
}

func (a TimeTZ) compare(b TimeTZ) int                              { return 0 }
func (iv Interval) span() (int64, uint64)                          { return 0, 0 }
func CompareJSONB(a, b []byte) int                                 { return 0 }
func CompareNumeric(a, b *apd.Decimal) int                         { return a.Cmp(b) }
func CompareInterval(a, b Interval) int                            { return 0 }
func AppendNumeric(dst []byte, d *apd.Decimal) []byte              { return d.Append(dst, 'f') }
func AppendInterval(dst []byte, iv Interval, style byte) []byte    { return dst }
func AppendDate(dst []byte, days int64, env *TextEnv) []byte       { return dst }
func AppendTime(dst []byte, us int64) []byte                       { return dst }
func AppendTimestamp(dst []byte, us int64, env *TextEnv) []byte    { return dst }
func AppendTimestamptz(dst []byte, us int64, env *TextEnv) []byte  { return dst }
func appendAnyText(dst []byte, t Type, a any, env *TextEnv) []byte { return dst }
func appendAnyBinary(dst []byte, t Type, a any) ([]byte, error)    { return dst, unsupportedType(t.OID) }
func parseAnyBinary(t Type, b []byte) (Datum, error)               { return Datum{}, unsupportedType(t.OID) }
func appendNumericBinary(dst []byte, d *apd.Decimal) []byte        { return dst }
func parseNumericBinary(b []byte) (*apd.Decimal, error)            { return nil, unsupportedType(0) }
func appendIntervalBinary(dst []byte, iv Interval) []byte          { return dst }
func parseIntervalBinary(b []byte) (Interval, error)               { return Interval{}, unsupportedType(0) }
func intervalModText(mod int32) string                             { return "" }
func checkBinaryInt(t OID, x int64) (Datum, error)                 { return Datum{I: x}, nil }

// ApplyMod coerces a value to its type's modifier; explicit casts truncate where others fail.
func ApplyMod(t Type, d Datum, explicit bool) (Datum, error) { return d, nil }

func ParseNumeric(s []byte) (*apd.Decimal, error) {
	d, _, err := apd.NewFromString(string(s))
	return d, err
}
func ParseDate(s []byte, env *TextEnv) (int64, error)                   { return 0, unsupportedType(DateOID) }
func ParseTime(s []byte, env *TextEnv) (int64, error)                   { return 0, unsupportedType(DateOID) }
func ParseTimestamp(s []byte, env *TextEnv) (int64, error)              { return 0, unsupportedType(DateOID) }
func ParseTimestamptz(s []byte, env *TextEnv) (int64, error)            { return 0, unsupportedType(DateOID) }
func parseTimetz(s []byte, env *TextEnv) (TimeTZ, error)                { return TimeTZ{}, nil }
func ParseInterval(s []byte, mod int32, env *TextEnv) (Interval, error) { return Interval{}, nil }
func ValidateJSON(s []byte) error                                       { return nil }
func CanonicalJSONB(s []byte) ([]byte, error)                           { return s, nil }
func ParseArray(t Type, s []byte, env *TextEnv) (*Array, error)         { return nil, unsupportedType(t.OID) }
func parseVector(t OID, s []byte, env *TextEnv) (*Array, error)         { return nil, unsupportedType(t) }
