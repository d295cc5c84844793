package pgcatalog

import (
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/setting"
	"github.com/pamirdb/pamir/sql/types"
)

// splitName splits a possibly qualified name, folding what is not quoted.
func splitName(s string) ([]string, error) {
	bad := func() ([]string, error) { return nil, pgerr.New(pgerr.InvalidName, "invalid name syntax") }
	var parts []string
	s = strings.TrimSpace(s)
	for {
		part, rest, ok := setting.CutIdentifier(s, ". \t\n\"")
		if !ok || part == "" {
			return bad()
		}
		parts = append(parts, part)
		s = strings.TrimLeft(rest, " \t\n")
		if s == "" {
			return parts, nil
		}
		if s[0] != '.' {
			return bad()
		}
		s = strings.TrimLeft(s[1:], " \t\n")
	}
}

// searchPath is the session's search path with pg_catalog in front unless it is named.
func searchPath(sess builtin.Session) []string {
	path := sess.SearchPath()
	for _, p := range path {
		if p == "pg_catalog" {
			return path
		}
	}
	return append([]string{"pg_catalog"}, path...)
}

// relationID finds a relation (table, view, sequence or index) by name parts; 0 if there is none.
func (o *Overlay) relationID(sess builtin.Session, parts []string) uint32 {
	if len(parts) > 1 {
		return o.inSchema(parts[len(parts)-2], parts[len(parts)-1])
	}
	for _, schema := range searchPath(sess) {
		if id := o.inSchema(schema, parts[0]); id != 0 {
			return id
		}
	}
	return 0
}

func (o *Overlay) inSchema(schema, name string) uint32 {
	if t, ok := o.Table(schema, name); ok {
		return uint32(t.ID)
	}
	sc, ok := o.Schema(schema)
	if !ok {
		return 0
	}
	return o.indexNames()[indexName{sc.ID, name}]
}

// relationOf names a relation by id.
func (o *Overlay) relationOf(oid uint32) (schema, name string, ok bool) {
	if t, ok := o.TableByID(catalog.TableID(oid)); ok {
		return o.schemaOf(t), t.Name, true
	}
	if r, ok := o.indexes()[oid]; ok {
		return o.schemaOf(r.table), r.index.Name, true
	}
	return "", "", false
}

// visibleRelation reports whether a relation is found by its bare name.
func (o *Overlay) visibleRelation(sess builtin.Session, oid uint32) (visible, ok bool) {
	schema, name, ok := o.relationOf(oid)
	if !ok {
		return false, false
	}
	for _, s := range searchPath(sess) {
		if s == schema {
			return true, true
		}
		if o.inSchema(s, name) != 0 {
			return false, true
		}
	}
	return false, true
}

// RegIn reads the text form of a reg* type.
func RegIn(sess Session, t types.OID, s string) (uint32, error) {
	if s == "-" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(s, 10, 32); err == nil {
		return uint32(n), nil
	}
	oid, err := regLookup(sess, t, s)
	if err != nil || oid != 0 {
		return oid, err
	}
	switch t {
	case types.RegclassOID:
		parts, _ := splitName(s)
		return 0, pgerr.New(pgerr.UndefinedTable, "relation \"%s\" does not exist", strings.Join(parts, "."))
	case types.RegtypeOID:
		return 0, pgerr.New(pgerr.UndefinedObject, "type \"%s\" does not exist", s)
	case types.RegnamespaceOID:
		return 0, pgerr.New(pgerr.InvalidSchemaName, "schema \"%s\" does not exist", unquoted(s))
	case types.RegroleOID:
		return 0, pgerr.New(pgerr.UndefinedObject, "role \"%s\" does not exist", unquoted(s))
	case types.RegProcOID, types.RegprocedureOID:
		return 0, pgerr.New(pgerr.UndefinedFunction, "function \"%s\" does not exist", s)
	case types.RegoperOID, types.RegoperatorOID:
		return 0, pgerr.New(pgerr.UndefinedFunction, "operator does not exist: %s", s)
	}
	return 0, pgerr.New(pgerr.UndefinedObject, "%s \"%s\" does not exist", types.Name(t), s)
}

func unquoted(s string) string {
	if parts, err := splitName(s); err == nil {
		return strings.Join(parts, ".")
	}
	return s
}

// regLookup finds an object by name; 0 if there is none.
func regLookup(sess Session, t types.OID, s string) (uint32, error) {
	o, err := sess.Overlay()
	if err != nil {
		return 0, err
	}
	switch t {
	case types.RegtypeOID:
		return typeByName(s)
	case types.RegprocedureOID:
		return procedureByName(s)
	}
	parts, err := splitName(s)
	if err != nil {
		return 0, err
	}
	last := parts[len(parts)-1]
	switch t {
	case types.RegclassOID:
		if len(parts) > 3 {
			return 0, pgerr.New(pgerr.SyntaxError, "improper relation name (too many dotted names): %s", strings.Join(parts, "."))
		}
		if len(parts) == 3 && parts[0] != o.env.Database {
			return 0, pgerr.New(pgerr.FeatureNotSupported, "cross-database references are not implemented: \"%s\"", strings.Join(parts, "."))
		}
		return o.relationID(sess, parts), nil
	case types.RegnamespaceOID:
		if len(parts) == 1 {
			if sc, ok := o.Schema(last); ok {
				return uint32(sc.ID), nil
			}
		}
	case types.RegroleOID:
		for _, r := range o.Roles().All() {
			if len(parts) == 1 && r.Name == last {
				return r.OID, nil
			}
		}
	case types.RegProcOID:
		fns := builtin.FunctionsByName(last)
		if len(fns) > 1 {
			return 0, pgerr.New(pgerr.AmbiguousFunction, "more than one function named \"%s\"", s)
		}
		if len(fns) == 1 {
			return fns[0].OID, nil
		}
	}
	return 0, nil
}

// typeByName finds a type by the name SQL gives it.
func typeByName(s string) (uint32, error) {
	tn, err := parse.Type(s)
	if err != nil {
		return 0, nil // not a type's name: there is no such type
	}
	t, err := plan.ResolveType(tn)
	if err != nil {
		return 0, nil
	}
	return uint32(t.OID), nil
}

// procedureByName finds a function by name and argument types.
func procedureByName(s string) (uint32, error) {
	open := strings.IndexByte(s, '(')
	if open < 0 || !strings.HasSuffix(strings.TrimSpace(s), ")") {
		return 0, pgerr.New(pgerr.InvalidTextRepresentation, "expected a left parenthesis")
	}
	parts, err := splitName(s[:open])
	if err != nil {
		return 0, err
	}
	inside := strings.TrimSuffix(strings.TrimSpace(s[open+1:]), ")")
	var args []types.OID
	if strings.TrimSpace(inside) != "" {
		for _, a := range strings.Split(inside, ",") {
			oid, err := typeByName(strings.TrimSpace(a))
			if err != nil {
				return 0, err
			}
			if oid == 0 {
				return 0, pgerr.New(pgerr.UndefinedObject, "type \"%s\" does not exist", strings.TrimSpace(a))
			}
			args = append(args, types.OID(oid))
		}
	}
next:
	for _, fn := range builtin.FunctionsByName(parts[len(parts)-1]) {
		if len(fn.Args) != len(args) {
			continue
		}
		for i := range args {
			if fn.Args[i] != args[i] {
				continue next
			}
		}
		return fn.OID, nil
	}
	return 0, nil
}

// RegOut names an object of a reg* type.
func RegOut(sess Session, t types.OID, oid uint32) (string, bool) {
	if oid == 0 {
		return "-", true
	}
	o, err := sess.Overlay()
	if err != nil {
		return "", false
	}
	switch t {
	case types.RegclassOID:
		schema, name, ok := o.relationOf(oid)
		if !ok {
			return "", false
		}
		if visible, _ := o.visibleRelation(sess, oid); visible {
			return quoteIdent(name), true
		}
		return quoteIdent(schema) + "." + quoteIdent(name), true
	case types.RegtypeOID:
		if builtin.TypeByOID(types.OID(oid)) == nil {
			return "", false
		}
		return types.FormatType(types.Of(types.OID(oid))), true
	case types.RegnamespaceOID:
		if sc, ok := o.SchemaByID(catalog.SchemaID(oid)); ok {
			return quoteIdent(sc.Name), true
		}
	case types.RegroleOID:
		for _, r := range o.Roles().All() {
			if r.OID == oid {
				return quoteIdent(r.Name), true
			}
		}
	case types.RegProcOID:
		if fn := builtin.FunctionByOID(oid); fn != nil {
			if fn.Schema != "pg_catalog" {
				return quoteIdent(fn.Schema) + "." + quoteIdent(fn.Name), true
			}
			if len(builtin.FunctionsByName(fn.Name)) > 1 {
				return "pg_catalog." + quoteIdent(fn.Name), true
			}
			return quoteIdent(fn.Name), true
		}
	case types.RegprocedureOID:
		if fn := builtin.FunctionByOID(oid); fn != nil {
			return quoteIdent(fn.Name) + "(" + typeList(fn.Args, ",") + ")", true
		}
	case types.RegoperOID, types.RegoperatorOID:
		if op := builtin.OperatorByOID(oid); op != nil {
			if t == types.RegoperOID {
				return op.Name, true
			}
			arg := func(t types.OID) string {
				if t == 0 {
					return "NONE"
				}
				return types.FormatType(types.Of(t))
			}
			return op.Name + "(" + arg(op.Left) + "," + arg(op.Right) + ")", true
		}
	}
	return "", false
}

func typeList(ts []types.OID, sep string) string {
	names := make([]string, len(ts))
	for i, t := range ts {
		names[i] = types.FormatType(types.Of(t))
	}
	return strings.Join(names, sep)
}
