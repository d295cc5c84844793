package store

import (
	"context"
	"sync"
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
