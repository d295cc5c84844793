package plan

import (
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// figureName names an output column as PostgreSQL does.
func figureName(e ast.Expr) string {
	name, _ := figure(e)
	if name == "" {
		return "?column?"
	}
	return name
}

// figure returns a name and how good it is: 2 for a real name, 1 for a type's.
func figure(e ast.Expr) (string, int) {
	switch e := e.(type) {
	case *ast.ColumnRef:
		if len(e.Names) > 0 && !e.Star {
			return e.Names[len(e.Names)-1], 2
		}
	case *ast.Indirection:
		for i := len(e.Steps) - 1; i >= 0; i-- {
			if e.Steps[i].Field != "" {
				return e.Steps[i].Field, 2
			}
		}
		return figure(e.Arg)
	case *ast.FuncCall:
		return e.Name[len(e.Name)-1], 2
	case *ast.NullIf:
		return "nullif", 2
	case *ast.Cast:
		if name, strength := figure(e.Arg); strength > 1 {
			return name, strength
		}
		return e.Type.Names[len(e.Type.Names)-1], 1
	case *ast.Collate:
		return figure(e.Arg)
	case *ast.Case:
		if e.Else != nil {
			if name, strength := figure(e.Else); strength > 1 {
				return name, strength
			}
		}
		return "case", 1
	case *ast.Array:
		return "array", 2
	case *ast.Row:
		return "row", 2
	case *ast.Coalesce:
		return "coalesce", 2
	case *ast.MinMax:
		if e.Least {
			return "least", 2
		}
		return "greatest", 2
	case *ast.SQLValue:
		return e.Name, 2
	case *ast.Grouping:
		return "grouping", 2
	case *ast.Sublink:
		switch e.Kind {
		case ast.ExistsSublink:
			return "exists", 2
		case ast.ArraySublink:
			return "array", 2
		case ast.ScalarSublink:
			q := e.Query
			for q.SetOp != 0 {
				q = q.Left
			}
			if len(q.Targets) == 1 {
				if q.Targets[0].Name != "" {
					return q.Targets[0].Name, 2
				}
				return figure(q.Targets[0].Expr)
			}
			if q.Values != nil {
				return "column1", 2
			}
		}
	}
	return "", 0
}

// ResolveType finds the type that a type name means, with its modifier.
func ResolveType(n *ast.TypeName) (t types.Type, err error) {
	b := &binder{}
	defer b.catch(&err)
	return b.typeName(n), nil
}

func (b *binder) typeName(n *ast.TypeName) types.Type {
	if n.SetOf {
		b.fail(n.Pos, pgerr.DatatypeMismatch, "SETOF is not allowed here")
	}
	if n.Pct {
		b.unsupported(n.Pos, "%%TYPE")
	}
	schema, name := "", n.Names[len(n.Names)-1]
	if len(n.Names) > 1 {
		schema = n.Names[len(n.Names)-2]
	}
	row := builtin.TypeByName(schema, name)
	if row == nil || row.Type == 'p' && name != "void" && name != "record" && name != "cstring" && name != "unknown" {
		full := joinNames(n.Names)
		if row == nil {
			b.fail(n.Pos, pgerr.UndefinedObject, "type \"%s\" does not exist", full)
		}
	}
	t := types.Of(row.OID)
	if len(n.Mods) > 0 {
		t.Mod = b.typeMod(n, row.OID)
	}
	switch {
	case row.OID == types.BpcharOID && name == "bpchar" && len(n.Mods) == 0:
		// char alone is char(1): the grammar writes the 1.
	}
	if n.Dims > 0 {
		if row.Elem != 0 && row.Length == -1 && row.Array == 0 {
			return t // an array of arrays is the array type itself
		}
		if row.Array == 0 {
			b.fail(n.Pos, pgerr.UndefinedObject, "type \"%s[]\" does not exist", types.FormatType(t))
		}
		t.OID = row.Array
	}
	return t
}

// typeMod computes a type's modifier from what was written in parentheses.
func (b *binder) typeMod(n *ast.TypeName, oid types.OID) int32 {
	mods := make([]int, len(n.Mods))
	for i, m := range n.Mods {
		l, ok := m.(*ast.Literal)
		if !ok || l.Kind != ast.IntLiteral {
			b.fail(n.Pos, pgerr.InvalidParameterValue, "type modifiers must be simple constants or identifiers")
		}
		mods[i] = int(l.Int)
	}
	one := func() int {
		if len(mods) != 1 {
			b.fail(n.Pos, pgerr.InvalidParameterValue, "invalid type modifier")
		}
		return mods[0]
	}
	switch oid {
	case types.VarcharOID, types.BpcharOID:
		name := "varchar"
		if oid == types.BpcharOID {
			name = "char"
		}
		l := one()
		if l < 1 {
			b.fail(n.Pos, pgerr.InvalidParameterValue, "length for type %s must be at least 1", name)
		}
		if l > 10485760 {
			b.fail(n.Pos, pgerr.InvalidParameterValue, "length for type %s cannot exceed 10485760", name)
		}
		return int32(l) + 4
	case types.NumericOID:
		prec, scale := mods[0], 0
		if len(mods) > 2 {
			b.fail(n.Pos, pgerr.InvalidParameterValue, "invalid NUMERIC type modifier")
		}
		if len(mods) == 2 {
			scale = mods[1]
		}
		if prec < 1 || prec > 1000 {
			b.fail(n.Pos, pgerr.InvalidParameterValue, "NUMERIC precision %d must be between 1 and 1000", prec)
		}
		if scale < -1000 || scale > 1000 {
			b.fail(n.Pos, pgerr.InvalidParameterValue, "NUMERIC scale %d must be between -1000 and 1000", scale)
		}
		return types.MakeNumericMod(prec, scale)
	case types.TimestampOID, types.TimestamptzOID, types.TimeOID, types.TimetzOID:
		p := one()
		if p < 0 {
			b.fail(n.Pos, pgerr.InvalidParameterValue, "%s precision must not be negative", types.FormatType(types.Of(oid)))
		}
		return int32(min(p, 6))
	case types.IntervalOID:
		const fullPrecision = 0xffff
		if len(mods) == 1 {
			return types.IntervalMod(mods[0], fullPrecision)
		}
		if mods[1] < 0 {
			b.fail(n.Pos, pgerr.InvalidParameterValue, "INTERVAL(%d) precision must not be negative", mods[1])
		}
		return types.IntervalMod(mods[0], min(mods[1], 6))
	case 1560, 1562: // bit, varbit
		l := one()
		if l < 1 {
			b.fail(n.Pos, pgerr.InvalidParameterValue, "length for type bit must be at least 1")
		}
		return int32(l)
	}
	b.fail(n.Pos, pgerr.SyntaxError, "type modifier is not allowed for type \"%s\"", types.FormatType(types.Of(oid)))
	return -1
}

// coerceAssign brings a value to a column's type as an assignment does.
func (b *binder) coerceAssign(e expr.Expr, t types.Type, column string, pos int) expr.Expr {
	have := e.Type()
	if have.OID != types.UnknownOID && have.OID != t.OID && !expr.CanCoerce(have.OID, t.OID, 'a') {
		b.throw(pgerr.New(pgerr.DatatypeMismatch, "column \"%s\" is of type %s but expression is of type %s",
			column, types.FormatType(types.Of(t.OID)), types.FormatType(types.Of(have.OID))).At(pos).
			WithHint("You will need to rewrite or cast the expression."))
	}
	x, err := expr.Coerce(e, t, 'a')
	return b.made(x, err, pos, e)
}
