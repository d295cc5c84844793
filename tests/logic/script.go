package logic

import (
	"strings"
)

// statement of a script.
type statement struct {
	text       string
	line       int
	conn       string
	known      string
	skip       string
	unordered  bool
	background bool
	// extended: prepared, described, run with args as text and results in binary.
	extended bool
	args     []string
	// pamir is run before the statement on Pamir only.
	pamir string
}

// parseScript cuts a script into statements.
func parseScript(src string) []statement {
	var out []statement
	conn := "main"
	cur := statement{conn: conn, line: 1}
	var text strings.Builder
	line := 1
	flush := func() {
		t := strings.TrimSpace(text.String())
		text.Reset()
		if t != "" {
			cur.text = t
			out = append(out, cur)
		}
		cur = statement{conn: conn, line: line}
	}
	for i := 0; i < len(src); {
		c := src[i]
		switch {
		case c == '-' && strings.HasPrefix(src[i:], "--") && strings.TrimSpace(text.String()) == "":
			end := strings.IndexByte(src[i:], '\n')
			if end < 0 {
				end = len(src) - i
			}
			d := strings.TrimSpace(src[i+2 : i+end])
			switch {
			case d == "unordered":
				cur.unordered = true
			case d == "background":
				cur.background = true
			case d == "extended":
				cur.extended = true
			case strings.HasPrefix(d, "args "):
				cur.extended = true
				cur.args = strings.Split(strings.TrimSpace(d[5:]), "|")
			case strings.HasPrefix(d, "known:"):
				cur.known = strings.TrimSpace(d[6:])
			case strings.HasPrefix(d, "pamir:"):
				cur.pamir = strings.TrimSpace(d[6:])
			case strings.HasPrefix(d, "skip:"):
				cur.skip = strings.TrimSpace(d[5:])
			case strings.HasPrefix(d, "conn "):
				conn = strings.TrimSpace(d[5:])
				cur.conn = conn
			}
			i += end
			continue
		case c == '-' && strings.HasPrefix(src[i:], "--"):
			end := strings.IndexByte(src[i:], '\n')
			if end < 0 {
				end = len(src) - i
			}
			text.WriteString(src[i : i+end])
			i += end
			continue
		case c == '\'' || c == '"':
			end := quoted(src, i)
			text.WriteString(src[i:end])
			line += strings.Count(src[i:end], "\n")
			i = end
			continue
		case c == '$':
			if end := dollar(src, i); end > 0 {
				text.WriteString(src[i:end])
				line += strings.Count(src[i:end], "\n")
				i = end
				continue
			}
		case c == '/' && strings.HasPrefix(src[i:], "/*"):
			end := strings.Index(src[i:], "*/")
			if end < 0 {
				end = len(src) - i - 2
			}
			text.WriteString(src[i : i+end+2])
			i += end + 2
			continue
		case c == ';':
			// Several statements in one message are written with ";;" between messages and \; inside.
			i++
			flush()
			continue
		case c == '\\' && i+1 < len(src) && src[i+1] == ';':
			text.WriteByte(';')
			i += 2
			continue
		case c == '\n':
			line++
			if strings.TrimSpace(text.String()) == "" {
				cur.line = line
			}
		}
		text.WriteByte(c)
		i++
	}
	flush()
	return out
}

func quoted(s string, i int) int {
	q := s[i]
	escape := q == '\'' && i > 0 && (s[i-1] == 'E' || s[i-1] == 'e')
	for j := i + 1; j < len(s); j++ {
		if escape && s[j] == '\\' {
			j++
			continue
		}
		if s[j] == q {
			if j+1 < len(s) && s[j+1] == q {
				j++
				continue
			}
			return j + 1
		}
	}
	return len(s)
}

// dollar returns the end of a dollar-quoted string that starts at i, or 0.
func dollar(s string, i int) int {
	j := i + 1
	for j < len(s) && (s[j] == '_' || s[j]|0x20 >= 'a' && s[j]|0x20 <= 'z') {
		j++
	}
	if j >= len(s) || s[j] != '$' {
		return 0
	}
	tag := s[i : j+1]
	end := strings.Index(s[j+1:], tag)
	if end < 0 {
		return len(s)
	}
	return j + 1 + end + len(tag)
}
