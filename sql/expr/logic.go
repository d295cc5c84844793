package expr

import (
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/types"
)

// logicNode is what AND and OR share: an argument is computed only for rows that it can still decide.
type logicNode struct {
	args []node
	out  types.Vec
	sel  []int32
}

// run computes AND (stop = 0) or OR (stop = 1): a row whose value is stop is done.
func (l *logicNode) run(rt *Runtime, in *types.Batch, sel []int32, stop int64) (*types.Vec, error) {
	n := in.N
	out := &l.out
	if out.Type.OID == 0 {
		*out = boolVec()
	}
	begin(out, n)
	forRows(n, sel, func(i int) { out.Ints[i] = 1 - stop })
	for k, a := range l.args {
		v, err := a.eval(rt, in, sel)
		if err != nil {
			return nil, err
		}
		last := k == len(l.args)-1
		var live []int32
		if !last {
			if cap(l.sel) < n {
				l.sel = make([]int32, 0, n)
			}
			live = l.sel[:0]
		}
		step := func(i int) {
			switch {
			case v.HasNulls && v.Nulls[i]:
				out.SetNull(i)
			case v.Ints[i] == stop:
				out.Ints[i] = stop
				if out.HasNulls {
					out.Nulls[i] = false
				}
				return
			}
			if !last {
				live = append(live, int32(i))
			}
		}
		// live may overwrite sel's memory (both are l.sel): a row is written only after it was read.
		forRows(n, sel, step)
		if last || len(live) == 0 {
			break
		}
		l.sel = live
		sel = live
	}
	return out, nil
}

func forRows(n int, sel []int32, f func(i int)) {
	if sel == nil {
		for i := 0; i < n; i++ {
			f(i)
		}
		return
	}
	for _, i := range sel {
		f(int(i))
	}
}

type andNode struct{ logicNode }
type orNode struct{ logicNode }

func (a *andNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	return a.run(rt, in, sel, 0)
}

func (o *orNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	return o.run(rt, in, sel, 1)
}

type notNode struct {
	arg node
	out types.Vec
}

func (x *notNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	v, err := x.arg.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	out := &x.out
	if out.Type.OID == 0 {
		*out = boolVec()
	}
	begin(out, in.N)
	forRows(in.N, sel, func(i int) {
		if v.HasNulls && v.Nulls[i] {
			out.SetNull(i)
			return
		}
		out.Ints[i] = v.Ints[i] ^ 1
	})
	return out, nil
}

type isNullNode struct {
	arg node
	not bool
	row bool
	out types.Vec
}

func (x *isNullNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	v, err := x.arg.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	out := &x.out
	if out.Type.OID == 0 {
		*out = boolVec()
	}
	begin(out, in.N)
	forRows(in.N, sel, func(i int) {
		null := v.HasNulls && v.Nulls[i]
		if x.row && !null {
			// A row is NULL if all its fields are, and not NULL if none is.
			null = true
			anyNull := false
			if r, ok := v.Anys[i].(*types.Record); ok {
				for _, f := range r.Fields {
					if f.Null {
						anyNull = true
					} else {
						null = false
					}
				}
			}
			if x.not {
				out.Ints[i] = b2i(!anyNull)
				return
			}
		}
		out.Ints[i] = b2i(null != x.not)
	})
	return out, nil
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

type boolTestNode struct {
	arg  node
	want byte
	not  bool
	out  types.Vec
}

func (x *boolTestNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	v, err := x.arg.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	out := &x.out
	if out.Type.OID == 0 {
		*out = boolVec()
	}
	begin(out, in.N)
	forRows(in.N, sel, func(i int) {
		is := byte('f')
		if v.HasNulls && v.Nulls[i] {
			is = 'u'
		} else if v.Ints[i] != 0 {
			is = 't'
		}
		out.Ints[i] = b2i((is == x.want) != x.not)
	})
	return out, nil
}

// caseNode evaluates a condition only for the rows that no earlier arm took, and a result only for the rows of its arm.
type caseNode struct {
	conds, thens []node
	els          node
	out          types.Vec
	rest, hit    []int32
}

func compileCase(x *Case) (node, error) {
	c := &caseNode{out: outVec(x.T)}
	for _, w := range x.Whens {
		cond, err := compile(w.Cond)
		if err != nil {
			return nil, err
		}
		then, err := compile(w.Then)
		if err != nil {
			return nil, err
		}
		c.conds = append(c.conds, cond)
		c.thens = append(c.thens, then)
	}
	if x.Else != nil {
		e, err := compile(x.Else)
		if err != nil {
			return nil, err
		}
		c.els = e
	}
	return c, nil
}

func (c *caseNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	n := in.N
	out := &c.out
	begin(out, n)
	if cap(c.rest) < n {
		c.rest, c.hit = make([]int32, 0, n), make([]int32, 0, n)
	}
	for k, cond := range c.conds {
		v, err := cond.eval(rt, in, sel)
		if err != nil {
			return nil, err
		}
		hit, rest := c.hit[:0], c.rest[:0]
		forRows(n, sel, func(i int) {
			if v.Ints[i] != 0 && !(v.HasNulls && v.Nulls[i]) {
				hit = append(hit, int32(i))
			} else {
				rest = append(rest, int32(i))
			}
		})
		sel = rest
		if len(hit) > 0 {
			v, err := c.thens[k].eval(rt, in, hit)
			if err != nil {
				return nil, err
			}
			for _, i := range hit {
				out.SetFrom(int(i), v, int(i))
			}
		}
		if len(rest) == 0 {
			return out, nil
		}
	}
	if c.els == nil {
		forRows(n, sel, out.SetNull)
		return out, nil
	}
	v, err := c.els.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	forRows(n, sel, func(i int) { out.SetFrom(i, v, i) })
	return out, nil
}

type coalesceNode struct {
	args []node
	out  types.Vec
	rest []int32
}

func (c *coalesceNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	n := in.N
	out := &c.out
	begin(out, n)
	if cap(c.rest) < n {
		c.rest = make([]int32, 0, n)
	}
	for _, a := range c.args {
		v, err := a.eval(rt, in, sel)
		if err != nil {
			return nil, err
		}
		rest := c.rest[:0]
		forRows(n, sel, func(i int) {
			if v.HasNulls && v.Nulls[i] {
				rest = append(rest, int32(i))
			} else {
				out.SetFrom(i, v, i)
			}
		})
		if sel = rest; len(rest) == 0 {
			return out, nil
		}
	}
	forRows(n, sel, out.SetNull)
	return out, nil
}

// minMaxNode is GREATEST or LEAST: NULLs do not take part.
type minMaxNode struct {
	args  []node
	least bool
	out   types.Vec
}

func (m *minMaxNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	n := in.N
	out := &m.out
	begin(out, n)
	forRows(n, sel, out.SetNull)
	for _, a := range m.args {
		v, err := a.eval(rt, in, sel)
		if err != nil {
			return nil, err
		}
		forRows(n, sel, func(i int) {
			if v.HasNulls && v.Nulls[i] {
				return
			}
			if out.Nulls[i] {
				out.SetFrom(i, v, i)
				return
			}
			if c := types.CompareVec(v, i, out, i, false); c != 0 && (c < 0) == m.least {
				out.SetFrom(i, v, i)
			}
		})
	}
	return out, nil
}

// distinctNode is IS [NOT] DISTINCT FROM.
type distinctNode struct {
	left, right node
	kernel      builtin.Kernel
	not         bool
	out         types.Vec
	argv        [2]*types.Vec
	sel         []int32
}

func (d *distinctNode) eval(rt *Runtime, in *types.Batch, sel []int32) (*types.Vec, error) {
	l, err := d.left.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	r, err := d.right.eval(rt, in, sel)
	if err != nil {
		return nil, err
	}
	n := in.N
	out := &d.out
	if out.Type.OID == 0 {
		*out = boolVec()
	}
	begin(out, n)
	if cap(d.sel) < n {
		d.sel = make([]int32, 0, n)
	}
	live := d.sel[:0]
	forRows(n, sel, func(i int) {
		ln, rn := l.IsNull(i), r.IsNull(i)
		if ln || rn {
			// Turned around below with the rest: 1 means equal.
			out.Ints[i] = b2i(ln && rn)
			return
		}
		live = append(live, int32(i))
	})
	d.argv[0], d.argv[1] = l, r
	if len(live) > 0 {
		if err := d.kernel(rt.context(), d.argv[:], n, live, out); err != nil {
			return nil, err
		}
	}
	if !d.not {
		forRows(n, sel, func(i int) { out.Ints[i] ^= 1 })
	}
	return out, nil
}
