package plan

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/parse"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// TestPlans reads stories: "define" makes tables, "rows" sets their size, "plan" shows what a query becomes,
// "columns" its result's description.
func TestPlans(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		cat := newTestCatalog()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "define":
				if err := cat.define(d.Input); err != nil {
					return errorText(err)
				}
				return ""
			case "rows":
				for _, a := range d.CmdArgs {
					var n float64
					fmt.Sscan(a.Vals[0], &n)
					cat.stats[cat.tables[a.Key].ID] = catalog.TableStats{Rows: n}
				}
				return ""
			case "common":
				var table, column string
				d.ScanArgs(t, "table", &table)
				d.ScanArgs(t, "column", &column)
				tab := cat.tables[table]
				col := &tab.Columns[tab.ColumnByName(column)]
				st := cat.stats[tab.ID]
				st.Distinct = map[catalog.ColumnID]float64{col.ID: 1000}
				st.Common = map[catalog.ColumnID][]catalog.CommonValue{}
				for _, line := range strings.Split(d.Input, "\n") {
					var value string
					var share float64
					fmt.Sscan(line, &value, &share)
					v, err := types.ParseText(col.Type, []byte(value), types.DefaultEnv)
					if err != nil {
						return errorText(err)
					}
					st.Common[col.ID] = append(st.Common[col.ID], catalog.CommonValue{Hash: types.Hash(0, col.Type.OID, v), Share: share})
				}
				cat.stats[tab.ID] = st
				return ""
			case "keyread":
				return keyReads(t, cat, d.Input)
			case "readbefore":
				return readBefore(cat, d.Input)
			case "plan", "columns":
				var out []string
				stmts, err := parse.Parse(d.Input)
				if err != nil {
					return errorText(err)
				}
				for _, s := range stmts {
					st, err := Build(cat, testEnv(nil), s.Statement)
					if err != nil {
						out = append(out, errorText(err))
						continue
					}
					if d.Cmd == "columns" {
						out = append(out, columnsText(st))
						continue
					}
					out = append(out, Explain(st, ExplainOptions{Costs: d.HasArg("costs"), Verbose: d.HasArg("verbose"), JSON: d.HasArg("json")})...)
				}
				return strings.Join(out, "\n")
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

// keyReads tells which statements read by key, and shows the plans that lock what they read.
func keyReads(t *testing.T, cat *testCatalog, input string) string {
	var out []string
	stmts, err := parse.Parse(input)
	if err != nil {
		return errorText(err)
	}
	for _, s := range stmts {
		st, err := Build(cat, testEnv(nil), s.Statement)
		if err != nil {
			return errorText(err)
		}
		if st.KeyRead == nil {
			out = append(out, "no")
			continue
		}
		l, err := BuildLocking(cat, testEnv(nil), s.Statement.(*ast.Select))
		if err != nil {
			return errorText(err)
		}
		if l.KeyRead != nil || l.ReadOnly {
			t.Fatalf("the plan that locks does not know it")
		}
		if len(l.Needs) != len(st.Needs) || l.Needs[0].Privs != st.Needs[0].Privs {
			t.Fatalf("the plan that locks needs other privileges")
		}
		out = append(out, Explain(l, ExplainOptions{})...)
	}
	return strings.Join(out, "\n")
}

// readBefore tells of pairs of statements whether the second writes the row that the first has read, with $1 = 1 for the one and $1 = 1, $2 = 2 for the other.
func readBefore(cat *testCatalog, input string) string {
	stmts, err := parse.Parse(input)
	if err != nil {
		return errorText(err)
	}
	params := []types.Datum{{I: 1}, {I: 2}}
	var out []string
	var read *Statement
	for i, s := range stmts {
		st, err := Build(cat, testEnv([]types.OID{types.Int4OID, types.Int4OID}), s.Statement)
		if err != nil {
			return errorText(err)
		}
		if i%2 == 0 {
			read = st
			continue
		}
		out = append(out, fmt.Sprint(st.ReadBefore(params, read.KeyRead, params[:1])))
	}
	return strings.Join(out, "\n")
}

func errorText(err error) string {
	e, ok := pgerr.As(err)
	if !ok {
		return "not classified: " + err.Error()
	}
	s := fmt.Sprintf("ERROR %s at %d: %s", e.Code, e.Position, e.Message)
	if e.Detail != "" {
		s += "\nDETAIL: " + e.Detail
	}
	if e.Hint != "" {
		s += "\nHINT: " + e.Hint
	}
	return s
}

func columnsText(st *Statement) string {
	var cols []string
	for _, f := range st.Columns {
		c := f.Name + " " + types.FormatType(f.Type)
		if f.Table != 0 {
			c += fmt.Sprintf(" (column %d)", f.Attnum)
		}
		cols = append(cols, c)
	}
	s := strings.Join(cols, ", ")
	if len(st.Params) > 0 {
		var ps []string
		for _, p := range st.Params {
			ps = append(ps, types.FormatType(p))
		}
		s += "; params " + strings.Join(ps, ", ")
	}
	return s
}

func BenchmarkPlanPointRead(b *testing.B) {
	cat := newTestCatalog()
	if err := cat.define("create table pgbench_accounts (aid int primary key, bid int, abalance int, filler char(84))"); err != nil {
		b.Fatal(err)
	}
	stmts, err := parse.Parse("SELECT abalance FROM pgbench_accounts WHERE aid = $1")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Build(cat, testEnv(nil), stmts[0].Statement.(*ast.Select)); err != nil {
			b.Fatal(err)
		}
	}
}
