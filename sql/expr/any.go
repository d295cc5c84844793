package expr

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// anyNode is "left op ANY/ALL (array)". Over a constant list with plain equality it looks values up in a set.
type anyNode struct {
	left, array node
	q           *quantifier
	elem        types.OID
	out         types.Vec

	// set is used if constant: the list never changes.
	constant bool
	isNull   bool // the constant array is NULL
	list     []types.Datum
	hasNull  bool
	negate   bool // <> ALL: NOT (= ANY)
	ints     map[int64]struct{}
	small    []int64
	texts    map[string]struct{}
	trim     bool
}

func compileAny(x *Any) (node, error) {
	l, err := compile(x.Left)
	if err != nil {
		return nil, err
	}
	a, err := compile(x.Array)
	if err != nil {
		return nil, err
	}
	elem := types.ElemOf(x.Array.Type().OID)
	q, err := newQuantifier(x.Fn, x.Left.Type(), types.Of(elem), x.All)
	if err != nil {
		return nil, err
	}
	n := &anyNode{left: l, array: a, q: q, elem: elem, out: boolVec()}
	c, ok := Fold(x.Array).(*Const)
	if !ok {
		return n, nil
	}
	n.constant = true
	if c.Value.Null {
		n.isNull = true
		return n, nil
	}
	n.list = c.Value.Array().Elems
	n.buildSet(x)
	return n, nil
}

// buildSet makes the set where equality of the representations is the operator.
func (n *anyNode) buildSet(x *Any) {
	eq := x.Fn
	if x.All {
		// x <> ALL (...) is NOT (x = ANY (...)).
		op := builtin.OperatorByFn(x.Fn)
		if op == nil || op.Name != "<>" {
			return
		}
		neg := builtin.OperatorByOID(op.Negate)
		if neg == nil {
			return
		}
		eq = neg.Fn
		n.negate = true
	}
	if op := builtin.OperatorByFn(eq); op == nil || op.Name != "=" {
		n.negate = false
		return
	}
	switch eq.Source {
	case "int2eq", "int4eq", "int8eq", "int24eq", "int42eq", "int28eq", "int82eq", "int48eq", "int84eq", "oideq", "date_eq", "timestamp_eq", "booleq", "chareq", "time_eq":
		n.ints = make(map[int64]struct{}, len(n.list))
		for _, e := range n.list {
			if e.Null {
				n.hasNull = true
				continue
			}
			if _, dup := n.ints[e.I]; !dup {
				n.ints[e.I] = struct{}{}
				n.small = append(n.small, e.I)
			}
		}
		if len(n.small) > 12 {
			n.small = nil
		}
	case "texteq", "bpchareq", "byteaeq", "uuid_eq", "nameeq":
		n.trim = eq.Source == "bpchareq"
		n.texts = make(map[string]struct{}, len(n.list))
		for _, e := range n.list {
			if e.Null {
				n.hasNull = true
				continue
			}
			b := e.B
			if n.trim {
				b = types.TrimBpchar(b)
			}
			n.texts[string(b)] = struct{}{}
		}
	default:
		n.negate = false
	}
}

func (n *anyNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	l, err := n.left.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	out := &n.out
	begin(out, in.N)
	if n.constant {
		if n.isNull {
			forRows(in.N, sel, out.SetNull)
			return out, nil
		}
		if n.ints != nil || n.texts != nil {
			n.lookUp(l, out, in.N, sel)
			return out, nil
		}
		return out, types.EachRow(in.N, sel, func(i int) error {
			d, err := n.q.test(rt.context(), l.Get(i), n.list)
			out.Set(i, d)
			return err
		})
	}
	a, err := n.array.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	return out, types.EachRow(in.N, sel, func(i int) error {
		if a.IsNull(i) {
			out.SetNull(i)
			return nil
		}
		d, err := n.q.test(rt.context(), l.Get(i), a.Anys[i].(*types.Array).Elems)
		out.Set(i, d)
		return err
	})
}

func (n *anyNode) lookUp(l, out *types.Vec, rows int, sel []int32) {
	empty := len(n.list) == 0
	forRows(rows, sel, func(i int) {
		if l.HasNulls && l.Nulls[i] {
			if empty {
				out.Ints[i] = b2i(n.negate)
			} else {
				out.SetNull(i)
			}
			return
		}
		found := false
		switch {
		case n.small != nil:
			x := l.Ints[i]
			for _, e := range n.small {
				if e == x {
					found = true
					break
				}
			}
		case n.ints != nil:
			_, found = n.ints[l.Ints[i]]
		default:
			b := l.Bytes[i]
			if n.trim {
				b = types.TrimBpchar(b)
			}
			_, found = n.texts[string(b)]
		}
		if !found && n.hasNull {
			out.SetNull(i)
			return
		}
		out.Ints[i] = b2i(found != n.negate)
	})
}

// subplanNode runs a subquery: once if it has no arguments, otherwise for each row.
type subplanNode struct {
	e    *Subplan
	args []node
	left node
	q    *quantifier
	out  types.Vec
	vecs []*types.Vec
}

func compileSubplan(x *Subplan) (node, error) {
	args, err := compileAll(x.Args)
	if err != nil {
		return nil, err
	}
	n := &subplanNode{e: x, args: args, out: outVec(x.T)}
	if x.Kind == SubAny || x.Kind == SubAll {
		if n.left, err = compile(x.Left); err != nil {
			return nil, err
		}
		rt := x.Left.Type()
		if len(x.Fn.Args) == 2 && !builtin.IsPolymorphic(x.Fn.Args[1]) {
			rt = types.Of(x.Fn.Args[1])
		}
		if n.q, err = newQuantifier(x.Fn, x.Left.Type(), rt, x.Kind == SubAll); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *subplanNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	if rt.Subplan == nil {
		return nil, pgerr.New(pgerr.InternalError, "no subplans here")
	}
	var err error
	if n.vecs, err = evalAll(rt, in, sel, n.args, n.vecs); err != nil {
		return nil, err
	}
	var left *types.Vec
	if n.left != nil {
		if left, err = n.left.eval(rt, in, sel); err != nil {
			return nil, err
		}
	}
	limit := 0
	switch n.e.Kind {
	case SubScalar:
		limit = 2
	case SubExists:
		limit = 1
	}
	out := &n.out
	begin(out, in.N)
	// Without arguments all rows see the same result. Whether a result may be kept across batches is for rt.Subplan to know.
	var rows []types.Datum
	ran := false
	if n.q != nil && len(n.vecs) == 0 && (len(sel) > 0 || sel == nil && in.N > 0) {
		all, err := rt.Subplan(n.e, limit)
		if err != nil {
			return nil, err
		}
		if s := n.lookup(all); s != nil {
			s.lookUp(left, out, in.N, sel)
			return out, nil
		}
		rows, ran = all.Values, true
	}
	return out, types.EachRow(in.N, sel, func(i int) error {
		for k, v := range n.vecs {
			rt.Outer[n.e.Slot+k] = v.Get(i)
		}
		if !ran || len(n.vecs) > 0 {
			all, err := rt.Subplan(n.e, limit)
			if err != nil {
				return err
			}
			rows, ran = all.Values, true
		}
		switch n.e.Kind {
		case SubExists:
			out.Ints[i] = b2i(len(rows) == 1 && rows[0].I != 0)
		case SubScalar:
			switch len(rows) {
			case 0:
				out.SetNull(i)
			case 1:
				out.Set(i, rows[0])
			default:
				return pgerr.New(pgerr.CardinalityViolation, "more than one row returned by a subquery used as an expression")
			}
		case SubArray:
			out.Anys[i] = types.MakeArray1(types.ElemOf(n.e.T.OID), append([]types.Datum(nil), rows...))
		default:
			d, err := n.q.test(rt.context(), left.Get(i), rows)
			if err != nil {
				return err
			}
			out.Set(i, d)
		}
		return nil
	})
}

// lookup returns the set of a subquery's rows, nil if a test has to compare with each of them.
func (n *subplanNode) lookup(rows *SubplanRows) *anyNode {
	if len(rows.Values) < fewRows {
		return nil
	}
	if rows.set == nil {
		rows.set = &anyNode{list: rows.Values}
		rows.set.buildSet(&Any{Fn: n.e.Fn, All: n.e.Kind == SubAll})
	}
	if rows.set.ints == nil && rows.set.texts == nil {
		return nil
	}
	return rows.set
}

// fewRows are compared one by one.
const fewRows = 8
