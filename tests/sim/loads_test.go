package sim

import "testing"

// TestLoads runs some seeds in which transactions outgrow their gateways' memory.
func TestLoads(t *testing.T) {
	if *flagSeed != 0 || *flagProfile != "" {
		t.Skip("other seeds were asked for")
	}
	p := build(t)
	n := 8
	switch {
	case *flagSeeds > 0:
		n = max(n, *flagSeeds/4)
	case testing.Short():
		n = 2
	}
	results := make([]*Result, n)
	each(n, func(i int) {
		results[i], _ = p.run(Options{Seed: *flagFirst + uint64(i), Profile: "loads"})
	})
	var sum totals
	for _, r := range results {
		sum.add(r)
		if r.Failure != "" {
			t.Errorf("seed %d: %s\nto see it again: go test ./tests/sim -run TestSimulation -v -profile loads -seed %d", r.Options.Seed, r.Failure, r.Options.Seed)
		}
	}
	for _, what := range []string{"loads: ok", "loads: failed", "loads: what was sent is taken back", "loads: writes sent ahead", "loads: cut off while they paused"} {
		if rare := what == "loads: cut off while they paused"; rare && n < 8 {
			continue
		}
		if sum.counts[what] == 0 {
			t.Errorf("%s: not once", what)
		}
	}
	t.Log(&sum)
}
