package plan

import (
	"strconv"

	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
)

// from binds a FROM list and puts its items into q's scope. No FROM is one row without columns.
func (b *binder) from(q *query, list []ast.TableExpr) rel {
	var out rel
	for _, te := range list {
		r, items := b.tableExpr(q, te)
		for _, it := range items {
			b.checkDuplicate(q.items, it)
		}
		q.items = append(q.items, items...)
		out = crossJoin(out, r)
	}
	if out == nil {
		return &oneRowRel{}
	}
	return out
}

// crossJoin joins what was bound before with r, which may refer to it.
func crossJoin(left, right rel) rel {
	if left == nil {
		return right
	}
	return &joinRel{typ: InnerJoin, left: left, right: right, lateral: refersTo(right, left)}
}

// refersTo reports whether right needs columns that left makes.
func refersTo(right, left rel) bool {
	free := freeColumns(right)
	if len(free) == 0 {
		return false
	}
	return setOf(left.outs()...).hasAny(free)
}

// tableExpr binds one item of FROM. The items it returns are what it makes visible.
func (b *binder) tableExpr(q *query, te ast.TableExpr) (rel, []*nsItem) {
	switch t := te.(type) {
	case *ast.TableName:
		return b.tableRef(q, t)
	case *ast.Derived:
		return b.derived(q, t)
	case *ast.FuncTable:
		return b.funcTable(q, t)
	case *ast.Join:
		return b.join(q, t)
	}
	b.unsupported(0, "this FROM item")
	return nil, nil
}

// tableRef binds a table, a view or a WITH query by name.
func (b *binder) tableRef(q *query, t *ast.TableName) (rel, []*nsItem) {
	if t.Schema == "" {
		if def := q.cte(t.Name); def != nil {
			return b.cteRef(q, def, t)
		}
	}
	tab, schema := b.table(t)
	if tab.Kind == 'v' {
		return b.view(q, t, tab, schema)
	}
	if tab.Kind == 'S' {
		return b.sequence(q, t, tab, schema)
	}
	if tab.Kind == 'i' {
		b.throw(pgerr.New(pgerr.WrongObjectType, "cannot open relation \"%s\"", tab.Name).
			At(t.Pos).WithDetail("This operation is not supported for indexes."))
	}
	scan, it := b.scanOf(q, t, tab, schema, role.Select)
	return scan, []*nsItem{it}
}

// scanOf makes a scan of a base table with all its columns.
func (b *binder) scanOf(q *query, t *ast.TableName, tab *catalog.Table, schema string, p role.Privilege) (*scanRel, *nsItem) {
	b.rels++
	need := b.need(tab, p)
	it := &nsItem{name: tab.Name, schema: schema, relVisible: true, colsVisible: true, table: tab}
	var names []string
	if t.Alias != nil {
		it.name, it.schema, names = t.Alias.Name, "", t.Alias.Columns
	}
	scan := &scanRel{table: tab, alias: it.name, cols: make([]colID, len(tab.Columns)), need: need}
	it.scan = scan
	visible := 0
	for i := range tab.Columns {
		c := &tab.Columns[i]
		id := b.newCol(colMeta{name: c.Name, typ: c.Type, level: q, table: tab, ord: i, alias: it.name, notNull: c.NotNull, need: need})
		scan.cols[i] = id
		if c.Dropped || c.State != catalog.Public || c.Hidden {
			continue
		}
		name := c.Name
		if visible < len(names) {
			name = names[visible]
			b.cols[id].name = name
		}
		visible++
		it.cols = append(it.cols, nsCol{name: name, id: id})
	}
	if len(names) > visible {
		b.fail(0, pgerr.InvalidColumnReference, "table \"%s\" has %d columns available but %d columns specified", it.name, visible, len(names))
	}
	return scan, it
}

// maxViews bounds views over views.
const maxViews = 64

// view expands a view: its query is bound where its own names mean what they meant.
func (b *binder) view(q *query, t *ast.TableName, tab *catalog.Table, schema string) (rel, []*nsItem) {
	if b.viewDepth++; b.viewDepth > maxViews {
		b.fail(t.Pos, pgerr.InvalidObjectDefinition, "infinite recursion detected in rules for relation \"%s\"", tab.Name)
	}
	need := b.need(tab, role.Select)
	path, as, quiet := b.path, b.as, b.quiet
	b.path, b.as, b.quiet = searchPath(append([]string{schema}, b.env.SearchPath...)), viewReader(tab, b.as), false
	back := func() { b.path, b.as, b.quiet = path, as, quiet }
	defer func() { b.viewDepth--; back() }()
	stmts, err := parse.Parse(tab.ViewQuery)
	b.check(err, t.Pos)
	var sel *ast.Select
	if len(stmts) == 1 {
		sel, _ = stmts[0].Statement.(*ast.Select)
	}
	if sel == nil {
		b.fail(t.Pos, pgerr.InternalError, "view \"%s\" has no query", tab.Name)
	}
	r, cols := b.selectQuery(&query{}, sel, true)
	back()
	it := &nsItem{name: tab.Name, schema: schema, relVisible: true, colsVisible: true, table: tab}
	var names []string
	if t.Alias != nil {
		it.name, it.schema, names = t.Alias.Name, "", t.Alias.Columns
	}
	proj := &projectRel{in: r, view: need}
	it.rel = proj
	k := 0
	for i := range tab.Columns {
		c := &tab.Columns[i]
		if c.Dropped {
			continue
		}
		if k >= len(cols) {
			b.fail(t.Pos, pgerr.InternalError, "view \"%s\" has fewer columns than it should", tab.Name)
		}
		var e expr.Expr = b.col(cols[k].id)
		if e.Type().OID != c.Type.OID {
			e, err = expr.Coerce(e, c.Type, 'e')
			b.check(err, t.Pos)
		}
		id := b.newCol(colMeta{name: c.Name, typ: c.Type, level: q, table: tab, ord: i, alias: it.name, need: need})
		proj.items = append(proj.items, projItem{id, e})
		name := c.Name
		if k < len(names) {
			name = names[k]
		}
		it.cols = append(it.cols, nsCol{name: name, id: id})
		k++
	}
	if len(names) > k {
		b.fail(0, pgerr.InvalidColumnReference, "table \"%s\" has %d columns available but %d columns specified", it.name, k, len(names))
	}
	return proj, []*nsItem{it}
}

// sequence binds a sequence in FROM: one row with its state.
func (b *binder) sequence(q *query, t *ast.TableName, tab *catalog.Table, schema string) (rel, []*nsItem) {
	st, err := parse.One("SELECT last_value, log_cnt, is_called FROM pamir.sequence_state(" + strconv.FormatUint(uint64(tab.ID), 10) + ")")
	b.check(err, t.Pos)
	r, cols := b.selectQuery(&query{}, st.Statement.(*ast.Select), true)
	it := b.itemFor(t.Alias, cols)
	if t.Alias == nil {
		it.name, it.schema = tab.Name, schema
	}
	it.kind = seqItem
	return b.relevel(q, r, it, cols), []*nsItem{it}
}

// subLevel makes the scope of a query in FROM: it sees q's items only if it is lateral.
func subLevel(q *query, lateral bool) *query {
	if lateral {
		return &query{parent: q, ctesFrom: q}
	}
	return &query{parent: q.parent, ctesFrom: q, hidden: q.items}
}

func (b *binder) derived(q *query, t *ast.Derived) (rel, []*nsItem) {
	// A subquery without an alias is allowed, as it is since PostgreSQL 16.
	r, cols := b.selectQuery(subLevel(q, t.Lateral), t.Query, true)
	it := b.itemFor(t.Alias, cols)
	it.rel = b.relevel(q, r, it, cols)
	return it.rel, []*nsItem{it}
}

// relevel gives the columns of a derived table numbers of q's level, so that grouping rules see them as q's own.
func (b *binder) relevel(q *query, r rel, it *nsItem, cols []outCol) rel {
	proj := &projectRel{in: r}
	for i := range it.cols {
		m := b.cols[cols[i].id]
		m.name, m.level, m.alias, m.derived = it.cols[i].name, q, it.name, true
		id := b.newCol(m)
		proj.items = append(proj.items, projItem{id, b.col(cols[i].id)})
		it.cols[i].id = id
	}
	return proj
}

// itemFor makes the item of a derived table.
func (b *binder) itemFor(alias *ast.Alias, cols []outCol) *nsItem {
	b.rels++
	it := &nsItem{relVisible: true, colsVisible: true}
	var names []string
	if alias != nil {
		it.name, names = alias.Name, alias.Columns
	}
	if len(names) > len(cols) {
		b.fail(0, pgerr.InvalidColumnReference, "table \"%s\" has %d columns available but %d columns specified", it.name, len(cols), len(names))
	}
	for i, c := range cols {
		name := c.name
		if i < len(names) {
			name = names[i]
		}
		it.cols = append(it.cols, nsCol{name: name, id: c.id})
	}
	return it
}

// join binds JOIN. The right side sees the left one if it is lateral.
func (b *binder) join(q *query, t *ast.Join) (rel, []*nsItem) {
	left, lits := b.tableExpr(q, t.Left)
	// For the right side the left one is in scope, for LATERAL only; RIGHT and FULL do not allow references, which the
	// check below finds.
	saved := q.items
	q.items = append(append([]*nsItem(nil), saved...), lits...)
	right, rits := b.tableExpr(q, t.Right)
	q.items = saved
	for _, it := range rits {
		b.checkDuplicate(lits, it)
	}
	j := &joinRel{left: left, right: right, lateral: refersTo(right, left)}
	switch t.Kind {
	case ast.LeftJoin:
		j.typ = LeftJoin
	case ast.RightJoin:
		j.typ = RightJoin
	case ast.FullJoin:
		j.typ = FullJoin
	}
	if j.lateral && (j.typ == RightJoin || j.typ == FullJoin) {
		b.throw(pgerr.New(pgerr.InvalidColumnReference, "invalid reference to FROM-clause entry").
			WithDetail("The combining JOIN type must be INNER or LEFT for a LATERAL reference."))
	}
	items := append(append([]*nsItem(nil), lits...), rits...)
	using := t.Using
	if t.Natural {
		using = commonNames(lits, rits)
	}
	var merged []nsCol
	var rl rel = j
	if len(using) > 0 || t.Natural {
		merged, rl = b.using(q, j, lits, rits, using)
	}
	if t.On != nil {
		q.items = items
		old := q.clause
		q.clause = clJoinOn
		cond := b.boolean(q, t.On, "JOIN/ON")
		q.clause, q.items = old, saved
		j.conds = conjuncts(j.conds, cond)
	}
	if merged == nil && t.Alias == nil && t.UsingAlias == nil {
		return rl, items
	}
	// The join itself becomes an item with the merged columns first.
	all := &nsItem{colsVisible: true, kind: joinItem}
	all.cols = append(all.cols, merged...)
	for _, it := range items {
		if !it.colsVisible {
			continue
		}
		for _, c := range it.cols {
			if !contains(using, c.name) {
				all.cols = append(all.cols, c)
			}
		}
	}
	if t.Alias != nil {
		all.name, all.relVisible = t.Alias.Name, true
		for i, n := range t.Alias.Columns {
			if i >= len(all.cols) {
				b.fail(t.Pos, pgerr.SyntaxError, "column alias list for \"%s\" has too many entries", t.Alias.Name)
			}
			all.cols[i].name = n
		}
		return rl, []*nsItem{all}
	}
	out := []*nsItem{all}
	for _, it := range items {
		c := *it
		c.colsVisible = false
		out = append(out, &c)
	}
	if t.UsingAlias != nil {
		out = append(out, &nsItem{name: t.UsingAlias.Name, relVisible: true, cols: merged, kind: joinItem})
	}
	return rl, out
}

// using makes the equalities of USING and the merged columns.
func (b *binder) using(q *query, j *joinRel, lits, rits []*nsItem, names []string) ([]nsCol, rel) {
	merged := []nsCol{}
	var proj []projItem
	for _, name := range names {
		l, r := b.usingSide(lits, name, "left"), b.usingSide(rits, name, "right")
		eq, err := expr.MakeOp("=", l, r)
		b.check(err, 0)
		j.conds = append(j.conds, eq)
		es, _, err := expr.CommonType("JOIN/USING", []expr.Expr{l, r})
		b.check(err, 0)
		switch j.typ {
		case InnerJoin, LeftJoin:
			if c, ok := es[0].(*expr.Column); ok {
				merged = append(merged, nsCol{name: name, id: c.Index})
				continue
			}
			es[1] = es[0]
		case RightJoin:
			if c, ok := es[1].(*expr.Column); ok {
				merged = append(merged, nsCol{name: name, id: c.Index})
				continue
			}
			es[0] = es[1]
		}
		e := es[0]
		if j.typ == FullJoin {
			e, err = expr.MakeCoalesce(es)
			b.check(err, 0)
		}
		id := b.newCol(colMeta{name: name, typ: e.Type(), level: q})
		proj = append(proj, projItem{id, e})
		merged = append(merged, nsCol{name: name, id: id})
	}
	if proj == nil {
		return merged, j
	}
	var items []projItem
	for _, id := range j.outs() {
		items = append(items, projItem{id, b.col(id)})
	}
	return merged, &projectRel{in: j, items: append(items, proj...)}
}

func (b *binder) usingSide(items []*nsItem, name, side string) expr.Expr {
	var found *nsCol
	for _, it := range items {
		if !it.colsVisible {
			continue
		}
		for i := range it.cols {
			if it.cols[i].name == name {
				if found != nil {
					b.fail(0, pgerr.AmbiguousColumn, "common column name \"%s\" appears more than once in %s table", name, side)
				}
				found = &it.cols[i]
			}
		}
	}
	if found == nil {
		b.fail(0, pgerr.UndefinedColumn, "column \"%s\" specified in USING clause does not exist in %s table", name, side)
	}
	return b.ref(*found, 0)
}

func commonNames(l, r []*nsItem) []string {
	var out []string
	for _, it := range l {
		if !it.colsVisible {
			continue
		}
		for _, c := range it.cols {
			for _, o := range r {
				if !o.colsVisible {
					continue
				}
				for _, d := range o.cols {
					if c.name == d.name && !contains(out, c.name) {
						out = append(out, c.name)
					}
				}
			}
		}
	}
	return out
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// isPgCatalog tells names that mean PostgreSQL's own schema.
func isPgCatalog(s string) bool { return s == "" || strings.EqualFold(s, "pg_catalog") }
