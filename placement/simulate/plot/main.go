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
	only := flag.String("only", "", "the model to run; all if empty")
	flag.Parse()
	if err := run(*out, *nodes, *ranges, *only); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(out string, nodes, ranges int, only string) error {
	if out != "" {
		if err := os.MkdirAll(out, 0o755); err != nil {
			return err
		}
	}
	const size = 64 << 20
	for _, m := range []struct {
		name          string
		spec          simulate.Spec
		joins, deaths int
	}{
		{"small", simulate.Spec{Seed: 1, Nodes: 6, Regions: 1, Zones: 3, Ranges: 600, Bytes: size, Skew: 0.7}, 3, 1},
		{"middle", simulate.Spec{Seed: 1, Nodes: 20, Regions: 2, Zones: 2, Ranges: 10_000, Bytes: size, Skew: 0.7}, 4, 1},
		{"large", simulate.Spec{Seed: 1, Nodes: 200, Regions: 5, Zones: 4, Ranges: 100_000, Bytes: size, Skew: 0.7}, 20, 2},
		// The largest has small ranges, and stores take eight at a time: what is asked is what a plan costs, and it is over in fewer of them.
		{"largest", simulate.Spec{Seed: 1, Nodes: nodes, Regions: 5, Zones: 4, Ranges: ranges, Bytes: size / 8, Skew: 0.7}, 20, 5},
	} {
		if only != "" && only != m.name {
			continue
		}
		fmt.Printf("# %s: %d nodes, %d ranges of %d MiB on average\n\n%s", m.name, m.spec.Nodes, m.spec.Ranges, m.spec.Bytes>>20, simulate.MeasureHeader)
		c := simulate.New(m.spec)
		if m.name == "largest" {
			c.Rules.Limits.Incoming, c.Rules.Limits.Outgoing = 8, 8
		}
		if err := c.Tick(); err != nil { // the first plan judges all ranges
			return err
		}
		var points []point
		every, next := 1+m.spec.Ranges/20_000, 0
		for _, s := range simulate.Scenes(m.joins, m.deaths) {
			got, err := c.Measure(s, 6*time.Hour, func() error {
				if next++; next%every == 0 {
					points = append(points, point{c.Now, c.Census()})
				}
				return nil
			})
			if err != nil {
				return err
			}
			fmt.Printf("%-28s%s\n%s", s.Name, got, c.Findings())
		}
		fmt.Println()
		if out != "" {
			path := filepath.Join(out, m.name+".svg")
			if err := os.WriteFile(path, []byte(draw(fmt.Sprintf("%d nodes, %d ranges", m.spec.Nodes, m.spec.Ranges), points)), 0o644); err != nil {
				return err
			}
			fmt.Printf("drawn in %s\n\n", path)
		}
	}
	return nil
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
