package ddl

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/access"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

func splitName(n []string) (schema, name string) {
	name = n[len(n)-1]
	if len(n) > 1 {
		schema = n[len(n)-2]
	}
	return schema, name
}

func (c *change) drop(st *ast.Drop) error {
	drop := map[string]func(*ast.Drop) error{
		"TABLE": c.dropRelations, "VIEW": c.dropRelations, "SEQUENCE": c.dropRelations, "INDEX": c.dropIndexes, "SCHEMA": c.dropSchemas,
	}[st.Kind]
	if drop != nil {
		if err := drop(st); err != nil {
			return err
		}
		c.tellCascaded()
		return nil
	}
	if st.IfExists {
		for _, n := range st.Names {
			c.notice("00000", "%s \"%s\" does not exist, skipping", strings.ToLower(st.Kind), strings.Join(n, "."))
		}
		return nil
	}
	return pgerr.Unsupported("DROP "+st.Kind, "")
}

// tellCascaded sends one NOTICE about all that was dropped along, as PostgreSQL does: names beyond the first hundred are counted only.
func (c *change) tellCascaded() {
	const most = 100
	lines := c.cascaded
	c.cascaded = nil
	if len(lines) == 0 || c.env.Notice == nil {
		return
	}
	e := pgerr.New("00000", "drop cascades to %s", lines[0])
	if len(lines) > 1 {
		detail := "drop cascades to " + strings.Join(lines[:min(most, len(lines))], "\ndrop cascades to ")
		if more := len(lines) - most; more > 0 {
			detail += fmt.Sprintf("\nand %d other objects", more)
		}
		e = pgerr.New("00000", "drop cascades to %d other objects", len(lines)).WithDetail("%s", detail)
	}
	e.Severity = "NOTICE"
	c.env.Notice(e)
}

func (c *change) dropRelations(st *ast.Drop) error {
	want := map[string]byte{"TABLE": 'r', "VIEW": 'v', "SEQUENCE": 'S'}[st.Kind]
	var ts []*catalog.Table
	for _, n := range st.Names {
		schema, name := splitName(n)
		t, err := c.find(schema, name)
		if err != nil {
			if st.IfExists && pgerr.Code(err) == pgerr.InvalidSchemaName {
				c.notice("00000", "schema \"%s\" does not exist, skipping", schema)
				continue
			}
			return err
		}
		if t == nil {
			if st.IfExists {
				c.notice("00000", "%s \"%s\" does not exist, skipping", access.KindName(want), name)
				continue
			}
			return pgerr.New(pgerr.UndefinedTable, "%s \"%s\" does not exist", access.KindName(want), strings.Join(n, "."))
		}
		if t.Kind != want {
			article := "a "
			if want == 'i' {
				article = "an "
			}
			return pgerr.New(pgerr.WrongObjectType, "\"%s\" is not %s%s", t.Name, article, access.KindName(want)).
				WithHint("Use DROP %s to remove a %s.", strings.ToUpper(access.KindName(t.Kind)), access.KindName(t.Kind))
		}
		if t.Virtual {
			return pgerr.New(pgerr.InsufficientPrivilege, "permission denied: \"%s\" is a system catalog", t.Name)
		}
		if err := c.mayDrop(t); err != nil {
			return err
		}
		ts = append(ts, t)
	}
	return c.dropAll(ts, st.Cascade)
}

// dropAll drops relations together; what depends on them must be among them, or go with CASCADE.
func (c *change) dropAll(ts []*catalog.Table, cascade bool) error {
	doomed := map[catalog.TableID]bool{}
	for _, t := range ts {
		doomed[t.ID] = true
	}
	for i := 0; i < len(ts); i++ {
		t := ts[i]
		name := access.KindName(t.Kind) + " " + c.shownName(t)
		var refuse []string // what depends on it and must not be dropped
		for _, o := range c.cat.Tables() {
			if doomed[o.ID] {
				continue
			}
			switch {
			case o.Kind == 'S' && o.Sequence != nil && o.Sequence.OwnedTable == t.ID:
				// Goes silently with its table.
			case o.Kind == 'v' && slices.Contains(o.DependsOn, t.ID):
				if !cascade {
					refuse = append(refuse, "view "+c.shownName(o)+" depends on "+name)
					continue
				}
				c.cascaded = append(c.cascaded, "view "+c.shownName(o))
			case t.Kind == 'S' && o.Kind == 'r' && usesSequence(o, t.ID) >= 0:
				col := usesSequence(o, t.ID)
				if !cascade {
					refuse = append(refuse, "default value for column "+o.Columns[col].Name+" of table "+c.shownName(o)+" depends on "+name)
					continue
				}
				n := clone(o)
				n.Columns[col].Default, n.Columns[col].Sequence, n.Columns[col].Identity = "", 0, 0
				c.cascaded = append(c.cascaded, "default value for column "+n.Columns[col].Name+" of table "+c.shownName(o))
				if err := c.replace(o, n); err != nil {
					return err
				}
				continue
			default:
				continue
			}
			doomed[o.ID] = true
			ts = append(ts, o)
		}
		if err := c.dropReferring(t, cascade, name, name, refuse, func(fk *catalog.ForeignKey) bool {
			return !slices.ContainsFunc(ts, func(x *catalog.Table) bool { // keys of tables that go, too, do not matter
				return slices.ContainsFunc(x.ForeignKeys, func(k catalog.ForeignKey) bool { return k.OID == fk.OID })
			})
		}); err != nil {
			return err
		}
	}
	for _, t := range ts {
		for i := range t.ForeignKeys {
			if doomed[t.ForeignKeys[i].RefTable] {
				continue
			}
			without := clone(t)
			without.ForeignKeys = nil
			if err := c.unlinkFrom(without, t.ForeignKeys[i].RefTable); err != nil {
				return err
			}
		}
		if err := c.remove(t); err != nil {
			return err
		}
	}
	return nil
}

func usesSequence(t *catalog.Table, seq catalog.TableID) int {
	for i := range t.Columns {
		if t.Columns[i].Sequence == seq && !t.Columns[i].Dropped {
			return i
		}
	}
	return -1
}

func dependents(what, detail string) error {
	return pgerr.New(pgerr.DependentObjectsStillExist, "cannot drop %s because other objects depend on it", what).
		WithDetail("%s", detail).WithHint("Use DROP ... CASCADE to drop the dependent objects too.")
}

func (c *change) dropIndexes(st *ast.Drop) error {
	for _, n := range st.Names {
		schema, name := splitName(n)
		t, i, err := c.findIndex(schema, name)
		if err != nil {
			return err
		}
		if t == nil {
			if st.IfExists {
				c.notice("00000", "index \"%s\" does not exist, skipping", name)
				continue
			}
			if r, err := c.find(schema, name); err == nil && r != nil {
				return pgerr.New(pgerr.WrongObjectType, "\"%s\" is not an index", name).
					WithHint("Use DROP %s to remove a %s.", strings.ToUpper(access.KindName(r.Kind)), access.KindName(r.Kind))
			}
			return pgerr.New(pgerr.UndefinedObject, "index \"%s\" does not exist", name)
		}
		if err := c.mustOwnIndex(t, i); err != nil {
			return err
		}
		if ix := &t.Indexes[i]; ix.Constraint {
			return pgerr.New(pgerr.DependentObjectsStillExist, "cannot drop index %s because constraint %s on table %s requires it", ix.Name, ix.Name, t.Name).
				WithHint("You can drop constraint %s on table %s instead.", ix.Name, t.Name)
		}
		if err := c.dropReferring(t, st.Cascade, "index "+t.Indexes[i].Name, "index "+t.Indexes[i].Name, nil, func(fk *catalog.ForeignKey) bool {
			return fk.RefIndex == t.Indexes[i].ID
		}); err != nil {
			return err
		}
		t, _ = c.cat.TableByID(t.ID)
		after := clone(t)
		if err := c.dropIndexAt(after, i); err != nil {
			return err
		}
		if err := c.replace(t, after); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) truncate(st *ast.Truncate) error {
	var ts []*catalog.Table
	for _, n := range st.Tables {
		t, err := c.tableFor(n, role.Truncate)
		if err != nil {
			return err
		}
		if t.Kind != 'r' {
			return pgerr.New(pgerr.WrongObjectType, "\"%s\" is not a table", t.Name)
		}
		if !slices.ContainsFunc(ts, func(x *catalog.Table) bool { return x.ID == t.ID }) {
			ts = append(ts, t)
		}
	}
	ts, err := c.truncated(ts, st.Cascade)
	if err != nil {
		return err
	}
	for _, t := range ts {
		after := clone(t)
		if err := c.freshData(after); err != nil {
			return err
		}
		if err := c.replace(t, after); err != nil {
			return err
		}
		if !st.RestartSeqs {
			continue
		}
		for _, s := range c.cat.Tables() {
			if s.Kind == 'S' && s.Sequence.OwnedTable == t.ID {
				again := clone(s)
				again.Sequence.From = nil
				if err := c.freshData(again); err != nil {
					return err
				}
				if err := c.replace(s, again); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (c *change) createSchema(st *ast.CreateSchema) error {
	owner := c.env.User
	if st.Owner != nil {
		var err error
		if owner, err = c.roleNamed(*st.Owner); err != nil {
			return err
		}
	}
	name := st.Name
	if name == "" {
		name = owner
	}
	if err := c.mayMakeSchemas(); err != nil {
		return err
	}
	if err := access.MayOwn(c.cat.Roles(), c.env.User, owner); err != nil {
		return err
	}
	if strings.HasPrefix(name, "pg_") {
		return pgerr.New(pgerr.ReservedName, "unacceptable schema name \"%s\"", name).
			WithDetail("The prefix \"pg_\" is reserved for system schemas.")
	}
	if _, ok := c.cat.Schema(name); ok {
		if st.IfNotExists {
			c.notice(pgerr.DuplicateSchema, "schema \"%s\" already exists, skipping", name)
			return nil
		}
		return pgerr.New(pgerr.DuplicateSchema, "schema \"%s\" already exists", name)
	}
	id, err := c.w.NewObjectID(c.ctx)
	if err != nil {
		return err
	}
	s := &catalog.Schema{ID: catalog.SchemaID(id), Name: name, Owner: owner}
	s.ACL = c.cat.Access().DefaultsFor(owner, 0, 'n')
	c.cat.schemas[s.ID] = s
	if err := c.w.PutSchema(s); err != nil {
		return err
	}
	path, user := c.env.SearchPath, c.env.User
	c.env.SearchPath, c.env.User = append([]string{name}, path...), owner
	defer func() { c.env.SearchPath, c.env.User = path, user }()
	for _, e := range st.Elements {
		tag := c.tag
		if err := c.element(e); err != nil {
			return err
		}
		c.tag = tag
	}
	return nil
}

// element runs a statement inside CREATE SCHEMA.
func (c *change) element(st ast.Statement) error {
	switch st := st.(type) {
	case *ast.CreateTable:
		return c.createTable(st)
	case *ast.CreateView:
		return c.createView(st)
	case *ast.CreateSequence:
		return c.createSequence(st)
	case *ast.CreateIndex:
		return c.createIndex(st)
	}
	return pgerr.Unsupported(st.Tag()+" inside CREATE SCHEMA", "")
}

func (c *change) dropSchemas(st *ast.Drop) error {
	for _, n := range st.Names {
		name := n[len(n)-1]
		s, ok := c.cat.Schema(name)
		if !ok {
			if st.IfExists {
				c.notice("00000", "schema \"%s\" does not exist, skipping", name)
				continue
			}
			return pgerr.New(pgerr.InvalidSchemaName, "schema \"%s\" does not exist", name)
		}
		if !ownable(s) {
			return pgerr.New(pgerr.DependentObjectsStillExist, "cannot drop schema %s because it is required by the database system", name)
		}
		if err := c.mustOwnSchema(s); err != nil {
			return err
		}
		var ts []*catalog.Table
		for _, t := range c.cat.Tables() {
			if t.Schema != s.ID {
				continue
			}
			if !st.Cascade {
				return dependents("schema "+name, access.KindName(t.Kind)+" "+c.qualifiedName(t)+" depends on schema "+name)
			}
			ts = append(ts, t)
		}
		slices.SortFunc(ts, func(a, b *catalog.Table) int { return cmp.Compare(a.ID, b.ID) })
		for _, t := range ts {
			if t.Kind != 'S' || t.Sequence == nil || t.Sequence.OwnedTable == 0 { // those of columns go silently with their tables
				c.cascaded = append(c.cascaded, access.KindName(t.Kind)+" "+c.shownName(t))
			}
		}
		if err := c.dropAll(ts, true); err != nil {
			return err
		}
		c.cat.schemas[s.ID] = nil
		if err := c.w.DropSchema(s); err != nil {
			return err
		}
	}
	return nil
}
