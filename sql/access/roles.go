package access

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
)

const (
	invalidGrant  = "0LP01" // invalid_grant_operation
	objectInUse   = "55006"
	warnNoGrant   = "01007"
	warnNoRevoke  = "01006"
	duplicateOpts = "conflicting or redundant options"
)

// options are those of CREATE and ALTER ROLE that were given.
type options struct {
	given                    map[string]bool
	flags                    map[string]bool
	password                 string
	limit                    int
	until                    int64
	members, admins, inRoles []string
}

func (c *change) options(list []ast.Option) (*options, error) {
	o := &options{given: map[string]bool{}, flags: map[string]bool{}}
	for i := range list {
		op := &list[i]
		if op.Name != "sysid" && o.given[op.Name] {
			return nil, pgerr.New(pgerr.SyntaxError, duplicateOpts).At(op.Pos)
		}
		o.given[op.Name] = true
		switch op.Name {
		case "superuser", "inherit", "createrole", "createdb", "canlogin", "isreplication", "bypassrls":
			o.flags[op.Name] = op.Text == "true"
		case "sysid":
			c.notice("NOTICE", "00000", "SYSID can no longer be specified")
		case "connectionlimit":
			n, err := strconv.Atoi(op.Text)
			if err != nil || n < -1 || n > 1<<31-1 {
				return nil, pgerr.New(pgerr.InvalidParameterValue, "invalid connection limit: %s", op.Text)
			}
			o.limit = n
		case "validUntil":
			u, err := validUntil(op.Text)
			if err != nil {
				return nil, err
			}
			o.until = u
		case "password":
			v, err := c.password(op)
			if err != nil {
				return nil, err
			}
			o.password = v
		case "rolemembers":
			o.members = op.List
		case "adminmembers":
			o.admins = op.List
		case "addroleto":
			o.inRoles = op.List
		default:
			return nil, pgerr.Unsupported("role option \""+op.Name+"\"", "")
		}
	}
	return o, nil
}

// validUntil reads a time; 0 is for ever.
func validUntil(text string) (int64, error) {
	t := types.Of(types.TimestamptzOID)
	d, err := types.ParseText(t, []byte(text), types.DefaultEnv)
	if err != nil {
		return 0, err
	}
	switch d.I {
	case 1<<63 - 1: // infinity
		return 0, nil
	case -1 << 63:
		return 1, nil // the password has never been good
	}
	return d.I + time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), nil
}

// password makes the verifier of PASSWORD '...'; empty removes it.
func (c *change) password(op *ast.Option) (string, error) {
	if !op.HasValue {
		return "", nil // PASSWORD NULL
	}
	if op.Text == "" {
		c.notice("NOTICE", "00000", "empty string is not a valid password, clearing password")
		return "", nil
	}
	if role.IsMD5(op.Text) {
		return "", pgerr.Unsupported("a password in md5 form", "Give the password itself, or a SCRAM-SHA-256 verifier.")
	}
	if _, ok := role.ParseVerifier(op.Text); ok {
		return op.Text, nil
	}
	if len(op.Text) > 1024 {
		return "", pgerr.New(pgerr.InvalidParameterValue, "a password may have at most 1024 bytes")
	}
	v, err := role.NewVerifier(op.Text)
	if err != nil {
		return "", err
	}
	return v.String(), nil
}

func (o *options) apply(r *role.Role) {
	set := func(name string, to *bool, not bool) {
		if o.given[name] {
			*to = o.flags[name] != not
		}
	}
	set("superuser", &r.Super, false)
	set("inherit", &r.NoInherit, true)
	set("createrole", &r.CreateRole, false)
	set("createdb", &r.CreateDB, false)
	set("canlogin", &r.Login, false)
	set("isreplication", &r.Replication, false)
	set("bypassrls", &r.BypassRLS, false)
	if o.given["connectionlimit"] {
		r.Limited, r.Connections = o.limit >= 0, int32(max(o.limit, 0))
	}
	if o.given["validUntil"] {
		r.ValidUntil = o.until
	}
	if o.given["password"] {
		r.Password = o.password
	}
}

func (c *change) createRole(st *ast.CreateRole) error {
	o, err := c.options(st.Options)
	if err != nil {
		return err
	}
	switch {
	case o.flags["superuser"] && !c.super():
		return denied("must be superuser to create superusers")
	case o.flags["isreplication"] && !c.super():
		return denied("must be superuser to create replication users")
	case o.flags["bypassrls"] && !c.super():
		return denied("must be superuser to create bypassrls users")
	case !c.mayCreateRoles():
		return denied("permission denied to create role")
	}
	if why, reserved := role.Reserved(st.Name); reserved {
		e := pgerr.New(pgerr.ReservedName, "role name \"%s\" is reserved", st.Name)
		if why != "" {
			e = e.WithDetail("%s", why)
		}
		return e
	}
	if _, exists := c.role(st.Name); exists {
		return pgerr.New(pgerr.DuplicateObject, "role \"%s\" already exists", st.Name)
	}
	oid, err := c.w.NewObjectID(c.ctx)
	if err != nil {
		return err
	}
	r := &role.Role{OID: oid, Name: st.Name, Login: st.Kind == "USER"}
	o.apply(r)
	c.changed[r.Name] = r
	for _, parent := range o.inRoles {
		if err := c.addMember(parent, r.Name, false); err != nil {
			return err
		}
	}
	for _, m := range o.admins {
		if err := c.addMember(r.Name, c.special(m), true); err != nil {
			return err
		}
	}
	for _, m := range o.members {
		if err := c.addMember(r.Name, c.special(m), false); err != nil {
			return err
		}
	}
	return nil
}

// special resolves current_user and the like in an option's list.
func (c *change) special(name string) string {
	switch name {
	case "current_user", "current_role":
		return c.env.User
	case "session_user":
		return c.env.SessionUser
	}
	return name
}

// mayAlter checks the right to change another role.
func (c *change) mayAlter(name string) error {
	r, ok := c.role(name)
	switch {
	case !ok:
		return missingRole(name)
	case r.Super && !c.super():
		return denied("must be superuser to alter superusers")
	case !c.mayCreateRoles():
		return denied("permission denied")
	}
	return nil
}

func (c *change) alterRole(st *ast.AlterRole) error {
	name, err := c.named(st.Role, false)
	if err != nil {
		return err
	}
	o, err := c.options(st.Options)
	if err != nil {
		return err
	}
	if o.given["rolemembers"] {
		return c.alterGroup(name, st.Add, o.members)
	}
	r, _ := c.role(name)
	onlyOwnPassword := len(o.given) == 1 && o.given["password"] && name == c.env.User
	switch {
	case (r.Super || o.given["superuser"]) && !c.super():
		return denied("must be superuser to alter superuser roles or change superuser attribute")
	case (r.Replication || o.given["isreplication"]) && !c.super():
		return denied("must be superuser to alter replication roles or change replication attribute")
	case o.given["bypassrls"] && !c.super():
		return denied("must be superuser to change bypassrls attribute")
	case !c.mayCreateRoles() && !onlyOwnPassword:
		return denied("permission denied")
	}
	n, err := c.edit(name)
	if err != nil {
		return err
	}
	o.apply(n)
	if name == role.Root && (!n.Super || !n.Login) {
		return pgerr.Unsupported("taking SUPERUSER or LOGIN from \""+role.Root+"\"", "A cluster keeps one role that can repair it.")
	}
	return nil
}

// alterGroup is ALTER GROUP ADD and DROP USER.
func (c *change) alterGroup(group string, add int, members []string) error {
	for _, m := range members {
		m = c.special(m)
		if err := c.mayGrant(group); err != nil {
			return err
		}
		var err error
		if add > 0 {
			err = c.addMember(group, m, false)
		} else {
			err = c.removeMember(group, m, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// mayGrant checks the right to give a role's membership away.
func (c *change) mayGrant(group string) error {
	r, ok := c.role(group)
	switch {
	case !ok:
		return missingRole(group)
	case r.Super && !c.super():
		return denied("must be superuser to alter superusers")
	case !c.mayCreateRoles() && !c.roles.Admin(c.env.User, group):
		return denied("must have admin option on role \"%s\"", group)
	}
	return nil
}

// set is all roles with the changes made so far.
func (c *change) set() *role.Set {
	var all []*role.Role
	for _, r := range c.roles.All() {
		if _, ok := c.changed[r.Name]; !ok {
			all = append(all, r)
		}
	}
	for _, r := range c.changed {
		if r != nil {
			all = append(all, r)
		}
	}
	return role.NewSet(all, c.roles.Owner())
}

func (c *change) addMember(group, member string, admin bool) error {
	if _, ok := c.role(group); !ok {
		return missingRole(group)
	}
	if _, ok := c.role(member); !ok {
		return missingRole(member)
	}
	if group == role.DatabaseOwner {
		return pgerr.New(invalidGrant, "role \"%s\" cannot have explicit members", group)
	}
	if member == role.DatabaseOwner {
		return pgerr.New(invalidGrant, "role \"%s\" cannot be a member of any role", member)
	}
	if group == member || c.set().MemberProper(group, member) {
		return pgerr.New(invalidGrant, "role \"%s\" is a member of role \"%s\"", group, member)
	}
	m, err := c.edit(member)
	if err != nil {
		return err
	}
	for i := range m.MemberOf {
		if m.MemberOf[i].Role == group {
			if !admin || m.MemberOf[i].Admin {
				c.notice("NOTICE", "00000", "role \"%s\" is already a member of role \"%s\"", member, group)
				return nil
			}
			m.MemberOf[i].Admin, m.MemberOf[i].Grantor = true, c.env.User
			return nil
		}
	}
	m.MemberOf = append(m.MemberOf, role.Membership{Role: group, Admin: admin, Grantor: c.env.User})
	return nil
}

func (c *change) removeMember(group, member string, adminOnly bool) error {
	r, ok := c.role(member)
	if !ok {
		return missingRole(member)
	}
	i := slices.IndexFunc(r.MemberOf, func(m role.Membership) bool { return m.Role == group })
	if i < 0 {
		c.notice("WARNING", "01000", "role \"%s\" is not a member of role \"%s\"", member, group)
		return nil
	}
	m, err := c.edit(member)
	if err != nil {
		return err
	}
	if adminOnly {
		m.MemberOf[i].Admin = false
	} else {
		m.MemberOf = slices.Delete(m.MemberOf, i, i+1)
	}
	return nil
}

func (c *change) grantRoles(st *ast.GrantRole) error {
	members, err := c.namedAll(st.Grantees, false)
	if err != nil {
		return err
	}
	admin := false
	for _, o := range st.Options {
		if o.Name != "admin" {
			return pgerr.Unsupported("GRANT role WITH "+strings.ToUpper(o.Name), "Memberships inherit as the member's own INHERIT says.")
		}
		if admin = !o.HasValue || o.Text != "false"; !admin && !st.Revoke {
			return pgerr.Unsupported("GRANT role WITH ADMIN FALSE", "Use REVOKE ADMIN OPTION FOR.")
		}
	}
	for _, p := range st.Granted {
		if len(p.Columns) > 0 {
			return pgerr.New(invalidGrant, "column names cannot be included in GRANT/REVOKE ROLE")
		}
		if err := c.mayGrant(p.Name); err != nil {
			return err
		}
		for _, m := range members {
			if st.Revoke {
				err = c.removeMember(p.Name, m, admin)
			} else {
				err = c.addMember(p.Name, m, admin)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *change) dropRoles(st *ast.DropRole) error {
	if !c.mayCreateRoles() {
		return denied("permission denied to drop role")
	}
	for _, ar := range st.Roles {
		if ar.Special != "" {
			return pgerr.New(pgerr.InvalidParameterValue, "cannot use special role specifier in DROP ROLE")
		}
		r, ok := c.role(ar.Name)
		if !ok {
			if st.IfExists {
				c.notice("NOTICE", "00000", "role \"%s\" does not exist, skipping", ar.Name)
				continue
			}
			return missingRole(ar.Name)
		}
		switch {
		case ar.Name == c.env.User:
			return pgerr.New(objectInUse, "current user cannot be dropped")
		case ar.Name == c.env.SessionUser:
			return pgerr.New(objectInUse, "session user cannot be dropped")
		case r.Super && !c.super():
			return denied("must be superuser to drop superusers")
		case ar.Name == role.Root || role.Predefined(ar.Name):
			return pgerr.New(pgerr.DependentObjectsStillExist, "cannot drop role %s because it is required by the database system", ar.Name)
		}
		if deps := c.dependents(ar.Name); len(deps) > 0 {
			return pgerr.New(pgerr.DependentObjectsStillExist, "role \"%s\" cannot be dropped because some objects depend on it", ar.Name).
				WithDetail("%s", strings.Join(deps, "\n"))
		}
		if err := c.forget(ar.Name); err != nil {
			return err
		}
		c.changed[ar.Name] = nil
	}
	return nil
}

// forget removes memberships in a role, and its settings.
func (c *change) forget(name string) error {
	for _, r := range c.set().All() {
		if !slices.ContainsFunc(r.MemberOf, func(m role.Membership) bool { return m.Role == name || m.Grantor == name }) {
			continue
		}
		n, err := c.edit(r.Name)
		if err != nil {
			return err
		}
		n.MemberOf = slices.DeleteFunc(n.MemberOf, func(m role.Membership) bool { return m.Role == name })
		for i := range n.MemberOf {
			if n.MemberOf[i].Grantor == name {
				n.MemberOf[i].Grantor = role.Root
			}
		}
	}
	for _, s := range c.cat.Access().Settings {
		if s.Role == name {
			if err := c.w.PutSettings(catalog.SessionSettings{Database: s.Database, Role: name}); err != nil {
				return err
			}
		}
	}
	return nil
}

// dependents lists what stands in the way of dropping a role, as PostgreSQL words it.
func (c *change) dependents(name string) []string {
	type dependent struct {
		oid  uint32
		what string
	}
	var out []dependent
	add := func(oid uint32, format string, args ...any) {
		out = append(out, dependent{oid, fmt.Sprintf(format, args...)})
	}
	a := c.cat.Access()
	if a.Database.Owner == name {
		add(1, "owner of database %s", c.env.Database)
	}
	if a.Database.ACL.Mentions(name) {
		add(1, "privileges for database %s", c.env.Database)
	}
	for _, s := range c.cat.Schemas() {
		if s.Owner == name {
			add(uint32(s.ID), "owner of schema %s", s.Name)
		} else if s.ACL.Mentions(name) {
			add(uint32(s.ID), "privileges for schema %s", s.Name)
		}
	}
	for _, t := range c.cat.Tables() {
		if t.Virtual {
			continue
		}
		if t.Owner == name {
			add(uint32(t.ID), "owner of %s", c.describe(t))
		} else if t.ACL.Mentions(name) {
			add(uint32(t.ID), "privileges for %s", c.describe(t))
		}
		for i := range t.Columns {
			if t.Columns[i].ACL.Mentions(name) && t.Owner != name {
				add(uint32(t.ID), "privileges for column %s of %s", t.Columns[i].Name, c.describe(t))
			}
		}
	}
	for _, d := range a.Defaults {
		what := fmt.Sprintf("default privileges on new %s belonging to role %s", defaultKinds[d.Class], d.Role)
		if s, ok := c.cat.SchemaByID(d.Schema); ok && d.Schema != 0 {
			what += " in schema " + s.Name
		}
		if d.Role == name {
			add(d.OID, "owner of %s", what)
		} else if d.ACL.Mentions(name) {
			add(d.OID, "privileges for %s", what)
		}
	}
	slices.SortStableFunc(out, func(a, b dependent) int { return cmp.Compare(a.oid, b.oid) })
	whats := make([]string, len(out))
	for i, d := range out {
		whats[i] = d.what
	}
	return whats
}

var defaultKinds = map[role.Class]string{'r': "relations", 'S': "sequences", 'n': "schemas", 'f': "functions", 'T': "types"}

func (c *change) renameRole(st *ast.Rename) error {
	r, ok := c.role(st.Old)
	if !ok {
		return missingRole(st.Old)
	}
	switch {
	case st.Old == c.env.SessionUser:
		return pgerr.New(pgerr.FeatureNotSupported, "session user cannot be renamed")
	case st.Old == c.env.User:
		return pgerr.New(pgerr.FeatureNotSupported, "current user cannot be renamed")
	}
	for _, n := range []string{st.Old, st.New} {
		if why, reserved := role.Reserved(n); reserved {
			e := pgerr.New(pgerr.ReservedName, "role name \"%s\" is reserved", n)
			if why != "" {
				e = e.WithDetail("%s", why)
			}
			return e
		}
	}
	if st.Old == role.Root {
		return pgerr.Unsupported("renaming \""+role.Root+"\"", "")
	}
	if _, exists := c.role(st.New); exists {
		return pgerr.New(pgerr.DuplicateObject, "role \"%s\" already exists", st.New)
	}
	if r.Super && !c.super() {
		return denied("must be superuser to rename superusers")
	}
	if !c.mayCreateRoles() {
		return denied("permission denied to rename role")
	}
	n, err := c.edit(st.Old)
	if err != nil {
		return err
	}
	n.Name = st.New
	c.changed[st.Old] = nil
	c.changed[st.New] = n
	for _, o := range c.roles.All() {
		if o.Name == st.Old || !slices.ContainsFunc(o.MemberOf, func(m role.Membership) bool { return m.Role == st.Old || m.Grantor == st.Old }) {
			continue
		}
		e, err := c.edit(o.Name)
		if err != nil {
			return err
		}
		renameIn(e.MemberOf, st.Old, st.New)
	}
	renameIn(n.MemberOf, st.Old, st.New)
	return c.rewrite(func(owner string) string {
		if owner == st.Old {
			return st.New
		}
		return owner
	}, func(a role.ACL) role.ACL { return a.Rename(st.Old, st.New) }, true)
}

func renameIn(ms []role.Membership, before, after string) {
	for i := range ms {
		if ms[i].Role == before {
			ms[i].Role = after
		}
		if ms[i].Grantor == before {
			ms[i].Grantor = after
		}
	}
}
