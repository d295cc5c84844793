package ddl

import (
	"context"
	"maps"
	"slices"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/role"
)

// Env is what a schema change runs in.
type Env struct {
	Store *catalog.Store
	// Runtime carries the transaction. Its Catalog is the snapshot that the statement began with.
	Runtime *exec.Runtime
	// Uses is what the transaction's earlier statements have relied on; may be nil.
	Uses       *catalog.Uses
	SearchPath []string
	User       string
	// SessionUser is who SESSION_USER is. Allow checks that the user may run a query (CREATE TABLE AS); nil allows all.
	SessionUser string
	Allow       func(*plan.Statement) error
	Database    string
	// Notice takes NOTICEs and WARNINGs; may be nil.
	Notice func(*pgerr.Error)
	// SequenceValue is the number that a sequence gave last, or that it will begin with.
	SequenceValue func(*catalog.Table) (int64, error)
	// Changing is given the catalog with what the change has made so far, as it comes to be: sequences that its own rows take numbers of. May be nil.
	Changing func(catalog.Snapshot)
	// CheckRule refuses options of a placement rule (by name, without their prefix) that make no sense, and returns what those in set ask for and the cluster cannot
	// give now; nil refuses all. of is "table t" or "index i".
	CheckRule func(of string, options map[string]string, set []string) (warnings []string, err error)
	// Online makes a job of the build of an index over rows that exist; nil builds it in the transaction.
	Online *Online
}

// Handles reports whether Execute takes the statement.
func Handles(st ast.Statement) bool {
	switch st.(type) {
	case *ast.CreateTable, *ast.CreateTableAs, *ast.Drop, *ast.Truncate, *ast.CreateIndex, *ast.AlterTable, *ast.Rename,
		*ast.AlterSchema, *ast.CreateSchema, *ast.CreateView, *ast.CreateSequence, *ast.AlterSequence, *ast.Comment:
		return true
	}
	return false
}

// Execute runs a schema change and returns its command tag. The caller has begun a statement in the transaction
// (txn.Txn.StepStatement) and takes a new snapshot of the catalog afterwards.
func Execute(ctx context.Context, env *Env, st ast.Statement) (tag string, err error) {
	c := &change{env: env, ctx: ctx, tag: st.Tag()}
	switch st.(type) {
	case *ast.AlterTable, *ast.CreateIndex:
		// Rows that it copies or checks must still be the table's when it commits, at every isolation level: nobody who writes to the table waits for it, and
		// what others commit before it does would be missing in the copy, or unchecked.
		env.Runtime.Firm = true
	}
	if err := c.run(st); err != nil {
		return "", exec.Translate(err, env.Runtime.Catalog)
	}
	return c.tag, nil
}

// change is one schema change under way.
type change struct {
	env *Env
	ctx context.Context
	tag string
	w   *catalog.Writer
	// cat is the catalog with the changes made so far.
	cat *overlay
	// cascaded is what goes with what is dropped, and was not named, until the client is told.
	cascaded []string
}

func (c *change) run(st ast.Statement) error {
	var err error
	if c.w, err = c.env.Store.Writer(c.ctx, c.env.Runtime.Txn, c.env.Uses); err != nil {
		return err
	}
	c.cat = newOverlay(c.w.Snapshot())
	if f := c.env.Changing; f != nil {
		f(c.cat)
	}
	switch st := st.(type) {
	case *ast.CreateTable:
		return c.createTable(st)
	case *ast.CreateTableAs:
		return c.createTableAs(st)
	case *ast.Drop:
		return c.drop(st)
	case *ast.Truncate:
		return c.truncate(st)
	case *ast.CreateIndex:
		return c.createIndex(st)
	case *ast.AlterTable:
		return c.alterTable(st)
	case *ast.Rename:
		return c.rename(st)
	case *ast.AlterSchema:
		return c.setSchema(st)
	case *ast.CreateSchema:
		return c.createSchema(st)
	case *ast.CreateView:
		return c.createView(st)
	case *ast.CreateSequence:
		return c.createSequence(st)
	case *ast.AlterSequence:
		return c.alterSequence(st)
	case *ast.Comment:
		return c.comment(st)
	}
	return pgerr.Unsupported(st.Tag(), "")
}

func (c *change) notice(code, format string, args ...any) { c.say("NOTICE", code, format, args...) }

func (c *change) say(severity, code, format string, args ...any) {
	if c.env.Notice != nil {
		e := pgerr.New(code, format, args...)
		e.Severity = severity
		c.env.Notice(e)
	}
}

// overlay is a catalog with changes that are not in any snapshot yet.
type overlay struct {
	catalog.Snapshot
	version uint64
	tables  map[catalog.TableID]*catalog.Table // nil: dropped
	schemas map[catalog.SchemaID]*catalog.Schema
}

func newOverlay(base catalog.Snapshot) *overlay {
	return &overlay{Snapshot: base, version: base.Version() + 1, tables: map[catalog.TableID]*catalog.Table{},
		schemas: map[catalog.SchemaID]*catalog.Schema{}}
}

func (o *overlay) Version() uint64 { return o.version }

func (o *overlay) Table(schema, name string) (*catalog.Table, bool) {
	sc, ok := o.Schema(schema)
	if !ok {
		return nil, false
	}
	for _, t := range o.tables {
		if t != nil && t.Schema == sc.ID && t.Name == name {
			return t, true
		}
	}
	t, ok := o.Snapshot.Table(schema, name)
	if !ok {
		return nil, false
	}
	if _, changed := o.tables[t.ID]; changed {
		return nil, false // renamed or dropped
	}
	return t, true
}

func (o *overlay) TableByID(id catalog.TableID) (*catalog.Table, bool) {
	if t, changed := o.tables[id]; changed {
		return t, t != nil
	}
	return o.Snapshot.TableByID(id)
}

func (o *overlay) Tables() []*catalog.Table {
	var out []*catalog.Table
	for _, t := range o.Snapshot.Tables() {
		if _, changed := o.tables[t.ID]; !changed {
			out = append(out, t)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(o.tables)) {
		if t := o.tables[id]; t != nil {
			out = append(out, t)
		}
	}
	return out
}

func (o *overlay) Schema(name string) (*catalog.Schema, bool) {
	for _, s := range o.schemas {
		if s != nil && s.Name == name {
			return s, true
		}
	}
	s, ok := o.Snapshot.Schema(name)
	if !ok {
		return nil, false
	}
	if _, changed := o.schemas[s.ID]; changed {
		return nil, false
	}
	return s, true
}

func (o *overlay) SchemaByID(id catalog.SchemaID) (*catalog.Schema, bool) {
	if s, changed := o.schemas[id]; changed {
		return s, s != nil
	}
	return o.Snapshot.SchemaByID(id)
}

// create, replace and remove write a relation and keep the overlay in step.
func (c *change) create(t *catalog.Table) error {
	c.defaultPrivileges(t)
	c.cat.tables[t.ID] = t
	return c.w.CreateTable(c.ctx, t)
}

func (c *change) replace(before, after *catalog.Table) error {
	c.cat.tables[after.ID] = after
	return c.w.ReplaceTable(c.ctx, before, after)
}

func (c *change) remove(t *catalog.Table) error {
	c.cat.tables[t.ID] = nil
	for i := range t.Indexes {
		if hasName(&t.Indexes[i]) {
			if err := c.w.ReleaseName(t.Schema, t.Indexes[i].Name); err != nil {
				return err
			}
		}
	}
	return c.w.DropTable(t)
}

// hasName reports whether an index is known by its name: the one over hidden row ids is not.
func hasName(ix *catalog.Index) bool { return ix.OID != 0 }

// clone copies a descriptor so that it can be changed.
func clone(t *catalog.Table) *catalog.Table {
	n := *t
	n.Columns = slices.Clone(t.Columns)
	n.Indexes = slices.Clone(t.Indexes)
	for i := range n.Indexes {
		n.Indexes[i].Columns = slices.Clone(n.Indexes[i].Columns)
		n.Indexes[i].Include = slices.Clone(n.Indexes[i].Include)
		n.Indexes[i].Options = slices.Clone(n.Indexes[i].Options)
	}
	n.Checks = slices.Clone(t.Checks)
	n.ForeignKeys = slices.Clone(t.ForeignKeys)
	n.ReferencedBy = slices.Clone(t.ReferencedBy)
	n.Options = slices.Clone(t.Options)
	n.DependsOn = slices.Clone(t.DependsOn)
	n.ColumnComments = maps.Clone(t.ColumnComments)
	if t.Sequence != nil {
		s := *t.Sequence
		n.Sequence = &s
	}
	return &n
}

// find looks a relation up along the search path; it returns nil if there is none.
func (c *change) find(schema, name string) (*catalog.Table, error) {
	if schema != "" {
		if _, ok := c.cat.Schema(schema); !ok {
			return nil, pgerr.New(pgerr.InvalidSchemaName, "schema \"%s\" does not exist", schema)
		}
		if s, ok := c.cat.Schema(schema); ok && !c.onSchema(s, role.Usage) {
			return nil, pgerr.New(pgerr.InsufficientPrivilege, "permission denied for schema %s", schema)
		}
		t, _ := c.cat.Table(schema, name)
		return t, nil
	}
	if t, ok := c.cat.Table("pg_catalog", name); ok && !slices.Contains(c.env.SearchPath, "pg_catalog") {
		return t, nil
	}
	for _, s := range c.usable(c.env.SearchPath) {
		if t, ok := c.cat.Table(s, name); ok {
			return t, nil
		}
	}
	return nil, nil
}

// table finds a relation that the user owns.
func (c *change) table(n *ast.TableName) (*catalog.Table, error) {
	t, err := c.anyTable(n)
	if err != nil {
		return nil, err
	}
	return t, c.mustOwn(t)
}

// anyTable finds a relation that can be changed, whoever may do it.
func (c *change) anyTable(n *ast.TableName) (*catalog.Table, error) {
	t, err := c.find(n.Schema, n.Name)
	if err != nil {
		return nil, err
	}
	if t == nil {
		return nil, missingRelation(n)
	}
	if t.Virtual {
		return nil, pgerr.New(pgerr.InsufficientPrivilege, "permission denied: \"%s\" is a system catalog", t.Name)
	}
	return t, nil
}

func missingRelation(n *ast.TableName) error {
	name := n.Name
	if n.Schema != "" {
		name = n.Schema + "." + n.Name
	}
	return pgerr.New(pgerr.UndefinedTable, "relation \"%s\" does not exist", name)
}

// ownable reports whether objects can be made in a schema: the system's own have ids below all that are handed out.
func ownable(s *catalog.Schema) bool {
	return s.ID == catalog.PublicSchema || uint32(s.ID) >= catalog.FirstObjectID
}

// newSchemaFor says in which schema a new object goes.
func (c *change) newSchemaFor(schema string) (*catalog.Schema, error) {
	if schema != "" {
		s, ok := c.cat.Schema(schema)
		if !ok {
			return nil, pgerr.New(pgerr.InvalidSchemaName, "schema \"%s\" does not exist", schema)
		}
		if !ownable(s) {
			return nil, pgerr.New(pgerr.InsufficientPrivilege, "permission denied to create in schema \"%s\"", s.Name).
				WithDetail("System catalog modifications are currently disallowed.")
		}
		return s, c.mayCreateIn(s)
	}
	for _, name := range c.usable(c.env.SearchPath) {
		if s, ok := c.cat.Schema(name); ok && ownable(s) {
			return s, c.mayCreateIn(s)
		}
	}
	return nil, pgerr.New(pgerr.InvalidSchemaName, "no schema has been selected to create in")
}

func (c *change) planEnv() *plan.Env {
	return &plan.Env{SearchPath: c.env.SearchPath, User: c.env.User, Database: c.env.Database}
}

// insertParts is plan.InsertParts of a table as it is going to be.
func (c *change) insertParts(t *catalog.Table) (defaults []expr.Expr, checks []plan.CheckExpr, err error) {
	o := &overlay{Snapshot: c.cat, version: c.cat.version, tables: map[catalog.TableID]*catalog.Table{t.ID: t},
		schemas: map[catalog.SchemaID]*catalog.Schema{}}
	return plan.InsertParts(o, c.planEnv(), t)
}

// query plans and runs a SELECT over the overlay and returns whether it yields a row.
func (c *change) anyRow(sql string) (bool, error) {
	st, err := parse.One(sql)
	if err != nil {
		return false, err
	}
	pl, err := plan.Build(c.cat, c.planEnv(), st.Statement)
	if err != nil {
		return false, err
	}
	cur, err := exec.Start(c.ctx, c.env.Runtime, pl)
	if err != nil {
		return false, err
	}
	defer cur.Close()
	b, err := cur.Next(c.ctx)
	return b != nil, err
}

// qualifiedName is a relation's name in SQL.
func (c *change) qualifiedName(t *catalog.Table) string {
	s, ok := c.cat.SchemaByID(t.Schema)
	if !ok {
		return exec.QuoteIdent(t.Name)
	}
	return exec.QuoteIdent(s.Name) + "." + exec.QuoteIdent(t.Name)
}

// step lets the rest of a statement see what was written before.
func (c *change) step() error { return c.env.Runtime.Txn.StepStatement(c.ctx) }

// freshData gives a table a new data id.
func (c *change) freshData(t *catalog.Table) error {
	var err error
	t.DataID, err = c.w.NewDataID(c.ctx)
	t.FreshIn = c.env.Runtime.Txn.ID()
	return err
}

// firstLateIndex is where ids of indexes over existing rows begin: those of the indexes that a table is created with
// are below.
const firstLateIndex = 1000

// newIndexID returns an id that no index ever had over rows: it is not used again even if this transaction does not commit.
func (c *change) newIndexID() (catalog.IndexID, error) {
	n, err := c.w.NewDataID(c.ctx)
	return firstLateIndex + catalog.IndexID(n-keys.FirstUserTable), err
}
