package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pamirdb/pamir/placement/simulate"
)

func main() {
	out := flag.String("out", "", "directory for the plots; none if empty")
	nodes := flag.Int("nodes", 1000, "nodes of the large model")
	ranges := flag.Int("ranges", 1_000_000, "ranges of the large model")
	flag.Parse()
	if err := run(*out, *nodes, *ranges); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out string, nodes, ranges int) error {
	if out != "" {
		if err := os.MkdirAll(out, 0o755); err != nil {
			return err
		}
	}
	for _, s := range []struct {
		name, what string
		spec       simulate.Spec
		during     []event
		limit      time.Duration
	}{
		{"join", "two nodes join three", simulate.Spec{Seed: 1, Nodes: 3, Regions: 1, Zones: 1, Ranges: 300, Bytes: 64 << 20},
			[]event{{0, func(c *simulate.Cluster) { c.AddStore("region=a", "zone=a1", 0); c.AddStore("region=a", "zone=a1", 0) }}}, time.Hour},
		{"zone", "a zone of three dies, and comes back after 20 minutes", simulate.Spec{Seed: 1, Nodes: 9, Regions: 1, Zones: 3, Ranges: 900, Bytes: 64 << 20},
			[]event{{0, func(c *simulate.Cluster) { each(c, "zone=a2", c.Kill) }}, {20 * time.Minute, func(c *simulate.Cluster) { each(c, "zone=a2", c.Revive) }}}, 2 * time.Hour},
		{"large", fmt.Sprintf("%d nodes, %d ranges: 20 nodes join, and 5 die", nodes, ranges),
			simulate.Spec{Seed: 1, Nodes: nodes, Regions: 5, Zones: 4, Ranges: ranges, Bytes: 64 << 20, Skew: 0.7},
			[]event{{0, func(c *simulate.Cluster) {
				for i := range 20 {
					r := string(rune('a' + i%5))
					c.AddStore("region="+r, fmt.Sprintf("zone=%s%d", r, i/5%4+1), 0)
				}
				for i := range 5 {
					c.Kill(c.Stores[i*7])
				}
			}}}, 6 * time.Hour},
	} {
		fmt.Printf("# %s\n\n", s.what)
		began := time.Now()
		c := simulate.New(s.spec)
		fmt.Printf("made in %s\n%s%s", time.Since(began).Round(time.Millisecond), simulate.Header, c.Row())
		var points []point
		next := time.Duration(0)
		events := s.during
		for c.Now < s.limit {
			for len(events) > 0 && c.Now >= events[0].at {
				events[0].do(c)
				events = events[1:]
			}
			if err := c.Tick(); err != nil {
				return err
			}
			points = append(points, point{c.Now, c.Census()})
			if c.Now >= next {
				fmt.Print(c.Row())
				next = max(2*next, 30*time.Second)
			}
			if len(events) == 0 && c.Idle() >= 30*time.Second && c.Now > 6*time.Minute {
				break
			}
		}
		fmt.Print(c.Row())
		fmt.Printf("%s\nplans: %d, %s each on average, the slowest %s; changes that failed: %d; %.1f GiB moved\n\n", c.Findings(), c.Plans,
			(c.PlanTime / time.Duration(c.Plans)).Round(time.Microsecond), c.SlowestPlan.Round(time.Microsecond), c.Failed, float64(c.MovedBytes)/(1<<30))
		if out != "" {
			path := filepath.Join(out, s.name+".svg")
			if err := os.WriteFile(path, []byte(draw(s.what, points)), 0o644); err != nil {
				return err
			}
			fmt.Printf("drawn in %s\n\n", path)
		}
	}
	return nil
}

type event struct {
	at time.Duration
	do func(*simulate.Cluster)
}

func each(c *simulate.Cluster, tier string, f func(*simulate.Store)) {
	for _, s := range c.In(tier) {
		f(s)
	}
}

type point struct {
	at time.Duration
	simulate.Census
}

// draw makes an SVG: replicas and leaders on the emptiest and the fullest store, and ranges that are short of replicas.
func draw(title string, points []point) string {
	const w, h, left, top = 720, 150, 70, 40
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`, w+left+20, 3*(h+50)+top)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/><text x="%d" y="20" font-size="15">%s</text>`, left, title)
	end := points[len(points)-1].at
	for k, g := range []struct {
		name  string
		lines []func(point) float64
	}{
		{"replicas: least, mean and most on a store", []func(point) float64{func(p point) float64 { return p.Replicas[0] }, func(p point) float64 { return p.Replicas[1] }, func(p point) float64 { return p.Replicas[2] }}},
		{"leaders: least, mean and most on a store", []func(point) float64{func(p point) float64 { return p.Leaders[0] }, func(p point) float64 { return p.Leaders[1] }, func(p point) float64 { return p.Leaders[2] }}},
		{"ranges short of replicas; changes under way", []func(point) float64{func(p point) float64 { return float64(p.Short) }, func(p point) float64 { return float64(p.InFlight) }}},
	} {
		y0 := top + k*(h+50)
		most := 1.0
		for _, p := range points {
			for _, f := range g.lines {
				most = max(most, f(p))
			}
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text><rect x="%d" y="%d" width="%d" height="%d" fill="none" stroke="#bbb"/>`, left, y0+8, g.name, left, y0+14, w, h)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%.0f</text><text x="%d" y="%d" text-anchor="end">0</text>`, left-6, y0+24, most, left-6, y0+14+h)
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left+w, y0+28+h, end)
		for i, f := range g.lines {
			fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="1.5" points="`, []string{"#1f77b4", "#888888", "#d62728"}[i])
			for _, p := range points {
				fmt.Fprintf(&b, "%.1f,%.1f ", left+float64(w)*p.at.Seconds()/end.Seconds(), float64(y0+14+h)-float64(h)*f(p)/most)
			}
			b.WriteString(`"/>`)
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}
