package access

import (
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

// order is a GRANT or REVOKE without its objects.
type order struct {
	st       *ast.Grant
	grantees []string
}

func (c *change) order(st *ast.Grant) (*order, error) {
	gs, err := c.namedAll(st.Grantees, true)
	if err != nil {
		return nil, err
	}
	if st.GrantOption && !st.Revoke && slices.Contains(gs, role.Public) {
		return nil, pgerr.New(invalidGrant, "grant options can only be granted to roles")
	}
	return &order{st: st, grantees: gs}, nil
}

// privileges of a class that the statement names; all reports whether it says ALL.
func (o *order) privileges(class role.Class, what string, columns bool) (p role.Privilege, all bool, err error) {
	if len(o.st.Privileges) == 0 {
		return class.All(), true, nil
	}
	for _, w := range o.st.Privileges {
		if columns != (len(w.Columns) > 0) {
			continue
		}
		bit, ok := role.Parse(w.Name)
		switch {
		case w.Name == "":
			bit, all = class.All(), true
		case !ok:
			return 0, false, pgerr.New(pgerr.SyntaxError, "unrecognized privilege type \"%s\"", w.Name)
		case bit&class.All() == 0:
			return 0, false, pgerr.New(invalidGrant, "invalid privilege type %s for %s", strings.ToUpper(w.Name), what)
		}
		p |= bit
	}
	return p, all, nil
}

// apply computes the list after the statement. name is for messages: what `table "t"` would be.
func (c *change) apply(o *order, obj role.Object, p role.Privilege, all bool, kind, name string) (role.ACL, error) {
	grantor, options := c.roles.Grantor(c.env.User, obj, p)
	if options&obj.Class.All() == 0 && c.roles.Privileges(c.env.User, obj) == 0 {
		return nil, denied("permission denied for %s %s", kind, name)
	}
	can := p & options
	if !all && can != p || can == 0 {
		switch {
		case o.st.Revoke && can == 0:
			c.notice("WARNING", warnNoRevoke, "no privileges could be revoked for \"%s\"", name)
		case o.st.Revoke:
			c.notice("WARNING", warnNoRevoke, "not all privileges could be revoked for \"%s\"", name)
		case can == 0:
			c.notice("WARNING", warnNoGrant, "no privileges were granted for \"%s\"", name)
		default:
			c.notice("WARNING", warnNoGrant, "not all privileges were granted for \"%s\"", name)
		}
	}
	return change1(o, obj, grantor, can)
}

// change1 applies the statement as one grantor.
func change1(o *order, obj role.Object, grantor string, p role.Privilege) (role.ACL, error) {
	acl := obj.List()
	if acl == nil {
		acl = role.ACL{}
	}
	for _, g := range o.grantees {
		var bad bool
		if o.st.Revoke {
			if acl, bad = acl.Without(grantor, g, p, o.st.GrantOption, o.st.Cascade, obj.Owner, obj.Class); bad {
				return nil, pgerr.New(pgerr.DependentObjectsStillExist, "dependent privileges exist").WithHint("Use CASCADE to revoke them too.")
			}
			continue
		}
		if p == 0 {
			continue
		}
		if acl, bad = acl.With(grantor, g, p, o.st.GrantOption, obj.Owner, obj.Class); bad {
			return nil, pgerr.New(invalidGrant, "grant options cannot be granted back to your own grantor")
		}
	}
	return acl, nil
}

func (c *change) grant(st *ast.Grant) error {
	o, err := c.order(st)
	if err != nil {
		return err
	}
	switch st.Kind {
	case "TABLE", "SEQUENCE":
		ts, err := c.targets(st)
		if err != nil {
			return err
		}
		for _, t := range ts {
			if err := c.grantRelation(o, t); err != nil {
				return err
			}
		}
		return nil
	case "SCHEMA":
		for _, n := range st.Objects {
			s, err := c.schema(n[0])
			if err != nil {
				return err
			}
			p, all, err := o.privileges('n', "schema", false)
			if err != nil {
				return err
			}
			if err := o.noColumns(); err != nil {
				return err
			}
			acl, err := c.apply(o, s.Object(), p, all, "schema", s.Name)
			if err != nil {
				return err
			}
			if err := c.replaceSchema(s, func(s *catalog.Schema) { s.ACL = acl }); err != nil {
				return err
			}
		}
		return nil
	case "DATABASE":
		for _, n := range st.Objects {
			if n[0] != c.env.Database {
				return pgerr.New(pgerr.InvalidCatalogName, "database \"%s\" does not exist", n[0])
			}
			p, all, err := o.privileges('d', "database", false)
			if err != nil {
				return err
			}
			if err := o.noColumns(); err != nil {
				return err
			}
			d := c.cat.Access().Database
			if d.ACL, err = c.apply(o, d.Object(), p, all, "database", n[0]); err != nil {
				return err
			}
			if err := c.w.PutDatabase(d); err != nil {
				return err
			}
		}
		return nil
	}
	return pgerr.Unsupported(st.Tag()+" ON "+st.Kind, "")
}

func (o *order) noColumns() error {
	for _, p := range o.st.Privileges {
		if len(p.Columns) > 0 {
			return pgerr.New(invalidGrant, "column privileges are only valid for relations")
		}
	}
	return nil
}

// targets lists the relations of a GRANT.
func (c *change) targets(st *ast.Grant) ([]*catalog.Table, error) {
	var out []*catalog.Table
	if st.AllIn {
		for _, n := range st.Objects {
			s, err := c.schema(n[0])
			if err != nil {
				return nil, err
			}
			for _, t := range c.cat.Tables() {
				if t.Schema == s.ID && !t.Virtual && (t.Kind == 'S') == (st.Kind == "SEQUENCE") {
					out = append(out, t)
				}
			}
		}
		return out, nil
	}
	for _, n := range st.Objects {
		t, err := c.relation(n)
		if err != nil {
			return nil, err
		}
		if t.Virtual {
			return nil, pgerr.Unsupported(st.Tag()+" on a system catalog", "Grant pg_monitor, pamir_viewer or their like instead.")
		}
		if st.Kind == "SEQUENCE" && t.Kind != 'S' {
			return nil, pgerr.New(pgerr.WrongObjectType, "\"%s\" is not a sequence", t.Name)
		}
		out = append(out, t)
	}
	return out, nil
}

func (c *change) grantRelation(o *order, t *catalog.Table) error {
	obj := t.Object()
	what := "table"
	if t.Kind == 'S' {
		what = "sequence"
	}
	var cols []string
	hasTable := len(o.st.Privileges) == 0
	for _, p := range o.st.Privileges {
		hasTable = hasTable || len(p.Columns) == 0
		cols = append(cols, p.Columns...)
	}
	if len(cols) > 0 && t.Kind == 'S' {
		return pgerr.New(invalidGrant, "sequence \"%s\" only supports SELECT column privileges", t.Name)
	}
	acl, changed := t.ACL, map[int]role.ACL{}
	if hasTable {
		p, all, err := o.privileges(obj.Class, what, false)
		if err != nil {
			return err
		}
		if acl, err = c.apply(o, obj, p, all, KindName(t.Kind), t.Name); err != nil {
			return err
		}
		if o.st.Revoke {
			// A privilege on the table taken away goes from its columns, too.
			for i := range t.Columns {
				if t.Columns[i].ACL == nil {
					continue
				}
				col := role.Object{Class: 'c', Owner: t.Owner, ACL: t.Columns[i].ACL}
				grantor, _ := c.roles.Grantor(c.env.User, col, p&col.Class.All())
				if changed[i], err = change1(o, col, grantor, p&col.Class.All()); err != nil {
					return err
				}
			}
		}
	}
	for _, w := range o.st.Privileges {
		if len(w.Columns) == 0 {
			continue
		}
		one := *o.st
		one.Privileges = []ast.Privilege{w}
		oc := &order{st: &one, grantees: o.grantees}
		p, all, err := oc.privileges('c', "column", true)
		if err != nil {
			return err
		}
		for _, name := range w.Columns {
			i := t.ColumnByName(name)
			if i < 0 || t.Columns[i].Hidden {
				return pgerr.New(pgerr.UndefinedColumn, "column \"%s\" of relation \"%s\" does not exist", name, t.Name)
			}
			list, ok := changed[i]
			if !ok {
				list = t.Columns[i].ACL
			}
			col := role.Object{Class: 'c', Owner: t.Owner, ACL: list}
			// Who may grant on the table may grant on its columns.
			grantor, options := c.roles.Grantor(c.env.User, obj, p)
			if options&p != p {
				if g, more := c.roles.Grantor(c.env.User, col, p); more&p != 0 {
					grantor, options = g, more
				}
			}
			if options&p == 0 && c.roles.Privileges(c.env.User, obj)|c.roles.Privileges(c.env.User, col) == 0 {
				return denied("permission denied for %s %s", KindName(t.Kind), t.Name)
			}
			if can := p & options; !all && can != p || can == 0 {
				if o.st.Revoke {
					c.notice("WARNING", warnNoRevoke, "not all privileges could be revoked for column \"%s\" of relation \"%s\"", name, t.Name)
				} else {
					c.notice("WARNING", warnNoGrant, "not all privileges were granted for column \"%s\" of relation \"%s\"", name, t.Name)
				}
			}
			if changed[i], err = change1(oc, col, grantor, p&options); err != nil {
				return err
			}
		}
	}
	return c.replace(t, func(t *catalog.Table) {
		t.ACL = acl
		for i, a := range changed {
			if t.Columns[i].ACL = a; len(a) == 0 {
				t.Columns[i].ACL = nil
			}
		}
	})
}

var defaultClasses = map[string]role.Class{"TABLE": 'r', "SEQUENCE": 'S', "SCHEMA": 'n', "FUNCTION": 'f', "ROUTINE": 'f', "TYPE": 'T'}

func (c *change) alterDefault(st *ast.AlterDefault) error {
	owners, err := c.namedAll(st.Roles, false)
	if err != nil {
		return err
	}
	if len(st.Roles) == 0 {
		owners = []string{c.env.User}
	}
	class, ok := defaultClasses[st.Grant.Kind]
	if !ok || class == 'f' || class == 'T' {
		return pgerr.Unsupported("ALTER DEFAULT PRIVILEGES for "+st.Grant.Kind+"S", "There are defaults for tables, sequences and schemas.")
	}
	if class == 'n' && len(st.Schemas) > 0 {
		return pgerr.New(invalidGrant, "cannot use IN SCHEMA clause when using GRANT/REVOKE ON SCHEMAS")
	}
	o, err := c.order(st.Grant)
	if err != nil {
		return err
	}
	p, _, err := o.privileges(class, map[role.Class]string{'r': "relation", 'S': "sequence", 'n': "schema"}[class], false)
	if err != nil {
		return err
	}
	if len(st.Grant.Privileges) > 0 {
		for _, w := range st.Grant.Privileges {
			if len(w.Columns) > 0 {
				return pgerr.New(invalidGrant, "default privileges cannot be set for columns")
			}
		}
	}
	schemas := []catalog.SchemaID{0}
	if len(st.Schemas) > 0 {
		schemas = nil
		for _, n := range st.Schemas {
			s, err := c.schema(n)
			if err != nil {
				return err
			}
			schemas = append(schemas, s.ID)
		}
	}
	defaults := slices.Clone(c.cat.Access().Defaults)
	for _, owner := range owners {
		if !c.roles.Has(c.env.User, owner) {
			return denied("must be member of role \"%s\"", owner)
		}
		for _, schema := range schemas {
			i := slices.IndexFunc(defaults, func(d catalog.DefaultACL) bool { return d.Role == owner && d.Schema == schema && d.Class == class })
			d := catalog.DefaultACL{Role: owner, Schema: schema, Class: class}
			if i >= 0 {
				d = defaults[i]
			} else {
				if d.OID, err = c.w.NewObjectID(c.ctx); err != nil {
					return err
				}
				if schema == 0 {
					d.ACL = role.Default(class, owner)
				} else {
					d.ACL = role.ACL{}
				}
			}
			if d.ACL, err = change1(o, role.Object{Class: class, Owner: owner, ACL: d.ACL}, owner, p); err != nil {
				return err
			}
			// What says nothing is not kept.
			nothing := schema != 0 && len(d.ACL) == 0 || schema == 0 && slices.Equal(d.ACL, role.Default(class, owner))
			switch {
			case nothing && i >= 0:
				defaults = slices.Delete(defaults, i, i+1)
			case nothing:
			case i >= 0:
				defaults[i] = d
			default:
				defaults = append(defaults, d)
			}
		}
	}
	return c.w.PutDefaults(defaults)
}
