package builtin

import (
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pamirdb/pamir/sql/pgerr"
)

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
