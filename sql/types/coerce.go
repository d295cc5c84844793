package types

import (
	"strconv"
	"unicode/utf8"

	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
)

func itoa(n int) string { return strconv.Itoa(n) }

// ApplyMod coerces a value (not NULL) to its type's modifier: varchar(n), char(n), numeric(p,s), and the
// fractional digits of times. An explicit cast truncates strings where an implicit one fails (22001).
func ApplyMod(t Type, d Datum, explicit bool) (Datum, error) {
	if t.Mod < 0 || d.Null {
		return d, nil
	}
	switch t.OID {
	case VarcharOID:
		b, err := clipVarchar(d.B, int(t.Mod)-4, explicit)
		return Datum{B: b}, err
	case BpcharOID:
		b, err := padBpchar(d.B, int(t.Mod)-4, explicit)
		return Datum{B: b}, err
	case NumericOID:
		r, err := applyNumericMod(t.Mod, d.A.(*apd.Decimal))
		return Datum{A: r}, err
	case TimestampOID, TimestamptzOID:
		if isInfinite(d.I) {
			return d, nil
		}
		return Datum{I: roundMicros(d.I, int(t.Mod))}, nil
	case TimeOID:
		return Datum{I: roundMicros(d.I, int(t.Mod))}, nil
	case IntervalOID:
		iv, err := applyIntervalMod(d.A.(Interval), t.Mod)
		return Datum{A: iv}, err
	case TimetzOID:
		x := d.A.(TimeTZ)
		x.Micros = roundMicros(x.Micros, int(t.Mod))
		return Datum{A: x}, nil
	}
	if elem := ElemOf(t.OID); elem != 0 {
		a := d.A.(*Array)
		out := &Array{Elem: a.Elem, Dims: a.Dims, Elems: make([]Datum, len(a.Elems))}
		for i, e := range a.Elems {
			r, err := ApplyMod(Type{OID: elem, Mod: t.Mod}, e, explicit)
			if err != nil {
				return Datum{}, err
			}
			out.Elems[i] = r
		}
		return Datum{A: out}, nil
	}
	return d, nil
}

// ModIsNoOp reports whether going from modifier from to modifier to of one type can change nothing, so
// that the coercion may be left out.
func ModIsNoOp(t OID, from, to int32) bool {
	if to < 0 || from == to {
		return true
	}
	if from < 0 {
		return false
	}
	switch t {
	case VarcharOID:
		return from <= to
	case TimestampOID, TimestamptzOID, TimeOID, TimetzOID:
		return from <= to
	case NumericOID:
		fp, fs, ok1 := NumericMod(from)
		tp, ts, ok2 := NumericMod(to)
		return ok1 && ok2 && fs == ts && fp <= tp
	}
	return false
}

// runePos returns the byte position after n characters, or -1 if b is shorter.
func runePos(b []byte, n int) int {
	if len(b) < n {
		return -1
	}
	i := 0
	for ; n > 0; n-- {
		if i >= len(b) {
			return -1
		}
		if b[i] < utf8.RuneSelf {
			i++
			continue
		}
		_, w := utf8.DecodeRune(b[i:])
		i += w
	}
	return i
}

func clipVarchar(b []byte, n int, explicit bool) ([]byte, error) {
	if len(b) <= n {
		return b, nil
	}
	p := runePos(b, n)
	if p < 0 || p == len(b) {
		return b, nil
	}
	if !explicit {
		for _, c := range b[p:] {
			if c != ' ' {
				return nil, pgerr.New(pgerr.StringDataRightTruncation, "value too long for type character varying(%d)", n)
			}
		}
	}
	return b[:p:p], nil
}

func padBpchar(b []byte, n int, explicit bool) ([]byte, error) {
	have := utf8.RuneCount(b)
	if have == n {
		return b, nil
	}
	if have < n {
		out := make([]byte, len(b)+n-have)
		copy(out, b)
		for i := len(b); i < len(out); i++ {
			out[i] = ' '
		}
		return out, nil
	}
	p := runePos(b, n)
	if !explicit {
		for _, c := range b[p:] {
			if c != ' ' {
				return nil, pgerr.New(pgerr.StringDataRightTruncation, "value too long for type character(%d)", n)
			}
		}
	}
	return b[:p:p], nil
}
