package pgcatalog

import (
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
)

// typeProps are a type's properties that other catalogs repeat.
type typeProps struct {
	length         int64
	byval          bool
	align, storage byte
	collation      int64
}

var typeInfo = sync.OnceValue(func() map[types.OID]typeProps {
	cols, rows, _ := builtin.Catalog("pg_type")
	at := positions(cols)
	m := make(map[types.OID]typeProps, len(rows))
	for _, r := range rows {
		m[types.OID(atoi(*r[at["oid"]]))] = typeProps{
			length: atoi(*r[at["typlen"]]), byval: *r[at["typbyval"]] == "true", align: (*r[at["typalign"]])[0],
			storage: (*r[at["typstorage"]])[0], collation: atoi(*r[at["typcollation"]]),
		}
	}
	return m
})

// btreeClass is the default btree operator class of a type.
func btreeClass(t types.OID) int64 {
	m := btreeClasses()
	if c, ok := m[t]; ok {
		return c
	}
	switch t {
	case types.VarcharOID:
		return m[types.TextOID]
	}
	if types.ElemOf(t) != 0 {
		return m[types.AnyarrayOID]
	}
	return 0
}

var btreeClasses = sync.OnceValue(func() map[types.OID]int64 {
	cols, rows, _ := builtin.Catalog("pg_opclass")
	at := positions(cols)
	m := map[types.OID]int64{}
	for _, r := range rows {
		if *r[at["opcmethod"]] == strconv.Itoa(oidBtreeAM) && *r[at["opcdefault"]] == "true" {
			m[types.OID(atoi(*r[at["opcintype"]]))] = atoi(*r[at["oid"]])
		}
	}
	return m
})

// indexDef is pg_get_indexdef. Pretty leaves the schema out where the search path finds the table.
func (o *Overlay) indexDef(t *catalog.Table, ix *catalog.Index, visible bool) string {
	var b strings.Builder
	b.WriteString("CREATE ")
	if ix.Unique || ix.Primary {
		b.WriteString("UNIQUE ")
	}
	b.WriteString("INDEX " + quoteIdent(ix.Name) + " ON ")
	if !visible {
		b.WriteString(quoteIdent(o.schemaOf(t)) + ".")
	}
	b.WriteString(quoteIdent(t.Name) + " USING btree (")
	for i := range ix.Columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(indexColumnDef(t, ix, i))
	}
	b.WriteString(")")
	for i, id := range ix.Include {
		if i == 0 {
			b.WriteString(" INCLUDE (")
		} else {
			b.WriteString(", ")
		}
		b.WriteString(columnName(t, id))
		if i == len(ix.Include)-1 {
			b.WriteString(")")
		}
	}
	if ix.Predicate != "" {
		e := o.predicateText(t, ix)
		if visible { // psql asks so
			if strings.HasPrefix(e, "(") {
				e = e[1 : len(e)-1]
			}
			e = prettyCast.ReplaceAllString(e, "$1::")
		}
		b.WriteString(" WHERE " + e)
	}
	return b.String()
}

func columnName(t *catalog.Table, id catalog.ColumnID) string {
	if i := t.ColumnByID(id); i >= 0 {
		return quoteIdent(t.Columns[i].Name)
	}
	return "?"
}

func indexColumnDef(t *catalog.Table, ix *catalog.Index, i int) string {
	k := ix.Columns[i]
	s := columnName(t, k.Column)
	switch {
	case k.Desc && !k.NullsFirst:
		s += " DESC NULLS LAST"
	case k.Desc:
		s += " DESC"
	case k.NullsFirst:
		s += " NULLS FIRST"
	}
	return s
}

// constraintDef is pg_get_constraintdef of a key.
func constraintDef(t *catalog.Table, ix *catalog.Index) string {
	s := "UNIQUE ("
	if ix.Primary {
		s = "PRIMARY KEY ("
	}
	for i, k := range ix.Columns {
		if i > 0 {
			s += ", "
		}
		s += columnName(t, k.Column)
	}
	s += ")"
	for i, id := range ix.Include {
		if i == 0 {
			s += " INCLUDE ("
		} else {
			s += ", "
		}
		s += columnName(t, id)
		if i == len(ix.Include)-1 {
			s += ")"
		}
	}
	return s
}

// checkDef is pg_get_constraintdef of a CHECK; pretty leaves out parentheses that are not needed.
func (o *Overlay) checkDef(t *catalog.Table, i int, pretty bool) string {
	e := o.checkText(t, i)
	if pretty {
		e = prettyCast.ReplaceAllString(e[1:len(e)-1], "$1::")
	}
	s := "CHECK (" + e + ")"
	if t.Checks[i].State != catalog.Public {
		s += " NOT VALID"
	}
	return s
}

var prettyCast = regexp.MustCompile(`\(([a-z0-9_]+)\)::`)

// parenthesized puts an expression into parentheses unless it has a pair around all of it.
func parenthesized(e string) string {
	if strings.HasPrefix(e, "(") {
		depth, quote := 0, byte(0)
		for i := 0; i < len(e); i++ {
			c := e[i]
			switch {
			case quote != 0:
				if c == quote {
					quote = 0
				}
			case c == '\'' || c == '"':
				quote = c
			case c == '(':
				depth++
			case c == ')':
				depth--
				if depth == 0 && i < len(e)-1 {
					return "(" + e + ")"
				}
			}
		}
		return e
	}
	return "(" + e + ")"
}

// viewDef is pg_get_viewdef: the query as it was written.
func viewDef(t *catalog.Table) string {
	if t.ViewQuery == "" {
		return ""
	}
	return " " + strings.TrimSuffix(strings.TrimSpace(t.ViewQuery), ";") + ";"
}

// droppedName is the name of a dropped column.
func droppedName(attnum int64) string {
	return "........pg.dropped." + strconv.FormatInt(attnum, 10) + "........"
}

// displayExpr turns a stored expression into what pg_get_expr shows: sequences by name, as they are kept by id.
func (o *Overlay) displayExpr(sess Session, e string) string {
	const head, tail = "nextval('", "'::regclass)"
	i := strings.Index(e, head)
	if i < 0 {
		return e
	}
	rest := e[i+len(head):]
	j := strings.Index(rest, tail)
	if j < 0 {
		return e
	}
	oid, err := strconv.ParseUint(rest[:j], 10, 32)
	if err != nil {
		return e
	}
	schema, name, ok := o.relationOf(uint32(oid))
	if !ok {
		return e
	}
	full := quoteIdent(schema) + "." + quoteIdent(name)
	if sess == nil && schema == "public" {
		full = quoteIdent(name) // as with the default search path
	}
	if sess != nil {
		if visible, _ := o.visibleRelation(sess, uint32(oid)); visible {
			full = quoteIdent(name)
		}
	}
	return e[:i] + head + strings.ReplaceAll(full, "'", "''") + rest[j:]
}
