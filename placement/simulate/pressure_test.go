package simulate

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/placement"
)

// Whatever ranges are asked for, by clients wherever they are, on however few processors, and however wrong what leaders say of it: leaders come to rest; if it is wrong by a
// half or more, and nothing is right, ranges are tried elsewhere now and then, and not all the time.
func TestPressedSettles(t *testing.T) {
	seeds := uint64(30)
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		rnd := rand.New(rand.NewPCG(seed, 2))
		spec := Spec{Seed: seed, Regions: 1 + rnd.IntN(3), Zones: 1, Ranges: 2 + rnd.IntN(40), Bytes: 1 << 20, Processors: 2 + rnd.IntN(7)}
		spec.Nodes = max(3, spec.Regions*(1+rnd.IntN(3)))
		c := New(spec)
		c.Twin = true
		c.Unseen = 0.5 + 2.5*rnd.Float64()
		for _, s := range c.Stores {
			if rnd.IntN(4) == 0 {
				s.others = rnd.Float64() * float64(spec.Processors)
			}
		}
		total := float64(spec.Nodes*spec.Processors) * rnd.Float64()
		gateways := 1 + rnd.IntN(spec.Nodes)
		load := func() {
			for i := range c.Ranges {
				var from []placement.NodeID
				for range 1 + rnd.IntN(gateways) {
					from = append(from, placement.NodeID(1+rnd.IntN(gateways)))
				}
				cpu := 2 * rnd.Float64() * total / float64(spec.Ranges)
				c.Hot(i+1, i+1, cpu, 0, cpu/(20e-6+1e-3*rnd.Float64()), from...)
			}
		}
		load()
		for round := range 2 {
			_, err := c.Run(40*time.Minute, time.Hour, nil)
			require.NoError(t, err, "seed %d", seed)
			moved := map[placement.RangeID]int{}
			for range 600 {
				require.NoError(t, c.Tick(), "seed %d", seed)
				for _, op := range c.Last.Operators {
					moved[op.Range]++
					require.Greater(t, c.Unseen, 1.5, "seed %d, round %d: %s, after forty minutes of the same load", seed, round, op)
					require.LessOrEqual(t, moved[op.Range], 10, "seed %d, round %d: %s, within twenty minutes", seed, round, op)
				}
			}
			load()
		}
	}
}

// With a load that varies from one reading to the next, leaders that were moved off a busy node stay where they are.
func TestPressedNoise(t *testing.T) {
	for _, cpu := range []float64{0.1, 0.2, 0.4} {
		c := New(Spec{Seed: 3, Nodes: 3, Regions: 1, Zones: 1, Ranges: 12, Bytes: 1 << 20, Processors: 4})
		c.Unseen = 1.3
		c.Hot(1, 12, cpu, 0, cpu/400e-6, 1)
		noise := func() {
			for i := range c.Ranges {
				r := &c.Ranges[i]
				c.Changed(i)
				r.From = slices.Clone(r.From) // the planner has the old one
				r.Load.CPU += 0.22 * (cpu*(1+0.3*c.rnd.NormFloat64()) - r.Load.CPU)
				r.From[0].Requests += 0.22 * (cpu/400e-6*(1+0.3*c.rnd.NormFloat64()) - r.From[0].Requests)
			}
		}
		_, err := c.Run(20*time.Minute, time.Hour, noise)
		require.NoError(t, err)
		for range 900 {
			noise()
			require.NoError(t, c.Tick())
			for _, op := range c.Last.Operators { // those of n2 and n3 may be balanced now and then
				require.Contains(t, op.Why, "balance: the ranges led by n", "at %v cores a range, %s", cpu, c.Now)
				require.NotContains(t, op.Why, "n1", "at %v cores a range, %s", cpu, c.Now)
			}
		}
	}
}
