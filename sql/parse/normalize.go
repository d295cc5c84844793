package parse

import (
	"strconv"
)

// LiteralKind of a literal taken out by Normalize.
type LiteralKind uint8

const (
	// Int4, Int8 and Numeric literals become parameters of that very type.
	Int4 LiteralKind = iota
	Int8
	Numeric
	// Text literals become parameters of unspecified type: like a quoted literal,
	// such a parameter takes its type from its surroundings.
	Text
)

// Literal is a literal of the original text. Text is its value in text form (unquoted); Int is
// set for Int4 and Int8.
type Literal struct {
	Kind LiteralKind
	Int  int64
	Text string
}

// Bounds: what is longer is planned by its own text.
const (
	normalizeMaxText     = 4 << 10
	normalizeMaxLiterals = 64
)

// Normalize turns literals of a simple SELECT, INSERT ... VALUES, UPDATE or DELETE into parameters: the key
// is the statement with $1, $2, ... in their places, itself valid SQL. ok is false when nothing was
// taken out or the statement is not simple; then the original has to be planned.
//
// The key's plan may be used for the original text only when the key plans without an error, every Text
// literal converts to the type inferred for its parameter, and standard_conforming_strings is on. In
// every other case plan the original: it alone gives the right error and position.
func Normalize(sql string) (key string, lits []Literal, ok bool) {
	buf, lits, ok := AppendNormalized(nil, nil, sql)
	if !ok {
		return "", nil, false
	}
	return string(buf), lits, true
}

// AppendNormalized is Normalize into the caller's buffers, for look-ups that do not allocate.
func AppendNormalized(dst []byte, lits []Literal, sql string) ([]byte, []Literal, bool) {
	if len(sql) > normalizeMaxText {
		return dst, lits, false
	}
	n := normalizer{sql: sql, dst: dst, lits: lits, base: len(lits)}
	if !n.run() || len(n.lits) == n.base {
		return dst, lits, false
	}
	return append(n.dst, sql[n.copied:]...), n.lits, true
}

// tokenKind as far as Normalize cares.
type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokWord
	tokQuoted // quoted identifier
	tokInt
	tokDecimal
	tokString
	tokOp // operator run or punctuation; ch is its only or first byte
	tokBad
)

type token struct {
	kind       tokenKind
	start, end int
	op         opClass
	ch         byte
	word       keyword
	escaped    bool // a string with doubled quotes
}

// opClass of an operator token.
type opClass uint8

const (
	opOther opClass = iota
	opCompare
	opPlusMinus
	opOpen
	opClose
	opComma
	opSemi
)

// section is which clause we are in.
type section uint8

const (
	inHead   section = iota // literals stay
	inWhere                 // after WHERE
	inSet                   // after SET of UPDATE
	inValues                // after VALUES of INSERT
	inTail                  // literals stay
)

type normalizer struct {
	sql    string
	at     int // scanner position
	dst    []byte
	copied int // sql[:copied] is in dst
	lits   []Literal
	base   int
}

// run copies the text into dst, literals replaced. It reports whether the statement is simple.
func (n *normalizer) run() bool {
	first := n.next()
	if first.kind != tokWord {
		return false
	}
	switch first.word {
	case kwSelect, kwInsert, kwUpdate, kwDelete:
	default:
		return false
	}
	sec := inHead
	depth, valuesDepth := 0, 0
	prev3, prev2, prev, cur := token{}, token{}, first, n.next()
	for {
		next := n.next()
		switch cur.kind {
		case tokEnd:
			return true
		case tokBad:
			return false
		case tokWord:
			switch cur.word {
			case kwSelect, kwWith, kwUnion, kwIntersect, kwExcept, kwWindow:
				// A second query block: GROUP BY and select lists inside would need their literals to be
				// equal, so everything stays.
				return false
			case kwWhere:
				if depth != 0 {
					return false // FILTER (WHERE ...)
				}
				if first.word == kwInsert {
					sec = inTail // ON CONFLICT
				} else {
					sec = inWhere
				}
			case kwSet:
				if first.word == kwUpdate && sec == inHead {
					sec = inSet
				} else if first.word == kwInsert {
					sec = inTail
				}
			case kwValues:
				if first.word != kwInsert || sec != inHead || depth != 0 {
					return false
				}
				sec, valuesDepth = inValues, depth+1
			case kwFrom:
				if sec == inSet {
					sec = inHead
				}
			case kwGroup, kwOrder, kwHaving, kwLimit, kwOffset, kwFetch, kwFor, kwReturning, kwOn:
				if sec == inWhere || sec == inSet || sec == inValues {
					if depth != 0 {
						return false
					}
					sec = inTail
				}
			}
		case tokOp:
			switch cur.op {
			case opOpen:
				depth++
			case opClose:
				depth--
			case opSemi:
				// Only at the very end.
				return next.kind == tokEnd
			}
		case tokInt, tokDecimal, tokString:
			n.literal(sec, depth, valuesDepth, prev3, prev2, prev, cur, next)
			if len(n.lits)-n.base > normalizeMaxLiterals {
				return false
			}
		}
		prev3, prev2, prev, cur = prev2, prev, cur, next
	}
}

// literal replaces cur if that is safe where it stands.
func (n *normalizer) literal(sec section, depth, valuesDepth int, prev3, prev2, prev, cur, next token) {
	start, negative, before, operand := cur.start, false, prev, prev2
	if prev.kind == tokOp && prev.ch == '-' && prev.end-prev.start == 1 && cur.kind != tokString && signedAfter(prev2) {
		// A sign: the grammar folds it into the number, and so do we.
		start, negative, before, operand = prev.start, true, prev2, prev3
	}
	switch sec {
	case inWhere:
		if !(before.kind == tokOp && (before.op == opCompare || before.op == opPlusMinus && cur.kind != tokString && isOperand(operand)) ||
			before.kind == tokWord && before.word == kwBetween) {
			return
		}
	case inSet:
		if !(before.kind == tokOp && (before.op == opCompare && before.ch == '=' || before.op == opPlusMinus && cur.kind != tokString && isOperand(operand))) {
			return
		}
	case inValues:
		if depth != valuesDepth || !(before.kind == tokOp && (before.op == opOpen || before.op == opComma)) ||
			!(next.kind == tokOp && (next.op == opComma || next.op == opClose)) {
			return
		}
	default:
		return
	}
	if !ends(next) {
		return
	}
	text := n.sql[cur.start:cur.end]
	lit := Literal{}
	switch cur.kind {
	case tokString:
		lit.Kind, lit.Text = Text, text[1:len(text)-1]
		if cur.escaped {
			lit.Text = undouble(lit.Text)
		}
	case tokInt:
		if negative {
			text = "-" + text
		}
		v, err := strconv.ParseInt(text, 10, 64)
		switch {
		case err != nil:
			lit.Kind = Numeric
		case v >= -1<<31 && v <= 1<<31-1:
			lit.Kind, lit.Int = Int4, v
		default:
			lit.Kind, lit.Int = Int8, v
		}
		lit.Text = text
	case tokDecimal:
		if negative {
			text = "-" + text
		}
		lit.Kind, lit.Text = Numeric, text
	}
	n.dst = append(n.dst, n.sql[n.copied:start]...)
	// The blank keeps an operator before a sign from running into the parameter's dollar.
	if negative && start > 0 && n.sql[start-1] != ' ' {
		n.dst = append(n.dst, ' ')
	}
	n.lits = append(n.lits, lit)
	n.dst = append(n.dst, '$')
	n.dst = strconv.AppendInt(n.dst, int64(len(n.lits)-n.base), 10)
	n.copied = cur.end
}

// signedAfter reports whether a minus after t is a sign, not a subtraction.
func signedAfter(t token) bool {
	switch t.kind {
	case tokOp:
		return t.op != opClose && t.ch != ']'
	case tokWord:
		return t.word == kwBetween
	}
	return false
}

// isOperand reports whether a plus or minus after t is between two operands.
func isOperand(t token) bool {
	switch t.kind {
	case tokWord:
		return t.word == kwNone
	case tokQuoted, tokInt, tokDecimal, tokString:
		return true
	case tokOp:
		return t.op == opClose || t.ch == ']'
	}
	return false
}

// ends reports whether t may follow a literal that is an operand by itself: nothing that binds tighter
// than what stands before it, no cast, subscript or escape clause.
func ends(t token) bool {
	switch t.kind {
	case tokEnd:
		return true
	case tokOp:
		return t.op == opClose || t.op == opComma || t.op == opSemi
	case tokWord:
		switch t.word {
		case kwAnd, kwOr, kwWhere, kwGroup, kwOrder, kwHaving, kwLimit, kwOffset, kwFetch, kwFor, kwReturning:
			return true
		}
	}
	return false
}

func undouble(s string) string {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		out = append(out, s[i])
		if s[i] == '\'' {
			i++
		}
	}
	return string(out)
}
