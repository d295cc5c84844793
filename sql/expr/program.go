package expr

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Runtime is what evaluation may refer to.
type Runtime struct {
	Ctx    *builtin.Context
	Params []types.Datum
	// Outer are the slots for values of enclosing queries.
	Outer []types.Datum
	// Subplan runs e's plan once, after its Args have been put into Outer from Slot on, and yields the rows'
	// only column (SubExists: one value if there is a row). limit is how many rows matter (0 = all).
	Subplan func(e *Subplan, limit int) (*SubplanRows, error)
}

// SubplanRows is a subquery's result. Who runs subqueries keeps it as long as it may be asked for again.
type SubplanRows struct {
	Values []types.Datum
	// set is for looking values up, made by the first IN that asks.
	set *anyNode
}

var emptyContext = &builtin.Context{}

func (rt *Runtime) context() *builtin.Context {
	if rt == nil || rt.Ctx == nil {
		return emptyContext
	}
	return rt.Ctx
}

func (rt *Runtime) env() *types.TextEnv { return rt.context().TextEnv() }

// Program is a compiled expression. It belongs to one goroutine.
type Program struct {
	root node
	t    types.Type
	one  types.Batch // for expressions without columns
	row  [1]int32
	// and is set if the expression is a conjunction: a filter narrows the rows arm by arm.
	and []node
}

// node computes one subexpression over the rows sel (nil = all) of in. The result belongs to the node until its next eval.
type node interface {
	eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error)
}

// Compile makes a program. The expression is folded first.
func Compile(e Expr) (*Program, error) {
	e = Fold(e)
	root, err := compile(e)
	if err != nil {
		return nil, err
	}
	p := &Program{root: root, t: e.Type(), one: types.Batch{N: 1}}
	if a, ok := root.(*andNode); ok {
		p.and = a.args
	} else {
		p.and = []node{root}
	}
	return p, nil
}

// Type is the result's type.
func (p *Program) Type() types.Type { return p.t }

// Eval computes the expression over the rows of in that count (nil in: one row without columns). The
// result has in.N values, of which only those rows' are meaningful; it is valid until the next Eval of
// this program and may be a column of in.
func (p *Program) Eval(rt *Runtime, in *types.Batch) (*types.Vec, error) {
	if in == nil {
		in = &p.one
	}
	return p.root.eval(rt, in, in.Sel)
}

// EvalRow computes the expression over row i of in (nil in: no columns). The result is valid as for Eval.
func (p *Program) EvalRow(rt *Runtime, in *types.Batch, i int) (types.Datum, error) {
	if in == nil {
		in = &p.one
	}
	var sel []int32
	if in.N != 1 {
		p.row[0] = int32(i)
		sel = p.row[:]
	}
	v, err := p.root.eval(rt, in, sel)
	if err != nil {
		return types.Datum{}, err
	}
	return v.Get(i), nil
}

// FilterSel appends to dst the rows of in that count and for which the boolean program is true.
// dst may be in.Sel[:0].
//
// What it returns is never nil, which would be all rows to whoever takes it for a selection: after an error, too, it is dst.
func (p *Program) FilterSel(rt *Runtime, in *types.Batch, dst []int32) ([]int32, error) {
	if dst == nil {
		dst = []int32{}
	}
	sel := in.Sel
	base, given := len(dst), dst
	for k, n := range p.and {
		if k > 0 {
			if sel = dst[base:]; len(sel) == 0 {
				break
			}
			dst = dst[:base]
		}
		if f, ok := n.(filterNode); ok {
			var err error
			if dst, ok, err = f.filter(rt, in, sel, dst); err != nil {
				return given, err
			} else if ok {
				continue
			}
		}
		v, err := n.eval(rt, in, sel)
		if err != nil {
			return given, err
		}
		dst = appendTrue(dst, v, in.N, sel)
	}
	return dst, nil
}

// filterNode is a condition with a direct way to the rows that pass; ok is false if it does not apply this time.
// dst may share sel's memory: row k is written after it was read.
type filterNode interface {
	filter(rt *Runtime, in *types.Batch, sel, dst []int32) (out []int32, ok bool, err error)
}

func appendTrue(dst []int32, v *types.Vec, n int, sel []int32) []int32 {
	xs := v.Ints
	if sel == nil {
		xs = xs[:n]
		if v.HasNulls {
			for i, x := range xs {
				if x != 0 && !v.Nulls[i] {
					dst = append(dst, int32(i))
				}
			}
			return dst
		}
		for i, x := range xs {
			if x != 0 {
				dst = append(dst, int32(i))
			}
		}
		return dst
	}
	for _, i := range sel {
		if xs[i] != 0 && !(v.HasNulls && v.Nulls[i]) {
			dst = append(dst, i)
		}
	}
	return dst
}

// EvalConst computes an expression without columns once. The result is the caller's.
func EvalConst(e Expr, rt *Runtime) (types.Datum, error) {
	switch x := e.(type) {
	case *Const:
		return x.Value, nil
	case *Param:
		if rt != nil && x.Index < len(rt.Params) {
			return rt.Params[x.Index], nil
		}
	}
	n, err := compile(e)
	if err != nil {
		return types.Datum{}, err
	}
	v, err := n.eval(rt, &types.Batch{N: 1}, nil)
	if err != nil {
		return types.Datum{}, err
	}
	return v.Get(0), nil
}

func compileAll(es []Expr) ([]node, error) {
	ns := make([]node, len(es))
	for i, e := range es {
		n, err := compile(e)
		if err != nil {
			return nil, err
		}
		ns[i] = n
	}
	return ns, nil
}

func compile(e Expr) (node, error) {
	switch x := e.(type) {
	case *Const:
		return &constNode{vec: types.Vec{Type: x.T, Repr: types.ReprOf(x.T.OID)}, value: x.Value}, nil
	case *Column:
		return columnNode(x.Index), nil
	case *Param:
		return &slotNode{vec: types.Vec{Type: x.T, Repr: types.ReprOf(x.T.OID)}, index: x.Index}, nil
	case *Outer:
		return &slotNode{vec: types.Vec{Type: x.T, Repr: types.ReprOf(x.T.OID)}, index: x.Index, outer: true}, nil
	case *Call:
		return compileCall(x)
	case *Convert:
		return compileConvert(x)
	case *And:
		args, err := compileAll(x.Args)
		return &andNode{logicNode{args: args}}, err
	case *Or:
		args, err := compileAll(x.Args)
		return &orNode{logicNode{args: args}}, err
	case *Not:
		a, err := compile(x.Arg)
		return &notNode{arg: a}, err
	case *IsNull:
		a, err := compile(x.Arg)
		return &isNullNode{arg: a, not: x.Not, row: isRowType(x.Arg)}, err
	case *BoolTest:
		a, err := compile(x.Arg)
		return &boolTestNode{arg: a, want: x.Want, not: x.Not}, err
	case *Case:
		return compileCase(x)
	case *Coalesce:
		args, err := compileAll(x.Args)
		return &coalesceNode{args: args, out: outVec(x.T)}, err
	case *Any:
		return compileAny(x)
	case *ArrayCtor:
		args, err := compileAll(x.Elems)
		return &arrayNode{args: args, elem: types.ElemOf(x.T.OID), out: outVec(x.T)}, err
	case *RowCtor:
		args, err := compileAll(x.Fields)
		n := &rowNode{args: args, out: outVec(x.T)}
		for _, f := range x.Fields {
			n.types = append(n.types, f.Type())
		}
		return n, err
	case *Distinct:
		args, err := compileAll([]Expr{x.Left, x.Right})
		if err != nil {
			return nil, err
		}
		if x.Fn.Kernel == nil {
			return nil, pgerr.Unsupported("function "+x.Fn.Name, "")
		}
		return &distinctNode{left: args[0], right: args[1], kernel: x.Fn.Kernel, not: x.Not}, nil
	case *MinMax:
		args, err := compileAll(x.Args)
		return &minMaxNode{args: args, least: x.Least, out: outVec(x.T)}, err
	case *Subplan:
		return compileSubplan(x)
	}
	return nil, pgerr.New(pgerr.InternalError, "unknown expression node %T", e)
}

func isRowType(e Expr) bool { return e.Type().OID == types.RecordOID }

func outVec(t types.Type) types.Vec { return types.Vec{Type: t, Repr: types.ReprOf(t.OID)} }

func boolVec() types.Vec { return outVec(types.Of(types.BoolOID)) }

// begin makes v ready to take n values, none of them NULL.
func begin(v *types.Vec, n int) {
	v.HasNulls = false
	if v.N != n {
		v.Resize(n)
	}
}

// columnNode is a column of the input.
type columnNode int

func (c columnNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	return in.Cols[c], nil
}

type constNode struct {
	vec    types.Vec
	value  types.Datum
	filled int
}

func (c *constNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	if n := in.N; n != c.vec.N {
		if n > c.filled {
			c.vec.Fill(c.value, n)
			c.filled = n
		} else {
			c.vec.Resize(n)
		}
	}
	return &c.vec, nil
}

// slotNode is a parameter or an outer value.
type slotNode struct {
	vec    types.Vec
	index  int
	outer  bool
	valid  bool // vec holds last, filled times
	last   int64
	filled int
}

func (s *slotNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	slots := rt.Params
	if s.outer {
		slots = rt.Outer
	}
	if s.index >= len(slots) {
		return nil, pgerr.New(pgerr.UndefinedParameter, "there is no parameter $%d", s.index+1)
	}
	d := &slots[s.index]
	n := in.N
	if s.vec.Repr == types.ReprInt && !d.Null {
		if n == 1 {
			// The hot path of prepared statements.
			if cap(s.vec.Ints) == 0 {
				s.vec.Resize(1)
			}
			s.vec.Ints = s.vec.Ints[:1]
			s.vec.Ints[0] = d.I
			s.vec.HasNulls = false
			s.vec.N = 1
			s.valid = false
			return &s.vec, nil
		}
		if s.valid && s.last == d.I && n <= s.filled {
			s.vec.Resize(n)
			return &s.vec, nil
		}
		s.valid, s.last, s.filled = true, d.I, n
	} else {
		s.valid = false
	}
	s.vec.Fill(*d, n)
	return &s.vec, nil
}

// callNode is a function over its arguments' vectors.
type callNode struct {
	kernel builtin.Kernel
	strict bool
	args   []node
	argv   []*types.Vec
	out    types.Vec
	sel    []int32
}

func compileCall(x *Call) (node, error) {
	if x.Fn.ReturnsSet {
		return nil, pgerr.New(pgerr.FeatureNotSupported, "set-returning functions are not allowed here")
	}
	k := x.Fn.Kernel
	if k == nil {
		return nil, checkKernel(x)
	}
	args, err := compileAll(x.Args)
	if err != nil {
		return nil, err
	}
	c := &callNode{kernel: k, strict: x.Fn.Strict, args: args, argv: make([]*types.Vec, len(args)), out: outVec(x.T)}
	if f := compareFilter(x, c); f != nil {
		return f, nil
	}
	return c, nil
}

func (c *callNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	nulls := false
	for i, a := range c.args {
		v, err := a.eval(rt, in, sel)
		if err != nil {
			return nil, err
		}
		c.argv[i] = v
		nulls = nulls || v.HasNulls
	}
	n := in.N
	out := &c.out
	begin(out, n)
	if nulls && c.strict {
		if sel = maskNulls(c.argv, n, sel, out, &c.sel); sel != nil && len(sel) == 0 {
			return out, nil
		}
	}
	return out, c.kernel(rt.context(), c.argv, n, sel, out)
}

// maskNulls makes out NULL where an argument is, and returns the other rows. The result is sel itself if no row has a NULL.
func maskNulls(args []*types.Vec, n int, sel []int32, out *types.Vec, buf *[]int32) []int32 {
	if cap(*buf) < n {
		*buf = make([]int32, 0, n)
	}
	live := (*buf)[:0]
	if sel == nil {
		for i := 0; i < n; i++ {
			if anyNull(args, i) {
				out.SetNull(i)
			} else {
				live = append(live, int32(i))
			}
		}
		if len(live) == n {
			return nil
		}
	} else {
		for _, i := range sel {
			if anyNull(args, int(i)) {
				out.SetNull(int(i))
			} else {
				live = append(live, i)
			}
		}
		if len(live) == len(sel) {
			return sel
		}
	}
	*buf = live
	return live
}

func anyNull(args []*types.Vec, i int) bool {
	for _, v := range args {
		if v.HasNulls && v.Nulls[i] {
			return true
		}
	}
	return false
}
