package simulate

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/placement"
)

// The stories. Commands and their arguments:
//
//	cluster  nodes, ranges, regions, zones (in a region), size (MiB), skew, disk (GiB), seed, processors
//	add      nodes, region, zone               kill, revive, drain, decommission  node or zone or region
//	flap     node, down, up, for               disk    node, use (GiB that are no replicas)
//	shake    node, for, each: how long until it is without support again
//	unseen   factor: what ranges take, beside what their leaders say
//	others   node, cores: what other processes use there
//	slow     region, factor                    hot     ranges=a-b, from=(nodes), rate, cpu, writes (MiB)
//	rule     [ranges=a-b], options as lines    run     for, every
//	settle   within                            show
//	join     nodes, each like one there is     busy: a load for all ranges
//	measure  within
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var c *Cluster
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			num := func(key string, or int) int {
				if d.HasArg(key) {
					d.ScanArgs(t, key, &or)
				}
				return or
			}
			text := func(key string) (s string) {
				if d.HasArg(key) {
					d.ScanArgs(t, key, &s)
				}
				return s
			}
			float := func(key string) (f float64) {
				if s := text(key); s != "" {
					_, err := fmt.Sscanf(s, "%g", &f)
					require.NoError(t, err)
				}
				return f
			}
			dur := func(key string) time.Duration {
				v, err := time.ParseDuration(text(key))
				require.NoError(t, err)
				return v
			}
			span := func() (a, b int) {
				if !d.HasArg("ranges") {
					return 1, len(c.Ranges)
				}
				_, err := fmt.Sscanf(text("ranges"), "%d-%d", &a, &b)
				require.NoError(t, err)
				return a, b
			}
			which := func() []*Store {
				switch {
				case d.HasArg("node"):
					return []*Store{c.Stores[num("node", 0)-1]}
				case d.HasArg("zone"):
					return c.In("zone=" + text("zone"))
				}
				return c.In("region=" + text("region"))
			}
			run := func(d, every time.Duration, during func()) string {
				out, err := c.Run(d, every, during)
				require.NoError(t, err)
				return out
			}
			switch d.Cmd {
			case "cluster":
				c = New(Spec{Seed: uint64(num("seed", 1)), Nodes: num("nodes", 3), Ranges: num("ranges", 100), Regions: num("regions", 1), Zones: num("zones", 1),
					Bytes: int64(num("size", 64)) << 20, Skew: float("skew"), Capacity: int64(num("disk", 0)) << 30,
					Processors: num("processors", 0)})
				c.Twin = true
			case "add":
				for range num("nodes", 1) {
					c.AddStore("region="+text("region"), "zone="+text("zone"), int64(num("disk", 0))<<30)
				}
			case "join":
				c.Join(num("nodes", 1))
			case "busy":
				c.Busy()
			case "unseen":
				c.Unseen = float("factor")
			case "others":
				which()[0].others = float("cores")
			case "measure":
				m, err := c.Measure(Scene{Happen: func(*Cluster) {}}, dur("within"), nil)
				require.NoError(t, err)
				m.Mean, m.Max = 0, 0 // they are the machine's
				return MeasureHeader + fmt.Sprintf("%28s", "") + m.String() + "\n" + c.Findings()
			case "kill":
				for _, s := range which() {
					c.Kill(s)
				}
			case "revive":
				for _, s := range which() {
					c.Revive(s)
				}
			case "drain":
				which()[0].Draining = true
			case "decommission":
				which()[0].Decommissioning = true
			case "flap":
				s, down, up, began := which()[0], dur("down"), dur("up"), c.Now
				return run(dur("for"), dur("every"), func() {
					if (c.Now-began)%(down+up) < up {
						c.Revive(s)
					} else {
						c.Kill(s)
					}
				})
			case "shake":
				s, each, began := which()[0], dur("each"), c.Now
				return run(dur("for"), dur("every"), func() {
					if (c.Now-began)%each == 0 {
						c.Shake(s)
					}
				})
			case "disk":
				which()[0].otherUse = int64(num("use", 0)) << 30
			case "slow":
				for _, s := range which() {
					s.Bandwidth /= float("factor")
				}
			case "hot":
				a, b := span()
				var from []placement.NodeID
				for _, arg := range d.CmdArgs {
					if arg.Key == "from" {
						for _, v := range arg.Vals {
							var n int
							_, err := fmt.Sscanf(v, "%d", &n)
							require.NoError(t, err)
							from = append(from, placement.NodeID(n))
						}
					}
				}
				c.Hot(a, b, float("cpu"), float("writes")*(1<<20), float("rate"), from...)
			case "rule":
				r := c.Rules.Default
				if d.HasArg("ranges") {
					r.Name = "table of ranges " + text("ranges")
				}
				for _, line := range strings.Split(d.Input, "\n") {
					k, v, _ := strings.Cut(line, " ")
					require.NoError(t, r.Set(k, v))
				}
				require.NoError(t, r.Check())
				if d.HasArg("ranges") {
					a, b := span()
					c.Rule(r, a, b)
				} else {
					c.Rules.Default = r
				}
			case "run":
				return run(dur("for"), dur("every"), nil)
			case "settle":
				moves, transfers, bytes := c.Moves, c.Transfers, c.MovedBytes
				after, ok, err := c.Settle(dur("within"))
				require.NoError(t, err)
				if !ok {
					return "does not settle\n" + Header + c.Row() + c.Findings()
				}
				return fmt.Sprintf("after %s: %d replica changes, %d transfers of leadership, %.1f GiB moved\n%s%s%s", after, c.Moves-moves, c.Transfers-transfers,
					float64(c.MovedBytes-bytes)/(1<<30), Header, c.Row(), c.Findings())
			case "show":
				return c.Show() + c.Findings()
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			return ""
		})
	})
}

// A steady cluster makes no moves in ten minutes, whatever small noise there is in its load.
func TestSteady(t *testing.T) {
	c := New(Spec{Seed: 7, Nodes: 9, Regions: 3, Zones: 3, Ranges: 600, Bytes: 64 << 20, Skew: 0.5})
	// What a range is asked varies by a third from one reading to the next; what is reported is smoothed, as nodes do.
	smooth := func(v *float64, mean float64) { *v += 0.22 * (mean*(1+0.3*c.rnd.NormFloat64()) - *v) }
	for i := range c.Ranges {
		c.Ranges[i].Load = placement.Load{CPU: 0.02, WriteBytes: 50e3}
		for n := range 9 {
			c.Ranges[i].From = append(c.Ranges[i].From, placement.Source{Node: placement.NodeID(n + 1), Requests: 20})
		}
	}
	noise := func() {
		for i := range c.Ranges {
			r := &c.Ranges[i]
			c.Changed(i)
			r.From = slices.Clone(r.From) // the planner has the old one
			smooth(&r.Load.CPU, 0.02)
			smooth(&r.Load.WriteBytes, 50e3)
			for n := range r.From {
				smooth(&r.From[n].Requests, 20)
			}
		}
	}
	_, err := c.Run(20*time.Minute, time.Hour, noise)
	require.NoError(t, err)
	moves, transfers := c.Moves, c.Transfers
	_, err = c.Run(10*time.Minute, time.Hour, noise)
	require.NoError(t, err)
	require.Zero(t, c.Moves-moves, "replicas moved")
	require.Zero(t, c.Transfers-transfers, "leaders moved")
}

// The same seed gives the same story.
func TestDeterministic(t *testing.T) {
	story := func() string {
		c := New(Spec{Seed: 3, Nodes: 8, Regions: 2, Zones: 2, Ranges: 200, Bytes: 64 << 20, Skew: 1})
		c.Kill(c.Stores[2])
		out, err := c.Run(20*time.Minute, time.Minute, nil)
		require.NoError(t, err)
		return out + c.Show()
	}
	require.Equal(t, story(), story())
}
