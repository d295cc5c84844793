package plan

import (
	"strconv"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

var setOpNames = map[byte]string{'u': "UNION", 'i': "INTERSECT", 'e': "EXCEPT"}

// setOperation binds UNION, INTERSECT, EXCEPT and the ORDER BY and LIMIT over them.
func (b *binder) setOperation(q *query, s *ast.Select) (rel, []outCol) {
	level := func() *query { return &query{parent: q.parent, ctesFrom: q, hidden: q.hidden} }
	l, lcols := b.selectQuery(level(), s.Left, false)
	r, rcols := b.selectQuery(level(), s.Right, false)
	out, cols := b.unite(s.SetOp, s.All, l, lcols, r, rcols, s.Right.Pos)
	out = b.setTail(q, s, out, cols)
	return out, cols
}

// setTail binds ORDER BY, locking and LIMIT of a set operation or VALUES: by output columns only.
func (b *binder) setTail(q *query, s *ast.Select, r rel, cols []outCol) rel {
	if len(s.OrderBy) > 0 {
		sr := &sortRel{in: r}
		for _, o := range s.OrderBy {
			id := b.outputColumn(s, o.Expr, cols)
			c := b.col(id)
			desc, nf := b.sortDirection(o, c)
			sr.keys = append(sr.keys, SortKey{Expr: c, Desc: desc, NullsFirst: nf})
		}
		r = sr
	}
	return b.limit(q, s, b.locking(q, s, r))
}

func (b *binder) outputColumn(s *ast.Select, e ast.Expr, cols []outCol) colID {
	switch x := e.(type) {
	case *ast.ColumnRef:
		if len(x.Names) == 1 && !x.Star {
			found := -1
			for i, c := range cols {
				if c.name == x.Names[0] {
					if found >= 0 {
						b.fail(x.Pos, pgerr.AmbiguousColumn, "ORDER BY \"%s\" is ambiguous", c.name)
					}
					found = i
				}
			}
			if found >= 0 {
				return cols[found].id
			}
			b.fail(x.Pos, pgerr.UndefinedColumn, "column \"%s\" does not exist", x.Names[0])
		}
	case *ast.Literal:
		if x.Kind == ast.IntLiteral {
			if x.Int < 1 || int(x.Int) > len(cols) {
				b.fail(x.Pos, pgerr.InvalidColumnReference, "ORDER BY position %d is not in select list", x.Int)
			}
			return cols[x.Int-1].id
		}
	}
	if s.Values != nil {
		b.unsupported(startPos(e), "ORDER BY an expression over VALUES")
	}
	b.throw(pgerr.New(pgerr.FeatureNotSupported, "invalid UNION/INTERSECT/EXCEPT ORDER BY clause").At(startPos(e)).
		WithDetail("Only result column names can be used, not expressions or functions.").
		WithHint("Add the expression/function to every SELECT, or move the UNION into a FROM clause."))
	return 0
}

// unite makes the set operation of two queries, their columns brought to common types.
func (b *binder) unite(op byte, all bool, l rel, lcols []outCol, r rel, rcols []outCol, pos int) (rel, []outCol) {
	name := setOpNames[op]
	if len(lcols) != len(rcols) {
		b.fail(pos, pgerr.SyntaxError, "each %s query must have the same number of columns", name)
	}
	out := &setRel{op: op, all: all}
	lx, rx := make([]expr.Expr, len(lcols)), make([]expr.Expr, len(rcols))
	var cols []outCol
	for i := range lcols {
		le, re := b.leaf(l, lcols[i].id), b.leaf(r, rcols[i].id)
		es, t, err := expr.CommonType(name, []expr.Expr{le, re})
		b.check(err, pos)
		if t.OID == types.UnknownOID {
			t = types.Of(types.TextOID)
			for k := range es {
				es[k], err = expr.Coerce(es[k], t, 'i')
				b.check(err, pos)
			}
		}
		if !all || op != 'u' {
			b.needEquality(es[0], pos)
		}
		lx[i], rx[i] = es[0], es[1]
		if mod := le.Type().Mod; le.Type().OID == t.OID && re.Type() == le.Type() {
			t.Mod = mod
		}
		id := b.newCol(colMeta{name: lcols[i].name, typ: t})
		out.cols = append(out.cols, id)
		cols = append(cols, outCol{name: lcols[i].name, id: id})
	}
	out.left, out.lcols = b.conform(l, lcols, lx)
	out.right, out.rcol = b.conform(r, rcols, rx)
	return out, cols
}

// leaf is the expression to unify for a column: a literal of unknown type itself, so that it can still take any type, or the column.
func (b *binder) leaf(r rel, id colID) expr.Expr {
	if b.cols[id].typ.OID == types.UnknownOID {
		if p, ok := r.(*projectRel); ok {
			for _, it := range p.items {
				if it.id == id {
					switch it.e.(type) {
					case *expr.Const, *expr.Param:
						return it.e
					}
				}
			}
		}
	}
	return b.col(id)
}

// conform projects a query onto the expressions es, one per column.
func (b *binder) conform(r rel, cols []outCol, es []expr.Expr) (rel, []colID) {
	ids := make([]colID, len(cols))
	plain := true
	for i, e := range es {
		c, ok := e.(*expr.Column)
		plain = plain && ok && c.Index == cols[i].id
		ids[i] = cols[i].id
	}
	seen := colSet{}
	for _, id := range ids {
		plain = plain && !seen.has(id)
		seen.add(id)
	}
	if plain {
		return r, ids
	}
	p := &projectRel{in: r}
	for i, e := range es {
		ids[i] = b.newCol(colMeta{name: cols[i].name, typ: e.Type()})
		p.items = append(p.items, projItem{ids[i], e})
	}
	return p, ids
}

// values binds VALUES as a query.
func (b *binder) values(q *query, s *ast.Select, resolve bool) (rel, []outCol) {
	q.clause = clValues
	n := len(s.Values[0])
	colsOf := make([][]expr.Expr, n)
	for _, row := range s.Values {
		if len(row) != n {
			b.fail(startPos(row[min(len(row), n)-1]), pgerr.SyntaxError, "VALUES lists must all be the same length")
		}
		for i, e := range row {
			if d, ok := e.(*ast.Default); ok {
				b.fail(d.Pos, pgerr.SyntaxError, "DEFAULT is not allowed in this context")
			}
			colsOf[i] = append(colsOf[i], b.expr(q, e))
		}
	}
	b.noCollected(q, s.Values)
	out := &valuesRel{rows: make([][]expr.Expr, len(s.Values))}
	var cols []outCol
	for i := range colsOf {
		es, t := colsOf[i], colsOf[i][0].Type()
		if len(es) > 1 || resolve && t.OID == types.UnknownOID {
			var err error
			es, t, err = expr.CommonType("VALUES", es)
			b.check(err, startPos(s.Values[0][i]))
		}
		if resolve && t.OID == types.UnknownOID {
			t = types.Of(types.TextOID)
			for k := range es {
				e, err := expr.Coerce(es[k], t, 'i')
				b.check(err, 0)
				es[k] = e
			}
		}
		name := "column" + strconv.Itoa(i+1)
		id := b.newCol(colMeta{name: name, typ: t})
		out.cols = append(out.cols, id)
		cols = append(cols, outCol{name: name, id: id})
		for k := range es {
			out.rows[k] = append(out.rows[k], es[k])
		}
	}
	// One row of literals stays a projection, so that unknown literals can still change their type.
	var r rel = out
	if len(out.rows) == 1 {
		p := &projectRel{in: &oneRowRel{}}
		for i, id := range out.cols {
			p.items = append(p.items, projItem{id, out.rows[0][i]})
		}
		r = p
	}
	return b.setTail(q, s, r, cols), cols
}

// noCollected refuses aggregates and the like where no query collects them.
func (b *binder) noCollected(q *query, rows [][]ast.Expr) {
	if len(q.srfs) > 0 {
		b.unsupported(startPos(rows[0][0]), "a set-returning function in VALUES")
	}
}
