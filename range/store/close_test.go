package store

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/pamirdb/pamir/range/kv"
)

// A store that closes leaves no goroutine behind, and waits for no request that waits for somebody else: not for one that waits for a
// lock, nor for a change of replicas to a store that does not answer.
func TestCloseEndsEverything(t *testing.T) {
	before := goleak.IgnoreCurrent()
	func() {
		c := newCluster(t, 1, testKnobs)
		ctx := c.ctx(60 * time.Second)
		require.NoError(t, c.put(ctx, 1, "x"))
		s, st := c.waitLeader(kv.FirstUserRange)
		require.NoError(t, lockRow(ctx, s, testTxn(s, 1), 1, kv.WaitError))
		results := make(chan error, 2)
		go func() { results <- lockRow(context.Background(), s, testTxn(s, 2), 1, kv.WaitBlock) }()
		go func() {
			_, err := s.Send(context.Background(), &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{
				&kv.AdminChangeReplicas{Generation: st.Descriptor.Generation, Add: []kv.Replica{{NodeID: 9, StoreID: 9}}},
			}})
			results <- err
		}()
		require.Eventually(t, func() bool {
			return s.lockMetrics.LockWaits.Load() > 0 && len(s.replica(kv.FirstUserRange).Desc().Replicas) == 2
		}, 20*time.Second, time.Millisecond)
		c.nodes[1].stop()
		require.Error(t, <-results)
		require.Error(t, <-results)
		require.Zero(t, s.sends.Load())
		close(c.done)
		c.wg.Wait()
		c.done = make(chan struct{}) // for the clean-up
	}()
	goleak.VerifyNone(t, before)
}
