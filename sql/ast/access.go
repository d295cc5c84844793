package ast

// Statements about who may do what that have no place elsewhere.
type (
	// AlterDefault is ALTER DEFAULT PRIVILEGES. No Roles means the current one; no Schemas means everywhere.
	AlterDefault struct {
		Roles   []Role
		Schemas []string
		// Grant has a Kind and no Objects.
		Grant *Grant
	}
	// ReassignOwned statement.
	ReassignOwned struct {
		Roles []Role
		To    Role
	}
	// DropOwned statement.
	DropOwned struct {
		Roles   []Role
		Cascade bool
	}
	// AlterSystem is ALTER SYSTEM SET and RESET.
	AlterSystem struct{ Set *Set }
)

func (*AlterDefault) Tag() string  { return "ALTER DEFAULT PRIVILEGES" }
func (*ReassignOwned) Tag() string { return "REASSIGN OWNED" }
func (*DropOwned) Tag() string     { return "DROP OWNED" }
func (*AlterSystem) Tag() string   { return "ALTER SYSTEM" }
