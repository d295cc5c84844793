package differential

import (
	"context"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

var paused = flag.Int("paused", 1, "how many programs to run on three processes that are stopped (SIGSTOP) now and then")

// TestPaused runs programs on three processes, each of which is stopped for a while, now and then, in the midst of whatever it does: also between a commit's answer and what becomes of
// its locks. Errors that this explains end a program; what is answered has to be right.
func TestPaused(t *testing.T) {
	pg := startPostgres(t)
	sum := newCounts()
	began, done, pauses, moves := time.Now(), 0, 0, 0
	batches(t, *paused, func(t *testing.T, from uint64, n int) {
		c := cluster.Start(t, 3, cluster.WithTimeout(2*time.Minute))
		var dsns []string
		for i := range c.Size() {
			dsns = append(dsns, c.DSN(i))
		}
		for seed := from; seed < from+uint64(n) && inTime(began); seed++ {
			r := rand.New(rand.NewPCG(seed, 7))
			p := newProgram(t, seed, r, sum, pg.DSN(), pick(r, dsns...))
			p.dsns, p.faults, p.longer, p.again = dsns, true, true, 2
			x := &pauser{c: c, r: rand.New(rand.NewPCG(seed, 8))}
			ctx, cancel := context.WithCancel(t.Context())
			var stopping sync.WaitGroup
			stopping.Go(func() { x.run(ctx) })
			err := p.run(*steps)
			cancel()
			stopping.Wait()
			if err != nil {
				t.Logf("seed %d ended: %v", seed, err)
			}
			done, pauses, moves = done+1, pauses+x.pauses, moves+x.moves
		}
	})
	t.Logf("%d programs in %s: processes stopped %d times, leaders moved %d times, tables cut %d times", done, time.Since(began).Round(time.Second), pauses, moves, sum.splits)
	sum.log(t)
	require.Positive(t, pauses, "nobody was stopped")
	require.Positive(t, sum.compared)
}
