package expr

import (
	"testing"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

func i4(i int64) Expr { return &Const{T: types.Of(types.Int4OID), Value: types.NewInt(i)} }

func col(i int, t types.OID) Expr { return &Column{T: types.Of(t), Index: i, Name: "c"} }

func must(t testing.TB, e Expr, err error) Expr {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func op(t testing.TB, name string, l, r Expr) Expr {
	t.Helper()
	e, err := MakeOp(name, l, r)
	return must(t, e, err)
}

func TestGuardedDivision(t *testing.T) {
	// CASE WHEN c <> 0 THEN 10 / c ELSE -1 END over 0, 1, NULL, 5.
	c := col(0, types.Int4OID)
	e, err := MakeCase([]When{{op(t, "<>", c, i4(0)), op(t, "/", i4(10), c)}}, i4(-1))
	must(t, e, err)
	p, err := Compile(e)
	if err != nil {
		t.Fatal(err)
	}
	in := types.NewBatch([]types.Type{types.Of(types.Int4OID)}, 4)
	for _, x := range []int64{0, 1} {
		in.Cols[0].AppendDatum(types.NewInt(x))
	}
	in.Cols[0].AppendNull()
	in.Cols[0].AppendDatum(types.NewInt(5))
	in.N = 4
	for round := 0; round < 2; round++ {
		v, err := p.Eval(&Runtime{}, in)
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []int64{-1, 10, -1, 2} {
			if v.IsNull(i) || v.Ints[i] != want {
				t.Errorf("row %d: %v", i, v.Get(i))
			}
		}
	}
	if s := String(e); s != "CASE WHEN (c <> 0) THEN (10 / c) ELSE '-1'::integer END" {
		t.Error(s)
	}
	// Unguarded it fails, and AND guards it.
	div := op(t, "=", op(t, "/", i4(10), c), i4(2))
	p2, _ := Compile(div)
	if _, err := p2.Eval(&Runtime{}, in); pgerr.Code(err) != pgerr.DivisionByZero {
		t.Error(err)
	}
	p3, _ := Compile(&And{Args: []Expr{op(t, "<>", c, i4(0)), div}})
	sel, err := p3.FilterSel(&Runtime{}, in, nil)
	if err != nil || len(sel) != 1 || sel[0] != 3 {
		t.Error(sel, err)
	}
	// A filter's selection is never nil, neither where nothing passes nor after an error: nil is all rows.
	for _, dst := range [][]int32{nil, {}, make([]int32, 0, 4)} {
		if sel, err := p2.FilterSel(&Runtime{}, in, dst); err == nil || sel == nil || len(sel) != 0 {
			t.Error(sel, err)
		}
		none, _ := Compile(op(t, "=", c, i4(12345)))
		if sel, err := none.FilterSel(&Runtime{}, in, dst); err != nil || sel == nil || len(sel) != 0 {
			t.Error(sel, err)
		}
	}
	v, err := p3.Eval(&Runtime{}, in)
	if err != nil || v.Ints[0] != 0 || v.Ints[1] != 0 || !v.IsNull(2) || v.Ints[3] != 1 {
		t.Error(v, err)
	}
}

func TestParamInference(t *testing.T) {
	pt := &ParamTypes{}
	p := &Param{T: types.Of(types.UnknownOID), Index: 0, Infer: pt}
	e := op(t, "+", col(0, types.Int4OID), p)
	if pt.Types[0] != types.Int4OID || e.Type().OID != types.Int4OID {
		t.Fatal(pt.Types)
	}
	op(t, "=", col(0, types.Int4OID), p)
	if _, err := Coerce(p, types.Of(types.ByteaOID), 'i'); pgerr.Code(err) != pgerr.AmbiguousParameter {
		t.Error(err)
	}
}

func TestFold(t *testing.T) {
	e := Fold(op(t, "+", i4(1), op(t, "*", i4(2), i4(3))))
	if c, ok := e.(*Const); !ok || c.Value.I != 7 {
		t.Error(String(e))
	}
	// A failing constant stays.
	if _, ok := Fold(op(t, "/", i4(1), i4(0))).(*Call); !ok {
		t.Error("1/0 was folded")
	}
}

func TestIn(t *testing.T) {
	list := []Expr{}
	for i := int64(0); i < 100; i += 2 {
		list = append(list, i4(i))
	}
	e, err := MakeIn(col(0, types.Int8OID), list, false)
	must(t, e, err)
	n, err := MakeIn(col(0, types.Int8OID), append(list, NullConst()), true)
	must(t, n, err)
	p, _ := Compile(e)
	q, _ := Compile(n)
	in := types.NewBatch([]types.Type{types.Of(types.Int8OID)}, 4)
	for _, x := range []int64{4, 5, 98, 1000} {
		in.Cols[0].AppendDatum(types.NewInt(x))
	}
	in.N = 4
	v, err := p.Eval(&Runtime{}, in)
	if err != nil || v.Ints[0] != 1 || v.Ints[1] != 0 || v.Ints[2] != 1 || v.Ints[3] != 0 {
		t.Error(v, err)
	}
	v, err = q.Eval(&Runtime{}, in)
	if err != nil || v.IsNull(0) || v.Ints[0] != 0 || !v.IsNull(1) {
		t.Error(v, err)
	}
}

func TestWireRoundTrip(t *testing.T) {
	c := col(0, types.Int4OID)
	cs, err := MakeCase([]When{{op(t, "<>", c, i4(0)), op(t, "/", i4(10), c)}}, i4(-1))
	must(t, cs, err)
	in, err := MakeIn(c, []Expr{i4(1), i4(2), NullConst()}, false)
	must(t, in, err)
	e := Expr(&And{Args: []Expr{op(t, "=", cs, i4(3)), &Not{Arg: in}, &IsNull{Arg: c, Not: true}}})
	b, err := AppendWire(nil, e)
	if err != nil {
		t.Fatal(err)
	}
	d, rest, err := DecodeExpr(append(b, 'x'))
	if err != nil || len(rest) != 1 || !Equal(d, e) || String(d) != String(e) {
		t.Fatal(err, String(d))
	}
}

func BenchmarkPointAdd(b *testing.B) {
	e := op(b, "+", col(0, types.Int4OID), &Param{T: types.Of(types.Int4OID)})
	p, err := Compile(e)
	if err != nil {
		b.Fatal(err)
	}
	in := types.NewBatch([]types.Type{types.Of(types.Int4OID)}, 1)
	in.Cols[0].AppendDatum(types.NewInt(1))
	in.N = 1
	rt := &Runtime{Params: []types.Datum{types.NewInt(5)}}
	b.ReportAllocs()
	for i := 0; i < b.N; i++ {
		if _, err := p.Eval(rt, in); err != nil {
			b.Fatal(err)
		}
	}
}

func batch1024(b *testing.B) *types.Batch {
	in := types.NewBatch([]types.Type{types.Of(types.Int8OID), types.Of(types.Int8OID)}, 1024)
	for i := int64(0); i < 1024; i++ {
		in.Cols[0].AppendDatum(types.NewInt(i))
		in.Cols[1].AppendDatum(types.NewInt(i * 7 % 1024))
	}
	in.N = 1024
	return in
}

func BenchmarkBatchAdd(b *testing.B) {
	p, _ := Compile(op(b, "+", col(0, types.Int8OID), col(1, types.Int8OID)))
	in := batch1024(b)
	rt := &Runtime{}
	b.SetBytes(1024)
	for i := 0; i < b.N; i++ {
		if _, err := p.Eval(rt, in); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBatchFilter(b *testing.B) {
	p, _ := Compile(op(b, "<", col(1, types.Int8OID), i4(500)))
	in := batch1024(b)
	rt := &Runtime{}
	sel := make([]int32, 0, 1024)
	b.SetBytes(1024)
	for i := 0; i < b.N; i++ {
		if _, err := p.FilterSel(rt, in, sel[:0]); err != nil {
			b.Fatal(err)
		}
	}
}
