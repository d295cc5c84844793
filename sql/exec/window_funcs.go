package exec

import (
	"github.com/pamirdb/pamir/sql/pgerr"
	"github.com/pamirdb/pamir/sql/types"
)

var windowFuncs = map[string]windowFunc{
	"row_number": func(w *windowPart, _ []*types.Vec, out *types.Vec) error {
		for i := range w.n {
			out.AppendDatum(types.NewInt(int64(i + 1)))
		}
		return nil
	},
	"rank": func(w *windowPart, _ []*types.Vec, out *types.Vec) error {
		for i := range w.n {
			out.AppendDatum(types.NewInt(int64(w.peers[i]) + 1))
		}
		return nil
	},
	"dense_rank": func(w *windowPart, _ []*types.Vec, out *types.Vec) error {
		rank := int64(0)
		for i := range w.n {
			if int(w.peers[i]) == i {
				rank++
			}
			out.AppendDatum(types.NewInt(rank))
		}
		return nil
	},
	"percent_rank": func(w *windowPart, _ []*types.Vec, out *types.Vec) error {
		for i := range w.n {
			f := 0.0
			if w.n > 1 {
				f = float64(w.peers[i]) / float64(w.n-1)
			}
			out.AppendDatum(types.NewFloat(f))
		}
		return nil
	},
	"cume_dist": func(w *windowPart, _ []*types.Vec, out *types.Vec) error {
		for i := range w.n {
			out.AppendDatum(types.NewFloat(float64(w.ends[i]) / float64(w.n)))
		}
		return nil
	},
	"ntile": func(w *windowPart, args []*types.Vec, out *types.Vec) error {
		from := 0 // the argument is that of the first row which has one, and this begins the first tile
		for ; from < w.n && args[0].IsNull(from); from++ {
			out.AppendNull()
		}
		if from == w.n {
			return nil
		}
		k := args[0].Ints[from]
		if k <= 0 {
			return pgerr.New("22014", "argument of ntile must be greater than zero")
		}
		size, extra := int64(w.n)/k, int64(w.n)%k
		for i := range int64(w.n - from) {
			tile := int64(0)
			if first := extra * (size + 1); i < first {
				tile = i / (size + 1)
			} else {
				tile = extra + (i-first)/size
			}
			out.AppendDatum(types.NewInt(tile + 1))
		}
		return nil
	},
	"lag":  func(w *windowPart, args []*types.Vec, out *types.Vec) error { return shifted(w, args, out, -1) },
	"lead": func(w *windowPart, args []*types.Vec, out *types.Vec) error { return shifted(w, args, out, 1) },
	"first_value": func(w *windowPart, args []*types.Vec, out *types.Vec) error {
		return w.pick(args[0], out, func(int) (int64, error) { return 1, nil })
	},
	"last_value": func(w *windowPart, args []*types.Vec, out *types.Vec) error {
		return w.pick(args[0], out, func(int) (int64, error) { return -1, nil })
	},
	"nth_value": func(w *windowPart, args []*types.Vec, out *types.Vec) error {
		return w.pick(args[0], out, func(i int) (int64, error) {
			if args[1].IsNull(i) {
				return 0, nil
			}
			if k := args[1].Ints[i]; k > 0 {
				return k, nil
			}
			return 0, pgerr.New("22016", "argument of nth_value must be greater than zero")
		})
	},
}

// shifted is lag and lead: value, distance (1), default (NULL).
func shifted(w *windowPart, args []*types.Vec, out *types.Vec, sign int64) error {
	for i := range w.n {
		by := int64(1)
		if len(args) > 1 {
			if args[1].IsNull(i) {
				out.AppendNull()
				continue
			}
			by = args[1].Ints[i]
		}
		at := int64(i) + sign*by
		switch {
		case at >= 0 && at < int64(w.n):
			out.AppendFrom(args[0], int(at))
		case len(args) > 2:
			out.AppendFrom(args[2], i)
		default:
			out.AppendNull()
		}
	}
	return nil
}
