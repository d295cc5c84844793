package plan

import (
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// cteDef is a query of a WITH clause.
type cteDef struct {
	id   int
	name string
	rel  rel
	cols []outCol
	refs int
	// forced: MATERIALIZED.
	forced bool
	dml    bool
	// Recursive: step reads the working table; stepCols are its columns, parallel to cols.
	recursive, dedup bool
	step             rel
	stepCols         []colID
	binding          bool
	rewritten        bool
}

// cte finds a WITH query by name.
func (q *query) cte(name string) *cteDef {
	for at := q; at != nil; {
		if d := at.ctes[name]; d != nil {
			return d
		}
		if at.ctesFrom != nil {
			at = at.ctesFrom
		} else {
			at = at.parent
		}
	}
	return nil
}

// with binds a WITH clause into q.
func (b *binder) with(q *query, w *ast.With) []*cteDef {
	if w == nil {
		return nil
	}
	q.ctes = map[string]*cteDef{}
	var defs []*cteDef
	for _, c := range w.CTEs {
		if q.ctes[c.Name] != nil {
			b.fail(c.Pos, pgerr.DuplicateAlias, "WITH query name \"%s\" specified more than once", c.Name)
		}
		if c.Search != nil {
			b.unsupported(c.Search.Pos, "SEARCH")
		}
		if c.Cycle != nil {
			b.unsupported(c.Cycle.Pos, "CYCLE")
		}
		b.ctes++
		d := &cteDef{id: b.ctes - 1, name: c.Name, forced: c.Materialized == 'y'}
		level := &query{parent: q.parent, ctesFrom: q, hidden: q.hidden}
		switch s := c.Query.(type) {
		case *ast.Select:
			if w.Recursive && mentions(s, c.Name) {
				b.recursive(q, level, d, c, s)
				break
			}
			d.rel, d.cols = b.selectQuery(level, s, true)
		case *ast.Insert:
			b.dmlCTE(d, b.insert(s, level))
		case *ast.Update:
			b.dmlCTE(d, b.update(s, level))
		case *ast.Delete:
			b.dmlCTE(d, b.delete(s, level))
		default:
			b.unsupported(c.Pos, "%s in WITH", c.Query.Tag())
		}
		b.renameCTE(d, c)
		q.ctes[c.Name] = d
		defs = append(defs, d)
	}
	return defs
}

func (b *binder) renameCTE(d *cteDef, c *ast.CTE) {
	if len(c.Columns) > len(d.cols) {
		b.fail(c.Pos, pgerr.InvalidColumnReference, "WITH query \"%s\" has %d columns available but %d columns specified", c.Name, len(d.cols), len(c.Columns))
	}
	for i, n := range c.Columns {
		d.cols[i].name = n
	}
}

// recursive binds seed UNION [ALL] step.
func (b *binder) recursive(q, level *query, d *cteDef, c *ast.CTE, s *ast.Select) {
	if s.SetOp != 'u' {
		b.fail(c.Pos, pgerr.InvalidRecursion, "recursive query \"%s\" does not have the form non-recursive-term UNION [ALL] recursive-term", c.Name)
	}
	switch {
	case len(s.OrderBy) > 0:
		b.fail(startPos(s.OrderBy[0].Expr), pgerr.FeatureNotSupported, "ORDER BY in a recursive query is not implemented")
	case s.Offset != nil:
		b.fail(startPos(s.Offset), pgerr.FeatureNotSupported, "OFFSET in a recursive query is not implemented")
	case s.Limit != nil:
		b.fail(startPos(s.Limit), pgerr.FeatureNotSupported, "LIMIT in a recursive query is not implemented")
	case len(s.Locking) > 0:
		b.throw(pgerr.New(pgerr.FeatureNotSupported, "FOR UPDATE/SHARE in a recursive query is not implemented"))
	}
	inner := b.with(level, s.With)
	if mentions(s.Left, c.Name) {
		b.fail(c.Pos, pgerr.InvalidRecursion, "recursive reference to query \"%s\" must not appear within its non-recursive term", c.Name)
	}
	sub := func() *query { return &query{parent: level.parent, ctesFrom: level, hidden: level.hidden} }
	seed, cols := b.selectQuery(sub(), s.Left, true)
	d.recursive, d.dedup, d.cols = true, !s.All, cols
	b.renameCTE(d, c)
	d.binding = true
	if level.ctes == nil {
		level.ctes = map[string]*cteDef{}
	}
	level.ctes[c.Name] = d
	step, scols := b.selectQuery(sub(), s.Right, false)
	d.binding = false
	if len(scols) != len(cols) {
		b.fail(s.Right.Pos, pgerr.SyntaxError, "each UNION query must have the same number of columns")
	}
	es := make([]expr.Expr, len(cols))
	for i := range cols {
		want := b.cols[cols[i].id].typ
		e := b.leaf(step, scols[i].id)
		have := e.Type()
		if have.OID != want.OID {
			if have.OID != types.UnknownOID && !expr.CanCoerce(have.OID, want.OID, 'i') {
				over := have
				if !expr.CanCoerce(want.OID, have.OID, 'i') {
					b.fail(s.Right.Pos, pgerr.DatatypeMismatch, "UNION types %s and %s cannot be matched", types.FormatType(want), types.FormatType(have))
				}
				b.throw(pgerr.New(pgerr.DatatypeMismatch, "recursive query \"%s\" column %d has type %s in non-recursive term but type %s overall",
					c.Name, i+1, types.FormatType(want), types.FormatType(over)).At(s.Left.Pos).
					WithHint("Cast the output of the non-recursive term to the correct type."))
			}
			x, err := expr.Coerce(e, types.Of(want.OID), 'i')
			b.check(err, s.Right.Pos)
			e = x
		}
		es[i] = e
	}
	d.step, d.stepCols = b.conform(step, scols, es)
	// WITH queries inside are visible to both terms.
	d.rel = wrapWith(seed, inner)
	d.refs++
}

// cteRef makes a reference to a WITH query in the FROM clause of q.
func (b *binder) cteRef(q *query, d *cteDef, t *ast.TableName) (rel, []*nsItem) {
	if d.dml && len(d.cols) == 0 {
		b.fail(t.Pos, pgerr.FeatureNotSupported, "WITH query \"%s\" does not have a RETURNING clause", d.name)
	}
	d.refs++
	b.rels++
	r := &cteRel{def: d}
	it := &nsItem{name: t.Name, relVisible: true, colsVisible: true, kind: withItem}
	var names []string
	if t.Alias != nil {
		it.name, names = t.Alias.Name, t.Alias.Columns
	}
	if len(names) > len(d.cols) {
		b.fail(0, pgerr.InvalidColumnReference, "table \"%s\" has %d columns available but %d columns specified", it.name, len(d.cols), len(names))
	}
	for i, c := range d.cols {
		m := b.cols[c.id]
		m.name, m.level, m.alias, m.derived = c.name, q, it.name, true
		if i < len(names) {
			m.name = names[i]
		}
		m.notNull = false
		id := b.newCol(m)
		r.cols = append(r.cols, id)
		it.cols = append(it.cols, nsCol{name: m.name, id: id})
	}
	return r, []*nsItem{it}
}

// wrapWith puts the definitions around a query, the first outermost.
func wrapWith(r rel, defs []*cteDef) rel {
	for i := len(defs) - 1; i >= 0; i-- {
		r = &withRel{def: defs[i], body: r}
	}
	return r
}

// mentions reports whether a query's FROM clauses name an unqualified table, for telling recursive WITH queries. A nested WITH
// of the same name hides it.
func mentions(s *ast.Select, name string) bool {
	if s == nil {
		return false
	}
	if s.With != nil {
		for _, c := range s.With.CTEs {
			if c.Name == name {
				return false
			}
			if q, ok := c.Query.(*ast.Select); ok && mentions(q, name) {
				return true
			}
		}
	}
	if mentions(s.Left, name) || mentions(s.Right, name) {
		return true
	}
	for _, te := range s.From {
		if mentionsFrom(te, name) {
			return true
		}
	}
	found := false
	ast.WalkSelect(s, func(sub *ast.Select) {
		found = found || mentions(sub, name)
	})
	return found
}

func mentionsFrom(te ast.TableExpr, name string) bool {
	switch t := te.(type) {
	case *ast.TableName:
		return t.Schema == "" && t.Name == name
	case *ast.Derived:
		return mentions(t.Query, name)
	case *ast.Join:
		return mentionsFrom(t.Left, name) || mentionsFrom(t.Right, name)
	}
	return false
}
