package differential

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/internal/node"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/tests/cluster"
	"github.com/pamirdb/pamir/tests/postgres"
)

var (
	oneSeed  = flag.Uint64("seed", 0, "run this program only")
	seeds    = flag.Int("seeds", 3, "how many programs to run")
	first    = flag.Uint64("first", 1, "the first program's seed")
	steps    = flag.Int("steps", 30, "steps of each program")
	duration = flag.Duration("duration", 0, "begin no further program after this time")
	keepDir  = flag.String("keep", "", "write programs that found a difference into this directory")
)

// pageBytes: the ranges of tables of a few hundred rows are shown in pieces, so that those that are read at the same time come mixed up.
const pageBytes = 500

// A node serves so many programs: what they leave behind is not cleaned up within minutes.
const perNode = 40

func TestDifferential(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a PostgreSQL cluster: not with -short")
	}
	pg, err := postgres.Start()
	if errors.Is(err, postgres.ErrMissing) {
		t.Skip(err.Error())
	}
	require.NoError(t, err)
	defer pg.Stop()
	from, n := *first, *seeds
	if *oneSeed != 0 {
		from, n = *oneSeed, 1
	}
	sum := newCounts()
	began, done, cuts := time.Now(), 0, 0
	for n > 0 && (*duration == 0 || time.Since(began) < *duration) {
		t.Run(fmt.Sprintf("from %d", from), func(t *testing.T) {
			served := cluster.StartLocal(t, 1, func(_ int, c *node.Config) { c.ScanBytes = pageBytes }).Nodes[0]
			_, addr, _ := served.Addresses()
			host, port, err := net.SplitHostPort(addr)
			require.NoError(t, err)
			dsn := fmt.Sprintf("host=%s port=%s user=root dbname=defaultdb sslmode=disable", host, port)
			for range min(n, perNode) {
				if *duration > 0 && time.Since(began) > *duration {
					break
				}
				r := rand.New(rand.NewPCG(from, 1))
				p := &program{
					ctx: t.Context(), seed: from, r: r, g: &gen{r: r}, sum: sum, report: t.Errorf, keep: *keepDir,
					pg: &server{name: "PostgreSQL", dsn: pg.DSN()}, pamir: &server{name: "Pamir", dsn: dsn},
					cut: &cutter{n: served, r: r, known: map[uint64][]keys.Key{}},
				}
				if err := p.run(*steps); err != nil {
					t.Errorf("seed %d: %v", from, err)
				}
				from, n, done, cuts = from+1, n-1, done+1, cuts+p.cut.cuts
			}
		})
	}
	require.Positive(t, cuts, "no table was cut into ranges")
	t.Logf("%d programs in %s: tables cut %d times; %d answers compared, %d rows; %d too slow for PostgreSQL, %d refused for memory (53200) under a small budget; %d differences", done, time.Since(began).Round(time.Second), cuts,
		sum.compared, sum.rows, sum.slow, sum.memory, sum.differ)
	for _, q := range sum.slower {
		t.Logf("more than 2 s in Pamir, less than 0.5 in PostgreSQL: %s", q)
	}
	for _, part := range []struct {
		what string
		of   map[string]int
	}{{"statements", sum.statements}, {"equal errors", sum.errors}, {"refused by Pamir, 0A000", sum.refused}} {
		t.Log(part.what + ":")
		for _, k := range slices.Sorted(maps.Keys(part.of)) {
			t.Logf("  %6d  %s", part.of[k], k)
		}
	}
}
