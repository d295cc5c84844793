package pgcatalog

import (
	"strings"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
)

// privilegeKind is a family of has_*_privilege functions.
type privilegeKind struct {
	name  string
	words string
	// reg is the type by which objects of the kind are named; 0 if they are checked by find.
	reg  types.OID
	find func(c *call, name string) bool
	// have reports whether a user has any of the privileges on an object; known is false if there is no such object.
	have func(c *call, user string, oid uint32, any wanted) (has, known bool, err error)
}

// wanted are privileges, and those of which the grant option is asked for.
type wanted struct{ privs, options role.Privilege }

func (w wanted) of(c *call, user string, obj role.Object) bool {
	roles := c.o.Roles()
	return roles.Privileges(user, obj)&w.privs != 0 || roles.Options(user, obj)&w.options != 0
}

func everybody(known func(c *call, oid uint32) bool) func(*call, string, uint32, wanted) (bool, bool, error) {
	return func(c *call, user string, oid uint32, w wanted) (bool, bool, error) {
		return w.privs != 0 || c.o.Roles().Super(user), known(c, oid), nil
	}
}

var privilegeKinds = []privilegeKind{
	{name: "table", words: "SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER RULE", reg: types.RegclassOID, have: haveRelation},
	{name: "sequence", words: "USAGE SELECT UPDATE", reg: types.RegclassOID, have: haveSequence},
	{name: "any_column", words: "SELECT INSERT UPDATE REFERENCES", reg: types.RegclassOID, have: haveAnyColumn},
	{name: "schema", words: "CREATE USAGE", reg: types.RegnamespaceOID, have: func(c *call, user string, oid uint32, w wanted) (bool, bool, error) {
		s, ok := c.o.SchemaByID(catalog.SchemaID(oid))
		return ok && w.of(c, user, s.Object()), ok, nil
	}},
	{name: "database", words: "CREATE CONNECT TEMPORARY TEMP", find: func(c *call, name string) bool { return name == c.o.env.Database },
		have: func(c *call, user string, oid uint32, w wanted) (bool, bool, error) {
			d := c.o.Access().Database
			return w.of(c, user, d.Object()), oid == oidDatabase || oid == 0, nil
		}},
	{name: "function", words: "EXECUTE", reg: types.RegprocedureOID, have: everybody(func(c *call, oid uint32) bool { return builtin.FunctionByOID(oid) != nil })},
	{name: "type", words: "USAGE", reg: types.RegtypeOID, have: everybody(func(c *call, oid uint32) bool { return builtin.TypeByOID(types.OID(oid)) != nil })},
	{name: "language", words: "USAGE", find: func(c *call, name string) bool { return name == "sql" || name == "internal" || name == "c" },
		have: func(c *call, user string, oid uint32, w wanted) (bool, bool, error) {
			return c.o.Roles().Super(user), oid == 0 || oid >= 12 && oid <= 14, nil
		}},
	{name: "tablespace", words: "CREATE", find: func(c *call, name string) bool { return name == "pg_default" },
		have: func(c *call, user string, oid uint32, w wanted) (bool, bool, error) {
			return c.o.Roles().Super(user), oid == 0 || oid == oidTablespace, nil
		}},
	{name: "parameter", words: "SET ALTER-SYSTEM", find: func(c *call, name string) bool { return true },
		have: func(c *call, user string, oid uint32, w wanted) (bool, bool, error) {
			return c.o.Roles().Super(user), true, nil
		}},
}

func haveRelation(c *call, user string, oid uint32, w wanted) (bool, bool, error) {
	if t, ok := c.o.TableByID(catalog.TableID(oid)); ok {
		return w.of(c, user, t.Object()), true, nil
	}
	if r, ok := c.o.indexes()[oid]; ok {
		return w.of(c, user, r.table.Object()), true, nil
	}
	_, _, known := c.o.relationOf(oid)
	return known, known, nil
}

func haveSequence(c *call, user string, oid uint32, w wanted) (bool, bool, error) {
	t, ok := c.o.TableByID(catalog.TableID(oid))
	if ok && t.Kind != 'S' {
		return false, true, pgerr.New(pgerr.WrongObjectType, "\"%s\" is not a sequence", t.Name)
	}
	return ok && w.of(c, user, t.Object()), ok, nil
}

func haveAnyColumn(c *call, user string, oid uint32, w wanted) (bool, bool, error) {
	has, known, err := haveRelation(c, user, oid, w)
	if t, ok := c.o.TableByID(catalog.TableID(oid)); ok && !has {
		for i := range t.Columns {
			has = has || t.Columns[i].ACL != nil && w.of(c, user, role.Object{Class: 'c', Owner: t.Owner, ACL: t.Columns[i].ACL})
		}
	}
	return has, known, err
}

// registerPrivileges registers the has_*_privilege functions.
func registerPrivileges() {
	for _, k := range privilegeKinds {
		p := "has_" + k.name + "_privilege_"
		for _, how := range []string{"", "name_", "id_"} {
			for _, object := range []string{"name", "id"} {
				register(privilege(k, how, object), p+how+object)
			}
		}
	}
	for _, how := range []string{"", "name_", "id_"} {
		for _, object := range []string{"name", "id"} {
			for _, column := range []string{"_name", "_attnum"} {
				register(columnPrivilege(how, object, column), "has_column_privilege_"+how+object+column)
			}
			register(hasRole(how, object), "pg_has_role_"+how+object)
		}
	}
}

// role takes the role argument off and returns who is asked about.
func (c *call) role(how string, args []types.Datum) (user string, rest []types.Datum, err error) {
	switch how {
	case "name_":
		name := string(args[0].B)
		return name, args[1:], c.roleByName(name)
	case "id_":
		for _, r := range c.o.Roles().All() {
			if r.OID == uint32(args[0].I) {
				user = r.Name
			}
		}
		if user == "" {
			user = "\x00" // nobody: what everybody has
		}
		return user, args[1:], nil
	}
	return c.sess.User(), args, nil
}

func (c *call) roleByName(name string) error {
	if name == "public" {
		return nil
	}
	if _, ok := c.o.Roles().Get(name); ok {
		return nil
	}
	return pgerr.New(pgerr.UndefinedObject, "role \"%s\" does not exist", name)
}

// readWords reads a list of privileges.
func readWords(list, known string) (w wanted, err error) {
	for _, word := range strings.Split(list, ",") {
		word = strings.TrimSpace(word)
		u := strings.ToUpper(word)
		plain := strings.TrimSuffix(strings.TrimSuffix(u, " WITH GRANT OPTION"), " WITH ADMIN OPTION")
		ok := false
		for _, k := range strings.Fields(known) {
			ok = ok || strings.ReplaceAll(k, "-", " ") == plain
		}
		if !ok {
			return w, pgerr.New(pgerr.InvalidParameterValue, "unrecognized privilege type: \"%s\"", word)
		}
		p, _ := role.Parse(plain) // RULE, MEMBER: nobody has them
		if plain != u {
			w.options |= p
		} else {
			w.privs |= p
		}
	}
	return w, nil
}

func privilege(k privilegeKind, how, object string) catalogFunc {
	return func(c *call) (types.Datum, error) {
		user, args, err := c.role(how, c.args)
		if err != nil {
			return types.Datum{}, err
		}
		oid := uint32(0)
		if object == "id" {
			oid = uint32(args[0].I)
		} else {
			name := string(args[0].B)
			if k.reg != 0 {
				if oid, err = RegIn(c.sess, k.reg, name); err != nil {
					return types.Datum{}, err
				}
			} else if !k.find(c, name) {
				code := pgerr.UndefinedObject
				if k.name == "database" {
					code = pgerr.InvalidCatalogName
				}
				return types.Datum{}, pgerr.New(code, "%s \"%s\" does not exist", k.name, name)
			}
		}
		w, err := readWords(string(args[1].B), k.words)
		if err != nil {
			return types.Datum{}, err
		}
		has, known, err := k.have(c, user, oid, w)
		if err != nil {
			return types.Datum{}, err
		}
		if !known {
			return nothing()
		}
		return boolean(has), nil
	}
}

func columnPrivilege(how, object, column string) catalogFunc {
	return func(c *call) (types.Datum, error) {
		user, args, err := c.role(how, c.args)
		if err != nil {
			return types.Datum{}, err
		}
		oid := uint32(args[0].I)
		if object == "name" {
			if oid, err = RegIn(c.sess, types.RegclassOID, string(args[0].B)); err != nil {
				return types.Datum{}, err
			}
		}
		w, err := readWords(string(args[2].B), "SELECT INSERT UPDATE REFERENCES")
		if err != nil {
			return types.Datum{}, err
		}
		t, ok := c.o.TableByID(catalog.TableID(oid))
		if !ok {
			return nothing()
		}
		at := 0
		if column == "_attnum" {
			at = int(args[1].I) - 1
			if at >= len(t.Columns) || at >= 0 && t.Columns[at].Dropped {
				return nothing()
			}
		} else if at = t.ColumnByName(string(args[1].B)); at < 0 {
			return types.Datum{}, pgerr.New(pgerr.UndefinedColumn, "column \"%s\" of relation \"%s\" does not exist", args[1].B, t.Name)
		}
		has := w.of(c, user, t.Object())
		if !has && at >= 0 && t.Columns[at].ACL != nil {
			has = w.of(c, user, role.Object{Class: 'c', Owner: t.Owner, ACL: t.Columns[at].ACL})
		}
		return boolean(has), nil
	}
}

func hasRole(how, object string) catalogFunc {
	return func(c *call) (types.Datum, error) {
		user, args, err := c.role(how, c.args)
		if err != nil {
			return types.Datum{}, err
		}
		target := ""
		if object == "name" {
			if target = string(args[0].B); c.roleByName(target) != nil || target == "public" {
				return types.Datum{}, pgerr.New(pgerr.UndefinedObject, "role \"%s\" does not exist", target)
			}
		} else {
			for _, r := range c.o.Roles().All() {
				if r.OID == uint32(args[0].I) {
					target = r.Name
				}
			}
		}
		if _, err := readWords(string(args[1].B), "USAGE MEMBER"); err != nil {
			return types.Datum{}, err
		}
		roles, has := c.o.Roles(), false
		for _, word := range strings.Split(strings.ToUpper(string(args[1].B)), ",") {
			word = strings.TrimSpace(word)
			switch {
			case strings.HasSuffix(word, " OPTION"):
				has = has || roles.Admin(user, target)
			case word == "USAGE":
				has = has || roles.Has(user, target)
			default:
				has = has || roles.Member(user, target)
			}
		}
		return boolean(has), nil
	}
}
