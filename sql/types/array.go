package types

import (
	"encoding/binary"
	"strconv"

	"github.com/pamirdb/pamir/sql/pgerr"
)

const (
	maxArrayDims  = 6
	maxArrayElems = 1 << 27
)

func appendAnyText(dst []byte, t Type, a any, env *TextEnv) []byte {
	switch x := a.(type) {
	case *Array:
		if t.OID == Int2VectorOID || t.OID == OidVectorOID {
			for i, e := range x.Elems {
				if i > 0 {
					dst = append(dst, ' ')
				}
				dst = strconv.AppendInt(dst, e.I, 10)
			}
			return dst
		}
		return AppendArray(dst, x, env)
	case *Record:
		return appendRecord(dst, x, env)
	case TimeTZ:
		dst = AppendTime(dst, x.Micros)
		return appendOffset(dst, int(-x.Zone))
	}
	return dst
}

// AppendArray is an array's text form.
func AppendArray(dst []byte, a *Array, env *TextEnv) []byte {
	if len(a.Dims) == 0 {
		return append(dst, '{', '}')
	}
	for _, d := range a.Dims {
		if d.Lower != 1 {
			for _, d := range a.Dims {
				dst = append(dst, '[')
				dst = strconv.AppendInt(dst, int64(d.Lower), 10)
				dst = append(dst, ':')
				dst = strconv.AppendInt(dst, int64(d.Lower+d.Len-1), 10)
				dst = append(dst, ']')
			}
			dst = append(dst, '=')
			break
		}
	}
	pos := 0
	return appendArrayDim(dst, a, 0, &pos, delimOf(a.Elem), env)
}

func appendArrayDim(dst []byte, a *Array, dim int, pos *int, delim byte, env *TextEnv) []byte {
	dst = append(dst, '{')
	for i := int32(0); i < a.Dims[dim].Len; i++ {
		if i > 0 {
			dst = append(dst, delim)
		}
		if dim < len(a.Dims)-1 {
			dst = appendArrayDim(dst, a, dim+1, pos, delim, env)
			continue
		}
		e := a.Elems[*pos]
		*pos++
		if e.Null {
			dst = append(dst, "NULL"...)
			continue
		}
		n := len(dst)
		dst = AppendDatumText(dst, Of(a.Elem), e, env)
		if needsQuote(dst[n:], delim) {
			text := append([]byte(nil), dst[n:]...)
			dst = append(dst[:n], '"')
			for _, c := range text {
				if c == '"' || c == '\\' {
					dst = append(dst, '\\')
				}
				dst = append(dst, c)
			}
			dst = append(dst, '"')
		}
	}
	return append(dst, '}')
}

func needsQuote(s []byte, delim byte) bool {
	if len(s) == 0 || len(s) == 4 && lowerASCII(s) == "null" {
		return true
	}
	for _, c := range s {
		if c == '"' || c == '\\' || c == '{' || c == '}' || c == delim || isSpace(c) {
			return true
		}
	}
	return false
}

func badArray(s []byte, detail string) error {
	return pgerr.New(pgerr.InvalidTextRepresentation, "malformed array literal: \"%s\"", s).WithDetail("%s", detail)
}

// ParseArray reads an array's text form; t is the array type.
func ParseArray(t Type, in []byte, env *TextEnv) (*Array, error) {
	elem := Type{OID: ElemOf(t.OID), Mod: -1}
	p := arrayParser{in: in, s: trimSpace(in), elem: elem, env: env, delim: delimOf(elem.OID)}
	a := &Array{Elem: elem.OID}
	var lower []ArrayDim
	for len(p.s) > 0 && p.s[0] == '[' {
		d, err := p.bounds()
		if err != nil {
			return nil, err
		}
		if len(lower) >= maxArrayDims {
			return nil, pgerr.New(pgerr.ProgramLimitExceeded, "number of array dimensions (%d) exceeds the maximum allowed (%d)", len(lower)+1, maxArrayDims)
		}
		lower = append(lower, d)
	}
	if lower != nil {
		p.s = trimSpace(p.s)
		if len(p.s) == 0 || p.s[0] != '=' {
			return nil, badArray(in, "Missing \"=\" after array dimensions.")
		}
		p.s = trimSpace(p.s[1:])
		if len(p.s) == 0 || p.s[0] != '{' {
			return nil, badArray(in, "Array contents must start with \"{\".")
		}
	} else if len(p.s) == 0 || p.s[0] != '{' {
		return nil, badArray(in, "Array value must start with \"{\" or dimension information.")
	}
	if err := p.braces(0); err != nil {
		return nil, err
	}
	if len(trimSpace(p.s)) != 0 {
		return nil, badArray(in, "Junk after closing right brace.")
	}
	if len(p.elems) == 0 {
		return a, nil
	}
	a.Elems = p.elems
	n := 0
	for n < maxArrayDims && p.lens[n] > 0 {
		a.Dims = append(a.Dims, ArrayDim{Len: p.lens[n], Lower: 1})
		n++
	}
	if lower != nil {
		if len(lower) != len(a.Dims) {
			return nil, badArray(in, "Specified array dimensions do not match array contents.")
		}
		for i := range lower {
			if lower[i].Len != a.Dims[i].Len {
				return nil, badArray(in, "Specified array dimensions do not match array contents.")
			}
		}
		a.Dims = lower
	}
	return a, nil
}

type arrayParser struct {
	in, s []byte
	elem  Type
	env   *TextEnv
	delim byte
	elems []Datum
	lens  [maxArrayDims]int32
	depth int // the depth at which elements are, once known
}

func (p *arrayParser) bounds() (ArrayDim, error) {
	s := p.s[1:]
	num := func() (int, bool) {
		i := 0
		if i < len(s) && (s[i] == '-' || s[i] == '+') {
			i++
		}
		for i < len(s) && isDigit(s[i]) {
			i++
		}
		n, err := strconv.Atoi(string(s[:i]))
		s = s[i:]
		return n, err == nil && n == int(int32(n))
	}
	lo, ok := num()
	hi := lo
	if !ok {
		return ArrayDim{}, badArray(p.in, "\"[\" must introduce explicitly-specified array dimensions.")
	}
	if len(s) > 0 && s[0] == ':' {
		s = s[1:]
		if hi, ok = num(); !ok {
			return ArrayDim{}, badArray(p.in, "Missing array dimension value.")
		}
	} else {
		hi, lo = lo, 1
	}
	if len(s) == 0 || s[0] != ']' {
		return ArrayDim{}, badArray(p.in, "Missing \"]\" after array dimensions.")
	}
	if hi < lo {
		return ArrayDim{}, pgerr.New(pgerr.ArraySubscriptError, "upper bound cannot be less than lower bound")
	}
	if hi-lo+1 > maxArrayElems {
		return ArrayDim{}, pgerr.New(pgerr.ProgramLimitExceeded, "array size exceeds the maximum allowed (%d)", maxArrayElems)
	}
	p.s = s[1:]
	return ArrayDim{Len: int32(hi - lo + 1), Lower: int32(lo)}, nil
}

func (p *arrayParser) skip() {
	for len(p.s) > 0 && isSpace(p.s[0]) {
		p.s = p.s[1:]
	}
}

// braces reads one "{...}" at a nesting depth.
func (p *arrayParser) braces(depth int) error {
	if depth >= maxArrayDims {
		return pgerr.New(pgerr.ProgramLimitExceeded, "number of array dimensions (%d) exceeds the maximum allowed (%d)", depth+1, maxArrayDims)
	}
	p.s = p.s[1:]
	n := int32(0)
	p.skip()
	if len(p.s) > 0 && p.s[0] == '}' {
		p.s = p.s[1:]
		if depth > 0 && len(p.elems) > 0 {
			return badArray(p.in, "Multidimensional arrays must have sub-arrays with matching dimensions.")
		}
		return nil
	}
	for {
		p.skip()
		if len(p.s) == 0 {
			return badArray(p.in, "Unexpected end of input.")
		}
		if p.s[0] == '{' {
			if p.depth != 0 && p.depth <= depth+1 {
				return badArray(p.in, "Unexpected \"{\" character.")
			}
			if err := p.braces(depth + 1); err != nil {
				return err
			}
		} else {
			if p.depth == 0 {
				p.depth = depth + 1
			} else if p.depth != depth+1 {
				return badArray(p.in, "Unexpected array element.")
			}
			if err := p.element(); err != nil {
				return err
			}
		}
		n++
		p.skip()
		if len(p.s) == 0 {
			return badArray(p.in, "Unexpected end of input.")
		}
		switch c := p.s[0]; c {
		case p.delim:
			p.s = p.s[1:]
			continue
		case '}':
			p.s = p.s[1:]
			if p.lens[depth] != 0 && p.lens[depth] != n {
				return badArray(p.in, "Multidimensional arrays must have sub-arrays with matching dimensions.")
			}
			p.lens[depth] = n
			return nil
		default:
			if c == '"' || c == '{' {
				return badArray(p.in, "Unexpected array element.")
			}
			return badArray(p.in, "Unexpected \""+string(rune(c))+"\" character.")
		}
	}
}

func (p *arrayParser) element() error {
	var text []byte
	quoted := false
	if p.s[0] == '"' {
		quoted = true
		i := 1
		for {
			if i >= len(p.s) {
				return badArray(p.in, "Unexpected end of input.")
			}
			c := p.s[i]
			if c == '"' {
				break
			}
			if c == '\\' {
				i++
				if i >= len(p.s) {
					return badArray(p.in, "Unexpected end of input.")
				}
				c = p.s[i]
			}
			text = append(text, c)
			i++
		}
		p.s = p.s[i+1:]
	} else {
		i, end := 0, 0 // end: after the last byte that is not white space
		escaped := false
		for i < len(p.s) && p.s[i] != p.delim && p.s[i] != '}' {
			c := p.s[i]
			if c == '{' || c == '"' {
				if c == '"' {
					return badArray(p.in, "Unexpected array element.")
				}
				return badArray(p.in, "Unexpected \"{\" character.")
			}
			if c == '\\' {
				escaped = true
				i++
				if i >= len(p.s) {
					return badArray(p.in, "Unexpected end of input.")
				}
				text = append(text, p.s[i])
				end = len(text)
				i++
				continue
			}
			text = append(text, c)
			if !isSpace(c) {
				end = len(text)
			}
			i++
		}
		if i >= len(p.s) {
			return badArray(p.in, "Unexpected end of input.")
		}
		text = text[:end]
		p.s = p.s[i:]
		if len(text) == 0 {
			return badArray(p.in, "Unexpected \""+string(rune(p.s[0]))+"\" character.")
		}
		quoted = escaped
	}
	if len(p.elems) >= maxArrayElems {
		return pgerr.New(pgerr.ProgramLimitExceeded, "array size exceeds the maximum allowed (%d)", maxArrayElems)
	}
	if !quoted && len(text) == 4 && lowerASCII(text) == "null" {
		p.elems = append(p.elems, NullDatum)
		return nil
	}
	d, err := ParseText(p.elem, text, p.env)
	if err != nil {
		return err
	}
	p.elems = append(p.elems, d)
	return nil
}

// parseVector reads int2vector and oidvector: numbers with spaces between, indexed from 0.
func parseVector(t OID, s []byte, env *TextEnv) (*Array, error) {
	elem := ElemOf(t)
	a := &Array{Elem: elem}
	rest := trimSpace(s)
	for len(rest) > 0 {
		i := 0
		for i < len(rest) && !isSpace(rest[i]) {
			i++
		}
		d, err := parseText(Of(elem), rest[:i], env)
		if err != nil {
			return nil, err
		}
		a.Elems = append(a.Elems, d)
		rest = trimSpace(rest[i:])
	}
	if len(a.Elems) > 0 {
		a.Dims = []ArrayDim{{Len: int32(len(a.Elems))}}
	}
	return a, nil
}

func appendRecord(dst []byte, r *Record, env *TextEnv) []byte {
	dst = append(dst, '(')
	for i, f := range r.Fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		if f.Null {
			continue
		}
		n := len(dst)
		dst = AppendDatumText(dst, r.Types[i], f, env)
		quote := len(dst) == n
		for _, c := range dst[n:] {
			if c == '"' || c == '\\' || c == '(' || c == ')' || c == ',' || isSpace(c) {
				quote = true
				break
			}
		}
		if quote {
			text := append([]byte(nil), dst[n:]...)
			dst = append(dst[:n], '"')
			for _, c := range text {
				if c == '"' || c == '\\' {
					dst = append(dst, c)
				}
				dst = append(dst, c)
			}
			dst = append(dst, '"')
		}
	}
	return append(dst, ')')
}

func appendAnyBinary(dst []byte, t Type, a any) ([]byte, error) {
	switch x := a.(type) {
	case *Array:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(x.Dims)))
		var nulls uint32
		for _, e := range x.Elems {
			if e.Null {
				nulls = 1
			}
		}
		dst = binary.BigEndian.AppendUint32(dst, nulls)
		dst = binary.BigEndian.AppendUint32(dst, uint32(x.Elem))
		for _, d := range x.Dims {
			dst = binary.BigEndian.AppendUint32(dst, uint32(d.Len))
			dst = binary.BigEndian.AppendUint32(dst, uint32(d.Lower))
		}
		for _, e := range x.Elems {
			var err error
			if dst, err = appendSized(dst, Of(x.Elem), e); err != nil {
				return nil, err
			}
		}
		return dst, nil
	case *Record:
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(x.Fields)))
		for i, f := range x.Fields {
			dst = binary.BigEndian.AppendUint32(dst, uint32(x.Types[i].OID))
			var err error
			if dst, err = appendSized(dst, x.Types[i], f); err != nil {
				return nil, err
			}
		}
		return dst, nil
	case TimeTZ:
		dst = binary.BigEndian.AppendUint64(dst, uint64(x.Micros))
		return binary.BigEndian.AppendUint32(dst, uint32(x.Zone)), nil
	}
	return nil, unsupportedType(t.OID)
}

func appendSized(dst []byte, t Type, d Datum) ([]byte, error) {
	if d.Null {
		return binary.BigEndian.AppendUint32(dst, 0xffffffff), nil
	}
	n := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	dst, err := AppendDatumBinary(dst, t, d)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(dst[n:], uint32(len(dst)-n-4))
	return dst, nil
}

type byteReader struct {
	b  []byte
	ok bool
}

func (r *byteReader) u32() uint32 {
	if len(r.b) < 4 {
		r.ok = false
		return 0
	}
	x := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return x
}

func (r *byteReader) sized(t Type) (Datum, error) {
	n := r.u32()
	if !r.ok {
		return Datum{}, badBinarySize(t.OID, 0, 4)
	}
	if n == 0xffffffff {
		return NullDatum, nil
	}
	if int64(n) > int64(len(r.b)) {
		r.ok = false
		return Datum{}, badBinarySize(t.OID, 0, 4)
	}
	d, err := ParseBinary(t, r.b[:n:n])
	r.b = r.b[n:]
	return d, err
}

func parseAnyBinary(t Type, b []byte) (Datum, error) {
	r := &byteReader{b: b, ok: true}
	if elem := ElemOf(t.OID); elem != 0 {
		ndim, flags, etype := r.u32(), r.u32(), OID(r.u32())
		if !r.ok {
			return Datum{}, badBinarySize(t.OID, len(b), 12)
		}
		if ndim > maxArrayDims {
			return Datum{}, pgerr.New(pgerr.ProgramLimitExceeded, "number of array dimensions (%d) exceeds the maximum allowed (%d)", ndim, maxArrayDims)
		}
		if flags > 1 {
			return Datum{}, pgerr.New(pgerr.InvalidBinaryRepresentation, "invalid array flags")
		}
		if etype != elem {
			return Datum{}, pgerr.New(pgerr.DatatypeMismatch, "binary data has array element type %d (%s) instead of expected %d (%s)",
				etype, FormatType(Of(etype)), elem, FormatType(Of(elem)))
		}
		a := &Array{Elem: elem}
		total := int64(1)
		for i := uint32(0); i < ndim; i++ {
			d := ArrayDim{Len: int32(r.u32()), Lower: int32(r.u32())}
			if d.Len < 0 || int64(d.Lower)+int64(d.Len) > 1<<31-1 {
				return Datum{}, badBinary(t.OID)
			}
			total *= int64(d.Len)
			// Every element takes four bytes at least.
			if !r.ok || total > int64(len(b)) {
				return Datum{}, badBinarySize(t.OID, 0, 4)
			}
			a.Dims = append(a.Dims, d)
		}
		if ndim == 0 || total == 0 {
			a.Dims = nil
			return Datum{A: a}, nil
		}
		a.Elems = make([]Datum, total)
		for i := range a.Elems {
			d, err := r.sized(Of(elem))
			if err != nil {
				return Datum{}, err
			}
			a.Elems[i] = d
		}
		if len(r.b) != 0 {
			return Datum{}, badBinary(t.OID)
		}
		return Datum{A: a}, nil
	}
	switch t.OID {
	case RecordOID:
		n := r.u32()
		if !r.ok || int64(n)*8 > int64(len(r.b)) {
			return Datum{}, badBinarySize(t.OID, 0, 4)
		}
		rec := &Record{}
		for i := uint32(0); i < n; i++ {
			ft := Of(OID(r.u32()))
			d, err := r.sized(ft)
			if err != nil {
				return Datum{}, err
			}
			rec.Types = append(rec.Types, ft)
			rec.Fields = append(rec.Fields, d)
		}
		if len(r.b) != 0 {
			return Datum{}, badBinary(t.OID)
		}
		return Datum{A: rec}, nil
	case TimetzOID:
		if len(b) != 12 {
			return Datum{}, badBinarySize(t.OID, len(b), 12)
		}
		x := TimeTZ{Micros: int64(binary.BigEndian.Uint64(b)), Zone: int32(binary.BigEndian.Uint32(b[8:]))}
		if x.Micros < 0 || x.Micros > MicrosPerDay {
			return Datum{}, pgerr.New(pgerr.DatetimeFieldOverflow, "time out of range")
		}
		if x.Zone <= -16*3600 || x.Zone >= 16*3600 {
			return Datum{}, pgerr.New(pgerr.InvalidTimeZoneDisplacement, "time zone displacement out of range")
		}
		return Datum{A: x}, nil
	}
	return Datum{}, unsupportedType(t.OID)
}
