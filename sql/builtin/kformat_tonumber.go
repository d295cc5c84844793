package builtin

import (
	"bytes"
	"strings"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// numReader reads a number's digits out of a text along a template.
type numReader struct {
	f         *numFormat
	s         string
	sign      byte // 0 while none has been seen
	digits    []byte
	pre, post int
	dec       bool
}

func (r *numReader) peek() byte {
	if r.s == "" {
		return 0
	}
	return r.s[0]
}

// skip passes over up to n characters that cannot be part of a number.
func (r *numReader) skip(n int) {
	for ; n > 0 && r.s != "" && strings.IndexByte("0123456789.,+-", r.s[0]) < 0; n-- {
		r.s = r.s[len(firstRune(r.s)):]
	}
}

func isDigitByte(c byte) bool { return c >= '0' && c <= '9' }

// digit reads at a 9, 0 or point of the template; the character it stops at is passed over afterwards.
func (r *numReader) digit(id string) {
	if r.peek() == ' ' {
		r.s = r.s[1:]
	}
	if r.s == "" {
		return
	}
	if r.sign == 0 && (id == "0" || id == "9") && r.pre+r.post == 0 {
		switch c := r.peek(); {
		case c == '-', c == '<' && r.f.bracket:
			r.sign = '-'
			r.s = r.s[1:]
		case c == '+':
			r.sign = '+'
			r.s = r.s[1:]
		}
		if r.s == "" {
			return
		}
	}
	read := false
	if c := r.peek(); isDigitByte(c) {
		if r.dec && r.post == r.f.post {
			return
		}
		r.digits = append(r.digits, c)
		if r.dec {
			r.post++
		} else {
			r.pre++
		}
		read = true
	} else if r.f.decimal && !r.dec && c == '.' {
		r.digits = append(r.digits, '.')
		r.dec, read = true, true
	}
	if r.sign == 0 && r.pre+r.post > 0 {
		if r.f.sign && read && len(r.s) > 1 && !isDigitByte(r.s[1]) {
			if c := r.s[1]; c == '-' || c == '+' {
				r.sign = c
				r.s = r.s[1:]
			}
		} else if !read && !r.f.sign && (r.f.plus || r.f.minus) {
			if c := r.peek(); c == '-' || c == '+' {
				r.sign = c
			}
		}
	}
}

func toNumber(s, format string) (types.Datum, error) {
	if format == "" {
		return types.NullDatum, nil
	}
	f, err := parseNumFormat(format)
	if err != nil {
		return types.NullDatum, err
	}
	if f.exp {
		return types.NullDatum, pgerr.New(pgerr.FeatureNotSupported, "\"EEEE\" not supported for input")
	}
	if f.roman {
		return types.NullDatum, pgerr.New(pgerr.FeatureNotSupported, "\"RN\" not supported for input")
	}
	r := &numReader{f: f, s: s}
	for k := range f.nodes {
		if r.s == "" {
			break
		}
		n := &f.nodes[k]
		if n.kind != nodeField {
			r.s = r.s[len(firstRune(r.s)):]
			continue
		}
		switch n.id {
		case "9", "0", ".", "D":
			r.digit(n.id)
		case ",", "G":
			if f.fill || r.peek() != ',' {
				continue
			}
		case "L":
			r.skip(1)
			continue
		case "TH":
			r.skip(2)
			continue
		case "MI", "PL", "SG":
			c := r.peek()
			if c == '-' && n.id != "PL" || c == '+' && n.id != "MI" {
				r.sign = c
			} else {
				r.skip(1)
				continue
			}
		default:
			continue
		}
		if r.s != "" {
			r.s = r.s[1:]
		}
	}
	text := make([]byte, 0, len(r.digits)+1)
	text = append(text, ' ')
	if r.sign != 0 {
		text[0] = r.sign
	}
	text = append(text, bytes.TrimSuffix(r.digits, []byte("."))...)
	d, err := types.ParseText(types.Type{OID: types.NumericOID, Mod: types.MakeNumericMod(f.pre+f.multi+f.post, r.post)}, text, types.DefaultEnv)
	if err != nil || !f.isMulti {
		return d, err
	}
	var p apd.Decimal
	p.Coeff.Set(types.Pow10(f.multi))
	q, err := NumericDiv(d.Decimal(), &p)
	return types.NewDecimal(&q), err
}

func init() {
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		return toNumber(string(args[0].Bytes[i]), string(args[1].Bytes[i]))
	}), "numeric_to_number")
}
