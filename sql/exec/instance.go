package exec

import (
	"context"
	"time"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// operator is a running plan node. It can be opened again after close, with other parameters: a correlated
// subquery does so for every row.
type operator interface {
	open(ctx context.Context) error
	// next returns rows, or nil at the end; never an empty batch.
	next(ctx context.Context) (*types.Batch, error)
	// close gives back what open and next took. Harmless when not open.
	close()
}

// instance is a plan made ready to run, by one statement at a time.
type instance struct {
	stmt *plan.Statement
	root operator
	// dml is the root if it changes rows.
	dml      writer
	subplans []*subplan
	ctes     map[int]*cteState
	// reopens are what is computed once per execution (subplans without arguments).
	budget *Budget
	own    Budget // used when the runtime brings none
	rt     *Runtime
	er     expr.Runtime
	// ctx of the running Next, for subplans, which expressions call without one.
	ctx context.Context

	rows   int64
	begun  bool
	done   bool
	failed error
}

// writer is an operator that changes rows.
type writer interface{ affected() int64 }

func start(ctx context.Context, rt *Runtime, stmt *plan.Statement) (Cursor, error) {
	in, ok := stmt.Instances.Get().(*instance)
	if !ok {
		var err error
		if in, err = newInstance(stmt); err != nil {
			return nil, err
		}
	}
	in.begin(rt)
	c := &cursor{in: in}
	in.ctx = ctx
	err := in.root.open(ctx)
	in.ctx = nil
	if err != nil {
		in.failed = translate(rt, err)
		err = in.failed
		c.Close()
		return nil, err
	}
	return c, nil
}

func newInstance(stmt *plan.Statement) (*instance, error) {
	in := &instance{stmt: stmt}
	in.subplans = make([]*subplan, len(stmt.Subplans))
	in.er.Outer = make([]types.Datum, stmt.OuterSlots)
	in.er.Subplan = in.runSubplan
	root, err := in.build(stmt.Root)
	if err != nil {
		return nil, err
	}
	in.root = root
	in.dml, _ = root.(writer)
	if m, ok := unwrap(root).(interface{ isRoot() }); ok {
		m.isRoot()
	}
	return in, nil
}

var noContext = &builtin.Context{}

func (in *instance) begin(rt *Runtime) {
	in.rt = rt
	in.budget = rt.Memory
	if in.budget == nil {
		in.own.limit = DefaultBudget
		in.own.used.Store(0)
		in.own.peak.Store(0)
		in.budget = &in.own
	}
	in.er.Ctx = rt.Ctx
	if in.er.Ctx == nil {
		in.er.Ctx = noContext
	}
	in.er.Params = rt.Params
	in.rows, in.begun, in.done, in.failed = 0, true, false, nil
}

func (in *instance) end() {
	in.root.close()
	for _, s := range in.subplans {
		if s != nil {
			s.reset()
		}
	}
	for _, c := range in.ctes {
		c.close()
	}
	in.rt, in.er.Ctx, in.er.Params, in.ctx = nil, nil, nil, nil
	in.budget = nil
	clear(in.er.Outer)
}

// cursor is one execution of an instance.
type cursor struct {
	in   *instance
	rows int64
}

func (c *cursor) Next(ctx context.Context) (*types.Batch, error) {
	in := c.in
	if in == nil || in.done {
		return nil, nil
	}
	if in.failed != nil {
		return nil, in.failed
	}
	in.ctx = ctx
	b, err := in.root.next(ctx)
	if b == nil && err == nil && !in.stmt.ReadOnly {
		err = endStatement(ctx, in.rt)
	}
	in.ctx = nil
	if err != nil {
		in.failed = translate(in.rt, err)
		return nil, in.failed
	}
	if b == nil {
		in.done = true
	} else {
		in.rows += int64(b.Len())
	}
	return b, nil
}

func (c *cursor) RowsAffected() int64 {
	if c.in == nil {
		return c.rows
	}
	if c.in.dml != nil {
		return c.in.dml.affected()
	}
	return c.in.rows
}

// Close ends the execution. An instance that has failed is not used again: an error leaves operators and expressions wherever they were, and none of it is to
// be the next execution's.
func (c *cursor) Close() {
	in := c.in
	if in == nil {
		return
	}
	c.rows = c.RowsAffected()
	c.in = nil
	failed := in.failed != nil
	in.end()
	if !failed {
		in.stmt.Instances.Put(in)
	}
}

// build makes the operator of a node.
func (in *instance) build(n plan.Node) (operator, error) {
	op, err := in.make(n)
	if err != nil {
		return nil, err
	}
	return &measured{op: op, node: n, in: in}, nil
}

func (in *instance) buildAll(ns ...plan.Node) ([]operator, error) {
	ops := make([]operator, len(ns))
	for i, n := range ns {
		var err error
		if ops[i], err = in.build(n); err != nil {
			return nil, err
		}
	}
	return ops, nil
}

func (in *instance) make(n plan.Node) (operator, error) {
	switch n := n.(type) {
	case *plan.Scan:
		return newScan(in, n)
	case *plan.Values:
		return newValues(in, n)
	case *plan.Filter:
		return newFilter(in, n)
	case *plan.Project:
		return newProject(in, n)
	case *plan.Limit:
		return newLimit(in, n)
	case *plan.Sort:
		return newSort(in, n)
	case *plan.Distinct:
		return newDistinct(in, n)
	case *plan.Aggregate:
		return newAggregate(in, n)
	case *plan.HashJoin:
		return newHashJoin(in, n)
	case *plan.LoopJoin:
		return newLoopJoin(in, n)
	case *plan.LookupJoin:
		return newLookupJoin(in, n)
	case *plan.Lateral:
		return newLateral(in, n)
	case *plan.SetOp:
		return newSetOp(in, n)
	case *plan.Append:
		return newAppend(in, n)
	case *plan.CTE:
		return newCTE(in, n)
	case *plan.CTEScan:
		return newCTEScan(in, n)
	case *plan.VirtualScan:
		return newVirtualScan(in, n)
	case *plan.FunctionScan:
		return newFunctionScan(in, n)
	case *plan.Window:
		return newWindow(in, n)
	case *plan.LockRows:
		return newLockRows(in, n)
	case *plan.Insert:
		return newInsert(in, n)
	case *plan.Update:
		return newUpdate(in, n)
	case *plan.Delete:
		return newDelete(in, n)
	}
	return nil, pgerr.New(pgerr.InternalError, "no operator for plan node %T", n)
}

// measured counts what an operator does when the statement is an EXPLAIN ANALYZE, and checks for
// cancellation between batches.
type measured struct {
	op   operator
	node plan.Node
	in   *instance
}

func (m *measured) open(ctx context.Context) error {
	if st := m.in.rt.Stats; st != nil {
		begin := time.Now()
		err := m.op.open(ctx)
		st.node(m.node).Time += time.Since(begin)
		return err
	}
	return m.op.open(ctx)
}

func (m *measured) next(ctx context.Context) (*types.Batch, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	st := m.in.rt.Stats
	if st == nil {
		return m.op.next(ctx)
	}
	begin := time.Now()
	b, err := m.op.next(ctx)
	ns := st.node(m.node)
	ns.Time += time.Since(begin)
	if b != nil {
		ns.Batches++
		ns.Rows += int64(b.Len())
	}
	return b, err
}

func (m *measured) close() { m.op.close() }

func (m *measured) affected() int64 {
	if w, ok := m.op.(writer); ok {
		return w.affected()
	}
	return 0
}

// stats returns the figures of a node, or nil when nobody asks.
func (in *instance) stats(n plan.Node) *NodeStats {
	if in.rt.Stats == nil {
		return nil
	}
	return in.rt.Stats.node(n)
}

// unwrap returns the operator behind the measuring.
func unwrap(op operator) operator {
	if m, ok := op.(*measured); ok {
		return m.op
	}
	return op
}

// programs are compiled expressions that are evaluated together.
type programs []*expr.Program

func compileAll(es []expr.Expr) (programs, error) {
	ps := make(programs, len(es))
	for i, e := range es {
		var err error
		if ps[i], err = expr.Compile(e); err != nil {
			return nil, err
		}
	}
	return ps, nil
}

// compileOpt compiles an expression that may be missing.
func compileOpt(e expr.Expr) (*expr.Program, error) {
	if e == nil {
		return nil, nil
	}
	return expr.Compile(e)
}

// eval computes the programs over a batch into cols.
func (ps programs) eval(rt *expr.Runtime, b *types.Batch, cols []*types.Vec) error {
	for i, p := range ps {
		v, err := p.Eval(rt, b)
		if err != nil {
			return err
		}
		cols[i] = v
	}
	return nil
}

func fieldTypes(fs []plan.Field) []types.Type {
	ts := make([]types.Type, len(fs))
	for i := range fs {
		ts[i] = fs[i].Type
	}
	return ts
}

// appendBatch adds the counting rows of src to dst, which has columns of the same representations.
func appendBatch(dst, src *types.Batch) {
	n := src.Len()
	for i, c := range dst.Cols {
		if src.Sel == nil && src.Cols[i].N != src.N {
			s := src.Cols[i].Slice(0, src.N)
			c.AppendVec(&s, nil)
			continue
		}
		c.AppendVec(src.Cols[i], src.Sel)
	}
	dst.N += n
}

// appendRow adds one row (by its position in the columns).
func appendRow(dst, src *types.Batch, row int) {
	for i, c := range dst.Cols {
		c.AppendFrom(src.Cols[i], row)
	}
	dst.N++
}

// drain runs an operator to its end.
func drain(ctx context.Context, op operator, f func(*types.Batch) error) error {
	for {
		b, err := op.next(ctx)
		if err != nil || b == nil {
			return err
		}
		if err := f(b); err != nil {
			return err
		}
	}
}
