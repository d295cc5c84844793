package setting

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCutIdentifier(t *testing.T) {
	for _, c := range []struct {
		in, until, name, rest string
		ok                    bool
	}{
		{"Abc, d", ", ", "abc", ", d", true},
		{"abc", ".", "abc", "", true},
		{`"A b"".c".D`, ".", `A b".c`, ".D", true},
		{`""`, ".", "", "", true},
		{`"a""b"`, ".", `a"b`, "", true},
		{`"a""`, ".", "", `"a""`, false},
		{`"a`, ".", "", `"a`, false},
		{"", ".", "", "", false},
		{".a", ".", "", ".a", false},
		{`a"b`, `."`, "a", `"b`, true},
	} {
		name, rest, ok := CutIdentifier(c.in, c.until)
		require.Equal(t, []any{c.name, c.rest, c.ok}, []any{name, rest, ok}, "%q", c.in)
	}
}

func TestSplitIdentifiers(t *testing.T) {
	for in, want := range map[string][]string{
		"": nil, " A , b": {"a", "b"}, `"$user", public`: {"$user", "public"}, `"x, y"`: {"x, y"}, `""`: {""},
	} {
		got, ok := SplitIdentifiers(in)
		require.True(t, ok, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{",", "a,", "a b", `"a`, `"a"b`, "a,,b"} {
		_, ok := SplitIdentifiers(in)
		require.False(t, ok, in)
	}
}
