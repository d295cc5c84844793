package plan

import (
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Env is what planning may know of the session.
type Env struct {
	// SearchPath are the schemas where unqualified names are looked up, in order. pg_catalog comes first unless it is listed.
	SearchPath []string
	User       string
	Database   string
	// ParamTypes are the types that the client gave its parameters, 0 for those to be inferred. Params is how many
	// parameters the statement has at least.
	ParamTypes []types.OID
	Params     int
	// Peek are the values that the parameters have this time, nil if they are not known. Estimates look at them; the plan is right for any others.
	Peek []types.Datum
	// Schema refuses a schema that the user may not use when a statement names it; nil allows all.
	Schema func(*catalog.Schema) error

	// locksUnasked: the locking clause is not the user's, who needs no privilege for it.
	locksUnasked bool
}

// Build plans SELECT, INSERT, UPDATE and DELETE. Errors are *pgerr.Error.
func Build(cat catalog.Snapshot, env *Env, stmt ast.Statement) (out *Statement, err error) {
	s := &Statement{CatalogVersion: cat.Version(), ReadOnly: true, Uses: &catalog.Uses{}}
	b := newBinder(s.Uses.Watch(cat), env)
	defer b.catch(&err)
	p := &physical{b: b, stmt: s}
	switch stmt := stmt.(type) {
	case *ast.Select:
		r, cols := b.topSelect(stmt)
		pure := !hasVolatile(r)
		s.Root, s.Tag = p.query(r, cols), "SELECT"
		if len(s.Subplans) == 0 {
			s.KeyRead = keyRead(s.Root)
			s.Pure = pure && !b.writes
		}
	case *ast.Insert:
		s.Root, s.Tag = p.dml(b.insert(stmt, nil)), "INSERT 0"
	case *ast.Update:
		s.Root, s.Tag = p.dml(b.update(stmt, nil)), "UPDATE"
		s.Writes = written(s.Root)
	case *ast.Delete:
		s.Root, s.Tag = p.dml(b.delete(stmt, nil)), "DELETE"
		s.Writes = written(s.Root)
	default:
		return nil, pgerr.Unsupported("planning "+stmt.Tag(), "")
	}
	s.Columns = s.Root.Fields()
	s.ReadOnly = !b.writes
	s.OuterSlots = p.slots
	s.Params = b.paramTypes()
	s.Needs = b.takeNeeds()
	if s.KeyRead != nil {
		s.Peeks = nil // there is no better plan
	}
	return s, nil
}

// binder gives names and types to one statement's tree. Its methods leave by throw.
type binder struct {
	cat  catalog.Snapshot
	env  *Env
	cols []colMeta
	// pos remembers where columns, literals and other leaves were written.
	pos    map[expr.Expr]int
	params *expr.ParamTypes
	subs   []*subquery
	ctes   int
	writes bool
	// rels counts relations: with more than one, EXPLAIN qualifies column names.
	rels int
	// path is the search path in use; views have their own.
	path []string
	// needs are the relations named so far. as is the owner of the view being expanded; quiet, that what is bound was not written by who runs the statement.
	needs []*Need
	as    string
	quiet bool
	// viewDepth guards against views that contain themselves.
	viewDepth int
}

// subquery is what an expr.Subplan's Plan refers to while planning.
type subquery struct {
	rel  rel
	cols []outCol
	// free are the columns of enclosing queries, as in Subplan.Args.
	free []colID
	// optimized: rel has been rewritten.
	optimized bool
	// at and text are the query that it stands in and what it was made of, to find it written again.
	at   *query
	text *ast.Sublink
}

// outCol is a column of a query's result.
type outCol struct {
	name string
	id   colID
	// pos is where its expression was written.
	pos int
}

func newBinder(cat catalog.Snapshot, env *Env) *binder {
	b := &binder{cat: cat, env: env, pos: map[expr.Expr]int{}, params: &expr.ParamTypes{}}
	n := max(env.Params, len(env.ParamTypes))
	b.params.Types = make([]types.OID, n)
	copy(b.params.Types, env.ParamTypes)
	b.path = searchPath(env.SearchPath)
	return b
}

func searchPath(path []string) []string {
	for _, s := range path {
		if s == "pg_catalog" {
			return path
		}
	}
	return append([]string{"pg_catalog"}, path...)
}

func (b *binder) catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case thrown:
		*err = r.err
	default:
		panic(r)
	}
}

// paramTypes ends inference: what is still unknown cannot be determined.
func (b *binder) paramTypes() []types.Type {
	out := make([]types.Type, len(b.params.Types))
	for i, t := range b.params.Types {
		if t == 0 || t == types.UnknownOID {
			b.throw(pgerr.New(pgerr.IndeterminateDatatype, "could not determine data type of parameter $%d", i+1))
		}
		out[i] = types.Of(t)
	}
	return out
}

// param makes $n.
func (b *binder) param(n, pos int) expr.Expr {
	for len(b.params.Types) < n {
		b.params.Types = append(b.params.Types, 0)
	}
	e := &expr.Param{Index: n - 1, T: types.Of(types.UnknownOID)}
	if t := b.params.Types[n-1]; t != 0 && t != types.UnknownOID {
		e.T = types.Of(t)
	} else {
		e.Infer = b.params
	}
	b.pos[e] = pos
	return e
}

// lookupTable resolves a table name along the search path; nil if there is none.
func (b *binder) lookupTable(schema, name string) (*catalog.Table, string) {
	if schema != "" {
		if t, ok := b.cat.Table(schema, name); ok {
			return t, schema
		}
		return nil, ""
	}
	for _, s := range b.path {
		if t, ok := b.cat.Table(s, name); ok {
			return t, s
		}
	}
	return nil, ""
}

// table resolves a table name or fails.
func (b *binder) table(n *ast.TableName) (*catalog.Table, string) {
	if n.Catalog != "" && n.Catalog != b.env.Database {
		b.fail(n.Pos, pgerr.FeatureNotSupported, "cross-database references are not implemented: \"%s.%s.%s\"", n.Catalog, n.Schema, n.Name)
	}
	if n.Schema != "" && b.env.Schema != nil && b.viewDepth == 0 {
		if s, ok := b.cat.Schema(n.Schema); ok {
			b.check(b.env.Schema(s), n.Pos)
		}
	}
	t, schema := b.lookupTable(n.Schema, n.Name)
	if t == nil {
		if n.Schema != "" {
			if _, ok := b.cat.Schema(n.Schema); !ok {
				b.fail(n.Pos, pgerr.UndefinedTable, "relation \"%s.%s\" does not exist", n.Schema, n.Name)
			}
			b.fail(n.Pos, pgerr.UndefinedTable, "relation \"%s.%s\" does not exist", n.Schema, n.Name)
		}
		b.fail(n.Pos, pgerr.UndefinedTable, "relation \"%s\" does not exist", n.Name)
	}
	return t, schema
}

func (b *binder) tableOID(t *catalog.Table) expr.Expr {
	return &expr.Const{T: types.Of(types.OidOID), Value: types.NewInt(int64(t.ID))}
}

// conjuncts splits a condition at its ANDs.
func conjuncts(dst []expr.Expr, e expr.Expr) []expr.Expr {
	if a, ok := e.(*expr.And); ok {
		for _, x := range a.Args {
			dst = conjuncts(dst, x)
		}
		return dst
	}
	if c, ok := e.(*expr.Const); ok && !c.Value.Null && c.Value.I != 0 {
		return dst
	}
	return append(dst, e)
}

// conjunction joins conditions; nil for none.
func conjunction(es []expr.Expr) expr.Expr {
	switch len(es) {
	case 0:
		return nil
	case 1:
		return es[0]
	}
	return &expr.And{Args: es}
}
