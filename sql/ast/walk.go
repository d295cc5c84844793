package ast

// Children returns the direct subexpressions of an expression; those inside subqueries are not among them.
func Children(e Expr) []Expr {
	switch e := e.(type) {
	case *FuncCall:
		out := append([]Expr(nil), e.Args...)
		for _, s := range e.OrderBy {
			out = append(out, s.Expr)
		}
		if e.Filter != nil {
			out = append(out, e.Filter)
		}
		if e.Over != nil {
			out = append(out, e.Over.PartitionBy...)
			for _, s := range e.Over.OrderBy {
				out = append(out, s.Expr)
			}
		}
		return out
	case *NamedArg:
		return []Expr{e.Arg}
	case *Cast:
		return []Expr{e.Arg}
	case *Op:
		if e.Left == nil {
			return []Expr{e.Right}
		}
		if e.Right == nil {
			return []Expr{e.Left}
		}
		return []Expr{e.Left, e.Right}
	case *Bool:
		return e.Args
	case *NullTest:
		return []Expr{e.Arg}
	case *BoolTest:
		return []Expr{e.Arg}
	case *Case:
		var out []Expr
		if e.Arg != nil {
			out = append(out, e.Arg)
		}
		for _, w := range e.Whens {
			out = append(out, w.Cond, w.Then)
		}
		if e.Else != nil {
			out = append(out, e.Else)
		}
		return out
	case *Coalesce:
		return e.Args
	case *MinMax:
		return e.Args
	case *NullIf:
		return []Expr{e.Left, e.Right}
	case *DistinctFrom:
		return []Expr{e.Left, e.Right}
	case *In:
		return append([]Expr{e.Left}, e.List...)
	case *Between:
		return []Expr{e.Arg, e.Low, e.High}
	case *AnyAll:
		return []Expr{e.Left, e.Array}
	case *Sublink:
		if e.Test != nil {
			return []Expr{e.Test}
		}
	case *Array:
		return e.Elems
	case *Row:
		return e.Args
	case *Indirection:
		out := []Expr{e.Arg}
		for _, s := range e.Steps {
			if s.Lower != nil {
				out = append(out, s.Lower)
			}
			if s.Upper != nil {
				out = append(out, s.Upper)
			}
		}
		return out
	case *Collate:
		return []Expr{e.Arg}
	case *Grouping:
		return e.Args
	}
	return nil
}

// WalkSelect calls f with the subqueries in the expressions of a simple query (select list, WHERE, ON, GROUP BY,
// HAVING, ORDER BY, VALUES), not descending into them.
func WalkSelect(s *Select, f func(*Select)) {
	var walk func(Expr)
	walk = func(e Expr) {
		if e == nil {
			return
		}
		if sub, ok := e.(*Sublink); ok {
			f(sub.Query)
		}
		for _, c := range Children(e) {
			walk(c)
		}
	}
	for _, t := range s.Targets {
		walk(t.Expr)
	}
	walk(s.Where)
	walk(s.Having)
	for _, g := range s.GroupBy {
		walk(g.Expr)
	}
	for _, o := range s.OrderBy {
		walk(o.Expr)
	}
	for _, row := range s.Values {
		for _, e := range row {
			walk(e)
		}
	}
	var from func(TableExpr)
	from = func(te TableExpr) {
		switch t := te.(type) {
		case *Join:
			from(t.Left)
			from(t.Right)
			walk(t.On)
		case *FuncTable:
			for _, fn := range t.Funcs {
				walk(fn.Call)
			}
		}
	}
	for _, te := range s.From {
		from(te)
	}
}

// Start is the leftmost position of an expression, where errors about it as a whole point.
func Start(e Expr) int {
	if e == nil {
		return 0
	}
	pos := e.Position()
	switch e := e.(type) {
	case *Cast:
		pos = least(pos, Start(e.Arg))
		if e.Type != nil {
			pos = least(pos, e.Type.Pos)
		}
		return pos
	case *Op, *DistinctFrom, *In, *Between, *AnyAll, *NullTest, *BoolTest, *Bool, *NullIf, *Collate, *Sublink:
		for _, c := range Children(e) {
			pos = least(pos, Start(c))
		}
	case *Indirection:
		return Start(e.Arg)
	}
	return pos
}

func least(a, b int) int {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}
