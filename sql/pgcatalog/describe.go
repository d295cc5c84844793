package pgcatalog

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
)

// Comments, sizes, and the functions that Pamir has beyond PostgreSQL's.

// Ids of the system relations that comments refer to.
const (
	oidClassPgProc       = 1255
	oidClassPgExtension  = 3079
	oidClassPgAttrdef    = 2604
	oidClassPgRewrite    = 2618
	oidClassPgConstraint = 2606
	oidClassPgNamespace  = 2615
	oidClassPgType       = 1247
	oidClassPgAuthid     = 1260
)

// eachComment calls f with every comment there is.
func (o *Overlay) eachComment(f func(class, object, sub int64, text string)) {
	say := func(class, object, sub int64, text string) {
		if text != "" {
			f(class, object, sub, text)
		}
	}
	for _, s := range o.Snapshot.Schemas() {
		say(oidClassPgNamespace, int64(s.ID), 0, s.Comment)
	}
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual {
			continue
		}
		say(oidClassPgClass, int64(t.ID), 0, t.Comment)
		for i := range t.Columns {
			say(oidClassPgClass, int64(t.ID), int64(i+1), t.ColumnComments[t.Columns[i].ID])
		}
		for i := range t.Indexes {
			ix := &t.Indexes[i]
			say(oidClassPgClass, int64(ix.OID), 0, ix.Comment)
			say(oidClassPgConstraint, int64(constraintOID(ix)), 0, ix.ConstraintComment)
		}
		for i := range t.Checks {
			say(oidClassPgConstraint, int64(checkOID(t, i)), 0, t.Checks[i].Comment)
		}
		for i := range t.ForeignKeys {
			say(oidClassPgConstraint, int64(t.ForeignKeys[i].OID), 0, t.ForeignKeys[i].Comment)
		}
	}
}

func fillDescription(o *Overlay, b *builder) {
	o.eachComment(func(class, object, sub int64, text string) {
		b.row().i("objoid", object).i("classoid", class).i("objsubid", sub).s("description", text)
	})
}

// comments finds them by class, object and column. It is made once for an overlay.
func (o *Overlay) comments() map[[3]int64]string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.described == nil {
		o.described = map[[3]int64]string{}
		o.eachComment(func(class, object, sub int64, text string) { o.described[[3]int64{class, object, sub}] = text })
	}
	return o.described
}

func (c *call) comment(class, object, sub int64) (types.Datum, error) {
	if s, ok := c.o.comments()[[3]int64{class, object, sub}]; ok {
		return text(s), nil
	}
	return nothing()
}

// describeObject is pg_describe_object, of relations and their columns, schemas, functions, types, roles and the extension; NULL of others.
func describeObject(c *call) (types.Datum, error) {
	class, oid, column := c.oid(0), c.oid(1), c.args[2].I
	named := func(what string, of types.OID) (types.Datum, error) {
		if s, ok := RegOut(c.sess, of, oid); ok && oid != 0 {
			return text(what + " " + s), nil
		}
		return nothing()
	}
	switch class {
	case oidClassPgClass:
		what := "table"
		if t, ok := c.o.TableByID(catalog.TableID(oid)); !ok {
			what = "index"
		} else if t.Virtual || t.Kind == 'v' {
			what = "view"
		} else if t.Kind == 'S' {
			what = "sequence"
		} else if column > 0 && int(column) <= len(t.Columns) {
			what = "column " + t.Columns[column-1].Name + " of table"
		}
		return named(what, types.RegclassOID)
	case oidClassPgNamespace:
		return named("schema", types.RegnamespaceOID)
	case oidClassPgProc:
		return named("function", types.RegprocedureOID)
	case oidClassPgType:
		return named("type", types.RegtypeOID)
	case oidClassPgAuthid:
		return named("role", types.RegroleOID)
	case oidClassPgExtension:
		if oid == oidPamirExtension {
			return text("extension pamir"), nil
		}
	}
	return nothing()
}

func init() {
	register(describeObject, "pg_describe_object")
	register(func(c *call) (types.Datum, error) {
		class := map[string]int64{"pg_class": oidClassPgClass, "pg_constraint": oidClassPgConstraint, "pg_namespace": oidClassPgNamespace}[c.str(1)]
		return c.comment(class, int64(c.oid(0)), 0)
	}, "obj_description(oid,name)")
	register(func(c *call) (types.Datum, error) {
		for _, class := range []int64{oidClassPgClass, oidClassPgConstraint, oidClassPgNamespace} {
			if d, err := c.comment(class, int64(c.oid(0)), 0); err != nil || !d.Null {
				return d, err
			}
		}
		return nothing()
	}, "obj_description(oid)")
	register(func(c *call) (types.Datum, error) { return c.comment(oidClassPgClass, int64(c.oid(0)), c.args[1].I) }, "col_description(oid,int4)")
}

// fillProc adds the functions of schema pamir.
func fillProc(_ *Overlay, b *builder) {
	oids := func(ts []types.OID) []int64 {
		out := make([]int64, len(ts))
		for i, t := range ts {
			out[i] = int64(t)
		}
		return out
	}
	for _, f := range builtin.OperatorFunctions() {
		b.row().i("oid", int64(f.OID)).s("proname", f.Name).i("pronamespace", oidPamir).i("proowner", oidRoot).i("prolang", int64(f.Language)).f("procost", 1).
			i("provariadic", int64(f.Variadic)).c("prokind", f.Kind).b("proisstrict", f.Strict).b("proretset", f.ReturnsSet).c("provolatile", f.Volatility).c("proparallel", 'u').
			i("pronargs", int64(len(f.Args))).i("prorettype", int64(f.Result)).vector("proargtypes", oids(f.Args)).s("prosrc", f.Source)
		if f.ReturnsSet {
			b.f("prorows", 1000)
		}
		if f.ArgNames != nil && len(f.OutNames) == 0 {
			b.strings("proargnames", f.ArgNames)
		}
	}
}

// Sizes says about how many bytes things take.
type Sizes interface {
	Size(snap catalog.Snapshot, t *catalog.Table, ix *catalog.Index) int64
	Total(snap catalog.Snapshot) int64
}

// indexSize is an index's size. The primary index is the table itself and counted there.
func (c *call) indexSize(t *catalog.Table, secondary bool) (n int64) {
	if c.o.env.Sizes == nil || t.Virtual {
		return 0
	}
	for i := range t.Indexes {
		if t.Indexes[i].Primary != secondary {
			n += c.o.env.Sizes.Size(c.o.Snapshot, t, &t.Indexes[i])
		}
	}
	return n
}

// relationSize makes a size function of a relation: table or indexes, or both. An index has its own size.
func relationSize(table, indexes bool) catalogFunc {
	return func(c *call) (types.Datum, error) {
		oid := c.oid(0)
		t, ok := c.o.TableByID(catalog.TableID(oid))
		if !ok {
			r, ok := c.o.indexes()[oid]
			if !ok {
				return nothing()
			}
			if !table || r.index.Primary || c.o.env.Sizes == nil {
				return number(0), nil
			}
			return number(c.o.env.Sizes.Size(c.o.Snapshot, r.table, r.index)), nil
		}
		n := int64(0)
		if table {
			n += c.indexSize(t, false)
		}
		if indexes {
			n += c.indexSize(t, true)
		}
		return number(n), nil
	}
}

func init() {
	register(relationSize(true, false), "pg_relation_size", "pg_table_size", "pg_relation_size(regclass)")
	register(relationSize(false, true), "pg_indexes_size")
	register(relationSize(true, true), "pg_total_relation_size")
	register(func(c *call) (types.Datum, error) {
		if c.o.env.Sizes == nil {
			return number(0), nil
		}
		return number(c.o.env.Sizes.Total(c.o.Snapshot)), nil
	}, "pg_database_size_oid", "pg_database_size_name", "pg_tablespace_size_oid", "pg_tablespace_size_name")
}

// Schema pamir with all that is in it is an extension, and one of the system's: so pg_dump leaves it out.
func fillExtension(_ *Overlay, b *builder) {
	b.row().i("oid", oidPamirExtension).s("extname", "pamir").i("extowner", oidRoot).i("extnamespace", oidPamir).b("extrelocatable", false).s("extversion", "1.0")
}

func dependOnExtension(b *builder) {
	member := func(class, object int64) {
		b.row().i("classid", class).i("objid", object).i("refclassid", oidClassPgExtension).i("refobjid", oidPamirExtension).c("deptype", 'e')
	}
	member(oidClassPgNamespace, oidPamir)
	for _, d := range pamirRelations() {
		member(oidClassPgClass, int64(d.table.ID))
	}
	for _, f := range builtin.OperatorFunctions() {
		member(oidClassPgProc, int64(f.OID))
	}
}

// dependOnRelations says what defaults and views rest on: pg_dump orders what it writes by it.
func dependOnRelations(o *Overlay, b *builder) {
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual {
			continue
		}
		eachColumn(t, func(_ int, c *catalog.Column, attnum int64) {
			if c.Default == "" || c.Dropped || c.Identity != 0 {
				return
			}
			id := int64(attrdefOID(t, c))
			b.row().i("classid", oidClassPgAttrdef).i("objid", id).i("refclassid", oidClassPgClass).i("refobjid", int64(t.ID)).i("refobjsubid", attnum).c("deptype", 'a')
			if seq := o.sequenceOf(t, c.Default); seq != 0 {
				b.row().i("classid", oidClassPgAttrdef).i("objid", id).i("refclassid", oidClassPgClass).i("refobjid", seq).c("deptype", 'n')
			}
		})
		if t.Kind != 'v' {
			continue
		}
		rule := int64(ruleOID(t))
		b.row().i("classid", oidClassPgRewrite).i("objid", rule).i("refclassid", oidClassPgClass).i("refobjid", int64(t.ID)).c("deptype", 'i')
		for _, d := range t.DependsOn {
			b.row().i("classid", oidClassPgRewrite).i("objid", rule).i("refclassid", oidClassPgClass).i("refobjid", int64(d)).c("deptype", 'n')
		}
	}
}

var nextvalCall = regexp.MustCompile(`(?i)nextval\(\s*'((?:[^']|'')+)'`)

// sequenceOf finds the sequence that a default takes its values from: by its id, or by name. 0 if there is none.
func (o *Overlay) sequenceOf(t *catalog.Table, def string) int64 {
	m := nextvalCall.FindStringSubmatch(def)
	if m == nil {
		return 0
	}
	if id, err := strconv.ParseUint(m[1], 10, 32); err == nil {
		return int64(id)
	}
	name := strings.ReplaceAll(m[1], "''", "'")
	schemas := []string{o.schemaOf(t), "public"}
	if s, n, ok := strings.Cut(name, "."); ok {
		schemas, name = []string{strings.Trim(s, `"`)}, n
	}
	for _, s := range schemas {
		if q, ok := o.Snapshot.Table(s, strings.Trim(name, `"`)); ok && q.Sequence != nil {
			return int64(q.ID)
		}
	}
	return 0
}
