package regions

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

// TestCommitsByDistance shows what COMMIT takes by the number of ranges that a transaction has written to, and by how far apart three nodes are. Rounds
// are the same for one range and for many (invariant 1), so what is added for each range is computing, and the ratio falls with the
// distance. All leaders are where the client is, and stay there: to a leader that is elsewhere there is one way more, for one range as for many. The figures are printed, nothing is
// asserted of them.
func TestCommitsByDistance(t *testing.T) {
	if !*processes {
		t.Skip("skipped: starts twelve processes, one cluster after the other; make regions runs it")
	}
	counts := []int{1, 2, 4, 8, 32}
	var table strings.Builder
	fmt.Fprintf(&table, "COMMIT, p50 in ms, and over that for one range\n%12s", "round trip")
	for _, n := range counts {
		fmt.Fprintf(&table, "%18s", fmt.Sprintf("%d ranges", n))
	}
	for _, rtt := range []time.Duration{0, time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond} {
		t.Run(rtt.String(), func(t *testing.T) {
			var opts []cluster.Option
			if rtt > 0 {
				opts = append(opts, cluster.WithDelay(func(_, _ int) time.Duration { return rtt / 2 }))
			}
			took := commitTimes(t, cluster.Start(t, 3, opts...).DSN(0), counts, 8*time.Second)
			fmt.Fprintf(&table, "\n%12s", rtt)
			for i := range counts {
				fmt.Fprintf(&table, "%9.2f (%.2fx)", took[i], took[i]/took[0])
			}
		})
	}
	t.Log(table.String())
}

// commitTimes returns the medians, in ms, for transactions that write one row in each of so many ranges.
func commitTimes(t *testing.T, dsn string, counts []int, d time.Duration) []float64 {
	const ranges, gap = 32, 1000
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer conn.Close(ctx)
	exec := func(q string, args ...any) {
		t.Helper()
		_, err := conn.Exec(ctx, q, args...)
		require.NoError(t, err, q)
	}
	exec("select pamir.pause_rebalancing()")
	exec("create table spread (id int primary key, n bigint not null)")
	exec("insert into spread select r * $1::int, 0 from generate_series(0, $2::int) r", gap, ranges-1)
	for r := 1; r < ranges; r++ {
		exec("select pamir.split_at('spread', $1::int)", r*gap)
	}
	took := make([][]float64, len(counts))
	rng := rand.New(rand.NewPCG(1, 1))
	for end := time.Now().Add(d); time.Now().Before(end); {
		for i, n := range counts {
			ids := make([]int32, n)
			first := rng.IntN(ranges)
			for j := range ids {
				ids[j] = int32((first + j) % ranges * gap)
			}
			exec("begin")
			exec("update spread set n = n + 1 where id = any($1)", ids)
			start := time.Now()
			exec("commit")
			took[i] = append(took[i], float64(time.Since(start).Microseconds())/1000)
		}
	}
	out := make([]float64, len(counts))
	for i, ms := range took {
		slices.Sort(ms)
		out[i] = ms[len(ms)/2]
	}
	return out
}
