package types

import "strconv"

type typeRow struct {
	oid    OID
	name   string // pg_type.typname
	format string // format_type(oid, NULL)
	length int16  // pg_type.typlen
	elem   OID    // element type, if it is a true array
	array  OID    // array type over it
	delim  byte   // between elements in an array's text form
}

// Built-in OIDs are below 10000: a flat table answers in one load.
const maxBuiltin = 10000

var (
	typeIndex [maxBuiltin]uint16 // position in typeTable + 1
	reprTable [maxBuiltin]Repr
	typeNames = make(map[string]OID, 256)
)

func init() {
	for i := range reprTable {
		reprTable[i] = ReprAny
	}
	for i := range typeTable {
		r := &typeTable[i]
		typeIndex[r.oid] = uint16(i + 1)
		typeNames[r.name] = r.oid
	}
	for _, o := range []OID{BoolOID, Int2OID, Int4OID, Int8OID, OidOID, CharOID, DateOID, TimeOID, TimestampOID,
		TimestamptzOID, RegProcOID, RegprocedureOID, RegoperOID, RegoperatorOID, RegclassOID, RegtypeOID, RegroleOID,
		RegnamespaceOID, RegconfigOID, RegdictionaryOID, RegcollationOID, XidOID, CidOID, Xid8OID, PgLsnOID,
		VoidOID, TriggerOID} {
		reprTable[o] = ReprInt
	}
	for _, o := range []OID{Float4OID, Float8OID} {
		reprTable[o] = ReprFloat
	}
	for _, o := range []OID{TextOID, VarcharOID, BpcharOID, NameOID, ByteaOID, UUIDOID, JSONOID, JSONBOID, UnknownOID, CstringOID,
		PgNodeTreeOID, AclitemOID, XMLOID} {
		reprTable[o] = ReprBytes
	}
	reprTable[NumericOID] = ReprDecimal
	reprTable[IntervalOID] = ReprInterval
}

// ReprOf returns how values of a type are carried. Types made by users are ReprAny.
func ReprOf(oid OID) Repr {
	if oid < maxBuiltin {
		return reprTable[oid]
	}
	return ReprAny
}

func rowOf(oid OID) *typeRow {
	if oid < maxBuiltin {
		if i := typeIndex[oid]; i != 0 {
			return &typeTable[i-1]
		}
	}
	return nil
}

// ElemOf returns the element type of an array type, or 0 if oid is none.
// int2vector and oidvector count as arrays.
func ElemOf(oid OID) OID {
	switch oid {
	case Int2VectorOID:
		return Int2OID
	case OidVectorOID:
		return OidOID
	}
	if r := rowOf(oid); r != nil {
		return r.elem
	}
	return 0
}

// ArrayOf returns the array type over an element type, or 0 if there is none.
func ArrayOf(oid OID) OID {
	if r := rowOf(oid); r != nil {
		return r.array
	}
	return 0
}

// Name is pg_type.typname of a built-in type ("int4"), or the number.
func Name(oid OID) string {
	if r := rowOf(oid); r != nil {
		return r.name
	}
	return strconv.Itoa(int(oid))
}

// ByName is the inverse of Name.
func ByName(name string) (OID, bool) {
	o, ok := typeNames[name]
	return o, ok
}

// Length is pg_type.typlen: bytes, -1 variable, -2 cstring.
func Length(oid OID) int16 {
	if r := rowOf(oid); r != nil {
		return r.length
	}
	return -1
}

func delimOf(oid OID) byte {
	if r := rowOf(oid); r != nil {
		return r.delim
	}
	return ','
}

// IsString reports whether a type's values are character strings (text, varchar, bpchar, name, unknown, cstring).
func IsString(oid OID) bool {
	switch oid {
	case TextOID, VarcharOID, BpcharOID, NameOID, UnknownOID, CstringOID:
		return true
	}
	return false
}

// FormatType names a type as format_type does ("character varying(10)").
func FormatType(t Type) string {
	if t.OID == 0 {
		return "-"
	}
	r := rowOf(t.OID)
	if r == nil {
		return "???"
	}
	if r.elem != 0 && t.OID != Int2VectorOID && t.OID != OidVectorOID {
		return FormatType(Type{OID: r.elem, Mod: t.Mod}) + "[]"
	}
	if t.Mod < 0 {
		return r.format
	}
	m := int(t.Mod)
	p := func(n int) string { return "(" + strconv.Itoa(n) + ")" }
	switch t.OID {
	case VarcharOID, BpcharOID:
		if m < 4 {
			return r.format
		}
		return r.format + p(m-4)
	case NumericOID:
		prec, scale, ok := NumericMod(t.Mod)
		if !ok {
			return r.format
		}
		return "numeric(" + strconv.Itoa(prec) + "," + strconv.Itoa(scale) + ")"
	case TimeOID:
		return "time" + p(m) + " without time zone"
	case TimetzOID:
		return "time" + p(m) + " with time zone"
	case TimestampOID:
		return "timestamp" + p(m) + " without time zone"
	case TimestamptzOID:
		return "timestamp" + p(m) + " with time zone"
	case IntervalOID:
		return "interval" + intervalModText(t.Mod)
	case BitOID, VarbitOID:
		return r.format + p(m)
	}
	return r.format
}

// NumericMod splits a numeric's modifier into precision and scale; ok is false for none.
func NumericMod(mod int32) (prec, scale int, ok bool) {
	if mod < 4 {
		return 0, 0, false
	}
	m := mod - 4
	// The scale is an 11-bit signed number.
	return int(m>>16) & 0xffff, int((m&0x7ff)^1024) - 1024, true
}

// MakeNumericMod is the inverse of NumericMod.
func MakeNumericMod(prec, scale int) int32 { return int32(prec<<16|scale&0x7ff) + 4 }
