package builtin

import (
	"github.com/cockroachdb/apd/v3"
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// Accessors of a vector's payload, for the loop makers below.
func ints(v *types.Vec) []int64           { return v.Ints }
func floats(v *types.Vec) []float64       { return v.Floats }
func bytesOf(v *types.Vec) [][]byte       { return v.Bytes }
func decs(v *types.Vec) []apd.Decimal     { return v.Decimals }
func ivals(v *types.Vec) []types.Interval { return v.Intervals }
func anys(v *types.Vec) []any             { return v.Anys }

// map1, map2 and map3 make kernels of functions on single values.
func map1[A, R any](ga func(*types.Vec) []A, gr func(*types.Vec) []R, f func(A) (R, error)) Kernel {
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		a, r := ga(args[0]), gr(out)
		if sel == nil {
			for i, x := range a[:n] {
				y, err := f(x)
				if err != nil {
					return err
				}
				r[i] = y
			}
			return nil
		}
		for _, i := range sel {
			y, err := f(a[i])
			if err != nil {
				return err
			}
			r[i] = y
		}
		return nil
	}
}

func map2[A, B, R any](ga func(*types.Vec) []A, gb func(*types.Vec) []B, gr func(*types.Vec) []R, f func(A, B) (R, error)) Kernel {
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		a, b, r := ga(args[0]), gb(args[1]), gr(out)
		if sel == nil {
			b, r = b[:n], r[:n]
			for i, x := range a[:n] {
				y, err := f(x, b[i])
				if err != nil {
					return err
				}
				r[i] = y
			}
			return nil
		}
		for _, i := range sel {
			y, err := f(a[i], b[i])
			if err != nil {
				return err
			}
			r[i] = y
		}
		return nil
	}
}

func map3[A, B, C, R any](ga func(*types.Vec) []A, gb func(*types.Vec) []B, gc func(*types.Vec) []C, gr func(*types.Vec) []R, f func(A, B, C) (R, error)) Kernel {
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		a, b, c, r := ga(args[0]), gb(args[1]), gc(args[2]), gr(out)
		return types.EachRow(n, sel, func(i int) error {
			y, err := f(a[i], b[i], c[i])
			r[i] = y
			return err
		})
	}
}

// pure1 and pure2 are for functions that cannot fail.
func pure1[A, R any](ga func(*types.Vec) []A, gr func(*types.Vec) []R, f func(A) R) Kernel {
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		a, r := ga(args[0]), gr(out)
		if sel == nil {
			for i, x := range a[:n] {
				r[i] = f(x)
			}
			return nil
		}
		for _, i := range sel {
			r[i] = f(a[i])
		}
		return nil
	}
}

func pure2[A, B, R any](ga func(*types.Vec) []A, gb func(*types.Vec) []B, gr func(*types.Vec) []R, f func(A, B) R) Kernel {
	return func(_ *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		a, b, r := ga(args[0]), gb(args[1]), gr(out)
		if sel == nil {
			b, r = b[:n], r[:n]
			for i, x := range a[:n] {
				r[i] = f(x, b[i])
			}
			return nil
		}
		for _, i := range sel {
			r[i] = f(a[i], b[i])
		}
		return nil
	}
}

// rowKernel makes a kernel of a function on one row's values.
func rowKernel(f func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error) Kernel {
	return func(ctx *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		return types.EachRow(n, sel, func(i int) error { return f(ctx, args, i, out) })
	}
}

// datumKernel is rowKernel for functions that return a datum.
func datumKernel(f func(ctx *Context, args []*types.Vec, i int) (types.Datum, error)) Kernel {
	return func(ctx *Context, args []*types.Vec, n int, sel []int32, out *types.Vec) error {
		return types.EachRow(n, sel, func(i int) error {
			d, err := f(ctx, args, i)
			if err != nil {
				return err
			}
			out.Set(i, d)
			return nil
		})
	}
}

func b2i(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func divisionByZero() error { return pgerr.New(pgerr.DivisionByZero, "division by zero") }

func outOfRange(what string) error {
	return pgerr.New(pgerr.NumericValueOutOfRange, "%s out of range", what)
}

// reg registers one kernel under several sources.
func reg(k Kernel, sources ...string) {
	for _, s := range sources {
		kernels[s] = k
	}
}
