package admin

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/admin"
	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/tests/cluster"
)

// What placement has done is still listed when another node drives: balance moves the meta range's leader as it does others, and then it would seem that nothing
// has come of a plan.
func TestOperatorsOutliveTheirDriver(t *testing.T) {
	l := cluster.StartLocal(t, 3, nil)
	conn := connect(t, l.Nodes[0])
	h := apiOf(t, l.Nodes[0])
	require.Equal(t, 200, h.send("POST", "/placement/pause", "").status) // nobody but this test moves leaders then
	for _, q := range []string{"CREATE TABLE t (a int8 PRIMARY KEY)", "INSERT INTO t SELECT generate_series(1, 100)", "SELECT pamir.split_at('t', 50)", "ALTER TABLE t SET (pamir.num_replicas = 1)"} {
		_, err := conn.Exec(t.Context(), q)
		require.NoError(t, err, q)
	}
	// Why is what they are told apart by: what moves leaders, or finds two at once, may begin with others.
	done := func() (out []string) {
		for _, o := range get[admin.OperatorList](h, "/operators?state=done").Operators {
			if o.Why == "2 voters, 1 wanted" || o.Why == "3 voters, 1 wanted" {
				out = append(out, fmt.Sprintf("%d %s", o.RangeID, o.Text))
			}
		}
		slices.Sort(out)
		return out
	}
	l.Eventually(60*time.Second, "there is one replica of each range of the table", func() error {
		for _, r := range get[admin.RangeList](h, "/ranges?table=t&key=70").Ranges {
			if len(r.Replicas) != 1 || len(get[admin.OperatorList](h, "/operators?state=running").Operators) > 0 {
				return fmt.Errorf("range %d has %d", r.ID, len(r.Replicas))
			}
		}
		return nil
	})
	before := done()
	require.NotEmpty(t, before)
	driver := get[admin.PlacementView](h, "/placement").Driver
	next := driver%kv.NodeID(len(l.Nodes)) + 1
	r := h.send("POST", "/ranges/1/transfer", fmt.Sprintf(`{"node": %d}`, next))
	require.Equal(t, 200, r.status, string(r.body))
	l.Eventually(30*time.Second, "another node drives", func() error {
		if now := get[admin.PlacementView](h, "/placement").Driver; now != next {
			return fmt.Errorf("node %d does", now)
		}
		return nil
	})
	require.Subset(t, done(), before)
}
