package builtin

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// PostgreSQL's advanced regular expressions run on Go's regexp with leftmost-longest matching replaced by
// leftmost-first preference where a quantifier is lazy. What Go cannot do (back references, look-around) is 0A000.

type regexKey struct{ pattern, flags string }

var (
	regexMu    sync.Mutex
	regexCache = map[regexKey]*regexp.Regexp{}
)

func invalidRegex(what string) error {
	return pgerr.New(pgerr.InvalidRegularExpression, "invalid regular expression: %s", what)
}

// compileRegex translates and compiles, through a small cache.
func compileRegex(pattern, flags string) (*regexp.Regexp, error) {
	k := regexKey{pattern, flags}
	regexMu.Lock()
	re := regexCache[k]
	regexMu.Unlock()
	if re != nil {
		return re, nil
	}
	src, longest, err := translateARE(pattern, flags)
	if err != nil {
		return nil, err
	}
	re, gerr := regexp.Compile(src)
	if gerr != nil {
		return nil, regexError(gerr.Error())
	}
	if longest {
		re.Longest()
	}
	regexMu.Lock()
	if len(regexCache) >= 256 {
		clear(regexCache)
	}
	regexCache[k] = re
	regexMu.Unlock()
	return re, nil
}

func regexError(msg string) error {
	switch {
	case strings.Contains(msg, "missing closing ]"):
		return invalidRegex("brackets [] not balanced")
	case strings.Contains(msg, "missing closing )"), strings.Contains(msg, "unexpected )"):
		return invalidRegex("parentheses () not balanced")
	case strings.Contains(msg, "missing argument to repetition"), strings.Contains(msg, "invalid nested repetition"):
		return invalidRegex("quantifier operand invalid")
	case strings.Contains(msg, "invalid repeat count"), strings.Contains(msg, "expression too large"):
		return invalidRegex("invalid repetition count(s)")
	case strings.Contains(msg, "invalid character class range"):
		return invalidRegex("invalid character range")
	case strings.Contains(msg, "trailing backslash"):
		return invalidRegex("invalid escape \\ sequence")
	}
	return invalidRegex(msg)
}

func regexMatch(fold, negate bool) Kernel {
	flags := ""
	if fold {
		flags = "i"
	}
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		var last []byte
		var re *regexp.Regexp
		return types.EachRow(n, sel, func(i int) error {
			p := args[1].Bytes[i]
			if re == nil || !sameSlice(p, last) {
				var err error
				if re, err = compileRegex(string(p), flags); err != nil {
					return err
				}
				last = p
			}
			out.Ints[i] = b2i(re.Match(args[0].Bytes[i]) != negate)
			return nil
		})
	}
}

// expandReplacement appends a replacement text: \1..\9, \& and \\.
func expandReplacement(dst, repl, s []byte, m []int) []byte {
	for i := 0; i < len(repl); i++ {
		if repl[i] != '\\' || i+1 >= len(repl) {
			dst = append(dst, repl[i])
			continue
		}
		i++
		switch c := repl[i]; {
		case c == '&':
			dst = append(dst, s[m[0]:m[1]]...)
		case c >= '1' && c <= '9':
			if k := int(c - '0'); 2*k+1 < len(m) && m[2*k] >= 0 {
				dst = append(dst, s[m[2*k]:m[2*k+1]]...)
			}
		case c == '\\':
			dst = append(dst, '\\')
		default:
			dst = append(dst, '\\', c)
		}
	}
	return dst
}

// matchesFrom finds successive matches from a byte position; all false stops after the first.
func matchesFrom(re *regexp.Regexp, s []byte, from int, all bool) [][]int {
	var out [][]int
	for _, m := range re.FindAllSubmatchIndex(s, -1) {
		if m[0] < from {
			continue
		}
		out = append(out, m)
		if !all {
			break
		}
	}
	return out
}

func regexReplace(s, pattern, repl []byte, flags string, start, nth int64) ([]byte, error) {
	global := strings.Contains(flags, "g")
	re, err := compileRegex(string(pattern), flags)
	if err != nil {
		return nil, err
	}
	from := len(runeSlice(s, 0, int(start-1)))
	if start > 1 && from >= len(s) && int64(runeCount(s)) < start-1 {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	pos := 0
	for k, m := range matchesFrom(re, s, from, global || nth > 1) {
		if nth > 0 && int64(k+1) != nth {
			continue
		}
		out = append(out, s[pos:m[0]]...)
		out = expandReplacement(out, repl, s, m)
		pos = m[1]
		if !global && nth <= 1 || nth > 0 {
			break
		}
	}
	return append(out, s[pos:]...), nil
}

func groupsArray(s []byte, m []int) *types.Array {
	var elems []types.Datum
	at := func(k int) types.Datum {
		if m[2*k] < 0 {
			return types.NullDatum
		}
		return types.NewBytes(nonNil(s[m[2*k]:m[2*k+1]]))
	}
	if len(m) == 2 {
		elems = []types.Datum{at(0)}
	} else {
		for k := 1; 2*k < len(m); k++ {
			elems = append(elems, at(k))
		}
	}
	return types.MakeArray1(types.TextOID, elems)
}

func regexSplit(name string, s []byte, pattern, flags string) ([]types.Datum, error) {
	if strings.Contains(flags, "g") {
		return nil, pgerr.New(pgerr.InvalidParameterValue, "%s() does not support the \"global\" option", name)
	}
	re, err := compileRegex(pattern, flags)
	if err != nil {
		return nil, err
	}
	var parts []types.Datum
	pos := 0
	for _, m := range re.FindAllIndex(s, -1) {
		if m[0] == m[1] && (m[0] == 0 || m[0] == len(s)) {
			// An empty match at an end, or right after the last one, splits nothing.
			continue
		}
		parts = append(parts, types.NewBytes(nonNil(s[pos:m[0]])))
		pos = m[1]
	}
	return append(parts, types.NewBytes(nonNil(s[pos:]))), nil
}

// similarEscape turns a SIMILAR TO pattern into a regular expression.
func similarEscape(p []byte, esc []byte, hasEsc bool) ([]byte, error) {
	e := byte('\\')
	if hasEsc {
		switch {
		case len(esc) == 0:
			e = 0
		case utf8.RuneCount(esc) > 1 || len(esc) > 1:
			return nil, pgerr.New(pgerr.InvalidEscapeSequence, "invalid escape string").WithHint("Escape string must be empty or one character.")
		default:
			e = esc[0]
		}
	}
	out := []byte("^(?:")
	bracket := false
	for i := 0; i < len(p); i++ {
		c := p[i]
		switch {
		case e != 0 && c == e && i+1 < len(p):
			i++
			if p[i] == '"' {
				return nil, pgerr.Unsupported("SUBSTRING ... SIMILAR", "")
			}
			out = append(out, '\\', p[i])
		case bracket:
			if c == '\\' {
				out = append(out, '\\')
			}
			out = append(out, c)
			bracket = c != ']'
		case c == '[':
			out = append(out, c)
			bracket = true
		case c == '%':
			out = append(out, ".*"...)
		case c == '_':
			out = append(out, '.')
		case c == '(':
			out = append(out, "(?:"...)
		case c == '\\' || c == '.' || c == '^' || c == '$':
			out = append(out, '\\', c)
		default:
			out = append(out, c)
		}
	}
	return append(out, ")$"...), nil
}

func init() {
	reg(regexMatch(false, false), "textregexeq", "nameregexeq", "bpcharregexeq")
	reg(regexMatch(false, true), "textregexne", "nameregexne", "bpcharregexne")
	reg(regexMatch(true, false), "texticregexeq", "nameicregexeq", "bpcharicregexeq")
	reg(regexMatch(true, true), "texticregexne", "nameicregexne", "bpcharicregexne")
	flagsArg := func(args []*types.Vec, k, i int) string {
		if k < len(args) {
			return string(args[k].Bytes[i])
		}
		return ""
	}
	reg(rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		b, err := regexReplace(args[0].Bytes[i], args[1].Bytes[i], args[2].Bytes[i], flagsArg(args, 3, i), 1, 0)
		out.Bytes[i] = b
		return err
	}), "textregexreplace_noopt", "textregexreplace")
	reg(rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		start, nth := args[3].Ints[i], int64(1)
		if len(args) > 4 {
			nth = args[4].Ints[i]
		}
		if start <= 0 {
			return pgerr.New(pgerr.InvalidParameterValue, "invalid value for parameter \"%s\": %d", "start", start)
		}
		if nth < 0 {
			return pgerr.New(pgerr.InvalidParameterValue, "invalid value for parameter \"%s\": %d", "n", nth)
		}
		flags := flagsArg(args, 5, i)
		if nth == 0 {
			flags += "g"
		}
		b, err := regexReplace(args[0].Bytes[i], args[1].Bytes[i], args[2].Bytes[i], flags, start, nth)
		out.Bytes[i] = b
		return err
	}), "textregexreplace_extended", "textregexreplace_extended_no_n", "textregexreplace_extended_no_flags")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		flags := flagsArg(args, 2, i)
		if strings.Contains(flags, "g") {
			return types.Datum{}, pgerr.New(pgerr.InvalidParameterValue, "regexp_match() does not support the \"global\" option").
				WithHint("Use the regexp_matches function instead.")
		}
		re, err := compileRegex(string(args[1].Bytes[i]), flags)
		if err != nil {
			return types.Datum{}, err
		}
		s := args[0].Bytes[i]
		m := re.FindSubmatchIndex(s)
		if m == nil {
			return types.NullDatum, nil
		}
		return types.NewArray(groupsArray(s, m)), nil
	}), "regexp_match", "regexp_match_no_flags")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		flags := flagsArg(args, 2, i)
		if strings.Contains(flags, "g") {
			return types.Datum{}, pgerr.New(pgerr.InvalidParameterValue, "regexp_like() does not support the \"global\" option")
		}
		re, err := compileRegex(string(args[1].Bytes[i]), flags)
		if err != nil {
			return types.Datum{}, err
		}
		return types.NewBool(re.Match(args[0].Bytes[i])), nil
	}), "regexp_like", "regexp_like_no_flags")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		parts, err := regexSplit("regexp_split_to_array", args[0].Bytes[i], string(args[1].Bytes[i]), flagsArg(args, 2, i))
		return types.NewArray(types.MakeArray1(types.TextOID, parts)), err
	}), "regexp_split_to_array", "regexp_split_to_array_no_flags")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		re, err := compileRegex(string(args[1].Bytes[i]), "")
		if err != nil {
			return types.Datum{}, err
		}
		s := args[0].Bytes[i]
		m := re.FindSubmatchIndex(s)
		if m == nil {
			return types.NullDatum, nil
		}
		if len(m) > 2 {
			if m[2] < 0 {
				return types.NullDatum, nil
			}
			m = m[2:]
		}
		return types.NewBytes(nonNil(s[m[0]:m[1]])), nil
	}), "textregexsubstr")
	reg(map1(bytesOf, bytesOf, func(p []byte) ([]byte, error) { return similarEscape(p, nil, false) }), "similar_to_escape_1")
	reg(map2(bytesOf, bytesOf, bytesOf, func(p, e []byte) ([]byte, error) { return similarEscape(p, e, true) }), "similar_to_escape_2")

	matches := func(_ *Context, args []types.Datum, _ []types.Type) (RowSource, error) {
		flags := ""
		if len(args) > 2 {
			flags = args[2].String()
		}
		re, err := compileRegex(args[1].String(), flags)
		if err != nil {
			return nil, err
		}
		s := bytes.Clone(args[0].B)
		var rows [][]types.Datum
		for _, m := range matchesFrom(re, s, 0, strings.Contains(flags, "g")) {
			rows = append(rows, []types.Datum{types.NewArray(groupsArray(s, m))})
		}
		return RowsSource(rows), nil
	}
	RegisterSetKernel("regexp_matches", matches, nil, nil)
	RegisterSetKernel("regexp_matches_no_flags", matches, nil, nil)
	split := func(_ *Context, args []types.Datum, _ []types.Type) (RowSource, error) {
		flags := ""
		if len(args) > 2 {
			flags = args[2].String()
		}
		parts, err := regexSplit("regexp_split_to_table", bytes.Clone(args[0].B), args[1].String(), flags)
		if err != nil {
			return nil, err
		}
		var rows [][]types.Datum
		for _, p := range parts {
			rows = append(rows, []types.Datum{p})
		}
		return RowsSource(rows), nil
	}
	RegisterSetKernel("regexp_split_to_table", split, nil, nil)
	RegisterSetKernel("regexp_split_to_table_no_flags", split, nil, nil)
}
