package plan

import (
	"math"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// exhaustive is up to how many relations every join order is tried.
const exhaustive = 8

// join plans a join tree.
func (p *physical) join(r *joinRel, w want) *phys {
	if in := p.inOrder(r, w); in != nil {
		return in // whoever wants an order compares it with sorting
	}
	return p.anyOrder(r, w)
}

// anyOrder plans a join whose rows may come in any order.
func (p *physical) anyOrder(r *joinRel, w want) *phys {
	if r.typ == InnerJoin && !r.lateral {
		var leaves []rel
		var conds []expr.Expr
		flatten(r, &leaves, &conds)
		if len(leaves) > 2 {
			return p.order(leaves, conds, w)
		}
	}
	if r.lateral {
		return p.lateral(r, w, nil)
	}
	need := w.need.clone()
	needs(need, r.conds...)
	l := p.side(r.left, need)
	if r.typ == SemiJoin {
		if ph := p.semiByLookup(r, need, l); ph != nil {
			return ph
		}
	}
	rt := p.side(r.right, need)
	return p.best(r.typ, l, rt, r.conds, need, w)
}

// flatten collects the relations and conditions of a tree of inner joins.
func flatten(r rel, leaves *[]rel, conds *[]expr.Expr) {
	if j, ok := r.(*joinRel); ok && j.typ == InnerJoin && !j.lateral {
		flatten(j.left, leaves, conds)
		flatten(j.right, leaves, conds)
		*conds = append(*conds, j.conds...)
		return
	}
	*leaves = append(*leaves, r)
}

// part is one input of a join: its plan, and its scan if it is one, for lookups.
type part struct {
	*phys
	scan *scanRel
	ids  colSet
}

func (p *physical) side(r rel, need colSet) *part {
	outs := r.outs()
	mine := colSet{}
	for _, id := range outs {
		if need.has(id) {
			mine.add(id)
		}
	}
	s, _ := r.(*scanRel)
	if s != nil && s.table.Virtual {
		s = nil
	}
	return &part{phys: p.build(r, want{need: mine}), scan: s, ids: setOf(outs...)}
}

// order finds a good order for joining several relations: all orders of up to exhaustive relations, greedily beyond.
func (p *physical) order(leaves []rel, conds []expr.Expr, w want) *phys {
	need := w.need.clone()
	needs(need, conds...)
	parts := make([]*part, len(leaves))
	for i, l := range leaves {
		parts[i] = p.side(l, need)
	}
	all := colSet{}
	for _, x := range parts {
		for id := range x.ids {
			all.add(id)
		}
	}
	if len(parts) > exhaustive {
		return p.greedy(parts, conds, need, all)
	}
	n := len(parts)
	best := make([]*part, 1<<n)
	for i := range parts {
		best[1<<i] = parts[i]
	}
	for set := 1; set < 1<<n; set++ {
		if best[set] != nil {
			continue
		}
		var win *part
		for pass := 0; pass < 2 && win == nil; pass++ {
			for i := 0; i < n; i++ {
				if set&(1<<i) == 0 {
					continue
				}
				rest := best[set&^(1<<i)]
				if rest == nil {
					continue
				}
				on := applicable(conds, rest.ids, parts[i].ids, all)
				if len(on) == 0 && pass == 0 {
					continue // a cross product only if nothing else is possible
				}
				ph := p.best(InnerJoin, rest, parts[i], on, need, want{})
				if win == nil || ph.cost < win.cost {
					win = &part{phys: ph, ids: union(rest.ids, parts[i].ids)}
				}
			}
		}
		best[set] = win
	}
	return best[1<<n-1].phys
}

// greedy joins, again and again, the pair that is cheapest to join.
func (p *physical) greedy(parts []*part, conds []expr.Expr, need, all colSet) *phys {
	for len(parts) > 1 {
		bi, bj := -1, -1
		var win *phys
		var winRows float64
		for pass := 0; pass < 2 && win == nil; pass++ {
			for i := range parts {
				for j := range parts {
					if i == j {
						continue
					}
					on := applicable(conds, parts[i].ids, parts[j].ids, all)
					if len(on) == 0 && pass == 0 {
						continue
					}
					ph := p.best(InnerJoin, parts[i], parts[j], on, need, want{})
					if win == nil || ph.cost+ph.rows < winRows {
						bi, bj, win, winRows = i, j, ph, ph.cost+ph.rows
					}
				}
			}
		}
		joined := &part{phys: win, ids: union(parts[bi].ids, parts[bj].ids)}
		var rest []*part
		for i := range parts {
			if i != bi && i != bj {
				rest = append(rest, parts[i])
			}
		}
		parts = append(rest, joined)
	}
	return parts[0].phys
}

// applicable are the conditions that can be tested once a and b are together, and not before. all are the columns of all the
// relations being joined: others come from enclosing queries and are always there.
func applicable(conds []expr.Expr, a, b, all colSet) []expr.Expr {
	var out []expr.Expr
	for _, c := range conds {
		inA, inB, later := false, false, false
		for _, id := range expr.ColumnsUsed(nil, c) {
			switch {
			case a.has(id):
				inA = true
			case b.has(id):
				inB = true
			case all.has(id):
				later = true
			}
		}
		if inA && inB && !later {
			out = append(out, c)
		}
	}
	return out
}

func union(a, b colSet) colSet {
	u := a.clone()
	for id := range b {
		u.add(id)
	}
	return u
}

// equiKey is an equality between the sides of a join.
type equiKey struct {
	l, r expr.Expr
	cond int
}

// equiKeys finds the equalities of a join and brings both sides to one type.
func (p *physical) equiKeys(conds []expr.Expr, l, r colSet) []equiKey {
	var out []equiKey
	for i, c := range conds {
		a, b, ok := equality(c)
		if !ok || hasSubplan(c) || expr.Volatility(c) == 'v' {
			continue
		}
		ca, cb := expr.ColumnsUsed(nil, a), expr.ColumnsUsed(nil, b)
		inL := func(ids []colID) bool { return l.hasAny(ids) && !r.hasAny(ids) }
		inR := func(ids []colID) bool { return r.hasAny(ids) && !l.hasAny(ids) }
		if inL(cb) && inR(ca) {
			a, b = b, a
		} else if !inL(ca) || !inR(cb) {
			continue
		}
		out = append(out, equiKey{a, b, i})
	}
	return out
}

// hashable brings a key's sides to one type whose equality is the operator's; ok is false if there is none.
func hashable(k equiKey) (equiKey, bool) {
	lt, rt := k.l.Type().OID, k.r.Type().OID
	if lt != rt {
		common := ordering(lt)
		if common != ordering(rt) {
			return k, false
		}
		l, err1 := expr.Coerce(k.l, types.Of(common), 'i')
		r, err2 := expr.Coerce(k.r, types.Of(common), 'i')
		if err1 != nil || err2 != nil {
			return k, false
		}
		k.l, k.r = l, r
	}
	return k, comparable(k.l.Type().OID, k.r.Type().OID)
}

// joinRows estimates a join's result.
func (p *physical) joinRows(typ JoinType, l, r float64, conds []expr.Expr) float64 {
	sel := 1.0
	for _, c := range conds {
		sel *= p.selectivity(c, nil)
	}
	rows := math.Max(1, l*r*sel)
	switch typ {
	case LeftJoin:
		rows = math.Max(rows, l)
	case RightJoin:
		rows = math.Max(rows, r)
	case FullJoin:
		rows = math.Max(rows, math.Max(l, r))
	case SemiJoin:
		rows = math.Max(1, math.Min(l, l*math.Min(1, r*sel)))
	case AntiJoin:
		rows = math.Max(1, l*0.5)
	}
	return rows
}

// best plans a join of two planned sides by the cheapest method.
func (p *physical) best(typ JoinType, l, r *part, conds []expr.Expr, need colSet, w want) *phys {
	rows := p.joinRows(typ, l.rows, r.rows, conds)
	keys := p.equiKeys(conds, l.ids, r.ids)
	var win *phys
	try := func(ph *phys) {
		if ph != nil && (win == nil || ph.cost < win.cost) {
			win = ph
		}
	}
	try(p.hashJoin(typ, l, r, conds, keys, rows))
	if r.scan != nil && typ != FullJoin && typ != RightJoin {
		try(p.lookupJoin(typ, l, r, conds, keys, need, rows))
	}
	if typ == InnerJoin {
		back := make([]equiKey, len(keys))
		for i, k := range keys {
			back[i] = equiKey{k.r, k.l, k.cond}
		}
		try(p.hashJoin(typ, r, l, conds, back, rows))
		if l.scan != nil {
			try(p.lookupJoin(typ, r, l, conds, back, need, rows))
		}
		try(p.loopJoin(typ, r, l, conds, rows, false))
	}
	if typ != FullJoin {
		try(p.loopJoin(typ, l, r, conds, rows, false))
	}
	if win == nil {
		p.b.throw(pgerr.New(pgerr.FeatureNotSupported, "FULL JOIN is only supported with merge-joinable or hash-joinable join conditions"))
	}
	return win
}

// joinCols are a join's output columns.
func joinCols(typ JoinType, l, r []colID) []colID {
	if typ == SemiJoin || typ == AntiJoin {
		return l
	}
	return append(append([]colID(nil), l...), r...)
}

func (p *physical) hashJoin(typ JoinType, l, r *part, conds []expr.Expr, keys []equiKey, rows float64) *phys {
	n := &HashJoin{Type: typ, Left: l.node, Right: r.node}
	used := map[int]bool{}
	for _, k := range keys {
		k, ok := hashable(k)
		if !ok {
			continue
		}
		n.LeftKeys = append(n.LeftKeys, p.final(k.l, l.cols))
		n.RightKeys = append(n.RightKeys, p.final(k.r, r.cols))
		used[k.cond] = true
	}
	if len(n.LeftKeys) == 0 {
		return nil
	}
	n.Cond = p.joinCond(conds, used, l.cols, r.cols)
	if n.Cond != nil && hasSubplan(n.Cond) && typ != InnerJoin {
		return nil
	}
	out := &phys{cols: joinCols(typ, l.cols, r.cols), rows: rows}
	out.cost = l.cost + r.cost + l.rows*0.3 + r.rows*0.6 + rows*0.1 + 5
	n.Props = p.joinProps(out.cols, l, r, typ, rows, out.cost)
	out.node = n
	return out
}

// joinProps keeps the names that the inputs gave their columns.
func (p *physical) joinProps(cols []colID, l, r *part, typ JoinType, rows, cost float64) Props {
	props := p.props(cols, rows, cost)
	in := append([]Field(nil), l.node.Fields()...)
	if typ != SemiJoin && typ != AntiJoin && r.node != nil {
		in = append(in, r.node.Fields()...)
	}
	if len(in) == len(props.Out) {
		props.Out = in
	}
	return props
}

func (p *physical) joinCond(conds []expr.Expr, used map[int]bool, l, r []colID) expr.Expr {
	var rest []expr.Expr
	for i, c := range conds {
		if !used[i] {
			rest = append(rest, c)
		}
	}
	return p.finalOrNil(conjunction(rest), append(append([]colID(nil), l...), r...))
}

// loopJoin compares all rows of r with each of l, and keeps l's order if that is asked for.
func (p *physical) loopJoin(typ JoinType, l, r *part, conds []expr.Expr, rows float64, inOrder bool) *phys {
	n := &LoopJoin{Type: typ, Left: l.node, Right: r.node, InOrder: inOrder}
	n.Cond = p.joinCond(conds, nil, l.cols, r.cols)
	out := &phys{cols: joinCols(typ, l.cols, r.cols), rows: rows, startup: l.startup + r.cost + r.rows*0.1}
	if typ != RightJoin { // which has rows that are none of l's
		out.fixed = l.fixed
		if inOrder {
			out.order = l.order
		}
	}
	out.cost = l.cost + r.cost + r.rows*0.1 + l.rows*r.rows*0.1*(1+float64(len(conds))) + rows*0.1
	n.Props = p.joinProps(out.cols, l, r, typ, rows, out.cost)
	out.node = n
	return out
}

// lookupJoin probes an index of the right side's table with keys from each left row.
func (p *physical) lookupJoin(typ JoinType, l, r *part, conds []expr.Expr, keys []equiKey, need colSet, rows float64) *phys {
	s := r.scan
	ords := scanOrds(s)
	a := p.analyze(s)
	var win *phys
	for i := range s.table.Indexes {
		ix := &s.table.Indexes[i]
		if ix.State != catalog.Public {
			continue
		}
		if _, _, ok := p.partial(s, ix); !ok {
			continue
		}
		if ph := p.lookupIndex(typ, l, r, ix, conds, keys, need, rows, ords, a); ph != nil && (win == nil || ph.cost < win.cost) {
			win = ph
		}
	}
	return win
}

func (p *physical) lookupIndex(typ JoinType, l, r *part, ix *catalog.Index, conds []expr.Expr, keys []equiKey, need colSet, rows float64, ords map[colID]int, a *analysis) *phys {
	s := r.scan
	used := map[int]bool{}
	var probe []expr.Expr
	joined := false
	matchSel := 1.0
	for _, kc := range ix.Columns {
		ord := s.table.ColumnByID(kc.Column)
		var e expr.Expr
		for _, k := range keys {
			if columnOf(k.r, ords) == ord && ordering(k.l.Type().OID) == ordering(s.table.Columns[ord].Type.OID) {
				e = k.l
				used[k.cond] = true
				joined = true
				break
			}
		}
		if e == nil {
			// A constant serves as well; its condition stays in the scan's filter.
			if c := pick(a.cols[ord], '='); c != nil {
				e = c.value
			}
		}
		if e == nil {
			break
		}
		probe = append(probe, e)
		matchSel *= p.eqSelectivity(s.table, ord, e)
	}
	if !joined {
		return nil
	}
	mine := colSet{}
	for _, id := range s.cols {
		if need.has(id) {
			mine.add(id)
		}
	}
	inner, cols, above := p.lookupScan(s, ix, want{need: mine})
	if len(above) > 0 {
		if typ != InnerJoin {
			return nil
		}
		conds = append(append([]expr.Expr(nil), conds...), above...)
	}
	n := &LookupJoin{Type: typ, Left: l.node, Right: inner, Keys: p.finals(probe, l.cols)}
	n.Cond = p.joinCond(conds, used, l.cols, cols)
	perLeft := math.Max(1, p.tableRows(s.table)*matchSel)
	cost := costLookup + perLeft
	if (ix.Unique || ix.Primary) && len(probe) == len(ix.Columns) {
		perLeft, cost = 1, costPoint+1
	}
	if !ix.Primary && !covers(s.table, ix, inner.Columns) {
		cost += perLeft * costFetch
	}
	out := &phys{cols: joinCols(typ, l.cols, cols), rows: rows, fixed: l.fixed, order: l.order, startup: l.startup}
	out.cost = l.cost + costSpan + l.rows*cost + rows*0.1
	inner.Props = p.props(cols, perLeft, cost)
	keepNames(inner, r)
	fake := &part{phys: &phys{node: inner}}
	n.Props = p.joinProps(out.cols, l, fake, typ, rows, out.cost)
	out.node = n
	return out
}

func keepNames(n *Scan, r *part) {
	if f := r.node.Fields(); len(f) == len(n.Out) {
		setFields(n, f)
	}
}

// semiByLookup turns "x IN (few values)" into looking those values up: the distinct right side drives
// lookups into the left table. nil if that is not cheaper than the usual methods could be.
func (p *physical) semiByLookup(r *joinRel, need colSet, l *part) *phys {
	if l.scan == nil || len(r.conds) == 0 {
		return nil
	}
	rt := p.side(r.right, need)
	keys := p.equiKeys(r.conds, l.ids, rt.ids)
	if len(keys) != len(r.conds) {
		return nil
	}
	// Distinct right keys as columns of their own.
	proj := &projectRel{in: r.right}
	d := &distinctRel{in: proj}
	back := make([]equiKey, 0, len(keys))
	for _, k := range keys {
		k, ok := hashable(k)
		if !ok {
			return nil
		}
		id := p.b.newCol(colMeta{name: "key", typ: k.r.Type()})
		proj.items = append(proj.items, projItem{id, k.r})
		back = append(back, equiKey{l: p.b.col(id), r: k.l, cond: k.cond})
	}
	dn := colSet{}
	dn.add(proj.outs()...)
	drive := p.side(d, dn)
	conds := make([]expr.Expr, len(back))
	for i, k := range back {
		e, err := expr.MakeOp("=", k.r, k.l)
		if err != nil {
			return nil
		}
		conds[k.cond] = e
		back[i].cond = k.cond
	}
	rows := p.joinRows(SemiJoin, l.rows, rt.rows, r.conds)
	ph := p.lookupJoin(InnerJoin, drive, l, conds, back, need, rows)
	if ph == nil {
		return nil
	}
	usual := p.best(SemiJoin, l, rt, r.conds, need, want{})
	if usual.cost <= ph.cost {
		return nil
	}
	return ph
}

// lateralArgs are the left columns that the right side of a lateral join uses.
func lateralArgs(r *joinRel) []colID {
	left := setOf(r.left.outs()...)
	var args []colID
	for _, id := range freeColumns(r.right) {
		if left.has(id) {
			args = append(args, id)
		}
	}
	return args
}

// lateral plans a join whose right side uses the left row. l is the left side, if it is planned already.
func (p *physical) lateral(r *joinRel, w want, l *part) *phys {
	need := w.need.clone()
	needs(need, r.conds...)
	args := lateralArgs(r)
	need.add(args...)
	if r.typ != InnerJoin && r.typ != LeftJoin {
		p.b.throw(pgerr.Unsupported("a LATERAL reference in this join", ""))
	}
	if l == nil {
		l = p.side(r.left, need)
	}
	slot := p.slots
	p.slots += len(args)
	var rt *part
	p.withOuter(args, slot, func() { rt = p.side(r.right, need) })
	rows := p.joinRows(r.typ, l.rows, rt.rows, r.conds)
	out := &phys{cols: joinCols(r.typ, l.cols, rt.cols), rows: rows, order: l.order, fixed: l.fixed, startup: l.startup}
	out.cost = l.cost + l.rows*rt.cost
	n := &Lateral{Type: r.typ, Left: l.node, Right: rt.node, Slot: slot}
	for _, id := range args {
		n.Args = append(n.Args, p.final(p.b.col(id), l.cols))
	}
	n.Cond = p.joinCond(r.conds, nil, l.cols, rt.cols)
	n.Props = p.joinProps(out.cols, l, rt, r.typ, rows, out.cost)
	out.node = n
	return out
}
