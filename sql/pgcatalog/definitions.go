package pgcatalog

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
)

// definition is one system relation.
type definition struct {
	table *catalog.Table
	// kind is the relation's kind in PostgreSQL; the descriptor's is always a table's.
	kind byte
	// column positions by name
	index map[string]int
}

// systemTables holds the definitions, made once.
type systemTables struct {
	byName map[string]*definition // "schema.name"
	byID   map[catalog.TableID]*definition
	all    []*definition
}

var system = sync.OnceValue(func() *systemTables {
	s := &systemTables{byName: map[string]*definition{}, byID: map[catalog.TableID]*definition{}}
	cols, rows, ok := builtin.Catalog("pg_class")
	if !ok {
		panic("pgcatalog: no generated pg_class")
	}
	at := positions(cols)
	for _, r := range rows {
		id := catalog.TableID(atoi(*r[at["oid"]]))
		schema := catalog.SchemaID(oidPgCatalog)
		if *r[at["relnamespace"]] != "11" {
			schema = oidInfoSchema
		}
		d := &definition{index: map[string]int{}, table: &catalog.Table{
			ID: id, Schema: schema, Name: *r[at["relname"]], Version: 1, Owner: "root", Kind: 'r', Virtual: true,
		}, kind: (*r[at["relkind"]])[0]}
		s.byID[id] = d
		s.all = append(s.all, d)
		s.byName[schemaName(schema)+"."+d.table.Name] = d
	}
	base := domains()
	cols, rows, ok = builtin.Catalog("pg_attribute")
	if !ok {
		panic("pgcatalog: no generated pg_attribute")
	}
	at = positions(cols)
	// The generated order is not that of the numbers.
	rows = slices.Clone(rows)
	slices.SortStableFunc(rows, func(a, b []*string) int { return int(atoi(*a[at["attnum"]]) - atoi(*b[at["attnum"]])) })
	for _, r := range rows {
		d := s.byID[catalog.TableID(atoi(*r[at["attrelid"]]))]
		if d == nil {
			continue
		}
		t := types.Type{OID: types.OID(atoi(*r[at["atttypid"]])), Mod: int32(atoi(*r[at["atttypmod"]]))}
		if b, ok := base[t.OID]; ok {
			t = b
		}
		n := len(d.table.Columns)
		d.table.Columns = append(d.table.Columns, catalog.Column{ID: catalog.ColumnID(n + 1), Name: *r[at["attname"]], Type: t, NotNull: *r[at["attnotnull"]] == "true"})
		d.index[*r[at["attname"]]] = n
	}
	for _, d := range pamirRelations() {
		s.byID[d.table.ID] = d
		s.all = append(s.all, d)
		s.byName["pamir."+d.table.Name] = d
	}
	for _, d := range s.all {
		d.table.NextColumn = catalog.ColumnID(len(d.table.Columns) + 1)
	}
	return s
})

// domains maps the information schema's domains to the types under them.
func domains() map[types.OID]types.Type {
	out := map[types.OID]types.Type{}
	cols, rows, _ := builtin.Catalog("pg_type")
	at := positions(cols)
	for _, r := range rows {
		if *r[at["typtype"]] == "d" {
			out[types.OID(atoi(*r[at["oid"]]))] = types.Type{OID: types.OID(atoi(*r[at["typbasetype"]])), Mod: int32(atoi(*r[at["typtypmod"]]))}
		}
	}
	return out
}

func schemaName(id catalog.SchemaID) string {
	switch id {
	case oidPgCatalog:
		return "pg_catalog"
	case oidPamir:
		return "pamir"
	}
	return "information_schema"
}

func positions(cols []string) map[string]int {
	m := make(map[string]int, len(cols))
	for i, c := range cols {
		m[c] = i
	}
	return m
}

// atoi reads generated numbers.
func atoi(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic("pgcatalog: generated number " + strconv.Quote(s))
	}
	return n
}

// quoteIdent quotes a name as quote_identifier does.
func quoteIdent(s string) string {
	plain := s != "" && (s[0] >= 'a' && s[0] <= 'z' || s[0] == '_')
	for i := 0; plain && i < len(s); i++ {
		c := s[i]
		plain = c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_'
	}
	if plain && !keywords()[s] {
		return s
	}
	return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
}

// keywords are the words that quote_identifier quotes: all but the unreserved ones.
var keywords = sync.OnceValue(func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both
		case cast char character check coalesce collate collation column concurrently constraint create cross current_catalog current_date
		current_role current_schema current_time current_timestamp current_user dec decimal default deferrable desc distinct do else end
		except exists extract false fetch float for foreign freeze from full grant greatest group grouping having ilike in initially inner
		inout int integer intersect interval into is isnull join lateral leading least left like limit localtime localtimestamp national
		natural nchar none normalize not notnull null nullif numeric offset on only or order out outer overlaps overlay placing position
		precision primary real references returning right row select session_user setof similar smallint some substring symmetric table
		tablesample then time timestamp to trailing treat trim true union unique user using values varchar variadic verbose when where
		window with xmlattributes xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable`) {
		m[w] = true
	}
	return m
})
