package ddl

import (
	"reflect"
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/parse"
)

// qualified is a view's query with the schemas of the relations in it, so that it means the same under any search path: for whoever
// reads the view, and in a dump.
func (c *change) qualified(text string) (string, error) {
	st, err := parse.One(text)
	if err != nil {
		return "", err
	}
	names, with := namedRelations(st.Statement)
	slices.SortFunc(names, func(a, b *ast.TableName) int { return a.Pos - b.Pos })
	runes := []rune(text)
	var out strings.Builder
	at := 0
	for _, n := range names {
		if n.Schema != "" || n.Pos <= at || with[n.Name] { // a query of WITH hides a table of its name, at least in part
			continue
		}
		t, err := c.find("", n.Name)
		if err != nil {
			return "", err
		}
		if t == nil || t.Virtual {
			continue
		}
		s, ok := c.cat.SchemaByID(t.Schema)
		if !ok {
			continue
		}
		out.WriteString(string(runes[at : n.Pos-1]))
		out.WriteString(exec.QuoteIdent(s.Name) + ".")
		at = n.Pos - 1
	}
	out.WriteString(string(runes[at:]))
	return out.String(), nil
}

// namedRelations lists the places where a query reads a relation by name, and the names of its WITH queries.
func namedRelations(q ast.Statement) (names []*ast.TableName, with map[string]bool) {
	with = map[string]bool{}
	seen := map[uintptr]bool{}
	table, cte := reflect.TypeFor[*ast.TableName](), reflect.TypeFor[*ast.CTE]()
	var walk func(v reflect.Value)
	walk = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if v.IsNil() || seen[v.Pointer()] {
				return
			}
			seen[v.Pointer()] = true
			switch v.Type() {
			case table:
				names = append(names, v.Interface().(*ast.TableName))
				return
			case cte:
				with[v.Interface().(*ast.CTE).Name] = true
			}
			walk(v.Elem())
		case reflect.Interface:
			if !v.IsNil() {
				walk(v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				walk(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				f := v.Type().Field(i)
				if f.IsExported() && !(f.Name == "Of" && f.Type == reflect.TypeFor[[]*ast.TableName]()) { // FOR UPDATE OF names an alias
					walk(v.Field(i))
				}
			}
		}
	}
	walk(reflect.ValueOf(q))
	return names, with
}
