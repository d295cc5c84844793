package pgcatalog

import (
	"context"
	"sync"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Overlay is a catalog snapshot with the system relations.
type Overlay struct {
	catalog.Snapshot
	env Env

	mu   sync.Mutex
	data map[catalog.TableID]*relation
	// described are the comments; nil until somebody asks. Guarded by mu.
	described map[[3]int64]string
	// indexes finds an index's table by the index's id, indexNames its id by schema and name.
	indexes    func() map[uint32]indexRef
	indexNames func() map[indexName]uint32
}

type indexName struct {
	schema catalog.SchemaID
	name   string
}

type indexRef struct {
	table *catalog.Table
	index *catalog.Index
}

// Env is what the catalogs say of things outside of the catalog.
type Env struct {
	// Database is the database's name.
	Database string
	// Sizes is for the size functions; nil means that nothing is known.
	Sizes Sizes
}

// NewOverlay puts the system relations over a snapshot.
func NewOverlay(snap catalog.Snapshot, env Env) *Overlay {
	o := &Overlay{Snapshot: snap, env: env, data: map[catalog.TableID]*relation{}}
	o.indexes = sync.OnceValue(func() map[uint32]indexRef {
		m := map[uint32]indexRef{}
		for _, t := range snap.Tables() {
			for i := range t.Indexes {
				m[t.Indexes[i].OID] = indexRef{t, &t.Indexes[i]}
			}
		}
		return m
	})
	o.indexNames = sync.OnceValue(func() map[indexName]uint32 {
		m := map[indexName]uint32{}
		for oid, r := range o.indexes() {
			if oid != 0 {
				m[indexName{r.table.Schema, r.index.Name}] = oid
			}
		}
		return m
	})
	return o
}

var systemSchemas = []*catalog.Schema{{ID: oidPgCatalog, Name: "pg_catalog", Owner: "root"}, {ID: oidInfoSchema, Name: "information_schema", Owner: "root"},
	{ID: oidPamir, Name: "pamir", Owner: "root"}}

// Schemas and AllTables are the descriptors of the system's schemas and relations.
func Schemas() []*catalog.Schema { return systemSchemas }

// AllTables: see Schemas.
func AllTables() []*catalog.Table {
	s := system()
	out := make([]*catalog.Table, len(s.all))
	for i, d := range s.all {
		out[i] = d.table
	}
	return out
}

// Table implements catalog.Snapshot.
func (o *Overlay) Table(schema, name string) (*catalog.Table, bool) {
	if schema == "pg_catalog" || schema == "information_schema" || schema == "pamir" {
		if d := system().byName[schema+"."+name]; d != nil {
			return d.table, true
		}
	}
	return o.Snapshot.Table(schema, name)
}

// TableByID implements catalog.Snapshot.
func (o *Overlay) TableByID(id catalog.TableID) (*catalog.Table, bool) {
	if t, ok := o.Snapshot.TableByID(id); ok {
		return t, true
	}
	if d := system().byID[id]; d != nil {
		return d.table, true
	}
	return nil, false
}

// Underlying implements catalog.Underlying.
func (o *Overlay) Underlying() catalog.Snapshot { return o.Snapshot }

// OverlayOf finds the Overlay in a snapshot that may have others around it.
func OverlayOf(s catalog.Snapshot) (*Overlay, bool) {
	for {
		switch v := s.(type) {
		case *Overlay:
			return v, true
		case catalog.Underlying:
			s = v.Underlying()
		default:
			return nil, false
		}
	}
}

// TableByData returns the table whose rows are under a data id.
func (o *Overlay) TableByData(data uint64) (*catalog.Table, bool) {
	if s, ok := o.Snapshot.(interface {
		TableByData(uint64) (*catalog.Table, bool)
	}); ok {
		return s.TableByData(data)
	}
	return nil, false
}

// Schema implements catalog.Snapshot.
func (o *Overlay) Schema(name string) (*catalog.Schema, bool) {
	for _, s := range systemSchemas {
		if s.Name == name {
			return s, true
		}
	}
	return o.Snapshot.Schema(name)
}

// SchemaByID implements catalog.Snapshot.
func (o *Overlay) SchemaByID(id catalog.SchemaID) (*catalog.Schema, bool) {
	for _, s := range systemSchemas {
		if s.ID == id {
			return s, true
		}
	}
	return o.Snapshot.SchemaByID(id)
}

// Schemas implements catalog.Snapshot.
func (o *Overlay) Schemas() []*catalog.Schema {
	out := append([]*catalog.Schema(nil), systemSchemas...)
	for _, s := range o.Snapshot.Schemas() {
		if s.Name != "pg_catalog" && s.Name != "information_schema" && s.Name != "pamir" {
			out = append(out, s)
		}
	}
	return out
}

// Stats implements catalog.Snapshot: system relations have the size that their generated rows and the tables make.
func (o *Overlay) Stats(id catalog.TableID) catalog.TableStats {
	d := system().byID[id]
	if d == nil {
		return o.Snapshot.Stats(id)
	}
	n := 100.0
	if r, ok := o.ready(id); ok {
		n = float64(r.n)
	} else {
		switch d.table.Name {
		case "pg_proc":
			n = 3200
		case "pg_attribute":
			n = 3000
		case "pg_class", "pg_type":
			n = 600
		case "pg_operator", "pg_amop":
			n = 800
		case "pg_namespace", "pg_database", "pg_am", "pg_roles":
			n = 5
		}
	}
	return catalog.TableStats{Rows: max(n, 1)}
}

func (o *Overlay) ready(id catalog.TableID) (*relation, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	r, ok := o.data[id]
	return r, ok
}

// Session is what the catalogs and their functions ask of a session, besides builtin.Session.
type Session interface {
	builtin.Session
	// Overlay is the catalog as the session's transaction sees it.
	Overlay() (*Overlay, error)
	SessionUser() string
	// VirtualRows yields the rows of a relation that depends on the session (pg_settings, pg_stat_activity ...), in
	// text form, one value per column, nil for NULL; ok is false if the session has none.
	VirtualRows(table string) (rows [][]*string, ok bool)
	Superuser() bool
}

// relation is a system relation's rows, in columns.
type relation struct {
	def  *definition
	cols []*types.Vec
	n    int

	mu    sync.Mutex
	ints  map[int]map[int64][]int32
	texts map[int]map[string][]int32
}

// lookup returns the rows whose column has a value.
func (r *relation) lookup(col int, v types.Datum) ([]int32, bool) {
	c := r.cols[col]
	r.mu.Lock()
	defer r.mu.Unlock()
	switch c.Repr {
	case types.ReprInt:
		m := r.ints[col]
		if m == nil {
			m = make(map[int64][]int32, r.n)
			for i := range r.n {
				if !c.IsNull(i) {
					m[c.Ints[i]] = append(m[c.Ints[i]], int32(i))
				}
			}
			if r.ints == nil {
				r.ints = map[int]map[int64][]int32{}
			}
			r.ints[col] = m
		}
		return m[v.I], true
	case types.ReprBytes:
		m := r.texts[col]
		if m == nil {
			m = make(map[string][]int32, r.n)
			for i := range r.n {
				if !c.IsNull(i) {
					m[string(c.Bytes[i])] = append(m[string(c.Bytes[i])], int32(i))
				}
			}
			if r.texts == nil {
				r.texts = map[int]map[string][]int32{}
			}
			r.texts[col] = m
		}
		return m[string(v.B)], true
	}
	return nil, false
}

// relation returns a system relation's rows.
func (o *Overlay) relation(d *definition, sess Session) (*relation, error) {
	if d.table.Schema == oidPamir {
		return clusterRelation(d, sess)
	}
	if dynamic[d.table.Name] {
		b := newBuilder(d)
		if sess != nil {
			rows, _ := sess.VirtualRows(d.table.Name)
			for _, r := range rows {
				if err := b.text(r); err != nil {
					return nil, err
				}
			}
		}
		return b.done(), nil
	}
	id := d.table.ID
	if r, ok := o.ready(id); ok {
		return r, nil
	}
	b := newBuilder(d)
	if err := o.fill(b); err != nil {
		return nil, err
	}
	r := b.done()
	o.mu.Lock()
	defer o.mu.Unlock()
	if other, ok := o.data[id]; ok {
		return other, nil
	}
	o.data[id] = r
	return r, nil
}

// dynamic relations depend on the session or the moment.
var dynamic = map[string]bool{"pg_settings": true, "pg_stat_activity": true, "pg_stat_ssl": true, "pg_stat_database": true, "pg_prepared_statements": true, "pg_prepared_xacts": true, "pg_cursors": true, "pg_sequences": true,
	"pg_locks": true, "pg_hba_file_rules": true, "pg_file_settings": true, "pg_timezone_names": true, "pg_timezone_abbrevs": true}

// Tables answers scans of the system relations. It implements exec.VirtualTables.
type Tables struct{}

// Rows implements exec.VirtualTables.
func (Tables) Rows(ctx context.Context, rt *exec.Runtime, t *catalog.Table, columns []int, eq []exec.VirtualEq) (exec.VirtualRows, error) {
	o, ok := OverlayOf(rt.Catalog)
	d := system().byID[t.ID]
	if !ok || d == nil {
		return nil, pgerr.New(pgerr.InternalError, "no virtual table %q", t.Name)
	}
	sess, _ := rt.Ctx.Session.(Session)
	r, err := o.relation(d, sess)
	if err != nil {
		return nil, err
	}
	out := &scan{r: r, columns: columns, all: true}
	for _, e := range eq {
		if e.Value.Null {
			out.all, out.rows = false, nil
			break
		}
		if rows, ok := r.lookup(e.Column, e.Value); ok && (out.all || len(rows) < len(out.rows)) {
			out.all, out.rows = false, rows
		}
	}
	return out, nil
}

// scan hands rows out.
type scan struct {
	r       *relation
	columns []int
	all     bool
	rows    []int32
	at      int
}

func (s *scan) Next(_ context.Context, out []*types.Vec, limit int) (int, error) {
	if s.all {
		n := min(limit, s.r.n-s.at)
		for k, c := range s.columns {
			part := s.r.cols[c].Slice(s.at, s.at+n)
			out[k].AppendVec(&part, nil)
		}
		s.at += n
		return n, nil
	}
	n := min(limit, len(s.rows)-s.at)
	for k, c := range s.columns {
		out[k].AppendVec(s.r.cols[c], s.rows[s.at:s.at+n])
	}
	s.at += n
	return n, nil
}

// builder collects a relation's rows.
type builder struct {
	d    *definition
	cols []*types.Vec
	n    int
}

func newBuilder(d *definition) *builder {
	b := &builder{d: d, cols: make([]*types.Vec, len(d.table.Columns))}
	for i := range b.cols {
		b.cols[i] = types.NewVec(d.table.Columns[i].Type, 0)
	}
	return b
}

// row starts a row. Columns that are not set are NULL, or zero where the relation says NOT NULL.
func (b *builder) row() *builder {
	for i, c := range b.cols {
		if b.d.table.Columns[i].NotNull {
			c.AppendDatum(zero(c.Type.OID))
		} else {
			c.AppendNull()
		}
	}
	b.n++
	return b
}

func zero(t types.OID) types.Datum {
	switch types.ReprOf(t) {
	case types.ReprBytes:
		return types.NewBytes([]byte{})
	case types.ReprAny:
		return types.NewArray(&types.Array{Elem: types.ElemOf(t)})
	}
	return types.Datum{}
}

func (b *builder) set(name string, d types.Datum) *builder {
	i, ok := b.d.index[name]
	if !ok {
		panic("pgcatalog: " + b.d.table.Name + " has no column " + name)
	}
	b.cols[i].Set(b.n-1, d)
	return b
}

func (b *builder) i(name string, v int64) *builder   { return b.set(name, types.NewInt(v)) }
func (b *builder) s(name, v string) *builder         { return b.set(name, types.NewString(v)) }
func (b *builder) b(name string, v bool) *builder    { return b.set(name, types.NewBool(v)) }
func (b *builder) f(name string, v float64) *builder { return b.set(name, types.NewFloat(v)) }
func (b *builder) c(name string, v byte) *builder    { return b.set(name, types.NewInt(int64(v))) }

// vector sets an int2vector or oidvector: arrays whose first element has number 0.
func (b *builder) vector(name string, vs []int64) *builder {
	i := b.d.index[name]
	a := &types.Array{Elem: types.ElemOf(b.cols[i].Type.OID)}
	for _, v := range vs {
		a.Elems = append(a.Elems, types.NewInt(v))
	}
	a.Dims = []types.ArrayDim{{Len: int32(len(vs)), Lower: 0}}
	return b.set(name, types.NewArray(a))
}

// array sets a one-dimensional array of numbers.
func (b *builder) array(name string, vs []int64) *builder {
	i := b.d.index[name]
	ds := make([]types.Datum, len(vs))
	for k, v := range vs {
		ds[k] = types.NewInt(v)
	}
	return b.set(name, types.NewArray(types.MakeArray1(types.ElemOf(b.cols[i].Type.OID), ds)))
}

// strings sets an array of texts.
func (b *builder) strings(name string, vs []string) *builder {
	i := b.d.index[name]
	ds := make([]types.Datum, len(vs))
	for k, v := range vs {
		ds[k] = types.NewString(v)
	}
	return b.set(name, types.NewArray(types.MakeArray1(types.ElemOf(b.cols[i].Type.OID), ds)))
}

// text adds a row of text forms.
func (b *builder) text(row []*string) error {
	for i, c := range b.cols {
		if i >= len(row) || row[i] == nil {
			c.AppendNull()
			continue
		}
		d, err := types.ParseText(types.Of(c.Type.OID), []byte(*row[i]), types.DefaultEnv)
		if pgerr.Code(err) == pgerr.FeatureNotSupported {
			c.AppendNull() // a type without a text form here: better a NULL than no row
			continue
		}
		if err != nil {
			return pgerr.New(pgerr.InternalError, "row of %s, column %s: %v", b.d.table.Name, b.d.table.Columns[i].Name, err)
		}
		c.AppendDatum(d)
	}
	b.n++
	return nil
}

func (b *builder) done() *relation { return &relation{def: b.d, cols: b.cols, n: b.n} }
