package sessions

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Sixteen sessions at three gateways queue for one lock, while leaders move, and get it in the order in which they came.
func advisoryOrder(t *testing.T, s *suite) {
	const n = 16
	holder, look := s.connect(t, 0), s.connect(t, 1)
	holder.do("select pg_advisory_lock(16)")
	got := make(chan int, n)
	var clients []*client
	for i := range n {
		c := s.connect(t, i%3)
		clients = append(clients, c)
		ch := c.later("select pg_advisory_lock(16)")
		go func() {
			if err := <-ch; err != nil {
				t.Error(err)
			}
			got <- i
		}()
		look.eventually("select count(*) = $1 from pg_locks where locktype = 'advisory' and objid = 16 and not granted", i+1)
	}
	last := clients[n-1]
	look.eventually("select cardinality(pg_blocking_pids($1)) = $2", last.pid(), n) // the holder, and all before it
	holder.do("select pg_advisory_unlock(16)")
	var order []int
	began := time.Now()
	for k := range n {
		i := <-got
		order = append(order, i)
		if k%5 == 4 {
			// It may be refused: on a busy machine a node may seem to be silent for a moment.
			if _, err := look.Exec(bg, "select pamir.transfer_leader(range_id, $1) from pamir.ranges where table_name is null and leader <> $1", k%3+1); err != nil {
				t.Log(err)
			}
		}
		clients[i].do("select pg_advisory_unlock(16)")
	}
	t.Logf("a hand-over took %s", (time.Since(began) / n).Round(time.Microsecond))
	require.True(t, slices.IsSorted(order), "%v", order)
	require.Zero(t, one[int](look, "select count(*) from pg_locks where locktype = 'advisory' and objid = 16"))
}
