package txn

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/kv"
)

// goneSender loses its range in the middle of a commit: the answer is lost, and from then on there is nobody.
type goneSender struct {
	*fakeStore
	stays atomic.Bool // until told otherwise
	gone  atomic.Bool
}

func (g *goneSender) Send(ctx context.Context, req *kv.BatchRequest) (*kv.BatchResponse, error) {
	if g.gone.Load() {
		time.Sleep(10 * time.Second)
		return nil, kv.Errorf(kv.CodeUnavailable, "the range has lost its majority")
	}
	resp, err := g.fakeStore.Send(ctx, req)
	switch req.Requests[0].(type) {
	case *kv.CommitSingleRange, *kv.Prepare, *kv.EndTxn:
		if g.stays.Load() {
			break
		}
		g.gone.Store(true)
		return nil, kv.Errorf(kv.CodeUnknownOutcome, "the answer is lost")
	}
	return resp, err
}

// A commit that nobody answers any more leaves its client in doubt after half a minute, and not for ever; when the range is back, what became of it is found out.
func TestCommitUnanswered(t *testing.T) {
	for name, rows := range map[string][]string{"one range": {"a"}, "several": {"a", "h", "p"}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newFakeStore("g", "n")
				g := &goneSender{fakeStore: s}
				c := New(Config{Sender: g, Clock: s.clock, Node: 1, Incarnation: 1, Workers: 2})
				x := c.Begin(bg, Options{})
				for _, n := range rows {
					require.NoError(t, x.Put(k(n), []byte("new")))
				}
				ctx, cancel := context.WithTimeout(bg, time.Hour)
				defer cancel()
				began := time.Now()
				_, err := x.Commit(ctx)
				require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), "%v", err)
				require.NoError(t, ctx.Err())
				require.GreaterOrEqual(t, time.Since(began), unansweredFor)
				require.LessOrEqual(t, time.Since(began), time.Minute)
				require.EqualValues(t, 1, c.Metrics().UnknownToClient.Load())

				g.gone.Store(false)
				time.Sleep(time.Minute)
				c.Close(bg)
				require.Empty(t, s.prepared)
			})
		})
	}
}

// So does the decision about a prepared transaction, which can be asked for again.
func TestDecisionUnanswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newFakeStore("g", "n")
		g := &goneSender{fakeStore: s}
		g.stays.Store(true)
		c := New(Config{Sender: g, Clock: s.clock, Node: 1, Incarnation: 1, Workers: 2})
		defer c.Close(bg)
		x := c.Begin(bg, Options{})
		for _, n := range []string{"a", "h", "p"} {
			require.NoError(t, x.Put(k(n), []byte("new")))
		}
		p, err := x.(TwoPhase).PrepareCommit(bg, func(kv.TxnMeta) error { return nil })
		require.NoError(t, err)
		g.stays.Store(false)
		ctx, cancel := context.WithTimeout(bg, time.Hour)
		defer cancel()
		began := time.Now()
		_, err = c.Decide(ctx, p.Meta, true)
		require.True(t, kv.HasCode(err, kv.CodeUnknownOutcome), "%v", err)
		require.NoError(t, ctx.Err())
		require.LessOrEqual(t, time.Since(began), time.Minute)

		g.stays.Store(true)
		g.gone.Store(false)
		status, err := c.Decide(ctx, p.Meta, true)
		require.NoError(t, err)
		require.Equal(t, kv.TxnCommitted, status)
		require.Empty(t, s.prepared)
	})
}
