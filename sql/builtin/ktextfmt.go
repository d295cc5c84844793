package builtin

import (
	"bytes"
	"strconv"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// reservedWords are the keywords that an identifier must be quoted for: all but the unreserved ones.
var reservedWords = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range bytes.Fields([]byte(`all analyse analyze and any array as asc asymmetric authorization between bigint
binary bit boolean both case cast char character check coalesce collate collation column concurrently constraint create
cross current_catalog current_date current_role current_schema current_time current_timestamp current_user dec decimal
default deferrable desc distinct do else end except exists extract false fetch float for foreign freeze from full grant
greatest group grouping having ilike in initially inner inout int integer intersect interval into is isnull join lateral
leading least left like limit localtime localtimestamp national natural nchar none normalize not notnull null nullif
numeric offset on only or order out outer overlaps overlay placing position precision primary real references returning
right row select session_user setof similar smallint some substring symmetric table tablesample then time timestamp to
trailing treat trim true union unique user using values varchar variadic verbose when where window with xmlattributes
xmlconcat xmlelement xmlexists xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable`)) {
		m[string(w)] = true
	}
	return m
}()

func formatError(format string, args ...any) *pgerr.Error {
	return pgerr.New(pgerr.InvalidParameterValue, format, args...)
}

// textFormat is format(): %s, %I, %L with positions, widths and the minus flag.
func textFormat(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
	if args[0].IsNull(i) {
		out.SetNull(i)
		return nil
	}
	f := args[0].Bytes[i]
	res := []byte{}
	next := 1
	unterminated := func() error {
		return formatError("unterminated format() type specifier").WithHint("For a single \"%%\" use \"%%%%\".")
	}
	tooFew := func() error { return formatError("too few arguments for format()") }
	arg := func(n int) (*types.Vec, error) {
		if n >= len(args) {
			return nil, tooFew()
		}
		return args[n], nil
	}
	num := func(p int) (int, int, bool, error) {
		start := p
		n := 0
		for p < len(f) && f[p] >= '0' && f[p] <= '9' {
			n = n*10 + int(f[p]-'0')
			if n > 1<<30 {
				return 0, p, false, pgerr.New(pgerr.NumericValueOutOfRange, "number is out of range")
			}
			p++
		}
		return n, p, p > start, nil
	}
	for p := 0; p < len(f); p++ {
		if f[p] != '%' {
			res = append(res, f[p])
			continue
		}
		p++
		if p >= len(f) {
			return unterminated()
		}
		if f[p] == '%' {
			res = append(res, '%')
			continue
		}
		pos, left, width := -1, false, 0
		n, q, ok, err := num(p)
		if err != nil {
			return err
		}
		switch {
		case ok && q < len(f) && f[q] == '$':
			if n == 0 {
				return formatError("format specifies argument 0, but arguments are numbered from 1")
			}
			pos, p = n, q+1
		case ok:
			width, p = n, q
		}
		if width == 0 {
			for p < len(f) && f[p] == '-' {
				left = true
				p++
			}
			if p < len(f) && f[p] == '*' {
				p++
				n, q, ok, err := num(p)
				if err != nil {
					return err
				}
				wp := next
				if ok {
					if q >= len(f) || f[q] != '$' {
						return formatError("width argument position must be ended by \"$\"")
					}
					if n == 0 {
						return formatError("format specifies argument 0, but arguments are numbered from 1")
					}
					wp, p = n, q+1
				} else {
					next++
				}
				v, err := arg(wp)
				if err != nil {
					return err
				}
				if !v.IsNull(i) {
					if v.Repr != types.ReprInt {
						w, err := strconv.Atoi(string(types.AppendText(nil, v.Type, v, i, ctx.TextEnv())))
						if err != nil {
							return formatError("width argument must be a number")
						}
						width = w
					} else {
						width = int(v.Ints[i])
					}
				}
				if width < 0 {
					left, width = true, -width
				}
			} else if n, q, ok, err := num(p); err != nil {
				return err
			} else if ok {
				width, p = n, q
			}
		}
		if p >= len(f) {
			return unterminated()
		}
		conv := f[p]
		if conv != 's' && conv != 'I' && conv != 'L' {
			return formatError("unrecognized format() type specifier \"%s\"", string(conv)).WithHint("For a single \"%%\" use \"%%%%\".")
		}
		if pos < 0 {
			pos = next
			next++
		} else {
			next = pos + 1
		}
		v, err := arg(pos)
		if err != nil {
			return err
		}
		var s []byte
		switch {
		case v.IsNull(i):
			if conv == 'I' {
				return pgerr.New(pgerr.NullValueNotAllowed, "null values cannot be formatted as an SQL identifier")
			}
			if conv == 'L' {
				s = []byte("NULL")
			}
		default:
			s = types.AppendText(nil, v.Type, v, i, ctx.TextEnv())
			if conv == 'I' {
				s = []byte(QuoteIdent(string(s)))
			} else if conv == 'L' {
				s = []byte(QuoteLiteral(string(s)))
			}
		}
		gap := width - runeCount(s)
		if gap > maxText {
			return tooLong()
		}
		if !left && gap > 0 {
			res = append(res, bytes.Repeat([]byte{' '}, gap)...)
		}
		res = append(res, s...)
		if left && gap > 0 {
			res = append(res, bytes.Repeat([]byte{' '}, gap)...)
		}
	}
	out.Bytes[i] = res
	return nil
}

// stringToArray is string_to_array(text, delimiter [, null string]).
var stringToArray = rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
	if args[0].IsNull(i) {
		out.SetNull(i)
		return nil
	}
	s := args[0].Bytes[i]
	var parts [][]byte
	switch {
	case len(s) == 0:
	case args[1].IsNull(i):
		for _, r := range string(s) {
			parts = append(parts, []byte(string(r)))
		}
	case len(args[1].Bytes[i]) == 0:
		parts = [][]byte{s}
	default:
		parts = bytes.Split(s, args[1].Bytes[i])
	}
	elems := make([]types.Datum, len(parts))
	for k, p := range parts {
		elems[k] = types.NewBytes(nonNil(p))
		if len(args) > 2 && !args[2].IsNull(i) && bytes.Equal(p, args[2].Bytes[i]) {
			elems[k] = types.NullDatum
		}
	}
	out.Anys[i] = types.MakeArray1(types.TextOID, elems)
	return nil
})
