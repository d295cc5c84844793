package plan

import (
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// While a statement is being planned, every column of every intermediate result has a number of its own, and
// expr.Column.Index is that number. Rewrites then need no renumbering, and an outer reference is just a
// column that the subquery does not make itself. The physical builder replaces numbers by positions.
type colID = int

// colMeta is what is known of a column.
type colMeta struct {
	name string
	typ  types.Type
	// level is the query whose FROM makes the column; nil for computed ones.
	level *query
	// table and ord say which base column it is; alias qualifies it in messages.
	table   *catalog.Table
	ord     int
	alias   string
	notNull bool
	// derived: it comes out of a subquery, a view or WITH, where its table's key is no key.
	derived bool
	// need is the relation's, for base columns.
	need *Need
}

// rel is a logical operator.
type rel interface {
	// outs are the columns it yields, in order.
	outs() []colID
}

// projItem computes a column. If e is the very column id, it passes through.
type projItem struct {
	id colID
	e  expr.Expr
}

type (
	// scanRel reads a base or virtual table; cols parallels table.Columns.
	scanRel struct {
		table  *catalog.Table
		alias  string
		cols   []colID
		filter []expr.Expr
		lock   kv.LockStrength
		wait   kv.WaitPolicy
		// peek: rows are locked further up with SKIP LOCKED, see Scan.Peek.
		peek bool
		need *Need
	}
	// emptyRel yields one row without columns.
	oneRowRel struct{}
	// valuesRel yields rows of expressions without columns of their own.
	valuesRel struct {
		cols []colID
		rows [][]expr.Expr
	}
	projectRel struct {
		in    rel
		items []projItem
		// set: some items are set-returning calls, which multiply rows.
		set bool
		// view is set if these are the columns of a view: what is asked for of it.
		view *Need
	}
	filterRel struct {
		in    rel
		conds []expr.Expr
	}
	joinRel struct {
		typ         JoinType
		left, right rel
		conds       []expr.Expr
		// lateral: right refers to columns of left.
		lateral bool
	}
	aggCall struct {
		id   colID
		call AggCall
	}
	aggRel struct {
		in     rel
		groups []projItem
		calls  []aggCall
	}
	windowRel struct {
		in    rel
		part  []expr.Expr
		order []SortKey
		frame *WindowFrame
		calls []aggCall
	}
	distinctRel struct {
		in rel
		on []colID // nil: all
	}
	sortRel struct {
		in   rel
		keys []SortKey
	}
	limitRel struct {
		in            rel
		count, offset expr.Expr
	}
	// lockRel locks the rows of base tables that make up the result.
	lockRel struct {
		in       rel
		scans    []*scanRel
		strength []kv.LockStrength
		wait     []kv.WaitPolicy
	}
	setRel struct {
		op          byte
		all         bool
		left, right rel
		cols        []colID
		lcols, rcol []colID
	}
	funcRel struct {
		fn         *builtin.Function
		args       []expr.Expr
		cols       []colID // the last is the ordinality, if so
		ordinality bool
	}
	// cteRel reads a WITH query that is computed once; inlined queries leave none behind.
	cteRel struct {
		def  *cteDef
		cols []colID // parallel to def.cols
	}
	// withRel computes def before body runs.
	withRel struct {
		def  *cteDef
		body rel
	}
	// dmlRel is a data-changing query in WITH.
	dmlRel struct {
		make func(p *physical) Node
		cols []colID
	}
)

func (r *scanRel) outs() []colID     { return r.cols }
func (r *oneRowRel) outs() []colID   { return nil }
func (r *valuesRel) outs() []colID   { return r.cols }
func (r *filterRel) outs() []colID   { return r.in.outs() }
func (r *distinctRel) outs() []colID { return r.in.outs() }
func (r *sortRel) outs() []colID     { return r.in.outs() }
func (r *limitRel) outs() []colID    { return r.in.outs() }
func (r *lockRel) outs() []colID     { return r.in.outs() }
func (r *setRel) outs() []colID      { return r.cols }
func (r *funcRel) outs() []colID     { return r.cols }
func (r *cteRel) outs() []colID      { return r.cols }
func (r *withRel) outs() []colID     { return r.body.outs() }
func (r *dmlRel) outs() []colID      { return r.cols }

func (r *projectRel) outs() []colID {
	out := make([]colID, len(r.items))
	for i, it := range r.items {
		out[i] = it.id
	}
	return out
}

func (r *joinRel) outs() []colID {
	l := r.left.outs()
	if r.typ == SemiJoin || r.typ == AntiJoin {
		return l
	}
	return append(append([]colID(nil), l...), r.right.outs()...)
}

func (r *aggRel) outs() []colID {
	var out []colID
	for _, g := range r.groups {
		out = append(out, g.id)
	}
	for _, c := range r.calls {
		out = append(out, c.id)
	}
	return out
}

func (r *windowRel) outs() []colID {
	out := append([]colID(nil), r.in.outs()...)
	for _, c := range r.calls {
		out = append(out, c.id)
	}
	return out
}

// inputs are a rel's children.
func inputs(r rel) []rel {
	switch r := r.(type) {
	case *projectRel:
		return []rel{r.in}
	case *filterRel:
		return []rel{r.in}
	case *joinRel:
		return []rel{r.left, r.right}
	case *aggRel:
		return []rel{r.in}
	case *windowRel:
		return []rel{r.in}
	case *distinctRel:
		return []rel{r.in}
	case *sortRel:
		return []rel{r.in}
	case *limitRel:
		return []rel{r.in}
	case *lockRel:
		return []rel{r.in}
	case *setRel:
		return []rel{r.left, r.right}
	case *withRel:
		return []rel{r.body}
	}
	return nil
}

// visitExprs calls f with every expression of r itself (not of its children).
func visitExprs(r rel, f func(expr.Expr)) {
	call := func(c AggCall) {
		for _, a := range c.Args {
			f(a)
		}
		if c.Filter != nil {
			f(c.Filter)
		}
		for _, k := range c.OrderBy {
			f(k.Expr)
		}
	}
	each := func(es []expr.Expr) {
		for _, e := range es {
			f(e)
		}
	}
	switch r := r.(type) {
	case *scanRel:
		each(r.filter)
	case *valuesRel:
		for _, row := range r.rows {
			each(row)
		}
	case *projectRel:
		for _, it := range r.items {
			f(it.e)
		}
	case *filterRel:
		each(r.conds)
	case *joinRel:
		each(r.conds)
	case *aggRel:
		for _, g := range r.groups {
			f(g.e)
		}
		for _, c := range r.calls {
			call(c.call)
		}
	case *windowRel:
		each(r.part)
		for _, k := range r.order {
			f(k.Expr)
		}
		if r.frame != nil {
			if r.frame.StartOffset != nil {
				f(r.frame.StartOffset)
			}
			if r.frame.EndOffset != nil {
				f(r.frame.EndOffset)
			}
		}
		for _, c := range r.calls {
			call(c.call)
		}
	case *sortRel:
		for _, k := range r.keys {
			f(k.Expr)
		}
	case *limitRel:
		if r.count != nil {
			f(r.count)
		}
		if r.offset != nil {
			f(r.offset)
		}
	case *funcRel:
		each(r.args)
	}
}

// colSet is a set of columns.
type colSet map[colID]struct{}

func setOf(ids ...colID) colSet {
	s := make(colSet, len(ids))
	s.add(ids...)
	return s
}

func (s colSet) add(ids ...colID) {
	for _, id := range ids {
		s[id] = struct{}{}
	}
}

func (s colSet) has(id colID) bool { _, ok := s[id]; return ok }

// hasAll reports whether every id is in s.
func (s colSet) hasAll(ids []colID) bool {
	for _, id := range ids {
		if !s.has(id) {
			return false
		}
	}
	return true
}

func (s colSet) hasAny(ids []colID) bool {
	for _, id := range ids {
		if s.has(id) {
			return true
		}
	}
	return false
}

// produced adds every column that r or something below it makes.
func produced(r rel, into colSet) {
	into.add(r.outs()...)
	if s, ok := r.(*setRel); ok {
		into.add(s.lcols...)
	}
	for _, in := range inputs(r) {
		produced(in, into)
	}
}

// freeColumns lists the columns that r needs from around it, in order of appearance.
func freeColumns(r rel) []colID {
	made := colSet{}
	produced(r, made)
	var free []colID
	seen := colSet{}
	var walk func(rel)
	note := func(e expr.Expr) {
		for _, id := range expr.ColumnsUsed(nil, e) {
			if !made.has(id) && !seen.has(id) {
				seen.add(id)
				free = append(free, id)
			}
		}
	}
	walk = func(r rel) {
		visitExprs(r, note)
		for _, in := range inputs(r) {
			walk(in)
		}
	}
	walk(r)
	return free
}
