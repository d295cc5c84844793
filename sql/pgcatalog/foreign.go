package pgcatalog

import (
	"strings"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
)

// Foreign keys in the catalogs.

// eachForeignKey calls f for all foreign keys, with the tables on both sides.
func (o *Overlay) eachForeignKey(f func(t, parent *catalog.Table, fk *catalog.ForeignKey)) {
	for _, t := range o.Snapshot.Tables() {
		for i := range t.ForeignKeys {
			if parent, ok := o.Snapshot.TableByID(t.ForeignKeys[i].RefTable); ok {
				f(t, parent, &t.ForeignKeys[i])
			}
		}
	}
}

func refIndex(parent *catalog.Table, fk *catalog.ForeignKey) *catalog.Index {
	for i := range parent.Indexes {
		if parent.Indexes[i].ID == fk.RefIndex {
			return &parent.Indexes[i]
		}
	}
	return nil
}

func numbers(t *catalog.Table, ids []catalog.ColumnID) []int64 {
	var out []int64
	for _, id := range ids {
		out = append(out, int64(t.ColumnByID(id)+1))
	}
	return out
}

// equality operators of the types that keys have.
var equality = map[types.OID]int64{types.Int2OID: 94, types.Int4OID: 96, types.Int8OID: 410, types.TextOID: 98, types.VarcharOID: 98, types.UUIDOID: 2972,
	types.BoolOID: 91, types.DateOID: 1093, types.TimestampOID: 2060, types.TimestamptzOID: 1320, types.NumericOID: 1752, types.Float8OID: 670}

// foreignConstraints are a table's rows of pg_constraint with contype f.
func (o *Overlay) foreignConstraints(b *builder, t *catalog.Table) {
	for i := range t.ForeignKeys {
		fk := &t.ForeignKeys[i]
		parent, ok := o.Snapshot.TableByID(fk.RefTable)
		if !ok {
			continue
		}
		match := byte('s')
		if fk.Full {
			match = 'f'
		}
		b.row().i("oid", int64(fk.OID)).s("conname", fk.Name).i("connamespace", int64(t.Schema)).c("contype", 'f').b("condeferrable", fk.Deferrable).
			b("condeferred", fk.Deferred).b("convalidated", !fk.NotValid).i("conrelid", int64(t.ID)).i("confrelid", int64(parent.ID)).
			c("confupdtype", fk.OnUpdate).c("confdeltype", fk.OnDelete).c("confmatchtype", match).b("conislocal", true).b("connoinherit", true).
			array("conkey", numbers(t, fk.Columns)).array("confkey", numbers(parent, fk.RefColumns))
		if ix := refIndex(parent, fk); ix != nil {
			b.i("conindid", int64(ix.OID))
		}
		var pf, pp, ff []int64
		for c := range fk.Columns {
			x, y := t.Columns[t.ColumnByID(fk.Columns[c])].Type.OID, parent.Columns[parent.ColumnByID(fk.RefColumns[c])].Type.OID
			pf, pp, ff = append(pf, equality[y]), append(pp, equality[y]), append(ff, equality[x])
		}
		b.array("conpfeqop", pf).array("conppeqop", pp).array("conffeqop", ff)
		if len(fk.DeleteColumns) > 0 {
			b.array("confdelsetcols", numbers(t, fk.DeleteColumns))
		}
	}
}

// foreignDepends says what a table's foreign keys rest on: pg_dump writes them after it.
func (o *Overlay) foreignDepends(b *builder, t *catalog.Table) {
	for i := range t.ForeignKeys {
		fk := &t.ForeignKeys[i]
		parent, ok := o.Snapshot.TableByID(fk.RefTable)
		if !ok {
			continue
		}
		on := func(rel, sub int64, kind byte) {
			b.row().i("classid", oidClassPgConstraint).i("objid", int64(fk.OID)).i("refclassid", oidClassPgClass).i("refobjid", rel).i("refobjsubid", sub).c("deptype", kind)
		}
		for _, n := range numbers(t, fk.Columns) {
			on(int64(t.ID), n, 'a')
		}
		for _, n := range numbers(parent, fk.RefColumns) {
			on(int64(parent.ID), n, 'n')
		}
		if ix := refIndex(parent, fk); ix != nil {
			on(int64(ix.OID), 0, 'n')
		}
	}
}

var actionNames = map[byte]string{'a': "NO ACTION", 'r': "RESTRICT", 'c': "CASCADE", 'n': "SET NULL", 'd': "SET DEFAULT"}

// foreignDef is pg_get_constraintdef. The referenced table has its schema unless the search path leads to it.
func (o *Overlay) foreignDef(sess Session, t *catalog.Table, fk *catalog.ForeignKey) string {
	parent, ok := o.Snapshot.TableByID(fk.RefTable)
	if !ok {
		return ""
	}
	list := func(t *catalog.Table, ids []catalog.ColumnID) string {
		var names []string
		for _, id := range ids {
			names = append(names, columnName(t, id))
		}
		return "(" + strings.Join(names, ", ") + ")"
	}
	name := quoteIdent(o.schemaOf(parent)) + "." + quoteIdent(parent.Name)
	if sess != nil {
		if visible, _ := o.visibleRelation(sess, uint32(parent.ID)); visible {
			name = quoteIdent(parent.Name)
		}
	}
	s := "FOREIGN KEY " + list(t, fk.Columns) + " REFERENCES " + name + list(parent, fk.RefColumns)
	if fk.Full {
		s += " MATCH FULL"
	}
	if fk.OnUpdate != 'a' {
		s += " ON UPDATE " + actionNames[fk.OnUpdate]
	}
	if fk.OnDelete != 'a' {
		s += " ON DELETE " + actionNames[fk.OnDelete]
		if len(fk.DeleteColumns) > 0 {
			s += " " + list(t, fk.DeleteColumns)
		}
	}
	if fk.Deferrable {
		s += " DEFERRABLE"
	}
	if fk.Deferred {
		s += " INITIALLY DEFERRED"
	}
	if fk.NotValid {
		s += " NOT VALID"
	}
	return s
}

// positionInUnique is where in the referenced index the i-th column of a key is.
func positionInUnique(parent *catalog.Table, fk *catalog.ForeignKey, i int) int64 {
	if ix := refIndex(parent, fk); ix != nil {
		for n, ic := range ix.Columns {
			if ic.Column == fk.RefColumns[i] {
				return int64(n + 1)
			}
		}
	}
	return 0
}

func fillISReferential(o *Overlay, b *builder) {
	o.eachForeignKey(func(t, parent *catalog.Table, fk *catalog.ForeignKey) {
		match := "NONE"
		if fk.Full {
			match = "FULL"
		}
		b.row().s("constraint_catalog", o.env.Database).s("constraint_schema", o.schemaOf(t)).s("constraint_name", fk.Name).
			s("match_option", match).s("update_rule", actionNames[fk.OnUpdate]).s("delete_rule", actionNames[fk.OnDelete])
		if ix := refIndex(parent, fk); ix != nil && ix.Constraint {
			b.s("unique_constraint_catalog", o.env.Database).s("unique_constraint_schema", o.schemaOf(parent)).s("unique_constraint_name", ix.Name)
		}
	})
}
