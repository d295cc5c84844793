package sessions

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A sequence hands out its numbers in the order of the calls, whichever nodes they come through; when its leader moves it leaves out
// 32 at most. A new state is what the next call at any node begins with.
func sequences(t *testing.T, s *suite) {
	var cs [3]*client
	for i := range cs {
		cs[i] = s.connect(t, i)
	}
	a := cs[0]
	a.do("create sequence numbered")
	defer a.do("drop sequence numbered")
	next := func(i int) int64 { return one[int64](cs[i%3], "select nextval('numbered')") }
	a.do("select pamir.pause_rebalancing()")
	defer a.do("select pamir.resume_rebalancing()")
	last, gaps := int64(0), 0
	for move := range 6 {
		a.do("select pamir.transfer_leader(range_id, $1) from pamir.ranges where leader <> $1", move%3+1)
		for i := range 20 {
			n := next(i)
			require.Greater(t, n, last)
			require.LessOrEqual(t, n, last+33)
			if n != last+1 {
				gaps++
			}
			last = n
			require.LessOrEqual(t, last, one[int64](cs[(i+1)%3], "select last_value from numbered"))
		}
	}
	t.Logf("%d gaps in 120 numbers, with 6 leaders", gaps)

	a.do("select setval('numbered', 7)")
	require.Equal(t, int64(8), next(1))
	cs[2].do("select setval('numbered', 1000, false)")
	require.Equal(t, int64(1000), next(0))
	require.Greater(t, next(1), int64(1000))

	var mu sync.Mutex
	seen := map[int64]bool{}
	var wg sync.WaitGroup
	for i := range 6 {
		c := s.connect(t, i%3)
		wg.Go(func() {
			before := int64(1000)
			for range 50 {
				var n int64
				if err := c.QueryRow(bg, "select nextval('numbered')").Scan(&n); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[n] || n <= before {
					t.Errorf("%d again, or after %d", n, before)
				}
				seen[n], before = true, n
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 300)
}
