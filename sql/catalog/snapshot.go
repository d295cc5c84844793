package catalog

import (
	"cmp"
	"maps"
	"slices"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

type qualified struct {
	schema SchemaID
	name   string
}

// snapshot implements Snapshot. It is built once and never changed.
type snapshot struct {
	row     versionRow
	byID    map[TableID]*Table
	byName  map[qualified]*Table
	byData  map[uint64]*Table
	schemas map[string]*Schema
	schByID map[SchemaID]*Schema
	tables  []*Table
	list    []*Schema
	stats   map[TableID]TableStats
	stored  map[string]*Role
	roles   *role.Set
	access  *Access
}

func newSnapshot(row versionRow, schemas []*Schema, tables []*Table) *snapshot {
	s := &snapshot{row: row, byID: map[TableID]*Table{}, byName: map[qualified]*Table{}, byData: map[uint64]*Table{},
		schemas: map[string]*Schema{}, schByID: map[SchemaID]*Schema{}, stats: map[TableID]TableStats{}, stored: map[string]*Role{}, access: newAccess()}
	for _, sc := range schemas {
		s.addSchema(sc)
	}
	for _, t := range tables {
		s.addTable(t)
	}
	return s
}

// NewSnapshot makes a snapshot that is not stored anywhere: for tests, and for planning outside of a database.
func NewSnapshot(version uint64, schemas []*Schema, tables []*Table, stats map[TableID]TableStats) Snapshot {
	s := newSnapshot(versionRow{version: version}, schemas, tables)
	for id, st := range stats {
		s.stats[id] = st
	}
	s.finish()
	return s
}

func (s *snapshot) addSchema(sc *Schema) {
	s.schemas[sc.Name], s.schByID[sc.ID] = sc, sc
	s.list = append(s.list, sc)
}

func (s *snapshot) addTable(t *Table) {
	s.byID[t.ID] = t
	s.byName[qualified{t.Schema, t.Name}] = t
	if t.DataID != 0 {
		s.byData[t.DataID] = t
	}
	s.tables = append(s.tables, t)
}

// add takes a stored row.
func (s *snapshot) add(key, value []byte) error {
	table, _, rest, err := keys.DecodeIndex(key)
	if err != nil {
		return err
	}
	switch table {
	case descriptorTable:
		t := &Table{}
		if err := decodeObject(value, t); err != nil {
			return err
		}
		s.addTable(t)
	case schemaTable:
		sc := &Schema{}
		if err := decodeObject(value, sc); err != nil {
			return err
		}
		s.addSchema(sc)
	case statsTable:
		var st storedStats
		if err := decodeObject(value, &st); err != nil {
			return err
		}
		s.stats[st.Table] = st.Stats
	case roleTable:
		r := &Role{}
		if err := decodeObject(value, r); err != nil {
			return err
		}
		s.stored[r.Name] = r
	case accessTable:
		return s.access.addAccess(rest, value)
	default:
		return pgerr.New(pgerr.InternalError, "no catalog table %d", table)
	}
	return nil
}

func (s *snapshot) finish() {
	slices.SortFunc(s.tables, func(a, b *Table) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(s.list, func(a, b *Schema) int { return cmp.Compare(a.ID, b.ID) })
	s.roles = role.NewSet(slices.Collect(maps.Values(s.stored)), s.access.Database.Owner)
}

type storedStats struct {
	Table TableID
	Stats TableStats
}

func (s *snapshot) Version() uint64 { return s.row.version }

// Roles implements Snapshot.
func (s *snapshot) Roles() *role.Set { return s.roles }

// Access implements Snapshot.
func (s *snapshot) Access() *Access { return s.access }

func (s *snapshot) Table(schema, name string) (*Table, bool) {
	sc, ok := s.schemas[schema]
	if !ok {
		return nil, false
	}
	t, ok := s.byName[qualified{sc.ID, name}]
	return t, ok
}

func (s *snapshot) TableByID(id TableID) (*Table, bool) { t, ok := s.byID[id]; return t, ok }

// TableByData returns the table whose rows are under a data id.
func (s *snapshot) TableByData(data uint64) (*Table, bool) { t, ok := s.byData[data]; return t, ok }

func (s *snapshot) Schema(name string) (*Schema, bool)     { sc, ok := s.schemas[name]; return sc, ok }
func (s *snapshot) SchemaByID(id SchemaID) (*Schema, bool) { sc, ok := s.schByID[id]; return sc, ok }
func (s *snapshot) Schemas() []*Schema                     { return s.list }
func (s *snapshot) Tables() []*Table                       { return s.tables }

func (s *snapshot) Stats(id TableID) TableStats {
	if st, ok := s.stats[id]; ok {
		return st
	}
	return TableStats{Rows: -1}
}
