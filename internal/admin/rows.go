package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/pamirdb/pamir/sql/verb"
)

// Rows are a verb's answer as rows of texts, by its columns that SQL has; nil is NULL.
func (s *Server) Rows(ctx context.Context, v *verb.Verb, a verb.Args) ([][]*string, error) {
	if err := v.Check(a); err != nil {
		return nil, err
	}
	l, ok := s.look(v.Name)
	if !ok {
		return nil, NewProblem(CodeInvalid, "%s has no rows", v.Name)
	}
	answer, err := l.F(ctx, a)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(answer)
	if err != nil {
		return nil, err
	}
	items, err := Items(b, v.List)
	if err != nil {
		return nil, err
	}
	var out [][]*string
	for _, item := range items {
		var row []*string
		for i := range v.Columns {
			if c := &v.Columns[i]; c.Type != "" {
				row = append(row, sqlText(c, Value(item, c)))
			}
		}
		out = append(out, row)
	}
	return out, nil
}

// Items takes the rows out of an answer's JSON; numbers stay as they were written. An answer that is no list is one row.
func Items(answer []byte, list string) ([]any, error) {
	dec := json.NewDecoder(bytes.NewReader(answer))
	dec.UseNumber()
	var o map[string]any
	if err := dec.Decode(&o); err != nil {
		return nil, err
	}
	if list == "" {
		return []any{o}, nil
	}
	items, _ := o[list].([]any)
	return items, nil
}

// At follows a path through objects, and through lists into each of their elements.
func At(x any, path []string) any {
	if len(path) == 0 {
		return x
	}
	switch y := x.(type) {
	case map[string]any:
		return At(y[path[0]], path[1:])
	case []any:
		out := make([]any, 0, len(y))
		for _, e := range y {
			out = append(out, At(e, path))
		}
		return out
	}
	return nil
}

// Value is what a row has in a column; nil if nobody says.
func Value(item any, c *verb.Column) any {
	if c.Told != "" {
		switch x := At(item, []string{c.Told}).(type) {
		case nil:
			return nil
		case bool:
			if !x {
				return nil
			}
		case json.Number:
			if x == "0" {
				return nil
			}
		}
	}
	return At(item, c.Path())
}

func sqlText(c *verb.Column, x any) *string {
	var s string
	switch y := x.(type) {
	case nil:
		return nil
	case string:
		s = y
	case json.Number:
		s = y.String()
		if f, err := y.Float64(); err == nil && (c.As == "rate" || c.As == "percent") {
			s = strconv.FormatFloat(math.Round(f*1000)/1000, 'f', -1, 64)
		}
		// 0 is nobody and nothing, where it is a number of something.
		if s == "0" && (strings.HasSuffix(c.Name, "_id") || c.Name == "leader") {
			return nil
		}
	case bool:
		if s = "f"; y {
			s = "t"
		}
	case []any:
		parts := make([]string, 0, len(y))
		for _, e := range y {
			switch z := e.(type) {
			case string:
				parts = append(parts, z)
			case json.Number:
				parts = append(parts, z.String())
			}
		}
		if s = Joined(parts); strings.HasSuffix(c.Type, "[]") {
			s = "{" + s + "}"
		}
	default:
		b, err := json.Marshal(y)
		if err != nil {
			return nil // of what was JSON: it cannot fail
		}
		s = string(b)
	}
	return &s
}

// Joined writes a list in one line: sentences with a semicolon, since they have commas, and names and numbers without a blank.
func Joined(parts []string) string {
	if slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(p, " ") }) {
		return strings.Join(parts, "; ")
	}
	return strings.Join(parts, ",")
}

// Size writes a number of bytes for people.
func Size(bytes float64) string {
	unit := "B"
	for _, u := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if bytes < 1024 {
			break
		}
		bytes, unit = bytes/1024, u
	}
	digits := 1
	if unit == "B" || bytes >= 100 {
		digits = 0
	}
	return strconv.FormatFloat(bytes, 'f', digits, 64) + " " + unit
}
