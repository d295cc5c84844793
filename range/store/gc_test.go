package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// Old versions go by themselves, on every replica alike, and what is live stays.
func TestGarbageCollection(t *testing.T) {
	k := testKnobs
	k.GCAfter, k.GCInterval = 200*time.Millisecond, 50*time.Millisecond
	c := newCluster(t, 3, k)
	c.upReplicate(2, 3)
	ctx := c.ctx(30 * time.Second)
	for i := range 50 {
		require.NoError(t, c.put(ctx, 1, fmt.Sprint(i)))
	}
	require.NoError(t, c.put(ctx, 2, "once"))
	require.Eventually(t, func() bool {
		s, _ := c.waitLeader(kv.FirstUserRange)
		st := s.replica(kv.FirstUserRange).Status().Applied.Stats
		return st.Versions == 2 && st.LiveRows == 2
	}, 10*time.Second, 20*time.Millisecond, "51 versions of one row must become one")
	c.checkReplicas(ctx)
	s, _ := c.waitLeader(kv.FirstUserRange)
	resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Get{Key: key(1)}}})
	require.NoError(t, err)
	require.Equal(t, "49", string(resp.Responses[0].(*kv.GetResponse).Value))
	// A read of the past that was collected is refused, not answered wrongly.
	_, err = s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Timestamp: s.clock.Now().Add(-time.Hour), Requests: []kv.Request{&kv.Get{Key: key(1)}}})
	require.True(t, kv.HasCode(err, kv.CodeReadBelowGC), "%v", err)
}
