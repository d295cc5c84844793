// Package rowenc is how rows become key-value pairs and how they come back: the ordered keys of
// indexes, the compact values of rows, and decoders compiled for the columns that a scan wants.
//
// # Layout
//
//	primary index     /table/<data id>/<index id>/<key columns>              -> tuple of the other columns
//	secondary index   /table/<data id>/<index id>/<key columns>/<primary key> -> tuple
//	unique index      /table/<data id>/<index id>/<key columns>              -> primary key, tuple
//
// A unique index whose key has a NULL keeps the primary key in the key, like any other secondary
// index: NULLs do not conflict. One row is one pair in each index.
//
// Key columns of the primary index are never NULL and carry no marker. Elsewhere a byte goes before each
// column: 0x01 a value follows, 0x00 NULL before values, 0x02 NULL after values. Descending columns have the
// bytes of the value (not of the marker) inverted.
//
//	type                                  ordered bytes
//	bool, integers, date, time, oid, ...  keys.AppendVarint
//	float4, float8                        keys.AppendFloat64
//	text, varchar, name, bytea            keys.AppendBytes
//	char(n)                               keys.AppendBytes without the trailing blanks
//	uuid                                  16 bytes
//	numeric                               class, exponent, digits in base 100 (numeric.go)
//	interval                              16 bytes: 128-bit microseconds with days of 24 h and months of 30 days
//	arrays                                element type; 0x01 element | 0x02 for NULL, ...; 0x00; dimensions
//
// The tuple (value.go):
//
//	0x01             version
//	uvarint n        number of column slots: slot i holds column id i+1
//	(n+7)/8 bytes    presence bits, least significant first
//	values           of the present slots, in order
//
// A slot beyond n was added to the table after the row was written: the column has its missing value. A slot within n
// without its bit is NULL, or is a column that the key tells.
//
// # Invariants
//
//  1. Order: the byte order of keys is the index order, NULLs where the index has them.
//  2. Equal values, equal keys: what PostgreSQL's btree calls equal (1.0 and 1.00, -0 and 0, 'a ' and 'a' as char(2)) has
//     one ordered form. Columns of types where equal values can look different ("lossy") are in the tuple as well.
//  3. A decoder never panics and never trusts a length: bytes that no encoder wrote give ErrCorrupt.
//  4. The meaning of written bytes never changes; a new form gets a new version byte.
//
// Packages exec and ddl use it; the pushdown program carries a Spec to the ranges.
package rowenc
