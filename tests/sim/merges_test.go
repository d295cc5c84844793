package sim

import "testing"

// TestMerges runs some seeds in which ranges come and go all the time, and their replicas with them.
func TestMerges(t *testing.T) {
	if *flagSeed != 0 {
		t.Skip("another seed was asked for")
	}
	p := build(t)
	n := 6
	switch {
	case *flagSeeds > 0:
		n = max(n, *flagSeeds/2)
	case testing.Short():
		n = 2
	}
	results := make([]*Result, n)
	each(n, func(i int) { results[i], _ = p.run(Options{Seed: uint64(i + 1), Profile: "merges"}) })
	done := int64(0)
	for _, r := range results {
		done += r.Counts["done: merge"]
		if r.Failure != "" {
			t.Errorf("seed %d: %s\nto see it again: go test ./tests/sim -run TestSimulation -v -profile merges -seed %d", r.Options.Seed, r.Failure, r.Options.Seed)
		}
	}
	if done == 0 {
		t.Error("nothing was merged")
	}
	t.Logf("%d merges in %d runs", done, n)
}
