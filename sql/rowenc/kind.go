package rowenc

import (
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// kind is how a type is written. The numbers are on the wire (Spec).
type kind uint8

const (
	kindInt    kind = 1  // ReprInt: zigzag varint
	kindFixed  kind = 2  // ReprInt: 8 bytes little endian (timestamps)
	kindFloat8 kind = 3  // 8 bytes little endian
	kindFloat4 kind = 4  // 4 bytes little endian
	kindBytes  kind = 5  // uvarint length, bytes
	kindBpchar kind = 6  // uvarint trailing blanks, uvarint length, the rest
	kindUUID   kind = 7  // 16 bytes
	kindNum    kind = 8  // uvarint length, numeric
	kindIntvl  kind = 9  // varint months, days, microseconds
	kindAny    kind = 10 // uvarint length, tagged value
	kindMax    kind = 10
)

func kindOf(t types.OID) kind {
	switch t {
	case types.TimeOID, types.TimestampOID, types.TimestamptzOID, types.PgLsnOID:
		return kindFixed
	case types.Float4OID:
		return kindFloat4
	case types.BpcharOID:
		return kindBpchar
	case types.UUIDOID:
		return kindUUID
	}
	switch types.ReprOf(t) {
	case types.ReprInt:
		return kindInt
	case types.ReprFloat:
		return kindFloat8
	case types.ReprBytes:
		return kindBytes
	case types.ReprDecimal:
		return kindNum
	case types.ReprInterval:
		return kindIntvl
	}
	return kindAny
}

func (k kind) repr() types.Repr {
	switch k {
	case kindInt, kindFixed:
		return types.ReprInt
	case kindFloat8, kindFloat4:
		return types.ReprFloat
	case kindBytes, kindBpchar, kindUUID:
		return types.ReprBytes
	case kindNum:
		return types.ReprDecimal
	case kindIntvl:
		return types.ReprInterval
	}
	return types.ReprAny
}

// lossy reports whether equal values can differ to the eye, so that the ordered form is not the value.
func (k kind) lossy() bool {
	switch k {
	case kindInt, kindFixed, kindBytes, kindUUID:
		return false
	}
	return true
}

// Orderable reports whether a column of the type can be in an index key.
func Orderable(t types.OID) bool {
	switch t {
	case types.JSONOID, types.JSONBOID, types.XMLOID, types.XidOID, types.CidOID, types.RecordOID, types.TimetzOID,
		types.CharOID, types.Xid8OID, types.PgLsnOID:
		return false
	}
	if e := types.ElemOf(t); e != 0 {
		return types.ReprOf(e) != types.ReprAny && Orderable(e)
	}
	return types.ReprOf(t) != types.ReprAny
}

// ErrCorrupt is the error for bytes that no encoder wrote.
var ErrCorrupt error = pgerr.New(pgerr.DataCorrupted, "a stored row or index entry is corrupt")

func errNoForm(t types.OID) error {
	return pgerr.Unsupported("storing values of this type", "").WithDetail("The type's OID is %d.", t)
}
