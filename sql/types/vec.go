package types

import "github.com/cockroachdb/apd/v3"

// NewVec returns an empty vector of type t with room for capacity values.
func NewVec(t Type, capacity int) *Vec {
	v := &Vec{Type: t, Repr: ReprOf(t.OID)}
	if capacity > 0 {
		v.Resize(capacity)
		v.N = 0
		v.truncate(0)
	}
	return v
}

// Reset empties the vector and makes it one of type t, keeping the memory it has.
func (v *Vec) Reset(t Type) {
	v.Type = t
	v.Repr = ReprOf(t.OID)
	v.truncate(0)
	v.N = 0
	v.HasNulls = false
}

// ResetSame empties the vector and keeps its type.
func (v *Vec) ResetSame() {
	v.truncate(0)
	v.N = 0
	v.HasNulls = false
}

func (v *Vec) truncate(n int) {
	if cap(v.Nulls) >= n {
		v.Nulls = v.Nulls[:n]
	}
	switch v.Repr {
	case ReprInt:
		v.Ints = v.Ints[:n]
	case ReprFloat:
		v.Floats = v.Floats[:n]
	case ReprBytes:
		v.Bytes = v.Bytes[:n]
	case ReprDecimal:
		v.Decimals = v.Decimals[:n]
	case ReprInterval:
		v.Intervals = v.Intervals[:n]
	default:
		v.Anys = v.Anys[:n]
	}
}

func grow[T any](s []T, n int) []T {
	if cap(s) >= n {
		return s[:n]
	}
	c := 2 * cap(s)
	if c < n {
		c = n
	}
	if c > BatchSize && n <= BatchSize {
		c = BatchSize
	}
	t := make([]T, n, c)
	copy(t, s)
	return t
}

// Resize makes the vector n values long. Values beyond the old length are
// unspecified (whatever the memory held): the caller sets them. Nulls is as long as the
// payload, and its new entries are unspecified too while HasNulls is false.
func (v *Vec) Resize(n int) {
	v.Nulls = grow(v.Nulls, n)
	switch v.Repr {
	case ReprInt:
		v.Ints = grow(v.Ints, n)
	case ReprFloat:
		v.Floats = grow(v.Floats, n)
	case ReprBytes:
		v.Bytes = grow(v.Bytes, n)
	case ReprDecimal:
		v.Decimals = grow(v.Decimals, n)
	case ReprInterval:
		v.Intervals = grow(v.Intervals, n)
	default:
		v.Anys = grow(v.Anys, n)
	}
	v.N = n
}

// EnableNulls makes Nulls meaningful: if it was not, all values become not NULL.
func (v *Vec) EnableNulls() {
	if !v.HasNulls {
		v.Nulls = grow(v.Nulls, v.N)
		clear(v.Nulls)
		v.HasNulls = true
	}
}

// ClearNulls declares that there are no NULLs.
func (v *Vec) ClearNulls() { v.HasNulls = false }

// IsNull reports whether value i is NULL.
func (v *Vec) IsNull(i int) bool { return v.HasNulls && v.Nulls[i] }

// SetNull makes value i NULL (and its payload zero).
func (v *Vec) SetNull(i int) {
	v.EnableNulls()
	v.Nulls[i] = true
	v.zero(i)
}

func (v *Vec) zero(i int) {
	switch v.Repr {
	case ReprInt:
		v.Ints[i] = 0
	case ReprFloat:
		v.Floats[i] = 0
	case ReprBytes:
		v.Bytes[i] = nil
	case ReprDecimal:
		v.Decimals[i] = apd.Decimal{}
	case ReprInterval:
		v.Intervals[i] = Interval{}
	default:
		v.Anys[i] = nil
	}
}

// Get returns value i. Byte payloads alias the vector's.
func (v *Vec) Get(i int) Datum {
	if v.HasNulls && v.Nulls[i] {
		return NullDatum
	}
	switch v.Repr {
	case ReprInt:
		return Datum{I: v.Ints[i]}
	case ReprFloat:
		return Datum{F: v.Floats[i]}
	case ReprBytes:
		return Datum{B: v.Bytes[i]}
	case ReprDecimal:
		d := v.Decimals[i]
		return Datum{A: &d}
	case ReprInterval:
		return Datum{A: v.Intervals[i]}
	default:
		return Datum{A: v.Anys[i]}
	}
}

// Set stores d as value i, which exists. Byte payloads are aliased, not copied.
func (v *Vec) Set(i int, d Datum) {
	if d.Null {
		v.SetNull(i)
		return
	}
	if v.HasNulls {
		v.Nulls[i] = false
	}
	switch v.Repr {
	case ReprInt:
		v.Ints[i] = d.I
	case ReprFloat:
		v.Floats[i] = d.F
	case ReprBytes:
		v.Bytes[i] = d.B
	case ReprDecimal:
		v.Decimals[i] = *d.A.(*apd.Decimal)
	case ReprInterval:
		v.Intervals[i] = d.A.(Interval)
	default:
		v.Anys[i] = d.A
	}
}

// AppendDatum adds a value at the end.
func (v *Vec) AppendDatum(d Datum) {
	n := v.N
	v.Resize(n + 1)
	if v.HasNulls {
		v.Nulls[n] = false
	}
	v.Set(n, d)
}

// AppendNull adds a NULL at the end.
func (v *Vec) AppendNull() {
	n := v.N
	v.Resize(n + 1)
	if !v.HasNulls {
		clear(v.Nulls)
		v.HasNulls = true
	}
	v.Nulls[n] = true
	v.zero(n)
}

// AppendFrom adds value i of src, which has the same Repr.
func (v *Vec) AppendFrom(src *Vec, i int) {
	n := v.N
	v.Resize(n + 1)
	v.SetFrom(n, src, i)
}

// SetFrom copies value j of src, which has the same Repr, to i.
func (v *Vec) SetFrom(i int, src *Vec, j int) {
	if src.HasNulls && src.Nulls[j] {
		v.SetNull(i)
		return
	}
	if v.HasNulls {
		v.Nulls[i] = false
	}
	switch v.Repr {
	case ReprInt:
		v.Ints[i] = src.Ints[j]
	case ReprFloat:
		v.Floats[i] = src.Floats[j]
	case ReprBytes:
		v.Bytes[i] = src.Bytes[j]
	case ReprDecimal:
		v.Decimals[i] = src.Decimals[j]
	case ReprInterval:
		v.Intervals[i] = src.Intervals[j]
	default:
		v.Anys[i] = src.Anys[j]
	}
}

// CopyFrom makes v a copy of the rows sel of src (all of its rows if sel is nil), packed
// to the front. Byte payloads are shared. The types must have the same Repr; v keeps its Type.
func (v *Vec) CopyFrom(src *Vec, sel []int32) {
	n := src.N
	if sel != nil {
		n = len(sel)
	}
	v.HasNulls = false
	v.Resize(n)
	if sel == nil {
		switch v.Repr {
		case ReprInt:
			copy(v.Ints, src.Ints[:n])
		case ReprFloat:
			copy(v.Floats, src.Floats[:n])
		case ReprBytes:
			copy(v.Bytes, src.Bytes[:n])
		case ReprDecimal:
			copy(v.Decimals, src.Decimals[:n])
		case ReprInterval:
			copy(v.Intervals, src.Intervals[:n])
		default:
			copy(v.Anys, src.Anys[:n])
		}
		if src.HasNulls {
			copy(v.Nulls, src.Nulls[:n])
			v.HasNulls = true
		}
		return
	}
	switch v.Repr {
	case ReprInt:
		gather(v.Ints, src.Ints, sel)
	case ReprFloat:
		gather(v.Floats, src.Floats, sel)
	case ReprBytes:
		gather(v.Bytes, src.Bytes, sel)
	case ReprDecimal:
		gather(v.Decimals, src.Decimals, sel)
	case ReprInterval:
		gather(v.Intervals, src.Intervals, sel)
	default:
		gather(v.Anys, src.Anys, sel)
	}
	if src.HasNulls {
		gather(v.Nulls, src.Nulls, sel)
		v.HasNulls = true
	}
}

// AppendVec adds the rows sel of src (all if nil).
func (v *Vec) AppendVec(src *Vec, sel []int32) {
	n := v.N
	m := src.N
	if sel != nil {
		m = len(sel)
	}
	v.Resize(n + m)
	if v.HasNulls || src.HasNulls {
		if !v.HasNulls {
			clear(v.Nulls[:n])
			v.HasNulls = true
		}
		if !src.HasNulls {
			clear(v.Nulls[n:])
		} else if sel == nil {
			copy(v.Nulls[n:], src.Nulls[:m])
		} else {
			gather(v.Nulls[n:], src.Nulls, sel)
		}
	}
	switch v.Repr {
	case ReprInt:
		appendRows(v.Ints[n:], src.Ints, sel)
	case ReprFloat:
		appendRows(v.Floats[n:], src.Floats, sel)
	case ReprBytes:
		appendRows(v.Bytes[n:], src.Bytes, sel)
	case ReprDecimal:
		appendRows(v.Decimals[n:], src.Decimals, sel)
	case ReprInterval:
		appendRows(v.Intervals[n:], src.Intervals, sel)
	default:
		appendRows(v.Anys[n:], src.Anys, sel)
	}
}

func appendRows[T any](dst, src []T, sel []int32) {
	if sel == nil {
		copy(dst, src)
		return
	}
	gather(dst, src, sel)
}

func gather[T any](dst, src []T, sel []int32) {
	dst = dst[:len(sel)]
	for i, s := range sel {
		dst[i] = src[s]
	}
}

// Slice returns a view of rows lo..hi-1. It shares memory with v.
func (v *Vec) Slice(lo, hi int) Vec {
	s := Vec{Type: v.Type, Repr: v.Repr, N: hi - lo, HasNulls: v.HasNulls}
	if len(v.Nulls) >= hi {
		s.Nulls = v.Nulls[lo:hi:hi]
	}
	switch v.Repr {
	case ReprInt:
		s.Ints = v.Ints[lo:hi:hi]
	case ReprFloat:
		s.Floats = v.Floats[lo:hi:hi]
	case ReprBytes:
		s.Bytes = v.Bytes[lo:hi:hi]
	case ReprDecimal:
		s.Decimals = v.Decimals[lo:hi:hi]
	case ReprInterval:
		s.Intervals = v.Intervals[lo:hi:hi]
	default:
		s.Anys = v.Anys[lo:hi:hi]
	}
	return s
}

// Fill makes the vector n copies of d.
func (v *Vec) Fill(d Datum, n int) {
	v.HasNulls = false
	v.Resize(n)
	if d.Null {
		v.HasNulls = true
		for i := range v.Nulls {
			v.Nulls[i] = true
		}
		switch v.Repr {
		case ReprInt:
			clear(v.Ints)
		case ReprFloat:
			clear(v.Floats)
		case ReprBytes:
			clear(v.Bytes)
		case ReprDecimal:
			clear(v.Decimals)
		case ReprInterval:
			clear(v.Intervals)
		default:
			clear(v.Anys)
		}
		return
	}
	switch v.Repr {
	case ReprInt:
		fill(v.Ints, d.I)
	case ReprFloat:
		fill(v.Floats, d.F)
	case ReprBytes:
		fill(v.Bytes, d.B)
	case ReprDecimal:
		fill(v.Decimals, *d.A.(*apd.Decimal))
	case ReprInterval:
		fill(v.Intervals, d.A.(Interval))
	default:
		fill(v.Anys, d.A)
	}
}

func fill[T any](s []T, x T) {
	for i := range s {
		s[i] = x
	}
}

// EachRow calls f for every selected row (all n of them if sel is nil) until it fails.
func EachRow(n int, sel []int32, f func(i int) error) error {
	if sel == nil {
		for i := range n {
			if err := f(i); err != nil {
				return err
			}
		}
		return nil
	}
	for _, i := range sel {
		if err := f(int(i)); err != nil {
			return err
		}
	}
	return nil
}

// NewBatch returns an empty batch with columns of the given types.
func NewBatch(ts []Type, capacity int) *Batch {
	b := &Batch{Cols: make([]*Vec, len(ts))}
	for i, t := range ts {
		b.Cols[i] = NewVec(t, capacity)
	}
	return b
}

// Reset empties the batch and keeps its columns' types and memory.
func (b *Batch) Reset() {
	b.N = 0
	b.Sel = nil
	for _, c := range b.Cols {
		c.ResetSame()
	}
}

// MemSize estimates the bytes that the vector's values hold, for memory accounting.
func (v *Vec) MemSize() int64 {
	n := int64(cap(v.Nulls)) + 8*int64(cap(v.Ints)+cap(v.Floats)) + 24*int64(cap(v.Bytes)) +
		32*int64(cap(v.Decimals)) + 16*int64(cap(v.Intervals)+cap(v.Anys))
	for _, b := range v.Bytes {
		n += int64(len(b))
	}
	for _, a := range v.Anys {
		n += anySize(a)
	}
	return n
}

// MemSize estimates the bytes that a datum holds beyond its own struct.
func (d Datum) MemSize() int64 { return int64(len(d.B)) + anySize(d.A) }

func anySize(a any) int64 {
	switch x := a.(type) {
	case *Array:
		n := int64(64 + 72*len(x.Elems))
		for _, e := range x.Elems {
			n += e.MemSize()
		}
		return n
	case *Record:
		n := int64(64 + 80*len(x.Fields))
		for _, e := range x.Fields {
			n += e.MemSize()
		}
		return n
	case *apd.Decimal:
		return int64(x.Size())
	case Interval:
		return 16
	}
	return 0
}
