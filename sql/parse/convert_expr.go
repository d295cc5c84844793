package parse

import (
	"strconv"
	"strings"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
)

func itoa(i int32) string { return strconv.Itoa(int(i)) }

// nodeName is the protobuf name of a node, for refusals.
func nodeName(n *pg.Node) string {
	if n == nil || n.Node == nil {
		return "nothing"
	}
	m := n.ProtoReflect()
	f := m.WhichOneof(m.Descriptor().Oneofs().Get(0))
	return string(f.Message().Name())
}

func (c *converter) exprs(ns []*pg.Node) []ast.Expr {
	if len(ns) == 0 {
		return nil
	}
	out := make([]ast.Expr, len(ns))
	for i, n := range ns {
		out[i] = c.expr(n)
	}
	return out
}

// exprOrNil converts an optional expression.
func (c *converter) exprOrNil(n *pg.Node) ast.Expr {
	if n == nil {
		return nil
	}
	return c.expr(n)
}

func (c *converter) at(loc int32) ast.At { return ast.At{Pos: c.pos(loc)} }

// maxTree bounds the depth of trees: everything behind recurses over them.
const maxTree = 10000

func (c *converter) expr(n *pg.Node) ast.Expr {
	if c.depth++; c.depth > maxTree {
		panic(refusal{pgerr.New(pgerr.StatementTooComplex, "stack depth limit exceeded")})
	}
	defer func() { c.depth-- }()
	switch v := n.GetNode().(type) {
	case *pg.Node_AConst:
		return c.literal(v.AConst)
	case *pg.Node_ColumnRef:
		return c.columnRef(v.ColumnRef)
	case *pg.Node_ParamRef:
		p := v.ParamRef
		if int(p.Number) > c.params {
			c.params = int(p.Number)
		}
		if p.Number <= 0 || p.Number > 65535 {
			c.fail(p.Location, pgerr.UndefinedParameter, "there is no parameter $%d", p.Number)
		}
		return &ast.Param{At: c.at(p.Location), Number: int(p.Number)}
	case *pg.Node_AExpr:
		return c.aExpr(v.AExpr)
	case *pg.Node_BoolExpr:
		b := v.BoolExpr
		out := &ast.Bool{At: c.at(b.Location), Args: c.exprs(b.Args)}
		switch b.Boolop {
		case pg.BoolExprType_AND_EXPR:
			out.Op = '&'
		case pg.BoolExprType_OR_EXPR:
			out.Op = '|'
		case pg.BoolExprType_NOT_EXPR:
			out.Op = '!'
		default:
			c.refuse(b.Location, "boolean operator "+b.Boolop.String())
		}
		return out
	case *pg.Node_FuncCall:
		return c.funcCall(v.FuncCall)
	case *pg.Node_TypeCast:
		t := v.TypeCast
		return &ast.Cast{At: c.at(t.Location), Arg: c.expr(t.Arg), Type: c.typeName(t.TypeName)}
	case *pg.Node_NullTest:
		t := v.NullTest
		return &ast.NullTest{At: c.at(t.Location), Arg: c.expr(t.Arg), Not: t.Nulltesttype == pg.NullTestType_IS_NOT_NULL}
	case *pg.Node_BooleanTest:
		return c.boolTest(v.BooleanTest)
	case *pg.Node_CaseExpr:
		t := v.CaseExpr
		out := &ast.Case{At: c.at(t.Location), Arg: c.exprOrNil(t.Arg), Else: c.exprOrNil(t.Defresult)}
		for _, w := range t.Args {
			cw := w.GetCaseWhen()
			out.Whens = append(out.Whens, &ast.When{At: c.at(cw.Location), Cond: c.expr(cw.Expr), Then: c.expr(cw.Result)})
		}
		return out
	case *pg.Node_CoalesceExpr:
		return &ast.Coalesce{At: c.at(v.CoalesceExpr.Location), Args: c.exprs(v.CoalesceExpr.Args)}
	case *pg.Node_MinMaxExpr:
		t := v.MinMaxExpr
		return &ast.MinMax{At: c.at(t.Location), Args: c.exprs(t.Args), Least: t.Op == pg.MinMaxOp_IS_LEAST}
	case *pg.Node_SubLink:
		return c.sublink(v.SubLink)
	case *pg.Node_AArrayExpr:
		return &ast.Array{At: c.at(v.AArrayExpr.Location), Elems: c.exprs(v.AArrayExpr.Elements)}
	case *pg.Node_RowExpr:
		t := v.RowExpr
		return &ast.Row{At: c.at(t.Location), Args: c.exprs(t.Args), Explicit: t.RowFormat == pg.CoercionForm_COERCE_EXPLICIT_CALL}
	case *pg.Node_AIndirection:
		return c.indirection(v.AIndirection)
	case *pg.Node_SqlvalueFunction:
		return c.sqlValue(v.SqlvalueFunction)
	case *pg.Node_CollateClause:
		t := v.CollateClause
		return &ast.Collate{At: c.at(t.Location), Arg: c.expr(t.Arg), Name: c.names(t.Collname)}
	case *pg.Node_SetToDefault:
		return &ast.Default{At: c.at(v.SetToDefault.Location)}
	case *pg.Node_GroupingFunc:
		return &ast.Grouping{At: c.at(v.GroupingFunc.Location), Args: c.exprs(v.GroupingFunc.Args)}
	case *pg.Node_NamedArgExpr:
		t := v.NamedArgExpr
		return &ast.NamedArg{At: c.at(t.Location), Name: t.Name, Arg: c.expr(t.Arg)}
	case *pg.Node_CurrentOfExpr:
		if v.CurrentOfExpr.CursorParam != 0 {
			c.refuse(-1, "WHERE CURRENT OF a parameter")
		}
		return &ast.CurrentOf{Cursor: v.CurrentOfExpr.CursorName}
	case *pg.Node_List:
		// A row on one side of an operator in old grammar paths.
		return &ast.Row{Args: c.exprs(v.List.Items)}
	case *pg.Node_String_:
		return &ast.Literal{Kind: ast.StringLiteral, Text: v.String_.Sval}
	case *pg.Node_Integer:
		return &ast.Literal{Kind: ast.IntLiteral, Int: v.Integer.Ival, Text: itoa(v.Integer.Ival)}
	}
	c.refuse(locationOf(n), constructName(n))
	return nil
}

func (c *converter) literal(k *pg.A_Const) ast.Expr {
	l := &ast.Literal{At: c.at(k.Location)}
	if k.Isnull {
		l.Text = "NULL"
		return l
	}
	switch v := k.Val.(type) {
	case *pg.A_Const_Ival:
		l.Kind, l.Int, l.Text = ast.IntLiteral, v.Ival.Ival, itoa(v.Ival.Ival)
	case *pg.A_Const_Fval:
		l.Kind, l.Text = ast.NumericLiteral, v.Fval.Fval
		// The grammar folds a sign into the number, so -2147483648 arrives here though it fits int4.
		if i, err := strconv.ParseInt(l.Text, 10, 32); err == nil {
			l.Kind, l.Int = ast.IntLiteral, int32(i)
		}
	case *pg.A_Const_Boolval:
		l.Kind, l.Bool, l.Text = ast.BoolLiteral, v.Boolval.Boolval, "false"
		if l.Bool {
			l.Text = "true"
		}
	case *pg.A_Const_Sval:
		l.Kind, l.Text = ast.StringLiteral, v.Sval.Sval
	case *pg.A_Const_Bsval:
		l.Kind, l.Text = ast.BitLiteral, v.Bsval.Bsval
	default:
		c.refuse(k.Location, "constant of unknown kind")
	}
	return l
}

func (c *converter) columnRef(r *pg.ColumnRef) ast.Expr {
	out := &ast.ColumnRef{At: c.at(r.Location)}
	for _, f := range r.Fields {
		if f.GetAStar() != nil {
			out.Star = true
			continue
		}
		out.Names = append(out.Names, str(f))
	}
	return out
}

func (c *converter) aExpr(e *pg.A_Expr) ast.Expr {
	at, name := c.at(e.Location), c.names(e.Name)
	op := ""
	if len(name) > 0 {
		op = name[len(name)-1]
	}
	switch e.Kind {
	case pg.A_Expr_Kind_AEXPR_OP:
		return &ast.Op{At: at, Name: name, Left: c.exprOrNil(e.Lexpr), Right: c.exprOrNil(e.Rexpr)}
	case pg.A_Expr_Kind_AEXPR_LIKE:
		return &ast.Op{At: at, Name: name, Left: c.expr(e.Lexpr), Right: c.expr(e.Rexpr), Like: 'l'}
	case pg.A_Expr_Kind_AEXPR_ILIKE:
		return &ast.Op{At: at, Name: name, Left: c.expr(e.Lexpr), Right: c.expr(e.Rexpr), Like: 'i'}
	case pg.A_Expr_Kind_AEXPR_SIMILAR:
		return &ast.Op{At: at, Name: name, Left: c.expr(e.Lexpr), Right: c.expr(e.Rexpr), Like: 's'}
	case pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL:
		return &ast.AnyAll{At: at, Left: c.expr(e.Lexpr), Op: name, Array: c.expr(e.Rexpr), All: e.Kind == pg.A_Expr_Kind_AEXPR_OP_ALL}
	case pg.A_Expr_Kind_AEXPR_DISTINCT, pg.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		return &ast.DistinctFrom{At: at, Left: c.expr(e.Lexpr), Right: c.expr(e.Rexpr), Not: e.Kind == pg.A_Expr_Kind_AEXPR_NOT_DISTINCT}
	case pg.A_Expr_Kind_AEXPR_NULLIF:
		return &ast.NullIf{At: at, Left: c.expr(e.Lexpr), Right: c.expr(e.Rexpr)}
	case pg.A_Expr_Kind_AEXPR_IN:
		return &ast.In{At: at, Left: c.expr(e.Lexpr), List: c.exprs(e.Rexpr.GetList().GetItems()), Not: op == "<>"}
	case pg.A_Expr_Kind_AEXPR_BETWEEN, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN,
		pg.A_Expr_Kind_AEXPR_BETWEEN_SYM, pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM:
		bounds := e.Rexpr.GetList().GetItems()
		if len(bounds) != 2 {
			c.refuse(e.Location, "BETWEEN without two bounds")
		}
		return &ast.Between{At: at, Arg: c.expr(e.Lexpr), Low: c.expr(bounds[0]), High: c.expr(bounds[1]),
			Not:       e.Kind == pg.A_Expr_Kind_AEXPR_NOT_BETWEEN || e.Kind == pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM,
			Symmetric: e.Kind == pg.A_Expr_Kind_AEXPR_BETWEEN_SYM || e.Kind == pg.A_Expr_Kind_AEXPR_NOT_BETWEEN_SYM}
	}
	c.refuse(e.Location, "expression "+e.Kind.String())
	return nil
}

func (c *converter) boolTest(t *pg.BooleanTest) ast.Expr {
	out := &ast.BoolTest{At: c.at(t.Location), Arg: c.expr(t.Arg)}
	switch t.Booltesttype {
	case pg.BoolTestType_IS_TRUE, pg.BoolTestType_IS_NOT_TRUE:
		out.Want, out.Not = 't', t.Booltesttype == pg.BoolTestType_IS_NOT_TRUE
	case pg.BoolTestType_IS_FALSE, pg.BoolTestType_IS_NOT_FALSE:
		out.Want, out.Not = 'f', t.Booltesttype == pg.BoolTestType_IS_NOT_FALSE
	case pg.BoolTestType_IS_UNKNOWN, pg.BoolTestType_IS_NOT_UNKNOWN:
		out.Want, out.Not = 'u', t.Booltesttype == pg.BoolTestType_IS_NOT_UNKNOWN
	default:
		c.refuse(t.Location, "boolean test "+t.Booltesttype.String())
	}
	return out
}

func (c *converter) funcCall(f *pg.FuncCall) ast.Expr {
	return &ast.FuncCall{
		At: c.at(f.Location), Name: c.names(f.Funcname), Args: c.exprs(f.Args),
		Star: f.AggStar, Distinct: f.AggDistinct, Variadic: f.FuncVariadic, WithinGroup: f.AggWithinGroup,
		OrderBy: c.sortBys(f.AggOrder), Filter: c.exprOrNil(f.AggFilter), Over: c.window(f.Over, true),
		SQLSyntax: f.Funcformat == pg.CoercionForm_COERCE_SQL_SYNTAX,
	}
}

func (c *converter) sublink(s *pg.SubLink) ast.Expr {
	sel := s.Subselect.GetSelectStmt()
	if sel == nil {
		c.refuse(s.Location, "subquery of kind "+nodeName(s.Subselect))
	}
	out := &ast.Sublink{At: c.at(s.Location), Test: c.exprOrNil(s.Testexpr), Op: c.names(s.OperName), Query: c.selectStmt(sel)}
	switch s.SubLinkType {
	case pg.SubLinkType_EXPR_SUBLINK:
		out.Kind = ast.ScalarSublink
	case pg.SubLinkType_EXISTS_SUBLINK:
		out.Kind = ast.ExistsSublink
	case pg.SubLinkType_ANY_SUBLINK:
		out.Kind = ast.AnySublink
	case pg.SubLinkType_ALL_SUBLINK:
		out.Kind = ast.AllSublink
	case pg.SubLinkType_ARRAY_SUBLINK:
		out.Kind = ast.ArraySublink
	default:
		c.refuse(s.Location, "subquery "+s.SubLinkType.String())
	}
	return out
}

func (c *converter) steps(ns []*pg.Node) []ast.Step {
	var out []ast.Step
	for _, n := range ns {
		switch v := n.Node.(type) {
		case *pg.Node_String_:
			out = append(out, ast.Step{Field: v.String_.Sval})
		case *pg.Node_AStar:
			out = append(out, ast.Step{Star: true})
		case *pg.Node_AIndices:
			out = append(out, ast.Step{Slice: v.AIndices.IsSlice, Lower: c.exprOrNil(v.AIndices.Lidx), Upper: c.exprOrNil(v.AIndices.Uidx)})
		default:
			c.refuse(-1, "indirection "+nodeName(n))
		}
	}
	return out
}

func (c *converter) indirection(i *pg.A_Indirection) ast.Expr {
	arg := c.expr(i.Arg)
	return &ast.Indirection{At: ast.At{Pos: arg.Position()}, Arg: arg, Steps: c.steps(i.Indirection)}
}

func (c *converter) sqlValue(f *pg.SQLValueFunction) ast.Expr {
	out := &ast.SQLValue{At: c.at(f.Location), Mod: -1}
	name := strings.ToLower(strings.TrimPrefix(f.Op.String(), "SVFOP_"))
	if n, ok := strings.CutSuffix(name, "_n"); ok {
		name, out.Mod = n, f.Typmod
	}
	out.Name = name
	return out
}

func (c *converter) sortBys(ns []*pg.Node) []*ast.SortBy {
	var out []*ast.SortBy
	for _, n := range ns {
		s := n.GetSortBy()
		o := &ast.SortBy{Pos: c.pos(s.Location), Expr: c.expr(s.Node), Using: c.names(s.UseOp)}
		switch s.SortbyDir {
		case pg.SortByDir_SORTBY_DESC:
			o.Desc = true
		}
		o.Nulls = nullsOrder(s.SortbyNulls)
		if o.Pos == 0 {
			o.Pos = o.Expr.Position()
		}
		out = append(out, o)
	}
	return out
}

func nullsOrder(n pg.SortByNulls) byte {
	switch n {
	case pg.SortByNulls_SORTBY_NULLS_FIRST:
		return 'f'
	case pg.SortByNulls_SORTBY_NULLS_LAST:
		return 'l'
	}
	return 0
}

// Bits of WindowDef.frameOptions.
const (
	frameNonDefault     = 0x00001
	frameRange          = 0x00002
	frameRows           = 0x00004
	frameGroups         = 0x00008
	frameStartUnbounded = 0x00020
	frameEndUnbounded   = 0x00100
	frameStartCurrent   = 0x00200
	frameEndCurrent     = 0x00400
	frameStartPreceding = 0x00800
	frameEndPreceding   = 0x01000
	frameStartFollowing = 0x02000
	frameEndFollowing   = 0x04000
	frameExcludeCurrent = 0x08000
	frameExcludeGroup   = 0x10000
	frameExcludeTies    = 0x20000
)

// window converts OVER (over true) and items of the WINDOW clause.
func (c *converter) window(w *pg.WindowDef, over bool) *ast.Window {
	if w == nil {
		return nil
	}
	out := &ast.Window{Pos: c.pos(w.Location), Name: w.Name, Ref: w.Refname,
		PartitionBy: c.exprs(w.PartitionClause), OrderBy: c.sortBys(w.OrderClause)}
	if over && w.Name != "" {
		// OVER name: the grammar puts the name there, OVER (name ...) into refname.
		out.Name, out.Ref, out.Bare = "", w.Name, true
	}
	o := w.FrameOptions
	if o&frameNonDefault == 0 {
		return out
	}
	f := &ast.Frame{StartOffset: c.exprOrNil(w.StartOffset), EndOffset: c.exprOrNil(w.EndOffset)}
	switch {
	case o&frameRows != 0:
		f.Mode = 'r'
	case o&frameGroups != 0:
		f.Mode = 'g'
	case o&frameRange != 0:
		f.Mode = 'v'
	}
	switch {
	case o&frameStartUnbounded != 0:
		f.Start = ast.UnboundedPreceding
	case o&frameStartCurrent != 0:
		f.Start = ast.CurrentRow
	case o&frameStartPreceding != 0:
		f.Start = ast.OffsetPreceding
	case o&frameStartFollowing != 0:
		f.Start = ast.OffsetFollowing
	}
	switch {
	case o&frameEndUnbounded != 0:
		f.End = ast.UnboundedFollowing
	case o&frameEndCurrent != 0:
		f.End = ast.CurrentRow
	case o&frameEndPreceding != 0:
		f.End = ast.OffsetPreceding
	case o&frameEndFollowing != 0:
		f.End = ast.OffsetFollowing
	}
	switch {
	case o&frameExcludeCurrent != 0:
		f.Exclude = 'c'
	case o&frameExcludeGroup != 0:
		f.Exclude = 'g'
	case o&frameExcludeTies != 0:
		f.Exclude = 't'
	}
	out.Frame = f
	return out
}
