package builtin

import (
	"strings"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// regexp_count, regexp_instr and regexp_substr, and SUBSTRING ... SIMILAR.

// regexCall is the arguments that these functions share; what is not given has its default.
type regexCall struct {
	name       string
	start, nth int64
	end        int64 // regexp_instr: 0 the match's position, 1 the one behind it
	flags      string
	group      int64
}

func badParameter(name string, v int64) error {
	return badJSONArg("invalid value for parameter \"%s\": %d", name, v)
}

func (c *regexCall) check() error {
	switch {
	case c.start <= 0:
		return badParameter("start", c.start)
	case c.nth <= 0:
		return badParameter("n", c.nth)
	case c.end < 0 || c.end > 1:
		return badParameter("endoption", c.end)
	case c.group < 0:
		return badParameter("subexpr", c.group)
	case strings.Contains(c.flags, "g"):
		return pgerr.New(pgerr.InvalidParameterValue, "%s() does not support the \"global\" option", c.name)
	}
	return nil
}

// matches finds the matches at or after the start; s is the part of the text that they are relative to.
func (c *regexCall) matches(s, pattern []byte) ([][]int, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	re, err := compileRegex(string(pattern), c.flags)
	if err != nil {
		return nil, err
	}
	if c.start-1 > int64(runeCount(s)) {
		return nil, nil
	}
	return matchesFrom(re, s, len(runeSlice(s, 0, int(c.start-1))), true), nil
}

// group is the place of the match's subexpression in the text; ok is false if there is none.
func (c *regexCall) pick(ms [][]int) (lo, hi int, ok bool) {
	if c.nth > int64(len(ms)) {
		return 0, 0, false
	}
	m := ms[c.nth-1]
	if 2*c.group+1 >= int64(len(m)) || m[2*c.group] < 0 {
		return 0, 0, false
	}
	return m[2*c.group], m[2*c.group+1], true
}

func regexCalls(name string, f func(c *regexCall, s, p []byte) (types.Datum, error), at map[string]int) Kernel {
	return datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		c := &regexCall{name: name, start: 1, nth: 1}
		n := func(what string, dst *int64) {
			if k, ok := at[what]; ok && k < len(args) {
				*dst = args[k].Ints[i]
			}
		}
		n("start", &c.start)
		n("nth", &c.nth)
		n("end", &c.end)
		n("group", &c.group)
		if k, ok := at["flags"]; ok && k < len(args) {
			c.flags = string(args[k].Bytes[i])
		}
		return f(c, args[0].Bytes[i], args[1].Bytes[i])
	})
}

// similarParts splits a SIMILAR TO pattern at its two escaped double quotes.
func similarParts(p, esc []byte) ([][]byte, error) {
	var parts [][]byte
	from := 0
	for i := 0; len(esc) == 1 && i+1 < len(p); i++ {
		if p[i] == esc[0] {
			if p[i+1] == '"' {
				parts = append(parts, p[from:i])
				from = i + 2
			}
			i++
		}
	}
	parts = append(parts, p[from:])
	if len(parts) > 3 {
		return nil, pgerr.New("2200C", "SQL regular expression may not contain more than two escape-double-quote separators")
	}
	return parts, nil
}

// substringSimilar is SUBSTRING(s SIMILAR p ESCAPE esc): what matches between the escaped quotes.
func substringSimilar(s, p, esc []byte) (types.Datum, error) {
	parts, err := similarParts(p, esc)
	if err != nil {
		return types.NullDatum, err
	}
	var pat [3]string
	for k, part := range parts {
		b, err := similarEscape(part, esc, true)
		if err != nil {
			return types.NullDatum, err
		}
		// similarEscape anchors a pattern: ^(?:...)$.
		pat[k] = string(b[len("^(?:") : len(b)-len(")$")])
	}
	src := "^(" + pat[0] + ")$"
	group := 1
	switch len(parts) {
	case 2:
		return types.NullDatum, pgerr.Unsupported("SUBSTRING ... SIMILAR with one separator", "Use two, or none.")
	case 3:
		// Around the middle as little as possible, in the middle as much as possible.
		src = "^(?:(?:" + pat[0] + "){1,1}?)(" + pat[1] + ")(?:" + pat[2] + ")$"
	}
	re, err := compileRegex(src, "")
	if err != nil {
		return types.NullDatum, err
	}
	m := re.FindSubmatchIndex(s)
	if m == nil {
		return types.NullDatum, nil
	}
	return types.NewBytes(nonNil(s[m[2*group]:m[2*group+1]])), nil
}

func init() {
	count := func(c *regexCall, s, p []byte) (types.Datum, error) {
		ms, err := c.matches(s, p)
		return types.NewInt(int64(len(ms))), err
	}
	reg(regexCalls("regexp_count", count, map[string]int{"start": 2, "flags": 3}), "regexp_count", "regexp_count_no_flags", "regexp_count_no_start")
	instr := func(c *regexCall, s, p []byte) (types.Datum, error) {
		ms, err := c.matches(s, p)
		if err != nil {
			return types.NullDatum, err
		}
		lo, hi, ok := c.pick(ms)
		if !ok {
			return types.NewInt(0), nil
		}
		if c.end == 1 {
			lo = hi
		}
		return types.NewInt(int64(runeCount(s[:lo])) + 1), nil
	}
	reg(regexCalls("regexp_instr", instr, map[string]int{"start": 2, "nth": 3, "end": 4, "flags": 5, "group": 6}), "regexp_instr",
		"regexp_instr_no_start", "regexp_instr_no_n", "regexp_instr_no_endoption", "regexp_instr_no_flags", "regexp_instr_no_subexpr")
	sub := func(c *regexCall, s, p []byte) (types.Datum, error) {
		ms, err := c.matches(s, p)
		if err != nil {
			return types.NullDatum, err
		}
		lo, hi, ok := c.pick(ms)
		if !ok {
			return types.NullDatum, nil
		}
		return types.NewBytes(nonNil(s[lo:hi])), nil
	}
	reg(regexCalls("regexp_substr", sub, map[string]int{"start": 2, "nth": 3, "flags": 4, "group": 5}), "regexp_substr",
		"regexp_substr_no_start", "regexp_substr_no_n", "regexp_substr_no_flags", "regexp_substr_no_subexpr")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		return substringSimilar(args[0].Bytes[i], args[1].Bytes[i], args[2].Bytes[i])
	}), "substring(text,text,text)")
}
