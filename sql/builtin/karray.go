package builtin

import (
	"bytes"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

func arrayAt(v *types.Vec, i int) *types.Array {
	if v.IsNull(i) {
		return nil
	}
	return v.Anys[i].(*types.Array)
}

func elemOf(t types.Type) types.OID { return types.ElemOf(t.OID) }

// subscriptArray is a[i][j]...; NULL outside of the bounds.
func subscriptArray(a *types.Array, idx []int64) types.Datum {
	if len(idx) != len(a.Dims) {
		return types.NullDatum
	}
	pos := int64(0)
	for k, d := range a.Dims {
		x := idx[k] - int64(d.Lower)
		if x < 0 || x >= int64(d.Len) {
			return types.NullDatum
		}
		pos = pos*int64(d.Len) + x
	}
	return a.Elems[pos]
}

// sliceArray is a[lo:hi]...; missing dimensions are taken whole, an empty overlap is an empty array.
func sliceArray(a *types.Array, bounds []int64) *types.Array {
	empty := &types.Array{Elem: a.Elem}
	if len(bounds)/2 > len(a.Dims) || len(a.Dims) == 0 {
		return empty
	}
	out := &types.Array{Elem: a.Elem}
	lo := make([]int64, len(a.Dims))
	n := make([]int64, len(a.Dims))
	for k, d := range a.Dims {
		l, h := int64(d.Lower), int64(d.Lower)+int64(d.Len)-1
		if 2*k+1 < len(bounds) {
			l, h = max(l, bounds[2*k]), min(h, bounds[2*k+1])
		}
		if h < l {
			return empty
		}
		lo[k], n[k] = l-int64(d.Lower), h-l+1
		out.Dims = append(out.Dims, types.ArrayDim{Len: int32(n[k]), Lower: 1})
	}
	var walk func(dim int, pos int64)
	walk = func(dim int, pos int64) {
		for x := int64(0); x < n[dim]; x++ {
			p := pos*int64(a.Dims[dim].Len) + lo[dim] + x
			if dim == len(a.Dims)-1 {
				out.Elems = append(out.Elems, a.Elems[p])
			} else {
				walk(dim+1, p)
			}
		}
	}
	walk(0, 0)
	return out
}

func sameDatum(t types.OID, a, b types.Datum) bool {
	if a.Null || b.Null {
		return a.Null && b.Null
	}
	return types.Compare(t, a, b) == 0
}

func oneDimensional(a *types.Array, what string) error {
	if len(a.Dims) > 1 {
		return pgerr.New(pgerr.FeatureNotSupported, "%s", what)
	}
	return nil
}

func appendElem(a *types.Array, elem types.OID, d types.Datum, front bool) (*types.Array, error) {
	if a == nil || len(a.Dims) == 0 {
		return types.MakeArray1(elem, []types.Datum{d}), nil
	}
	if len(a.Dims) > 1 {
		return nil, pgerr.New("22000", "argument must be empty or one-dimensional array")
	}
	out := &types.Array{Elem: a.Elem, Dims: []types.ArrayDim{{Len: a.Dims[0].Len + 1, Lower: a.Dims[0].Lower}}}
	out.Elems = make([]types.Datum, 0, len(a.Elems)+1)
	if front {
		out.Elems = append(out.Elems, d)
	}
	out.Elems = append(out.Elems, a.Elems...)
	if !front {
		out.Elems = append(out.Elems, d)
	}
	return out, nil
}

// concatArrays is array || array: same dimensions, or one with a dimension less as a new row.
func concatArrays(a, b *types.Array) (*types.Array, error) {
	if len(a.Dims) == 0 {
		return b, nil
	}
	if len(b.Dims) == 0 {
		return a, nil
	}
	incompatible := func() error {
		return pgerr.New(pgerr.ArraySubscriptError, "cannot concatenate incompatible arrays").
			WithDetail("Arrays with differing element dimensions are not compatible for concatenation.")
	}
	out := &types.Array{Elem: a.Elem}
	inner := func(x, y []types.ArrayDim) bool {
		for i := range x {
			if x[i] != y[i] {
				return false
			}
		}
		return true
	}
	switch {
	case len(a.Dims) == len(b.Dims):
		if !inner(a.Dims[1:], b.Dims[1:]) {
			return nil, incompatible()
		}
		out.Dims = append(out.Dims, a.Dims...)
		out.Dims[0].Len += b.Dims[0].Len
	case len(a.Dims) == len(b.Dims)-1:
		if !inner(a.Dims, b.Dims[1:]) {
			return nil, incompatible()
		}
		out.Dims = append(out.Dims, b.Dims...)
		out.Dims[0].Len++
	case len(a.Dims)-1 == len(b.Dims):
		if !inner(a.Dims[1:], b.Dims) {
			return nil, incompatible()
		}
		out.Dims = append(out.Dims, a.Dims...)
		out.Dims[0].Len++
	default:
		return nil, pgerr.New(pgerr.ArraySubscriptError, "cannot concatenate incompatible arrays").
			WithDetail("Arrays of %d and %d dimensions are not compatible for concatenation.", len(a.Dims), len(b.Dims))
	}
	out.Elems = append(append(make([]types.Datum, 0, len(a.Elems)+len(b.Elems)), a.Elems...), b.Elems...)
	return out, nil
}

// containsAll reports whether every element of b is in a; NULLs are in nothing.
func containsAll(a, b *types.Array) bool {
	for _, x := range b.Elems {
		if !hasElem(a, x) {
			return false
		}
	}
	return true
}

func hasElem(a *types.Array, x types.Datum) bool {
	if x.Null {
		return false
	}
	for _, y := range a.Elems {
		if !y.Null && types.Compare(a.Elem, x, y) == 0 {
			return true
		}
	}
	return false
}

func arrayToText(ctx *Context, a *types.Array, sep, null []byte, hasNull bool) []byte {
	out := []byte{}
	first := true
	for _, e := range a.Elems {
		if e.Null && !hasNull {
			continue
		}
		if !first {
			out = append(out, sep...)
		}
		first = false
		if e.Null {
			out = append(out, null...)
		} else {
			out = types.AppendDatumText(out, types.Of(a.Elem), e, ctx.TextEnv())
		}
	}
	return out
}

func init() {
	arr1 := func(f func(a *types.Array) types.Datum, s ...string) {
		reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) { return f(arrayAt(args[0], i)), nil }), s...)
	}
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		idx := make([]int64, len(args)-1)
		for k := range idx {
			idx[k] = args[k+1].Ints[i]
		}
		return subscriptArray(arrayAt(args[0], i), idx), nil
	}), "array_subscript")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		idx := make([]int64, len(args)-1)
		for k := range idx {
			idx[k] = args[k+1].Ints[i]
		}
		return types.NewArray(sliceArray(arrayAt(args[0], i), idx)), nil
	}), "array_slice")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		r := args[0].Anys[i].(*types.Record)
		k := int(args[1].Ints[i])
		if k < 0 || k >= len(r.Fields) {
			return types.NullDatum, nil
		}
		return r.Fields[k], nil
	}), "record_field")
	dim := func(f func(d types.ArrayDim) int64) Kernel {
		return datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
			a, k := arrayAt(args[0], i), args[1].Ints[i]
			if k < 1 || k > int64(len(a.Dims)) {
				return types.NullDatum, nil
			}
			return types.NewInt(f(a.Dims[k-1])), nil
		})
	}
	reg(dim(func(d types.ArrayDim) int64 { return int64(d.Len) }), "array_length")
	reg(dim(func(d types.ArrayDim) int64 { return int64(d.Lower) }), "array_lower")
	reg(dim(func(d types.ArrayDim) int64 { return int64(d.Lower) + int64(d.Len) - 1 }), "array_upper")
	arr1(func(a *types.Array) types.Datum {
		if len(a.Dims) == 0 {
			return types.NullDatum
		}
		return types.NewInt(int64(len(a.Dims)))
	}, "array_ndims")
	arr1(func(a *types.Array) types.Datum {
		if len(a.Dims) == 0 {
			return types.NullDatum
		}
		b := []byte{}
		for _, d := range a.Dims {
			b = append(b, '[')
			b = types.AppendDatumText(b, types.Of(types.Int4OID), types.NewInt(int64(d.Lower)), types.DefaultEnv)
			b = append(b, ':')
			b = types.AppendDatumText(b, types.Of(types.Int4OID), types.NewInt(int64(d.Lower)+int64(d.Len)-1), types.DefaultEnv)
			b = append(b, ']')
		}
		return types.NewBytes(b)
	}, "array_dims")
	arr1(func(a *types.Array) types.Datum { return types.NewInt(int64(len(a.Elems))) }, "array_cardinality")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		a, err := appendElem(arrayAt(args[0], i), elemOf(args[0].Type), args[1].Get(i), false)
		return types.NewArray(a), err
	}), "array_append")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		a, err := appendElem(arrayAt(args[1], i), elemOf(args[1].Type), args[0].Get(i), true)
		return types.NewArray(a), err
	}), "array_prepend")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		a, b := arrayAt(args[0], i), arrayAt(args[1], i)
		switch {
		case a == nil && b == nil:
			return types.NullDatum, nil
		case a == nil:
			return types.NewArray(b), nil
		case b == nil:
			return types.NewArray(a), nil
		}
		r, err := concatArrays(a, b)
		return types.NewArray(r), err
	}), "array_cat")
	find := func(a *types.Array, x types.Datum, start int) []types.Datum {
		var out []types.Datum
		for k, e := range a.Elems {
			if pos := k + int(a.Dims[0].Lower); pos >= start && sameDatum(a.Elem, e, x) {
				out = append(out, types.NewInt(int64(pos)))
			}
		}
		return out
	}
	position := datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		a := arrayAt(args[0], i)
		if a == nil || len(a.Dims) == 0 {
			return types.NullDatum, nil
		}
		if err := oneDimensional(a, "searching for elements in multidimensional arrays is not supported"); err != nil {
			return types.Datum{}, err
		}
		start := int(a.Dims[0].Lower)
		if len(args) > 2 {
			if args[2].IsNull(i) {
				return types.Datum{}, pgerr.New(pgerr.NullValueNotAllowed, "initial position must not be null")
			}
			start = int(args[2].Ints[i])
		}
		if hits := find(a, args[1].Get(i), start); len(hits) > 0 {
			return hits[0], nil
		}
		return types.NullDatum, nil
	})
	reg(position, "array_position", "array_position_start")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		a := arrayAt(args[0], i)
		if a == nil {
			return types.NullDatum, nil
		}
		if err := oneDimensional(a, "searching for elements in multidimensional arrays is not supported"); err != nil {
			return types.Datum{}, err
		}
		var hits []types.Datum
		if len(a.Dims) == 1 {
			hits = find(a, args[1].Get(i), -1<<31)
		}
		return types.NewArray(types.MakeArray1(types.Int4OID, hits)), nil
	}), "array_positions")
	replace := func(remove bool) Kernel {
		return datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
			a := arrayAt(args[0], i)
			if a == nil {
				return types.NullDatum, nil
			}
			if remove {
				if err := oneDimensional(a, "removing elements from multidimensional arrays is not supported"); err != nil {
					return types.Datum{}, err
				}
			}
			x := args[1].Get(i)
			out := &types.Array{Elem: a.Elem}
			for _, e := range a.Elems {
				if sameDatum(a.Elem, e, x) {
					if remove {
						continue
					}
					e = args[2].Get(i)
				}
				out.Elems = append(out.Elems, e)
			}
			if len(out.Elems) > 0 {
				out.Dims = append(out.Dims, a.Dims...)
				if remove {
					out.Dims[0].Len = int32(len(out.Elems))
				}
			}
			return types.NewArray(out), nil
		})
	}
	reg(replace(true), "array_remove")
	reg(replace(false), "array_replace")
	reg(datumKernel(func(ctx *Context, args []*types.Vec, i int) (types.Datum, error) {
		a := arrayAt(args[0], i)
		if a == nil || args[1].IsNull(i) {
			return types.NullDatum, nil
		}
		var null []byte
		has := len(args) > 2 && !args[2].IsNull(i)
		if has {
			null = args[2].Bytes[i]
		}
		return types.NewBytes(arrayToText(ctx, a, args[1].Bytes[i], null, has)), nil
	}), "array_to_text", "array_to_text_null")
	set := func(f func(a, b *types.Array) bool, s string) {
		reg(rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
			out.Ints[i] = b2i(f(arrayAt(args[0], i), arrayAt(args[1], i)))
			return nil
		}), s)
	}
	set(containsAll, "arraycontains")
	set(func(a, b *types.Array) bool { return containsAll(b, a) }, "arraycontained")
	set(func(a, b *types.Array) bool {
		for _, x := range a.Elems {
			if hasElem(b, x) {
				return true
			}
		}
		return false
	}, "arrayoverlap")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		a, n := arrayAt(args[0], i), args[1].Ints[i]
		l := int64(0)
		if len(a.Dims) > 0 {
			l = int64(a.Dims[0].Len)
		}
		if n < 0 || n > l {
			return types.Datum{}, pgerr.New(pgerr.ArraySubscriptError, "number of elements to trim must be between 0 and %d", l)
		}
		if len(a.Dims) == 0 {
			return types.NewArray(a), nil
		}
		return types.NewArray(sliceArray(a, []int64{int64(a.Dims[0].Lower), int64(a.Dims[0].Lower) + l - n - 1})), nil
	}), "trim_array")
	reg(datumKernel(arrayFill), "array_fill", "array_fill_with_lower_bounds")

	// bytea
	reg(map3(bytesOf, ints, ints, bytesOf, func(b []byte, from, n int64) ([]byte, error) { return byteaSubstr(b, from, n, true) }), "bytea_substr")
	reg(map2(bytesOf, ints, bytesOf, func(b []byte, from int64) ([]byte, error) { return byteaSubstr(b, from, 0, false) }), "bytea_substr_no_len")
	reg(pure2(bytesOf, bytesOf, ints, func(s, sub []byte) int64 { return int64(bytes.Index(s, sub)) + 1 }), "byteapos")
	trimBytes := func(left, right bool) Kernel {
		return pure2(bytesOf, bytesOf, bytesOf, func(b, set []byte) []byte {
			for left && len(b) > 0 && bytes.IndexByte(set, b[0]) >= 0 {
				b = b[1:]
			}
			for right && len(b) > 0 && bytes.IndexByte(set, b[len(b)-1]) >= 0 {
				b = b[:len(b)-1]
			}
			return nonNil(b)
		})
	}
	reg(trimBytes(true, true), "byteatrim")
	reg(trimBytes(true, false), "bytealtrim")
	reg(trimBytes(false, true), "byteartrim")
	index := func(b []byte, k, last int64) error {
		if k < 0 || k >= last {
			return pgerr.New(pgerr.ArraySubscriptError, "index %d out of valid range, 0..%d", k, last-1)
		}
		return nil
	}
	reg(map2(bytesOf, ints, ints, func(b []byte, k int64) (int64, error) {
		if err := index(b, k, int64(len(b))); err != nil {
			return 0, err
		}
		return int64(b[k]), nil
	}), "byteaGetByte")
	reg(map3(bytesOf, ints, ints, bytesOf, func(b []byte, k, x int64) ([]byte, error) {
		if err := index(b, k, int64(len(b))); err != nil {
			return nil, err
		}
		out := bytes.Clone(b)
		out[k] = byte(x)
		return out, nil
	}), "byteaSetByte")
	reg(map2(bytesOf, ints, ints, func(b []byte, k int64) (int64, error) {
		if err := index(b, k, 8*int64(len(b))); err != nil {
			return 0, err
		}
		return int64(b[k/8] >> (k % 8) & 1), nil
	}), "byteaGetBit")
	reg(pure1(bytesOf, ints, func(b []byte) int64 {
		n := int64(0)
		for _, c := range b {
			for ; c != 0; c &= c - 1 {
				n++
			}
		}
		return n
	}), "bytea_bit_count")
}

func byteaSubstr(b []byte, from, n int64, has bool) ([]byte, error) {
	end := int64(len(b)) + 1
	if has {
		if n < 0 {
			return nil, pgerr.New(pgerr.SubstringError, "negative substring length not allowed")
		}
		end = min(end, from+n)
	}
	from = max(from, 1)
	if end <= from {
		return []byte{}, nil
	}
	return b[from-1 : end-1 : end-1], nil
}

func arrayFill(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
	dims := arrayAt(args[1], i)
	var lower *types.Array
	if len(args) > 2 {
		lower = arrayAt(args[2], i)
	}
	if dims == nil || len(args) > 2 && lower == nil {
		return types.Datum{}, pgerr.New(pgerr.NullValueNotAllowed, "dimension array or low bound array cannot be null")
	}
	if len(dims.Dims) > 1 || lower != nil && len(lower.Dims) > 1 {
		return types.Datum{}, pgerr.New(pgerr.ArraySubscriptError, "wrong number of array subscripts").WithDetail("Dimension array must be one dimensional.")
	}
	out := &types.Array{Elem: args[0].Type.OID}
	if len(dims.Elems) == 0 {
		return types.NewArray(out), nil
	}
	if len(dims.Elems) > 6 {
		return types.Datum{}, pgerr.New(pgerr.ProgramLimitExceeded, "number of array dimensions (%d) exceeds the maximum allowed (%d)", len(dims.Elems), 6)
	}
	if lower != nil && len(lower.Elems) != len(dims.Elems) {
		return types.Datum{}, pgerr.New(pgerr.ArraySubscriptError, "wrong number of array subscripts").
			WithDetail("Low bound array has different size than dimensions array.")
	}
	total := int64(1)
	for k, d := range dims.Elems {
		if d.Null {
			return types.Datum{}, pgerr.New(pgerr.NullValueNotAllowed, "dimension values cannot be null")
		}
		lo := int64(1)
		if lower != nil {
			lo = lower.Elems[k].I
		}
		if d.I < 0 || total*max(d.I, 1) > 1<<27 {
			return types.Datum{}, pgerr.New(pgerr.ProgramLimitExceeded, "array size exceeds the maximum allowed (%d)", 1<<27-1)
		}
		total *= d.I
		out.Dims = append(out.Dims, types.ArrayDim{Len: int32(d.I), Lower: int32(lo)})
	}
	if total == 0 {
		out.Dims = nil
		return types.NewArray(out), nil
	}
	x := args[0].Get(i)
	for k := int64(0); k < total; k++ {
		out.Elems = append(out.Elems, x)
	}
	return types.NewArray(out), nil
}

func arrayAggError(what string) error { return pgerr.New(pgerr.ArraySubscriptError, "%s", what) }
