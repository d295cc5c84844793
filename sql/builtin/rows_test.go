package builtin

import (
	"testing"
	"time"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

func TestLoadIsFast(t *testing.T) {
	start := time.Now()
	d := loadDB()
	t.Logf("%d functions, %d operators, %d types in %v", len(d.funcs), len(d.ops), len(d.types), time.Since(start))
}

func TestResolveOperator(t *testing.T) {
	const (
		unk  = types.UnknownOID
		none = types.OID(0)
	)
	for _, c := range []struct {
		name        string
		left, right types.OID
		want        string // prosrc, or SQLSTATE
	}{
		{"+", types.Int4OID, types.Int4OID, "int4pl"},
		{"+", types.Int4OID, types.NumericOID, "numeric_add"},
		{"+", types.Int2OID, types.Int8OID, "int28pl"},
		{"+", types.Int4OID, unk, "int4pl"},
		{"+", types.Int4OID, types.BoolOID, pgerr.UndefinedFunction},
		{"+", unk, unk, pgerr.AmbiguousFunction},
		{"-", none, types.Int8OID, "int8um"},
		{"-", types.TimestampOID, types.DateOID, "timestamp_mi"},
		{"-", types.DateOID, unk, "date_mi"},
		{"||", types.TextOID, types.Int4OID, "textanycat(text,anynonarray)"},
		{"||", types.VarcharOID, types.VarcharOID, "textcat"},
		{"||", unk, unk, "textcat"},
		{"||", types.Int4ArrayOID, types.Int4OID, "array_append"},
		{"=", types.VarcharOID, types.TextOID, "texteq"},
		{"=", types.BpcharOID, unk, "bpchareq"},
		{"=", types.BpcharOID, types.TextOID, "texteq"},
		{"<", types.Int4OID, types.Float8OID, "float8lt"},
		{"*", types.Float4OID, types.NumericOID, "float48mul"},
		{"*", unk, types.IntervalOID, "mul_d_interval"},
		{"~~", types.VarcharOID, unk, "textlike"},
		{"=", types.Int4ArrayOID, types.Int4ArrayOID, "array_eq"},
		{"->", types.JSONBOID, unk, "jsonb_object_field"},
		{"=", types.TimestampOID, types.TimestamptzOID, "timestamp_eq_timestamptz"},
	} {
		got := ""
		if r, err := ResolveOperator(c.name, c.left, c.right); err != nil {
			got = pgerr.Code(err)
		} else {
			got = r.Fn.Source
		}
		if got != c.want {
			t.Errorf("%d %s %d: %s, want %s", c.left, c.name, c.right, got, c.want)
		}
	}
	_, err := ResolveOperator("+", types.Int4OID, types.BoolOID)
	if e, _ := pgerr.As(err); e.Message != "operator does not exist: integer + boolean" {
		t.Error(e.Message)
	}
}

func TestResolveFunction(t *testing.T) {
	const unk = types.UnknownOID
	for _, c := range []struct {
		name string
		args []types.OID
		want string
	}{
		{"lower", []types.OID{unk}, "lower"},
		{"abs", []types.OID{types.Int4OID}, "int4abs"},
		{"abs", []types.OID{unk}, "float8abs"},
		{"round", []types.OID{types.Int4OID}, "dround"},
		{"round", []types.OID{types.NumericOID, types.Int4OID}, "numeric_round"},
		{"concat", []types.OID{types.Int4OID, unk, types.BoolOID}, "text_concat"},
		{"sum", []types.OID{types.Int4OID}, "sum(int4)"},
		{"sum", []types.OID{types.Int2OID}, "sum(int2)"},
		{"max", []types.OID{types.VarcharOID}, "max(text)"},
		{"count", []types.OID{types.VarcharOID}, "count(any)"},
		{"count", nil, "count()"},
		{"make_interval", []types.OID{types.Int4OID}, "make_interval"},
		{"array_append", []types.OID{types.Int4ArrayOID, types.Int8OID}, "array_append"},
		{"foo", []types.OID{types.Int4OID}, pgerr.UndefinedFunction},
		{"to_char", []types.OID{unk, unk}, pgerr.AmbiguousFunction},
		{"substring", []types.OID{types.TextOID, types.Int4OID}, "text_substr_no_len"},
		{"date_trunc", []types.OID{unk, types.DateOID}, "timestamptz_trunc"},
		{"generate_series", []types.OID{types.Int4OID, types.Int4OID}, "generate_series_int4"},
		{"generate_series", []types.OID{types.Int4OID, types.Int8OID}, "generate_series_int8"},
	} {
		got := ""
		if r, err := ResolveFunction("", c.name, c.args, nil, false); err != nil {
			got = pgerr.Code(err)
		} else {
			got = r.Fn.Source
		}
		if got != c.want {
			t.Errorf("%s%v: %s, want %s", c.name, c.args, got, c.want)
		}
	}
}
