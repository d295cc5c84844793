package expr

import (
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/types"
)

// String deparses e as PostgreSQL's EXPLAIN and pg_get_expr do. Subqueries appear as their number.
func String(e Expr) string {
	d := deparser{env: types.DefaultEnv}
	d.expr(e)
	return d.b.String()
}

type deparser struct {
	b   strings.Builder
	env *types.TextEnv
}

func (d *deparser) put(s ...string) {
	for _, x := range s {
		d.b.WriteString(x)
	}
}

func (d *deparser) list(es []Expr, sep string) {
	for i, e := range es {
		if i > 0 {
			d.put(sep)
		}
		d.expr(e)
	}
}

// QuoteLiteral quotes a string as a literal, with E” if it has backslashes.
func QuoteLiteral(s string) string {
	q := strings.ReplaceAll(s, "'", "''")
	if strings.Contains(s, "\\") {
		return "E'" + strings.ReplaceAll(q, "\\", "\\\\") + "'"
	}
	return "'" + q + "'"
}

func (d *deparser) constant(c *Const) {
	t := c.T
	if c.Value.Null {
		d.put("NULL")
		if t.OID != types.UnknownOID {
			d.put("::", types.FormatType(t))
		}
		return
	}
	s := types.Text(t, c.Value, d.env)
	switch t.OID {
	case types.BoolOID:
		if c.Value.I != 0 {
			d.put("true")
		} else {
			d.put("false")
		}
		return
	case types.Int4OID:
		if c.Value.I >= 0 {
			d.put(s)
			return
		}
	case types.NumericOID:
		// A number that reads back as numeric.
		if isNumber(s) && strings.ContainsAny(s, ".e") {
			if s[0] == '-' {
				break
			}
			d.put(s)
			if t.Mod >= 0 {
				d.put("::", types.FormatType(t))
			}
			return
		}
	case types.UnknownOID:
		d.put(QuoteLiteral(s))
		return
	}
	d.put(QuoteLiteral(s), "::", types.FormatType(t))
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil && !strings.ContainsAny(s, "nN")
}

func (d *deparser) cast(arg Expr, t types.Type) {
	if c, ok := arg.(*Const); ok && c.T.OID == types.UnknownOID {
		d.expr(arg)
	} else {
		d.put("(")
		d.expr(arg)
		d.put(")")
	}
	d.put("::", types.FormatType(t))
}

func (d *deparser) expr(e Expr) {
	switch x := e.(type) {
	case *Const:
		d.constant(x)
	case *Column:
		if x.Name != "" {
			d.put(x.Name)
		} else {
			d.put("#", strconv.Itoa(x.Index))
		}
	case *Param:
		d.put("$", strconv.Itoa(x.Index+1))
	case *Outer:
		d.put("$outer", strconv.Itoa(x.Index))
	case *Call:
		d.call(x)
	case *Convert:
		if !x.Explicit && x.Via == 'r' && x.T.OID != types.TextOID {
			d.expr(x.Arg)
			return
		}
		d.cast(x.Arg, x.T)
	case *And:
		d.put("(")
		d.list(x.Args, " AND ")
		d.put(")")
	case *Or:
		d.put("(")
		d.list(x.Args, " OR ")
		d.put(")")
	case *Not:
		d.put("(NOT ")
		d.expr(x.Arg)
		d.put(")")
	case *IsNull:
		d.put("(")
		d.expr(x.Arg)
		if x.Not {
			d.put(" IS NOT NULL)")
		} else {
			d.put(" IS NULL)")
		}
	case *BoolTest:
		d.put("(")
		d.expr(x.Arg)
		d.put(" IS ")
		if x.Not {
			d.put("NOT ")
		}
		d.put(map[byte]string{'t': "TRUE)", 'f': "FALSE)", 'u': "UNKNOWN)"}[x.Want])
	case *Case:
		d.put("CASE")
		for _, w := range x.Whens {
			d.put(" WHEN ")
			d.expr(w.Cond)
			d.put(" THEN ")
			d.expr(w.Then)
		}
		if x.Else != nil {
			d.put(" ELSE ")
			d.expr(x.Else)
		}
		d.put(" END")
	case *Coalesce:
		d.put("COALESCE(")
		d.list(x.Args, ", ")
		d.put(")")
	case *Any:
		d.put("(")
		d.expr(x.Left)
		word := " ANY ("
		if x.All {
			word = " ALL ("
		}
		d.put(" ", x.Op, word)
		d.expr(x.Array)
		d.put("))")
	case *ArrayCtor:
		d.put("ARRAY[")
		d.list(x.Elems, ", ")
		d.put("]")
	case *RowCtor:
		d.put("ROW(")
		d.list(x.Fields, ", ")
		d.put(")")
	case *Distinct:
		d.put("(")
		d.expr(x.Left)
		if x.Not {
			d.put(" IS NOT DISTINCT FROM ")
		} else {
			d.put(" IS DISTINCT FROM ")
		}
		d.expr(x.Right)
		d.put(")")
	case *MinMax:
		if x.Least {
			d.put("LEAST(")
		} else {
			d.put("GREATEST(")
		}
		d.list(x.Args, ", ")
		d.put(")")
	case *Subplan:
		d.subplan(x)
	}
}

func (d *deparser) call(x *Call) {
	switch {
	case x.Fn == builtin.ArraySubscript:
		d.expr(x.Args[0])
		for _, i := range x.Args[1:] {
			d.put("[")
			d.expr(i)
			d.put("]")
		}
		return
	case x.Fn == builtin.RecordField:
		d.put("(")
		d.expr(x.Args[0])
		d.put(").f")
		if c, ok := x.Args[1].(*Const); ok {
			d.put(strconv.FormatInt(c.Value.I+1, 10))
		}
		return
	case x.Op != "" && len(x.Args) == 2:
		d.put("(")
		d.expr(x.Args[0])
		d.put(" ", x.Op, " ")
		d.expr(x.Args[1])
		d.put(")")
		return
	case x.Op != "" && len(x.Args) == 1:
		d.put("(", x.Op, " ")
		d.expr(x.Args[0])
		d.put(")")
		return
	case x.Cast && len(x.Args) > 0:
		d.cast(x.Args[0], x.T)
		return
	}
	switch x.Fn.Name {
	case "current_date", "current_user", "session_user":
		d.put(strings.ToUpper(x.Fn.Name))
		return
	case "extract":
		if c, ok := x.Args[0].(*Const); ok && len(x.Args) == 2 {
			d.put("EXTRACT(", c.Value.String(), " FROM ")
			d.expr(x.Args[1])
			d.put(")")
			return
		}
	case "timezone":
		if len(x.Args) == 2 {
			d.put("(")
			d.expr(x.Args[1])
			d.put(" AT TIME ZONE ")
			d.expr(x.Args[0])
			d.put(")")
			return
		}
	}
	name := x.Fn.Name
	switch name {
	case "substring", "position", "overlay", "trim", "btrim", "ltrim", "rtrim":
		if name == "substring" || name == "position" || name == "overlay" {
			name = "\"" + name + "\""
		}
	}
	d.put(name, "(")
	d.list(x.Args, ", ")
	d.put(")")
}

func (d *deparser) subplan(x *Subplan) {
	name := "SubPlan " + strconv.Itoa(x.Plan+1)
	if len(x.Args) == 0 && x.Kind == SubScalar {
		d.put("$", strconv.Itoa(x.Plan))
		return
	}
	switch x.Kind {
	case SubExists:
		d.put("EXISTS(", name, ")")
	case SubAny:
		d.put("(")
		d.expr(x.Left)
		d.put(" ANY (", name, "))")
	case SubAll:
		d.put("(")
		d.expr(x.Left)
		d.put(" ALL (", name, "))")
	default:
		d.put("(", name, ")")
	}
}
