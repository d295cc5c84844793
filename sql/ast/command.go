package ast

// Statement is any statement.
type Statement interface {
	// Tag is PostgreSQL's name of the command, as in command tags and error messages.
	Tag() string
}

// Stmt is one statement of a parsed text.
type Stmt struct {
	Statement Statement
	// Text is the statement's own text without surrounding blanks and semicolon; Start is its byte offset.
	Text  string
	Start int
	// Params is the highest parameter number in it.
	Params int
}

// Role names a role. Special is "", "public", "current_user", "current_role", "session_user".
type Role struct {
	Pos     int
	Name    string
	Special string
}

// TxnKind of a Transaction statement.
type TxnKind uint8

const (
	Begin TxnKind = iota
	StartTransaction
	Commit
	Rollback
	Savepoint
	Release
	RollbackTo
	PrepareTransaction
	CommitPrepared
	RollbackPrepared
)

type (
	// Transaction is BEGIN, COMMIT and the rest. Options are "transaction_isolation" (Text "serializable" ...),
	// "transaction_read_only" and "transaction_deferrable" (Text "true", "false").
	Transaction struct {
		Kind    TxnKind
		Options []Option
		Name    string // savepoint, or global id
		Chain   bool
		Pos     int
	}
	// Set is SET, RESET, and SET TRANSACTION (Name "TRANSACTION", "SESSION CHARACTERISTICS" or "TRANSACTION SNAPSHOT").
	Set struct {
		Kind    SetKind
		Name    string
		Args    []Expr // Literals; SET TIME ZONE INTERVAL '1' is a Cast
		Options []Option
		Local   bool
	}
	// Show is SHOW name; Name is "all" for SHOW ALL.
	Show struct{ Name string }
	// Discard is DISCARD ALL, PLANS, SEQUENCES, TEMP; What is in upper case.
	Discard struct{ What string }
	// Explain statement.
	Explain struct {
		Query   Statement
		Options []Option
	}
	// Vacuum is VACUUM or ANALYZE.
	Vacuum struct {
		Analyze bool // the command is ANALYZE
		Options []Option
		Tables  []VacuumTable
	}
	// VacuumTable is a table of VACUUM, with columns.
	VacuumTable struct {
		Table   *TableName
		Columns []string
	}
	// Prepare is SQL's PREPARE. Text is the query's own text.
	Prepare struct {
		Name  string
		Types []*TypeName
		Query Statement
		Text  string
	}
	// Execute is SQL's EXECUTE.
	Execute struct {
		Name string
		Args []Expr
	}
	// Deallocate; Name is "" for ALL.
	Deallocate struct{ Name string }
	// DeclareCursor is DECLARE. Scroll is 0, 's' SCROLL, 'n' NO SCROLL, 'b' both, which is an error.
	DeclareCursor struct {
		Name        string
		Query       Statement
		Text        string
		Binary      bool
		Scroll      byte
		Hold        bool
		Insensitive bool
	}
	// Fetch is FETCH and MOVE. Direction is 'f', 'b', 'a' absolute, 'r' relative; All instead of a Count.
	Fetch struct {
		Cursor    string
		Direction byte
		Count     int64
		All       bool
		Move      bool
	}
	// ClosePortal is CLOSE; Name is "" for ALL.
	ClosePortal struct{ Name string }
	// Lock is LOCK TABLE; Mode is 1 (ACCESS SHARE) to 8 (ACCESS EXCLUSIVE).
	Lock struct {
		Tables []*TableName
		Mode   int
		NoWait bool
	}
	// SetConstraints is SET CONSTRAINTS; no Names means ALL.
	SetConstraints struct {
		Names    [][]string
		Deferred bool
	}
	// Listen, Unlisten (Name "" is *), Notify.
	Listen   struct{ Name string }
	Unlisten struct{ Name string }
	Notify   struct{ Name, Payload string }
	// Checkpoint is CHECKPOINT.
	Checkpoint struct{}
	// CreateRole is CREATE ROLE, USER, GROUP; Kind is that word.
	CreateRole struct {
		Kind    string
		Name    string
		Options []Option
	}
	// AlterRole is ALTER ROLE; Add is +1 or -1 for ALTER GROUP ADD/DROP USER.
	AlterRole struct {
		Role    Role
		Options []Option
		Add     int
	}
	// AlterRoleSet is ALTER ROLE ... SET, ALTER DATABASE ... SET. Role nil means ALL.
	AlterRoleSet struct {
		Role     *Role
		Database string
		Set      *Set
	}
	// DropRole statement.
	DropRole struct {
		Roles    []Role
		IfExists bool
	}
	// Grant is GRANT and REVOKE on objects. No Privileges means ALL.
	Grant struct {
		Revoke      bool
		AllIn       bool // ALL ... IN SCHEMA; Objects are the schemas
		Kind        string
		Objects     [][]string
		Privileges  []Privilege
		Grantees    []Role
		GrantOption bool
		Cascade     bool
	}
	// Privilege with columns.
	Privilege struct {
		Name    string
		Columns []string
	}
	// GrantRole is GRANT role TO role.
	GrantRole struct {
		Revoke   bool
		Granted  []Privilege
		Grantees []Role
		Options  []Option
		Cascade  bool
	}
	// CreateDatabase and DropDatabase.
	CreateDatabase struct {
		Name    string
		Options []Option
	}
	DropDatabase struct {
		Name     string
		IfExists bool
		Options  []Option
	}
	// CreateExtension is CREATE EXTENSION.
	CreateExtension struct {
		Name        string
		IfNotExists bool
		Options     []Option
	}
	// Reindex is REINDEX; Kind is "INDEX", "TABLE", "SCHEMA", "SYSTEM", "DATABASE".
	Reindex struct {
		Kind    string
		Table   *TableName
		Name    string
		Options []Option
	}
	// Unsupported is a statement that Pamir does not know; Name is its tag. Running it is 0A000.
	Unsupported struct{ Name string }
)

// SetKind of a Set.
type SetKind uint8

const (
	SetValue SetKind = iota
	SetToDefault
	SetFromCurrent
	SetMulti // TRANSACTION and SESSION CHARACTERISTICS
	ResetOne
	ResetAll
)
