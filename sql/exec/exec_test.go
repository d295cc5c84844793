package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/sql/catalog"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/rowenc"
	"github.com/pamirdb/pamir/sql/types"
)

func genBatch(t *rapid.T) *types.Batch {
	oids := []types.OID{types.Int4OID, types.Int8OID, types.BoolOID, types.Float8OID, types.TextOID, types.ByteaOID, types.NumericOID, types.IntervalOID, types.ArrayOf(types.Int4OID)}
	var ts []types.Type
	for range rapid.IntRange(0, 5).Draw(t, "columns") {
		ts = append(ts, types.Of(rapid.SampledFrom(oids).Draw(t, "type")))
	}
	b := types.NewBatch(ts, 0)
	b.N = rapid.IntRange(0, 40).Draw(t, "rows")
	nulls := rapid.Bool().Draw(t, "nulls")
	for i, c := range b.Cols {
		for range b.N {
			if nulls && rapid.IntRange(0, 3).Draw(t, "null") == 0 {
				c.AppendNull()
				continue
			}
			switch c.Repr {
			case types.ReprInt:
				c.AppendDatum(types.NewInt(rapid.OneOf(rapid.Int64Range(-200, 200), rapid.Int64(), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt32, -129})).Draw(t, "int")))
			case types.ReprFloat:
				c.AppendDatum(types.NewFloat(rapid.Float64().Draw(t, "float")))
			case types.ReprBytes:
				c.AppendDatum(types.NewBytes(rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")))
			case types.ReprDecimal:
				c.AppendDatum(types.NewDecimal(apd.New(rapid.Int64().Draw(t, "coeff"), rapid.Int32Range(-5, 0).Draw(t, "exp"))))
			case types.ReprInterval:
				c.AppendDatum(types.NewInterval(types.Interval{Months: rapid.Int32().Draw(t, "months"), Micros: rapid.Int64().Draw(t, "micros")}))
			default:
				c.AppendDatum(types.NewArray(types.MakeArray1(types.ElemOf(ts[i].OID), []types.Datum{types.NewInt(7), types.NullDatum})))
			}
		}
	}
	if rapid.Bool().Draw(t, "selected") {
		b.Sel = []int32{}
		for i := range b.N {
			if rapid.Bool().Draw(t, "in") {
				b.Sel = append(b.Sel, int32(i))
			}
		}
	}
	return b
}

func text(b *types.Batch) string {
	var s string
	for i := range b.Len() {
		for _, c := range b.Cols {
			s += datumText(c.Type, c.Get(b.Row(i))) + "|"
		}
		s += "\n"
	}
	return s
}

func TestBatchWire(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := genBatch(t)
		wire, err := appendBatchWire(nil, b)
		require.NoError(t, err)
		back, rest, err := decodeBatchWire(append(wire, 9))
		require.NoError(t, err)
		require.Equal(t, []byte{9}, rest)
		require.Equal(t, b.Len(), back.N)
		require.Equal(t, text(b), text(back))
		for i := range wire { // cut anywhere: an error, or something shorter; no panic
			_, _, _ = decodeBatchWire(wire[:i])
		}
	})
}

func FuzzWire(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Add([]byte{1, 2, 3, 23, 1, 0, 4, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _, _ = decodeBatchWire(b)
		_, _ = Decoder{}.DecodeResult(b)
		if p, err := (Decoder{}).DecodePushdown(b); err == nil {
			x := p.NewProcessor()
			_, _ = x.Row([]byte{4, 1, 1, 8}, []byte{1, 1, 1, 2})
			_, _ = x.Finish()
			x.Close()
		}
	})
}

func TestSpillFile(t *testing.T) {
	f, err := newSpillFile(t.TempDir())
	require.NoError(t, err)
	defer f.close()
	var want bytes.Buffer
	for i := range 20 {
		b := types.NewBatch([]types.Type{types.Of(types.TextOID)}, 0)
		for k := range 300 {
			b.Cols[0].AppendDatum(types.NewString(fmt.Sprint(i, "-", k)))
		}
		b.N = 300
		want.WriteString(text(b))
		require.NoError(t, f.write(b))
	}
	for range 2 { // it can be read again
		r, err := f.reader()
		require.NoError(t, err)
		var got bytes.Buffer
		for {
			b, err := r.next()
			require.NoError(t, err)
			if b == nil {
				break
			}
			got.WriteString(text(b))
		}
		require.Equal(t, want.String(), got.String())
	}
	_, err = newSpillFile("/nonexistent/directory")
	require.Equal(t, pgerr.IOError, pgerr.Code(err))
}

func TestBudget(t *testing.T) {
	node := NewBudget(100, nil)
	a, b := NewBudget(80, node), NewBudget(80, node)
	require.True(t, a.TryGrow(80))
	require.False(t, a.TryGrow(1))
	require.False(t, b.TryGrow(30), "the node has no more")
	require.Zero(t, b.Used())
	require.NoError(t, b.Grow(20))
	err := b.Grow(1)
	require.Equal(t, pgerr.OutOfMemory, pgerr.Code(err))
	a.Shrink(80)
	require.True(t, b.TryGrow(60))
	require.EqualValues(t, 80, node.Used())
	require.EqualValues(t, 80, a.Peak())
	acct := account{b: b}
	acct.note(500) // in use already
	require.Error(t, acct.set(501))
	acct.close()
	require.EqualValues(t, 80, b.Used())
}

// Every code of the layers below has a SQLSTATE of its own, and the error behind it stays reachable.
func TestTranslate(t *testing.T) {
	want := map[kv.Code]string{
		kv.CodeWriteTooOld: "40001", kv.CodeUncertain: "40001", kv.CodeRefreshFailed: "40001", kv.CodeTxnAborted: "40001", kv.CodeLockLost: "40001",
		kv.CodeConditionFailed: "23505", kv.CodeLockNotAvailable: "55P03", kv.CodeDeadlock: "40P01", kv.CodeDiskFull: "53100",
		kv.CodeUnknownOutcome: "40003", kv.CodeCorruption: "XX001", kv.CodeCanceled: "57014", kv.CodeTooLarge: "54000", kv.CodeInternal: "XX000",
	}
	for code, state := range want {
		cause := &kv.Error{Code: code, Message: "m", Key: keys.Key{4, 104, 1, 9}}
		err := Translate(fmt.Errorf("wrapped: %w", cause), nil)
		require.Equal(t, state, pgerr.Code(err), "%s", code)
		require.ErrorAs(t, err, new(*kv.Error))
	}
	require.Equal(t, "57014", pgerr.Code(Translate(context.Canceled, nil)))
	require.Equal(t, "57014", pgerr.Code(Translate(context.DeadlineExceeded, nil)))
	require.Equal(t, "XX000", pgerr.Code(Translate(errors.New("?"), nil)))
	e := pgerr.New("22012", "division by zero").WithDetail("d").WithHint("h")
	back, ok := pgerr.As(Translate(pushdownError(e), nil))
	require.True(t, ok)
	require.Equal(t, []string{"22012", "division by zero", "d", "h"}, []string{back.Code, back.Message, back.Detail, back.Hint})

	tab := &catalog.Table{ID: 16384, DataID: 104, Schema: catalog.PublicSchema, Name: "t", Columns: []catalog.Column{
		{ID: 1, Name: "id", Type: types.Of(types.Int4OID), NotNull: true}, {ID: 2, Name: "Odd", Type: types.Of(types.NumericOID)}},
		Indexes: []catalog.Index{{ID: 1, Name: "t_pkey", Primary: true, Unique: true, Columns: []catalog.IndexColumn{{Column: 1}}},
			{ID: 2, Name: "t_odd", Unique: true, Columns: []catalog.IndexColumn{{Column: 2, Desc: true}}}}}
	snap := catalog.NewSnapshot(1, nil, []*catalog.Table{tab}, nil)
	for i, detail := range []string{"Key (id)=(7) already exists.", "Key (\"Odd\")=(-12.5) already exists."} {
		x, err := rowenc.ForIndex(tab, &tab.Indexes[i])
		require.NoError(t, err)
		key, _, err := x.AppendKey(nil, rowenc.Row{types.NewInt(7), types.NewDecimal(apd.New(-125, -1))})
		require.NoError(t, err)
		got, _ := pgerr.As(Translate(&kv.Error{Code: kv.CodeConditionFailed, Key: key}, snap))
		require.Equal(t, detail, got.Detail)
		require.Equal(t, tab.Indexes[i].Name, got.Constraint)
	}
}

func TestNormaliseSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var spans []keys.Span
		for range rapid.IntRange(1, 8).Draw(t, "n") {
			a := keys.Key{byte(rapid.IntRange(0, 9).Draw(t, "a"))}
			if rapid.Bool().Draw(t, "point") {
				spans = append(spans, keys.Span{Start: a})
			} else {
				spans = append(spans, keys.Span{Start: a, End: keys.Key{a[0] + byte(rapid.IntRange(1, 4).Draw(t, "len"))}})
			}
		}
		in := func(spans []keys.Span, k keys.Key) (n int) {
			for _, s := range spans {
				if s.Contains(k) {
					n++
				}
			}
			return n
		}
		out := normalise(append([]keys.Span(nil), spans...))
		for b := range byte(16) {
			for _, k := range []keys.Key{{b}, {b, 1}} {
				require.Equal(t, min(in(spans, k), 1), in(out, k), "%v of %v", k, out)
			}
		}
		for i := 1; i < len(out); i++ {
			require.True(t, out[i-1].Start.Less(out[i].Start))
		}
	})
}

func TestRowIDsRise(t *testing.T) {
	last := int64(0)
	for range 100_000 {
		id := nextRowID(3)
		require.Less(t, last, id)
		require.EqualValues(t, 3, id&(1<<15-1))
		last = id
	}
}
