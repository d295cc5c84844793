package routing

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Who is cut off from everybody is told so at once when it reads. What writes goes on: it may yet be known what became of it.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.leader[2] = 3
		far := &partial{world: w, not: 3}
		s := New(Config{Node: 1, Clock: w.clock, Local: w.at(1), Remote: far, Hints: w, CutOff: func() bool { return true }})
		_, err := s.Send(t.Context(), getReq(keys.System("x")))
		require.NoError(t, err, "what can be answered is")
		begin := time.Now()
		_, err = s.Send(t.Context(), getReq(key(1)))
		require.True(t, kv.HasCode(err, kv.CodeUnavailable), "%v", err)
		require.ErrorContains(t, err, "no other node answers")
		require.Less(t, time.Since(begin), time.Second)
		begin = time.Now()
		_, err = s.Send(t.Context(), &kv.BatchRequest{Requests: []kv.Request{&kv.CommitSingleRange{Writes: []kv.Write{{Key: key(1)}}}}})
		require.Error(t, err)
		require.GreaterOrEqual(t, time.Since(begin), 30*time.Second)
	})
}
