package builtin

import (
	"math"
	"math/bits"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// width tells how a width of integers overflows.
type width struct {
	bits uint
	name string
}

var widths = map[string]width{"int2": {16, "smallint"}, "int4": {32, "integer"}, "int8": {64, "bigint"}}

func (w width) fits(x int64) bool {
	s := 64 - w.bits
	return x<<s>>s == x
}

func (w width) err() error { return outOfRange(w.name) }

// addKernel and its siblings run over whole columns and look at the overflow bits once.
func addKernel(w width) Kernel {
	shift := 64 - w.bits
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		a, b, r := args[0].Ints, args[1].Ints, out.Ints
		var over int64
		if sel == nil {
			a, b, r = a[:n], b[:n], r[:n]
			for i, x := range a {
				y := b[i]
				s := x + y
				r[i] = s
				over |= (x^s)&(y^s)>>63 | (s ^ s<<shift>>shift)
			}
		} else {
			for _, i := range sel {
				x, y := a[i], b[i]
				s := x + y
				r[i] = s
				over |= (x^s)&(y^s)>>63 | (s ^ s<<shift>>shift)
			}
		}
		if over != 0 {
			return w.err()
		}
		return nil
	}
}

func subKernel(w width) Kernel {
	shift := 64 - w.bits
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		a, b, r := args[0].Ints, args[1].Ints, out.Ints
		var over int64
		if sel == nil {
			a, b, r = a[:n], b[:n], r[:n]
			for i, x := range a {
				y := b[i]
				s := x - y
				r[i] = s
				over |= (x^y)&(x^s)>>63 | (s ^ s<<shift>>shift)
			}
		} else {
			for _, i := range sel {
				x, y := a[i], b[i]
				s := x - y
				r[i] = s
				over |= (x^y)&(x^s)>>63 | (s ^ s<<shift>>shift)
			}
		}
		if over != 0 {
			return w.err()
		}
		return nil
	}
}

// mulInt multiplies; ok is false if the product does not fit in 64 bits.
func mulInt(x, y int64) (int64, bool) {
	hi, lo := bits.Mul64(uint64(x), uint64(y))
	h := int64(hi)
	if x < 0 {
		h -= y
	}
	if y < 0 {
		h -= x
	}
	return int64(lo), h == int64(lo)>>63
}

func mulKernel(w width) Kernel {
	if w.bits == 64 {
		return map2(ints, ints, ints, func(x, y int64) (int64, error) {
			if p, ok := mulInt(x, y); ok {
				return p, nil
			}
			return 0, w.err()
		})
	}
	shift := 64 - w.bits
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		a, b, r := args[0].Ints, args[1].Ints, out.Ints
		var over int64
		if sel == nil {
			a, b, r = a[:n], b[:n], r[:n]
			for i, x := range a {
				s := x * b[i]
				r[i] = s
				over |= s ^ s<<shift>>shift
			}
		} else {
			for _, i := range sel {
				s := a[i] * b[i]
				r[i] = s
				over |= s ^ s<<shift>>shift
			}
		}
		if over != 0 {
			return w.err()
		}
		return nil
	}
}

func divKernel(w width) Kernel {
	return map2(ints, ints, ints, func(x, y int64) (int64, error) {
		switch y {
		case 0:
			return 0, divisionByZero()
		case -1:
			if x == math.MinInt64 || !w.fits(-x) {
				return 0, w.err()
			}
			return -x, nil
		}
		return x / y, nil
	})
}

func modInt(x, y int64) (int64, error) {
	switch y {
	case 0:
		return 0, divisionByZero()
	case -1:
		return 0, nil
	}
	return x % y, nil
}

func (w width) check(x int64) (int64, error) {
	if !w.fits(x) {
		return 0, w.err()
	}
	return x, nil
}

// The six comparisons over integer columns; bool, date, timestamp and the like share them.
func cmpInts(op byte) Kernel {
	switch op {
	case '=':
		return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
			a, b, r := args[0].Ints, args[1].Ints, out.Ints
			if sel == nil {
				a, b, r = a[:n], b[:n], r[:n]
				for i, x := range a {
					r[i] = b2i(x == b[i])
				}
				return nil
			}
			for _, i := range sel {
				r[i] = b2i(a[i] == b[i])
			}
			return nil
		}
	case '<':
		return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
			a, b, r := args[0].Ints, args[1].Ints, out.Ints
			if sel == nil {
				a, b, r = a[:n], b[:n], r[:n]
				for i, x := range a {
					r[i] = b2i(x < b[i])
				}
				return nil
			}
			for _, i := range sel {
				r[i] = b2i(a[i] < b[i])
			}
			return nil
		}
	case '!':
		return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
			a, b, r := args[0].Ints, args[1].Ints, out.Ints
			if sel == nil {
				a, b, r = a[:n], b[:n], r[:n]
				for i, x := range a {
					r[i] = b2i(x != b[i])
				}
				return nil
			}
			for _, i := range sel {
				r[i] = b2i(a[i] != b[i])
			}
			return nil
		}
	case 'l':
		return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
			a, b, r := args[0].Ints, args[1].Ints, out.Ints
			if sel == nil {
				a, b, r = a[:n], b[:n], r[:n]
				for i, x := range a {
					r[i] = b2i(x <= b[i])
				}
				return nil
			}
			for _, i := range sel {
				r[i] = b2i(a[i] <= b[i])
			}
			return nil
		}
	case '>':
		return swapArgs(cmpInts('<'))
	}
	return swapArgs(cmpInts('l'))
}

func swapArgs(k Kernel) Kernel {
	return func(ctx *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		args[0], args[1] = args[1], args[0]
		err := k(ctx, args, n, sel, out)
		args[0], args[1] = args[1], args[0]
		return err
	}
}

// comparison suffixes of PostgreSQL's function names.
var cmpSuffix = map[string]byte{"eq": '=', "ne": '!', "lt": '<', "le": 'l', "gt": '>', "ge": 'g'}

func cmpTrue(op byte, c int) bool {
	switch op {
	case '=':
		return c == 0
	case '!':
		return c != 0
	case '<':
		return c < 0
	case 'l':
		return c <= 0
	case '>':
		return c > 0
	}
	return c >= 0
}

func regIntCompare(prefixes ...string) {
	for s, op := range cmpSuffix {
		k := cmpInts(op)
		for _, p := range prefixes {
			kernels[p+s] = k
		}
	}
}

func gcd(a, b int64) uint64 {
	x, y := uint64(a), uint64(b)
	if a < 0 {
		x = -x
	}
	if b < 0 {
		y = -y
	}
	for y != 0 {
		x, y = y, x%y
	}
	return x
}

func init() {
	for _, p := range []string{"int2", "int4", "int8", "int24", "int42", "int28", "int82", "int48", "int84"} {
		w := widths["int8"]
		switch p {
		case "int2":
			w = widths["int2"]
		case "int4", "int24", "int42":
			w = widths["int4"]
		}
		kernels[p+"pl"] = addKernel(w)
		kernels[p+"mi"] = subKernel(w)
		kernels[p+"mul"] = mulKernel(w)
		kernels[p+"div"] = divKernel(w)
	}
	regIntCompare("int2", "int4", "int8", "int24", "int42", "int28", "int82", "int48", "int84", "oid", "bool", "date_", "timestamp_", "time_")
	for name, w := range widths {
		w := w
		reg(map2(ints, ints, ints, modInt), name+"mod")
		reg(pure1(ints, ints, func(x int64) int64 { return x }), name+"up")
		reg(map1(ints, ints, func(x int64) (int64, error) {
			if x == math.MinInt64 {
				return 0, w.err()
			}
			return w.check(-x)
		}), name+"um")
		reg(map1(ints, ints, func(x int64) (int64, error) {
			if x >= 0 {
				return x, nil
			}
			if x == math.MinInt64 {
				return 0, w.err()
			}
			return w.check(-x)
		}), name+"abs")
		reg(pure2(ints, ints, ints, func(x, y int64) int64 { return x & y }), name+"and")
		reg(pure2(ints, ints, ints, func(x, y int64) int64 { return x | y }), name+"or")
		reg(pure2(ints, ints, ints, func(x, y int64) int64 { return x ^ y }), name+"xor")
		reg(pure1(ints, ints, func(x int64) int64 { return ^x }), name+"not")
		shift := 64 - w.bits
		// The count is taken modulo the machine word that C computes in.
		word := uint64(w.bits - 1)
		if w.bits == 16 {
			word = 31
		}
		reg(pure2(ints, ints, ints, func(x, y int64) int64 { return x << (uint64(y) & word) << shift >> shift }), name+"shl")
		reg(pure2(ints, ints, ints, func(x, y int64) int64 { return x >> (uint64(y) & word) }), name+"shr")
		reg(pure2(ints, ints, ints, func(x, y int64) int64 { return max(x, y) }), name+"larger")
		reg(pure2(ints, ints, ints, func(x, y int64) int64 { return min(x, y) }), name+"smaller")
		reg(map2(ints, ints, ints, func(x, y int64) (int64, error) {
			g := gcd(x, y)
			if g > math.MaxInt64 {
				return 0, w.err()
			}
			return w.check(int64(g))
		}), name+"gcd")
		reg(map2(ints, ints, ints, func(x, y int64) (int64, error) {
			if x == 0 || y == 0 {
				return 0, nil
			}
			g := gcd(x, y)
			if g > math.MaxInt64 {
				return 0, w.err()
			}
			p, ok := mulInt(x/int64(g), y)
			if !ok || p == math.MinInt64 {
				return 0, w.err()
			}
			if p < 0 {
				p = -p
			}
			return w.check(p)
		}), name+"lcm")
		reg(map1(ints, ints, func(x int64) (int64, error) {
			if x == math.MaxInt64 {
				return 0, w.err()
			}
			return w.check(x + 1)
		}), name+"inc")
	}
	cmp := pure2(ints, ints, ints, func(x, y int64) int64 {
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return 0
	})
	reg(cmp, "btint4cmp", "btint8cmp", "btint24cmp", "btint42cmp", "btint28cmp", "btint82cmp", "btint48cmp", "btint84cmp", "btoidcmp", "btboolcmp", "date_cmp", "timestamp_cmp", "time_cmp")
	reg(pure2(ints, ints, ints, func(x, y int64) int64 { return x - y }), "btint2cmp")

	// Casts.
	wide := pure1(ints, ints, func(x int64) int64 { return x })
	reg(wide, "int48", "int28", "i2toi4", "oidtoi8", "bool_int4")
	narrow := func(w width) Kernel { return map1(ints, ints, w.check) }
	reg(narrow(widths["int4"]), "int84")
	reg(narrow(widths["int2"]), "int82", "i4toi2")
	reg(map1(ints, ints, func(x int64) (int64, error) {
		if x < 0 || x > math.MaxUint32 {
			return 0, outOfRange("OID")
		}
		return x, nil
	}), "i8tooid")
	reg(pure1(ints, ints, func(x int64) int64 { return b2i(x != 0) }), "int4_bool")
	reg(pure1(ints, ints, func(x int64) int64 { return x }), "chartoi4")
	reg(map1(ints, ints, func(x int64) (int64, error) {
		if x < -128 || x > 127 {
			return 0, pgerr.New(pgerr.NumericValueOutOfRange, "\"char\" out of range")
		}
		return x, nil
	}), "i4tochar")
	for s, op := range cmpSuffix {
		op := op
		reg(pure2(ints, ints, ints, func(x, y int64) int64 { return b2i(cmpTrue(op, int(uint8(x))-int(uint8(y)))) }), "char"+s)
	}
	reg(pure2(ints, ints, ints, func(x, y int64) int64 { return x & y }), "booland_statefunc")
	reg(pure2(ints, ints, ints, func(x, y int64) int64 { return x | y }), "boolor_statefunc")
	reg(map2(ints, ints, ints, func(x, y int64) (int64, error) { return int64(uint32(max(x, y))), nil }), "oidlarger")
	reg(map2(ints, ints, ints, func(x, y int64) (int64, error) { return int64(uint32(min(x, y))), nil }), "oidsmaller")
}
