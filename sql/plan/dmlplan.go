package plan

import (
	"github.com/pamirdb/pamir/sql/expr"
)

// dml plans a data-changing statement.
func (p *physical) dml(c *change) Node {
	in := p.b.optimize(wrapWith(c.in, c.defs))
	var node Node
	switch c.op {
	case 'i':
		node = p.insertNode(c, in)
	case 'u':
		node = p.updateNode(c, in)
	default:
		node = p.deleteNode(c, in)
	}
	return node
}

// returningFields describes the rows of RETURNING.
func (p *physical) returningFields(c *change) []Field {
	var out []Field
	for _, t := range c.returning {
		f := Field{Name: t.name, Type: t.e.Type()}
		if col, ok := t.e.(*expr.Column); ok {
			if m := &p.b.cols[col.Index]; m.table != nil && m.table.Kind != 'v' {
				f.Table, f.Attnum = m.table.ID, int16(m.ord+1)
			}
		}
		out = append(out, f)
	}
	return out
}

func (p *physical) returningExprs(c *change, cols []colID) []expr.Expr {
	var out []expr.Expr
	for _, t := range c.returning {
		out = append(out, p.final(t.e, cols))
	}
	return out
}

func (p *physical) checkExprs(c *change, cols []colID) []CheckExpr {
	var out []CheckExpr
	for _, ck := range c.checks {
		out = append(out, CheckExpr{Name: ck.Name, Cond: p.final(ck.Cond, cols)})
	}
	return out
}

func (p *physical) insertNode(c *change, in rel) Node {
	ph := p.exactly(p.build(in, want{need: setOf(c.inCols...)}), c.inCols)
	n := &Insert{Table: c.table, Input: ph.node, Columns: c.columns, Checks: p.checkExprs(c, c.row)}
	if c.conflict != nil {
		both := append(append([]colID(nil), c.row...), c.excluded...)
		oc := &OnConflict{Index: c.conflict.Index}
		for _, s := range c.conflict.Update {
			oc.Update = append(oc.Update, SetClause{Column: s.Column, Value: p.final(s.Value, both)})
		}
		if c.conflict.Where != nil {
			oc.Where = p.final(c.conflict.Where, both)
		}
		n.Conflict = oc
	}
	n.Returning = p.returningExprs(c, c.row)
	n.Props = Props{Out: p.returningFields(c), EstRows: ph.rows, EstCost: ph.cost + ph.rows}
	return n
}

// changeInput plans the rows to change: the table's own columns first, then what else the expressions use.
func (p *physical) changeInput(c *change, in rel) *phys {
	used := colSet{}
	for _, s := range c.set {
		needs(used, s.Value)
	}
	for _, t := range c.returning {
		needs(used, t.e)
	}
	cols := append([]colID(nil), c.row...)
	for _, id := range c.inCols[len(c.row):] {
		if used.has(id) {
			cols = append(cols, id)
		}
	}
	return p.exactly(p.build(in, want{need: setOf(cols...)}), cols)
}

func (p *physical) updateNode(c *change, in rel) Node {
	ph := p.changeInput(c, in)
	n := &Update{Table: c.table, Input: ph.node, Checks: p.checkExprs(c, c.row)}
	for _, s := range c.set {
		n.Set = append(n.Set, SetClause{Column: s.Column, Value: p.final(s.Value, ph.cols)})
	}
	n.Returning = p.returningExprs(c, ph.cols)
	n.Props = Props{Out: p.returningFields(c), EstRows: ph.rows, EstCost: ph.cost + ph.rows}
	return n
}

func (p *physical) deleteNode(c *change, in rel) Node {
	ph := p.changeInput(c, in)
	n := &Delete{Table: c.table, Input: ph.node}
	n.Returning = p.returningExprs(c, ph.cols)
	n.Props = Props{Out: p.returningFields(c), EstRows: ph.rows, EstCost: ph.cost + ph.rows}
	return n
}
