package rowenc

import (
	"bytes"
	"math"

	"github.com/cockroachdb/apd/v3"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

const (
	markerNullFirst = 0x00
	markerValue     = 0x01
	markerNullLast  = 0x02
)

// MaxKeyLen bounds an encoded key; larger index entries are refused with 54000.
const MaxKeyLen = 16 << 10

// AppendOrdered appends the ordered form of a value that is not NULL.
func AppendOrdered(dst []byte, t types.OID, d types.Datum, desc bool) ([]byte, error) {
	return appendOrdered(dst, kindOf(t), t, d, desc)
}

func appendOrdered(dst []byte, k kind, t types.OID, d types.Datum, desc bool) ([]byte, error) {
	from := len(dst)
	switch k {
	case kindInt, kindFixed:
		dst = keys.AppendVarint(dst, d.I)
	case kindFloat8, kindFloat4:
		dst = keys.AppendFloat64(dst, d.F)
	case kindBytes:
		dst = appendEscaped(dst, d.B)
	case kindBpchar:
		dst = appendEscaped(dst, trimBlanks(d.B))
	case kindUUID:
		if len(d.B) != 16 {
			return nil, pgerr.New(pgerr.InternalError, "uuid of %d bytes", len(d.B))
		}
		dst = append(dst, d.B...)
	case kindNum:
		n, ok := d.A.(*apd.Decimal)
		if !ok {
			return nil, pgerr.New(pgerr.InternalError, "numeric carried as %T", d.A)
		}
		dst = appendNumericKey(dst, n)
	case kindIntvl:
		iv, ok := d.A.(types.Interval)
		if !ok {
			return nil, pgerr.New(pgerr.InternalError, "interval carried as %T", d.A)
		}
		dst = appendIntervalKey(dst, iv)
	default:
		a, ok := d.A.(*types.Array)
		if !ok {
			return nil, errNoForm(t)
		}
		var err error
		if dst, err = appendArrayKey(dst, a); err != nil {
			return nil, err
		}
	}
	if desc {
		keys.Invert(dst, from)
	}
	if len(dst) > MaxKeyLen {
		return nil, pgerr.New(pgerr.ProgramLimitExceeded, "index row size %d exceeds maximum %d", len(dst), MaxKeyLen).
			WithHint("Values larger than this cannot be indexed. Consider an index on a hash of the value.")
	}
	return dst, nil
}

func appendEscaped(dst, v []byte) []byte {
	for {
		i := bytes.IndexByte(v, 0)
		if i < 0 {
			dst = append(dst, v...)
			return append(dst, 0, 1)
		}
		dst = append(dst, v[:i]...)
		dst = append(dst, 0, 0xff)
		v = v[i+1:]
	}
}

func trimBlanks(b []byte) []byte {
	n := len(b)
	for n > 0 && b[n-1] == ' ' {
		n--
	}
	return b[:n]
}

func appendIntervalKey(dst []byte, iv types.Interval) []byte {
	// 128 bits: the days alone exceed 64 bits of microseconds.
	const dayMicros = 86400 * 1e6
	days := int64(iv.Months)*30 + int64(iv.Days) + iv.Micros/dayMicros
	rest := iv.Micros % dayMicros
	if rest < 0 {
		rest += dayMicros
		days--
	}
	dst = keys.AppendInt64(dst, days)
	return keys.AppendInt64(dst, rest)
}

func appendArrayKey(dst []byte, a *types.Array) ([]byte, error) {
	k := kindOf(a.Elem)
	var err error
	dst = keys.AppendUvarint(dst, uint64(a.Elem)) // the same for all values of a column
	for i := range a.Elems {
		if a.Elems[i].Null {
			dst = append(dst, 2)
			continue
		}
		dst = append(dst, 1)
		if dst, err = appendOrdered(dst, k, a.Elem, a.Elems[i], false); err != nil {
			return nil, err
		}
	}
	dst = append(dst, 0)
	// PostgreSQL breaks ties by the number of dimensions, then by lengths, then by lower bounds.
	dst = keys.AppendUvarint(dst, uint64(len(a.Dims)))
	for _, d := range a.Dims {
		dst = keys.AppendVarint(dst, int64(d.Len))
	}
	for _, d := range a.Dims {
		dst = keys.AppendVarint(dst, int64(d.Lower))
	}
	return dst, nil
}

// skipOrdered returns what follows an ordered value that was written ascending.
func skipOrdered(b []byte, k kind) ([]byte, error) {
	fixed := func(n int) ([]byte, error) {
		if len(b) < n {
			return nil, ErrCorrupt
		}
		return b[n:], nil
	}
	switch k {
	case kindInt, kindFixed:
		if len(b) == 0 {
			return nil, ErrCorrupt
		}
		return fixed(keys.VarintLen(b[0]))
	case kindFloat8, kindFloat4:
		return fixed(8)
	case kindBytes, kindBpchar:
		return skipEscaped(b)
	case kindUUID, kindIntvl:
		return fixed(16)
	case kindNum:
		return skipNumericKey(b)
	}
	return skipArrayKey(b)
}

func skipEscaped(b []byte) ([]byte, error) {
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 || i+1 >= len(b) {
			return nil, ErrCorrupt
		}
		switch b[i+1] {
		case 1:
			return b[i+2:], nil
		case 0xff:
			b = b[i+2:]
		default:
			return nil, ErrCorrupt
		}
	}
}

func skipArrayKey(b []byte) ([]byte, error) {
	elem, b, err := keys.DecodeUvarint(b)
	if err != nil || elem > math.MaxUint32 {
		return nil, ErrCorrupt
	}
	k := kindOf(types.OID(elem))
	if k == kindAny {
		return nil, ErrCorrupt // no arrays of arrays
	}
	for {
		if len(b) == 0 {
			return nil, ErrCorrupt
		}
		mark := b[0]
		b = b[1:]
		if mark == 0 {
			break
		}
		if mark == 2 {
			continue
		}
		if mark != 1 {
			return nil, ErrCorrupt
		}
		if b, err = skipOrdered(b, k); err != nil {
			return nil, err
		}
	}
	dims, b, err := keys.DecodeUvarint(b)
	if err != nil || dims > 6 {
		return nil, ErrCorrupt
	}
	for range 2 * dims {
		if _, b, err = keys.DecodeVarint(b); err != nil {
			return nil, ErrCorrupt
		}
	}
	return b, nil
}

// decodeOrderedInto appends the value of an ascending, lossless ordered form to v and returns the rest.
func decodeOrderedInto(b []byte, k kind, v *types.Vec, a *arena) ([]byte, error) {
	switch k {
	case kindInt, kindFixed:
		x, rest, err := keys.DecodeVarint(b)
		if err != nil {
			return nil, ErrCorrupt
		}
		appendInt(v, x)
		return rest, nil
	case kindBytes:
		rest, err := skipEscaped(b)
		if err != nil {
			return nil, err
		}
		raw := b[:len(b)-len(rest)-2]
		if bytes.IndexByte(raw, 0) < 0 {
			appendBytesVec(v, a.copy(raw))
			return rest, nil
		}
		val, _, err := keys.DecodeBytes(b)
		if err != nil {
			return nil, ErrCorrupt
		}
		appendBytesVec(v, val)
		return rest, nil
	case kindUUID:
		if len(b) < 16 {
			return nil, ErrCorrupt
		}
		appendBytesVec(v, a.copy(b[:16]))
		return b[16:], nil
	}
	return nil, ErrCorrupt
}
