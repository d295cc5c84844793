package expr

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

func compileConvert(x *Convert) (node, error) {
	a, err := compile(x.Arg)
	if err != nil {
		return nil, err
	}
	from := x.Arg.Type()
	switch x.Via {
	case 'r':
		if types.ReprOf(from.OID) == types.ReprOf(x.T.OID) {
			return &relabelNode{arg: a, t: x.T, wrap: relabelWrap(from.OID, x.T.OID)}, nil
		}
		// Types that PostgreSQL keeps alike and we do not go through their text.
		return &textNode{arg: a, from: from, t: x.T, out: outVec(x.T)}, nil
	case 'i':
		return &textNode{arg: a, from: from, t: x.T, out: outVec(x.T)}, nil
	case 'm':
		return &modNode{arg: a, t: x.T, explicit: x.Explicit, out: outVec(x.T)}, nil
	case 'a':
		return compileArrayCast(a, from, x)
	}
	return nil, pgerr.New(pgerr.InternalError, "unknown conversion %q", x.Via)
}

// relabelWrap says how integers change when their type is relabelled: 'u' to unsigned (oid), 's' to signed 32 bits.
func relabelWrap(from, to types.OID) byte {
	unsigned := func(t types.OID) bool {
		return types.ReprOf(t) == types.ReprInt && types.Length(t) == 4 && t != types.Int4OID && t != types.DateOID
	}
	switch {
	case unsigned(to) && from == types.Int4OID:
		return 'u'
	case to == types.Int4OID && unsigned(from):
		return 's'
	}
	return 0
}

// relabelNode gives a vector another type; the payload is shared unless it must wrap.
type relabelNode struct {
	arg  node
	t    types.Type
	wrap byte
	out  types.Vec
	ints []int64
}

func (x *relabelNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	v, err := x.arg.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	x.out = *v
	x.out.Type = x.t
	if x.wrap != 0 {
		if cap(x.ints) < in.N {
			x.ints = make([]int64, in.N)
		}
		x.ints = x.ints[:in.N]
		forRows(in.N, sel, func(i int) {
			if x.wrap == 'u' {
				x.ints[i] = int64(uint32(v.Ints[i]))
			} else {
				x.ints[i] = int64(int32(v.Ints[i]))
			}
		})
		x.out.Ints = x.ints
	}
	return &x.out, nil
}

// textNode casts through the text forms of both types.
type textNode struct {
	arg  node
	from types.Type
	t    types.Type
	out  types.Vec
	buf  []byte
}

func (x *textNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	v, err := x.arg.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	env := rt.env()
	out := &x.out
	begin(out, in.N)
	isText := types.IsString(x.from.OID)
	toText := types.IsString(x.t.OID) && x.t.OID != types.NameOID
	one := func(i int) error {
		if v.HasNulls && v.Nulls[i] {
			out.SetNull(i)
			return nil
		}
		var s []byte
		if isText {
			s = v.Bytes[i]
		} else {
			x.buf = types.AppendText(x.buf[:0], v.Type, v, i, env)
			s = x.buf
			if toText {
				out.Set(i, types.NewBytes(append(make([]byte, 0, len(s)), s...)))
				return nil
			}
		}
		d, err := types.ParseText(x.t, s, env)
		if err != nil {
			return err
		}
		if !isText {
			d = d.Clone()
		}
		out.Set(i, d)
		return nil
	}
	return out, types.EachRow(in.N, sel, one)
}

// modNode coerces to a type's modifier.
type modNode struct {
	arg      node
	t        types.Type
	explicit bool
	out      types.Vec
}

func (x *modNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	v, err := x.arg.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	out := &x.out
	begin(out, in.N)
	return out, types.EachRow(in.N, sel, func(i int) error {
		if v.HasNulls && v.Nulls[i] {
			out.SetNull(i)
			return nil
		}
		d, err := types.ApplyMod(x.t, v.Get(i), x.explicit)
		if err != nil {
			return err
		}
		out.Set(i, d)
		return nil
	})
}

// arrayCastNode casts the elements of an array one by one.
type arrayCastNode struct {
	arg  node
	elem types.OID
	col  types.Vec // the elements of one array, as the input of cast
	cast *Program
	out  types.Vec
}

func compileArrayCast(a node, from types.Type, x *Convert) (node, error) {
	fe, te := types.Of(types.ElemOf(from.OID)), types.Of(types.ElemOf(x.T.OID))
	var e Expr = &Column{T: fe}
	if x.Fn != nil {
		args := []Expr{e}
		if len(x.Fn.Args) >= 2 {
			args = append(args, &Const{T: types.Of(types.Int4OID), Value: types.NewInt(-1)})
		}
		if len(x.Fn.Args) >= 3 {
			args = append(args, &Const{T: types.Of(types.BoolOID), Value: types.NewBool(x.Explicit)})
		}
		e = &Call{T: te, Fn: x.Fn, Args: args, Cast: true}
	} else {
		e = &Convert{T: te, Arg: e, Via: 'r'}
	}
	p, err := Compile(e)
	if err != nil {
		return nil, err
	}
	return &arrayCastNode{arg: a, elem: te.OID, col: outVec(fe), cast: p, out: outVec(x.T)}, nil
}

func (x *arrayCastNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	v, err := x.arg.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	out := &x.out
	begin(out, in.N)
	return out, types.EachRow(in.N, sel, func(i int) error {
		if v.HasNulls && v.Nulls[i] {
			out.SetNull(i)
			return nil
		}
		a := v.Anys[i].(*types.Array)
		x.col.ResetSame()
		for _, e := range a.Elems {
			x.col.AppendDatum(e)
		}
		b := types.Batch{N: len(a.Elems), Cols: []*types.Vec{&x.col}}
		r := &types.Array{Elem: x.elem, Dims: a.Dims, Elems: make([]types.Datum, len(a.Elems))}
		if b.N > 0 {
			res, err := x.cast.Eval(rt, &b)
			if err != nil {
				return err
			}
			for k := range r.Elems {
				r.Elems[k] = res.Get(k).Clone()
			}
		}
		out.Anys[i] = r
		return nil
	})
}

// arrayNode is ARRAY[...].
type arrayNode struct {
	args []node
	elem types.OID
	out  types.Vec
	vecs []*types.Vec
}

func evalAll(rt *Runtime, in *types.Batch, sel []int32, args []node, vecs []*types.Vec) ([]*types.Vec, error) {
	vecs = vecs[:0]
	for _, a := range args {
		v, err := a.eval(rt, in, sel)
		if err != nil {
			return vecs, err
		}
		vecs = append(vecs, v)
	}
	return vecs, nil
}

func (x *arrayNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	var err error
	if x.vecs, err = evalAll(rt, in, sel, x.args, x.vecs); err != nil {
		return nil, err
	}
	out := &x.out
	begin(out, in.N)
	nested := len(x.vecs) > 0 && types.ElemOf(x.vecs[0].Type.OID) == x.elem && x.vecs[0].Type.OID != x.elem
	return out, types.EachRow(in.N, sel, func(i int) error {
		if !nested {
			elems := make([]types.Datum, len(x.vecs))
			for k, v := range x.vecs {
				elems[k] = v.Get(i)
			}
			out.Anys[i] = types.MakeArray1(x.elem, elems)
			return nil
		}
		a, err := stackArrays(x.elem, x.vecs, i)
		out.Anys[i] = a
		return err
	})
}

// stackArrays makes arrays the rows of an array with a dimension more.
func stackArrays(elem types.OID, vecs []*types.Vec, i int) (*types.Array, error) {
	mismatch := func() error {
		return pgerr.New(pgerr.ArraySubscriptError, "multidimensional arrays must have array expressions with matching dimensions")
	}
	r := &types.Array{Elem: elem}
	var first *types.Array
	empties := 0
	for _, v := range vecs {
		if v.IsNull(i) {
			empties++
			continue
		}
		a := v.Anys[i].(*types.Array)
		if len(a.Dims) == 0 {
			empties++
			continue
		}
		if first == nil {
			first = a
			if len(a.Dims) >= 6 {
				return nil, pgerr.New(pgerr.ProgramLimitExceeded, "number of array dimensions (%d) exceeds the maximum allowed (%d)", len(a.Dims)+1, 6)
			}
			r.Dims = append([]types.ArrayDim{{Len: int32(len(vecs)), Lower: 1}}, a.Dims...)
		} else {
			if len(a.Dims) != len(first.Dims) {
				return nil, mismatch()
			}
			for d := range a.Dims {
				if a.Dims[d] != first.Dims[d] {
					return nil, mismatch()
				}
			}
		}
		r.Elems = append(r.Elems, a.Elems...)
	}
	if empties > 0 && first != nil {
		return nil, mismatch()
	}
	return r, nil
}

// rowNode is ROW(...).
type rowNode struct {
	args  []node
	types []types.Type
	out   types.Vec
	vecs  []*types.Vec
}

func (x *rowNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	var err error
	if x.vecs, err = evalAll(rt, in, sel, x.args, x.vecs); err != nil {
		return nil, err
	}
	out := &x.out
	begin(out, in.N)
	forRows(in.N, sel, func(i int) {
		r := &types.Record{Types: x.types, Fields: make([]types.Datum, len(x.vecs))}
		for k, v := range x.vecs {
			r.Fields[k] = v.Get(i)
		}
		out.Anys[i] = r
	})
	return out, nil
}

// quantifier applies "left op ANY/ALL" to one left value and a list, by the operator's kernel.
type quantifier struct {
	kernel      builtin.Kernel
	strict, all bool
	left, right types.Vec
	out         types.Vec
	argv        [2]*types.Vec
	sel         []int32
}

func newQuantifier(fn *builtin.Function, lt, rt types.Type, all bool) (*quantifier, error) {
	if fn.Kernel == nil {
		return nil, pgerr.Unsupported("function "+fn.Name, "")
	}
	return &quantifier{kernel: fn.Kernel, strict: fn.Strict, all: all, left: outVec(lt), right: outVec(rt), out: boolVec()}, nil
}

func (q *quantifier) test(ctx *builtin.Context, left types.Datum, elems []types.Datum) (types.Datum, error) {
	if len(elems) == 0 {
		return types.NewBool(q.all), nil
	}
	if left.Null && q.strict {
		return types.NullDatum, nil
	}
	n := len(elems)
	q.left.Fill(left, n)
	q.right.ResetSame()
	for _, e := range elems {
		q.right.AppendDatum(e)
	}
	begin(&q.out, n)
	q.argv[0], q.argv[1] = &q.left, &q.right
	var sel []int32
	if q.strict && q.right.HasNulls {
		sel = maskNulls(q.argv[1:], n, nil, &q.out, &q.sel)
	}
	if sel == nil || len(sel) > 0 {
		if err := q.kernel(ctx, q.argv[:], n, sel, &q.out); err != nil {
			return types.Datum{}, err
		}
	}
	null := false
	for i := 0; i < n; i++ {
		if q.out.HasNulls && q.out.Nulls[i] {
			null = true
		} else if (q.out.Ints[i] != 0) != q.all {
			return types.NewBool(!q.all), nil
		}
	}
	if null {
		return types.NullDatum, nil
	}
	return types.NewBool(q.all), nil
}
