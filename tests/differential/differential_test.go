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
	moving   = flag.Int("moving", 1, "how many programs to run on four nodes, while ranges are split, merged and moved")
	faults   = flag.Bool("faults", false, "with -moving: nodes are cut off for a second or two as well; errors are then not compared")
	framed   = flag.Int("frames", 1, "how many programs to run most of whose queries have window functions")
	keepDir  = flag.String("keep", "", "write programs that found a difference into this directory")
)

// pageBytes: the ranges of tables of a few hundred rows are shown in pieces, so that those that are read at the same time come mixed up.
const pageBytes = 500

// A node serves so many programs: what they leave behind is not cleaned up within minutes.
const perNode = 40

func TestDifferential(t *testing.T) { onOne(t, *seeds, false) }

// TestFrames runs programs most of whose queries have window functions over frames.
func TestFrames(t *testing.T) { onOne(t, *framed, true) }

func onOne(t *testing.T, n int, frames bool) {
	pg := startPostgres(t)
	sum := newCounts()
	began, done, cuts := time.Now(), 0, 0
	batches(t, n, func(t *testing.T, from uint64, n int) {
		reads := &failingReads{}
		served := cluster.StartLocal(t, 1, func(_ int, c *node.Config) {
			c.ScanBytes, c.FailRead = pageBytes, reads.read
			slow(c)
		}).Nodes[0]
		for seed := from; seed < from+uint64(n) && inTime(began); seed++ {
			r := rand.New(rand.NewPCG(seed, 1))
			p := newProgram(t, seed, r, sum, pg.DSN(), dsnOf(t, served))
			p.frames = frames
			p.cut, p.reads = &cutter{n: served, r: r, known: map[uint64][]keys.Key{}}, reads
			if err := p.run(*steps); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
			done, cuts = done+1, cuts+p.cut.cuts
		}
	})
	require.Positive(t, cuts, "no table was cut into ranges")
	t.Logf("%d programs in %s: tables cut %d times", done, time.Since(began).Round(time.Second), cuts)
	sum.log(t)
}

// TestMoving runs programs on four nodes, while their tables' ranges are split, merged and moved and get other leaders; with statements that take longer than that does.
func TestMoving(t *testing.T) {
	pg := startPostgres(t)
	sum, moves := newCounts(), newMoved()
	began, done := time.Now(), 0
	batches(t, *moving, func(t *testing.T, from uint64, n int) {
		l := cluster.StartLocal(t, 4, func(_ int, c *node.Config) {
			c.ScanBytes, c.MergeAfter = pageBytes, 5*time.Second
			slow(c)
			if !*faults {
				cluster.LongSupportLocal(0, c)
			}
		})
		nodes := l.Nodes
		for seed := from; seed < from+uint64(n) && inTime(began); seed++ {
			r := rand.New(rand.NewPCG(seed, 2))
			var dsns []string
			for _, n := range nodes {
				dsns = append(dsns, dsnOf(t, n))
			}
			p := newProgram(t, seed, r, sum, pg.DSN(), pick(r, dsns...))
			p.dsns, p.cut = dsns, &cutter{n: nodes[0], r: r, known: map[uint64][]keys.Key{}}
			p.again, p.longer, p.moves = 2, true, &mover{nodes: nodes, r: rand.New(rand.NewPCG(seed, 3)), keys: p.cut, sum: moves}
			if *faults {
				p.moves.net, p.faults, p.again = l.Net, true, 10
			}
			if err := p.run(*steps); err != nil && !*faults {
				t.Errorf("seed %d: %v", seed, err)
			}
			if what := p.moves.drift(t.Context()); what != "" {
				t.Errorf("after seed %d: %s", seed, what)
			}
			done++
		}
	})
	t.Logf("%d programs in %s; moves: %v, refused: %v", done, time.Since(began).Round(time.Second), moves.did, moves.refused)
	sum.log(t)
	if done > 0 {
		require.Positive(t, moves.did["split"], "nothing was split meanwhile")
	}
}

func startPostgres(t *testing.T) *postgres.Cluster {
	if testing.Short() {
		t.Skip("starts a PostgreSQL cluster: not with -short")
	}
	pg, err := postgres.Start()
	if errors.Is(err, postgres.ErrMissing) {
		t.Skip(err.Error())
	}
	require.NoError(t, err)
	t.Cleanup(pg.Stop)
	return pg
}

func inTime(began time.Time) bool { return *duration == 0 || time.Since(began) < *duration }

// batches runs n programs, or the one that -seed names, in pieces that have one cluster each.
func batches(t *testing.T, n int, run func(t *testing.T, from uint64, n int)) {
	from := *first
	if *oneSeed != 0 {
		from, n = *oneSeed, min(n, 1)
	}
	began := time.Now()
	for n > 0 && inTime(began) {
		some := min(n, perNode)
		t.Run(fmt.Sprintf("from %d", from), func(t *testing.T) { run(t, from, some) })
		from, n = from+uint64(some), n-some
	}
}

func dsnOf(t *testing.T, n *node.Node) string {
	_, addr, _ := n.Addresses()
	host, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	return fmt.Sprintf("host=%s port=%s user=root dbname=defaultdb sslmode=disable", host, port)
}

func newProgram(t *testing.T, seed uint64, r *rand.Rand, sum *counts, pg, pamir string) *program {
	return &program{ctx: t.Context(), seed: seed, r: r, g: &gen{r: r}, sum: sum, report: t.Errorf, keep: *keepDir,
		pg: &server{name: "PostgreSQL", dsn: pg}, pamir: &server{name: "Pamir", dsn: pamir}}
}

// log says what a run did.
func (sum *counts) log(t *testing.T) {
	t.Logf("%d answers compared, %d rows; %d too slow for PostgreSQL, %d refused for memory (53200), %d failed for faults, %d executions with a read that failed, of which clients were told (40001) of %d; %d differences",
		sum.compared, sum.rows, sum.slow, sum.memory, sum.lost, sum.failed, sum.shown, sum.differ)
	for _, q := range sum.large {
		t.Logf("too large for Pamir's memory, though its budget is the one that it begins with: %s", q)
	}
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
