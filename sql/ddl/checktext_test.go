package ddl

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRenamedColumn(t *testing.T) {
	for _, c := range []struct{ text, before, after, want string }{
		{"n >= 0", "n", "m", "m >= 0"},
		{"N >= 0 AND n< 9", "n", "Big", `"Big" >= 0 AND "Big"< 9`},
		{`"select" >= 0`, "select", "n", "n >= 0"},
		{"n >= 0", "n", "user", `"user" >= 0`},
		{`"a""b" > 0 or "a""b" is null`, "a\"b", "x", "x > 0 or x is null"},
		{"t.n > 0 and public.t.n < 'é' /* é */ and s.\"n\" in ('n', 'm')", "n", "m", "m > 0 and m < 'é' /* é */ and m in ('n', 'm')"},
		{"n(n, 'n') > m", "n", "k", "n(k, 'n') > m"},
		{"a = 'n'", "n", "k", "a = 'n'"},
		{"case when n[n] is null then n::int else coalesce(-n, (n)) end between n and (array[n])[1]", "n", "k",
			"case when k[k] is null then k::int else coalesce(-k, (k)) end between k and (array[k])[1]"},
	} {
		got, err := renamedColumn(c.text, c.before, c.after)
		require.NoError(t, err, c.text)
		require.Equal(t, c.want, got)
	}
	_, err := renamedColumn(`U&"\006e" > 0`, "n", "k") // never written by anybody
	require.ErrorContains(t, err, "not supported")
}
