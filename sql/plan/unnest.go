package plan

import (
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// unnest turns a condition that is EXISTS, NOT EXISTS, IN, NOT IN or a comparison with ANY or ALL rows of a subquery into a semi or anti join of in with the
// subquery; nil if it cannot.
func (w *rewriter) unnest(in rel, cond expr.Expr) rel {
	not := false
	if n, ok := cond.(*expr.Not); ok {
		not, cond = true, n.Arg
	}
	s, ok := cond.(*expr.Subplan)
	if !ok {
		return nil
	}
	switch s.Kind {
	case expr.SubExists, expr.SubAny, expr.SubAll:
	default:
		return nil
	}
	typ := SemiJoin
	if not != (s.Kind == expr.SubAll) {
		typ = AntiJoin
	}
	sub := w.b.subs[s.Plan]
	have := setOf(in.outs()...)
	for i, id := range sub.free {
		if c, ok := s.Args[i].(*expr.Column); !ok || c.Index != id || !have.has(id) && !w.outside(in, id) {
			return nil
		}
	}
	if s.Left != nil && (hasSubplan(s.Left) || !w.leftKnown(s.Left, have)) {
		return nil
	}
	if hasVolatile(sub.rel) {
		return nil
	}
	correlated := have.hasAny(sub.free)
	var match expr.Expr
	if s.Left != nil {
		col := sub.cols[0].id
		match = &expr.Call{T: types.Of(types.BoolOID), Fn: s.Fn, Args: []expr.Expr{s.Left, w.b.col(col)}, Op: opOf(s.Fn)}
		if not || s.Kind == expr.SubAll {
			// Of what is one way or the other for every row, only that which decides it is looked for: NULL is as bad for NOT IN as what is equal.
			test := &expr.BoolTest{Arg: match, Want: 'f', Not: s.Kind == expr.SubAny}
			if s.Kind == expr.SubAll && !not {
				test.Want, test.Not = 't', true
			}
			match = test
			if !correlated {
				if match = w.neverNull(in, sub.rel, test, col); match == nil {
					return nil // rows could only be compared one by one; the subquery's are looked up in a set
				}
			}
		}
	}
	sub.rel = w.inline(sub.rel)
	right := sub.rel
	var conds []expr.Expr
	if correlated || s.Kind == expr.SubExists {
		p := &puller{w: w, outer: have}
		var m map[colID]expr.Expr
		right, m = stripTop(right, s.Kind == expr.SubExists)
		if match != nil {
			match = w.substitute(match, m)
		}
		var ok bool
		right, ok = p.pull(right)
		if !ok {
			return nil
		}
		conds = p.conds
		if _, test := match.(*expr.BoolTest); test && !anyKey(conds, have) {
			return nil // likewise
		}
	}
	if match != nil {
		conds = append(conds, match)
	}
	return &joinRel{typ: typ, left: in, right: right, conds: conds}
}

// neverNull returns the equality that an anti join can go by in place of test, "(l = r) IS NOT FALSE" or "(l <> r) IS NOT TRUE", where neither side is NULL; nil
// otherwise.
func (w *rewriter) neverNull(in, right rel, test *expr.BoolTest, col colID) expr.Expr {
	call := test.Arg.(*expr.Call)
	l, ok := call.Args[0].(*expr.Column)
	if !ok || !notNull(in, l.Index) || !notNull(right, col) || !comparable(l.T.OID, call.Args[1].Type().OID) {
		return nil
	}
	switch {
	case call.Op == "=" && test.Want == 'f' && test.Not:
		return call
	case call.Op == "<>" && test.Want == 't' && test.Not:
		eq, err := expr.MakeOp("=", call.Args[0], call.Args[1])
		if err != nil {
			return nil
		}
		return eq
	}
	return nil
}

// notNull reports whether a column of r is a table's that is NOT NULL, and stays so in r.
func notNull(r rel, id colID) bool {
	switch r := r.(type) {
	case *scanRel:
		for i, c := range r.cols {
			if c == id {
				return r.table.Kind == 'r' && !r.table.Virtual && r.table.Columns[i].NotNull
			}
		}
	case *filterRel:
		return notNull(r.in, id)
	case *sortRel:
		return notNull(r.in, id)
	case *distinctRel:
		return notNull(r.in, id)
	case *limitRel:
		return notNull(r.in, id)
	case *projectRel:
		for _, it := range r.items {
			if c, ok := it.e.(*expr.Column); ok && it.id == id && !r.set {
				return notNull(r.in, c.Index)
			}
		}
	case *joinRel:
		switch r.typ {
		case InnerJoin:
			return notNull(r.left, id) || notNull(r.right, id)
		case LeftJoin, SemiJoin, AntiJoin:
			return notNull(r.left, id)
		}
	}
	return false
}

// anyKey reports whether one of the conditions is an equality of something outside with something inside.
func anyKey(conds []expr.Expr, outer colSet) bool {
	for _, c := range conds {
		l, r, ok := equality(c)
		if !ok {
			continue
		}
		a, b := expr.ColumnsUsed(nil, l), expr.ColumnsUsed(nil, r)
		if len(a) > 0 && len(b) > 0 && (outer.hasAll(a) && !outer.hasAny(b) || outer.hasAll(b) && !outer.hasAny(a)) {
			return true
		}
	}
	return false
}

// outside reports whether a column comes from around in altogether.
func (w *rewriter) outside(in rel, id colID) bool {
	made := colSet{}
	produced(in, made)
	return !made.has(id)
}

func (w *rewriter) leftKnown(e expr.Expr, have colSet) bool {
	for _, id := range expr.ColumnsUsed(nil, e) {
		if !have.has(id) {
			return false
		}
	}
	return true
}

// stripTop takes off what does not change whether a row exists: projections (their expressions in m),
// orders, DISTINCT, and for EXISTS a LIMIT of at least one.
func stripTop(r rel, exists bool) (rel, map[colID]expr.Expr) {
	m := map[colID]expr.Expr{}
	for {
		switch x := r.(type) {
		case *projectRel:
			if x.set {
				return r, m
			}
			for _, it := range x.items {
				if hasSubplan(it.e) {
					return r, m
				}
			}
			next := map[colID]expr.Expr{}
			for _, it := range x.items {
				if c, ok := it.e.(*expr.Column); !ok || c.Index != it.id {
					next[it.id] = it.e
				}
			}
			for k, e := range m {
				m[k] = (&rewriter{}).substitute(e, next)
			}
			for k, e := range next {
				if _, ok := m[k]; !ok {
					m[k] = e
				}
			}
			r = x.in
		case *sortRel:
			r = x.in
		case *distinctRel:
			if x.on != nil && !exists {
				return r, m
			}
			r = x.in
		case *limitRel:
			c, ok := x.count.(*expr.Const)
			if !exists || x.offset != nil || !ok || c.Value.Null || c.Value.I < 1 {
				return r, m
			}
			r = x.in
		default:
			return r, m
		}
	}
}

// puller lifts conditions that refer to outer columns out of a subquery.
type puller struct {
	w     *rewriter
	outer colSet
	conds []expr.Expr
}

func (p *puller) correlated(e expr.Expr) bool { return p.outer.hasAny(expr.ColumnsUsed(nil, e)) }

// take splits conditions into local ones and those lifted.
func (p *puller) take(conds []expr.Expr) (local []expr.Expr, ok bool) {
	for _, c := range conds {
		switch {
		case !p.correlated(c):
			local = append(local, c)
		case hasSubplan(c):
			return nil, false
		default:
			p.conds = append(p.conds, c)
		}
	}
	return local, true
}

func (p *puller) pull(r rel) (rel, bool) {
	if !p.outer.hasAny(freeColumns(r)) {
		return r, true
	}
	switch x := r.(type) {
	case *filterRel:
		var flat []expr.Expr
		for _, c := range x.conds {
			flat = conjuncts(flat, c)
		}
		local, ok := p.take(flat)
		if !ok {
			return nil, false
		}
		in, ok := p.pull(x.in)
		if !ok {
			return nil, false
		}
		return p.w.wrapNew(in, local), true
	case *joinRel:
		if x.lateral {
			return nil, false
		}
		switch x.typ {
		case InnerJoin:
			local, ok := p.take(x.conds)
			if !ok {
				return nil, false
			}
			l, ok1 := p.pull(x.left)
			r, ok2 := p.pull(x.right)
			if !ok1 || !ok2 {
				return nil, false
			}
			return &joinRel{typ: InnerJoin, left: l, right: r, conds: local}, true
		case LeftJoin, SemiJoin, AntiJoin:
			for _, c := range x.conds {
				if p.correlated(c) {
					return nil, false
				}
			}
			if p.outer.hasAny(freeColumns(x.right)) {
				return nil, false
			}
			l, ok := p.pull(x.left)
			if !ok {
				return nil, false
			}
			return &joinRel{typ: x.typ, left: l, right: x.right, conds: x.conds}, true
		}
	case *projectRel:
		if x.set {
			return nil, false
		}
		for _, it := range x.items {
			if p.correlated(it.e) {
				return nil, false
			}
		}
		n := len(p.conds)
		in, ok := p.pull(x.in)
		if !ok {
			return nil, false
		}
		out := &projectRel{in: in, items: append([]projItem(nil), x.items...)}
		have := setOf(out.outs()...)
		made := setOf(in.outs()...)
		for _, c := range p.conds[n:] {
			for _, id := range expr.ColumnsUsed(nil, c) {
				if made.has(id) && !have.has(id) {
					have.add(id)
					out.items = append(out.items, projItem{id, p.w.b.col(id)})
				}
			}
		}
		return out, true
	}
	return nil, false
}

// wrapNew is wrap without touching an existing filter.
func (w *rewriter) wrapNew(r rel, conds []expr.Expr) rel {
	if len(conds) == 0 {
		return r
	}
	return &filterRel{in: r, conds: conds}
}
