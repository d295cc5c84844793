package plan

import (
	"github.com/pamirdb/pamir/sql/builtin"
)

// opOf is the name of the operator behind a function.
func opOf(fn *builtin.Function) string {
	if row := builtin.OperatorByFn(fn); row != nil {
		return row.Name
	}
	return ""
}

// commuted is the comparison with its sides exchanged.
func commuted(op string) string {
	switch op {
	case "<":
		return ">"
	case "<=":
		return ">="
	case ">":
		return "<"
	case ">=":
		return "<="
	}
	return op
}
