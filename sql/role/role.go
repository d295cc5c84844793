package role

import (
	"cmp"
	"slices"
	"strings"
)

// Role of the cluster, as it is stored.
type Role struct {
	OID   uint32
	Name  string
	Super bool
	Login bool
	// Password is a SCRAM verifier, empty for none.
	Password    string
	CreateRole  bool `json:",omitempty"`
	CreateDB    bool `json:",omitempty"`
	NoInherit   bool `json:",omitempty"`
	Replication bool `json:",omitempty"`
	BypassRLS   bool `json:",omitempty"`
	// Limited: at most Connections of the role, per node.
	Limited     bool  `json:",omitempty"`
	Connections int32 `json:",omitempty"`
	// ValidUntil ends the password, in microseconds since 1970; 0: never.
	ValidUntil int64        `json:",omitempty"`
	MemberOf   []Membership `json:",omitempty"`
}

// Membership of a role in another one.
type Membership struct {
	Role    string
	Admin   bool `json:",omitempty"`
	Grantor string
}

// Names with a meaning.
const (
	Root          = "root"
	DatabaseOwner = "pg_database_owner"
	ReadAll       = "pg_read_all_data"
	WriteAll      = "pg_write_all_data"
	Monitor       = "pg_monitor"
	ReadStats     = "pg_read_all_stats"
	ReadSettings  = "pg_read_all_settings"
	Signal        = "pg_signal_backend"
	// Viewer may look at ranges, nodes and plans of the cluster; Operator may also change them: split, move, drain.
	Viewer   = "pamir_viewer"
	Operator = "pamir_operator"
)

// predefined roles, with PostgreSQL's object ids where it has them.
var predefined = []Role{
	{OID: 6171, Name: DatabaseOwner},
	{OID: 6181, Name: ReadAll},
	{OID: 6182, Name: WriteAll},
	{OID: 3373, Name: Monitor, MemberOf: []Membership{{Role: ReadSettings, Grantor: Root}, {Role: ReadStats, Grantor: Root},
		{Role: "pg_stat_scan_tables", Grantor: Root}, {Role: Viewer, Grantor: Root}}},
	{OID: 3374, Name: ReadSettings},
	{OID: 3375, Name: ReadStats},
	{OID: 3377, Name: "pg_stat_scan_tables"},
	{OID: 4569, Name: "pg_read_server_files"},
	{OID: 4570, Name: "pg_write_server_files"},
	{OID: 4571, Name: "pg_execute_server_program"},
	{OID: 4200, Name: Signal},
	{OID: 4544, Name: "pg_checkpoint"},
	{OID: 15960, Name: Viewer},
	{OID: 15961, Name: Operator, MemberOf: []Membership{{Role: Viewer, Grantor: Root}}},
}

// Predefined reports whether a name is that of a role that every cluster has and that cannot be changed.
func Predefined(name string) bool {
	return slices.ContainsFunc(predefined, func(r Role) bool { return r.Name == name })
}

// Reserved reports whether no role may be created under a name, and why.
func Reserved(name string) (why string, reserved bool) {
	switch {
	case strings.HasPrefix(name, "pg_"):
		return "Role names starting with \"pg_\" are reserved.", true
	case name == "public" || name == "none":
		return "", true
	case Predefined(name):
		return "", true
	}
	return "", false
}

// Set is all roles.
type Set struct {
	byName map[string]*Role
	list   []*Role
	// owner of the database: the only member of pg_database_owner.
	owner string
}

// NewSet makes a set of the stored roles and the predefined ones.
func NewSet(stored []*Role, databaseOwner string) *Set {
	s := &Set{byName: make(map[string]*Role, len(stored)+len(predefined)), owner: databaseOwner}
	for i := range predefined {
		s.add(&predefined[i])
	}
	for _, r := range stored {
		s.add(r)
	}
	if s.byName[Root] == nil {
		s.add(&Role{OID: 10, Name: Root, Super: true, Login: true, CreateRole: true, CreateDB: true, Replication: true, BypassRLS: true})
	}
	slices.SortFunc(s.list, func(a, b *Role) int { return cmp.Compare(a.OID, b.OID) })
	return s
}

func (s *Set) add(r *Role) {
	if s.byName[r.Name] == nil {
		s.byName[r.Name] = r
		s.list = append(s.list, r)
	}
}

// Get finds a role by name.
func (s *Set) Get(name string) (*Role, bool) { r, ok := s.byName[name]; return r, ok }

// All lists the roles by object id.
func (s *Set) All() []*Role { return s.list }

// Super reports whether a role is a superuser.
func (s *Set) Super(name string) bool {
	r := s.byName[name]
	return r != nil && r.Super
}

// Same reports whether two sets have the same roles, the very same ones, and the database the same owner.
func (s *Set) Same(o *Set) bool {
	return s == o || s.owner == o.owner && slices.EqualFunc(s.list, o.list, func(a, b *Role) bool { return a == b })
}

// Owner of the database.
func (s *Set) Owner() string { return s.owner }

// reach walks the memberships of a role, the role itself included, until f says that it has found what it looks for.
func (s *Set) reach(from string, inherit bool, f func(name string) bool) bool {
	seen := map[string]bool{from: true}
	for todo := []string{from}; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		if f(name) {
			return true
		}
		if name == s.owner && !seen[DatabaseOwner] {
			seen[DatabaseOwner] = true
			todo = append(todo, DatabaseOwner)
		}
		r := s.byName[name]
		if r == nil || inherit && r.NoInherit {
			continue
		}
		for _, m := range r.MemberOf {
			if !seen[m.Role] {
				seen[m.Role] = true
				todo = append(todo, m.Role)
			}
		}
	}
	return false
}

// Member reports whether a role is, directly or not, a member of another, or that role itself, or a superuser: SET ROLE is allowed.
func (s *Set) Member(name, of string) bool { return s.Super(name) || s.MemberProper(name, of) }

// MemberProper is Member without what superusers may.
func (s *Set) MemberProper(name, of string) bool {
	return name == of || s.reach(name, false, func(n string) bool { return n == of })
}

// Has reports whether a role has the privileges of another one without SET ROLE.
func (s *Set) Has(name, of string) bool {
	return name == of || s.Super(name) || s.reach(name, true, func(n string) bool { return n == of })
}

// Admin reports whether a role may give away membership in another one.
func (s *Set) Admin(name, of string) bool {
	if s.Super(name) {
		return true
	}
	return s.reach(name, false, func(n string) bool {
		r := s.byName[n]
		return r != nil && slices.ContainsFunc(r.MemberOf, func(m Membership) bool { return m.Role == of && m.Admin })
	})
}

// InheritsFrom lists the roles whose privileges a role has, itself first.
func (s *Set) InheritsFrom(name string) []string {
	var out []string
	s.reach(name, true, func(n string) bool { out = append(out, n); return false })
	return out
}
