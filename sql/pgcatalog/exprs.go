package pgcatalog

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/expr"
	"github.com/pamirdb/pamir/sql/plan"
	"github.com/pamirdb/pamir/sql/types"
)

// Expressions are stored as the user wrote them. PostgreSQL shows them deparsed; these functions come as near to that as
// the planner's own deparser does.

var (
	stringLiteral = regexp.MustCompile(`^'(?:[^']|'')*'$`)
	castLiteral   = regexp.MustCompile(`^(NULL|'(?:[^']|'')*')::[a-z][a-z ]*(\([0-9,]+\))?( with(out)? time zone)?(\[\])*$`)
	plainNumber   = regexp.MustCompile(`^[0-9]+(\.[0-9]+)?$`)
	minusNumber   = regexp.MustCompile(`^- ?[0-9]+(\.[0-9]+)?$`)
	timeKeyword   = regexp.MustCompile(`(?i)^(current_date|current_time|current_timestamp|localtime|localtimestamp|current_user|current_role|session_user|user|current_schema|current_catalog)$`)
	functionCall  = regexp.MustCompile(`^[a-z_][a-z0-9_.]*\(\)$`)

	integerNumeric = regexp.MustCompile(`'([0-9]+)'::numeric(\([0-9,]+\))?`)
	decimalNumeric = regexp.MustCompile(`'([0-9]+\.[0-9]+)'::numeric(\([0-9,]+\))?`)
	constantArray  = regexp.MustCompile(`'\{([^{}'"\\]*)\}'::(text|integer|bigint|numeric|character varying)\[\]`)
)

// defaultText is pg_get_expr of a column's default. What refers to a sequence by id is left so (displayExpr).
func (o *Overlay) defaultText(t *catalog.Table, i int) string {
	c := &t.Columns[i]
	e := strings.TrimSpace(c.Default)
	low := strings.ToLower(e)
	switch {
	case stringLiteral.MatchString(e):
		return e + "::" + types.FormatType(types.Of(c.Type.OID))
	case castLiteral.MatchString(e):
		return e
	case plainNumber.MatchString(e), low == "true", low == "false":
		return low
	case low == "null":
		return "NULL::" + types.FormatType(types.Of(c.Type.OID))
	case minusNumber.MatchString(e):
		n := strings.ReplaceAll(e, " ", "")
		kind := "numeric"
		if v, err := strconv.ParseInt(n, 10, 64); err == nil {
			kind = "bigint"
			if int64(int32(v)) == v {
				kind = "integer"
			}
		}
		return "'" + n + "'::" + kind
	case timeKeyword.MatchString(e):
		return strings.ToUpper(e)
	case functionCall.MatchString(e), strings.HasPrefix(low, "nextval("):
		return e
	}
	defaults, _ := o.insertParts(t)
	if i < len(defaults) && defaults[i] != nil {
		if _, folded := defaults[i].(*expr.Const); !folded {
			return o.exprText(defaults[i])
		}
	}
	return "(" + e + ")"
}

// checkText is a CHECK constraint's expression, in parentheses.
func (o *Overlay) checkText(t *catalog.Table, i int) string {
	_, checks := o.insertParts(t)
	for _, c := range checks {
		if c.Name == t.Checks[i].Name {
			return parenthesized(o.exprText(c.Cond))
		}
	}
	return parenthesized(t.Checks[i].Expr)
}

// predicateText is a partial index's condition: in parentheses, unless it is a column or a call.
func (o *Overlay) predicateText(t *catalog.Table, ix *catalog.Index) string {
	e, err := plan.IndexPredicate(t, ix)
	if err != nil {
		return parenthesized(ix.Predicate)
	}
	switch x := e.(type) {
	case *expr.Column:
		return o.exprText(e)
	case *expr.Call:
		if x.Op == "" {
			return o.exprText(e)
		}
	}
	return parenthesized(o.exprText(e))
}

func (o *Overlay) exprText(e expr.Expr) string {
	s := expr.String(e)
	s = integerNumeric.ReplaceAllString(s, "($1)::numeric")
	s = decimalNumeric.ReplaceAllString(s, "$1")
	return constantArray.ReplaceAllStringFunc(s, func(a string) string {
		m := constantArray.FindStringSubmatch(a)
		parts := strings.Split(m[1], ",")
		for i, p := range parts {
			switch m[2] {
			case "text", "character varying":
				parts[i] = "'" + p + "'::" + m[2]
			}
		}
		return "ARRAY[" + strings.Join(parts, ", ") + "]"
	})
}

// insertParts is plan.InsertParts as the table's owner sees it. Both are nil if that fails: what is shown then is what was written.
func (o *Overlay) insertParts(t *catalog.Table) ([]expr.Expr, []plan.CheckExpr) {
	sc, ok := o.SchemaByID(t.Schema)
	if !ok {
		return nil, nil
	}
	env := &plan.Env{SearchPath: []string{sc.Name, "public"}, User: t.Owner, Database: o.env.Database}
	defaults, checks, err := plan.InsertParts(o, env, t)
	if err != nil {
		return nil, nil
	}
	return defaults, checks
}
