package catalog

import (
	"crypto/rand"
	"maps"
	"slices"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/txn"
)

// Role of the cluster.
type Role = role.Role

// Access is what the catalog says of who may do what and how sessions begin, besides the roles and the lists of the objects themselves.
// It is immutable once published.
type Access struct {
	Database Database
	// Defaults are those of ALTER DEFAULT PRIVILEGES.
	Defaults []DefaultACL
	// Settings are those of ALTER ROLE ... SET and ALTER DATABASE ... SET.
	Settings []SessionSettings
	// Cluster are settings of the whole cluster (ALTER SYSTEM SET), by name in lower case.
	Cluster map[string]string
	// Secret makes answers to unknown users look like those to known ones, the same on all nodes.
	Secret []byte
}

// Database is the owner and the access list of the database.
type Database struct {
	Owner string
	ACL   role.ACL
}

// DefaultACL is given to objects of a class that a role makes: anywhere (Schema 0), instead of the class's own default, or in a
// schema, in addition.
type DefaultACL struct {
	OID    uint32
	Role   string
	Schema SchemaID
	Class  role.Class
	ACL    role.ACL
}

// SessionSettings begin the sessions of a role (empty: all) in a database (empty: any).
type SessionSettings struct {
	Database, Role string
	Settings       []SessionSetting
}

// SessionSetting is a name, as the setting is defined, and a value in canonical form.
type SessionSetting struct{ Name, Value string }

// Rows of the access table.
const (
	rowDatabase = 0
	rowDefaults = 1
	rowCluster  = 2
	rowSecret   = 3
	rowSettings = 4 // <database> <role> -> SessionSettings
)

func settingsKey(database, role string) keys.Key {
	return keys.AppendBytes(keys.AppendBytes(idKey(accessTable, rowSettings), []byte(database)), []byte(role))
}

// addAccess takes a stored row of the access table.
func (a *Access) addAccess(rest, value []byte) error {
	kind, _, err := keys.DecodeUvarint(rest)
	if err != nil {
		return err
	}
	switch kind {
	case rowDatabase:
		return decodeObject(value, &a.Database)
	case rowDefaults:
		return decodeObject(value, &a.Defaults)
	case rowCluster:
		return decodeObject(value, &a.Cluster)
	case rowSecret:
		return decodeObject(value, &a.Secret)
	case rowSettings:
		var s SessionSettings
		if err := decodeObject(value, &s); err != nil {
			return err
		}
		a.Settings = append(a.Settings, s)
		return nil
	}
	return pgerr.New(pgerr.DataCorrupted, "the access table holds a row of unknown kind %d", kind)
}

// remove takes out what a stored row put in.
func (a *Access) remove(rest []byte) error {
	kind, rest, err := keys.DecodeUvarint(rest)
	if err != nil {
		return err
	}
	fresh := newAccess()
	switch kind {
	case rowDatabase:
		a.Database = fresh.Database
	case rowDefaults:
		a.Defaults = nil
	case rowCluster:
		a.Cluster = nil
	case rowSecret:
		a.Secret = nil
	case rowSettings:
		database, rest, err := keys.DecodeBytes(rest)
		if err != nil {
			return err
		}
		name, _, err := keys.DecodeBytes(rest)
		if err != nil {
			return err
		}
		a.Settings = slices.DeleteFunc(a.Settings, func(s SessionSettings) bool { return s.Database == string(database) && s.Role == string(name) })
	}
	return nil
}

// clone copies what remove and addAccess change.
func (a *Access) clone() *Access {
	n := *a
	n.Settings = slices.Clone(a.Settings)
	return &n
}

func newAccess() *Access { return &Access{Database: Database{Owner: RootRole}} }

// SettingsFor returns the settings that a session of a role begins with; of those with one name the later win.
func (a *Access) SettingsFor(database, role string) []SessionSetting {
	var out []SessionSetting
	for _, want := range [][2]string{{database, ""}, {"", role}, {database, role}} {
		for _, s := range a.Settings {
			if s.Database == want[0] && s.Role == want[1] {
				out = append(out, s.Settings...)
			}
		}
	}
	return out
}

// initialAccess is what a new cluster begins with.
func initialAccess() (database, secret []byte, err error) {
	if database, err = encodeObject(Database{Owner: RootRole}); err != nil {
		return nil, nil, err
	}
	s := make([]byte, 32)
	rand.Read(s) // never fails
	secret, err = encodeObject(s)
	return database, secret, err
}

// PutDatabase writes the database's owner and access list.
func (w *Writer) PutDatabase(d Database) error { return w.put(idKey(accessTable, rowDatabase), d) }

// PutDefaults writes all default privileges.
func (w *Writer) PutDefaults(d []DefaultACL) error { return w.put(idKey(accessTable, rowDefaults), d) }

// PutCluster changes a setting of the cluster; an empty value removes it.
func (w *Writer) PutCluster(name, value string) error {
	m := maps.Clone(w.snap.Access().Cluster)
	if m == nil {
		m = map[string]string{}
	}
	if value == "" {
		delete(m, name)
	} else {
		m[name] = value
	}
	return w.put(idKey(accessTable, rowCluster), m)
}

// PutSettings writes what sessions begin with; without settings the row goes.
func (w *Writer) PutSettings(s SessionSettings) error {
	k := settingsKey(s.Database, s.Role)
	if len(s.Settings) == 0 {
		return w.delete(k)
	}
	return w.put(k, s)
}

// PutRole writes a role, DropRole removes one.
func (w *Writer) PutRole(r *Role) error { return w.put(roleKey(r.Name), r) }

// DropRole: see PutRole.
func (w *Writer) DropRole(name string) error { return w.delete(roleKey(name)) }

// Object makes what package role judges of a relation.
func (t *Table) Object() role.Object {
	c := role.Class('r')
	if t.Kind == 'S' {
		c = 'S'
	}
	acl := t.ACL
	if t.Virtual && acl == nil {
		switch {
		case t.Schema == PamirSchema:
			acl = viewable
		case unreadable[t.Name]:
			acl = role.ACL{}
		default:
			acl = readable
		}
	}
	return role.Object{Class: c, Owner: t.Owner, ACL: acl}
}

// System relations are for everybody to read, but for those with secrets; those of schema pamir show keys and statements of everybody.
var (
	viewable   = role.ACL{{Grantee: role.Viewer, Grantor: RootRole, Privs: role.Select}}
	readable   = role.ACL{{Grantee: role.Public, Grantor: RootRole, Privs: role.Select}}
	unreadable = map[string]bool{"pg_authid": true, "pg_shadow": true, "pg_statistic": true, "pg_subscription": true, "pg_user_mapping": true,
		"pg_hba_file_rules": true, "pg_ident_file_mappings": true, "pg_file_settings": true, "pg_config": true, "pg_backend_memory_contexts": true,
		"pg_shmem_allocations": true, "pg_replication_origin_status": true, "pg_statistic_ext_data": true, "pg_largeobject": true}
)

// Object makes what package role judges of a schema.
func (s *Schema) Object() role.Object {
	acl := s.ACL
	if acl == nil {
		switch {
		case s.ID == PublicSchema:
			acl = role.ACL{{Grantee: s.Owner, Grantor: s.Owner, Privs: role.Usage | role.Create}, {Grantee: role.Public, Grantor: s.Owner, Privs: role.Usage}}
		case uint32(s.ID) < FirstObjectID:
			acl = role.ACL{{Grantee: s.Owner, Grantor: s.Owner, Privs: role.Usage | role.Create}, {Grantee: role.Public, Grantor: s.Owner, Privs: role.Usage}}
		}
	}
	return role.Object{Class: 'n', Owner: s.Owner, ACL: acl}
}

// Object makes what package role judges of the database.
func (d *Database) Object() role.Object {
	return role.Object{Class: 'd', Owner: d.Owner, ACL: d.ACL}
}

// DefaultsFor returns the access list that a new object of a class gets: nil if it is the class's own default.
func (a *Access) DefaultsFor(owner string, schema SchemaID, class role.Class) role.ACL {
	var out role.ACL
	for _, d := range a.Defaults {
		if d.Role == owner && d.Schema == 0 && d.Class == class {
			out = slices.Clone(d.ACL)
		}
	}
	for _, d := range a.Defaults {
		if d.Role != owner || d.Schema != schema || d.Schema == 0 || d.Class != class {
			continue
		}
		if out == nil {
			out = role.Default(class, owner)
		}
		for _, it := range d.ACL {
			out, _ = out.With(it.Grantor, it.Grantee, it.Privs, false, owner, class)
			if it.Grant != 0 {
				out, _ = out.With(it.Grantor, it.Grantee, it.Grant, true, owner, class)
			}
		}
	}
	return out
}

// InitialAccess is written by a cluster that begins.
func (s *Store) initialRows(t txn.Txn) error {
	database, secret, err := initialAccess()
	if err != nil {
		return err
	}
	if err := t.Put(idKey(accessTable, rowDatabase), database); err != nil {
		return err
	}
	return t.Put(idKey(accessTable, rowSecret), secret)
}
