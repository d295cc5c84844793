package simulate

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/placement"
)

// One plan for 1,000 nodes and 1,000,000 ranges: with nothing to do, with 20 new nodes, with a dead zone.
func BenchmarkMillion(b *testing.B) {
	for _, c := range []struct {
		name   string
		happen func(c *Cluster)
	}{
		{"steady", func(*Cluster) {}},
		{"join", func(c *Cluster) {
			for range 20 {
				c.AddStore("region=a", "zone=a1", 0)
			}
		}},
		{"zone-dead", func(c *Cluster) {
			for _, s := range c.In("zone=a1") {
				c.Kill(s)
			}
			c.Now += 2 * c.Rules.Limits.DeadAfter
			c.elect()
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			m := New(Spec{Seed: 1, Nodes: 1000, Regions: 5, Zones: 4, Ranges: 1_000_000, Bytes: 64 << 20, Skew: 0.7})
			c.happen(m)
			now := m.moment()
			b.ResetTimer()
			var res placement.Result
			for b.Loop() {
				res = placement.Plan(placement.Snapshot{Moment: now, Ranges: m.Ranges}, m.Rules)
			}
			b.ReportMetric(float64(len(res.Operators)), "operators")
			b.ReportMetric(float64(len(res.Findings)), "waiting")
			if c.name == "steady" {
				require.Empty(b, res.Operators)
			}
		})
	}
}
