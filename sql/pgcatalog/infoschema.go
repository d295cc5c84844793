package pgcatalog

import (
	"strings"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
)

var infoSchema map[string]func(*Overlay, *builder)

func init() {
	infoSchema = map[string]func(*Overlay, *builder){
		"information_schema_catalog_name": func(o *Overlay, b *builder) { b.row().s("catalog_name", o.env.Database) },
		"schemata":                        fillSchemata,
		"tables":                          fillISTables,
		"columns":                         fillISColumns,
		"views":                           fillISViews,
		"table_constraints":               fillISConstraints,
		"key_column_usage":                fillISKeys,
		"constraint_column_usage":         fillISConstraintColumns,
		"constraint_table_usage":          fillISConstraintTables,
		"check_constraints":               fillISChecks,
		"referential_constraints":         fillISReferential,
		"sequences":                       fillISSequences,
		"enabled_roles":                   fillISRoles,
		"table_privileges":                fillISPrivileges,
		"role_table_grants":               fillISPrivileges,
		"character_sets": func(o *Overlay, b *builder) {
			b.row().s("character_set_name", "UTF8").s("character_repertoire", "UCS").s("form_of_use", "UTF8").s("default_collate_catalog", o.env.Database).
				s("default_collate_schema", "pg_catalog").s("default_collate_name", "C")
		},
	}
}

func yesNo(b bool) string {
	if b {
		return "YES"
	}
	return "NO"
}

func fillSchemata(o *Overlay, b *builder) {
	for _, s := range o.Schemas() {
		b.row().s("catalog_name", o.env.Database).s("schema_name", s.Name).s("schema_owner", s.Owner)
	}
}

// eachRelation calls f for all tables and views.
func (o *Overlay) eachRelation(f func(t *catalog.Table)) {
	o.tablesOf('r', f)
	o.tablesOf('v', f)
}

func fillISTables(o *Overlay, b *builder) {
	o.eachRelation(func(t *catalog.Table) {
		kind := "BASE TABLE"
		if t.Kind == 'v' || t.Virtual && system().byID[t.ID].kind == 'v' {
			kind = "VIEW"
		}
		b.row().s("table_catalog", o.env.Database).s("table_schema", o.schemaOf(t)).s("table_name", t.Name).s("table_type", kind).
			s("is_insertable_into", yesNo(t.Kind == 'r' && !t.Virtual)).s("is_typed", "NO")
	})
}

func fillISColumns(o *Overlay, b *builder) {
	o.eachRelation(func(t *catalog.Table) {
		schema := o.schemaOf(t)
		eachColumn(t, func(_ int, c *catalog.Column, attnum int64) {
			if c.Dropped {
				return
			}
			b.row().s("table_catalog", o.env.Database).s("table_schema", schema).s("table_name", t.Name).s("column_name", c.Name).i("ordinal_position", attnum).
				s("is_nullable", yesNo(!c.NotNull)).s("data_type", dataType(c.Type)).s("udt_catalog", o.env.Database).s("udt_schema", "pg_catalog").s("udt_name", types.Name(c.Type.OID)).
				s("dtd_identifier", itoa(attnum)).s("is_self_referencing", "NO").s("is_identity", yesNo(c.Identity != 0)).s("identity_cycle", "NO").
				s("is_generated", "NEVER").s("is_updatable", yesNo(t.Kind == 'r' && !t.Virtual))
			if c.Default != "" && c.Identity == 0 {
				b.s("column_default", o.displayExpr(nil, o.defaultText(t, int(attnum)-1)))
			}
			b.columnSize(c.Type)
			if c.Identity != 0 {
				gen := "BY DEFAULT"
				if c.Identity == 'a' {
					gen = "ALWAYS"
				}
				b.s("identity_generation", gen)
				if q, ok := o.Snapshot.TableByID(c.Sequence); ok && q.Sequence != nil {
					b.s("identity_start", itoa(q.Sequence.Start)).s("identity_increment", itoa(q.Sequence.Increment)).
						s("identity_maximum", itoa(q.Sequence.Max)).s("identity_minimum", itoa(q.Sequence.Min)).s("identity_cycle", yesNo(q.Sequence.Cycle))
				}
			}
		})
	})
}

// dataType is information_schema's data_type.
func dataType(t types.Type) string {
	if types.ElemOf(t.OID) != 0 && t.OID != types.Int2VectorOID && t.OID != types.OidVectorOID {
		return "ARRAY"
	}
	return types.FormatType(types.Of(t.OID))
}

// columnSize sets the length and precision columns.
func (b *builder) columnSize(t types.Type) {
	switch t.OID {
	case types.VarcharOID, types.BpcharOID:
		n := int64(1 << 30)
		if t.Mod >= 4 {
			n = int64(t.Mod - 4)
			b.i("character_maximum_length", n)
		}
		b.i("character_octet_length", min(n*4, 1<<30))
	case types.TextOID:
		b.i("character_octet_length", 1<<30)
	case types.Int2OID:
		b.i("numeric_precision", 16).i("numeric_precision_radix", 2).i("numeric_scale", 0)
	case types.Int4OID:
		b.i("numeric_precision", 32).i("numeric_precision_radix", 2).i("numeric_scale", 0)
	case types.Int8OID:
		b.i("numeric_precision", 64).i("numeric_precision_radix", 2).i("numeric_scale", 0)
	case types.Float4OID:
		b.i("numeric_precision", 24).i("numeric_precision_radix", 2)
	case types.Float8OID:
		b.i("numeric_precision", 53).i("numeric_precision_radix", 2)
	case types.NumericOID:
		b.i("numeric_precision_radix", 10)
		if p, s, ok := types.NumericMod(t.Mod); ok {
			b.i("numeric_precision", int64(p)).i("numeric_scale", int64(s))
		}
	case types.DateOID:
		b.i("datetime_precision", 0)
	case types.TimeOID, types.TimetzOID, types.TimestampOID, types.TimestamptzOID:
		p := int64(6)
		if t.Mod >= 0 {
			p = int64(t.Mod)
		}
		b.i("datetime_precision", p)
	case types.IntervalOID:
		p := int64(6)
		if t.Mod >= 0 && t.Mod&0xffff != 0xffff {
			p = int64(t.Mod & 0xffff)
		}
		b.i("datetime_precision", p)
		if f := strings.TrimPrefix(types.FormatType(t), "interval"); t.Mod >= 0 && strings.TrimSpace(f) != "" && !strings.HasPrefix(f, "(") {
			b.s("interval_type", strings.ToUpper(strings.TrimSpace(f)))
		}
	}
}

func fillISViews(o *Overlay, b *builder) {
	o.tablesOf('v', func(t *catalog.Table) {
		b.row().s("table_catalog", o.env.Database).s("table_schema", o.schemaOf(t)).s("table_name", t.Name).s("view_definition", viewDef(t)).
			s("check_option", "NONE").s("is_updatable", "NO").s("is_insertable_into", "NO").s("is_trigger_updatable", "NO").s("is_trigger_deletable", "NO").
			s("is_trigger_insertable_into", "NO")
	})
}

// eachConstraint calls f for keys (with the index) and CHECK and NOT NULL constraints.
func (o *Overlay) eachConstraint(f func(t *catalog.Table, name, kind string, ix *catalog.Index, clause string)) {
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual || t.Kind != 'r' {
			continue
		}
		for _, ix := range shownIndexes(t) {
			switch {
			case ix.Primary:
				f(t, ix.Name, "PRIMARY KEY", ix, "")
			case ix.Constraint:
				f(t, ix.Name, "UNIQUE", ix, "")
			}
		}
		for i := range t.Checks {
			f(t, t.Checks[i].Name, "CHECK", nil, o.checkText(t, i))
		}
		eachColumn(t, func(_ int, c *catalog.Column, attnum int64) {
			if c.NotNull && !c.Dropped {
				f(t, itoa(int64(t.Schema))+"_"+itoa(int64(t.ID))+"_"+itoa(attnum)+"_not_null", "CHECK", nil, c.Name+" IS NOT NULL")
			}
		})
	}
}

func fillISConstraints(o *Overlay, b *builder) {
	o.eachConstraint(func(t *catalog.Table, name, kind string, ix *catalog.Index, _ string) {
		b.row().s("constraint_catalog", o.env.Database).s("constraint_schema", o.schemaOf(t)).s("constraint_name", name).s("table_catalog", o.env.Database).
			s("table_schema", o.schemaOf(t)).s("table_name", t.Name).s("constraint_type", kind).s("is_deferrable", "NO").s("initially_deferred", "NO").s("enforced", "YES")
		if kind == "UNIQUE" {
			b.s("nulls_distinct", "YES")
		}
	})
	o.eachForeignKey(func(t, _ *catalog.Table, fk *catalog.ForeignKey) {
		b.row().s("constraint_catalog", o.env.Database).s("constraint_schema", o.schemaOf(t)).s("constraint_name", fk.Name).s("table_catalog", o.env.Database).
			s("table_schema", o.schemaOf(t)).s("table_name", t.Name).s("constraint_type", "FOREIGN KEY").s("is_deferrable", yesNo(fk.Deferrable)).
			s("initially_deferred", yesNo(fk.Deferred)).s("enforced", "YES")
	})
}

func fillISKeys(o *Overlay, b *builder) {
	o.eachConstraint(func(t *catalog.Table, name, _ string, ix *catalog.Index, _ string) {
		if ix == nil {
			return
		}
		for i, k := range ix.Columns {
			b.row().s("constraint_catalog", o.env.Database).s("constraint_schema", o.schemaOf(t)).s("constraint_name", name).s("table_catalog", o.env.Database).
				s("table_schema", o.schemaOf(t)).s("table_name", t.Name).s("column_name", t.Columns[t.ColumnByID(k.Column)].Name).i("ordinal_position", int64(i+1))
		}
	})
	o.eachForeignKey(func(t, parent *catalog.Table, fk *catalog.ForeignKey) {
		for i, id := range fk.Columns {
			b.row().s("constraint_catalog", o.env.Database).s("constraint_schema", o.schemaOf(t)).s("constraint_name", fk.Name).s("table_catalog", o.env.Database).
				s("table_schema", o.schemaOf(t)).s("table_name", t.Name).s("column_name", t.Columns[t.ColumnByID(id)].Name).i("ordinal_position", int64(i+1)).
				i("position_in_unique_constraint", positionInUnique(parent, fk, i))
		}
	})
}

func fillISConstraintColumns(o *Overlay, b *builder) {
	o.eachConstraint(func(t *catalog.Table, name, _ string, ix *catalog.Index, _ string) {
		if ix == nil {
			return
		}
		for _, k := range ix.Columns {
			b.row().s("table_catalog", o.env.Database).s("table_schema", o.schemaOf(t)).s("table_name", t.Name).s("column_name", t.Columns[t.ColumnByID(k.Column)].Name).
				s("constraint_catalog", o.env.Database).s("constraint_schema", o.schemaOf(t)).s("constraint_name", name)
		}
	})
	o.eachForeignKey(func(t, parent *catalog.Table, fk *catalog.ForeignKey) {
		for _, id := range fk.RefColumns {
			b.row().s("table_catalog", o.env.Database).s("table_schema", o.schemaOf(parent)).s("table_name", parent.Name).s("column_name", parent.Columns[parent.ColumnByID(id)].Name).
				s("constraint_catalog", o.env.Database).s("constraint_schema", o.schemaOf(t)).s("constraint_name", fk.Name)
		}
	})
}

func fillISConstraintTables(o *Overlay, b *builder) {
	o.eachConstraint(func(t *catalog.Table, name, _ string, ix *catalog.Index, _ string) {
		if ix != nil {
			b.row().s("table_catalog", o.env.Database).s("table_schema", o.schemaOf(t)).s("table_name", t.Name).
				s("constraint_catalog", o.env.Database).s("constraint_schema", o.schemaOf(t)).s("constraint_name", name)
		}
	})
	o.eachForeignKey(func(t, parent *catalog.Table, fk *catalog.ForeignKey) {
		b.row().s("table_catalog", o.env.Database).s("table_schema", o.schemaOf(parent)).s("table_name", parent.Name).
			s("constraint_catalog", o.env.Database).s("constraint_schema", o.schemaOf(t)).s("constraint_name", fk.Name)
	})
}

func fillISChecks(o *Overlay, b *builder) {
	o.eachConstraint(func(t *catalog.Table, name, kind string, _ *catalog.Index, clause string) {
		if kind == "CHECK" {
			b.row().s("constraint_catalog", o.env.Database).s("constraint_schema", o.schemaOf(t)).s("constraint_name", name).s("check_clause", clause)
		}
	})
}

func fillISSequences(o *Overlay, b *builder) {
	for _, t := range o.Snapshot.Tables() {
		q := t.Sequence
		if q == nil {
			continue
		}
		bits := map[types.OID]int64{types.Int2OID: 16, types.Int4OID: 32, types.Int8OID: 64}[q.Type]
		b.row().s("sequence_catalog", o.env.Database).s("sequence_schema", o.schemaOf(t)).s("sequence_name", t.Name).s("data_type", types.FormatType(types.Of(q.Type))).
			i("numeric_precision", bits).i("numeric_precision_radix", 2).i("numeric_scale", 0).s("start_value", itoa(q.Start)).
			s("minimum_value", itoa(q.Min)).s("maximum_value", itoa(q.Max)).s("increment", itoa(q.Increment)).s("cycle_option", yesNo(q.Cycle))
	}
}
