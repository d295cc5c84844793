package parse

import (
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// converter turns one text's protobuf tree into ast. Its methods leave by panic(refusal)
// when they meet what the tree cannot say; stmts turns that into an error.
type converter struct {
	text   string
	ascii  bool
	params int
	depth  int
}

type refusal struct{ err *pgerr.Error }

// pos turns the parser's byte offset (-1: unknown) into a character position.
func (c *converter) pos(loc int32) int {
	if loc < 0 || int(loc) > len(c.text) {
		return 0
	}
	if c.ascii {
		return int(loc) + 1
	}
	return utf8.RuneCountInString(c.text[:loc]) + 1
}

// refuse leaves the conversion: what is not supported.
func (c *converter) refuse(loc int32, what string) {
	panic(refusal{pgerr.Unsupported(what, "").At(c.pos(loc))})
}

// deny refuses what if present is true.
func (c *converter) deny(present bool, loc int32, what string) {
	if present {
		c.refuse(loc, what)
	}
}

func (c *converter) fail(loc int32, code, format string, args ...any) {
	panic(refusal{pgerr.New(code, format, args...).At(c.pos(loc))})
}

func (c *converter) stmts(tree *pg.ParseResult) (out []ast.Stmt, err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case refusal:
			out, err = nil, r.err
		default:
			panic(r)
		}
	}()
	for _, raw := range tree.Stmts {
		c.params = 0
		start := int(raw.StmtLocation)
		end := start + int(raw.StmtLen)
		if raw.StmtLen == 0 {
			end = len(c.text)
		}
		text := c.text[start:end]
		trimmed := strings.TrimLeft(text, " \t\r\n\f\v;")
		start += len(text) - len(trimmed)
		trimmed = strings.TrimRight(trimmed, " \t\r\n\f\v;")
		out = append(out, ast.Stmt{Text: trimmed, Start: start, Statement: c.statement(raw.Stmt), Params: c.params})
	}
	return out, nil
}

// statement converts any statement node.
func (c *converter) statement(n *pg.Node) ast.Statement {
	if s := c.query(n); s != nil {
		return s
	}
	if s := c.definition(n); s != nil {
		return s
	}
	return c.command(n)
}

// query converts SELECT, INSERT, UPDATE, DELETE; nil for anything else.
func (c *converter) query(n *pg.Node) ast.Statement {
	switch v := n.GetNode().(type) {
	case *pg.Node_SelectStmt:
		if into := intoOf(v.SelectStmt); into != nil {
			return c.selectInto(v.SelectStmt, into)
		}
		return c.selectStmt(v.SelectStmt)
	case *pg.Node_InsertStmt:
		return c.insert(v.InsertStmt)
	case *pg.Node_UpdateStmt:
		return c.update(v.UpdateStmt)
	case *pg.Node_DeleteStmt:
		return c.delete(v.DeleteStmt)
	}
	return nil
}

// intoOf finds SELECT INTO, which a set operation keeps in its leftmost query.
func intoOf(s *pg.SelectStmt) *pg.IntoClause {
	for s.Larg != nil {
		s = s.Larg
	}
	return s.IntoClause
}

// str is a String node's text.
func str(n *pg.Node) string { return n.GetString_().GetSval() }

func strs(ns []*pg.Node) []string {
	if len(ns) == 0 {
		return nil
	}
	out := make([]string, len(ns))
	for i, n := range ns {
		out[i] = str(n)
	}
	return out
}

// names is for lists of String that name an object.
func (c *converter) names(ns []*pg.Node) []string { return strs(ns) }

func (c *converter) typeName(t *pg.TypeName) *ast.TypeName {
	if t == nil {
		return nil
	}
	out := &ast.TypeName{Pos: c.pos(t.Location), Names: c.names(t.Names), SetOf: t.Setof, Pct: t.PctType, Dims: len(t.ArrayBounds)}
	out.Mods = c.exprs(t.Typmods)
	return out
}

func (c *converter) tableName(r *pg.RangeVar) *ast.TableName {
	if r == nil {
		return nil
	}
	out := &ast.TableName{Pos: c.pos(r.Location), Catalog: r.Catalogname, Schema: r.Schemaname, Name: r.Relname, Only: !r.Inh, Persistence: 'p'}
	if r.Relpersistence != "" {
		out.Persistence = r.Relpersistence[0]
	}
	out.Alias = c.alias(r.Alias)
	return out
}

func (c *converter) alias(a *pg.Alias) *ast.Alias {
	if a == nil {
		return nil
	}
	return &ast.Alias{Name: a.Aliasname, Columns: strs(a.Colnames)}
}

func (c *converter) role(r *pg.RoleSpec) *ast.Role {
	if r == nil {
		return nil
	}
	out := &ast.Role{Pos: c.pos(r.Location), Name: r.Rolename}
	switch r.Roletype {
	case pg.RoleSpecType_ROLESPEC_CURRENT_ROLE:
		out.Special = "current_role"
	case pg.RoleSpecType_ROLESPEC_CURRENT_USER:
		out.Special = "current_user"
	case pg.RoleSpecType_ROLESPEC_SESSION_USER:
		out.Special = "session_user"
	case pg.RoleSpecType_ROLESPEC_PUBLIC:
		out.Special = "public"
	}
	return out
}

func (c *converter) roles(ns []*pg.Node) []ast.Role {
	out := make([]ast.Role, 0, len(ns))
	for _, n := range ns {
		out = append(out, *c.role(n.GetRoleSpec()))
	}
	return out
}

// options converts DefElems.
func (c *converter) options(ns []*pg.Node) []ast.Option {
	if len(ns) == 0 {
		return nil
	}
	out := make([]ast.Option, 0, len(ns))
	for _, n := range ns {
		d := n.GetDefElem()
		if d == nil {
			c.refuse(-1, "option of kind "+nodeName(n))
		}
		out = append(out, c.option(d))
	}
	return out
}

func (c *converter) option(d *pg.DefElem) ast.Option {
	o := ast.Option{Pos: c.pos(d.Location), Namespace: d.Defnamespace, Name: d.Defname}
	switch d.Defaction {
	case pg.DefElemAction_DEFELEM_SET:
		o.Action = 's'
	case pg.DefElemAction_DEFELEM_ADD:
		o.Action = 'a'
	case pg.DefElemAction_DEFELEM_DROP:
		o.Action = 'd'
	}
	if d.Arg == nil {
		return o
	}
	o.HasValue = true
	switch v := d.Arg.Node.(type) {
	case *pg.Node_String_:
		o.Text = v.String_.Sval
	case *pg.Node_Integer:
		o.Text = itoa(v.Integer.Ival)
		o.Expr = &ast.Literal{At: ast.At{Pos: o.Pos}, Kind: ast.IntLiteral, Int: v.Integer.Ival, Text: o.Text}
	case *pg.Node_Float:
		o.Text = v.Float.Fval
		o.Expr = &ast.Literal{At: ast.At{Pos: o.Pos}, Kind: ast.NumericLiteral, Text: o.Text}
	case *pg.Node_Boolean:
		o.Text = "false"
		if v.Boolean.Boolval {
			o.Text = "true"
		}
	case *pg.Node_TypeName:
		o.Text = typeText(v.TypeName)
	case *pg.Node_AStar:
		o.Text = "*"
	case *pg.Node_List:
		for _, it := range v.List.Items {
			switch w := it.Node.(type) {
			case *pg.Node_RoleSpec:
				r := c.role(w.RoleSpec)
				if r.Special != "" {
					o.List = append(o.List, r.Special)
				} else {
					o.List = append(o.List, r.Name)
				}
			case *pg.Node_String_:
				o.List = append(o.List, w.String_.Sval)
			default:
				c.refuse(d.Location, "value of option \""+d.Defname+"\"")
			}
		}
	case *pg.Node_AConst:
		e := c.expr(d.Arg).(*ast.Literal)
		o.Expr, o.Text = e, e.Text
	default:
		c.refuse(d.Location, "value of option \""+d.Defname+"\"")
	}
	return o
}

// typeText is the text of an option value that the grammar took for a type name (a plain word).
func typeText(t *pg.TypeName) string {
	names := strs(t.Names)
	if len(names) == 2 && names[0] == "pg_catalog" {
		names = names[1:]
	}
	return strings.Join(names, ".")
}

// sqlOf deparses an expression node to SQL text.
func (c *converter) sqlOf(n *pg.Node) string {
	if n == nil {
		return ""
	}
	sel := &pg.Node{Node: &pg.Node_SelectStmt{SelectStmt: &pg.SelectStmt{
		LimitOption: pg.LimitOption_LIMIT_OPTION_DEFAULT,
		Op:          pg.SetOperation_SETOP_NONE,
		TargetList:  []*pg.Node{pg.MakeResTargetNodeWithVal(n, -1)},
	}}}
	return strings.TrimPrefix(c.sqlOfStatement(sel), "SELECT ")
}

func (c *converter) sqlOfStatement(n *pg.Node) string {
	text, err := pg.Deparse(&pg.ParseResult{Version: 170007, Stmts: []*pg.RawStmt{{Stmt: n}}})
	if err != nil {
		panic(refusal{&pgerr.Error{Code: pgerr.InternalError, Message: "cannot deparse: " + err.Error(), Cause: err}})
	}
	return text
}

func (c *converter) behavior(b pg.DropBehavior) bool { return b == pg.DropBehavior_DROP_CASCADE }
