package parse

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// TestTrees holds the trees of statements, and the errors of wrong ones. The errors in
// testdata/cases/errors were compared with a PostgreSQL 15: message, SQLSTATE and position.
func TestTrees(t *testing.T) {
	datadriven.Walk(t, "testdata/cases", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			stmts, err := parse(d.Input)
			if err != nil {
				e, ok := pgerr.As(err)
				if !ok {
					return "not classified: " + err.Error()
				}
				out := fmt.Sprintf("ERROR %s at %d: %s", e.Code, e.Position, e.Message)
				if e.Hint != "" {
					out += "\nHINT: " + e.Hint
				}
				return out
			}
			var lines []string
			for _, s := range stmts {
				lines = append(lines, fmt.Sprintf("%s: %s", s.Statement.Tag(), dump(s.Statement)))
			}
			return strings.Join(lines, "\n")
		})
	})
}

func TestStatementSpans(t *testing.T) {
	stmts, err := Parse("  select 1 ;; /* x */ select $3, $1 ;\n")
	require.NoError(t, err)
	require.Len(t, stmts, 2)
	require.Equal(t, "select 1", stmts[0].Text)
	require.Equal(t, 2, stmts[0].Start)
	require.Equal(t, 3, stmts[1].Params)
	require.True(t, strings.HasSuffix(stmts[1].Text, "select $3, $1"))
	stmts, err = Parse(" ; -- nothing\n")
	require.NoError(t, err)
	require.Empty(t, stmts)
	_, err = One("select 1; select 2")
	require.Equal(t, pgerr.SyntaxError, pgerr.Code(err))
}

// TestPositionsCountCharacters: a position is in characters, not bytes.
func TestPositionsCountCharacters(t *testing.T) {
	stmts, err := Parse("select 'äöü', x")
	require.NoError(t, err)
	sel := stmts[0].Statement.(*ast.Select)
	require.Equal(t, 15, sel.Targets[1].Expr.Position())
}

// TestDeepTextsAreRefused: the C parser would overflow its stack.
func TestDeepTextsAreRefused(t *testing.T) {
	for name, sql := range map[string]string{
		"parentheses": "select " + strings.Repeat("(", 9000) + "1" + strings.Repeat(")", 9000),
		"operators":   "select 1" + strings.Repeat("+1", 40000),
		"not":         "select " + strings.Repeat("not ", 40000) + "true",
		"minus":       "select " + strings.Repeat("- ", 40000) + "1",
		"case":        "select " + strings.Repeat("case when true then ", 9000) + "1" + strings.Repeat(" end", 9000),
		"arrays":      "select " + strings.Repeat("array[", 9000) + "1" + strings.Repeat("]", 9000),
		"casts":       "select 1" + strings.Repeat("::int", 20000),
		"union":       "select 1" + strings.Repeat(" union select 1", 20000),
	} {
		_, err := Parse(sql)
		require.Equal(t, pgerr.StatementTooComplex, pgerr.Code(err), name)
	}
	// Long is not deep.
	_, err := Parse("select " + strings.Repeat("1, ", 20000) + "1")
	require.NoError(t, err)
	_, err = Parse("insert into t values " + strings.Repeat("(1, 'a', 2.5), ", 20000) + "(1, 'a', 2.5)")
	require.NoError(t, err)
}

func TestStoredTexts(t *testing.T) {
	stmts, err := Parse("create table t (a int default 1 + 2, check (a > 0 and b is not null), b text default 'x''y'::text)")
	require.NoError(t, err)
	ct := stmts[0].Statement.(*ast.CreateTable)
	require.Equal(t, "1 + 2", ct.Columns[0].Constraints[0].ExprText)
	require.Equal(t, "'x''y'::text", ct.Columns[1].Constraints[0].ExprText)
	require.Equal(t, "a > 0 AND b IS NOT NULL", ct.Constraints[0].ExprText)
	for _, text := range []string{"1 + 2", "'x''y'::text", "a > 0 AND b IS NOT NULL", "nextval('s'::regclass)"} {
		_, err := Expr(text)
		require.NoError(t, err)
	}
	_, err = Expr("1 from t")
	require.Error(t, err)
	ty, err := Type("numeric(10,2)[]")
	require.NoError(t, err)
	require.Equal(t, 1, ty.Dims)
}

func TestCacheIsBounded(t *testing.T) {
	for i := range cacheEntries + 100 {
		_, err := Parse(fmt.Sprintf("select %d", i))
		require.NoError(t, err)
	}
	require.LessOrEqual(t, texts.order.Len(), cacheEntries)
	require.LessOrEqual(t, texts.bytes, cacheBytes)
}

func BenchmarkParseCached(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse("SELECT abalance FROM pgbench_accounts WHERE aid = $1"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse("SELECT abalance FROM pgbench_accounts WHERE aid = $1"); err != nil {
			b.Fatal(err)
		}
	}
}
