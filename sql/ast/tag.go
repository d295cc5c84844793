package ast

func (*Select) Tag() string          { return "SELECT" }
func (*Insert) Tag() string          { return "INSERT" }
func (*Update) Tag() string          { return "UPDATE" }
func (*Delete) Tag() string          { return "DELETE" }
func (*Copy) Tag() string            { return "COPY" }
func (*CreateTable) Tag() string     { return "CREATE TABLE" }
func (*Truncate) Tag() string        { return "TRUNCATE TABLE" }
func (*CreateIndex) Tag() string     { return "CREATE INDEX" }
func (s *AlterTable) Tag() string    { return "ALTER " + s.Kind }
func (s *Drop) Tag() string          { return "DROP " + s.Kind }
func (*CreateSchema) Tag() string    { return "CREATE SCHEMA" }
func (*CreateView) Tag() string      { return "CREATE VIEW" }
func (*CreateSequence) Tag() string  { return "CREATE SEQUENCE" }
func (*AlterSequence) Tag() string   { return "ALTER SEQUENCE" }
func (*Comment) Tag() string         { return "COMMENT" }
func (*Show) Tag() string            { return "SHOW" }
func (s *Discard) Tag() string       { return "DISCARD " + s.What }
func (*Explain) Tag() string         { return "EXPLAIN" }
func (*Prepare) Tag() string         { return "PREPARE" }
func (*Execute) Tag() string         { return "EXECUTE" }
func (*DeclareCursor) Tag() string   { return "DECLARE CURSOR" }
func (*Lock) Tag() string            { return "LOCK TABLE" }
func (*SetConstraints) Tag() string  { return "SET CONSTRAINTS" }
func (*Listen) Tag() string          { return "LISTEN" }
func (*Unlisten) Tag() string        { return "UNLISTEN" }
func (*Notify) Tag() string          { return "NOTIFY" }
func (*Checkpoint) Tag() string      { return "CHECKPOINT" }
func (*CreateRole) Tag() string      { return "CREATE ROLE" }
func (*AlterRole) Tag() string       { return "ALTER ROLE" }
func (*DropRole) Tag() string        { return "DROP ROLE" }
func (*CreateDatabase) Tag() string  { return "CREATE DATABASE" }
func (*DropDatabase) Tag() string    { return "DROP DATABASE" }
func (*CreateExtension) Tag() string { return "CREATE EXTENSION" }
func (*Reindex) Tag() string         { return "REINDEX" }
func (s *AlterOwner) Tag() string    { return "ALTER " + s.Kind }
func (s *AlterSchema) Tag() string   { return "ALTER " + s.Kind }
func (s *Unsupported) Tag() string   { return s.Name }

func (s *CreateTableAs) Tag() string {
	switch {
	case s.SelectInto:
		return "SELECT INTO"
	case s.Materialized:
		return "CREATE MATERIALIZED VIEW"
	}
	return "CREATE TABLE AS"
}

func (s *Rename) Tag() string {
	if s.Kind == "COLUMN" || s.Kind == "CONSTRAINT" {
		return "ALTER " + s.RelationKind
	}
	return "ALTER " + s.Kind
}

func (s *Transaction) Tag() string {
	switch s.Kind {
	case Begin:
		return "BEGIN"
	case StartTransaction:
		return "START TRANSACTION"
	case Commit:
		return "COMMIT"
	case Savepoint:
		return "SAVEPOINT"
	case Release:
		return "RELEASE"
	case PrepareTransaction:
		return "PREPARE TRANSACTION"
	case CommitPrepared:
		return "COMMIT PREPARED"
	case RollbackPrepared:
		return "ROLLBACK PREPARED"
	}
	return "ROLLBACK"
}

func (s *Set) Tag() string {
	if s.Kind == ResetOne || s.Kind == ResetAll {
		return "RESET"
	}
	return "SET"
}

func (s *Vacuum) Tag() string {
	if s.Analyze {
		return "ANALYZE"
	}
	return "VACUUM"
}

func (s *Deallocate) Tag() string {
	if s.Name == "" {
		return "DEALLOCATE ALL"
	}
	return "DEALLOCATE"
}

func (s *Fetch) Tag() string {
	if s.Move {
		return "MOVE"
	}
	return "FETCH"
}

func (s *ClosePortal) Tag() string {
	if s.Name == "" {
		return "CLOSE CURSOR ALL"
	}
	return "CLOSE CURSOR"
}

func (s *AlterRoleSet) Tag() string {
	if s.Role == nil && s.Database != "" {
		return "ALTER DATABASE"
	}
	return "ALTER ROLE"
}

func (s *Grant) Tag() string {
	if s.Revoke {
		return "REVOKE"
	}
	return "GRANT"
}

func (s *GrantRole) Tag() string {
	if s.Revoke {
		return "REVOKE ROLE"
	}
	return "GRANT ROLE"
}
