package parse

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/sql/ast"
)

func TestNormalize(t *testing.T) {
	for _, c := range []struct{ sql, key, lits string }{
		{"SELECT abalance FROM pgbench_accounts WHERE aid = 42;", "SELECT abalance FROM pgbench_accounts WHERE aid = $1;", "[{0 42 42}]"},
		{"UPDATE t SET a = a + -5 WHERE b = 1", "UPDATE t SET a = a + $1 WHERE b = $2", "[{0 -5 -5} {0 1 1}]"},
		{"UPDATE t SET a=-5 WHERE b=1", "UPDATE t SET a= $1 WHERE b=$2", "[{0 -5 -5} {0 1 1}]"},
		{"insert into t (a, b) values (1, 'it''s', null, 2.50, -3), (now(), 3000000000, default, 1, 99999999999999999999)",
			"insert into t (a, b) values ($1, $2, null, $3, $4), (now(), $5, default, $6, $7)",
			"[{0 1 1} {3 0 it's} {2 0 2.50} {0 -3 -3} {1 3000000000 3000000000} {0 1 1} {2 0 99999999999999999999}]"},
		{"delete from t where a = -2147483648 and b > 2147483648", "delete from t where a = $1 and b > $2", "[{0 -2147483648 -2147483648} {1 2147483648 2147483648}]"},
		{"select 1 from t where a = 1 order by 1 limit 5", "select 1 from t where a = $1 order by 1 limit 5", "[{0 1 1}]"},
		{"select a from t where (a = 1 or b = 'x') and c between 3 and 4 group by 1", "select a from t where (a = $1 or b = $2) and c between $3 and 4 group by 1", "[{0 1 1} {3 0 x} {0 3 3}]"},
		// Literals that stay.
		{"select 1", "", ""},
		{"select a from t limit 5", "", ""},
		{"select a from t where a = 'x'::text", "", ""},
		{"select a from t where a = date '2020-01-01'", "", ""},
		{"select a from t where a in (1, 2)", "", ""},
		{"select a from t where a like 'x%'", "", ""},
		{"select a from t where a = 1 + b * 2 ^ 3", "", ""},
		{"select a from t where a = b[1]", "", ""},
		{"select a from t where a = $1", "", ""},
		{"select a from t where a = E'x'", "", ""},
		{"select a from t where a = 'x' -- comment", "", ""},
		{"select a from t where a = (select b from u where c = 1 group by b + 1)", "", ""},
		{"select count(*) filter (where a = 1) from t group by b + 1", "", ""},
		{"select a from t where a = 1; select 2", "", ""},
		{"select a from t where a = 1 union select 2", "", ""},
		{"with w as (select 1) select a from t where a = 1", "", ""},
		{"insert into t select 1", "", ""},
		{"insert into t values (f(1), 2 + 3, '5'::int)", "", ""},
		{"update t set (a, b) = (1, 2)", "", ""},
		{"create table t (a int default 1)", "", ""},
		{"select a from t where a = 'x'\n 'y'", "", ""},
		{`select a from t where a = 'x\y'`, "", ""},
	} {
		key, lits, ok := Normalize(c.sql)
		require.Equal(t, c.key != "", ok, c.sql)
		require.Equal(t, c.key, key)
		if ok {
			require.Equal(t, c.lits, fmt.Sprint(lits))
		}
		checkNormalize(t, c.sql)
	}
}

var (
	posRE   = regexp.MustCompile(`Pos:\d+ ?`)
	paramRE = regexp.MustCompile(`Param\{Number:(\d+)\}`)
)

// shape is a text's tree without positions, its parameters replaced by literals.
func shape(t require.TestingT, sql string, lits []Literal) (string, error) {
	stmts, err := parse(sql)
	if err != nil {
		return "", err
	}
	out := ""
	for _, s := range stmts {
		out += posRE.ReplaceAllString(dump(s.Statement), "") + "\n"
	}
	out = regexp.MustCompile(` \}`).ReplaceAllString(out, "}")
	if lits == nil {
		return out, nil
	}
	return paramRE.ReplaceAllStringFunc(out, func(p string) string {
		n, _ := strconv.Atoi(paramRE.FindStringSubmatch(p)[1])
		l := lits[n-1]
		e := ast.Literal{Text: l.Text}
		switch l.Kind {
		case Int4:
			e.Kind, e.Int, e.Text = ast.IntLiteral, int32(l.Int), strconv.FormatInt(l.Int, 10)
		case Int8, Numeric:
			e.Kind = ast.NumericLiteral
		case Text:
			e.Kind = ast.StringLiteral
		}
		return dump(e)
	}), nil
}

// checkNormalize: if the key parses, the original does, and the key with its literals put back is the same tree.
func checkNormalize(t require.TestingT, sql string) {
	key, lits, ok := Normalize(sql)
	if !ok {
		return
	}
	want, err1 := shape(t, sql, nil)
	got, err2 := shape(t, key, lits)
	if err2 != nil {
		return // the caller then plans the original
	}
	require.NoError(t, err1, "%s\n%s", sql, key)
	require.Equal(t, want, got, "%s\n%s", sql, key)
}

// TestNormalizeKeepsMeaning makes statements out of fragments that could mislead a scanner.
func TestNormalizeKeepsMeaning(t *testing.T) {
	frag := rapid.SampledFrom([]string{"select", "a", "from t", "where", "=", "<", "and", "or", "not", "(", ")", ",", "1", "-2", "- 3", "2.5", ".5", "'x'", "'it''s'", "\"q\"",
		"between", "in", "like", "is null", "group by", "order by", "limit", "+", "-", "*", "||", "::int", "::", "update t set", "set", "delete from t where", "insert into t values", "values",
		"returning", "case when", "then", "else", "end", "b", "interval", "date", "filter (where", "on conflict do nothing", "exists", "any", "array[", "]", "for update", ";", "--", "/*", "@-", "<>-1", "=-1",
		"null", "true", "default", "now()", "e'x'", "$1", "as", "having", "1e5", "12abc", "007", "9999999999", "99999999999999999999"})
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.SampledFrom([]string{"select a from t where a = ", "update t set a = ", "insert into t (a, b) values (", "delete from t where ", ""}).Draw(t, "start")
		for _, f := range rapid.SliceOfN(frag, 1, 12).Draw(t, "fragments") {
			start += f
			if rapid.Bool().Draw(t, "blank") {
				start += " "
			}
		}
		checkNormalize(t, start)
	})
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{"SELECT abalance FROM pgbench_accounts WHERE aid = 42;", "UPDATE t SET a=-5 WHERE b=1", "insert into t values (1, 'x', -2.5)",
		"delete from t where a = 1 and b between 2 and 3", "select 1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, sql string) { checkNormalize(t, sql) })
}

func BenchmarkNormalize(b *testing.B) {
	b.ReportAllocs()
	var dst []byte
	var lits []Literal
	for b.Loop() {
		dst, lits, _ = AppendNormalized(dst[:0], lits[:0], "UPDATE pgbench_accounts SET abalance = abalance + -4711 WHERE aid = 1234567;")
	}
}
