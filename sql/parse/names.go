package parse

import (
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// objectName is an object type as PostgreSQL spells it in commands.
func objectName(t pg.ObjectType) string {
	switch t {
	case pg.ObjectType_OBJECT_MATVIEW:
		return "MATERIALIZED VIEW"
	case pg.ObjectType_OBJECT_FOREIGN_TABLE:
		return "FOREIGN TABLE"
	case pg.ObjectType_OBJECT_FOREIGN_SERVER:
		return "SERVER"
	case pg.ObjectType_OBJECT_FDW:
		return "FOREIGN DATA WRAPPER"
	case pg.ObjectType_OBJECT_TABCONSTRAINT:
		return "CONSTRAINT"
	case pg.ObjectType_OBJECT_ACCESS_METHOD:
		return "ACCESS METHOD"
	case pg.ObjectType_OBJECT_EVENT_TRIGGER:
		return "EVENT TRIGGER"
	case pg.ObjectType_OBJECT_STATISTIC_EXT:
		return "STATISTICS"
	case pg.ObjectType_OBJECT_TSCONFIGURATION:
		return "TEXT SEARCH CONFIGURATION"
	case pg.ObjectType_OBJECT_TSDICTIONARY:
		return "TEXT SEARCH DICTIONARY"
	case pg.ObjectType_OBJECT_TSPARSER:
		return "TEXT SEARCH PARSER"
	case pg.ObjectType_OBJECT_TSTEMPLATE:
		return "TEXT SEARCH TEMPLATE"
	case pg.ObjectType_OBJECT_OPCLASS:
		return "OPERATOR CLASS"
	case pg.ObjectType_OBJECT_OPFAMILY:
		return "OPERATOR FAMILY"
	case pg.ObjectType_OBJECT_LARGEOBJECT:
		return "LARGE OBJECT"
	case pg.ObjectType_OBJECT_USER_MAPPING:
		return "USER MAPPING"
	}
	return strings.TrimPrefix(t.String(), "OBJECT_")
}

// alterName is an ALTER TABLE action as words, for refusals.
func alterName(t pg.AlterTableType) string { return camelWords(strings.TrimPrefix(t.String(), "AT_")) }

// camelWords turns "EnableRowSecurity" into "ENABLE ROW SECURITY".
func camelWords(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// constructs names nodes that Pamir does not know as their users know them.
var constructs = map[string]string{
	"MergeStmt": "MERGE", "DoStmt": "DO", "CallStmt": "CALL", "CreateFunctionStmt": "CREATE FUNCTION",
	"AlterFunctionStmt": "ALTER FUNCTION", "CreateTrigStmt": "CREATE TRIGGER", "CreateEventTrigStmt": "CREATE EVENT TRIGGER",
	"AlterEventTrigStmt": "ALTER EVENT TRIGGER", "CreateDomainStmt": "CREATE DOMAIN", "AlterDomainStmt": "ALTER DOMAIN",
	"CreateEnumStmt": "CREATE TYPE", "CompositeTypeStmt": "CREATE TYPE", "CreateRangeStmt": "CREATE TYPE", "AlterEnumStmt": "ALTER TYPE",
	"AlterTypeStmt": "ALTER TYPE", "DefineStmt": "CREATE AGGREGATE, OPERATOR, TYPE or COLLATION", "CreateCastStmt": "CREATE CAST",
	"CreateConversionStmt": "CREATE CONVERSION", "CreateTransformStmt": "CREATE TRANSFORM", "CreateOpClassStmt": "CREATE OPERATOR CLASS",
	"CreateOpFamilyStmt": "CREATE OPERATOR FAMILY", "AlterOpFamilyStmt": "ALTER OPERATOR FAMILY", "AlterOperatorStmt": "ALTER OPERATOR",
	"RuleStmt": "CREATE RULE", "CreatePolicyStmt": "CREATE POLICY", "AlterPolicyStmt": "ALTER POLICY",
	"CreateForeignTableStmt": "CREATE FOREIGN TABLE", "CreateForeignServerStmt": "CREATE SERVER", "CreateFdwStmt": "CREATE FOREIGN DATA WRAPPER",
	"CreateUserMappingStmt": "CREATE USER MAPPING", "ImportForeignSchemaStmt": "IMPORT FOREIGN SCHEMA", "CreateTableSpaceStmt": "CREATE TABLESPACE",
	"DropTableSpaceStmt": "DROP TABLESPACE", "AlterTableSpaceOptionsStmt": "ALTER TABLESPACE", "AlterTableMoveAllStmt": "ALTER TABLE ALL IN TABLESPACE",
	"AlterExtensionStmt": "ALTER EXTENSION", "AlterExtensionContentsStmt": "ALTER EXTENSION", "CreatePlangStmt": "CREATE LANGUAGE",
	"CreateAmStmt": "CREATE ACCESS METHOD", "CreateStatsStmt": "CREATE STATISTICS", "AlterStatsStmt": "ALTER STATISTICS",
	"SecLabelStmt": "SECURITY LABEL", "ClusterStmt": "CLUSTER", "RefreshMatViewStmt": "REFRESH MATERIALIZED VIEW", "LoadStmt": "LOAD",
	"AlterDatabaseStmt": "ALTER DATABASE", "AlterDatabaseRefreshCollStmt": "ALTER DATABASE REFRESH COLLATION VERSION", "AlterSystemStmt": "ALTER SYSTEM",
	"DropOwnedStmt": "DROP OWNED", "ReassignOwnedStmt": "REASSIGN OWNED", "CreatePublicationStmt": "CREATE PUBLICATION",
	"AlterPublicationStmt": "ALTER PUBLICATION", "CreateSubscriptionStmt": "CREATE SUBSCRIPTION", "AlterSubscriptionStmt": "ALTER SUBSCRIPTION",
	"DropSubscriptionStmt": "DROP SUBSCRIPTION", "AlterDefaultPrivilegesStmt": "ALTER DEFAULT PRIVILEGES", "AlterCollationStmt": "ALTER COLLATION",
	"AlterTSDictionaryStmt": "ALTER TEXT SEARCH DICTIONARY", "AlterTSConfigurationStmt": "ALTER TEXT SEARCH CONFIGURATION",
	"AlterObjectDependsStmt": "ALTER ... DEPENDS ON EXTENSION", "AlterForeignServerStmt": "ALTER SERVER", "AlterFdwStmt": "ALTER FOREIGN DATA WRAPPER",
	"AlterUserMappingStmt": "ALTER USER MAPPING", "DropUserMappingStmt": "DROP USER MAPPING", "AlterObjectSchemaStmt": "ALTER ... SET SCHEMA",
	"XmlExpr": "an XML expression", "XmlSerialize": "XMLSERIALIZE", "RangeTableFunc": "XMLTABLE", "RangeTableSample": "TABLESAMPLE",
	"JsonTable": "JSON_TABLE", "JsonIsPredicate": "IS JSON", "JsonObjectConstructor": "JSON_OBJECT", "JsonArrayConstructor": "JSON_ARRAY",
	"JsonArrayQueryConstructor": "JSON_ARRAY", "JsonFuncExpr": "a SQL/JSON query function", "JsonObjectAgg": "JSON_OBJECTAGG", "JsonArrayAgg": "JSON_ARRAYAGG",
	"JsonParseExpr": "JSON", "JsonScalarExpr": "JSON_SCALAR", "JsonSerializeExpr": "JSON_SERIALIZE", "MergeSupportFunc": "MERGE_ACTION",
	"SelectStmt": "SELECT", "InsertStmt": "INSERT", "UpdateStmt": "UPDATE", "DeleteStmt": "DELETE",
}

func constructName(n *pg.Node) string {
	switch v := n.GetNode().(type) {
	case *pg.Node_CreateFunctionStmt:
		if v.CreateFunctionStmt.IsProcedure {
			return "CREATE PROCEDURE"
		}
	case *pg.Node_DefineStmt:
		return "CREATE " + objectName(v.DefineStmt.Kind)
	}
	name := nodeName(n)
	if s, ok := constructs[name]; ok {
		return s
	}
	if s, ok := strings.CutSuffix(name, "Stmt"); ok {
		return camelWords(s)
	}
	return name
}

// locationOf reads a node's location field, -1 if it has none.
func locationOf(n *pg.Node) int32 {
	if n == nil || n.Node == nil {
		return -1
	}
	m := n.ProtoReflect()
	inner := m.Get(m.WhichOneof(m.Descriptor().Oneofs().Get(0))).Message()
	if f := inner.Descriptor().Fields().ByName("location"); f != nil && f.Kind() == protoreflect.Int32Kind {
		return int32(inner.Get(f).Int())
	}
	return -1
}
