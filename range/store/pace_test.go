package store

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// The resolution of a large transaction's locks is held up after each piece, for a bounded time, and ends with the store.
func TestResolutionsAreHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{pacing: newPace(128<<20, 64<<20)}
		s.ctx, s.cancel = t.Context(), func() {}
		piece := func() (*kv.BatchResponse, error) {
			time.Sleep(10 * time.Second) // it had to wait for something
			require.True(t, s.pacing.busy())
			return &kv.BatchResponse{}, nil
		}
		began := time.Now()
		var wg sync.WaitGroup
		for id := range 4 {
			wg.Go(func() {
				_, err := s.resolve(t.Context(), kv.RangeID(id), piece)
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
		for id := range 4 {
			wg.Go(func() {
				_, err := s.resolve(ctx, kv.RangeID(id), piece)
				require.NoError(t, err)
			})
		}
		wg.Wait()
		require.Equal(t, 10*time.Second, time.Since(began))
	})
}

// What a large transaction writes gives way to others, down to what one sender could do, and to nobody if there is nobody.
func TestLoadsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Store{pacing: newPace(128<<20, 64<<20)}
		ctx, cancel := context.WithCancel(t.Context())
		s.ctx, s.cancel = ctx, cancel
		var done, others atomic.Int64
		var wg sync.WaitGroup
		wg.Go(s.paceLoop)
		for range 4 {
			wg.Go(func() {
				for ctx.Err() == nil {
					_, err := s.writeAhead(ctx, 1, func() (*kv.BatchResponse, error) {
						s.metrics.Requests.Add(1)
						time.Sleep(10 * time.Millisecond)
						return &kv.BatchResponse{}, nil
					})
					require.NoError(t, err)
					done.Add(1)
				}
			})
		}
		wg.Go(func() { // syncs take long if there is as much to write as there can be
			for ctx.Err() == nil {
				time.Sleep(10 * time.Millisecond)
				took := time.Millisecond
				if s.pacing.load.Rate() > int64(2*time.Second) {
					took = 30 * time.Millisecond
				}
				s.metrics.Fsyncs.Add(1)
				s.metrics.FsyncNanos.Add(int64(took))
				s.metrics.Requests.Add(others.Load())
			}
		})
		perSecond := func(settle time.Duration) float64 {
			time.Sleep(settle)
			was := done.Load()
			time.Sleep(10 * time.Second)
			return float64(done.Load()-was) / 10
		}
		require.InDelta(t, 400, perSecond(5*time.Second), 20, "nobody else is there")
		others.Store(1)
		with := perSecond(5 * time.Second)
		require.Less(t, with, 300.0)
		require.Greater(t, with, 90.0, "what one sender could do")
		others.Store(0)
		require.InDelta(t, 400, perSecond(5*time.Second), 20, "they have gone")
		cancel()
		wg.Wait()
	})
}
