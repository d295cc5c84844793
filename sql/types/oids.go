package types

// OIDs of PostgreSQL's built-in types.
const (
	BoolOID          OID = 16
	ByteaOID         OID = 17
	CharOID          OID = 18
	NameOID          OID = 19
	Int8OID          OID = 20
	Int2OID          OID = 21
	Int2VectorOID    OID = 22
	Int4OID          OID = 23
	RegProcOID       OID = 24
	TextOID          OID = 25
	OidOID           OID = 26
	TidOID           OID = 27
	XidOID           OID = 28
	CidOID           OID = 29
	OidVectorOID     OID = 30
	JSONOID          OID = 114
	Float4OID        OID = 700
	Float8OID        OID = 701
	UnknownOID       OID = 705
	BpcharOID        OID = 1042
	VarcharOID       OID = 1043
	DateOID          OID = 1082
	TimeOID          OID = 1083
	TimestampOID     OID = 1114
	TimestamptzOID   OID = 1184
	IntervalOID      OID = 1186
	TimetzOID        OID = 1266
	NumericOID       OID = 1700
	RegprocedureOID  OID = 2202
	RegclassOID      OID = 2205
	RegtypeOID       OID = 2206
	RecordOID        OID = 2249
	CstringOID       OID = 2275
	AnyOID           OID = 2276
	AnyarrayOID      OID = 2277
	VoidOID          OID = 2278
	InternalOID      OID = 2281
	AnyelementOID    OID = 2283
	AnynonarrayOID   OID = 2776
	UUIDOID          OID = 2950
	RegnamespaceOID  OID = 4089
	RegroleOID       OID = 4096
	JSONBOID         OID = 3802
	PgLsnOID         OID = 3220
	RegoperOID       OID = 2203
	RegoperatorOID   OID = 2204
	RegconfigOID     OID = 3734
	RegdictionaryOID OID = 3769
	RegcollationOID  OID = 4191
	Xid8OID          OID = 5069
	MoneyOID         OID = 790
	TriggerOID       OID = 2279
	PgNodeTreeOID    OID = 194
	AclitemOID       OID = 1033
	XMLOID           OID = 142
	BitOID           OID = 1560
	VarbitOID        OID = 1562
	AnyenumOID       OID = 3500
	AnyrangeOID      OID = 3831
	AnymultirangeOID OID = 4537

	AnycompatibleOID           OID = 5077
	AnycompatiblearrayOID      OID = 5078
	AnycompatiblenonarrayOID   OID = 5079
	AnycompatiblerangeOID      OID = 5080
	AnycompatiblemultirangeOID OID = 4538

	TextArrayOID   OID = 1009
	Int4ArrayOID   OID = 1007
	Int8ArrayOID   OID = 1016
	RecordArrayOID OID = 2287
	InetOID        OID = 869
	CidrOID        OID = 650
)
