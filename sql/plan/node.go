package plan

import (
	"sync"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/types"
)

// Statement is a complete plan.
type Statement struct {
	Root Node
	// Subplans are referred to by expr.Subplan.Plan.
	Subplans []Node
	// OuterSlots is how many Outer slots execution needs.
	OuterSlots int
	// Params are the types of the statement's parameters.
	Params []types.Type
	// Columns are what the client sees (empty for commands without rows).
	Columns []Field
	// Tag is the command tag without counts: "SELECT", "INSERT 0", "UPDATE".
	Tag string
	// CatalogVersion the plan was made for.
	CatalogVersion uint64
	// Uses is what was asked of that catalog: see catalog.Uses.
	Uses *catalog.Uses
	// Needs is what the user must be allowed to.
	Needs []Need
	// ReadOnly: the plan neither writes nor locks.
	ReadOnly bool
	// Pure: the plan is read-only and has no volatile functions, so nobody but its client can tell that it ran.
	Pure bool
	// Peeks are the parameters whose values would have made a difference to what was expected of the plan.
	Peeks []Peek
	// KeyRead is set for plans that read rows by a unique key and do nothing else.
	KeyRead *KeyRead
	// Writes is the one row that an UPDATE or DELETE writes; nil if it may be several, or is not known.
	Writes *rowKey
	// Instances keeps the operators that package exec made of the plan, for the next execution. A Statement is
	// handled by pointer.
	Instances sync.Pool
}

// Field describes an output column.
type Field struct {
	Name string
	Type types.Type
	// Table and Column tell where it comes from, if it is a plain column.
	Table  catalog.TableID
	Attnum int16
}

// Node is a physical operator.
type Node interface {
	Fields() []Field
	// Rows is the planner's estimate.
	Rows() float64
}

// Props is embedded in every node.
type Props struct {
	Out     []Field
	EstRows float64
	EstCost float64
}

func (p *Props) Fields() []Field { return p.Out }
func (p *Props) Rows() float64   { return p.EstRows }

// Bound of a range constraint on an index column.
type Bound struct {
	Value     expr.Expr
	Inclusive bool
}

// ScanSpan constrains a prefix of an index's columns: equal to Eq, then one column between Low and High.
// A NULL in Eq or a bound makes the span empty, unless IsNull says that the column is to be NULL.
type ScanSpan struct {
	Eq     []expr.Expr
	IsNull []bool // parallel to Eq; nil = none
	// InArray: the last Eq is an array expression and stands for one span per distinct element.
	InArray   bool
	Low, High *Bound
	// NotNull: without bounds, that column has a value at least.
	NotNull bool
}

// AggCall is one aggregate of an Aggregate node.
type AggCall struct {
	Fn       *builtin.Function
	T        types.Type
	Args     []expr.Expr
	Distinct bool
	Filter   expr.Expr
	OrderBy  []SortKey
}

// SortKey orders by an expression, with PostgreSQL's NULLs placement.
type SortKey struct {
	Expr       expr.Expr
	Desc       bool
	NullsFirst bool
}

// JoinType of a join node.
type JoinType uint8

const (
	InnerJoin JoinType = iota
	LeftJoin
	RightJoin
	FullJoin
	SemiJoin // left rows with a match; output is the left columns
	AntiJoin // left rows without a match (NULLs do not match)
)

type (
	// Scan reads an index of a table. Output is the columns listed (positions in Table.Columns).
	// Columns that the index does not hold are fetched from the primary index by the executor.
	Scan struct {
		Props
		Table   *catalog.Table
		Alias   string
		Index   *catalog.Index
		Columns []int
		// Spans are tried in order; nil means the whole index.
		Spans []ScanSpan
		// Filter is over the output columns and runs beside the data.
		Filter  expr.Expr
		Reverse bool
		// Ordered: the parent relies on index order.
		Ordered bool
		// Few: the rows are taken one by one as long as somebody above wants more, most likely a few only, so little is read at first.
		Few bool
		// Limit is a hint: no more rows than this are needed (0 = all), after Filter.
		Limit expr.Expr
		// Offset, if set, is how many rows are left out, before they are fetched by what an entry of the index tells of them. Limit does not
		// count them. Only without Filter, Lock and Agg.
		Offset expr.Expr
		Lock   kv.LockStrength
		Wait   kv.WaitPolicy
		// Peek: nothing rests on what is read; LockRows looks at the rows again.
		Peek bool
		// Agg, if set, computes partial aggregates beside the data; the output is then the group
		// columns followed by one partial state per call, for an Aggregate with Final set.
		Agg *PartialAgg
	}
	// PartialAgg is aggregation pushed into a Scan; GroupBy are over the scan's columns.
	PartialAgg struct {
		GroupBy []expr.Expr
		Calls   []AggCall
	}
	// VirtualScan reads a virtual table. Filter is applied by the executor; Eq offers
	// column = constant pairs to tables that can look up by them.
	VirtualScan struct {
		Props
		Table   *catalog.Table
		Alias   string
		Columns []int
		Eq      []VirtualEq
		Filter  expr.Expr
	}
	VirtualEq struct {
		Column int
		Value  expr.Expr
	}
	// FunctionScan is a set-returning function in FROM.
	FunctionScan struct {
		Props
		Fn         *builtin.Function
		Args       []expr.Expr
		Ordinality bool
	}
	Values struct {
		Props
		Lists [][]expr.Expr
	}
	Filter struct {
		Props
		Input Node
		Cond  expr.Expr
	}
	// Project computes expressions. A set-returning Call at the top of an expression multiplies rows.
	Project struct {
		Props
		Input Node
		Exprs []expr.Expr
	}
	Limit struct {
		Props
		Input         Node
		Count, Offset expr.Expr // nil = none
	}
	// Sort orders; with TopN it keeps the first rows only.
	Sort struct {
		Props
		Input Node
		Keys  []SortKey
		TopN  expr.Expr
	}
	// Distinct removes equal rows over the first On columns' positions (all columns if nil). Sorted: input has equal rows together.
	Distinct struct {
		Props
		Input  Node
		On     []int
		Sorted bool
	}
	// Aggregate groups by GroupBy and computes Calls; output is group columns, then calls. Without GroupBy there is exactly one
	// row. Final: the inputs are partial states, in the Scan's layout.
	Aggregate struct {
		Props
		Input   Node
		GroupBy []expr.Expr
		Calls   []AggCall
		Final   bool
		Sorted  bool
	}
	// HashJoin matches LeftKeys with RightKeys (over each side's columns) by the equality functions Eq; Cond, over both sides' columns, filters matches.
	HashJoin struct {
		Props
		Type                JoinType
		Left, Right         Node // the hash table is built on Right
		LeftKeys, RightKeys []expr.Expr
		Cond                expr.Expr
	}
	// LoopJoin runs over all pairs; Right is materialised. InOrder: the rows come in the order of Left's.
	LoopJoin struct {
		Props
		Type        JoinType
		Left, Right Node
		Cond        expr.Expr
		InOrder     bool
	}
	// LookupJoin probes an index of Right with values from each left row. Keys are over left columns, one per leading index column. The rows come in the order of
	// Left's.
	LookupJoin struct {
		Props
		Type  JoinType
		Left  Node
		Right *Scan // Spans unused; Filter is over Right's columns
		Keys  []expr.Expr
		Cond  expr.Expr
	}
	// Lateral runs Right anew for each left row, with the row's values in Outer slots.
	Lateral struct {
		Props
		Type        JoinType
		Left, Right Node
		Slot        int
		Args        []expr.Expr
		Cond        expr.Expr
	}
	// SetOp is UNION/INTERSECT/EXCEPT; Append is UNION ALL.
	SetOp struct {
		Props
		Left, Right Node
		Op          byte // 'u', 'i', 'e'
		All         bool
	}
	// Append shows the rows of one input after the other's. If they are scans of one table, which divide its rows among them, Union is that table: each
	// row then comes once.
	Append struct {
		Props
		Inputs []Node
		Union  *catalog.Table
		Alias  string
	}
	// CTE materialises Input once per execution under ID, then runs Body; CTEScan reads it. Recursive: Input is the
	// seed, Step the recursive term reading the working table through CTEScan.
	CTE struct {
		Props
		ID        int
		Name      string
		Input     Node
		Step      Node
		Recursive bool
		Dedup     bool
		Body      Node
	}
	CTEScan struct {
		Props
		ID   int
		Name string
	}
	// Window computes window functions over partitions; output is the input's columns, then the calls.
	Window struct {
		Props
		Input       Node
		PartitionBy []expr.Expr
		OrderBy     []SortKey
		Frame       *WindowFrame // nil is the default: from the start to the current row and its peers
		Calls       []AggCall
	}
	// LockRows locks the rows its Input yields (FOR UPDATE over joins); key columns of each table are at the given positions.
	LockRows struct {
		Props
		Input   Node
		Targets []LockTarget
		// Limit is how many rows are wanted, so that no others are locked; nil if all are.
		Limit expr.Expr
	}
	LockTarget struct {
		Table    *catalog.Table
		KeyCols  []int
		Strength kv.LockStrength
		Wait     kv.WaitPolicy
		// Seen, with SKIP LOCKED, are the columns by which a row was chosen, and those that are shown. The scan only peeked at them: once the row is locked they are
		// read again, and if one is different, the row counts as locked.
		Seen []SeenCol
	}
	// SeenCol is where LockRows' Input has a column (a position in Table.Columns) of a table.
	SeenCol struct{ Col, Ord int }

	// Insert writes Input's rows, whose columns are Columns (positions in Table.Columns) completed with defaults by the planner,
	// so Columns lists every writable column.
	Insert struct {
		Props
		Table    *catalog.Table
		Input    Node
		Columns  []int
		Conflict *OnConflict
		// Checks are CHECK constraints over the new row (all of Table.Columns).
		Checks    []CheckExpr
		Returning []expr.Expr // over all of Table.Columns
	}
	CheckExpr struct {
		Name string
		Cond expr.Expr
	}
	OnConflict struct {
		// Index is the arbiter; nil means any unique index (DO NOTHING only).
		Index *catalog.Index
		// Update is nil for DO NOTHING. Set positions get Exprs, over (existing row columns, excluded row columns).
		Update []SetClause
		Where  expr.Expr
	}
	SetClause struct {
		Column int
		Value  expr.Expr
	}
	// Update: Input yields the existing row (all of Table.Columns first, then whatever else is joined), locked; Set values are over Input's columns.
	Update struct {
		Props
		Table     *catalog.Table
		Input     Node
		Set       []SetClause
		Checks    []CheckExpr
		Returning []expr.Expr // over (new row's Table.Columns, then Input's further columns)
	}
	// Delete: Input as for Update.
	Delete struct {
		Props
		Table     *catalog.Table
		Input     Node
		Returning []expr.Expr // over Input's columns
	}
)
