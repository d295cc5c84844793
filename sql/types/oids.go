package types

// OIDs of PostgreSQL's built-in types.
const (
	BoolOID         OID = 16
	ByteaOID        OID = 17
	CharOID         OID = 18
	NameOID         OID = 19
	Int8OID         OID = 20
	Int2OID         OID = 21
	Int2VectorOID   OID = 22
	Int4OID         OID = 23
	RegProcOID      OID = 24
	TextOID         OID = 25
	OidOID          OID = 26
	TidOID          OID = 27
	XidOID          OID = 28
	CidOID          OID = 29
	OidVectorOID    OID = 30
	JSONOID         OID = 114
	Float4OID       OID = 700
	Float8OID       OID = 701
	UnknownOID      OID = 705
	BpcharOID       OID = 1042
	VarcharOID      OID = 1043
	DateOID         OID = 1082
	TimeOID         OID = 1083
	TimestampOID    OID = 1114
	TimestamptzOID  OID = 1184
	IntervalOID     OID = 1186
	TimetzOID       OID = 1266
	NumericOID      OID = 1700
	RegprocedureOID OID = 2202
	RegclassOID     OID = 2205
	RegtypeOID      OID = 2206
	RecordOID       OID = 2249
	CstringOID      OID = 2275
	AnyOID          OID = 2276
	AnyarrayOID     OID = 2277
	VoidOID         OID = 2278
	InternalOID     OID = 2281
	AnyelementOID   OID = 2283
	AnynonarrayOID  OID = 2776
	UUIDOID         OID = 2950
	RegnamespaceOID OID = 4089
	RegroleOID      OID = 4096
	JSONBOID        OID = 3802
	PgLsnOID        OID = 3220
)
