package plan

import (
	"math"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// Costs, in units of one row read in key order. What is looked up costs more than these say, 20 to 80 rows, when the rows lie far apart: where the choice is close the plan that
// reads little is the better one, for all rows may be more than statistics know.
const (
	costSpan   = 10.0 // a request to a range
	costFetch  = 8.0  // fetching a row from the primary index, in a batch
	costPoint  = 8.0  // probing an index for a row by its whole key, in a batch
	costLookup = 25.0 // probing an index for all rows with a key's beginning, in a batch
	costFilter = 0.05
)

// scan plans reading a table: the cheapest index for the conditions, and for the order if one is wanted.
func (p *physical) scan(r *scanRel, w want) *phys {
	if never(r.filter) {
		return p.nothing(r.cols, w)
	}
	if once, rest := p.oneTime(r); len(once) > 0 {
		c := *r
		c.filter = rest
		return p.gate(p.scan(&c, w), once)
	}
	if r.table.Virtual {
		return p.virtualScan(r, w)
	}
	rows := p.tableRows(r.table)
	a := p.analyze(r)
	if !r.peek {
		p.analyzeSubqueries(a, r)
	}
	var best *phys
	var bestCost float64
	for i := range r.table.Indexes {
		ix := &r.table.Indexes[i]
		if ix.State != catalog.Public {
			continue
		}
		done, share, ok := p.partial(r, ix)
		if !ok {
			continue
		}
		ph := p.indexScan(r, a, ix, rows*share, done, w)
		total := p.limited(ph, w.limit)
		if len(w.order) > 0 && !satisfies(ph, w.order) {
			total = ph.cost + sortCost(ph.rows)
		}
		if best == nil || total < bestCost {
			best, bestCost = ph, total
		}
	}
	if best == nil {
		p.b.throw(internal("table \"%s\" has no index to read", r.table.Name))
	}
	if bestCost > costSpan {
		if u := p.union(r, w, math.Max(bestCost, best.cost)); u != nil {
			total := p.limited(u, w.limit)
			if len(w.order) > 0 {
				total = u.cost + sortCost(u.rows)
			}
			if 2*total < bestCost { // arms are read one after the other, and ranges may hold more than a third of the rows
				best = u
			}
		}
	}
	return best
}

// oneTime splits off conditions that do not look at the scan's rows: they are tested once, not per row.
func (p *physical) oneTime(r *scanRel) (once, rest []expr.Expr) {
	if r.lock != kv.LockNone {
		return nil, r.filter // the plan of rows to be locked stays a plain scan
	}
	for _, c := range r.filter {
		if p.constant(c) {
			once = append(once, c)
		} else {
			rest = append(rest, c)
		}
	}
	return once, rest
}

// gate lets ph's rows through if the conditions, which are constant, are true: a Limit of none or all.
func (p *physical) gate(ph *phys, conds []expr.Expr) *phys {
	int8 := types.Of(types.Int8OID)
	out := *ph
	n := &Limit{Props: p.props(ph.cols, ph.rows, ph.cost), Input: ph.node, Count: &expr.Case{T: int8,
		Whens: []expr.When{{Cond: p.final(conjunction(conds), nil), Then: &expr.Const{T: int8, Value: types.NullDatum}}},
		Else:  &expr.Const{T: int8, Value: types.NewInt(0)}}}
	keepFields(n, ph.node)
	out.node = n
	return &out
}

// never reports whether a constant among conditions keeps every row out.
func never(conds []expr.Expr) bool {
	for _, c := range conds {
		if k, ok := c.(*expr.Const); ok && (k.Value.Null || k.Value.I == 0) {
			return true
		}
	}
	return false
}

// nothing plans a relation without rows.
func (p *physical) nothing(ids []colID, w want) *phys {
	out := &phys{fixed: setOf(ids...)}
	for _, id := range ids {
		if w.need.has(id) {
			out.cols = append(out.cols, id)
		}
	}
	out.rows = 1
	out.node = &Values{Props: p.props(out.cols, 1, 0)}
	return out
}

// indexScan plans reading one index, which has so many rows. The conditions done need not be tested on what it has.
func (p *physical) indexScan(r *scanRel, a *analysis, ix *catalog.Index, rows float64, done []int, w want) *phys {
	m := a.match(p, r, ix)
	for _, i := range done {
		m.used[i] = true
	}
	need := w.need.clone()
	var pushed, above []expr.Expr
	for i, c := range r.filter {
		if m.used[i] && !r.peek { // the entries of an index may be older than the rows, if nothing rests on them
			continue
		}
		needs(need, c)
		if p.pushable(c, r) {
			pushed = append(pushed, c)
		} else {
			above = append(above, c)
		}
	}
	n := &Scan{Table: r.table, Alias: r.alias, Index: ix, Spans: m.spans, Lock: r.lock, Wait: r.wait, Peek: r.peek, Few: w.few}
	out := &phys{fixed: colSet{}}
	for ord, id := range r.cols {
		if need.has(id) {
			n.Columns = append(n.Columns, ord)
			out.cols = append(out.cols, id)
		}
	}
	sel := m.sel
	for _, c := range pushed {
		sel *= p.selectivity(c, r)
	}
	scanned := math.Max(1, rows*m.sel)
	if m.exact {
		scanned = math.Min(scanned, m.points)
	}
	out.rows = math.Max(1, math.Min(rows*sel, scanned))
	perRow := 1 + costFilter*float64(len(pushed)) + 0.01*float64(len(n.Columns))
	if !ix.Primary && !covers(r.table, ix, n.Columns) {
		perRow += costFetch
	}
	out.cost = costSpan*m.points + scanned*perRow
	if m.exact {
		out.cost = (costSpan/2 + perRow) * m.points
	}
	for ord := range m.fixed {
		out.fixed.add(r.cols[ord])
	}
	// The order that the index gives, forward or backward.
	if m.ordered {
		out.order = indexOrder(r, ix, m.eq)
		out.unique = orderIsUnique(r.table, ix)
		if len(w.order) > 0 && !satisfies(out, w.order) {
			rev := *out
			rev.order = flip(out.order)
			if satisfies(&rev, w.order) {
				n.Reverse = true
				out.order = rev.order
			}
		}
		n.Ordered = len(w.order) > 0 && satisfies(out, w.order)
	}
	if !n.Ordered { // several ranges may be read at the same time
		out.order, out.unique = nil, false
	}
	n.Filter = p.finalOrNil(conjunction(pushed), out.cols)
	if w.limitExpr != nil && len(above) == 0 && (len(w.order) == 0 || n.Ordered) {
		n.Limit = p.final(w.limitExpr, nil)
	}
	n.Props = p.props(out.cols, out.rows, out.cost)
	out.node = n
	return p.filterOver(out, above)
}

func (p *physical) finalOrNil(e expr.Expr, cols []colID) expr.Expr {
	if e == nil {
		return nil
	}
	return p.final(e, cols)
}

// pushable reports whether a condition can run beside the data: what is not immutable in it must be computable beforehand.
func (p *physical) pushable(e expr.Expr, r *scanRel) bool {
	if hasSubplan(e) || expr.Volatility(e) == 'v' {
		return false
	}
	var check func(expr.Expr) bool
	check = func(x expr.Expr) bool {
		if len(expr.ColumnsUsed(nil, x)) == 0 || p.constant(x) || expr.Volatility(x) == 'i' {
			return true
		}
		if c, ok := x.(*expr.Call); ok && c.Fn.Volatility != 'i' {
			return false
		}
		kids := expr.Children(x)
		if len(kids) == 0 {
			return false
		}
		for _, k := range kids {
			if !check(k) {
				return false
			}
		}
		// A node that is itself immutable over such children.
		return expr.Volatility(shallow(x)) == 'i'
	}
	return check(e)
}

// shallow is a node with its children replaced by NULLs, to ask about the node alone.
func shallow(e expr.Expr) expr.Expr {
	return rewriteChildren(e, func(c expr.Expr) expr.Expr { return &expr.Const{T: c.Type(), Value: types.NullDatum} })
}

// covers reports whether an index holds all the columns.
func covers(t *catalog.Table, ix *catalog.Index, ords []int) bool {
	for _, ord := range ords {
		id, found := t.Columns[ord].ID, false
		for _, kc := range ix.Columns {
			found = found || kc.Column == id
		}
		for _, c := range ix.Include {
			found = found || c == id
		}
		if pk := t.Primary(); pk != nil {
			for _, kc := range pk.Columns {
				found = found || kc.Column == id
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// indexOrder is the order of an index's entries once its first eq columns are fixed.
func indexOrder(r *scanRel, ix *catalog.Index, eq int) []ordCol {
	var out []ordCol
	add := func(kc catalog.IndexColumn) {
		ord := r.table.ColumnByID(kc.Column)
		o := ordCol{r.cols[ord], kc.Desc, kc.NullsFirst}
		if r.table.Columns[ord].NotNull || ix.Primary {
			o.nullsFirst = kc.Desc // no NULLs: as ORDER BY would say by default
		}
		for _, x := range out {
			if x.id == o.id {
				return
			}
		}
		out = append(out, o)
	}
	for i, kc := range ix.Columns {
		if i >= eq {
			add(kc)
		}
	}
	if pk := r.table.Primary(); pk != nil && !ix.Primary && !ix.Unique {
		for _, kc := range pk.Columns {
			add(catalog.IndexColumn{Column: kc.Column, Desc: kc.Desc, NullsFirst: kc.NullsFirst})
		}
	}
	return out
}

// orderIsUnique reports whether no two rows share all the order's columns.
func orderIsUnique(t *catalog.Table, ix *catalog.Index) bool {
	if !ix.Unique || ix.Primary {
		return true // the primary key is part of the order
	}
	for _, kc := range ix.Columns {
		if !t.Columns[t.ColumnByID(kc.Column)].NotNull {
			return false
		}
	}
	return true
}

func flip(order []ordCol) []ordCol {
	out := make([]ordCol, len(order))
	for i, o := range order {
		out[i] = ordCol{o.id, !o.desc, !o.nullsFirst}
	}
	return out
}

// virtualScan plans reading a virtual table.
func (p *physical) virtualScan(r *scanRel, w want) *phys {
	need := w.need.clone()
	n := &VirtualScan{Table: r.table, Alias: r.alias}
	var pushed, above []expr.Expr
	rows := 200.0
	for _, c := range r.filter {
		needs(need, c)
		if !hasSubplan(c) {
			pushed = append(pushed, c)
		} else {
			above = append(above, c)
		}
	}
	out := &phys{}
	for ord, id := range r.cols {
		if need.has(id) {
			n.Columns = append(n.Columns, ord)
			out.cols = append(out.cols, id)
		}
	}
	a := p.analyze(r)
	cost := rows
	for ord, cs := range a.cols {
		for _, c := range cs {
			if c.kind == '=' && c.value.Type().OID == r.table.Columns[ord].Type.OID {
				n.Eq = append(n.Eq, VirtualEq{Column: ord, Value: p.final(c.value, nil)})
				rows = math.Max(1, rows/10)
				cost = rows
				break
			}
		}
	}
	for _, c := range pushed {
		rows *= p.selectivity(c, r)
	}
	n.Filter = p.finalOrNil(conjunction(pushed), out.cols)
	out.rows, out.cost = math.Max(1, rows), cost
	n.Props = p.props(out.cols, out.rows, out.cost)
	out.node = n
	return p.filterOver(out, above)
}

// lookupScan plans the inner side of a lookup join: ok is false if the index's first column is not among the keys.
func (p *physical) lookupScan(r *scanRel, ix *catalog.Index, w want) (n *Scan, cols []colID, above []expr.Expr) {
	need := w.need.clone()
	n = &Scan{Table: r.table, Alias: r.alias, Index: ix, Lock: r.lock, Wait: r.wait, Peek: r.peek}
	if r.lock != kv.LockNone {
		n.Lock = r.lock
	}
	var pushed []expr.Expr
	for _, c := range r.filter {
		needs(need, c)
		if p.pushable(c, r) {
			pushed = append(pushed, c)
		} else {
			above = append(above, c)
		}
	}
	for ord, id := range r.cols {
		if need.has(id) {
			n.Columns = append(n.Columns, ord)
			cols = append(cols, id)
		}
	}
	n.Filter = p.finalOrNil(conjunction(pushed), cols)
	return n, cols, above
}
