package ast

// Select is a query: a simple SELECT, VALUES, or a set operation over two queries.
type Select struct {
	Pos  int
	With *With

	// Simple query.
	Distinct   bool
	DistinctOn []Expr // with Distinct
	Into       *Into
	Targets    []*Target
	From       []TableExpr
	Where      Expr
	GroupBy    []GroupItem
	GroupDist  bool // GROUP BY DISTINCT
	Having     Expr
	Windows    []*Window

	// VALUES.
	Values [][]Expr

	// Set operation: 'u', 'i', 'e', or 0.
	SetOp       byte
	All         bool
	Left, Right *Select

	OrderBy  []*SortBy
	Limit    Expr // nil: none; LIMIT ALL and LIMIT NULL are a null literal
	Offset   Expr
	WithTies bool
	Locking  []*Locking
}

// GroupItem is an item of GROUP BY: one expression, or a grouping set.
type GroupItem struct {
	Pos  int
	Expr Expr
	// Set is 0 for Expr, 'e' (), 'r' ROLLUP, 'c' CUBE, 's' GROUPING SETS, '(' a list inside one of these.
	Set   byte
	Items []GroupItem
}

// Target is an item of a select list or of RETURNING.
type Target struct {
	Pos  int
	Name string // AS name, or ""
	Expr Expr
}

// Into is SELECT INTO and CREATE TABLE AS.
type Into struct {
	Table    *TableName
	Columns  []string
	Options  []Option
	OnCommit byte // 0, 'p', 'd', 'x' (drop)
	NoData   bool
}

// With is a WITH clause.
type With struct {
	Pos       int
	Recursive bool
	CTEs      []*CTE
}

// CTE is one query of a WITH clause.
type CTE struct {
	Pos     int
	Name    string
	Columns []string
	// Materialized is 0, 'y' or 'n'.
	Materialized byte
	Query        Statement // *Select, *Insert, *Update, *Delete
	Search       *CTESearch
	Cycle        *CTECycle
}

// CTESearch is SEARCH DEPTH|BREADTH FIRST BY columns SET column.
type CTESearch struct {
	Pos     int
	Columns []string
	Breadth bool
	Set     string
}

// CTECycle is CYCLE columns SET mark [TO v DEFAULT d] USING path.
type CTECycle struct {
	Pos            int
	Columns        []string
	Mark, Path     string
	Value, Default Expr
}

// LockStrength of a locking clause.
type LockStrength uint8

const (
	ForKeyShare LockStrength = iota + 1
	ForShare
	ForNoKeyUpdate
	ForUpdate
)

// Locking is FOR UPDATE and its kin. Wait is 0, 's' SKIP LOCKED, 'n' NOWAIT.
type Locking struct {
	Strength LockStrength
	Of       []*TableName
	Wait     byte
}

// TableExpr is an item of FROM.
type TableExpr interface{ tableExpr() }

// Alias of a table expression.
type Alias struct {
	Name    string
	Columns []string
}

// JoinKind of a join.
type JoinKind uint8

const (
	InnerJoin JoinKind = iota
	LeftJoin
	RightJoin
	FullJoin
)

type (
	// TableName is a table by name.
	TableName struct {
		Pos     int
		Catalog string
		Schema  string
		Name    string
		Alias   *Alias
		Only    bool
		// Persistence is 'p', 't' temporary, 'u' unlogged.
		Persistence byte
	}
	// Derived is a subquery in FROM.
	Derived struct {
		Pos     int
		Query   *Select
		Alias   *Alias
		Lateral bool
	}
	// FuncTable is a function, or ROWS FROM several, in FROM.
	FuncTable struct {
		Pos        int
		Funcs      []FuncItem
		RowsFrom   bool
		Ordinality bool
		Lateral    bool
		Alias      *Alias
		Columns    []*ColumnDef // AS (a int, ...)
	}
	// FuncItem is one function of a FuncTable. Call is a *FuncCall or another expression that looks like one.
	FuncItem struct {
		Call    Expr
		Columns []*ColumnDef
	}
	// Join of two table expressions.
	Join struct {
		Pos         int
		Kind        JoinKind
		Natural     bool
		Left, Right TableExpr
		Using       []string
		UsingAlias  *Alias
		On          Expr
		Alias       *Alias
	}
)

func (*TableName) tableExpr() {}
func (*Derived) tableExpr()   {}
func (*FuncTable) tableExpr() {}
func (*Join) tableExpr()      {}

type (
	// Insert statement. Query is nil for DEFAULT VALUES.
	Insert struct {
		With       *With
		Table      *TableName
		Columns    []*InsertColumn
		Query      *Select
		Override   byte // 0, 'u' OVERRIDING USER VALUE, 's' SYSTEM VALUE
		OnConflict *OnConflict
		Returning  []*Target
	}
	// InsertColumn is a target column.
	InsertColumn struct {
		Pos   int
		Name  string
		Steps []Step
	}
	// OnConflict clause.
	OnConflict struct {
		Pos        int
		Update     bool // DO UPDATE; otherwise DO NOTHING
		HasTarget  bool
		Targets    []*IndexElem
		Where      Expr // of the inference clause
		Constraint string
		Set        []*SetClause
		UpdateWhen Expr
	}
	// SetClause is col = expr, or (cols) = source when there are several.
	SetClause struct {
		Pos     int
		Columns []*InsertColumn
		Value   Expr // *Default allowed; for several columns a *Row or a *Sublink
		Multi   bool
	}
	// Update statement.
	Update struct {
		With      *With
		Table     *TableName
		Set       []*SetClause
		From      []TableExpr
		Where     Expr
		Returning []*Target
	}
	// Delete statement.
	Delete struct {
		With      *With
		Table     *TableName
		Using     []TableExpr
		Where     Expr
		Returning []*Target
	}
	// Copy statement. Either Table or Query is set. File is "" for STDIN and STDOUT.
	Copy struct {
		Table   *TableName
		Columns []string
		Query   Statement
		From    bool
		Program bool
		File    string
		Options []Option
		Where   Expr
	}
)
