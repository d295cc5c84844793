package plan

import (
	"math"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// physical turns logical operators into nodes.
type physical struct {
	b    *binder
	stmt *Statement
	// outer maps columns of enclosing queries to Outer slots.
	outer map[colID]int
	slots int
	// unions is how many unions of index scans are being planned, one within the other.
	unions int
	// armPlans is how many scans have been planned for them.
	armPlans int
}

// ordCol is a column of an order.
type ordCol struct {
	id               colID
	desc, nullsFirst bool
}

// phys is a node with what the planner knows of it.
type phys struct {
	node Node
	cols []colID
	rows float64
	cost float64
	// startup is what of the cost comes before the first row, whatever part of them is taken.
	startup float64
	// order is what the rows are known to be sorted by; fixed columns have one value only.
	order []ordCol
	fixed colSet
	// unique: no two rows agree on all of order's columns.
	unique bool
}

// want is what the parent asks for. Order and limit are wishes: the result says what came of them.
type want struct {
	need  colSet
	order []ordCol
	// limit is how many rows the parent will probably take, 0 for all; limitExpr bounds them at run time.
	limit     float64
	limitExpr expr.Expr
	// few: rows are taken as long as the parent wants more, most likely only a few.
	few bool
}

// query plans a bound query, its result in the order of cols.
func (p *physical) query(r rel, cols []outCol) Node {
	return p.queryOf(p.b.optimize(r), cols, want{})
}

func (p *physical) queryOf(r rel, cols []outCol, w want) Node {
	w.need = colSet{}
	ids := make([]colID, len(cols))
	for i, c := range cols {
		w.need.add(c.id)
		ids[i] = c.id
	}
	ph := p.exactly(p.build(r, w), ids)
	out := ph.node.Fields()
	same := true
	for i := range out {
		same = same && out[i].Name == cols[i].name
	}
	if !same {
		fields := append([]Field(nil), out...)
		for i := range fields {
			fields[i].Name = cols[i].name
		}
		setFields(ph.node, fields)
	}
	return ph.node
}

// props makes a node's common part.
func (p *physical) props(cols []colID, rows, cost float64) Props {
	out := make([]Field, len(cols))
	for i, id := range cols {
		m := &p.b.cols[id]
		out[i] = Field{Name: m.name, Type: m.typ}
		if m.table != nil && m.table.Kind != 'v' {
			out[i].Table, out[i].Attnum = m.table.ID, int16(m.ord+1)
		}
	}
	return Props{Out: out, EstRows: math.Max(1, math.Round(rows)), EstCost: cost}
}

func setFields(n Node, out []Field) {
	if s, ok := n.(interface{ setOut([]Field) }); ok {
		s.setOut(out)
	}
}

func (p *Props) setOut(out []Field) { p.Out = out }

// exactly projects ph to the given columns if it yields others.
func (p *physical) exactly(ph *phys, ids []colID) *phys {
	if len(ids) == len(ph.cols) {
		same := true
		for i, id := range ids {
			same = same && ph.cols[i] == id
		}
		if same {
			return ph
		}
	}
	out := *ph
	n := &Project{Props: p.props(ids, ph.rows, ph.cost), Input: ph.node}
	for _, id := range ids {
		n.Exprs = append(n.Exprs, p.final(p.b.col(id), ph.cols))
	}
	out.node, out.cols = n, ids
	return &out
}

// final replaces column numbers by positions in cols, outer columns by slots, and plans subqueries.
func (p *physical) final(e expr.Expr, cols []colID) expr.Expr {
	return expr.Rewrite(expr.Fold(e), func(x expr.Expr) expr.Expr {
		switch x := x.(type) {
		case *expr.Column:
			for i, id := range cols {
				if id == x.Index {
					return &expr.Column{T: x.T, Index: i, Name: p.columnName(id)}
				}
			}
			if slot, ok := p.outer[x.Index]; ok {
				return &expr.Outer{T: x.T, Index: slot}
			}
			p.b.throw(internal("column %s is not available", p.columnName(x.Index)))
		case *expr.Subplan:
			return p.subplan(x)
		}
		return x
	})
}

// columnName is how EXPLAIN writes a column.
func (p *physical) columnName(id colID) string {
	m := &p.b.cols[id]
	if m.alias != "" && p.b.rels > 1 {
		return quoteIdent(m.alias) + "." + quoteIdent(m.name)
	}
	return quoteIdent(m.name)
}

func (p *physical) finals(es []expr.Expr, cols []colID) []expr.Expr {
	if es == nil {
		return nil
	}
	out := make([]expr.Expr, len(es))
	for i, e := range es {
		out[i] = p.final(e, cols)
	}
	return out
}

func (p *physical) finalKeys(keys []SortKey, cols []colID) []SortKey {
	if keys == nil {
		return nil
	}
	out := make([]SortKey, len(keys))
	for i, k := range keys {
		out[i] = SortKey{Expr: p.final(k.Expr, cols), Desc: k.Desc, NullsFirst: k.NullsFirst}
	}
	return out
}

func (p *physical) finalCalls(calls []aggCall, cols []colID) []AggCall {
	out := make([]AggCall, len(calls))
	for i, c := range calls {
		out[i] = c.call
		out[i].Args = p.finals(c.call.Args, cols)
		if c.call.Filter != nil {
			out[i].Filter = p.final(c.call.Filter, cols)
		}
		out[i].OrderBy = p.finalKeys(c.call.OrderBy, cols)
	}
	return out
}

// withOuter runs f with further columns available in slots.
func (p *physical) withOuter(ids []colID, slot int, f func()) {
	saved := p.outer
	p.outer = make(map[colID]int, len(saved)+len(ids))
	for k, v := range saved {
		p.outer[k] = v
	}
	for i, id := range ids {
		p.outer[id] = slot + i
	}
	f()
	p.outer = saved
}

// subplan plans an expression's subquery. Its arguments have been made final already.
func (p *physical) subplan(x *expr.Subplan) expr.Expr {
	sub := p.b.subs[x.Plan]
	if !sub.optimized {
		sub.rel, sub.optimized = p.b.optimize(sub.rel), true
	}
	c := *x
	c.Slot = p.slots
	p.slots += len(sub.free)
	w := want{}
	switch x.Kind {
	case expr.SubExists:
		w.limit = 1
	case expr.SubScalar:
		w.limit = 2
	}
	var node Node
	p.withOuter(sub.free, c.Slot, func() { node = p.queryOf(sub.rel, sub.cols, w) })
	c.Plan, c.Twin = len(p.stmt.Subplans), len(p.stmt.Subplans)
	p.stmt.Subplans = append(p.stmt.Subplans, node)
	return &c
}

// constant reports whether e can be computed before the scan it constrains starts.
func (p *physical) constant(e expr.Expr) bool {
	return expr.Volatility(e) != 'v' && !hasSubplan(e) && p.outerOnly(e)
}

// outerOnly reports whether all columns in e are those of enclosing queries.
func (p *physical) outerOnly(e expr.Expr) bool {
	for _, id := range expr.ColumnsUsed(nil, e) {
		if _, ok := p.outer[id]; !ok {
			return false
		}
	}
	return true
}

// build plans r.
func (p *physical) build(r rel, w want) *phys {
	switch r := r.(type) {
	case *oneRowRel:
		v := &Values{Props: p.props(nil, 1, 0), Lists: [][]expr.Expr{{}}}
		return &phys{node: v, rows: 1}
	case *scanRel:
		return p.scan(r, w)
	case *valuesRel:
		return p.values(r)
	case *projectRel:
		return p.project(r, w)
	case *filterRel:
		return p.filter(r, w)
	case *joinRel:
		return p.join(r, w)
	case *aggRel:
		return p.aggregate(r, w)
	case *windowRel:
		return p.window(r, w)
	case *distinctRel:
		return p.distinct(r, w)
	case *sortRel:
		return p.sort(r, w)
	case *limitRel:
		return p.limit(r, w)
	case *lockRel:
		return p.lock(r, w)
	case *setRel:
		return p.setOp(r, w)
	case *funcRel:
		n := &FunctionScan{Props: p.props(r.cols, 1000, 10), Fn: r.fn, Args: p.finals(r.args, nil), Ordinality: r.ordinality}
		rows := 1.0
		if r.fn.ReturnsSet {
			rows = 1000
		}
		n.EstRows = rows
		return &phys{node: n, cols: r.cols, rows: rows, cost: rows}
	case *cteRel:
		n := &CTEScan{Props: p.props(r.cols, 100, 100), ID: r.def.id, Name: r.def.name}
		return &phys{node: n, cols: r.cols, rows: 100, cost: 100}
	case *withRel:
		return p.with(r, w)
	case *dmlRel:
		n := r.make(p)
		return &phys{node: n, cols: r.cols, rows: n.Rows(), cost: 100}
	}
	p.b.throw(internal("no plan for %T", r))
	return nil
}

func (p *physical) values(r *valuesRel) *phys {
	v := &Values{Props: p.props(r.cols, float64(len(r.rows)), float64(len(r.rows))*0.1)}
	for _, row := range r.rows {
		v.Lists = append(v.Lists, p.finals(row, nil))
	}
	return &phys{node: v, cols: r.cols, rows: float64(len(r.rows)), cost: v.EstCost}
}

// needs adds the columns of expressions that the input makes to need.
func needs(need colSet, es ...expr.Expr) {
	for _, e := range es {
		if e != nil {
			need.add(expr.ColumnsUsed(nil, e)...)
		}
	}
}

func (s colSet) clone() colSet {
	c := make(colSet, len(s))
	for k := range s {
		c[k] = struct{}{}
	}
	return c
}

func (p *physical) project(r *projectRel, w want) *phys {
	in := colSet{}
	var items []projItem
	rename := map[colID]colID{}
	for _, it := range r.items {
		// What nobody reads is not computed, unless it multiplies rows or may do something.
		if w.need.has(it.id) || r.set && isSetCall(it.e) || expr.Volatility(it.e) == 'v' {
			items = append(items, it)
			needs(in, it.e)
			if c, ok := it.e.(*expr.Column); ok {
				rename[it.id] = c.Index
			}
		}
	}
	iw := want{need: in, limitExpr: w.limitExpr, limit: w.limit}
	if r.set {
		iw.limitExpr, iw.limit = nil, 0
	} else {
		for _, o := range w.order {
			id, ok := rename[o.id]
			if !ok {
				iw.order = nil
				break
			}
			iw.order = append(iw.order, ordCol{id, o.desc, o.nullsFirst})
		}
	}
	ph := p.build(r.in, iw)
	out := &phys{rows: ph.rows, cost: ph.cost + ph.rows*0.01*float64(len(items)), startup: ph.startup, fixed: colSet{}}
	if r.set {
		out.rows *= 100
	}
	back := map[colID]colID{}
	pure := true
	for i, it := range items {
		out.cols = append(out.cols, it.id)
		if c, ok := it.e.(*expr.Column); ok {
			back[c.Index] = it.id
			if ph.fixed.has(c.Index) {
				out.fixed.add(it.id)
			}
			pure = pure && i < len(ph.cols) && ph.cols[i] == c.Index
		} else {
			pure = false
			if p.constant(it.e) && !isSetCall(it.e) {
				out.fixed.add(it.id)
			}
		}
	}
	if !r.set {
		for _, o := range ph.order {
			id, ok := back[o.id]
			if !ok {
				if ph.fixed.has(o.id) {
					continue
				}
				break
			}
			out.order = append(out.order, ordCol{id, o.desc, o.nullsFirst})
		}
		out.unique = ph.unique && len(out.order) == len(ph.order)
	}
	if pure && len(items) == len(ph.cols) && !r.set {
		// Only names change.
		out.node, out.cost = ph.node, ph.cost
		f := p.props(out.cols, out.rows, 0).Out
		for i := range f {
			if f[i].Table == 0 {
				old := ph.node.Fields()[i]
				f[i].Table, f[i].Attnum = old.Table, old.Attnum
			}
		}
		setFields(ph.node, f)
		return out
	}
	n := &Project{Props: p.props(out.cols, out.rows, out.cost), Input: ph.node}
	for _, it := range items {
		n.Exprs = append(n.Exprs, p.final(it.e, ph.cols))
	}
	out.node = n
	return out
}

func (p *physical) filter(r *filterRel, w want) *phys {
	if never(r.conds) {
		return p.nothing(r.outs(), w)
	}
	iw := want{need: w.need.clone(), order: w.order}
	needs(iw.need, r.conds...)
	sel := 1.0
	for _, c := range r.conds {
		sel *= p.selectivity(c, nil)
	}
	if w.limit > 0 {
		iw.limit = w.limit / sel
	}
	return p.filterOver(p.build(r.in, iw), r.conds)
}

// filterOver puts a filter above ph.
func (p *physical) filterOver(ph *phys, conds []expr.Expr) *phys {
	if len(conds) == 0 {
		return ph
	}
	out := *ph
	for _, c := range conds {
		out.rows *= p.selectivity(c, nil)
	}
	out.rows = math.Max(out.rows, 1)
	out.cost += ph.rows * 0.05 * float64(len(conds))
	for _, c := range conds {
		if hasSubplan(c) {
			out.cost += ph.rows * 10
		}
	}
	out.node = &Filter{Props: p.props(ph.cols, out.rows, out.cost), Input: ph.node, Cond: p.final(conjunction(conds), ph.cols)}
	keepFields(out.node, ph.node)
	return &out
}

// keepFields copies the input's output description, names included.
func keepFields(n, in Node) { setFields(n, in.Fields()) }

// comparable reports whether the hash of a pair's values can be compared: they are of one type.
func comparable(a, c types.OID) bool {
	x, ok := builtin.TypeComparators(a)
	return a == c && ok && x.Eq != nil
}
