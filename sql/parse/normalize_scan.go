package parse

// keyword is one of the words that Normalize looks at.
type keyword uint8

const (
	kwNone keyword = iota
	kwSelect
	kwInsert
	kwUpdate
	kwDelete
	kwWith
	kwUnion
	kwIntersect
	kwExcept
	kwWindow
	kwWhere
	kwSet
	kwValues
	kwFrom
	kwGroup
	kwOrder
	kwHaving
	kwLimit
	kwOffset
	kwFetch
	kwFor
	kwReturning
	kwOn
	kwAnd
	kwOr
	kwBetween
	// kwReserved is any other word that cannot be a column name.
	kwReserved
)

var keywords = map[string]keyword{
	"select": kwSelect, "insert": kwInsert, "update": kwUpdate, "delete": kwDelete, "with": kwWith, "union": kwUnion,
	"intersect": kwIntersect, "except": kwExcept, "window": kwWindow, "where": kwWhere, "set": kwSet, "values": kwValues,
	"from": kwFrom, "group": kwGroup, "order": kwOrder, "having": kwHaving, "limit": kwLimit, "offset": kwOffset,
	"fetch": kwFetch, "for": kwFor, "returning": kwReturning, "on": kwOn, "and": kwAnd, "or": kwOr, "between": kwBetween,
	"all": kwReserved, "analyse": kwReserved, "analyze": kwReserved, "any": kwReserved, "array": kwReserved, "as": kwReserved, "asc": kwReserved, "asymmetric": kwReserved, "authorization": kwReserved, "binary": kwReserved, "both": kwReserved, "case": kwReserved, "cast": kwReserved, "check": kwReserved, "collate": kwReserved, "collation": kwReserved,
	"column": kwReserved, "concurrently": kwReserved, "constraint": kwReserved, "create": kwReserved, "cross": kwReserved,
	"current_catalog": kwReserved, "current_date": kwReserved, "current_role": kwReserved, "current_schema": kwReserved,
	"current_time": kwReserved, "current_timestamp": kwReserved, "current_user": kwReserved, "default": kwReserved,
	"deferrable": kwReserved, "desc": kwReserved, "distinct": kwReserved, "do": kwReserved, "else": kwReserved, "end": kwReserved, "false": kwReserved, "foreign": kwReserved, "freeze": kwReserved, "full": kwReserved,
	"grant": kwReserved, "ilike": kwReserved, "in": kwReserved, "initially": kwReserved, "inner": kwReserved, "into": kwReserved, "is": kwReserved, "isnull": kwReserved, "join": kwReserved, "lateral": kwReserved, "leading": kwReserved,
	"left": kwReserved, "like": kwReserved, "localtime": kwReserved, "localtimestamp": kwReserved, "natural": kwReserved,
	"not": kwReserved, "notnull": kwReserved, "null": kwReserved, "only": kwReserved, "outer": kwReserved, "overlaps": kwReserved, "placing": kwReserved, "primary": kwReserved, "references": kwReserved, "right": kwReserved, "session_user": kwReserved, "similar": kwReserved, "some": kwReserved, "symmetric": kwReserved, "table": kwReserved, "tablesample": kwReserved, "then": kwReserved, "to": kwReserved, "trailing": kwReserved, "true": kwReserved, "unique": kwReserved,
	"user": kwReserved, "using": kwReserved, "variadic": kwReserved, "verbose": kwReserved, "when": kwReserved,
}

// Character classes.
const (
	clSpace = 1 << iota
	clIdent // may start an identifier
	clDigit
	clOper // operator characters
)

var classes = func() (t [256]uint8) {
	for _, c := range " \t\r\n\f\v" {
		t[c] |= clSpace
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c] |= clIdent
		t[c-32] |= clIdent
	}
	t['_'] |= clIdent
	for c := 0x80; c < 0x100; c++ {
		t[c] |= clIdent
	}
	for c := '0'; c <= '9'; c++ {
		t[c] |= clDigit
	}
	for _, c := range "+-*/<>=~!@#%^&|`?" {
		t[c] |= clOper
	}
	return
}()

// next scans a token. Comments, dollar quotes, parameters, prefixed strings and anything
// unusual are tokBad: such statements are planned by their own text.
func (n *normalizer) next() token {
	s, i := n.sql, n.at
	for i < len(s) && classes[s[i]]&clSpace != 0 {
		i++
	}
	if i >= len(s) {
		n.at = i
		return token{kind: tokEnd, start: i, end: i}
	}
	start, c := i, s[i]
	t := token{start: start, ch: c}
	switch cl := classes[c]; {
	case cl&clIdent != 0:
		t.kind = tokWord
		for i < len(s) && (classes[s[i]]&(clIdent|clDigit) != 0 || s[i] == '$') {
			i++
		}
		t.word = lookup(s[start:i])
		if i < len(s) && s[i] == '\'' || i+1 < len(s) && s[i] == '&' && (s[i+1] == '\'' || s[i+1] == '"') {
			t.kind = tokBad // E'', B'', X'', N'', U&''
		}
	case cl&clDigit != 0 || c == '.' && i+1 < len(s) && classes[s[i+1]]&clDigit != 0:
		i, t.kind = scanNumber(s, i)
	case c == '\'':
		t.kind = tokString
		for i++; ; i++ {
			if i >= len(s) {
				t.kind = tokBad
				break
			}
			if s[i] == '\\' {
				t.kind = tokBad // means nothing under standard_conforming_strings, but leave it
			}
			if s[i] == '\'' {
				if i+1 < len(s) && s[i+1] == '\'' {
					t.escaped = true
					i++
					continue
				}
				i++
				break
			}
		}
		if t.kind == tokString && continues(s, i) {
			t.kind = tokBad // 'a' <newline> 'b' is one literal
		}
	case c == '"':
		t.kind = tokQuoted
		for i++; ; i++ {
			if i >= len(s) {
				t.kind = tokBad
				break
			}
			if s[i] == '"' {
				if i+1 < len(s) && s[i+1] == '"' {
					i++
					continue
				}
				i++
				break
			}
		}
	case cl&clOper != 0:
		t.kind = tokOp
		i, t = scanOperator(s, t)
	default:
		t.kind = tokOp
		i++
		switch c {
		case '(':
			t.op = opOpen
		case ')':
			t.op = opClose
		case ',':
			t.op = opComma
		case ';':
			t.op = opSemi
		case '.', '[', ']', ':':
		default:
			t.kind = tokBad // $1, $$, \, {, }, control characters
		}
	}
	t.end, n.at = i, i
	return t
}

func lookup(word string) keyword {
	var low [17]byte
	if len(word) > len(low) || len(word) < 2 {
		return kwNone
	}
	for i := 0; i < len(word); i++ {
		c := word[i]
		if c >= 'A' && c <= 'Z' {
			c += 32
		}
		low[i] = c
	}
	return keywords[string(low[:len(word)])]
}

func scanNumber(s string, i int) (int, tokenKind) {
	kind := tokInt
	for i < len(s) && classes[s[i]]&clDigit != 0 {
		i++
	}
	if i < len(s) && s[i] == '.' {
		kind = tokDecimal
		for i++; i < len(s) && classes[s[i]]&clDigit != 0; i++ {
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		return i, tokBad // 1e5: keep it simple
	}
	if i < len(s) && (classes[s[i]]&clIdent != 0 || s[i] == '.' || s[i] == '$') {
		return i, tokBad
	}
	return i, kind
}

// continues reports whether another string constant follows on a later line.
func continues(s string, i int) bool {
	newline := false
	for i < len(s) && classes[s[i]]&clSpace != 0 {
		newline = newline || s[i] == '\n' || s[i] == '\r'
		i++
	}
	return newline && i < len(s) && s[i] == '\''
}

// scanOperator scans a run of operator characters. A sign at its end is a token of its own, as in
// PostgreSQL's lexer, which cuts trailing + and - off operators without special characters.
func scanOperator(s string, t token) (int, token) {
	i := t.start
	for i < len(s) && classes[s[i]]&clOper != 0 {
		if i+1 < len(s) && (s[i] == '-' && s[i+1] == '-' || s[i] == '/' && s[i+1] == '*') {
			t.kind = tokBad
			return i, t
		}
		i++
	}
	special := false
	for j := t.start; j < i; j++ {
		switch s[j] {
		case '~', '!', '@', '#', '^', '&', '|', '`', '?', '%':
			special = true
		}
	}
	if !special {
		for i-t.start > 1 && (s[i-1] == '+' || s[i-1] == '-') {
			i--
		}
	}
	switch s[t.start:i] {
	case "=", "<", ">", "<=", ">=", "<>", "!=":
		t.op = opCompare
	case "+", "-":
		t.op = opPlusMinus
	}
	return i, t
}
