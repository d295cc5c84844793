package access

import (
	"slices"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

// rewrite passes every owner and every access list of the catalog through owner and list and writes what has changed. With names, settings
// and the roles of default privileges are renamed, too.
func (c *change) rewrite(owner func(string) string, list func(role.ACL) role.ACL, names bool) error {
	same := func(a, b role.ACL) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }
	a := c.cat.Access()
	if d := (catalog.Database{Owner: owner(a.Database.Owner), ACL: list(a.Database.ACL)}); d.Owner != a.Database.Owner || !same(d.ACL, a.Database.ACL) {
		if err := c.w.PutDatabase(d); err != nil {
			return err
		}
	}
	for _, s := range c.cat.Schemas() {
		o, l := owner(s.Owner), list(s.ACL)
		if uint32(s.ID) < catalog.FirstObjectID && s.ID != catalog.PublicSchema || o == s.Owner && same(l, s.ACL) {
			continue
		}
		if err := c.replaceSchema(s, func(n *catalog.Schema) { n.Owner, n.ACL = o, l }); err != nil {
			return err
		}
	}
	for _, t := range c.cat.Tables() {
		if t.Virtual {
			continue
		}
		o, l := owner(t.Owner), list(t.ACL)
		changed := o != t.Owner || !same(l, t.ACL)
		for i := range t.Columns {
			changed = changed || !same(list(t.Columns[i].ACL), t.Columns[i].ACL)
		}
		if !changed {
			continue
		}
		if err := c.replace(t, func(n *catalog.Table) {
			n.Owner, n.ACL = o, l
			for i := range n.Columns {
				n.Columns[i].ACL = list(n.Columns[i].ACL)
			}
		}); err != nil {
			return err
		}
	}
	defaults, changed := slices.Clone(a.Defaults), false
	for i := range defaults {
		d := &defaults[i]
		if l := list(d.ACL); !same(l, d.ACL) {
			d.ACL, changed = l, true
		}
		if names && owner(d.Role) != d.Role {
			d.Role, changed = owner(d.Role), true
		}
	}
	if changed {
		if err := c.w.PutDefaults(defaults); err != nil {
			return err
		}
	}
	if !names {
		return nil
	}
	for _, s := range a.Settings {
		if n := owner(s.Role); s.Role != "" && n != s.Role {
			if err := c.w.PutSettings(catalog.SessionSettings{Database: s.Database, Role: s.Role}); err != nil {
				return err
			}
			if err := c.w.PutSettings(catalog.SessionSettings{Database: s.Database, Role: n, Settings: s.Settings}); err != nil {
				return err
			}
		}
	}
	return nil
}

// MayOwn checks that a user may give an object to a new owner: it must be able to become it.
func MayOwn(roles *role.Set, user, owner string) error {
	if !roles.Member(user, owner) {
		return denied("must be member of role \"%s\"", owner)
	}
	return nil
}

// alterOwner is ALTER SCHEMA and ALTER DATABASE ... OWNER TO.
func (c *change) alterOwner(st *ast.AlterOwner) error {
	owner, err := c.named(st.Owner, false)
	if err != nil {
		return err
	}
	switch st.Kind {
	case "SCHEMA":
		s, err := c.schema(st.Name[0])
		if err != nil {
			return err
		}
		if s.Owner == owner {
			return nil
		}
		if !c.roles.Has(c.env.User, s.Owner) {
			return denied("must be owner of schema %s", s.Name)
		}
		if err := MayOwn(c.roles, c.env.User, owner); err != nil {
			return err
		}
		d := c.cat.Access().Database
		if c.roles.Privileges(c.env.User, d.Object())&role.Create == 0 {
			return denied("permission denied for database %s", c.env.Database)
		}
		return c.replaceSchema(s, func(n *catalog.Schema) { n.Owner, n.ACL = owner, n.ACL.NewOwner(s.Owner, owner) })
	case "DATABASE":
		if st.Name[0] != c.env.Database {
			return pgerr.New(pgerr.InvalidCatalogName, "database \"%s\" does not exist", st.Name[0])
		}
		d := c.cat.Access().Database
		if d.Owner == owner {
			return nil
		}
		if !c.roles.Has(c.env.User, d.Owner) {
			return denied("must be owner of database %s", c.env.Database)
		}
		if err := MayOwn(c.roles, c.env.User, owner); err != nil {
			return err
		}
		if r, ok := c.roles.Get(c.env.User); !ok || !r.Super && !r.CreateDB {
			return denied("permission denied to change owner of database")
		}
		d.ACL = d.ACL.NewOwner(d.Owner, owner)
		d.Owner = owner
		return c.w.PutDatabase(d)
	}
	return pgerr.Unsupported("ALTER "+st.Kind+" ... OWNER TO", "")
}

func (c *change) reassign(st *ast.ReassignOwned) error {
	from, err := c.namedAll(st.Roles, false)
	if err != nil {
		return err
	}
	to, err := c.named(st.To, false)
	if err != nil {
		return err
	}
	for _, n := range append(slices.Clone(from), to) {
		if !c.roles.Has(c.env.User, n) {
			return denied("permission denied to reassign objects")
		}
	}
	if slices.Contains(from, role.Root) {
		return pgerr.New(pgerr.DependentObjectsStillExist, "cannot reassign ownership of objects owned by role %s because they are required by the database system", role.Root)
	}
	owner := func(o string) string {
		if slices.Contains(from, o) {
			return to
		}
		return o
	}
	return c.rewriteOwned(owner)
}

// rewriteOwned gives objects to other owners; their lists follow.
func (c *change) rewriteOwned(owner func(string) string) error {
	if d := c.cat.Access().Database; owner(d.Owner) != d.Owner {
		d.ACL = d.ACL.NewOwner(d.Owner, owner(d.Owner))
		d.Owner = owner(d.Owner)
		if err := c.w.PutDatabase(d); err != nil {
			return err
		}
	}
	for _, s := range c.cat.Schemas() {
		if o := owner(s.Owner); o != s.Owner {
			if err := c.replaceSchema(s, func(n *catalog.Schema) { n.Owner, n.ACL = o, n.ACL.NewOwner(s.Owner, o) }); err != nil {
				return err
			}
		}
	}
	for _, t := range c.cat.Tables() {
		if o := owner(t.Owner); !t.Virtual && o != t.Owner {
			if err := c.replace(t, func(n *catalog.Table) { ChangeOwner(n, o) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// ChangeOwner gives a relation's descriptor, which is the caller's own, to a new owner.
func ChangeOwner(t *catalog.Table, owner string) {
	t.ACL = t.ACL.NewOwner(t.Owner, owner)
	for i := range t.Columns {
		t.Columns[i].ACL = t.Columns[i].ACL.NewOwner(t.Owner, owner)
	}
	t.Owner = owner
}

// dropOwned takes away what roles were granted. Objects that they own are not dropped by it.
func (c *change) dropOwned(st *ast.DropOwned) error {
	names, err := c.namedAll(st.Roles, false)
	if err != nil {
		return err
	}
	for _, n := range names {
		if !c.roles.Has(c.env.User, n) {
			return denied("permission denied to drop objects")
		}
		for _, s := range c.cat.Schemas() {
			if s.Owner == n {
				return ownsStill(n, "schema "+s.Name)
			}
		}
		for _, t := range c.cat.Tables() {
			if !t.Virtual && t.Owner == n {
				return ownsStill(n, c.describe(t))
			}
		}
	}
	keep := func(s string) string { return s }
	list := func(a role.ACL) role.ACL {
		if !slices.ContainsFunc(a, func(it role.Item) bool { return slices.Contains(names, it.Grantee) }) {
			return a
		}
		out := role.ACL{}
		for _, it := range a {
			if !slices.Contains(names, it.Grantee) && !slices.Contains(names, it.Grantor) {
				out = append(out, it)
			}
		}
		return out
	}
	if err := c.rewrite(keep, list, false); err != nil {
		return err
	}
	var defaults []catalog.DefaultACL
	for _, d := range c.cat.Access().Defaults {
		if slices.Contains(names, d.Role) {
			continue
		}
		d.ACL = list(d.ACL)
		if d.Schema != 0 && len(d.ACL) == 0 {
			continue
		}
		defaults = append(defaults, d)
	}
	if len(c.cat.Access().Defaults) == 0 {
		return nil
	}
	return c.w.PutDefaults(defaults)
}

func ownsStill(name, what string) error {
	return pgerr.Unsupported("DROP OWNED by a role that owns objects ("+what+")", "Drop the objects of \""+name+"\", or REASSIGN OWNED first.")
}
