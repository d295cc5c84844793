package rowenc

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/types"
)

var testTypes = []types.OID{
	types.BoolOID, types.Int2OID, types.Int4OID, types.Int8OID, types.OidOID, types.DateOID, types.TimeOID,
	types.TimestampOID, types.TimestamptzOID, types.Float4OID, types.Float8OID, types.TextOID, types.VarcharOID, types.BpcharOID,
	types.NameOID, types.ByteaOID, types.UUIDOID, types.NumericOID, types.IntervalOID,
	types.ArrayOf(types.Int4OID), types.ArrayOf(types.TextOID), types.ArrayOf(types.NumericOID),
}

func genDecimal() *rapid.Generator[*apd.Decimal] {
	return rapid.Custom(func(t *rapid.T) *apd.Decimal {
		switch rapid.IntRange(0, 12).Draw(t, "form") {
		case 0:
			return &apd.Decimal{Form: apd.NaN}
		case 1:
			return &apd.Decimal{Form: apd.Infinite, Negative: rapid.Bool().Draw(t, "neg")}
		case 2: // many digits
			d := &apd.Decimal{}
			s := rapid.StringMatching(`[1-9][0-9]{18,60}`).Draw(t, "digits")
			d.Coeff.SetString(s, 10)
			d.Exponent = rapid.Int32Range(-50, 0).Draw(t, "exp")
			d.Negative = rapid.Bool().Draw(t, "neg")
			return d
		}
		d := apd.New(rapid.OneOf(rapid.Int64Range(-2000, 2000), rapid.Int64()).Draw(t, "coeff"), rapid.Int32Range(-6, 0).Draw(t, "exp"))
		if d.Coeff.Sign() == 0 {
			d.Negative = false
		}
		return d
	})
}

func genBytes() *rapid.Generator[[]byte] {
	return rapid.SliceOfN(rapid.SampledFrom([]byte{0, 1, 2, 0xff, 0xfe, 'a', 'b', ' '}), 0, 6)
}

func genDatum(t *rapid.T, oid types.OID, label string) types.Datum {
	if e := types.ElemOf(oid); e != 0 {
		n := rapid.IntRange(0, 3).Draw(t, label+" len")
		elems := make([]types.Datum, n)
		for i := range elems {
			if rapid.IntRange(0, 3).Draw(t, "null") == 0 {
				elems[i] = types.NullDatum
			} else {
				elems[i] = genDatum(t, e, label+" elem")
			}
		}
		return types.NewArray(types.MakeArray1(e, elems))
	}
	switch types.ReprOf(oid) {
	case types.ReprInt:
		if oid == types.BoolOID {
			return types.NewBool(rapid.Bool().Draw(t, label))
		}
		return types.NewInt(rapid.OneOf(rapid.Int64Range(-300, 300), rapid.Int64()).Draw(t, label))
	case types.ReprFloat:
		f := rapid.OneOf(rapid.Float64(), rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.NaN(), math.Inf(1), math.Inf(-1), 1, -1})).Draw(t, label)
		if oid == types.Float4OID {
			f = float64(float32(f))
		}
		return types.NewFloat(f)
	case types.ReprBytes:
		if oid == types.UUIDOID {
			return types.NewBytes(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, label))
		}
		return types.NewBytes(genBytes().Draw(t, label))
	case types.ReprDecimal:
		return types.NewDecimal(genDecimal().Draw(t, label))
	case types.ReprInterval:
		return types.NewInterval(types.Interval{
			Months: rapid.OneOf(rapid.Int32Range(-3, 3), rapid.Int32()).Draw(t, label+" months"),
			Days:   rapid.OneOf(rapid.Int32Range(-90, 90), rapid.Int32()).Draw(t, label+" days"),
			Micros: rapid.OneOf(rapid.SampledFrom([]int64{0, 86400e6, -86400e6, 30 * 86400e6}), rapid.Int64()).Draw(t, label+" micros"),
		})
	}
	panic(fmt.Sprint("no generator for ", oid))
}

// same is bit-for-bit equality of what a client can see: display scale, negative zero, padding.
func same(t require.TestingT, oid types.OID, want, got types.Datum) {
	require.Equal(t, want.Null, got.Null)
	if want.Null {
		return
	}
	switch types.ReprOf(oid) {
	case types.ReprFloat:
		if math.IsNaN(want.F) {
			require.True(t, math.IsNaN(got.F))
			return
		}
		require.Equal(t, math.Float64bits(want.F), math.Float64bits(got.F))
	case types.ReprBytes:
		require.True(t, bytes.Equal(want.B, got.B), "%q and %q", want.B, got.B)
	case types.ReprDecimal:
		w, g := want.Decimal(), got.Decimal()
		require.Equal(t, w.Form, g.Form)
		if w.Form == apd.Finite {
			require.Zero(t, w.Cmp(g))
			require.Equal(t, w.Exponent, g.Exponent)
		}
	case types.ReprAny:
		w, g := want.Array(), got.Array()
		require.Equal(t, w.Elem, g.Elem)
		require.Equal(t, w.Dims, g.Dims)
		require.Len(t, g.Elems, len(w.Elems))
		for i := range w.Elems {
			same(t, w.Elem, w.Elems[i], g.Elems[i])
		}
	default:
		require.Equal(t, want, got)
	}
}

// The byte order of keys is the order of values, and equal values have equal keys.
func TestOrderedForms(t *testing.T) {
	for _, oid := range testTypes {
		t.Run(types.Name(oid), func(t *testing.T) {
			require.True(t, Orderable(oid))
			rapid.Check(t, func(t *rapid.T) {
				a, b := genDatum(t, oid, "a"), genDatum(t, oid, "b")
				for _, desc := range []bool{false, true} {
					ka, err := AppendOrdered(nil, oid, a, desc)
					require.NoError(t, err)
					kb, err := AppendOrdered(nil, oid, b, desc)
					require.NoError(t, err)
					want := types.Compare(oid, a, b)
					if desc {
						want = -want
					}
					require.Equal(t, sign(want), bytes.Compare(ka, kb), "%x and %x", ka, kb)
					// Prefix-free: what follows does not change the order.
					if want != 0 {
						require.Equal(t, sign(want), bytes.Compare(append(ka, 0xff), append(kb, 0)))
					}
				}
				k, err := AppendOrdered(nil, oid, a, false)
				require.NoError(t, err)
				rest, err := skipOrdered(append(k, 1, 2, 3), kindOf(oid))
				require.NoError(t, err)
				require.Equal(t, []byte{1, 2, 3}, rest)
			})
		})
	}
}

func sign(c int) int {
	switch {
	case c < 0:
		return -1
	case c > 0:
		return 1
	}
	return 0
}

func TestNumericKeyAgainstApd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genDecimal().Draw(t, "a"), genDecimal().Draw(t, "b")
		if a.Form != apd.NaN && b.Form != apd.NaN {
			require.Equal(t, a.Cmp(b), bytes.Compare(appendNumericKey(nil, a), appendNumericKey(nil, b)), "%s %s", a, b)
		}
		d, err := decodeNumericKey(appendNumericKey(nil, a))
		require.NoError(t, err)
		if a.Form == apd.Finite {
			require.Zero(t, d.Decimal().Cmp(a), "%s came back as %s", a, d.Decimal())
		}
	})
	one, oneUgly := apd.New(1, 0), apd.New(1000, -3)
	require.Equal(t, appendNumericKey(nil, one), appendNumericKey(nil, oneUgly))
	require.NotEqual(t, appendNumeric(nil, one), appendNumeric(nil, oneUgly))
}

// genTable makes a table of random columns with a primary key and two secondary indexes.
func genTable(t *rapid.T) *catalog.Table {
	tab := &catalog.Table{ID: 1, DataID: 104, Name: "t"}
	n := rapid.IntRange(1, 12).Draw(t, "columns")
	for i := range n {
		tab.Columns = append(tab.Columns, catalog.Column{
			ID: catalog.ColumnID(i + 1), Name: fmt.Sprint("c", i), Type: types.Of(rapid.SampledFrom(testTypes).Draw(t, "type")),
			Dropped: i > 0 && rapid.IntRange(0, 9).Draw(t, "dropped") == 0,
		})
	}
	perm := rapid.Permutation(indexes(n)).Draw(t, "order")
	tab.Columns, perm = permute(tab.Columns, perm), nil
	_ = perm
	live := []catalog.ColumnID{}
	for _, c := range tab.Columns {
		if !c.Dropped {
			live = append(live, c.ID)
		}
	}
	pick := func(label string, most int) []catalog.IndexColumn {
		var cs []catalog.IndexColumn
		for _, id := range rapid.SliceOfNDistinct(rapid.SampledFrom(live), 1, min(most, len(live)), rapid.ID).Draw(t, label) {
			cs = append(cs, catalog.IndexColumn{Column: id, Desc: rapid.Bool().Draw(t, "desc"), NullsFirst: rapid.Bool().Draw(t, "nulls first")})
		}
		return cs
	}
	tab.Indexes = []catalog.Index{
		{ID: 1, Name: "pk", Primary: true, Unique: true, Columns: pick("pk", 3)},
		{ID: 2, Name: "a", Columns: pick("a", 3)},
		{ID: 3, Name: "b", Unique: true, Columns: pick("b", 3)},
	}
	if rapid.Bool().Draw(t, "include") {
		tab.Indexes[1].Include = []catalog.ColumnID{rapid.SampledFrom(live).Draw(t, "include")}
		tab.Indexes[2].Include = []catalog.ColumnID{rapid.SampledFrom(live).Draw(t, "include")}
	}
	return tab
}

func indexes(n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = i
	}
	return s
}

func permute(cs []catalog.Column, p []int) []catalog.Column {
	out := make([]catalog.Column, len(cs))
	for i, j := range p {
		out[i] = cs[j]
	}
	return out
}

func genRow(t *rapid.T, tab *catalog.Table) Row {
	row := make(Row, len(tab.Columns))
	p := tab.Primary()
	for i, c := range tab.Columns {
		if c.Dropped || (!inKey(p, c.ID) && rapid.IntRange(0, 2).Draw(t, "null") == 0) {
			row[i] = types.NullDatum
			continue
		}
		row[i] = genDatum(t, c.Type.OID, c.Name)
	}
	return row
}

// What is written into any index comes back, for any choice of columns, through the Spec's wire form too; entries of
// secondary indexes lead to the primary one.
func TestRowsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := genTable(t)
		codec, err := ForTable(tab)
		require.NoError(t, err)
		row := genRow(t, tab)
		pkey, pval, distinct, err := codec.Primary.AppendEntry(nil, nil, row)
		require.NoError(t, err)
		require.True(t, distinct)
		check := func(x *Index, key, val []byte) {
			var cols []int
			for i, c := range tab.Columns {
				if !c.Dropped && x.Covers(i) && rapid.Bool().Draw(t, "want") {
					cols = append(cols, i)
				}
			}
			spec, err := NewSpec(x, cols)
			require.NoError(t, err)
			wire := spec.AppendWire(nil)
			back, rest, err := DecodeSpec(append(wire, 9))
			require.NoError(t, err)
			require.Equal(t, []byte{9}, rest)
			require.Equal(t, wire, back.AppendWire(nil))
			for _, alias := range []bool{false, true} {
				dec := back.NewDecoder(alias)
				b := back.NewBatch(0)
				for range 2 {
					require.NoError(t, dec.Decode(key, val, b.Cols))
				}
				for i, c := range cols {
					require.Equal(t, 2, b.Cols[i].N)
					same(t, tab.Columns[c].Type.OID, row[c], b.Cols[i].Get(0))
					same(t, tab.Columns[c].Type.OID, row[c], b.Cols[i].Get(1))
				}
			}
			// Any cut of key or value is an error or decodes something; it never panics.
			for i := range val {
				_ = back.NewDecoder(true).Decode(key, val[:i], back.NewBatch(0).Cols)
			}
			for i := range key {
				_ = back.NewDecoder(true).Decode(key[:i], val, back.NewBatch(0).Cols)
			}
		}
		check(codec.Primary, pkey, pval)
		for _, x := range codec.Secondary {
			key, val, distinct, err := x.AppendEntry(nil, nil, row)
			require.NoError(t, err)
			hasNull := false
			for _, c := range x.Desc.Columns {
				hasNull = hasNull || row[tab.ColumnByID(c.Column)].Null
			}
			require.Equal(t, x.Desc.Unique && !hasNull, distinct)
			check(x, key, val)
			pk, err := x.PrimaryKeyOf(nil, codec.Primary, key, val)
			require.NoError(t, err)
			require.Equal(t, keys.Key(pkey), pk)
			_, _ = x.DecodeKeyColumns(key)
		}
	})
}

// Index order with NULLs is what PostgreSQL's is.
func TestIndexOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tab := genTable(t)
		codec, err := ForTable(tab)
		require.NoError(t, err)
		a, b := genRow(t, tab), genRow(t, tab)
		for _, x := range codec.Secondary {
			ka, _, _, err := x.AppendEntry(nil, nil, a)
			require.NoError(t, err)
			kb, _, _, err := x.AppendEntry(nil, nil, b)
			require.NoError(t, err)
			want := 0
			for _, c := range x.Desc.Columns {
				p := tab.ColumnByID(c.Column)
				da, db := a[p], b[p]
				r := types.CompareNulls(tab.Columns[p].Type.OID, da, db, c.NullsFirst)
				if c.Desc && !da.Null && !db.Null {
					r = -r
				}
				if r != 0 {
					want = sign(r)
					break
				}
			}
			if want != 0 {
				require.Equal(t, want, bytes.Compare(ka, kb))
			}
		}
	})
}

// Rows written before ADD COLUMN and before DROP COLUMN read as they should.
func TestOlderRows(t *testing.T) {
	col := func(id catalog.ColumnID, name string, oid types.OID) catalog.Column {
		return catalog.Column{ID: id, Name: name, Type: types.Of(oid)}
	}
	old := &catalog.Table{DataID: 104, Columns: []catalog.Column{col(1, "id", types.Int4OID), col(2, "a", types.TextOID), col(3, "b", types.Int4OID)},
		Indexes: []catalog.Index{{ID: 1, Primary: true, Columns: []catalog.IndexColumn{{Column: 1}}}}}
	c, err := ForTable(old)
	require.NoError(t, err)
	k, v, _, err := c.Primary.AppendEntry(nil, nil, Row{types.NewInt(7), types.NewString("x"), types.NullDatum})
	require.NoError(t, err)

	now := *old
	now.Columns = append([]catalog.Column(nil), old.Columns...)
	now.Columns[1].Dropped = true
	missing, err := AppendValue(nil, types.Int8OID, types.NewInt(42))
	require.NoError(t, err)
	withDefault := col(4, "c", types.Int8OID)
	withDefault.Missing = missing
	now.Columns = append(now.Columns, withDefault, col(5, "d", types.TextOID))
	c2, err := ForTable(&now)
	require.NoError(t, err)
	spec, err := NewSpec(c2.Primary, []int{0, 2, 3, 4})
	require.NoError(t, err)
	b := spec.NewBatch(1)
	require.NoError(t, spec.NewDecoder(false).Decode(k, v, b.Cols))
	require.Equal(t, int64(7), b.Cols[0].Ints[0])
	require.True(t, b.Cols[1].IsNull(0), "it was NULL, and is")
	require.Equal(t, int64(42), b.Cols[2].Ints[0])
	require.True(t, b.Cols[3].IsNull(0))

	k, v, _, err = c2.Primary.AppendEntry(nil, nil, Row{types.NewInt(7), types.NullDatum, types.NullDatum, types.NullDatum, types.NullDatum})
	require.NoError(t, err)
	b = spec.NewBatch(1)
	require.NoError(t, spec.NewDecoder(false).Decode(k, v, b.Cols))
	require.True(t, b.Cols[2].IsNull(0), "a NULL written later is not the default")
}

func FuzzDecodeRow(f *testing.F) {
	tab := &catalog.Table{DataID: 104}
	var cols []int
	for i, oid := range testTypes {
		tab.Columns = append(tab.Columns, catalog.Column{ID: catalog.ColumnID(i + 1), Name: "c", Type: types.Of(oid)})
		cols = append(cols, i)
	}
	tab.Indexes = []catalog.Index{{ID: 1, Primary: true, Columns: []catalog.IndexColumn{{Column: 3}, {Column: 12, Desc: true}}}}
	x, err := ForIndex(tab, &tab.Indexes[0])
	require.NoError(f, err)
	spec, err := NewSpec(x, cols)
	require.NoError(f, err)
	f.Add([]byte(x.Prefix()), []byte{1, 3, 7, 0})
	f.Fuzz(func(t *testing.T, key, val []byte) {
		_ = spec.NewDecoder(true).Decode(append(x.Prefix().Clone(), key...), val, spec.NewBatch(0).Cols)
	})
}

func FuzzDecodeSpec(f *testing.F) {
	f.Add([]byte{1, 1, 3, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := DecodeSpec(b)
		if err != nil {
			return
		}
		_ = s.NewDecoder(true).Decode([]byte{4, 1, 1, 9, 9, 9}, []byte{1, 3, 7, 2, 2, 2}, s.NewBatch(0).Cols)
	})
}

func accounts() *catalog.Table {
	return &catalog.Table{DataID: 104, Name: "pgbench_accounts", Columns: []catalog.Column{
		{ID: 1, Name: "aid", Type: types.Of(types.Int4OID), NotNull: true}, {ID: 2, Name: "bid", Type: types.Of(types.Int4OID)},
		{ID: 3, Name: "abalance", Type: types.Of(types.Int4OID)}, {ID: 4, Name: "filler", Type: types.Type{OID: types.BpcharOID, Mod: 88}},
	}, Indexes: []catalog.Index{{ID: 1, Primary: true, Columns: []catalog.IndexColumn{{Column: 1}}}}}
}

func accountRow(aid int64) Row {
	return Row{types.NewInt(aid), types.NewInt(1 + aid/100000), types.NewInt(-aid % 5000), types.NewBytes(bytes.Repeat([]byte{' '}, 84))}
}

func BenchmarkDecode(b *testing.B) {
	c, err := ForTable(accounts())
	require.NoError(b, err)
	k, v, _, err := c.Primary.AppendEntry(nil, nil, accountRow(123456))
	require.NoError(b, err)
	b.Logf("key %d bytes, value %d bytes", len(k), len(v))
	for _, cols := range [][]int{{2}, {0, 2}, {0, 1, 2, 3}} {
		b.Run(fmt.Sprint(len(cols), "columns"), func(b *testing.B) {
			spec, err := NewSpec(c.Primary, cols)
			require.NoError(b, err)
			d := spec.NewDecoder(false)
			out := spec.NewBatch(1024)
			b.ReportAllocs()
			for i := range b.N {
				if i%1024 == 0 {
					out.Reset()
				}
				if err := d.Decode(k, v, out.Cols); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	c, err := ForTable(accounts())
	require.NoError(b, err)
	row := accountRow(123456)
	var k, v []byte
	b.ReportAllocs()
	for range b.N {
		if k, v, _, err = c.Primary.AppendEntry(k[:0], v[:0], row); err != nil {
			b.Fatal(err)
		}
	}
}

// Arrays in keys can be read back, for people: what is read encodes to the same key.
func TestArrayKeysForPeople(t *testing.T) {
	for _, elem := range []types.OID{types.Int4OID, types.TextOID, types.NumericOID, types.TimestamptzOID, types.UUIDOID} {
		rapid.Check(t, func(rt *rapid.T) {
			of := types.Of(types.ArrayOf(elem))
			d := genDatum(rt, of.OID, "array")
			if d.Null {
				return
			}
			key, err := appendArrayKey(nil, d.Array())
			require.NoError(rt, err)
			got, err := decodeForPeople(key, kindAny, of)
			require.NoError(rt, err)
			again, err := appendArrayKey(nil, got.Array())
			require.NoError(rt, err)
			require.Equal(rt, key, again)
			for n := range key { // what is cut off is refused
				_, err := decodeForPeople(key[:n], kindAny, of)
				require.Error(rt, err)
			}
		})
	}
}
