package expr

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
	pg "github.com/pganalyze/pg_query_go/v6"
)

// The corpus testdata/scalar.sql is a list of expressions; testdata/scalar.out says what PostgreSQL 15
// answers (database in C.UTF-8, TimeZone America/New_York). To make the answers anew:
//
//	go test ./sql/expr -run TestDifferential -postgres "host=127.0.0.1 user=postgres dbname=postgres"
var postgresDSN = flag.String("postgres", "", "PostgreSQL 15 to take the expected answers from")

// maxRefused is how many expressions of the corpus answer 0A000 here and something else in PostgreSQL.
const maxRefused = 0

const (
	corpusFile = "testdata/scalar.sql"
	answerFile = "testdata/scalar.out"
)

func corpus(t *testing.T) []string {
	b, err := os.ReadFile(corpusFile)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, l := range strings.Split(string(b), "\n") {
		if l = strings.TrimSpace(l); l != "" && !strings.HasPrefix(l, "--") {
			out = append(out, l)
		}
	}
	return out
}

func escapeLine(s string) string {
	return strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\t", "\\t").Replace(s)
}

func askPostgres(t *testing.T, lines []string) {
	ctx := context.Background()
	c, err := pgconn.Connect(ctx, *postgresDSN)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, "set timezone = 'America/New_York'").ReadAll(); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, l := range lines {
		res, err := c.Exec(ctx, "select "+l).ReadAll()
		answer := ""
		if err != nil {
			e, ok := err.(*pgconn.PgError)
			if !ok {
				t.Fatalf("%s: %v", l, err)
			}
			answer = "ERROR " + e.Code + ": " + e.Message
		} else {
			r := res[0]
			answer = types.FormatType(types.Of(types.OID(r.FieldDescriptions[0].DataTypeOID))) + "\t"
			if v := r.Rows[0][0]; v == nil {
				answer += "NULL"
			} else {
				answer += "'" + escapeLine(string(v)) + "'"
			}
		}
		b.WriteString(l + "\t" + answer + "\n")
	}
	if err := os.WriteFile(answerFile, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDifferential(t *testing.T) {
	lines := corpus(t)
	if *postgresDSN != "" {
		askPostgres(t, lines)
	}
	b, err := os.ReadFile(answerFile)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, l := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		e, a, _ := strings.Cut(l, "\t")
		want[e] = a
	}
	loc, _ := types.FindZone("America/New_York")
	env := *types.DefaultEnv
	env.Location = loc
	env.Now = types.FromTime(time.Now())
	bad, unsupported := 0, 0
	for _, l := range lines {
		w, ok := want[l]
		if !ok {
			t.Errorf("no answer for %s: generate anew", l)
			continue
		}
		got := evalText(l, &env)
		if strings.HasPrefix(got, "ERROR 0A000") && got != w {
			// Refused clearly: no wrong answer, but more of them than there were is a loss.
			unsupported++
			t.Logf("unsupported: %s", l)
			continue
		}
		if got != w {
			bad++
			t.Errorf("%s\n  PostgreSQL: %s\n  Pamir:      %s", l, w, got)
		}
	}
	t.Logf("%d expressions, %d differ, %d are refused", len(lines), bad, unsupported)
	if unsupported > maxRefused {
		t.Errorf("%d expressions are refused, %d were", unsupported, maxRefused)
	}
}

func evalText(sql string, env *types.TextEnv) string {
	fail := func(err error) string {
		if e, ok := pgerr.As(err); ok {
			return "ERROR " + e.Code + ": " + e.Message
		}
		return "FAIL " + err.Error()
	}
	e, err := bindText(sql)
	if err != nil {
		return fail(err)
	}
	if e.Type().OID == types.UnknownOID {
		if e, err = Coerce(e, types.Of(types.TextOID), 'i'); err != nil {
			return fail(err)
		}
	}
	// The wire form must carry everything.
	wire, err := AppendWire(nil, e)
	if err != nil {
		return fail(err)
	}
	e2, rest, err := DecodeExpr(wire)
	if err != nil || len(rest) != 0 || !Equal(e, e2) {
		return fmt.Sprint("FAIL wire form: ", err)
	}
	p, err := Compile(e2)
	if err != nil {
		return fail(err)
	}
	d, err := p.EvalRow(&Runtime{Ctx: &builtin.Context{Env: env, TxnStart: env.Now, StmtStart: env.Now}}, nil, 0)
	if err != nil {
		return fail(err)
	}
	t := types.FormatType(types.Of(e.Type().OID))
	if d.Null {
		return t + "\tNULL"
	}
	return t + "\t'" + escapeLine(string(types.AppendDatumText(nil, e.Type(), d, env))) + "'"
}

// bindText is a binder for expressions without columns: enough to try the builders.
func bindText(sql string) (Expr, error) {
	tree, err := pg.Parse("select " + sql)
	if err != nil {
		return nil, err
	}
	return bindNode(tree.Stmts[0].Stmt.GetSelectStmt().TargetList[0].GetResTarget().Val)
}

func bindList(ns []*pg.Node) ([]Expr, error) {
	var es []Expr
	for _, n := range ns {
		e, err := bindNode(n)
		if err != nil {
			return nil, err
		}
		es = append(es, e)
	}
	return es, nil
}

func names(ns []*pg.Node) (schema, name string) {
	for _, n := range ns {
		schema, name = name, n.GetString_().Sval
	}
	if schema == "pg_catalog" {
		schema = ""
	}
	return schema, name
}

func bindType(n *pg.TypeName) (types.Type, error) {
	_, name := names(n.Names)
	r := builtin.TypeByName("", name)
	if r == nil {
		return types.Type{}, pgerr.New(pgerr.UndefinedObject, "type \"%s\" does not exist", name)
	}
	t := types.Of(r.OID)
	var mods []int
	for _, m := range n.Typmods {
		mods = append(mods, int(m.GetAConst().GetIval().GetIval()))
	}
	switch {
	case len(mods) == 0:
	case r.OID == types.NumericOID:
		scale := 0
		if len(mods) > 1 {
			scale = mods[1]
		}
		t.Mod = types.MakeNumericMod(mods[0], scale)
	case r.OID == types.VarcharOID || r.OID == types.BpcharOID:
		t.Mod = int32(mods[0]) + 4
	case r.OID == types.IntervalOID:
		p := types.IntervalFullPrecision
		if len(mods) > 1 {
			p = mods[1]
		}
		t.Mod = types.IntervalMod(mods[0], p)
	default:
		t.Mod = int32(mods[0])
	}
	if len(n.ArrayBounds) > 0 {
		t.OID = types.ArrayOf(t.OID)
	}
	return t, nil
}

func bindConst(c *pg.A_Const) (Expr, error) {
	if c.Isnull {
		return NullConst(), nil
	}
	switch v := c.Val.(type) {
	case *pg.A_Const_Ival:
		return i4(int64(v.Ival.Ival)), nil
	case *pg.A_Const_Fval:
		s := v.Fval.Fval
		if x, err := strconv.ParseInt(s, 10, 64); err == nil {
			if x == int64(int32(x)) {
				return i4(x), nil
			}
			return &Const{T: types.Of(types.Int8OID), Value: types.NewInt(x)}, nil
		}
		d, err := types.ParseNumeric([]byte(s))
		return &Const{T: types.Of(types.NumericOID), Value: types.NewDecimal(d)}, err
	case *pg.A_Const_Boolval:
		return &Const{T: types.Of(types.BoolOID), Value: types.NewBool(v.Boolval.Boolval)}, nil
	case *pg.A_Const_Sval:
		return Unknown(v.Sval.Sval), nil
	}
	return nil, fmt.Errorf("constant %v", c)
}

func bindNode(n *pg.Node) (Expr, error) {
	switch x := n.Node.(type) {
	case *pg.Node_AConst:
		return bindConst(x.AConst)
	case *pg.Node_TypeCast:
		t, err := bindType(x.TypeCast.TypeName)
		if err != nil {
			return nil, err
		}
		if a := x.TypeCast.Arg.GetAArrayExpr(); a != nil && types.ElemOf(t.OID) != 0 {
			es, err := bindList(a.Elements)
			if err != nil {
				return nil, err
			}
			return MakeArrayOf(es, t)
		}
		e, err := bindNode(x.TypeCast.Arg)
		if err != nil {
			return nil, err
		}
		return Coerce(e, t, 'e')
	case *pg.Node_FuncCall:
		schema, name := names(x.FuncCall.Funcname)
		opt := CallOptions{Variadic: x.FuncCall.FuncVariadic}
		var args []Expr
		for _, a := range x.FuncCall.Args {
			if na := a.GetNamedArgExpr(); na != nil {
				opt.Names = append(opt.Names, na.Name)
				a = na.Arg
			}
			e, err := bindNode(a)
			if err != nil {
				return nil, err
			}
			args = append(args, e)
		}
		return MakeCall(schema, name, args, opt)
	case *pg.Node_AExpr:
		return bindAExpr(x.AExpr)
	case *pg.Node_BoolExpr:
		es, err := bindList(x.BoolExpr.Args)
		if err != nil {
			return nil, err
		}
		op := strings.TrimSuffix(x.BoolExpr.Boolop.String(), "_EXPR")
		for i := range es {
			if es[i], err = ToBool(es[i], op); err != nil {
				return nil, err
			}
		}
		switch op {
		case "AND":
			return &And{Args: es}, nil
		case "OR":
			return &Or{Args: es}, nil
		}
		return &Not{Arg: es[0]}, nil
	case *pg.Node_NullTest:
		e, err := bindNode(x.NullTest.Arg)
		return &IsNull{Arg: e, Not: x.NullTest.Nulltesttype == pg.NullTestType_IS_NOT_NULL}, err
	case *pg.Node_BooleanTest:
		e, err := bindNode(x.BooleanTest.Arg)
		if err != nil {
			return nil, err
		}
		k := int(x.BooleanTest.Booltesttype) - 1
		names := []string{"IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE", "IS UNKNOWN", "IS NOT UNKNOWN"}
		if e, err = ToBool(e, names[k]); err != nil {
			return nil, err
		}
		return &BoolTest{Arg: e, Want: "tfu"[k/2], Not: k%2 == 1}, nil
	case *pg.Node_CaseExpr:
		var arg, els Expr
		var err error
		if x.CaseExpr.Arg != nil {
			if arg, err = bindNode(x.CaseExpr.Arg); err != nil {
				return nil, err
			}
		}
		var whens []When
		for _, w := range x.CaseExpr.Args {
			cw := w.GetCaseWhen()
			es, err := bindList([]*pg.Node{cw.Expr, cw.Result})
			if err != nil {
				return nil, err
			}
			if arg != nil {
				if es[0], err = MakeOp("=", arg, es[0]); err != nil {
					return nil, err
				}
			}
			whens = append(whens, When{es[0], es[1]})
		}
		if x.CaseExpr.Defresult != nil {
			if els, err = bindNode(x.CaseExpr.Defresult); err != nil {
				return nil, err
			}
		}
		return MakeCase(whens, els)
	case *pg.Node_CoalesceExpr:
		es, err := bindList(x.CoalesceExpr.Args)
		if err != nil {
			return nil, err
		}
		return MakeCoalesce(es)
	case *pg.Node_MinMaxExpr:
		es, err := bindList(x.MinMaxExpr.Args)
		if err != nil {
			return nil, err
		}
		return MakeMinMax(es, x.MinMaxExpr.Op == pg.MinMaxOp_IS_LEAST)
	case *pg.Node_AArrayExpr:
		es, err := bindList(x.AArrayExpr.Elements)
		if err != nil {
			return nil, err
		}
		return MakeArray(es)
	case *pg.Node_RowExpr:
		es, err := bindList(x.RowExpr.Args)
		for i := range es {
			if es[i].Type().OID == types.UnknownOID {
				es[i], err = Coerce(es[i], types.Of(types.TextOID), 'i')
			}
		}
		return &RowCtor{T: types.Of(types.RecordOID), Fields: es}, err
	case *pg.Node_AIndirection:
		e, err := bindNode(x.AIndirection.Arg)
		if err != nil {
			return nil, err
		}
		var idx, lo, hi []Expr
		slice := false
		for _, i := range x.AIndirection.Indirection {
			ix := i.GetAIndices()
			slice = slice || ix.IsSlice
			var l, u Expr
			if ix.Lidx != nil {
				if l, err = bindNode(ix.Lidx); err != nil {
					return nil, err
				}
			}
			if ix.Uidx != nil {
				if u, err = bindNode(ix.Uidx); err != nil {
					return nil, err
				}
			}
			idx, lo, hi = append(idx, u), append(lo, l), append(hi, u)
		}
		if slice {
			return MakeSlice(e, lo, hi)
		}
		return MakeSubscript(e, idx)
	}
	return nil, fmt.Errorf("node %T", n.Node)
}

func bindAExpr(x *pg.A_Expr) (Expr, error) {
	_, op := names(x.Name)
	var l, r Expr
	var err error
	if x.Lexpr != nil {
		if l, err = bindNode(x.Lexpr); err != nil {
			return nil, err
		}
	}
	var list []Expr
	if rl := x.Rexpr.GetList(); rl != nil {
		if list, err = bindList(rl.Items); err != nil {
			return nil, err
		}
	} else if r, err = bindNode(x.Rexpr); err != nil {
		return nil, err
	}
	switch x.Kind {
	case pg.A_Expr_Kind_AEXPR_OP, pg.A_Expr_Kind_AEXPR_LIKE, pg.A_Expr_Kind_AEXPR_ILIKE, pg.A_Expr_Kind_AEXPR_SIMILAR:
		return MakeOp(op, l, r)
	case pg.A_Expr_Kind_AEXPR_IN:
		return MakeIn(l, list, op == "<>")
	case pg.A_Expr_Kind_AEXPR_OP_ANY, pg.A_Expr_Kind_AEXPR_OP_ALL:
		return MakeAny(op, l, r, x.Kind == pg.A_Expr_Kind_AEXPR_OP_ALL)
	case pg.A_Expr_Kind_AEXPR_DISTINCT, pg.A_Expr_Kind_AEXPR_NOT_DISTINCT:
		return MakeDistinct(l, r, x.Kind == pg.A_Expr_Kind_AEXPR_NOT_DISTINCT)
	case pg.A_Expr_Kind_AEXPR_NULLIF:
		return MakeNullIf(l, r)
	case pg.A_Expr_Kind_AEXPR_BETWEEN:
		a, err := MakeOp(">=", l, list[0])
		if err != nil {
			return nil, err
		}
		b, err := MakeOp("<=", l, list[1])
		return &And{Args: []Expr{a, b}}, err
	}
	return nil, fmt.Errorf("operator kind %v", x.Kind)
}
