package exec

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/sql/types"
)

// Rows come back as they were added, whatever is in memory and what in the file, in whatever order they are asked for; memory stays within a quarter of
// the budget, but for what is being looked at, and all of it is given back.
func TestKept(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		node := NewBudget(1<<30, nil)
		limit := int64(1) << (12 + r.IntN(10))
		k := NewKept(t.TempDir(), NewBudget(limit, node))
		var want []string
		forgotten := 0
		scratch := make([]byte, 0, 1<<16) // used again by every batch, as by a cursor's
		for range r.IntN(60) {
			b := types.NewBatch([]types.Type{types.Of(types.TextOID), types.Of(types.Int4OID)}, 0)
			scratch = scratch[:0]
			for range 1 + r.IntN(400) {
				v := fmt.Sprint(len(want)+b.N, strings.Repeat("v", r.IntN(100)))
				at := len(scratch)
				scratch = append(scratch, v...)
				b.Cols[0].AppendDatum(types.NewBytes(scratch[at:len(scratch):len(scratch)]))
				if r.IntN(4) == 0 {
					b.Cols[1].AppendNull()
				} else {
					b.Cols[1].AppendDatum(types.NewInt(int64(len(v))))
				}
				b.N++
			}
			from := r.IntN(b.N)
			for i := from; i < b.N; i++ {
				want = append(want, string(b.Cols[0].Bytes[i])+b.Cols[1].Get(i).String())
			}
			require.NoError(t, k.Add(b, from))
			clear(scratch[:cap(scratch)])
			require.LessOrEqual(t, k.held, limit/4)
			require.EqualValues(t, len(want), k.Rows())
			for range r.IntN(20) {
				i := forgotten + r.IntN(len(want)-forgotten)
				got, at, err := k.Row(int64(i))
				require.NoError(t, err)
				require.Equal(t, want[i], string(got.Cols[0].Bytes[at])+got.Cols[1].Get(at).String())
			}
			if r.IntN(8) == 0 {
				forgotten += r.IntN(len(want) - forgotten)
				k.Forget(int64(forgotten))
			}
		}
		for i := forgotten; i < len(want); {
			b, err := k.Next(int64(i))
			require.NoError(t, err)
			for j := range b.Len() {
				require.Equal(t, want[i], string(b.Cols[0].Bytes[b.Row(j)])+b.Cols[1].Get(b.Row(j)).String())
				i++
			}
		}
		b, err := k.Next(int64(len(want)))
		require.NoError(t, err)
		require.Nil(t, b)
		k.Close()
		require.Zero(t, node.Used())
	}
}
