package builtin

import (
	"math"
	"testing"

	"github.com/pamirdb/pamir/sql/types"
)

// rowsOf parses texts ("" is NULL) into a column.
func rowsOf(t testing.TB, typ types.OID, texts []string) *types.Vec {
	v := types.NewVec(types.Of(typ), len(texts))
	for _, s := range texts {
		if s == "" {
			v.AppendNull()
			continue
		}
		d, err := types.ParseText(types.Of(typ), []byte(s), types.DefaultEnv)
		if err != nil {
			t.Fatal(err)
		}
		v.AppendDatum(d)
	}
	return v
}

// Expected values are PostgreSQL 15's.
var aggCases = []struct {
	name   string
	arg    types.OID
	values []string
	want   string
}{
	{"sum", types.Int4OID, []string{"1", "", "2147483647", "2147483647"}, "4294967295"},
	{"sum", types.Int8OID, []string{"9223372036854775807", "9223372036854775807", "-1"}, "18446744073709551613"},
	{"sum", types.Int8OID, []string{"-9223372036854775808", "-9223372036854775808"}, "-18446744073709551616"},
	{"avg", types.Int4OID, []string{"1", "2", "", "4"}, "2.3333333333333333"},
	{"avg", types.NumericOID, []string{"1.5", "2.25"}, "1.8750000000000000"},
	{"sum", types.NumericOID, []string{"1.5", "2.25", ""}, "3.75"},
	{"sum", types.Float8OID, []string{"0.1", "0.2"}, "0.30000000000000004"},
	{"avg", types.Float8OID, []string{"1", "2"}, "1.5"},
	{"min", types.TextOID, []string{"b", "a", "", "c"}, "a"},
	{"max", types.Float8OID, []string{"1", "NaN", "Infinity"}, "NaN"},
	{"max", types.Int4OID, []string{"-5", "-7"}, "-5"},
	{"min", types.IntervalOID, []string{"1 month", "29 days"}, "29 days"},
	{"max", types.NumericOID, []string{"1.0", "1.00", "0.5"}, "1.00"},
	{"count", types.AnyOID, []string{"1", "", "3"}, "2"},
	{"bool_and", types.BoolOID, []string{"t", "f", ""}, "f"},
	{"bool_or", types.BoolOID, []string{"f", "t"}, "t"},
	{"bit_xor", types.Int4OID, []string{"5", "3"}, "6"},
	{"variance", types.Int4OID, []string{"1", "2", "4"}, "2.3333333333333333"},
	{"stddev", types.Int4OID, []string{"1", "2", "4"}, "1.5275252316519467"},
	{"var_pop", types.NumericOID, []string{"1.5", "2.5", "4"}, "1.05555555555555555556"},
	{"stddev_pop", types.Float8OID, []string{"1", "2", "4"}, "1.247219128924647"},
	{"variance", types.Int4OID, []string{"7"}, "NULL"},
	{"sum", types.IntervalOID, []string{"1 day", "2 hours", ""}, "1 day 02:00:00"},
	{"avg", types.IntervalOID, []string{"1 day", "2 days"}, "1 day 12:00:00"},
	{"sum", types.Int4OID, []string{"", ""}, "NULL"},
	{"array_agg", types.Int4OID, []string{"1", "", "3"}, "{1,NULL,3}"},
}

func TestAggregates(t *testing.T) {
	for _, c := range aggCases {
		at := c.arg
		r, err := ResolveFunction("", c.name, []types.OID{at}, nil, false)
		if err != nil {
			t.Fatal(c.name, err)
		}
		vt := at
		if vt == types.AnyOID {
			vt = types.Int4OID
		}
		v := rowsOf(t, vt, c.values)
		mk := func() Accumulator { return NewAccumulator(r.Fn, []types.Type{types.Of(vt)}, types.Of(r.Result)) }
		finish := func(a Accumulator, how string) {
			out := types.NewVec(types.Of(r.Result), 1)
			if err := a.Result(&Context{}, 0, 1, out); err != nil {
				t.Error(c.name, how, err)
				return
			}
			if got := types.Text(types.Of(r.Result), out.Get(0), types.DefaultEnv); got != c.want {
				t.Errorf("%s(%s) %v, %s: %s, want %s", c.name, types.Name(at), c.values, how, got, c.want)
			}
		}
		whole := mk()
		whole.Grow(1)
		if err := whole.Add(&Context{}, nil, []*types.Vec{v}, v.N, nil); err != nil {
			t.Fatal(c.name, err)
		}
		finish(whole, "at once")
		// Row by row through a second group, with the state travelling each time.
		acc := mk()
		acc.Grow(1)
		for i := 0; i < v.N; i++ {
			part := mk()
			part.Grow(2)
			groups := make([]int32, v.N)
			groups[i] = 1
			if err := part.Add(&Context{}, groups, []*types.Vec{v}, v.N, []int32{int32(i)}); err != nil {
				t.Fatal(c.name, err)
			}
			s, err := part.AppendState(nil, 1)
			if err != nil {
				t.Fatal(c.name, err)
			}
			if err := acc.MergeState(&Context{}, 0, s); err != nil {
				t.Fatal(c.name, err)
			}
		}
		finish(acc, "in parts")
	}
}

func TestSumOverflows(t *testing.T) {
	r, _ := ResolveFunction("", "sum", []types.OID{types.Float8OID}, nil, false)
	a := NewAccumulator(r.Fn, []types.Type{types.Of(types.Float8OID)}, types.Of(r.Result))
	a.Grow(1)
	v := rowsOf(t, types.Float8OID, []string{"1e308", "1e308"})
	if err := a.Add(&Context{}, nil, []*types.Vec{v}, 2, nil); err == nil {
		t.Error("1e308 + 1e308 did not overflow")
	}
}

func BenchmarkSumInt4(b *testing.B) {
	a := &intSumAcc{small: true}
	a.Grow(1)
	v := types.NewVec(types.Of(types.Int4OID), 1024)
	for i := int64(0); i < 1024; i++ {
		v.AppendDatum(types.NewInt(i * math.MaxInt16))
	}
	args := []*types.Vec{v}
	b.SetBytes(1024)
	for i := 0; i < b.N; i++ {
		if err := a.Add(nil, nil, args, 1024, nil); err != nil {
			b.Fatal(err)
		}
	}
}
