package plan

import (
	"math"
	"slices"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// aggregate plans grouping; where the input is nothing but a scan, most of it happens beside the data.
func (p *physical) aggregate(r *aggRel, w want) *phys {
	need := colSet{}
	var groups []projItem
	for _, g := range r.groups {
		groups = append(groups, g)
		needs(need, g.e)
	}
	var calls []aggCall
	for _, c := range r.calls {
		if w.need.has(c.id) {
			calls = append(calls, c)
			needs(need, c.call.Args...)
			needs(need, c.call.Filter)
			for _, k := range c.call.OrderBy {
				needs(need, k.Expr)
			}
		}
	}
	if len(groups) == 0 {
		if ph := p.minMax(r, calls); ph != nil {
			return ph
		}
	}
	in := p.build(r.in, want{need: need})
	var ids, cols []colID
	for _, g := range groups {
		cols = append(cols, g.id)
		if c, ok := g.e.(*expr.Column); ok {
			ids = append(ids, c.Index)
		} else {
			ids = append(ids, g.id)
		}
	}
	for _, c := range calls {
		cols = append(cols, c.id)
	}
	rows := p.groupRows(in.rows, ids)
	out := &phys{cols: cols, rows: rows, cost: in.cost + in.rows*(0.2+0.1*float64(len(calls)))}
	n := &Aggregate{Props: p.props(cols, rows, out.cost), Input: in.node}
	for _, g := range groups {
		n.GroupBy = append(n.GroupBy, p.final(g.e, in.cols))
	}
	n.Calls = p.finalCalls(calls, in.cols)
	if len(groups) > 0 {
		n.Sorted = groupedBy(in, ids) && len(ids) == len(groups)
	}
	p.pushAggregate(n, rows)
	out.node = n
	return out
}

// pushAggregate moves the aggregation into the scan below: partial states come back instead of rows.
func (p *physical) pushAggregate(n *Aggregate, rows float64) {
	s, ok := n.Input.(*Scan)
	if !ok || s.Lock != kv.LockNone || s.Limit != nil || s.Agg != nil {
		return
	}
	if !s.Index.Primary && !covers(s.Table, s.Index, s.Columns) {
		return
	}
	local := func(e expr.Expr) bool { return expr.Volatility(e) == 'i' && !hasSubplan(e) }
	for _, g := range n.GroupBy {
		if !local(g) {
			return
		}
	}
	for _, c := range n.Calls {
		if c.Distinct || len(c.OrderBy) > 0 || !builtin.CanPartial(c.Fn) || c.Filter != nil && !local(c.Filter) {
			return
		}
		for _, a := range c.Args {
			if !local(a) {
				return
			}
		}
	}
	if rows > s.EstRows/2 && len(n.GroupBy) > 0 {
		return // nearly as many groups as rows: nothing is saved
	}
	s.Agg = &PartialAgg{GroupBy: n.GroupBy, Calls: n.Calls}
	var out []Field
	final := make([]expr.Expr, len(n.GroupBy))
	for i, g := range n.GroupBy {
		out = append(out, Field{Name: n.Out[i].Name, Type: g.Type()})
		final[i] = &expr.Column{T: g.Type(), Index: i, Name: n.Out[i].Name}
	}
	for i := range n.Calls {
		out = append(out, Field{Name: n.Out[len(n.GroupBy)+i].Name, Type: types.Of(types.ByteaOID)})
	}
	s.Out, s.EstRows, s.Ordered = out, math.Max(1, rows), false
	n.GroupBy, n.Final, n.Sorted = final, true, false
}

// maxEnds bounds how many ends of indexes one aggregation reads.
const maxEnds = 8

// minMax plans several min(col) and max(col): each is read from the end of an index, by a subquery of its own if there are several. nil if
// that is not possible, or reading all rows costs less.
func (p *physical) minMax(r *aggRel, calls []aggCall) *phys {
	s, ok := r.in.(*scanRel)
	if !ok || len(calls) == 0 || len(calls) > maxEnds || s.table.Virtual || s.lock != kv.LockNone {
		return nil
	}
	need := colSet{}
	for _, c := range calls {
		if !isMinMax(&c.call) {
			return nil
		}
		needs(need, c.call.Args...)
	}
	if len(calls) > 1 && slices.ContainsFunc(s.filter, func(e expr.Expr) bool { return hasSubplan(e) || expr.Volatility(e) == 'v' }) {
		return nil // it would be computed several times
	}
	var ends []*phys
	cost := 0.0
	for _, c := range calls {
		ph := p.end(s, c)
		if ph == nil {
			return nil
		}
		ends = append(ends, ph)
		cost += ph.cost
	}
	if full := p.scan(s, want{need: need}); cost > full.cost+1 {
		return nil
	}
	if len(ends) == 1 {
		return ends[0]
	}
	out := &phys{rows: 1, cost: cost}
	n := &Project{Input: &Values{Props: p.props(nil, 1, 0), Lists: [][]expr.Expr{{}}}}
	for i, c := range calls {
		out.cols = append(out.cols, c.id)
		n.Exprs = append(n.Exprs, &expr.Subplan{Kind: expr.SubScalar, T: c.call.T, Plan: len(p.stmt.Subplans)})
		p.stmt.Subplans = append(p.stmt.Subplans, ends[i].node)
	}
	n.Props = p.props(out.cols, 1, cost)
	out.node = n
	return out
}

func isMinMax(c *AggCall) bool {
	if c.Fn.Schema != "pg_catalog" && c.Fn.Schema != "" || c.Fn.Name != "min" && c.Fn.Name != "max" || c.Filter != nil || len(c.Args) != 1 {
		return false
	}
	_, ok := c.Args[0].(*expr.Column)
	return ok
}

// end plans one min(col) or max(col) over an index that gives the column's order: one row from its end.
func (p *physical) end(s *scanRel, call aggCall) *phys {
	c := &call.call
	col := c.Args[0].(*expr.Column)
	// NULLs do not count: they are filtered out, which an index range does by itself where the column allows none.
	c2 := *s
	c2.filter = append([]expr.Expr(nil), s.filter...)
	if m := &p.b.cols[col.Index]; !m.notNull {
		c2.filter = append(c2.filter, &expr.IsNull{Arg: col, Not: true})
	}
	order := []ordCol{{col.Index, c.Fn.Name == "max", c.Fn.Name == "max"}}
	one := &expr.Const{T: types.Of(types.Int8OID), Value: types.NewInt(1)}
	ph := p.scan(&c2, want{need: setOf(col.Index), order: order, limit: 1, limitExpr: one})
	sc, ok := ph.node.(*Scan)
	if !ok || !satisfies(ph, order) || !sc.Ordered {
		return nil
	}
	lim := &Limit{Props: p.props(ph.cols, 1, p.limited(ph, 1)), Input: sc, Count: one}
	keepFields(lim, sc)
	n := &Aggregate{Props: p.props([]colID{call.id}, 1, lim.EstCost+1), Input: lim, Calls: p.finalCalls([]aggCall{call}, ph.cols)}
	return &phys{node: n, cols: []colID{call.id}, rows: 1, cost: lim.EstCost}
}
