// Package types is PostgreSQL's types as Pamir computes with them: values one by one
// ([Datum]) and in columns ([Vec], [Batch]), and their text and binary forms.
//
// # Representations
//
// Every type is carried in one of a few representations ([Repr]); kernels are written against
// these. The numbers inside are PostgreSQL's own, so binary wire forms are cheap:
//
//	Int       bool (0/1), int2, int4, int8, oid and the reg* types, "char" (signed),
//	          date (days since 2000-01-01), time (µs), timestamp and
//	          timestamptz (µs since 2000-01-01 UTC; MinInt64/MaxInt64 are -infinity/infinity)
//	Float     float4 (rounded to float32 after every operation), float8
//	Bytes     text, varchar, bpchar (padded), name, bytea, uuid (16 bytes), json, jsonb (its
//	          canonical text), unknown
//	Decimal   numeric; the exponent is minus the display scale
//	Interval  interval
//	Any       arrays (*Array), records (*Record), timetz (TimeTZ) and what has no better home
//
// # Invariants
//
//  1. A Vec has exactly one payload slice in use, that of its Repr, as long as N.
//  2. The payload of a NULL is the zero value, so kernels may compute on it blindly.
//  3. Byte payloads may alias larger buffers; nobody changes bytes in place.
//  4. Rounding, ranges, text forms and SQLSTATEs are PostgreSQL 15's.
//
// # Not here
//
// Text compares by bytes: the database's collation is C.UTF-8 (order of code points), and no other is
// supported yet. Names of catalog objects
// (regclass and its like) are looked up through [TextEnv] by whoever has a catalog.
package types
