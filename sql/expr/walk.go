package expr

import (
	"bytes"
	"sort"

	"github.com/pamirdb/pamir/sql/types"
)

// Children returns the direct subexpressions.
func Children(e Expr) []Expr {
	switch x := e.(type) {
	case *Call:
		return x.Args
	case *Convert:
		return []Expr{x.Arg}
	case *And:
		return x.Args
	case *Or:
		return x.Args
	case *Not:
		return []Expr{x.Arg}
	case *IsNull:
		return []Expr{x.Arg}
	case *BoolTest:
		return []Expr{x.Arg}
	case *Case:
		es := make([]Expr, 0, 2*len(x.Whens)+1)
		for _, w := range x.Whens {
			es = append(es, w.Cond, w.Then)
		}
		if x.Else != nil {
			es = append(es, x.Else)
		}
		return es
	case *Coalesce:
		return x.Args
	case *Any:
		return []Expr{x.Left, x.Array}
	case *ArrayCtor:
		return x.Elems
	case *RowCtor:
		return x.Fields
	case *Distinct:
		return []Expr{x.Left, x.Right}
	case *MinMax:
		return x.Args
	case *Subplan:
		if x.Left != nil {
			return append(append([]Expr(nil), x.Args...), x.Left)
		}
		return x.Args
	}
	return nil
}

// WithChildren returns a copy of e with other direct subexpressions, in the order of Children.
func WithChildren(e Expr, kids []Expr) Expr {
	switch x := e.(type) {
	case *Call:
		c := *x
		c.Args = kids
		return &c
	case *Convert:
		c := *x
		c.Arg = kids[0]
		return &c
	case *And:
		return &And{Args: kids}
	case *Or:
		return &Or{Args: kids}
	case *Not:
		return &Not{Arg: kids[0]}
	case *IsNull:
		return &IsNull{Arg: kids[0], Not: x.Not}
	case *BoolTest:
		return &BoolTest{Arg: kids[0], Want: x.Want, Not: x.Not}
	case *Case:
		c := &Case{T: x.T, Whens: make([]When, len(x.Whens))}
		for i := range c.Whens {
			c.Whens[i] = When{kids[2*i], kids[2*i+1]}
		}
		if x.Else != nil {
			c.Else = kids[len(kids)-1]
		}
		return c
	case *Coalesce:
		return &Coalesce{T: x.T, Args: kids}
	case *Any:
		c := *x
		c.Left, c.Array = kids[0], kids[1]
		return &c
	case *ArrayCtor:
		return &ArrayCtor{T: x.T, Elems: kids}
	case *RowCtor:
		return &RowCtor{T: x.T, Fields: kids}
	case *Distinct:
		c := *x
		c.Left, c.Right = kids[0], kids[1]
		return &c
	case *MinMax:
		c := *x
		c.Args = kids
		return &c
	case *Subplan:
		c := *x
		c.Args = kids[:len(x.Args)]
		if x.Left != nil {
			c.Left = kids[len(x.Args)]
		}
		return &c
	}
	return e
}

// Rewrite rebuilds e bottom-up: f sees each node after its children were rewritten and returns its
// replacement. Nodes are copied only where something changed.
func Rewrite(e Expr, f func(Expr) Expr) Expr {
	if e == nil {
		return nil
	}
	kids := Children(e)
	var changed []Expr
	for i, k := range kids {
		n := Rewrite(k, f)
		if n != k && changed == nil {
			changed = append([]Expr(nil), kids...)
		}
		if changed != nil {
			changed[i] = n
		}
	}
	if changed != nil {
		e = WithChildren(e, changed)
	}
	return f(e)
}

// Walk visits e and, while f returns true, its descendants.
func Walk(e Expr, f func(Expr) bool) {
	if e == nil || !f(e) {
		return
	}
	for _, k := range Children(e) {
		Walk(k, f)
	}
}

// ColumnsUsed appends the distinct indexes of the columns in e to dst, ascending.
func ColumnsUsed(dst []int, e Expr) []int {
	Walk(e, func(x Expr) bool {
		if c, ok := x.(*Column); ok {
			dst = append(dst, c.Index)
		}
		return true
	})
	sort.Ints(dst)
	out := dst[:0]
	for i, c := range dst {
		if i == 0 || c != dst[i-1] {
			out = append(out, c)
		}
	}
	return out
}

// ShiftColumns adds delta to every column index.
func ShiftColumns(e Expr, delta int) Expr {
	return Rewrite(e, func(x Expr) Expr {
		if c, ok := x.(*Column); ok {
			n := *c
			n.Index += delta
			return &n
		}
		return x
	})
}

// MapColumns replaces each column index by m[index].
func MapColumns(e Expr, m []int) Expr {
	return Rewrite(e, func(x Expr) Expr {
		if c, ok := x.(*Column); ok {
			n := *c
			n.Index = m[c.Index]
			return &n
		}
		return x
	})
}

// HasSubplan reports whether a subquery is in e.
func HasSubplan(e Expr) bool {
	found := false
	Walk(e, func(x Expr) bool {
		if _, ok := x.(*Subplan); ok {
			found = true
		}
		return !found
	})
	return found
}

// Volatility is the worst of e's functions: 'i' immutable, 's' stable, 'v' volatile.
func Volatility(e Expr) byte {
	worst := byte('i')
	Walk(e, func(x Expr) bool {
		v := nodeVolatility(x)
		if v > worst { // 'i' < 's' < 'v'
			worst = v
		}
		return worst != 'v'
	})
	return worst
}

func nodeVolatility(x Expr) byte {
	switch n := x.(type) {
	case *Call:
		return n.Fn.Volatility
	case *Convert:
		if n.Via == 'i' {
			return castVolatility(n.Arg.Type().OID, n.T.OID)
		}
		if n.Via == 'a' && n.Fn != nil {
			return n.Fn.Volatility
		}
	case *Any:
		return n.Fn.Volatility
	case *Distinct:
		return n.Fn.Volatility
	}
	return 'i'
}

// IsConst reports whether e can be computed before any row: no columns, subplans, set-returning or volatile functions;
// parameters, outer values and stable functions may be in it.
func IsConst(e Expr) bool {
	ok := true
	Walk(e, func(x Expr) bool {
		switch n := x.(type) {
		case *Column, *Subplan:
			ok = false
		case *Call:
			ok = ok && n.Fn.Volatility != 'v' && !n.Fn.ReturnsSet
		}
		return ok
	})
	return ok
}

// Equal reports whether two expressions are the same computation.
func Equal(a, b Expr) bool {
	if a == b {
		return true
	}
	if a == nil || b == nil || a.Type() != b.Type() {
		return false
	}
	switch x := a.(type) {
	case *Const:
		y, ok := b.(*Const)
		return ok && equalDatum(x.T, x.Value, y.Value)
	case *Column:
		y, ok := b.(*Column)
		return ok && x.Index == y.Index
	case *Param:
		y, ok := b.(*Param)
		return ok && x.Index == y.Index
	case *Outer:
		y, ok := b.(*Outer)
		return ok && x.Index == y.Index
	case *Call:
		y, ok := b.(*Call)
		return ok && x.Fn == y.Fn && equalAll(x.Args, y.Args)
	case *Convert:
		y, ok := b.(*Convert)
		return ok && x.Via == y.Via && x.Explicit == y.Explicit && x.Fn == y.Fn && Equal(x.Arg, y.Arg)
	case *IsNull:
		y, ok := b.(*IsNull)
		return ok && x.Not == y.Not && Equal(x.Arg, y.Arg)
	case *BoolTest:
		y, ok := b.(*BoolTest)
		return ok && x.Not == y.Not && x.Want == y.Want && Equal(x.Arg, y.Arg)
	case *Case:
		y, ok := b.(*Case)
		return ok && len(x.Whens) == len(y.Whens) && (x.Else == nil) == (y.Else == nil) && equalAll(Children(a), Children(b))
	case *Any:
		y, ok := b.(*Any)
		return ok && x.Fn == y.Fn && x.All == y.All && Equal(x.Left, y.Left) && Equal(x.Array, y.Array)
	case *Distinct:
		y, ok := b.(*Distinct)
		return ok && x.Fn == y.Fn && x.Not == y.Not && equalAll(Children(a), Children(b))
	case *MinMax:
		y, ok := b.(*MinMax)
		return ok && x.Least == y.Least && equalAll(x.Args, y.Args)
	case *And:
		y, ok := b.(*And)
		return ok && equalAll(x.Args, y.Args)
	case *Or:
		y, ok := b.(*Or)
		return ok && equalAll(x.Args, y.Args)
	case *Not:
		y, ok := b.(*Not)
		return ok && Equal(x.Arg, y.Arg)
	case *Coalesce:
		y, ok := b.(*Coalesce)
		return ok && equalAll(x.Args, y.Args)
	case *ArrayCtor:
		y, ok := b.(*ArrayCtor)
		return ok && equalAll(x.Elems, y.Elems)
	case *RowCtor:
		y, ok := b.(*RowCtor)
		return ok && equalAll(x.Fields, y.Fields)
	case *Subplan:
		y, ok := b.(*Subplan)
		return ok && x.Twin == y.Twin && x.Kind == y.Kind && x.Fn == y.Fn && x.Slot == y.Slot && equalAll(Children(a), Children(b))
	}
	return false
}

// equalDatum wants the same value, not merely an equal one: 1.0 and 1.00 differ.
func equalDatum(t types.Type, a, b types.Datum) bool {
	if a.Null || b.Null {
		return a.Null && b.Null
	}
	x, err1 := types.AppendWire(nil, t, a)
	y, err2 := types.AppendWire(nil, t, b)
	return err1 == nil && err2 == nil && bytes.Equal(x, y)
}

func equalAll(a, b []Expr) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
