package ast

// Option is name [= value] in its many places: WITH (...), COPY, EXPLAIN, roles, sequences.
type Option struct {
	Pos       int
	Namespace string
	Name      string
	// HasValue tells name from name = value. Text is the value as text (numbers and booleans too),
	// List the elements of a list value, Expr the value if it is a constant.
	HasValue bool
	Text     string
	List     []string
	Expr     Expr
	// Action of ALTER ... OPTIONS: 0, 's', 'a', 'd'.
	Action byte
}

// ConstraintKind of a Constraint.
type ConstraintKind uint8

const (
	NullConstraint ConstraintKind = iota
	NotNullConstraint
	DefaultConstraint
	IdentityConstraint
	GeneratedConstraint
	CheckConstraint
	PrimaryConstraint
	UniqueConstraint
	ForeignConstraint
	ExclusionConstraint
)

// Constraint of a column or table.
type Constraint struct {
	Pos  int
	Kind ConstraintKind
	Name string
	// Expr and its text, for DEFAULT, CHECK and GENERATED.
	Expr     Expr
	ExprText string
	// Keys and Include of PRIMARY KEY and UNIQUE.
	Keys, Include    []string
	NullsNotDistinct bool
	// UsingIndex names an existing index (ALTER TABLE ... ADD ... USING INDEX).
	UsingIndex string
	Options    []Option // index parameters, or the sequence options of IDENTITY
	// Identity is 'a' (ALWAYS) or 'd' (BY DEFAULT).
	Identity byte
	// Foreign keys: match is 's' simple, 'f' full, 'p' partial; actions are 'a' no action, 'r' restrict,
	// 'c' cascade, 'n' set null, 'd' set default.
	RefTable               *TableName
	Columns, RefColumns    []string
	Match, OnUpdate, OnDel byte
	OnDelColumns           []string
	Deferrable, Deferred   bool
	NotValid, NoInherit    bool
	TableSpace             string
}

// ColumnDef is a column in CREATE TABLE, ADD COLUMN or a column definition list.
type ColumnDef struct {
	Pos         int
	Name        string
	Type        *TypeName // nil in typed tables and CREATE TABLE AS
	Constraints []*Constraint
	Collation   []string
	Compression string
	Storage     string
}

// TableLike is LIKE table in CREATE TABLE.
type TableLike struct {
	Table   *TableName
	Options uint32 // PostgreSQL's bits
}

// IndexElem is a column or expression of an index.
type IndexElem struct {
	Pos       int
	Name      string
	Expr      Expr
	ExprText  string
	Collation []string
	Opclass   []string
	Desc      bool
	Nulls     byte // 0, 'f', 'l'
}

type (
	// CreateTable statement.
	CreateTable struct {
		Table       *TableName
		IfNotExists bool
		Columns     []*ColumnDef
		Constraints []*Constraint
		Likes       []*TableLike
		Options     []Option
		OnCommit    byte // 0, 'p', 'd', 'x'
		TableSpace  string
		Method      string
	}
	// CreateTableAs is CREATE TABLE AS and SELECT INTO. Query is *Select or *Execute.
	CreateTableAs struct {
		Into        *Into
		Query       Statement
		IfNotExists bool
		SelectInto  bool
		// Materialized view instead of a table.
		Materialized bool
	}
	// Drop statement: Kind is "TABLE", "INDEX", "SCHEMA", "VIEW", "SEQUENCE", "MATERIALIZED VIEW", "TYPE" and so on.
	Drop struct {
		Kind         string
		Names        [][]string
		IfExists     bool
		Cascade      bool
		Concurrently bool
	}
	// Truncate statement.
	Truncate struct {
		Tables      []*TableName
		RestartSeqs bool
		Cascade     bool
	}
	// CreateIndex statement.
	CreateIndex struct {
		Name             string
		Table            *TableName
		Unique           bool
		NullsNotDistinct bool
		Concurrently     bool
		IfNotExists      bool
		Method           string
		Elems            []*IndexElem
		Include          []*IndexElem
		Options          []Option
		Where            Expr
		WhereText        string
		TableSpace       string
	}
	// AlterTable statement. Kind is "TABLE", "INDEX", "SEQUENCE", "VIEW".
	AlterTable struct {
		Kind     string
		Table    *TableName
		IfExists bool
		Cmds     []*AlterCmd
	}
	// Rename is ALTER ... RENAME [kind] [old] TO New. Kind is "TABLE", "COLUMN", "INDEX", "SCHEMA", "VIEW",
	// "SEQUENCE", "CONSTRAINT", "ROLE", "DATABASE".
	Rename struct {
		Kind     string
		Relation *TableName // nil for schemas, roles, databases
		// RelationKind says what the statement called Relation: "TABLE", "VIEW", "INDEX", ...
		RelationKind string
		Old, New     string
		IfExists     bool
		Cascade      bool
	}
	// AlterSchema is ALTER ... SET SCHEMA.
	AlterSchema struct {
		Kind     string
		Relation *TableName
		Schema   string
		IfExists bool
	}
	// AlterOwner is ALTER ... OWNER TO for what is not a table (SCHEMA, DATABASE, ...).
	AlterOwner struct {
		Kind  string
		Name  []string
		Owner Role
	}
	// CreateSchema statement.
	CreateSchema struct {
		Name        string
		IfNotExists bool
		Owner       *Role
		Elements    []Statement
	}
	// CreateView statement. Text is the query as SQL.
	CreateView struct {
		View      *TableName
		Columns   []string
		Query     *Select
		Text      string
		OrReplace bool
		Options   []Option
		Check     byte // 0, 'l' local, 'c' cascaded
	}
	// CreateSequence statement.
	CreateSequence struct {
		Name        *TableName
		IfNotExists bool
		Options     []Option
	}
	// AlterSequence statement.
	AlterSequence struct {
		Name     *TableName
		IfExists bool
		Options  []Option
	}
	// Comment is COMMENT ON. Args of a function are not kept: Kind and Name are.
	Comment struct {
		Kind string
		Name []string
		Text string
		Null bool
	}
)

// AlterKind of an AlterCmd.
type AlterKind uint8

const (
	AddColumn AlterKind = iota
	DropColumn
	SetDefault // Expr nil: DROP DEFAULT
	SetNotNull
	DropNotNull
	AlterType
	AddConstraint
	DropConstraint
	ValidateConstraint
	AlterConstraint
	SetOptions
	ResetOptions
	ChangeOwner
	AddIdentity
	SetIdentity
	DropIdentity
	SetStatistics
	SetColumnOptions
	SetStorage
	ReplicaIdentity
	SetTableSpace
	ClusterOn
)

// AlterCmd is one action of ALTER TABLE.
type AlterCmd struct {
	Kind       AlterKind
	Name       string // column or constraint
	IfExists   bool   // IF EXISTS, or IF NOT EXISTS for AddColumn
	Cascade    bool
	Column     *ColumnDef
	Constraint *Constraint
	Expr       Expr // SET DEFAULT, or USING of ALTER TYPE
	ExprText   string
	Type       *TypeName
	Collation  []string
	Options    []Option
	Owner      *Role
	Text       string // SET STORAGE, tablespace, replica identity ('d', 'n', 'f', 'i'+name)
	Number     int32  // column number of ALTER INDEX ... SET STATISTICS
}
