package chaos

import (
	"context"
	"flag"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/tests/cluster"
)

var (
	duration  = flag.Duration("duration", 45*time.Second, "how long faults go on; a round lasts at most a minute of it")
	faultKind = flag.String("faults", "kill-leader,pause,isolate,one-way,clock,partial,kill,stop,one-way-all,kill-all", "kinds of faults, in this order, again and again")
	nodes     = flag.Int("nodes", 3, "processes")
	seed      = flag.Uint64("seed", 0, "of the choices made here, not of the scheduling of processes; 0: from the time")
	pace      = flag.Duration("pace", 10*time.Millisecond, "the longest pause of a client between two operations")
	dump      = flag.String("dump", "", "directory for what the nodes say while a client is stuck")
)

const roundTime = time.Minute

func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped under -short: it takes a minute")
	}
	names := strings.Split(*faultKind, ",")
	for _, n := range names {
		require.Contains(t, kinds, n, "a kind of fault")
	}
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("seed %d", *seed)
	c := cluster.Start(t, *nodes, cluster.WithNetwork(), cluster.WithClocks(), cluster.WithTimeout(2*time.Minute))
	r := newRun(t, c, Settings{Seed: *seed, Pace: *pace, Dump: *dump})
	end := time.Now().Add(*duration)
	for time.Now().Before(end) && !t.Failed() {
		r.round++
		r.oneRound(func(ctx context.Context) {
			ctx, cancel := context.WithTimeout(ctx, min(roundTime, time.Until(end)))
			defer cancel()
			var stirrer sync.WaitGroup
			stirrer.Go(func() { r.stir(ctx, tables) })
			defer stirrer.Wait()
			// Each round begins where the last one ended.
			k := int(r.round-1) * 7 % len(names)
			r.inflict(ctx, slices.Concat(names[k:], names[:k]))
		})
	}
	r.keepLogs()
	t.Logf("%d rounds\n%s", r.round, r.summary())
}
