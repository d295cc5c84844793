package plan

import (
	"math"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
)

// A condition a = 1 OR b = 2 is served by no index alone. If there is one on a and another on b, its arms are read one after the other, each by its own index, and
// an arm leaves out the rows for which an earlier arm is true: they have been shown. So every row that fulfils the condition comes once,
// from its first true arm, and nothing has to be remembered about those that were shown. All arms read the same snapshot.

const (
	// maxArms bounds the scans of a union, with those of unions within its arms.
	maxArms = 16
	// maxUnions is how deep unions are within arms of unions: (a = 1 OR b = 2) AND (c = 3 OR d = 4).
	maxUnions = 2
	// maxArmPlans bounds the work on one statement.
	maxArmPlans = 200
)

// union plans a scan by several indexes, one for each arm of one of its ORs; nil if there is no such plan that costs less than most. It has no
// order.
func (p *physical) union(r *scanRel, w want, most float64) *phys {
	if p.unions == maxUnions || r.lock != kv.LockNone && (r.wait == kv.WaitSkip || w.limitExpr != nil) {
		// SKIP LOCKED reads rows newer than its entries: which arm they are of may have changed. And each arm would lock as many rows as there may be in all.
		return nil
	}
	var best *phys
	for i, c := range r.filter {
		or, ok := c.(*expr.Or)
		if !ok || expr.Volatility(or) == 'v' || hasSubplan(or) {
			continue
		}
		if ph := p.unionOf(r, i, p.arms(r, or), w, most); ph != nil {
			best, most = ph, ph.cost
		}
	}
	return best
}

// unionOf plans the union of arms, which are the scan's condition number at.
func (p *physical) unionOf(r *scanRel, at int, arms []expr.Expr, w want, most float64) *phys {
	if len(arms) < 2 || len(arms) > maxArms {
		return nil
	}
	for _, a := range arms {
		if !p.indexable(r, a) {
			return nil
		}
	}
	// All arms show the same columns, whatever each has to look at.
	aw := want{need: w.need.clone()}
	needs(aw.need, r.filter...)
	if len(w.order) == 0 {
		aw.limit, aw.limitExpr = w.limit, w.limitExpr
	}
	p.unions++
	defer func() { p.unions-- }()
	out := &phys{}
	n := &Append{Union: r.table, Alias: r.alias}
	for i, a := range arms {
		arm := *r
		arm.filter = nil
		for _, earlier := range arms[:i] {
			arm.filter = append(arm.filter, &expr.BoolTest{Arg: earlier, Want: 't', Not: true})
		}
		arm.filter = conjuncts(arm.filter, a)
		arm.filter = append(append(arm.filter, r.filter[:at]...), r.filter[at+1:]...)
		if p.armPlans++; p.armPlans > maxArmPlans {
			return nil
		}
		ph := p.scan(&arm, aw)
		if out.cost += ph.cost; out.cost >= most {
			return nil
		}
		switch x := ph.node.(type) {
		case *Append:
			n.Inputs = append(n.Inputs, x.Inputs...)
		case *Scan, *Values: // Values: the arm is false
			n.Inputs = append(n.Inputs, ph.node)
		default:
			if r.lock != kv.LockNone {
				return nil // what is above a scan would come after its locks
			}
			n.Inputs = append(n.Inputs, ph.node)
		}
		out.cols = ph.cols
		out.rows += ph.rows
	}
	if len(n.Inputs) > maxArms {
		return nil
	}
	out.rows = math.Min(out.rows, p.tableRows(r.table))
	n.Props = p.props(out.cols, out.rows, out.cost)
	out.node = n
	return out
}

// arms are the arms of an OR; equalities of one column are one arm.
func (p *physical) arms(r *scanRel, or *expr.Or) []expr.Expr {
	var out []expr.Expr
	of := map[int]int{} // which arm a column's equalities are
	ords := scanOrds(r)
	for _, a := range or.Args {
		one := newAnalysis(p.constant)
		p.analyzeOne(one, r, ords, a, 0, true)
		at, ord := -1, -1
		if _, call := a.(*expr.Call); call && len(one.cols) == 1 {
			for o, cs := range one.cols {
				if len(cs) == 1 && cs[0].kind == '=' && cs[0].exact {
					ord = o
				}
			}
		}
		if ord >= 0 {
			if i, ok := of[ord]; ok {
				at = i
			} else {
				of[ord] = len(out)
			}
		}
		if at < 0 {
			out = append(out, a)
			continue
		}
		if many, ok := out[at].(*expr.Or); ok {
			out[at] = &expr.Or{Args: append(many.Args[:len(many.Args):len(many.Args)], a)}
		} else {
			out[at] = &expr.Or{Args: []expr.Expr{out[at], a}}
		}
	}
	return out
}

// indexable reports whether some index begins with a column that the condition constrains, or, for an OR within it, each of its arms.
func (p *physical) indexable(r *scanRel, e expr.Expr) bool {
	c := *r
	c.filter = conjuncts(nil, e)
	a := p.analyze(&c)
	for i := range r.table.Indexes {
		ix := &r.table.Indexes[i]
		if ix.State == catalog.Public && len(a.cols[r.table.ColumnByID(ix.Columns[0].Column)]) > 0 {
			return true
		}
	}
	for _, x := range c.filter {
		or, ok := x.(*expr.Or)
		if !ok {
			continue
		}
		all := true
		for _, arm := range or.Args {
			all = all && p.indexable(r, arm)
		}
		if all {
			return true
		}
	}
	return false
}

// scanOrds are the positions of a scan's columns in its table.
func scanOrds(r *scanRel) map[colID]int {
	ords := make(map[colID]int, len(r.cols))
	for ord, id := range r.cols {
		ords[id] = ord
	}
	return ords
}
