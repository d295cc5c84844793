package differential

import (
	"fmt"
	"strings"
)

// tree is a piece of SQL that knows how it can be made smaller.
type tree struct {
	parts []any // string, *tree or value
	// smaller are what it can be replaced with, the smallest first. chosen is one of them, or nil.
	smaller []*tree
	chosen  *tree
}

// value is a literal, or a parameter where the statement is prepared.
type value struct {
	kind kind
	text string // unquoted
	null bool
}

func sql(parts ...any) *tree { return &tree{parts: parts} }

// or adds what a tree can be replaced with.
func (t *tree) or(parts ...any) *tree {
	t.smaller = append(t.smaller, sql(parts...))
	return t
}

// orEach adds parts of a tree, each of which can stand for it.
func (t *tree) orEach(ts ...*tree) *tree {
	t.smaller = append(t.smaller, ts...)
	return t
}

func list(sep string, ts []*tree) *tree {
	t := &tree{}
	for i, e := range ts {
		if i > 0 {
			t.parts = append(t.parts, sep)
		}
		t.parts = append(t.parts, e)
	}
	return t
}

// text writes a tree as a statement. With prepared, its values become parameters, which it returns.
func (t *tree) text(prepared bool) (string, []*value) {
	w := writer{prepared: prepared}
	w.write(t)
	return w.b.String(), w.params
}

type writer struct {
	b        strings.Builder
	prepared bool
	params   []*value
}

func (w *writer) write(t *tree) {
	for t.chosen != nil {
		t = t.chosen
	}
	for _, p := range t.parts {
		switch p := p.(type) {
		case string:
			w.b.WriteString(p)
		case *tree:
			w.write(p)
		case *value:
			if w.prepared {
				w.params = append(w.params, p)
				fmt.Fprintf(&w.b, "$%d::%s", len(w.params), typeNames[p.kind])
				continue
			}
			w.b.WriteString(p.literal())
		default:
			panic(fmt.Sprintf("%T in SQL", p))
		}
	}
}

func (v *value) literal() string {
	switch {
	case v.null:
		return "NULL::" + typeNames[v.kind]
	case v.kind == kInt && strings.HasPrefix(v.text, "-"):
		return "(" + v.text + ")"
	case v.kind == kInt || v.kind == kBool:
		return v.text
	case v.kind == kText:
		return "'" + strings.ReplaceAll(v.text, "'", "''") + "'::text"
	}
	return "'" + v.text + "'::" + typeNames[v.kind]
}

// shrink replaces pieces of a tree with smaller ones as long as fails says that what was looked for is still there.
func (t *tree) shrink(budget int, fails func() bool) {
	seen := map[*tree]bool{}
	var visit func(t *tree) bool
	visit = func(t *tree) bool {
		for t.chosen != nil {
			t = t.chosen
		}
		if seen[t] {
			return true
		}
		for _, s := range t.smaller {
			if budget <= 0 {
				return false
			}
			budget--
			t.chosen = s
			if fails() {
				return visit(s)
			}
			t.chosen = nil
		}
		seen[t] = true
		for _, p := range t.parts {
			if c, ok := p.(*tree); ok && !visit(c) {
				return false
			}
		}
		return true
	}
	for {
		before := budget
		if !visit(t) || before == budget {
			return
		}
	}
}
