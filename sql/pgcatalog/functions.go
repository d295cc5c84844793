package pgcatalog

import (
	"strings"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// call is one evaluation of a catalog function. Functions are strict: no argument is NULL.
type call struct {
	sess Session
	o    *Overlay
	args []types.Datum
}

func (c *call) oid(i int) uint32    { return uint32(c.args[i].I) }
func (c *call) str(i int) string    { return string(c.args[i].B) }
func (c *call) bool(i int) bool     { return c.args[i].I != 0 }
func text(s string) types.Datum     { return types.NewString(s) }
func boolean(b bool) types.Datum    { return types.NewBool(b) }
func number(n int64) types.Datum    { return types.NewInt(n) }
func nothing() (types.Datum, error) { return types.NullDatum, nil }

type catalogFunc func(c *call) (types.Datum, error)

// kernel runs a catalog function row by row.
func kernel(f catalogFunc) builtin.Kernel {
	return func(ctx *builtin.Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		if ctx == nil || ctx.Session == nil {
			return pgerr.New(pgerr.InternalError, "a function that reads the catalog ran without a session")
		}
		sess, ok := ctx.Session.(Session)
		if !ok {
			return pgerr.New(pgerr.InternalError, "a function that reads the catalog ran in a session without one")
		}
		o, err := sess.Overlay()
		if err != nil {
			return err
		}
		c := &call{sess: sess, o: o, args: make([]types.Datum, len(args))}
		one := func(i int) error {
			for k, a := range args {
				c.args[k] = a.Get(i)
			}
			d, err := f(c)
			if err != nil {
				return err
			}
			out.Set(i, d)
			return nil
		}
		if sel != nil {
			for _, i := range sel {
				if err := one(int(i)); err != nil {
					return err
				}
			}
			return nil
		}
		for i := range n {
			if err := one(i); err != nil {
				return err
			}
		}
		return nil
	}
}

func register(f catalogFunc, sources ...string) {
	for _, s := range sources {
		builtin.RegisterKernel(s, kernel(f))
	}
}

func always(d types.Datum) catalogFunc { return func(*call) (types.Datum, error) { return d, nil } }

func init() {
	register(getIndexDef, "pg_get_indexdef", "pg_get_indexdef_ext")
	register(getConstraintDef, "pg_get_constraintdef", "pg_get_constraintdef_ext")
	register(func(c *call) (types.Datum, error) { return text(c.o.displayExpr(c.sess, c.str(0))), nil }, "pg_get_expr", "pg_get_expr_ext")
	register(getViewDef, "pg_get_viewdef", "pg_get_viewdef_ext", "pg_get_viewdef_wrap")
	register(getViewDefName, "pg_get_viewdef_name", "pg_get_viewdef_name_ext")
	register(getUserByID, "pg_get_userbyid")
	register(func(c *call) (types.Datum, error) { return nothing() }, "pg_get_ruledef", "pg_get_ruledef_ext", "pg_get_triggerdef", "pg_get_triggerdef_ext",
		"pg_get_partkeydef", "pg_get_partition_constraintdef", "pg_get_statisticsobjdef", "pg_get_statisticsobjdef_columns", "pg_get_replica_identity_index",
		"pg_get_function_sqlbody", "pg_get_function_arg_default", "pg_relation_filepath", "shobj_description(oid,name)")
	register(getSerialSequence, "pg_get_serial_sequence")
	register(functionArguments, "pg_get_function_arguments", "pg_get_function_identity_arguments")
	register(functionResult, "pg_get_function_result")

	register(func(c *call) (types.Datum, error) {
		v, ok := c.o.visibleRelation(c.sess, c.oid(0))
		if !ok {
			return nothing()
		}
		return boolean(v), nil
	}, "pg_table_is_visible")
	register(func(c *call) (types.Datum, error) {
		r := builtin.TypeByOID(types.OID(c.oid(0)))
		if r == nil {
			return nothing()
		}
		return c.inPath(r.Schema), nil
	}, "pg_type_is_visible")
	register(func(c *call) (types.Datum, error) {
		fn := builtin.FunctionByOID(c.oid(0))
		if fn == nil {
			return nothing()
		}
		return c.inPath(fn.Schema), nil
	}, "pg_function_is_visible")
	register(always(boolean(true)), "pg_operator_is_visible", "pg_opclass_is_visible", "pg_opfamily_is_visible", "pg_collation_is_visible",
		"pg_conversion_is_visible", "pg_statistics_obj_is_visible", "pg_ts_config_is_visible", "pg_ts_dict_is_visible", "pg_ts_parser_is_visible", "pg_ts_template_is_visible")

	for source, t := range map[string]types.OID{"to_regclass": types.RegclassOID, "to_regtype": types.RegtypeOID, "to_regnamespace": types.RegnamespaceOID,
		"to_regrole": types.RegroleOID, "to_regproc": types.RegProcOID, "to_regprocedure": types.RegprocedureOID} {
		register(func(c *call) (types.Datum, error) {
			oid, err := regLookup(c.sess, t, c.str(0))
			if e, ok := pgerr.As(err); ok && (e.Code == pgerr.InvalidName || e.Code == pgerr.SyntaxError) {
				return types.Datum{}, err
			}
			if err != nil || oid == 0 {
				return nothing()
			}
			return number(int64(oid)), nil
		}, source)
	}

	register(func(c *call) (types.Datum, error) {
		oid, err := RegIn(c.sess, types.RegclassOID, c.str(0))
		return number(int64(oid)), err
	}, "text_regclass")

	register(func(c *call) (types.Datum, error) { return number(int64(c.oid(0))), nil }, "pg_relation_filenode")
	register(always(text("")), "pg_tablespace_location")
	register(always(boolean(false)), "pg_is_other_temp_schema", "pg_relation_is_publishable")
	register(func(c *call) (types.Datum, error) {
		if t, ok := c.o.TableByID(catalog.TableID(c.oid(0))); ok && t.Kind == 'r' && !t.Virtual {
			return number(28), nil // insert, update, delete
		}
		return number(0), nil
	}, "pg_relation_is_updatable")
	register(indexColumnProperty, "pg_index_column_has_property")
	register(func(c *call) (types.Datum, error) {
		switch c.str(1) {
		case "clusterable", "index_scan", "backward_scan":
			return boolean(true), nil
		case "bitmap_scan":
			return boolean(false), nil
		}
		return nothing()
	}, "pg_index_has_property")
	register(func(c *call) (types.Datum, error) {
		if c.oid(0) != oidBtreeAM {
			return nothing()
		}
		switch c.str(1) {
		case "can_order", "can_unique", "can_multi_col", "can_include":
			return boolean(true), nil
		case "can_exclude":
			return boolean(false), nil
		}
		return nothing()
	}, "pg_indexam_has_property")
	register(func(c *call) (types.Datum, error) { return c.args[0], nil }, "pg_partition_root")
	registerPrivileges()
}

// indexColumnProperty is pg_index_column_has_property.
func indexColumnProperty(c *call) (types.Datum, error) {
	r, ok := c.o.indexes()[c.oid(0)]
	i := int(c.args[1].I)
	if !ok || i < 1 || i > len(r.index.Columns)+len(r.index.Include) {
		return nothing()
	}
	if i > len(r.index.Columns) {
		return boolean(c.str(2) == "returnable"), nil
	}
	k := r.index.Columns[i-1]
	switch c.str(2) {
	case "asc":
		return boolean(!k.Desc), nil
	case "desc":
		return boolean(k.Desc), nil
	case "nulls_first":
		return boolean(k.NullsFirst), nil
	case "nulls_last":
		return boolean(!k.NullsFirst), nil
	case "orderable", "returnable", "search_array", "search_nulls":
		return boolean(true), nil
	case "distance_orderable":
		return boolean(false), nil
	}
	return nothing()
}

func (c *call) inPath(schema string) types.Datum {
	for _, s := range searchPath(c.sess) {
		if s == schema {
			return boolean(true)
		}
	}
	return boolean(false)
}

func getIndexDef(c *call) (types.Datum, error) {
	r, ok := c.o.indexes()[c.oid(0)]
	if !ok {
		return nothing()
	}
	if len(c.args) == 1 {
		return text(c.o.indexDef(r.table, r.index, false)), nil
	}
	col := int(c.args[1].I)
	if col == 0 {
		visible, _ := c.o.visibleRelation(c.sess, uint32(r.table.ID))
		return text(c.o.indexDef(r.table, r.index, c.bool(2) && visible)), nil
	}
	switch n := len(r.index.Columns); {
	case col < 0 || col > n+len(r.index.Include):
		return nothing()
	case col <= n:
		return text(columnName(r.table, r.index.Columns[col-1].Column)), nil
	default:
		return text(columnName(r.table, r.index.Include[col-n-1])), nil
	}
}

func getConstraintDef(c *call) (types.Datum, error) {
	oid := c.oid(0)
	if oid&attrdefBit == constraintBit {
		if r, ok := c.o.indexes()[oid&^uint32(constraintBit)]; ok {
			return text(constraintDef(r.table, r.index)), nil
		}
	}
	for _, t := range c.o.Snapshot.Tables() {
		for i := range t.Checks {
			if checkOID(t, i) == oid {
				return text(c.o.checkDef(t, i, len(c.args) > 1 && c.bool(1))), nil
			}
		}
		for i := range t.ForeignKeys {
			if fk := &t.ForeignKeys[i]; fk.OID == oid {
				return text(c.o.foreignDef(c.sess, t, fk)), nil
			}
		}
	}
	return nothing()
}

func getViewDef(c *call) (types.Datum, error) {
	t, ok := c.o.TableByID(catalog.TableID(c.oid(0)))
	if !ok || t.Kind != 'v' {
		return nothing()
	}
	return text(viewDef(t)), nil
}

func getViewDefName(c *call) (types.Datum, error) {
	oid, err := RegIn(c.sess, types.RegclassOID, c.str(0))
	if err != nil {
		return types.Datum{}, err
	}
	t, ok := c.o.TableByID(catalog.TableID(oid))
	if !ok || t.Kind != 'v' {
		return nothing()
	}
	return text(viewDef(t)), nil
}

func getUserByID(c *call) (types.Datum, error) {
	for _, r := range c.o.Roles().All() {
		if r.OID == c.oid(0) {
			return text(r.Name), nil
		}
	}
	return text("unknown (OID=" + itoa(int64(c.oid(0))) + ")"), nil
}

func getSerialSequence(c *call) (types.Datum, error) {
	oid, err := RegIn(c.sess, types.RegclassOID, c.str(0))
	if err != nil {
		return types.Datum{}, err
	}
	t, ok := c.o.TableByID(catalog.TableID(oid))
	if !ok {
		return nothing()
	}
	i := t.ColumnByName(c.str(1))
	if i < 0 {
		return types.Datum{}, pgerr.New(pgerr.UndefinedColumn, "column \"%s\" of relation \"%s\" does not exist", c.str(1), t.Name)
	}
	q, ok := c.o.TableByID(t.Columns[i].Sequence)
	if !ok || q.Sequence == nil || q.Sequence.OwnedTable != t.ID {
		return nothing()
	}
	return text(quoteIdent(c.o.schemaOf(q)) + "." + quoteIdent(q.Name)), nil
}

func functionArguments(c *call) (types.Datum, error) {
	fn := builtin.FunctionByOID(c.oid(0))
	if fn == nil {
		return nothing()
	}
	parts := make([]string, len(fn.Args))
	for i, t := range fn.Args {
		p := types.FormatType(types.Of(t))
		if i < len(fn.ArgNames) && fn.ArgNames[i] != "" {
			p = quoteIdent(fn.ArgNames[i]) + " " + p
		}
		if fn.Variadic != 0 && i == len(fn.Args)-1 {
			p = "VARIADIC " + p
		}
		if k := i - (len(fn.Args) - fn.Defaults); k >= 0 && k < len(fn.DefaultText) {
			p += " DEFAULT " + fn.DefaultText[k]
		}
		parts[i] = p
	}
	for i, t := range fn.OutTypes {
		parts = append(parts, "OUT "+quoteIdent(fn.OutNames[i])+" "+types.FormatType(types.Of(t)))
	}
	return text(strings.Join(parts, ", ")), nil
}

func functionResult(c *call) (types.Datum, error) {
	fn := builtin.FunctionByOID(c.oid(0))
	if fn == nil || fn.Kind == 'p' {
		return nothing()
	}
	s := types.FormatType(types.Of(fn.Result))
	if fn.ReturnsSet {
		s = "SETOF " + s
	}
	return text(s), nil
}
