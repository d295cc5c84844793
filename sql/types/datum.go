package types

import "github.com/cockroachdb/apd/v3"

// NewInt, NewFloat and so on make values of the Repr in their name.
func NewInt(i int64) Datum     { return Datum{I: i} }
func NewFloat(f float64) Datum { return Datum{F: f} }
func NewBytes(b []byte) Datum  { return Datum{B: b} }

// NewString makes a value of a text type. B is never nil for a value that is not NULL.
func NewString(s string) Datum { return Datum{B: []byte(s)} }

// NewDecimal: d must not change afterwards.
func NewDecimal(d *apd.Decimal) Datum { return Datum{A: d} }
func NewInterval(iv Interval) Datum   { return Datum{A: iv} }
func NewArray(a *Array) Datum         { return Datum{A: a} }
func NewAny(a any) Datum              { return Datum{A: a} }
func NewDecimalInt(i int64) Datum     { return Datum{A: apd.New(i, 0)} }
func (d Datum) Decimal() *apd.Decimal { return d.A.(*apd.Decimal) }
func (d Datum) Interval() Interval    { return d.A.(Interval) }
func (d Datum) Array() *Array         { return d.A.(*Array) }
func (d Datum) Bool() bool            { return d.I != 0 && !d.Null }
func (d Datum) String() string        { return string(d.B) }

// NewBool makes a bool.
func NewBool(b bool) Datum {
	if b {
		return Datum{I: 1}
	}
	return Datum{}
}

// Clone returns a datum whose bytes are its own.
func (d Datum) Clone() Datum {
	if d.B != nil {
		d.B = append(make([]byte, 0, len(d.B)), d.B...)
	}
	return d
}

// MakeArray1 makes a one-dimensional array with lower bound 1 (an empty one for no elements).
func MakeArray1(elem OID, elems []Datum) *Array {
	a := &Array{Elem: elem, Elems: elems}
	if len(elems) > 0 {
		a.Dims = []ArrayDim{{Len: int32(len(elems)), Lower: 1}}
	}
	return a
}
