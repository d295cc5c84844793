package catalog

import (
	"reflect"
	"slices"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
)

// Identifiers. TableID is also the number in the table's keys and PostgreSQL's pg_class OID.
type (
	TableID  uint32
	IndexID  uint32
	ColumnID uint32
	SchemaID uint32
)

// State of a column, index or constraint in an online change.
type State uint8

const (
	Public     State = iota // read and written
	WriteOnly               // written, not read: being backfilled
	DeleteOnly              // deletes are propagated: on its way in or out
)

// Column of a table.
type Column struct {
	ID      ColumnID
	Name    string
	Type    types.Type
	NotNull bool
	Hidden  bool // the row id of a table without a primary key
	State   State
	// Default is SQL text, empty for none (it is deparsed in pg_attrdef and bound per plan).
	Default string
	// Identity is 'a' (always), 'd' (by default) or 0; Sequence is the table id of the sequence behind it or behind serial.
	Identity byte
	Sequence TableID
	// Dropped columns keep their place so that attnum is stable; Ordinal is attnum-1.
	Dropped bool
	// Missing is the value of rows that are older than the column, in the row encoding; nil is NULL.
	Missing []byte
	// ACL of the column; nil: no privileges beyond the table's.
	ACL role.ACL `json:",omitempty"`
}

// IndexColumn is a key column of an index.
type IndexColumn struct {
	Column     ColumnID
	Desc       bool
	NullsFirst bool
}

// Index of a table. Index 1 is the primary index: it holds the rows.
type Index struct {
	ID      IndexID
	OID     uint32 // pg_class OID of the index
	Name    string
	Unique  bool
	Primary bool
	Columns []IndexColumn
	// Include lists columns stored in the index's value beyond the key.
	Include []ColumnID
	// Predicate of a partial index: SQL text; rows for which it is not true have no entry.
	Predicate string `json:",omitempty"`
	State     State
	// Constraint: the index backs a PRIMARY KEY or UNIQUE constraint of its name.
	Constraint bool
	// Comment on the index, ConstraintComment on its constraint.
	Comment           string
	ConstraintComment string
	// Options are storage parameters that mean something (pamir.*).
	Options []string
}

// ForeignKey says that the values of Columns, where none of them is NULL, are among those of RefColumns in the table RefTable. The
// referenced table lists this one in ReferencedBy, so that whoever deletes there knows, and so that adding a key changes both descriptors.
type ForeignKey struct {
	OID        uint32 // of the constraint
	Name       string
	Columns    []ColumnID
	RefTable   TableID
	RefColumns []ColumnID
	// RefIndex is the unique index of the referenced table that the key rests on; its columns are RefColumns in some order.
	RefIndex IndexID
	// Actions are 'a' no action, 'r' restrict, 'c' cascade, 'n' set null, 'd' set default, as in pg_constraint. DeleteColumns are those that
	// ON DELETE SET NULL or SET DEFAULT sets; nil means all.
	OnUpdate, OnDelete byte
	DeleteColumns      []ColumnID
	// Full is MATCH FULL: all columns are NULL, or none.
	Full                 bool
	Deferrable, Deferred bool
	// NotValid: rows from before the key have not been looked at.
	NotValid bool
	Comment  string
}

// Check constraint.
type Check struct {
	Name  string
	Expr  string // SQL text
	State State
	// Comment on the constraint.
	Comment string
}

// Table is a table's descriptor.
type Table struct {
	ID      TableID
	Schema  SchemaID
	Name    string
	Version uint64
	// Shape is the Version with which anything but privileges and comments changed last; 0 means Version. See shape.
	Shape uint64 `json:",omitempty"`
	Owner string
	// ACL nil is the default: everything to the owner, nothing to others.
	ACL role.ACL
	// Kind as in pg_class.relkind: 'r' table, 'v' view, 'S' sequence.
	Kind    byte
	Columns []Column
	Indexes []Index
	Checks  []Check
	// ForeignKeys of the table; ReferencedBy are the tables with foreign keys to this one, itself perhaps among them.
	ForeignKeys  []ForeignKey
	ReferencedBy []TableID
	// Options are storage parameters (fillfactor and friends, accepted and kept; pamir.*).
	Options []string
	// ViewQuery of a view; Sequence options of a sequence.
	ViewQuery  string
	Sequence   *Sequence
	NextColumn ColumnID
	NextIndex  IndexID
	// DataID is the number in the keys; TRUNCATE and rewrites replace it.
	DataID uint64
	// Virtual tables (pg_catalog, information_schema, pamir) have no rows on disk.
	Virtual bool
	// FreshIn is the transaction that gave the table its DataID: until it commits nobody else can see rows under it.
	FreshIn kv.TxnID
	// DependsOn lists the relations that a view reads.
	DependsOn []TableID
	// Comment of the table; comments of columns are by column id.
	Comment        string
	ColumnComments map[ColumnID]string
}

// Sequence options.
type Sequence struct {
	Type                       types.OID
	Start, Increment, Min, Max int64
	From                       *int64 `json:",omitempty"` // what First is, if not Start; never written through
	Cache                      int64
	Cycle                      bool
	OwnedTable                 TableID
	OwnedColumn                ColumnID
}

// First is the number with which the present data began, or will begin: that of RESTART WITH, or Start as it was then.
func (q *Sequence) First() int64 {
	if q.From != nil {
		return *q.From
	}
	return q.Start
}

// Schema is a namespace.
type Schema struct {
	ID   SchemaID
	Name string
	// Owner role.
	Owner   string
	ACL     role.ACL
	Comment string
}

// Primary returns the primary index.
func (t *Table) Primary() *Index {
	for i := range t.Indexes {
		if t.Indexes[i].Primary {
			return &t.Indexes[i]
		}
	}
	return nil
}

// shape is the same as long as only privileges and comments change: reads, writes and plans mean the same.
func (t *Table) shape() uint64 {
	if t.Shape != 0 {
		return t.Shape
	}
	return t.Version
}

// sameShape reports whether a change of a descriptor is one of privileges and comments only.
func sameShape(before, after *Table) bool {
	bare := func(t *Table) *Table {
		n := *t
		n.Version, n.Shape, n.Owner, n.ACL, n.Comment, n.ColumnComments = 0, 0, "", nil, "", nil
		n.Columns, n.Indexes = slices.Clone(t.Columns), slices.Clone(t.Indexes)
		n.Checks, n.ForeignKeys = slices.Clone(t.Checks), slices.Clone(t.ForeignKeys)
		for i := range n.Columns {
			n.Columns[i].ACL = nil
		}
		for i := range n.Indexes {
			n.Indexes[i].Comment, n.Indexes[i].ConstraintComment = "", ""
		}
		for i := range n.Checks {
			n.Checks[i].Comment = ""
		}
		for i := range n.ForeignKeys {
			n.ForeignKeys[i].Comment = ""
		}
		return &n
	}
	return reflect.DeepEqual(bare(before), bare(after))
}

// ColumnByID returns the position of a column in Columns, or -1.
func (t *Table) ColumnByID(id ColumnID) int {
	for i := range t.Columns {
		if t.Columns[i].ID == id {
			return i
		}
	}
	return -1
}

// ColumnByName returns the position of a live column in Columns, or -1.
func (t *Table) ColumnByName(name string) int {
	for i := range t.Columns {
		if t.Columns[i].Name == name && !t.Columns[i].Dropped {
			return i
		}
	}
	return -1
}

// Snapshot is the catalog as of one timestamp. It is immutable and safe for concurrent use.
type Snapshot interface {
	// Version rises with every change; plans are cached under it.
	Version() uint64
	// Table looks a relation up by schema and name; ok is false if there is none.
	Table(schema, name string) (*Table, bool)
	TableByID(TableID) (*Table, bool)
	Schema(name string) (*Schema, bool)
	SchemaByID(SchemaID) (*Schema, bool)
	Schemas() []*Schema
	Tables() []*Table
	// Stats returns what ANALYZE and the ranges know of a table; rows < 0 if unknown.
	Stats(TableID) TableStats
	// Roles are all roles, Access what else decides who may do what.
	Roles() *role.Set
	Access() *Access
}

// TableStats for the planner.
type TableStats struct {
	// At is when they were counted. Auto: nobody had asked for it.
	At       time.Time
	Auto     bool `json:",omitempty"`
	Rows     float64
	Distinct map[ColumnID]float64
	// Common are the values of a column that more than one row in a hundred has, the commonest first, MaxCommon at most.
	Common map[ColumnID][]CommonValue `json:",omitempty"`
}

// MaxCommon bounds what is kept of a column.
const MaxCommon = 20

// CommonValue is a value by its hash (types.Hash), so that statistics hold no data, and the share of rows that have it.
type CommonValue struct {
	Hash  uint64
	Share float64
}
