package plan

import (
	"fmt"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// query is one level of names: a SELECT, or the body of an UPDATE, DELETE or ON CONFLICT.
type query struct {
	parent *query
	items  []*nsItem
	// hidden are FROM items that exist but cannot be referred to from here (not LATERAL): for hints.
	hidden []*nsItem
	ctes   map[string]*cteDef
	// ctesFrom is where WITH names are looked up next; parent unless that was cut.
	ctesFrom *query

	clause clause
	aggs   []aggCall
	wins   []*windowUse
	srfs   []projItem
	// windows of the WINDOW clause by name.
	windows map[string]*windowDef
	// allowSet: a set-returning function may stand here (top level of a select list).
	insideAgg bool
}

// clause is where an expression stands, for what is allowed there.
type clause uint8

const (
	clWhere clause = iota
	clSelect
	clHaving
	clGroupBy
	clOrderBy
	clJoinOn
	clValues
	clLimit
	clSet
	clReturning
	clFrom // arguments of functions in FROM
	clDefault
	clCheck
	clWindow
	clFilter
	clExecute
	clPredicate
)

var clauseNames = [...]string{"WHERE", "SELECT", "HAVING", "GROUP BY", "ORDER BY", "JOIN/ON", "VALUES", "LIMIT", "UPDATE", "RETURNING",
	"functions in FROM", "DEFAULT expressions", "check constraints", "window definitions", "FILTER", "EXECUTE parameters", "index predicates"}

func (c clause) String() string { return clauseNames[c] }

// nsItem is a relation in a FROM clause, as names see it.
type nsItem struct {
	name   string // alias or table name, "" for an unnamed join
	schema string // of a table without alias
	cols   []nsCol
	// relVisible: t.a works; colsVisible: a works.
	relVisible, colsVisible bool
	table                   *catalog.Table
	scan                    *scanRel
	// rel makes the rows of a view or a subquery.
	rel  rel
	kind itemKind
}

// itemKind tells items that cannot be locked from others.
type itemKind uint8

const (
	_ itemKind = iota
	joinItem
	funcItem
	withItem
	seqItem
)

// nsCol is a column of a nsItem.
type nsCol struct {
	name string
	id   colID
	// e is set instead of a plain column for what JOIN USING merges.
	e      expr.Expr
	hidden bool // not part of *
}

func (b *binder) newCol(m colMeta) colID {
	b.cols = append(b.cols, m)
	return len(b.cols) - 1
}

func (b *binder) col(id colID) *expr.Column {
	m := &b.cols[id]
	return &expr.Column{T: m.typ, Index: id, Name: m.name}
}

// ref makes the expression for a column of an item.
func (b *binder) ref(c nsCol, pos int) expr.Expr {
	if c.e != nil {
		return c.e
	}
	b.cols[c.id].read(b.quiet)
	e := b.col(c.id)
	b.pos[e] = pos
	return e
}

// column resolves an unqualified name; nil if there is none.
func (b *binder) column(q *query, name string, pos int) expr.Expr {
	for at := q; at != nil; at = at.parent {
		var found *nsCol
		for _, it := range at.items {
			if !it.colsVisible {
				continue
			}
			for i := range it.cols {
				if it.cols[i].name == name {
					if found != nil {
						b.fail(pos, pgerr.AmbiguousColumn, "column reference \"%s\" is ambiguous", name)
					}
					found = &it.cols[i]
				}
			}
		}
		if found != nil {
			return b.ref(*found, pos)
		}
	}
	return nil
}

// item resolves a relation name; nil if there is none.
func (b *binder) item(q *query, schema, name string, pos int) *nsItem {
	for at := q; at != nil; at = at.parent {
		var found *nsItem
		for _, it := range at.items {
			if it.relVisible && it.name == name && (schema == "" || it.schema == schema) {
				if found != nil {
					b.fail(pos, pgerr.AmbiguousAlias, "table reference \"%s\" is ambiguous", name)
				}
				found = it
			}
		}
		if found != nil {
			return found
		}
	}
	return nil
}

// qualified resolves t.a and s.t.a.
func (b *binder) qualified(q *query, names []string, pos int) expr.Expr {
	if len(names) > 4 {
		b.fail(pos, pgerr.SyntaxError, "improper qualified name (too many dotted names): %s", joinNames(names))
	}
	name := names[len(names)-1]
	it := b.itemOf(q, names[:len(names)-1], pos)
	var found *nsCol
	for i := range it.cols {
		if it.cols[i].name == name {
			if found != nil {
				b.fail(pos, pgerr.AmbiguousColumn, "column reference \"%s\" is ambiguous", name)
			}
			found = &it.cols[i]
		}
	}
	if found == nil {
		if e := b.systemColumn(it, name); e != nil {
			return e
		}
		err := pgerr.New(pgerr.UndefinedColumn, "column %s.%s does not exist", it.name, name)
		b.columnHint(q, it.name, name, err)
		b.throw(err.At(pos))
	}
	return b.ref(*found, pos)
}

// itemOf finds the relation that a qualified name starts with, or fails as PostgreSQL does.
func (b *binder) itemOf(q *query, names []string, pos int) *nsItem {
	if len(names) > 3 {
		b.fail(pos, pgerr.SyntaxError, "improper qualified name (too many dotted names): %s", joinNames(names))
	}
	if len(names) == 3 {
		if names[0] != b.env.Database {
			b.fail(pos, pgerr.FeatureNotSupported, "cross-database references are not implemented: %s", joinNames(names))
		}
		names = names[1:]
	}
	schema, name := "", names[len(names)-1]
	if len(names) == 2 {
		schema = names[0]
	}
	if it := b.item(q, schema, name, pos); it != nil {
		return it
	}
	b.missingItem(q, schema, name, pos)
	return nil
}

func (b *binder) missingItem(q *query, schema, name string, pos int) {
	full := name
	if schema != "" {
		full = schema + "." + name
	}
	for at := q; at != nil; at = at.parent {
		for _, it := range at.hidden {
			if it.name == name && (schema == "" || schema == it.schema) {
				b.throw(pgerr.New(pgerr.UndefinedTable, "invalid reference to FROM-clause entry for table \"%s\"", name).At(pos).
					WithHint("There is an entry for table \"%s\", but it cannot be referenced from this part of the query.", name))
			}
		}
		for _, it := range at.items {
			if it.table != nil && it.table.Name == name && it.name != name {
				b.throw(pgerr.New(pgerr.UndefinedTable, "invalid reference to FROM-clause entry for table \"%s\"", name).At(pos).
					WithHint("Perhaps you meant to reference the table alias \"%s\".", it.name))
			}
		}
	}
	b.fail(pos, pgerr.UndefinedTable, "missing FROM-clause entry for table \"%s\"", full)
}

// systemColumn makes the system columns that Pamir has: tableoid.
func (b *binder) systemColumn(it *nsItem, name string) expr.Expr {
	if it.table == nil || it.scan == nil {
		return nil
	}
	switch name {
	case "tableoid":
		return b.tableOID(it.table)
	case "ctid", "xmin", "xmax", "cmin", "cmax":
		b.throw(pgerr.Unsupported("system column "+name, "Rows have no physical address here; use the primary key."))
	}
	return nil
}

// missingColumn fails for an unqualified name.
func (b *binder) missingColumn(q *query, name string, pos int) {
	err := pgerr.New(pgerr.UndefinedColumn, "column \"%s\" does not exist", name)
	b.columnHint(q, "", name, err)
	b.throw(err.At(pos))
}

// columnHint adds PostgreSQL's guess at what was meant: an exact name that cannot be reached from here, or the one or two nearest names.
func (b *binder) columnHint(q *query, alias, name string, err *pgerr.Error) {
	type guess struct{ table, col string }
	var best, second *guess
	bestD := 4
	for at := q; at != nil; at = at.parent {
		for _, list := range [][]*nsItem{at.items, at.hidden} {
			for _, it := range list {
				if it.name == "" || !it.relVisible && it.table == nil {
					continue
				}
				penalty := 0
				if alias != "" {
					penalty = distance(alias, it.name, 3)
				}
				for _, c := range it.cols {
					if c.hidden {
						continue
					}
					if c.name == name && (alias == "" || penalty == 0) {
						err.WithHint("There is a column named \"%s\" in table \"%s\", but it cannot be referenced from this part of the query.", name, it.name)
						return
					}
					d := distance(name, c.name, 3)
					if d > len(name)/2 {
						continue
					}
					if d += penalty; d > 3 {
						continue
					}
					g := &guess{it.name, c.name}
					switch {
					case d < bestD:
						best, second, bestD = g, nil, d
					case d == bestD && second == nil:
						second = g
					case d == bestD:
						best, second, bestD = nil, nil, d-1 // too many equally near
					}
				}
			}
		}
	}
	switch {
	case best != nil && second != nil:
		err.WithHint("Perhaps you meant to reference the column \"%s.%s\" or the column \"%s.%s\".", best.table, best.col, second.table, second.col)
	case best != nil:
		err.WithHint("Perhaps you meant to reference the column \"%s.%s\".", best.table, best.col)
	}
}

// distance is Levenshtein's, or more than max.
func distance(a, b string, max int) int {
	if d := len(a) - len(b); d > max || -d > max {
		return max + 1
	}
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			sub := prev[j-1]
			if a[i-1] != b[j-1] {
				sub++
			}
			cur[j] = min(sub, prev[j]+1, cur[j-1]+1)
		}
		prev, cur = cur, prev
	}
	return prev[len(b)]
}

func joinNames(names []string) string {
	s := ""
	for i, n := range names {
		if i > 0 {
			s += "."
		}
		s += n
	}
	return s
}

// checkDuplicate refuses two relations of one name in one FROM.
func (b *binder) checkDuplicate(items []*nsItem, it *nsItem) {
	if it.name == "" || !it.relVisible {
		return
	}
	for _, o := range items {
		if o.relVisible && o.name == it.name && (o.schema == it.schema || o.schema == "" || it.schema == "") {
			b.fail(0, pgerr.DuplicateAlias, "table name \"%s\" specified more than once", it.name)
		}
	}
}

// thrown carries an error up to Build.
type thrown struct{ err error }

func (b *binder) throw(err error) { panic(thrown{err}) }

func (b *binder) fail(pos int, code, format string, args ...any) {
	b.throw(pgerr.New(code, format, args...).At(pos))
}

func (b *binder) unsupported(pos int, format string, args ...any) {
	b.throw(pgerr.Unsupported(fmt.Sprintf(format, args...), "").At(pos))
}

// check rethrows an error of a helper, with a position if it has none.
func (b *binder) check(err error, pos int) {
	if err == nil {
		return
	}
	if e, ok := pgerr.As(err); ok {
		if e.Position == 0 && pos > 0 {
			c := *e
			c.Position = pos
			e = &c
		}
		b.throw(e)
	}
	b.throw(err)
}
