package statistics

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A sample finds what one row in a hundred has, also where equal values come at regular distances, and says nothing of what is rare.
func TestSample(t *testing.T) {
	feed := func(n int, value func(i int) (uint64, bool)) *sample {
		s := newSample(1)
		for lo := 0; lo < n; lo += 1000 {
			for _, i := range s.choose(min(1000, n-lo)) {
				if h, ok := value(lo + i); ok {
					s.add(0, h)
				}
			}
			s.thin()
		}
		require.LessOrEqual(t, s.rows, sampleRows)
		return s
	}
	// All rows of a small table are looked at.
	got := feed(1000, func(i int) (uint64, bool) { return uint64(i % 4), i%4 != 3 }).common(0)
	require.Len(t, got, 3)
	for i, c := range got {
		require.Equal(t, uint64(i), c.Hash)
		require.Equal(t, 0.25, c.Share)
	}
	require.Empty(t, feed(5, func(i int) (uint64, bool) { return uint64(i), true }).common(0))
	require.Empty(t, feed(0, nil).common(0))
	require.Empty(t, feed(1_000_000, func(i int) (uint64, bool) { return uint64(i), true }).common(0))

	got = feed(1_000_000, func(i int) (uint64, bool) {
		switch {
		case i%32 == 0:
			return 1, true
		case i%2 == 0:
			return 2, true
		}
		return uint64(1000 + i), true
	}).common(0)
	require.Len(t, got, 2)
	require.Equal(t, uint64(2), got[0].Hash)
	require.InDelta(t, 0.5-1.0/32, got[0].Share, 0.05)
	require.Equal(t, uint64(1), got[1].Hash)
	require.InDelta(t, 1.0/32, got[1].Share, 0.01)
	// No more than there is room for.
	require.Len(t, feed(100_000, func(i int) (uint64, bool) { return uint64(i % 50), true }).common(0), 20)
}
