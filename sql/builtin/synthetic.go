package builtin

import "github.com/pamirdb/pamir/sql/types"

// Functions that PostgreSQL has as parts of its executor rather than in pg_proc. Their OIDs lie above all others.
var (
	// ArraySubscript is array[i][j]...: NULL outside of the bounds or with the wrong number of subscripts.
	ArraySubscript = &Function{OID: 0xfffffff0, Name: "[]", Schema: "pg_catalog", Source: "array_subscript", Strict: true, Volatility: 'i', Kind: 'f',
		Args: []types.OID{types.AnyarrayOID, types.Int4OID}, Result: types.AnyelementOID}
	// ArraySlice is array[lo:hi]....
	ArraySlice = &Function{OID: 0xfffffff1, Name: "[:]", Schema: "pg_catalog", Source: "array_slice", Strict: true, Volatility: 'i', Kind: 'f',
		Args: []types.OID{types.AnyarrayOID, types.Int4OID, types.Int4OID}, Result: types.AnyarrayOID}
	// RecordField is (record).field by position.
	RecordField = &Function{OID: 0xfffffff2, Name: ".", Schema: "pg_catalog", Source: "record_field", Strict: true, Volatility: 'i', Kind: 'f',
		Args: []types.OID{types.RecordOID, types.Int4OID}, Result: types.AnyOID}

	synthetic = []*Function{ArraySubscript, ArraySlice, RecordField}
)
