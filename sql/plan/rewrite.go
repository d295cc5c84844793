package plan

import (
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// rewriter applies the logical rules: WITH queries are inlined, conditions pushed down, subqueries in
// conditions turned into joins, outer joins made inner, projections merged.
type rewriter struct{ b *binder }

// optimize rewrites a bound query. The tree is changed in place where that is convenient.
func (b *binder) optimize(r rel) rel {
	w := &rewriter{b}
	return w.push(w.inline(r), nil)
}

// inline drops WITH queries that nobody reads and puts those read once where they are read.
func (w *rewriter) inline(r rel) rel {
	switch r := r.(type) {
	case *withRel:
		d := r.def
		if !d.dml && d.refs == 0 {
			return w.inline(r.body)
		}
		if d.inlinable() {
			return w.inline(r.body)
		}
		if !d.rewritten {
			d.rewritten = true
			d.rel = w.push(w.inline(d.rel), nil)
			if d.step != nil {
				d.step = w.push(w.inline(d.step), nil)
			}
		}
		r.body = w.inline(r.body)
		return r
	case *cteRel:
		if !r.def.inlinable() {
			return r
		}
		p := &projectRel{in: w.inline(r.def.rel)}
		for i, id := range r.cols {
			p.items = append(p.items, projItem{id, w.b.col(r.def.cols[i].id)})
		}
		return p
	case *projectRel:
		r.in = w.inline(r.in)
	case *filterRel:
		r.in = w.inline(r.in)
	case *joinRel:
		r.left, r.right = w.inline(r.left), w.inline(r.right)
		if r.typ == RightJoin {
			r.typ, r.left, r.right = LeftJoin, r.right, r.left
		}
	case *aggRel:
		r.in = w.inline(r.in)
	case *windowRel:
		r.in = w.inline(r.in)
	case *distinctRel:
		r.in = w.inline(r.in)
	case *sortRel:
		r.in = w.inline(r.in)
	case *limitRel:
		r.in = w.inline(r.in)
	case *lockRel:
		r.in = w.inline(r.in)
	case *setRel:
		r.left, r.right = w.inline(r.left), w.inline(r.right)
	}
	return r
}

func (d *cteDef) inlinable() bool {
	return d.refs == 1 && !d.recursive && !d.forced && !d.dml && !hasVolatile(d.rel)
}

// substitute replaces columns by expressions.
func (w *rewriter) substitute(e expr.Expr, m map[colID]expr.Expr) expr.Expr {
	return expr.Rewrite(e, func(x expr.Expr) expr.Expr {
		if c, ok := x.(*expr.Column); ok {
			if s, ok := m[c.Index]; ok {
				return s
			}
		}
		return x
	})
}

func (w *rewriter) wrap(r rel, conds []expr.Expr) rel {
	if len(conds) == 0 {
		return r
	}
	if f, ok := r.(*filterRel); ok {
		f.conds = append(f.conds, conds...)
		return f
	}
	return &filterRel{in: r, conds: conds}
}

// push returns r with conds applied as far down as they can go.
func (w *rewriter) push(r rel, conds []expr.Expr) rel {
	switch r := r.(type) {
	case *scanRel:
		r.filter = append(r.filter, conds...)
		return r
	case *filterRel:
		in := r.in
		var rest []expr.Expr
		for _, c := range r.conds {
			c = expr.Fold(c)
			for _, c := range conjuncts(nil, c) {
				if j := w.unnest(in, c); j != nil {
					in = j
					continue
				}
				rest = append(rest, c)
			}
		}
		return w.push(in, append(rest, conds...))
	case *projectRel:
		return w.pushProject(r, conds)
	case *joinRel:
		return w.pushJoin(r, conds)
	case *aggRel:
		return w.pushAgg(r, conds)
	case *windowRel:
		down, up := w.split(conds, func(c expr.Expr) bool {
			part := colSet{}
			for _, e := range r.part {
				if col, ok := e.(*expr.Column); ok {
					part.add(col.Index)
				}
			}
			return part.hasAll(expr.ColumnsUsed(nil, c)) && len(part) > 0 && expr.Volatility(c) != 'v'
		})
		r.in = w.push(r.in, down)
		return w.wrap(r, up)
	case *distinctRel:
		down, up := w.split(conds, func(c expr.Expr) bool {
			return expr.Volatility(c) != 'v' && (r.on == nil || setOf(r.on...).hasAll(expr.ColumnsUsed(nil, c)))
		})
		r.in = w.push(r.in, down)
		return w.wrap(r, up)
	case *sortRel:
		r.in = w.push(r.in, conds)
		return r
	case *limitRel:
		r.in = w.push(r.in, nil)
		return w.wrap(r, conds)
	case *lockRel:
		r.in = w.push(r.in, nil)
		return w.wrap(r, conds)
	case *setRel:
		down, up := w.split(conds, func(c expr.Expr) bool { return expr.Volatility(c) != 'v' })
		r.left = w.push(r.left, w.rename(down, r.cols, r.lcols))
		r.right = w.push(r.right, w.rename(down, r.cols, r.rcol))
		return w.wrap(r, up)
	case *withRel:
		r.body = w.push(r.body, conds)
		return r
	}
	return w.wrap(r, conds)
}

func (w *rewriter) split(conds []expr.Expr, down func(expr.Expr) bool) (yes, no []expr.Expr) {
	for _, c := range conds {
		if down(c) {
			yes = append(yes, c)
		} else {
			no = append(no, c)
		}
	}
	return
}

func (w *rewriter) rename(conds []expr.Expr, from, to []colID) []expr.Expr {
	if len(conds) == 0 {
		return nil
	}
	m := map[colID]expr.Expr{}
	for i, id := range from {
		m[id] = w.b.col(to[i])
	}
	out := make([]expr.Expr, len(conds))
	for i, c := range conds {
		out[i] = w.substitute(c, m)
	}
	return out
}

// pushProject pushes conditions through a projection and merges it with one below.
func (w *rewriter) pushProject(r *projectRel, conds []expr.Expr) rel {
	m := map[colID]expr.Expr{}
	blocked := colSet{}
	for i := range r.items {
		it := &r.items[i]
		it.e = expr.Fold(it.e)
		if c, ok := it.e.(*expr.Column); ok && c.Index == it.id {
			continue
		}
		if expr.Volatility(it.e) == 'v' || isSetCall(it.e) || hasSubplan(it.e) {
			blocked.add(it.id)
			continue
		}
		m[it.id] = it.e
	}
	down, up := w.split(conds, func(c expr.Expr) bool {
		return !blocked.hasAny(expr.ColumnsUsed(nil, c)) && !(r.set && expr.Volatility(c) == 'v')
	})
	for i, c := range down {
		down[i] = w.substitute(c, m)
	}
	r.in = w.push(r.in, down)
	w.merge(r)
	return w.wrap(r, up)
}

func isSetCall(e expr.Expr) bool {
	c, ok := e.(*expr.Call)
	return ok && c.Fn != nil && c.Fn.ReturnsSet
}

func hasSubplan(e expr.Expr) bool {
	found := false
	expr.Walk(e, func(x expr.Expr) bool {
		_, is := x.(*expr.Subplan)
		found = found || is
		return !found
	})
	return found
}

// merge takes the projection below r into r, where no computation is then done twice.
func (w *rewriter) merge(r *projectRel) {
	in, ok := r.in.(*projectRel)
	if !ok || in.set {
		return
	}
	m, ok := inlined(in, r, r.set)
	if !ok {
		return
	}
	for i := range r.items {
		r.items[i].e = w.substitute(r.items[i].e, m)
	}
	r.in = in.in
	w.merge(r)
}

func (w *rewriter) pushAgg(r *aggRel, conds []expr.Expr) rel {
	m := map[colID]expr.Expr{}
	groups := colSet{}
	for i := range r.groups {
		r.groups[i].e = expr.Fold(r.groups[i].e)
		m[r.groups[i].id] = r.groups[i].e
		groups.add(r.groups[i].id)
	}
	for i := range r.calls {
		c := &r.calls[i].call
		for k := range c.Args {
			c.Args[k] = expr.Fold(c.Args[k])
		}
	}
	down, up := w.split(conds, func(c expr.Expr) bool {
		used := expr.ColumnsUsed(nil, c)
		return len(used) > 0 && groups.hasAll(used) && expr.Volatility(c) != 'v' && !hasSubplan(c)
	})
	for i, c := range down {
		down[i] = w.substitute(c, m)
	}
	r.in = w.push(r.in, down)
	// A projection below only renames or computes what the aggregate can compute itself.
	if in, ok := r.in.(*projectRel); ok && !in.set {
		w.mergeAgg(r, in)
	}
	return w.wrap(r, up)
}

// inlined returns what user, which stands on in, is to have in place of in's columns. It fails if an expression would be computed more often, at
// another time, or, though it may do something, less often than now; with trivial, if any would have to be computed at all.
func inlined(in *projectRel, user rel, trivial bool) (map[colID]expr.Expr, bool) {
	uses := map[colID]int{}
	visitExprs(user, func(e expr.Expr) {
		expr.Walk(e, func(x expr.Expr) bool {
			if c, ok := x.(*expr.Column); ok {
				uses[c.Index]++
			}
			return true
		})
	})
	m := map[colID]expr.Expr{}
	for _, it := range in.items {
		switch x := it.e.(type) {
		case *expr.Column:
			if x.Index == it.id {
				continue
			}
		case *expr.Const, *expr.Param:
		default:
			if trivial || uses[it.id] > 1 || expr.Volatility(it.e) == 'v' || uses[it.id] > 0 && hasSubplan(it.e) {
				return nil, false
			}
		}
		m[it.id] = it.e
	}
	return m, true
}

func (w *rewriter) mergeAgg(r *aggRel, in *projectRel) {
	m, ok := inlined(in, r, false)
	if !ok {
		return
	}
	sub := func(e expr.Expr) expr.Expr { return w.substitute(e, m) }
	for i := range r.groups {
		r.groups[i].e = sub(r.groups[i].e)
	}
	for i := range r.calls {
		c := &r.calls[i].call
		c.Args = mapExprs(c.Args, sub)
		if c.Filter != nil {
			c.Filter = sub(c.Filter)
		}
		for k := range c.OrderBy {
			c.OrderBy[k].Expr = sub(c.OrderBy[k].Expr)
		}
	}
	r.in = in.in
}

// pushJoin distributes conditions over a join.
func (w *rewriter) pushJoin(r *joinRel, conds []expr.Expr) rel {
	left, right := setOf(r.left.outs()...), setOf(r.right.outs()...)
	w.simplifyOuter(r, conds, left, right)
	var l, rt, on, up []expr.Expr
	uses := func(c expr.Expr) (bool, bool) {
		cols := expr.ColumnsUsed(nil, c)
		return left.hasAny(cols), right.hasAny(cols)
	}
	for i := range r.conds {
		r.conds[i] = expr.Fold(r.conds[i])
	}
	if r.typ == InnerJoin {
		var rest []expr.Expr
		for _, c := range r.conds {
			if j := w.unnest(r.left, c); j != nil && !right.hasAny(expr.ColumnsUsed(nil, c)) {
				r.left = j
				continue
			}
			rest = append(rest, c)
		}
		all := w.close(append(rest, conds...))
		for _, c := range all {
			ul, ur := uses(c)
			switch {
			case expr.Volatility(c) == 'v':
				up = append(up, c)
			case ul && ur:
				on = append(on, c)
			case ur:
				rt = append(rt, c)
			default:
				l = append(l, c)
			}
		}
	} else {
		for _, c := range r.conds {
			ul, ur := uses(c)
			switch {
			case r.typ == FullJoin || expr.Volatility(c) == 'v':
				on = append(on, c)
			case !ul && ur:
				rt = append(rt, c)
			case !ur && r.typ == SemiJoin:
				l = append(l, c)
			default:
				on = append(on, c)
			}
		}
		for _, c := range conds {
			_, ur := uses(c)
			switch {
			case r.typ == FullJoin || expr.Volatility(c) == 'v' || ur && r.typ == LeftJoin:
				up = append(up, c)
			default:
				l = append(l, c)
			}
		}
	}
	r.conds = on
	if r.typ == InnerJoin || r.typ == SemiJoin {
		w.narrow(r.left, on)
	}
	if r.typ != FullJoin {
		w.narrow(r.right, on)
	}
	r.left, r.right = w.push(r.left, l), w.push(r.right, rt)
	if r.lateral && !refersTo(r.right, r.left) {
		r.lateral = false
	}
	return w.wrap(r, up)
}

// close adds what equality implies: a = b and b = 5 give a = 5, so that each side can use it.
func (w *rewriter) close(conds []expr.Expr) []expr.Expr {
	type pair struct{ a, b *expr.Column }
	var pairs []pair
	type known struct {
		col *expr.Column
		val expr.Expr
	}
	var consts []known
	for _, c := range conds {
		l, r, ok := equality(c)
		if !ok {
			continue
		}
		lc, ok1 := l.(*expr.Column)
		rc, ok2 := r.(*expr.Column)
		switch {
		case ok1 && ok2 && lc.T.OID == rc.T.OID:
			pairs = append(pairs, pair{lc, rc})
		case ok1 && expr.IsConst(r):
			consts = append(consts, known{lc, r})
		case ok2 && expr.IsConst(l):
			consts = append(consts, known{rc, l})
		}
	}
	if len(pairs) == 0 || len(consts) == 0 {
		return conds
	}
	have := map[colID]bool{}
	for _, k := range consts {
		have[k.col.Index] = true
	}
	for i := 0; i < len(consts); i++ {
		k := consts[i]
		for _, p := range pairs {
			to := p.b
			if p.b.Index == k.col.Index {
				to = p.a
			} else if p.a.Index != k.col.Index {
				continue
			}
			if have[to.Index] {
				continue
			}
			e, err := expr.MakeOp("=", w.b.col(to.Index), k.val)
			if err != nil {
				continue
			}
			have[to.Index] = true
			consts = append(consts, known{to, k.val})
			conds = append(conds, e)
		}
	}
	return conds
}

// equality takes "l = r" apart.
func equality(e expr.Expr) (l, r expr.Expr, ok bool) {
	c, ok := e.(*expr.Call)
	if !ok || c.Op != "=" || len(c.Args) != 2 {
		return nil, nil, false
	}
	return c.Args[0], c.Args[1], true
}

// simplifyOuter turns outer joins into narrower ones where the conditions above refuse the rows that only they add.
func (w *rewriter) simplifyOuter(r *joinRel, conds []expr.Expr, left, right colSet) {
	switch r.typ {
	case LeftJoin:
		for _, c := range conds {
			if rejectsNull(c, right) {
				r.typ = InnerJoin
				return
			}
		}
	case FullJoin:
		var l, rt bool
		for _, c := range conds {
			l = l || rejectsNull(c, left)
			rt = rt || rejectsNull(c, right)
		}
		switch {
		case l && rt:
			r.typ = InnerJoin
		case l:
			r.typ = LeftJoin
		case rt:
			r.typ, r.left, r.right = LeftJoin, r.right, r.left
			for k := range left {
				delete(left, k)
			}
			for k := range right {
				delete(right, k)
			}
			left.add(r.left.outs()...)
			right.add(r.right.outs()...)
		}
	}
}

// narrow does so below a join whose conditions compare its sides: they cannot go further down, but refuse rows all the same.
func (w *rewriter) narrow(r rel, conds []expr.Expr) {
	j, ok := r.(*joinRel)
	if !ok || len(conds) == 0 {
		return
	}
	w.simplifyOuter(j, conds, setOf(j.left.outs()...), setOf(j.right.outs()...))
	if j.typ != FullJoin {
		w.narrow(j.left, conds)
	}
	if j.typ == InnerJoin {
		w.narrow(j.right, conds)
	}
}

// rejectsNull reports whether a condition cannot be true when the columns of set are all NULL.
func rejectsNull(e expr.Expr, set colSet) bool {
	switch x := e.(type) {
	case *expr.And:
		for _, a := range x.Args {
			if rejectsNull(a, set) {
				return true
			}
		}
		return false
	case *expr.Or:
		for _, a := range x.Args {
			if !rejectsNull(a, set) {
				return false
			}
		}
		return len(x.Args) > 0
	case *expr.IsNull:
		return x.Not && nullWhenNull(x.Arg, set)
	case *expr.BoolTest:
		return !x.Not && x.Want != 'u' && nullWhenNull(x.Arg, set)
	case *expr.Not:
		return nullWhenNull(x.Arg, set)
	}
	return nullWhenNull(e, set)
}

// nullWhenNull reports whether e is NULL when the columns of set are.
func nullWhenNull(e expr.Expr, set colSet) bool {
	switch x := e.(type) {
	case *expr.Column:
		return set.has(x.Index)
	case *expr.Call:
		if x.Fn == nil || !x.Fn.Strict || x.Fn.ReturnsSet {
			return false
		}
		for _, a := range x.Args {
			if nullWhenNull(a, set) {
				return true
			}
		}
	case *expr.Convert:
		return nullWhenNull(x.Arg, set)
	case *expr.Not:
		return nullWhenNull(x.Arg, set)
	case *expr.Any:
		return x.Fn != nil && x.Fn.Strict && nullWhenNull(x.Left, set) && arrayNotEmpty(x.Array)
	}
	return false
}

// arrayNotEmpty: "NULL = ANY ('{}')" is false, not NULL, but neither is true; ALL over an empty array is true.
func arrayNotEmpty(e expr.Expr) bool {
	switch x := e.(type) {
	case *expr.ArrayCtor:
		return len(x.Elems) > 0
	case *expr.Const:
		if a, ok := x.Value.A.(*types.Array); ok {
			return len(a.Elems) > 0
		}
	}
	return false
}
