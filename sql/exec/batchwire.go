package exec

import (
	"encoding/binary"
	"math"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// The compact form of a batch, for the wire and for spill files: uvarint rows, uvarint columns, then each
// column: type OID (uvarint), modifier (varint), flags (1: has NULLs), NULL bits, and the values:
//
//	integers   one byte of width w (1, 2, 4, 8), then w bytes each, little endian, two's complement
//	floats     8 bytes each
//	bytes      uvarint lengths, then all bytes
//	others     rowenc values of those that are not NULL, with uvarint lengths
//
// The selection is applied: what comes back has none.

func appendBatchWire(dst []byte, b *types.Batch) ([]byte, error) {
	n := b.Len()
	dst = binary.AppendUvarint(dst, uint64(n))
	dst = binary.AppendUvarint(dst, uint64(len(b.Cols)))
	var err error
	for _, v := range b.Cols {
		if dst, err = appendVecWire(dst, b, v, n); err != nil {
			return nil, err
		}
	}
	return dst, nil
}

func appendVecWire(dst []byte, b *types.Batch, v *types.Vec, n int) ([]byte, error) {
	dst = binary.AppendUvarint(dst, uint64(v.Type.OID))
	dst = binary.AppendVarint(dst, int64(v.Type.Mod))
	if !v.HasNulls {
		dst = append(dst, 0)
	} else {
		dst = append(dst, 1)
		from := len(dst)
		for range (n + 7) / 8 {
			dst = append(dst, 0)
		}
		for i := range n {
			if v.Nulls[b.Row(i)] {
				dst[from+i>>3] |= 1 << (i & 7)
			}
		}
	}
	switch v.Repr {
	case types.ReprInt:
		lo, hi := int64(0), int64(0)
		for i := range n {
			x := v.Ints[b.Row(i)]
			lo, hi = min(lo, x), max(hi, x)
		}
		w := 8
		switch {
		case lo >= math.MinInt8 && hi <= math.MaxInt8:
			w = 1
		case lo >= math.MinInt16 && hi <= math.MaxInt16:
			w = 2
		case lo >= math.MinInt32 && hi <= math.MaxInt32:
			w = 4
		}
		dst = append(dst, byte(w))
		for i := range n {
			x := uint64(v.Ints[b.Row(i)])
			for range w {
				dst = append(dst, byte(x))
				x >>= 8
			}
		}
	case types.ReprFloat:
		for i := range n {
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Floats[b.Row(i)]))
		}
	case types.ReprBytes:
		for i := range n {
			dst = binary.AppendUvarint(dst, uint64(len(v.Bytes[b.Row(i)])))
		}
		for i := range n {
			dst = append(dst, v.Bytes[b.Row(i)]...)
		}
	default:
		var buf []byte
		for i := range n {
			row := b.Row(i)
			if v.IsNull(row) {
				continue
			}
			var err error
			if buf, err = rowenc.AppendValue(buf[:0], v.Type.OID, v.Get(row)); err != nil {
				return nil, err
			}
			dst = binary.AppendUvarint(dst, uint64(len(buf)))
			dst = append(dst, buf...)
		}
	}
	return dst, nil
}

var errBatchWire = pgerr.New(pgerr.InternalError, "malformed rows from another node or a spill file")

// decodeBatchWire reads a batch and returns what follows it. Byte values alias b.
func decodeBatchWire(b []byte) (*types.Batch, []byte, error) {
	n, b, ok := takeUvarint(b)
	cols, b, ok2 := takeUvarint(b)
	if !ok || !ok2 || n > 1<<20 || cols > uint64(len(b)) {
		return nil, nil, errBatchWire
	}
	out := &types.Batch{N: int(n), Cols: make([]*types.Vec, cols)}
	for i := range out.Cols {
		v, rest, err := decodeVecWire(b, int(n))
		if err != nil {
			return nil, nil, err
		}
		out.Cols[i], b = v, rest
	}
	return out, b, nil
}

func takeUvarint(b []byte) (uint64, []byte, bool) {
	v, w := binary.Uvarint(b)
	if w <= 0 {
		return 0, nil, false
	}
	return v, b[w:], true
}

func decodeVecWire(b []byte, n int) (*types.Vec, []byte, error) {
	oid, b, ok := takeUvarint(b)
	if !ok || oid > math.MaxUint32 {
		return nil, nil, errBatchWire
	}
	mod, w := binary.Varint(b)
	if w <= 0 || int64(int32(mod)) != mod || len(b) < w+1 || b[w] > 1 {
		return nil, nil, errBatchWire
	}
	hasNulls := b[w] == 1
	b = b[w+1:]
	t := types.Type{OID: types.OID(oid), Mod: int32(mod)}
	v := &types.Vec{Type: t, Repr: types.ReprOf(t.OID)}
	var bits []byte
	if hasNulls {
		m := (n + 7) / 8
		if len(b) < m {
			return nil, nil, errBatchWire
		}
		bits, b = b[:m], b[m:]
	}
	switch v.Repr { // the values must be there before memory is taken for them
	case types.ReprInt:
		if len(b) < 1 {
			return nil, nil, errBatchWire
		}
		w := int(b[0])
		b = b[1:]
		if (w != 1 && w != 2 && w != 4 && w != 8) || len(b) < n*w {
			return nil, nil, errBatchWire
		}
		v.Ints = make([]int64, n)
		for i := range v.Ints {
			p := b[i*w : i*w+w]
			switch w {
			case 1:
				v.Ints[i] = int64(int8(p[0]))
			case 2:
				v.Ints[i] = int64(int16(binary.LittleEndian.Uint16(p)))
			case 4:
				v.Ints[i] = int64(int32(binary.LittleEndian.Uint32(p)))
			case 8:
				v.Ints[i] = int64(binary.LittleEndian.Uint64(p))
			}
		}
		b = b[n*w:]
	case types.ReprFloat:
		if len(b) < 8*n {
			return nil, nil, errBatchWire
		}
		v.Floats = make([]float64, n)
		for i := range v.Floats {
			v.Floats[i] = math.Float64frombits(binary.LittleEndian.Uint64(b[8*i:]))
		}
		b = b[8*n:]
	case types.ReprBytes:
		if len(b) < n {
			return nil, nil, errBatchWire
		}
		lens := make([]int, n)
		for i := range lens {
			l, rest, ok := takeUvarint(b)
			if !ok || l > 1<<30 {
				return nil, nil, errBatchWire
			}
			lens[i], b = int(l), rest
		}
		v.Bytes = make([][]byte, n)
		for i, l := range lens {
			if l > len(b) {
				return nil, nil, errBatchWire
			}
			v.Bytes[i], b = b[:l:l], b[l:]
		}
	default:
		present := n
		for i := range n {
			if hasNulls && bits[i>>3]>>(i&7)&1 == 1 {
				present--
			}
		}
		if len(b) < present {
			return nil, nil, errBatchWire
		}
		for i := range n {
			if hasNulls && bits[i>>3]>>(i&7)&1 == 1 {
				v.AppendNull()
				continue
			}
			l, rest, ok := takeUvarint(b)
			if !ok || l > uint64(len(rest)) {
				return nil, nil, errBatchWire
			}
			d, err := rowenc.DecodeValue(rest[:l:l], t)
			if err != nil {
				return nil, nil, err
			}
			v.AppendDatum(d)
			b = rest[l:]
		}
		return v, b, nil
	}
	v.N = n
	if hasNulls {
		v.HasNulls = true
		v.Nulls = make([]bool, n)
		for i := range v.Nulls {
			if v.Nulls[i] = bits[i>>3]>>(i&7)&1 == 1; v.Nulls[i] && v.Repr == types.ReprBytes {
				v.Bytes[i] = nil
			}
		}
	}
	return v, b, nil
}
