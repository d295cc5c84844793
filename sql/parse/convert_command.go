package parse

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/pamirdb/pamir/sql/ast"
)

var txnKinds = map[pg.TransactionStmtKind]ast.TxnKind{
	pg.TransactionStmtKind_TRANS_STMT_BEGIN:             ast.Begin,
	pg.TransactionStmtKind_TRANS_STMT_START:             ast.StartTransaction,
	pg.TransactionStmtKind_TRANS_STMT_COMMIT:            ast.Commit,
	pg.TransactionStmtKind_TRANS_STMT_ROLLBACK:          ast.Rollback,
	pg.TransactionStmtKind_TRANS_STMT_SAVEPOINT:         ast.Savepoint,
	pg.TransactionStmtKind_TRANS_STMT_RELEASE:           ast.Release,
	pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO:       ast.RollbackTo,
	pg.TransactionStmtKind_TRANS_STMT_PREPARE:           ast.PrepareTransaction,
	pg.TransactionStmtKind_TRANS_STMT_COMMIT_PREPARED:   ast.CommitPrepared,
	pg.TransactionStmtKind_TRANS_STMT_ROLLBACK_PREPARED: ast.RollbackPrepared,
}

// Bits of DeclareCursorStmt.options.
const (
	cursorBinary      = 0x0001
	cursorScroll      = 0x0002
	cursorNoScroll    = 0x0004
	cursorInsensitive = 0x0008
	cursorHold        = 0x0020
)

// fetchAll is FETCH_ALL, LONG_MAX.
const fetchAll = 1<<63 - 1

// command converts every other statement; what Pamir does not know becomes ast.Unsupported.
func (c *converter) command(n *pg.Node) ast.Statement {
	switch v := n.GetNode().(type) {
	case *pg.Node_TransactionStmt:
		s := v.TransactionStmt
		return &ast.Transaction{Kind: txnKinds[s.Kind], Options: c.options(s.Options), Name: s.SavepointName + s.Gid, Chain: s.Chain, Pos: c.pos(s.Location)}
	case *pg.Node_VariableSetStmt:
		return c.set(v.VariableSetStmt)
	case *pg.Node_VariableShowStmt:
		return &ast.Show{Name: v.VariableShowStmt.Name}
	case *pg.Node_DiscardStmt:
		switch v.DiscardStmt.Target {
		case pg.DiscardMode_DISCARD_PLANS:
			return &ast.Discard{What: "PLANS"}
		case pg.DiscardMode_DISCARD_SEQUENCES:
			return &ast.Discard{What: "SEQUENCES"}
		case pg.DiscardMode_DISCARD_TEMP:
			return &ast.Discard{What: "TEMP"}
		}
		return &ast.Discard{What: "ALL"}
	case *pg.Node_ExplainStmt:
		return &ast.Explain{Query: c.statement(v.ExplainStmt.Query), Options: c.options(v.ExplainStmt.Options)}
	case *pg.Node_VacuumStmt:
		s := v.VacuumStmt
		out := &ast.Vacuum{Analyze: !s.IsVacuumcmd, Options: c.options(s.Options)}
		for _, r := range s.Rels {
			vr := r.GetVacuumRelation()
			out.Tables = append(out.Tables, ast.VacuumTable{Table: c.tableName(vr.Relation), Columns: strs(vr.VaCols)})
		}
		return out
	case *pg.Node_CopyStmt:
		return c.copyStmt(v.CopyStmt)
	case *pg.Node_PrepareStmt:
		s := v.PrepareStmt
		out := &ast.Prepare{Name: s.Name, Query: c.statement(s.Query), Text: c.sqlOfStatement(s.Query)}
		for _, t := range s.Argtypes {
			out.Types = append(out.Types, c.typeName(t.GetTypeName()))
		}
		return out
	case *pg.Node_ExecuteStmt:
		return &ast.Execute{Name: v.ExecuteStmt.Name, Args: c.exprs(v.ExecuteStmt.Params)}
	case *pg.Node_DeallocateStmt:
		return &ast.Deallocate{Name: v.DeallocateStmt.Name}
	case *pg.Node_DeclareCursorStmt:
		s := v.DeclareCursorStmt
		out := &ast.DeclareCursor{Name: s.Portalname, Query: c.statement(s.Query), Text: c.sqlOfStatement(s.Query),
			Binary: s.Options&cursorBinary != 0, Hold: s.Options&cursorHold != 0, Insensitive: s.Options&cursorInsensitive != 0}
		switch {
		case s.Options&cursorScroll != 0 && s.Options&cursorNoScroll != 0:
			out.Scroll = 'b'
		case s.Options&cursorScroll != 0:
			out.Scroll = 's'
		case s.Options&cursorNoScroll != 0:
			out.Scroll = 'n'
		}
		return out
	case *pg.Node_FetchStmt:
		return c.fetch(v.FetchStmt)
	case *pg.Node_ClosePortalStmt:
		return &ast.ClosePortal{Name: v.ClosePortalStmt.Portalname}
	case *pg.Node_LockStmt:
		s := v.LockStmt
		return &ast.Lock{Tables: c.tableNames(s.Relations), Mode: int(s.Mode), NoWait: s.Nowait}
	case *pg.Node_ConstraintsSetStmt:
		s := v.ConstraintsSetStmt
		out := &ast.SetConstraints{Deferred: s.Deferred}
		for _, r := range s.Constraints {
			out.Names = append(out.Names, rangeVarNames(r.GetRangeVar()))
		}
		return out
	case *pg.Node_ListenStmt:
		return &ast.Listen{Name: v.ListenStmt.Conditionname}
	case *pg.Node_UnlistenStmt:
		return &ast.Unlisten{Name: v.UnlistenStmt.Conditionname}
	case *pg.Node_NotifyStmt:
		return &ast.Notify{Name: v.NotifyStmt.Conditionname, Payload: v.NotifyStmt.Payload}
	case *pg.Node_CheckPointStmt:
		return &ast.Checkpoint{}
	case *pg.Node_CreatedbStmt:
		return &ast.CreateDatabase{Name: v.CreatedbStmt.Dbname, Options: c.options(v.CreatedbStmt.Options)}
	case *pg.Node_DropdbStmt:
		return &ast.DropDatabase{Name: v.DropdbStmt.Dbname, IfExists: v.DropdbStmt.MissingOk, Options: c.options(v.DropdbStmt.Options)}
	case *pg.Node_CreateExtensionStmt:
		s := v.CreateExtensionStmt
		return &ast.CreateExtension{Name: s.Extname, IfNotExists: s.IfNotExists, Options: c.options(s.Options)}
	case *pg.Node_ReindexStmt:
		return c.reindex(v.ReindexStmt)
	}
	if s := c.roleCommand(n); s != nil {
		return s
	}
	return &ast.Unsupported{Name: constructName(n)}
}

func (c *converter) roleCommand(n *pg.Node) ast.Statement {
	switch v := n.GetNode().(type) {
	case *pg.Node_CreateRoleStmt:
		s := v.CreateRoleStmt
		kind := "ROLE"
		switch s.StmtType {
		case pg.RoleStmtType_ROLESTMT_USER:
			kind = "USER"
		case pg.RoleStmtType_ROLESTMT_GROUP:
			kind = "GROUP"
		}
		return &ast.CreateRole{Kind: kind, Name: s.Role, Options: c.options(s.Options)}
	case *pg.Node_AlterRoleStmt:
		s := v.AlterRoleStmt
		return &ast.AlterRole{Role: *c.role(s.Role), Options: c.options(s.Options), Add: int(s.Action)}
	case *pg.Node_AlterRoleSetStmt:
		s := v.AlterRoleSetStmt
		return &ast.AlterRoleSet{Role: c.role(s.Role), Database: s.Database, Set: c.set(s.Setstmt)}
	case *pg.Node_AlterDatabaseSetStmt:
		s := v.AlterDatabaseSetStmt
		return &ast.AlterRoleSet{Database: s.Dbname, Set: c.set(s.Setstmt)}
	case *pg.Node_DropRoleStmt:
		return &ast.DropRole{Roles: c.roles(v.DropRoleStmt.Roles), IfExists: v.DropRoleStmt.MissingOk}
	case *pg.Node_GrantStmt:
		return c.grant(v.GrantStmt)
	case *pg.Node_AlterDefaultPrivilegesStmt:
		return c.alterDefault(v.AlterDefaultPrivilegesStmt)
	case *pg.Node_ReassignOwnedStmt:
		return &ast.ReassignOwned{Roles: c.roles(v.ReassignOwnedStmt.Roles), To: *c.role(v.ReassignOwnedStmt.Newrole)}
	case *pg.Node_DropOwnedStmt:
		return &ast.DropOwned{Roles: c.roles(v.DropOwnedStmt.Roles), Cascade: c.behavior(v.DropOwnedStmt.Behavior)}
	case *pg.Node_AlterSystemStmt:
		return &ast.AlterSystem{Set: c.set(v.AlterSystemStmt.Setstmt)}
	case *pg.Node_GrantRoleStmt:
		s := v.GrantRoleStmt
		c.deny(s.Grantor != nil, s.Grantor.GetLocation(), "GRANTED BY")
		return &ast.GrantRole{Revoke: !s.IsGrant, Granted: c.privileges(s.GrantedRoles), Grantees: c.roles(s.GranteeRoles),
			Options: c.options(s.Opt), Cascade: c.behavior(s.Behavior)}
	}
	return nil
}

func (c *converter) set(s *pg.VariableSetStmt) *ast.Set {
	out := &ast.Set{Name: s.Name, Local: s.IsLocal}
	switch s.Kind {
	case pg.VariableSetKind_VAR_SET_DEFAULT:
		out.Kind = ast.SetToDefault
	case pg.VariableSetKind_VAR_SET_CURRENT:
		out.Kind = ast.SetFromCurrent
	case pg.VariableSetKind_VAR_SET_MULTI:
		out.Kind = ast.SetMulti
	case pg.VariableSetKind_VAR_RESET:
		out.Kind = ast.ResetOne
	case pg.VariableSetKind_VAR_RESET_ALL:
		out.Kind = ast.ResetAll
	}
	if out.Kind == ast.SetMulti && s.Name != "TRANSACTION SNAPSHOT" {
		out.Options = c.options(s.Args)
	} else {
		out.Args = c.exprs(s.Args)
	}
	return out
}

func (c *converter) copyStmt(s *pg.CopyStmt) ast.Statement {
	out := &ast.Copy{Table: c.tableName(s.Relation), Columns: strs(s.Attlist), From: s.IsFrom, Program: s.IsProgram,
		File: s.Filename, Options: c.options(s.Options), Where: c.exprOrNil(s.WhereClause)}
	if s.Query != nil {
		if out.Query = c.query(s.Query); out.Query == nil {
			c.refuse(-1, "COPY ("+constructName(s.Query)+")")
		}
	}
	return out
}

func (c *converter) fetch(s *pg.FetchStmt) ast.Statement {
	out := &ast.Fetch{Cursor: s.Portalname, Count: s.HowMany, All: s.HowMany == fetchAll, Move: s.Ismove, Direction: 'f'}
	switch s.Direction {
	case pg.FetchDirection_FETCH_BACKWARD:
		out.Direction = 'b'
	case pg.FetchDirection_FETCH_ABSOLUTE:
		out.Direction = 'a'
	case pg.FetchDirection_FETCH_RELATIVE:
		out.Direction = 'r'
	}
	return out
}

func (c *converter) reindex(s *pg.ReindexStmt) ast.Statement {
	out := &ast.Reindex{Table: c.tableName(s.Relation), Name: s.Name, Options: c.options(s.Params)}
	switch s.Kind {
	case pg.ReindexObjectType_REINDEX_OBJECT_INDEX:
		out.Kind = "INDEX"
	case pg.ReindexObjectType_REINDEX_OBJECT_TABLE:
		out.Kind = "TABLE"
	case pg.ReindexObjectType_REINDEX_OBJECT_SCHEMA:
		out.Kind = "SCHEMA"
	case pg.ReindexObjectType_REINDEX_OBJECT_SYSTEM:
		out.Kind = "SYSTEM"
	default:
		out.Kind = "DATABASE"
	}
	return out
}

func rangeVarNames(r *pg.RangeVar) []string {
	var out []string
	for _, s := range []string{r.GetCatalogname(), r.GetSchemaname(), r.GetRelname()} {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

func (c *converter) privileges(ns []*pg.Node) []ast.Privilege {
	var out []ast.Privilege
	for _, n := range ns {
		p := n.GetAccessPriv()
		out = append(out, ast.Privilege{Name: p.PrivName, Columns: strs(p.Cols)})
	}
	return out
}

func (c *converter) alterDefault(s *pg.AlterDefaultPrivilegesStmt) ast.Statement {
	out := &ast.AlterDefault{}
	for _, n := range s.Options {
		d := n.GetDefElem()
		for _, it := range d.GetArg().GetList().GetItems() {
			switch v := it.Node.(type) {
			case *pg.Node_RoleSpec:
				out.Roles = append(out.Roles, *c.role(v.RoleSpec))
			case *pg.Node_String_:
				out.Schemas = append(out.Schemas, v.String_.Sval)
			default:
				c.refuse(d.Location, "ALTER DEFAULT PRIVILEGES of this form")
			}
		}
	}
	g, ok := c.grant(s.Action).(*ast.Grant)
	if !ok {
		return &ast.Unsupported{Name: out.Tag()}
	}
	out.Grant = g
	return out
}

func (c *converter) grant(s *pg.GrantStmt) ast.Statement {
	c.deny(s.Grantor != nil, s.Grantor.GetLocation(), "GRANTED BY")
	out := &ast.Grant{Revoke: !s.IsGrant, Kind: objectName(s.Objtype), Privileges: c.privileges(s.Privileges), Grantees: c.roles(s.Grantees),
		GrantOption: s.GrantOption, Cascade: c.behavior(s.Behavior)}
	switch s.Targtype {
	case pg.GrantTargetType_ACL_TARGET_ALL_IN_SCHEMA:
		out.AllIn = true
	}
	for _, o := range s.Objects {
		switch v := o.Node.(type) {
		case *pg.Node_RangeVar:
			out.Objects = append(out.Objects, rangeVarNames(v.RangeVar))
		case *pg.Node_String_:
			out.Objects = append(out.Objects, []string{v.String_.Sval})
		default:
			return &ast.Unsupported{Name: out.Tag() + " ON " + out.Kind}
		}
	}
	return out
}
