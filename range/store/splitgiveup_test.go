package store

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

// Whoever asks for a split may give up at any moment of it; the range goes on, and can be split later.
func TestSplitGivenUp(t *testing.T) {
	const rows = 6000 // enough for a count to look whether it is still wanted
	c := newCluster(t, 1, testKnobs)
	ctx := c.ctx(60 * time.Second)
	s, _ := c.waitLeader(kv.FirstUserRange)
	var b kv.Rows
	for i := range rows {
		b.Append(key(i), []byte("value"))
	}
	_, err := c.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{
		&kv.BulkWrite{Span: keys.Span{Start: key(0), End: key(rows)}, TS: s.clock.Now(), Rows: b},
	}})
	require.NoError(t, err)
	split := func(ctx context.Context) error {
		_, err := s.Send(ctx, &kv.BatchRequest{RangeID: kv.FirstUserRange, Requests: []kv.Request{&kv.AdminSplit{Key: key(1)}}})
		return err
	}
	gaveUp, cancel := context.WithCancel(ctx)
	cancel()
	require.Error(t, split(gaveUp))
	for d := 50 * time.Microsecond; ; d += d / 4 {
		short, cancel := context.WithTimeout(ctx, d)
		err := split(short)
		cancel()
		if err == nil || kv.HasCode(err, kv.CodeRangeMismatch) { // it had been split although nobody waited for it
			break
		}
		require.NoError(t, ctx.Err(), "after %s: %v", d, err)
	}
}
