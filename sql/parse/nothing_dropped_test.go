package parse

import (
	"fmt"
	"os"
	"sort"
	"strings"
	"testing"

	pg "github.com/pganalyze/pg_query_go/v6"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// unread lists fields that the converter need not read, and why. "" covers every field of the message.
var unread = map[string]string{
	// Filled in by PostgreSQL's analysis, never by its parser.
	"*.xpr": "analysis", "CaseExpr.casetype": "analysis", "CaseExpr.casecollid": "analysis",
	"CoalesceExpr.coalescetype": "analysis", "CoalesceExpr.coalescecollid": "analysis",
	"MinMaxExpr.minmaxtype": "analysis", "MinMaxExpr.minmaxcollid": "analysis", "MinMaxExpr.inputcollid": "analysis",
	"GroupingFunc.refs": "analysis", "GroupingFunc.agglevelsup": "analysis", "SubLink.sub_link_id": "analysis",
	"RowExpr.row_typeid": "analysis", "RowExpr.colnames": "analysis", "SQLValueFunction.type": "analysis",
	"NullTest.argisrow": "analysis", "SetToDefault.type_id": "analysis", "SetToDefault.type_mod": "analysis",
	"SetToDefault.collation": "analysis", "CurrentOfExpr.cvarno": "analysis", "JoinExpr.rtindex": "analysis",
	"TypeName.type_oid": "analysis", "TypeName.typemod": "analysis", "NamedArgExpr.argnumber": "analysis",
	"CommonTableExpr.cterecursive": "analysis", "CommonTableExpr.cterefcount": "analysis", "CommonTableExpr.ctecolnames": "analysis",
	"CommonTableExpr.ctecoltypes": "analysis", "CommonTableExpr.ctecoltypmods": "analysis", "CommonTableExpr.ctecolcollations": "analysis",
	"CTECycleClause.cycle_mark_type": "analysis", "CTECycleClause.cycle_mark_typmod": "analysis",
	"CTECycleClause.cycle_mark_collation": "analysis", "CTECycleClause.cycle_mark_neop": "analysis",
	"ColumnDef.inhcount": "analysis", "ColumnDef.is_local": "analysis", "ColumnDef.is_from_type": "analysis",
	"ColumnDef.storage": "analysis", "ColumnDef.cooked_default": "analysis", "ColumnDef.identity": "analysis",
	"ColumnDef.identity_sequence": "analysis", "ColumnDef.generated": "analysis", "ColumnDef.coll_oid": "analysis",
	"Constraint.cooked_expr": "analysis", "Constraint.inhcount": "analysis", "Constraint.old_conpfeqop": "analysis",
	"Constraint.old_pktable_oid": "analysis", "Constraint.initially_valid": "the opposite of skip_validation",
	"Constraint.reset_default_tblspc": "analysis", "TableLikeClause.relation_oid": "analysis",
	"IndexStmt.idxcomment": "analysis", "IndexStmt.index_oid": "analysis", "IndexStmt.old_number": "analysis",
	"IndexStmt.old_create_subid": "analysis", "IndexStmt.old_first_relfilelocator_subid": "analysis",
	"IndexStmt.primary": "analysis", "IndexStmt.isconstraint": "analysis", "IndexStmt.deferrable": "analysis",
	"IndexStmt.initdeferred": "analysis", "IndexStmt.transformed": "analysis", "IndexStmt.reset_default_tblspc": "analysis",
	"IndexElem.indexcolname": "analysis", "CreateSeqStmt.owner_id": "analysis", "CreateSeqStmt.for_identity": "analysis",
	"AlterSeqStmt.for_identity": "analysis", "IntoClause.view_query": "analysis", "VacuumRelation.oid": "analysis",
	"AlterTableCmd.recurse": "analysis", "Constraint.generated_when": "its first letter says all",
	"NotifyStmt.payload_location": "no error points there",
	// Said by another field.
	"DeallocateStmt.isall": "an empty name", "SelectStmt.limit_option": "a LIMIT is there or not; WITH TIES is read",
	"FuncCall.funcformat": "only SQL syntax is told apart", "DeallocateStmt.location": "no error points there",
	"RawStmt.stmt_location": "the span", "RawStmt.stmt_len": "the span", "ParseResult.version": "the parser's",
	"RowExpr.row_format": "an implicit row and an explicit one", "DefElem.arg_location": "no error points there",
	"CreateStmt.oncommit": "NOOP is the default",
	"A_Expr.name":         "the kind says what IN, BETWEEN, DISTINCT and NULLIF mean",
	"A_Const.location":    "", "Alias.aliasname": "",
	"RawStmt.stmt": "walked", "List.items": "walked",
	"Node.node":             "walked",
	"NullTest.nulltesttype": "two values", "SortBy.sortby_dir": "USING has its operator", "IndexElem.ordering": "ASC is the default",
	"IndexElem.nulls_ordering": "the default", "SortBy.sortby_nulls": "the default", "InsertStmt.override": "the default",
	"OnConflictClause.action": "the default", "RangeVar.relpersistence": "the default",
	"CommonTableExpr.ctematerialized": "the default", "LockingClause.wait_policy": "the default",
	"ViewStmt.with_check_option": "the default",
	"WindowDef.frame_options":    "its bits are read one by one",
}

// corpus has every statement that Pamir supports at least once.
func corpus(t *testing.T) []string {
	b, err := os.ReadFile("testdata/corpus.sql")
	require.NoError(t, err)
	var out []string
	for _, s := range strings.Split(string(b), ";\n") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// TestNothingIsDropped changes every field of every node of the corpus in turn: the tree must change or the
// conversion fail. A field that makes no difference is one that the converter drops.
func TestNothingIsDropped(t *testing.T) {
	type verdict struct{ tried, noticed int }
	seen := map[string]*verdict{}
	for _, sql := range corpus(t) {
		tree, err := pg.Parse(sql)
		require.NoError(t, err, sql)
		before := convertText(sql, tree)
		require.False(t, strings.HasPrefix(before, "PANIC"), "%s: %s", sql, before)
		var visit func(m protoreflect.Message)
		visit = func(m protoreflect.Message) {
			fields := m.Descriptor().Fields()
			name := string(m.Descriptor().Name())
			for i := range fields.Len() {
				f := fields.Get(i)
				if m.Has(f) {
					switch {
					case f.IsList() && f.Kind() == protoreflect.MessageKind:
						l := m.Get(f).List()
						for k := range l.Len() {
							visit(l.Get(k).Message())
						}
					case f.Kind() == protoreflect.MessageKind:
						visit(m.Get(f).Message())
					}
				}
				if name == "Node" || f.ContainingOneof() != nil {
					continue
				}
				key := name + "." + string(f.Name())
				if _, skip := unread[key]; skip || f.Name() == "xpr" || f.Name() == "location" {
					continue
				}
				undo, ok := mutate(m, f)
				if !ok {
					continue
				}
				if seen[key] == nil {
					seen[key] = &verdict{}
				}
				seen[key].tried++
				if convertText(sql, tree) != before {
					seen[key].noticed++
				}
				undo()
			}
		}
		visit(tree.ProtoReflect())
		require.Equal(t, before, convertText(sql, tree), "undo works: %s", sql)
	}
	var dropped []string
	for key, v := range seen {
		if v.noticed == 0 {
			dropped = append(dropped, fmt.Sprintf("%s (tried %d times)", key, v.tried))
		}
	}
	sort.Strings(dropped)
	require.Empty(t, dropped, "fields that the converter neither reads nor refuses")
	require.Greater(t, len(seen), 200, "the corpus covers the grammar")
}

// mutate changes one field to something else.
func mutate(m protoreflect.Message, f protoreflect.FieldDescriptor) (undo func(), ok bool) {
	old, had := m.Get(f), m.Has(f)
	if f.IsList() {
		// Get returns a view of the field itself: keep a copy.
		keep := m.NewField(f).List()
		for i := range old.List().Len() {
			keep.Append(old.List().Get(i))
		}
		old = protoreflect.ValueOfList(keep)
	}
	restore := func() {
		if had {
			m.Set(f, old)
		} else {
			m.Clear(f)
		}
	}
	node := func(text string) protoreflect.Value {
		return protoreflect.ValueOfMessage(pg.MakeStrNode(text).ProtoReflect())
	}
	switch {
	case f.IsList():
		l := m.NewField(f).List()
		if f.Kind() != protoreflect.MessageKind {
			return nil, false
		}
		if had {
			// One element less.
			for i := range old.List().Len() - 1 {
				l.Append(old.List().Get(i))
			}
		} else {
			if f.Message().Name() != "Node" {
				return nil, false
			}
			l.Append(node("mutant"))
		}
		m.Set(f, protoreflect.ValueOfList(l))
		return restore, true
	case f.Kind() == protoreflect.MessageKind:
		if had {
			m.Clear(f)
			return restore, true
		}
		if f.Message().Name() == "Node" {
			m.Set(f, node("mutant"))
		} else {
			m.Set(f, m.NewField(f))
		}
		return restore, true
	case f.Kind() == protoreflect.BoolKind:
		m.Set(f, protoreflect.ValueOfBool(!old.Bool()))
	case f.Kind() == protoreflect.StringKind:
		m.Set(f, protoreflect.ValueOfString(old.String()+"x"))
	case f.Kind() == protoreflect.Int32Kind:
		m.Set(f, protoreflect.ValueOfInt32(int32(old.Int())+1))
	case f.Kind() == protoreflect.Int64Kind:
		m.Set(f, protoreflect.ValueOfInt64(old.Int()+1))
	case f.Kind() == protoreflect.Uint32Kind:
		m.Set(f, protoreflect.ValueOfUint32(uint32(old.Uint())+1))
	case f.Kind() == protoreflect.EnumKind:
		n := f.Enum().Values().Len()
		m.Set(f, protoreflect.ValueOfEnum(protoreflect.EnumNumber((int(old.Enum())+1)%n)))
	default:
		return nil, false
	}
	return restore, true
}

// convertText is the tree, or the error, as text. A mutant can be a tree that the grammar never makes;
// a panic over it counts as noticed.
func convertText(sql string, tree *pg.ParseResult) (out string) {
	defer func() {
		if r := recover(); r != nil {
			out = fmt.Sprintf("PANIC %v", r)
		}
	}()
	c := &converter{text: sql, ascii: isASCII(sql)}
	stmts, err := c.stmts(proto.Clone(tree).(*pg.ParseResult))
	if err != nil {
		return "ERROR " + err.Error()
	}
	var b strings.Builder
	for _, s := range stmts {
		b.WriteString(dump(s.Statement))
	}
	return b.String()
}
