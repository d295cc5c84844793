package types

import (
	"bytes"
	"math"

	"github.com/cockroachdb/apd/v3"
)

// Compare orders two values of a type that are not NULL, as its default btree operator class does: NaN
// after all other numbers, bpchar without its trailing spaces, text by bytes (the database's collation
// is C.UTF-8), false before true. Arrays and records compare element by element, NULLs last.
func Compare(t OID, a, b Datum) int {
	switch ReprOf(t) {
	case ReprInt:
		return compareInts(t, a.I, b.I)
	case ReprFloat:
		return CompareFloat(a.F, b.F)
	case ReprBytes:
		return compareBytes(t, a.B, b.B)
	case ReprDecimal:
		return CompareNumeric(a.A.(*apd.Decimal), b.A.(*apd.Decimal))
	case ReprInterval:
		return CompareInterval(a.A.(Interval), b.A.(Interval))
	default:
		return compareAny(t, a.A, b.A)
	}
}

// CompareNulls is Compare with NULLs, which are equal to each other and go last (first if nullsFirst).
func CompareNulls(t OID, a, b Datum, nullsFirst bool) int {
	if a.Null || b.Null {
		return nullOrder(a.Null, b.Null, nullsFirst)
	}
	return Compare(t, a, b)
}

func nullOrder(a, b, nullsFirst bool) int {
	switch {
	case a && b:
		return 0
	case a == nullsFirst:
		return -1
	}
	return 1
}

// CompareVec compares a[i] with b[j], which have the same type; NULLs as in CompareNulls.
func CompareVec(a *Vec, i int, b *Vec, j int, nullsFirst bool) int {
	if an, bn := a.IsNull(i), b.IsNull(j); an || bn {
		return nullOrder(an, bn, nullsFirst)
	}
	switch a.Repr {
	case ReprInt:
		return compareInts(a.Type.OID, a.Ints[i], b.Ints[j])
	case ReprFloat:
		return CompareFloat(a.Floats[i], b.Floats[j])
	case ReprBytes:
		return compareBytes(a.Type.OID, a.Bytes[i], b.Bytes[j])
	case ReprDecimal:
		return CompareNumeric(&a.Decimals[i], &b.Decimals[j])
	case ReprInterval:
		return CompareInterval(a.Intervals[i], b.Intervals[j])
	default:
		return compareAny(a.Type.OID, a.Anys[i], b.Anys[j])
	}
}

// EqualVec reports whether a[i] and b[j] are not distinct (NULL equals NULL).
func EqualVec(a *Vec, i int, b *Vec, j int) bool {
	if an, bn := a.IsNull(i), b.IsNull(j); an || bn {
		return an && bn
	}
	switch a.Repr {
	case ReprInt:
		return a.Ints[i] == b.Ints[j]
	case ReprFloat:
		return CompareFloat(a.Floats[i], b.Floats[j]) == 0
	case ReprBytes:
		if t := a.Type.OID; t == BpcharOID || t == JSONBOID {
			return compareBytes(t, a.Bytes[i], b.Bytes[j]) == 0
		}
		return bytes.Equal(a.Bytes[i], b.Bytes[j])
	}
	return CompareVec(a, i, b, j, false) == 0
}

func compareInts(t OID, a, b int64) int {
	if t == CharOID {
		a, b = int64(uint8(a)), int64(uint8(b))
	} else if t == Xid8OID || t == PgLsnOID {
		a, b = a^math.MinInt64, b^math.MinInt64
	}
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// CompareFloat orders floats with NaN equal to itself and above all others.
func CompareFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return 0
	case a != a && b != b:
		return 0
	case a != a:
		return 1
	}
	return -1
}

// TrimBpchar takes the padding off.
func TrimBpchar(b []byte) []byte {
	n := len(b)
	for n > 0 && b[n-1] == ' ' {
		n--
	}
	return b[:n]
}

func compareBytes(t OID, a, b []byte) int {
	switch t {
	case BpcharOID:
		return bytes.Compare(TrimBpchar(a), TrimBpchar(b))
	case JSONBOID:
		return CompareJSONB(a, b)
	}
	return bytes.Compare(a, b)
}

func compareAny(t OID, a, b any) int {
	switch x := a.(type) {
	case *Array:
		return CompareArrays(x, b.(*Array))
	case *Record:
		return compareRecords(x, b.(*Record))
	case TimeTZ:
		return x.compare(b.(TimeTZ))
	}
	return 0
}

// CompareArrays orders arrays: elements first, then length, dimensions and bounds.
func CompareArrays(a, b *Array) int {
	n := min(len(a.Elems), len(b.Elems))
	for i := 0; i < n; i++ {
		if c := CompareNulls(a.Elem, a.Elems[i], b.Elems[i], false); c != 0 {
			return c
		}
	}
	if c := len(a.Elems) - len(b.Elems); c != 0 {
		return c
	}
	if c := len(a.Dims) - len(b.Dims); c != 0 {
		return c
	}
	for i := range a.Dims {
		if c := a.Dims[i].Len - b.Dims[i].Len; c != 0 {
			return int(c)
		}
	}
	for i := range a.Dims {
		if c := a.Dims[i].Lower - b.Dims[i].Lower; c != 0 {
			return int(c)
		}
	}
	return 0
}

func compareRecords(a, b *Record) int {
	n := min(len(a.Fields), len(b.Fields))
	for i := 0; i < n; i++ {
		if c := CompareNulls(a.Types[i].OID, a.Fields[i], b.Fields[i], false); c != 0 {
			return c
		}
	}
	return len(a.Fields) - len(b.Fields)
}
