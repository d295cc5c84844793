package ddl

import (
	"cmp"
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
)

// Foreign keys are in the descriptor of the referencing table. The referenced one lists who refers to it, so a key that comes or goes changes
// both: writers of either that do not know it cannot commit after it (catalog leases).

// addForeignKey adds a key to a descriptor that is not stored yet, and links the referenced table. The caller stores the descriptor and, if
// there are rows, validates.
func (c *change) addForeignKey(t *catalog.Table, k *ast.Constraint) (*catalog.ForeignKey, error) {
	if k.Match == 'p' {
		return nil, pgerr.New(pgerr.FeatureNotSupported, "MATCH PARTIAL not yet implemented").At(k.Pos)
	}
	parent, err := c.referenced(t, k)
	if err != nil {
		return nil, err
	}
	fk := catalog.ForeignKey{Name: k.Name, RefTable: parent.ID, OnUpdate: k.OnUpdate, OnDelete: k.OnDel, Full: k.Match == 'f',
		Deferrable: k.Deferrable || k.Deferred, Deferred: k.Deferred, NotValid: k.NotValid}
	if fk.OnUpdate == 0 {
		fk.OnUpdate = 'a'
	}
	if fk.OnDelete == 0 {
		fk.OnDelete = 'a'
	}
	if fk.Columns, err = foreignColumns(t, k.Columns); err != nil {
		return nil, err
	}
	if err := refColumns(t, parent, k, &fk); err != nil {
		return nil, err
	}
	if err := c.mayRefer(parent, fk.RefColumns); err != nil {
		return nil, err
	}
	for _, n := range k.OnDelColumns {
		ids, err := foreignColumns(t, []string{n})
		if err != nil {
			return nil, err
		}
		if !slices.Contains(fk.Columns, ids[0]) {
			return nil, pgerr.New(pgerr.InvalidColumnReference, "column \"%s\" referenced in ON DELETE SET action must be part of foreign key", n)
		}
		fk.DeleteColumns = append(fk.DeleteColumns, ids[0])
	}
	if fk.Name == "" {
		fk.Name = pickName(t.Name, strings.Join(k.Columns, "_"), "fkey", func(n string) bool { return c.constraintTaken(t, n) })
	} else if hasConstraint(t, fk.Name) {
		return nil, pgerr.New(pgerr.DuplicateObject, "constraint \"%s\" for relation \"%s\" already exists", fk.Name, t.Name)
	}
	if err := comparable(t, parent, &fk); err != nil {
		return nil, err
	}
	if fk.OID, err = c.w.NewObjectID(c.ctx); err != nil {
		return nil, err
	}
	t.ForeignKeys = append(t.ForeignKeys, fk)
	slices.SortStableFunc(t.ForeignKeys, func(a, b catalog.ForeignKey) int { return strings.Compare(a.Name, b.Name) })
	if parent.ID == t.ID {
		addReferrer(t, t.ID)
	} else if !slices.Contains(parent.ReferencedBy, t.ID) {
		n := clone(parent)
		addReferrer(n, t.ID)
		if err := c.replace(parent, n); err != nil {
			return nil, err
		}
	}
	return &fk, nil
}

func addReferrer(t *catalog.Table, id catalog.TableID) {
	if !slices.Contains(t.ReferencedBy, id) {
		t.ReferencedBy = append(t.ReferencedBy, id)
	}
}

// referenced finds the table that a key refers to: t itself, perhaps, which may be in the making.
func (c *change) referenced(t *catalog.Table, k *ast.Constraint) (*catalog.Table, error) {
	n := k.RefTable
	found, err := c.find(n.Schema, n.Name)
	if err != nil {
		return nil, err
	}
	if found != nil && found.ID == t.ID {
		return t, nil
	}
	if found == nil || n.Schema == "" && found.Schema != t.Schema {
		if sc, ok := c.cat.SchemaByID(t.Schema); ok && n.Name == t.Name && (n.Schema == sc.Name || n.Schema == "" && found == nil) {
			return t, nil
		}
	}
	switch {
	case found == nil:
		return nil, missingRelation(n)
	case found.Kind != 'r':
		return nil, pgerr.New(pgerr.WrongObjectType, "referenced relation \"%s\" is not a table", found.Name)
	case found.Virtual:
		return nil, pgerr.New(pgerr.InsufficientPrivilege, "permission denied: \"%s\" is a system catalog", found.Name)
	}
	return found, nil
}

// mayRefer checks REFERENCES on the table, or on all of the columns.
func (c *change) mayRefer(t *catalog.Table, columns []catalog.ColumnID) error {
	err := c.mayUse(t, role.References)
	if err == nil {
		return nil
	}
	for _, id := range columns {
		o := t.Object()
		o.ACL = t.Columns[t.ColumnByID(id)].ACL
		if o.ACL == nil || c.cat.Roles().Privileges(c.env.User, o)&role.References == 0 {
			return err
		}
	}
	return nil
}

func foreignColumns(t *catalog.Table, names []string) ([]catalog.ColumnID, error) {
	var out []catalog.ColumnID
	for _, n := range names {
		pos := t.ColumnByName(n)
		if pos < 0 || t.Columns[pos].Hidden {
			return nil, pgerr.New(pgerr.UndefinedColumn, "column \"%s\" referenced in foreign key constraint does not exist", n)
		}
		out = append(out, t.Columns[pos].ID)
	}
	return out, nil
}

// refColumns finds the referenced columns and the unique index over them.
func refColumns(t, parent *catalog.Table, k *ast.Constraint, fk *catalog.ForeignKey) error {
	if len(k.RefColumns) == 0 {
		p := parent.Primary()
		if p == nil || !hasName(p) {
			return pgerr.New(pgerr.UndefinedObject, "there is no primary key for referenced table \"%s\"", parent.Name)
		}
		for _, ic := range p.Columns {
			fk.RefColumns = append(fk.RefColumns, ic.Column)
		}
		fk.RefIndex = p.ID
	} else {
		var err error
		if fk.RefColumns, err = foreignColumns(parent, k.RefColumns); err != nil {
			return err
		}
	}
	for i, id := range fk.RefColumns {
		if slices.Contains(fk.RefColumns[:i], id) {
			return pgerr.New(pgerr.InvalidForeignKey, "foreign key referenced-columns list must not contain duplicates")
		}
	}
	for i, id := range fk.Columns {
		if slices.Contains(fk.Columns[:i], id) {
			return pgerr.Unsupported("the same column twice in a foreign key", "").At(k.Pos)
		}
	}
	for i := range parent.Indexes {
		ix := &parent.Indexes[i]
		if fk.RefIndex != 0 {
			break
		}
		if !ix.Unique && !ix.Primary || ix.Predicate != "" || ix.State != catalog.Public || len(ix.Columns) != len(fk.RefColumns) {
			continue
		}
		if !slices.ContainsFunc(ix.Columns, func(ic catalog.IndexColumn) bool { return !slices.Contains(fk.RefColumns, ic.Column) }) {
			fk.RefIndex = ix.ID
		}
	}
	if fk.RefIndex == 0 {
		return pgerr.New(pgerr.InvalidForeignKey, "there is no unique constraint matching given keys for referenced table \"%s\"", parent.Name)
	}
	if len(fk.RefColumns) != len(fk.Columns) {
		return pgerr.New(pgerr.InvalidForeignKey, "number of referencing and referenced columns for foreign key disagree")
	}
	return nil
}

// comparable checks that the columns of a key have types whose values have the same form in indexes.
func comparable(t, parent *catalog.Table, fk *catalog.ForeignKey) error {
	for i := range fk.Columns {
		a, b := &t.Columns[t.ColumnByID(fk.Columns[i])], &parent.Columns[parent.ColumnByID(fk.RefColumns[i])]
		if family(a.Type.OID) == family(b.Type.OID) {
			continue
		}
		if number(a.Type.OID) && number(b.Type.OID) || moment(a.Type.OID) && moment(b.Type.OID) {
			return pgerr.Unsupported("a foreign key of type "+types.FormatType(types.Of(a.Type.OID))+" to a column of type "+types.FormatType(types.Of(b.Type.OID)),
				"Give both columns the same type.")
		}
		return pgerr.New(pgerr.DatatypeMismatch, "foreign key constraint \"%s\" cannot be implemented", fk.Name).
			WithDetail("Key columns \"%s\" and \"%s\" are of incompatible types: %s and %s.", a.Name, b.Name, types.FormatType(a.Type), types.FormatType(b.Type))
	}
	return nil
}

// family of types that compare with each other, byte by byte.
func family(t types.OID) types.OID {
	switch t {
	case types.Int2OID, types.Int4OID:
		return types.Int8OID
	case types.VarcharOID:
		return types.TextOID
	}
	return t
}

func number(t types.OID) bool {
	switch t {
	case types.Int2OID, types.Int4OID, types.Int8OID, types.NumericOID, types.Float4OID, types.Float8OID:
		return true
	}
	return false
}

func moment(t types.OID) bool {
	return t == types.DateOID || t == types.TimestampOID || t == types.TimestamptzOID
}

func hasConstraint(t *catalog.Table, name string) bool {
	return slices.ContainsFunc(t.Checks, func(k catalog.Check) bool { return k.Name == name }) ||
		slices.ContainsFunc(t.ForeignKeys, func(k catalog.ForeignKey) bool { return k.Name == name }) ||
		slices.ContainsFunc(t.Indexes, func(ix catalog.Index) bool { return ix.Constraint && ix.Name == name })
}

// constraintTaken reports whether a constraint in the table's schema has a name.
func (c *change) constraintTaken(t *catalog.Table, name string) bool {
	return hasConstraint(t, name) || slices.ContainsFunc(c.cat.Tables(), func(o *catalog.Table) bool { return o.Schema == t.Schema && hasConstraint(o, name) })
}

// alterAddForeignKey is ALTER TABLE ... ADD FOREIGN KEY.
func (c *change) alterAddForeignKey(t *catalog.Table, k *ast.Constraint) error {
	n := clone(t)
	fk, err := c.addForeignKey(n, k)
	if err != nil {
		return err
	}
	if err := c.replace(t, n); err != nil {
		return err
	}
	if fk.NotValid {
		return nil
	}
	return c.checkForeignKey(n, fk)
}

// validateForeignKey is VALIDATE CONSTRAINT.
func (c *change) validateForeignKey(t *catalog.Table, fk *catalog.ForeignKey) error {
	if !fk.NotValid {
		return nil
	}
	if err := c.checkForeignKey(t, fk); err != nil {
		return err
	}
	n := clone(t)
	for i := range n.ForeignKeys {
		if n.ForeignKeys[i].OID == fk.OID {
			n.ForeignKeys[i].NotValid = false
		}
	}
	return c.replace(t, n)
}

// checkForeignKey looks for a row whose key is not there. What it reads is validated when the schema change commits: a row that comes or goes
// meanwhile makes it begin again.
func (c *change) checkForeignKey(t *catalog.Table, fk *catalog.ForeignKey) error {
	parent, ok := c.cat.TableByID(fk.RefTable)
	if !ok {
		return pgerr.New(pgerr.InternalError, "the table that constraint \"%s\" refers to is not in the catalog", fk.Name)
	}
	var list, on, some []string
	for i, id := range fk.Columns {
		a := "fk." + exec.QuoteIdent(t.Columns[t.ColumnByID(id)].Name)
		b := "pk." + exec.QuoteIdent(parent.Columns[parent.ColumnByID(fk.RefColumns[i])].Name)
		list, on, some = append(list, a), append(on, b+" = "+a), append(some, a+" IS NOT NULL")
	}
	missing := "pk." + exec.QuoteIdent(parent.Columns[parent.ColumnByID(fk.RefColumns[0])].Name) + " IS NULL"
	glue := " AND "
	if fk.Full {
		glue = " OR "
	}
	was := c.env.Runtime.Firm
	c.env.Runtime.Firm = true
	defer func() { c.env.Runtime.Firm = was }()
	st, err := parse.One("SELECT " + strings.Join(list, ", ") + " FROM " + c.qualifiedName(t) + " fk LEFT JOIN " + c.qualifiedName(parent) + " pk ON " +
		strings.Join(on, " AND ") + " WHERE " + missing + " AND (" + strings.Join(some, glue) + ") LIMIT 1")
	if err != nil {
		return err
	}
	pl, err := plan.Build(c.cat, c.planEnv(), st.Statement)
	if err != nil {
		return err
	}
	cur, err := exec.Start(c.ctx, c.env.Runtime, pl)
	if err != nil {
		return err
	}
	defer cur.Close()
	b, err := cur.Next(c.ctx)
	if err != nil || b == nil {
		return err
	}
	e := pgerr.New(pgerr.ForeignKeyViolation, "insert or update on table \"%s\" violates foreign key constraint \"%s\"", t.Name, fk.Name)
	e.Table, e.Constraint = t.Name, fk.Name
	if s, ok := c.cat.SchemaByID(t.Schema); ok {
		e.Schema = s.Name
	}
	var names, vals []string
	for i, id := range fk.Columns {
		col := &t.Columns[t.ColumnByID(id)]
		d := b.Cols[i].Get(b.Row(0))
		if d.Null {
			return e.WithDetail("MATCH FULL does not allow mixing of null and nonnull key values.")
		}
		names, vals = append(names, col.Name), append(vals, types.Text(col.Type, d, types.DefaultEnv))
	}
	return e.WithDetail("Key (%s)=(%s) is not present in table \"%s\".", strings.Join(names, ", "), strings.Join(vals, ", "), parent.Name)
}

// foreignKeysAt calls f for the keys that refer to a table, the referencing tables as they are now.
func (c *change) foreignKeysAt(t *catalog.Table, f func(child *catalog.Table, fk *catalog.ForeignKey) error) error {
	for _, id := range t.ReferencedBy {
		child, ok := c.cat.TableByID(id)
		if !ok {
			continue
		}
		for i := range child.ForeignKeys {
			if child.ForeignKeys[i].RefTable == t.ID {
				if err := f(child, &child.ForeignKeys[i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// dropForeignKey takes one key away, and the link to it.
func (c *change) dropForeignKey(t *catalog.Table, oid uint32) error {
	n := clone(t)
	var parent catalog.TableID
	n.ForeignKeys = slices.DeleteFunc(n.ForeignKeys, func(k catalog.ForeignKey) bool {
		if k.OID == oid {
			parent = k.RefTable
		}
		return k.OID == oid
	})
	if parent == t.ID {
		unlink(n, n)
	}
	if err := c.replace(t, n); err != nil {
		return err
	}
	return c.unlinkFrom(n, parent)
}

// unlink takes child off the list of who refers to parent, if it does not any more.
func unlink(parent, child *catalog.Table) {
	if !slices.ContainsFunc(child.ForeignKeys, func(k catalog.ForeignKey) bool { return k.RefTable == parent.ID }) {
		parent.ReferencedBy = slices.DeleteFunc(parent.ReferencedBy, func(id catalog.TableID) bool { return id == child.ID })
	}
}

func (c *change) unlinkFrom(child *catalog.Table, parent catalog.TableID) error {
	p, ok := c.cat.TableByID(parent)
	if !ok || p.ID == child.ID {
		return nil
	}
	n := clone(p)
	unlink(n, child)
	if len(n.ReferencedBy) == len(p.ReferencedBy) {
		return nil
	}
	return c.replace(p, n)
}

// dropReferring removes the keys of other tables that rest on what is being dropped, or refuses; others are lines about
// what else depends on it. The caller's descriptor of the table itself must be taken from the catalog afterwards.
func (c *change) dropReferring(t *catalog.Table, cascade bool, what, on string, others []string, rests func(*catalog.ForeignKey) bool) error {
	type found struct {
		child string
		id    catalog.TableID
		oid   uint32
		name  string
	}
	var fs []found
	_ = c.foreignKeysAt(t, func(child *catalog.Table, fk *catalog.ForeignKey) error {
		if rests(fk) {
			fs = append(fs, found{c.shownName(child), child.ID, fk.OID, fk.Name})
		}
		return nil
	})
	if len(fs)+len(others) == 0 {
		return nil
	}
	slices.SortFunc(fs, func(a, b found) int { return cmp.Compare(a.oid, b.oid) })
	lines := others
	for _, f := range fs {
		lines = append(lines, "constraint "+f.name+" on table "+f.child+" depends on "+on)
	}
	if !cascade {
		return dependents(what, strings.Join(lines, "\n"))
	}
	for _, f := range fs {
		c.cascaded = append(c.cascaded, "constraint "+f.name+" on table "+f.child)
		child, ok := c.cat.TableByID(f.id)
		if !ok {
			continue
		}
		if err := c.dropForeignKey(child, f.oid); err != nil {
			return err
		}
	}
	return nil
}

// shownName is a table's name as messages have it: with its schema if the search path does not lead to it.
func (c *change) shownName(t *catalog.Table) string {
	if found, err := c.find("", t.Name); err == nil && found != nil && found.ID == t.ID {
		return exec.QuoteIdent(t.Name)
	}
	return c.qualifiedName(t)
}

// truncated adds to the tables of a TRUNCATE those that refer to them, or refuses.
func (c *change) truncated(ts []*catalog.Table, cascade bool) ([]*catalog.Table, error) {
	for i := 0; i < len(ts); i++ {
		t := ts[i]
		err := c.foreignKeysAt(t, func(child *catalog.Table, fk *catalog.ForeignKey) error {
			if slices.ContainsFunc(ts, func(x *catalog.Table) bool { return x.ID == child.ID }) {
				return nil
			}
			if !cascade {
				return pgerr.New(pgerr.FeatureNotSupported, "cannot truncate a table referenced in a foreign key constraint").
					WithDetail("Table \"%s\" references \"%s\".", child.Name, t.Name).
					WithHint("Truncate table \"%s\" at the same time, or use TRUNCATE ... CASCADE.", child.Name)
			}
			if err := c.mayUse(child, role.Truncate); err != nil {
				return err
			}
			c.notice("00000", "truncate cascades to table \"%s\"", child.Name)
			ts = append(ts, child)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return ts, nil
}

// alterConstraint is ALTER CONSTRAINT, which changes when a foreign key is checked.
func (c *change) alterConstraint(t *catalog.Table, k *ast.Constraint) error {
	n := clone(t)
	for i := range n.ForeignKeys {
		if fk := &n.ForeignKeys[i]; fk.Name == k.Name {
			fk.Deferrable, fk.Deferred = k.Deferrable || k.Deferred, k.Deferred
			return c.replace(t, n)
		}
	}
	if hasConstraint(t, k.Name) {
		return pgerr.New(pgerr.WrongObjectType, "constraint \"%s\" of relation \"%s\" is not a foreign key constraint", k.Name, t.Name)
	}
	return missingConstraint(t, k.Name)
}

// recheckColumn checks the keys on either side of a column whose values have been written anew.
func (c *change) recheckColumn(t *catalog.Table, id catalog.ColumnID) error {
	for i := range t.ForeignKeys {
		if fk := &t.ForeignKeys[i]; slices.Contains(fk.Columns, id) && !fk.NotValid {
			if err := c.checkForeignKey(t, fk); err != nil {
				return err
			}
		}
	}
	return c.foreignKeysAt(t, func(child *catalog.Table, fk *catalog.ForeignKey) error {
		if !slices.Contains(fk.RefColumns, id) || fk.NotValid {
			return nil
		}
		return c.checkForeignKey(child, fk)
	})
}

// typesAgree checks the keys on either side of a column that gets another type.
func (c *change) typesAgree(t *catalog.Table) error {
	for i := range t.ForeignKeys {
		fk := &t.ForeignKeys[i]
		parent, ok := c.cat.TableByID(fk.RefTable)
		if fk.RefTable == t.ID {
			parent, ok = t, true
		}
		if !ok {
			continue
		}
		if err := comparable(t, parent, fk); err != nil {
			return err
		}
	}
	return c.foreignKeysAt(t, func(child *catalog.Table, fk *catalog.ForeignKey) error {
		if child.ID == t.ID {
			return nil
		}
		return comparable(child, t, fk)
	})
}

// foreignKeysOf adds the foreign keys of a new table.
func (c *change) foreignKeysOf(t *catalog.Table, cs []*ast.Constraint) error {
	for _, k := range cs {
		if k.Kind == ast.ForeignConstraint {
			made := *k
			made.NotValid = false // there are no rows
			if _, err := c.addForeignKey(t, &made); err != nil {
				return err
			}
		}
	}
	return nil
}
