package parse

import (
	"errors"
	"strings"
	"unicode/utf8"

	pg "github.com/pganalyze/pg_query_go/v6"
	"github.com/pganalyze/pg_query_go/v6/parser"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
)

// scanAbove is the text length from which the depth guard runs.
const scanAbove = 16 << 10

// maxDepth bounds nesting and operator runs.
const maxDepth = 8000

// Parse parses a text of any number of statements. An empty text has none. The result may be shared with others.
// Errors are *pgerr.Error.
func Parse(sql string) ([]ast.Stmt, error) {
	if stmts, ok := texts.get(sql); ok {
		return stmts, nil
	}
	stmts, err := parse(sql)
	if err != nil {
		return nil, err
	}
	texts.put(sql, stmts)
	return stmts, nil
}

// One parses a text that must hold exactly one statement (the extended protocol's rule); an
// empty text yields a nil Statement.
func One(sql string) (ast.Stmt, error) {
	stmts, err := Parse(sql)
	if err != nil {
		return ast.Stmt{}, err
	}
	switch len(stmts) {
	case 0:
		return ast.Stmt{}, nil
	case 1:
		return stmts[0], nil
	}
	return ast.Stmt{}, pgerr.New(pgerr.SyntaxError, "cannot insert multiple commands into a prepared statement")
}

// Expr parses a scalar expression, such as a column default kept in the catalog.
func Expr(text string) (ast.Expr, error) {
	stmts, err := Parse("SELECT " + text)
	if err != nil {
		return nil, err
	}
	if len(stmts) == 1 {
		if s, ok := stmts[0].Statement.(*ast.Select); ok && len(s.Targets) == 1 && s.Targets[0].Name == "" &&
			s.From == nil && s.Where == nil && s.SetOp == 0 && s.OrderBy == nil && s.Limit == nil {
			return s.Targets[0].Expr, nil
		}
	}
	return nil, pgerr.New(pgerr.SyntaxError, "%q is not an expression", text)
}

// Type parses a type name as in a cast.
func Type(text string) (*ast.TypeName, error) {
	e, err := Expr("NULL::" + text)
	if err != nil {
		return nil, err
	}
	if c, ok := e.(*ast.Cast); ok {
		return c.Type, nil
	}
	return nil, pgerr.New(pgerr.SyntaxError, "%q is not a type", text)
}

func parse(sql string) ([]ast.Stmt, error) {
	if i := strings.IndexByte(sql, 0); i >= 0 {
		return nil, pgerr.New(pgerr.CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": 0x00")
	}
	if !utf8.ValidString(sql) {
		return nil, invalidUTF8(sql)
	}
	if len(sql) > scanAbove {
		if err := guardDepth(sql); err != nil {
			return nil, err
		}
	}
	tree, err := pg.Parse(sql)
	if err != nil {
		return nil, syntaxError(sql, err)
	}
	c := &converter{text: sql, ascii: isASCII(sql)}
	return c.stmts(tree)
}

func invalidUTF8(sql string) error {
	for i := 0; i < len(sql); {
		r, w := utf8.DecodeRuneInString(sql[i:])
		if r == utf8.RuneError && w <= 1 {
			var b strings.Builder
			for j := i; j < len(sql) && j < i+utf8Len(sql[i]); j++ {
				if j > i {
					b.WriteByte(' ')
				}
				const hex = "0123456789abcdef"
				b.WriteString("0x")
				b.WriteByte(hex[sql[j]>>4])
				b.WriteByte(hex[sql[j]&15])
			}
			return pgerr.New(pgerr.CharacterNotInRepertoire, "invalid byte sequence for encoding \"UTF8\": %s", b.String())
		}
		i += w
	}
	return nil
}

// utf8Len is how many bytes a sequence that starts with b claims (PostgreSQL prints as many).
func utf8Len(b byte) int {
	switch {
	case b&0xe0 == 0xc0:
		return 2
	case b&0xf0 == 0xe0:
		return 3
	case b&0xf8 == 0xf0:
		return 4
	}
	return 1
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// syntaxError gives the C parser's error its SQLSTATE, which it does not carry.
func syntaxError(sql string, err error) error {
	var pe *parser.Error
	if !errors.As(err, &pe) {
		return &pgerr.Error{Code: pgerr.InternalError, Message: "parser failed: " + err.Error(), Cause: err}
	}
	e := &pgerr.Error{Code: codeOf(sql, pe.Message), Message: pe.Message, Position: pe.Cursorpos}
	if strings.HasPrefix(pe.Message, "unsafe use of string constant with Unicode escapes") {
		e.Detail = "String constants with Unicode escapes cannot be used when standard_conforming_strings is off."
	}
	return e
}

func codeOf(sql, msg string) string {
	has := func(p string) bool { return strings.HasPrefix(msg, p) }
	switch {
	case has("stack depth limit exceeded"):
		return pgerr.StatementTooComplex
	case has("invalid Unicode escape") && strings.Contains(strings.ToUpper(sql), "U&"):
		return pgerr.SyntaxError // in U&'...'; in E'...' it is the next one
	case has("invalid Unicode escape"), has("invalid escape"):
		return "22025"
	case has("unsafe use of \\'"):
		return "22P06"
	case has("invalid byte sequence"):
		return pgerr.CharacterNotInRepertoire
	case strings.Contains(msg, "not yet implemented"), strings.Contains(msg, "not implemented"),
		has("conversion between"), strings.Contains(msg, "is not yet supported"), strings.Contains(msg, "is not supported"):
		return pgerr.FeatureNotSupported
	case has("invalid parameter number"):
		return pgerr.UndefinedParameter
	case has("FLOAT precision"), has("precision for type float"):
		return pgerr.InvalidParameterValue
	case has("role name \"") && strings.HasSuffix(msg, " is reserved"):
		return pgerr.ReservedName
	case has("out of memory"):
		return pgerr.OutOfMemory
	case has("frame start cannot"), has("frame end cannot"), has("frame starting from"):
		return pgerr.WindowingError
	}
	return pgerr.SyntaxError
}

// guardDepth refuses what would make the C parser recurse too deep. Nesting is brackets,
// CASE, and runs of operators or NOT without a bracket, comma or clause between.
func guardDepth(sql string) error {
	scan, err := pg.Scan(sql)
	if err != nil {
		return syntaxError(sql, err)
	}
	depth, run := 0, 0
	for _, t := range scan.Tokens {
		switch t.Token {
		case pg.Token_ASCII_40, pg.Token_ASCII_91, pg.Token_CASE:
			depth++
		case pg.Token_ASCII_41, pg.Token_ASCII_93, pg.Token_END_P:
			if depth > 0 {
				depth--
			}
			run++ // ")(" chains count like operators
		case pg.Token_ASCII_44, pg.Token_ASCII_59:
			run = 0
		case pg.Token_IDENT, pg.Token_ICONST, pg.Token_FCONST, pg.Token_SCONST, pg.Token_PARAM,
			pg.Token_SQL_COMMENT, pg.Token_C_COMMENT:
		default:
			run++
		}
		if depth > maxDepth || run > maxDepth {
			return pgerr.New(pgerr.StatementTooComplex, "stack depth limit exceeded").
				WithHint("The statement nests or chains more than %d operators.", maxDepth)
		}
	}
	return nil
}
