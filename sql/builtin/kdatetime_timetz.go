package builtin

import (
	"math"
	"time"

	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

// time with time zone, and the comparisons of RANGE window frames.

func timetzAt(v *types.Vec, i int) types.TimeTZ { return v.Anys[i].(types.TimeTZ) }

// moveTimetz shows the same moment with another offset (seconds west).
func moveTimetz(t types.TimeTZ, zone int32) types.TimeTZ {
	return types.TimeTZ{Micros: wrapTime(t.Micros + int64(t.Zone-zone)*usSec), Zone: zone}
}

// isoZone reads a zone as make_timestamptz takes it: numbers have ISO's sign (+02 is east), unlike in AT TIME ZONE.
func isoZone(name []byte) (*time.Location, error) {
	if len(name) > 0 && isDigitByte(name[0]) {
		return nil, pgerr.New(pgerr.InvalidParameterValue, "invalid input syntax for type %s: \"%s\"", "numeric time zone", name).
			WithHint("Numeric time zones must have \"-\" or \"+\" as first character.")
	}
	if len(name) > 1 && (name[0] == '+' || name[0] == '-') {
		off, ok, over := isoOffset(name)
		if over {
			return nil, pgerr.New(pgerr.InvalidParameterValue, "numeric time zone \"%s\" out of range", name)
		}
		if ok {
			return time.FixedZone("", off), nil
		}
	}
	return findZone(string(name))
}

// isoOffset reads ±h[h], ±hhmm, ±hh:mm[:ss].
func isoOffset(s []byte) (off int, ok, over bool) {
	var parts, digits [3]int
	k := 0
	for _, c := range s[1:] {
		switch {
		case isDigitByte(c) && digits[k] < 6:
			parts[k] = parts[k]*10 + int(c-'0')
			digits[k]++
		case c == ':' && k < 2 && digits[k] > 0:
			k++
		default:
			return 0, false, false
		}
	}
	if digits[k] == 0 {
		return 0, false, false
	}
	if k == 0 && digits[0] > 2 {
		parts[0], parts[1] = parts[0]/100, parts[0]%100
	}
	if parts[0] > 15 || parts[1] > 59 || parts[2] > 59 {
		return 0, false, true
	}
	off = parts[0]*3600 + parts[1]*60 + parts[2]
	if s[0] == '-' {
		off = -off
	}
	return off, true, false
}

func dateTimetz(d int64, t types.TimeTZ) (int64, error) {
	us, err := dateToStamp(d)
	if err != nil || types.IsInfinite(us) {
		return us, err
	}
	if us += t.Micros + int64(t.Zone)*usSec; !types.ValidTimestamp(us) {
		return 0, pgerr.New(pgerr.DatetimeFieldOverflow, "date out of range for timestamp")
	}
	return us, nil
}

func init() {
	reg(map2(ints, anys, ints, func(d int64, t any) (int64, error) { return dateTimetz(d, t.(types.TimeTZ)) }), "datetimetz_timestamptz")
	reg(map2(anys, ints, ints, func(t any, d int64) (int64, error) { return dateTimetz(d, t.(types.TimeTZ)) }), "timetzdate_pl(timetz,date)")
	shift := func(t any, us int64) any {
		x := t.(types.TimeTZ)
		x.Micros = wrapTime(x.Micros + us%usDay)
		return x
	}
	reg(pure2(anys, ivals, anys, func(t any, v iv) any { return shift(t, v.Micros) }), "timetz_pl_interval")
	reg(pure2(ivals, anys, anys, func(v iv, t any) any { return shift(t, v.Micros) }), "interval_pl_timetz(interval,timetz)")
	reg(pure2(anys, ivals, anys, func(t any, v iv) any { return shift(t, -(v.Micros % usDay)) }), "timetz_mi_interval")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		us := args[0].Ints[i]
		if types.IsInfinite(us) {
			out.SetNull(i)
			return nil
		}
		off, _ := types.ZoneOffset(us, location(ctx))
		out.Anys[i] = types.TimeTZ{Micros: wrapTime(us + int64(off)*usSec), Zone: int32(-off)}
		return nil
	}), "timestamptz_timetz")
	reg(rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
		loc, err := findZone(string(args[0].Bytes[i]))
		if err != nil {
			return err
		}
		off, _ := types.ZoneOffset(ctx.TxnStart, loc)
		out.Anys[i] = moveTimetz(timetzAt(args[1], i), int32(-off))
		return nil
	}), "timetz_zone")
	reg(map2(ivals, anys, anys, func(v iv, t any) (any, error) {
		loc, err := zoneOfInterval(v)
		if err != nil {
			return nil, err
		}
		off, _ := types.ZoneOffset(0, loc)
		return moveTimetz(t.(types.TimeTZ), int32(-off)), nil
	}), "timetz_izone")
	reg(map2(anys, ints, anys, func(t any, mod int64) (any, error) {
		d, err := types.ApplyMod(types.Type{OID: types.TimetzOID, Mod: int32(mod)}, types.NewAny(t), true)
		return d.A, err
	}), "timetz_scale")
	reg(datumKernel(func(_ *Context, args []*types.Vec, i int) (types.Datum, error) {
		// Moments in place of local times.
		var utc [4]*types.Vec
		for k := range utc {
			utc[k] = types.NewVec(types.Of(types.Int8OID), 1)
			if args[k].IsNull(i) {
				utc[k].AppendNull()
			} else {
				t := timetzAt(args[k], i)
				utc[k].AppendDatum(types.NewInt(t.Micros + int64(t.Zone)*usSec))
			}
		}
		out := types.NewVec(types.Of(types.BoolOID), 1)
		out.Resize(1)
		err := overlaps(nil, utc[:], 1, nil, out)
		return out.Get(0), err
	}), "overlaps_timetz")
	regInRange()
}

// regInRange registers what RANGE window frames ask: is val at most (or at least) base ± offset?
func regInRange() {
	check := func(off iv) error {
		if types.CompareInterval(off, iv{}) < 0 {
			return pgerr.New("22013", "invalid preceding or following size in window function")
		}
		return nil
	}
	// answer takes sub from args[3] and less from args[4].
	answer := func(args []*types.Vec, i, cmp int) int64 {
		if args[4].Ints[i] != 0 {
			return b2i(cmp <= 0)
		}
		return b2i(cmp >= 0)
	}
	stamps := func(prepare func(int64) (int64, error), add func(ctx *Context, us int64, v iv) (int64, error)) Kernel {
		return rowKernel(func(ctx *Context, args []*types.Vec, i int, out *types.Vec) error {
			val, base, off := args[0].Ints[i], args[1].Ints[i], args[2].Intervals[i]
			err := check(off)
			if err == nil {
				val, err = prepare(val)
			}
			if err == nil {
				base, err = prepare(base)
			}
			if err == nil && args[3].Ints[i] != 0 {
				off, err = negInterval(off)
			}
			if err != nil {
				return err
			}
			sum, err := add(ctx, base, off)
			out.Ints[i] = answer(args, i, cmpInt(val, sum))
			return err
		})
	}
	same := func(us int64) (int64, error) { return us, nil }
	plain := func(_ *Context, us int64, v iv) (int64, error) { return addInterval(us, v) }
	reg(stamps(same, plain), "in_range_timestamp_interval")
	reg(stamps(dateToStamp, plain), "in_range_date_interval")
	reg(stamps(same, func(ctx *Context, us int64, v iv) (int64, error) { return addIntervalTZ(us, v, location(ctx)) }), "in_range_timestamptz_interval")
	reg(rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		off := args[2].Intervals[i]
		if err := check(off); err != nil {
			return err
		}
		sum, err := sumIntervals(args[1].Intervals[i], off, args[3].Ints[i] != 0)
		out.Ints[i] = answer(args, i, types.CompareInterval(args[0].Intervals[i], sum))
		return err
	}), "in_range_interval_interval")
	reg(rowKernel(func(_ *Context, args []*types.Vec, i int, out *types.Vec) error {
		// Only the offset's time counts, and the sum does not wrap around at midnight.
		off := args[2].Intervals[i].Micros
		if err := check(iv{Micros: off}); err != nil {
			return err
		}
		sum, ok := args[1].Ints[i]-off, true
		if args[3].Ints[i] == 0 {
			if sum, ok = addOK(args[1].Ints[i], off); !ok {
				sum = math.MaxInt64
			}
		}
		out.Ints[i] = answer(args, i, cmpInt(args[0].Ints[i], sum))
		return nil
	}), "in_range_time_interval")
}
