package expr

import (
	"testing"

	"github.com/pamirdb/pamir/sql/builtin"
	"github.com/pamirdb/pamir/sql/types"
)

// FuzzWire: no wire form makes the decoder panic; what it accepts can be written, compiled and computed.
func FuzzWire(f *testing.F) {
	for _, s := range []string{"1 + 2", "case when true then 'a' else 'b' end", "5 in (1, 2, null)", "(array[1, 2])[1]", "coalesce(null, 1.5)",
		"'a' || 1", "date '2024-01-01' + 1", "1 is distinct from 2", "greatest(1, 2)", "row(1, 'a')", "'1'::int4 + 1"} {
		e, err := bindText(s)
		if err != nil {
			f.Fatal(s, err)
		}
		b, err := AppendWire(nil, e)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, _, err := DecodeExpr(b)
		if err != nil {
			return
		}
		if _, err := AppendWire(nil, e); err != nil {
			t.Fatal(err)
		}
		String(e)
		plain := true
		Walk(e, func(x Expr) bool {
			switch n := x.(type) {
			case *Column, *Param, *Outer, *RowCtor:
				plain = false
			case *Call:
				// What takes long by design is not the decoder's fault.
				plain = plain && n.Fn.Volatility == 'i' && n.Fn.Source != "repeat" && n.Fn.Source != "numeric_fac" && n.Fn.Source != "array_fill" &&
					n.Fn.Source != "lpad" && n.Fn.Source != "rpad" && n.Fn.Source != "numeric_power" && n.Fn.Source != "numeric_exp"
			}
			return plain
		})
		if !plain {
			return
		}
		if p, err := Compile(e); err == nil {
			if d, err := p.EvalRow(&Runtime{Ctx: &builtin.Context{}}, nil, 0); err == nil && !d.Null {
				types.AppendDatumText(nil, e.Type(), d, types.DefaultEnv)
			}
		}
	})
}
