package sql

import (
	"testing"

	"github.com/pamirdb/pamir/sql/exec"
	"github.com/pamirdb/pamir/sql/pgerr"
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

// A small statement that fails because an open cursor's rows do not fit into memory says that it is the cursor's.
func TestCursorThatDoesNotFit(t *testing.T) {
	w := newWorld(t)
	a := w.session()
	a.must("create table u (v int)")
	a.must("set pamir.statement_memory = '1MB'")
	for _, x := range []struct{ begin, with, then string }{
		{"begin isolation level read committed", "", "insert into u values (1)"},
		{"begin; insert into u values (1)", "", "insert into u values (2)"},
		{"begin", "with hold", "commit"},
	} {
		a.must(x.begin)
		a.must("declare big cursor " + x.with + " for select g, repeat('x', 100) from generate_series(1, 50000) g")
		a.must("fetch 3 from big")
		e, ok := pgerr.As(a.Query(x.then))
		require.True(t, ok, x.begin)
		require.Equal(t, "53200", e.Code)
		require.Equal(t, `the rows of cursor "big" that have not been fetched do not fit into memory`, e.Message)
		require.Contains(t, e.Hint, "pamir.statement_memory")
		a.take()
		a.must("rollback")
	}
	require.Equal(t, "[count](0)SELECT 1;", a.q("select count(*) from u"))
}
