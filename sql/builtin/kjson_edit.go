package builtin

import (
	"slices"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// What is done with jsonb values: containment, concatenation, deletion, replacement, casts.

type jsonValue = types.JSONValue

func isScalar(v *jsonValue) bool { return v.Kind != types.JSONArray && v.Kind != types.JSONObject }

func equalJSON(a, b *jsonValue) bool {
	if a.Kind != b.Kind {
		return false
	}
	switch a.Kind {
	case types.JSONNull:
		return true
	case types.JSONString:
		return a.Text == b.Text
	case types.JSONBool:
		return a.Bool == b.Bool
	case types.JSONNumber:
		x, err1 := types.ParseNumeric([]byte(a.Text))
		y, err2 := types.ParseNumeric([]byte(b.Text))
		return err1 == nil && err2 == nil && types.CompareNumeric(x, y) == 0
	}
	return false
}

// deepContains is @>: every member and element of b is in a, in depth.
func deepContains(a, b *jsonValue) bool {
	if a.Kind != b.Kind {
		return false
	}
	switch a.Kind {
	case types.JSONObject:
		for _, f := range b.Fields {
			v := field(a, f.Key)
			if v == nil || v.Kind != f.Value.Kind {
				return false
			}
			if !deepContains(v, f.Value) {
				return false
			}
		}
		return true
	case types.JSONArray:
		for _, e := range b.Elems {
			if !slices.ContainsFunc(a.Elems, func(x *jsonValue) bool { return deepContains(x, e) }) {
				return false
			}
		}
		return true
	}
	return equalJSON(a, b)
}

// jsonContains: at the top an array also contains a bare scalar.
func jsonContains(a, b *jsonValue) bool {
	if a.Kind == types.JSONArray && isScalar(b) {
		return slices.ContainsFunc(a.Elems, func(x *jsonValue) bool { return equalJSON(x, b) })
	}
	return deepContains(a, b)
}

// hasKey is ?: a key of an object, or a string in an array or by itself.
func hasKey(v *jsonValue, key string) bool {
	isKey := func(x *jsonValue) bool { return x.Kind == types.JSONString && x.Text == key }
	switch v.Kind {
	case types.JSONObject:
		return field(v, key) != nil
	case types.JSONArray:
		return slices.ContainsFunc(v.Elems, isKey)
	}
	return isKey(v)
}

func jsonConcat(a, b *jsonValue) *jsonValue {
	if a.Kind == types.JSONObject && b.Kind == types.JSONObject {
		return &jsonValue{Kind: types.JSONObject, Fields: append(append([]types.JSONField(nil), a.Fields...), b.Fields...)}
	}
	list := func(v *jsonValue) []*jsonValue {
		if v.Kind == types.JSONArray {
			return v.Elems
		}
		return []*jsonValue{v}
	}
	return &jsonValue{Kind: types.JSONArray, Elems: append(append([]*jsonValue(nil), list(a)...), list(b)...)}
}

func deleteKeys(v *jsonValue, keys func(string) bool) (*jsonValue, error) {
	out := &jsonValue{Kind: v.Kind}
	switch v.Kind {
	case types.JSONObject:
		for _, f := range v.Fields {
			if !keys(f.Key) {
				out.Fields = append(out.Fields, f)
			}
		}
	case types.JSONArray:
		for _, e := range v.Elems {
			if e.Kind != types.JSONString || !keys(e.Text) {
				out.Elems = append(out.Elems, e)
			}
		}
	default:
		return nil, badJSONArg("cannot delete from scalar")
	}
	return out, nil
}

func deleteIndex(v *jsonValue, i int64) (*jsonValue, error) {
	switch v.Kind {
	case types.JSONObject:
		return nil, badJSONArg("cannot delete from object using integer index")
	case types.JSONArray:
	default:
		return nil, badJSONArg("cannot delete from scalar")
	}
	if i < 0 {
		i += int64(len(v.Elems))
	}
	if i < 0 || i >= int64(len(v.Elems)) {
		return v, nil
	}
	return &jsonValue{Kind: types.JSONArray, Elems: slices.Concat(v.Elems[:i], v.Elems[i+1:])}, nil
}

// pathEdit says what to do at the end of a path.
type pathEdit struct {
	path    []types.Datum
	value   *jsonValue
	remove  bool
	replace bool // what is there already
	create  bool // what is missing
	insert  bool // beside what is there already
	after   bool
}

func (e *pathEdit) apply(v *jsonValue, level int) (*jsonValue, error) {
	if isScalar(v) || level >= len(e.path) {
		return v, nil
	}
	p := e.path[level]
	if p.Null {
		return nil, pgerr.New(pgerr.NullValueNotAllowed, "path element at position %d is null", level+1)
	}
	last := level == len(e.path)-1
	out := &jsonValue{Kind: v.Kind}
	if v.Kind == types.JSONObject {
		key := string(p.B)
		found := false
		for _, f := range v.Fields {
			if f.Key != key {
				out.Fields = append(out.Fields, f)
				continue
			}
			found = true
			switch {
			case !last:
				x, err := e.apply(f.Value, level+1)
				if err != nil {
					return nil, err
				}
				out.Fields = append(out.Fields, types.JSONField{Key: key, Value: x})
			case e.remove:
			case e.insert:
				return nil, badJSONArg("cannot replace existing key").WithHint("Try using the function jsonb_set to replace key value.")
			default:
				out.Fields = append(out.Fields, types.JSONField{Key: key, Value: e.value})
			}
		}
		if !found && last && (e.create || e.insert) {
			out.Fields = append(out.Fields, types.JSONField{Key: key, Value: e.value})
		}
		return out, nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(p.B)), 10, 32)
	if err != nil {
		return nil, pgerr.New(pgerr.InvalidTextRepresentation, "path element at position %d is not an integer: \"%s\"", level+1, p.B)
	}
	count := int64(len(v.Elems))
	if n < 0 {
		n += count
	}
	add := last && (e.create || e.insert)
	if n < 0 && add {
		out.Elems = append(out.Elems, e.value)
	}
	for k, x := range v.Elems {
		if int64(k) != n {
			out.Elems = append(out.Elems, x)
			continue
		}
		switch {
		case !last:
			y, err := e.apply(x, level+1)
			if err != nil {
				return nil, err
			}
			out.Elems = append(out.Elems, y)
		case e.remove:
		case e.insert && e.after:
			out.Elems = append(out.Elems, x, e.value)
		case e.insert:
			out.Elems = append(out.Elems, e.value, x)
		default:
			out.Elems = append(out.Elems, e.value)
		}
	}
	if n >= count && add {
		out.Elems = append(out.Elems, e.value)
	}
	return out, nil
}

func (e *pathEdit) run(v *jsonValue, path *types.Array, verb string) (*jsonValue, error) {
	if len(path.Dims) > 1 {
		return nil, pgerr.New(pgerr.ArraySubscriptError, "wrong number of array subscripts")
	}
	if isScalar(v) {
		return nil, badJSONArg("cannot %s path in scalar", verb)
	}
	e.path = path.Elems
	if len(e.path) == 0 {
		return v, nil
	}
	return e.apply(v, 0)
}

func stripNulls(v *jsonValue) *jsonValue {
	out := *v
	out.Fields, out.Elems = nil, nil
	for _, f := range v.Fields {
		if f.Value.Kind != types.JSONNull {
			out.Fields = append(out.Fields, types.JSONField{Key: f.Key, Value: stripNulls(f.Value)})
		}
	}
	for _, e := range v.Elems {
		out.Elems = append(out.Elems, stripNulls(e))
	}
	return &out
}

// appendCompact writes json without blanks, numbers as they were written.
func appendCompact(dst []byte, v *jsonValue) []byte {
	switch v.Kind {
	case types.JSONNull:
		return append(dst, "null"...)
	case types.JSONBool:
		return strconv.AppendBool(dst, v.Bool)
	case types.JSONNumber:
		return append(dst, v.Text...)
	case types.JSONString:
		return types.AppendJSONString(dst, v.Text)
	case types.JSONArray:
		dst = append(dst, '[')
		for k, e := range v.Elems {
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = appendCompact(dst, e)
		}
		return append(dst, ']')
	}
	dst = append(dst, '{')
	for k, f := range v.Fields {
		if k > 0 {
			dst = append(dst, ',')
		}
		dst = appendCompact(append(types.AppendJSONString(dst, f.Key), ':'), f.Value)
	}
	return append(dst, '}')
}

func appendPretty(dst []byte, v *jsonValue, depth int) ([]byte, error) {
	line := func(d int) {
		dst = append(dst, '\n')
		for ; d > 0; d-- {
			dst = append(dst, "    "...)
		}
	}
	var err error
	switch v.Kind {
	case types.JSONArray:
		dst = append(dst, '[')
		for k, e := range v.Elems {
			if k > 0 {
				dst = append(dst, ',')
			}
			line(depth + 1)
			if dst, err = appendPretty(dst, e, depth+1); err != nil {
				return nil, err
			}
		}
		line(depth)
		return append(dst, ']'), nil
	case types.JSONObject:
		dst = append(dst, '{')
		for k, f := range v.Fields {
			if k > 0 {
				dst = append(dst, ',')
			}
			line(depth + 1)
			dst = append(types.AppendJSONString(dst, f.Key), ": "...)
			if dst, err = appendPretty(dst, f.Value, depth+1); err != nil {
				return nil, err
			}
		}
		line(depth)
		return append(dst, '}'), nil
	}
	return types.AppendJSONB(dst, v)
}

// jsonbCast reads a scalar of a kind out of a jsonb value.
func jsonbCast(b []byte, want types.JSONKind, typ string) (*jsonValue, error) {
	v, err := types.ParseJSON(b)
	if err != nil {
		return nil, err
	}
	if v.Kind != want {
		what := map[types.JSONKind]string{types.JSONNull: "null", types.JSONString: "string", types.JSONNumber: "numeric",
			types.JSONBool: "boolean", types.JSONArray: "array", types.JSONObject: "object"}[v.Kind]
		return nil, badJSONArg("cannot cast jsonb %s to type %s", what, typ)
	}
	return v, nil
}

// jsonb1 and jsonb2 make kernels of functions on parsed values.
func jsonb1(f func(v *jsonValue, args []*types.Vec, i int) (*jsonValue, error)) Kernel {
	return bytesKernel(func(_ *Context, args []*types.Vec, i int) ([]byte, error) {
		v, err := types.ParseJSON(args[0].Bytes[i])
		if err != nil {
			return nil, err
		}
		r, err := f(v, args, i)
		if err != nil {
			return nil, err
		}
		return types.AppendJSONB(nil, r)
	})
}

func jsonb2(f func(a, b *jsonValue) bool) Kernel {
	return map2(bytesOf, bytesOf, ints, func(x, y []byte) (int64, error) {
		a, err := types.ParseJSON(x)
		if err != nil {
			return 0, err
		}
		b, err := types.ParseJSON(y)
		return b2i(err == nil && f(a, b)), err
	})
}

func setPath(args []*types.Vec, i int) pathEdit {
	return pathEdit{replace: true, create: len(args) < 4 || args[3].Ints[i] != 0}
}

func init() {
	reg(jsonb2(jsonContains), "jsonb_contains")
	reg(jsonb2(func(a, b *jsonValue) bool { return jsonContains(b, a) }), "jsonb_contained")
	reg(map2(bytesOf, bytesOf, ints, func(b, key []byte) (int64, error) {
		v, err := types.ParseJSON(b)
		return b2i(err == nil && hasKey(v, string(key))), err
	}), "jsonb_exists")
	exists := func(all bool) Kernel {
		return map2(bytesOf, anys, ints, func(b []byte, keys any) (int64, error) {
			v, err := types.ParseJSON(b)
			if err != nil {
				return 0, err
			}
			for _, k := range keys.(*types.Array).Elems {
				if !k.Null && hasKey(v, string(k.B)) != all {
					return b2i(!all), nil
				}
			}
			return b2i(all), nil
		})
	}
	reg(exists(false), "jsonb_exists_any")
	reg(exists(true), "jsonb_exists_all")
	reg(jsonb1(func(v *jsonValue, args []*types.Vec, i int) (*jsonValue, error) {
		w, err := types.ParseJSON(args[1].Bytes[i])
		if err != nil {
			return nil, err
		}
		return jsonConcat(v, w), nil
	}), "jsonb_concat")
	reg(jsonb1(func(v *jsonValue, args []*types.Vec, i int) (*jsonValue, error) {
		key := string(args[1].Bytes[i])
		return deleteKeys(v, func(k string) bool { return k == key })
	}), "jsonb_delete")
	reg(jsonb1(func(v *jsonValue, args []*types.Vec, i int) (*jsonValue, error) {
		keys := map[string]bool{}
		for _, k := range args[1].Anys[i].(*types.Array).Elems {
			if !k.Null {
				keys[string(k.B)] = true
			}
		}
		return deleteKeys(v, func(k string) bool { return keys[k] })
	}), "jsonb_delete_array")
	reg(jsonb1(func(v *jsonValue, args []*types.Vec, i int) (*jsonValue, error) {
		return deleteIndex(v, args[1].Ints[i])
	}), "jsonb_delete_idx")
	reg(jsonb1(func(v *jsonValue, args []*types.Vec, i int) (*jsonValue, error) {
		return (&pathEdit{remove: true}).run(v, args[1].Anys[i].(*types.Array), "delete")
	}), "jsonb_delete_path")
	reg(jsonb1(func(v *jsonValue, args []*types.Vec, i int) (*jsonValue, error) {
		e := setPath(args, i)
		var err error
		if e.value, err = types.ParseJSON(args[2].Bytes[i]); err != nil {
			return nil, err
		}
		return e.run(v, args[1].Anys[i].(*types.Array), "set")
	}), "jsonb_set")
	reg(jsonb1(func(v *jsonValue, args []*types.Vec, i int) (*jsonValue, error) {
		e := pathEdit{insert: true, after: len(args) > 3 && args[3].Ints[i] != 0}
		var err error
		if e.value, err = types.ParseJSON(args[2].Bytes[i]); err != nil {
			return nil, err
		}
		return e.run(v, args[1].Anys[i].(*types.Array), "set")
	}), "jsonb_insert")
	reg(datumKernel(setLax), "jsonb_set_lax")
	reg(map1(bytesOf, bytesOf, func(b []byte) ([]byte, error) {
		v, err := types.ParseJSON(b)
		if err != nil {
			return nil, err
		}
		return appendCompact(nil, stripNulls(v)), nil
	}), "json_strip_nulls")
	reg(jsonb1(func(v *jsonValue, _ []*types.Vec, _ int) (*jsonValue, error) { return stripNulls(v), nil }), "jsonb_strip_nulls")
	reg(map1(bytesOf, bytesOf, func(b []byte) ([]byte, error) {
		v, err := types.ParseJSON(b)
		if err != nil {
			return nil, err
		}
		return appendPretty(nil, v, 0)
	}), "jsonb_pretty")

	reg(map1(bytesOf, ints, func(b []byte) (int64, error) {
		v, err := jsonbCast(b, types.JSONBool, "boolean")
		return b2i(err == nil && v.Bool), err
	}), "jsonb_bool")
	number := func(to types.OID) Kernel {
		return datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
			v, err := jsonbCast(args[0].Bytes[i], types.JSONNumber, types.FormatType(types.Of(to)))
			if err != nil {
				return types.Datum{}, err
			}
			d, err := types.ParseNumeric([]byte(v.Text))
			if err != nil {
				return types.Datum{}, err
			}
			switch to {
			case types.NumericOID:
				return types.NewDecimal(d), nil
			case types.Float4OID, types.Float8OID:
				return types.ParseText(types.Of(to), []byte(v.Text), types.DefaultEnv)
			}
			n, err := numericToInt(d, widths[types.Name(to)])
			return types.NewInt(n), err
		})
	}
	reg(number(types.NumericOID), "jsonb_numeric")
	reg(number(types.Int2OID), "jsonb_int2")
	reg(number(types.Int4OID), "jsonb_int4")
	reg(number(types.Int8OID), "jsonb_int8")
	reg(number(types.Float4OID), "jsonb_float4")
	reg(number(types.Float8OID), "jsonb_float8")
}

// setLax is jsonb_set with a say in what a NULL value does.
func setLax(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
	for _, k := range []int{0, 1, 3} {
		if args[k].IsNull(i) {
			return types.NullDatum, nil
		}
	}
	if args[4].IsNull(i) {
		return types.NullDatum, badJSONArg("null_value_treatment must be \"delete_key\", \"return_target\", \"use_json_null\", or \"raise_exception\"")
	}
	v, err := types.ParseJSON(args[0].Bytes[i])
	if err != nil {
		return types.NullDatum, err
	}
	e, verb := setPath(args, i), "set"
	if args[2].IsNull(i) {
		switch string(args[4].Bytes[i]) {
		case "raise_exception":
			return types.NullDatum, pgerr.New(pgerr.NullValueNotAllowed, "JSON value must not be null").
				WithDetail("Exception was raised because null_value_treatment is \"raise_exception\".").
				WithHint("To avoid, either change the null_value_treatment argument or ensure that an SQL NULL is not passed.")
		case "use_json_null":
			e.value = &jsonValue{Kind: types.JSONNull}
		case "delete_key":
			e, verb = pathEdit{remove: true}, "delete"
		case "return_target":
			return args[0].Get(i), nil
		default:
			return types.NullDatum, badJSONArg("null_value_treatment must be \"delete_key\", \"return_target\", \"use_json_null\", or \"raise_exception\"")
		}
	} else if e.value, err = types.ParseJSON(args[2].Bytes[i]); err != nil {
		return types.NullDatum, err
	}
	r, err := e.run(v, args[1].Anys[i].(*types.Array), verb)
	if err != nil {
		return types.NullDatum, err
	}
	b, err := types.AppendJSONB(nil, r)
	return types.NewBytes(b), err
}
