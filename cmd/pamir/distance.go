package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pamirdb/pamir/range/kv"
	"github.com/pamirdb/pamir/range/transport"
)

// roundTrips between regions as they are between data centres in Frankfurt, Virginia, Singapore, São Paulo and Sydney, and within a
// region between two zones. Regions with other names are an ocean apart.
var roundTrips = map[[2]string]time.Duration{
	{"eu", "us"}: 90 * time.Millisecond, {"ap", "eu"}: 160 * time.Millisecond, {"ap", "us"}: 220 * time.Millisecond,
	{"eu", "sa"}: 200 * time.Millisecond, {"sa", "us"}: 115 * time.Millisecond, {"ap", "sa"}: 320 * time.Millisecond,
	{"au", "eu"}: 250 * time.Millisecond, {"au", "us"}: 200 * time.Millisecond, {"ap", "au"}: 95 * time.Millisecond, {"au", "sa"}: 310 * time.Millisecond,
}

const (
	roundTripOcean  = 150 * time.Millisecond
	roundTripWithin = time.Millisecond
	maxRegions      = 5
)

// distances says how long messages between the nodes of a demonstration travel (transport.Faults). It delays what one node
// sends another; within a node nothing is delayed, nor between a client and its node.
type distances struct {
	trips map[[2]string]time.Duration // given by hand

	mu     sync.RWMutex
	region map[kv.NodeID]string // guarded by mu
}

var _ transport.Faults = (*distances)(nil)

// newDistances reads "eu-us=80ms,us-ap=200ms", which replaces what is known of these.
func newDistances(byHand string) (*distances, error) {
	d := &distances{trips: map[[2]string]time.Duration{}, region: map[kv.NodeID]string{}}
	for _, part := range splitList(byHand) {
		pair, rtt, ok := strings.Cut(part, "=")
		a, b, ok2 := strings.Cut(pair, "-")
		took, err := time.ParseDuration(rtt)
		if !ok || !ok2 || err != nil || took < 0 || took > time.Second {
			return nil, fmt.Errorf("--rtt: %q is not of the form eu-us=90ms, or is more than a second", part)
		}
		d.trips[pairOf(a, b)] = took
	}
	return d, nil
}

func pairOf(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// between is the time there and back.
func (d *distances) between(a, b string) time.Duration {
	k := pairOf(a, b)
	if t, ok := d.trips[k]; ok {
		return t
	}
	if a == b {
		return roundTripWithin
	}
	if t, ok := roundTrips[k]; ok {
		return t
	}
	return roundTripOcean
}

// place tells where a node is.
func (d *distances) place(n kv.NodeID, region string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.region[n] = region
}

// Link implements transport.Faults. A node that has not been placed is everywhere.
func (d *distances) Link(from, to kv.NodeID, kind transport.Kind) (drop bool, delay time.Duration) {
	d.mu.RLock()
	a, b := d.region[from], d.region[to]
	d.mu.RUnlock()
	if a == "" || b == "" {
		return false, 0
	}
	if kind == transport.KindCall { // the answer is not asked about
		return false, d.between(a, b)
	}
	return false, d.between(a, b) / 2
}

// print writes the table of round trips.
func (d *distances) print(out io.Writer, regions []string) {
	fmt.Fprintf(out, "Round-trip times between regions, made up by the transport:\n\n  %8s", "")
	for _, r := range regions {
		fmt.Fprintf(out, "%8s", r)
	}
	fmt.Fprintln(out)
	for _, a := range regions {
		fmt.Fprintf(out, "  %8s", a)
		for _, b := range regions {
			fmt.Fprintf(out, "%8s", d.between(a, b))
		}
		fmt.Fprintln(out)
	}
}

// checkRegions refuses names that would not do in a locality or a table's name.
func checkRegions(regions []string) error {
	if len(regions) > maxRegions {
		return fmt.Errorf("--regions: at most %d", maxRegions)
	}
	if len(regions) == 1 {
		return fmt.Errorf("--regions: there is no distance within %s alone: name two or more, as in --regions eu,us,ap", regions[0])
	}
	for i, r := range regions {
		if strings.ContainsFunc(r, func(c rune) bool { return (c < 'a' || c > 'z') && (c < '0' || c > '9') }) || r[0] < 'a' {
			return fmt.Errorf("--regions: %q has other than lower-case letters and digits in it, or begins with one", r)
		}
		if slices.Contains(regions[:i], r) {
			return fmt.Errorf("--regions: %q twice", r)
		}
	}
	return nil
}
