package pgcatalog

import (
	"slices"
	"time"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
)

// owner is the id of a role; that of root for what has none.
func (o *Overlay) owner(name string) int64 {
	if r, ok := o.Roles().Get(name); ok {
		return int64(r.OID)
	}
	return oidRoot
}

// acl sets a column of type aclitem[]; nil is NULL.
func (b *builder) acl(name string, a role.ACL) *builder {
	if a == nil {
		return b.set(name, types.NullDatum)
	}
	return b.set(name, aclDatum(a))
}

func aclDatum(a role.ACL) types.Datum {
	items := a.Strings()
	ds := make([]types.Datum, len(items))
	for i, s := range items {
		ds[i] = types.NewString(s)
	}
	return types.NewArray(types.MakeArray1(types.AclitemOID, ds))
}

// pgTime turns microseconds since 1970 into PostgreSQL's since 2000.
func pgTime(us int64) int64 { return us - time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() }

func connections(r *role.Role) int64 {
	if r.Limited {
		return int64(r.Connections)
	}
	return -1
}

func fillAuthid(o *Overlay, b *builder) {
	for _, r := range o.Roles().All() {
		b.row().i("oid", int64(r.OID)).s("rolname", r.Name).b("rolsuper", r.Super).b("rolinherit", !r.NoInherit).b("rolcreaterole", r.CreateRole).
			b("rolcreatedb", r.CreateDB).b("rolcanlogin", r.Login).b("rolreplication", r.Replication).b("rolbypassrls", r.BypassRLS).i("rolconnlimit", connections(r))
		if r.Password != "" {
			b.s("rolpassword", r.Password)
		}
		if r.ValidUntil != 0 {
			b.i("rolvaliduntil", pgTime(r.ValidUntil))
		}
	}
}

// settingStrings are a role's settings as rolconfig and setconfig have them.
func settingStrings(s *catalog.SessionSettings) []string {
	out := make([]string, len(s.Settings))
	for i, x := range s.Settings {
		out[i] = x.Name + "=" + x.Value
	}
	return out
}

func (o *Overlay) roleSettings(name string) []string {
	for i, s := range o.Access().Settings {
		if s.Role == name && s.Database == "" {
			return settingStrings(&o.Access().Settings[i])
		}
	}
	return nil
}

func fillRoles(o *Overlay, b *builder) {
	for _, r := range o.Roles().All() {
		b.row().i("oid", int64(r.OID)).s("rolname", r.Name).b("rolsuper", r.Super).b("rolinherit", !r.NoInherit).b("rolcreaterole", r.CreateRole).
			b("rolcreatedb", r.CreateDB).b("rolcanlogin", r.Login).b("rolreplication", r.Replication).b("rolbypassrls", r.BypassRLS).i("rolconnlimit", connections(r)).
			s("rolpassword", "********")
		if r.ValidUntil != 0 {
			b.i("rolvaliduntil", pgTime(r.ValidUntil))
		}
		if c := o.roleSettings(r.Name); c != nil {
			b.strings("rolconfig", c)
		}
	}
}

func fillUser(o *Overlay, b *builder)   { users(o, b, false) }
func fillShadow(o *Overlay, b *builder) { users(o, b, true) }

func users(o *Overlay, b *builder, secrets bool) {
	for _, r := range o.Roles().All() {
		if !r.Login {
			continue
		}
		b.row().s("usename", r.Name).i("usesysid", int64(r.OID)).b("usecreatedb", r.CreateDB).b("usesuper", r.Super).b("userepl", r.Replication).b("usebypassrls", r.BypassRLS)
		switch {
		case !secrets:
			b.s("passwd", "********")
		case r.Password != "":
			b.s("passwd", r.Password)
		}
		if r.ValidUntil != 0 {
			b.i("valuntil", pgTime(r.ValidUntil))
		}
		if c := o.roleSettings(r.Name); c != nil {
			b.strings("useconfig", c)
		}
	}
}

func fillMembers(o *Overlay, b *builder) {
	for _, r := range o.Roles().All() {
		for _, m := range r.MemberOf {
			if g, ok := o.Roles().Get(m.Role); ok {
				b.row().i("roleid", int64(g.OID)).i("member", int64(r.OID)).i("grantor", o.owner(m.Grantor)).b("admin_option", m.Admin)
			}
		}
	}
}

// fillGroup lists the roles that cannot log in, with their direct members.
func fillGroup(o *Overlay, b *builder) {
	for _, g := range o.Roles().All() {
		if g.Login {
			continue
		}
		members := []int64{}
		for _, r := range o.Roles().All() {
			if slices.ContainsFunc(r.MemberOf, func(m role.Membership) bool { return m.Role == g.Name }) {
				members = append(members, int64(r.OID))
			}
		}
		b.row().s("groname", g.Name).i("grosysid", int64(g.OID)).array("grolist", members)
	}
}

func fillDefaultACL(o *Overlay, b *builder) {
	for _, d := range o.Access().Defaults {
		b.row().i("oid", int64(d.OID)).i("defaclrole", o.owner(d.Role)).i("defaclnamespace", int64(d.Schema)).c("defaclobjtype", byte(d.Class)).acl("defaclacl", d.ACL)
	}
}

func fillRoleSettings(o *Overlay, b *builder) {
	for i := range o.Access().Settings {
		s := &o.Access().Settings[i]
		b.row().i("setdatabase", 0).i("setrole", 0)
		if s.Database != "" {
			b.i("setdatabase", oidDatabase)
		}
		if s.Role != "" {
			b.i("setrole", o.owner(s.Role))
		}
		b.strings("setconfig", settingStrings(s))
	}
}

// information_schema.

func fillISRoles(o *Overlay, b *builder) {
	for _, r := range o.Roles().All() {
		b.row().s("role_name", r.Name)
	}
}

func grantee(name string) string {
	if name == role.Public {
		return "PUBLIC"
	}
	return name
}

func fillISPrivileges(o *Overlay, b *builder) {
	for _, t := range o.Snapshot.Tables() {
		if t.Virtual || t.Kind != 'r' && t.Kind != 'v' {
			continue
		}
		obj := t.Object()
		for _, it := range obj.List() {
			for _, p := range it.Privs.Words() {
				bit, _ := role.Parse(p)
				b.row().s("grantor", it.Grantor).s("grantee", grantee(it.Grantee)).s("table_catalog", o.env.Database).s("table_schema", o.schemaOf(t)).s("table_name", t.Name).
					s("privilege_type", p).s("is_grantable", yesNo(it.Grant&bit != 0 || it.Grantee == t.Owner)).s("with_hierarchy", yesNo(p == "SELECT"))
			}
		}
	}
}

// aclDefault is acldefault(class, owner).
func aclDefault(c *call) (types.Datum, error) {
	class := role.Class(c.args[0].I)
	if class == 's' { // the letters here are not those of relations
		class = 'S'
	}
	owner := "unknown"
	for _, r := range c.o.Roles().All() {
		if r.OID == c.oid(1) {
			owner = r.Name
		}
	}
	a := role.Default(class, owner)
	if c := c.args[0].I; c == 'S' || c == 'F' {
		a = role.ACL{{Grantee: owner, Grantor: owner, Privs: role.Usage}}
	}
	if a == nil {
		a = role.ACL{}
	}
	return aclDatum(a), nil
}

func init() { register(aclDefault, "acldefault_sql") }
