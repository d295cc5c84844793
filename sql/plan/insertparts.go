package plan

import (
	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// InsertParts binds a table's defaults and CHECK constraints, by planning an INSERT of nothing but defaults; so it finds what is wrong with
// them, too. defaults are by position in Columns, nil where the INSERT gives a column no value.
func InsertParts(cat catalog.Snapshot, env *Env, t *catalog.Table) (defaults []expr.Expr, checks []CheckExpr, err error) {
	sc, ok := cat.SchemaByID(t.Schema)
	if !ok {
		return nil, nil, pgerr.New(pgerr.InternalError, "schema of table \"%s\" not found", t.Name)
	}
	pl, err := Build(cat, env, &ast.Insert{Table: &ast.TableName{Schema: sc.Name, Name: t.Name}})
	if err != nil {
		if e, ok := pgerr.As(err); ok {
			e.Position = 0 // in a text that nobody has written
		}
		return nil, nil, err
	}
	ins, ok := pl.Root.(*Insert)
	if !ok {
		return nil, nil, pgerr.New(pgerr.InternalError, "plan of an INSERT is a %T", pl.Root)
	}
	var exprs []expr.Expr
	switch in := ins.Input.(type) {
	case *Values:
		exprs = in.Lists[0]
	case *Project:
		exprs = in.Exprs
	default:
		return nil, nil, pgerr.New(pgerr.InternalError, "input of INSERT DEFAULT VALUES is a %T", ins.Input)
	}
	defaults = make([]expr.Expr, len(t.Columns))
	for i, c := range ins.Columns {
		if i < len(exprs) {
			defaults[c] = exprs[i]
		}
	}
	return defaults, ins.Checks, nil
}
