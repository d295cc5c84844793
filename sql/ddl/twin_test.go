package ddl_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/sql/exec"
)

// Two tables with the same rows, one with indexes of every kind and one without: whatever is asked of both, and whatever is
// changed in both, they agree. So do index entries and rows afterwards.
func TestIndexTwin(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newSession(t)
		s.bulk = rapid.Bool().Draw(rt, "bulk")
		run := func(sql string) string {
			out := s.run(sql)
			if strings.Contains(out, "XX0") || strings.Contains(out, "UNCLASSIFIED") {
				rt.Fatalf("%s\n%s", sql, out)
			}
			return out
		}
		create := func(name string) string {
			return "create table " + name + " (id int, a int, b text, c numeric, d float8);"
		}
		values := func(n int) string {
			var rows []string
			for range n {
				lit := func(label string, opts ...string) string {
					return rapid.SampledFrom(append(opts, "null")).Draw(rt, label)
				}
				rows = append(rows, fmt.Sprintf("(%d, %s, %s, %s, %s)", rapid.IntRange(0, 60).Draw(rt, "id"),
					lit("a", "1", "2", "3", "-4", "300"), lit("b", "'x'", "'xy'", "''", "'a'"), lit("c", "1.5", "1.50", "-2", "0"), lit("d", "0", "-0.0", "'NaN'", "2.5")))
			}
			return strings.Join(rows, ", ")
		}
		ins := values(rapid.IntRange(1, 25).Draw(rt, "rows"))
		run(create("plain") + create("indexed") + "insert into plain values " + ins + "; insert into indexed select * from plain")
		column := func(label string) string {
			return rapid.SampledFrom([]string{"id", "a", "b", "c", "d"}).Draw(rt, label)
		}
		for i := range rapid.IntRange(1, 4).Draw(rt, "indexes") {
			var cols []string
			for range rapid.IntRange(1, 3).Draw(rt, "columns") {
				c := column("column")
				if slices.ContainsFunc(cols, func(x string) bool { return strings.HasPrefix(x, c) }) {
					continue
				}
				cols = append(cols, c+rapid.SampledFrom([]string{"", " desc", " nulls first", " desc nulls last"}).Draw(rt, "order"))
			}
			run(fmt.Sprintf("create index i%d on indexed (%s)", i, strings.Join(cols, ", ")))
		}
		if rapid.Bool().Draw(rt, "key") { // one row for each id
			run("delete from plain; delete from indexed; insert into plain select i, i % 4, 'x' || i % 3, i / 2.0, i from generate_series(1, 30) i; insert into indexed select * from plain; alter table indexed add primary key (id)")
		}
		if rapid.Bool().Draw(rt, "pages") {
			s.store.Cut, s.store.Wire = rapid.IntRange(1, 5).Draw(rt, "cut"), exec.Decoder{}
		}
		cond := func() string {
			var parts []string
			for range rapid.IntRange(0, 3).Draw(rt, "conditions") {
				c := column("in condition")
				v := map[string][]string{"id": {"5", "20", "41"}, "a": {"1", "2", "300", "-4"}, "b": {"'x'", "'xy'", "''"}, "c": {"1.5", "-2", "7"}, "d": {"0", "2.5", "'NaN'"}}[c]
				pick := func() string { return rapid.SampledFrom(v).Draw(rt, "value") }
				switch rapid.IntRange(0, 6).Draw(rt, "kind") {
				case 0:
					parts = append(parts, c+" is null")
				case 1:
					parts = append(parts, c+" is not null")
				case 2:
					parts = append(parts, c+" in ("+pick()+", "+pick()+", null)")
				case 3:
					parts = append(parts, c+" between "+pick()+" and "+pick())
				default:
					parts = append(parts, c+" "+rapid.SampledFrom([]string{"=", "<", "<=", ">", ">=", "="}).Draw(rt, "op")+" "+pick())
				}
			}
			if len(parts) == 0 {
				return ""
			}
			return " where " + strings.Join(parts, rapid.SampledFrom([]string{" and ", " and ", " or "}).Draw(rt, "and"))
		}
		both := func(sql string, ordered bool) {
			p, x := run(strings.ReplaceAll(sql, "$T", "plain")), run(strings.ReplaceAll(sql, "$T", "indexed"))
			if !ordered {
				sorted := func(s string) string {
					l := strings.Split(s, "\n")
					slices.Sort(l)
					return strings.Join(l, "\n")
				}
				p, x = sorted(p), sorted(x)
			}
			p, x = strings.ReplaceAll(p, "plain", "indexed"), strings.ReplaceAll(x, "plain", "indexed")
			if p != x {
				rt.Fatalf("%s\nwithout indexes:\n%s\nwith:\n%s", sql, p, x)
			}
		}
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			switch rapid.IntRange(0, 7).Draw(rt, "step") {
			case 0, 1, 2:
				both("select * from $T"+cond(), false)
			case 3:
				o := column("order")
				exact := o != "c" && o != "d" // of equal values that look different any may come first
				limit := rapid.SampledFrom([]string{"", " limit 3", " limit 4 offset 2"}).Draw(rt, "limit")
				if !exact {
					limit = ""
				}
				both("select "+o+" from $T"+cond()+" order by "+o+rapid.SampledFrom([]string{"", " desc", " nulls first", " desc nulls last"}).Draw(rt, "dir")+limit, exact)
			case 4:
				// Of equal values that look different (1.5 and 1.50, 0 and -0) any may stand for the group.
				g := column("group")
				shown := map[string]string{"c": "c + 0.00", "d": "d + 0"}[g]
				if shown == "" {
					shown = g
				}
				both("select "+shown+" g, count(*), sum(a) from $T"+cond()+" group by "+g, false)
			case 5:
				c := column("set")
				v := map[string]string{"id": "id + 100", "a": "a + 1", "b": "b || 'z'", "c": "c * 2", "d": "null"}[c]
				if c == "id" { // not below a primary key: rows may clash on their way
					c, v = "a", "null"
				}
				both("update $T set "+c+" = "+v+cond(), false)
			case 6:
				both("delete from $T"+cond(), false)
			case 7:
				both("select count(*) from $T x join $T y on x.a = y.id", false)
			}
		}
		// Every index holds exactly the rows.
		both("select count(*), sum(id), count(a), count(b), sum(c) from $T", false)
		for _, c := range []string{"id", "a", "b", "c"} {
			both("select "+c+" from $T where "+c+" is not null order by "+c, c != "c")
			both("select id from $T where "+c+" is null", false)
		}
	})
}
