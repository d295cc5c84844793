package expr

import (
	"encoding/binary"
	"errors"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// The wire form is a preorder walk: a tag byte, the node's own fields, then its children. Functions travel as their OIDs,
// which all nodes of a cluster share.
const (
	wConst = iota + 1
	wColumn
	wParam
	wOuter
	wCall
	wConvert
	wAnd
	wOr
	wNot
	wIsNull
	wBoolTest
	wCase
	wCoalesce
	wAny
	wArray
	wRow
	wDistinct
	wMinMax
)

// ErrWire is a wire form that cannot be read.
var ErrWire = errors.New("expr: corrupt wire form")

const maxWireDepth = 2000

// AppendWire appends the wire form; a tree with Subplans has none (an error).
func AppendWire(dst []byte, e Expr) ([]byte, error) {
	w := wireWriter{b: dst}
	w.expr(e)
	return w.b, w.err
}

type wireWriter struct {
	b   []byte
	err error
}

func (w *wireWriter) tag(t byte)   { w.b = append(w.b, t) }
func (w *wireWriter) uint(x int)   { w.b = binary.AppendUvarint(w.b, uint64(x)) }
func (w *wireWriter) str(s string) { w.uint(len(s)); w.b = append(w.b, s...) }
func (w *wireWriter) typ(t types.Type) {
	w.b = binary.AppendUvarint(w.b, uint64(t.OID))
	w.b = binary.AppendVarint(w.b, int64(t.Mod))
}

func (w *wireWriter) bool(b bool) { w.b = append(w.b, byte(b2i(b))) }

func (w *wireWriter) fn(f *builtin.Function) {
	if f == nil {
		w.uint(0)
		return
	}
	w.b = binary.AppendUvarint(w.b, uint64(f.OID))
}

func (w *wireWriter) list(es []Expr) {
	w.uint(len(es))
	for _, e := range es {
		w.expr(e)
	}
}

func (w *wireWriter) expr(e Expr) {
	if w.err != nil {
		return
	}
	switch x := e.(type) {
	case *Const:
		w.tag(wConst)
		w.typ(x.T)
		w.b, w.err = types.AppendWire(w.b, x.T, x.Value)
	case *Column:
		w.tag(wColumn)
		w.typ(x.T)
		w.uint(x.Index)
		w.str(x.Name)
	case *Param:
		w.tag(wParam)
		w.typ(x.T)
		w.uint(x.Index)
	case *Outer:
		w.tag(wOuter)
		w.typ(x.T)
		w.uint(x.Index)
	case *Call:
		w.tag(wCall)
		w.typ(x.T)
		w.fn(x.Fn)
		w.str(x.Op)
		w.bool(x.Cast)
		w.list(x.Args)
	case *Convert:
		w.tag(wConvert)
		w.typ(x.T)
		w.tag(x.Via)
		w.fn(x.Fn)
		w.bool(x.Explicit)
		w.expr(x.Arg)
	case *And:
		w.tag(wAnd)
		w.list(x.Args)
	case *Or:
		w.tag(wOr)
		w.list(x.Args)
	case *Not:
		w.tag(wNot)
		w.expr(x.Arg)
	case *IsNull:
		w.tag(wIsNull)
		w.bool(x.Not)
		w.expr(x.Arg)
	case *BoolTest:
		w.tag(wBoolTest)
		w.tag(x.Want)
		w.bool(x.Not)
		w.expr(x.Arg)
	case *Case:
		w.tag(wCase)
		w.typ(x.T)
		w.bool(x.Else != nil)
		w.list(Children(x))
	case *Coalesce:
		w.tag(wCoalesce)
		w.typ(x.T)
		w.list(x.Args)
	case *Any:
		w.tag(wAny)
		w.fn(x.Fn)
		w.str(x.Op)
		w.bool(x.All)
		w.expr(x.Left)
		w.expr(x.Array)
	case *ArrayCtor:
		w.tag(wArray)
		w.typ(x.T)
		w.list(x.Elems)
	case *RowCtor:
		w.tag(wRow)
		w.typ(x.T)
		w.list(x.Fields)
	case *Distinct:
		w.tag(wDistinct)
		w.fn(x.Fn)
		w.bool(x.Not)
		w.expr(x.Left)
		w.expr(x.Right)
	case *MinMax:
		w.tag(wMinMax)
		w.typ(x.T)
		w.fn(x.Less)
		w.bool(x.Least)
		w.list(x.Args)
	default:
		w.err = pgerr.New(pgerr.InternalError, "expression node %T has no wire form", e)
	}
}

// DecodeExpr reads a wire form and returns what follows it. Constants' bytes alias b.
func DecodeExpr(b []byte) (Expr, []byte, error) {
	r := wireReader{types.WireReader{B: b}}
	e := r.expr(0)
	if r.Bad {
		return nil, nil, ErrWire
	}
	return e, r.B, nil
}

// wireReader reads expressions.
type wireReader struct{ types.WireReader }

func (r *wireReader) index() int {
	x := r.Uvarint()
	if x > 1<<20 {
		r.Bad = true
		return 0
	}
	return int(x)
}

func (r *wireReader) str() string {
	return string(r.Bytes(r.Uvarint()))
}

func (r *wireReader) typ() types.Type {
	o := r.Uvarint()
	m := r.Varint()
	if r.Bad || o > 1<<32-1 || m < -1 || m > 1<<31-1 {
		r.Bad = true
		return types.Type{}
	}
	return types.Type{OID: types.OID(o), Mod: int32(m)}
}

// fn reads a function's OID; optional ones may be absent.
func (r *wireReader) fn(optional bool, nargs int) *builtin.Function {
	o := r.Uvarint()
	if o == 0 && optional {
		return nil
	}
	f := builtin.FunctionByOID(uint32(o))
	if f == nil || o > 1<<32-1 || f.Kind == 'a' || f.Kind == 'w' {
		r.Bad = true
		return nil
	}
	if nargs >= 0 && len(f.Args) != nargs {
		r.Bad = true
	}
	return f
}

func (r *wireReader) list(depth int) []Expr {
	n := r.Uvarint()
	if r.Bad || n > uint64(len(r.B)) {
		r.Bad = true
		return nil
	}
	es := make([]Expr, 0, n)
	for i := uint64(0); i < n && !r.Bad; i++ {
		es = append(es, r.expr(depth+1))
	}
	return es
}

// boolean reads an expression that must be of type bool.
func (r *wireReader) boolean(depth int) Expr {
	e := r.expr(depth)
	if e != nil && e.Type().OID != types.BoolOID {
		r.Bad = true
	}
	return e
}

func (r *wireReader) booleans(depth int) []Expr {
	es := r.list(depth)
	for _, e := range es {
		if e != nil && e.Type().OID != types.BoolOID {
			r.Bad = true
		}
	}
	return es
}

// sameRepr checks what kernels rely on: arguments carried as their function expects them.
func (r *wireReader) sameRepr(e Expr, t types.OID) {
	if r.Bad || e == nil || builtin.IsPolymorphic(t) || builtin.IsPolymorphic(e.Type().OID) {
		return
	}
	if types.ReprOf(e.Type().OID) != types.ReprOf(t) {
		r.Bad = true
	}
}

func (r *wireReader) checkCall(c *Call) {
	if r.Bad {
		return
	}
	switch {
	case c.Fn == builtin.ArraySubscript, c.Fn == builtin.ArraySlice:
		r.Bad = len(c.Args) < len(c.Fn.Args) || c.Fn == builtin.ArraySlice && len(c.Args)%2 == 0
		for i, a := range c.Args {
			if i > 0 {
				r.sameRepr(a, types.Int4OID)
			}
		}
	case c.Fn.Variadic == types.AnyOID:
		r.Bad = len(c.Args) < len(c.Fn.Args)
	default:
		r.Bad = len(c.Args) != len(c.Fn.Args)
	}
	if r.Bad {
		return
	}
	for i, a := range c.Args {
		if i < len(c.Fn.Args) {
			r.sameRepr(a, c.Fn.Args[i])
			r.isArray(a, c.Fn.Args[i])
		}
	}
	if t := c.Fn.Result; (t == types.AnyarrayOID || t == types.AnycompatiblearrayOID) && types.ElemOf(c.T.OID) == 0 {
		r.Bad = true
	}
	r.samePoly(c)
	if !builtin.IsPolymorphic(c.Fn.Result) && types.ReprOf(c.T.OID) != types.ReprOf(c.Fn.Result) {
		r.Bad = true
	}
}

// isArray checks that what is declared an array is one.
func (r *wireReader) isArray(e Expr, t types.OID) {
	if t != types.AnyarrayOID && t != types.AnycompatiblearrayOID || e == nil {
		return
	}
	if types.ElemOf(e.Type().OID) == 0 {
		r.Bad = true
	}
}

// samePoly checks that a call's polymorphic arguments and result agree on the element type.
func (r *wireReader) samePoly(c *Call) {
	elem := types.OID(0)
	see := func(declared types.OID, actual types.OID) {
		switch declared {
		case types.AnyarrayOID, types.AnycompatiblearrayOID:
			actual = types.ElemOf(actual)
		case types.AnyelementOID, types.AnynonarrayOID, types.AnyenumOID, types.AnycompatibleOID, types.AnycompatiblenonarrayOID:
		default:
			return
		}
		if elem == 0 {
			elem = actual
		} else if elem != actual {
			r.Bad = true
		}
	}
	for i, a := range c.Args {
		if i < len(c.Fn.Args) && a != nil {
			see(c.Fn.Args[i], a.Type().OID)
		}
	}
	see(c.Fn.Result, c.T.OID)
}

func (r *wireReader) checkConvert(c *Convert) {
	from := c.Arg.Type().OID
	switch c.Via {
	case 'r', 'i':
	case 'm':
		r.Bad = r.Bad || from != c.T.OID
	case 'a':
		fe, te := types.ElemOf(from), types.ElemOf(c.T.OID)
		if fe == 0 || te == 0 {
			r.Bad = true
			return
		}
		if c.Fn == nil {
			return
		}
		// A cast function: one value, perhaps the modifier and whether the cast is explicit.
		want := []types.OID{fe, types.Int4OID, types.BoolOID}
		if len(c.Fn.Args) == 0 || len(c.Fn.Args) > 3 || types.ReprOf(c.Fn.Result) != types.ReprOf(te) || c.Fn.ReturnsSet {
			r.Bad = true
			return
		}
		for i, a := range c.Fn.Args {
			if types.ReprOf(a) != types.ReprOf(want[i]) {
				r.Bad = true
			}
		}
	default:
		r.Bad = true
	}
}

func (r *wireReader) expr(depth int) Expr {
	if r.Bad || depth > maxWireDepth {
		r.Bad = true
		return nil
	}
	switch r.Byte() {
	case wConst:
		t := r.typ()
		if r.Bad {
			return nil
		}
		d, rest, err := types.DecodeWire(t, r.B)
		if err != nil {
			r.Bad = true
			return nil
		}
		r.B = rest
		return &Const{T: t, Value: d}
	case wColumn:
		return &Column{T: r.typ(), Index: r.index(), Name: r.str()}
	case wParam:
		return &Param{T: r.typ(), Index: r.index()}
	case wOuter:
		return &Outer{T: r.typ(), Index: r.index()}
	case wCall:
		c := &Call{T: r.typ(), Fn: r.fn(false, -1), Op: r.str(), Cast: r.Byte() == 1}
		c.Args = r.list(depth)
		r.checkCall(c)
		return c
	case wConvert:
		c := &Convert{T: r.typ(), Via: r.Byte(), Fn: r.fn(true, -1), Explicit: r.Byte() == 1}
		c.Arg = r.expr(depth + 1)
		if !r.Bad {
			r.checkConvert(c)
		}
		return c
	case wAnd:
		return &And{Args: r.booleans(depth)}
	case wOr:
		return &Or{Args: r.booleans(depth)}
	case wNot:
		return &Not{Arg: r.boolean(depth + 1)}
	case wIsNull:
		return &IsNull{Not: r.Byte() == 1, Arg: r.expr(depth + 1)}
	case wBoolTest:
		return &BoolTest{Want: r.Byte(), Not: r.Byte() == 1, Arg: r.boolean(depth + 1)}
	case wCase:
		c := &Case{T: r.typ()}
		hasElse := r.Byte() == 1
		kids := r.list(depth)
		if hasElse && len(kids) > 0 {
			c.Else = kids[len(kids)-1]
			kids = kids[:len(kids)-1]
		}
		if len(kids)%2 != 0 || hasElse && c.Else == nil {
			r.Bad = true
			return nil
		}
		for i := 0; i+1 < len(kids); i += 2 {
			c.Whens = append(c.Whens, When{kids[i], kids[i+1]})
			r.sameRepr(kids[i], types.BoolOID)
			r.sameRepr(kids[i+1], c.T.OID)
		}
		if c.Else != nil {
			r.sameRepr(c.Else, c.T.OID)
		}
		return c
	case wCoalesce:
		c := &Coalesce{T: r.typ(), Args: r.list(depth)}
		for _, a := range c.Args {
			r.sameRepr(a, c.T.OID)
		}
		return c
	case wAny:
		a := &Any{Fn: r.fn(false, 2), Op: r.str(), All: r.Byte() == 1}
		a.Left, a.Array = r.expr(depth+1), r.expr(depth+1)
		if r.Bad || types.ElemOf(a.Array.Type().OID) == 0 || a.Fn.Result != types.BoolOID {
			r.Bad = true
			return nil
		}
		r.sameRepr(a.Left, a.Fn.Args[0])
		if t := a.Fn.Args[1]; !builtin.IsPolymorphic(t) && types.ReprOf(t) != types.ReprOf(types.ElemOf(a.Array.Type().OID)) {
			r.Bad = true
		}
		return a
	case wArray:
		a := &ArrayCtor{T: r.typ(), Elems: r.list(depth)}
		elem := types.ElemOf(a.T.OID)
		if r.Bad || elem == 0 {
			r.Bad = true
			return nil
		}
		for i, e := range a.Elems {
			// All elements are values, or all are arrays that become its rows.
			t := e.Type().OID
			if t != elem && t != a.T.OID || t != a.Elems[0].Type().OID && i > 0 {
				r.Bad = true
			}
		}
		return a
	case wRow:
		c := &RowCtor{T: r.typ(), Fields: r.list(depth)}
		r.Bad = r.Bad || types.ReprOf(c.T.OID) != types.ReprAny || types.ElemOf(c.T.OID) != 0
		return c
	case wDistinct:
		d := &Distinct{Fn: r.fn(false, 2), Not: r.Byte() == 1}
		d.Left, d.Right = r.expr(depth+1), r.expr(depth+1)
		if !r.Bad {
			r.sameRepr(d.Left, d.Fn.Args[0])
			r.sameRepr(d.Right, d.Fn.Args[1])
			r.Bad = r.Bad || d.Fn.Result != types.BoolOID
		}
		return d
	case wMinMax:
		m := &MinMax{T: r.typ(), Less: r.fn(true, 2), Least: r.Byte() == 1, Args: r.list(depth)}
		for _, a := range m.Args {
			r.sameRepr(a, m.T.OID)
		}
		return m
	}
	r.Bad = true
	return nil
}
