package builtin

import (
	"bytes"
	"regexp"
	"strconv"
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

// translateARE rewrites a pattern for Go. longest says to prefer the longest match, as PostgreSQL does
// unless the expression's first quantifier is lazy.
func translateARE(p, flags string) (src string, longest bool, err error) {
	icase, newline, expanded, quote := false, "", false, false
	apply := func(fs string) error {
		for _, f := range fs {
			switch f {
			case 'i':
				icase = true
			case 'c':
				icase = false
			case 'n', 'm':
				newline = "n"
			case 'p':
				newline = "p"
			case 'w':
				newline = "w"
			case 's':
				newline = ""
			case 'x':
				expanded = true
			case 't':
				expanded = false
			case 'q':
				quote = true
			case 'e', 'g':
			case 'b':
				return pgerr.Unsupported("basic regular expressions", "")
			default:
				return pgerr.New(pgerr.InvalidParameterValue, "invalid regular expression option: \"%c\"", f)
			}
		}
		return nil
	}
	if err := apply(flags); err != nil {
		return "", false, err
	}
	if strings.HasPrefix(p, "***=") {
		quote, p = true, p[4:]
	} else if strings.HasPrefix(p, "***:") {
		p = p[4:]
	} else if strings.HasPrefix(p, "***") {
		return "", false, invalidRegex("quantifier operand invalid")
	}
	if !quote && strings.HasPrefix(p, "(?") {
		if end := strings.IndexByte(p, ')'); end > 2 && isLetters(p[2:end]) {
			if err := apply(p[2:end]); err != nil {
				return "", false, invalidRegex("invalid embedded option")
			}
			p = p[end+1:]
		}
	}
	var b strings.Builder
	switch {
	case icase && newline == "":
		b.WriteString("(?is)")
	case icase && newline == "n":
		b.WriteString("(?im)")
	case icase && newline == "w":
		b.WriteString("(?ims)")
	case icase:
		b.WriteString("(?i)")
	case newline == "":
		b.WriteString("(?s)")
	case newline == "n":
		b.WriteString("(?m)")
	case newline == "w":
		b.WriteString("(?ms)")
	}
	if quote {
		b.WriteString(regexp.QuoteMeta(p))
		return b.String(), true, nil
	}
	longest, decided := true, false
	for i := 0; i < len(p); {
		c := p[i]
		switch {
		case c == '\\':
			n, err := translateEscape(&b, p[i:])
			if err != nil {
				return "", false, err
			}
			i += n
			continue
		case c == '[':
			n, err := translateBracket(&b, p[i:], newline == "n" || newline == "p")
			if err != nil {
				return "", false, err
			}
			i += n
			continue
		case c == '(' && strings.HasPrefix(p[i:], "(?"):
			rest := p[i+2:]
			switch {
			case strings.HasPrefix(rest, ":"):
				b.WriteString("(?:")
				i += 3
				continue
			case strings.HasPrefix(rest, "="), strings.HasPrefix(rest, "!"), strings.HasPrefix(rest, "<="), strings.HasPrefix(rest, "<!"):
				return "", false, pgerr.Unsupported("look-around in regular expressions", "")
			case strings.HasPrefix(rest, "#"):
				end := strings.IndexByte(rest, ')')
				if end < 0 {
					return "", false, invalidRegex("parentheses () not balanced")
				}
				i += 2 + end + 1
				continue
			}
			return "", false, invalidRegex("quantifier operand invalid")
		case expanded && (c == ' ' || c == '\t' || c == '\n' || c == '\r'):
			i++
			continue
		case expanded && c == '#':
			for i < len(p) && p[i] != '\n' {
				i++
			}
			continue
		case c == '*' || c == '+' || c == '?' || c == '{' && i+1 < len(p) && p[i+1] >= '0' && p[i+1] <= '9':
			n := 1
			if c == '{' {
				end := strings.IndexByte(p[i:], '}')
				if end < 0 {
					return "", false, invalidRegex("braces {} not balanced")
				}
				n = end + 1
				if err := checkBounds(p[i+1 : i+end]); err != nil {
					return "", false, err
				}
			}
			lazy := i+n < len(p) && p[i+n] == '?'
			if !decided {
				decided, longest = true, !lazy
			}
			b.WriteString(p[i : i+n])
			i += n
			if lazy {
				i++
			}
			if lazy || !longest {
				// The first quantifier decides: if it is lazy, the whole match is as short as can be.
				b.WriteByte('?')
			}
			if i < len(p) && (p[i] == '*' || p[i] == '+' || p[i] == '?') {
				return "", false, invalidRegex("quantifier operand invalid")
			}
			continue
		case c == '{':
			// Without a digit behind it, it stands for itself.
			b.WriteString("\\{")
			i++
			continue
		case c == '}':
			b.WriteString("\\}")
			i++
			continue
		}
		_, w := utf8.DecodeRuneInString(p[i:])
		b.WriteString(p[i : i+w])
		i += w
	}
	return b.String(), longest, nil
}

func checkBounds(s string) error {
	lo, hi, two := strings.Cut(s, ",")
	a, err := strconv.Atoi(lo)
	if err != nil || a > 255 {
		return invalidRegex("invalid repetition count(s)")
	}
	if two && hi != "" {
		b, err := strconv.Atoi(hi)
		if err != nil || b > 255 || b < a {
			return invalidRegex("invalid repetition count(s)")
		}
	}
	return nil
}

func isLetters(s string) bool {
	for _, c := range s {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	return true
}

func translateEscape(b *strings.Builder, p string) (int, error) {
	if len(p) < 2 {
		return 0, invalidRegex("invalid escape \\ sequence")
	}
	c := p[1]
	switch c {
	case 'd', 'D', 'w', 'W', 's', 'S':
		b.WriteString(map[byte]string{'d': `\p{Nd}`, 'D': `\P{Nd}`, 'w': `[\p{L}\p{Nd}_]`, 'W': `[^\p{L}\p{Nd}_]`,
			's': `[\s\v\p{Z}]`, 'S': `[^\s\v\p{Z}]`}[c])
		return 2, nil
	case 'm':
		// Where a word character follows, any word boundary is a word's beginning.
		if beginsWord(p[2:]) {
			b.WriteString(`\b`)
			return 2, nil
		}
		return 0, pgerr.Unsupported("word boundary \\m before anything but a word character in regular expressions", "Use \\y.")
	case 'M':
		if endsWord(b.String()) {
			b.WriteString(`\b`)
			return 2, nil
		}
		return 0, pgerr.Unsupported("word boundary \\M behind anything but a word character in regular expressions", "Use \\y.")
	case '<', '>':
		return 0, pgerr.Unsupported("word boundary \\"+string(c)+" in regular expressions", "Use \\y.")
	case 'y':
		b.WriteString(`\b`)
		return 2, nil
	case 'Y':
		b.WriteString(`\B`)
		return 2, nil
	case 'A':
		b.WriteString(`\A`)
		return 2, nil
	case 'Z':
		b.WriteString(`\z`)
		return 2, nil
	case 'a', 'f', 'n', 'r', 't', 'v':
		b.WriteString(p[:2])
		return 2, nil
	case 'b':
		b.WriteString(`\x08`)
		return 2, nil
	case 'B':
		b.WriteString(`\\`)
		return 2, nil
	case 'e':
		b.WriteString(`\x1b`)
		return 2, nil
	case 'u', 'U', 'x':
		n := map[byte]int{'u': 4, 'U': 8, 'x': 255}[c]
		j := 2
		for j < len(p) && j-2 < n && isHex(p[j]) {
			j++
		}
		if j == 2 || c != 'x' && j-2 != n {
			return 0, invalidRegex("invalid escape \\ sequence")
		}
		b.WriteString(`\x{` + p[2:j] + `}`)
		return j, nil
	case '0':
		j := 2
		for j < len(p) && j < 4 && p[j] >= '0' && p[j] <= '7' {
			j++
		}
		b.WriteString(p[:j])
		return j, nil
	}
	if c >= '1' && c <= '9' {
		return 0, pgerr.Unsupported("back references in regular expressions", "")
	}
	if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' {
		return 0, invalidRegex("invalid escape \\ sequence")
	}
	_, w := utf8.DecodeRuneInString(p[1:])
	b.WriteString(regexp.QuoteMeta(p[1 : 1+w]))
	return 1 + w, nil
}

func isWordByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// beginsWord reports whether what a pattern matches first is surely a word character.
func beginsWord(p string) bool {
	n := 1
	switch {
	case strings.HasPrefix(p, `\w`), strings.HasPrefix(p, `\d`):
		n = 2
	case p == "" || !isWordByte(p[0]):
		return false
	}
	// Not if it may be missing, nor if there is another way.
	return !strings.ContainsAny(p, "|") && (len(p) == n || p[n] != '*' && p[n] != '?' && p[n] != '{')
}

// endsWord is the same for the end of a translated pattern.
func endsWord(src string) bool {
	if strings.Contains(src, "|") {
		return false
	}
	src = strings.TrimSuffix(src, "+")
	if strings.HasSuffix(src, `[\p{L}\p{Nd}_]`) || strings.HasSuffix(src, `\p{Nd}`) {
		return true
	}
	n := len(src)
	return n > 0 && isWordByte(src[n-1]) && (n < 2 || src[n-2] != '\\')
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

// translateBracket rewrites a bracket expression, in which PostgreSQL takes most characters literally.
func translateBracket(b *strings.Builder, p string, noNewline bool) (int, error) {
	i := 1
	b.WriteByte('[')
	if i < len(p) && p[i] == '^' {
		b.WriteByte('^')
		if noNewline {
			b.WriteString(`\n`)
		}
		i++
	}
	first := true
	for {
		if i >= len(p) {
			return 0, invalidRegex("brackets [] not balanced")
		}
		c := p[i]
		switch {
		case c == ']' && !first:
			b.WriteByte(']')
			return i + 1, nil
		case strings.HasPrefix(p[i:], "[:"):
			end := strings.Index(p[i:], ":]")
			if end < 0 {
				return 0, invalidRegex("brackets [] not balanced")
			}
			class, ok := map[string]string{"alnum": `\p{L}\p{Nd}`, "alpha": `\p{L}`, "digit": `\p{Nd}`, "lower": `\p{Ll}`, "upper": `\p{Lu}`,
				"space": `\s\v\p{Z}`, "blank": ` \t`, "punct": `[:punct:]`, "xdigit": `[:xdigit:]`, "cntrl": `[:cntrl:]`, "print": `[:print:]`,
				"graph": `[:graph:]`, "word": `\p{L}\p{Nd}_`}[p[i+2:i+end]]
			if !ok {
				return 0, invalidRegex("invalid character class")
			}
			b.WriteString(class)
			i += end + 2
		case strings.HasPrefix(p[i:], "[.") || strings.HasPrefix(p[i:], "[="):
			return 0, pgerr.Unsupported("collating elements in regular expressions", "")
		case c == '\\':
			if i+1 >= len(p) {
				return 0, invalidRegex("invalid escape \\ sequence")
			}
			switch d := p[i+1]; d {
			case 'd':
				b.WriteString(`\p{Nd}`)
				i += 2
			case 'w':
				b.WriteString(`\p{L}\p{Nd}_`)
				i += 2
			case 's':
				b.WriteString(`\s\v\p{Z}`)
				i += 2
			case 'D', 'W', 'S', 'm', 'M', 'y', 'Y', 'A', 'Z':
				return 0, invalidRegex("invalid escape \\ sequence")
			default:
				n, err := translateEscape(b, p[i:])
				if err != nil {
					return 0, err
				}
				i += n
			}
		case c == '[' || c == '^' || c == ']':
			b.WriteByte('\\')
			b.WriteByte(c)
			i++
		default:
			_, w := utf8.DecodeRuneInString(p[i:])
			b.WriteString(p[i : i+w])
			i += w
		}
		first = false
	}
}

func regexMatch(fold, negate bool) Kernel {
	flags := ""
	if fold {
		flags = "i"
	}
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		var last []byte
		var re *regexp.Regexp
		return rows(n, sel, func(i int) error {
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
