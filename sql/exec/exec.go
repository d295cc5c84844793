package exec

import (
	"context"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/pamirdb/pamir/txn"
)

// Runtime is what a statement runs in.
type Runtime struct {
	Txn     txn.Txn
	Catalog catalog.Snapshot
	Ctx     *builtin.Context
	Params  []types.Datum
	// Memory is the statement's budget; nil means DefaultBudget.
	Memory *Budget
	// Virtual answers scans of virtual tables; nil if there are none.
	Virtual VirtualTables
	// TempDir is where operators spill; empty means that they may not.
	TempDir string
	// Implicit: the statement is the whole transaction. Inserts then leave uniqueness to the commit.
	Implicit bool
	// Node is this node's number, for generated row ids; 0 if unknown.
	Node int32
	// Bulk writes rows of tables that nobody else can see yet; nil means through the transaction.
	Bulk BulkWriter
	// Savepoint: a savepoint is open, so everything written must be undoable by itself.
	Savepoint bool
	// References takes what foreign keys leave to see to; nil where no table with foreign keys is written.
	References *References
	// Firm: what the statement reads must still hold at commit, whatever the isolation level (txn.ScanOptions.Firm).
	Firm bool
	// Passing: what a statement reads without a lock need not hold at commit (READ COMMITTED, REPEATABLE READ).
	Passing bool
	// Wrote, if not nil, is told how many rows of a table a statement has inserted, changed and deleted.
	Wrote func(t *catalog.Table, rows int64)
	// Stats, if not nil, collects figures for EXPLAIN ANALYZE.
	Stats *Stats
}

// Cursor is a running statement.
type Cursor interface {
	// Next returns the next rows, or nil at the end.
	Next(ctx context.Context) (*types.Batch, error)
	// RowsAffected is how many rows have been returned or, by an INSERT, UPDATE or DELETE, written.
	RowsAffected() int64
	// Close gives back memory, files and the instance. Harmless when repeated.
	Close()
}

// VirtualTables yields the rows of virtual tables.
type VirtualTables interface {
	// Rows starts reading the columns at these positions of a table. eq lists column = value conditions that the
	// source may use to leave rows out (it need not).
	Rows(ctx context.Context, rt *Runtime, t *catalog.Table, columns []int, eq []VirtualEq) (VirtualRows, error)
}

// VirtualEq says that only rows with this value in the column at this position matter.
type VirtualEq struct {
	Column int
	Value  types.Datum
}

// VirtualRows appends rows to out (empty, one vector per column), at most limit; n = 0 at the end.
type VirtualRows interface {
	Next(ctx context.Context, out []*types.Vec, limit int) (n int, err error)
}

// BulkWriter writes key-value pairs outside of transactions, under table data ids that no
// committed descriptor refers to yet.
type BulkWriter interface {
	// Write stores the pairs, ascending by key, durably, as if they had been there at a timestamp. The keys are new (see bulk.go).
	// It may be called by several goroutines.
	Write(ctx context.Context, at hlc.Timestamp, pairs []kv.Write) error
}

// Start begins to execute a plan.
func Start(ctx context.Context, rt *Runtime, stmt *plan.Statement) (Cursor, error) {
	return start(ctx, rt, stmt)
}
