package store

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/internal/pacing"
	"github.com/pamirdb/pamir/range/kv"
)

// Compactions that clients notice go slowly, unless reads would have to merge too much instead.
func TestCompactionsGoByClientsAndBacklog(t *testing.T) {
	p := newPace(128 << 20)
	read := func(late time.Duration, urgent int64) {
		for range 30 {
			p.compaction.Hold(time.Duration(p.compaction.Rate())/10, closed) // all that it may in a tenth of a second
			p.compactions.step(pacing.Reading{Took: paceInterval, Late: late}, urgent)
		}
	}
	all := p.compactions.settings.Most
	read(100*time.Microsecond, p.urgent(0, true))
	require.Equal(t, all, p.compaction.Rate(), "nobody minds")
	read(8*time.Millisecond, p.urgent(easySublevels, true))
	require.Equal(t, leastCompaction, p.compaction.Rate(), "everybody wakes up late")
	read(8*time.Millisecond, p.urgent((easySublevels+urgentSublevels)/2, true))
	require.InEpsilon(t, all/2, p.compaction.Rate(), 0.1, "they fall behind")
	read(8*time.Millisecond, p.urgent(urgentSublevels+3, true))
	require.Equal(t, all, p.compaction.Rate(), "they are needed now")
	read(8*time.Millisecond, p.urgent(urgentSublevels+3, false))
	require.Equal(t, leastCompaction, p.compaction.Rate(), "the load is over: they have time")
	read(8*time.Millisecond, p.urgent(hastySublevels, false))
	require.Equal(t, all, p.compaction.Rate(), "writers would stop before long")
}

// The resolution of a large transaction's locks is held up after each piece, for a bounded time, and ends with the store.
func TestResolutionsAreHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{pacing: newPace(128 << 20)}
		s.ctx, s.cancel = t.Context(), func() {}
		piece := func() (*kv.BatchResponse, error) {
			time.Sleep(10 * time.Second) // it had to wait for something
			require.True(t, s.pacing.busy())
			return &kv.BatchResponse{}, nil
		}
		began := time.Now()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				_, err := s.resolve(t.Context(), piece)
				require.NoError(t, err)
			})
		}
		wg.Wait()
		held := time.Since(began) - 10*time.Second
		require.Positive(t, held)
		require.LessOrEqual(t, held, time.Second)
		require.False(t, s.pacing.busy())

		// Who asked and has gone away, or the store that closes, is not waited for.
		ctx, cancel := context.WithCancel(t.Context())
		began = time.Now()
		time.AfterFunc(10*time.Second, cancel)
		for range 4 {
			wg.Go(func() {
				_, err := s.resolve(ctx, piece)
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

var closed = func() chan struct{} { c := make(chan struct{}); close(c); return c }()
