package store

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// One piece at a time in a range, and beside those of other ranges. Who has waited for a lane too long, or has had it for too long, is not waited for.
func TestLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lanes{of: map[kv.RangeID]*lane{}}
		began := time.Now()
		var wg sync.WaitGroup
		piece := func(id kv.RangeID, takes time.Duration, ends *[]time.Duration) {
			wg.Go(func() {
				over, err := l.take(t.Context(), id)
				require.NoError(t, err)
				time.Sleep(takes)
				*ends = append(*ends, time.Since(began))
				over()
				over() // once more does no harm
			})
			synctest.Wait()
		}
		var one, two []time.Duration
		for range 3 {
			piece(1, 100*time.Millisecond, &one)
		}
		piece(2, 100*time.Millisecond, &two)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := l.take(ctx, 1)
		cancel()
		require.True(t, kv.HasCode(err, kv.CodeCanceled), "%v", err)
		wg.Wait()
		require.Equal(t, []time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond}, one)
		require.Equal(t, []time.Duration{100 * time.Millisecond}, two)
		require.Empty(t, l.of)

		// The first waits for a row that the second one's transaction has locked.
		began, one, two = time.Now(), nil, nil
		piece(1, time.Hour, &one)
		piece(1, 100*time.Millisecond, &two)
		piece(1, 100*time.Millisecond, &two)
		wg.Wait()
		require.Equal(t, []time.Duration{laneLasts + 100*time.Millisecond, laneLasts + 200*time.Millisecond}, two)
		require.Empty(t, l.of)
	})
}

// Who meets so many locks of a transaction that has ended that one piece of their resolution is not enough is large himself, and takes turns with others.
func TestClearingTakesTurns(t *testing.T) { synctest.Test(t, testClearingTakesTurns) }

func testClearingTakesTurns(t *testing.T) {
	c := newCluster(t, 1, testKnobs)
	ctx := c.ctx(60 * time.Second)
	require.NoError(t, c.put(ctx, 0, "x"))
	s, _ := c.waitLeader(kv.FirstUserRange)
	txn := func(n uint64) kv.TxnMeta {
		now := s.clock.Now()
		return kv.TxnMeta{ID: kv.MakeTxnID(now, n), Anchor: key(1), Gateway: 1, ReadTS: now, UncertaintyLimit: now}
	}
	send := func(m kv.TxnMeta, q kv.Request) kv.Response {
		resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Txn: &m, Requests: []kv.Request{q}})
		require.NoError(t, err)
		return resp.Responses[0]
	}
	load, all := txn(1), keys.Span{Start: key(1), End: key(3001)}
	send(load, &kv.StageTxn{CommitTS: s.clock.Now(), Open: true})
	for i := range 3 {
		q := &kv.Prepare{StageTS: s.clock.Now()}
		for j := range 1000 {
			q.Writes, q.Seqs = append(q.Writes, kv.Write{Key: key(1 + 1000*i + j), Value: []byte("y")}), append(q.Seqs, 1)
		}
		send(load, q)
	}
	at := send(load, &kv.EndTxn{Commit: true, CommitTS: s.clock.Now(), Open: true, Spans: []keys.Span{all}}).(*kv.EndTxnResponse).CommitTS
	send(load, &kv.ResolveSpan{Span: keys.Span{Start: key(1), End: key(2)}, Commit: true, CommitTS: at}) // its outcome is known here by now

	pieces := func() int64 { return s.pacing.pieces.Load() }
	was := pieces()
	x := txn(2)
	x.Anchor = nil
	require.Len(t, send(x, &kv.Scan{Spans: []keys.Span{{Start: key(2), End: key(3)}}, Lock: kv.LockUpdate}).(*kv.ScanResponse).Locked, 1)
	require.Equal(t, was, pieces(), "who comes for one row is not held up")
	require.Zero(t, s.pacing.load.Used())
	require.Len(t, send(x, &kv.Scan{Spans: []keys.Span{all}, Lock: kv.LockUpdate}).(*kv.ScanResponse).Locked, 3000)
	require.Greater(t, pieces(), was)
	require.EqualValues(t, 0, s.pacing.loads.under.Load())
}
