package expr

import (
	"github.com/pamirdb/pamir/sql/types"
)

// cmpFilter is a comparison of integers used as a filter: it writes the passing rows without making booleans first.
type cmpFilter struct {
	callNode
	op byte // '=', '!', '<', 'l' (<=), '>', 'g' (>=)
	// constant right operand
	isConst bool
	value   int64
}

var intCompare = map[string]byte{}

func init() {
	for _, p := range []string{"int2", "int4", "int8", "int24", "int42", "int28", "int82", "int48", "int84", "oid", "date_", "timestamp_", "time_"} {
		for s, op := range map[string]byte{"eq": '=', "ne": '!', "lt": '<', "le": 'l', "gt": '>', "ge": 'g'} {
			intCompare[p+s] = op
		}
	}
}

func compareFilter(x *Call, c *callNode) node {
	op, ok := intCompare[x.Fn.Source]
	if !ok || len(x.Args) != 2 {
		return nil
	}
	f := &cmpFilter{callNode: *c, op: op}
	if k, ok := x.Args[1].(*Const); ok && !k.Value.Null {
		f.isConst, f.value = true, k.Value.I
	}
	return f
}

func (f *cmpFilter) filter(rt *Runtime, in *types.Batch, sel, dst []int32) ([]int32, bool, error) {
	l, err := f.args[0].eval(rt, in, sel)
	if err != nil {
		return nil, false, err
	}
	if l.HasNulls {
		return f.slow(rt, in, sel, dst)
	}
	if f.isConst {
		return filterConst(f.op, l.Ints, f.value, in.N, sel, dst), true, nil
	}
	r, err := f.args[1].eval(rt, in, sel)
	if err != nil {
		return nil, false, err
	}
	if r.HasNulls {
		return f.slow(rt, in, sel, dst)
	}
	if p, ok := f.args[1].(*slotNode); ok && p.vec.N > 0 {
		return filterConst(f.op, l.Ints, r.Ints[0], in.N, sel, dst), true, nil
	}
	return filterPair(f.op, l.Ints, r.Ints, in.N, sel, dst), true, nil
}

func (f *cmpFilter) slow(rt *Runtime, in *types.Batch, sel, dst []int32) ([]int32, bool, error) {
	v, err := f.eval(rt, in, sel)
	if err != nil {
		return nil, false, err
	}
	return appendTrue(dst, v, in.N, sel), true, nil
}

// truth tables by three-way comparison: bit 0 less, bit 1 equal, bit 2 greater.
func opMask(op byte) uint8 {
	switch op {
	case '=':
		return 2
	case '!':
		return 5
	case '<':
		return 1
	case 'l':
		return 3
	case '>':
		return 4
	}
	return 6
}

func filterConst(op byte, xs []int64, c int64, n int, sel, dst []int32) []int32 {
	if sel != nil {
		m := opMask(op)
		for _, i := range sel {
			if m>>cmp3(xs[i], c)&1 != 0 {
				dst = append(dst, i)
			}
		}
		return dst
	}
	// Write every row, keep it only if it passes: no branch to mispredict.
	base := len(dst)
	if cap(dst)-base < n {
		dst = append(dst, make([]int32, n)...)
	} else {
		dst = dst[:base+n]
	}
	out := dst[base:]
	k := 0
	xs = xs[:n]
	switch op {
	case '=':
		for i, x := range xs {
			out[k] = int32(i)
			k += int(b2i(x == c))
		}
	case '!':
		for i, x := range xs {
			out[k] = int32(i)
			k += int(b2i(x != c))
		}
	case '<':
		for i, x := range xs {
			out[k] = int32(i)
			k += int(b2i(x < c))
		}
	case 'l':
		for i, x := range xs {
			out[k] = int32(i)
			k += int(b2i(x <= c))
		}
	case '>':
		for i, x := range xs {
			out[k] = int32(i)
			k += int(b2i(x > c))
		}
	default:
		for i, x := range xs {
			out[k] = int32(i)
			k += int(b2i(x >= c))
		}
	}
	return dst[:base+k]
}

func filterPair(op byte, xs, ys []int64, n int, sel, dst []int32) []int32 {
	m := opMask(op)
	if sel == nil {
		for i := 0; i < n; i++ {
			if m>>cmp3(xs[i], ys[i])&1 != 0 {
				dst = append(dst, int32(i))
			}
		}
		return dst
	}
	for _, i := range sel {
		if m>>cmp3(xs[i], ys[i])&1 != 0 {
			dst = append(dst, i)
		}
	}
	return dst
}

func cmp3(a, b int64) uint8 {
	switch {
	case a < b:
		return 0
	case a == b:
		return 1
	}
	return 2
}
