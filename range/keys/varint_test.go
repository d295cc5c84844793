package keys

import (
	"bytes"
	"cmp"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestVarint(t *testing.T) {
	gen := rapid.OneOf(rapid.Int64(), rapid.Int64Range(-300, 300), rapid.Custom(func(t *rapid.T) int64 {
		return int64(1)<<rapid.IntRange(0, 63).Draw(t, "shift") + rapid.Int64Range(-2, 2).Draw(t, "off")
	}), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64, -1, 0, 239, 240, -256, -257}))
	rapid.Check(t, func(t *rapid.T) {
		a, b := gen.Draw(t, "a"), gen.Draw(t, "b")
		ea, eb := AppendVarint(nil, a), AppendVarint(nil, b)
		if bytes.Compare(ea, eb) != cmp.Compare(a, b) {
			t.Fatalf("order of %d %x and %d %x", a, ea, b, eb)
		}
		if VarintLen(ea[0]) != len(ea) {
			t.Fatalf("length of %x", ea)
		}
		v, rest, err := DecodeVarint(append(ea, 7))
		if err != nil || v != a || len(rest) != 1 {
			t.Fatalf("%d came back as %d, %x, %v", a, v, rest, err)
		}
	})
}

func FuzzVarint(f *testing.F) {
	f.Add([]byte{0xf8, 0xf0})
	f.Fuzz(func(t *testing.T, b []byte) {
		v, rest, err := DecodeVarint(b)
		if err != nil {
			return
		}
		if again := AppendVarint(nil, v); !bytes.Equal(again, b[:len(b)-len(rest)]) {
			t.Fatalf("%x decodes to %d, which is %x", b, v, again)
		}
	})
}
