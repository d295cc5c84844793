package exec

import (
	"context"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// modify is what INSERT, UPDATE and DELETE share: the whole input is worked off at the first call of next, as in
// PostgreSQL, and RETURNING's rows are shown afterwards.
type modify struct {
	in      *instance
	src     operator
	w       *rowWriter
	ret     programs
	retCols []*types.Vec
	store   *rowStore
	reader  *rowReader
	count   int64
	ran     bool
	root    bool // nothing but this statement is run
	take    func(ctx context.Context, b *types.Batch) error
	// before is called when an execution begins.
	before func()
}

func newModify(in *instance, t *catalog.Table, input plan.Node, checks []plan.CheckExpr, returning []expr.Expr) (*modify, error) {
	if t.Virtual || t.Kind != 'r' {
		return nil, pgerr.New(pgerr.WrongObjectType, "cannot change relation \"%s\"", t.Name)
	}
	m := &modify{in: in}
	var err error
	if m.w, err = newRowWriter(t, checks); err != nil {
		return nil, err
	}
	if m.src, err = in.build(input); err != nil {
		return nil, err
	}
	if returning != nil {
		if m.ret, err = compileAll(returning); err != nil {
			return nil, err
		}
		ts := make([]types.Type, len(returning))
		for i, e := range returning {
			ts[i] = e.Type()
		}
		m.store = newRowStore(in, ts)
		m.retCols = make([]*types.Vec, len(ts))
	}
	return m, nil
}

func (m *modify) open(ctx context.Context) error {
	m.count, m.ran, m.reader = 0, false, nil
	if m.store != nil {
		m.store.reset()
	}
	m.w.begin(m.in.rt, &m.in.er, m.in.budget)
	if m.before != nil {
		m.before()
	}
	return m.src.open(ctx)
}

func (m *modify) close() {
	if m.store != nil {
		m.store.close()
	}
	m.w.end()
	m.src.close()
}

func (m *modify) affected() int64 { return m.count }

func (m *modify) isRoot() { m.root = true }

func (m *modify) next(ctx context.Context) (*types.Batch, error) {
	if !m.ran {
		m.ran = true
		err := drain(ctx, m.src, func(b *types.Batch) error {
			if err := m.take(ctx, b); err != nil {
				return err
			}
			if err := m.in.rt.References.relieve(ctx, m.in.rt); err != nil {
				return err
			}
			return makeRoom(ctx, m.in.rt)
		})
		if err != nil {
			return nil, err
		}
		m.src.close()
		if m.root { // rows are shown only of a statement that is in order
			if err := endStatement(ctx, m.in.rt); err != nil {
				return nil, err
			}
		}
		if m.store == nil {
			return nil, nil
		}
		if m.reader, err = m.store.reader(); err != nil {
			return nil, err
		}
	}
	if m.reader == nil {
		return nil, nil
	}
	return m.reader.next()
}

// returning computes the rows that RETURNING shows.
func (m *modify) returning(b *types.Batch) error {
	if m.ret == nil || b.Len() == 0 {
		return nil
	}
	if err := m.ret.eval(&m.in.er, b, m.retCols); err != nil {
		return err
	}
	return m.store.add(&types.Batch{N: b.N, Sel: b.Sel, Cols: m.retCols})
}

// insert is INSERT without ON CONFLICT.
type insert struct {
	*modify
	n    *plan.Insert
	full *types.Batch // the new rows, all of the table's columns
}

func newInsert(in *instance, n *plan.Insert) (operator, error) {
	m, err := newModify(in, n.Table, n.Input, n.Checks, n.Returning)
	if err != nil {
		return nil, err
	}
	if n.Conflict != nil {
		return newUpsert(m, n)
	}
	o := &insert{modify: m, n: n, full: types.NewBatch(allColumns(n.Table), 0)}
	m.take = o.rows
	return o, nil
}

func (o *insert) rows(ctx context.Context, b *types.Batch) error {
	wholeRows(o.full, b, o.n.Columns)
	if err := o.w.check(o.full); err != nil {
		return err
	}
	if err := o.w.insert(ctx, o.full); err != nil {
		return err
	}
	o.count += int64(o.full.N)
	return o.returning(o.full)
}

// wholeRows fills full with the counting rows of b, whose columns go to these positions; the others are NULL.
func wholeRows(full, b *types.Batch, columns []int) {
	n := b.Len()
	full.N, full.Sel = n, nil
	for _, c := range full.Cols {
		c.N = -1
	}
	for i, pos := range columns {
		c := full.Cols[pos]
		c.ResetSame()
		if b.Sel == nil && b.Cols[i].N != n {
			s := b.Cols[i].Slice(0, n)
			c.CopyFrom(&s, nil)
		} else {
			c.CopyFrom(b.Cols[i], b.Sel)
		}
	}
	for _, c := range full.Cols {
		if c.N == -1 {
			c.N = 0
			c.ResetSame()
			c.Fill(types.NullDatum, n)
		}
	}
}

// onceEach reports whether a plan shows each row of its table at most once.
func onceEach(n plan.Node) bool {
	switch n := n.(type) {
	case *plan.Scan:
		return true
	case *plan.Append:
		return n.Union != nil
	case *plan.Filter:
		return onceEach(n.Input)
	case *plan.Project:
		return onceEach(n.Input)
	case *plan.Limit:
		return onceEach(n.Input)
	case *plan.Sort:
		return onceEach(n.Input)
	case *plan.LockRows:
		return onceEach(n.Input)
	}
	return false
}

// update is UPDATE.
type update struct {
	*modify
	n     *plan.Update
	set   []int
	ps    programs
	vals  []*types.Vec
	after *types.Batch // the new rows, and the input's further columns
	once  bool
	old   rowenc.Row
	new   rowenc.Row
}

// compileSet compiles what an UPDATE sets: columns by position, and their new values.
func compileSet(set []plan.SetClause) (columns []int, values []*expr.Program, err error) {
	for _, s := range set {
		p, err := expr.Compile(s.Value)
		if err != nil {
			return nil, nil, err
		}
		columns, values = append(columns, s.Column), append(values, p)
	}
	return columns, values, nil
}

func newUpdate(in *instance, n *plan.Update) (operator, error) {
	m, err := newModify(in, n.Table, n.Input, n.Checks, n.Returning)
	if err != nil {
		return nil, err
	}
	o := &update{modify: m, n: n, once: onceEach(n.Input)}
	if o.set, o.ps, err = compileSet(n.Set); err != nil {
		return nil, err
	}
	o.vals = make([]*types.Vec, len(o.ps))
	o.old, o.new = make(rowenc.Row, len(n.Table.Columns)), make(rowenc.Row, len(n.Table.Columns))
	m.take = o.rows
	return o, nil
}

func (o *update) rows(ctx context.Context, b *types.Batch) error {
	cols := len(o.n.Table.Columns)
	if !o.once {
		var err error
		if b, err = o.w.firstTime(b, cols); err != nil || b.Len() == 0 {
			return err
		}
	}
	if err := o.ps.eval(&o.in.er, b, o.vals); err != nil {
		return err
	}
	// The new rows share the vectors of columns that do not change.
	if o.after == nil || len(o.after.Cols) != len(b.Cols) {
		o.after = &types.Batch{Cols: make([]*types.Vec, len(b.Cols))}
	}
	copy(o.after.Cols, b.Cols)
	for i, c := range o.set {
		o.after.Cols[c] = o.vals[i]
	}
	o.after.N, o.after.Sel = b.N, b.Sel
	rowsOnly := types.Batch{N: b.N, Sel: b.Sel, Cols: o.after.Cols[:cols]}
	if err := o.w.check(&rowsOnly); err != nil {
		return err
	}
	load := func(i int) {
		row := b.Row(i)
		for c := range cols {
			o.old[c] = b.Cols[c].Get(row)
		}
		copy(o.new, o.old)
		for j, c := range o.set {
			o.new[c] = o.vals[j].Get(row)
		}
	}
	if o.w.claims(o.set) {
		var ks []keys.Key
		for i := range b.Len() {
			load(i)
			var err error
			if ks, err = o.w.lost(ks, o.old, o.new); err != nil {
				return err
			}
		}
		if err := o.w.claim(ctx, ks); err != nil {
			return err
		}
	}
	for i := range b.Len() {
		load(i)
		if err := o.w.update(ctx, o.old, o.new, o.set); err != nil {
			return err
		}
	}
	o.count += int64(b.Len())
	return o.returning(o.after)
}

// firstTime leaves out rows that the statement has changed already: a join may show a row several times.
func (w *rowWriter) firstTime(b *types.Batch, cols int) (*types.Batch, error) {
	sel := make([]int32, 0, b.Len())
	row := make(rowenc.Row, cols)
	if w.seen == nil {
		w.seen = map[string]struct{}{}
	}
	for i := range b.Len() {
		at := b.Row(i)
		for c := range cols {
			row[c] = b.Cols[c].Get(at)
		}
		k, _, err := w.key(w.tab.Primary, row)
		if err != nil {
			return nil, err
		}
		if _, ok := w.seen[string(k)]; ok {
			continue
		}
		w.seen[string(k)] = struct{}{}
		if err := w.acct.add(int64(len(k)) + 48); err != nil {
			return nil, err
		}
		sel = append(sel, int32(at))
	}
	return &types.Batch{N: b.N, Cols: b.Cols, Sel: sel}, nil
}

// deletion is DELETE.
type deletion struct {
	*modify
	n    *plan.Delete
	once bool
	row  rowenc.Row
}

func newDelete(in *instance, n *plan.Delete) (operator, error) {
	m, err := newModify(in, n.Table, n.Input, nil, n.Returning)
	if err != nil {
		return nil, err
	}
	o := &deletion{modify: m, n: n, once: onceEach(n.Input), row: make(rowenc.Row, len(n.Table.Columns))}
	m.take = o.rows
	return o, nil
}

func (o *deletion) rows(ctx context.Context, b *types.Batch) error {
	if !o.once {
		var err error
		if b, err = o.w.firstTime(b, len(o.row)); err != nil {
			return err
		}
	}
	load := func(i int) {
		row := b.Row(i)
		for c := range o.row {
			o.row[c] = b.Cols[c].Get(row)
		}
	}
	if o.w.claims(nil) {
		var ks []keys.Key
		for i := range b.Len() {
			load(i)
			var err error
			if ks, err = o.w.lost(ks, o.row, nil); err != nil {
				return err
			}
		}
		if err := o.w.claim(ctx, ks); err != nil {
			return err
		}
	}
	for i := range b.Len() {
		load(i)
		if err := o.w.delete(o.row); err != nil {
			return err
		}
	}
	o.count += int64(b.Len())
	return o.returning(b)
}
