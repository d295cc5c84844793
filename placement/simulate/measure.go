package simulate

import (
	"fmt"
	"math"
	"time"
)

// Within is how far a kind of load may be from the mean on any store to count as balanced.
const Within = 0.1

// Kinds of load that Measure looks at, as in Census.
var Kinds = [4]string{"replicas", "leaders", "bytes", "cpu"}

// Measured is how a cluster came to rest after something had happened.
type Measured struct {
	Ticks     int
	Balanced  [4]time.Duration // from when on each of Kinds was within 10 % of the mean; -1 if it was not at the end
	Off       [4]float64       // how far the worst store is from the mean at the end, as a share of it
	Rest      time.Duration    // when the last operator had ended; -1 if it never did
	Moves     int
	Transfers int
	Moved     int64 // bytes
	Ideal     int64 // that had to be moved at least, to bring what is emptier than the mean up to it
	After     int   // operators in the ten minutes after that
	Mean, Max time.Duration
}

// Measure lets a scene happen, and the cluster come to rest. at is called at every tick.
func (c *Cluster) Measure(scene Scene, within time.Duration, at func() error) (Measured, error) {
	began, moves, transfers, moved, plans, cpu := c.Now, c.Moves, c.Transfers, c.MovedBytes, c.Plans, c.PlanTime
	scene.Happen(c)
	m := Measured{Rest: -1, Ideal: c.Gap()}
	c.SlowestPlan, c.idle = 0, 0
	out := [4]time.Duration{} // when each was last seen out of balance
	// A look at the balance goes over all ranges: not after every tick of thousands.
	look := 1 + len(c.Ranges)/50_000
	for c.Now-began < within && (c.idle < time.Minute || c.waits()) {
		if err := c.Tick(); err != nil {
			return m, err
		}
		if at != nil {
			if err := at(); err != nil {
				return m, err
			}
		}
		if m.Ticks++; m.Ticks%look == 0 || c.idle > 0 {
			n := c.Census()
			for k, f := range n.kinds() {
				if !balanced(f) {
					out[k] = c.Now - began
				}
			}
		}
	}
	n := c.Census()
	for k, f := range n.kinds() {
		m.Balanced[k] = out[k]
		m.Off[k] = max(f[1]-f[0], f[2]-f[1]) / max(f[1], 1e-9)
		if !balanced(f) {
			m.Balanced[k] = -1
		}
	}
	m.Moves, m.Transfers, m.Moved = c.Moves-moves, c.Transfers-transfers, c.MovedBytes-moved
	m.Mean, m.Max = (c.PlanTime-cpu)/time.Duration(max(c.Plans-plans, 1)), c.SlowestPlan
	if c.idle >= time.Minute && !c.waits() {
		m.Rest = c.Now - began - c.idle
		moves, transfers = c.Moves, c.Transfers
		for end := c.Now + 10*time.Minute; c.Now < end; {
			if err := c.Tick(); err != nil {
				return m, err
			}
		}
		m.After = c.Moves - moves + c.Transfers - transfers
	}
	return m, nil
}

// waits reports whether a store is silent and not yet dead, or back and not yet steady: something is still to come.
func (c *Cluster) waits() bool {
	for _, s := range c.Stores {
		if s.Down && s.Silence <= c.Rules.Limits.DeadAfter || !s.Down && s.Unsteady {
			return true
		}
	}
	return false
}

func (n *Census) kinds() [4][3]float64 { return [4][3]float64{n.Replicas, n.Leaders, n.Bytes, n.CPU} }

// balanced reports whether the least and the most are within 10 % of the mean, or within one of it: half a range cannot be moved.
func balanced(f [3]float64) bool {
	d := max(f[1]*Within, 1)
	if f[1] < 1 { // cores
		d = 0.1
	}
	return f[1]-f[0] <= d && f[2]-f[1] <= d
}

// Gap is how many bytes must be moved to bring every store that is to keep replicas up to the mean. It counts what there is: replicas that are
// to be made anew elsewhere are part of it, further ones that a rule asks for are not.
func (c *Cluster) Gap() int64 {
	var use []int64
	sum := int64(0)
	for i, s := range c.Stores {
		if !s.Down && !s.Decommissioning {
			use = append(use, c.used[i])
		}
		sum += c.used[i]
	}
	mean, gap := sum/int64(max(len(use), 1)), int64(0)
	for _, u := range use {
		gap += max(0, mean-u)
	}
	return gap
}

// MeasureHeader is above the rows of a table of what was measured.
const MeasureHeader = "                               within 10 % of the mean after                            moves         GiB     least        moves in       processor time\n" +
	"                              replicas    leaders      bytes        cpu      at rest   ranges  leaders   moved   to move  ratio   10 min after    a plan   the most\n"

// String is a row of that table; "off 12%" where a kind did not come within 10 %.
func (m Measured) String() string {
	at := func(k int) string {
		if m.Balanced[k] < 0 {
			return fmt.Sprintf("off %.0f%%", 100*m.Off[k])
		}
		return m.Balanced[k].String()
	}
	rest := "never"
	if m.Rest >= 0 {
		rest = m.Rest.String()
	}
	ratio := "-"
	if m.Ideal > 0 {
		ratio = fmt.Sprintf("%.2f", float64(m.Moved)/float64(m.Ideal))
	}
	return fmt.Sprintf("%10s %10s %10s %10s %12s %8d %8d %8.1f %8.1f %6s %14d %9s %9s", at(0), at(1), at(2), at(3),
		rest, m.Moves, m.Transfers, float64(m.Moved)/(1<<30), math.Max(0, float64(m.Ideal)/(1<<30)), ratio, m.After,
		m.Mean.Round(100*time.Microsecond), m.Max.Round(100*time.Microsecond))
}

// Busy gives the cluster a load: of every ten ranges one is hot, with clients everywhere, and the others are asked a little, by one node.
func (c *Cluster) Busy() {
	for i := range c.Ranges {
		r := &c.Ranges[i]
		c.Changed(i)
		if c.rnd.IntN(10) == 0 {
			heat := math.Exp(c.rnd.NormFloat64() * 0.7)
			r.Load.Requests, r.Load.CPU, r.Load.WriteBytes = 200*heat, 0.05*heat, 100e3*heat
		} else {
			r.Load.Requests, r.Load.CPU, r.Load.WriteBytes = 1, 0.0003, 500
			r.From = []source{{Node: c.Stores[c.rnd.IntN(len(c.Stores))].Node, Requests: 1}}
		}
	}
}
