package pgcatalog

import (
	"strings"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// privilegeKind is a family of has_*_privilege functions.
type privilegeKind struct {
	name  string
	words string
	// reg is the type by which objects of the kind are named; 0 if they are checked by find.
	reg  types.OID
	find func(c *call, name string) bool
	have func(c *call, oid uint32) bool
}

var privilegeKinds = []privilegeKind{
	{name: "table", words: "SELECT INSERT UPDATE DELETE TRUNCATE REFERENCES TRIGGER RULE", reg: types.RegclassOID, have: haveRelation},
	{name: "sequence", words: "USAGE SELECT UPDATE", reg: types.RegclassOID, have: haveRelation},
	{name: "any_column", words: "SELECT INSERT UPDATE REFERENCES", reg: types.RegclassOID, have: haveRelation},
	{name: "schema", words: "CREATE USAGE", reg: types.RegnamespaceOID, have: func(c *call, oid uint32) bool {
		_, ok := c.o.SchemaByID(catalog.SchemaID(oid))
		return ok
	}},
	{name: "database", words: "CREATE CONNECT TEMPORARY TEMP", find: func(c *call, name string) bool { return name == c.o.env.Database },
		have: func(c *call, oid uint32) bool { return oid == oidDatabase }},
	{name: "function", words: "EXECUTE", reg: types.RegprocedureOID, have: func(c *call, oid uint32) bool { return builtin.FunctionByOID(oid) != nil }},
	{name: "type", words: "USAGE", reg: types.RegtypeOID, have: func(c *call, oid uint32) bool { return builtin.TypeByOID(types.OID(oid)) != nil }},
	{name: "language", words: "USAGE", find: func(c *call, name string) bool { return name == "sql" || name == "internal" || name == "c" },
		have: func(c *call, oid uint32) bool { return oid >= 12 && oid <= 14 }},
	{name: "tablespace", words: "CREATE", find: func(c *call, name string) bool { return name == "pg_default" }, have: func(c *call, oid uint32) bool { return oid == oidTablespace }},
	{name: "parameter", words: "SET ALTER-SYSTEM", find: func(c *call, name string) bool { return true }},
}

func haveRelation(c *call, oid uint32) bool {
	_, _, ok := c.o.relationOf(oid)
	return ok
}

// registerPrivileges registers the has_*_privilege functions. Who may log in today may do
// everything; the functions check that what they are asked about exists.
func registerPrivileges() {
	for _, k := range privilegeKinds {
		p := "has_" + k.name + "_privilege_"
		for _, role := range []string{"", "name_", "id_"} {
			for _, object := range []string{"name", "id"} {
				register(privilege(k, role, object), p+role+object)
			}
		}
	}
	for _, role := range []string{"", "name_", "id_"} {
		for _, object := range []string{"name", "id"} {
			for _, column := range []string{"_name", "_attnum"} {
				register(columnPrivilege(role, object, column), "has_column_privilege_"+role+object+column)
			}
			register(hasRole(role, object), "pg_has_role_"+role+object)
		}
	}
}

// role checks the role argument and takes it off.
func (c *call) role(how string, args []types.Datum) ([]types.Datum, error) {
	switch how {
	case "name_":
		return args[1:], c.roleByName(string(args[0].B))
	case "id_":
		return args[1:], nil
	}
	return args, nil
}

func (c *call) roleByName(name string) error {
	if name == "public" {
		return nil
	}
	for _, r := range c.o.env.roles() {
		if r.Name == name {
			return nil
		}
	}
	return pgerr.New(pgerr.UndefinedObject, "role \"%s\" does not exist", name)
}

// words checks a list of privileges.
func checkWords(list, known string) error {
	for _, w := range strings.Split(list, ",") {
		w = strings.TrimSpace(w)
		u := strings.ToUpper(w)
		u = strings.TrimSuffix(u, " WITH GRANT OPTION")
		u = strings.TrimSuffix(u, " WITH ADMIN OPTION")
		ok := false
		for _, k := range strings.Fields(known) {
			ok = ok || strings.ReplaceAll(k, "-", " ") == u
		}
		if !ok {
			return pgerr.New(pgerr.InvalidParameterValue, "unrecognized privilege type: \"%s\"", w)
		}
	}
	return nil
}

func privilege(k privilegeKind, role, object string) catalogFunc {
	return func(c *call) (types.Datum, error) {
		args, err := c.role(role, c.args)
		if err != nil {
			return types.Datum{}, err
		}
		if object == "name" {
			name := string(args[0].B)
			if k.reg != 0 {
				if _, err := RegIn(c.sess, k.reg, name); err != nil {
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
		if err := checkWords(string(args[1].B), k.words); err != nil {
			return types.Datum{}, err
		}
		if object == "id" && k.have != nil && !k.have(c, uint32(args[0].I)) {
			return nothing()
		}
		return boolean(true), nil
	}
}

func columnPrivilege(role, object, column string) catalogFunc {
	return func(c *call) (types.Datum, error) {
		args, err := c.role(role, c.args)
		if err != nil {
			return types.Datum{}, err
		}
		oid := uint32(args[0].I)
		if object == "name" {
			if oid, err = RegIn(c.sess, types.RegclassOID, string(args[0].B)); err != nil {
				return types.Datum{}, err
			}
		}
		if err := checkWords(string(args[2].B), "SELECT INSERT UPDATE REFERENCES"); err != nil {
			return types.Datum{}, err
		}
		t, ok := c.o.TableByID(catalog.TableID(oid))
		if !ok {
			return nothing()
		}
		if column == "_attnum" {
			n := int(args[1].I)
			if n > len(t.Columns) || n > 0 && t.Columns[n-1].Dropped {
				return nothing()
			}
			return boolean(true), nil
		}
		if t.ColumnByName(string(args[1].B)) < 0 {
			return types.Datum{}, pgerr.New(pgerr.UndefinedColumn, "column \"%s\" of relation \"%s\" does not exist", args[1].B, t.Name)
		}
		return boolean(true), nil
	}
}

func hasRole(role, object string) catalogFunc {
	return func(c *call) (types.Datum, error) {
		args, err := c.role(role, c.args)
		if err != nil {
			return types.Datum{}, err
		}
		user := c.sess.User()
		switch role {
		case "name_":
			user = string(c.args[0].B)
		case "id_":
			user = ""
			for _, r := range c.o.env.roles() {
				if r.OID == uint32(c.args[0].I) {
					user = r.Name
				}
			}
		}
		target := uint32(args[0].I)
		if object == "name" {
			if err := c.roleByName(string(args[0].B)); err != nil {
				return types.Datum{}, err
			}
			for _, r := range c.o.env.roles() {
				if r.Name == string(args[0].B) {
					target = r.OID
				}
			}
		}
		if err := checkWords(string(args[1].B), "USAGE MEMBER SET"); err != nil {
			return types.Datum{}, err
		}
		for _, r := range c.o.env.roles() {
			if r.Name != user {
				continue
			}
			if r.Super || r.OID == target {
				return boolean(true), nil
			}
			for _, g := range r.MemberOf {
				if g == target {
					return boolean(true), nil
				}
			}
		}
		return boolean(false), nil
	}
}
