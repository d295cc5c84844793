package copyformat

import (
	"strings"

	"github.com/pamirdb/pamir/sql/ast"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/setting"
)

// Format is the form of the data.
type Format uint8

const (
	Text Format = iota
	CSV
	Binary
)

// Options are COPY's options, checked.
type Options struct {
	Format              Format
	delim, quote, esc   byte
	null                string
	header, headerMatch bool
	forceQuoteAll       bool
	forceQuote          []string
	forceNotNull        []string
	forceNull           []string
}

// ParseOptions checks the options as PostgreSQL does, with its messages.
func ParseOptions(st *ast.Copy) (*Options, error) {
	o := &Options{}
	seen := map[string]bool{}
	var delim, null, quote, esc *string
	text := func(op *ast.Option) *string { v := op.Text; return &v }
	for i := range st.Options {
		op := &st.Options[i]
		if seen[op.Name] {
			return nil, pgerr.New(pgerr.SyntaxError, "conflicting or redundant options").At(op.Pos)
		}
		seen[op.Name] = true
		switch op.Name {
		case "format":
			switch op.Text {
			case "text":
			case "csv":
				o.Format = CSV
			case "binary":
				o.Format = Binary
			default:
				return nil, pgerr.New(pgerr.InvalidParameterValue, "COPY format \"%s\" not recognized", op.Text).At(op.Pos)
			}
		case "freeze":
			// Rows are visible as of their commit; there is nothing to freeze.
		case "delimiter":
			delim = text(op)
		case "null":
			null = text(op)
		case "header":
			if strings.EqualFold(op.Text, "match") {
				if !st.From {
					return nil, pgerr.New(pgerr.FeatureNotSupported, "cannot use \"match\" with HEADER in COPY TO")
				}
				o.header, o.headerMatch = true, true
				break
			}
			b, ok := setting.ParseBool(op.Text)
			if !op.HasValue {
				b, ok = true, true
			}
			if !ok {
				return nil, pgerr.New(pgerr.SyntaxError, "header requires a Boolean value or \"match\"")
			}
			o.header = b
		case "quote":
			quote = text(op)
		case "escape":
			esc = text(op)
		case "force_quote":
			if op.Text == "*" && len(op.List) == 0 {
				o.forceQuoteAll = true
			} else {
				o.forceQuote = optionList(op)
			}
		case "force_not_null":
			o.forceNotNull = optionList(op)
		case "force_null":
			o.forceNull = optionList(op)
		case "encoding":
			if _, err := setting.Encoding(op.Text); err != nil {
				return nil, pgerr.New(pgerr.InvalidParameterValue, "argument to option \"encoding\" must be a valid encoding name").At(op.Pos)
			}
		default:
			return nil, pgerr.New(pgerr.SyntaxError, "option \"%s\" not recognized", op.Name).At(op.Pos)
		}
	}
	if o.Format == Binary {
		for name, p := range map[string]*string{"DELIMITER": delim, "NULL": null} {
			if p != nil {
				return nil, pgerr.New(pgerr.SyntaxError, "cannot specify %s in BINARY mode", name)
			}
		}
		if o.header {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "cannot specify HEADER in BINARY mode")
		}
	}
	o.delim, o.null, o.quote, o.esc = '\t', `\N`, '"', '"'
	if o.Format == CSV {
		o.delim, o.null = ',', ""
	}
	one := func(p *string, dst *byte, what string) error {
		if p == nil {
			return nil
		}
		if len(*p) != 1 {
			return pgerr.New(pgerr.FeatureNotSupported, "COPY %s must be a single one-byte character", what)
		}
		*dst = (*p)[0]
		return nil
	}
	if err := one(delim, &o.delim, "delimiter"); err != nil {
		return nil, err
	}
	if o.delim == '\r' || o.delim == '\n' {
		return nil, pgerr.New(pgerr.InvalidParameterValue, "COPY delimiter cannot be newline or carriage return")
	}
	if null != nil {
		o.null = *null
	}
	if strings.ContainsAny(o.null, "\r\n") {
		return nil, pgerr.New(pgerr.InvalidParameterValue, "COPY null representation cannot use newline or carriage return")
	}
	if o.Format != CSV && strings.IndexByte(`\.abcdefghijklmnopqrstuvwxyz0123456789`, o.delim) >= 0 {
		return nil, pgerr.New(pgerr.InvalidParameterValue, "COPY delimiter cannot be \"%c\"", o.delim)
	}
	if o.Format != CSV {
		if quote != nil {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "COPY quote available only in CSV mode")
		}
		if esc != nil {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "COPY escape available only in CSV mode")
		}
		if o.forceQuoteAll || o.forceQuote != nil {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "COPY force quote available only in CSV mode")
		}
		if o.forceNotNull != nil {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "COPY force not null available only in CSV mode")
		}
		if o.forceNull != nil {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "COPY force null available only in CSV mode")
		}
	} else {
		if err := one(quote, &o.quote, "quote"); err != nil {
			return nil, err
		}
		o.esc = o.quote
		if err := one(esc, &o.esc, "escape"); err != nil {
			return nil, err
		}
		if o.delim == o.quote {
			return nil, pgerr.New(pgerr.InvalidParameterValue, "COPY delimiter and quote must be different")
		}
		if st.From && (o.forceQuoteAll || o.forceQuote != nil) {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "COPY force quote only available using COPY TO")
		}
		if !st.From && o.forceNotNull != nil {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "COPY force not null only available using COPY FROM")
		}
		if !st.From && o.forceNull != nil {
			return nil, pgerr.New(pgerr.FeatureNotSupported, "COPY force null only available using COPY FROM")
		}
		if strings.IndexByte(o.null, o.quote) >= 0 {
			return nil, pgerr.New(pgerr.InvalidParameterValue, "CSV quote character must not appear in the NULL specification")
		}
	}
	if strings.IndexByte(o.null, o.delim) >= 0 {
		return nil, pgerr.New(pgerr.InvalidParameterValue, "COPY delimiter must not appear in the NULL specification")
	}
	return o, nil
}

func optionList(op *ast.Option) []string {
	if op.List != nil {
		return op.List
	}
	return []string{op.Text}
}

// flags turns a list of column names into a flag per column.
func columnFlags(list []string, names []string, what, relation string) ([]bool, error) {
	if list == nil {
		return nil, nil
	}
	flags := make([]bool, len(names))
next:
	for _, n := range list {
		for i, c := range names {
			if c == n {
				flags[i] = true
				continue next
			}
		}
		return nil, pgerr.New(pgerr.InvalidColumnReference, "%s column \"%s\" not referenced by COPY", what, n)
	}
	return flags, nil
}
