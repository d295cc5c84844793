package plan

import (
	"fmt"
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
)

// testCatalog is a catalog made of CREATE statements.
type testCatalog struct {
	tables map[string]*catalog.Table
	stats  map[catalog.TableID]catalog.TableStats
}

func newTestCatalog() *testCatalog {
	return &testCatalog{tables: map[string]*catalog.Table{}, stats: map[catalog.TableID]catalog.TableStats{}}
}

func (c *testCatalog) Version() uint64 { return 1 }
func (c *testCatalog) Table(schema, name string) (*catalog.Table, bool) {
	if schema != "public" {
		return nil, false
	}
	t, ok := c.tables[name]
	return t, ok
}
func (c *testCatalog) TableByID(id catalog.TableID) (*catalog.Table, bool) {
	for _, t := range c.tables {
		if t.ID == id {
			return t, true
		}
	}
	return nil, false
}
func (c *testCatalog) Schema(name string) (*catalog.Schema, bool) {
	return &catalog.Schema{ID: 1, Name: "public"}, name == "public"
}
func (c *testCatalog) SchemaByID(catalog.SchemaID) (*catalog.Schema, bool) {
	return c.Schema("public")
}
func (c *testCatalog) Schemas() []*catalog.Schema { return nil }
func (c *testCatalog) Tables() []*catalog.Table   { return nil }
func (c *testCatalog) Roles() *role.Set           { return role.NewSet(nil, "root") }
func (c *testCatalog) Access() *catalog.Access    { return &catalog.Access{} }

func (c *testCatalog) Stats(id catalog.TableID) catalog.TableStats {
	if s, ok := c.stats[id]; ok {
		return s
	}
	return catalog.TableStats{Rows: -1}
}

// define runs CREATE TABLE, CREATE INDEX, CREATE VIEW and "-- rows t 1000".
func (c *testCatalog) define(sql string) error {
	for _, line := range strings.Split(sql, "\n") {
		var name string
		var rows float64
		if n, _ := fmt.Sscanf(line, "-- rows %s %g", &name, &rows); n == 2 {
			c.stats[c.tables[name].ID] = catalog.TableStats{Rows: rows}
			continue
		}
	}
	stmts, err := parse.Parse(sql)
	if err != nil {
		return err
	}
	for _, s := range stmts {
		switch s := s.Statement.(type) {
		case *ast.CreateTable:
			if err := c.createTable(s); err != nil {
				return err
			}
		case *ast.CreateIndex:
			t := c.tables[s.Table.Name]
			ix := catalog.Index{ID: catalog.IndexID(len(t.Indexes) + 1), Name: s.Name, Unique: s.Unique}
			for _, e := range s.Elems {
				ix.Columns = append(ix.Columns, catalog.IndexColumn{Column: t.Columns[t.ColumnByName(e.Name)].ID, Desc: e.Desc, NullsFirst: e.Desc})
			}
			for _, e := range s.Include {
				ix.Include = append(ix.Include, t.Columns[t.ColumnByName(e.Name)].ID)
			}
			t.Indexes = append(t.Indexes, ix)
		case *ast.CreateView:
			t := &catalog.Table{ID: catalog.TableID(1000 + len(c.tables)), Name: s.View.Name, Kind: 'v', ViewQuery: s.Text}
			st, err := Build(c, testEnv(nil), s.Query)
			if err != nil {
				return err
			}
			for i, f := range st.Columns {
				t.Columns = append(t.Columns, catalog.Column{ID: catalog.ColumnID(i + 1), Name: f.Name, Type: f.Type})
			}
			c.tables[t.Name] = t
		}
	}
	return nil
}

func (c *testCatalog) createTable(s *ast.CreateTable) error {
	t := &catalog.Table{ID: catalog.TableID(1000 + len(c.tables)), Name: s.Table.Name, Kind: 'r'}
	var pk []string
	index := func(name string, unique, primary bool, cols []string) {
		ix := catalog.Index{ID: catalog.IndexID(len(t.Indexes) + 1), Name: name, Unique: unique, Primary: primary, Constraint: true}
		for _, n := range cols {
			ord := t.ColumnByName(n)
			if primary {
				t.Columns[ord].NotNull = true
			}
			ix.Columns = append(ix.Columns, catalog.IndexColumn{Column: t.Columns[ord].ID})
		}
		t.Indexes = append(t.Indexes, ix)
	}
	var uniques [][]string
	constraint := func(k *ast.Constraint, col string, i int) {
		keys := k.Keys
		if keys == nil {
			keys = []string{col}
		}
		switch k.Kind {
		case ast.PrimaryConstraint:
			pk = keys
		case ast.UniqueConstraint:
			uniques = append(uniques, keys)
		case ast.NotNullConstraint:
			t.Columns[i].NotNull = true
		case ast.DefaultConstraint:
			t.Columns[i].Default = k.ExprText
		case ast.CheckConstraint:
			t.Checks = append(t.Checks, catalog.Check{Name: t.Name + "_check", Expr: k.ExprText})
		case ast.IdentityConstraint:
			t.Columns[i].Identity, t.Columns[i].Sequence = k.Identity, 77
		}
	}
	for i, d := range s.Columns {
		typ, err := ResolveType(d.Type)
		if err != nil {
			return err
		}
		t.Columns = append(t.Columns, catalog.Column{ID: catalog.ColumnID(i + 1), Name: d.Name, Type: typ})
		for _, k := range d.Constraints {
			constraint(k, d.Name, i)
		}
	}
	for _, k := range s.Constraints {
		constraint(k, "", 0)
	}
	if pk == nil {
		t.Columns = append(t.Columns, catalog.Column{ID: catalog.ColumnID(len(t.Columns) + 1), Name: "rowid", Type: types.Of(types.Int8OID), Hidden: true, NotNull: true})
		pk = []string{"rowid"}
	}
	index(t.Name+"_pkey", true, true, pk)
	for _, u := range uniques {
		index(t.Name+"_"+strings.Join(u, "_")+"_key", true, false, u)
	}
	c.tables[t.Name] = t
	return nil
}

func testEnv(params []types.OID) *Env {
	return &Env{SearchPath: []string{"public"}, Database: "defaultdb", User: "root", ParamTypes: params}
}
