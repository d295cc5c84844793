package ast

// Expr is a scalar expression.
type Expr interface {
	// Position is where errors about the expression point: for operators, the operator.
	Position() int
}

// At is embedded in every expression.
type At struct{ Pos int }

// Position implements Expr.
func (a At) Position() int { return a.Pos }

// LiteralKind says what a Literal is.
type LiteralKind uint8

const (
	NullLiteral    LiteralKind = iota
	IntLiteral                 // fits int4; Int is set
	NumericLiteral             // everything else that is a number: int8 or numeric, by its text
	StringLiteral              // of type unknown
	BoolLiteral                // Bool is set
	BitLiteral                 // Text starts with b or x
)

type (
	// Literal is a constant as written.
	Literal struct {
		At
		Kind LiteralKind
		Text string
		Int  int32
		Bool bool
	}
	// ColumnRef is a, t.a, s.t.a, or with Star t.*, *.
	ColumnRef struct {
		At
		Names []string
		Star  bool
	}
	// Param is $Number.
	Param struct {
		At
		Number int
	}
	// FuncCall is a call of a function, aggregate or window function.
	FuncCall struct {
		At
		Name        []string
		Args        []Expr
		Star        bool // f(*)
		Distinct    bool
		Variadic    bool
		WithinGroup bool // ORDER BY belongs to WITHIN GROUP
		OrderBy     []*SortBy
		Filter      Expr
		Over        *Window
		// SQLSyntax: written in a special form, such as EXTRACT(x FROM y) or OVERLAY(...).
		SQLSyntax bool
	}
	// NamedArg is name => value in a call.
	NamedArg struct {
		At
		Name string
		Arg  Expr
	}
	// Cast is x::type or CAST(x AS type).
	Cast struct {
		At
		Arg  Expr
		Type *TypeName
	}
	// Op is a prefix (Left nil) or infix operator; Name may be qualified. LIKE, ILIKE and SIMILAR TO
	// are Op with their operators' names and Like set.
	Op struct {
		At
		Name        []string
		Left, Right Expr
		Like        byte // 0, 'l', 'i', 's'
	}
	// Bool is AND or OR over two and more, or NOT over one.
	Bool struct {
		At
		Op   byte // '&', '|', '!'
		Args []Expr
	}
	// NullTest is IS [NOT] NULL.
	NullTest struct {
		At
		Arg Expr
		Not bool
	}
	// BoolTest is IS [NOT] TRUE, FALSE, UNKNOWN; Want is 't', 'f', 'u'.
	BoolTest struct {
		At
		Arg  Expr
		Want byte
		Not  bool
	}
	// Case is a CASE expression; Arg and Else may be nil.
	Case struct {
		At
		Arg   Expr
		Whens []*When
		Else  Expr
	}
	// When is one arm.
	When struct {
		At
		Cond, Then Expr
	}
	// Coalesce is COALESCE(...).
	Coalesce struct {
		At
		Args []Expr
	}
	// MinMax is GREATEST or LEAST.
	MinMax struct {
		At
		Args  []Expr
		Least bool
	}
	// NullIf is NULLIF(a, b).
	NullIf struct {
		At
		Left, Right Expr
	}
	// DistinctFrom is IS [NOT] DISTINCT FROM.
	DistinctFrom struct {
		At
		Left, Right Expr
		Not         bool
	}
	// In is x [NOT] IN (list).
	In struct {
		At
		Left Expr
		List []Expr
		Not  bool
	}
	// Between is x [NOT] BETWEEN [SYMMETRIC] lo AND hi.
	Between struct {
		At
		Arg, Low, High Expr
		Not, Symmetric bool
	}
	// AnyAll is x op ANY|ALL (array).
	AnyAll struct {
		At
		Left  Expr
		Op    []string
		Array Expr
		All   bool
	}
	// Sublink is a subquery in an expression.
	Sublink struct {
		At
		Kind SublinkKind
		// Test and Op for Any and All; no Op means IN.
		Test  Expr
		Op    []string
		Query *Select
	}
	// Array is ARRAY[...].
	Array struct {
		At
		Elems []Expr
	}
	// Row is ROW(...) or, not Explicit, (a, b).
	Row struct {
		At
		Args     []Expr
		Explicit bool
	}
	// Indirection is subscripts and field selections of a value.
	Indirection struct {
		At
		Arg   Expr
		Steps []Step
	}
	// SQLValue is CURRENT_DATE and its kin, named in lower case as the keyword; Mod is the precision or -1.
	SQLValue struct {
		At
		Name string
		Mod  int32
	}
	// Collate is x COLLATE name.
	Collate struct {
		At
		Arg  Expr
		Name []string
	}
	// Default is the keyword DEFAULT in VALUES or SET.
	Default struct{ At }
	// Grouping is GROUPING(...).
	Grouping struct {
		At
		Args []Expr
	}
	// CurrentOf is WHERE CURRENT OF cursor.
	CurrentOf struct {
		At
		Cursor string
	}
)

// SublinkKind is the kind of a Sublink.
type SublinkKind uint8

const (
	ScalarSublink SublinkKind = iota
	ExistsSublink
	AnySublink
	AllSublink
	ArraySublink
)

// Step of an Indirection: .field, .*, [index] or [lower:upper].
type Step struct {
	Field        string
	Star         bool
	Slice        bool
	Lower, Upper Expr // Upper is the index if not Slice; either may be nil in a slice
}

// TypeName is a type as written.
type TypeName struct {
	Pos   int
	Names []string
	Mods  []Expr
	// Dims is how many array dimensions were written.
	Dims  int
	SetOf bool
	// Pct is name%TYPE.
	Pct bool
}

// SortBy is an item of ORDER BY.
type SortBy struct {
	Pos  int
	Expr Expr
	// Desc and Nulls; Nulls is 0 for the default, 'f' or 'l'.
	Desc  bool
	Nulls byte
	// Using is the operator of ORDER BY ... USING.
	Using []string
}

// Window is OVER (...) or an item of the WINDOW clause.
type Window struct {
	Pos int
	// Name defines a window; Ref refers to one: OVER name has Ref and nothing else, and Bare set.
	Name, Ref   string
	Bare        bool
	PartitionBy []Expr
	OrderBy     []*SortBy
	Frame       *Frame
}

// FrameBound is where a window frame starts or ends.
type FrameBound uint8

const (
	UnboundedPreceding FrameBound = iota
	OffsetPreceding
	CurrentRow
	OffsetFollowing
	UnboundedFollowing
)

// Frame is an explicit frame clause.
type Frame struct {
	Mode                   byte // 'r' rows, 'v' range (values), 'g' groups
	Start, End             FrameBound
	StartOffset, EndOffset Expr
	// Exclude is 0, 'c' current row, 'g' group, 't' ties.
	Exclude byte
}
