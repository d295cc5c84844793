package plan

import (
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/role"
	"github.com/pamirdb/pamir/sql/types"
)

// change is a bound INSERT, UPDATE or DELETE.
type change struct {
	op    byte // 'i', 'u', 'd'
	table *catalog.Table
	in    rel
	// inCols is the order of the input's columns: for INSERT one per entry of columns, otherwise the
	// table's columns first and then those of joined tables.
	inCols  []colID
	columns []int
	// row are the numbers of the table's columns in set, checks and returning; excluded those of the row proposed for insertion.
	row, excluded []colID
	set           []SetClause
	checks        []CheckExpr
	conflict      *OnConflict
	returning     []target
	defs          []*cteDef
}

// targetTable resolves the table to be changed.
func (b *binder) targetTable(q *query, n *ast.TableName, verb string, p role.Privilege) (*scanRel, *nsItem) {
	tab, schema := b.table(n)
	switch {
	case tab.Kind == 'v':
		b.throw(pgerr.New(pgerr.FeatureNotSupported, "cannot %s view \"%s\"", verb, tab.Name).At(n.Pos).
			WithDetail("Views are not automatically updatable here."))
	case tab.Virtual:
		b.fail(n.Pos, pgerr.InsufficientPrivilege, "permission denied: \"%s\" is a system catalog", tab.Name)
	case tab.Kind != 'r':
		b.fail(n.Pos, pgerr.WrongObjectType, "cannot %s \"%s\": it is not a table", verb, tab.Name)
	}
	b.writes = true
	return b.scanOf(q, n, tab, schema, p)
}

func level(q *query) *query {
	if q != nil {
		return q
	}
	return &query{}
}

// insert binds INSERT; at is its level if it is in a WITH clause.
func (b *binder) insert(s *ast.Insert, at *query) *change {
	q := level(at)
	defs := b.with(q, s.With)
	scan, it := b.targetTable(q, s.Table, "insert into", role.Insert)
	c := &change{op: 'i', table: scan.table, row: scan.cols, defs: defs}
	targets, positions := b.insertTargets(s, c.table)
	scan.need.Inserted = targets
	c.columns = writable(c.table)
	b.checkIdentity(s, c.table, targets)
	switch {
	case s.Query == nil:
		row := make([]expr.Expr, len(c.columns))
		for i, ord := range c.columns {
			row[i] = b.defaultOf(c.table, ord)
		}
		c.fromRows([][]expr.Expr{row}, b)
	case plainValues(s.Query):
		sub := &query{parent: q.parent, ctesFrom: q, clause: clValues}
		defs := b.with(sub, s.Query.With)
		c.defs = append(c.defs, defs...)
		var rows [][]expr.Expr
		for _, vals := range s.Query.Values {
			rows = append(rows, b.insertRow(sub, c, vals, targets, positions, s))
		}
		b.noCollected(sub, s.Query.Values)
		c.fromRows(rows, b)
	default:
		b.insertSelect(q, c, s, targets, positions)
	}
	q.items = []*nsItem{it}
	c.checks = b.checks(c.table, scan)
	if s.OnConflict != nil {
		b.onConflict(q, c, s, it)
	}
	q.items = []*nsItem{it}
	b.returning(q, c, s.Returning)
	return c
}

// plainValues reports whether a query is VALUES and nothing else: its rows may hold DEFAULT.
func plainValues(s *ast.Select) bool {
	return s.Values != nil && s.OrderBy == nil && s.Limit == nil && s.Offset == nil && s.Locking == nil
}

// writable lists the columns that new rows have values for; the executor makes the hidden row id.
func writable(t *catalog.Table) []int {
	var out []int
	for i := range t.Columns {
		if c := &t.Columns[i]; !c.Dropped && !c.Hidden && c.State != catalog.DeleteOnly {
			out = append(out, i)
		}
	}
	return out
}

// insertTargets resolves the column list: positions in the table, and where each was written.
func (b *binder) insertTargets(s *ast.Insert, t *catalog.Table) (targets, positions []int) {
	if s.Columns == nil {
		for i := range t.Columns {
			if c := &t.Columns[i]; !c.Dropped && !c.Hidden && c.State == catalog.Public {
				targets, positions = append(targets, i), append(positions, 0)
			}
		}
		return
	}
	seen := map[int]bool{}
	for _, c := range s.Columns {
		ord := b.targetColumn(t, c)
		if seen[ord] {
			b.fail(c.Pos, pgerr.DuplicateColumn, "column \"%s\" specified more than once", c.Name)
		}
		seen[ord] = true
		targets, positions = append(targets, ord), append(positions, c.Pos)
	}
	return
}

func (b *binder) targetColumn(t *catalog.Table, c *ast.InsertColumn) int {
	if len(c.Steps) > 0 {
		b.unsupported(c.Pos, "assigning to a part of a column")
	}
	ord := t.ColumnByName(c.Name)
	if ord < 0 || t.Columns[ord].State != catalog.Public || t.Columns[ord].Hidden {
		b.fail(c.Pos, pgerr.UndefinedColumn, "column \"%s\" of relation \"%s\" does not exist", c.Name, t.Name)
	}
	return ord
}

// checkIdentity refuses values for GENERATED ALWAYS columns.
func (b *binder) checkIdentity(s *ast.Insert, t *catalog.Table, targets []int) {
	if s.Override == 's' || s.Query == nil {
		return
	}
	for i, ord := range targets {
		c := &t.Columns[ord]
		if c.Identity != 'a' || s.Override == 'u' {
			continue
		}
		if plainValues(s.Query) {
			all := true
			for _, row := range s.Query.Values {
				if i < len(row) {
					_, d := row[i].(*ast.Default)
					all = all && d
				}
			}
			if all {
				continue
			}
		} else if s.Columns == nil && s.Query.Values == nil && i >= len(s.Query.Targets) {
			continue
		}
		b.throw(pgerr.New(pgerr.GeneratedAlways, "cannot insert a non-DEFAULT value into column \"%s\"", c.Name).
			WithDetail("Column \"%s\" is an identity column defined as GENERATED ALWAYS.", c.Name).
			WithHint("Use OVERRIDING SYSTEM VALUE to override."))
	}
}

func (b *binder) countTargets(n int, targets, positions []int, extraPos int, s *ast.Insert) {
	if n > len(targets) {
		b.fail(extraPos, pgerr.SyntaxError, "INSERT has more expressions than target columns")
	}
	if s.Columns != nil && n < len(targets) {
		b.fail(positions[n], pgerr.SyntaxError, "INSERT has more target columns than expressions")
	}
}

// insertRow binds one VALUES row, completed with defaults.
func (b *binder) insertRow(q *query, c *change, vals []ast.Expr, targets, positions []int, s *ast.Insert) []expr.Expr {
	extra := 0
	if len(vals) > len(targets) {
		extra = startPos(vals[len(targets)])
	}
	if len(vals) != len(s.Query.Values[0]) {
		b.fail(startPos(vals[0]), pgerr.SyntaxError, "VALUES lists must all be the same length")
	}
	b.countTargets(len(vals), targets, positions, extra, s)
	given := map[int]expr.Expr{}
	for i, v := range vals {
		ord := targets[i]
		col := &c.table.Columns[ord]
		if _, ok := v.(*ast.Default); ok || s.Override == 'u' && col.Identity != 0 {
			continue
		}
		given[ord] = b.coerceAssign(b.expr(q, v), col.Type, col.Name, startPos(v))
	}
	return b.complete(c, given)
}

// complete lists the writable columns' values: those given, defaults for the rest.
func (b *binder) complete(c *change, given map[int]expr.Expr) []expr.Expr {
	row := make([]expr.Expr, len(c.columns))
	for i, ord := range c.columns {
		if e, ok := given[ord]; ok {
			row[i] = e
		} else {
			row[i] = b.defaultOf(c.table, ord)
		}
	}
	return row
}

func (c *change) fromRows(rows [][]expr.Expr, b *binder) {
	v := &valuesRel{rows: rows}
	for _, ord := range c.columns {
		col := &c.table.Columns[ord]
		v.cols = append(v.cols, b.newCol(colMeta{name: col.Name, typ: col.Type}))
	}
	c.in, c.inCols = v, v.cols
}

func (b *binder) insertSelect(q *query, c *change, s *ast.Insert, targets, positions []int) {
	r, cols := b.selectQuery(&query{parent: q.parent, ctesFrom: q}, s.Query, false)
	extra := 0
	if len(cols) > len(targets) && len(s.Query.Targets) > len(targets) {
		extra = s.Query.Targets[len(targets)].Pos
	}
	b.countTargets(len(cols), targets, positions, extra, s)
	given := map[int]expr.Expr{}
	for i, oc := range cols {
		ord := targets[i]
		col := &c.table.Columns[ord]
		if s.Override == 'u' && col.Identity != 0 {
			continue
		}
		given[ord] = b.coerceAssign(b.leaf(r, oc.id), col.Type, col.Name, oc.pos)
	}
	p := &projectRel{in: r}
	for i, e := range b.complete(c, given) {
		col := &c.table.Columns[c.columns[i]]
		id := b.newCol(colMeta{name: col.Name, typ: col.Type})
		p.items = append(p.items, projItem{id, e})
		c.inCols = append(c.inCols, id)
	}
	c.in = p
}

// defaultOf is the value of a column that is not given: its default, the next identity value, or NULL.
func (b *binder) defaultOf(t *catalog.Table, ord int) expr.Expr {
	col := &t.Columns[ord]
	if col.Default == "" {
		if col.Identity != 0 && col.Sequence != 0 {
			seq := &expr.Const{T: types.Of(types.RegclassOID), Value: types.NewInt(int64(col.Sequence))}
			x, err := expr.MakeCall("pg_catalog", "nextval", []expr.Expr{seq}, expr.CallOptions{})
			b.check(err, 0)
			return b.coerceAssign(x, col.Type, col.Name, 0)
		}
		return &expr.Const{T: col.Type, Value: types.NullDatum}
	}
	e, err := parse.Expr(col.Default)
	b.check(err, 0)
	x := b.stored(nil, e, clDefault)
	return b.coerceAssign(x, col.Type, col.Name, 0)
}

// stored binds an expression kept as text in the catalog: positions in it mean nothing to the client.
func (b *binder) stored(items []*nsItem, e ast.Expr, cl clause) expr.Expr {
	quiet := b.quiet
	b.quiet = true
	x := b.expr(&query{items: items, clause: cl}, e)
	b.quiet = quiet
	b.pos = map[expr.Expr]int{}
	return x
}

// checks binds the table's CHECK constraints over a row with the numbers of scan.
func (b *binder) checks(t *catalog.Table, scan *scanRel) []CheckExpr {
	var out []CheckExpr
	for _, ck := range t.Checks {
		e, err := parse.Expr(ck.Expr)
		b.check(err, 0)
		it := &nsItem{name: t.Name, relVisible: true, colsVisible: true, table: t, scan: scan}
		for i := range t.Columns {
			if !t.Columns[i].Dropped {
				it.cols = append(it.cols, nsCol{name: t.Columns[i].Name, id: scan.cols[i]})
			}
		}
		x := b.stored([]*nsItem{it}, e, clCheck)
		x, err = expr.ToBool(x, "CHECK")
		b.check(err, 0)
		out = append(out, CheckExpr{Name: ck.Name, Cond: x})
	}
	return out
}

// onConflict binds ON CONFLICT: the arbiter index, and what DO UPDATE sets.
func (b *binder) onConflict(q *query, c *change, s *ast.Insert, it *nsItem) {
	oc := s.OnConflict
	c.conflict = &OnConflict{}
	if oc.HasTarget {
		c.conflict.Index = b.arbiter(c.table, oc, it)
		for _, k := range c.conflict.Index.Columns {
			it.scan.need.selects(c.table.ColumnByID(k.Column))
		}
	} else if oc.Update {
		b.throw(pgerr.New(pgerr.SyntaxError, "ON CONFLICT DO UPDATE requires inference specification or constraint name").
			At(oc.Pos).WithHint("For example, ON CONFLICT (column_name)."))
	}
	if !oc.Update {
		return
	}
	ex := &nsItem{name: "excluded", relVisible: true, colsVisible: true, table: c.table}
	c.excluded = make([]colID, len(c.table.Columns))
	for i := range c.table.Columns {
		col := &c.table.Columns[i]
		id := b.newCol(colMeta{name: col.Name, typ: col.Type, level: q, table: c.table, ord: i, alias: "excluded"})
		c.excluded[i] = id
		if !col.Dropped && !col.Hidden && col.State == catalog.Public {
			ex.cols = append(ex.cols, nsCol{name: col.Name, id: id})
		}
	}
	q.items = []*nsItem{it, ex}
	c.conflict.Update = b.setClauses(q, c.table, oc.Set)
	it.scan.need.updates(c.conflict.Update)
	if oc.UpdateWhen != nil {
		q.clause = clWhere
		c.conflict.Where = b.boolean(q, oc.UpdateWhen, "WHERE")
	}
}

// arbiter finds the unique index that ON CONFLICT (...) or ON CONSTRAINT names.
func (b *binder) arbiter(t *catalog.Table, oc *ast.OnConflict, it *nsItem) *catalog.Index {
	if oc.Constraint != "" {
		for i := range t.Indexes {
			if ix := &t.Indexes[i]; ix.Name == oc.Constraint && (ix.Constraint || ix.Primary) {
				return ix
			}
		}
		b.fail(0, pgerr.UndefinedObject, "constraint \"%s\" for table \"%s\" does not exist", oc.Constraint, t.Name)
	}
	want := map[catalog.ColumnID]bool{}
	for _, e := range oc.Targets {
		if e.Expr != nil {
			b.unsupported(e.Pos, "an expression in ON CONFLICT")
		}
		if e.Opclass != nil {
			b.unsupported(e.Pos, "an operator class in ON CONFLICT")
		}
		ord := t.ColumnByName(e.Name)
		if ord < 0 || t.Columns[ord].Hidden {
			b.fail(e.Pos, pgerr.UndefinedColumn, "column \"%s\" does not exist", e.Name)
		}
		want[t.Columns[ord].ID] = true
	}
	var given []expr.Expr
	if oc.Where != nil {
		given = conjuncts(nil, expr.Fold(b.boolean(&query{items: []*nsItem{it}, clause: clPredicate}, oc.Where, "WHERE")))
	}
	p := &physical{b: b, stmt: &Statement{}}
	for i := range t.Indexes {
		ix := &t.Indexes[i]
		if !ix.Unique && !ix.Primary || ix.State != catalog.Public || len(ix.Columns) != len(want) {
			continue
		}
		if ix.Predicate != "" && !p.impliedBy(&scanRel{table: t, cols: it.scan.cols}, given, b.predicate(t, it.scan.cols, ix.Predicate)) {
			continue
		}
		all := true
		for _, kc := range ix.Columns {
			all = all && want[kc.Column]
		}
		if all {
			return ix
		}
	}
	b.throw(pgerr.New(pgerr.InvalidColumnReference, "there is no unique or exclusion constraint matching the ON CONFLICT specification"))
	return nil
}

// setClauses binds SET.
func (b *binder) setClauses(q *query, t *catalog.Table, list []*ast.SetClause) []SetClause {
	q.clause = clSet
	var out []SetClause
	seen := map[int]bool{}
	add := func(col *ast.InsertColumn, v ast.Expr, e expr.Expr) {
		ord := b.targetColumn(t, col)
		if seen[ord] {
			b.fail(0, pgerr.SyntaxError, "multiple assignments to same column \"%s\"", col.Name)
		}
		seen[ord] = true
		c := &t.Columns[ord]
		if e == nil {
			if _, ok := v.(*ast.Default); ok {
				out = append(out, SetClause{Column: ord, Value: b.defaultOf(t, ord)})
				return
			}
			e = b.expr(q, v)
		}
		if c.Identity == 'a' {
			b.throw(pgerr.New(pgerr.GeneratedAlways, "column \"%s\" can only be updated to DEFAULT", c.Name).
				WithDetail("Column \"%s\" is an identity column defined as GENERATED ALWAYS.", c.Name))
		}
		pos := 0
		if v != nil {
			pos = startPos(v)
		}
		out = append(out, SetClause{Column: ord, Value: b.coerceAssign(e, c.Type, c.Name, pos)})
	}
	for _, s := range list {
		if !s.Multi {
			add(s.Columns[0], s.Value, nil)
			continue
		}
		switch v := s.Value.(type) {
		case *ast.Row:
			if len(v.Args) != len(s.Columns) {
				b.fail(v.Pos, pgerr.SyntaxError, "number of columns does not match number of values")
			}
			for i, a := range v.Args {
				add(s.Columns[i], a, nil)
			}
		case *ast.Sublink:
			b.multiSet(q, s, v, add)
		default:
			b.fail(startPos(s.Value), pgerr.FeatureNotSupported, "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression")
		}
	}
	return out
}

// multiSet is (a, b) = (SELECT x, y ...): one scalar subquery for each column.
func (b *binder) multiSet(q *query, s *ast.SetClause, v *ast.Sublink, add func(*ast.InsertColumn, ast.Expr, expr.Expr)) {
	for i, e := range b.rowSubquery(q, v, len(s.Columns), "number of columns does not match number of values") {
		add(s.Columns[i], nil, e)
	}
}

// rowSubquery binds a subquery of one row and n columns as n scalar subqueries.
func (b *binder) rowSubquery(q *query, v *ast.Sublink, n int, mismatch string) []expr.Expr {
	out := make([]expr.Expr, n)
	for i := range out {
		r, cols := b.selectQuery(&query{parent: q, ctesFrom: q}, v.Query, true)
		if len(cols) != n {
			b.fail(v.Pos, pgerr.SyntaxError, "%s", mismatch)
		}
		if hasVolatile(r) {
			b.unsupported(v.Pos, "several columns of a volatile subquery as a value")
		}
		sub := &subquery{rel: r, cols: cols[i : i+1], free: freeColumns(r)}
		e := &expr.Subplan{Kind: expr.SubScalar, T: b.cols[cols[i].id].typ, Plan: len(b.subs), Twin: len(b.subs)}
		b.subs = append(b.subs, sub)
		for _, id := range sub.free {
			e.Args = append(e.Args, b.col(id))
		}
		out[i] = e
	}
	return out
}

func (b *binder) returning(q *query, c *change, list []*ast.Target) {
	if list == nil {
		return
	}
	q.clause = clReturning
	c.returning = b.targetList(q, list, true)
	if len(q.srfs) > 0 {
		b.unsupported(list[0].Pos, "a set-returning function in RETURNING")
	}
}

// update binds UPDATE.
func (b *binder) update(s *ast.Update, at *query) *change {
	q := level(at)
	defs := b.with(q, s.With)
	scan, it := b.targetTable(q, s.Table, "update", role.Update)
	c := &change{op: 'u', table: scan.table, row: scan.cols, defs: defs}
	b.changeInput(q, c, scan, it, s.From, s.Where)
	c.set = b.setClauses(q, c.table, s.Set)
	scan.need.updates(c.set)
	scan.lock = kv.LockNoKeyUpdate
	if changesKey(c.table, c.set) {
		scan.lock = kv.LockUpdate
	}
	b.returning(q, c, s.Returning)
	items := q.items
	c.checks = b.checks(c.table, scan)
	q.items = items
	return c
}

// changesKey reports whether a unique index of all rows covers one of the columns set: such an update locks like a delete.
func changesKey(t *catalog.Table, set []SetClause) bool {
	for _, s := range set {
		for i := range t.Indexes {
			if !t.Indexes[i].Unique && !t.Indexes[i].Primary || t.Indexes[i].Predicate != "" {
				continue
			}
			for _, kc := range t.Indexes[i].Columns {
				if kc.Column == t.Columns[s.Column].ID {
					return true
				}
			}
		}
	}
	return false
}

// changeInput binds the rows to change: the table joined with FROM or USING, and WHERE.
func (b *binder) changeInput(q *query, c *change, scan *scanRel, it *nsItem, from []ast.TableExpr, where ast.Expr) {
	q.items = []*nsItem{it}
	var r rel = scan
	for _, te := range from {
		saved := q.items
		q.clause = clFrom
		other, items := b.tableExpr(q, te)
		for _, o := range items {
			b.checkDuplicate(saved, o)
		}
		q.items = append(saved, items...)
		r = crossJoin(r, other)
	}
	if where != nil {
		q.clause = clWhere
		if conds := conjuncts(nil, b.boolean(q, where, "WHERE")); len(conds) > 0 {
			r = &filterRel{in: r, conds: conds}
		}
	}
	if len(from) > 0 {
		// A row that several joined rows match is changed once.
		if pk := c.table.Primary(); pk != nil {
			d := &distinctRel{in: r}
			for _, kc := range pk.Columns {
				d.on = append(d.on, scan.cols[c.table.ColumnByID(kc.Column)])
			}
			r = d
		}
	}
	c.in = r
	c.inCols = append(append([]colID(nil), scan.cols...), without(r.outs(), scan.cols)...)
}

func without(ids, drop []colID) []colID {
	d := setOf(drop...)
	var out []colID
	for _, id := range ids {
		if !d.has(id) {
			out = append(out, id)
		}
	}
	return out
}

// delete binds DELETE.
func (b *binder) delete(s *ast.Delete, at *query) *change {
	q := level(at)
	defs := b.with(q, s.With)
	scan, it := b.targetTable(q, s.Table, "delete from", role.Delete)
	c := &change{op: 'd', table: scan.table, row: scan.cols, defs: defs}
	b.changeInput(q, c, scan, it, s.Using, s.Where)
	scan.lock = kv.LockUpdate
	b.returning(q, c, s.Returning)
	return c
}

// dmlCTE makes a data-changing WITH query.
func (b *binder) dmlCTE(d *cteDef, c *change) {
	d.dml = true
	r := &dmlRel{make: func(p *physical) Node { return p.dml(c) }}
	for _, t := range c.returning {
		id := b.newCol(colMeta{name: t.name, typ: t.e.Type()})
		r.cols = append(r.cols, id)
		d.cols = append(d.cols, outCol{name: t.name, id: id})
	}
	d.rel = r
}
