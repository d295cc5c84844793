package plan

import (
	"math"
	"slices"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/expr"
)

func (p *physical) window(r *windowRel, w want) *phys {
	in := colSet{}
	for _, id := range r.in.outs() {
		if w.need.has(id) {
			in.add(id)
		}
	}
	visitExprs(r, func(e expr.Expr) { needs(in, e) })
	ph := p.build(r.in, want{need: in})
	cols := append([]colID(nil), ph.cols...)
	for _, c := range r.calls {
		cols = append(cols, c.id)
	}
	cost := ph.cost + sortCost(ph.rows) + ph.rows*0.1*float64(len(r.calls))
	n := &Window{Props: p.props(cols, ph.rows, cost), Input: ph.node, PartitionBy: p.finals(r.part, ph.cols),
		OrderBy: p.finalKeys(r.order, ph.cols), Calls: p.finalCalls(r.calls, ph.cols)}
	if r.frame != nil {
		f := *r.frame
		if f.StartOffset != nil {
			f.StartOffset = p.final(f.StartOffset, nil)
		}
		if f.EndOffset != nil {
			f.EndOffset = p.final(f.EndOffset, nil)
		}
		n.Frame = &f
	}
	return &phys{node: n, cols: cols, rows: ph.rows, cost: cost}
}

func (p *physical) distinct(r *distinctRel, w want) *phys {
	outs := r.in.outs()
	iw := want{need: w.need.clone(), order: w.order}
	on := r.on
	if on == nil {
		on = outs
	}
	iw.need.add(on...)
	if r.on == nil {
		iw.need = setOf(outs...)
	}
	ph := p.build(r.in, iw)
	out := *ph
	out.rows = math.Max(1, p.groupRows(ph.rows, on))
	out.cost += ph.rows * 0.5
	n := &Distinct{Input: ph.node}
	if r.on == nil {
		if len(ph.cols) != len(outs) {
			ph = p.exactly(ph, outs)
			out.node, out.cols, n.Input = ph.node, ph.cols, ph.node
		}
	} else {
		for _, id := range r.on {
			for i, c := range ph.cols {
				if c == id {
					n.On = append(n.On, i)
				}
			}
		}
	}
	n.Sorted = groupedBy(ph, on)
	n.Props = p.props(out.cols, out.rows, out.cost)
	keepFields(n, ph.node)
	out.node = n
	if !n.Sorted { // what does not fit into memory comes later
		out.order, out.unique = nil, false
	}
	return &out
}

// groupedBy reports whether rows that agree on the columns ids come together: the order starts with just these.
func groupedBy(ph *phys, ids []colID) bool {
	left := setOf(ids...)
	for id := range ph.fixed {
		delete(left, id)
	}
	for _, o := range ph.order {
		if len(left) == 0 {
			return true
		}
		if !left.has(o.id) {
			if ph.fixed.has(o.id) {
				continue
			}
			return false
		}
		delete(left, o.id)
	}
	return len(left) == 0
}

// satisfies reports whether ph is sorted as wanted.
func satisfies(ph *phys, order []ordCol) bool {
	i := 0
	for _, o := range order {
		if ph.fixed.has(o.id) {
			continue
		}
		for i < len(ph.order) && ph.fixed.has(ph.order[i].id) {
			i++
		}
		if i < len(ph.order) && ph.order[i] == o {
			i++
			continue
		}
		// A further key does not matter once the order is unique.
		return ph.unique && i >= len(ph.order)
	}
	return true
}

func sortCost(rows float64) float64 { return rows * 0.2 * math.Log2(rows+2) }

func (p *physical) sort(r *sortRel, w want) *phys {
	need := w.need.clone()
	order := make([]ordCol, 0, len(r.keys))
	seen := colSet{}
	plain := true
	var keys []SortKey
	for _, k := range r.keys {
		needs(need, k.Expr)
		c, ok := k.Expr.(*expr.Column)
		if !ok {
			plain = false
			keys = append(keys, k)
			continue
		}
		if seen.has(c.Index) {
			continue
		}
		seen.add(c.Index)
		keys = append(keys, k)
		order = append(order, ordCol{c.Index, k.Desc, k.NullsFirst})
	}
	unsorted := p.build(r.in, want{need: need})
	total := unsorted.cost + sortCost(unsorted.rows)
	if w.limit > 0 && w.limit < unsorted.rows {
		total = unsorted.cost + unsorted.rows*0.2*math.Log2(w.limit+2)
	}
	if plain {
		ordered := p.build(r.in, want{need: need, order: order, limit: w.limit, limitExpr: w.limitExpr})
		if satisfies(ordered, order) && p.limited(ordered, w.limit) <= total {
			return ordered
		}
	}
	out := &phys{cols: unsorted.cols, rows: unsorted.rows, cost: total, order: order, fixed: unsorted.fixed}
	if !plain {
		out.order = nil
	}
	n := &Sort{Props: p.props(out.cols, out.rows, total), Input: unsorted.node, Keys: p.finalKeys(keys, unsorted.cols)}
	if w.limitExpr != nil {
		n.TopN = p.final(w.limitExpr, nil)
		if w.limit > 0 {
			n.EstRows = math.Min(n.EstRows, math.Max(1, w.limit))
		}
	}
	keepFields(n, unsorted.node)
	out.node = n
	return out
}

// limited is the cost of taking the first rows of ph only. Nodes that must read all their input first say so by blocking.
func (p *physical) limited(ph *phys, limit float64) float64 {
	if limit <= 0 || ph.rows <= limit || blocking(ph.node) {
		return ph.cost
	}
	return ph.startup + (ph.cost-ph.startup)*limit/ph.rows
}

func blocking(n Node) bool {
	switch n := n.(type) {
	case *Sort, *Aggregate, *SetOp, *Window:
		return true
	case *HashJoin:
		return true
	case *LookupJoin:
		return blocking(n.Left)
	case *LoopJoin:
		return blocking(n.Left)
	case *Lateral:
		return blocking(n.Left)
	case *Project:
		return blocking(n.Input)
	case *Filter:
		return blocking(n.Input)
	case *Distinct:
		return !n.Sorted || blocking(n.Input)
	}
	return false
}

func (p *physical) limit(r *limitRel, w want) *phys {
	iw := want{need: w.need, order: w.order}
	count := constRows(r.count)
	if r.count != nil {
		iw.limit = 100
		if count >= 0 {
			iw.limit = math.Max(1, count)
		}
		iw.limitExpr = r.count
		if r.offset != nil {
			if off := constRows(r.offset); off > 0 {
				iw.limit += off
			}
			sum, err := expr.MakeOp("+", r.count, r.offset)
			p.b.check(err, 0)
			iw.limitExpr = sum
		}
	}
	ph := p.build(r.in, iw)
	out := *ph
	if r.count != nil {
		out.rows = math.Min(ph.rows, iw.limit)
		out.cost = p.limited(ph, iw.limit)
		out.startup = math.Min(ph.startup, out.cost)
	}
	n := &Limit{Props: p.props(ph.cols, out.rows, out.cost), Input: ph.node}
	if r.count != nil {
		n.Count = p.final(r.count, nil)
	}
	if r.offset != nil {
		n.Offset = p.final(r.offset, nil)
		if s := skips(ph.node); s != nil {
			s.Offset, n.Offset = n.Offset, nil
			if s.Limit != nil {
				s.Limit = n.Count
			}
		}
	}
	keepFields(n, ph.node)
	out.node = n
	return &out
}

// skips returns the scan that can leave out the first rows of a plan before it fetches them; nil if there is none, or it fetches nothing.
func skips(n Node) *Scan {
	switch n := n.(type) {
	case *Scan:
		if !n.Index.Primary && n.Filter == nil && n.Lock == kv.LockNone && n.Agg == nil && !covers(n.Table, n.Index, n.Columns) {
			return n
		}
	case *Project:
		for _, e := range n.Exprs {
			if isSetCall(e) || hasSubplan(e) || expr.Volatility(e) == 'v' {
				return nil
			}
		}
		return skips(n.Input)
	}
	return nil
}

// constRows is a constant row count, -1 if it is not constant.
func constRows(e expr.Expr) float64 {
	if e == nil {
		return -1
	}
	if c, ok := expr.Fold(e).(*expr.Const); ok && !c.Value.Null {
		return float64(c.Value.I)
	}
	return -1
}

// lock plans FOR UPDATE: in the scan itself where that locks just the rows returned, above otherwise.
func (p *physical) lock(r *lockRel, w want) *phys {
	if len(r.scans) == 0 {
		return p.build(r.in, w)
	}
	if len(r.scans) == 1 {
		s := r.scans[0]
		s.lock, s.wait = r.strength[0], r.wait[0]
		ph := p.build(r.in, w)
		if scanOnly(ph.node, w.limit > 0 || w.limitExpr != nil || s.wait == kv.WaitSkip) {
			return ph
		}
		s.lock, s.wait = kv.LockNone, kv.WaitBlock
	}
	need := w.need.clone()
	n := &LockRows{}
	in := r.in
	seen := make([][]colID, len(r.scans))
	for i, s := range r.scans {
		need.add(keyColumns(s)...)
		if r.wait[i] == kv.WaitSkip {
			if in, seen[i], s.peek = p.chosenBy(in, s); s.peek {
				need.add(seen[i]...)
			}
		}
	}
	ph := p.build(in, want{need: need, order: w.order, limit: w.limit})
	if w.limitExpr != nil && (len(w.order) == 0 || satisfies(ph, w.order)) {
		n.Limit = p.final(w.limitExpr, nil)
	}
	for i, s := range r.scans {
		t := LockTarget{Table: s.table, Strength: r.strength[i], Wait: r.wait[i]}
		for _, id := range keyColumns(s) {
			for k, c := range ph.cols {
				if c == id {
					t.KeyCols = append(t.KeyCols, k)
				}
			}
		}
		if s.peek {
			for _, c := range seen[i] {
				if !slices.Contains(ph.cols, c) {
					p.b.throw(internal("column %s of rows to be locked is out of sight", p.columnName(c)))
				}
			}
			for k, c := range ph.cols {
				if ord := slices.Index(s.cols, c); ord >= 0 {
					t.Seen = append(t.Seen, SeenCol{Col: k, Ord: ord})
				}
			}
		}
		n.Targets = append(n.Targets, t)
	}
	out := *ph
	n.Props = p.props(ph.cols, ph.rows, ph.cost+ph.rows*2)
	n.Input = ph.node
	keepFields(n, ph.node)
	out.node = n
	return &out
}

// chosenBy are the columns of s that decide whether a row of r comes out: those of its filter, or all where other relations may look at it. The relation
// that is returned is r with these columns let through. ok is false if they are out of sight.
func (p *physical) chosenBy(r rel, s *scanRel) (_ rel, cols []colID, ok bool) {
	switch x := r.(type) {
	case *sortRel:
		c := *x
		c.in, cols, ok = p.chosenBy(x.in, s)
		return &c, cols, ok
	case *projectRel:
		if x.set {
			return r, nil, false
		}
		c := *x
		c.in, cols, ok = p.chosenBy(x.in, s)
		c.items = slices.Clone(x.items)
		have := setOf(x.outs()...)
		for _, id := range cols {
			if !have.has(id) {
				c.items = append(c.items, projItem{id, p.b.col(id)})
			}
		}
		return &c, cols, ok
	case *scanRel:
		for _, c := range s.filter {
			cols = append(cols, expr.ColumnsUsed(nil, c)...)
		}
		slices.Sort(cols)
		return r, slices.Compact(cols), x == s
	case *joinRel, *filterRel:
		return r, s.cols, plainlyIn(r, s)
	}
	return r, nil, false
}

// plainlyIn reports whether s is in r below nothing but joins and filters.
func plainlyIn(r rel, s *scanRel) bool {
	switch x := r.(type) {
	case *scanRel:
		return x == s
	case *joinRel, *filterRel:
		return slices.ContainsFunc(inputs(r), func(in rel) bool { return plainlyIn(in, s) })
	}
	return false
}

// scanOnly reports whether a plan is a scan that filters by itself; below a limit it must not sort.
func scanOnly(n Node, limited bool) bool {
	switch n := n.(type) {
	case *Scan:
		return true
	case *Append:
		return n.Union != nil
	case *Project:
		return scanOnly(n.Input, limited)
	case *Sort:
		return !limited && scanOnly(n.Input, limited)
	}
	return false
}

// keyColumns are the numbers of a scan's primary key columns.
func keyColumns(s *scanRel) []colID {
	var out []colID
	for _, kc := range s.table.Primary().Columns {
		out = append(out, s.cols[s.table.ColumnByID(kc.Column)])
	}
	return out
}

func (p *physical) setOp(r *setRel, w want) *phys {
	lf, rf := p.build(r.left, want{need: setOf(r.lcols...)}), p.build(r.right, want{need: setOf(r.rcol...)})
	l, rt := p.exactly(lf, r.lcols), p.exactly(rf, r.rcol)
	rows, cost := l.rows+rt.rows, l.cost+rt.cost
	if r.op == 'u' && r.all {
		n := &Append{Props: p.props(r.cols, rows, cost)}
		for _, in := range []Node{l.node, rt.node} {
			if a, ok := in.(*Append); ok {
				n.Inputs = append(n.Inputs, a.Inputs...)
			} else {
				n.Inputs = append(n.Inputs, in)
			}
		}
		return &phys{node: n, cols: r.cols, rows: rows, cost: cost}
	}
	cost += rows
	if r.op != 'u' {
		rows = l.rows
	}
	n := &SetOp{Props: p.props(r.cols, rows, cost), Left: l.node, Right: rt.node, Op: r.op, All: r.all}
	return &phys{node: n, cols: r.cols, rows: rows, cost: cost}
}

func (p *physical) with(r *withRel, w want) *phys {
	d := r.def
	n := &CTE{ID: d.id, Name: d.name, Recursive: d.recursive, Dedup: d.dedup}
	ids := make([]colID, len(d.cols))
	need := colSet{}
	for i, c := range d.cols {
		ids[i] = c.id
		need.add(c.id)
	}
	in := p.exactly(p.build(d.rel, want{need: need}), ids)
	n.Input = in.node
	cost := in.cost
	if d.recursive {
		st := p.exactly(p.build(d.step, want{need: setOf(d.stepCols...)}), d.stepCols)
		n.Step = st.node
		cost += 10 * st.cost
	}
	body := p.build(r.body, w)
	out := *body
	n.Body = body.node
	out.cost += cost
	out.startup += cost
	n.Props = p.props(body.cols, body.rows, out.cost)
	keepFields(n, body.node)
	out.node = n
	return &out
}
