package sim

import (
	"math/rand/v2"
	"time"

	"github.com/pamirdb/pamir/range/store"
)

// Options say what one run is. Everything that is not set follows from the seed.
type Options struct {
	Seed    uint64
	Profile string // which faults there are; see profiles
	Planted string // a bug to be planted; see mutants
	Length  time.Duration
	Verbose int // 1: the story; 2: with the nodes' logs; 3: every event

	Nodes     int
	Clients   int
	Splits    int  // ranges that the table has at the beginning
	Loads     int  // clients whose transactions outgrow their gateway's memory
	Hot       int  // clients that write the same few rows, and a queue
	Spread    bool // their leaders are not where the first range was
	MaxOffset time.Duration
	// GCAfter is how long old versions are kept; short in some runs.
	GCAfter time.Duration
	// DeadAfter is how long a gateway is out of reach before others finish its transactions; short in some runs, so that they do while it lives.
	DeadAfter time.Duration
}

// settle fills in what the seed decides.
func (o *Options) settle() {
	if o.Profile == "loads" || o.Profile == "pauses" {
		o.settleLoads()
	}
	if o.Profile == "hot" && o.Hot == 0 {
		o.Hot = 8
	}
	rng := rand.New(rand.NewPCG(o.Seed, 'o'))
	pick := func(set *int, from, to int) {
		n := from + rng.IntN(to-from+1)
		if *set == 0 {
			*set = n
		}
	}
	pick(&o.Nodes, 3, 5)
	pick(&o.Clients, 4, 8)
	pick(&o.Splits, 1, 10)
	if p := profileNames[rng.IntN(len(profileNames))]; o.Profile == "" {
		o.Profile = p
	}
	if o.MaxOffset == 0 {
		o.MaxOffset = 250 * time.Millisecond
	}
	if short := rng.IntN(3) == 0; o.GCAfter == 0 {
		o.GCAfter = time.Hour
		if short {
			o.GCAfter = 3 * time.Second
		}
	}
	if rng.IntN(2) == 0 {
		o.Spread = true
	}
	if short := rng.IntN(3) == 0; o.DeadAfter == 0 {
		o.DeadAfter = time.Second
		if short {
			o.DeadAfter = soon
		}
	}
	if o.Length == 0 {
		o.Length = 12 * time.Second
	}
}

// settleLoads: what is kept of old versions, and of the records of transactions that have ended, goes while loads run.
func (o *Options) settleLoads() {
	rng := rand.New(rand.NewPCG(o.Seed, 'p'))
	if n := 2 + rng.IntN(3); o.Loads == 0 {
		o.Loads = n
	}
	if d := time.Duration(1+rng.IntN(4)) * time.Second; o.GCAfter == 0 && d < 4*time.Second {
		o.GCAfter = d
	}
}

// knobs are those of production, but for what would not happen within seconds.
func (o *Options) knobs() store.Knobs {
	k := store.Knobs{MemTableBytes: 1 << 20, ClosedLag: time.Second, GCAfter: o.GCAfter, LogTruncateBytes: 16 << 10, LogMaxBytes: 64 << 10, GatewayDeadAfter: o.DeadAfter}
	if o.GCAfter < time.Hour {
		k.GCInterval, k.OutcomesAfter = 3*time.Second, o.GCAfter
		if o.Loads > 0 { // a record that says ABORTED goes while its load runs
			k.GCInterval = 500 * time.Millisecond
		}
	}
	if o.Loads > 0 { // and so do the locks of one whose gateway was cut off
		k.SweepInterval = 300 * time.Millisecond
	}
	k.Planted = mutants[o.Planted].plant
	return k
}
