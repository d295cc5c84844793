package types

import (
	"bytes"
	"testing"
)

var fuzzTypes = []OID{BoolOID, Int2OID, Int4OID, Int8OID, OidOID, Float4OID, Float8OID, NumericOID, TextOID, BpcharOID, NameOID, CharOID, ByteaOID,
	UUIDOID, DateOID, TimeOID, TimetzOID, TimestampOID, TimestamptzOID, IntervalOID, JSONOID, JSONBOID, Int4ArrayOID, TextArrayOID, 1231, 1115,
	Int2VectorOID, OidVectorOID, PgLsnOID}

// FuzzText: what is read from text is written as a text that reads back as the same value.
func FuzzText(f *testing.F) {
	for i, s := range []string{"t", "-32768", "12", "99", "1", "1.5e3", "NaN", "-123.4500e-2", "héllo", "a ", "pg_class", "x", "\\xdead", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
		"2024-02-29", "10:30:15.5 PM", "10:30+02", "Jan 8 1999 04:05:06", "2024-01-01 10:00 Europe/Paris", "1 year 2 mons -3 days 04:05:06.7", `{"a":[1,2.50,"\u00e9"]}`,
		`{"b":1,"a":null}`, "{1,NULL,3}", `{"a b",{}}`, "[0:1]={1.5,2}", `{"2024-01-01 00:00:00"}`, "1 2 3", "", "16/B374D848"} {
		f.Add(uint8(i), []byte(s))
	}
	f.Fuzz(func(t *testing.T, which uint8, s []byte) {
		typ := Of(fuzzTypes[int(which)%len(fuzzTypes)])
		env := *DefaultEnv
		env.Now = 1
		d, err := ParseText(typ, s, &env)
		if err != nil {
			return
		}
		out := AppendDatumText(nil, typ, d, &env)
		d2, err := ParseText(typ, out, &env)
		if err != nil {
			t.Fatalf("%s: %q became %q, which does not read back: %v", Name(typ.OID), s, out, err)
		}
		if again := AppendDatumText(nil, typ, d2, &env); !bytes.Equal(out, again) {
			t.Fatalf("%s: %q became %q, then %q", Name(typ.OID), s, out, again)
		}
		if typ.OID != VoidOID && Compare(typ.OID, d, d2) != 0 {
			t.Fatalf("%s: %q and %q differ", Name(typ.OID), s, out)
		}
		if Hash(0, typ.OID, d) != Hash(0, typ.OID, d2) {
			t.Fatalf("%s: %q and %q hash apart", Name(typ.OID), s, out)
		}
		b, err := AppendDatumBinary(nil, typ, d)
		if err != nil {
			t.Fatal(err)
		}
		d3, err := ParseBinary(typ, b)
		if err != nil || Compare(typ.OID, d, d3) != 0 {
			t.Fatalf("%s: %q through binary %x: %v", Name(typ.OID), s, b, err)
		}
		w, err := AppendWire(nil, typ, d)
		if err != nil {
			t.Fatal(err)
		}
		d4, rest, err := DecodeWire(typ, w)
		if err != nil || len(rest) != 0 || !bytes.Equal(out, AppendDatumText(nil, typ, d4, &env)) {
			t.Fatalf("%s: %q through the wire form: %v", Name(typ.OID), s, err)
		}
	})
}

// FuzzBinary: no binary form makes a reader panic, and what is read can be written.
func FuzzBinary(f *testing.F) {
	f.Add(uint8(7), []byte{0, 1, 0, 0, 0, 0, 0, 2, 0, 12})
	f.Add(uint8(22), []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 23, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7})
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		typ := Of(fuzzTypes[int(which)%len(fuzzTypes)])
		if d, err := ParseBinary(typ, b); err == nil {
			AppendDatumText(nil, typ, d, DefaultEnv)
			if _, err := AppendDatumBinary(nil, typ, d); err != nil {
				t.Fatal(err)
			}
		}
		if d, _, err := DecodeWire(typ, b); err == nil && !d.Null {
			if _, err := AppendWire(nil, typ, d); err != nil {
				t.Fatal(err)
			}
		}
	})
}
