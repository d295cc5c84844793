package plan

import "github.com/pamirdb/pamir/sql/expr"

// inOrder plans a join whose first few rows are wanted in an order that one of its relations can be read in: that relation drives, and for each of its rows the others are
// looked up, so that whoever wants ten rows makes ten. nil if there is no such plan. Whether it is cheaper than sorting is for the
// caller to say: what it costs is what all rows would.
func (p *physical) inOrder(r *joinRel, w want) *phys {
	if len(w.order) == 0 || w.limit <= 0 {
		return nil
	}
	var ph *phys
	switch {
	case r.lateral:
		if r.typ == InnerJoin || r.typ == LeftJoin {
			need := w.need.clone()
			needs(need, r.conds...)
			need.add(lateralArgs(r)...)
			if l := p.driver(r.left, need, w); l != nil {
				ph = p.lateral(r, w, l)
			}
		}
	case r.typ == InnerJoin:
		var leaves []rel
		var conds []expr.Expr
		flatten(r, &leaves, &conds)
		ph = p.innerInOrder(leaves, conds, w)
	case r.typ == LeftJoin || r.typ == SemiJoin || r.typ == AntiJoin:
		need := w.need.clone()
		needs(need, r.conds...)
		if l := p.driver(r.left, need, w); l != nil {
			ph = p.inOrderOf(r.typ, l, p.side(r.right, need), r.conds, need)
		}
	}
	if ph == nil || !satisfies(ph, w.order) {
		return nil
	}
	return ph
}

// driver plans a relation in the order that is wanted; nil if it has none of its columns, or cannot be read so.
func (p *physical) driver(r rel, need colSet, w want) *part {
	mine, found := colSet{}, false
	for _, id := range r.outs() {
		if need.has(id) {
			mine.add(id)
		}
		found = found || id == w.order[0].id
	}
	if !found {
		return nil
	}
	ph := p.build(r, want{need: mine, order: w.order, limit: w.limit, few: true})
	if !satisfies(ph, w.order) || blocking(ph.node) {
		return nil
	}
	return &part{phys: ph, ids: setOf(r.outs()...)}
}

// inOrderOf joins r to l in l's order: by looking rows up, or by comparing them all.
func (p *physical) inOrderOf(typ JoinType, l, r *part, conds []expr.Expr, need colSet) *phys {
	rows := p.joinRows(typ, l.rows, r.rows, conds)
	win := p.loopJoin(typ, l, r, conds, rows, true)
	if r.scan != nil {
		if ph := p.lookupJoin(typ, l, r, conds, p.equiKeys(conds, l.ids, r.ids), need, rows); ph != nil && ph.cost < win.cost {
			win = ph
		}
	}
	return win
}

// innerInOrder joins relations to the one that drives, the cheapest next one first.
func (p *physical) innerInOrder(leaves []rel, conds []expr.Expr, w want) *phys {
	need := w.need.clone()
	needs(need, conds...)
	all := colSet{}
	for _, l := range leaves {
		all.add(l.outs()...)
	}
	var cur *part
	var rest []*part
	for _, l := range leaves {
		if cur == nil {
			if cur = p.driver(l, need, w); cur != nil {
				continue
			}
		}
		rest = append(rest, p.side(l, need))
	}
	if cur == nil {
		return nil
	}
	for len(rest) > 0 {
		var win *phys
		at := -1
		for pass := 0; pass < 2 && win == nil; pass++ {
			for i, x := range rest {
				on := applicable(conds, cur.ids, x.ids, all)
				if len(on) == 0 && pass == 0 {
					continue // a cross product only if nothing else is possible
				}
				if ph := p.inOrderOf(InnerJoin, cur, x, on, need); win == nil || ph.cost < win.cost {
					win, at = ph, i
				}
			}
		}
		cur = &part{phys: win, ids: union(cur.ids, rest[at].ids)}
		rest = append(rest[:at:at], rest[at+1:]...)
	}
	return cur.phys
}
