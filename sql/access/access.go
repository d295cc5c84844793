package access

import (
	"context"
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/txn"
)

// Env is what a statement runs in.
type Env struct {
	Store *catalog.Store
	Txn   txn.Txn
	// Uses is what the transaction's earlier statements have relied on; may be nil.
	Uses *catalog.Uses
	// System finds relations of the system's schemas, to say why they cannot be changed.
	System            catalog.Snapshot
	SearchPath        []string
	User, SessionUser string
	Database          string
	Notice            func(*pgerr.Error)
	// Setting checks a setting and returns its name as it is defined and the value in canonical form; system says that it
	// is to hold for the whole cluster.
	Setting func(set *ast.Set, system bool) (name, value string, err error)
}

// Handles reports whether Execute takes a statement.
func Handles(st ast.Statement) bool {
	switch st := st.(type) {
	case *ast.CreateRole, *ast.AlterRole, *ast.AlterRoleSet, *ast.DropRole, *ast.Grant, *ast.GrantRole, *ast.AlterDefault,
		*ast.ReassignOwned, *ast.DropOwned, *ast.AlterSystem, *ast.AlterOwner:
		return true
	case *ast.Rename:
		return st.Kind == "ROLE"
	}
	return false
}

// Execute runs a statement.
func Execute(ctx context.Context, env *Env, st ast.Statement) error {
	w, err := env.Store.Writer(ctx, env.Txn, env.Uses)
	if err != nil {
		return err
	}
	snap := w.Snapshot()
	c := &change{env: env, ctx: ctx, w: w, cat: snap, roles: snap.Roles(), changed: map[string]*role.Role{}}
	if err := c.run(st); err != nil {
		return err
	}
	return c.flush()
}

// change is a statement under way.
type change struct {
	env   *Env
	ctx   context.Context
	w     *catalog.Writer
	cat   catalog.Snapshot
	roles *role.Set
	// changed are roles as they will be; nil: dropped.
	changed map[string]*role.Role
}

func (c *change) run(st ast.Statement) error {
	switch st := st.(type) {
	case *ast.CreateRole:
		return c.createRole(st)
	case *ast.AlterRole:
		return c.alterRole(st)
	case *ast.AlterRoleSet:
		return c.alterSettings(st)
	case *ast.DropRole:
		return c.dropRoles(st)
	case *ast.Rename:
		return c.renameRole(st)
	case *ast.Grant:
		return c.grant(st)
	case *ast.GrantRole:
		return c.grantRoles(st)
	case *ast.AlterDefault:
		return c.alterDefault(st)
	case *ast.AlterOwner:
		return c.alterOwner(st)
	case *ast.ReassignOwned:
		return c.reassign(st)
	case *ast.DropOwned:
		return c.dropOwned(st)
	case *ast.AlterSystem:
		return c.alterSystem(st)
	}
	return pgerr.Unsupported(st.Tag(), "")
}

// flush writes the roles that changed.
func (c *change) flush() error {
	for name, r := range c.changed {
		if r == nil {
			if err := c.w.DropRole(name); err != nil {
				return err
			}
			continue
		}
		if err := c.w.PutRole(r); err != nil {
			return err
		}
	}
	return nil
}

func (c *change) notice(severity, code, format string, args ...any) {
	e := pgerr.New(code, format, args...)
	e.Severity = severity
	c.env.Notice(e)
}

func denied(format string, args ...any) *pgerr.Error {
	return pgerr.New(pgerr.InsufficientPrivilege, format, args...)
}

func (c *change) super() bool { return c.roles.Super(c.env.User) }

func (c *change) mayCreateRoles() bool {
	r, ok := c.roles.Get(c.env.User)
	return ok && (r.Super || r.CreateRole)
}

// role finds a role with the changes made so far.
func (c *change) role(name string) (*role.Role, bool) {
	if r, ok := c.changed[name]; ok {
		return r, r != nil
	}
	return c.roles.Get(name)
}

// edit returns a copy of a role that will be written.
func (c *change) edit(name string) (*role.Role, error) {
	if r := c.changed[name]; r != nil {
		return r, nil
	}
	r, ok := c.role(name)
	if !ok {
		return nil, missingRole(name)
	}
	if role.Predefined(name) {
		return nil, pgerr.Unsupported("changing the predefined role \""+name+"\"", "Grant it to a role of your own.")
	}
	n := *r
	n.MemberOf = slices.Clone(r.MemberOf)
	c.changed[name] = &n
	return &n, nil
}

func missingRole(name string) error {
	return pgerr.New(pgerr.UndefinedObject, "role \"%s\" does not exist", name)
}

// named resolves a role in a statement; public only where it is allowed, as "".
func (c *change) named(r ast.Role, public bool) (string, error) {
	switch r.Special {
	case "current_user", "current_role":
		return c.env.User, nil
	case "session_user":
		return c.env.SessionUser, nil
	case "public":
		if public {
			return role.Public, nil
		}
		return "", missingRole("public")
	}
	if _, ok := c.role(r.Name); !ok {
		return "", missingRole(r.Name)
	}
	return r.Name, nil
}

func (c *change) namedAll(rs []ast.Role, public bool) ([]string, error) {
	var out []string
	for _, r := range rs {
		n, err := c.named(r, public)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// relation finds a relation by name along the search path.
func (c *change) relation(name []string) (*catalog.Table, error) {
	n := name[len(name)-1]
	if len(name) > 1 {
		schema := name[len(name)-2]
		if sc, ok := c.cat.Schema(schema); ok && c.roles.Privileges(c.env.User, sc.Object())&role.Usage == 0 {
			return nil, denied("permission denied for schema %s", schema)
		}
		if t, ok := c.cat.Table(schema, n); ok {
			return t, nil
		}
		if t, ok := c.env.System.Table(schema, n); ok && t.Virtual {
			return t, nil
		}
		if _, ok := c.env.System.Schema(schema); !ok {
			return nil, pgerr.New(pgerr.InvalidSchemaName, "schema \"%s\" does not exist", schema)
		}
		return nil, pgerr.New(pgerr.UndefinedTable, "relation \"%s.%s\" does not exist", schema, n)
	}
	if t, ok := c.env.System.Table("pg_catalog", n); ok && !slices.Contains(c.env.SearchPath, "pg_catalog") {
		return t, nil
	}
	for _, s := range c.env.SearchPath {
		sc, ok := c.cat.Schema(s)
		if !ok || c.roles.Privileges(c.env.User, sc.Object())&role.Usage == 0 {
			continue
		}
		if t, ok := c.cat.Table(s, n); ok {
			return t, nil
		}
	}
	return nil, pgerr.New(pgerr.UndefinedTable, "relation \"%s\" does not exist", n)
}

func (c *change) schema(name string) (*catalog.Schema, error) {
	s, ok := c.cat.Schema(name)
	if !ok {
		if _, system := c.env.System.Schema(name); system {
			return nil, pgerr.Unsupported("changing privileges of the system's schema \""+name+"\"", "")
		}
		return nil, pgerr.New(pgerr.InvalidSchemaName, "schema \"%s\" does not exist", name)
	}
	return s, nil
}

// replace writes a relation whose owner or lists changed.
func (c *change) replace(before *catalog.Table, f func(t *catalog.Table)) error {
	n := *before
	n.Columns = slices.Clone(before.Columns)
	f(&n)
	return c.w.ReplaceTable(c.ctx, before, &n)
}

func (c *change) replaceSchema(before *catalog.Schema, f func(s *catalog.Schema)) error {
	n := *before
	f(&n)
	return c.w.PutSchema(&n)
}

// describe names a relation as PostgreSQL's messages do.
func (c *change) describe(t *catalog.Table) string {
	name := t.Name
	if s, ok := c.cat.SchemaByID(t.Schema); ok && !slices.Contains(c.env.SearchPath, s.Name) {
		name = s.Name + "." + name
	}
	return KindName(t.Kind) + " " + name
}

// KindName is the word for a kind of relation.
func KindName(kind byte) string {
	switch kind {
	case 'v':
		return "view"
	case 'S':
		return "sequence"
	}
	return "table"
}

// alterSystem is ALTER SYSTEM SET and RESET.
func (c *change) alterSystem(st *ast.AlterSystem) error {
	if !c.super() {
		return denied("permission denied to set parameter \"%s\"", st.Set.Name)
	}
	switch st.Set.Kind {
	case ast.ResetAll:
		for name := range c.cat.Access().Cluster {
			if err := c.w.PutCluster(name, ""); err != nil {
				return err
			}
		}
		return nil
	}
	name, value, err := c.env.Setting(st.Set, true)
	if err != nil {
		return err
	}
	return c.w.PutCluster(strings.ToLower(name), value)
}

// alterSettings is ALTER ROLE ... SET and ALTER DATABASE ... SET.
func (c *change) alterSettings(st *ast.AlterRoleSet) error {
	key := catalog.SessionSettings{Database: st.Database}
	if st.Database != "" && st.Database != c.env.Database {
		return pgerr.New(pgerr.InvalidCatalogName, "database \"%s\" does not exist", st.Database)
	}
	db := c.cat.Access().Database
	switch {
	case st.Role != nil:
		name, err := c.named(*st.Role, false)
		if err != nil {
			return err
		}
		if key.Role = name; name != c.env.User || st.Database != "" {
			if err := c.mayAlter(name); err != nil {
				return err
			}
		}
	case st.Database != "":
		if !c.roles.Has(c.env.User, db.Owner) {
			return denied("must be owner of database %s", st.Database)
		}
	case !c.super():
		return denied("must be superuser to alter settings globally")
	}
	for _, s := range c.cat.Access().Settings {
		if s.Database == key.Database && s.Role == key.Role {
			key.Settings = slices.Clone(s.Settings)
		}
	}
	if st.Set.Kind == ast.ResetAll {
		key.Settings = nil
		return c.w.PutSettings(key)
	}
	name, value, err := c.env.Setting(st.Set, false)
	if err != nil {
		return err
	}
	key.Settings = slices.DeleteFunc(key.Settings, func(s catalog.SessionSetting) bool { return strings.EqualFold(s.Name, name) })
	if st.Set.Kind != ast.ResetOne && st.Set.Kind != ast.SetToDefault {
		key.Settings = append(key.Settings, catalog.SessionSetting{Name: name, Value: value})
	}
	return c.w.PutSettings(key)
}
