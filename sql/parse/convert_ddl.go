package parse

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/pamirdb/pamir/sql/ast"
)

// definition converts the DDL statements; nil for anything else.
func (c *converter) definition(n *pg.Node) ast.Statement {
	switch v := n.GetNode().(type) {
	case *pg.Node_CreateStmt:
		return c.createTable(v.CreateStmt)
	case *pg.Node_CreateTableAsStmt:
		return c.createTableAs(v.CreateTableAsStmt)
	case *pg.Node_DropStmt:
		return c.drop(v.DropStmt)
	case *pg.Node_TruncateStmt:
		s := v.TruncateStmt
		return &ast.Truncate{Tables: c.tableNames(s.Relations), RestartSeqs: s.RestartSeqs, Cascade: c.behavior(s.Behavior)}
	case *pg.Node_IndexStmt:
		return c.createIndex(v.IndexStmt)
	case *pg.Node_AlterTableStmt:
		return c.alterTable(v.AlterTableStmt)
	case *pg.Node_RenameStmt:
		return c.rename(v.RenameStmt)
	case *pg.Node_AlterObjectSchemaStmt:
		s := v.AlterObjectSchemaStmt
		if s.Relation == nil || s.Object != nil {
			return &ast.Unsupported{Name: "ALTER " + objectName(s.ObjectType) + " SET SCHEMA"}
		}
		return &ast.AlterSchema{Kind: objectName(s.ObjectType), Relation: c.tableName(s.Relation), Schema: s.Newschema, IfExists: s.MissingOk}
	case *pg.Node_AlterOwnerStmt:
		s := v.AlterOwnerStmt
		if s.Relation != nil || s.Object.GetString_() == nil {
			return &ast.Unsupported{Name: "ALTER " + objectName(s.ObjectType) + " OWNER"}
		}
		return &ast.AlterOwner{Kind: objectName(s.ObjectType), Name: []string{str(s.Object)}, Owner: *c.role(s.Newowner)}
	case *pg.Node_CreateSchemaStmt:
		s := v.CreateSchemaStmt
		out := &ast.CreateSchema{Name: s.Schemaname, IfNotExists: s.IfNotExists, Owner: c.role(s.Authrole)}
		for _, e := range s.SchemaElts {
			out.Elements = append(out.Elements, c.statement(e))
		}
		return out
	case *pg.Node_ViewStmt:
		return c.createView(v.ViewStmt)
	case *pg.Node_CreateSeqStmt:
		s := v.CreateSeqStmt
		return &ast.CreateSequence{Name: c.tableName(s.Sequence), IfNotExists: s.IfNotExists, Options: c.options(s.Options)}
	case *pg.Node_AlterSeqStmt:
		s := v.AlterSeqStmt
		return &ast.AlterSequence{Name: c.tableName(s.Sequence), IfExists: s.MissingOk, Options: c.options(s.Options)}
	case *pg.Node_CommentStmt:
		return c.comment(v.CommentStmt)
	}
	return nil
}

func (c *converter) tableNames(ns []*pg.Node) []*ast.TableName {
	var out []*ast.TableName
	for _, n := range ns {
		out = append(out, c.tableName(n.GetRangeVar()))
	}
	return out
}

func (c *converter) createTable(s *pg.CreateStmt) ast.Statement {
	loc := s.Relation.GetLocation()
	c.deny(len(s.InhRelations) > 0 && s.Partbound == nil, loc, "table inheritance")
	c.deny(s.Partbound != nil, loc, "PARTITION OF")
	c.deny(s.Partspec != nil, s.Partspec.GetLocation(), "PARTITION BY")
	c.deny(s.OfTypename != nil, loc, "CREATE TABLE OF a type")
	out := &ast.CreateTable{Table: c.tableName(s.Relation), IfNotExists: s.IfNotExists, Options: c.options(s.Options),
		OnCommit: onCommit(s.Oncommit), TableSpace: s.Tablespacename, Method: s.AccessMethod}
	for _, e := range s.TableElts {
		switch v := e.Node.(type) {
		case *pg.Node_ColumnDef:
			out.Columns = append(out.Columns, c.columnDef(v.ColumnDef))
		case *pg.Node_Constraint:
			out.Constraints = c.addConstraint(out.Constraints, v.Constraint)
		case *pg.Node_TableLikeClause:
			out.Likes = append(out.Likes, &ast.TableLike{Table: c.tableName(v.TableLikeClause.Relation), Options: v.TableLikeClause.Options})
		default:
			c.refuse(loc, nodeName(e)+" in CREATE TABLE")
		}
	}
	for _, n := range s.Constraints {
		out.Constraints = c.addConstraint(out.Constraints, n.GetConstraint())
	}
	return out
}

func (c *converter) columnDefs(ns []*pg.Node) []*ast.ColumnDef {
	var out []*ast.ColumnDef
	for _, n := range ns {
		out = append(out, c.columnDef(n.GetColumnDef()))
	}
	return out
}

func (c *converter) columnDef(d *pg.ColumnDef) *ast.ColumnDef {
	c.deny(len(d.Fdwoptions) > 0, d.Location, "OPTIONS of a column")
	out := &ast.ColumnDef{Pos: c.pos(d.Location), Name: d.Colname, Type: c.typeName(d.TypeName), Compression: d.Compression, Storage: d.StorageName}
	if d.CollClause != nil {
		c.deny(d.CollClause.Arg != nil, d.Location, "COLLATE of this form")
		out.Collation = c.names(d.CollClause.Collname)
	}
	for _, n := range d.Constraints {
		out.Constraints = c.addConstraint(out.Constraints, n.GetConstraint())
	}
	if d.IsNotNull {
		out.Constraints = append(out.Constraints, &ast.Constraint{Pos: out.Pos, Kind: ast.NotNullConstraint})
	}
	if d.RawDefault != nil {
		out.Constraints = append(out.Constraints, &ast.Constraint{Pos: out.Pos, Kind: ast.DefaultConstraint,
			Expr: c.expr(d.RawDefault), ExprText: c.sqlOf(d.RawDefault)})
	}
	return out
}

// addConstraint appends k to list, or, if k is an attribute such as DEFERRABLE that the grammar
// gives as a node of its own, changes the constraint before it.
func (c *converter) addConstraint(list []*ast.Constraint, k *pg.Constraint) []*ast.Constraint {
	if k.Contype >= pg.ConstrType_CONSTR_ATTR_DEFERRABLE && len(list) == 0 {
		c.fail(k.Location, "42601", "misplaced DEFERRABLE clause")
	}
	switch k.Contype {
	case pg.ConstrType_CONSTR_ATTR_DEFERRABLE:
		list[len(list)-1].Deferrable = true
		return list
	case pg.ConstrType_CONSTR_ATTR_NOT_DEFERRABLE:
		list[len(list)-1].Deferrable = false
		return list
	case pg.ConstrType_CONSTR_ATTR_DEFERRED:
		list[len(list)-1].Deferrable, list[len(list)-1].Deferred = true, true
		return list
	case pg.ConstrType_CONSTR_ATTR_IMMEDIATE:
		list[len(list)-1].Deferred = false
		return list
	}
	return append(list, c.constraint(k))
}

func (c *converter) constraint(k *pg.Constraint) *ast.Constraint {
	out := &ast.Constraint{Pos: c.pos(k.Location), Name: k.Conname, Deferrable: k.Deferrable, Deferred: k.Initdeferred,
		NotValid: k.SkipValidation, NoInherit: k.IsNoInherit, Keys: strs(k.Keys), Include: strs(k.Including),
		NullsNotDistinct: k.NullsNotDistinct, UsingIndex: k.Indexname, TableSpace: k.Indexspace,
		Options: c.options(k.Options), RefTable: c.tableName(k.Pktable), Columns: strs(k.FkAttrs), RefColumns: strs(k.PkAttrs),
		Match: first(k.FkMatchtype), OnUpdate: first(k.FkUpdAction), OnDel: first(k.FkDelAction), OnDelColumns: strs(k.FkDelSetCols)}
	switch k.Contype {
	case pg.ConstrType_CONSTR_NULL:
		out.Kind = ast.NullConstraint
	case pg.ConstrType_CONSTR_NOTNULL:
		out.Kind = ast.NotNullConstraint
	case pg.ConstrType_CONSTR_DEFAULT:
		out.Kind = ast.DefaultConstraint
	case pg.ConstrType_CONSTR_IDENTITY:
		out.Kind, out.Identity = ast.IdentityConstraint, first(k.GeneratedWhen)
	case pg.ConstrType_CONSTR_GENERATED:
		out.Kind, out.Identity = ast.GeneratedConstraint, first(k.GeneratedWhen)
	case pg.ConstrType_CONSTR_CHECK:
		out.Kind = ast.CheckConstraint
	case pg.ConstrType_CONSTR_PRIMARY:
		out.Kind = ast.PrimaryConstraint
	case pg.ConstrType_CONSTR_UNIQUE:
		out.Kind = ast.UniqueConstraint
	case pg.ConstrType_CONSTR_FOREIGN:
		out.Kind = ast.ForeignConstraint
	default:
		c.refuse(k.Location, "exclusion constraint")
	}
	c.deny(k.AccessMethod != "" && k.AccessMethod != "btree", k.Location, "constraint USING "+k.AccessMethod)
	c.deny(k.WhereClause != nil || len(k.Exclusions) > 0, k.Location, "exclusion constraint")
	if k.RawExpr != nil {
		out.Expr, out.ExprText = c.expr(k.RawExpr), c.sqlOf(k.RawExpr)
	}
	return out
}

func first(s string) byte {
	if s == "" {
		return 0
	}
	return s[0]
}

func (c *converter) createTableAs(s *pg.CreateTableAsStmt) ast.Statement {
	out := &ast.CreateTableAs{Into: c.into(s.Into), IfNotExists: s.IfNotExists, SelectInto: s.IsSelectInto,
		Materialized: s.Objtype == pg.ObjectType_OBJECT_MATVIEW}
	switch v := s.Query.GetNode().(type) {
	case *pg.Node_SelectStmt:
		out.Query = c.selectStmt(v.SelectStmt)
	case *pg.Node_ExecuteStmt:
		out.Query = c.command(s.Query)
	default:
		c.refuse(s.Into.GetRel().GetLocation(), "CREATE TABLE AS "+constructName(s.Query))
	}
	return out
}

func (c *converter) drop(s *pg.DropStmt) ast.Statement {
	kind := objectName(s.RemoveType)
	out := &ast.Drop{Kind: kind, IfExists: s.MissingOk, Cascade: c.behavior(s.Behavior), Concurrently: s.Concurrent}
	for _, o := range s.Objects {
		switch v := o.Node.(type) {
		case *pg.Node_List:
			for _, it := range v.List.Items {
				if it.GetString_() == nil {
					return &ast.Unsupported{Name: "DROP " + kind}
				}
			}
			out.Names = append(out.Names, strs(v.List.Items))
		case *pg.Node_String_:
			out.Names = append(out.Names, []string{v.String_.Sval})
		case *pg.Node_TypeName:
			c.deny(len(v.TypeName.Typmods) > 0 || len(v.TypeName.ArrayBounds) > 0 || v.TypeName.Setof || v.TypeName.PctType,
				v.TypeName.Location, "DROP "+kind+" of this type name")
			out.Names = append(out.Names, strs(v.TypeName.Names))
		default:
			return &ast.Unsupported{Name: "DROP " + kind}
		}
	}
	return out
}

func (c *converter) indexElem(e *pg.IndexElem) *ast.IndexElem {
	c.deny(len(e.Opclassopts) > 0, -1, "operator class options")
	out := &ast.IndexElem{Name: e.Name, Collation: c.names(e.Collation), Opclass: c.names(e.Opclass),
		Desc: e.Ordering == pg.SortByDir_SORTBY_DESC, Nulls: nullsOrder(e.NullsOrdering)}
	if e.Expr != nil {
		out.Expr, out.ExprText = c.expr(e.Expr), c.sqlOf(e.Expr)
		out.Pos = out.Expr.Position()
	}
	return out
}

func (c *converter) createIndex(s *pg.IndexStmt) ast.Statement {
	c.deny(len(s.ExcludeOpNames) > 0, s.Relation.GetLocation(), "exclusion constraint")
	out := &ast.CreateIndex{Name: s.Idxname, Table: c.tableName(s.Relation), Unique: s.Unique, NullsNotDistinct: s.NullsNotDistinct,
		Concurrently: s.Concurrent, IfNotExists: s.IfNotExists, Method: s.AccessMethod, Options: c.options(s.Options),
		Where: c.exprOrNil(s.WhereClause), TableSpace: s.TableSpace}
	if s.WhereClause != nil {
		out.WhereText = c.sqlOf(s.WhereClause)
	}
	for _, n := range s.IndexParams {
		out.Elems = append(out.Elems, c.indexElem(n.GetIndexElem()))
	}
	for _, n := range s.IndexIncludingParams {
		out.Include = append(out.Include, c.indexElem(n.GetIndexElem()))
	}
	return out
}

func (c *converter) createView(s *pg.ViewStmt) ast.Statement {
	sel := s.Query.GetSelectStmt()
	if sel == nil {
		c.refuse(s.View.GetLocation(), "view over "+constructName(s.Query))
	}
	out := &ast.CreateView{View: c.tableName(s.View), Columns: strs(s.Aliases), Query: c.selectStmt(sel), Text: c.sqlOfStatement(s.Query),
		OrReplace: s.Replace, Options: c.options(s.Options)}
	switch s.WithCheckOption {
	case pg.ViewCheckOption_LOCAL_CHECK_OPTION:
		out.Check = 'l'
	case pg.ViewCheckOption_CASCADED_CHECK_OPTION:
		out.Check = 'c'
	}
	return out
}

func (c *converter) rename(s *pg.RenameStmt) ast.Statement {
	kind := objectName(s.RenameType)
	out := &ast.Rename{Kind: kind, Relation: c.tableName(s.Relation), Old: s.Subname, New: s.Newname, IfExists: s.MissingOk, Cascade: c.behavior(s.Behavior)}
	switch s.RenameType {
	case pg.ObjectType_OBJECT_TABLE, pg.ObjectType_OBJECT_INDEX, pg.ObjectType_OBJECT_VIEW, pg.ObjectType_OBJECT_SEQUENCE, pg.ObjectType_OBJECT_MATVIEW:
		out.RelationKind = kind
	case pg.ObjectType_OBJECT_COLUMN:
		out.RelationKind = objectName(s.RelationType)
	case pg.ObjectType_OBJECT_TABCONSTRAINT:
		out.Kind, out.RelationKind = "CONSTRAINT", "TABLE"
	case pg.ObjectType_OBJECT_SCHEMA, pg.ObjectType_OBJECT_ROLE, pg.ObjectType_OBJECT_DATABASE:
	default:
		return &ast.Unsupported{Name: "ALTER " + kind + " RENAME"}
	}
	if s.Object != nil {
		return &ast.Unsupported{Name: "ALTER " + kind + " RENAME"}
	}
	return out
}

func (c *converter) comment(s *pg.CommentStmt) ast.Statement {
	out := &ast.Comment{Kind: objectName(s.Objtype), Text: s.Comment, Null: s.Comment == ""}
	switch v := s.Object.GetNode().(type) {
	case *pg.Node_List:
		for _, it := range v.List.Items {
			if it.GetString_() == nil {
				return &ast.Unsupported{Name: "COMMENT ON " + out.Kind}
			}
		}
		out.Name = strs(v.List.Items)
	case *pg.Node_String_:
		out.Name = []string{v.String_.Sval}
	default:
		return &ast.Unsupported{Name: "COMMENT ON " + out.Kind}
	}
	return out
}

var alterKinds = map[pg.AlterTableType]ast.AlterKind{
	pg.AlterTableType_AT_AddColumn:          ast.AddColumn,
	pg.AlterTableType_AT_DropColumn:         ast.DropColumn,
	pg.AlterTableType_AT_ColumnDefault:      ast.SetDefault,
	pg.AlterTableType_AT_SetNotNull:         ast.SetNotNull,
	pg.AlterTableType_AT_DropNotNull:        ast.DropNotNull,
	pg.AlterTableType_AT_AlterColumnType:    ast.AlterType,
	pg.AlterTableType_AT_AddConstraint:      ast.AddConstraint,
	pg.AlterTableType_AT_DropConstraint:     ast.DropConstraint,
	pg.AlterTableType_AT_ValidateConstraint: ast.ValidateConstraint,
	pg.AlterTableType_AT_AlterConstraint:    ast.AlterConstraint,
	pg.AlterTableType_AT_SetRelOptions:      ast.SetOptions,
	pg.AlterTableType_AT_ResetRelOptions:    ast.ResetOptions,
	pg.AlterTableType_AT_ChangeOwner:        ast.ChangeOwner,
	pg.AlterTableType_AT_AddIdentity:        ast.AddIdentity,
	pg.AlterTableType_AT_SetIdentity:        ast.SetIdentity,
	pg.AlterTableType_AT_DropIdentity:       ast.DropIdentity,
	pg.AlterTableType_AT_SetStatistics:      ast.SetStatistics,
	pg.AlterTableType_AT_SetOptions:         ast.SetColumnOptions,
	pg.AlterTableType_AT_SetStorage:         ast.SetStorage,
	pg.AlterTableType_AT_ReplicaIdentity:    ast.ReplicaIdentity,
	pg.AlterTableType_AT_SetTableSpace:      ast.SetTableSpace,
	pg.AlterTableType_AT_ClusterOn:          ast.ClusterOn,
}

func (c *converter) alterTable(s *pg.AlterTableStmt) ast.Statement {
	out := &ast.AlterTable{Kind: objectName(s.Objtype), Table: c.tableName(s.Relation), IfExists: s.MissingOk}
	for _, n := range s.Cmds {
		k := n.GetAlterTableCmd()
		kind, ok := alterKinds[k.Subtype]
		if !ok {
			c.refuse(s.Relation.GetLocation(), "ALTER "+out.Kind+" "+alterName(k.Subtype))
		}
		cmd := &ast.AlterCmd{Kind: kind, Name: k.Name, IfExists: k.MissingOk, Cascade: c.behavior(k.Behavior), Owner: c.role(k.Newowner), Number: k.Num}
		c.alterDef(cmd, k)
		out.Cmds = append(out.Cmds, cmd)
	}
	return out
}

func (c *converter) alterDef(cmd *ast.AlterCmd, k *pg.AlterTableCmd) {
	if k.Def == nil {
		return
	}
	switch cmd.Kind {
	case ast.SetDefault:
		cmd.Expr, cmd.ExprText = c.expr(k.Def), c.sqlOf(k.Def)
		return
	case ast.AlterType:
		d := k.Def.GetColumnDef()
		cmd.Type = c.typeName(d.TypeName)
		if d.CollClause != nil {
			c.deny(d.CollClause.Arg != nil, d.Location, "COLLATE of this form")
			cmd.Collation = c.names(d.CollClause.Collname)
		}
		if d.RawDefault != nil {
			cmd.Expr, cmd.ExprText = c.expr(d.RawDefault), c.sqlOf(d.RawDefault)
		}
		c.deny(len(d.Constraints) > 0 || len(d.Fdwoptions) > 0 || d.Compression != "" || d.StorageName != "", d.Location, "ALTER COLUMN TYPE of this form")
		return
	}
	switch v := k.Def.Node.(type) {
	case *pg.Node_ColumnDef:
		cmd.Column = c.columnDef(v.ColumnDef)
	case *pg.Node_Constraint:
		cmd.Constraint = c.constraint(v.Constraint)
	case *pg.Node_List:
		cmd.Options = c.options(v.List.Items)
	case *pg.Node_String_:
		cmd.Text = v.String_.Sval
	case *pg.Node_Integer:
		cmd.Text = itoa(v.Integer.Ival)
	case *pg.Node_ReplicaIdentityStmt:
		cmd.Text = v.ReplicaIdentityStmt.IdentityType + v.ReplicaIdentityStmt.Name
	default:
		c.refuse(-1, "ALTER TABLE with "+nodeName(k.Def))
	}
}
