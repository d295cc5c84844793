package sim

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// pauses are where loads that have sent writes ahead do nothing at present: their clients think. What becomes of their transactions meanwhile goes by
// whether their gateway answers.
type pauses struct {
	mu  sync.Mutex
	all []*pause // in the order in which they began
}

type pause struct {
	n        *node
	until    time.Time
	forsaken bool
}

// begin notes one; the function that it returns, its end.
func (p *pauses) begin(n *node, d time.Duration) (over func()) {
	x := &pause{n: n, until: time.Now().Add(d)}
	p.mu.Lock()
	p.all = append(p.all, x)
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		p.all = slices.DeleteFunc(p.all, func(y *pause) bool { return y == x })
		p.mu.Unlock()
	}
}

// forsake draws one of the pauses that go on for longer than d, each of them once, and returns where it is; nil if there is none.
func (p *pauses) forsake(rng *rand.Rand, d time.Duration) *node {
	p.mu.Lock()
	defer p.mu.Unlock()
	var long []*pause
	for _, x := range p.all {
		if !x.forsaken && time.Until(x.until) > d {
			long = append(long, x)
		}
	}
	if len(long) == 0 {
		return nil
	}
	x := long[rng.IntN(len(long))]
	x.forsaken = true
	return x.n
}
