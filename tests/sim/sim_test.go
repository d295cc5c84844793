package sim

import (
	"encoding/json"
	"flag"
	"os"
	"runtime/debug"
	"sync"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
)

var (
	flagSeeds   = flag.Int("seeds", 0, "how many seeds to run (default 100; 10 with -short)")
	flagFirst   = flag.Uint64("first", 1, "the first of them")
	flagSeed    = flag.Uint64("seed", 0, "run this seed only, and tell what happened")
	flagStory   = flag.Int("story", 1, "with -seed: 1 tells the story, 2 adds the nodes' logs and every transaction, 3 every event")
	flagProfile = flag.String("profile", "", "the faults, instead of those that the seed chooses")
	flagPlanted = flag.String("planted", "", "a bug to plant")
	flagReplay  = flag.Int("replay", 10, "run every so many seeds twice; 0 for none")
	flagMutants = flag.Int("mutants", 60, "in how many seeds to look for each planted bug")
)

func options(seed uint64) Options {
	return Options{Seed: seed, Profile: *flagProfile, Planted: *flagPlanted}
}

// TestSimulation runs many seeds, some of them twice: the same seed is the same run.
func TestSimulation(t *testing.T) {
	p := build(t)
	if *flagSeed != 0 {
		o := options(*flagSeed)
		o.Verbose = *flagStory
		r, out := p.run(o)
		t.Logf("\n%s", out)
		if r.Failure != "" {
			t.Error(r.Failure)
		}
		return
	}
	n := *flagSeeds
	switch {
	case n > 0:
	case testing.Short():
		n = 10
	default:
		n = 100
	}
	var mu sync.Mutex
	var sum totals
	replayed, differ := 0, 0
	each(n, func(i int) {
		o := options(*flagFirst + uint64(i))
		r, _ := p.run(o)
		again := r
		twice := *flagReplay > 0 && i%*flagReplay == 0
		if twice {
			again, _ = p.run(o)
		}
		mu.Lock()
		defer mu.Unlock()
		sum.add(r)
		if twice {
			replayed++
		}
		if again.Hash != r.Hash || again.Events != r.Events {
			differ++
			t.Errorf("seed %d is not the same run each time: %d events and %x, then %d and %x", o.Seed, r.Events, r.Hash, again.Events, again.Hash)
		}
		if r.Failure != "" {
			t.Errorf("seed %d, faults %q: %s\nto see it again: go test ./tests/sim -run TestSimulation -v -seed %d", o.Seed, r.Options.Profile, r.Failure, o.Seed)
		}
	})
	if n >= 50 && *flagProfile == "" {
		for _, what := range []string{"clocks read", "suspected in time", "reads given up, cut off"} {
			if sum.counts[what] == 0 {
				t.Errorf("%s: not once", what)
			}
		}
	}
	t.Logf("%s\n%d seeds were run twice, %d of them to the same hash of all events", &sum, replayed, replayed-differ)
}

// TestMutants plants each bug and looks for it in a fixed list of seeds, which take less than a minute. The run that catches it is
// to be in order without it.
func TestMutants(t *testing.T) {
	if testing.Short() {
		t.Skip("planted bugs are looked for without -short")
	}
	p := build(t)
	for _, name := range mutantNames() {
		if *flagPlanted != "" && *flagPlanted != name {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mutants[name]
			for i := range *flagMutants {
				o := m.o
				o.Seed, o.Planted = *flagFirst+uint64(i), name
				r, _ := p.run(o)
				if r.Failure == "" {
					continue
				}
				t.Logf("%s: caught by seed %d: %.200s", m.what, o.Seed, r.Failure)
				o.Planted = ""
				if r, _ = p.run(o); r.Failure != "" {
					t.Errorf("seed %d fails without a planted bug, too: %s", o.Seed, r.Failure)
				}
				return
			}
			t.Errorf("%s: not caught by any of %d seeds", m.what, *flagMutants)
		})
	}
}

// TestRun is one run, in a process of its own: the options are in the environment, and the result goes to standard output.
func TestRun(t *testing.T) {
	in := os.Getenv(runVariable)
	if in == "" {
		t.Skip("this is the part of a simulation that the other tests start in processes of their own")
	}
	var o Options
	if err := json.Unmarshal([]byte(in), &o); err != nil {
		t.Fatal(err)
	}
	debug.SetGCPercent(-1)
	o.settle()
	cryptotest.SetGlobalRandom(t, o.Seed) // the Raft library's election timeouts
	synctest.Test(t, func(t *testing.T) {
		setSeed(o.Seed)
		w := newWorld(o)
		b, err := json.Marshal(w.run())
		if err != nil {
			t.Fatal(err)
		}
		emit(resultPrefix + string(b) + "\n")
		if w.parked.Load() {
			os.Exit(0) // goroutines of stores whose disk failed never end; all others would fail the test
		}
	})
}
