package types

import "github.com/cockroachdb/apd/v3"

// OID is PostgreSQL's object id of a type.
type OID uint32

// Type is a type with its modifier (length, precision); Mod is -1 for none.
type Type struct {
	OID OID
	Mod int32
}

// Of returns the type without a modifier.
func Of(oid OID) Type { return Type{OID: oid, Mod: -1} }

// Repr is how values of a type are carried.
type Repr uint8

const (
	ReprInt Repr = iota
	ReprFloat
	ReprBytes
	ReprDecimal
	ReprInterval
	ReprAny
)

// Interval as PostgreSQL keeps it.
type Interval struct {
	Months, Days int32
	Micros       int64
}

// Datum is one value. Which field is in use follows from the Repr of its type,
// which it does not carry.
type Datum struct {
	Null bool
	I    int64   // ReprInt
	F    float64 // ReprFloat
	B    []byte  // ReprBytes
	// A is *apd.Decimal (ReprDecimal), Interval (ReprInterval), or *Array, *Record, ... (ReprAny).
	A any
}

// NullDatum is NULL, of any type.
var NullDatum = Datum{Null: true}

// Array is an array value: len(Elems) is the product of Dims; no Dims means empty.
type Array struct {
	Elem  OID
	Dims  []ArrayDim
	Elems []Datum
}

// ArrayDim is one dimension: its length and the index of its first element.
type ArrayDim struct{ Len, Lower int32 }

// Record is a row value.
type Record struct {
	Types  []Type
	Fields []Datum
}

// BatchSize is how many rows an operator puts into a batch, at most.
const BatchSize = 1024

// Vec is a column of N values of one type.
type Vec struct {
	Type Type
	Repr Repr
	N    int
	// HasNulls false means that Nulls need not be looked at.
	HasNulls  bool
	Nulls     []bool
	Ints      []int64
	Floats    []float64
	Bytes     [][]byte
	Decimals  []apd.Decimal
	Intervals []Interval
	Anys      []any
}

// Batch is a run of rows in columns. Sel, if not nil, lists the rows that count, ascending;
// otherwise rows 0..N-1 count.
type Batch struct {
	N    int
	Cols []*Vec
	Sel  []int32
}

// Len returns how many rows count.
func (b *Batch) Len() int {
	if b.Sel != nil {
		return len(b.Sel)
	}
	return b.N
}

// Row maps the i-th counting row to its position in the columns.
func (b *Batch) Row(i int) int {
	if b.Sel != nil {
		return int(b.Sel[i])
	}
	return i
}
