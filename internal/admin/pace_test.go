package admin

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The estimate goes by what has been done since the first look, and lately.
func TestPace(t *testing.T) {
	const mib = 1 << 20
	type at struct {
		second, replicas int
		mib, sent        int64 // on the node, and of that on its way
		left             int   // seconds; 0: not known
	}
	for name, seen := range map[string][]at{
		"at an even pace, changes of replicas included": {
			{0, 10, 400, 0, 0}, {2, 10, 400, 16, 0}, {4, 9, 364, 0, 0}, {6, 9, 364, 10, 47}, {8, 8, 328, 0, 36}, {10, 8, 328, 18, 35},
		},
		"what was on its way before, for other reasons, does not count": {
			{0, 10, 400, 150, 0}, {2, 8, 248, 0, 0}, {4, 8, 248, 4, 0}, {6, 8, 248, 8, 91}, {10, 8, 248, 16, 102},
		},
		"not in the first seconds of its own": {
			{0, 10, 400, 0, 0}, {1, 10, 400, 100, 0}, {2, 8, 240, 0, 0}, {3, 8, 240, 40, 0}, {4, 6, 160, 0, 0}, {5, 6, 160, 10, 3},
		},
		"from the moment when something begins to go on": {
			{0, 4, 100, 0, 0}, {20, 4, 100, 0, 0}, {22, 4, 100, 20, 0}, {24, 4, 100, 40, 0}, {26, 4, 100, 50, 8},
		},
		"it has become slower": {
			{0, 10, 400, 0, 0}, {5, 10, 400, 200, 6}, {10, 10, 400, 220, 10}, {15, 10, 400, 240, 50}, {20, 10, 400, 250, 63},
		},
		"nothing has gone on lately": {
			{0, 10, 400, 0, 0}, {5, 10, 400, 200, 6}, {10, 10, 400, 200, 12}, {15, 10, 400, 200, 0}, {20, 10, 400, 200, 0},
		},
		"a trickle may be chance": {
			{0, 2, 100, 0, 0}, {6, 2, 100, 40, 10}, {16, 2, 100, 41, 0},
		},
		"a trickle that goes on": {
			{0, 8, 4000, 0, 0}, {6, 8, 4000, 12, 0}, {8, 8, 4000, 16, 2008},
		},
		"who writes is faster": {
			{0, 2, 100, 0, 0}, {10, 2, 140, 30, 0}, {20, 2, 180, 60, 0}, {30, 2, 180, 120, 11},
		},
		"a snapshot that has to be sent again": {
			{0, 2, 100, 0, 0}, {6, 2, 100, 60, 5}, {8, 2, 100, 0, 0}, {14, 2, 100, 60, 5},
		},
		"replicas without rows": {
			{0, 40, 0, 0, 0}, {2, 36, 0, 0, 0}, {4, 32, 0, 0, 0}, {6, 28, 0, 0, 14},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var p pace
			began := time.Now()
			for _, x := range seen {
				left, known := p.look(began.Add(time.Duration(x.second)*time.Second), &DecommissionView{Replicas: x.replicas, Bytes: x.mib * mib, Sent: x.sent * mib})
				require.Equal(t, x.left > 0, known, "second %d: %s", x.second, left)
				require.Equal(t, time.Duration(x.left)*time.Second, left.Round(time.Second), "second %d", x.second)
			}
		})
	}
}
