package sql

import (
	"testing"

	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/types"
	"github.com/stretchr/testify/require"
)

// A cursor that only goes forward keeps one batch at a time, however many rows it has given; what a store holds goes back to the node.
func TestRowStoreGivesMemoryBack(t *testing.T) {
	node := exec.NewBudget(1<<20, nil)
	st := &rowStore{budget: exec.NewBudget(1<<19, node)}
	value := make([]byte, 1000)
	for i := range 1000 { // a megabyte in all, of which half may be held
		b := &types.Batch{N: 1, Cols: []*types.Vec{types.NewVec(types.Of(types.ByteaOID), 1)}}
		b.Cols[0].AppendDatum(types.NewBytes(value))
		require.NoError(t, st.add(b, 0))
		st.forget(int64(i + 1))
		_, at := st.row(int64(i))
		require.Zero(t, at)
		require.Len(t, st.batches, 1)
	}
	require.EqualValues(t, 1000, st.rows)
	require.EqualValues(t, 999, st.gone)
	require.Positive(t, node.Used())
	st.free()
	require.Zero(t, node.Used())
}
