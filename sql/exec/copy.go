package exec

import (
	"context"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// TableWriter takes the rows of a COPY FROM.
type TableWriter struct {
	rt       *Runtime
	in       *instance
	w        *rowWriter
	table    *catalog.Table
	columns  []int
	defaults []int // positions
	ps       programs
	full     *types.Batch
	row      rowenc.Row
	bulk     *bulkBuffer // nil: through the transaction
	rows     int64
}

// NewTableWriter writes to the columns at these positions of a table. The others get defaults[position], evaluated for
// every row (nil: NULL). checks are over all of Table.Columns.
func NewTableWriter(rt *Runtime, table *catalog.Table, columns []int, defaults []expr.Expr, checks []plan.CheckExpr) (*TableWriter, error) {
	if table.Virtual || table.Kind != 'r' {
		return nil, pgerr.New(pgerr.WrongObjectType, "cannot copy to relation \"%s\"", table.Name)
	}
	in := &instance{stmt: &plan.Statement{}}
	in.er.Subplan = in.runSubplan
	in.begin(rt)
	t := &TableWriter{rt: rt, in: in, table: table, columns: columns, full: types.NewBatch(allColumns(table), types.BatchSize),
		row: make(rowenc.Row, len(table.Columns))}
	var err error
	if t.w, err = newRowWriter(table, checks); err != nil {
		return nil, err
	}
	given := map[int]bool{}
	for _, c := range columns {
		given[c] = true
	}
	for c, e := range defaults {
		if e == nil || given[c] || c == t.w.rowid {
			continue
		}
		if k, ok := e.(*expr.Const); ok && k.Value.Null {
			continue
		}
		p, err := expr.Compile(e)
		if err != nil {
			return nil, err
		}
		t.defaults, t.ps = append(t.defaults, c), append(t.ps, p)
	}
	t.w.begin(rt, &in.er, in.budget)
	if t.private() {
		t.bulk = &bulkBuffer{rt: rt}
	}
	return t, nil
}

// private reports whether rows can go around the transaction: nobody else sees the table, nothing may have to be undone, and keys
// cannot clash, being generated row ids.
func (t *TableWriter) private() bool {
	if t.rt.Bulk == nil || t.rt.Savepoint || t.w.rowid < 0 || t.table.FreshIn != t.rt.Txn.ID() || t.table.FreshIn == (kv.TxnID{}) {
		return false
	}
	return len(t.w.second) == 0 && len(t.w.dying) == 0 && len(t.w.out) == 0
}

// Types are what the batches' columns must be.
func (t *TableWriter) Types() []types.Type { return columnTypes(t.table.Columns, t.columns) }

// Write takes a batch. After an error nothing more may be written.
func (t *TableWriter) Write(ctx context.Context, b *types.Batch) error {
	return translate(t.rt, t.write(ctx, b))
}

func (t *TableWriter) write(ctx context.Context, b *types.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	wholeRows(t.full, b, t.columns)
	for i, c := range t.defaults {
		v := t.full.Cols[c]
		for row := range t.full.N { // row by row: a default may be nextval()
			d, err := t.ps[i].EvalRow(&t.in.er, nil, 0)
			if err != nil {
				return err
			}
			v.Set(row, d)
		}
	}
	if err := t.w.check(t.full); err != nil {
		return err
	}
	t.rows += int64(t.full.N)
	if t.bulk != nil {
		t.w.wrote += int64(t.full.N)
		t.w.fillRowIDs(t.full)
		for i := range t.full.N {
			loadRow(t.row, t.full, i)
			k, v, _, err := t.w.entry(t.w.tab.Primary, t.row)
			if err != nil {
				return err
			}
			if err := t.bulk.add(ctx, k, v); err != nil {
				return err
			}
		}
		return nil
	}
	if err := t.w.insert(ctx, t.full); err != nil {
		return err
	}
	if err := t.rt.References.relieve(ctx, t.rt); err != nil {
		return err
	}
	return makeRoom(ctx, t.rt)
}

// Abort waits for what runs in the background. It is to be called in any case; after Close it does nothing.
func (t *TableWriter) Abort() {
	if t.bulk != nil {
		t.bulk.wait()
	}
	if t.w.rt != nil {
		t.w.end()
	}
}

// Close writes what is left and returns how many rows there were.
func (t *TableWriter) Close(ctx context.Context) (int64, error) {
	var err error
	if t.bulk != nil {
		err = t.bulk.flush(ctx)
	}
	if err == nil {
		err = endStatement(ctx, t.rt)
	}
	t.w.end()
	return t.rows, translate(t.rt, err)
}
