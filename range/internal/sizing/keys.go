package sizing

import (
	"slices"

	"github.com/pamirdb/pamir/range/keys"
)

const (
	// minSamples that Balance and Trend go by.
	minSamples = 24
	minTrend   = 12
	// heavy is the most of the load that one side may keep.
	heavy = 0.75
	// steady is the fraction of steps that must go the same way to make a trend.
	steady = 0.9
)

// Balance returns the key that halves what the samples ask for, oldest first: those that lie on one side count for that, those that
// cross the key for both. ok is false if no key leaves at most three quarters to either side, as when all the load is one
// key, or if there are too few samples. Samples outside of bounds do not count.
func Balance(samples []keys.Span, bounds keys.Span) (best keys.Key, ok bool) {
	var in []keys.Span
	for _, s := range samples {
		if bounds.Contains(s.Start) {
			in = append(in, s)
		}
	}
	if len(in) < minSamples {
		return nil, false
	}
	starts := make([]keys.Key, len(in))
	ends := make([]keys.Key, len(in))
	for i, s := range in {
		starts[i], ends[i] = s.Start, s.EndKey()
	}
	slices.SortFunc(starts, keys.Key.Compare)
	slices.SortFunc(ends, keys.Key.Compare)
	least := len(in) + 1
	left, right := 0, 0 // samples that begin before the key, and that end at or before it
	for i, k := range starts {
		if i > 0 && k.Equal(starts[i-1]) || k.Equal(bounds.Start) {
			continue
		}
		for left < len(starts) && starts[left].Less(k) {
			left++
		}
		for right < len(ends) && ends[right].Compare(k) <= 0 {
			right++
		}
		if side := max(left, len(in)-right); side < least {
			least, best = side, k
		}
	}
	if float64(least) > heavy*float64(len(in)) {
		return nil, false
	}
	return best, true
}

// Direction in which writers go through the keys.
type Direction int8

// Directions.
const (
	Anywhere   Direction = 0
	Ascending  Direction = 1
	Descending Direction = -1
)

// Trend sees whether the keys, oldest first, go steadily in one direction. Several writers that take turns, or that are
// a little out of step, still do: keys a quarter of the samples apart are compared.
func Trend(ks []keys.Key) Direction {
	if len(ks) < minTrend {
		return Anywhere
	}
	lag := len(ks) / 4
	up, down := 0, 0
	for i := lag; i < len(ks); i++ {
		switch c := ks[i].Compare(ks[i-lag]); {
		case c > 0:
			up++
		case c < 0:
			down++
		}
	}
	need := steady * float64(len(ks)-lag)
	switch {
	case float64(up) >= need:
		return Ascending
	case float64(down) >= need:
		return Descending
	}
	return Anywhere
}

// Fraction of the bytes that a split by size leaves to the left: half, or nearly all of it on the side that will not grow any more.
func (d Direction) Fraction() float64 {
	switch d {
	case Ascending:
		return 0.9
	case Descending:
		return 0.1
	}
	return 0.5
}
