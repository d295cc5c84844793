package verb

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Kind of a parameter's values.
type Kind uint8

const (
	Int   Kind = iota // int64
	Text              // string
	Bool              // bool
	Texts             // []string
)

// Place is where a parameter is in an HTTP request.
type Place uint8

const (
	Path Place = iota
	Query
	Body
)

// Param is a parameter of a verb.
type Param struct {
	Name     string
	Kind     Kind
	In       Place
	Required bool
	Help     string
	// Scalar: a text that is often a number; in a JSON body it may be one, or true or false, as it may in a list of texts.
	Scalar bool
	// Min and Max bound integers, and the length of texts and of lists. A Max of 0 is the default: MaxText bytes, MaxTexts values.
	Min, Max int64
	// Enum, if not nil, are the only texts.
	Enum []string
	// Default is what is taken if it is left out, as text; for the documentation, and for Args.Int.
	Default string
}

const (
	// MaxText is how long texts may be, MaxTexts how many there may be in a list, if a parameter says nothing else.
	MaxText  = 1024
	MaxTexts = 32
	maxInt   = 1<<31 - 1
)

// Column is a column of a verb's answer, for people and for SQL.
type Column struct {
	// Name of the column in SQL and, unless there is a Title, its title for people; Field is where it is in the answer's JSON, dotted through objects and lists; empty for Name.
	Name, Field string
	Title       string
	// Type in SQL: int8, int4, int4[], text, bool, float8, timestamptz. Empty: for people only.
	Type string
	// As is how people see it: bytes, percent, seconds, time, rate, or as it is.
	As string
	// Apart: only in SQL.
	Apart bool
	// Told is a field of the row: where that is 0 or false, nobody says what the column's value is, and what the answer has there is none.
	Told string
}

// Path is where the column's value is.
func (c *Column) Path() []string {
	if c.Field == "" {
		return []string{c.Name}
	}
	return strings.Split(c.Field, ".")
}

// Returns is what a function in SQL returns.
type Returns uint8

const (
	// Done: true, when it is done.
	Done Returns = iota
	// Number: the id of the range that Field of the result names, when it is done.
	Number
	// Begun: the operation's id, at once.
	Begun
	// Rows: the rows of the answer.
	Rows
)

// Function is a verb's function in schema pamir.
type Function struct {
	// OID of the function; one that can be called with fewer arguments uses the numbers after it, too.
	OID     uint32
	Returns Returns
	// Field of the result, for Number.
	Field string
	// AnyKey: instead of its parameters it takes a table and values for the first columns of its primary key, of any type; Session knows.
	AnyKey bool
}

// Verb is something that an operator can ask.
type Verb struct {
	// Name of the verb, of its operations, and of its function in schema pamir.
	Name    string
	Summary string // one line, for all three
	Detail  string // more, for the documentation
	Method  string
	Path    string // below /api/v1
	// Command of cmd/pamir, without "pamir"; empty for none. Positional are the parameters that are its arguments in order; the last may be a list.
	Command    string
	Positional []string
	Params     []Param
	// Cancelable: the operation can be cancelled while it runs.
	Cancelable bool
	// Function and Relation are what it is in schema pamir, if anything.
	Function *Function
	Relation string
	// RelationOID is the relation's.
	RelationOID uint32
	// List is the field of the answer that has the rows; empty for an answer that is one thing.
	List    string
	Columns []Column
}

// Changes reports whether the verb changes something.
func (v *Verb) Changes() bool { return v.Method != "GET" }

// Param returns a parameter by name.
func (v *Verb) Param(name string) *Param {
	for i := range v.Params {
		if v.Params[i].Name == name {
			return &v.Params[i]
		}
	}
	return nil
}

// ByName returns a verb, nil if there is none of that name.
func ByName(name string) *Verb {
	for i := range Table {
		if Table[i].Name == name {
			return &Table[i]
		}
	}
	return nil
}

// ByRelation returns the verb whose answer a relation of schema pamir is, nil if there is none.
func ByRelation(name string) *Verb {
	for i := range Table {
		if name != "" && Table[i].Relation == name {
			return &Table[i]
		}
	}
	return nil
}

// Args are a verb's arguments by name: int64, string, bool or []string.
type Args map[string]any

// Int returns a number, 0 if it was left out.
func (a Args) Int(name string) int64 { v, _ := a[name].(int64); return v }

// Text returns a text, "" if it was left out.
func (a Args) Text(name string) string { v, _ := a[name].(string); return v }

// Bool returns a truth value, false if it was left out.
func (a Args) Bool(name string) bool { v, _ := a[name].(bool); return v }

// Texts returns a list.
func (a Args) Texts(name string) []string { v, _ := a[name].([]string); return v }

// Error is an argument that is not as its parameter wants it.
type Error struct{ Param, Message string }

// Error says which and why.
func (e *Error) Error() string { return e.Param + ": " + e.Message }

// Parse turns texts (a path's, a query's, a command's) into a value.
func (p *Param) Parse(texts ...string) (any, error) {
	if len(texts) == 0 {
		return nil, &Error{p.Name, "is missing"}
	}
	if p.Kind == Texts {
		return texts, nil
	}
	if len(texts) > 1 {
		return nil, &Error{p.Name, "is given more than once"}
	}
	switch s := texts[0]; p.Kind {
	case Int:
		n, err := strconv.ParseInt(s, 10, 64)
		switch {
		case errors.Is(err, strconv.ErrRange):
			low, high := p.Bounds()
			return nil, &Error{p.Name, fmt.Sprintf("%.40s is out of range (%d to %d)", s, low, high)}
		case err != nil:
			return nil, &Error{p.Name, fmt.Sprintf("%.40q is not a whole number", s)}
		}
		return n, nil
	case Bool:
		b, err := strconv.ParseBool(s)
		if err != nil {
			return nil, &Error{p.Name, fmt.Sprintf("%.40q is neither true nor false", s)}
		}
		return b, nil
	default:
		return s, nil
	}
}

// Bounds of the parameter's values: of numbers, lengths of texts, numbers of values.
func (p *Param) Bounds() (low, high int64) {
	switch high = p.Max; {
	case high != 0:
	case p.Kind == Text:
		high = MaxText
	case p.Kind == Texts:
		high = MaxTexts
	default:
		high = maxInt
	}
	return p.Min, high
}

func (p *Param) check(v any) error {
	low, high := p.Bounds()
	bad := func(format string, args ...any) error { return &Error{p.Name, fmt.Sprintf(format, args...)} }
	switch p.Kind {
	case Int:
		n, ok := v.(int64)
		switch {
		case !ok:
			return bad("must be a number")
		case n < low || n > high:
			return bad("%d is out of range (%d to %d)", n, low, high)
		}
	case Bool:
		if _, ok := v.(bool); !ok {
			return bad("must be true or false")
		}
	case Text:
		s, ok := v.(string)
		switch {
		case !ok:
			return bad("must be a text")
		case int64(len(s)) > high:
			return bad("is too long: at most %d bytes", high)
		case int64(len(s)) < low:
			return bad("must not be empty")
		case strings.ContainsRune(s, 0):
			return bad("must not contain a zero byte")
		case p.Enum != nil && !slices.Contains(p.Enum, s):
			return bad("%.40q is not one of %s", s, strings.Join(p.Enum, ", "))
		}
	case Texts:
		ss, ok := v.([]string)
		switch {
		case !ok:
			return bad("must be a list of texts")
		case int64(len(ss)) > high:
			return bad("has too many values: at most %d", high)
		case int64(len(ss)) < low:
			return bad("must not be empty")
		}
		for _, s := range ss {
			if len(s) > MaxText || strings.ContainsRune(s, 0) {
				return bad("has a value that is too long or contains a zero byte: at most %d bytes", MaxText)
			}
		}
	}
	return nil
}

// Check refuses arguments that the verb does not have, that are missing, or are out of bounds, and fills in defaults.
func (v *Verb) Check(a Args) error {
	for name := range a {
		if v.Param(name) == nil {
			return &Error{name, "is not a parameter of " + v.Name}
		}
	}
	for i := range v.Params {
		p := &v.Params[i]
		x, ok := a[p.Name]
		if !ok && p.Default != "" {
			d, err := p.Parse(p.Default)
			if err != nil {
				return err
			}
			a[p.Name] = d
			continue
		}
		switch {
		case !ok && p.Required:
			return &Error{p.Name, "is missing"}
		case !ok:
			continue
		}
		if err := p.check(x); err != nil {
			return err
		}
	}
	return nil
}

// Outcome is what came of a verb that SQL asked for.
type Outcome struct {
	// Operation is its number; 0 if it was done at once and not recorded.
	Operation int64
	Result    map[string]any
}
