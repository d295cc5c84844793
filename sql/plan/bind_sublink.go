package plan

import (
	"reflect"
	"slices"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// sublink binds a subquery in an expression.
func (b *binder) sublink(q *query, e *ast.Sublink) expr.Expr {
	if q.clause == clDefault || q.clause == clCheck || q.clause == clPredicate {
		b.fail(e.Pos, pgerr.FeatureNotSupported, "cannot use subquery in %s", map[clause]string{clDefault: "DEFAULT expression", clCheck: "check constraint", clPredicate: "index predicate"}[q.clause])
	}
	r, cols := b.selectQuery(&query{parent: q, ctesFrom: q}, e.Query, true)
	s := &expr.Subplan{}
	switch e.Kind {
	case ast.ExistsSublink:
		s.Kind, s.T = expr.SubExists, types.Of(types.BoolOID)
		if p, ok := r.(*projectRel); ok && !p.set { // its rows are counted and not looked at, whatever they would have done
			for i := range p.items {
				if expr.Volatility(p.items[i].e) == 'v' {
					p.items[i].e = &expr.Const{T: p.items[i].e.Type(), Value: types.NullDatum}
				}
			}
		}
	case ast.ScalarSublink, ast.ArraySublink:
		if len(cols) != 1 {
			b.fail(e.Pos, pgerr.SyntaxError, "subquery must return only one column")
		}
		s.T = b.cols[cols[0].id].typ
		if e.Kind == ast.ArraySublink {
			s.Kind = expr.SubArray
			at := types.ArrayOf(s.T.OID)
			if at == 0 {
				b.fail(e.Pos, pgerr.UndefinedObject, "could not find array type for data type %s", types.FormatType(s.T))
			}
			s.T = types.Of(at)
		}
	default:
		r, cols = b.quantified(q, e, s, r, cols)
	}
	s.Plan = len(b.subs)
	sub := &subquery{rel: r, cols: cols, free: freeColumns(r), at: q, text: e}
	s.Twin = b.twin(sub, s.Plan)
	b.subs = append(b.subs, sub)
	for _, id := range sub.free {
		s.Args = append(s.Args, b.col(id))
	}
	b.pos[s] = e.Pos
	return s
}

// twin finds the first subquery that means what sub does: it stands in the same query, is written the same, and what it takes from around it is the same. It is own if
// there is none.
func (b *binder) twin(sub *subquery, own int) int {
	for i, t := range b.subs {
		if t.at == sub.at && slices.Equal(t.free, sub.free) && sameTree(reflect.ValueOf(t.text), reflect.ValueOf(sub.text)) {
			return i
		}
	}
	return own
}

// sameTree reports whether two syntax trees are the same but for where they were written.
func sameTree(a, b reflect.Value) bool {
	if a.IsValid() != b.IsValid() || a.IsValid() && a.Type() != b.Type() {
		return false
	}
	switch a.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Interface:
		return a.IsNil() == b.IsNil() && (a.IsNil() || sameTree(a.Elem(), b.Elem()))
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !sameTree(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).Name != "Pos" && !sameTree(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return a.Equal(b)
}

// quantified fills in "test op ANY|ALL (subquery)".
func (b *binder) quantified(q *query, e *ast.Sublink, s *expr.Subplan, r rel, cols []outCol) (rel, []outCol) {
	s.T = types.Of(types.BoolOID)
	s.Kind = expr.SubAny
	if e.Kind == ast.AllSublink {
		s.Kind = expr.SubAll
	}
	op := "="
	if len(e.Op) > 0 {
		op = b.opName(e.Op, e.Pos)
	}
	if row, ok := e.Test.(*ast.Row); ok {
		return b.rowQuantified(q, e, s, row, op, r, cols)
	}
	if len(cols) != 1 {
		b.fail(e.Pos, pgerr.SyntaxError, "subquery has too many columns")
	}
	left := b.expr(q, e.Test)
	x, err := expr.MakeOp(op, left, b.col(cols[0].id))
	x = b.made(x, err, e.Pos, left)
	call, ok := x.(*expr.Call)
	if !ok || len(call.Args) != 2 || call.T.OID != types.BoolOID {
		b.fail(e.Pos, pgerr.DatatypeMismatch, "row comparison operator must yield type boolean, not type %s", types.FormatType(x.Type()))
	}
	s.Left, s.Fn = call.Args[0], call.Fn
	r, ids := b.conform(r, cols, []expr.Expr{call.Args[1]})
	return r, []outCol{{name: cols[0].name, id: ids[0]}}
}

// rowQuantified is (a, b) IN (subquery): the rows that might match are filtered inside, and
// the result is whether one is true, else whether one is NULL.
func (b *binder) rowQuantified(q *query, e *ast.Sublink, s *expr.Subplan, row *ast.Row, op string, r rel, cols []outCol) (rel, []outCol) {
	if len(row.Args) != len(cols) {
		word := "few"
		if len(cols) > len(row.Args) {
			word = "many"
		}
		b.fail(e.Pos, pgerr.SyntaxError, "subquery has too %s columns", word)
	}
	right := make([]expr.Expr, len(cols))
	for i, c := range cols {
		right[i] = b.col(c.id)
	}
	cond := b.rowCompare(op, b.exprs(q, row.Args), right, e.Pos)
	// true = ANY (SELECT a = x AND b = y ...) has exactly the three-valued result.
	id := b.newCol(colMeta{name: "?column?", typ: types.Of(types.BoolOID)})
	s.Left = &expr.Const{T: types.Of(types.BoolOID), Value: types.NewBool(true)}
	eq, err := expr.MakeOp("=", s.Left, b.col(id))
	b.check(err, e.Pos)
	s.Fn = eq.(*expr.Call).Fn
	return &projectRel{in: r, items: []projItem{{id, cond}}}, []outCol{{name: "?column?", id: id}}
}
