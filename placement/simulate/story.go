package simulate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pamirdb/pamir/placement"
)

// Header of the table that Row makes lines of.
const Header = "    time    moves  leaders  flying  waiting  short  down    replicas      leaders         GiB\n"

// Row is one line: what has been done so far, what is under way, and the least and the most on a store.
func (c *Cluster) Row() string {
	s := c.Census()
	spread := func(f [3]float64, unit float64) string { return fmt.Sprintf("%.0f..%.0f", f[0]/unit, f[2]/unit) }
	return fmt.Sprintf("%8s %8d %8d %7d %8d %6d %5d %11s %12s %11s\n", c.Now, c.Moves, c.Transfers, s.InFlight, s.Waiting, s.Short, s.Unavailable,
		spread(s.Replicas, 1), spread(s.Leaders, 1), spread(s.Bytes, 1<<30))
}

// Run lets time pass and returns a line for each interval. during, if not nil, is called at every step.
func (c *Cluster) Run(d, every time.Duration, during func()) (string, error) {
	var b strings.Builder
	b.WriteString(Header)
	b.WriteString(c.Row())
	end, next := c.Now+d, c.Now+every
	for c.Now < end {
		if during != nil {
			during()
		}
		if err := c.Tick(); err != nil {
			return b.String(), err
		}
		if c.Now >= next {
			b.WriteString(c.Row())
			next += every
		}
	}
	return b.String(), nil
}

// Settle lets time pass until nothing has been done for a minute, at most for limit; ok says whether it came to that.
func (c *Cluster) Settle(limit time.Duration) (after time.Duration, ok bool, err error) {
	began := c.Now
	c.idle = 0
	for c.Now-began < limit {
		if err := c.Tick(); err != nil {
			return 0, false, err
		}
		if c.idle >= time.Minute {
			return c.Now - began - c.idle, true, nil
		}
	}
	return limit, false, nil
}

// Findings counts those of the last plan by text, the ranges' numbers left out.
func (c *Cluster) Findings() string {
	count := map[string]int{}
	for _, f := range c.Last.Findings {
		count[f.Why]++
	}
	var b strings.Builder
	for _, w := range slices.Sorted(maps.Keys(count)) {
		fmt.Fprintf(&b, "%d ranges: %s\n", count[w], w)
	}
	return b.String()
}

// Show describes each store.
func (c *Cluster) Show() string {
	var b strings.Builder
	for _, s := range c.Stores {
		var replicas, others, leaders int
		var bytes, cpu float64
		for i := range c.Ranges {
			r := &c.Ranges[i]
			if slices.Contains(r.Voters, s.ID) {
				replicas++
				bytes += float64(r.Bytes)
			}
			if slices.Contains(r.NonVoters, s.ID) {
				others++
			}
			if r.Leader == s.ID {
				leaders++
				cpu += r.Load.CPU
			}
		}
		fmt.Fprintf(&b, "n%-3d %s  %4d replicas %4d leaders %6.1f GiB", s.ID, strings.Join(s.Locality, ","), replicas, leaders, bytes/(1<<30))
		if others > 0 {
			fmt.Fprintf(&b, " %d without a vote", others)
		}
		if cpu > 0 {
			fmt.Fprintf(&b, " %.1f cores", cpu)
		}
		if c.Processors > 0 && len(c.busy) >= int(s.ID) {
			fmt.Fprintf(&b, ", uses %.1f of %d", c.busy[s.ID-1][0], c.Processors)
		}
		switch {
		case s.Down:
			b.WriteString("  down")
		case s.Draining:
			b.WriteString("  draining")
		case s.Decommissioning:
			b.WriteString("  leaving")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// In returns the stores with a tier in their locality.
func (c *Cluster) In(tier string) (out []*Store) {
	for _, s := range c.Stores {
		if slices.Contains(s.Locality, tier) {
			out = append(out, s)
		}
	}
	return out
}

// Rule gives ranges from first to last a rule of their own.
func (c *Cluster) Rule(r placement.Rule, first, last int) {
	c.Rules.Special = append(c.Rules.Special, r)
	for i := first - 1; i < last; i++ {
		c.Ranges[i].Rule = len(c.Rules.Special)
		c.Changed(i)
	}
}

// Hot gives ranges from first to last a load, which comes from gateways.
func (c *Cluster) Hot(first, last int, cpu, writes, rate float64, from ...placement.NodeID) {
	for i := first - 1; i < last; i++ {
		r := &c.Ranges[i]
		r.Load = placement.Load{Requests: rate, WriteBytes: writes, CPU: cpu}
		c.Changed(i)
		r.From = nil
		for _, n := range from {
			r.From = append(r.From, placement.Source{Node: n, Requests: rate / float64(len(from))})
		}
	}
}
