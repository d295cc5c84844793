package builtin

import (
	"bytes"
	"math"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Making of json and jsonb values, and reading of what is inside. A json value is its text, a jsonb value its canonical text,
// so both are taken apart by the same code.

func badJSONArg(format string, args ...any) *pgerr.Error {
	return pgerr.New(pgerr.InvalidParameterValue, format, args...)
}

func canonical(b []byte) ([]byte, error) { return types.CanonicalJSONB(b) }

// appendISOStamp is a timestamp as XML Schema and JSON have it.
func appendISOStamp(dst []byte, us int64, zoned bool, off int) []byte {
	dst = append(dst, '"')
	n := len(dst)
	dst = types.AppendTimestamp(dst, us+int64(off)*types.MicrosPerSecond, types.DefaultEnv)
	bc := bytes.HasSuffix(dst, []byte(" BC"))
	if bc {
		dst = dst[:len(dst)-3]
	}
	if i := bytes.IndexByte(dst[n:], ' '); i >= 0 {
		dst[n+i] = 'T'
	}
	if zoned {
		sign := byte('+')
		if off < 0 {
			sign, off = '-', -off
		}
		dst = pad0(append(dst, sign), int64(off/3600), 2, false)
		dst = pad0(append(dst, ':'), int64(off/60%60), 2, false)
		if s := off % 60; s != 0 {
			dst = pad0(append(dst, ':'), int64(s), 2, false)
		}
	}
	if bc {
		dst = append(dst, " BC"...)
	}
	return append(dst, '"')
}

// appendJSON appends a value as to_json shows it. nl is the separator between the elements of an outermost array or row.
func appendJSON(ctx *Context, dst []byte, t types.OID, d types.Datum, nl string) ([]byte, error) {
	if d.Null {
		return append(dst, "null"...), nil
	}
	switch t {
	case types.BoolOID:
		return strconv.AppendBool(dst, d.I != 0), nil
	case types.JSONOID, types.JSONBOID:
		return append(dst, d.B...), nil
	case types.Int2OID, types.Int4OID, types.Int8OID, types.Float4OID, types.Float8OID, types.NumericOID:
		special := math.IsNaN(d.F) || math.IsInf(d.F, 0)
		if t == types.NumericOID {
			special = d.Decimal().Form != apd.Finite
		}
		if !special {
			return types.AppendDatumText(dst, types.Of(t), d, ctx.TextEnv()), nil
		}
	case types.DateOID:
		dst = types.AppendDate(append(dst, '"'), d.I, types.DefaultEnv)
		return append(dst, '"'), nil
	case types.TimestampOID:
		if !types.IsInfinite(d.I) {
			return appendISOStamp(dst, d.I, false, 0), nil
		}
	case types.TimestamptzOID:
		if !types.IsInfinite(d.I) {
			off, _ := types.ZoneOffset(d.I, formatZone(ctx))
			return appendISOStamp(dst, d.I, true, off), nil
		}
	}
	switch x := d.A.(type) {
	case *types.Array:
		if len(x.Dims) == 0 {
			return append(dst, "[]"...), nil
		}
		pos := 0
		return appendJSONArray(ctx, dst, x, 0, &pos, nl)
	case *types.Record:
		dst = append(dst, '{')
		for k, f := range x.Fields {
			if k > 0 {
				dst = append(append(dst, ','), nl...)
			}
			dst = append(dst, "\"f"...)
			dst = append(strconv.AppendInt(dst, int64(k+1), 10), "\":"...)
			var err error
			if dst, err = appendJSON(ctx, dst, x.Types[k].OID, f, ""); err != nil {
				return nil, err
			}
		}
		return append(dst, '}'), nil
	}
	return types.AppendJSONString(dst, string(types.AppendDatumText(nil, types.Of(t), d, ctx.TextEnv()))), nil
}

func appendJSONArray(ctx *Context, dst []byte, a *types.Array, dim int, pos *int, nl string) ([]byte, error) {
	dst = append(dst, '[')
	for k := int32(0); k < a.Dims[dim].Len; k++ {
		if k > 0 {
			dst = append(append(dst, ','), nl...)
		}
		var err error
		if dim == len(a.Dims)-1 {
			dst, err = appendJSON(ctx, dst, a.Elem, a.Elems[*pos], "")
			*pos++
		} else {
			dst, err = appendJSONArray(ctx, dst, a, dim+1, pos, "")
		}
		if err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// appendKey appends an object's key, which any scalar can be.
func appendKey(ctx *Context, dst []byte, t types.OID, d types.Datum) ([]byte, error) {
	if t == types.JSONOID || t == types.JSONBOID || t == types.RecordOID || types.ElemOf(t) != 0 {
		return nil, badJSONArg("key value must be scalar, not array, composite, or json")
	}
	switch t {
	case types.BoolOID:
		return types.AppendJSONString(dst, strconv.FormatBool(d.I != 0)), nil
	case types.DateOID, types.TimestampOID, types.TimestamptzOID:
		return appendJSON(ctx, dst, t, d, "")
	}
	return types.AppendJSONString(dst, string(types.AppendDatumText(nil, types.Of(t), d, ctx.TextEnv()))), nil
}

func buildObject(ctx *Context, args []*types.Vec, i int, binary bool) ([]byte, error) {
	if len(args)%2 != 0 {
		name := "json_build_object"
		if binary {
			name = "jsonb_build_object"
		}
		return nil, badJSONArg("argument list must have even number of elements").
			WithHint("The arguments of %s() must consist of alternating keys and values.", name)
	}
	dst := []byte{'{'}
	for k := 0; k < len(args); k += 2 {
		if k > 0 {
			dst = append(dst, ", "...)
		}
		if args[k].IsNull(i) {
			if binary {
				return nil, badJSONArg("argument %d: key must not be null", k+1)
			}
			return nil, badJSONArg("argument %d cannot be null", k+1).WithHint("Object keys should be text.")
		}
		var err error
		if dst, err = appendKey(ctx, dst, args[k].Type.OID, args[k].Get(i)); err != nil {
			return nil, err
		}
		dst = append(dst, " : "...)
		if dst, err = appendJSON(ctx, dst, args[k+1].Type.OID, args[k+1].Get(i), ""); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func buildArray(ctx *Context, args []*types.Vec, i int) ([]byte, error) {
	dst := []byte{'['}
	for k, v := range args {
		if k > 0 {
			dst = append(dst, ", "...)
		}
		var err error
		if dst, err = appendJSON(ctx, dst, v.Type.OID, v.Get(i), ""); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}

// objectOfArrays is json_object(keys and values in turn) or json_object(keys, values).
func objectOfArrays(args []*types.Vec, i int) ([]byte, error) {
	a := args[0].Anys[i].(*types.Array)
	subscripts := func(msg string) error { return pgerr.New(pgerr.ArraySubscriptError, "%s", msg) }
	var keys, vals []types.Datum
	if len(args) == 2 {
		b := args[1].Anys[i].(*types.Array)
		if len(a.Dims) > 1 || len(a.Dims) != len(b.Dims) {
			return nil, subscripts("wrong number of array subscripts")
		}
		if len(a.Elems) != len(b.Elems) {
			return nil, subscripts("mismatched array dimensions")
		}
		keys, vals = a.Elems, b.Elems
	} else {
		switch {
		case len(a.Dims) == 1 && len(a.Elems)%2 != 0:
			return nil, subscripts("array must have even number of elements")
		case len(a.Dims) == 2 && a.Dims[1].Len != 2:
			return nil, subscripts("array must have two columns")
		case len(a.Dims) > 2:
			return nil, subscripts("wrong number of array subscripts")
		}
		for k := 0; k+1 < len(a.Elems); k += 2 {
			keys, vals = append(keys, a.Elems[k]), append(vals, a.Elems[k+1])
		}
	}
	dst := []byte{'{'}
	for k := range keys {
		if keys[k].Null {
			return nil, pgerr.New(pgerr.NullValueNotAllowed, "null value not allowed for object key")
		}
		if k > 0 {
			dst = append(dst, ", "...)
		}
		dst = append(types.AppendJSONString(dst, string(keys[k].B)), " : "...)
		if vals[k].Null {
			dst = append(dst, "null"...)
		} else {
			dst = types.AppendJSONString(dst, string(vals[k].B))
		}
	}
	return append(dst, '}'), nil
}

// field is a member of an object; the last one of that name counts.
func field(v *types.JSONValue, key string) *types.JSONValue {
	if v == nil || v.Kind != types.JSONObject {
		return nil
	}
	for k := len(v.Fields) - 1; k >= 0; k-- {
		if v.Fields[k].Key == key {
			return v.Fields[k].Value
		}
	}
	return nil
}

// element is an element of an array, from the end if i is negative.
func element(v *types.JSONValue, i int64) *types.JSONValue {
	if v == nil || v.Kind != types.JSONArray {
		return nil
	}
	if i < 0 {
		i += int64(len(v.Elems))
	}
	if i < 0 || i >= int64(len(v.Elems)) {
		return nil
	}
	return v.Elems[i]
}

func walkPath(v *types.JSONValue, path *types.Array) *types.JSONValue {
	for _, p := range path.Elems {
		if v == nil || p.Null {
			return nil
		}
		if v.Kind == types.JSONArray {
			n, err := strconv.ParseInt(strings.TrimSpace(string(p.B)), 10, 32)
			if err != nil {
				return nil
			}
			v = element(v, n)
		} else {
			v = field(v, string(p.B))
		}
	}
	return v
}

// textOf is a value as ->> shows it: strings without quotes, null as NULL.
func textOf(src []byte, v *types.JSONValue) types.Datum {
	switch {
	case v == nil || v.Kind == types.JSONNull:
		return types.NullDatum
	case v.Kind == types.JSONString:
		return types.NewString(v.Text)
	}
	return types.NewBytes(src[v.Start:v.End:v.End])
}

func rawOf(src []byte, v *types.JSONValue) types.Datum {
	if v == nil {
		return types.NullDatum
	}
	return types.NewBytes(src[v.Start:v.End:v.End])
}

// regPick registers a way into json under both types, as a value and as text.
func regPick(source string, pick func(v *types.JSONValue, args []*types.Vec, i int) *types.JSONValue) {
	get := func(out func(src []byte, v *types.JSONValue) types.Datum) Kernel {
		return datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
			src := args[0].Bytes[i]
			v, err := types.ParseJSON(src)
			if err != nil {
				return types.NullDatum, err
			}
			return out(src, pick(v, args, i)), nil
		})
	}
	reg(get(rawOf), "json_"+source, "jsonb_"+source)
	reg(get(textOf), "json_"+source+"_text", "jsonb_"+source+"_text")
}

var jsonTypeNames = map[types.JSONKind]string{types.JSONNull: "null", types.JSONString: "string", types.JSONNumber: "number",
	types.JSONBool: "boolean", types.JSONArray: "array", types.JSONObject: "object"}

// bytesKernel makes a kernel of a function that returns bytes.
func bytesKernel(f func(ctx *Context, args []*types.Vec, i int) ([]byte, error)) Kernel {
	return rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		b, err := f(ctx, args, i)
		out.Bytes[i] = b
		return err
	})
}

// canonicalKernel is bytesKernel for jsonb.
func canonicalKernel(f func(ctx *Context, args []*types.Vec, i int) ([]byte, error)) Kernel {
	return bytesKernel(func(ctx *Context, args []*types.Vec, i int) ([]byte, error) {
		b, err := f(ctx, args, i)
		if err != nil {
			return nil, err
		}
		return canonical(b)
	})
}

// map2Datum makes a kernel of a function on bytes and an integer.
func map2Datum(f func(b []byte, i int64) (types.Datum, error)) Kernel {
	return datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		return f(args[0].Bytes[i], args[1].Ints[i])
	})
}

func pretty(on bool) string {
	if on {
		return "\n "
	}
	return ""
}

func init() {
	regPick("object_field", func(v *types.JSONValue, args []*types.Vec, i int) *types.JSONValue {
		return field(v, string(args[1].Bytes[i]))
	})
	regPick("array_element", func(v *types.JSONValue, args []*types.Vec, i int) *types.JSONValue {
		return element(v, args[1].Ints[i])
	})
	regPick("extract_path", func(v *types.JSONValue, args []*types.Vec, i int) *types.JSONValue {
		return walkPath(v, args[1].Anys[i].(*types.Array))
	})
	// A scalar jsonb counts as an array of one; json does not.
	one := func(out func(src []byte, v *types.JSONValue) types.Datum) Kernel {
		return map2Datum(func(src []byte, i int64) (types.Datum, error) {
			v, err := types.ParseJSON(src)
			if err != nil {
				return types.NullDatum, err
			}
			if isScalar(v) && (i == 0 || i == -1) {
				return out(src, v), nil
			}
			return out(src, element(v, i)), nil
		})
	}
	reg(one(rawOf), "jsonb_array_element")
	reg(one(textOf), "jsonb_array_element_text")
	reg(map1(bytesOf, bytesOf, func(b []byte) ([]byte, error) {
		v, err := types.ParseJSON(b)
		if err != nil {
			return nil, err
		}
		return []byte(jsonTypeNames[v.Kind]), nil
	}), "json_typeof", "jsonb_typeof")
	reg(map1(bytesOf, ints, func(b []byte) (int64, error) {
		v, err := types.ParseJSON(b)
		switch {
		case err != nil:
			return 0, err
		case v.Kind == types.JSONArray:
			return int64(len(v.Elems)), nil
		case v.Kind == types.JSONObject:
			return 0, badJSONArg("cannot get array length of a non-array")
		}
		return 0, badJSONArg("cannot get array length of a scalar")
	}), "json_array_length", "jsonb_array_length")

	object := func(binary bool) func(ctx *Context, args []*types.Vec, i int) ([]byte, error) {
		return func(ctx *Context, args []*types.Vec, i int) ([]byte, error) { return buildObject(ctx, args, i, binary) }
	}
	reg(bytesKernel(object(false)), "json_build_object", "json_build_object_noargs")
	reg(canonicalKernel(object(true)), "jsonb_build_object", "jsonb_build_object_noargs")
	reg(bytesKernel(buildArray), "json_build_array", "json_build_array_noargs")
	reg(canonicalKernel(buildArray), "jsonb_build_array", "jsonb_build_array_noargs")
	fromArrays := func(_ *Context, args []*types.Vec, i int) ([]byte, error) { return objectOfArrays(args, i) }
	reg(bytesKernel(fromArrays), "json_object", "json_object_two_arg")
	reg(canonicalKernel(fromArrays), "jsonb_object", "jsonb_object_two_arg")
	any1 := func(ctx *Context, args []*types.Vec, i int) ([]byte, error) {
		nl := pretty(len(args) > 1 && args[1].Ints[i] != 0)
		return appendJSON(ctx, nil, args[0].Type.OID, args[0].Get(i), nl)
	}
	reg(bytesKernel(any1), "to_json", "row_to_json", "row_to_json_pretty", "array_to_json", "array_to_json_pretty")
	reg(canonicalKernel(any1), "to_jsonb")
}
