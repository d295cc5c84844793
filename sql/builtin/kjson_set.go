package builtin

import (
	"encoding/binary"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// json and jsonb as sets of rows, and the other way round: json_agg and its siblings.

// jsonRows makes a set kernel that yields one row per element or member.
func jsonRows(name string, array, text, keysOnly bool) SetKernel {
	binary := name[:5] == "jsonb"
	return func(_ *Context, args []types.Datum, _ []types.Type) (RowSource, error) {
		src := args[0].Clone().B
		v, err := types.ParseJSON(src)
		if err != nil {
			return nil, err
		}
		if err := wrongKind(v, name, binary, array, keysOnly); err != nil {
			return nil, err
		}
		value := func(v *types.JSONValue) types.Datum {
			if text {
				return textOf(src, v)
			}
			return rawOf(src, v)
		}
		var rows [][]types.Datum
		for _, e := range v.Elems {
			rows = append(rows, []types.Datum{value(e)})
		}
		for _, f := range v.Fields {
			row := []types.Datum{types.NewString(f.Key)}
			if !keysOnly {
				row = append(row, value(f.Value))
			}
			rows = append(rows, row)
		}
		return RowsSource(rows), nil
	}
}

func wrongKind(v *types.JSONValue, name string, binary, array, keysOnly bool) error {
	switch {
	case array && v.Kind != types.JSONArray:
		if binary {
			if v.Kind == types.JSONObject {
				return badJSONArg("cannot extract elements from an object")
			}
			return badJSONArg("cannot extract elements from a scalar")
		}
		if v.Kind == types.JSONObject {
			return badJSONArg("cannot call %s on a non-array", name)
		}
		return badJSONArg("cannot call %s on a scalar", name)
	case !array && v.Kind != types.JSONObject:
		if keysOnly {
			if v.Kind == types.JSONArray {
				return badJSONArg("cannot call %s on an array", name)
			}
			return badJSONArg("cannot call %s on a scalar", name)
		}
		if binary {
			return badJSONArg("cannot call %s on a non-object", name)
		}
		if v.Kind == types.JSONArray {
			return badJSONArg("cannot deconstruct an array as an object")
		}
		return badJSONArg("cannot deconstruct a scalar")
	}
	return nil
}

// jsonAcc collects the text of an array or object for each group.
type jsonAcc struct {
	object, binary bool
	text           [][]byte
	size           int64
}

func (a *jsonAcc) Grow(n int) { a.text = growTo(a.text, n) }

func (a *jsonAcc) Add(ctx *Context, groups []int32, args []*types.Vec, n int, sel []int32) error {
	return eachGroup(groups, n, sel, func(g, i int) error {
		b := a.text[g]
		before := len(b)
		v := args[len(args)-1]
		t := v.Type.OID
		if b == nil {
			b = append(b, '[')
			if a.object {
				b[0] = '{'
				b = append(b, ' ')
			}
		} else {
			b = append(b, ", "...)
			if !a.object && (t == types.RecordOID || types.ElemOf(t) != 0) {
				b = append(b, "\n "...)
			}
		}
		var err error
		if a.object {
			k := args[0]
			if k.IsNull(i) {
				return badJSONArg("field name must not be null")
			}
			if b, err = appendKey(ctx, b, k.Type.OID, k.Get(i)); err != nil {
				return err
			}
			b = append(b, " : "...)
		}
		if b, err = appendJSON(ctx, b, t, v.Get(i), ""); err != nil {
			return err
		}
		a.size += int64(len(b) - before)
		a.text[g] = b
		return nil
	})
}

func (a *jsonAcc) AppendState(dst []byte, g int) ([]byte, error) {
	dst = binary.AppendUvarint(dst, uint64(len(a.text[g])))
	return append(dst, a.text[g]...), nil
}

// MergeState appends another state's rows behind those of group g.
func (a *jsonAcc) MergeState(_ *Context, g int, state []byte) error {
	n, w := binary.Uvarint(state)
	if w <= 0 || n != uint64(len(state)-w) {
		return pgerr.New(pgerr.InternalError, "corrupt json aggregate state")
	}
	more := state[w:]
	a.size += int64(len(more))
	switch {
	case len(more) == 0:
	case a.text[g] == nil:
		a.text[g] = append([]byte(nil), more...)
	default:
		// Both begin with their bracket, the object's with a blank behind it.
		skip := 1
		if a.object {
			skip = 2
		}
		a.text[g] = append(append(a.text[g], ", "...), more[skip:]...)
	}
	return nil
}

func (a *jsonAcc) Result(_ *Context, lo, hi int, out *types.Vec) error {
	for g := lo; g < hi; g++ {
		b := a.text[g]
		if b == nil {
			out.AppendNull()
			continue
		}
		b = append([]byte(nil), b...)
		if a.object {
			b = append(b, " }"...)
		} else {
			b = append(b, ']')
		}
		if a.binary {
			var err error
			if b, err = canonical(b); err != nil {
				return err
			}
		}
		out.AppendDatum(types.NewBytes(b))
	}
	return nil
}

func (a *jsonAcc) MemSize() int64 { return 24*int64(cap(a.text)) + 2*a.size }

func (a *jsonAcc) Reset() {
	clear(a.text)
	a.text, a.size = a.text[:0], 0
}

func init() {
	for _, p := range []string{"json", "jsonb"} {
		for _, s := range []string{"", "_text"} {
			RegisterSetKernel(p+"_array_elements"+s, jsonRows(p+"_array_elements"+s, true, s != "", false), nil, nil)
			RegisterSetKernel(p+"_each"+s, jsonRows(p+"_each"+s, false, s != "", false), nil, nil)
		}
		RegisterSetKernel(p+"_object_keys", jsonRows(p+"_object_keys", false, false, true), nil, nil)
		bin := p == "jsonb"
		RegisterAggregate(p+"_agg(anyelement)", true, func([]types.Type, types.Type) Accumulator { return &jsonAcc{binary: bin} })
		RegisterAggregate(p+"_object_agg(any,any)", true, func([]types.Type, types.Type) Accumulator { return &jsonAcc{binary: bin, object: true} })
	}
}
