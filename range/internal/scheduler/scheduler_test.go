package scheduler

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

type thing struct {
	Item
	pending atomic.Int64
	done    atomic.Int64
	busy    atomic.Int32
}

// Whatever was signalled is processed, by one goroutine at a time.
func TestEverySignalIsSeenOnce(t *testing.T) {
	things := make([]*thing, 7)
	for i := range things {
		things[i] = &thing{}
	}
	s := New(3, 4, func(batch []*thing) {
		for _, x := range batch {
			if x.busy.Add(1) != 1 {
				panic("two goroutines process one item")
			}
		}
		for _, x := range batch {
			x.done.Add(x.pending.Swap(0))
			x.busy.Add(-1)
		}
	})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 5000 {
				x := things[(i*7+g)%len(things)]
				x.pending.Add(1)
				if i%3 == 0 {
					s.Run(x)
				} else {
					s.Signal(x)
				}
			}
		}()
	}
	wg.Wait()
	require.Eventually(t, func() bool {
		var n int64
		for _, x := range things {
			n += x.done.Load()
		}
		return n == 8*5000
	}, 5e9, 1e6)
	s.Close()
}

// What is gathered is processed together, and everything that is signalled is processed, whoever was woken for it.
func TestGather(t *testing.T) {
	const n = 8
	var mu sync.Mutex
	var batches, seen int
	done := make(chan struct{})
	s := New(4, 64, func(batch []*thing) {
		mu.Lock()
		defer mu.Unlock()
		batches++
		if seen += len(batch); seen%n == 0 {
			done <- struct{}{}
		}
	})
	defer s.Close()
	items := make([]*thing, n)
	for i := range items {
		items[i] = &thing{}
	}
	const rounds = 500
	for range rounds {
		for _, it := range items {
			s.Gather(it)
		}
		<-done
	}
	t.Logf("%d items in %d batches", seen, batches)
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, rounds*n, seen)
	require.Less(t, batches, rounds*n, "nothing was ever gathered")
}

// What is signalled at once is one batch, whoever else is awake; what is queued already is not queued twice.
func TestSignalAll(t *testing.T) {
	const n = 8
	sizes := make(chan int)
	s := New(4, 64, func(batch []*thing) { sizes <- len(batch) })
	defer s.Close()
	for range 500 {
		items := make([]*thing, n)
		for i := range items {
			items[i] = &thing{}
		}
		s.SignalAll(append(append([]*thing(nil), items...), items[:3]...))
		require.Equal(t, n, <-sizes)
	}
}

// Many that wait are taken many at a time, so that the last of them does not wait for a hundred batches; few are not.
func TestLongQueue(t *testing.T) {
	const n, usual = 1000, 4
	var mu sync.Mutex
	var sizes []int
	started, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(n + 1)
	s := New(1, usual, func(batch []*thing) {
		if len(sizes) == 0 {
			close(started)
			<-release
		}
		mu.Lock()
		sizes = append(sizes, len(batch))
		mu.Unlock()
		wg.Add(-len(batch))
	})
	defer s.Close()
	s.Signal(&thing{})
	<-started
	for range n {
		s.Signal(&thing{})
	}
	require.Equal(t, n, s.Queued())
	close(release)
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, usual*maxGrowth, slices.Max(sizes))
	require.Less(t, len(sizes), 2*n/(usual*maxGrowth), "batches")
}
