package simulate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/placement"
)

// What plans for 1,000 nodes and 1,000,000 ranges cost while one thing after the other happens, in processor time: of ten plans each, the mean and the
// most. Telling the planner what has changed is part of it.
//
//	go test ./placement/simulate -bench Million -benchtime 1x -run XXX
func BenchmarkMillion(b *testing.B) {
	c := New(Spec{Seed: 1, Nodes: 1000, Regions: 5, Zones: 4, Ranges: 1_000_000, Bytes: 64 << 20, Skew: 0.7})
	for _, s := range []Scene{
		{"first", func(*Cluster) {}},
		{"steady", func(*Cluster) {}},
		{"load-comes-up", (*Cluster).Busy},
		{"20-join", func(c *Cluster) { c.Join(20) }},
		{"5-die", func(c *Cluster) {
			for i := range 5 {
				c.Kill(c.Stores[i*7])
			}
		}},
		{"zone-silent", func(c *Cluster) {
			for _, s := range c.In("zone=a2") {
				c.Kill(s)
			}
		}},
		{"zone-dead", func(c *Cluster) { c.Now += c.Rules.Limits.DeadAfter }},
		{"rule-changes", func(c *Cluster) {
			r := c.Rules.Default
			r.Name, r.Replicas = "table t", 5
			require.NoError(b, r.Set(placement.OptLeaderPreference, "region=b"))
			c.Rule(r, 500_000, 520_000)
		}},
		{"one-leaves", func(c *Cluster) { c.Stores[500].Decommissioning = true }},
	} {
		b.Run(s.Name, func(b *testing.B) {
			for b.Loop() {
				s.Happen(c)
				const plans = 10
				began, did := c.PlanTime, c.Moves+c.Transfers+len(c.flights)
				c.SlowestPlan = 0
				for range plans {
					require.NoError(b, c.Tick())
				}
				b.ReportMetric((c.PlanTime-began).Seconds()*1e3/plans, "cpu-ms/plan")
				b.ReportMetric(float64(c.SlowestPlan/time.Millisecond), "cpu-ms/slowest")
				b.ReportMetric(float64(c.Moves+c.Transfers+len(c.flights)-did), "operators")
				b.ReportMetric(float64(len(c.Last.Findings)), "waiting")
			}
		})
	}
}
