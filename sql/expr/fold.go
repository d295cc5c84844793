package expr

import (
	"github.com/pamirdb/pamir/sql/types"
)

// Fold replaces immutable subexpressions over constants by their values. What fails stays as it is, so that the
// error comes when (and only if) a row needs it.
func Fold(e Expr) Expr { return Rewrite(e, foldNode) }

func isConstNode(e Expr) bool {
	_, ok := e.(*Const)
	return ok
}

func foldNode(e Expr) Expr {
	switch x := e.(type) {
	case *Const, *Column, *Param, *Outer, *Subplan, *RowCtor:
		return e
	case *Call:
		if x.Fn.ReturnsSet || x.Fn.Kernel == nil || x.Fn.Kind != 'f' && x.Fn.Kind != 0 {
			return e
		}
		if x.Fn.Strict {
			for _, a := range x.Args {
				if c, ok := a.(*Const); ok && c.Value.Null {
					return &Const{T: x.T, Value: types.NullDatum}
				}
			}
		}
	case *And:
		return foldLogic(x.Args, false, e)
	case *Or:
		return foldLogic(x.Args, true, e)
	case *Case:
		return foldCase(x)
	case *Coalesce:
		return foldCoalesce(x)
	}
	if nodeVolatility(e) != 'i' {
		return e
	}
	for _, k := range Children(e) {
		if !isConstNode(k) {
			return e
		}
	}
	d, err := EvalConst(e, nil)
	if err != nil {
		return e
	}
	return &Const{T: e.Type(), Value: d.Clone()}
}

// foldLogic drops arguments that do not matter and stops at one that decides.
func foldLogic(args []Expr, or bool, e Expr) Expr {
	kept := args[:0:0]
	for _, a := range args {
		c, ok := a.(*Const)
		if !ok || c.Value.Null {
			kept = append(kept, a)
			continue
		}
		if c.Value.Bool() == or {
			return c
		}
	}
	switch {
	case len(kept) == 0:
		return &Const{T: types.Of(types.BoolOID), Value: types.NewBool(!or)}
	case len(kept) == 1:
		return kept[0]
	case len(kept) == len(args):
		return e
	case or:
		return &Or{Args: kept}
	}
	return &And{Args: kept}
}

func foldCase(x *Case) Expr {
	var whens []When
	for _, w := range x.Whens {
		c, ok := w.Cond.(*Const)
		if !ok {
			whens = append(whens, w)
			continue
		}
		if !c.Value.Bool() {
			continue
		}
		if len(whens) == 0 {
			return w.Then
		}
		return &Case{T: x.T, Whens: whens, Else: w.Then}
	}
	if len(whens) == len(x.Whens) {
		return x
	}
	if len(whens) == 0 {
		if x.Else != nil {
			return x.Else
		}
		return &Const{T: x.T, Value: types.NullDatum}
	}
	return &Case{T: x.T, Whens: whens, Else: x.Else}
}

func foldCoalesce(x *Coalesce) Expr {
	var args []Expr
	for _, a := range x.Args {
		c, ok := a.(*Const)
		if ok && c.Value.Null {
			continue
		}
		args = append(args, a)
		if ok {
			break
		}
	}
	switch len(args) {
	case 0:
		return &Const{T: x.T, Value: types.NullDatum}
	case 1:
		return args[0]
	case len(x.Args):
		return x
	}
	return &Coalesce{T: x.T, Args: args}
}
