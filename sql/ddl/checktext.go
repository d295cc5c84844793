package ddl

import (
	"slices"
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// CHECK constraints are kept as SQL. Which columns one is about is asked of its tree: a name may also stand in a literal of it, or be a function's.

// columnRefs lists the places where the text of an expression names a column, in their order.
func columnRefs(text string) ([]ast.ColumnRef, error) {
	e, err := parse.Expr(text)
	if err != nil {
		return nil, err
	}
	var refs []ast.ColumnRef // copies: the parser remembers trees
	var walk func(e ast.Expr)
	walk = func(e ast.Expr) {
		if ref, ok := e.(*ast.ColumnRef); ok {
			refs = append(refs, *ref)
		}
		for _, c := range ast.Children(e) {
			walk(c)
		}
	}
	walk(e)
	slices.SortStableFunc(refs, func(a, b ast.ColumnRef) int { return a.Pos - b.Pos })
	return refs, nil
}

// isAbout reports whether the text of an expression reads a column; the whole row is all of them.
func isAbout(text, column string) (bool, error) {
	refs, err := columnRefs(text)
	return slices.ContainsFunc(refs, func(r ast.ColumnRef) bool { return r.Star || r.Names[len(r.Names)-1] == column }), err
}

// checksWithout leaves out the constraints that are about a column.
func checksWithout(checks []catalog.Check, column string) ([]catalog.Check, error) {
	var out []catalog.Check
	for _, k := range checks {
		about, err := isAbout(k.Expr, column)
		if err != nil {
			return nil, err
		}
		if !about {
			out = append(out, k)
		}
	}
	return out, nil
}

// renamedColumn is the text of an expression after a column has got another name.
func renamedColumn(text, before, after string) (string, error) {
	refs, err := columnRefs(text)
	if err != nil {
		return "", err
	}
	runes := []rune(text)
	const prefix = len("SELECT ") // which parse.Expr puts in front
	var out strings.Builder
	at := 0
	for i := range refs {
		r := &refs[i]
		if r.Star || r.Names[len(r.Names)-1] != before {
			continue
		}
		r.Names = []string{after}
		start := r.Pos - 1 - prefix
		end, ok := nameEnd(runes, start)
		if !ok || start < at {
			return "", errNotRewritten(text)
		}
		out.WriteString(string(runes[at:start]) + exec.QuoteIdent(after))
		at = end
	}
	out.WriteString(string(runes[at:]))
	// What was written is read again: it must name the same columns, but for this one.
	now, err := columnRefs(out.String())
	if err != nil || !slices.EqualFunc(refs, now, func(a, b ast.ColumnRef) bool { return a.Star == b.Star && slices.Equal(a.Names, b.Names) }) {
		return "", errNotRewritten(text)
	}
	return out.String(), nil
}

func errNotRewritten(text string) error {
	return pgerr.Unsupported("to rename a column that the expression "+text+" mentions", "Drop the constraint first and add it again.")
}

// nameEnd is where a name ends that begins at i: a, "a", t.a and s."t".a.
func nameEnd(s []rune, i int) (end int, ok bool) {
	for {
		switch {
		case i < 0 || i >= len(s):
			return 0, false
		case s[i] == '"':
			for i++; ; i++ {
				if i >= len(s) {
					return 0, false
				}
				if s[i] == '"' {
					if i++; i >= len(s) || s[i] != '"' {
						break
					}
				}
			}
		default:
			from := i
			for i < len(s) && (s[i] == '$' || s[i] >= 0x80 || nameByte(byte(s[i]))) {
				i++
			}
			if i == from {
				return 0, false
			}
		}
		if i >= len(s) || s[i] != '.' {
			return i, true
		}
		i++
	}
}
