package sql

import (
	"bytes"
	"context"
	"slices"
	"sort"
	"strings"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

// KeyNames says what keys are, in the words of a catalog version: tables, indexes, values of columns.
type KeyNames struct {
	snap catalog.Snapshot
	env  *types.TextEnv
}

// KeyNames goes by the catalog as of now.
func (srv *Server) KeyNames(ctx context.Context) (*KeyNames, error) {
	snap, err := srv.catalogNow(ctx)
	if err != nil {
		return nil, err
	}
	return &KeyNames{snap, types.DefaultEnv}, nil
}

// Owner names what a key belongs to; empty if it is in no table that exists.
func (n *KeyNames) Owner(k keys.Key) (schema, table, index string) {
	t, ix := indexOfKey(n.snap, k)
	if t == nil {
		return "", "", ""
	}
	if sc, ok := n.snap.SchemaByID(t.Schema); ok {
		schema = sc.Name
	}
	if ix != nil {
		index = ix.Name
	}
	return schema, t.Name, index
}

// Pretty prints a key as table/index/values, where the catalog knows it.
func (n *KeyNames) Pretty(k keys.Key) string {
	t, ix := indexOfKey(n.snap, k)
	if t == nil || ix == nil {
		return keys.Pretty(k)
	}
	return rowenc.Pretty(k, t, ix, n.env)
}

// Span is where the keys of a table are: name, or schema.name, as a person writes it.
func (n *KeyNames) Span(table string) (keys.Span, error) {
	t, err := relationNamed(n.snap, []string{"public", "pg_catalog"}, table)
	if err != nil {
		return keys.Span{}, err
	}
	if t.Virtual || t.DataID == 0 {
		return keys.Span{}, notATable(t)
	}
	k := keys.Table(t.DataID)
	return keys.Span{Start: k, End: k.PrefixEnd()}, nil
}

// tableSpan is where the keys of a table are.
type tableSpan struct {
	start, end keys.Key
	name       string // with its schema, unless that is public
}

// tableSpans are in key order.
type tableSpans []tableSpan

// tables finds all that have keys.
func (n *KeyNames) tables() tableSpans {
	var out tableSpans
	for _, t := range n.snap.Tables() {
		if t.Virtual || t.DataID == 0 {
			continue
		}
		name := t.Name
		if sc, ok := n.snap.SchemaByID(t.Schema); ok && sc.Name != "public" {
			name = sc.Name + "." + name
		}
		k := keys.Table(t.DataID)
		out = append(out, tableSpan{k, k.PrefixEnd(), name})
	}
	slices.SortFunc(out, func(a, b tableSpan) int { return bytes.Compare(a.start, b.start) })
	return out
}

// in names the tables that can have rows between two keys.
func (ts tableSpans) in(start, end keys.Key) (names []string) {
	i := sort.Search(len(ts), func(i int) bool { return start.Less(ts[i].end) })
	for ; i < len(ts) && ts[i].start.Less(end); i++ {
		names = append(names, ts[i].name)
	}
	return names
}

// Tables returns a function that names the tables that can have rows between two keys, with their schemas where these are not public.
func (n *KeyNames) Tables() func(start, end keys.Key) []string { return n.tables().in }

// Key is that of the row of a table whose primary key begins with these values.
func (n *KeyNames) Key(table string, values []string) (keys.Key, error) {
	t, err := relationNamed(n.snap, []string{"public", "pg_catalog"}, table)
	if err != nil {
		return nil, err
	}
	return rowKey(t, len(values), func(i int, of types.Type) (types.Datum, error) {
		return types.ParseText(of, []byte(values[i]), n.env)
	})
}

func notATable(t *catalog.Table) error {
	return pgerr.New(pgerr.WrongObjectType, "\"%s\" is not a table", t.Name)
}

// rowKey makes the key of a table's row from the first columns of its primary key.
func rowKey(t *catalog.Table, columns int, value func(i int, of types.Type) (types.Datum, error)) (keys.Key, error) {
	if t.Virtual || t.Kind != 'r' || t.Primary() == nil {
		return nil, notATable(t)
	}
	ix, err := rowenc.ForIndex(t, t.Primary())
	if err != nil {
		return nil, err
	}
	if columns > ix.KeyColumns() {
		return nil, pgerr.New(pgerr.InvalidParameterValue, "%d values given, more than the primary key of \"%s\" has columns", columns, t.Name)
	}
	key := ix.Prefix().Clone()
	for i := range columns {
		d, err := value(i, ix.ColumnType(i))
		if err != nil {
			return nil, err
		}
		if key, err = ix.AppendColumn(key, i, d); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// relationNamed looks a relation up by a name as a person writes it: name, schema.name, database.schema.name, with quotes where needed.
func relationNamed(snap catalog.Snapshot, path []string, name string) (*catalog.Table, error) {
	parts := splitName(name)
	if len(parts) == 3 {
		if parts[0] != DefaultDatabase {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "cross-database references are not implemented: \"%s\"", name)
		}
		parts = parts[1:]
	}
	schemas := path
	if len(parts) == 2 {
		schemas = parts[:1]
	}
	if len(parts) == 1 || len(parts) == 2 {
		for _, sc := range schemas {
			if t, ok := snap.Table(sc, parts[len(parts)-1]); ok {
				return t, nil
			}
		}
		if t := indexed(snap, schemas, parts[len(parts)-1]); t != nil {
			return nil, pgerr.New(pgerr.WrongObjectType, "\"%s\" is an index", name).WithHint("Name its table, \"%s\".", t.Name)
		}
	}
	return nil, pgerr.New(pgerr.UndefinedTable, "relation \"%s\" does not exist", name)
}

// indexed is the table that has an index of this name in one of the schemas; nil if none has.
func indexed(snap catalog.Snapshot, schemas []string, name string) *catalog.Table {
	for _, t := range snap.Tables() {
		if !slices.ContainsFunc(t.Indexes, func(ix catalog.Index) bool { return ix.Name == name }) {
			continue
		}
		if sc, ok := snap.SchemaByID(t.Schema); ok && slices.Contains(schemas, sc.Name) {
			return t
		}
	}
	return nil
}

// ExecAs runs statements in the name of a user, with that user's privileges, and discards what they return.
func (srv *Server) ExecAs(ctx context.Context, user, text string) error {
	_, err := srv.ExecWarned(ctx, user, text)
	return err
}

// ExecWarned is ExecAs that returns warnings.
func (srv *Server) ExecWarned(ctx context.Context, user, text string) (warnings []string, err error) {
	c := &nobody{}
	s, err := srv.NewSession(SessionArgs{User: user, Database: DefaultDatabase, PID: srv.NewPID()}, c)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, s.Cancel)
	defer stop()
	err = s.Query(text)
	return c.warnings, err
}

// nobody is the client of a session that nobody is connected to: it takes everything, and keeps nothing but warnings.
type nobody struct {
	pos      int64
	warnings []string
}

var _ Client = (*nobody)(nil)

func (c *nobody) wrote()                                       { c.pos++ }
func (c *nobody) Describe(*RowShape)                           { c.wrote() }
func (c *nobody) Rows(*RowShape, *types.Batch, int, int) error { c.wrote(); return nil }
func (c *nobody) Complete([]byte)                              { c.wrote() }
func (c *nobody) Empty()                                       { c.wrote() }
func (c *nobody) Suspended()                                   { c.wrote() }
func (c *nobody) Notice(n *pgerr.Error) {
	if n.Severity == "WARNING" {
		c.warnings = append(c.warnings, n.Message)
	}
}
func (c *nobody) Parameter(string, string) {}
func (c *nobody) CopyIn(bool, int)         {}
func (c *nobody) CopyData() ([]byte, error) {
	return nil, pgerr.New(pgerr.FeatureNotSupported, "COPY FROM STDIN is not possible here")
}
func (c *nobody) CopyOut(bool, int)                     { c.wrote() }
func (c *nobody) CopyRow([]byte)                        { c.wrote() }
func (c *nobody) CopyDone()                             { c.wrote() }
func (c *nobody) Position() int64                       { return c.pos }
func (c *nobody) Cut(from int64) (data []byte, ok bool) { c.pos = from; return nil, true }
func (c *nobody) Raw([]byte)                            {}
func (c *nobody) Sum(int64) (sum uint64, ok bool)       { return 0, false } // nothing is kept to compare with: blocks are not replayed
func (c *nobody) Hold(bool)                             {}
func (*nobody) BeforeSending(func() error)              {}
func (c *nobody) Final() bool                           { return true }
func (c *nobody) Err() error                            { return nil }

// QuoteName writes a name that a person wrote (name, schema.name, with quotes where needed) as SQL.
func QuoteName(name string) string {
	parts := splitName(name)
	for i, p := range parts {
		parts[i] = `"` + strings.ReplaceAll(p, `"`, `""`) + `"`
	}
	return strings.Join(parts, ".")
}
