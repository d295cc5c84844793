package replica

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/pamirdb/pamir/hlc"
	"github.com/pamirdb/pamir/range/internal/concurrency"
	"github.com/pamirdb/pamir/range/internal/tscache"
	"github.com/pamirdb/pamir/range/keys"
	"github.com/pamirdb/pamir/range/kv"
)

func sampleHandOvers() []handOver {
	at := func(n int64) hlc.Timestamp { return hlc.Timestamp{WallTime: n, Logical: 3} }
	a := &kv.TxnMeta{ID: kv.TxnID{1}, Anchor: keys.Key("a"), Gateway: 2, Incarnation: 77, ReadTS: at(5), UncertaintyLimit: at(6), Isolation: kv.ReadCommitted}
	b := &kv.TxnMeta{ID: kv.TxnID{2}, Gateway: 1, ReadTS: at(7)}
	locks := []concurrency.HeldLock{
		{Key: keys.Key("k1"), Txn: a, Strength: kv.LockUpdate}, {Key: keys.Key("k2"), Txn: a, Strength: kv.LockShare},
		{Key: keys.Key("k2"), Txn: b, Strength: kv.LockKeyShare},
	}
	return []handOver{
		{},
		{locks: locks},
		{locks: locks, exact: true, reads: tscache.Summary{
			Floor:  at(9),
			Points: []tscache.Point{{Hash: 1 << 63, TS: at(10), Txn: kv.TxnID{3}}, {Hash: 5, TS: at(11)}},
			Spans:  []tscache.SpanRead{{Span: keys.Span{Start: keys.Key("x"), End: keys.Key("z")}, TS: at(12), Txn: kv.TxnID{4}}},
		}},
		{exact: true, reads: tscache.Summary{Floor: at(1)}},
	}
}

func TestHandOverRoundTrip(t *testing.T) {
	for i, h := range sampleHandOvers() {
		b := h.append(nil)
		var got handOver
		require.NoError(t, got.decode(b), i)
		require.Equal(t, h, got, i)
		for n := range b {
			require.Error(t, got.decode(b[:n]), "%d cut at %d", i, n)
		}
	}
}

func FuzzHandOver(f *testing.F) {
	for _, h := range sampleHandOvers() {
		f.Add(h.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var h, again handOver
		if h.decode(b) != nil {
			return
		}
		require.NoError(t, again.decode(h.append(nil)))
		require.Equal(t, fmt.Sprint(h.reads), fmt.Sprint(again.reads))
		require.Len(t, again.locks, len(h.locks))
	})
}
