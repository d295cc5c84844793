package exec

import (
	"context"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// TableWriter takes the rows of a COPY FROM.
type TableWriter struct {
	table   *catalog.Table
	columns []int
}

// NewTableWriter writes to the columns at these positions of a table. The others get defaults[position], evaluated for
// every row (nil: NULL). checks are over all of Table.Columns.
func NewTableWriter(rt *Runtime, table *catalog.Table, columns []int, defaults []expr.Expr, checks []plan.CheckExpr) (*TableWriter, error) {
	return nil, pgerr.Unsupported("COPY", "")
}

// Types are what the batches' columns must be.
func (w *TableWriter) Types() []types.Type {
	ts := make([]types.Type, len(w.columns))
	for i, c := range w.columns {
		ts[i] = w.table.Columns[c].Type
	}
	return ts
}

// Write takes a batch. The row number in errors is for the caller to add.
func (w *TableWriter) Write(ctx context.Context, b *types.Batch) error { return nil }

// Close writes what is left and returns how many rows there were.
func (w *TableWriter) Close(ctx context.Context) (int64, error) { return 0, nil }
