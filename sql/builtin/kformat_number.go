package builtin

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// to_char over numbers. The rules of where signs, blanks and zeros go are PostgreSQL's, quirks included:
// templates and numbers are walked side by side.

type numFormat struct {
	nodes               []formatNode
	pre, post, multi    int // digits before and behind the point, and behind V
	lsign               int8
	preAtSign           int // digits before an S
	zeroStart, zeroEnd  int
	decimal, zero       bool
	blank, fill         bool
	sign, bracket       bool
	minus, plus         bool
	roman, isMulti, exp bool
}

const (
	signNone int8 = iota
	signPre
	signPost
)

var numFields = func() map[string]bool {
	m := map[string]bool{",": true, ".": true, "0": true, "9": true}
	for _, f := range strings.Fields("B C D EEEE FM G L MI PL PR RN SG SP S TH V") {
		m[f] = true
		m[strings.ToLower(f)] = true
	}
	return m
}()

func parseNumFormat(s string) (*numFormat, error) {
	f := &numFormat{}
	for s != "" {
		if k := longestField(s, numFields, 4); k != "" {
			n := formatNode{key: k, id: strings.ToUpper(k)}
			s = s[len(k):]
			f.nodes = append(f.nodes, n)
			if err := f.add(n.id); err != nil {
				return nil, err
			}
			continue
		}
		if s[0] == '"' {
			f.nodes, s = quotedNodes(f.nodes, s[1:])
			continue
		}
		if s[0] == '\\' && len(s) > 1 && s[1] == '"' {
			s = s[1:]
		}
		c := firstRune(s)
		f.nodes = append(f.nodes, textNode(c, false))
		s = s[len(c):]
	}
	return f, nil
}

func formatSyntax(msg string) *pgerr.Error { return pgerr.New(pgerr.SyntaxError, "%s", msg) }

func (f *numFormat) add(id string) error {
	if f.exp && id != "EEEE" {
		return formatSyntax("\"EEEE\" must be the last pattern used")
	}
	switch id {
	case "9":
		if f.bracket {
			return formatSyntax("\"9\" must be ahead of \"PR\"")
		}
		switch {
		case f.isMulti:
			f.multi++
		case f.decimal:
			f.post++
		default:
			f.pre++
		}
	case "0":
		if f.bracket {
			return formatSyntax("\"0\" must be ahead of \"PR\"")
		}
		if !f.zero && !f.decimal {
			f.zero = true
			f.zeroStart = f.pre + 1
		}
		if f.decimal {
			f.post++
		} else {
			f.pre++
		}
		f.zeroEnd = f.pre + f.post
	case "B":
		if f.pre == 0 && f.post == 0 && !f.zero {
			f.blank = true
		}
	case "D", ".":
		if f.decimal {
			return formatSyntax("multiple decimal points")
		}
		if f.isMulti {
			return formatSyntax("cannot use \"V\" and decimal point together")
		}
		f.decimal = true
	case "FM":
		f.fill = true
	case "S":
		if f.sign {
			return formatSyntax("cannot use \"S\" twice")
		}
		if f.plus || f.minus || f.bracket {
			return formatSyntax("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together")
		}
		if !f.decimal {
			f.lsign = signPre
			f.preAtSign = f.pre
		} else if f.lsign == signNone {
			f.lsign = signPost
		}
		f.sign = true
	case "MI", "PL", "SG":
		if f.sign {
			return formatSyntax("cannot use \"S\" and \"" + id + "\" together")
		}
		f.minus = f.minus || id != "PL"
		f.plus = f.plus || id != "MI"
	case "PR":
		if f.sign || f.plus || f.minus {
			return formatSyntax("cannot use \"PR\" and \"S\"/\"PL\"/\"MI\"/\"SG\" together")
		}
		f.bracket = true
	case "RN":
		f.roman = true
	case "V":
		if f.decimal {
			return formatSyntax("cannot use \"V\" and decimal point together")
		}
		f.isMulti = true
	case "EEEE":
		if f.exp {
			return formatSyntax("cannot use \"EEEE\" twice")
		}
		if f.blank || f.fill || f.sign || f.bracket || f.minus || f.plus || f.roman || f.isMulti {
			return formatSyntax("\"EEEE\" is incompatible with other formats").
				WithDetail("\"EEEE\" may only be used together with digit and decimal point patterns.")
		}
		f.exp = true
	}
	return nil
}

// numWriter puts a number's text into a template.
type numWriter struct {
	f         numFormat // a copy: walking changes it
	num       []byte    // digits with a point, no sign
	p         int       // next of num
	neg       bool
	signed    bool // the sign has been written
	count     int
	spaces    int
	inNumber  bool
	curr      int
	lastDigit int // last digit that matters, -1 for all
	out       []byte
}

// write formats num, which is too short for the template by spaces digits.
func (f *numFormat) write(num []byte, neg bool, spaces int) []byte {
	w := &numWriter{f: *f, num: num, neg: neg, spaces: spaces, lastDigit: -1}
	if w.f.zeroStart > 0 {
		w.f.zeroStart--
	}
	if w.f.exp {
		return num
	}
	if w.f.roman {
		w.f = numFormat{nodes: f.nodes, fill: f.fill, roman: true}
		w.spaces, w.neg = 0, false
	}
	if w.f.plus || w.f.minus {
		w.signed = !(w.f.plus && !w.f.minus)
	} else {
		if !neg && w.f.fill {
			w.f.bracket = false
		}
		w.signed = !neg && w.f.fill && !w.f.sign
		if w.f.lsign == signPre && w.f.pre == w.f.preAtSign {
			w.f.lsign = signPost
		}
	}
	w.count = w.f.post + w.f.pre - 1
	if w.f.fill && w.f.decimal {
		if dot := bytes.IndexByte(num, '.'); dot >= 0 {
			w.lastDigit = dot
			for k := dot + 1; k < len(num); k++ {
				if num[k] != '0' {
					w.lastDigit = k
				}
			}
			if w.f.zeroEnd > w.spaces {
				w.lastDigit = max(w.lastDigit, min(len(num)-1, w.f.zeroEnd-w.spaces))
			}
		}
	}
	if !w.signed && w.spaces == 0 {
		w.count++
	}
	for k := range w.f.nodes {
		w.node(&w.f.nodes[k])
	}
	return w.out
}

func (w *numWriter) put(s string) { w.out = append(w.out, s...) }

func (w *numWriter) signText() string {
	if w.neg {
		return "-"
	}
	return "+"
}

func (w *numWriter) node(n *formatNode) {
	if n.kind != nodeField {
		w.put(n.text)
		return
	}
	switch n.id {
	case "9", "0", ".", "D":
		w.digit(n.id)
	case ",", "G":
		if w.inNumber {
			w.put(",")
		} else if !w.f.fill {
			w.put(" ")
		}
	case "L":
		w.put(" ")
	case "RN":
		s := string(w.num)
		if n.key[0] == 'r' {
			s = strings.ToLower(s)
		}
		if !w.f.fill {
			s = fmt.Sprintf("%15s", s)
		}
		w.put(s)
	case "TH":
		if w.f.roman || len(w.num) == 0 || w.num[0] == '#' || w.neg || w.f.decimal {
			return
		}
		w.put(likeCase(ordinal(w.num), n.key))
	case "MI":
		if w.neg {
			w.put("-")
		} else if !w.f.fill {
			w.put(" ")
		}
	case "PL":
		if !w.neg {
			w.put("+")
		} else if !w.f.fill {
			w.put(" ")
		}
	case "SG":
		w.put(w.signText())
	}
}

// zeroBeforePoint: the zero in 0.1 is a blank unless the template has zeros.
func (w *numWriter) zeroBeforePoint() bool {
	return !w.f.zero && w.p == 0 && len(w.num) > 0 && w.num[0] == '0' && w.f.post != 0
}

func (w *numWriter) digit(id string) {
	if w.f.roman {
		return
	}
	w.inNumber = false
	lastIsPoint := w.lastDigit >= 0 && w.num[w.lastDigit] == '.'
	if !w.signed && (w.curr >= w.spaces || w.f.zero && w.f.zeroStart == w.curr) && (!w.zeroBeforePoint() || lastIsPoint) {
		switch {
		case w.f.sign:
			if w.f.lsign == signPre {
				w.put(w.signText())
				w.signed = true
			}
		case w.f.bracket:
			if w.neg {
				w.put("<")
			} else {
				w.put(" ")
			}
			w.signed = true
		case !w.neg:
			if !w.f.fill {
				w.put(" ")
			}
			w.signed = true
		default:
			w.put("-")
			w.signed = true
		}
	}
	switch {
	case w.curr < w.spaces && (w.f.zeroStart > w.curr || !w.f.zero):
		if !w.f.fill {
			w.put(" ")
		}
	case w.f.zero && w.curr < w.spaces:
		w.put("0")
		w.inNumber = true
	default:
		if w.p < len(w.num) {
			c := w.num[w.p]
			switch {
			case c == '.':
				if !lastIsPoint || w.f.fill {
					w.put(".")
				}
			case w.lastDigit >= 0 && w.p > w.lastDigit && id != "0":
			case w.zeroBeforePoint():
				if !w.f.fill {
					w.put(" ")
				} else if lastIsPoint {
					w.put("0")
				}
			default:
				w.out = append(w.out, c)
				w.inNumber = true
			}
			w.p++
		}
	}
	end := w.count
	if w.spaces > 0 {
		end++
	}
	if w.f.decimal {
		end++
	}
	if w.lastDigit >= 0 && w.lastDigit == w.p {
		end = w.curr
	}
	if w.curr+1 == end {
		if w.signed && w.f.bracket {
			if w.neg {
				w.put(">")
			} else {
				w.put(" ")
			}
		} else if w.f.sign && w.f.lsign == signPost {
			w.put(w.signText())
		}
	}
	w.curr++
}

// fit lays a number's text (with sign) into the template, or hashes if it is too long.
func (f *numFormat) fit(text []byte, pre int) []byte {
	neg := len(text) > 0 && text[0] == '-'
	if neg {
		text = text[1:]
	}
	n := bytes.IndexByte(text, '.')
	if n < 0 {
		n = len(text)
	}
	if n > pre {
		return f.write(hashes(pre, f.post), neg, 0)
	}
	g := *f
	g.pre = pre
	return g.write(text, neg, pre-n)
}

func hashes(pre, post int) []byte {
	b := bytes.Repeat([]byte{'#'}, pre+post+1)
	b[pre] = '.'
	return b
}

// expHashes stands for what has no exponent form.
func expHashes(f *numFormat) []byte {
	b := bytes.Repeat([]byte{'#'}, f.pre+f.post+6)
	b[0] = ' '
	b[f.pre+1] = '.'
	return b
}

func romanNumeral(n int64) []byte {
	if n < 1 || n > 3999 {
		return bytes.Repeat([]byte{'#'}, 15)
	}
	var b []byte
	for _, r := range []struct {
		v int64
		s string
	}{{1000, "M"}, {900, "CM"}, {500, "D"}, {400, "CD"}, {100, "C"}, {90, "XC"}, {50, "L"}, {40, "XL"}, {10, "X"}, {9, "IX"}, {5, "V"}, {4, "IV"}, {1, "I"}} {
		for n >= r.v {
			b = append(b, r.s...)
			n -= r.v
		}
	}
	return b
}

// scientific is d.ddde+xx with a number of digits behind the point, rounded half away from zero;
// what rounds up to ten stays 10.00e+00, as in PostgreSQL.
func scientific(d *apd.Decimal, post int) []byte {
	var r apd.Decimal
	r.Set(d)
	r.Negative = false
	exp := 0
	if numSign(&r) != 0 {
		exp = int(r.NumDigits()) - 1 + int(r.Exponent)
		r.Exponent -= int32(exp)
		types.RoundNumeric(&r, &r, post)
	} else {
		types.RoundNumeric(&r, &r, post)
	}
	out := []byte{' '}
	if d.Negative && numSign(d) != 0 {
		out[0] = '-'
	}
	out = types.AppendNumeric(out, &r)
	return fmt.Appendf(out, "e%+03d", exp)
}

func (f *numFormat) numeric(d *apd.Decimal) ([]byte, error) {
	switch {
	case f.roman:
		var r apd.Decimal
		types.RoundNumeric(&r, d, 0)
		n, err := numericToInt(&r, widths["int4"])
		if err != nil {
			return nil, err
		}
		return f.write(romanNumeral(n), false, 0), nil
	case f.exp:
		if d.Form != apd.Finite {
			return expHashes(f), nil
		}
		return scientific(d, f.post), nil
	}
	x := *d
	pre := f.pre
	if f.isMulti {
		var p apd.Decimal
		p.Coeff.Set(types.Pow10(f.multi))
		x = NumericMul(d, &p)
		pre += f.multi
	}
	var r apd.Decimal
	types.RoundNumeric(&r, &x, f.post)
	return f.fit(types.AppendNumeric(nil, &r), pre), nil
}

func (f *numFormat) float(x float64, single bool) ([]byte, error) {
	maxDigits := 15
	if single {
		maxDigits = 6
	}
	special := math.IsNaN(x) || math.IsInf(x, 0)
	switch {
	case f.roman:
		r := math.RoundToEven(x)
		if special || r < math.MinInt32 || r > math.MaxInt32 {
			return nil, outOfRange("integer")
		}
		return f.write(romanNumeral(int64(r)), false, 0), nil
	case f.exp:
		if special {
			return expHashes(f), nil
		}
		b := fmt.Appendf(nil, "%+.*e", f.post, x)
		if b[0] == '+' {
			b[0] = ' '
		}
		return b, nil
	}
	pre := f.pre
	if f.isMulti {
		x *= math.Pow(10, float64(f.multi))
		if single {
			x = float64(float32(x))
		}
		pre += f.multi
	}
	if special {
		s := "Infinity"
		if math.IsNaN(x) {
			s = "NaN"
		} else if x < 0 {
			s = "-Infinity"
		}
		return f.fit([]byte(s), pre), nil
	}
	g := *f
	n := len(strconv.AppendFloat(nil, math.Abs(x), 'f', 0, 64))
	if n >= maxDigits {
		g.post = 0
	} else {
		g.post = min(g.post, maxDigits-n)
	}
	return g.fit(strconv.AppendFloat(nil, x, 'f', g.post, 64), pre), nil
}

// numFormatKernel makes a to_char kernel for a type of numbers.
func numFormatKernel(format func(f *numFormat, v *types.Vec, i int) ([]byte, error)) Kernel {
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		var last []byte
		var f *numFormat
		return types.EachRow(n, sel, func(i int) error {
			t := args[1].Bytes[i]
			if f == nil || !bytes.Equal(t, last) {
				var err error
				if f, err = parseNumFormat(string(t)); err != nil {
					return err
				}
				last = t
			}
			if len(t) == 0 {
				out.Bytes[i] = []byte{}
				return nil
			}
			b, err := format(f, args[0], i)
			if b == nil {
				b = []byte{}
			}
			out.Bytes[i] = b
			return err
		})
	}
}

func init() {
	reg(numFormatKernel(func(f *numFormat, v *types.Vec, i int) ([]byte, error) { return f.numeric(&v.Decimals[i]) }), "numeric_to_char")
	reg(numFormatKernel(func(f *numFormat, v *types.Vec, i int) ([]byte, error) {
		d := NumericFromInt(v.Ints[i])
		return f.numeric(&d)
	}), "int4_to_char", "int8_to_char")
	reg(numFormatKernel(func(f *numFormat, v *types.Vec, i int) ([]byte, error) { return f.float(v.Floats[i], true) }), "float4_to_char")
	reg(numFormatKernel(func(f *numFormat, v *types.Vec, i int) ([]byte, error) { return f.float(v.Floats[i], false) }), "float8_to_char")
}
