package ddl

import (
	"slices"

	"github.com/pamirdb/pamir/sql/access"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

// Who may change what. The user is the one that the statement runs as; superusers own everything.

func (c *change) owns(owner string) bool { return c.cat.Roles().Has(c.env.User, owner) }

func (c *change) mustOwn(t *catalog.Table) error {
	if c.owns(t.Owner) {
		return nil
	}
	return pgerr.New(pgerr.InsufficientPrivilege, "must be owner of %s %s", access.KindName(t.Kind), t.Name)
}

func (c *change) mustOwnIndex(t *catalog.Table, i int) error {
	if c.owns(t.Owner) {
		return nil
	}
	return pgerr.New(pgerr.InsufficientPrivilege, "must be owner of index %s", t.Indexes[i].Name)
}

func (c *change) mustOwnSchema(s *catalog.Schema) error {
	if c.owns(s.Owner) {
		return nil
	}
	return pgerr.New(pgerr.InsufficientPrivilege, "must be owner of schema %s", s.Name)
}

// mayDrop: the owner of a schema may drop what is in it, too.
func (c *change) mayDrop(t *catalog.Table) error {
	if s, ok := c.cat.SchemaByID(t.Schema); ok && c.owns(s.Owner) {
		return nil
	}
	return c.mustOwn(t)
}

// mayUse checks a privilege on a relation, for statements that do not need its owner (TRUNCATE, REFERENCES).
func (c *change) mayUse(t *catalog.Table, need role.Privilege) error {
	if c.cat.Roles().Privileges(c.env.User, t.Object())&need == need {
		return nil
	}
	return pgerr.New(pgerr.InsufficientPrivilege, "permission denied for %s %s", access.KindName(t.Kind), t.Name)
}

// tableFor finds a table on which the user has a privilege.
func (c *change) tableFor(n *ast.TableName, need role.Privilege) (*catalog.Table, error) {
	t, err := c.anyTable(n)
	if err != nil {
		return nil, err
	}
	return t, c.mayUse(t, need)
}

func (c *change) onSchema(s *catalog.Schema, need role.Privilege) bool {
	return c.cat.Roles().Privileges(c.env.User, s.Object())&need == need
}

// mayCreateIn checks the right to make something in a schema.
func (c *change) mayCreateIn(s *catalog.Schema) error {
	if c.onSchema(s, role.Create) {
		return nil
	}
	return pgerr.New(pgerr.InsufficientPrivilege, "permission denied for schema %s", s.Name)
}

// mayMakeSchemas checks the right to make schemas in the database.
func (c *change) mayMakeSchemas() error {
	d := c.cat.Access().Database
	if c.cat.Roles().Privileges(c.env.User, d.Object())&role.Create == 0 {
		return pgerr.New(pgerr.InsufficientPrivilege, "permission denied for database %s", c.env.Database)
	}
	return nil
}

// roleNamed resolves a role in a statement.
func (c *change) roleNamed(r ast.Role) (string, error) {
	switch r.Special {
	case "current_user", "current_role":
		return c.env.User, nil
	case "session_user":
		return c.env.SessionUser, nil
	}
	if _, ok := c.cat.Roles().Get(r.Name); !ok {
		return "", pgerr.New(pgerr.UndefinedObject, "role \"%s\" does not exist", r.Name)
	}
	return r.Name, nil
}

// changeOwner is ALTER TABLE ... OWNER TO. The sequences of a table's columns go with it.
func (c *change) changeOwner(t *catalog.Table, to *ast.Role) error {
	owner, err := c.roleNamed(*to)
	if err != nil {
		return err
	}
	if owner == t.Owner {
		return nil
	}
	roles := c.cat.Roles()
	if err := access.MayOwn(roles, c.env.User, owner); err != nil {
		return err
	}
	if s, ok := c.cat.SchemaByID(t.Schema); ok && !roles.Super(c.env.User) && roles.Privileges(owner, s.Object())&role.Create == 0 {
		return pgerr.New(pgerr.InsufficientPrivilege, "permission denied for schema %s", s.Name)
	}
	if t.Kind == 'S' && t.Sequence != nil && t.Sequence.OwnedTable != 0 {
		if of, ok := c.cat.TableByID(t.Sequence.OwnedTable); ok && of.Owner != owner {
			return pgerr.New(pgerr.FeatureNotSupported, "cannot change owner of sequence \"%s\"", t.Name).
				WithDetail("Sequence \"%s\" is linked to table \"%s\".", t.Name, of.Name)
		}
	}
	n := clone(t)
	access.ChangeOwner(n, owner)
	if err := c.replace(t, n); err != nil {
		return err
	}
	for _, o := range c.cat.Tables() {
		if o.Kind == 'S' && o.Sequence != nil && o.Sequence.OwnedTable == t.ID && o.Owner != owner {
			m := clone(o)
			access.ChangeOwner(m, owner)
			if err := c.replace(o, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// defaultPrivileges gives a new relation the list that ALTER DEFAULT PRIVILEGES says.
func (c *change) defaultPrivileges(t *catalog.Table) {
	if t.ACL == nil {
		class := role.Class('r')
		if t.Kind == 'S' {
			class = 'S'
		}
		t.ACL = c.cat.Access().DefaultsFor(t.Owner, t.Schema, class)
	}
}

// usable drops the schemas of the search path that the user may not use: for new objects they do not exist.
func (c *change) usable(path []string) []string {
	return slices.DeleteFunc(slices.Clone(path), func(name string) bool {
		s, ok := c.cat.Schema(name)
		return ok && !c.onSchema(s, role.Usage)
	})
}
