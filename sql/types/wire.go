package types

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/cockroachdb/apd/v3"
)

// ErrWire is a wire form that cannot be read.
var ErrWire = errors.New("types: corrupt wire form")

// AppendWire appends a value of a known type for other nodes and for spill files: NULL is a byte 0; otherwise
// a byte 1 and the payload by Repr (varint, 8 bytes, length and bytes, numeric's binary form ...).
func AppendWire(dst []byte, t Type, d Datum) ([]byte, error) {
	if d.Null {
		return append(dst, 0), nil
	}
	dst = append(dst, 1)
	switch ReprOf(t.OID) {
	case ReprInt:
		return binary.AppendVarint(dst, d.I), nil
	case ReprFloat:
		return binary.BigEndian.AppendUint64(dst, math.Float64bits(d.F)), nil
	case ReprBytes:
		dst = binary.AppendUvarint(dst, uint64(len(d.B)))
		return append(dst, d.B...), nil
	case ReprDecimal:
		n := len(dst)
		dst = append(dst, 0, 0, 0, 0)
		dst = appendNumericBinary(dst, d.A.(*apd.Decimal))
		binary.BigEndian.PutUint32(dst[n:], uint32(len(dst)-n-4))
		return dst, nil
	case ReprInterval:
		return appendIntervalBinary(dst, d.A.(Interval)), nil
	}
	switch x := d.A.(type) {
	case *Array:
		dst = append(dst, 'a')
		dst = binary.AppendUvarint(dst, uint64(x.Elem))
		dst = binary.AppendUvarint(dst, uint64(len(x.Dims)))
		for _, dim := range x.Dims {
			dst = binary.AppendVarint(dst, int64(dim.Len))
			dst = binary.AppendVarint(dst, int64(dim.Lower))
		}
		dst = binary.AppendUvarint(dst, uint64(len(x.Elems)))
		for _, e := range x.Elems {
			var err error
			if dst, err = AppendWire(dst, Of(x.Elem), e); err != nil {
				return nil, err
			}
		}
		return dst, nil
	case *Record:
		dst = append(dst, 'r')
		dst = binary.AppendUvarint(dst, uint64(len(x.Fields)))
		for i, f := range x.Fields {
			dst = binary.AppendUvarint(dst, uint64(x.Types[i].OID))
			dst = binary.AppendVarint(dst, int64(x.Types[i].Mod))
			var err error
			if dst, err = AppendWire(dst, x.Types[i], f); err != nil {
				return nil, err
			}
		}
		return dst, nil
	case TimeTZ:
		dst = append(dst, 't')
		dst = binary.AppendVarint(dst, x.Micros)
		return binary.AppendVarint(dst, int64(x.Zone)), nil
	}
	return nil, unsupportedType(t.OID)
}

// WireReader reads wire forms off B. What is not there, or not as it should be, sets Bad; what is read after that means nothing.
type WireReader struct {
	B   []byte
	Bad bool
}

// Byte reads the next byte.
func (r *WireReader) Byte() byte {
	if len(r.B) == 0 {
		r.Bad = true
		return 0
	}
	c := r.B[0]
	r.B = r.B[1:]
	return c
}

// Uvarint reads an unsigned number.
func (r *WireReader) Uvarint() uint64 {
	x, n := binary.Uvarint(r.B)
	if n <= 0 {
		r.Bad = true
		return 0
	}
	r.B = r.B[n:]
	return x
}

// Varint reads a signed number.
func (r *WireReader) Varint() int64 {
	x, n := binary.Varint(r.B)
	if n <= 0 {
		r.Bad = true
		return 0
	}
	r.B = r.B[n:]
	return x
}

// Bytes reads n bytes, which alias B.
func (r *WireReader) Bytes(n uint64) []byte {
	if n > uint64(len(r.B)) {
		r.Bad = true
		return nil
	}
	s := r.B[:n:n]
	r.B = r.B[n:]
	return s
}

// DecodeWire reads what AppendWire wrote and returns the rest. Byte payloads alias b.
func DecodeWire(t Type, b []byte) (Datum, []byte, error) {
	r := &WireReader{B: b}
	d := r.datum(t, 0)
	if r.Bad {
		return Datum{}, nil, ErrWire
	}
	return d, r.B, nil
}

func (r *WireReader) datum(t Type, depth int) Datum {
	switch r.Byte() {
	case 0:
		return NullDatum
	case 1:
	default:
		r.Bad = true
	}
	if r.Bad || depth > 100 {
		r.Bad = true
		return Datum{}
	}
	switch ReprOf(t.OID) {
	case ReprInt:
		return Datum{I: r.Varint()}
	case ReprFloat:
		b := r.Bytes(8)
		if r.Bad {
			return Datum{}
		}
		return Datum{F: math.Float64frombits(binary.BigEndian.Uint64(b))}
	case ReprBytes:
		return Datum{B: nonNil(r.Bytes(r.Uvarint()))}
	case ReprDecimal:
		n := r.Bytes(4)
		if r.Bad {
			return Datum{}
		}
		d, err := parseNumericBinary(r.Bytes(uint64(binary.BigEndian.Uint32(n))))
		if err != nil {
			r.Bad = true
		}
		return Datum{A: d}
	case ReprInterval:
		iv, err := parseIntervalBinary(r.Bytes(16))
		if err != nil {
			r.Bad = true
		}
		return Datum{A: iv}
	}
	switch r.Byte() {
	case 'a':
		a := &Array{Elem: OID(r.Uvarint())}
		if a.Elem != ElemOf(t.OID) {
			r.Bad = true
			return Datum{}
		}
		for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
			if len(a.Dims) >= maxArrayDims {
				r.Bad = true
				break
			}
			a.Dims = append(a.Dims, ArrayDim{Len: int32(r.Varint()), Lower: int32(r.Varint())})
		}
		n := r.Uvarint()
		if r.Bad || n > uint64(len(r.B)) {
			r.Bad = true
			return Datum{}
		}
		total := int64(1)
		for _, d := range a.Dims {
			if d.Len < 0 || total > int64(n) {
				r.Bad = true
				return Datum{}
			}
			total *= int64(d.Len)
		}
		if len(a.Dims) > 0 && total != int64(n) || len(a.Dims) == 0 && n != 0 {
			r.Bad = true
			return Datum{}
		}
		if n > 0 {
			a.Elems = make([]Datum, n)
		}
		for i := range a.Elems {
			a.Elems[i] = r.datum(Of(a.Elem), depth+1)
		}
		return Datum{A: a}
	case 'r':
		if t.OID == TimetzOID || ElemOf(t.OID) != 0 {
			r.Bad = true
			return Datum{}
		}
		rec := &Record{}
		for n := r.Uvarint(); n > 0 && !r.Bad; n-- {
			ft := Type{OID: OID(r.Uvarint()), Mod: int32(r.Varint())}
			rec.Types = append(rec.Types, ft)
			rec.Fields = append(rec.Fields, r.datum(ft, depth+1))
		}
		return Datum{A: rec}
	case 't':
		if t.OID != TimetzOID {
			r.Bad = true
			return Datum{}
		}
		return Datum{A: TimeTZ{Micros: r.Varint(), Zone: int32(r.Varint())}}
	}
	r.Bad = true
	return Datum{}
}
