package rowenc

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/cockroachdb/apd/v3"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

const tupleVersion = 1

// Tags of kindAny.
const (
	tagArray  = 1 // element type, dimensions, elements
	tagTimeTZ = 2 // varint microseconds, varint zone
)

// AppendValue appends the stored form of a value that is not NULL (catalog.Column.Missing holds one).
func AppendValue(dst []byte, t types.OID, d types.Datum) ([]byte, error) {
	return appendValue(dst, kindOf(t), t, d)
}

// DecodeValue reads what AppendValue wrote.
func DecodeValue(b []byte, t types.Type) (types.Datum, error) {
	v := types.NewVec(t, 1)
	rest, err := decodeValueInto(b, kindOf(t.OID), v, &arena{})
	if err != nil {
		return types.Datum{}, err
	}
	if len(rest) != 0 {
		return types.Datum{}, ErrCorrupt
	}
	return v.Get(0), nil
}

func appendValue(dst []byte, k kind, t types.OID, d types.Datum) ([]byte, error) {
	switch k {
	case kindInt:
		return binary.AppendVarint(dst, d.I), nil
	case kindFixed:
		return binary.LittleEndian.AppendUint64(dst, uint64(d.I)), nil
	case kindFloat8:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(d.F)), nil
	case kindFloat4:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(d.F))), nil
	case kindBytes:
		return append(binary.AppendUvarint(dst, uint64(len(d.B))), d.B...), nil
	case kindBpchar:
		trimmed := trimBlanks(d.B)
		dst = binary.AppendUvarint(dst, uint64(len(d.B)-len(trimmed)))
		return append(binary.AppendUvarint(dst, uint64(len(trimmed))), trimmed...), nil
	case kindUUID:
		if len(d.B) != 16 {
			return nil, pgerr.New(pgerr.InternalError, "uuid of %d bytes", len(d.B))
		}
		return append(dst, d.B...), nil
	case kindNum:
		n, ok := d.A.(*apd.Decimal)
		if !ok {
			return nil, pgerr.New(pgerr.InternalError, "numeric carried as %T", d.A)
		}
		return sized(dst, func(b []byte) ([]byte, error) { return appendNumeric(b, n), nil })
	case kindIntvl:
		iv, ok := d.A.(types.Interval)
		if !ok {
			return nil, pgerr.New(pgerr.InternalError, "interval carried as %T", d.A)
		}
		dst = binary.AppendVarint(dst, int64(iv.Months))
		dst = binary.AppendVarint(dst, int64(iv.Days))
		return binary.AppendVarint(dst, iv.Micros), nil
	}
	switch a := d.A.(type) {
	case *types.Array:
		return sized(dst, func(b []byte) ([]byte, error) { return appendArray(append(b, tagArray), a) })
	case types.TimeTZ:
		return sized(dst, func(b []byte) ([]byte, error) {
			return binary.AppendVarint(binary.AppendVarint(append(b, tagTimeTZ), a.Micros), int64(a.Zone)), nil
		})
	}
	return nil, errNoForm(t)
}

// sized appends what f appends with its length in front. The length is nearly always one byte.
func sized(dst []byte, f func([]byte) ([]byte, error)) ([]byte, error) {
	from := len(dst)
	dst, err := f(append(dst, 0))
	if err != nil {
		return nil, err
	}
	n := len(dst) - from - 1
	if n < 0x80 {
		dst[from] = byte(n)
		return dst, nil
	}
	var head [binary.MaxVarintLen64]byte
	w := binary.PutUvarint(head[:], uint64(n))
	return slices.Insert(append(dst[:from], dst[from+1:]...), from, head[:w]...), nil
}

func appendArray(dst []byte, a *types.Array) ([]byte, error) {
	dst = binary.AppendUvarint(dst, uint64(a.Elem))
	dst = binary.AppendUvarint(dst, uint64(len(a.Dims)))
	for _, d := range a.Dims {
		dst = binary.AppendVarint(dst, int64(d.Len))
		dst = binary.AppendVarint(dst, int64(d.Lower))
	}
	k := kindOf(a.Elem)
	var err error
	for i := range a.Elems {
		if a.Elems[i].Null {
			dst = append(dst, 0)
			continue
		}
		if dst, err = appendValue(append(dst, 1), k, a.Elem, a.Elems[i]); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func decodeArray(b []byte) (*types.Array, error) {
	uv := func() uint64 {
		v, w := binary.Uvarint(b)
		if w <= 0 {
			b = nil
			return math.MaxUint64
		}
		b = b[w:]
		return v
	}
	elem, nd := uv(), uv()
	if elem > math.MaxUint32 || nd > 6 {
		return nil, ErrCorrupt
	}
	a := &types.Array{Elem: types.OID(elem)}
	n := int64(1)
	for range nd {
		l, w := binary.Varint(b)
		if w <= 0 || l <= 0 || l > int64(len(b)) {
			return nil, ErrCorrupt
		}
		lo, w2 := binary.Varint(b[w:])
		if w2 <= 0 || lo < math.MinInt32 || lo > math.MaxInt32 {
			return nil, ErrCorrupt
		}
		b = b[w+w2:]
		a.Dims = append(a.Dims, types.ArrayDim{Len: int32(l), Lower: int32(lo)})
		if n *= l; n > int64(len(b)) { // every element takes a byte at least
			return nil, ErrCorrupt
		}
	}
	if nd == 0 {
		return a, lengthIs(b, 0)
	}
	v := types.NewVec(types.Of(a.Elem), int(n))
	k := kindOf(a.Elem)
	if types.ElemOf(a.Elem) != 0 { // arrays have no array elements: no recursion
		return nil, ErrCorrupt
	}
	ar := &arena{}
	for range n {
		if len(b) == 0 || b[0] > 1 {
			return nil, ErrCorrupt
		}
		mark := b[0]
		b = b[1:]
		if mark == 0 {
			appendNull(v)
			continue
		}
		var err error
		if b, err = decodeValueInto(b, k, v, ar); err != nil {
			return nil, err
		}
	}
	if len(b) != 0 {
		return nil, ErrCorrupt
	}
	a.Elems = make([]types.Datum, n)
	for i := range a.Elems {
		a.Elems[i] = v.Get(i)
	}
	return a, nil
}

// skipValue returns what follows a value.
func skipValue(b []byte, k kind) ([]byte, error) {
	n := 0
	switch k {
	case kindInt:
		for i, c := range b {
			if c < 0x80 {
				return b[i+1:], nil
			}
		}
		return nil, ErrCorrupt
	case kindFixed, kindFloat8:
		n = 8
	case kindFloat4:
		n = 4
	case kindUUID:
		n = 16
	case kindIntvl:
		var err error
		for range 3 {
			if b, err = skipValue(b, kindInt); err != nil {
				return nil, err
			}
		}
		return b, nil
	case kindBpchar:
		var err error
		if b, err = skipValue(b, kindInt); err != nil {
			return nil, err
		}
		fallthrough
	default:
		l, w := binary.Uvarint(b)
		if w <= 0 || l > uint64(len(b)-w) {
			return nil, ErrCorrupt
		}
		n = w + int(l)
	}
	if len(b) < n {
		return nil, ErrCorrupt
	}
	return b[n:], nil
}

// maxPad bounds the blanks of a char(n): PostgreSQL's n is at most 10485760.
const maxPad = 10485760

// decodeValueInto appends the value at the front of b to v and returns the rest.
func decodeValueInto(b []byte, k kind, v *types.Vec, ar *arena) ([]byte, error) {
	switch k {
	case kindInt:
		if len(b) > 0 && b[0] < 0x80 {
			u := b[0]
			appendInt(v, int64(u>>1)^-int64(u&1))
			return b[1:], nil
		}
		x, w := binary.Varint(b)
		if w <= 0 {
			return nil, ErrCorrupt
		}
		appendInt(v, x)
		return b[w:], nil
	case kindFixed:
		if len(b) < 8 {
			return nil, ErrCorrupt
		}
		appendInt(v, int64(binary.LittleEndian.Uint64(b)))
		return b[8:], nil
	case kindFloat8:
		if len(b) < 8 {
			return nil, ErrCorrupt
		}
		appendFloat(v, math.Float64frombits(binary.LittleEndian.Uint64(b)))
		return b[8:], nil
	case kindFloat4:
		if len(b) < 4 {
			return nil, ErrCorrupt
		}
		appendFloat(v, float64(math.Float32frombits(binary.LittleEndian.Uint32(b))))
		return b[4:], nil
	case kindUUID:
		if len(b) < 16 {
			return nil, ErrCorrupt
		}
		appendBytesVec(v, ar.copy(b[:16]))
		return b[16:], nil
	case kindIntvl:
		return decodeInterval(b, v)
	}
	pad := uint64(0)
	if k == kindBpchar {
		p, w := binary.Uvarint(b)
		if w <= 0 || p > maxPad {
			return nil, ErrCorrupt
		}
		pad, b = p, b[w:]
	}
	l, w := binary.Uvarint(b)
	if w <= 0 || l > uint64(len(b)-w) {
		return nil, ErrCorrupt
	}
	body, rest := b[w:w+int(l):w+int(l)], b[w+int(l):]
	switch k {
	case kindBytes:
		appendBytesVec(v, ar.copy(body))
	case kindBpchar:
		appendBytesVec(v, ar.padded(body, int(pad)))
	case kindNum:
		v.Decimals = append(v.Decimals, apd.Decimal{})
		if err := decodeNumeric(body, &v.Decimals[len(v.Decimals)-1]); err != nil {
			return nil, err
		}
		notNull(v)
	case kindAny:
		a, err := decodeAny(body)
		if err != nil {
			return nil, err
		}
		v.Anys = append(v.Anys, a)
		notNull(v)
	default:
		return nil, ErrCorrupt
	}
	return rest, nil
}

func decodeAny(b []byte) (any, error) {
	if len(b) == 0 {
		return nil, ErrCorrupt
	}
	switch b[0] {
	case tagArray:
		return decodeArray(slices.Clone(b[1:])) // the elements keep what they alias
	case tagTimeTZ:
		micros, w := binary.Varint(b[1:])
		if w <= 0 {
			return nil, ErrCorrupt
		}
		zone, w2 := binary.Varint(b[1+w:])
		if w2 <= 0 || 1+w+w2 != len(b) || int64(int32(zone)) != zone {
			return nil, ErrCorrupt
		}
		return types.TimeTZ{Micros: micros, Zone: int32(zone)}, nil
	}
	return nil, ErrCorrupt
}

func decodeInterval(b []byte, v *types.Vec) ([]byte, error) {
	var part [3]int64
	for i := range part {
		x, w := binary.Varint(b)
		if w <= 0 {
			return nil, ErrCorrupt
		}
		part[i], b = x, b[w:]
	}
	if int64(int32(part[0])) != part[0] || int64(int32(part[1])) != part[1] {
		return nil, ErrCorrupt
	}
	v.Intervals = append(v.Intervals, types.Interval{Months: int32(part[0]), Days: int32(part[1]), Micros: part[2]})
	notNull(v)
	return b, nil
}
