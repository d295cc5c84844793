package node

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A process that uses three quarters of two cores, on a machine on which somebody else uses the rest, has none left; when that ends, a half of one.
func TestBusy(t *testing.T) {
	var b busy
	r := processorReading{at: time.Unix(1000, 0), counted: true}
	step := func(used, idle time.Duration, n int) {
		for range n {
			r.at, r.used, r.idle = r.at.Add(2*time.Second), r.used+2*used, r.idle+2*idle
			b.step(r, 2)
		}
	}
	b.step(r, 2)
	require.Zero(t, b.used, "of a process that has just begun nothing is known")
	require.Equal(t, 2.0, b.idle)
	step(1500*time.Millisecond, 0, 4)
	require.InDelta(t, 1.5*0.63, b.used, 0.01, "smoothed over eight seconds")
	step(1500*time.Millisecond, 0, 40)
	require.InDelta(t, 1.5, b.used, 0.01)
	require.InDelta(t, 0, b.idle, 0.01)
	step(1500*time.Millisecond, 6*time.Second, 40)
	require.InDelta(t, 0.5, b.idle, 0.01, "the machine has more, this process may not use it")
	used, idle := b.used, b.idle
	r.at = r.at.Add(time.Millisecond)
	b.step(r, 2)
	require.Equal(t, []float64{used, idle}, []float64{b.used, b.idle}, "two readings at once say nothing")
	r.at = r.at.Add(10 * time.Second)
	r.counted = false
	b.step(r, 2)
	require.InDelta(t, 0.43, b.used, 0.05)
	require.Greater(t, b.idle, 1.5, "what is not counted is what it does not use")
}

func TestIdleTime(t *testing.T) {
	d, ok := idleTime([]byte("cpu  100 0 50 1234 66 0 3 0 0 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n"))
	require.True(t, ok)
	require.Equal(t, 13*time.Second, d)
	for _, s := range []string{"", "cpu  1 2", "intr 1 2 3 4 5 6", "cpu  1 2 3 x 5 6"} {
		_, ok = idleTime([]byte(s))
		require.False(t, ok, s)
	}
	r := readProcessors(time.Now())
	require.Positive(t, r.used)
}
