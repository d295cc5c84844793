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

type wireReader struct {
	b   []byte
	bad bool
}

func (r *wireReader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *wireReader) uvarint() uint64 {
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *wireReader) varint() int64 {
	x, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *wireReader) bytes(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	s := r.b[:n:n]
	r.b = r.b[n:]
	return s
}

// DecodeWire reads what AppendWire wrote and returns the rest. Byte payloads alias b.
func DecodeWire(t Type, b []byte) (Datum, []byte, error) {
	r := &wireReader{b: b}
	d := r.datum(t, 0)
	if r.bad {
		return Datum{}, nil, ErrWire
	}
	return d, r.b, nil
}

func (r *wireReader) datum(t Type, depth int) Datum {
	switch r.byte() {
	case 0:
		return NullDatum
	case 1:
	default:
		r.bad = true
	}
	if r.bad || depth > 100 {
		r.bad = true
		return Datum{}
	}
	switch ReprOf(t.OID) {
	case ReprInt:
		return Datum{I: r.varint()}
	case ReprFloat:
		b := r.bytes(8)
		if r.bad {
			return Datum{}
		}
		return Datum{F: math.Float64frombits(binary.BigEndian.Uint64(b))}
	case ReprBytes:
		return Datum{B: nonNil(r.bytes(r.uvarint()))}
	case ReprDecimal:
		n := r.bytes(4)
		if r.bad {
			return Datum{}
		}
		d, err := parseNumericBinary(r.bytes(uint64(binary.BigEndian.Uint32(n))))
		if err != nil {
			r.bad = true
		}
		return Datum{A: d}
	case ReprInterval:
		iv, err := parseIntervalBinary(r.bytes(16))
		if err != nil {
			r.bad = true
		}
		return Datum{A: iv}
	}
	switch r.byte() {
	case 'a':
		a := &Array{Elem: OID(r.uvarint())}
		if a.Elem != ElemOf(t.OID) {
			r.bad = true
			return Datum{}
		}
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			if len(a.Dims) >= maxArrayDims {
				r.bad = true
				break
			}
			a.Dims = append(a.Dims, ArrayDim{Len: int32(r.varint()), Lower: int32(r.varint())})
		}
		n := r.uvarint()
		if r.bad || n > uint64(len(r.b)) {
			r.bad = true
			return Datum{}
		}
		total := int64(1)
		for _, d := range a.Dims {
			if d.Len < 0 || total > int64(n) {
				r.bad = true
				return Datum{}
			}
			total *= int64(d.Len)
		}
		if len(a.Dims) > 0 && total != int64(n) || len(a.Dims) == 0 && n != 0 {
			r.bad = true
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
			r.bad = true
			return Datum{}
		}
		rec := &Record{}
		for n := r.uvarint(); n > 0 && !r.bad; n-- {
			ft := Type{OID: OID(r.uvarint()), Mod: int32(r.varint())}
			rec.Types = append(rec.Types, ft)
			rec.Fields = append(rec.Fields, r.datum(ft, depth+1))
		}
		return Datum{A: rec}
	case 't':
		if t.OID != TimetzOID {
			r.bad = true
			return Datum{}
		}
		return Datum{A: TimeTZ{Micros: r.varint(), Zone: int32(r.varint())}}
	}
	r.bad = true
	return Datum{}
}
