package types

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/cockroachdb/apd/v3"
)

const (
	hashK0 = 0xa0761d6478bd642f
	hashK1 = 0xe7037ed1a0b428db
	hashK2 = 0x8ebc6af09c88c6e3
)

// The hash must be the same on every node of a cluster: it decides where spilled and shuffled rows go. So no per-process seed.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

func hashInt(h uint64, x int64) uint64 { return mix(h^hashK0, uint64(x)^hashK1) }

func hashBytes(h uint64, b []byte) uint64 {
	n := uint64(len(b))
	h ^= hashK2
	for len(b) >= 16 {
		h = mix(binary.LittleEndian.Uint64(b)^hashK0, binary.LittleEndian.Uint64(b[8:])^h)
		b = b[16:]
	}
	var x, y uint64
	switch {
	case len(b) >= 8:
		x = binary.LittleEndian.Uint64(b)
		for i, c := range b[8:] {
			y |= uint64(c) << (8 * i)
		}
	default:
		for i, c := range b {
			x |= uint64(c) << (8 * i)
		}
	}
	return mix(hashK1^n, mix(x^hashK1, y^h))
}

func hashFloat(h uint64, f float64) uint64 {
	switch {
	case f == 0:
		f = 0 // -0 equals 0
	case f != f:
		return hashInt(h, math.MaxInt64)
	}
	return hashInt(h, int64(math.Float64bits(f)))
}

func hashNumeric(h uint64, d *apd.Decimal) uint64 {
	if d.Form != apd.Finite {
		x := int64(d.Form) << 1
		if d.Negative && d.Form == apd.Infinite {
			x++
		}
		return hashInt(h, ^x)
	}
	if d.Coeff.Sign() == 0 {
		return hashInt(h, 0)
	}
	e := int64(d.Exponent)
	if d.Coeff.IsUint64() {
		c := d.Coeff.Uint64()
		for c%10 == 0 {
			c /= 10
			e++
		}
		if d.Negative {
			c = -c
		}
		return hashInt(hashInt(h, int64(c)), e)
	}
	var r apd.Decimal
	r.Reduce(d)
	if r.Coeff.IsUint64() {
		c := r.Coeff.Uint64()
		if d.Negative {
			c = -c
		}
		return hashInt(hashInt(h, int64(c)), int64(r.Exponent))
	}
	h = hashBytes(h, r.Coeff.Append(nil, 16))
	if d.Negative {
		h++
	}
	return hashInt(h, int64(r.Exponent))
}

func hashAny(h uint64, a any) uint64 {
	switch x := a.(type) {
	case *Array:
		for i := range x.Elems {
			h = Hash(h, x.Elem, x.Elems[i])
		}
		return hashInt(h, int64(len(x.Elems)))
	case *Record:
		for i := range x.Fields {
			h = Hash(h, x.Types[i].OID, x.Fields[i])
		}
		return hashInt(h, int64(len(x.Fields)))
	case TimeTZ:
		return hashInt(hashInt(h, x.Micros), int64(x.Zone))
	}
	return h
}

func hashInterval(h uint64, iv Interval) uint64 {
	hi, lo := iv.span()
	return hashInt(hashInt(h, hi), int64(lo))
}

// Hash mixes a value into h. Values that Compare finds equal hash alike.
func Hash(h uint64, t OID, d Datum) uint64 {
	if d.Null {
		return mix(h^hashK2, hashK0)
	}
	switch ReprOf(t) {
	case ReprInt:
		return hashInt(h, d.I)
	case ReprFloat:
		return hashFloat(h, d.F)
	case ReprBytes:
		if t == BpcharOID {
			return hashBytes(h, TrimBpchar(d.B))
		}
		return hashBytes(h, d.B)
	case ReprDecimal:
		return hashNumeric(h, d.A.(*apd.Decimal))
	case ReprInterval:
		return hashInterval(h, d.A.(Interval))
	default:
		return hashAny(h, d.A)
	}
}

// HashVec mixes the values of the rows sel (all n if nil) into hashes: hashes[i] belongs to row i,
// whatever sel. The caller clears (or seeds) hashes before the first column. It agrees with Hash.
func HashVec(v *Vec, n int, sel []int32, hashes []uint64) {
	if v.HasNulls || v.Repr != ReprInt && v.Repr != ReprBytes {
		if sel == nil {
			for i := 0; i < n; i++ {
				hashes[i] = hashOne(v, i, hashes[i])
			}
			return
		}
		for _, i := range sel {
			hashes[i] = hashOne(v, int(i), hashes[i])
		}
		return
	}
	if v.Repr == ReprInt {
		xs := v.Ints
		if sel == nil {
			xs, hashes = xs[:n], hashes[:n]
			for i, x := range xs {
				hashes[i] = hashInt(hashes[i], x)
			}
			return
		}
		for _, i := range sel {
			hashes[i] = hashInt(hashes[i], xs[i])
		}
		return
	}
	trim := v.Type.OID == BpcharOID
	one := func(i int) {
		b := v.Bytes[i]
		if trim {
			b = TrimBpchar(b)
		}
		hashes[i] = hashBytes(hashes[i], b)
	}
	if sel == nil {
		for i := 0; i < n; i++ {
			one(i)
		}
		return
	}
	for _, i := range sel {
		one(int(i))
	}
}

func hashOne(v *Vec, i int, h uint64) uint64 {
	if v.HasNulls && v.Nulls[i] {
		return mix(h^hashK2, hashK0)
	}
	switch v.Repr {
	case ReprInt:
		return hashInt(h, v.Ints[i])
	case ReprFloat:
		return hashFloat(h, v.Floats[i])
	case ReprBytes:
		if v.Type.OID == BpcharOID {
			return hashBytes(h, TrimBpchar(v.Bytes[i]))
		}
		return hashBytes(h, v.Bytes[i])
	case ReprDecimal:
		return hashNumeric(h, &v.Decimals[i])
	case ReprInterval:
		return hashInterval(h, v.Intervals[i])
	default:
		return hashAny(h, v.Anys[i])
	}
}
