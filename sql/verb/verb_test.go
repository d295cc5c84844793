package verb

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table keeps what its users rely on.
func TestTable(t *testing.T) {
	seen := map[any]string{}
	unique := func(v *Verb, key any) {
		t.Helper()
		require.Empty(t, seen[key], "%s: %v is taken by %s", v.Name, key, seen[key])
		seen[key] = v.Name
	}
	name := regexp.MustCompile(`^[a-z][a-z_]*$`)
	for i := range Table {
		v := &Table[i]
		require.Regexp(t, name, v.Name)
		require.NotEmpty(t, v.Summary, v.Name)
		require.Contains(t, []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete}, v.Method)
		require.Same(t, v, ByName(v.Name))
		unique(v, "name "+v.Name)
		unique(v, v.Method+" "+v.Path)
		if v.Command != "" {
			unique(v, "command "+v.Command)
			require.LessOrEqual(t, len(strings.Fields(v.Command)), 2)
		}
		if v.Relation != "" {
			unique(v, "relation "+v.Relation)
			unique(v, v.RelationOID)
			require.False(t, v.Changes(), v.Name)
			require.NotEmpty(t, v.Columns, v.Name)
			require.Same(t, v, ByRelation(v.Relation))
		}
		if f := v.Function; f != nil {
			for n := uint32(0); n == 0 || !f.AnyKey && n <= optional(v); n++ {
				unique(v, f.OID+n)
			}
			require.Equal(t, f.Returns == Rows, !v.Changes(), v.Name)
		}
		require.False(t, v.Cancelable && !v.Changes(), v.Name)

		// Every parameter has one place, and every place in the path has its parameter.
		for k := range v.Params {
			p := &v.Params[k]
			unique(v, v.Name+"."+p.Name)
			require.Equal(t, p.In == Path, strings.Contains(v.Path, "{"+p.Name+"}"), "%s.%s", v.Name, p.Name)
			require.False(t, p.In == Body && !v.Changes(), "%s.%s", v.Name, p.Name)
			require.False(t, p.Name == "wait" && v.Changes(), "%s: wait is for all that change something", v.Name)
			low, high := p.Bounds()
			require.LessOrEqual(t, low, high)
			require.NotEmpty(t, p.Help)
			if p.Default != "" {
				x, err := p.Parse(p.Default)
				require.NoError(t, err)
				require.NoError(t, p.check(x))
			}
		}
		require.Equal(t, strings.Count(v.Path, "{"), len(slices.DeleteFunc(slices.Clone(v.Params), func(p Param) bool { return p.In != Path })), v.Name)
		for k, n := range v.Positional {
			p := v.Param(n)
			require.NotNil(t, p, "%s: %s", v.Name, n)
			require.True(t, p.Required, "%s: %s", v.Name, n)
			require.False(t, p.Kind == Texts && k < len(v.Positional)-1, "%s: a list comes last", v.Name)
		}
		for _, p := range v.Params {
			// A command has no other way to give it.
			require.True(t, v.Command == "" || !p.Required || slices.Contains(v.Positional, p.Name), "%s: %s", v.Name, p.Name)
		}
	}
}

// optional is how many parameters may be left out of a function's call.
func optional(v *Verb) (n uint32) {
	for _, p := range slices.Backward(v.Params) {
		if p.Kind != Bool || p.Required {
			break
		}
		n++
	}
	return n
}

func TestCheck(t *testing.T) {
	v := &Verb{Name: "v", Params: []Param{
		{Name: "n", Kind: Int, Required: true, Min: 1, Max: 10}, {Name: "s", Kind: Text, Min: 1, Max: 3}, {Name: "e", Kind: Text, Enum: []string{"a", "b"}, Default: "a"},
		{Name: "l", Kind: Texts, Min: 1, Max: 2}, {Name: "b", Kind: Bool},
	}}
	for _, c := range []struct {
		a    Args
		want string
	}{
		{Args{"n": int64(1)}, ""}, {Args{"n": int64(10), "s": "abc", "e": "b", "l": []string{"x", ""}, "b": true}, ""},
		{Args{}, "n: is missing"}, {Args{"n": int64(0)}, "n: 0 is out of range (1 to 10)"}, {Args{"n": int64(11)}, "n: 11 is out of range (1 to 10)"},
		{Args{"n": 1}, "n: must be a number"}, {Args{"n": nil}, "n: must be a number"}, {Args{"n": int64(1), "x": "y"}, "x: is not a parameter of v"},
		{Args{"n": int64(1), "s": ""}, "s: must not be empty"}, {Args{"n": int64(1), "s": "abcd"}, "s: is too long: at most 3 bytes"}, {Args{"n": int64(1), "s": "a\x00"}, "s: must not contain a zero byte"},
		{Args{"n": int64(1), "e": "c"}, `e: "c" is not one of a, b`}, {Args{"n": int64(1), "l": []string{}}, "l: must not be empty"},
		{Args{"n": int64(1), "l": []string{"1", "2", "3"}}, "l: has too many values: at most 2"}, {Args{"n": int64(1), "l": "1"}, "l: must be a list of texts"},
		{Args{"n": int64(1), "l": []string{strings.Repeat("x", MaxText+1)}}, "l: has a value that is too long or contains a zero byte: at most 1024 bytes"},
		{Args{"n": int64(1), "b": "true"}, "b: must be true or false"},
	} {
		if err := v.Check(c.a); c.want == "" {
			require.NoError(t, err)
			require.NotEmpty(t, c.a.Text("e"), "the default is filled in")
		} else {
			require.EqualError(t, err, c.want)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		kind  Kind
		texts []string
		want  any
		err   string
	}{
		{Int, []string{"7"}, int64(7), ""}, {Int, []string{"7x"}, nil, `p: "7x" is not a whole number`}, {Int, nil, nil, "p: is missing"},
		{Int, []string{"99999999999999999999"}, nil, "p: 99999999999999999999 is out of range (0 to 2147483647)"}, {Int, []string{"-99999999999999999999"}, nil, "p: -99999999999999999999 is out of range (0 to 2147483647)"}, {Int, []string{"1", "2"}, nil, "p: is given more than once"},
		{Text, []string{"7"}, "7", ""}, {Texts, []string{"a", "b"}, []string{"a", "b"}, ""}, {Bool, []string{"true"}, true, ""}, {Bool, []string{"maybe"}, nil, `p: "maybe" is neither true nor false`},
	} {
		x, err := (&Param{Name: "p", Kind: c.kind}).Parse(c.texts...)
		if c.err == "" {
			require.NoError(t, err)
			require.Equal(t, c.want, x)
		} else {
			require.EqualError(t, err, c.err)
		}
	}
}
