package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// A checksum does not wait for a replica that is removed meanwhile: nobody answers for it.
func TestChecksumOfARemovedReplica(t *testing.T) {
	c := newCluster(t, 3, testKnobs)
	c.upReplicate(2, 3)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 5, "a"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	gone := kv.NodeID(1)
	for gone == s.id.NodeID {
		gone++
	}
	dropped := make(chan struct{}, 100)
	c.setFilter(func(m *RaftMessage) bool {
		if m.ChecksumID != 0 && m.From.NodeID == gone {
			dropped <- struct{}{}
			return true
		}
		return false
	})
	type answer struct {
		resp *kv.BatchResponse
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.Checksum{}}})
		done <- answer{resp, err}
	}()
	<-dropped
	select {
	case a := <-done:
		t.Fatalf("it did not wait for the third replica: %+v", a)
	default:
	}
	c.changeReplicas(ctx, kv.FirstUserRange, nil, []kv.NodeID{gone})
	select {
	case a := <-done:
		require.NoError(t, a.err)
		require.Len(t, a.resp.Responses[0].(*kv.ChecksumResponse).ByStore, 2)
	case <-time.After(checksumWait / 2):
		t.Fatal("it waits for a replica that is not there any more")
	}
}
