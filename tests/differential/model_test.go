package differential

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The model knows an anomaly when it sees one, and lets each level do what it may.
func TestModel(t *testing.T) {
	row := func(k, v int) []string { return []string{fmt.Sprint(k), fmt.Sprint(v), null} }
	all := func(v *view, a *answer, _ string) string {
		ks := v.rows("a", func(int, rowValue) bool { return true })
		return expect(a, rowsOf(v, "a", ks), fmt.Sprintf("SELECT %d", len(ks)))
	}
	read := &stmt{kind: "SELECT", text: "select", check: all}
	set := func(k, n int) *stmt {
		return &stmt{kind: "UPDATE", text: fmt.Sprintf("%d = %d", k, n), check: func(v *view, _ *answer, _ string) string {
			v.put(rowKey{"a", k}, rowValue{n, none})
			return ""
		}}
	}
	ok := &answer{}
	saw := func(rows ...[]string) *answer {
		return &answer{tag: fmt.Sprintf("SELECT %d", len(rows)), rows: rows}
	}
	init := contents{{"a", 0}: {1, none}, {"a", 1}: {1, none}}
	start := saw(row(0, 1), row(1, 1))
	is := func(x, y int) contents { return contents{{"a", 0}: {x, none}, {"a", 1}: {y, none}} }
	two := func(first, second []outcome) []*deal {
		return []*deal{{committed: true, outcomes: first, first: first[0].start, commit: 20, end: 21}, {committed: true, outcomes: second, first: second[0].start, commit: 22, end: 23}}
	}
	for _, c := range []struct {
		what  string
		deals []*deal
		final contents
		ok    [3]bool // by level
	}{
		{"one after the other", two([]outcome{{read, 1, 2, start}, {set(0, 2), 3, 4, ok}}, []outcome{{read, 21, 22, saw(row(0, 2), row(1, 1))}}), is(2, 1), [3]bool{true, true, true}},
		{"a stale read", two([]outcome{{set(0, 2), 3, 4, ok}}, []outcome{{read, 22, 23, start}}), is(2, 1), [3]bool{}},
		{"a dirty read", two([]outcome{{read, 1, 2, saw(row(0, 1), row(1, 7))}}, []outcome{{set(1, 7), 0, 0, ok}, {set(1, 2), 3, 4, ok}}), is(1, 2), [3]bool{}},
		{"a lost update", two([]outcome{{read, 1, 2, start}, {set(0, 2), 3, 4, ok}}, []outcome{{read, 5, 6, start}, {set(0, 3), 20, 23, ok}}), is(3, 1), [3]bool{true, false, false}},
		{"write skew", two([]outcome{{read, 1, 2, start}, {set(0, 2), 3, 4, ok}}, []outcome{{read, 5, 6, start}, {set(1, 3), 7, 8, ok}}), is(2, 3), [3]bool{true, true, false}},
		{"a fuzzy read", two([]outcome{{set(0, 2), 3, 4, ok}}, []outcome{{read, 5, 6, start}, {read, 21, 22, saw(row(0, 2), row(1, 1))}}), is(2, 1), [3]bool{true, false, false}},
		{"a write that is gone", two([]outcome{{set(0, 2), 3, 4, ok}}, []outcome{{set(1, 2), 5, 6, ok}}), is(1, 2), [3]bool{}},
		{"a dirty write", two([]outcome{{set(0, 2), 3, 4, ok}, {set(1, 2), 7, 8, ok}}, []outcome{{set(0, 3), 5, 6, ok}, {set(1, 3), 7, 8, ok}}), is(3, 2), [3]bool{}},
	} {
		for i, level := range isolationLevels {
			t.Run(c.what+", "+level, func(t *testing.T) {
				for _, d := range c.deals {
					d.level = level
				}
				ok, why := explain(init, c.deals, c.final)
				require.Equal(t, c.ok[i], ok, why)
			})
		}
	}
}
