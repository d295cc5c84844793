package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Rows that are locked and written by one transaction after the other, before the locks of the one before have been resolved: everybody reads what the last of them
// has written, by every kind of read, and the same is left as if each had waited.
func TestRowsThatAreWrittenAgain(t *testing.T) {
	for seed := range uint64(6) {
		var left [2]string
		var ridden, proposals [2]int64
		for i, patience := range []time.Duration{time.Hour, -1} {
			synctest.Test(t, func(t *testing.T) { left[i], ridden[i], proposals[i] = writtenAgain(t, seed, patience) })
		}
		require.Equal(t, left[1], left[0], "seed %d", seed)
		require.Zero(t, ridden[1], "seed %d", seed)
		require.Greater(t, ridden[0], int64(20), "seed %d", seed)
		require.Less(t, proposals[0]+20, proposals[1], "seed %d", seed)
	}
}

func writtenAgain(t *testing.T, seed uint64, patience time.Duration) (left string, ridden, proposals int64) {
	const rows, steps = 4, 80
	knobs := testKnobs
	knobs.DeferResolve = patience
	c := newCluster(t, 1, knobs)
	ctx := c.ctx(time.Hour)
	s := c.waitLeaderStore()
	rng := rand.New(rand.NewPCG(seed, 'w'))
	want := map[int]string{}
	var all []*resolving
	for step := range byte(steps) {
		ks := []int{rng.IntN(rows)}
		if other := rng.IntN(rows); other != ks[0] {
			ks = append(ks, other)
		}
		m := kv.TxnMeta{ID: kv.MakeTxnID(s.clock.Now(), uint64(step)), Anchor: key(ks[0]), Gateway: 1, ReadTS: s.clock.Now()}
		m.UncertaintyLimit = m.ReadTS
		send := func(reqs ...kv.Request) *kv.BatchResponse {
			t.Helper()
			x := m
			resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Txn: &x, Requests: reqs})
			require.NoError(t, err)
			return resp
		}
		var writes []kv.Write
		var reads []kv.ReadSpan
		for _, k := range ks {
			got := send(&kv.Get{Key: key(k), Lock: kv.LockNoKeyUpdate}).Responses[0].(*kv.GetResponse)
			require.Equal(t, want[k], string(got.Value), "step %d, row %d", step, k)
			require.Equal(t, want[k] != "", got.Exists)
			w := kv.Write{Key: key(k), Value: fmt.Append(nil, step)}
			if w.Deleted = rng.IntN(5) == 0; w.Deleted {
				w.Value = nil
			}
			writes = append(writes, w)
			reads = append(reads, kv.ReadSpan{Span: keys.Span{Start: key(k)}, At: m.ReadTS})
			want[k] = string(w.Value)
		}
		if rng.IntN(4) == 0 {
			send(&kv.CommitSingleRange{Writes: writes, Refreshes: reads})
		} else {
			x := &resolving{rng: kv.FirstUserRange, meta: m, done: make(chan error, 1)}
			for _, w := range writes {
				x.keys = append(x.keys, w.Key)
			}
			resp := send(&kv.Prepare{Writes: writes, Refreshes: reads, StageTS: s.clock.Now()})
			x.at = resp.Responses[0].(*kv.PrepareResponse).TS
			s.clock.Update(x.at)
			all = append(all, x)
			x.resolve(ctx, s)
			synctest.Wait() // who would come before has to wait, and has it go by itself
		}
		switch rng.IntN(4) {
		case 0:
			k := rng.IntN(rows)
			v, err := c.get(ctx, k)
			require.NoError(t, err)
			require.Equal(t, want[k], v)
		case 1:
			require.Equal(t, wantScan(want, rows), scanRows(ctx, t, s, rows))
		}
	}
	for i := range rows { // nobody is left behind
		require.NoError(t, c.put(ctx, i, "end"))
	}
	for _, x := range all {
		require.NoError(t, <-x.done)
	}
	stats := c.noLocksLeft(ctx, s)
	return fmt.Sprint(stats.LiveRows, stats.LiveBytes, stats.Versions), s.metrics.Ridden.Load(), s.metrics.Proposals.Load()
}

func wantScan(want map[int]string, rows int) (out []string) {
	for i := range rows {
		if want[i] != "" {
			out = append(out, want[i])
		}
	}
	return out
}

func scanRows(ctx context.Context, t *testing.T, s *Store, rows int) (out []string) {
	t.Helper()
	resp, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Timestamp: s.clock.Now(), Requests: []kv.Request{
		&kv.Scan{Spans: []keys.Span{{Start: key(0), End: key(rows)}}}}})
	require.NoError(t, err)
	all := resp.Responses[0].(*kv.ScanResponse).Rows
	for {
		_, v, ok, err := all.Next()
		require.NoError(t, err)
		if !ok {
			return out
		}
		out = append(out, string(v))
	}
}
