package builtin

import (
	"bytes"

	"github.com/pamirdb/pamir/sql/types"
)

// Comparisons of everything but numbers.

type cmpKernelMaker func(op byte) Kernel

func regCompare(prefix string, mk cmpKernelMaker) {
	for s, op := range cmpSuffix {
		kernels[prefix+s] = mk(op)
	}
}

func cmpBytes(compare func(a, b []byte) int) cmpKernelMaker {
	return func(op byte) Kernel {
		return pure2(bytesOf, bytesOf, ints, func(a, b []byte) int64 { return b2i(cmpTrue(op, compare(a, b))) })
	}
}

func cmpDatums(t types.OID) cmpKernelMaker {
	return func(op byte) Kernel {
		return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
			return types.EachRow(n, sel, func(i int) error {
				out.Ints[i] = b2i(cmpTrue(op, types.CompareVec(args[0], i, args[1], i, false)))
				return nil
			})
		}
	}
}

func cmpOrder(f func(args []*types.Vec, i int) int) Kernel {
	return rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		out.Ints[i] = int64(sign(f(args, i)))
		return nil
	})
}

func compareVecs(args []*types.Vec, i int) int {
	return types.CompareVec(args[0], i, args[1], i, false)
}

func pick(larger bool) Kernel {
	return rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		k := 1
		if (compareVecs(args, i) > 0) == larger {
			k = 0
		}
		out.SetFrom(i, args[k], i)
		return nil
	})
}

func bpcharCompare(a, b []byte) int { return bytes.Compare(types.TrimBpchar(a), types.TrimBpchar(b)) }

func init() {
	eq := func(trim bool, want bool) Kernel {
		return pure2(bytesOf, bytesOf, ints, func(a, b []byte) int64 {
			if trim {
				a, b = types.TrimBpchar(a), types.TrimBpchar(b)
			}
			return b2i(bytes.Equal(a, b) == want)
		})
	}
	for _, p := range []string{"text", "text_", "bytea", "uuid_", "name", "nametext", "textname"} {
		regCompare(p, cmpBytes(bytes.Compare))
	}
	reg(eq(false, true), "texteq", "byteaeq", "uuid_eq", "nameeq", "nameeqtext", "texteqname")
	reg(eq(false, false), "textne", "byteane", "uuid_ne", "namene", "namenetext", "textnename")
	for _, s := range []string{"lt", "le", "gt", "ge"} {
		k := cmpBytes(bytes.Compare)(cmpSuffix[s])
		reg(k, "name"+s+"text", "text"+s+"name", "text_pattern_"+s)
		reg(cmpBytes(bpcharCompare)(cmpSuffix[s]), "bpchar_pattern_"+s)
	}
	regCompare("bpchar", cmpBytes(bpcharCompare))
	reg(eq(true, true), "bpchareq")
	reg(eq(true, false), "bpcharne")
	reg(pure2(bytesOf, bytesOf, ints, func(a, b []byte) int64 { return int64(bytes.Compare(a, b)) }), "bttextcmp", "byteacmp", "uuid_cmp", "btnamecmp", "btnametextcmp", "bttextnamecmp", "bttext_pattern_cmp")
	reg(pure2(bytesOf, bytesOf, ints, func(a, b []byte) int64 { return int64(bpcharCompare(a, b)) }), "bpcharcmp", "btbpchar_pattern_cmp")
	for _, p := range []string{"interval_", "array_", "record_", "jsonb_", "timetz_", "pg_lsn_", "xid8"} {
		regCompare(p, cmpDatums(0))
	}
	reg(cmpOrder(compareVecs), "interval_cmp", "btarraycmp", "btrecordcmp", "jsonb_cmp", "timetz_cmp", "pg_lsn_cmp", "xid8cmp")
	regIntCompare("xid")
	reg(cmpInts('='), "xideqint4", "cideq")
	reg(cmpInts('!'), "xidneqint4", "xidneq")
	reg(pick(true), "text_larger", "bpchar_larger", "date_larger", "timestamp_larger", "timestamptz_larger", "time_larger", "interval_larger",
		"timetz_larger", "array_larger", "pg_lsn_larger")
	reg(pick(false), "text_smaller", "bpchar_smaller", "date_smaller", "timestamp_smaller", "timestamptz_smaller", "time_smaller", "interval_smaller",
		"timetz_smaller", "array_smaller", "pg_lsn_smaller")
}
