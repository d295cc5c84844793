package parse

import (
	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
)

func (c *converter) selectStmt(s *pg.SelectStmt) *ast.Select {
	if c.depth++; c.depth > maxTree {
		panic(refusal{pgerr.New(pgerr.StatementTooComplex, "stack depth limit exceeded")})
	}
	defer func() { c.depth-- }()
	out := &ast.Select{With: c.with(s.WithClause), Where: c.exprOrNil(s.WhereClause), Having: c.exprOrNil(s.HavingClause),
		GroupDist: s.GroupDistinct, OrderBy: c.sortBys(s.SortClause), Limit: c.exprOrNil(s.LimitCount), Offset: c.exprOrNil(s.LimitOffset),
		WithTies: s.LimitOption == pg.LimitOption_LIMIT_OPTION_WITH_TIES, All: s.All}
	if s.IntoClause != nil {
		c.fail(s.IntoClause.GetRel().GetLocation(), pgerr.SyntaxError, "SELECT ... INTO is not allowed here")
	}
	if len(s.DistinctClause) > 0 {
		out.Distinct = true
		// Plain DISTINCT is a list of one empty node.
		if !(len(s.DistinctClause) == 1 && s.DistinctClause[0].GetNode() == nil) {
			out.DistinctOn = c.exprs(s.DistinctClause)
		}
	}
	out.Targets = c.targets(s.TargetList)
	if len(out.Targets) > 0 {
		out.Pos = out.Targets[0].Pos
	}
	for _, f := range s.FromClause {
		out.From = append(out.From, c.tableExpr(f))
	}
	for _, g := range s.GroupClause {
		out.GroupBy = append(out.GroupBy, c.groupItem(g, false))
	}
	for _, w := range s.WindowClause {
		out.Windows = append(out.Windows, c.window(w.GetWindowDef(), false))
	}
	for _, l := range s.ValuesLists {
		out.Values = append(out.Values, c.exprs(l.GetList().GetItems()))
	}
	for _, l := range s.LockingClause {
		out.Locking = append(out.Locking, c.locking(l.GetLockingClause()))
	}
	switch s.Op {
	case pg.SetOperation_SETOP_UNION:
		out.SetOp = 'u'
	case pg.SetOperation_SETOP_INTERSECT:
		out.SetOp = 'i'
	case pg.SetOperation_SETOP_EXCEPT:
		out.SetOp = 'e'
	}
	if out.SetOp != 0 {
		out.Left, out.Right = c.selectStmt(s.Larg), c.selectStmt(s.Rarg)
		out.Pos = out.Left.Pos
	} else if s.Larg != nil || s.Rarg != nil {
		c.refuse(-1, "set operation "+s.Op.String())
	}
	return out
}

func (c *converter) selectInto(s *pg.SelectStmt, into *pg.IntoClause) ast.Statement {
	left := s
	for left.Larg != nil {
		left = left.Larg
	}
	// The tree belongs to this conversion; take INTO out so that the query converts as itself.
	left.IntoClause = nil
	return &ast.CreateTableAs{Into: c.into(into), Query: c.selectStmt(s), SelectInto: true}
}

func (c *converter) into(i *pg.IntoClause) *ast.Into {
	c.deny(i.AccessMethod != "" && i.AccessMethod != "heap", i.Rel.GetLocation(), "access method \""+i.AccessMethod+"\"")
	c.deny(i.TableSpaceName != "" && i.TableSpaceName != "pg_default", i.Rel.GetLocation(), "tablespace \""+i.TableSpaceName+"\"")
	c.deny(i.ViewQuery != nil, i.Rel.GetLocation(), "view query in INTO")
	return &ast.Into{Table: c.tableName(i.Rel), Columns: strs(i.ColNames), Options: c.options(i.Options), OnCommit: onCommit(i.OnCommit), NoData: i.SkipData}
}

func onCommit(a pg.OnCommitAction) byte {
	switch a {
	case pg.OnCommitAction_ONCOMMIT_PRESERVE_ROWS:
		return 'p'
	case pg.OnCommitAction_ONCOMMIT_DELETE_ROWS:
		return 'd'
	case pg.OnCommitAction_ONCOMMIT_DROP:
		return 'x'
	}
	return 0
}

func (c *converter) targets(ns []*pg.Node) []*ast.Target {
	var out []*ast.Target
	for _, n := range ns {
		t := n.GetResTarget()
		c.deny(len(t.Indirection) > 0, t.Location, "indirection in a select list name")
		e := c.expr(t.Val)
		out = append(out, &ast.Target{Pos: c.pos(t.Location), Name: t.Name, Expr: e})
	}
	return out
}

func (c *converter) groupItem(n *pg.Node, inside bool) ast.GroupItem {
	if g := n.GetGroupingSet(); g != nil {
		out := ast.GroupItem{Pos: c.pos(g.Location)}
		switch g.Kind {
		case pg.GroupingSetKind_GROUPING_SET_EMPTY:
			out.Set = 'e'
		case pg.GroupingSetKind_GROUPING_SET_ROLLUP:
			out.Set = 'r'
		case pg.GroupingSetKind_GROUPING_SET_CUBE:
			out.Set = 'c'
		case pg.GroupingSetKind_GROUPING_SET_SETS:
			out.Set = 's'
		default:
			out.Set = '('
		}
		for _, it := range g.Content {
			out.Items = append(out.Items, c.groupItem(it, true))
		}
		return out
	}
	e := c.expr(n)
	if r, ok := e.(*ast.Row); ok && inside && !r.Explicit {
		out := ast.GroupItem{Pos: r.Pos, Set: '('}
		for _, a := range r.Args {
			out.Items = append(out.Items, ast.GroupItem{Pos: a.Position(), Expr: a})
		}
		return out
	}
	return ast.GroupItem{Pos: e.Position(), Expr: e}
}

func (c *converter) locking(l *pg.LockingClause) *ast.Locking {
	out := &ast.Locking{}
	switch l.Strength {
	case pg.LockClauseStrength_LCS_FORKEYSHARE:
		out.Strength = ast.ForKeyShare
	case pg.LockClauseStrength_LCS_FORSHARE:
		out.Strength = ast.ForShare
	case pg.LockClauseStrength_LCS_FORNOKEYUPDATE:
		out.Strength = ast.ForNoKeyUpdate
	case pg.LockClauseStrength_LCS_FORUPDATE:
		out.Strength = ast.ForUpdate
	default:
		c.refuse(-1, "locking clause "+l.Strength.String())
	}
	switch l.WaitPolicy {
	case pg.LockWaitPolicy_LockWaitSkip:
		out.Wait = 's'
	case pg.LockWaitPolicy_LockWaitError:
		out.Wait = 'n'
	}
	for _, r := range l.LockedRels {
		out.Of = append(out.Of, c.tableName(r.GetRangeVar()))
	}
	return out
}

func (c *converter) with(w *pg.WithClause) *ast.With {
	if w == nil {
		return nil
	}
	out := &ast.With{Pos: c.pos(w.Location), Recursive: w.Recursive}
	for _, n := range w.Ctes {
		t := n.GetCommonTableExpr()
		cte := &ast.CTE{Pos: c.pos(t.Location), Name: t.Ctename, Columns: strs(t.Aliascolnames)}
		switch t.Ctematerialized {
		case pg.CTEMaterialize_CTEMaterializeAlways:
			cte.Materialized = 'y'
		case pg.CTEMaterialize_CTEMaterializeNever:
			cte.Materialized = 'n'
		}
		if sel := t.Ctequery.GetSelectStmt(); sel != nil {
			cte.Query = c.selectStmt(sel)
		} else if cte.Query = c.query(t.Ctequery); cte.Query == nil {
			c.refuse(t.Location, constructName(t.Ctequery)+" in WITH")
		}
		if s := t.SearchClause; s != nil {
			cte.Search = &ast.CTESearch{Pos: c.pos(s.Location), Columns: strs(s.SearchColList), Breadth: s.SearchBreadthFirst, Set: s.SearchSeqColumn}
		}
		if y := t.CycleClause; y != nil {
			cte.Cycle = &ast.CTECycle{Pos: c.pos(y.Location), Columns: strs(y.CycleColList), Mark: y.CycleMarkColumn, Path: y.CyclePathColumn,
				Value: c.exprOrNil(y.CycleMarkValue), Default: c.exprOrNil(y.CycleMarkDefault)}
		}
		out.CTEs = append(out.CTEs, cte)
	}
	return out
}

func (c *converter) tableExpr(n *pg.Node) ast.TableExpr {
	if c.depth++; c.depth > maxTree {
		panic(refusal{pgerr.New(pgerr.StatementTooComplex, "stack depth limit exceeded")})
	}
	defer func() { c.depth-- }()
	switch v := n.GetNode().(type) {
	case *pg.Node_RangeVar:
		return c.tableName(v.RangeVar)
	case *pg.Node_RangeSubselect:
		r := v.RangeSubselect
		sel := r.Subquery.GetSelectStmt()
		if sel == nil {
			c.refuse(-1, nodeName(r.Subquery)+" in FROM")
		}
		q := c.selectStmt(sel)
		return &ast.Derived{Pos: q.Pos, Query: q, Alias: c.alias(r.Alias), Lateral: r.Lateral}
	case *pg.Node_JoinExpr:
		return c.join(v.JoinExpr)
	case *pg.Node_RangeFunction:
		return c.rangeFunction(v.RangeFunction)
	}
	c.refuse(locationOf(n), constructName(n))
	return nil
}

func (c *converter) join(j *pg.JoinExpr) ast.TableExpr {
	out := &ast.Join{Natural: j.IsNatural, Left: c.tableExpr(j.Larg), Right: c.tableExpr(j.Rarg), Using: strs(j.UsingClause),
		UsingAlias: c.alias(j.JoinUsingAlias), On: c.exprOrNil(j.Quals), Alias: c.alias(j.Alias)}
	switch j.Jointype {
	case pg.JoinType_JOIN_INNER:
	case pg.JoinType_JOIN_LEFT:
		out.Kind = ast.LeftJoin
	case pg.JoinType_JOIN_RIGHT:
		out.Kind = ast.RightJoin
	case pg.JoinType_JOIN_FULL:
		out.Kind = ast.FullJoin
	default:
		c.refuse(-1, "join "+j.Jointype.String())
	}
	return out
}

func (c *converter) rangeFunction(r *pg.RangeFunction) ast.TableExpr {
	out := &ast.FuncTable{RowsFrom: r.IsRowsfrom, Ordinality: r.Ordinality, Lateral: r.Lateral, Alias: c.alias(r.Alias), Columns: c.columnDefs(r.Coldeflist)}
	for _, f := range r.Functions {
		items := f.GetList().GetItems()
		if len(items) == 0 {
			c.refuse(-1, "function in FROM of kind "+nodeName(f))
		}
		it := ast.FuncItem{Call: c.expr(items[0])}
		if len(items) > 1 {
			it.Columns = c.columnDefs(items[1].GetList().GetItems())
		}
		if out.Pos == 0 {
			out.Pos = it.Call.Position()
		}
		out.Funcs = append(out.Funcs, it)
	}
	return out
}

func (c *converter) insert(s *pg.InsertStmt) ast.Statement {
	out := &ast.Insert{With: c.with(s.WithClause), Table: c.tableName(s.Relation), Returning: c.targets(s.ReturningList)}
	for _, n := range s.Cols {
		out.Columns = append(out.Columns, c.insertColumn(n.GetResTarget()))
	}
	if s.SelectStmt != nil {
		sel := s.SelectStmt.GetSelectStmt()
		if sel == nil {
			c.refuse(-1, "INSERT from "+nodeName(s.SelectStmt))
		}
		out.Query = c.selectStmt(sel)
	}
	switch s.Override {
	case pg.OverridingKind_OVERRIDING_USER_VALUE:
		out.Override = 'u'
	case pg.OverridingKind_OVERRIDING_SYSTEM_VALUE:
		out.Override = 's'
	}
	if o := s.OnConflictClause; o != nil {
		oc := &ast.OnConflict{Pos: c.pos(o.Location), Update: o.Action == pg.OnConflictAction_ONCONFLICT_UPDATE,
			Set: c.setClauses(o.TargetList), UpdateWhen: c.exprOrNil(o.WhereClause)}
		if i := o.Infer; i != nil {
			oc.HasTarget, oc.Constraint, oc.Where = true, i.Conname, c.exprOrNil(i.WhereClause)
			for _, e := range i.IndexElems {
				el := c.indexElem(e.GetIndexElem())
				if el.Pos == 0 {
					el.Pos = c.pos(i.Location)
				}
				oc.Targets = append(oc.Targets, el)
			}
		}
		out.OnConflict = oc
	}
	return out
}

func (c *converter) insertColumn(t *pg.ResTarget) *ast.InsertColumn {
	return &ast.InsertColumn{Pos: c.pos(t.Location), Name: t.Name, Steps: c.steps(t.Indirection)}
}

// setClauses groups the grammar's MultiAssignRefs back into (a, b) = source.
func (c *converter) setClauses(ns []*pg.Node) []*ast.SetClause {
	var out []*ast.SetClause
	for i := 0; i < len(ns); i++ {
		t := ns[i].GetResTarget()
		m := t.Val.GetMultiAssignRef()
		if m == nil {
			out = append(out, &ast.SetClause{Pos: c.pos(t.Location), Columns: []*ast.InsertColumn{c.insertColumn(t)}, Value: c.expr(t.Val)})
			continue
		}
		cl := &ast.SetClause{Pos: c.pos(t.Location), Value: c.expr(m.Source), Multi: true}
		if m.Colno != 1 || int(m.Ncolumns) > len(ns)-i {
			c.refuse(t.Location, "multiple assignment of this form")
		}
		for k := 0; k < int(m.Ncolumns); k++ {
			tk := ns[i+k].GetResTarget()
			if mk := tk.Val.GetMultiAssignRef(); mk == nil || int(mk.Colno) != k+1 || mk.Ncolumns != m.Ncolumns {
				c.refuse(tk.Location, "multiple assignment of this form")
			}
			cl.Columns = append(cl.Columns, c.insertColumn(tk))
		}
		i += int(m.Ncolumns) - 1
		out = append(out, cl)
	}
	return out
}

func (c *converter) tableExprs(ns []*pg.Node) []ast.TableExpr {
	var out []ast.TableExpr
	for _, n := range ns {
		out = append(out, c.tableExpr(n))
	}
	return out
}

func (c *converter) update(s *pg.UpdateStmt) ast.Statement {
	return &ast.Update{With: c.with(s.WithClause), Table: c.tableName(s.Relation), Set: c.setClauses(s.TargetList),
		From: c.tableExprs(s.FromClause), Where: c.exprOrNil(s.WhereClause), Returning: c.targets(s.ReturningList)}
}

func (c *converter) delete(s *pg.DeleteStmt) ast.Statement {
	return &ast.Delete{With: c.with(s.WithClause), Table: c.tableName(s.Relation), Using: c.tableExprs(s.UsingClause),
		Where: c.exprOrNil(s.WhereClause), Returning: c.targets(s.ReturningList)}
}
