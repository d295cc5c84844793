package sql

import (
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// UPDATE and DELETE ... WHERE CURRENT OF. The condition is planned as one on the columns of the primary key, which are compared with parameters
// that the client does not see; each execution takes their values from the row that the cursor stands on.

// currentOf returns the condition and the table of such a statement, or nil.
func currentOf(st ast.Statement) (*ast.CurrentOf, *ast.TableName) {
	switch st := st.(type) {
	case *ast.Update:
		c, _ := st.Where.(*ast.CurrentOf)
		return c, st.Table
	case *ast.Delete:
		c, _ := st.Where.(*ast.CurrentOf)
		return c, st.Table
	}
	return nil, nil
}

// keyOf finds the table and the positions of its key's columns.
func (s *Session) keyOf(cur *ast.CurrentOf, name *ast.TableName) (*catalog.Table, []int, error) {
	t, err := s.relation(s.ctx, name)
	if err != nil {
		return nil, nil, err
	}
	var cols []int
	if pk := t.Primary(); pk != nil {
		for _, c := range pk.Columns {
			cols = append(cols, t.ColumnByID(c.Column))
		}
	}
	if len(cols) == 0 || t.Columns[cols[0]].Hidden {
		return nil, nil, pgerr.Unsupported("WHERE CURRENT OF for a table without a primary key", "").At(cur.Pos)
	}
	return t, cols, nil
}

// byKey is the statement with its condition on the key, and the types of the parameters, n of which are the client's.
func (s *Session) byKey(st ast.Statement, hints []types.OID, n int) (ast.Statement, []types.OID, error) {
	cur, name := currentOf(st)
	t, cols, err := s.keyOf(cur, name)
	if err != nil {
		return nil, nil, err
	}
	known := name.Name
	if name.Alias != nil {
		known = name.Alias.Name
	}
	all := make([]types.OID, n, n+len(cols))
	copy(all, hints)
	where := &ast.Bool{Op: '&'}
	for _, c := range cols {
		all = append(all, t.Columns[c].Type.OID)
		where.Args = append(where.Args, &ast.Op{Name: []string{"pg_catalog", "="}, Left: &ast.ColumnRef{Names: []string{known, t.Columns[c].Name}}, Right: &ast.Param{Number: len(all)}})
	}
	var cond ast.Expr = where
	if len(where.Args) == 1 {
		cond = where.Args[0]
	}
	switch st := st.(type) {
	case *ast.Update:
		u := *st
		u.Where = cond
		return &u, all, nil
	case *ast.Delete:
		d := *st
		d.Where = cond
		return &d, all, nil
	}
	return st, all, nil
}

// currentKey is the key of the row that the cursor stands on.
func (s *Session) currentKey(st ast.Statement) ([]types.Datum, error) {
	cur, name := currentOf(st)
	t, cols, err := s.keyOf(cur, name)
	if err != nil {
		return nil, err
	}
	state := func(format string, args ...any) error { return pgerr.New(pgerr.InvalidCursorState, format, args...) }
	c := s.portals[cur.Cursor]
	switch {
	case c == nil:
		return nil, pgerr.New(pgerr.InvalidCursorName, "cursor \"%s\" does not exist", cur.Cursor)
	case c.decl == nil:
		return nil, pgerr.Unsupported("WHERE CURRENT OF a portal of the protocol", "Declare a cursor.").At(cur.Pos)
	case c.decl.held:
		return nil, state("cursor \"%s\" is held from a previous transaction", cur.Cursor)
	}
	sel, ok := c.stmt.stmt.Statement.(*ast.Select)
	if !ok || !s.readsPlainly(sel, t) {
		if ok && len(sel.Locking) > 0 {
			return nil, state("cursor \"%s\" does not have a FOR UPDATE/SHARE reference to table \"%s\"", cur.Cursor, t.Name)
		}
		return nil, state("cursor \"%s\" is not a simply updatable scan of table \"%s\"", cur.Cursor, t.Name)
	}
	fields := c.stmt.plan.Columns
	shown := make([]int, len(cols))
	for i, col := range cols {
		if shown[i] = fieldOf(fields, t, col); shown[i] < 0 {
			return nil, pgerr.Unsupported("WHERE CURRENT OF a cursor whose query does not show the primary key", "Add column \""+t.Columns[col].Name+"\" to the query of cursor \""+cur.Cursor+"\".").At(cur.Pos)
		}
	}
	if c.decl.at < 1 || c.decl.at > c.store.Rows() {
		return nil, state("cursor \"%s\" is not positioned on a row", cur.Cursor)
	}
	b, row, err := c.store.Row(c.decl.at - 1)
	if err != nil {
		return nil, s.translate(err)
	}
	key := make([]types.Datum, len(cols))
	for i, f := range shown {
		key[i] = b.Cols[f].Get(b.Row(row))
	}
	return key, nil
}

// readsPlainly reports whether each row of a query is one of that table.
func (s *Session) readsPlainly(sel *ast.Select, t *catalog.Table) bool {
	if sel.SetOp != 0 || sel.Values != nil || sel.Distinct || len(sel.GroupBy) > 0 || sel.Having != nil || len(sel.From) != 1 {
		return false
	}
	name, ok := sel.From[0].(*ast.TableName)
	if !ok {
		return false
	}
	if sel.With != nil && name.Schema == "" {
		for _, c := range sel.With.CTEs {
			if c.Name == name.Name {
				return false
			}
		}
	}
	from, err := s.relation(s.ctx, name)
	return err == nil && from.ID == t.ID
}

// fieldOf is the position of a column of the table among the fields of a result, -1 if it is not there.
func fieldOf(fields []plan.Field, t *catalog.Table, col int) int {
	for i := range fields {
		if fields[i].Table == t.ID && int(fields[i].Attnum) == col+1 {
			return i
		}
	}
	return -1
}
