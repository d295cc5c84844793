package simulate

import (
	"math"
	"time"
)

// What a request costs beside what its leader evaluates: its gateway, and each end if the two are not one node. The planner's guess is another.
const (
	gatewayCPU = 60e-6
	hopCPU     = 50e-6
	// rateTime is that of the rates that nodes report.
	rateTime = 8 * time.Second
)

// work makes every node measure what its processors do: what it leads, and what it is the gateway of. A node that has not enough of them uses all; what its
// clients have to wait for then is not modelled, they go on asking.
func (c *Cluster) work() {
	if c.Processors == 0 {
		return
	}
	used := make([]float64, len(c.Stores))
	for i := range c.Ranges {
		r := &c.Ranges[i]
		if r.Leader == 0 {
			continue
		}
		leader := c.store(r.Leader)
		used[leader.ID-1] += r.Load.CPU * c.Unseen
		for _, g := range r.From {
			at := &used[g.Node-1] // nodes have the numbers of their stores
			*at += g.Requests * gatewayCPU
			if g.Node != leader.Node {
				*at += g.Requests * hopCPU
				used[leader.ID-1] += g.Requests * hopCPU
			}
		}
	}
	for len(c.busy) < len(c.Stores) {
		c.busy = append(c.busy, [2]float64{0, float64(c.Processors)})
	}
	a := 1 - math.Exp(-Step.Seconds()/rateTime.Seconds())
	for i, s := range c.Stores {
		all := float64(c.Processors)
		now := min(used[i], max(all-s.others, all/2)) // the system shares them fairly
		for k, v := range [2]float64{now, max(0, all-s.others-now)} {
			c.busy[i][k] += a * (v - c.busy[i][k])
		}
		s.Cores, s.Used, s.Idle = all, c.busy[i][0], c.busy[i][1]
	}
}
